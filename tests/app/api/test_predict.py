import base64
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from app.keys import entry_of
from app.settings import Settings
from tests import radiographs, tiny_model
from tests.app.live import Live, gated, running, wait_until


def predict(live: Live, film: bytes, query: str = "") -> dict[str, object]:
    answer = live.client.post(f"/predict{query}", files={"file": ("film", film)})
    assert answer.status_code == 200, answer.text
    body: dict[str, object] = answer.json()
    return body


def test_the_answer_is_the_documented_one(live: Live, film: bytes) -> None:
    body = predict(live, film)
    assert list(body) == [
        "id", "label", "probability", "threshold", "threshold_overridden", "subtypes", "review", "reasons",
        "model", "timing_ms", "overlay",
    ]  # fmt: skip
    assert body["threshold"] == 0.4
    assert body["threshold_overridden"] is False
    assert body["model"] == {"name": "tiny", "version": "1", "sha256": live.service.classifier.sha256}
    assert set(body["timing_ms"]) == {"decode", "queue", "inference"}  # type: ignore[call-overload]
    assert body["overlay"] is None


@pytest.mark.parametrize(
    "encoded",
    [
        radiographs.jpeg(radiographs.draw(seed=2), "RGB"),
        radiographs.jpeg(radiographs.draw(seed=2), "CMYK"),
        radiographs.jpeg(radiographs.draw(seed=2), progressive=True, orientation=6),
        radiographs.png(radiographs.draw(seed=2)),
        radiographs.png(radiographs.draw(seed=2), "RGBA"),
        radiographs.png(radiographs.draw(seed=2), "16 bit"),
        radiographs.png(radiographs.draw(seed=2), "12 bit"),
        radiographs.interlaced_png(radiographs.draw(seed=2)),
    ],
)
def test_every_kind_of_file_gets_the_same_probability(live: Live, encoded: bytes) -> None:
    plain = predict(live, radiographs.jpeg(radiographs.draw(seed=2)))
    assert predict(live, encoded)["probability"] == pytest.approx(plain["probability"], abs=0.02)


def test_a_bright_film_is_pneumonia_and_a_dark_one_normal_to_the_tiny_model(live: Live) -> None:
    for level, label in ((200, "PNEUMONIA"), (60, "NORMAL")):
        noise = np.random.default_rng(0).integers(-20, 20, (64, 64))
        assert predict(live, radiographs.png((noise + level).astype(np.uint8)))["label"] == label


def test_a_photograph_is_answered_with_a_review(live: Live) -> None:
    body = predict(live, radiographs.png(np.full((64, 64), 255, np.uint8)))
    assert body["review"] is True
    reasons = body["reasons"]
    assert isinstance(reasons, list)
    assert [reason["code"] for reason in reasons] == ["novel", "exposure"]


def test_an_overriding_threshold_is_shown_everywhere(tiny_folder: Path, film: bytes) -> None:
    with running(Settings(model_dir=tiny_folder, threshold=0.999999)) as live:
        body = predict(live, film)
        assert (body["threshold"], body["threshold_overridden"], body["label"]) == (0.999999, True, "NORMAL")
        model = live.client.get("/model").json()
        assert (model["threshold"], model["threshold_overridden"]) == (0.999999, True)
        assert model["manifest"]["threshold"]["value"] == 0.4


def test_explain_adds_a_transparent_picture_in_the_films_proportions(live: Live) -> None:
    overlay = str(predict(live, radiographs.jpeg(radiographs.draw(480, 400)), "?explain=true")["overlay"])
    head, _, content = overlay.partition(",")
    assert head == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    assert picture.mode == "RGBA"
    assert picture.width / picture.height == pytest.approx(480 / 400, abs=0.01)


def test_explain_route_paints_the_film_at_its_own_upright_size(live: Live) -> None:
    film = radiographs.jpeg(radiographs.draw(480, 400), orientation=8)
    answer = live.client.post("/explain", files={"file": film})
    assert answer.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (480, 400)
    assert picture.mode == "RGB"


