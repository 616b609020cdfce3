"""Every network of the registry: saved by a run, exported, and asked for a film by HTTP."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from app.engine.manifest import Calibration, ExposureLimits, Threshold
from app.imaging import read
from app.settings import Settings
from model_export.export import Films, export
from model_export.reference import held_out_source
from model_export.verify import probe_films
from tests import radiographs
from tests.app.live import Live, running
from tests.model_export.conftest import at_work
from tests.training.conftest import write_films
from training import dataset
from training.architectures import ARCHITECTURES, PNEUMONIA, Architecture, build
from training.calibrate import (
    FeatureSpace,
    Scaling,
    describe_novelty,
    describe_uncertainty,
    middle_layer,
    novelty_features,
)
from training.evaluate import Conclusion
from training.metrics import Scored, evaluate
from training.recipe import Recipe

SCALING = Scaling(temperature=3.0, bias=0.2)
Pixels = npt.NDArray[np.uint8]


def answers(network: Any, pixels: Pixels) -> npt.NDArray[np.float32]:
    """What a Keras network says of films, uint8 [films, side, side]."""
    found: npt.NDArray[np.float32] = keras.ops.convert_to_numpy(network(pixels[..., None].astype(np.float32)))
    return found


def probabilities(network: Any, pixels: Pixels) -> npt.NDArray[np.float64]:
    return SCALING(answers(network, pixels)[:, PNEUMONIA])


def finish(network: Any, pixels: Pixels, run: Path) -> None:
    """A run's folder as the export reads it."""
    network.save(run / "model.keras")
    Recipe(architecture=network.name, input_size=network.input.shape[1]).save(run)
    layer = middle_layer(network)
    features = answers(novelty_features(network, layer), pixels)
    space = FeatureSpace.fit(features, layer, rank=8)
    space.save(run / "novelty.npz")
    scored = Scored(np.arange(len(pixels)) % 2, probabilities(network, pixels), np.arange(len(pixels)))
    conclusion = Conclusion(
        scaling=SCALING,
        kind_scaling=Scaling(temperature=1.3, bias=-0.2),
        calibration=Calibration(temperature=SCALING.temperature),
        threshold=Threshold(value=0.5, rule="half"),
        uncertainty=describe_uncertainty(scored),
        novelty=describe_novelty(space.novelty(features), space),
        exposure=ExposureLimits(brightness_low=0, brightness_high=255, contrast_low=0),
        evaluation=evaluate(scored, 0.5),
        films=len(pixels),
        films_sha256="0" * 64,
        command="python -m training fit",
        libraries={},
    )
    (run / "calibration.json").write_text(conclusion.model_dump_json())


@dataclass(frozen=True, slots=True)
class Served:
    """One network behind the service, and what Keras itself says of two films."""

    architecture: Architecture
    live: Live
    films: tuple[bytes, bytes]
    expected: tuple[float, float]

    def explain(self) -> Any:
        return self.live.client.post("/explain", files={"file": ("film", self.films[0])})


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    architecture = ARCHITECTURES[request.param]
    side = architecture.smallest
    drawn = [radiographs.draw(seed=seed, opacity=seed % 2 == 0) for seed in range(6)]
    films = [radiographs.png(film) for film in (*drawn, *probe_films(side, 4, seed=2))]
    pixels = np.stack([read(film, size=side).pixels for film in films])
    known = np.concatenate([pixels, probe_films(side, 24, seed=1)])

    keras.utils.set_random_seed(1)
    network = at_work(build(architecture.name, input_size=side), known)
    run, model = (tmp_path_factory.mktemp(name) for name in ("run", "model"))
    finish(network, known, run)
    export(
        run / "model.keras",
        model,
        films=None,
        preprocess=None,
        threshold=None,
        name="pneumonia",
        version="1",
        report=lambda _: None,
    )
    expected = probabilities(network, pixels)
    low, high = int(expected.argmin()), int(expected.argmax())
    with running(Settings(model_dir=model, max_batch=2)) as live:
        yield Served(architecture, live, (films[low], films[high]), (expected[low], expected[high]))


def test_the_service_answers_a_film_as_the_network_does(served: Served) -> None:
    assert served.expected[1] - served.expected[0] > 0.005  # so that neither film passes for the other
    for film, expected in zip(served.films, served.expected, strict=True):
        answer = served.live.predict(film)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["probability"] == pytest.approx(expected, abs=0.002)
        assert sum(body["subtypes"].values()) == pytest.approx(body["probability"], abs=1e-4)


def test_the_manifest_names_the_network_and_where_its_novelty_is_measured(served: Served) -> None:
    model = served.live.client.get("/model").json()
    assert model["manifest"]["architecture"] == served.architecture.name
    assert model["manifest"]["input_size"] == served.architecture.smallest
    assert model["manifest"]["novelty"]["limit"] > 0
    assert model["heatmap"] is not served.architecture.flattens


def test_a_heat_map_is_painted_unless_the_network_flattens_its_maps(served: Served) -> None:
    answer = served.explain()
    if served.architecture.flattens:
        assert (answer.status_code, answer.json()["code"]) == (409, "no-heatmap")
        assert "no heat map" in answer.json()["detail"]
    else:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")


def test_a_network_that_flattens_its_maps_is_judged_in_half_precision_and_in_int8(tmp_path: Path) -> None:
    write_films(tmp_path / "train", patients=8)
    films = dataset.load(dataset.find_films(tmp_path))
    keras.utils.set_random_seed(1)
    network = at_work(build("cnn", input_size=32), films.resized(32))
    finish(network, films.resized(32), tmp_path)
    said: list[str] = []
    exported = export(
        tmp_path / "model.keras",
        tmp_path / "model",
        films=lambda _: Films(held_out=films, known=films),
        preprocess=None,
        threshold=None,
        name="pneumonia",
        version="1",
        report=said.append,
    )
    assert exported.int8 is not None
    assert exported.int8.auc == pytest.approx(exported.int8.auc_half, abs=0.1)
    assert "judging int8 on the held-out films" in said
    assert set(exported.files) == {"model.onnx"} | ({"model.int8.onnx"} if exported.int8.holds else set())
    manifest = exported.files["model.onnx"]
    assert manifest.evaluation["held_out_fold"].films == len(films)
    assert manifest.novelty is not None
    for file in exported.files.values():
        assert file.reference is not None
        assert (file.reference.films, file.reference.source) == (len(films), held_out_source(file.training))
    assert "model.onnx" in {path.name for path in (tmp_path / "model").iterdir()}
