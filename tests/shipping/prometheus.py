"""A real Prometheus with the configuration and the rules that ship."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.app.live import wait_until
from tests.required_tools import find_tool
from tests.shipping.repository import PROMETHEUS, RULES, load_yaml

EVERY = "1s"
"""How often it scrapes and runs the rules; those that ship do so every ten seconds and every five minutes."""


class PrometheusProcess:
    """A running Prometheus and its HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def is_ready(self) -> bool:
        """Whether it answers queries."""
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of a PromQL expression; the test fails if it is not valid."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def targets(self) -> list[dict[str, Any]]:
        """The targets being scraped."""
        found: list[dict[str, Any]] = self._get("targets")["activeTargets"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """The rules, and how their last run went."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def label_values(self, label: str, selector: str) -> list[str]:
        """The values of a label among the series that a selector matches."""
        found: list[str] = self._get(f"label/{label}/values", **{"match[]": selector})
        return found

    def _get(self, resource: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{resource}", params=parameters)
        assert answer.is_success, answer.text
        return answer.json()["data"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _configure(folder: Path, target: str) -> Path:
    """What ships, but for the target's address and the intervals."""
    configuration = load_yaml(PROMETHEUS)
    configuration["global"] |= {
        "scrape_interval": EVERY,
        "scrape_timeout": EVERY,
        "evaluation_interval": EVERY,
    }
    (job,) = configuration["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    (folder / "rules").mkdir()
    for path in RULES.glob("*.yml"):
        content = load_yaml(path)
        for group in content["groups"]:
            group.pop("interval", None)
        (folder / "rules" / path.name).write_text(yaml.safe_dump(content))
    place = folder / "prometheus.yml"
    place.write_text(yaml.safe_dump(configuration))
    return place


@contextmanager
def scraping(url: str, folder: Path) -> Iterator[PrometheusProcess]:
    """A Prometheus that has scraped the service at `url` once, stopped at the end."""
    configuration = _configure(folder, httpx.URL(url).netloc.decode())
    address = f"127.0.0.1:{_free_port()}"
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                find_tool("prometheus"),
                f"--config.file={configuration}",
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
