"""The rate limit: films are counted by caller, whatever form they come in."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from ipaddress import IPv4Address
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.api.callers import Caller, caller_of
from app.api.errors import RateExceeded, TooManyFiles
from app.api.rates import Rates
from app.keys import KeyRing, entry_of
from app.settings import Settings
from tests import tiny_model
from tests.app.live import Live, running

WARD, CLINIC = Caller("ward", "10.0.0.1"), Caller("clinic", "10.0.0.1")
KEYS = (entry_of("ward", "open sesame"), entry_of("clinic", "open barley"))


DAY = 86_400


class Clock:
    """The time as `limits` sees it."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("limits.storage.memory.time", made)
    return made


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.floats(0, 90), st.integers(1, 40)), min_size=1, max_size=12),
)
@hypothesis_settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_who_waits_as_long_as_told_is_let_in_and_no_sooner(
    clock: Clock, amount: int, requests: list[tuple[float, int]]
) -> None:
    rates = Rates(f"{amount}/minute")
    for pause, films in requests:
        clock.now += pause
        if films > amount:
            with pytest.raises(TooManyFiles):
                rates.charge(WARD, films)
            continue
        try:
            rates.charge(WARD, films)
        except RateExceeded as error:
            seconds = error.retry_after or 0
            assert 1 <= seconds <= 120
            clock.now += seconds - 1.001
            if seconds > 1:
                with pytest.raises(RateExceeded):
                    rates.charge(WARD, films)
            clock.now += 1.001
            rates.charge(WARD, films)


def test_a_caller_has_its_own_allowance_and_a_known_film_is_counted_once(clock: Clock) -> None:
    rates = Rates("4/minute")
    rates.charge(WARD, 1)
    rates.charge(WARD, 4, known=1)
    with pytest.raises(RateExceeded):
        rates.judge(WARD)
    rates.judge(CLINIC)
    clock.now += 121
    rates.charge(WARD, 4)


@pytest.mark.parametrize("rate", ["4/minute", "4/hour"])
@pytest.mark.parametrize("jumps", [(DAY,), (-DAY,), (DAY, -DAY), (-DAY, DAY)], ids=str)
def test_a_jump_of_the_wall_clock_locks_nobody_out_for_longer_than_its_window(
    clock: Clock, rate: str, jumps: tuple[float, ...]
) -> None:
    rates = Rates(rate)
    window = 60 if rate.endswith("minute") else 3600

    def send_until_refused() -> int:
        for _ in range(5):
            try:
                rates.charge(WARD, 1)
            except RateExceeded as refused:
                return refused.retry_after or 0
        pytest.fail("nobody is refused")

    without_a_jump = 2 * window  # what slides is a window's own length and that of the one before
    assert send_until_refused() <= without_a_jump
    for jump in jumps:
        clock.now += jump
        assert 1 <= send_until_refused() <= without_a_jump
    for _ in range(
        DAY // window + 3
    ):  # also when the clock comes to the hours again at which films were counted
        seconds = send_until_refused()
        assert 1 <= seconds <= without_a_jump
        clock.now += seconds
        rates.charge(WARD, 1)


def test_what_is_refused_is_not_counted(clock: Clock) -> None:
    rates = Rates("4/minute")
    rates.charge(WARD, 3)
    for _ in range(5):
        with pytest.raises(RateExceeded):
            rates.charge(WARD, 2)
    rates.charge(WARD, 1)


def test_memory_does_not_grow_with_the_addresses_that_films_come_from(clock: Clock) -> None:
    rates = Rates("5/minute", most_counters=100)
    early = Caller(None, "192.0.2.1")
    rates.charge(early, 1)
    late = [Caller(None, str(IPv4Address(number))) for number in range(10_000)]
    refused = 0
    for caller in late:
        try:
            rates.charge(caller, 1)
        except RateExceeded:
            refused += 1
    assert rates.counters <= 101
    assert refused >= len(late) - 110
    rates.charge(early, 4)
    rates.charge(WARD, 5)


def test_no_charge_has_more_than_2_000_counters_to_look_through(clock: Clock) -> None:
    rates = Rates("5/minute")
    for number in range(3_000):
        with contextlib.suppress(RateExceeded):
            rates.charge(Caller(None, str(IPv4Address(number))), 1)
    assert rates.counters <= 2_001


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("", "local"),
    ],
)
def test_a_caller_without_a_key_is_the_network_that_it_comes_from(address: str, network: str) -> None:
    scope = {"type": "http", "headers": [(b"x-api-key", b"open sesame")], "client": (address, 4)}
    assert caller_of(scope, KeyRing()) == Caller(None, network)


