"""`python -m app.healthcheck`, as a container engine runs it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.settings import PREFIX
from tests.app.live import Process, process
from tests.shipping.repository import ROOT


def check(**settings: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    chosen = {PREFIX + name: value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "app.healthcheck"],
        cwd=ROOT,
        env=inherited | {"http_proxy": "http://127.0.0.1:9"} | chosen,
        capture_output=True,
        text=True,
        check=False,
    )


def port(service: Process) -> str:
    return str(httpx.URL(service.url).port)


def test_a_ready_service_passes(service: Process) -> None:
    told = check(PORT=port(service))
    assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.parametrize("hosts", ["films.example.org", "*.example.org"])
def test_a_ready_service_that_trusts_few_hosts_passes(tiny_folder: Path, tmp_path: Path, hosts: str) -> None:
    with process(tiny_folder, tmp_path / "log", TRUSTED_HOSTS=f"{hosts},127.0.0.1") as service:
        assert check(PORT=port(service), TRUSTED_HOSTS=f"{hosts},127.0.0.1").returncode == 0


def test_a_service_that_answers_anything_but_ready_fails(tiny_folder: Path, tmp_path: Path) -> None:
    with process(tiny_folder, tmp_path / "log", TRUSTED_HOSTS="127.0.0.1") as service:
        told = check(PORT=port(service), TRUSTED_HOSTS="elsewhere.example.org")
    assert (told.returncode, told.stderr) == (1, "not ready: 400\n")


def test_a_port_without_a_service_fails() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take it meanwhile
        told = check(PORT=str(taken.getsockname()[1]))
    assert (told.returncode, told.stderr) == (1, "no answer: ConnectionRefusedError\n")
