"""Requests as bytes, and clients that do with them as they like."""

import socket

import httpx

from tests.app.live import PATIENCE_SECONDS, Process

LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


def predict(film: bytes) -> bytes:
    """POST /predict with one film."""
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + film + b"\r\n--x--\r\n"
    )
    return (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )


def connect(service: Process) -> socket.socket:
    """A connection of its own."""
    url = httpx.URL(service.url)
    return socket.create_connection((url.host, url.port or 80), timeout=PATIENCE_SECONDS)


def post(service: Process, film: bytes) -> httpx.Response:
    """POST one film over a connection of its own."""
    return httpx.post(f"{service.url}/predict", files={"file": film}, timeout=PATIENCE_SECONDS)


def metric(service: Process, name: str) -> float:
    """The value of one metric without labels."""
    text = service.client.get("/metrics").text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))
