"""Figures as pictures, and the table for the terminal."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from rich.table import Table
from sklearn.metrics import precision_recall_curve, roc_curve

from app.engine.manifest import Estimate, Evaluation
from training.dataset import LABELS, Dataset
from training.metrics import Array, Scored, calibration_error, sensitivity_bounds

BLUE, ORANGE, GREY = "#1f5f8b", "#c8553d", "#8a8f98"
mpl.use("Agg")
mpl.rcParams.update(
    {
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.dpi": 110,
        "font.size": 10,
        "grid.alpha": 0.25,
        "legend.frameon": False,
    }
)


def table(evaluation: Evaluation, title: str, threshold: float) -> Table:
    """The figures with their intervals, for a terminal."""
    rows = Table(title=f"{title}, threshold {threshold:.4f}", title_justify="left")
    rows.add_column("figure")
    rows.add_column("value", justify="right")
    rows.add_column("95 % interval", justify="right")
    for name, estimate in estimates(evaluation).items():
        rows.add_row(name, f"{estimate.value:.4f}", f"{estimate.low:.4f} – {estimate.high:.4f}")
    rows.add_section()
    rows.add_row("films (patients)", f"{evaluation.films} ({evaluation.patients})", "")
    rows.add_row(
        "normal: right, false alarm", f"{evaluation.true_negatives}, {evaluation.false_positives}", ""
    )
    rows.add_row("pneumonia: found, missed", f"{evaluation.true_positives}, {evaluation.false_negatives}", "")
    return rows


def estimates(evaluation: Evaluation) -> dict[str, Estimate]:
    """Every figure that has an interval, by name."""
    figures = {name.replace("_", " "): value for name, value in evaluation if isinstance(value, Estimate)}
    return figures | {name.replace("_", " "): value for name, value in evaluation.slices.items()}


def draw_evaluation(
    folder: Path, films: Dataset, scored: Scored, evaluation: Evaluation, threshold: float
) -> list[Path]:
    """Write the pictures of an evaluation into `folder`; returns their paths."""
    pictures = draw_metrics(folder, scored, evaluation, threshold)
    return [
        *pictures,
        draw_calibration(folder / "reliability.png", scored.labels, {"": scored.scores}),
        draw_grid(folder / "hardest_films.png", films, scored),
    ]


def draw_metrics(folder: Path, scored: Scored, evaluation: Evaluation, threshold: float) -> list[Path]:
    """Those of them that show no film and no calibration."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _roc(folder / "roc.png", scored, evaluation),
        _precision_recall(folder / "precision_recall.png", scored, evaluation),
        _confusion(folder / "confusion_matrix.png", evaluation),
        _sweep(folder / "threshold_sweep.png", scored, threshold),
    ]


