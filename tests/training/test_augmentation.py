import io

import keras
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests import radiographs
from training.augmentation import STRENGTHS, Augmentation, through_jpeg


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


def test_a_crop_parts_width_and_height_and_leaves_no_border() -> None:
    film = np.full((64, 64, 64, 1), 200, np.float32)
    film[:, 24:40, 24:40] = 0
    layer = Augmentation(1.0, aspect=0.0, crop=0.4, seed=9)
    moved = keras.ops.convert_to_numpy(layer._move(film))[..., 0]
    dark = moved < 100
    across, down = dark.any(axis=1).sum(axis=1), dark.any(axis=2).sum(axis=1)
    shapes = across / down
    assert shapes.min() < 0.8
    assert shapes.max() > 1.25
    assert min(across.min(), down.min()) >= 14
    uncut = keras.ops.convert_to_numpy(Augmentation(1.0, aspect=0.0, seed=9)._move(film))[..., 0]
    assert (moved[:, [0, -1]] == 0).mean() < (uncut[:, [0, -1]] == 0).mean()


def test_views_of_a_film_share_geometry_and_tone(batch: npt.NDArray[np.float32]) -> None:
    one, other = np.split(varied(batch, strength=1.0, views=2, seed=6), 2)
    assert one.shape == batch.shape
    apart = np.abs(one - other).mean(axis=(1, 2, 3))
    assert np.all(apart > 0)
    # Blur, noise and JPEG move a film by far less than geometry and tone do.
    assert apart.max() < 0.5 * np.abs(one - batch).mean(axis=(1, 2, 3)).min()
    coarse = [view.reshape(6, 8, 8, 8, 8).mean(axis=(2, 4)) for view in (one, other)]
    assert np.abs(coarse[0] - coarse[1]).mean() < 2


@pytest.mark.parametrize("quality", [30, 60, 75, 95])
@pytest.mark.parametrize("size", [64, 61])
def test_jpeg_is_what_libjpeg_does(quality: int, size: int) -> None:
    film = radiographs.draw(size, size, seed=8)
    ours = through_jpeg(film[None, ..., None].astype(np.float32), np.full((1, 1, 1, 1), quality, np.float32))
    ours = keras.ops.convert_to_numpy(ours)[0, ..., 0]
    file = io.BytesIO()
    Image.fromarray(film).save(file, "JPEG", quality=quality)
    theirs = np.asarray(Image.open(file)).astype(np.float64)
    assert ours.shape == film.shape
    inside = slice(0, size // 8 * 8)  # libjpeg pads the last blocks in its own way
    loss = np.abs(theirs - film)[inside, inside].mean()
    assert np.abs(ours - theirs)[inside, inside].mean() < min(0.5, 0.5 * loss)


def test_the_layer_is_rebuilt_from_its_config() -> None:
    layer = Augmentation(0.7, flip=True, views=2, seed=4)
    again = Augmentation.from_config(layer.get_config())
    assert (again.strength, again.flip, again.views, again.seed) == (0.7, True, 2, 4)
