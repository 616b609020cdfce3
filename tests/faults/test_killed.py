"""The process is killed, stopped or suspended in the middle of its work."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.app.live import PATIENCE_SECONDS, Process, process, wait_until
from tests.faults.requests import connect, metric, post, predict

FAULTY = "tests.faults.faulty_device"


def port(service: Process) -> str:
    return str(httpx.URL(service.url).port)


def test_kill_9_in_mid_batch_breaks_connections_and_a_new_start_serves_on_the_same_port(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    with (
        process(tiny_folder, tmp_path / "log", module=FAULTY, MAX_WAIT_S="3600") as service,
        ThreadPoolExecutor(4) as pool,
    ):
        service.process.send_signal(signal.SIGUSR2)
        sent = [pool.submit(post, service, film) for _ in range(4)]
        wait_until(lambda: metric(service, "pneumoscope_queue_depth") >= 2, "a film runs and others wait")
        service.process.kill()
        for future in sent:
            with pytest.raises(httpx.TransportError):
                future.result()
        service.process.wait(PATIENCE_SECONDS)
        with process(tiny_folder, tmp_path / "again", PORT=port(service)) as again:
            assert again.url == service.url
            assert post(again, film).status_code == 200


def test_a_second_service_on_the_same_port_ends_and_the_first_goes_on(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    with process(tiny_folder, tmp_path / "log") as service:
        with pytest.raises(RuntimeError, match="address already in use"):
            Process(tiny_folder, tmp_path / "second", PORT=port(service))
        assert post(service, film).status_code == 200


def test_sigterm_under_load_answers_every_request_that_had_begun(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    request = predict(film)
    terminated: list[float] = []

    def load(service: Process) -> list[tuple[float, bytes]]:
        """When each request was begun, and the first line of its answer, until the service is gone."""
        seen = []
        while True:
            begun = time.monotonic()
            try:
                with connect(service) as client:
                    client.sendall(request)
                    begun = time.monotonic()
                    seen.append((begun, client.recv(65536).partition(b"\r\n")[0]))
            except OSError:
                seen.append((begun, b""))
            if terminated and not seen[-1][1]:
                return seen

    with process(tiny_folder, tmp_path / "log") as service, ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load, service) for _ in range(4)]
        wait_until(lambda: metric(service, "pneumoscope_novelty_count") >= 20, "films are judged")
        terminated.append(time.monotonic())
        service.terminate()
        assert service.process.wait(PATIENCE_SECONDS) == 0
        seen = [answer for future in loads for answer in future.result()]
    before = [line for begun, line in seen if begun < terminated[0]]
    after = [line for begun, line in seen if begun >= terminated[0]]
    assert before.count(b"HTTP/1.1 200 OK") >= 20
    # The last ones before may have been refused, as they had not been read yet; none was left without an answer.
    assert set(before) <= {b"HTTP/1.1 200 OK", b"HTTP/1.1 503 Service Unavailable"}
    assert set(after) <= {b"HTTP/1.1 503 Service Unavailable", b""}
    assert [line for line in service.lines() if "stack" in line or line["level"] == "critical"] == []


def test_a_service_that_is_suspended_under_load_goes_on_as_if_nothing_had_been(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    settings = {"DEVICE_TIMEOUT_S": "1", "HEADER_TIMEOUT_S": "30", "MAX_WAIT_S": "3600"}
    with (
        process(tiny_folder, tmp_path / "log", module=FAULTY, **settings) as service,
        ThreadPoolExecutor(3) as pool,
    ):
        service.process.send_signal(signal.SIGUSR2)
        sent = [pool.submit(post, service, film) for _ in range(3)]
        wait_until(lambda: metric(service, "pneumoscope_in_flight") == 4, "three films are under way")
        service.process.send_signal(signal.SIGSTOP)
        time.sleep(2)  # longer than a run may last
        service.process.send_signal(signal.SIGHUP)
        service.process.send_signal(signal.SIGCONT)
        assert [future.result().status_code for future in sent] == [200] * 3
        assert service.client.get("/health/ready").status_code == 200
