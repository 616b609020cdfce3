"""An exploration as pictures, and as the table for the terminal."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from training.duplicates import BITS
from training.exploration import CLASSES, KINDS, Exploration, Folds, Material, overview
from training.report import BLUE, GREY, ORANGE

Draw = Callable[[Path], None]

COLOURS = {"normal": BLUE, "pneumonia": ORANGE, "bacterial": ORANGE, "viral": "#e0a458", "unknown": GREY}
FILMS_A_KIND = 8
_LARGEST_SCATTER = 4000
_FEW = 500


def drawings(found: Exploration, material: Material, seed: int) -> dict[str, Draw]:
    """What draws each picture into a path, by the picture's file name."""
    drawn: dict[str, Draw] = {
        "counts.png": partial(_counts, found),
        "films.png": partial(_films, found, material, seed),
        "sizes.png": partial(_sizes, material, seed),
        "intensities.png": partial(_intensities, material),
        "histograms.png": partial(_histograms, found),
        "mean_films.png": partial(_mean_films, material),
        "style.png": partial(_style, found, material, seed),
        "clusters.png": partial(_clusters, found, material),
    }
    if found.near.closest:
        drawn["distances.png"] = partial(_distances, found)
        drawn["closest_pairs.png"] = partial(_closest_pairs, found, material)
    if found.folds:
        drawn["folds.png"] = partial(_folds, found.folds)
    return drawn


def table(found: Exploration) -> Table:
    """The films by kind and altogether, for a terminal."""
    head, body = overview(found)
    rows = Table(title=f"Readable films of {found.name}: median (5th–95th percentile)", title_justify="left")
    for number, name in enumerate(head):
        rows.add_column(name, justify="right" if number else "left")
    for row in body:
        rows.add_row(*row)
    return rows


def _counts(found: Exploration, path: Path) -> None:
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _stacked(
        left,
        list(found.splits),
        [[getattr(count, kind) for count in found.splits.values()] for kind in KINDS],
    )
    left.set(xlabel="split", ylabel="films")
    most = list(found.patients.films_a_patient)
    right.bar(most, list(found.patients.films_a_patient.values()), color=GREY, width=0.8)
    right.set(
        xlabel="films of a patient number",
        ylabel="patient numbers",
        yscale="log",
        xlim=(0.4, max(most) + 0.6),
    )
    right.xaxis.get_major_locator().set_params(integer=True)
    _save(figure, path)


def _films(found: Exploration, material: Material, seed: int, path: Path) -> None:
    """Films of each kind by chance, of as many patients as there are."""
    random = np.random.default_rng(seed)
    figure = Figure(figsize=(1.25 * FILMS_A_KIND, 1.4 * len(found.kinds)), layout="constrained")
    grid = figure.subplots(len(found.kinds), FILMS_A_KIND, squeeze=False)
    for kind, line in zip(found.kinds, grid, strict=True):
        members = random.permutation(np.flatnonzero(material.films.kinds == kind))
        _, first = np.unique(material.films.patients[members], return_index=True)
        for axes, place in zip(line, [*members[np.sort(first)], *[None] * FILMS_A_KIND], strict=False):
            _film(axes, None if place is None else material.films.pixels[place])
        line[0].set_title(kind, loc="left", fontsize=9)
    _save(figure, path)


def _sizes(material: Material, seed: int, path: Path) -> None:
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    left, *others = figure.subplots(1, 3)
    values = material.values
    _scatter(left, material, np.stack([values["width"], values["height"]], axis=1), seed)
    left.set(xlabel="width, pixels", ylabel="height, pixels")
    for axes, name, words in zip(
        others, ("aspect ratio", "file size"), ("width / height", "file size, KB"), strict=True
    ):
        _by_class(axes, material.films.labels, values[name])
        axes.set(xlabel=words, ylabel="share of the class")
    others[1].legend(fontsize=8)
    _save(figure, path)