def draw_history(path: Path, history: Sequence[dict[str, Any]]) -> Path:
    """Loss and AUC over the epochs, each stage of image size marked."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [entry["epoch"] for entry in history]
    left.plot(epochs, [entry["loss"] for entry in history], color=BLUE, label="training")
    left.plot(epochs, [entry["monitor_loss"] for entry in history], color=ORANGE, label="monitored films")
    left.set(xlabel="epoch", ylabel="loss (weighted)", yscale="log")
    left.legend()
    right.plot(epochs, [entry["monitor_auc"] for entry in history], color=ORANGE)
    right.set(xlabel="epoch", ylabel="AUC, monitored films")
    for before, after in itertools.pairwise(history):
        if (before["phase"], before["size"]) != (after["phase"], after["size"]):
            for axes in (left, right):
                axes.axvline(after["epoch"] - 0.5, color=GREY, linewidth=0.8, linestyle=":")
            right.text(
                after["epoch"] - 0.4,
                right.get_ylim()[0],
                f"{after['size']} px{' top layers' if after['phase'] == 'fine-tune' else ''}",
                rotation=90,
                va="bottom",
                fontsize=7,
                color=GREY,
            )
    return _save(figure, path)


def draw_grid(path: Path, films: Dataset, scored: Scored, rows: int = 2, columns: int = 6) -> Path:
    """The films the model is most wrong about: normal ones above, pneumonia below."""
    figure = Figure(figsize=(columns * 1.5, rows * 1.8), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for label, line in enumerate(grid[:2]):
        members = np.flatnonzero(scored.labels == label)
        order = members[np.argsort(scored.scores[members] * (1 if label else -1))][:columns]
        for axes in line:
            axes.axis("off")
        for axes, place in zip(line, order, strict=False):
            axes.imshow(films.pixels[place], cmap="gray", vmin=0, vmax=255)
            axes.set_title(f"{LABELS[label].lower()}, p = {scored.scores[place]:.3f}", fontsize=7)
    return _save(figure, path)


def _roc(path: Path, scored: Scored, evaluation: Evaluation) -> Path:
    figure = Figure(figsize=(4.2, 4), layout="constrained")
    axes = figure.subplots()
    false_alarms, found, _ = roc_curve(scored.labels, scored.scores)
    axes.plot(false_alarms, found, color=BLUE, label=f"AUC {_words(evaluation.auc)}")
    axes.plot(
        1 - evaluation.specificity.value,
        evaluation.sensitivity.value,
        "o",
        color=ORANGE,
        label="at the threshold",
    )
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="1 − specificity", ylabel="sensitivity", aspect="equal")
    axes.legend(loc="lower right")
    return _save(figure, path)


def _precision_recall(path: Path, scored: Scored, evaluation: Evaluation) -> Path:
    figure = Figure(figsize=(4.2, 4), layout="constrained")
    axes = figure.subplots()
    precision, recall, _ = precision_recall_curve(scored.labels, scored.scores)
    axes.step(
        recall,
        precision,
        where="post",
        color=BLUE,
        label=f"average precision {_words(evaluation.average_precision)}",
    )
    axes.plot(
        evaluation.sensitivity.value,
        evaluation.precision.value,
        "o",
        color=ORANGE,
        label="at the threshold",
    )
    axes.set(xlabel="recall (sensitivity)", ylabel="precision", ylim=(min(0.5, precision.min()), 1.01))
    axes.legend(loc="lower left")
    return _save(figure, path)


def _confusion(path: Path, evaluation: Evaluation) -> Path:
    counts = np.array(
        [
            [evaluation.true_negatives, evaluation.false_positives],
            [evaluation.false_negatives, evaluation.true_positives],
        ]
    )
    shares = counts / counts.sum(axis=1, keepdims=True)
    figure = Figure(figsize=(4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(2):
        for column in range(2):
            axes.text(
                column,
                row,
                f"{counts[row, column]}\n{shares[row, column]:.1%}",
                ha="center",
                va="center",
                color="white" if shares[row, column] > 0.5 else "black",
            )
    names = [label.capitalize() for label in LABELS]
    axes.set(xticks=[0, 1], yticks=[0, 1], xlabel="called", ylabel="truly")
    axes.set_xticklabels(names)
    axes.set_yticklabels(names, rotation=90, va="center")
    axes.grid(visible=False)
    return _save(figure, path)


def draw_calibration(path: Path, labels: npt.NDArray[np.int64], probabilities: dict[str, Array]) -> Path:
    """Reliability diagrams: share of pneumonia against mean probability, in 15 bins of equal count.

    Args:
        path: of the picture.
        labels: int64 [films].
        probabilities: float64 [films] each, by what to call them.
    """
    figure = Figure(figsize=(4.2, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    colours = (GREY, BLUE) if len(probabilities) > 1 else (BLUE,)
    for (name, values), colour in zip(probabilities.items(), colours, strict=True):
        parts = [part for part in np.array_split(np.argsort(values, kind="stable"), 15) if len(part)]
        said = [float(values[part].mean()) for part in parts]
        true = [float(labels[part].mean()) for part in parts]
        error = f"calibration error {calibration_error(labels, values):.4f}"
        axes.plot(said, true, "o-", color=colour, label=f"{name}: {error}" if name else error)
    axes.set(xlabel="mean probability (bins of equal count)", ylabel="share with pneumonia", aspect="equal")
    axes.legend(loc="upper left")
    return _save(figure, path)


def _sweep(path: Path, scored: Scored, threshold: float) -> Path:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    scores, sensitivity, low, high = sensitivity_bounds(scored)
    axes.plot(scores, sensitivity, color=ORANGE, label="sensitivity")
    axes.fill_between(scores, low, high, color=ORANGE, alpha=0.2, linewidth=0)
    normal = np.sort(scored.scores[scored.labels == 0])
    axes.step(normal, np.arange(len(normal)) / len(normal), where="post", color=BLUE, label="specificity")
    axes.axvline(threshold, color="black", linewidth=0.8, linestyle="--", label=f"threshold {threshold:.3f}")
    axes.set(xlabel="threshold", ylim=(0.5, 1.005), xlim=(0, 1))
    axes.legend(loc="lower center")
    return _save(figure, path)


def _words(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} ({estimate.low:.4f}–{estimate.high:.4f})"


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path)
    return path
