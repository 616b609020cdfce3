"""Figures as pictures, and the table for the terminal."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from rich.table import Table
from sklearn.metrics import precision_recall_curve, roc_curve

from app.engine.manifest import Estimate, Evaluation
from training.dataset import LABELS, Dataset
from training.metrics import Array, Scored, calibration_error, operating_points, reliability
from training.wording import figure_name, with_interval

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
    axes.plot(false_alarms, found, color=BLUE, label=f"AUC {with_interval(evaluation.auc)}")
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
        label=f"average precision {with_interval(evaluation.average_precision)}",
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
        predicted, observed, _ = reliability(labels, values)
        error = f"calibration error {calibration_error(labels, values):.3f}"
        axes.plot(predicted, observed, "o-", color=colour, label=f"{name}: {error}" if name else error)
    axes.set(xlabel="mean probability (bins of equal count)", ylabel="share with pneumonia", aspect="equal")
    axes.legend(loc="lower right")
    return _save(figure, path)


def draw_scores(
    path: Path, scores: Mapping[str, Array], threshold: float, band: tuple[float, float] | None
) -> Path:
    """Histogram of the probabilities of each class.

    Args:
        path: of the picture.
        scores: probabilities, float64 [films], by class; at most four classes.
        threshold: marked.
        band: probabilities that ask for review, from and to; marked.
    """
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(0, 1, 41).tolist()
    for (name, values), colour in zip(scores.items(), (BLUE, ORANGE, "#e0a458", GREY), strict=False):
        axes.hist(values, bins, histtype="stepfilled", color=colour, alpha=0.15)
        axes.hist(values, bins, histtype="step", color=colour, label=f"{name} ({len(values)} films)")
    axes.axvline(threshold, color="black", linewidth=0.8, linestyle="--", label=f"threshold {threshold:.3f}")
    if band:
        axes.axvspan(*band, color=GREY, alpha=0.15, linewidth=0, label="asks for review")
    axes.set(xlabel="probability of pneumonia", ylabel="films", yscale="log", xlim=(0, 1), ylim=(0.7, None))
    figure.legend(loc="outside upper center", ncols=3, fontsize=8)
    return _save(figure, path)


def draw_slices(path: Path, evaluations: Mapping[str, Evaluation]) -> Path:
    """Every figure of each file (at most two) with its 95 % interval, the slices below the overall ones."""
    figures = [estimates(evaluation) for evaluation in evaluations.values()]
    names = list(figures[0])
    figure = Figure(figsize=(8, 0.8 + 0.34 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))
    for number, (file, colour) in enumerate(zip(evaluations, (BLUE, ORANGE), strict=False)):
        found = [figures[number][name] for name in names]
        rows = places + 0.22 * number
        axes.hlines(rows, [one.low for one in found], [one.high for one in found], color=colour)
        axes.plot([one.value for one in found], rows, "o", color=colour, markersize=4, label=file)
    axes.set_yticks(places + 0.11 * (len(evaluations) - 1), [figure_name(name) for name in names])
    axes.invert_yaxis()
    axes.set(xlabel="value with its 95 % interval", xlim=(None, 1.003))
    figure.legend(loc="outside upper right", ncols=2)
    return _save(figure, path)


def draw_agreement(path: Path, one: Scored, other: Scored, names: tuple[str, str], thresholds: Array) -> Path:
    """Each film's probability by two files against each other, on axes of log-odds; their thresholds marked."""
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    both = np.clip([one.scores, other.scores], 1e-6, 1 - 1e-6)
    for label, colour in enumerate((BLUE, ORANGE)):
        across, up = both[:, one.labels == label]
        axes.plot(across, up, "o", markersize=2.5, alpha=0.5, color=colour, label=LABELS[label].lower())
    axes.axvline(thresholds[0], color="black", linewidth=0.8, linestyle="--")
    axes.axhline(thresholds[1], color="black", linewidth=0.8, linestyle="--", label="thresholds")
    ends = (0.7 * both.min(), 1 - 0.7 * (1 - both.max()))
    axes.set(xscale="logit", yscale="logit", aspect="equal", xlim=ends, ylim=ends)
    tails = (1e-5, 1e-4, 1e-3, 0.01, 0.1)
    ticks = [tick for tick in (*tails, 0.5, *(1 - tail for tail in tails)) if ends[0] <= tick <= ends[1]]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8)
    axes.tick_params(axis="x", rotation=45)
    axes.set(xlabel=f"probability, {names[0]}", ylabel=f"probability, {names[1]}")
    axes.legend(loc="upper left")
    return _save(figure, path)


def draw_novelty(path: Path, novelty: Mapping[str, tuple[Array, float]]) -> Path:
    """Novelty of ordinary films, float64 [films], with its limit; a panel for each file."""
    figure = Figure(figsize=(4.4 * len(novelty), 3), layout="constrained")
    row = figure.subplots(1, len(novelty), squeeze=False)[0]
    for axes, (title, (values, limit)) in zip(row, novelty.items(), strict=True):
        axes.hist(values, 50, histtype="stepfilled", color=BLUE, alpha=0.7)
        axes.axvline(limit, color="black", linewidth=0.8, linestyle="--", label=f"limit {limit:.4g}")
        axes.set(title=title, xlabel="novelty", ylabel="held-out films")
        axes.legend(loc="upper right")
    return _save(figure, path)


def draw_mean_heatmaps(path: Path, heatmaps: Mapping[str, Array]) -> Path:
    """Mean heat maps, float64 [h, w] in logits, by the films that they are the mean of; one scale for all."""
    figure = Figure(figsize=(2.6 * len(heatmaps) + 0.6, 3), layout="constrained")
    reach = max(float(np.abs(heatmap).max()) for heatmap in heatmaps.values())
    row = figure.subplots(1, len(heatmaps), squeeze=False)[0]
    for axes, (title, heatmap) in zip(row, heatmaps.items(), strict=True):
        shown = axes.imshow(heatmap, cmap="RdBu_r", vmin=-reach, vmax=reach)
        axes.set(title=title, xticks=[], yticks=[])
        axes.grid(visible=False)
    figure.colorbar(shown, ax=list(row), label="evidence, logits")
    return _save(figure, path)


def _sweep(path: Path, scored: Scored, threshold: float) -> Path:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    thresholds = np.linspace(0.01, 0.99, 99)
    points = operating_points(scored, thresholds.tolist())
    hard = [point.specificity_hard_normal for point in points if point.specificity_hard_normal]
    curves: list[tuple[str, str, list[Estimate]]] = [
        ("sensitivity", ORANGE, [point.sensitivity for point in points]),
        ("specificity", BLUE, [point.specificity for point in points]),
        *([("specificity, hard normal films", GREY, hard)] if hard else []),
    ]
    for name, colour, drawn in curves:
        axes.plot(thresholds, [estimate.value for estimate in drawn], color=colour, label=name)
        low, high = ([getattr(estimate, end) for estimate in drawn] for end in ("low", "high"))
        axes.fill_between(thresholds, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.axvline(threshold, color="black", linewidth=0.8, linestyle="--", label=f"threshold {threshold:.3f}")
    axes.set(xlabel="threshold", ylim=(0, 1.01), xlim=(0, 1))
    axes.legend(loc="lower right", fontsize=8)
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path)
    return path
