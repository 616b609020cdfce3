"""A queue and one dispatcher thread a lane between the requests and the device.

Films wait in a bounded queue, in which requests take turns. A lane's thread takes the next ones, waits a moment
for company, pads the batch to one of a few sizes that were all run before readiness (a first run of a new shape
is slow), and runs the session once. A GPU has one lane. A CPU has one a core, since runs side by side on a core
each get more out of it than one run spread over all (docs/performance.md); a film that is alone gets all cores.
How long each size takes is kept, so that the wait of a film that comes now can be told.

A film on which the device fails alone is followed by a black one. If that fails too, the device is lost, and no
fault of the film: nothing is taken any more until every size has been run again, which is tried every few seconds.
"""

import asyncio
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.engine.classifier import Classifier, Outputs, not_a_probability
from app.engine.cores import step_back
from app.engine.errors import DeviceFailed, EngineError, OutOfDeviceMemory, QueueFull, Stopped, Warming
from app.engine.turns import Turns

Pixels = npt.NDArray[np.uint8]

_WARM_AGAIN_SECONDS = (0.5, 1.0, 2.0, 5.0)
"""Pauses between attempts to warm the model; the last one goes on."""
_SMOOTHING = 0.2
_STEPS_BACK = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """One film's outputs, each [1, ...], its seconds in the queue, and its batch's on the device and films."""

    outputs: Outputs
    queue_seconds: float
    inference_seconds: float
    films: int


@dataclass(frozen=True, slots=True)
class BatchRun:
    """What one batch was like, for the metrics: its films, without the padding."""

    films: int
    seconds: float


@dataclass(slots=True, eq=False)
class _Waiting:
    pixels: Pixels
    answer: asyncio.Future[Answer]
    loop: asyncio.AbstractEventLoop
    since: float


class _Lane:
    """One dispatcher thread, the films that it is at, and when it will be through with them."""

    def __init__(self, work: Callable[["_Lane"], None], name: str) -> None:
        self.running: list[_Waiting] = []
        self.alone = False
        self.free_at = 0.0
        self.thread = threading.Thread(target=work, args=(self,), name=name, daemon=True)

    def busy_seconds(self, now: float) -> float:
        return max(0.0, self.free_at - now)


def batch_sizes(max_batch: int) -> tuple[int, ...]:
    """The sizes that batches are padded to: powers of two below `max_batch`, and `max_batch` itself."""
    powers = [2**power for power in range(max_batch.bit_length()) if 2**power < max_batch]
    return (*powers, max_batch)


