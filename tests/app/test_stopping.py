import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from app.settings import Settings
from tests.app.live import PATIENCE_SECONDS, gated, process, running, wait_until


def test_sigterm_finishes_what_was_accepted_and_exits_with_0(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + film + b"\r\n--x--\r\n"
    )
    head = (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    with process(tiny_folder, tmp_path / "log") as service:
        url = httpx.URL(service.url)
        with socket.create_connection((url.host, url.port or 80), timeout=PATIENCE_SECONDS) as client:
            client.sendall(head + body[:-20])
            wait_until(
                lambda: "pneumoscope_in_flight 2.0" in service.client.get("/metrics").text,
                "the film is accepted",
            )
            service.terminate()
            wait_until(
                lambda: service.client.get("/health/ready").status_code == 503,
                "readiness fails while draining",
            )
            assert service.client.get("/health/live").status_code == 200
            refused = service.client.post("/predict", files={"file": film})
            assert (refused.status_code, refused.json()["code"]) == (503, "draining")
            client.sendall(body[-20:])
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert service.process.wait(PATIENCE_SECONDS) == 0
        assert [line for line in service.lines() if line["level"] not in ("debug", "info")] == []
        assert any(line.get("code") == "draining" for line in service.lines())


def test_an_upload_that_never_ends_does_not_hold_the_exit(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    with process(tiny_folder, tmp_path / "log", DRAIN_S="1") as service:
        url = httpx.URL(service.url)
        with socket.create_connection((url.host, url.port or 80), timeout=PATIENCE_SECONDS) as client:
            client.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
                b"Content-Length: 1000\r\n\r\n--x\r\n"
            )
            wait_until(
                lambda: "pneumoscope_in_flight 2.0" in service.client.get("/metrics").text, "it is accepted"
            )
            service.terminate()
            assert_cut_off(b"".join(iter(lambda: client.recv(65536), b"")))
        assert service.process.wait(PATIENCE_SECONDS) == 0
        assert [line["level"] for line in service.lines() if line["level"] in ("error", "critical")] == []


def test_films_that_the_device_does_not_finish_in_time_are_told_so(tiny_folder: Path, film: bytes) -> None:
    classifier, gate = gated(tiny_folder)
    settings = Settings(model_dir=tiny_folder, max_batch=2, drain_s=0.3)
    with running(settings, classifier) as live, ThreadPoolExecutor(4) as pool:
        gate.batches.clear()
        gate.close()
        running_one = pool.submit(live.predict, film)
        wait_until(lambda: gate.batches == [1], "a film is on the device")
        waiting = [
            pool.submit(live.predict, film),
            pool.submit(live.client.post, "/predict/batch", files=[("files", film)] * 3),
        ]
        wait_until(lambda: live.service.batcher.depth == 3, "others wait")
        live.server.handle_exit(signal.SIGTERM, None)
        for future in (running_one, *waiting):
            answer = future.result()
            assert (answer.status_code, answer.json()["code"]) == (503, "stopped")
            assert int(answer.headers["retry-after"]) >= 1
        gate.open()


def assert_cut_off(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body)["code"] == "stopped"


def test_an_idle_service_exits_at_once(tiny_folder: Path, tmp_path: Path) -> None:
    with process(tiny_folder, tmp_path / "log", DRAIN_S="3600") as service:
        service.terminate()
        assert service.process.wait(PATIENCE_SECONDS) == 0
