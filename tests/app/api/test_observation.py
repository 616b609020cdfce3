import datetime
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.api.errors import ALL_KINDS
from app.engine.classifier import Classifier
from app.engine.manifest import Distribution, Reference
from app.engine.model_file import read_file
from app.engine.providers import Provider, open_session
from app.engine.signals import EDGES
from app.settings import Settings
from tests import radiographs, tiny_model
from tests.app.live import Gate, Live, running, wait_until

ROOT = Path(__file__).parents[3]


def samples(live: Live) -> dict[str, float]:
    found: dict[str, float] = {}
    for metric in text_string_to_metric_families(live.client.get("/metrics").text):
        for sample in metric.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_a_film_is_counted_by_route_stage_label_and_score(tiny_folder: Path, film: bytes) -> None:
    with running(Settings(model_dir=tiny_folder)) as live:
        body = live.predict(film).json()
        live.client.post("/explain", files={"file": film})
        live.predict(b"no film")
        live.client.get("/a/patients/name")
        live.client.get("/assets/app.js")
        counted = samples(live)
        sha256 = live.service.classifier.sha256
    assert counted["pneumoscope_request_seconds_count{route=/predict,status=200}"] == 1
    assert counted["pneumoscope_request_seconds_count{route=/predict,status=415}"] == 1
    assert counted["pneumoscope_request_seconds_count{route=unmatched,status=404}"] == 1
    assert counted["pneumoscope_request_seconds_count{route=assets,status=200}"] == 1
    for stage in ("decode", "queue", "inference", "encode"):
        assert counted[f"pneumoscope_stage_seconds_count{{stage={stage}}}"] == 2
    review = str(body["review"]).lower()
    assert counted[f"pneumoscope_predictions_total{{label={body['label']},review={review}}}"] == 2
    assert counted["pneumoscope_rejected_total{reason=unsupported-image}"] == 1
    assert counted["pneumoscope_probability_sum{}"] == 2 * body["probability"]
    assert counted["pneumoscope_novelty_count{}"] == 2
    assert counted["pneumoscope_brightness_count{}"] == 2
    assert counted["pneumoscope_batch_size_count{}"] == 2
    assert counted["pneumoscope_queue_depth{}"] == 0
    assert counted["pneumoscope_in_flight{}"] == 1, "the scrape itself"
    info = f"name=tiny,precision=float16,provider=cpu,sha256={sha256},version=1"
    assert counted[f"pneumoscope_model_info{{{info}}}"] == 1


def test_times_in_the_answer_are_those_in_the_metrics(tiny_folder: Path, film: bytes) -> None:
    with running(Settings(model_dir=tiny_folder)) as live:
        timing = live.predict(film).json()["timing_ms"]
        counted = samples(live)
    for stage in ("decode", "queue", "inference"):
        seconds = counted[f"pneumoscope_stage_seconds_sum{{stage={stage}}}"]
        assert round(seconds * 1000, 3) == timing[stage]


def test_two_applications_do_not_share_their_metrics(tiny_folder: Path, film: bytes) -> None:
    with running(Settings(model_dir=tiny_folder)) as one, running(Settings(model_dir=tiny_folder)) as other:
        one.predict(film)
        assert "pneumoscope_probability_count 1.0" in one.client.get("/metrics").text
        assert "pneumoscope_probability_count 0.0" in other.client.get("/metrics").text


def test_every_metric_is_documented_and_nothing_else(live: Live) -> None:
    registered = {
        metric.name + ("_total" if metric.type == "counter" else "_info" if metric.type == "info" else "")
        for metric in live.service.metrics.registry.collect()
    }
    page = (ROOT / "docs" / "settings.md").read_text()
    documented = set(re.findall(r"^### `((?:pneumoscope|process)_[a-z_]+)`$", page, re.MULTILINE))
    assert documented == registered


def test_brightness_is_the_decoded_films_mean_level(tiny_folder: Path) -> None:
    grey = tiny_model.SIZE, tiny_model.SIZE
    with running(Settings(model_dir=tiny_folder)) as live:
        live.predict(radiographs.png(np.full(grey, 100, np.uint8)))
        counted = samples(live)
    assert counted["pneumoscope_brightness_sum{}"] == 100
    assert counted["pneumoscope_brightness_bucket{le=96.0}"] == 0
    assert counted["pneumoscope_brightness_bucket{le=104.0}"] == 1


