import keras
import numpy as np
import numpy.typing as npt
import pytest

from tests import radiographs
from training.augmentation import STRENGTHS, Augmentation


@pytest.fixture
def batch() -> npt.NDArray[np.float32]:
    films = [radiographs.draw(64, 64, seed=seed) for seed in range(6)]
    return np.stack(films)[..., None].astype(np.float32)


def varied(batch: npt.NDArray[np.float32], **options: object) -> npt.NDArray[np.float32]:
    layer = Augmentation(**options)  # type: ignore[arg-type]
    return np.asarray(keras.ops.convert_to_numpy(layer(batch, training=True)), np.float32)


def test_outside_training_films_stay_as_they_are(batch: npt.NDArray[np.float32]) -> None:
    assert np.array_equal(keras.ops.convert_to_numpy(Augmentation(1.5)(batch, training=False)), batch)
    assert np.array_equal(varied(batch, strength=STRENGTHS["none"]), batch)


@pytest.mark.parametrize("strength", ["light", "medium", "strong"])
def test_every_film_is_varied_anew_and_stays_a_film(batch: npt.NDArray[np.float32], strength: str) -> None:
    same = np.repeat(batch[:1], 8, axis=0)
    out = varied(same, strength=STRENGTHS[strength], seed=1)
    assert out.shape == same.shape
    assert np.isfinite(out).all()
    assert out.min() >= 0
    assert out.max() <= 255
    assert all(np.abs(out[0] - other).mean() > 1 for other in out[1:])


def test_more_strength_varies_more(batch: npt.NDArray[np.float32]) -> None:
    same = np.repeat(batch, 8, axis=0)
    moved = [np.abs(varied(same, strength=s, seed=2) - same).mean() for s in (0.25, 0.75, 1.5)]
    assert moved == sorted(moved)


def test_the_same_seed_varies_alike(batch: npt.NDArray[np.float32]) -> None:
    assert np.array_equal(varied(batch, seed=3), varied(batch, seed=3))
    assert not np.array_equal(varied(batch, seed=3), varied(batch, seed=4))


def test_a_marker_stays_on_its_side_unless_flipped() -> None:
    film = np.zeros((32, 64, 64, 1), np.float32)
    film[:, 24:40, 6:20] = 255
    side = varied(film, strength=1.0, seed=5).sum(axis=(1, 3))
    assert np.all(side[:, :32].sum(axis=1) > side[:, 32:].sum(axis=1))
    side = varied(film, strength=1.0, flip=True, seed=5).sum(axis=(1, 3))
    flipped = (side[:, :32].sum(axis=1) < side[:, 32:].sum(axis=1)).mean()
    assert 0.2 < flipped < 0.8


def test_the_layer_is_rebuilt_from_its_config() -> None:
    layer = Augmentation(0.7, flip=True, seed=4)
    again = Augmentation.from_config(layer.get_config())
    assert (again.strength, again.flip, again.seed) == (0.7, True, 4)