def retry_after(wait_seconds: float) -> int:
    """Whole seconds, at least 1, after which a new try makes sense."""
    return max(1, math.ceil(wait_seconds))


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
            on_batch: called from a dispatcher thread after each batch.
        """
        self._classifier = classifier
        self._max_queue = max_queue
        self._wait_seconds = wait_seconds
        self._on_batch = on_batch
        self._sizes = batch_sizes(max_batch)
        self._queue: Turns[_Waiting] = Turns()
        self._changed = threading.Condition()
        self._stopping = False
        self._warm = threading.Event()
        self._lost: object | None = None
        self._under_way: set[object] = set()
        self._size_seconds: dict[int, float] = {}
        self._alone_seconds = 0.0
        self.film_seconds = 0.0
        """Seconds that a film takes where many wait, as it was found when warming; 0 before."""
        self._lanes = [_Lane(self._dispatch, f"dispatcher-{number}") for number in range(classifier.lanes)]

    @property
    def ready(self) -> bool:
        """True once every batch size has been run, and until the device is lost."""
        return self._warm.is_set() and not self._stopping

    @property
    def owed(self) -> frozenset[object]:
        """A token of each run that is under way, and of the loss of the device while it lasts."""
        return frozenset(self._under_way) | ({self._lost} if self._lost is not None else set())

    @property
    def depth(self) -> int:
        """How many films wait."""
        return len(self._queue)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes that batches are padded to."""
        return self._sizes

    @property
    def room(self) -> int:
        """How many films can be on the device at the same time, as far as the queue lets them come together."""
        return min(self._sizes[-1] * len(self._lanes), self._max_queue)

    def start(self) -> None:
        """Start the dispatcher threads, the first of which warms every batch size first, and after each loss."""
        for lane in self._lanes:
            lane.thread.start()

    def stop(self, timeout: float | None = None) -> None:
        """Finish the films that wait, then end the threads; blocks for at most `timeout` seconds.

        Films that are not finished by then get `Stopped`.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        until = None if timeout is None else time.perf_counter() + timeout
        for lane in self._lanes:
            if lane.thread.is_alive():
                lane.thread.join(None if until is None else max(0.0, until - time.perf_counter()))
        with self._changed:
            left = [film for lane in self._lanes for film in lane.running]
            left += self._take_all()
        _deliver([(waiting, Stopped("The service stopped before it came to this film.")) for waiting in left])

    def require_warm(self) -> None:
        """Go on only if every batch size has been run.

        Raises:
            Warming: so it is not, yet or any more.
        """
        if not self._warm.is_set():
            pause = _WARM_AGAIN_SECONDS[-1] if self._lost is not None else 0.0
            raise Warming("The model is being warmed.", retry_after(pause))

    def give_up(self) -> None:
        """Tell every film that is here that the device failed, though it may have one in hand for ever."""
        with self._changed:
            left = [film for lane in self._lanes for film in lane.running] + self._take_all()
        _deliver([(waiting, DeviceFailed("The device did not answer.")) for waiting in left])

    async def submit(self, pixels: Pixels, *, owner: Hashable | None = None) -> Answer:
        """Wait for the outputs of one film. Cancelling this frees the film's place.

        Args:
            pixels: uint8, [S, S], 0 black.
            owner: whose turn it is; films of one request share it, by default a film is a request of its own.

        Raises:
            QueueFull: as many films wait as are allowed.
            Warming: not every batch size has been run yet, or the device is lost.
            DeviceFailed: the device failed on this film.
            Stopped: the engine has been shut down.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(pixels, loop.create_future(), loop, time.perf_counter())
        owner = waiting if owner is None else owner
        with self._changed:
            if self._stopping:
                raise Stopped("The service is shutting down.")
            self.require_warm()
            if len(self._queue) >= self._max_queue:
                raise QueueFull(retry_after(self.expected_wait()))
            self._queue.add(owner, waiting)
            # A lane that waits for company must not swallow the call that would wake an idle one.
            self._changed.notify(len(self._lanes) if self._wait_seconds else 1)
        try:
            return await waiting.answer
        except asyncio.CancelledError:
            with self._changed:
                self._queue.discard(owner, waiting)
            raise

    def expected_wait(self, coming: Collection[Hashable] = ()) -> float:
        """Seconds until the device would come to a new request's film that is submitted now.

        Args:
            coming: owners who will submit films before it. Of each owner one film at most is ahead of it.
        """
        with self._changed:
            ahead = len({*self._queue.owners, *coming})
        now = time.perf_counter()
        busy = [lane.busy_seconds(now) for lane in self._lanes]
        if not ahead:
            return min(busy)
        return (sum(busy) + self._seconds_of(ahead)) / len(self._lanes)

    def _padded(self, films: int) -> int:
        return next(size for size in self._sizes if size >= films)

    def _seconds_of(self, films: int) -> float:
        """Seconds of one lane for so many films, in batches of whatever size has been the quickest for them.

        Were it the largest size alone, one slow run of it could make every wait look too long, so that no such
        batch would come together again to correct it.
        """
        return min(
            (
                math.ceil(films / size) * seconds
                for size, seconds in self._size_seconds.items()
                if size < 2 * films
            ),
            default=0.0,
        )

    def _dispatch(self, lane: _Lane) -> None:
        step_back(_STEPS_BACK)
        while self._gather(lane):
            if lane.running:
                self._answer(lane)
            else:
                self._warm_until_done()

    def _warm_until_done(self) -> None:
        for attempt in itertools.count():
            if self._stopping or self._warm_up():
                return
            pause = _WARM_AGAIN_SECONDS[min(attempt, len(_WARM_AGAIN_SECONDS) - 1)]
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, pause)

    def _warm_up(self) -> bool:
        side = self._classifier.input_size
        started = time.perf_counter()
        for films in self._sizes:
            if self._stopping:
                return False
            try:
                black = np.zeros((films, side, side), np.uint8)
                self._run(black, alone=False)  # the first run of a shape is slow
                self._classify(list(black), alone=False)  # and this one is timed
                if films == 1 and len(self._lanes) > 1:
                    self._run(black, alone=True)
                    self._classify(list(black), alone=True)
            except OutOfDeviceMemory as error:
                if not self._shrink(films):
                    return self._not_warm(error)
                break
            except DeviceFailed as error:
                return self._not_warm(error)
            except Exception as error:  # the thread must outlive it: it is what tries again
                log.exception("a batch of %d black films failed", films)
                return self._not_warm(DeviceFailed(f"The batch failed with {type(error).__name__}."))
        self.film_seconds = min(seconds / size for size, seconds in self._size_seconds.items()) / len(
            self._lanes
        )
        with self._changed:
            self._lost = None
            self._warm.set()
        log.info("warm after %.2f s: batches of %s", time.perf_counter() - started, self._sizes)
        return True

    def _not_warm(self, error: DeviceFailed) -> bool:
        self._lost = self._lost or object()
        log.error("the model cannot be warmed, trying again: %s", error)
        return False

    def _cold(self, lane: _Lane) -> bool:
        """Whether it is for this lane to warm the model."""
        return lane is self._lanes[0] and not self._warm.is_set() and not self._stopping

    def _take_all(self) -> list[_Waiting]:
        return [self._queue.take() for _ in range(len(self._queue))]

    def _gather(self, lane: _Lane) -> bool:
        """Take the lane's next batch off the queue, none where it is to warm; False once stopped and drained."""
        with self._changed:
            lane.running = []
            lane.free_at = 0.0
            while True:
                self._changed.wait_for(lambda: self._queue or self._stopping or self._cold(lane))
                if self._cold(lane):
                    return True
                if not self._queue:
                    return False
                if self._wait_seconds:
                    until = min(film.since for film in self._queue.first_of_each()) + self._wait_seconds
                    self._changed.wait_for(
                        lambda: len(self._queue) >= self._sizes[-1] or self._stopping,
                        max(0.0, until - time.perf_counter()),
                    )
                # Those who waited may have gone meanwhile.
                if self._queue:
                    films = self._share()
                    lane.running = [self._queue.take() for _ in range(films)]
                    lane.alone = self._alone(lane)
                    seconds = self._alone_seconds if lane.alone else self._seconds_of(films)
                    lane.free_at = time.perf_counter() + seconds
                    return True

    def _share(self) -> int:
        """How many films a lane takes: no more than leave some for each lane that has none."""
        idle = sum(not lane.running for lane in self._lanes)
        return min(self._sizes[-1], math.ceil(len(self._queue) / idle))

    def _alone(self, lane: _Lane) -> bool:
        """Whether the lane's one film has all cores for itself, as far as can be seen."""
        return (
            len(self._lanes) > 1
            and len(lane.running) == 1
            and not self._queue
            and not any(other.running for other in self._lanes if other is not lane)
        )

    def _answer(self, lane: _Lane) -> None:
        batch = lane.running
        started = time.perf_counter()
        outcomes = self._outcomes([waiting.pixels for waiting in batch], alone=lane.alone)
        seconds = time.perf_counter() - started
        self._on_batch(BatchRun(films=len(batch), seconds=seconds))
        with self._changed:
            lane.running = []  # before who waits may send the next film: it finds the lane idle
        _deliver(
            [
                (waiting, outcome)
                if isinstance(outcome, EngineError)
                else (waiting, Answer(outcome, started - waiting.since, seconds, len(batch)))
                for waiting, outcome in zip(batch, outcomes, strict=True)
            ]
        )

    def _outcomes(self, films: Sequence[Pixels], *, alone: bool = False) -> list[Outputs | DeviceFailed]:
        """What becomes of each film. Where a run fails its halves run again, so that one bad film fails alone."""
        if len(films) > self._sizes[-1]:
            return self._in_halves(films)
        try:
            outputs = self._classify(films, alone=alone)
        except OutOfDeviceMemory as error:
            self._shrink(self._padded(len(films)))
            failure: DeviceFailed = error
        except DeviceFailed as error:
            failure = error
        except Exception as error:  # the thread must outlive whatever one batch provokes
            log.exception("a batch of %d failed", len(films))
            failure = DeviceFailed(f"The batch failed with {type(error).__name__}.")
        else:
            sound = outputs.sound()
            return [outputs.of_film(row) if sound[row] else not_a_probability() for row in range(len(films))]
        log.error("a batch of %d failed: %s", len(films), failure)
        if len(films) > 1:
            return self._in_halves(films)
        if not self._takes_a_black_film():
            self._lose()
        return [failure]

    def _takes_a_black_film(self) -> bool:
        """Whether the device still runs at all, now that it has failed on one film."""
        side = self._classifier.input_size
        black = np.zeros((1, side, side), np.uint8)
        try:
            self._run(black, alone=False)
        except DeviceFailed:
            return False
        return True

    def _lose(self) -> None:
        """Take no more films until the first lane has warmed the model again; those that wait are told."""
        with self._changed:
            self._warm.clear()
            self._lost = self._lost or object()
            left = self._take_all()
            self._changed.notify_all()
        log.error("the device is lost: it fails on a black film too; %d films that wait are told", len(left))
        _deliver([(waiting, DeviceFailed("The device was lost.")) for waiting in left])

    def _in_halves(self, films: Sequence[Pixels]) -> list[Outputs | DeviceFailed]:
        half = len(films) // 2
        return self._outcomes(films[:half]) + self._outcomes(films[half:])

    def _classify(self, films: Sequence[Pixels], *, alone: bool) -> Outputs:
        """One run of the session, padded with black films, its time noted."""
        size = self._padded(len(films))
        pixels = np.empty((size, *films[0].shape), np.uint8)
        np.stack(films, out=pixels[: len(films)])
        pixels[len(films) :] = 0
        started = time.perf_counter()
        outputs = self._run(pixels, alone=alone)
        seconds = time.perf_counter() - started
        if alone:
            self._alone_seconds = _smoothed(self._alone_seconds or seconds, seconds)
        else:
            smoothed = _smoothed(self._size_seconds.get(size, seconds), seconds)
            self._size_seconds = {**self._size_seconds, size: smoothed}  # anew: other threads go through it
        return outputs

    def _run(self, pixels: Pixels, *, alone: bool) -> Outputs:
        run = object()
        self._under_way.add(run)
        try:
            if alone or len(self._lanes) == 1:
                return self._classifier.run(pixels)
            return self._classifier.run_beside(pixels)
        finally:
            self._under_way.discard(run)

    def _shrink(self, size: int) -> bool:
        """Use only batches smaller than `size` from now on; False where there are none."""
        smaller = tuple(known for known in self._sizes if known < size)
        if smaller:
            log.warning("out of device memory with %d films; batches have at most %d now", size, smaller[-1])
            self._sizes = smaller
            self._size_seconds = {
                known: taken for known, taken in self._size_seconds.items() if known in smaller
            }
        return bool(smaller)


def _smoothed(known: float, seconds: float) -> float:
    return known + _SMOOTHING * (seconds - known)


def _deliver(outcomes: Sequence[tuple[_Waiting, Answer | EngineError]]) -> None:
    """Hand outcomes to the event loops that wait for them, by one call a loop."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[_Waiting, Answer | EngineError]]] = {}
    for waiting, outcome in outcomes:
        loops.setdefault(waiting.loop, []).append((waiting, outcome))
    for loop, own in loops.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, own)


def _resolve(outcomes: Sequence[tuple[_Waiting, Answer | EngineError]]) -> None:
    for waiting, outcome in outcomes:
        if waiting.answer.done():
            continue
        if isinstance(outcome, Answer):
            waiting.answer.set_result(outcome)
        else:
            waiting.answer.set_exception(outcome)
