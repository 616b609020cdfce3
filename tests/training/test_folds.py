from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training import folds
from training.dataset import DatasetError, Film


def film(number: int, *, label: int, patient: str, digest: str) -> Film:
    return Film(Path(f"{number}.jpeg"), label, "viral" if label else "normal", patient, digest)


def many(seed: int, count: int = 300) -> list[Film]:
    random = np.random.default_rng(seed)
    return [
        film(
            number,
            label=int(random.random() < 0.7),
            patient=str(random.integers(count // 3)),
            # Some films are byte-identical copies under another patient's name.
            digest=str(random.integers(count)) if random.random() < 0.1 else f"own-{number}",
        )
        for number in range(count)
    ]


@given(seed=st.integers(0, 10_000), count=st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_no_patient_and_no_duplicate_straddles_a_split(seed: int, count: int) -> None:
    films = many(seed)
    fold = folds.split(films, count, seed)
    for name in ("patient", "digest"):
        of: dict[str, set[int]] = {}
        for one, number in zip(films, fold, strict=True):
            of.setdefault(getattr(one, name), set()).add(int(number))
        assert all(len(numbers) == 1 for numbers in of.values())
    assert set(fold) == set(range(count))


def test_sharing_is_followed_through() -> None:
    chain = [
        film(0, label=0, patient="a", digest="x"),
        film(1, label=0, patient="a", digest="y"),
        film(2, label=1, patient="b", digest="y"),
        film(3, label=1, patient="c", digest="z"),
    ]
    groups = folds.group(chain)
    assert groups[0] == groups[1] == groups[2] != groups[3]


def test_the_same_seed_gives_the_same_folds_in_any_order_and_folder() -> None:
    films = many(1)
    fold = folds.split(films, 5, seed=3)
    order = np.random.default_rng(0).permutation(len(films))
    moved = [replace(films[i], path=Path("/elsewhere") / films[i].path.name) for i in order]
    assert np.array_equal(folds.split(moved, 5, seed=3), fold[order])
    assert not np.array_equal(folds.split(films, 5, seed=4), fold)


def test_every_fold_has_about_its_share_of_each_class() -> None:
    films = many(2, count=1000)
    labels = np.array([one.label for one in films])
    fold = folds.split(films, 5, seed=0)
    for number in range(5):
        assert abs(labels[fold == number].mean() - labels.mean()) < 0.05
        assert abs((fold == number).mean() - 0.2) < 0.05


def test_more_folds_than_patients_is_a_clear_error() -> None:
    with pytest.raises(DatasetError, match="at least 400 normal patients"):
        folds.split(many(3), 400, seed=0)
