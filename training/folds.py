"""Folds that no patient and no duplicate straddles."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from training.dataset import DatasetError, Film


def group(films: Sequence[Film]) -> npt.NDArray[np.int64]:
    """Group of each film, int64 [films]: films of one patient, or of identical bytes, share one.

    Sharing is followed through: if A and B are of one patient and B and C are identical, all three are one
    group (union–find).
    """
    parent = list(range(len(films)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[tuple[str, str], int] = {}
    for place, film in enumerate(films):
        for key in (("patient", film.patient), ("bytes", film.digest)):
            parent[root(place)] = root(first.setdefault(key, place))
    return np.array([root(place) for place in range(len(films))], np.int64)


def split(films: Sequence[Film], count: int, seed: int) -> npt.NDArray[np.int64]:
    """Fold of each film, int64 [films], from 0 to `count` - 1, stratified by kind; by label where a kind is rare.

    The same films and seed give the same folds, in whatever folder the films lie.

    Raises:
        DatasetError: too few patients of a class for that many folds.
    """
    # The order of files differs between file systems; the folds must not.
    order = np.array(sorted(range(len(films)), key=lambda i: (films[i].path.name, films[i].digest)))
    ordered = [films[i] for i in order]
    _, groups = np.unique(group(ordered), return_inverse=True)
    labels = np.array([film.label for film in ordered])
    for label, name in enumerate(("normal", "pneumonia")):
        patients = len(np.unique(groups[labels == label]))
        if patients < count:
            raise DatasetError(f"{count} folds need at least {count} {name} patients; there are {patients}.")
    strata = np.array([film.kind for film in ordered])
    if np.unique(strata, return_counts=True)[1].min() < count:
        strata = labels.astype(str)
    folds = np.empty(len(films), np.int64)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(splitter.split(order, strata, groups)):
        folds[order[held_out]] = number
    return folds
