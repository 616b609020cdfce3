"""There are not enough file handles, or very many connections."""

import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.app.live import Process, process, wait_until
from tests.faults.requests import LIVE, connect, post
from tests.required_tools import find_tool

HANDLES = 90
THOUSAND = 1000


@pytest.fixture
def many_handles() -> Iterator[None]:
    """As many file handles for this process, and those that it starts, as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def handles(service: Process) -> int:
    return len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))


def resident_mb(service: Process) -> float:
    pages = int(Path(f"/proc/{service.process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def test_more_connections_than_file_handles_keep_no_film_out(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    prefix = [find_tool("prlimit"), f"--nofile={HANDLES}:{HANDLES}"]
    with process(tiny_folder, tmp_path / "log", prefix=prefix) as service, ExitStack() as stack:
        before = handles(service)
        for _ in range(3 * HANDLES):
            stack.enter_context(connect(service))
        assert post(service, film).status_code == 200
        assert handles(service) < HANDLES
        stack.close()
        wait_until(lambda: handles(service) <= before + 1, "the handles are free again")
        assert post(service, film).status_code == 200
        assert [line for line in service.lines() if "stack" in line or line["level"] == "error"] == []


def test_where_no_handle_is_left_connections_that_stand_are_served_and_later_ones_when_there_is_one(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    prefix = [find_tool("prlimit"), f"--nofile={HANDLES}:{HANDLES}"]
    with process(tiny_folder, tmp_path / "log", module="tests.faults.greedy", prefix=prefix) as service:
        assert service.client.get("/health/live").status_code == 200
        service.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: handles(service) == HANDLES, "no handle is left")
        for _ in range(20):
            with connect(service) as client, pytest.raises((ConnectionError, EOFError)):
                client.sendall(LIVE)
                if not client.recv(100):
                    raise EOFError
        assert service.client.post("/predict", files={"file": film}).status_code == 200
        assert service.client.post("/explain", files={"file": film}).status_code == 200
        service.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: handles(service) < HANDLES, "handles are free again")
        assert post(service, film).status_code == 200


def test_among_a_thousand_idle_connections_a_film_is_answered_and_they_are_closed_in_time(
    tiny_folder: Path,
    tmp_path: Path,
    film: bytes,
    many_handles: None,
    record_property: Callable[[str, object], None],
) -> None:
    with process(tiny_folder, tmp_path / "log", HEADER_TIMEOUT_S="4") as service, ExitStack() as stack:
        assert post(service, film).status_code == 200
        before = resident_mb(service)
        idle = [stack.enter_context(connect(service)) for _ in range(THOUSAND)]
        for client in idle[::2]:
            client.sendall(LIVE)  # these idle after an answer, the others before they have said anything
        assert post(service, film).status_code == 200
        grown = resident_mb(service) - before
        record_property("megabytes", round(grown, 1))
        assert grown < 100
        for client in idle:
            assert closed(client)
        assert post(service, film).status_code == 200


def closed(client: socket.socket) -> bool:
    """Whether the service ends the connection; what it has said before does not matter."""
    try:
        while client.recv(65536):
            continue
    except ConnectionError:
        pass
    except (TimeoutError, httpx.TransportError):
        return False
    return True
