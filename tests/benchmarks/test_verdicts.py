import pytest

from benchmarks.compare import Visit, open_name
from benchmarks.soak import growth
from benchmarks.stages import Profile
from benchmarks.targets import OWN
from benchmarks.verdicts import Results, Verdict, verdicts
from tests.benchmarks.rows import visit, visits


def judged(word: str, results: Results) -> Verdict:
    (found,) = (each for each in verdicts(results) if word in each.asked)
    return found


def of(found: list[Visit]) -> Results:
    return Results(visits=found, limits=[], profiles=[], soaks=[])


def test_nothing_measured_is_neither_met_nor_missed() -> None:
    assert {each.met for each in verdicts(of([]))} == {None}


def test_ratios_are_taken_within_a_round() -> None:
    found = [visit(OWN, 0, 40), visit("fastapi", 0, 20), visit(OWN, 1, 10), visit("fastapi", 1, 10)]
    verdict = judged("FastAPI + ONNX Runtime", of(found))
    assert verdict.measured is not None
    assert (verdict.measured.low, verdict.measured.high) == (1, 2)


@pytest.mark.parametrize(("theirs", "met"), [(20, True), (50, False)])
def test_a_faster_peer_is_a_miss(theirs: float, met: bool) -> None:
    assert judged("LitServe", of([visit(OWN, 0, 40), visit("litserve", 0, theirs)])).met is met


@pytest.mark.parametrize(("spent", "met"), [(0.041, True), (0.043, False)])
def test_processor_time_is_judged_against_the_bare_loop_of_the_round(spent: float, met: bool) -> None:
    found = [each for each in visits() if each.target == "bare"]
    assert judged("bare loop", of([*found, visit(OWN, 0, 40, processor_seconds=spent)])).met is met


@pytest.mark.parametrize(("p99", "met"), [(0.19, True), (0.21, False)])
def test_an_overload_may_not_double_the_latency_of_what_is_accepted(p99: float, met: bool) -> None:
    one = visit(OWN, 0, 40)
    overrun = one.loads[open_name(10)].model_copy(update={"p99": p99})
    one = one.model_copy(update={"loads": one.loads | {open_name(10): overrun}})
    assert judged("against p99 at 90 %", of([one])).met is met


def test_the_latency_that_the_service_adds_is_all_but_decoding_and_inference() -> None:
    profile = Profile(
        concurrency=1, round=0, stages={"decode": 7, "queue": 1, "inference": 20}, request=29, client=31
    )
    assert (profile.added, profile.rest_of_request, profile.outside) == (4, 1, 2)
    results = Results(visits=[], limits=[], profiles=[profile], soaks=[])
    assert judged("one client", results).met is False


def test_memory_that_fills_up_first_and_then_stays_does_not_grow() -> None:
    filling = [(float(second), min(second, 25) * 1_000_000) for second in range(101)]
    leaking = [(float(second), second * 1_000_000) for second in range(101)]
    assert growth(filling, seconds=100, requests=10_000) == pytest.approx(0, abs=1)
    assert growth(leaking, seconds=100, requests=20_000) == pytest.approx(50_000_000)
