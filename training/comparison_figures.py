"""A comparison as pictures, and as the table for the terminal."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, NullLocator
from rich.table import Table
from sklearn.metrics import precision_recall_curve, roc_curve

from training.comparison import Comparison
from training.dataset import LABELS
from training.judgement import Judgement
from training.report import GREY
from training.wording import with_interval

Draw = Callable[[Path], None]

PICTURES = {
    "roc.png": "ROC of every network on the held-out fold; on the right, the corner that matters.",
    "precision_recall.png": "Precision against recall; on the right, the corner that matters.",
    "accuracy_latency.png": "Accuracy at each network's own threshold, with its 95 % interval, against the "
    "time that a film costs on the CPU. A point's area is the number of parameters.",
    "confusion_matrices.png": "Films of the held-out fold, truly normal or pneumonia (rows) and called so "
    "(columns), at each network's own threshold.",
    "learning_curves.png": "The monitored films after each epoch: AUC and loss.",
}
"""Captions by file name."""

_COLUMNS = 5
_MARKERS = "osD^v<>Phd"


def drawings(found: Comparison) -> dict[str, Draw]:
    """What draws each picture into a path, by the picture's file name; none of scores where there are none."""
    curves: dict[str, Draw] = {"learning_curves.png": partial(_learning_curves, found)}
    if not found.judged:
        return curves
    return {
        "roc.png": partial(_curves, found, "1 − specificity", "sensitivity", _roc),
        "precision_recall.png": partial(
            _curves, found, "recall (sensitivity)", "precision", _precision_recall
        ),
        "accuracy_latency.png": partial(_accuracy_latency, found),
        "confusion_matrices.png": partial(_confusion_matrices, found),
        **curves,
    }


def table(found: Comparison) -> Table:
    """The main figures, for a terminal."""
    rows = Table(title=f"Held-out fold, {found.held_out_films:,} films", title_justify="left")
    head = (
        "network",
        "AUC (95 % interval)",
        "accuracy",
        "precision",
        "recall",
        "specificity",
        "F1",
        "latency",
    )
    for number, name in enumerate(head):
        rows.add_column(name, justify="right" if number else "left")
    for network in found.networks:
        judgement = network.judgement
        cost = found.cost(network.architecture)
        latency = f"{cost.milliseconds:.1f} ms" if cost else ""
        if judgement is None:
            rows.add_row(network.architecture, "diverged", *[""] * (len(head) - 3), latency)
            continue
        figures = judgement.evaluation
        shown = (
            *(figures.accuracy, figures.precision),
            *(figures.sensitivity, figures.specificity, figures.f1),
        )
        cells = (f"{each.value:.3f}" for each in shown)
        rows.add_row(network.architecture, with_interval(figures.auc, 3), *cells, latency)
    return rows


def _roc(labels: Any, judgement: Judgement) -> tuple[Any, Any]:
    false_alarms, found, _ = roc_curve(labels, judgement.scores)
    return false_alarms, found


def _precision_recall(labels: Any, judgement: Judgement) -> tuple[Any, Any]:
    precision, recall, _ = precision_recall_curve(labels, judgement.scores)
    return recall[::-1], precision[::-1]


def _curves(
    found: Comparison, across: str, up: str, curve: Callable[[Any, Judgement], tuple[Any, Any]], path: Path
) -> None:
    """The whole square on the left; on the right the corner where a film is rarely called wrongly."""
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    whole, corner = figure.subplots(1, 2)
    share = 1 - np.mean(found.labels)
    for number, (network, judgement) in enumerate(found.judged):
        x, y = curve(np.array(found.labels), judgement)
        for axes in (whole, corner):
            axes.plot(x, y, label=network.architecture, **_style(number))
    for axes in (whole, corner):
        axes.set(xlabel=across, ylabel=up)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    whole.set(xlim=(0, 1), ylim=(0, 1.01))
    if up == "sensitivity":
        whole.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        corner.set(xlim=(0, 0.2), ylim=(0.8, 1.002))
    else:
        whole.axhline(1 - share, color=GREY, linewidth=0.8, linestyle=":")
        corner.set(xlim=(0.8, 1.002), ylim=(0.9, 1.002))
    corner.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path)


