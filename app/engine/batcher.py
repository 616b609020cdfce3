"""One dispatcher thread between the requests and the device.

Films wait in a bounded queue. The thread takes the oldest, waits a moment for company, pads the batch to one
of a few sizes that were all run before readiness (a first run of a new shape is slow), and runs the session
once.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from app.engine.classifier import Classifier
from app.engine.errors import DeviceFailed, QueueFull, Stopped, Warming
from app.engine.finding import Finding
from app.imaging import Exposure, Radiograph

_WARM_AGAIN_SECONDS = 5.0
_SMOOTHING = 0.1

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """A finding, and how long it took: seconds in the queue and seconds of its batch on the device."""

    finding: Finding
    queue_seconds: float
    inference_seconds: float


@dataclass(frozen=True, slots=True)
class BatchRun:
    """What one run of the session was like, for the metrics: its films, without the padding."""

    films: int
    seconds: float


@dataclass(slots=True, eq=False)
class _Waiting:
    radiograph: Radiograph
    answer: asyncio.Future[Answer]
    loop: asyncio.AbstractEventLoop
    since: float


def batch_sizes(max_batch: int) -> tuple[int, ...]:
    """The sizes that batches are padded to: powers of two below `max_batch`, and `max_batch` itself."""
    powers = [2**power for power in range(max_batch.bit_length()) if 2**power < max_batch]
    return (*powers, max_batch)


class Batcher:
    """Gathers single films into batches for a `Classifier`, which it alone calls between start and stop."""

    def __init__(
        self,
        classifier: Classifier,
        *,
        max_batch: int,
        max_queue: int,
        wait_seconds: float,
        on_batch: Callable[[BatchRun], None] = lambda _: None,
    ) -> None:
        """Nothing runs before `start`.

        Args:
            classifier: the model.
            max_batch: most films in one run of the session.
            max_queue: most films that wait; one more is a `QueueFull`.
            wait_seconds: how long the oldest film waits for company.
            on_batch: called from the dispatcher thread after each run.
        """
        self._classifier = classifier
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._wait_seconds = wait_seconds
        self._on_batch = on_batch
        self._sizes = batch_sizes(max_batch)
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._warm = threading.Event()
        self._seconds_a_film = 0.0
        self._thread = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)

    @property
    def ready(self) -> bool:
        """True once every batch size has been run."""
        return self._warm.is_set() and not self._stopping

    @property
    def depth(self) -> int:
        """How many films wait."""
        return len(self._queue)

    def start(self) -> None:
        """Start the dispatcher thread, which first warms every batch size."""
        self._thread.start()

    def stop(self, timeout: float | None = None) -> None:
        """Finish the films that wait, then end the thread; blocks for at most `timeout` seconds."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout)

    async def submit(self, radiograph: Radiograph) -> Answer:
        """Wait for the finding of one film. Cancelling this frees the film's place.

        Raises:
            QueueFull: as many films wait as are allowed.
            Warming: not every batch size has been run yet.
            DeviceFailed: the device failed on this film or on its batch.
            Stopped: the engine has been shut down.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(radiograph, loop.create_future(), loop, time.perf_counter())
        with self._changed:
            if self._stopping:
                raise Stopped("The service is shutting down.")
            if not self._warm.is_set():
                raise Warming("The model is still being warmed.")
            if len(self._queue) >= self._max_queue:
                raise QueueFull(self.expected_wait())
            self._queue.append(waiting)
            self._changed.notify()
        try:
            return await waiting.answer
        except asyncio.CancelledError:
            with self._changed:
                if waiting in self._queue:
                    self._queue.remove(waiting)
            raise

    def expected_wait(self) -> int:
        """Whole seconds, at least 1, until the films that wait now will have been answered."""
        return max(1, math.ceil(len(self._queue) * self._seconds_a_film))

    def _dispatch(self) -> None:
        while not self._stopping and not self._warm_up():
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, _WARM_AGAIN_SECONDS)
        while batch := self._gather():
            self._run(batch)

    def _warm_up(self) -> bool:
        size = self._classifier.input_size
        black = Radiograph(np.zeros((size, size), np.uint8), size, size, "PNG", 8, Exposure(0.0, 0.0))
        started = time.perf_counter()
        try:
            for films in self._sizes:
                if self._stopping:
                    return False
                self._classifier.classify([black], pad_to=films)
        except DeviceFailed as error:
            log.error("the model cannot be warmed, trying again in %.0f s: %s", _WARM_AGAIN_SECONDS, error)
            return False
        self._warm.set()
        log.info("warm after %.2f s: batches of %s", time.perf_counter() - started, self._sizes)
        return True

    def _gather(self) -> list[_Waiting]:
        """The next batch, oldest first; empty once stopped and drained."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._queue or self._stopping)
                if not self._queue:
                    return []
                until = self._queue[0].since + self._wait_seconds
                self._changed.wait_for(
                    lambda: len(self._queue) >= self._max_batch or self._stopping,
                    max(0.0, until - time.perf_counter()),
                )
                # Those who waited may have gone meanwhile.
                if self._queue:
                    return [self._queue.popleft() for _ in range(min(self._max_batch, len(self._queue)))]

    def _run(self, batch: list[_Waiting]) -> None:
        started = time.perf_counter()
        pad_to = next(size for size in self._sizes if size >= len(batch))
        outcomes: list[Finding | DeviceFailed]
        try:
            outcomes = self._classifier.classify([waiting.radiograph for waiting in batch], pad_to=pad_to)
        except DeviceFailed as error:
            log.error("a batch of %d failed: %s", len(batch), error)
            outcomes = [error] * len(batch)
        except Exception as error:  # the thread must outlive whatever one batch provokes
            log.exception("a batch of %d failed", len(batch))
            outcomes = [DeviceFailed(f"The batch failed with {type(error).__name__}.")] * len(batch)
        seconds = time.perf_counter() - started
        self._seconds_a_film += _SMOOTHING * (seconds / len(batch) - self._seconds_a_film)
        self._on_batch(BatchRun(films=len(batch), seconds=seconds))
        answered: dict[asyncio.AbstractEventLoop, list[tuple[_Waiting, Answer | DeviceFailed]]] = {}
        for waiting, outcome in zip(batch, outcomes, strict=True):
            answer = (
                Answer(outcome, started - waiting.since, seconds) if isinstance(outcome, Finding) else outcome
            )
            answered.setdefault(waiting.loop, []).append((waiting, answer))
        for loop, answers in answered.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_deliver, answers)


def _deliver(answers: list[tuple[_Waiting, Answer | DeviceFailed]]) -> None:
    for waiting, answer in answers:
        if waiting.answer.done():
            continue
        if isinstance(answer, Answer):
            waiting.answer.set_result(answer)
        else:
            waiting.answer.set_exception(answer)
