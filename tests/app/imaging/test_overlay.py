import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.imaging import overlay
from tests import radiographs


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image


def corner_heatmap(strength: float = 8.0) -> npt.NDArray[np.float32]:
    heatmap = np.full((7, 7), -3, np.float32)
    heatmap[0, 6] = strength
    return heatmap


def alpha_of(layer: Image.Image) -> npt.NDArray[Any]:
    return np.asarray(layer.getchannel("A"))


def test_the_layer_has_the_films_proportions() -> None:
    assert opened(overlay.layer(corner_heatmap(), 2000, 1000)).size == (448, 224)
    assert opened(overlay.layer(corner_heatmap(), 10, 10_000)).size == (1, 448)


def test_the_layer_is_opaque_only_where_there_is_evidence() -> None:
    alpha = alpha_of(opened(overlay.layer(corner_heatmap(), 700, 700)))
    assert alpha[5, -5] > 150
    assert alpha[:, :200].max() == 0


def test_evidence_against_pneumonia_is_not_painted() -> None:
    film = radiographs.draw(96, 64)
    against = np.full((7, 7), -5, np.float32)
    assert alpha_of(opened(overlay.layer(against, 96, 64))).max() == 0
    painted = opened(overlay.over_film(radiographs.png(film), against))
    assert np.array_equal(np.asarray(painted), np.repeat(film[..., None], 3, axis=2))


def test_weak_evidence_is_painted_more_faintly_than_strong() -> None:
    weak = alpha_of(opened(overlay.layer(corner_heatmap(0.5), 100, 100))).max()
    strong = alpha_of(opened(overlay.layer(corner_heatmap(8.0), 100, 100))).max()
    assert 0 < weak < strong / 2


def test_the_film_keeps_its_own_size_and_is_upright() -> None:
    film = radiographs.draw(97, 61)
    for orientation in range(1, 9):
        encoded = radiographs.jpeg(film, orientation=orientation)
        painted = opened(overlay.over_film(encoded, corner_heatmap()))
        assert painted.size == (97, 61)
        rgb = np.asarray(painted).astype(int)
        colourful = np.ptp(rgb, axis=2)
        assert colourful[3, -3] > 40, "the evidence lies at the top right of the upright film"
        assert colourful[-10:, :40].max() == 0
