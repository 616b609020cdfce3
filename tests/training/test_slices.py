from dataclasses import replace

import numpy as np
import pytest

from training import folds
from training.dataset import Dataset
from training.slices import HARD_SHARE, mark, style_scores, thumbnails


@pytest.fixture(scope="module")
def styled(films: Dataset) -> Dataset:
    """Films whose brightness goes with the label, but for a few on which it misleads."""
    random = np.random.default_rng(0)
    misled = np.zeros(len(films), bool)
    for label in (0, 1):
        misled[random.choice(np.flatnonzero(films.labels == label), 4, replace=False)] = True
    bright = (films.labels == 1) ^ misled
    pixels = np.where(bright[:, None, None], films.pixels // 2 + 100, films.pixels // 2).astype(np.uint8)
    return replace(films, pixels=pixels, slices={"misled": misled})


def test_the_films_on_which_style_misleads_are_the_hard_ones(styled: Dataset) -> None:
    misled = styled.slices["misled"]
    slices = mark(styled).slices
    hard = slices["hard_normal"] | slices["hard_pneumonia"]
    assert np.all(hard[misled])
    assert not np.any(slices["hard_normal"] & (styled.labels == 1))
    assert not np.any(slices["hard_pneumonia"] & (styled.labels == 0))
    for label, name in enumerate(("hard_normal", "hard_pneumonia")):
        assert slices[name].sum() == pytest.approx(HARD_SHARE * (styled.labels == label).sum(), abs=1)
    assert np.array_equal(slices["easy_pneumonia"] | slices["hard_pneumonia"], styled.labels == 1)
    assert np.array_equal(slices["viral"], styled.kinds == "viral")


def test_style_is_judged_out_of_fold(styled: Dataset) -> None:
    # Thumbnails that tell nothing but which film it is: whoever saw a film or its duplicate would know its label.
    random = np.random.default_rng(1)
    noise = random.integers(0, 256, (len(styled), 8, 8), np.uint8).repeat(28, axis=1).repeat(28, axis=2)
    groups = folds.group(styled.films)
    for number in np.unique(groups):  # and all films of a patient look the same
        noise[groups == number] = noise[np.flatnonzero(groups == number)[0]]
    scores = style_scores(replace(styled, pixels=noise))
    right = ((scores > 0.5) == (styled.labels == 1)).mean()
    assert 0.2 < right < 0.8


def test_slices_follow_a_subset(styled: Dataset) -> None:
    marked = mark(styled)
    chosen = np.flatnonzero(marked.slices["hard_normal"])[:2]
    part = marked.subset(chosen)
    assert part.slices["hard_normal"].all()
    assert not part.slices["hard_pneumonia"].any()


def test_few_patients_have_no_slices_of_style(styled: Dataset) -> None:
    few = styled.subset(np.isin(styled.patients, np.unique(styled.patients)[:4]))
    assert not {"hard_normal", "hard_pneumonia", "easy_pneumonia"} & mark(few).slices.keys()


def test_a_thumbnail_is_the_mean_of_its_boxes() -> None:
    film = np.zeros((1, 224, 224), np.uint8)
    film[0, :28, 28:42] = 200
    values = thumbnails(film).reshape(8, 8)
    assert values[0, 1] == pytest.approx(100, abs=1)
    assert values.sum() == pytest.approx(values[0, 1])
