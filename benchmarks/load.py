"""The one load generator: an open model, and closed loops.

In the open model requests are sent by a schedule that does not wait for answers, and a latency counts from the
moment its request was *meant* to be sent. So a server that stalls cannot hide the stall by keeping the
generator from sending ("coordinated omission", G. Tene). In a closed loop each of so many clients sends its next
request when it has its answer; what it shows is capacity, and latency at that concurrency.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import cast
from urllib.parse import urlsplit

import httptools
import numpy as np
import numpy.typing as npt
import uvloop

NO_ANSWER = 0
TIMED_OUT = -1
PAUSE_AFTER_REFUSAL_SECONDS = 0.1
KEEP_ALIVE_SECONDS = 4.0
"""Less than uvicorn's five, so that no request is sent on a connection that the server is about to close."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Request:
    """One POST, made before the clock runs."""

    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Closed:
    """`concurrency` clients in closed loops: `warm_seconds` that do not count, then `seconds` that do.

    With `requests`, so many requests count and `seconds` does not matter.
    """

    concurrency: int
    seconds: float = 0.0
    warm_seconds: float = 0.0
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """Arrivals of a Poisson process of `rate` requests a second for `seconds`."""

    rate: float
    seconds: float
    seed: int = 0

    def schedule(self) -> Floats:
        """When to send, in seconds from the start, float64 [n]."""
        random = np.random.default_rng(self.seed)
        expected = self.rate * self.seconds
        gaps = random.exponential(1 / self.rate, int(expected + 10 * expected**0.5 + 10))
        times: Floats = np.cumsum(gaps)
        return times[times < self.seconds]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of one load. Times are `time.monotonic`'s, in seconds; arrays are of the n requests that count.

    `meant`: when the request was meant to be sent. `late`: how much later it was. `latency`: from `meant` to the
    end of the answer. `status`: the HTTP status, 0 for a broken connection, −1 for no answer in time.
    `processor_seconds`: the generator's own, from `began` to `ended`.
    """

    began: float
    ended: float
    meant: Floats
    late: Floats
    latency: Floats
    status: npt.NDArray[np.int16]
    processor_seconds: float

    @property
    def seconds(self) -> float:
        """How long the load lasted."""
        return self.ended - self.began


class _Recorder:
    def __init__(self) -> None:
        self.meant: list[float] = []
        self.late: list[float] = []
        self.latency: list[float] = []
        self.status: list[int] = []

    def add(self, meant: float, sent: float, status: int) -> None:
        self.meant.append(meant)
        self.late.append(sent - meant)
        self.latency.append(time.monotonic() - meant)
        self.status.append(status)

    def outcome(self, began: float, ended: float, processor_seconds: float) -> Outcome:
        return Outcome(
            began=began,
            ended=ended,
            meant=np.array(self.meant),
            late=np.array(self.late),
            latency=np.array(self.latency),
            status=np.array(self.status, np.int16),
            processor_seconds=processor_seconds,
        )


class _Connection(asyncio.Protocol):
    """One connection that carries one request at a time; what comes back is parsed and thrown away."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[int] | None = None
        self.transport: asyncio.Transport | None = None
        self.idle_since = 0.0

    @property
    def reusable(self) -> bool:
        """Whether the next request can be sent on it."""
        return (
            self.transport is not None
            and not self.transport.is_closing()
            and time.monotonic() - self.idle_since < KEEP_ALIVE_SECONDS
        )

    async def send(self, message: bytes) -> int:
        """The status of the answer, `NO_ANSWER` if the connection breaks before its end."""
        self._answer = asyncio.get_running_loop().create_future()
        if self.transport is None:
            return NO_ANSWER
        self.transport.write(message)
        return await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._end(NO_ANSWER, reusable=False)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(NO_ANSWER, reusable=False)

    def on_message_complete(self) -> None:
        self._end(self._parser.get_status_code(), reusable=self._parser.should_keep_alive())

    def _end(self, status: int, *, reusable: bool) -> None:
        self.idle_since = time.monotonic()
        if self.transport is not None and not reusable:
            self.transport.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


