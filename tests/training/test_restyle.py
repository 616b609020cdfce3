from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from tests import radiographs
from training.dataset import Dataset, Film, Pixels
from training.restyle import match_tone, reframe, restyle


def of(pixels: list[Pixels], labels: list[int]) -> Dataset:
    films = tuple(
        Film(Path(f"{place}.png"), label, "normal" if label == 0 else "viral", str(place), str(place))
        for place, label in enumerate(labels)
    )
    return Dataset(films, np.stack(pixels))


@pytest.fixture
def two_styles() -> Dataset:
    """Normal films dark and sharp, pneumonia films bright and blurred."""
    drawn = [radiographs.draw(96, 96, seed=seed) for seed in range(8)]
    sharp = [np.asarray(film * 0.5, np.uint8) for film in drawn[:4]]
    soft = [np.asarray(ndimage.gaussian_filter(film, 2.5) // 2 + 120, np.uint8) for film in drawn[4:]]
    return of([*sharp, *soft], [0] * 4 + [1] * 4)


def sharpness(films: Pixels) -> float:
    """Share of the variance in steps from pixel to pixel."""
    values = films.astype(np.float64)
    return float(np.diff(values, axis=2).var() / values.var())


def test_tone_and_sharpness_change_sides(two_styles: Dataset) -> None:
    normal = two_styles.labels == 0
    before, after = two_styles.pixels, restyle(two_styles)
    assert after.shape == before.shape
    assert after.dtype == np.uint8
    assert before[normal].mean() < 70 < 150 < before[~normal].mean()
    assert after[~normal].mean() < 70 < 150 < after[normal].mean()
    assert sharpness(before[normal]) > 2 * sharpness(before[~normal])
    assert sharpness(after[~normal]) > sharpness(after[normal])


def test_what_the_film_shows_stays(two_styles: Dataset) -> None:
    for before, after in zip(two_styles.pixels, restyle(two_styles), strict=True):
        coarse = [ndimage.zoom(film.astype(float), 1 / 8, order=1).ravel() for film in (before, after)]
        ranks = [np.argsort(np.argsort(values)) for values in coarse]
        assert np.asarray(np.corrcoef(ranks[0], ranks[1]))[0, 1] > 0.9


def test_the_chest_takes_the_shape_of_the_other_class() -> None:
    disc = np.hypot(*(np.mgrid[:100, :100] - 49.5)) < 30
    film = (disc * 200).astype(np.uint8)
    normal, pneumonia = reframe(of([film, film], [0, 1]))

    def shape(picture: Pixels) -> float:
        rows, columns = np.nonzero(picture > 100)
        return float(np.ptp(columns) / np.ptp(rows))

    assert shape(normal) == pytest.approx(0.8, abs=0.03)
    assert shape(pneumonia) == pytest.approx(1 / 0.8, abs=0.05)


def test_a_film_takes_the_whole_histogram_of_another_and_keeps_its_order() -> None:
    film = np.arange(256, dtype=np.uint8).repeat(16).reshape(64, 64)
    donor = np.random.default_rng(0).gamma(4, 12, (64, 64)).astype(np.uint8)
    matched = match_tone(film, donor)
    quantiles = np.linspace(0.02, 0.98, 25)
    assert np.abs(np.quantile(matched, quantiles) - np.quantile(donor, quantiles)).max() <= 2
    assert (np.diff(matched.ravel().astype(int)) >= 0).all()
    assert np.array_equal(match_tone(film, film), film)


def test_the_seed_names_the_donors(two_styles: Dataset) -> None:
    assert np.array_equal(restyle(two_styles, 1), restyle(two_styles, 1))
    assert not np.array_equal(restyle(two_styles, 1), restyle(two_styles, 2))


def test_one_class_alone_has_no_other_style(two_styles: Dataset) -> None:
    with pytest.raises(ValueError, match="both classes"):
        restyle(two_styles.subset(two_styles.labels == 0))


def test_a_film_of_one_grey_level_stays_a_film(two_styles: Dataset) -> None:
    blank = of([*two_styles.pixels[:4], np.full((96, 96), 90, np.uint8)], [0, 0, 0, 0, 1])
    assert (np.ptp(restyle(blank)[:4].reshape(4, -1), axis=1) == 0).all()
