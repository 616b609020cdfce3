"""A synthetic data set in the public layout, and a network small enough to train in seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests import radiographs
from training import architectures, dataset
from training.architectures import ARCHITECTURES, Architecture
from training.recipe import Recipe, Stage

PATIENTS = 14


def write_films(folder: Path, patients: int = PATIENTS) -> None:
    """Two films a patient in the public layout; pneumonia has an opacity."""
    normal, pneumonia = folder / "NORMAL", folder / "PNEUMONIA"
    for of_class in (normal, pneumonia):
        of_class.mkdir(parents=True)
    for number in range(patients):
        kind = "virus" if number % 3 == 0 else "bacteria"
        for film in range(2):
            seed = 10 * number + film
            (normal / f"IM-{number:04d}-{film:04d}.jpeg").write_bytes(
                radiographs.jpeg(radiographs.draw(96, 80, seed=seed))
            )
            (pneumonia / f"person{100 + number}_{kind}_{film}.jpeg").write_bytes(
                radiographs.jpeg(radiographs.draw(96, 80, seed=seed + 5, opacity=True))
            )


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a synthetic data set, with a test split."""
    root = tmp_path_factory.mktemp("chest_xray")
    write_films(root / "train")
    write_films(root / "test", patients=3)
    return root


@pytest.fixture(scope="session")
def films(data: Path) -> dataset.Dataset:
    """Its training split, decoded."""
    return dataset.load(dataset.find_films(data))


def _three_channels(films: Any) -> Any:
    return keras.layers.Concatenate(name="channels", dtype="float32")([films, films, films])


def _small_trunk(weights: str | None, inputs: Any) -> Any:
    assert weights is None
    x = keras.layers.Conv2D(4, 3, strides=4, padding="same", name="first")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    return keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="second")(x)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a two-convolution network, registered for one test."""
    monkeypatch.setitem(ARCHITECTURES, "small", Architecture("small", _three_channels, _small_trunk))
    assert architectures.ARCHITECTURES["small"].name == "small"
    return "small"


@pytest.fixture
def recipe(small: str) -> Recipe:
    """A run of seconds in every phase."""
    return Recipe(
        architecture=small,
        input_size=48,
        folds=3,
        monitor_share=0.2,
        stages=(Stage(size=32, epochs=2, batch_size=8), Stage(size=48, epochs=1, batch_size=8)),
        fine_tune_layers=1,
        fine_tune_epochs=3,
    )


@pytest.fixture
def count_steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], list[np.ndarray[Any, Any]]]:
    """Records the targets of every training step, and kills the run at the step asked for."""

    def start(kill_at: int | None) -> list[np.ndarray[Any, Any]]:
        seen: list[np.ndarray[Any, Any]] = []
        original = ORIGINAL_TRAIN_ON_BATCH

        def step(self: Any, x: Any, y: Any, **options: Any) -> Any:
            if kill_at is not None and len(seen) == kill_at:
                raise KeyboardInterrupt
            seen.append(y)
            return original(self, x, y, **options)

        monkeypatch.setattr(keras.Model, "train_on_batch", step)
        return seen

    return start


ORIGINAL_TRAIN_ON_BATCH = keras.Model.train_on_batch