def _intensities(material: Material, path: Path) -> None:
    figure = Figure(figsize=(8, 5.4), layout="constrained")
    words = {
        "brightness": "brightness, mean grey level",
        "contrast": "contrast, grey levels from 5 % to 95 %",
        "sharpness": "sharpness, variance of the Laplacian",
        "black": "black, share of pixels",
    }
    for axes, (name, label) in zip(figure.subplots(2, 2).flat, words.items(), strict=True):
        _by_class(axes, material.films.labels, material.values[name])
        axes.set(xlabel=label, ylabel="share of the class")
    figure.axes[0].legend(fontsize=8)
    _save(figure, path)


def _histograms(found: Exploration, path: Path) -> None:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    for name in CLASSES:
        axes.plot(np.arange(256), found.histograms[name], color=COLOURS[name], label=name)
    # Black pixels are so many that the rest would not be seen.
    highest = max(max(shares[1:-1]) for shares in found.histograms.values())
    axes.set(xlabel="grey level", ylabel="mean share of pixels", xlim=(0, 255), ylim=(0, 1.1 * highest))
    axes.legend()
    _save(figure, path)


def _mean_films(material: Material, path: Path) -> None:
    films = material.films
    groups = {
        "normal": films.labels == 0,
        "pneumonia": films.labels == 1,
        "bacterial": films.kinds == "bacterial",
        "viral": films.kinds == "viral",
    }
    means = {name: films.pixels[mask].mean(axis=0) for name, mask in groups.items() if mask.any()}
    pairs = [("pneumonia", "normal")]
    if {"bacterial", "viral"} <= means.keys():
        pairs.append(("viral", "bacterial"))
    differences = {f"{one} − {other}": means[one] - means[other] for one, other in pairs}
    reach = max(1.0, *(float(np.abs(values).max()) for values in differences.values()))
    figure = Figure(figsize=(8.4, 2.9 * len(pairs)), layout="constrained")
    grid = figure.subplots(len(pairs), 3, squeeze=False)
    for line, (one, other) in zip(grid, pairs, strict=True):
        for axes, name in zip(line, (other, one), strict=False):
            _film(axes, means[name])
            axes.set_title(f"{name}, mean of {groups[name].sum():,}", fontsize=9)
        name = f"{one} − {other}"
        shown = line[2].imshow(differences[name], cmap="RdBu_r", vmin=-reach, vmax=reach)
        line[2].set_title(name, fontsize=9)
        line[2].axis("off")
    figure.colorbar(shown, ax=list(grid[:, 2]), label="grey levels")
    _save(figure, path)


def _style(found: Exploration, material: Material, seed: int, path: Path) -> None:
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    _scatter(left, material, material.components, seed)
    for axis, name, share in zip("xy", ("first", "second"), found.style.explained, strict=True):
        left.set(**{f"{axis}label": f"{name} principal component ({share:.0%} of variance)"})
    left.legend(markerscale=3, fontsize=8)
    auc = found.style.auc
    if material.scores is None or auc is None:
        right.axis("off")
        right.text(0.5, 0.5, "too few patients for a style score", ha="center", color=GREY)
    else:
        _by_class(right, material.films.labels, material.scores)
        right.set(
            xlabel="style score, out of fold",
            ylabel="share of the class",
            title=f"AUC {auc.value:.3f} ({auc.low:.3f}–{auc.high:.3f})",
        )
    _save(figure, path)


def _clusters(found: Exploration, material: Material, path: Path) -> None:
    clusters = found.style.clusters
    figure = Figure(figsize=(1.7 * len(clusters) + 0.4, 3.6), layout="constrained")
    grid = figure.subplots(2, len(clusters), squeeze=False, height_ratios=(3, 1.6), sharey="row")
    for number, (cluster, column) in enumerate(zip(clusters, grid.T, strict=True)):
        _film(column[0], material.films.pixels[material.clusters == number].mean(axis=0))
        column[0].set_title(f"cluster {number + 1}\n{cluster.count.films:,} films", fontsize=8)
        column[1].bar(
            ["normal", "pneum."],
            [1 - cluster.count.share, cluster.count.share],
            color=[COLOURS[name] for name in CLASSES],
        )
        column[1].axhline(found.films.share, color="black", linewidth=0.8, linestyle=":")
        column[1].set(ylim=(0, 1))
        column[1].set_title(f"{cluster.count.share:.0%} pneumonia", fontsize=8)
        column[1].tick_params(labelsize=7)
    _save(figure, path)


