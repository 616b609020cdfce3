"""Slices of a data set that show what the overall figures hide.

In the public data set the style of acquisition goes with the label: an 8 × 8 thumbnail, on which no lung
structure is left, tells most films apart. A network that leans on style looks excellent on such films and calls
a normal film in the other style pneumonia. So every film is given a *style score*, the probability of pneumonia
by its thumbnail alone, and the films on which style misleads are judged by themselves.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training import folds
from training.dataset import Dataset, Pixels

THUMBNAIL = 8
STYLE_FOLDS = 5
HARD_SHARE = 0.2
"""Share of each class that is called hard: the films whose style speaks most for the other class."""

Mask = npt.NDArray[np.bool_]


def mark(films: Dataset, seed: int = 0) -> Dataset:
    """The same films with `slices`.

    `hard_normal`: the fifth of the normal films whose style looks most like pneumonia. `hard_pneumonia`: the
    fifth of the pneumonia films whose style looks most like normal; `easy_pneumonia`: the others. `bacterial`
    and `viral` by the file names. Where a class has fewer patients than the style classifier has folds, the
    slices of style are left out.
    """
    slices = {kind: films.kinds == kind for kind in ("bacterial", "viral")}
    groups = folds.group(films.films)
    patients = [len(np.unique(groups[films.labels == label])) for label in (0, 1)]
    if min(patients) >= STYLE_FOLDS:
        scores = style_scores(films, seed)
        normal, pneumonia = films.labels == 0, films.labels == 1
        slices["hard_normal"] = normal & (scores >= np.quantile(scores[normal], 1 - HARD_SHARE))
        slices["hard_pneumonia"] = pneumonia & (scores <= np.quantile(scores[pneumonia], HARD_SHARE))
        slices["easy_pneumonia"] = pneumonia & ~slices["hard_pneumonia"]
    return replace(films, slices={name: mask for name, mask in slices.items() if mask.any()})


def style_scores(films: Dataset, seed: int = 0) -> npt.NDArray[np.float64]:
    """Probability of pneumonia by style alone: float64, [films].

    Out of fold: no film is judged by a classifier that saw its patient or its duplicate.
    """
    values = thumbnails(films.pixels)
    fold = folds.split(films.films, STYLE_FOLDS, seed)
    scores = np.empty(len(films))
    for number in range(STYLE_FOLDS):
        inside = fold == number
        classifier = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
        )
        classifier.fit(values[~inside], films.labels[~inside])
        scores[inside] = classifier.predict_proba(values[inside])[:, 1]
    return scores


def thumbnails(pixels: Pixels) -> npt.NDArray[np.float64]:
    """Box means of films, float64 [films, 64], grey levels from 0 to 255."""
    small = [
        np.asarray(Image.fromarray(film).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
        for film in pixels
    ]
    return np.stack(small).reshape(len(small), -1).astype(np.float64)
