"""The device is lost, or hangs."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from app.serving import DEVICE_LOST
from tests.app.live import PATIENCE_SECONDS, Process, answer_on, process, wait_until
from tests.faults.requests import connect, metric, post

FAULTY = "tests.faults.faulty_device"


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


def test_a_lost_device_makes_the_service_unready_until_it_works_again(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    with process(tiny_folder, tmp_path / "log", module=FAULTY) as service:
        assert post(service, film).status_code == 200
        service.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: told(post(service, film)) == (503, "device-failed"), "a film fails")
        assert told(service.client.get("/health/ready")) == (503, "not-ready")
        refused = post(service, film)
        assert told(refused) == (503, "not-ready")
        assert int(refused.headers["retry-after"]) >= 1
        assert service.client.get("/health/live").status_code == 200, "it may come back"
        service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: service.client.get("/health/ready").status_code == 200, "it is ready again")
        assert post(service, film).status_code == 200


def hang(service: Process, film: bytes, pool: ThreadPoolExecutor) -> "list[httpx.Response]":
    """The answers to three films that a device which hangs has got."""
    service.process.send_signal(signal.SIGUSR2)
    return list(pool.map(lambda _: post(service, film), range(3)))


def test_a_device_that_hangs_ends_the_service_when_every_film_has_an_answer(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    settings = {"DEVICE_TIMEOUT_S": "1", "MAX_WAIT_S": "3600"}
    with (
        process(tiny_folder, tmp_path / "log", module=FAULTY, **settings) as service,
        ThreadPoolExecutor(3) as pool,
    ):
        answers = hang(service, film, pool)
        assert {told(answer) for answer in answers} == {(503, "device-failed")}
        assert service.process.wait(PATIENCE_SECONDS) == DEVICE_LOST
        assert [line["message"] for line in service.lines() if line["level"] == "critical"] == [
            "the device has not answered for 1 s: the service is to be started anew"
        ]


def test_while_it_ends_for_its_device_it_says_that_it_is_not_alive(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    with (
        process(tiny_folder, tmp_path / "log", module=FAULTY, DEVICE_TIMEOUT_S="0.5", DRAIN_S="3") as service,
        connect(service) as client,
        ThreadPoolExecutor(3) as pool,
    ):
        client.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        )
        client.sendall(b"Content-Length: 1000\r\n\r\n")  # an upload that goes on holds the end up
        wait_until(lambda: metric(service, "pneumoscope_in_flight") == 2, "the upload has begun")
        hang(service, film, pool)
        for path in ("/health/live", "/health/ready"):
            assert told(service.client.get(path)) == (503, "device-lost")
        assert service.client.get("/v2/health/live").status_code == 503
        assert told(post(service, film)) == (503, "device-lost")
        service.terminate()  # as an orchestrator does that has seen it
        assert answer_on(client)[0] == 503, "what is left is told all the same"
        assert service.process.wait(PATIENCE_SECONDS) == DEVICE_LOST


def test_a_device_that_stays_lost_ends_the_service_too(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    with process(tiny_folder, tmp_path / "log", module=FAULTY, DEVICE_TIMEOUT_S="1") as service:
        service.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: told(post(service, film)) == (503, "device-failed"), "a film fails")
        assert service.process.wait(PATIENCE_SECONDS) == DEVICE_LOST


def test_a_dispatcher_that_ends_ends_the_service_and_every_film_has_an_answer(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    with process(tiny_folder, tmp_path / "log", module=FAULTY, DEVICE_TIMEOUT_S="1") as service:
        service.process.send_signal(signal.SIGALRM)
        wait_until(lambda: told(post(service, film)) == (503, "device-failed"), "a film fails")
        assert told(service.client.get("/health/ready"))[0] == 503
        assert service.process.wait(PATIENCE_SECONDS) == DEVICE_LOST
