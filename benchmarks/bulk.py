"""`python -m bulk` from outside: speed against cores, overhead against a bare loop, memory against films."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow.dataset as ds

from benchmarks import bare, tiny
from benchmarks.bare import Rate
from benchmarks.campaign import Campaign
from benchmarks.cores import all_cores, pinned
from benchmarks.films import draw
from benchmarks.measure import Part
from benchmarks.page import number, table
from benchmarks.server import DidNotStart, Setup
from benchmarks.soak import FILMS, HEIGHT, WIDTH, growth
from benchmarks.statistics import Spread
from benchmarks.watch import Watch, proportional_bytes, watching

PART, MEMORY_PART = "bulk", "bulk-memory"
SOURCES = Path(__file__).parents[1] / "bulk"
SIZES = (1_000, 10_000, 100_000)
LEAST_FILMS = 256
LONGER = 4
"""A run over an archive lasts so many times as long as one load of the service."""
EDGE = 0.1
"""Of a run's time, at its beginning and at its end: there not all workers are at work."""
LOOK_SECONDS = 1.0
"""Seldom: to look at a dozen processes takes time from them."""
LEAST_SAMPLES = 40
"""Of memory, below which no growth can be told."""
A_FOLDER = 1000


class Failed(DidNotStart):
    """The command did not judge all films."""


class Steady(Part):
    """A run on so many cores, and the bare loop on the same ones in the same round.

    `start`: seconds from the command to the first row. `films_a_second`, `processor_seconds` (for a film, of all
    processes): between the first and the last tenth of the time in which films were judged.
    """

    round: int
    cores: int
    films: int
    start: float
    films_a_second: float
    processor_seconds: float
    loops: dict[str, Rate]

    @property
    def slower(self) -> float:
        """By what share it takes longer than the fastest bare loop."""
        return max(rate.films_a_second for rate in self.loops.values()) / self.films_a_second - 1

    @property
    def dearer(self) -> float:
        """By what share it takes more processor time than the bare loop that takes least."""
        return self.processor_seconds / min(rate.processor_seconds for rate in self.loops.values()) - 1


class Memory(Part):
    """A run with the tiny model over so many tiny films. Bytes of all processes together.

    `resident`: the most, pages that processes share counted in each. `proportional`: the most, shared pages
    counted once. `growth`: of the resident bytes for each 10,000 films, by least squares over the last three
    quarters; None of a run that is too short to tell.
    """

    films: int
    seconds: float
    films_a_second: float
    resident: int
    proportional: int
    growth: float | None


def steady(campaign: Campaign, setup: Setup, films: Sequence[bytes], rounds: int) -> list[Steady]:
    """A run on one core and one on all of them, in each round."""
    found = []
    for turn in range(rounds):
        for cores in sorted({1, len(all_cores())}):

            def measured(turn: int = turn, cores: int = cores) -> Steady:
                with pinned(all_cores()[:cores]):
                    return _steady(setup, films, turn, cores, campaign.conditions.seconds)

            found.append(campaign.row(Steady, PART, f"{_version()}-{turn}-{cores}", measured))
    return found


def memory(campaign: Campaign, setup: Setup, most: int) -> list[Memory]:
    """A run over 1,000, 10,000 and 100,000 tiny films, but over no more than `most`."""
    sizes = [films for films in SIZES if films <= most]
    names = [f"{_version()}-{films:07}" for films in sizes]
    return [
        campaign.row(Memory, MEMORY_PART, name, partial(_memory, setup, films))
        for name, films in zip(names, sizes, strict=True)
    ]


def page(runs: Sequence[Steady], sizes: Sequence[Memory]) -> str:
    """The results as Markdown."""
    rows = []
    for cores in sorted({run.cores for run in runs}):
        some = [run for run in runs if run.cores == cores]
        rows.append(
            [
                str(cores),
                number(Spread.of(run.films_a_second for run in some)),
                number(Spread.of(max(rate.films_a_second for rate in run.loops.values()) for run in some)),
                number(Spread.of(run.slower for run in some), 100) + " %",
                number(Spread.of(run.processor_seconds for run in some), 1000),
                number(Spread.of(run.dearer for run in some), 100) + " %",
                number(Spread.of(run.start for run in some)),
            ]
        )
    heads = [
        "cores",
        "films/s",
        "bare loop, films/s",
        "slower by",
        "processor ms a film",
        "dearer by",
        "start, s",
    ]
    flat = [
        [
            f"{size.films:,}",
            number(Spread.of([size.films_a_second])),
            number(Spread.of([float(size.resident)]), 1e-6),
            number(Spread.of([float(size.proportional)]), 1e-6),
            number(None if size.growth is None else Spread.of([size.growth]), 1e-6),
        ]
        for size in sizes
    ]
    tiny_heads = [
        "tiny films, tiny model",
        "films/s",
        "resident, MB",
        "shared pages counted once, MB",
        "growth for each 10,000 films, MB",
    ]
    return "\n\n".join([table(heads, rows), table(tiny_heads, flat)])


