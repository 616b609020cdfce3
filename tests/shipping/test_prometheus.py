"""A real Prometheus, with the configuration that ships, scrapes a real service."""

import re
import subprocess

import pytest

from tests.app.live import Process, wait_until
from tests.required_tools import find_tool
from tests.shipping.conftest import Watched
from tests.shipping.repository import PROMETHEUS, ROOT

PAGE = (ROOT / "docs" / "monitoring.md").read_text()
SCRAPED = (
    "pneumoscope_request_seconds_count",
    "pneumoscope_stage_seconds_count",
    "pneumoscope_batch_size_count",
    "pneumoscope_queue_depth",
    "pneumoscope_in_flight",
    "pneumoscope_rejected_total",
    "pneumoscope_predictions_total",
    "pneumoscope_probability_count",
    "pneumoscope_novelty_count",
    "pneumoscope_brightness_count",
    "pneumoscope_reference_share",
    "pneumoscope_ready",
    "pneumoscope_model_info",
)


def test_the_configuration_is_valid() -> None:
    told = subprocess.run(
        [find_tool("promtool"), "check", "config", PROMETHEUS], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert "2 rule files found" in told.stdout


def test_the_metrics_follow_prometheuss_own_rules(service: Process) -> None:
    told = subprocess.run(
        [find_tool("promtool"), "check", "metrics"],
        input=service.client.get("/metrics").content,
        capture_output=True,
        check=False,
    )
    assert (told.returncode, told.stderr) == (0, b"")


def test_the_service_is_up(watched: Watched) -> None:
    (target,) = watched.prometheus.targets()
    wait_until(lambda: watched.prometheus.targets()[0]["health"] == "up", "the service is up")
    assert target["labels"]["job"] == "pneumoscope"


def test_every_rule_runs(watched: Watched) -> None:
    rules = watched.prometheus.rules()
    assert rules
    assert [rule["name"] for rule in rules if rule.get("lastError")] == []


@pytest.mark.parametrize("series", SCRAPED)
def test_a_series_is_scraped(watched: Watched, series: str) -> None:
    assert watched.prometheus.query(series)


@pytest.mark.parametrize("query", re.findall(r"^\|.*`(.*pneumoscope_.*)` \|$", PAGE, flags=re.MULTILINE))
def test_a_query_of_the_how_to_is_answered(watched: Watched, query: str) -> None:
    assert watched.prometheus.query(query)


def test_the_scraped_model_is_the_one_served(watched: Watched) -> None:
    (info,) = watched.prometheus.query("pneumoscope_model_info")
    served = watched.service.client.get("/model").json()
    assert info["metric"]["sha256"] == served["sha256"]
    assert info["metric"]["version"] == served["manifest"]["version"]


def test_the_reference_that_is_scraped_has_the_edges_of_the_histograms(watched: Watched) -> None:
    ask = watched.prometheus.label_values
    for signal in ("probability", "novelty", "brightness"):
        edges = ask("le", f'pneumoscope_reference_share{{signal="{signal}"}}')
        assert edges
        assert set(edges) == set(ask("le", f"pneumoscope_{signal}_bucket")) - {"+Inf"}
