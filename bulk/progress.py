"""What the person who started it sees: how far it is, and what it came to."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bulk.worker import Done

CAUTION = (
    "For research and teaching: a reader decides. "
    "NORMAL means below the threshold; it does not rule pneumonia out."
)
EVERY_SECONDS = 30.0
"""Where nobody watches a bar, a line says how far it is so often."""


@dataclass(slots=True)
class Tally:
    """This run in numbers, so far. `seconds`: since the first shard was begun."""

    total: int
    films: int = 0
    pneumonia: int = 0
    review: int = 0
    refused: int = 0
    began: float | None = None
    ended: float = 0.0

    def add(self, done: Done) -> None:
        """Count a shard."""
        self.ended = time.monotonic()
        if self.began is None:
            self.began = self.ended - done.seconds
        self.films += done.films
        self.pneumonia += done.pneumonia
        self.review += done.review
        self.refused += done.refused

    @property
    def rate(self) -> float:
        """Films a second of all workers together, their start left out; 0 before the first shard is done."""
        seconds = 0.0 if self.began is None else self.ended - self.began
        return self.films / seconds if seconds > 0 else 0.0

    @property
    def remaining(self) -> float:
        """Seconds that the rest takes at that rate."""
        return (self.total - self.films) / self.rate if self.rate else 0.0

    def words(self) -> str:
        """In one line."""
        if not self.rate:
            return f"{self.films:,} of {self.total:,} films"
        return (
            f"{self.films:,} of {self.total:,} films, {self.rate:,.1f} films/s, "
            f"{_duration(self.remaining)} left, {self.refused:,} not judged"
        )


@contextmanager
def shown(tally: Tally) -> Iterator["Shown"]:
    """A bar on standard error while the block lasts, or now and then a line where that is no terminal."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("judging"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.1f} films/s"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not console.is_terminal,
    )
    with bar:
        yield Shown(tally, bar)


class Shown:
    """Tells of each shard."""

    def __init__(self, tally: Tally, bar: Progress) -> None:
        self._tally = tally
        self._bar = bar
        self._task = bar.add_task("", total=tally.total, rate=0.0)
        self._told = time.monotonic()

    def add(self, done: Done) -> None:
        """Count a shard, and show it."""
        self._tally.add(done)
        self._bar.update(self._task, completed=self._tally.films, rate=self._tally.rate)
        now = time.monotonic()
        if self._bar.disable and now - self._told >= EVERY_SECONDS:
            sys.stderr.write(self._tally.words() + "\n")
            self._told = now


def report(tally: Tally, films: int, others: int, refused: Counter[str], where: str) -> list[str]:
    """What to say at the end: of this run, then of all that OUTPUT holds."""
    judged = tally.films - tally.refused
    lines = [
        f"This run: {tally.films:,} films, {tally.pneumonia:,} PNEUMONIA, {judged - tally.pneumonia:,} NORMAL, "
        f"{tally.refused:,} not judged. A person should look at {tally.review:,}."
    ]
    if tally.rate:
        lines.append(f"{tally.rate:,.1f} films/s, the start of the workers left out.")
    lines.append(
        f"Altogether: {films:,} films, {films - refused.total():,} judged, {refused.total():,} not; "
        f"{others:,} files left out, since their names are not those of films."
    )
    lines += [f"  {count:>9,}  {code}" for code, count in sorted(refused.items())]
    if refused:
        lines.append(f"Which they are is in {where}.")
    return [*lines, CAUTION]


def _duration(seconds: float) -> str:
    hours, minutes = int(seconds // 3600), int(seconds % 3600 // 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {int(seconds % 60):02} s"
