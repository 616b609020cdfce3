import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from app.settings import Settings
from tests.app.live import Live, running

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
