"""Soft labels: what teachers that never saw a film say of it.

A network says of the films that it was trained on what their labels say. So the films are parted anew, and each
is judged by teachers that learnt from the other parts alone; none of them ever sees the pupil's held-out fold.
"""

import json
from pathlib import Path

import keras
import numpy as np
from rich.console import Console

from training import folds
from training.architectures import PNEUMONIA
from training.calibrate import fit_scaling
from training.dataset import Dataset
from training.fit import SoftLabels, fit, predict_logits
from training.recipe import Recipe

PARTS = 4


def teach(films: Dataset, teacher: Recipe, folder: Path, trials: int, console: Console) -> Path:
    """Train `trials` teachers for each of four parts of the films outside the held-out fold.

    Returns:
        `folder/soft_labels.json`: each film's mean probability, calibrated by part; an existing one is kept.
    """
    path = folder / "soft_labels.json"
    if path.is_file():
        return path
    rest = films.subset(folds.split(films.films, teacher.folds, teacher.seed) != teacher.held_out_fold)
    part = folds.split(rest.films, PARTS, teacher.seed)
    total = np.zeros(len(rest))
    for trial in range(trials):
        for number in range(PARTS):
            recipe = teacher.model_copy(update={"folds": PARTS, "held_out_fold": number, "trial": trial})
            network = fit(rest, recipe, folder / f"teacher-{trial}-{number}", console)
            judged = rest.subset(part == number)
            logits = predict_logits(network, judged.resized(recipe.input_size))[:, PNEUMONIA]
            total[part == number] += fit_scaling(logits, judged.labels)(logits)
            keras.utils.clear_session()
    probabilities = {
        film.digest: round(float(value), 6) for film, value in zip(rest.films, total / trials, strict=True)
    }
    soft = SoftLabels(
        folds=teacher.folds,
        held_out_fold=teacher.held_out_fold,
        seed=teacher.seed,
        probabilities=probabilities,
    )
    path.write_text(json.dumps(soft.model_dump()) + "\n")
    return path
