"""What the plan asks of the speed, against what was measured; ratios are of one round, so of one moment."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.compare import NEAR_CAPACITY, OVERLOAD, Visit, closed_name, open_name
from benchmarks.limits import Limits
from benchmarks.soak import Soak
from benchmarks.stages import Profile
from benchmarks.statistics import Spread
from benchmarks.targets import BARE, OWN, TARGETS

SATURATED = closed_name(32)
AT_ONCE_MS = 250
"""What the plan's "at once" is judged by."""


@dataclass(frozen=True, slots=True)
class Results:
    """All rows of a campaign that there are."""

    visits: Sequence[Visit]
    limits: Sequence[Limits]
    profiles: Sequence[Profile]
    soaks: Sequence[Soak]
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target: in words, what was measured, and whether that is good enough; None where it was not measured."""

    asked: str
    measured: Spread | None
    met: bool | None
    unit: str = ""


def verdicts(results: Results) -> list[Verdict]:
    """One for each figure that the plan asks for."""
    at_most, at_least = _comparison("at most"), _comparison("at least")
    own = [visit for visit in results.visits if visit.target == OWN]
    found = [
        at_most(
            "processor time a film at saturation, against the bare loop that takes least",
            1.05,
            _with_bare(results.visits),
            "×",
        ),
        at_least(
            "share of the cores' time in use at saturation, generator included",
            0.95,
            (visit.loads[SATURATED].busy for visit in own),
        ),
        at_most(
            "latency with one client, less decoding and inference",
            3,
            (each.added for each in results.profiles if each.concurrency == 1),
            "ms",
        ),
        *(
            at_least(
                f"capacity against {target.title}",
                1.0 if target.same_model else 3.5,
                _ratios(own, results, name),
                "×",
            )
            for name, target in TARGETS.items()
            if name != OWN
        ),
        at_most(
            "p99 of what is accepted at ten times the capacity, against p99 at 90 % of it", 2, _calm(own), "×"
        ),
        at_most(
            "p99 of a refusal at ten times the capacity",
            AT_ONCE_MS,
            (_milliseconds(visit.loads[open_name(OVERLOAD)].refused_p99) for visit in own),
            "ms",
        ),
        at_most("start to first answer", 3, (visit.start_seconds for visit in own), "s"),
        at_most(
            "resident memory, the most under any of these loads",
            400,
            (max(load.resident for load in visit.loads.values()) / 1e6 for visit in own),
            "MB",
        ),
        at_most(
            "growth of resident memory in a soak, for each 10,000 requests",
            0.5,
            (each.growth / 1e6 for each in results.soaks),
            "MB",
        ),
        at_most(
            "decoding a full-size JPEG, against libjpeg-turbo's scaled decode alone",
            1.1,
            (each.decoding.service / each.decoding.scaled for each in results.limits),
            "×",
        ),
        at_least(
            "speed of int8 against half precision",
            1.7,
            (
                each.precision["model.onnx"] / each.precision["model.int8.onnx"]
                for each in results.limits
                if len(each.precision) == 2
            ),
            "×",
        ),
    ]
    if results.device == "cuda":
        found += [
            at_least(
                "engine against the bare CUDA loop",
                0.9,
                (each.batches.engine / each.batches.limit for each in results.limits),
                "×",
            ),
            at_least(
                "capacity over HTTP against the bare CUDA loop", 0.5, _over_http(own, results.limits), "×"
            ),
        ]
    return found


def capacity(visit: Visit) -> float:
    """The most films a second that any closed loop got out of a visit's target."""
    return max(load.throughput for name, load in visit.loads.items() if name.startswith("closed"))


def paired(one: Iterable[Visit], others: Iterable[Visit]) -> list[tuple[Visit, Visit]]:
    """Visits of the same round."""
    by_round = {visit.round: visit for visit in others}
    return [(visit, by_round[visit.round]) for visit in one if visit.round in by_round]


def least_processor_seconds(visit: Visit) -> float:
    """Processor seconds a film of the bare loop that takes least of them."""
    return min(rate.processor_seconds for rate in visit.limits.values())


def _ratios(own: Sequence[Visit], results: Results, name: str) -> list[float]:
    others = [visit for visit in results.visits if visit.target == name]
    return [capacity(ours) / capacity(theirs) for ours, theirs in paired(own, others) if capacity(theirs)]


def _over_http(own: Sequence[Visit], limits: Sequence[Limits]) -> list[float]:
    by_round = {each.round: each.batches.limit for each in limits}
    return [capacity(visit) / by_round[visit.round] for visit in own if visit.round in by_round]


def _with_bare(visits: Sequence[Visit]) -> list[float]:
    own = [visit for visit in visits if visit.target == OWN]
    bare = [visit for visit in visits if visit.target == BARE]
    return [
        spent / least_processor_seconds(limit)
        for visit, limit in paired(own, bare)
        if (spent := visit.loads[SATURATED].processor_seconds) is not None
    ]


def _calm(own: Sequence[Visit]) -> list[float]:
    pairs = [
        (visit.loads[open_name(OVERLOAD)].p99, visit.loads[open_name(NEAR_CAPACITY)].p99) for visit in own
    ]
    return [overrun / ordinary for overrun, ordinary in pairs if overrun and ordinary]


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _comparison(words: str) -> Callable[..., Verdict]:
    def judge(what: str, bound: float, values: Iterable[float | None], unit: str = "") -> Verdict:
        spread = Spread.of(values)
        met = None
        if spread is not None:
            met = spread.median <= bound if words == "at most" else spread.median >= bound
        space = "" if unit in ("", "×") else " "
        return Verdict(f"{what}: {words} {bound:g}{space}{unit}", spread, met, unit)

    return judge
