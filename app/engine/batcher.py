"""A queue and one dispatcher thread a lane between the requests and the device.

Films wait in a bounded queue, in which requests take turns. A lane's thread takes the next ones, waits a moment
for company, and runs them as one batch (app/engine/runs.py). A GPU has one lane. A CPU has one a core, since runs
side by side on a core each get more out of it than one run spread over all (docs/performance.md); a film that is
alone gets all cores. How long runs take is known, so that the wait of a film that comes now can be told.

Once the device is lost, nothing is taken any more until every size of batch has been run again, which is tried
every few seconds.
"""

import asyncio
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Hashable

from app.engine.answers import Answer, Waiting, deliver
from app.engine.classifier import Classifier
from app.engine.cores import step_back
from app.engine.errors import DeviceFailed, EngineError, QueueFull, Stopped, Warming
from app.engine.lanes import Lane, is_alone, share
from app.engine.runs import BatchRun, Pixels, Runs
from app.engine.turns import Turns

_WARM_AGAIN_SECONDS = (0.5, 1.0, 2.0, 5.0)
"""Pauses between attempts to warm the model; the last one goes on."""
_STEPS_BACK = 5

log = logging.getLogger(__name__)


def retry_after(wait_seconds: float) -> int:
    """Whole seconds, at least 1, after which a new try makes sense."""
    return max(1, math.ceil(wait_seconds))


class Batcher:
    """Gathers single films into batches for a `Classifier`, which it alone runs between start and stop.

    `submit` belongs to an event loop, as many of them as there are; what waits, what each lane has in hand and
    whether the device is lost or warm change under `_changed`, which is held for no longer than that takes: never
    while the device runs, nor while answers are handed out. `stop` blocks. All else may be asked from any thread,
    and takes the lock only where it goes through the queue.
    """

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
        self._runs = Runs(classifier, max_batch=max_batch, on_loss=self._lose)
        self._max_queue = max_queue
        self._wait_seconds = wait_seconds
        self._on_batch = on_batch
        self._queue: Turns[Waiting] = Turns()
        self._changed = threading.Condition()
        self._stopping = False
        self._warm = threading.Event()
        self._lost: object | None = None
        self._lanes = [Lane(self._dispatch, f"dispatcher-{number}") for number in range(classifier.lanes)]

    @property
    def ready(self) -> bool:
        """True once every batch size has been run, and until the device is lost."""
        return self._warm.is_set() and not self._stopping

    @property
    def owed(self) -> frozenset[object]:
        """A token of each run that is under way, of the loss of the device while it lasts, of each dead lane."""
        dead = {lane for lane in self._lanes if lane.has_ended and not self._stopping}
        return self._runs.under_way | dead | ({self._lost} if self._lost is not None else set())

    @property
    def depth(self) -> int:
        """How many films wait."""
        return len(self._queue)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes that batches are padded to."""
        return self._runs.sizes

    @property
    def film_seconds(self) -> float:
        """Seconds that a film takes where many wait, as it was found when warming; 0 before."""
        return self._runs.film_seconds

    @property
    def room(self) -> int:
        """How many films can be on the device at the same time, as far as the queue lets them come together."""
        return min(self.sizes[-1] * len(self._lanes), self._max_queue)

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
            left = [film for lane in self._lanes for film in lane.running] + self._take_all()
        deliver([(waiting, Stopped("The service stopped before it came to this film.")) for waiting in left])

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
        deliver([(waiting, DeviceFailed("The device did not answer.")) for waiting in left])

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
        waiting = Waiting(pixels, loop.create_future(), loop, time.perf_counter())
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
        return (sum(busy) + self._runs.seconds_of(ahead)) / len(self._lanes)

    def _dispatch(self, lane: Lane) -> None:
        step_back(_STEPS_BACK)
        try:
            while self._gather(lane):
                if lane.running:
                    self._answer(lane)
                else:
                    self._warm_until_done()
        except Exception:  # it stays owed, so that the process is started anew
            log.critical("%s has ended", lane.thread.name, exc_info=True)
            self._lose("a thread that runs it has ended")

    def _warm_until_done(self) -> None:
        for attempt in itertools.count():
            if self._stopping or self._warm_up():
                return
            pause = _WARM_AGAIN_SECONDS[min(attempt, len(_WARM_AGAIN_SECONDS) - 1)]
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, pause)

    def _warm_up(self) -> bool:
        started = time.perf_counter()
        try:
            if not self._runs.warm(lambda: self._stopping):
                return False
        except DeviceFailed as error:
            with self._changed:
                self._lost = self._lost or object()
            log.error("the model cannot be warmed, trying again: %s", error)
            return False
        with self._changed:
            self._lost = None
            self._warm.set()
        log.info("warm after %.2f s: batches of %s", time.perf_counter() - started, self.sizes)
        return True

    def _cold(self, lane: Lane) -> bool:
        """Whether it is for this lane to warm the model."""
        return lane is self._lanes[0] and not self._warm.is_set() and not self._stopping

    def _take_all(self) -> list[Waiting]:
        return [self._queue.take() for _ in range(len(self._queue))]

    def _gather(self, lane: Lane) -> bool:
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
                        lambda: len(self._queue) >= self.sizes[-1] or self._stopping,
                        max(0.0, until - time.perf_counter()),
                    )
                # Those who waited may have gone meanwhile.
                if self._queue:
                    films = min(self.sizes[-1], share(len(self._queue), self._lanes))
                    lane.running = [self._queue.take() for _ in range(films)]
                    # As far as can be seen: the next film may come at any moment.
                    lane.alone = not self._queue and is_alone(lane, self._lanes)
                    seconds = self._runs.alone_seconds if lane.alone else self._runs.seconds_of(films)
                    lane.free_at = time.perf_counter() + seconds
                    return True

    def _answer(self, lane: Lane) -> None:
        batch = lane.running
        try:
            self._run(lane, batch)
        except Exception as error:  # the thread must outlive it, and nobody may wait for ever
            with self._changed:
                lane.running = []
            failed = DeviceFailed(f"The batch failed with {type(error).__name__}.")
            deliver([(waiting, failed) for waiting in batch])
            log.exception("a batch of %d could not be answered", len(batch))

    def _run(self, lane: Lane, batch: list[Waiting]) -> None:
        started = time.perf_counter()
        outcomes = self._runs.outcomes([waiting.pixels for waiting in batch], alone=lane.alone)
        seconds = time.perf_counter() - started
        try:
            self._on_batch(BatchRun(films=len(batch), seconds=seconds))
        except Exception:  # a film that was judged is not lost for a figure
            log.exception("a batch could not be counted")
        with self._changed:
            lane.running = []  # before who waits may send the next film: it finds the lane idle
        deliver(
            [
                (waiting, outcome)
                if isinstance(outcome, EngineError)
                else (waiting, Answer(outcome, started - waiting.since, seconds, len(batch)))
                for waiting, outcome in zip(batch, outcomes, strict=True)
            ]
        )

    def _lose(self, why: str = "it fails on a black film too") -> None:
        """Take no more films until the first lane has warmed the model again; those that wait are told."""
        with self._changed:
            self._warm.clear()
            self._lost = self._lost or object()
            left = self._take_all()
            self._changed.notify_all()
        log.error("the device is lost: %s; %d films that wait are told", why, len(left))
        deliver([(waiting, DeviceFailed("The device was lost.")) for waiting in left])