def _distances(found: Exploration, path: Path) -> None:
    near = found.near
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    axes.bar(list(near.nearest), list(near.nearest.values()), color=BLUE, width=1.6)
    axes.axvline(near.limit, color="black", linewidth=0.8, linestyle="--", label=f"limit {near.limit}")
    axes.set(
        xlabel=f"bits between a file's hash and that of its nearest other file (of {BITS})",
        ylabel="different files",
        yscale="log",
        xlim=(-2, max(near.nearest) + 4),
    )
    axes.legend()
    _save(figure, path)


def _closest_pairs(found: Exploration, material: Material, path: Path) -> None:
    columns = 2
    rows = -(-len(material.closest) // columns)
    figure = Figure(figsize=(9, 2.5 * rows), layout="constrained")
    grid = figure.subplots(rows, 2 * columns, squeeze=False).reshape(-1, 2)
    for axes in grid.flat:
        axes.axis("off")
    for pair, (one, other, bits) in zip(grid, material.closest, strict=False):
        for axes, place in zip(pair, (one, other), strict=True):
            _film(axes, material.films.pixels[place])
            name = Path(material.names[place]).name
            axes.set_title(f"{bits} bits\n{name[:34]}", fontsize=6.5, parse_math=False)
    _save(figure, path)


def _folds(folds: Folds, path: Path) -> None:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [str(number) for number in range(len(folds.folds))]
    counts = [[getattr(fold, kind) for fold in folds.folds] for kind in KINDS]
    _stacked(left, names, counts)
    left.set(xlabel="fold", ylabel="films")
    right.bar(names, [fold.patients for fold in folds.folds], color=GREY)
    right.set(xlabel="fold", ylabel="patient numbers")
    _save(figure, path)


def _stacked(axes: Axes, names: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
    """Bars of films by kind, one above the other."""
    bottom = np.zeros(len(names))
    places = np.arange(len(names))
    for kind, values in zip(KINDS, counts, strict=True):
        if any(values):
            axes.bar(places, values, bottom=bottom, color=COLOURS[kind], label=kind, width=0.6)
            bottom += values
    for place, total in enumerate(bottom.tolist()):
        axes.text(place, total, f"{total:,.0f}", ha="center", va="bottom", fontsize=8)
    axes.set_xticks(places, names, parse_math=False)
    axes.set(xlim=(-0.6, len(names) - 0.4), ylim=(0, 1.25 * bottom.max()))
    axes.legend(fontsize=8, ncols=3, loc="upper center")


def _scatter(axes: Axes, material: Material, points: npt.NDArray[np.float64], seed: int) -> None:
    """A point a film, both classes mixed so that neither hides the other; at most some thousands."""
    shown = np.random.default_rng(seed).permutation(len(points))[:_LARGEST_SCATTER]
    colours = np.array([COLOURS[name] for name in CLASSES])[material.films.labels[shown]]
    size = 4 if len(shown) > _FEW else 14
    axes.scatter(points[shown, 0], points[shown, 1], c=colours, s=size, alpha=0.5, linewidths=0)
    for name in CLASSES:
        axes.scatter([], [], c=COLOURS[name], s=4, label=name)


def _by_class(axes: Axes, labels: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> None:
    """Histograms of a measure, each class adding up to one."""
    low, high = np.percentile(values, (0.2, 99.8))
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    bins = np.linspace(low, high, 41).tolist()
    for label, name in enumerate(CLASSES):
        members = np.clip(values[labels == label], low, high)
        weights = np.full(len(members), 1 / len(members))
        axes.hist(members, bins, weights=weights, histtype="stepfilled", color=COLOURS[name], alpha=0.15)
        axes.hist(members, bins, weights=weights, histtype="step", color=COLOURS[name], label=name)


def _film(axes: Axes, pixels: npt.NDArray[np.generic] | None) -> None:
    axes.axis("off")
    if pixels is not None:
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path)