class _Client:
    """Sends the requests in turn, over as many connections as it takes.

    It does no more for a request than it must: under overload it shares the machine with the server, and what it
    takes the server lacks.
    """

    def __init__(self, url: str, requests: Sequence[Request], timeout_seconds: float) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._messages = itertools.cycle([_message(request, parts.netloc) for request in requests])
        self._idle: list[_Connection] = []
        self._timeout_seconds = timeout_seconds

    async def send(self) -> int:
        """The status of the next request's answer, `TIMED_OUT` or `NO_ANSWER`."""
        message = next(self._messages)
        connection = None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                connection = await self._connection()
                status = await connection.send(message)
        except TimeoutError:
            status = TIMED_OUT
        except OSError:
            return NO_ANSWER
        if connection is not None:
            self._keep(connection, answered=status > 0)
        return status

    def close(self) -> None:
        """Close what is idle."""
        for connection in self._idle:
            self._keep(connection, answered=False)

    def _keep(self, connection: _Connection, *, answered: bool) -> None:
        if answered and connection.reusable:
            self._idle.append(connection)
        elif connection.transport is not None:
            connection.transport.abort()

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
            self._keep(connection, answered=False)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return connection


def _message(request: Request, host: str) -> bytes:
    headers = {"Host": host, **request.headers, "Content-Length": str(len(request.body))}
    lines = [f"POST {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + request.body


def generate(
    load: Closed | Open, url: str, requests: Sequence[Request], timeout_seconds: float = 10.0
) -> Outcome:
    """Put `load` on the server at `url` with `requests` in turn, and wait for every answer.

    A closed loop's outcome holds the requests whose answer ended while it counted, the open model's all that
    it sent.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_generate(load, url, requests, timeout_seconds))


async def _generate(
    load: Closed | Open, url: str, requests: Sequence[Request], timeout_seconds: float
) -> Outcome:
    client = _Client(url, requests, timeout_seconds)
    try:
        return await (_closed(load, client) if isinstance(load, Closed) else _open(load, client))
    finally:
        client.close()


async def _open(load: Open, client: _Client) -> Outcome:
    recorder = _Recorder()

    async def one(meant: float) -> None:
        sent = time.monotonic()
        recorder.add(meant, sent, await client.send())

    used = time.process_time()
    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for offset in load.schedule():
            meant = began + float(offset)
            await asyncio.sleep(max(0.0, meant - time.monotonic()))
            tasks.create_task(one(meant))
        await asyncio.sleep(max(0.0, began + load.seconds - time.monotonic()))
        used = time.process_time() - used
    return recorder.outcome(began, began + load.seconds, used)


async def _closed(load: Closed, client: _Client) -> Outcome:
    recorder = _Recorder()
    began = time.monotonic() + load.warm_seconds
    ended = began + load.seconds if load.requests is None else float("inf")
    remaining = itertools.count() if load.requests is None else iter(range(load.requests))
    used = [0.0, 0.0]

    async def one() -> None:
        while (meant := time.monotonic()) < ended and next(remaining, None) is not None:
            status = await client.send()
            if began <= time.monotonic() < ended:
                recorder.add(meant, meant, status)
            if status != 200:
                await asyncio.sleep(PAUSE_AFTER_REFUSAL_SECONDS)

    async def clock() -> None:
        await asyncio.sleep(max(0.0, began - time.monotonic()))
        used[0] = time.process_time()
        if load.requests is None:
            await asyncio.sleep(max(0.0, ended - time.monotonic()))
            used[1] = time.process_time()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(clock())
        for _ in range(load.concurrency):
            tasks.create_task(one())
    if load.requests is not None:
        ended, used[1] = time.monotonic(), time.process_time()
    return recorder.outcome(began, ended, used[1] - used[0])


@contextmanager
def own_process() -> Iterator[Callable[..., Outcome]]:
    """`generate` in a process of its own, so that its work is not the harness's and can be told apart."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield lambda *arguments: pool.submit(generate, *arguments).result()
