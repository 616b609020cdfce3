"""Ablations: one choice of training at a time, on the same folds, judged on the hard films too.

The small residual network ranks the choices, since a ResNet50 takes hours a run on a processor. The rule by
which one of them is taken stands in docs/ablations.md.
"""

import csv
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from rich.console import Console

from app.engine.manifest import Evaluation
from training.architectures import PNEUMONIA
from training.crops import to_lungs
from training.dataset import Dataset, Pixels
from training.fit import fit, partition, predict_logits
from training.judgement import judge_held_out
from training.pretrain import pretrain
from training.recipe import Recipe, Stage
from training.teach import teach

BASE = Recipe(
    architecture="small_resnet",
    input_size=96,
    stages=(Stage(size=96, epochs=10),),
    fine_tune_epochs=0,
    consistency=0.0,
    label_smoothing=0.05,
    learning_rate=2e-3,
)


@dataclass(frozen=True, slots=True)
class Variant:
    """One row: how it differs from the base.

    What a recipe cannot say: `crop` to the lungs; epochs `pretrained`; trials of teachers (`taught`); `shifted`
    judges the base's own network by the mean over nine shifted copies of each film.
    """

    tells: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    crop: bool = False
    pretrained: int = 0
    taught: int = 0
    shifted: int = 0


def _at(size: int, epochs: int = 10) -> dict[str, Any]:
    return {"input_size": size, "stages": (Stage(size=size, epochs=epochs),)}


VARIANTS: dict[str, Variant] = {
    "base": Variant(
        "medium augmentation, aspect 8 %, crop 10 %, kind 0.3, smoothing 0.05, averaged weights, 96 px, 10 epochs"
    ),
    "augmentation-none": Variant("no augmentation", {"augmentation": "none"}),
    "augmentation-light": Variant("light augmentation", {"augmentation": "light"}),
    "augmentation-strong": Variant("strong augmentation", {"augmentation": "strong"}),
    "kind-0": Variant("the kind is not learned", {"kind_weight": 0.0}),
    "kind-1": Variant("the kind weighs as much as the label", {"kind_weight": 1.0}),
    "mixup": Variant("MixUp, α = 0.2", {"mixup": 0.2}),
    "averaging-0": Variant("the last weights, not their average", {"averaging": 0.0}),
    "smoothing-0": Variant("labels not smoothed", {"label_smoothing": 0.0}),
    "smoothing-0.1": Variant("labels smoothed by 0.1", {"label_smoothing": 0.1}),
    "balance-style": Variant("hard and easy films weigh the same within a class", {"balance": "style"}),
    "aspect-0.04-crop-0": Variant("aspect 4 %, no crop", {"aspect": 0.04, "crop": 0.0}),
    "aspect-0.15-crop-0": Variant("aspect 15 %, no crop", {"aspect": 0.15, "crop": 0.0}),
    "aspect-0.25-crop-0": Variant("aspect 25 %, no crop", {"aspect": 0.25, "crop": 0.0}),
    "aspect-0.04-crop-0.3": Variant("aspect 4 %, crop 30 %", {"aspect": 0.04, "crop": 0.3}),
    "aspect-0.15": Variant("aspect 15 %", {"aspect": 0.15}),
    "aspect-0.15-longer": Variant("aspect 15 %, twice the epochs", _at(96, 20) | {"aspect": 0.15}),
    "flip": Variant("half of the films mirrored", {"flip": True}),
    "views": Variant(
        "two views of a film held together; half the epochs, so the same work",
        {"consistency": 1.0, "stages": (Stage(size=96, epochs=5),)},
    ),
    "lung-crops": Variant("films cropped to the lungs", crop=True),
    "self-supervised": Variant("SimCLR on the training films first, 10 epochs", pretrained=10),
    "imagenet": Variant(
        "from the published ImageNet weights, where they can be had", {"weights": "imagenet"}
    ),
    "soft-labels": Variant("half of the target from out-of-fold teachers, four of one trial", taught=1),
    "shifted-copies": Variant(
        "not trained anew: the base's mean logit over nine copies, shifted by up to 4 px", shifted=4
    ),
    "longer": Variant("twice the epochs", _at(96, 20)),
    "size-128": Variant("128 px", _at(128)),
    "size-160": Variant("160 px", _at(160)),
    "size-224": Variant("224 px", _at(224)),
}


class Row(BaseModel):
    """What one run of a variant gave on its held-out fold, at the threshold tuned there.

    `restyled`, `reframed`: on the same films with the style, and with the shape, of the other class, at the same
    calibration and threshold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    fold: int
    trial: int
    evaluation: Evaluation
    restyled: Evaluation
    reframed: Evaluation
    seconds: float


def run_variant(films: Dataset, name: str, base: Recipe, folder: Path, console: Console) -> Row:
    """Train and judge one variant with `base`'s fold held out; an earlier result in `folder` is kept."""
    variant, fold, trial = VARIANTS[name], base.held_out_fold, base.trial
    run = folder / name / f"fold-{fold}-trial-{trial}"
    result = run / "result.json"
    if result.is_file():
        return Row.model_validate_json(result.read_text())
    began = time.monotonic()
    recipe = base
    if variant.pretrained:
        weights = pretrain(films, recipe, folder / name / f"pretrained-{fold}", variant.pretrained, console)
        recipe = recipe.model_copy(update={"weights": str(weights)})
    if variant.taught:
        labels = teach(films, recipe, folder / name / f"teachers-{fold}", variant.taught, console)
        recipe = recipe.model_copy(update={"soft_labels": str(labels)})
    recipe = recipe.model_copy(update=dict(variant.changes))
    seen = replace(films, pixels=to_lungs(films.pixels)) if variant.crop else films
    network = fit(seen, recipe, folder / "base" / run.name if variant.shifted else run, console)
    run.mkdir(parents=True, exist_ok=True)
    judgement = judge_held_out(
        partition(seen, recipe).held_out,
        lambda shown: _logits(network, shown.resized(recipe.input_size), variant.shifted),
    )
    row = Row(
        variant=name,
        fold=fold,
        trial=trial,
        evaluation=judgement.evaluation,
        restyled=judgement.restyled,
        reframed=judgement.reframed,
        seconds=time.monotonic() - began,
    )
    result.write_text(row.model_dump_json(indent=1) + "\n")
    keras.utils.clear_session()
    return row


