import socket
from pathlib import Path

import httpx

from tests.app.live import PATIENCE_SECONDS, process, wait_until


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
        assert [line["level"] for line in service.lines() if line["level"] == "critical"] == []


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
            assert service.process.wait(PATIENCE_SECONDS) == 0


def test_an_idle_service_exits_at_once(tiny_folder: Path, tmp_path: Path) -> None:
    with process(tiny_folder, tmp_path / "log", DRAIN_S="3600") as service:
        service.terminate()
        assert service.process.wait(PATIENCE_SECONDS) == 0