def _accuracy_latency(found: Comparison, path: Path) -> None:
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    for number, (network, judgement) in enumerate(found.judged):
        accuracy = judgement.evaluation.accuracy
        cost = found.cost(network.architecture)
        if cost is None:
            continue
        time = cost.milliseconds
        colour = _style(number)["color"]
        error = [[accuracy.value - accuracy.low], [accuracy.high - accuracy.value]]
        axes.errorbar(time, accuracy.value, yerr=error, color=colour, alpha=0.5, linewidth=1)
        axes.scatter(
            time,
            accuracy.value,
            s=25 + network.parameters / 2e5,
            color=colour,
            alpha=0.8,
            marker=_MARKERS[number % len(_MARKERS)],
            label=network.architecture,
        )
    axes.set(xscale="log", xlabel=f"milliseconds a film of {found.recipe.input_size} px on the CPU")
    axes.set(ylabel="accuracy")
    _room(axes, [cost.milliseconds for cost in found.served] or [1.0])
    low, high = axes.get_xlim()
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if low <= tick <= high]
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), labelspacing=0.8)
    figure.savefig(path)


def _confusion_matrices(found: Comparison, path: Path) -> None:
    columns = min(_COLUMNS, len(found.judged))
    rows = -(-len(found.judged) // columns)
    figure = Figure(figsize=(2.2 * columns, 2.5 * rows), layout=ConstrainedLayoutEngine(h_pad=0.12))
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for axes in grid:
        axes.axis("off")
    for axes, (network, judgement) in zip(figure.axes, found.judged, strict=False):
        _confusion_matrix(axes, network.architecture, judgement)
    figure.savefig(path)


def _confusion_matrix(axes: Axes, name: str, judgement: Judgement) -> None:
    figures = judgement.evaluation
    counts = np.array(
        [
            [figures.true_negatives, figures.false_positives],
            [figures.false_negatives, figures.true_positives],
        ]
    )
    shares = counts / counts.sum(axis=1, keepdims=True)
    axes.axis("on")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(2):
        for column in range(2):
            dark = shares[row, column] > 0.5
            axes.text(
                column,
                row,
                f"{counts[row, column]}",
                ha="center",
                va="center",
                color="white" if dark else "black",
            )
    names = [label[0] for label in LABELS]
    axes.set(title=name, xticks=[0, 1], yticks=[0, 1], xlabel="called", ylabel="truly")
    axes.set_xticklabels(names)
    axes.set_yticklabels(names)
    axes.title.set_fontsize(9)
    axes.grid(visible=False)


def _learning_curves(found: Comparison, path: Path) -> None:
    figure = Figure(figsize=(10.5, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, network in enumerate(found.networks):
        epochs = [each.epoch for each in network.history]
        style = _style(number)
        left.plot(epochs, [each.monitor_auc for each in network.history], marker=".", **style)
        right.plot(
            epochs, [each.monitor_loss for each in network.history], label=network.architecture, **style
        )
    left.set(xlabel="epoch", ylabel="AUC, monitored films")
    right.set(xlabel="epoch", ylabel="loss, monitored films (weighted)")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    right.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path)


def _style(number: int) -> dict[str, Any]:
    """Colour and dashes of the network at this place; told apart without colour too."""
    colours = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]
    dashes = ("-", "--", ":")[number % 3]
    return {"color": colours[number % len(colours)], "linestyle": dashes, "linewidth": 1.4}


def _room(axes: Axes, values: list[float]) -> None:
    """Limits of a logarithmic axis, with room beside the points."""
    axes.set_xlim(min(values) / 1.4, max(values) * 1.4)
