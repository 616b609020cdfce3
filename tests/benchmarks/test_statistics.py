import numpy as np
import pytest

from benchmarks.load import Outcome
from benchmarks.statistics import Latency, Spread, figures, percentiles, slope


def outcome(meant: list[float], latency: list[float], status: list[int], seconds: float = 10) -> Outcome:
    return Outcome(
        began=0,
        ended=seconds,
        meant=np.array(meant),
        late=np.zeros(len(meant)),
        latency=np.array(latency),
        status=np.array(status, np.int16),
        processor_seconds=1,
    )


def test_percentiles_are_by_nearest_rank() -> None:
    assert percentiles(np.arange(1.0, 101.0)) == Latency(p50=50, p95=95, p99=99)
    assert percentiles(np.array([3.0])) == Latency(p50=3, p95=3, p99=3)
    assert percentiles(np.array([])) is None


def test_throughput_counts_good_answers_that_came_while_the_load_lasted() -> None:
    found = figures(outcome([1, 2, 9, 9], [1, 1, 0.5, 5], [200, 429, 200, 200]))
    assert (found.throughput, found.films) == (0.2, 2)


def test_good_answers_and_refusals_have_latencies_of_their_own() -> None:
    found = figures(outcome([0, 0, 0, 0, 0], [1, 2, 0.1, 10, 0.2], [200, 200, 429, -1, 0]))
    assert found.latency == Latency(p50=1, p95=2, p99=2)
    assert found.refused == Latency(p50=0.1, p95=0.1, p99=0.1)
    assert found.statuses == {"200": 2, "429": 1, "no answer in time": 1, "connection lost": 1}


def test_a_load_without_an_answer_has_no_latency() -> None:
    found = figures(outcome([0], [10], [-1]))
    assert (found.throughput, found.latency, found.refused) == (0, None, None)


def test_a_spread_is_the_median_between_the_extremes_of_what_is_there() -> None:
    assert Spread.of([3.0, None, 1.0, 2.0]) == Spread(median=2, low=1, high=3)
    assert Spread.of([None]) is None


@pytest.mark.parametrize(("y", "expected"), [([1, 3, 5], 2), ([4, 4, 4], 0)])
def test_a_slope_is_the_rise_for_each_unit(y: list[float], expected: float) -> None:
    assert slope([10, 11, 12], y) == pytest.approx(expected)


def test_one_point_has_no_slope() -> None:
    assert slope([1], [5]) == 0
