"""A real Prometheus, with the configuration that ships, scrapes a real service."""

import re
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from tests.app.live import Process, wait_until
from tests.required_tools import find_tool
from tests.shipping.repository import PROMETHEUS, ROOT, load_yaml

PAGE = (ROOT / "docs" / "deploy.md").read_text()
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
    "pneumoscope_model_info",
)


class PrometheusProcess:
    """A running Prometheus and its HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of a PromQL expression."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def targets(self) -> list[dict[str, Any]]:
        """The targets being scraped."""
        answer = httpx.get(f"{self.url}/api/v1/targets").raise_for_status()
        found: list[dict[str, Any]] = answer.json()["data"]["activeTargets"]
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def predicted(service: Process, film: bytes) -> Process:
    """The service after one prediction and one refusal."""
    for content, status in ((film, httpx.codes.OK), (b"text", httpx.codes.UNSUPPORTED_MEDIA_TYPE)):
        assert service.client.post("/predict", files={"file": content}).status_code == status
    return service


@pytest.fixture(scope="module")
def prometheus(predicted: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusProcess]:
    """A Prometheus with the shipped configuration, but for the target's address and the interval."""
    program = find_tool("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    configuration = load_yaml(PROMETHEUS)
    configuration["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s"}
    (job,) = configuration["scrape_configs"]
    job["static_configs"] = [{"targets": [httpx.URL(predicted.url).netloc.decode()]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{free_port()}"
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=output,
            stderr=output,
        )
    running = PrometheusProcess(f"http://{address}")
    try:
        wait_until(running.is_ready, f"Prometheus is ready, see {log}")
        wait_until(lambda: bool(running.query("pneumoscope_queue_depth")), f"it has scraped, see {log}")
        yield running
    finally:
        process.terminate()
        process.wait()


def test_the_configuration_is_valid() -> None:
    told = subprocess.run(
        [find_tool("promtool"), "check", "config", PROMETHEUS], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr


def test_the_metrics_follow_prometheuss_own_rules(service: Process) -> None:
    told = subprocess.run(
        [find_tool("promtool"), "check", "metrics"],
        input=service.client.get("/metrics").content,
        capture_output=True,
        check=False,
    )
    assert (told.returncode, told.stderr) == (0, b"")


def test_the_service_is_up(prometheus: PrometheusProcess) -> None:
    (target,) = prometheus.targets()
    assert (target["health"], target["lastError"]) == ("up", "")
    assert target["labels"]["job"] == "pneumoscope"


@pytest.mark.parametrize("series", SCRAPED)
def test_a_series_is_scraped(prometheus: PrometheusProcess, series: str) -> None:
    assert prometheus.query(series)


@pytest.mark.parametrize("query", re.findall(r"^\|.*`(.*pneumoscope_.*)` \|$", PAGE, flags=re.MULTILINE))
def test_a_query_of_the_how_to_is_answered(prometheus: PrometheusProcess, query: str) -> None:
    prometheus.query(query)


def test_the_scraped_model_is_the_one_served(prometheus: PrometheusProcess, predicted: Process) -> None:
    (info,) = prometheus.query("pneumoscope_model_info")
    served = predicted.client.get("/model").json()
    assert info["metric"]["sha256"] == served["sha256"]
    assert info["metric"]["version"] == served["manifest"]["version"]