def test_a_model_without_a_heat_map_says_so(model_folder: Path, film: bytes) -> None:
    (model_folder / "model.onnx").write_bytes(tiny_model.build(heatmap=False, classes=False))
    with running(Settings(model_dir=model_folder)) as live:
        answer = live.client.post("/explain", files={"file": film})
        assert (answer.status_code, answer.json()["code"]) == (409, "no-heatmap")
        body = predict(live, film, "?explain=true")
        assert (body["overlay"], body["subtypes"]) == (None, None)
        assert live.client.get("/model").json()["heatmap"] is False


def test_a_batch_answers_film_by_film_in_order(live: Live) -> None:
    films = [radiographs.png(radiographs.draw(48, 40, seed=seed) // (1 + seed % 3)) for seed in range(9)]
    uploads = [("files", film) for film in films]
    uploads[4] = ("files", b"not a film")
    answer = live.client.post("/predict/batch", files=uploads)
    assert answer.status_code == 200
    items = answer.json()
    assert len(items) == 9
    for place, item in enumerate(items):
        if place == 4:
            assert (item["status"], item["code"]) == (415, "unsupported-image")
            continue
        assert item["id"] == f"{answer.headers['x-request-id']}-{place}"
        alone = predict(live, films[place])
        assert (item["probability"], item["label"]) == (alone["probability"], alone["label"])


def test_a_batch_may_be_larger_than_the_queue(tiny_folder: Path) -> None:
    films = [("files", radiographs.png(radiographs.draw(48, 40, seed=seed))) for seed in range(12)]
    with running(Settings(model_dir=tiny_folder, max_queue=2, max_batch=2)) as live:
        items = live.client.post("/predict/batch", files=films).json()
    assert [item.get("status") for item in items] == [None] * 12


def test_a_single_film_overtakes_the_rest_of_a_large_batch(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)
    film = radiographs.png(radiographs.draw(48, 40))
    settings = Settings(model_dir=tiny_folder, max_batch=2)
    with running(settings, classifier) as live, ThreadPoolExecutor(2) as pool:
        gate.batches.clear()
        gate.close()
        large = pool.submit(live.client.post, "/predict/batch", files=[("files", film)] * 20)
        wait_until(lambda: len(gate.batches) == 1, "the batch has reached the device")
        single = pool.submit(live.predict, film)
        wait_until(lambda: live.service.admission.taken == 2, "the single film is under way")
        wait_until(lambda: live.service.batcher.depth >= 1, "and waits")
        gate.open()
        assert single.result().status_code == 200
        ahead = len(gate.batches)
        assert large.result().status_code == 200
    assert ahead < len(gate.batches), "the batch went on after it"


def test_a_batch_of_too_many_is_refused_whole(tiny_folder: Path, film: bytes) -> None:
    with running(Settings(model_dir=tiny_folder, max_files=2)) as live:
        accepted = live.client.post("/predict/batch", files=[("files", film)] * 2)
        refused = live.client.post("/predict/batch", files=[("files", film)] * 3)
    assert accepted.status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (413, "too-many-files")


def test_a_well_formed_request_id_is_kept_and_any_other_replaced(live: Live, film: bytes) -> None:
    kept = live.predict(film, headers={"X-Request-ID": "ward-7.film_3"})
    assert kept.headers["x-request-id"] == kept.json()["id"] == "ward-7.film_3"
    for bad in (b"a b", b"x" * 65, b'"', "é".encode()):
        replaced = live.client.get("/health/live", headers={b"X-Request-ID": bad})
        assert len(replaced.headers["x-request-id"]) == 32


def test_keys_open_the_service_where_it_has_any(tiny_folder: Path, film: bytes) -> None:
    keys = (entry_of("ward", "first"), entry_of("clinic", "second"))
    with running(Settings(model_dir=tiny_folder, api_keys=keys)) as live:

        def status(path: str, key: str | None) -> httpx.Response:
            headers = {} if key is None else {"X-API-Key": key}
            return live.client.post(path, files={"file": film}, headers=headers)

        for path in ("/predict", "/explain"):
            assert status(path, "second").status_code == 200
            for key in (None, "", "third", "first, second"):
                assert (status(path, key).status_code, status(path, key).json()["code"]) == (
                    401,
                    "key-refused",
                )
        assert live.client.get("/model").status_code == 401
        assert live.client.get("/health/ready").status_code == 200
        assert live.client.get("/metrics").status_code == 200
