"""The shipped model behind the routes: however films come and in whatever batch, they get the same answer."""

import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import imaging
from app.engine.signals import EDGES
from app.settings import Settings
from tests import radiographs
from tests.app.live import Live, running

ROOT = Path(__file__).parents[3]
FILMS = [radiographs.png(radiographs.draw(seed=seed, opacity=seed % 2 == 1)) for seed in range(5)]


@pytest.fixture(scope="module", params=["int8", "float16"])
def shipped(request: pytest.FixtureRequest) -> Iterator[Live]:
    folder = ROOT / "models" / "pneumonia" / "1"
    settings = Settings(model_dir=folder, precision=request.param, device="cpu", max_wait_s=60)
    with running(settings) as service:
        yield service


def essence(body: Any) -> dict[str, Any]:
    """A prediction without what differs from request to request."""
    return {name: value for name, value in body.items() if name not in ("id", "timing_ms")}


def test_it_has_a_reference_at_the_edges_of_the_histograms(shipped: Live) -> None:
    reference = shipped.service.classifier.manifest.reference
    assert reference is not None
    assert reference.films == shipped.service.classifier.manifest.evaluation["held_out_fold"].films
    assert reference.probability.edges == EDGES["probability"]
    assert reference.novelty is not None
    assert reference.novelty.edges == EDGES["novelty"]
    assert reference.brightness.edges == EDGES["brightness"]


def test_a_film_gets_the_same_answer_alone_in_a_batch_and_in_company(shipped: Live) -> None:
    alone = [essence(shipped.predict(film).json()) for film in FILMS]
    assert len({prediction["probability"] for prediction in alone}) == len(FILMS), "else it proves nothing"
    batch = shipped.client.post("/predict/batch", files=[("files", film) for film in FILMS]).json()
    assert [essence(prediction) for prediction in batch] == alone
    with ThreadPoolExecutor(len(FILMS)) as pool:
        company = list(pool.map(shipped.predict, FILMS))
    assert [essence(answer.json()) for answer in company] == alone


def test_the_open_inference_protocol_gives_the_same_probabilities(shipped: Live) -> None:
    pixels = np.stack([imaging.read(film, size=224).pixels for film in FILMS])
    tensor = {
        "name": "pixels",
        "datatype": "UINT8",
        "shape": [*pixels.shape],
        "data": pixels.ravel().tolist(),
    }
    request = {"inputs": [tensor], "outputs": [{"name": "probability"}]}
    (output,) = shipped.client.post("/v2/models/pneumonia/infer", json=request).json()["outputs"]
    uploads = [shipped.predict(film).json()["probability"] for film in FILMS]
    assert [round(probability, 6) for probability in output["data"]] == uploads


def test_the_documented_client_works(shipped: Live, tmp_path: Path) -> None:
    (tmp_path / "film.jpg").write_bytes(radiographs.jpeg(radiographs.draw(448, 448)))
    page = (ROOT / "docs" / "api.md").read_text()
    (code,) = re.findall(r"^```python\n(.+?)^```$", page, re.MULTILINE | re.DOTALL)
    code = code.replace("localhost:8000", shipped.url.removeprefix("http://"))
    code = code.replace("film.jpg", str(tmp_path / "film.jpg"))
    said = io.StringIO()
    with redirect_stdout(said):
        exec(code, {})
    uploaded = shipped.predict((tmp_path / "film.jpg").read_bytes()).json()["probability"]
    assert float(said.getvalue().strip("[]\n")) == pytest.approx(uploaded, abs=0.05)
