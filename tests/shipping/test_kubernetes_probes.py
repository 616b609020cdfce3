"""When a pod gets films, when it is started again and when it is killed: the manifests against a real service."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.main import LAST_BATCH_SECONDS, LAST_SPANS_SECONDS
from app.settings import PREFIX
from tests.app.live import PATIENCE_SECONDS, Process, process, wait_until
from tests.shipping.kubernetes import HARDWARE, Rendered, loaded, render
from tests.shipping.repository import ROOT

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
FAULTY = "tests.faults.faulty_device"
"""A service whose device a signal takes away."""


@pytest.fixture
def service(tiny_folder: Path, tmp_path: Path) -> Iterator[Process]:
    """The service with the pod's settings."""
    chosen = {
        name.removeprefix(PREFIX): value
        for name, value in Rendered("cpu", render(HARDWARE["cpu"])).settings.items()
    }
    with process(tiny_folder, tmp_path / "log", module=FAULTY, **chosen) as running:
        yield running


def seen(way: Rendered, service: Process) -> dict[str, bool]:
    """Whether each probe, asked as the kubelet does, is content with the service."""
    return {
        probe: service.client.get(way.container[probe]["httpGet"]["path"]).status_code == httpx.codes.OK
        for probe in PROBES
    }


NOT_READY = {"startupProbe": False, "readinessProbe": False, "livenessProbe": True}


def test_a_service_with_the_pods_settings_contents_every_probe(plain: Rendered, service: Process) -> None:
    assert seen(plain, service) == dict.fromkeys(PROBES, True)


def test_a_service_whose_device_may_come_back_gets_no_films_and_is_not_started_again(
    plain: Rendered, service: Process, film: bytes
) -> None:
    """So it is too while the model is warmed for the first time: the startup probe waits for readiness."""
    service.process.send_signal(signal.SIGUSR1)
    wait_until(
        lambda: service.client.post("/predict", files={"file": film}).status_code == 503, "the device is lost"
    )
    assert seen(plain, service) == NOT_READY


def test_only_readiness_fails_while_the_service_drains(plain: Rendered, service: Process) -> None:
    url = httpx.URL(service.url)
    with socket.create_connection((url.host, url.port or 80), timeout=PATIENCE_SECONDS) as client:
        client.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: 1000\r\n\r\n--x\r\n"
        )
        wait_until(
            lambda: "pneumoscope_in_flight 2.0" in service.client.get("/metrics").text, "a film is on its way"
        )
        service.terminate()
        wait_until(lambda: seen(plain, service) == NOT_READY, "it drains, and is not killed for that")


@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_waits_as_long_as_the_page_says(plain: Rendered, probe: str) -> None:
    expected = {
        "startupProbe": {"cpu": 60, "gpu": 300}[plain.variant],
        "readinessProbe": 10,
        "livenessProbe": 60,
    }[probe]
    chosen = plain.container[probe]
    assert chosen["periodSeconds"] * chosen["failureThreshold"] == expected
    assert 2 <= chosen["timeoutSeconds"] <= 5
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{probe}` |"))
    assert f"{expected} s" in row


def test_a_device_that_hangs_at_the_start_ends_the_process_before_a_probe_does_on_gpus() -> None:
    """Then the log and the exit code say why; on the CPU nothing of the kind is expected."""
    way = Rendered("gpu", render(HARDWARE["gpu"]))
    probe = way.container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > loaded(way.settings).device_timeout_s


def test_a_process_that_ends_for_its_device_is_started_again(rendered: Rendered) -> None:
    assert rendered.pod.get("restartPolicy", "Always") == "Always"
    assert "restartPolicy" not in rendered.container


def test_a_pod_is_killed_only_after_it_has_drained(rendered: Rendered) -> None:
    pause = rendered.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = pause + loaded(rendered.settings).drain_s + LAST_BATCH_SECONDS + LAST_SPANS_SECONDS
    assert pause > 0
    assert rendered.pod["terminationGracePeriodSeconds"] >= needed + 10
