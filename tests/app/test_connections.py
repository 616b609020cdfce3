"""What a client can do to its connection before, between and after requests."""

import json
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest

from app import connections
from app.connections import KEPT_HANDLES, MOST_CONNECTIONS, Connection, most_connections
from app.settings import Settings
from tests import radiographs
from tests.app.live import PATIENCE_SECONDS, Live, answer_on, gated, running, wait_until
from tests.faults.requests import predict

ASK = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
SLOW = 1.0


def connect(live: Live) -> socket.socket:
    url = httpx.URL(live.url)
    return socket.create_connection((url.host, url.port or 80), timeout=PATIENCE_SECONDS)


def ask(client: socket.socket, request: bytes = ASK) -> int:
    """The status of the answer to one request on `client`."""
    return answer_on(client, request)[0]


def rest(client: socket.socket) -> bytes:
    """Everything until the service ends the connection."""
    said = b""
    try:
        while piece := client.recv(65536):
            said += piece
    except ConnectionError:
        pass
    return said


def refusal(said: bytes) -> tuple[int, str]:
    """Status and code of a problem that ends the connection."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head.lower()
    problem = json.loads(body)
    assert b"x-request-id: " + problem["request_id"].encode() in head
    return int(head.split()[1]), problem["code"]


def rejected(live: Live, code: str) -> float:
    label = {"reason": code}
    return live.service.metrics.registry.get_sample_value("pneumoscope_rejected_total", label) or 0.0


@pytest.fixture(scope="module")
def hasty(tiny_folder: Path) -> Iterator[Live]:
    """A service that waits for headers and for readers of its answers for a moment only."""
    settings = Settings(model_dir=tiny_folder, header_timeout_s=SLOW, answer_timeout_s=SLOW)
    with running(settings) as live:
        live.server.config.timeout_keep_alive = 3600
        yield live


def test_who_connects_and_says_nothing_is_cut_off_without_a_word(hasty: Live) -> None:
    with connect(hasty) as client:
        assert rest(client) == b""


@pytest.mark.parametrize(
    ("before", "said"),
    [(b"", b"G"), (b"", ASK[:-2]), (ASK, b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Le")],
    ids=["a letter", "all but the end", "after an answer"],
)
def test_headers_that_do_not_come_to_an_end_are_a_408(hasty: Live, before: bytes, said: bytes) -> None:
    refused = rejected(hasty, "headers-too-slow")
    with connect(hasty) as client:
        if before:
            assert ask(client, before) == 200
        client.sendall(said)
        assert refusal(rest(client)) == (408, "headers-too-slow")
    assert rejected(hasty, "headers-too-slow") == refused + 1


def test_headers_that_trickle_are_a_408_though_no_pause_is_long(hasty: Live) -> None:
    with connect(hasty) as client:
        client.settimeout(0.02)
        said = b""
        for byte in ASK[:-2] + b"X-Slow: " + bytes(1000).replace(b"\0", b"y"):
            try:
                client.sendall(bytes([byte]))
                said += client.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            if said:
                break
        assert refusal(said + rest(client)) == (408, "headers-too-slow")


def test_headers_that_dawdle_behind_a_request_do_not_cost_it_its_answer(
    tiny_folder: Path, film: bytes
) -> None:
    classifier, gate = gated(tiny_folder)
    settings = Settings(model_dir=tiny_folder, header_timeout_s=SLOW)
    with running(settings, classifier) as live, connect(live) as client:
        runs = len(gate.batches)
        gate.close()
        try:
            client.sendall(predict(film) + ASK[:-2])
            wait_until(lambda: len(gate.batches) > runs, "the film is on the device")
            (connection,) = live.server.server_state.connections
            assert isinstance(connection, Connection)
            wait_until(lambda: not connection.cycle.keep_alive, "the dawdling is noted")
        finally:
            gate.open()
        assert answer_on(client)[0] == 200
        assert rest(client) == b""


def test_headers_in_pieces_are_answered(live: Live) -> None:
    with connect(live) as client:
        for piece in (ASK[:1], ASK[1:9], ASK[9:-1]):
            client.sendall(piece)
            time.sleep(0.02)
        assert ask(client, ASK[-1:]) == 200
        assert ask(client) == 200


def test_one_header_without_an_end_is_a_431(live: Live) -> None:
    refused = rejected(live, "headers-too-large")
    with connect(live) as client, pytest.raises(ConnectionError):
        client.sendall(ASK[:-2] + b"X-Long: ")
        while True:
            client.sendall(b"y" * 65536)
    assert rejected(live, "headers-too-large") == refused + 1
    assert live.client.get("/health/live").status_code == 200


def test_headers_beyond_the_limit_that_stop_there_are_told_so(live: Live) -> None:
    with connect(live) as client:
        client.sendall(ASK[:-2] + b"X-Long: ")
        for _ in range(40):
            client.sendall(b"y" * 1024)
            time.sleep(0.001)
        assert refusal(rest(client)) == (431, "headers-too-large")


@pytest.mark.parametrize(
    "headers",
    [{f"X-{number}": "y" for number in range(101)}, {"X-Long": "y" * 40_000}],
    ids=["too many", "too long"],
)
def test_a_request_with_too_many_headers_is_a_431_and_the_connection_lives(
    live: Live, headers: dict[str, str]
) -> None:
    for _ in range(2):
        answer = live.client.get("/health/live", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (431, "headers-too-large")
    assert live.client.get("/health/live").status_code == 200


CHUNKED = (
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize(
    ("said", "again"),
    [
        (CHUNKED + b"0\r\nX-Trailer: y", b"y" * 65536),
        (CHUNKED + b"0\r\n", b"X-Trailer: yyyyyy\r\n" * 3000),
        (CHUNKED + b"1;extension=y", b"y" * 65536),
    ],
    ids=["one trailer", "trailers", "an extension"],
)
def test_what_is_no_body_does_not_go_on_for_ever_behind_it_either(
    live: Live, said: bytes, again: bytes
) -> None:
    with connect(live) as client, pytest.raises(ConnectionError):
        client.sendall(said)
        for _ in range(100):
            client.sendall(again)
    wait_until(lambda: live.service.admission.taken == 0, "its place is free")


def test_a_body_in_chunks_of_one_byte_is_read(live: Live, film: bytes) -> None:
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + film + b"\r\n--x--\r\n"
    )
    with connect(live) as client:
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in form)
        assert ask(client, CHUNKED + chunks + b"0\r\nHost: trailer\r\n\r\n") == 200


def test_a_client_that_does_not_take_its_answer_is_cut_off(hasty: Live) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2200, 2200), np.uint8)
    film = radiographs.png(noise)
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + film + b"\r\n--x--\r\n"
    )
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(PATIENCE_SECONDS)
        url = httpx.URL(hasty.url)
        client.connect((url.host, url.port))
        client.sendall(
            b"POST /explain HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        assert client.recv(12) == b"HTTP/1.1 200"
        wait_until(lambda: not hasty.server.server_state.connections, "it is cut off")
        assert len(rest(client)) < 4_000_000, "it has not got it all"
    assert hasty.client.get("/health/live").status_code == 200


def test_for_one_connection_too_many_the_one_goes_that_idles_longest(tiny_folder: Path) -> None:
    with running(Settings(model_dir=tiny_folder, max_connections=3)) as live, ExitStack() as stack:
        live.server.config.timeout_keep_alive = 3600
        first, second, third = (stack.enter_context(connect(live)) for _ in range(3))
        for client in (first, second, third, first):
            assert ask(client) == 200
        fourth = stack.enter_context(connect(live))
        assert ask(fourth) == 200
        assert rest(second) == b"", "the first has asked since"
        for client in (first, third, fourth):
            assert ask(client) == 200
        assert rejected(live, "too-many-connections") == 0


def test_where_all_connections_have_a_request_the_new_one_is_told_so(tiny_folder: Path, film: bytes) -> None:
    classifier, gate = gated(tiny_folder)
    settings = Settings(model_dir=tiny_folder, max_connections=2)
    with running(settings, classifier) as live, ThreadPoolExecutor(2) as pool:
        gate.close()
        busy = [pool.submit(live.predict, film) for _ in range(2)]
        wait_until(lambda: live.service.admission.taken == 2, "both are busy")
        try:
            with connect(live) as client:
                client.sendall(ASK)
                said = rest(client)
            assert refusal(said) == (503, "too-many-connections")
            assert b"\r\nretry-after: " in said
        finally:
            gate.open()
        assert [future.result().status_code for future in busy] == [200, 200]
        with connect(live) as client:
            assert ask(client) == 200


def test_a_storm_of_connections_beyond_the_limit_leaves_no_more_open(
    tiny_folder: Path, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_LINGERING", 2)
    classifier, gate = gated(tiny_folder)
    settings = Settings(model_dir=tiny_folder, max_connections=1)
    with running(settings, classifier) as live, ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        gate.close()
        busy = pool.submit(live.predict, film)
        wait_until(lambda: live.service.admission.taken == 1, "it is busy")
        try:
            storm = [stack.enter_context(connect(live)) for _ in range(50)]
            wait_until(lambda: rejected(live, "too-many-connections") == 50, "all are refused")
            assert len(live.server.server_state.connections) <= 1 + 2
            told = [said for said in map(rest, storm) if said]
            assert len(told) == 2
        finally:
            gate.open()
        assert busy.result().status_code == 200


def limit_handles(monkeypatch: pytest.MonkeyPatch, soft: int) -> None:
    def limits(_: int) -> tuple[int, int]:
        return soft, soft

    monkeypatch.setattr(resource, "getrlimit", limits)


def test_there_are_never_more_connections_than_file_handles(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limit_handles(monkeypatch, 1024)
    assert 0 < most_connections(None) <= 1024 - KEPT_HANDLES
    assert most_connections(5) == 5
    assert caplog.records == []
    assert most_connections(5000) == most_connections(None)
    assert "file handles" in caplog.text
    limit_handles(monkeypatch, 10)
    assert most_connections(None) == 1
    for soft in (1_000_000, resource.RLIM_INFINITY):
        limit_handles(monkeypatch, soft)
        assert most_connections(None) == MOST_CONNECTIONS
        assert most_connections(5000) == 5000