def test_a_caller_with_a_key_is_its_holder() -> None:
    scope = {"type": "http", "headers": [(b"x-api-key", b"open sesame")], "client": ("192.0.2.7", 4)}
    assert caller_of(scope, KeyRing(KEYS)).name == "ward"


Start = Callable[..., AbstractContextManager[Live]]


@pytest.fixture
def start(tiny_folder: Path) -> Start:
    """A service that lets each caller send four films a day."""

    def started(**options: object) -> AbstractContextManager[Live]:
        values = {"model_dir": tiny_folder, "rate_limit": "4/day", **options}
        return running(Settings.model_validate(values))

    return started


@pytest.fixture
def limited(start: Start) -> Iterator[Live]:
    with start() as live:
        yield live


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_every_route_that_takes_films_counts_them(limited: Live, film: bytes) -> None:
    for route in ("/predict", "/explain", "/film"):
        assert limited.client.post(route, files={"file": film}).status_code == 200
    size = tiny_model.SIZE
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, size, size], "data": [90] * size * size}
    infer = "/v2/models/tiny/infer"
    assert limited.client.post(infer, json={"inputs": [tensor]}).status_code == 200
    for route in ("/predict", "/explain", "/film"):
        refused = limited.client.post(route, files={"file": film})
        assert refusal(refused) == (429, "rate-exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 2 * 86_400
    over_v2 = limited.client.post(infer, json={"inputs": [tensor]})
    assert (over_v2.status_code, list(over_v2.json())) == (429, ["error"])
    assert int(over_v2.headers["retry-after"]) >= 1
    assert 'pneumoscope_rejected_total{reason="rate-exceeded"} 4.0' in limited.client.get("/metrics").text


def test_a_batch_costs_as_many_as_it_has_films(limited: Live, film: bytes) -> None:
    def send(films: int) -> httpx.Response:
        return limited.client.post("/predict/batch", files=[("files", film)] * films)

    assert refusal(send(5)) == (413, "too-many-files")
    assert send(4).status_code == 429  # as the first film of the one before counts, and so does its own
    assert send(2).status_code == 200
    assert send(1).status_code == 429


def test_films_as_tensors_count_one_by_one(limited: Live) -> None:
    size = tiny_model.SIZE

    def send(films: int) -> int:
        tensor = {"name": "pixels", "datatype": "UINT8", "shape": [films, size, size]}
        body = {"inputs": [{**tensor, "data": [90] * films * size * size}]}
        return limited.client.post("/v2/models/tiny/infer", json=body).status_code

    assert [send(3), send(2), send(1)] == [200, 429, 429]


def test_keys_have_allowances_of_their_own_and_a_wrong_key_uses_up_none_of_them(
    start: Start, film: bytes
) -> None:
    with start(api_keys=KEYS) as live:

        def send(key: str) -> tuple[int, str]:
            answer = live.predict(film, headers={"X-API-Key": key})
            return answer.status_code, answer.json().get("code", "judged")

        assert [send("wrong") for _ in range(5)] == [*[(401, "key-refused")] * 4, (429, "rate-exceeded")]
        assert [send("open sesame") for _ in range(5)] == [*[(200, "judged")] * 4, (429, "rate-exceeded")]
        assert send("open barley") == (200, "judged")
        assert live.client.get("/model", headers={"X-API-Key": "open sesame"}).status_code == 200


def test_health_metrics_and_pages_are_not_counted(limited: Live, film: bytes) -> None:
    for _ in range(10):
        for path in ("/health/live", "/health/ready", "/metrics", "/", "/model", "/openapi.json"):
            assert limited.client.get(path).status_code == 200
    assert limited.predict(film).status_code == 200


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"], ids=["sends", "waits for leave"])
def test_it_is_refused_before_the_body_is_there(limited: Live, film: bytes, expect: bytes) -> None:
    for _ in range(4):
        limited.predict(film)
    host, port = limited.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
        form = b"Content-Type: multipart/form-data; boundary=b\r\n"
        connection.sendall(head + form + expect + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 429 ")


def test_a_refused_caller_keeps_its_connection(limited: Live, film: bytes) -> None:
    for _ in range(4):
        limited.predict(film)
    assert [limited.predict(film).headers.get("connection") for _ in range(3)] == [None] * 3


def test_it_is_off_unless_asked_for(live: Live, film: bytes) -> None:
    assert live.service.rates is None