def _version() -> str:
    """Of the code that is measured, beside the conditions that all rows share."""
    digest = sha256(b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.py"))))
    return digest.hexdigest()[:8]


def _steady(setup: Setup, films: Sequence[bytes], turn: int, cores: int, seconds: float) -> Steady:
    loops = bare.loops(setup.model, films, seconds, setup.device)
    fastest = max(rate.films_a_second for rate in loops.values())
    count = max(LEAST_FILMS, int(LONGER * seconds * fastest))
    seen = _run(setup, films, count)
    edge = EDGE * (seen.last - seen.first)
    low, high = seen.first + edge, seen.last - edge
    judged = int(((seen.times >= low) & (seen.times < high)).sum())
    return Steady(
        round=turn,
        cores=cores,
        films=count,
        start=seen.first - seen.began,
        films_a_second=judged / (high - low),
        processor_seconds=seen.watch.processor_seconds(low, high) / judged,
        loops=loops,
    )


def _memory(setup: Setup, count: int) -> Memory:
    own = replace(setup, model=tiny.write(setup.folder / "tiny"), input_size=tiny.SIZE, device="cpu")
    seen = _run(own, [draw(WIDTH, HEIGHT, seed=seed) for seed in range(FILMS)], count, weighed=True)
    seconds = seen.last - seen.first
    resident = [
        (each.at - seen.first, each.resident_bytes)
        for each in seen.watch.samples
        if seen.first <= each.at <= seen.last
    ]
    return Memory(
        films=count,
        seconds=seconds,
        films_a_second=count / seconds,
        resident=seen.watch.peak_resident_bytes(),
        proportional=seen.proportional,
        growth=growth(resident, seconds, count) if len(resident) >= LEAST_SAMPLES else None,
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """A run from outside. Times by `time.monotonic`: of the command, and of each row."""

    began: float
    times: npt.NDArray[np.float64]
    watch: Watch
    proportional: int

    @property
    def first(self) -> float:
        return float(self.times.min())

    @property
    def last(self) -> float:
        return float(self.times.max())


def _run(setup: Setup, films: Sequence[bytes], count: int, *, weighed: bool = False) -> _Seen:
    """The command over `count` films, links to those that there are; `weighed`: with its proportional memory.

    Raises:
        Failed: it did not judge all of them.
    """
    folder = setup.folder / "bulk"
    shutil.rmtree(folder, ignore_errors=True)
    archive, output = _archive(folder / "archive", films, count), folder / "findings"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PNEUMOSCOPE")}
    settings = {
        "PNEUMOSCOPE_MODEL_DIR": str(setup.model.parent),
        "PNEUMOSCOPE_DEVICE": setup.device,
        "RAY_worker_niceness": "0",  # as the bare loop has it
    }
    proportional = 0
    behind = time.time() - time.monotonic()
    began = time.monotonic()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "bulk", str(archive), str(output)],
            env=kept | settings,
            stdout=log,
            stderr=log,
        )
        with watching(process.pid, LOOK_SECONDS) as watch:
            while process.poll() is None:
                if weighed:
                    proportional = max(proportional, proportional_bytes(psutil.Process(process.pid)))
                time.sleep(LOOK_SECONDS)
    if process.returncode != 0:
        raise Failed(f"python -m bulk ended with {process.returncode}; see {folder / 'log'}.")
    rows = ds.dataset(output / "findings").to_table(columns=["scored_at"])["scored_at"]
    times = rows.cast("int64").to_numpy() / 1e6 - behind
    if len(times) != count:
        raise Failed(f"python -m bulk wrote {len(times)} rows for {count} films.")
    shutil.rmtree(folder)
    return _Seen(began, times, watch, proportional)


def _archive(folder: Path, films: Sequence[bytes], count: int) -> Path:
    """A folder with `count` films in folders of a thousand; those beyond the given ones are links to them."""
    folder.mkdir(parents=True)
    for place in range(count):
        path = folder / f"{place // A_FOLDER:04}" / f"{place:07}.jpg"
        path.parent.mkdir(exist_ok=True)
        if place < len(films):
            path.write_bytes(films[place])
        else:
            same = place % len(films)
            path.hardlink_to(folder / f"{same // A_FOLDER:04}" / f"{same:07}.jpg")
    return folder
