"""The threads that decode films and paint heat maps, and how long their queue is."""

import asyncio
import heapq
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from app.api.errors import OutOfMemory
from app.engine.cores import step_back

Result = TypeVar("Result")

_SMOOTHING = 0.1
_STEPS_BACK = 2


@dataclass(slots=True, eq=False)
class _Piece:
    """Work that waits, or is being done since `began`."""

    owner: Hashable
    began: float | None = None


class DecodingPool:
    """A number of threads, handed work by one event loop."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pieces: dict[_Piece, None] = {}
        self._seconds = 0.0
        self._threads = ThreadPoolExecutor(workers, "decoder", step_back, (_STEPS_BACK,))

    @property
    def owners(self) -> Sequence[Hashable]:
        """Whose work is waiting or being done, once for each piece."""
        return [piece.owner for piece in list(self._pieces)]

    async def run(self, work: Callable[[], Result], *, owner: Hashable | None = None) -> Result:
        """The result of `work`, done in one of the threads.

        Cancelling this gives up its place in the queue; what has begun counts until the thread is through with it.

        Args:
            work: what to do.
            owner: whose film it is; by default a request's only one.

        Raises:
            OutOfMemory: there was no memory for it.
        """
        piece = _Piece(work if owner is None else owner)

        def timed() -> tuple[Result, float]:
            started = piece.began = time.perf_counter()
            return work(), time.perf_counter() - started

        self._pieces[piece] = None
        future = self._threads.submit(timed)
        try:
            result, seconds = await asyncio.wrap_future(future)
        except MemoryError as error:
            raise OutOfMemory("There was no memory for the film.") from error
        finally:
            if future.done():
                del self._pieces[piece]
            else:  # its client has gone, and the thread has not
                future.add_done_callback(lambda _: self._pieces.pop(piece))
        self._seconds += _SMOOTHING * (seconds - self._seconds) if self._seconds else seconds
        return result

    def expected_wait(self) -> float:
        """Seconds until a thread would come to work that is handed in now.

        Work takes what it has taken lately; what has been going on for longer is expected to take as long again.
        """
        now, pieces = time.perf_counter(), list(self._pieces)
        free_in = [self._remaining(now - piece.began) for piece in pieces if piece.began is not None]
        free_in += [0.0] * (self.workers - len(free_in))
        heapq.heapify(free_in)
        for piece in pieces:
            if piece.began is None:
                heapq.heapreplace(free_in, free_in[0] + self._seconds)
        return free_in[0]

    def _remaining(self, elapsed: float) -> float:
        return max(self._seconds, elapsed)

    def stop(self) -> None:
        """Take no more work, and drop what has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)