def _logits(network: keras.Model, pixels: Pixels, shifted: int) -> npt.NDArray[np.float32]:
    """Pneumonia logits, float32 [films]; the mean over copies shifted by `shifted` pixels each way."""
    padded = np.pad(pixels, [(0, 0), (shifted, shifted), (shifted, shifted)], mode="edge")
    size = pixels.shape[1]
    corners = sorted(
        {(down, across) for down in (0, shifted, 2 * shifted) for across in (0, shifted, 2 * shifted)}
    )
    copies = [padded[:, down : down + size, across : across + size] for down, across in corners]
    logits: npt.NDArray[np.float32] = np.mean(
        [predict_logits(network, copy)[:, PNEUMONIA] for copy in copies], axis=0
    )
    return logits


def _slice(evaluation: Evaluation, name: str) -> float:
    """A slice's figure; NaN where the held-out fold has no such film."""
    estimate = evaluation.slices.get(name)
    return estimate.value if estimate else math.nan


DECIDING = "deciding"
FIGURES: dict[str, Callable[[Row], float]] = {
    DECIDING: lambda row: (
        (_slice(row.evaluation, "auc_hard_normal") + row.restyled.auc.value + row.reframed.auc.value) / 3
    ),
    "AUC": lambda row: row.evaluation.auc.value,
    "AUC, hard normal": lambda row: _slice(row.evaluation, "auc_hard_normal"),
    "AUC, restyled": lambda row: row.restyled.auc.value,
    "AUC, reframed": lambda row: row.reframed.auc.value,
    "specificity": lambda row: row.evaluation.specificity.value,
    "specificity, hard normal": lambda row: _slice(row.evaluation, "specificity_hard_normal"),
    "specificity, restyled": lambda row: row.restyled.specificity.value,
    "specificity, reframed": lambda row: row.reframed.specificity.value,
    "sensitivity, restyled": lambda row: row.restyled.sensitivity.value,
}


def table(rows: Iterable[Row]) -> str:
    """Markdown: each variant's mean over its runs and its difference from the base on the same runs.

    Behind ± stand two standard errors of that difference, from how much the base moves between starts.
    """
    by_variant: dict[str, dict[tuple[int, int], Row]] = {}
    for row in rows:
        by_variant.setdefault(row.variant, {})[row.fold, row.trial] = row
    base = by_variant.get("base", {})
    noise = _noise(list(base.values()))
    lines = [
        "| variant | what is different | runs | " + " | ".join(FIGURES) + " | time a run |",
        "| --- | --- | --- | " + " | ".join("---" for _ in FIGURES) + " | --- |",
    ]
    for name in (name for name in VARIANTS if name in by_variant):
        runs = by_variant[name]
        cells = []
        for title, figure in FIGURES.items():
            values = np.array([figure(row) for row in runs.values()])
            cell = f"{values.mean():.4f}"
            shared = [key for key in runs if key in base]
            if name != "base" and shared:
                differences = _differences(
                    figure, [runs[key] for key in shared], [base[key] for key in shared]
                )
                cell += f" ({differences.mean():+.4f}"
                if title == DECIDING and noise is not None:
                    cell += f" ± {2 * noise * math.sqrt(2 / len(shared)):.4f}"
                cell += ")"
            cells.append(cell)
        minutes = np.mean([row.seconds for row in runs.values()]) / 60
        lines.append(
            f"| `{name}` | {VARIANTS[name].tells} | {len(runs)} | {' | '.join(cells)} | {minutes:.1f} min |"
        )
    return "\n".join(lines) + "\n"


def _noise(base: Sequence[Row]) -> float | None:
    """Standard deviation of the deciding figure between starts, pooled over folds; None without two of a fold."""
    by_fold: dict[int, list[float]] = {}
    for row in base:
        by_fold.setdefault(row.fold, []).append(FIGURES[DECIDING](row))
    freedom = sum(len(values) - 1 for values in by_fold.values())
    squares = sum(float(np.square(np.array(values) - np.mean(values)).sum()) for values in by_fold.values())
    return math.sqrt(squares / freedom) if freedom else None


def _differences(
    figure: Callable[[Row], float], ours: Sequence[Row], theirs: Sequence[Row]
) -> npt.NDArray[np.float64]:
    return np.array([figure(a) - figure(b) for a, b in zip(ours, theirs, strict=True)])


def found(folder: Path) -> list[Row]:
    """Every result in `folder`."""
    return [Row.model_validate_json(path.read_text()) for path in sorted(folder.glob("*/*/result.json"))]


def save_table(folder: Path, path: Path) -> None:
    """Write the table of every result in `folder`, and the figures of every run beside it as CSV."""
    rows = found(folder)
    path.write_text(table(rows))
    with path.with_suffix(".csv").open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["variant", "fold", "trial", *FIGURES, "seconds"])
        for row in rows:
            figures = [f"{figure(row):.4f}" for figure in FIGURES.values()]
            lines.writerow([row.variant, row.fold, row.trial, *figures, round(row.seconds)])
