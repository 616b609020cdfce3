"""The one load generator: an open model, and closed loops.

In the open model requests are sent by a schedule that does not wait for answers, and a latency counts from the
moment its request was *meant* to be sent. So a server that stalls cannot hide the stall by keeping the
generator from sending ("coordinated omission", G. Tene). In a closed loop each of so many clients sends its next
request when it has its answer; what it shows is capacity, and latency at that concurrency.
"""

import asyncio
import io
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context

import aiohttp
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


class _Client:
    """Sends the requests in turn, over as many connections as it takes."""

    def __init__(self, session: aiohttp.ClientSession, url: str, requests: Sequence[Request]) -> None:
        self._session = session
        self._url = url
        self._requests = itertools.cycle(requests)

    async def send(self) -> int:
        request = next(self._requests)
        try:
            async with self._session.post(
                self._url + request.path, data=io.BytesIO(request.body), headers=request.headers
            ) as answer:
                await answer.read()
                return answer.status
        except TimeoutError:
            return TIMED_OUT
        except (aiohttp.ClientError, OSError):
            return NO_ANSWER


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
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
    ) as session:
        client = _Client(session, url, requests)
        return await (_closed(load, client) if isinstance(load, Closed) else _open(load, client))


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
