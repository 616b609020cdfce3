"""From the outcome of a load to figures, and from rounds to a median with its spread."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.load import NO_ANSWER, TIMED_OUT, Outcome

WORDS = {NO_ANSWER: "connection lost", TIMED_OUT: "no answer in time"}


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles by nearest rank, in seconds."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One load in numbers.

    `throughput`: films answered with 200 a second, while the load lasted. `latency`: of those. `refused`: of
    all other answers. `statuses`: how many of each. `late`: p99 of how late the generator was, in seconds.
    """

    throughput: float
    films: int
    latency: Latency | None
    refused: Latency | None
    statuses: dict[str, int]
    late: float


def percentiles(seconds: npt.NDArray[np.float64]) -> Latency | None:
    """The percentiles of `seconds`, float64 [n]; None where there is none."""
    if not seconds.size:
        return None
    p50, p95, p99 = np.percentile(seconds, (50, 95, 99), method="inverted_cdf")
    return Latency(p50=float(p50), p95=float(p95), p99=float(p99))


def figures(outcome: Outcome) -> Figures:
    """The numbers of `outcome`."""
    good = outcome.status == 200
    in_time = good & (outcome.meant + outcome.latency <= outcome.ended)
    answered = good | (outcome.status > 0)
    statuses, counts = np.unique(outcome.status, return_counts=True)
    return Figures(
        throughput=float(in_time.sum() / outcome.seconds),
        films=int(in_time.sum()),
        latency=percentiles(outcome.latency[good]),
        refused=percentiles(outcome.latency[answered & ~good]),
        statuses={
            WORDS.get(int(status), str(status)): int(count)
            for status, count in zip(statuses, counts, strict=True)
        },
        late=float(np.percentile(outcome.late, 99)) if outcome.late.size else 0.0,
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds: its median, its least and its greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Spread | None":
        """The spread of the values that are there; None where none is."""
        found = [value for value in values if value is not None]
        if not found:
            return None
        return cls(median=float(np.median(found)), low=min(found), high=max(found))


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """By how much `y` rises for each unit of `x`, by least squares; 0 where `x` does not vary."""
    if len(x) < 2 or min(x) == max(x):
        return 0.0
    return float(np.polynomial.polynomial.polyfit(x, y, 1)[1])
