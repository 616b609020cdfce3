import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app import connections
from app.settings import Settings
from tests.app.live import Gate, Live, answer_on, gated, running, wait_until


@contextmanager
def full(gated_live: tuple[Live, Gate], film: bytes) -> Iterator[None]:
    """Three films hold all places of the service meanwhile, and are answered at the end."""
    live, gate = gated_live
    gate.close()
    with ThreadPoolExecutor(3) as pool:
        accepted = [pool.submit(live.predict, film) for _ in range(3)]
        try:
            wait_until(lambda: live.service.admission.taken == 3, "three films are under way")
            yield
        finally:
            gate.open()
        assert [future.result().status_code for future in accepted] == [200, 200, 200]


def test_beyond_the_queue_it_is_429_with_a_time_to_come_back_while_health_answers(
    gated_live: tuple[Live, Gate], film: bytes
) -> None:
    live, _ = gated_live
    with full(gated_live, film):
        for route in ("/predict", "/explain", "/film"):
            refused = live.client.post(route, files={"file": film})
            assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
            assert int(refused.headers["retry-after"]) >= 1
        assert live.client.get("/health/live").status_code == 200
        assert live.client.get("/health/ready").status_code == 200
        assert "pneumoscope_in_flight 4.0" in live.client.get("/metrics").text
    assert live.predict(film).status_code == 200


@pytest.fixture
def slow_live(tiny_folder: Path) -> Iterator[tuple[Live, Gate]]:
    """A service that takes half a second a film, has many places, and lets films wait for one other film only."""
    classifier, gate = gated(tiny_folder)
    gate.before = lambda _: time.sleep(0.5)
    settings = Settings(model_dir=tiny_folder, max_batch=1, max_queue=100, max_wait_s=0.75)
    with running(settings, classifier) as service:
        gate.batches.clear()
        gate.close()
        try:
            yield service, gate
        finally:
            gate.open()


def wait_with_two(
    live: Live, gate: Gate, pool: ThreadPoolExecutor, film: bytes
) -> "list[Future[httpx.Response]]":
    """Send films until one is on the device and two wait; those that are refused meanwhile are sent again."""
    accepted = [pool.submit(live.predict, film)]
    wait_until(lambda: gate.batches == [1], "a film is on the device")

    def waits(sent: "Future[httpx.Response]") -> bool:
        wait_until(
            lambda: sent.done() or live.service.batcher.depth == len(accepted), "it waits or is refused"
        )
        return not sent.done()

    while len(accepted) < 3:
        if waits(sent := pool.submit(live.predict, film)):
            accepted.append(sent)
    return accepted


def test_a_wait_that_would_be_too_long_is_429_though_there_are_places(
    slow_live: tuple[Live, Gate], film: bytes
) -> None:
    live, gate = slow_live
    with ThreadPoolExecutor(3) as pool:
        accepted = wait_with_two(live, gate, pool, film)
        for path in ("/predict", "/explain", "/film", "/predict/batch", "/v2/models/tiny/infer"):
            refused = live.client.post(path, files={"file": film})
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 2, "two films of half a second and a little more"
        with connection(live) as client:
            client.sendall(head(length=1_000_000))
            assert client.recv(65536).startswith(b"HTTP/1.1 429 "), "before its body is sent"
        assert live.client.get("/health/ready").status_code == 200
        told = live.client.get("/metrics").text
        (waited,) = re.findall(r"^pneumoscope_expected_wait_seconds (\S+)$", told, re.MULTILINE)
        assert float(waited) >= 1
        gate.open()
        assert [future.result().status_code for future in accepted] == [200, 200, 200]
    assert live.predict(film).status_code == 200


def test_the_wait_is_judged_again_when_the_upload_has_come(slow_live: tuple[Live, Gate], film: bytes) -> None:
    live, gate = slow_live
    with connection(live) as slow, ThreadPoolExecutor(3) as pool:
        slow.sendall(form(film)[:-10])
        wait_until(lambda: live.service.admission.taken == 1, "it has a place")
        accepted = wait_with_two(live, gate, pool, film)
        slow.sendall(form(film)[-10:])
        answer = slow.recv(65536)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert re.search(rb"retry-after: [2-9]", answer.lower())
        gate.open()
        assert [future.result().status_code for future in accepted] == [200, 200, 200]


def test_a_refused_upload_is_answered_before_it_is_sent(gated_live: tuple[Live, Gate], film: bytes) -> None:
    live, _ = gated_live
    with full(gated_live, film), connection(live) as client:
        client.sendall(head(length=1_000_000) + b"--x\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 429 ")


