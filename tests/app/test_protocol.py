"""HTTP/1.1 as the service reads it: where one request ends and the next begins."""

import contextlib
import json
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from app.connections import Connection
from app.protocol import MOST_WAITING
from app.settings import Settings
from tests.app.live import PATIENCE_SECONDS, Live, answer_on, gated, running, wait_until
from tests.faults.requests import predict
from tests.required_tools import find_tool

HIDDEN = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
ASK = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
UPGRADES = {
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    "anything": b"Upgrade: foo\r\nConnection: keep-alive\r\nConnection: uPGRADE\r\nUpgrade: bar, foo/2\r\n",
}


def connect(live: Live) -> socket.socket:
    url = httpx.URL(live.url)
    return socket.create_connection((url.host, url.port or 80), timeout=PATIENCE_SECONDS)


def rest(client: socket.socket) -> bytes:
    """Everything until the service ends the connection."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def last(client: socket.socket, request: bytes = b"") -> bytes:
    """All that is said to `request` and a last one behind it, which ends the connection."""
    client.sendall(request + ASK + b"Connection: close\r\n\r\n")
    return rest(client)


@pytest.mark.parametrize("packets", [1, 2, 3])
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("upgrade", UPGRADES)
def test_the_body_of_a_request_that_asks_for_another_protocol_is_no_request(
    live: Live, upgrade: str, framing: str, packets: int
) -> None:
    if framing == "length":
        head, body = b"Content-Length: %d\r\n\r\n" % len(HIDDEN), HIDDEN
    else:
        head, body = (
            b"Transfer-Encoding: chunked\r\n\r\n",
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN),
        )
    head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: localhost\r\n" + UPGRADES[upgrade] + head
    pieces = {1: [head + body], 2: [head, body], 3: [head, body[:9], body[9:]]}[packets]
    with connect(live) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
            wait_until_read(live)
        said = last(client)
    assert said.startswith(b"HTTP/1.1 400 "), "no JSON"
    assert said.count(b"HTTP/1.1 ") == 2, "the request and the last one"
    assert b"pneumoscope_" not in said


def wait_until_read(live: Live) -> None:
    """The service has taken in what was sent before: it answers somebody else, who came later."""
    for _ in range(2):
        assert live.client.get("/health/live").status_code == 200


@pytest.mark.parametrize("upgrade", UPGRADES)
def test_a_film_is_judged_though_its_sender_would_like_another_protocol(
    live: Live, film: bytes, upgrade: str
) -> None:
    headers = [
        (name, value) for name, value in (line.split(b": ") for line in UPGRADES[upgrade].splitlines())
    ]
    request = live.client.build_request("POST", "/predict", files={"file": film})
    answer = live.client.post("/predict", content=request.read(), headers=[*request.headers.raw, *headers])
    assert answer.status_code == 200
    assert answer.json()["label"] == live.predict(film).json()["label"]


def test_curl_that_asks_for_http_2_has_its_film_judged(live: Live, film: bytes, tmp_path: Path) -> None:
    file = tmp_path / "film"
    file.write_bytes(film)
    command = [find_tool("curl"), "-sS", "--http2", "-F", f"file=@{file}", f"{live.url}/predict"]
    said = subprocess.run([*command, "-w", "%{http_code}"], capture_output=True, check=True, text=True)
    assert said.stdout.endswith("200")


def test_many_requests_for_another_protocol_at_once_are_answered_one_by_one(live: Live) -> None:
    with connect(live) as client:
        said = last(client, (ASK + UPGRADES["websocket"] + b"\r\n") * 5)
    assert said.count(b"HTTP/1.1 200 ") == 6


def test_one_that_ends_the_connection_as_well_is_answered(live: Live) -> None:
    with connect(live) as client:
        client.sendall(ASK + b"Connection: close, upgrade\r\nUpgrade: foo\r\n\r\n" + HIDDEN)
        said = rest(client)
    assert said.count(b"HTTP/1.1 ") == said.count(b"HTTP/1.1 200 ") == 1


@pytest.mark.parametrize("address", [b"/health/live", b"example.org:443"])
def test_who_asks_for_a_tunnel_is_refused_and_what_follows_is_not_read(live: Live, address: bytes) -> None:
    with connect(live) as client:
        status, body = answer_on(client, b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % address + HIDDEN)
        assert status == 400
        assert b"pneumoscope_" not in body + rest(client)


def test_of_requests_without_end_few_are_taken_ahead_of_their_answers(tiny_folder: Path, film: bytes) -> None:
    classifier, gate = gated(tiny_folder)
    with running(Settings(model_dir=tiny_folder), classifier) as live, connect(live) as client:
        gate.close()
        try:
            client.sendall(predict(film))
            wait_until(lambda: live.service.admission.taken == 1, "the film is being judged")
            (connection,) = live.server.server_state.connections
            assert isinstance(connection, Connection)
            client.sendall((ASK + b"\r\n") * 2000)
            wait_until(lambda: not connection.cycle.keep_alive, "there are too many")
            assert len(connection.pipeline) == MOST_WAITING
        finally:
            gate.open()
        said = rest(client)
    assert said.count(b"HTTP/1.1 ") == said.count(b"HTTP/1.1 200 ") == 1 + MOST_WAITING
    assert said.lower().count(b"connection: close") == 1


def test_a_client_that_reads_no_answer_is_not_read_for_ever(tiny_folder: Path) -> None:
    with running(Settings(model_dir=tiny_folder, answer_timeout_s=1)) as live, connect(live) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0.05)
        wait_until(lambda: bool(live.server.server_state.connections), "it is connected")
        most = 0

        def cut_off() -> bool:
            nonlocal most
            with contextlib.suppress(OSError):
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
            for connection in live.server.server_state.connections.copy():
                most = max(most, len(getattr(connection, "pipeline", ())))
            return not live.server.server_state.connections

        wait_until(cut_off, "it is cut off")
        assert most <= MOST_WAITING
        assert live.client.get("/health/live").status_code == 200


def test_requests_that_come_as_they_are_answered_are_all_answered(live: Live) -> None:
    with connect(live) as client:
        for _ in range(10):
            client.sendall((ASK + b"\r\n") * MOST_WAITING)
            said = b""
            while said.count(b'{"status":"live"}') < MOST_WAITING:
                said += client.recv(65536)
                assert b"connection: close" not in said.lower()


def test_who_goes_while_several_requests_wait_leaves_no_error_behind(
    tiny_folder: Path, film: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    classifier, gate = gated(tiny_folder)
    with running(Settings(model_dir=tiny_folder), classifier) as live:
        gate.close()
        try:
            with connect(live) as client:
                client.sendall(predict(film) + (ASK + b"\r\n") * 5)
                wait_until(lambda: live.service.admission.taken == 1, "the film is being judged")
                (connection,) = live.server.server_state.connections
                assert isinstance(connection, Connection)
                wait_until(lambda: len(connection.pipeline) == 5, "the others wait")
            wait_until(lambda: not live.server.server_state.connections, "it has gone")
        finally:
            gate.open()
        wait_until(lambda: not live.server.server_state.tasks, "nothing is under way")
    assert [line.message for line in caplog.records if line.levelname == "ERROR"] == []


def told(said: bytes) -> tuple[int, str]:
    """Status and code of the one problem that was said."""
    head, _, body = said.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert {b"content-type: application/problem+json", b"x-content-type-options: nosniff"} <= set(lines)
    return int(lines[0].split()[1]), json.loads(body)["code"]


@pytest.mark.parametrize(
    "said",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"GET /health/live HTTP/1.1\r\nHost : x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        ASK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n",
    ],
    ids=["words", "TLS", "a bad header", "HTTP/2", "a tunnel", "two lengths", "a bad chunk"],
)
def test_what_is_no_request_is_a_problem_like_any_other_and_is_counted(live: Live, said: bytes) -> None:
    def counted() -> float:
        label = {"reason": "malformed-request"}
        registry = live.service.metrics.registry
        return registry.get_sample_value("pneumoscope_rejected_total", label) or 0.0

    before = counted()
    with connect(live) as client:
        client.sendall(said)
        assert told(rest(client)) == (400, "malformed-request")
    assert counted() == before + 1


@pytest.mark.parametrize("hosts", [b"", b"Host: a\r\nHost: b\r\n", b"Host: a\r\nHost: a\r\n"])
def test_a_request_that_names_no_host_or_several_is_a_400(live: Live, hosts: bytes) -> None:
    with connect(live) as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")
        assert told(rest(client)) == (400, "malformed-request")
    with connect(live) as client:
        client.sendall(b"GET /health/live HTTP/1.0\r\n\r\n")
        assert rest(client).startswith(b"HTTP/1.1 200 ")


def test_much_that_is_no_request_is_told_so_once(live: Live) -> None:
    with connect(live) as client:
        client.sendall(ASK)
        wait_until_read(live)
        client.sendall(b"\0" * 200_000)
        assert told(rest(client)) == (400, "malformed-request")


def test_what_is_no_request_does_not_cost_the_one_before_it_its_answer(live: Live, film: bytes) -> None:
    with connect(live) as client:
        client.sendall(predict(film) + b"hello\r\n\r\n")
        said = rest(client)
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in said.lower()
