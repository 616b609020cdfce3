"""The results as pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")  # figures are files, on machines without a screen

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.compare import OVERLOAD, Visit, closed_name, open_name
from benchmarks.page import AGAINST, number
from benchmarks.scaling import Point
from benchmarks.soak import Soak
from benchmarks.stages import CONCURRENCIES, Profile
from benchmarks.statistics import Spread
from benchmarks.targets import OWN, TARGETS
from benchmarks.verdicts import capacity

OURS, THEIRS = "#2f6f8f", "#b8c4cc"
DPI = 110
HEADROOM = 1.25


def draw_compare(visits: Sequence[Visit], path: Path) -> None:
    """Capacity, processor time at saturation and p99 of overload, each the median over the rounds."""
    names = [name for name in TARGETS if any(visit.target == name for visit in visits)]
    panels: dict[str, Callable[[Visit], float | None]] = {
        "capacity, films/s": capacity,
        "processor ms a film, 32 clients": lambda visit: _milliseconds(
            visit.loads[closed_name(32)].processor_seconds
        ),
        f"p99 of 200s at {OVERLOAD:g} × capacity, ms": lambda visit: _milliseconds(
            visit.loads[open_name(OVERLOAD)].p99
        ),
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(12, 0.6 + 0.42 * len(names)), sharey=True)
    for axis, (title, value) in zip(axes, panels.items(), strict=True):
        spreads = [Spread.of(value(visit) for visit in visits if visit.target == name) for name in names]
        bars = axis.barh(
            [TARGETS[name].title for name in names],
            [spread.median if spread else 0.0 for spread in spreads],
            color=[OURS if name == OWN else THEIRS for name in names],
        )
        axis.bar_label(
            bars, [number(spread).partition(" ")[0] if spread else "none" for spread in spreads], padding=3
        )
        axis.margins(x=0.18)
        _plain(axis, title)
    axes[0].invert_yaxis()
    axes[-1].set_xscale("log")
    _save(figure, path)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def draw_stages(profiles: Sequence[Profile], path: Path) -> None:
    """Mean milliseconds of each stage side by side, by the number of clients."""
    names = list(dict.fromkeys(name for profile in profiles for name in profile.stages))
    figure, axis = plt.subplots(figsize=(9, 2.4))
    labels = [f"{each} client{'s' * (each > 1)}" for each in CONCURRENCIES]
    left = np.zeros(len(CONCURRENCIES))
    for name in [*names, "rest of the request", "outside the application"]:
        widths = np.array(
            [
                np.median([_part(each, name) for each in profiles if each.concurrency == clients])
                for clients in CONCURRENCIES
            ]
        )
        axis.barh(labels, widths, left=left, label=name)
        left += widths
    axis.invert_yaxis()
    axis.legend(ncols=3, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    _plain(axis, "mean ms a film")
    _save(figure, path)


def _part(profile: Profile, name: str) -> float:
    if name == "rest of the request":
        return profile.rest_of_request
    return profile.outside if name == "outside the application" else profile.stages.get(name, 0.0)


def draw_scaling(points: Sequence[Point], path: Path) -> None:
    """Films a second against each thing that was varied."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 6.5))
    for axis, (against, (head, _)) in zip(axes.flat, AGAINST.items(), strict=True):
        some = [point for point in points if point.against == against]
        for name in dict.fromkeys(point.series for point in some):
            line = sorted((point.at, point.throughput) for point in some if point.series == name)
            axis.plot([at for at, _ in line], [films for _, films in line], marker="o", label=name)
        axis.set_xlabel(head)
        axis.set_ylim(0, HEADROOM * max((point.throughput for point in some), default=1.0))
        if against in ("batch", "clients"):
            axis.set_xscale("log", base=2)
        ticks = sorted({point.at for point in some})
        axis.set_xticks(ticks, [str(at) for at in ticks])
        axis.legend(frameon=False)
        _plain(axis, "films/s")
    _save(figure, path)


def draw_soak(found: Soak, path: Path) -> None:
    """Resident memory over the soak."""
    figure, axis = plt.subplots(figsize=(9, 2.8))
    axis.plot([at for at, _ in found.memory], [resident / 1e6 for _, resident in found.memory], color=OURS)
    axis.set_ylim(0, HEADROOM * max((resident for _, resident in found.memory), default=1e6) / 1e6)
    axis.set_xlabel(f"seconds, {found.requests:,} requests")
    _plain(axis, "resident memory, MB")
    _save(figure, path)


def _plain(axis: Axes, title: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
