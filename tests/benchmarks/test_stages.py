import pytest

from app.telemetry.metrics import Metrics
from benchmarks.stages import ROUTE, mean_milliseconds, totals


def test_means_are_of_what_happened_between_two_scrapes() -> None:
    metrics = Metrics()
    metrics.stage_seconds.labels("decode").observe(10)
    metrics.request_seconds.labels(ROUTE, "200").observe(20)
    before = totals(metrics.exposition().decode())
    for seconds in (0.010, 0.020):
        metrics.stage_seconds.labels("decode").observe(seconds)
        metrics.stage_seconds.labels("inference").observe(2 * seconds)
        metrics.request_seconds.labels(ROUTE, "200").observe(4 * seconds)
    metrics.request_seconds.labels(ROUTE, "429").observe(100)
    metrics.request_seconds.labels("/metrics", "200").observe(100)
    means = mean_milliseconds(before, totals(metrics.exposition().decode()))
    assert means == pytest.approx({"decode": 15, "inference": 30, ROUTE: 60})


def test_a_stage_that_nothing_passed_is_left_out() -> None:
    metrics = Metrics()
    metrics.stage_seconds.labels("decode").observe(1)
    scraped = totals(metrics.exposition().decode())
    assert mean_milliseconds(scraped, scraped) == {}