def test_every_kind_of_prediction_is_counted_from_zero_on(tiny_folder: Path) -> None:
    with running(Settings(model_dir=tiny_folder)) as live:
        counted = samples(live)
    for label in ("NORMAL", "PNEUMONIA"):
        for review in ("true", "false"):
            assert counted[f"pneumoscope_predictions_total{{label={label},review={review}}}"] == 0


def test_every_problem_and_every_failure_of_a_film_is_counted_from_zero_on(live: Live) -> None:
    """A series that is born at 1 has no increase: a first burst of errors would reach no alert."""
    counted = samples(live)
    for code in ALL_KINDS:
        assert f"pneumoscope_rejected_total{{reason={code}}}" in counted
    taking_films = [
        path
        for path in live.client.get("/openapi.json").json()["paths"]
        if path in {"/predict", "/explain", "/film"} or path.endswith(("/batch", "/infer"))
    ]
    assert len(taking_films) == 6
    for route, status in product(taking_films, (200, 429, 500, 501, 503)):
        assert f"pneumoscope_request_seconds_count{{route={route},status={status}}}" in counted


def test_the_reference_of_the_model_is_told_at_the_edges_of_the_histograms(model_folder: Path) -> None:
    reference = Reference(
        source="tests",
        measured=datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC),
        films=200,
        review_share=0.125,
        probability=Distribution(edges=EDGES["probability"], shares=(0.5,) * len(EDGES["probability"])),
        brightness=Distribution(edges=EDGES["brightness"], shares=(0.25,) * len(EDGES["brightness"])),
    )
    (model_folder / "model.onnx").write_bytes(tiny_model.build(tiny_model.manifest(reference=reference)))
    with running(Settings(model_dir=model_folder)) as live:
        counted = samples(live)
    assert counted["pneumoscope_reference_films{}"] == 200
    assert counted["pneumoscope_reference_review_share{}"] == 0.125
    for signal, share in (("probability", 0.5), ("brightness", 0.25)):
        served = {
            name.removeprefix(f"pneumoscope_{signal}_bucket{{") for name in counted if f"{signal}_b" in name
        }
        edges = {
            name.removeprefix("pneumoscope_reference_share{").removesuffix(f",signal={signal}}}") + "}": value
            for name, value in counted.items()
            if name.startswith("pneumoscope_reference_share{") and f"signal={signal}" in name
        }
        assert set(edges) == served - {"le=+Inf}"}
        assert set(edges.values()) == {share}
    assert not any("signal=novelty" in name for name in counted)


def test_a_model_without_a_reference_tells_none(live: Live) -> None:
    assert not any(name.startswith("pneumoscope_reference") for name in samples(live))


def test_readiness_is_told_and_ends_with_the_draining(gated_live: tuple[Live, Gate]) -> None:
    live, _ = gated_live
    assert samples(live)["pneumoscope_ready{}"] == 1
    live.service.draining = True
    assert samples(live)["pneumoscope_ready{}"] == 0


def test_what_waits_is_told_beside_what_may_wait(gated_live: tuple[Live, Gate], film: bytes) -> None:
    live, gate = gated_live
    counted = samples(live)
    assert (counted["pneumoscope_queue_limit{}"], counted["pneumoscope_uploads{}"]) == (3, 0)
    assert counted["pneumoscope_max_wait_seconds{}"] >= 0.25
    gate.close()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(live.predict, film)
        wait_until(lambda: samples(live)["pneumoscope_uploads{}"] == 1, "the upload is counted")
        gate.open()
        assert answer.result().status_code == 200


@pytest.mark.parametrize(("threshold", "told"), [(None, (0.4, 0)), (0.9, (0.9, 1))])
def test_the_threshold_in_force_is_told(
    tiny_folder: Path, threshold: float | None, told: tuple[float, int]
) -> None:
    with running(Settings(model_dir=tiny_folder, threshold=threshold)) as live:
        counted = samples(live)
    assert (
        counted["pneumoscope_threshold{}"],
        counted["pneumoscope_threshold_overridden{}"],
    ) == told


@pytest.mark.parametrize("fell_back", [False, True])
def test_a_provider_that_fell_back_is_told(tiny_folder: Path, fell_back: bool) -> None:
    file = read_file(tiny_folder / "model.onnx")
    provider = Provider("cpu", "a test", fell_back=fell_back)
    classifier = Classifier(open_session(file.content, provider, threads=1), file, provider)
    with running(Settings(model_dir=tiny_folder), classifier) as live:
        assert samples(live)["pneumoscope_provider_fell_back{}"] == fell_back