def test_a_refused_client_keeps_its_connection_and_is_told_of_in_the_metrics(
    gated_live: tuple[Live, Gate], film: bytes
) -> None:
    live, _ = gated_live
    with full(gated_live, film):
        with connection(live) as client:
            for _ in range(2):
                assert answer_on(client, head(length=300_000) + bytes(300_000))[0] == 429
            assert answer_on(client, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 200
        assert 'pneumoscope_request_seconds_count{route="/predict",status="429"} 2.0' in (
            live.client.get("/metrics").text
        )


def test_a_client_that_stalls_after_its_refusal_is_cut_off(
    gated_live: tuple[Live, Gate], film: bytes
) -> None:
    live, gate = gated_live
    live.server.config.timeout_keep_alive = 1
    gate.close()
    with ThreadPoolExecutor(3) as pool:
        accepted = [pool.submit(live.predict, film) for _ in range(3)]
        wait_until(lambda: live.service.admission.taken == 3, "three films are under way")
        with connection(live) as client:
            client.sendall(head(length=300_000) + bytes(1000))
            assert client.recv(65536).startswith(b"HTTP/1.1 429 ")
            client.sendall(bytes(1000))
            assert client.recv(65536) == b"", "it is closed"
        gate.open()
        assert [future.result().status_code for future in accepted] == [200, 200, 200]


@pytest.mark.parametrize("closing", [b"Connection: close\r\n", b""])
def test_a_slow_client_that_will_not_stay_still_sees_its_refusal(
    gated_live: tuple[Live, Gate], film: bytes, closing: bytes
) -> None:
    live, _ = gated_live
    with full(gated_live, film), connection(live) as client:
        start = head(length=300_000).replace(b"Host:", closing + b"Host:")
        client.sendall(start if closing else start.replace(b"HTTP/1.1", b"HTTP/1.0"))
        for _ in range(30):
            client.sendall(bytes(10_000))
            time.sleep(0.01)
        assert client.recv(65536).startswith(b"HTTP/1.1 429 ")


def test_a_client_that_goes_on_sending_after_its_refusal_is_cut_off(
    gated_live: tuple[Live, Gate], film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, gate = gated_live
    monkeypatch.setattr(connections, "DROP_SECONDS", 0.3)
    gate.close()
    with ThreadPoolExecutor(3) as pool:
        accepted = [pool.submit(live.predict, film) for _ in range(3)]
        wait_until(lambda: live.service.admission.taken == 3, "three films are under way")
        with connection(live) as client, pytest.raises(ConnectionError):
            client.sendall(head(length=10_000_000))
            while True:
                client.sendall(bytes(10))
                time.sleep(0.02)
        gate.open()
        assert [future.result().status_code for future in accepted] == [200, 200, 200]


def test_a_body_that_would_be_too_large_or_waits_for_leave_is_not_kept(
    gated_live: tuple[Live, Gate], film: bytes
) -> None:
    live, _ = gated_live
    with full(gated_live, film):
        for headers in (
            head(length=10**12),
            head(length=1000).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
        ):
            with connection(live) as client:
                client.sendall(headers)
                answer = client.recv(65536)
                assert answer.startswith(b"HTTP/1.1 429 ")
                assert b"connection: close" in answer.lower()


def test_a_client_that_goes_away_frees_its_place(gated_live: tuple[Live, Gate], film: bytes) -> None:
    live, gate = gated_live
    gate.close()
    for _ in range(5):  # more than there are places
        with connection(live) as client:
            client.sendall(form(film))
            wait_until(lambda: live.service.admission.taken == 1, "the film is under way")
        wait_until(lambda: live.service.admission.taken == 0, "its place is free again")
    wait_until(lambda: live.service.batcher.depth == 0, "no film of theirs waits")
    gate.open()
    assert live.predict(film).status_code == 200


def test_an_upload_that_stalls_is_a_408(tiny_folder: Path, film: bytes) -> None:
    with running(Settings(model_dir=tiny_folder, upload_timeout_s=0.3)) as live, connection(live) as client:
        client.sendall(form(film)[:-10])
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"upload-too-slow" in answer
        assert live.service.admission.taken == 0
        assert live.predict(film).status_code == 200


def test_a_client_that_vanishes_while_sending_leaves_nothing_behind(live: Live, film: bytes) -> None:
    with connection(live) as client:
        client.sendall(form(film)[:-10])
        wait_until(lambda: live.service.admission.taken == 1, "the upload is under way")
    wait_until(lambda: live.service.admission.taken == 0, "its place is free again")
    assert live.predict(film).status_code == 200


def test_a_slow_upload_takes_no_place_from_health_or_others(tiny_folder: Path, film: bytes) -> None:
    with running(Settings(model_dir=tiny_folder, max_queue=2)) as live, connection(live) as client:
        client.sendall(form(film)[:-10])
        wait_until(lambda: live.service.admission.taken == 1, "the upload is under way")
        assert live.predict(film).status_code == 200
        client.sendall(form(film)[-10:])
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("xray.test", 200),
        ("xray.test:8000", 200),
        ("a.ward.test", 200),
        ("ward.test", 400),
        ("evil.test", 400),
    ],
)
def test_only_trusted_hosts_are_answered(tiny_folder: Path, host: str, status: int) -> None:
    classifier, _ = gated(tiny_folder)
    settings = Settings(model_dir=tiny_folder, trusted_hosts=("xray.test", "*.ward.test"))
    with running(settings, classifier) as live:
        answer = live.client.get("/health/live", headers={"Host": host})
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["code"] == "host-refused"


def connection(live: Live) -> socket.socket:
    url = httpx.URL(live.url)
    client = socket.create_connection((url.host, url.port or 80), timeout=30)
    return client


def head(length: int) -> bytes:
    return (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: %d\r\n\r\n" % length
    )


def form(film: bytes) -> bytes:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + film + b"\r\n--x--\r\n"
    )
    return head(len(body)) + body
