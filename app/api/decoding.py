"""The threads that decode films and paint heat maps, and how long their queue is."""

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from app.engine.cores import step_back

Result = TypeVar("Result")

_SMOOTHING = 0.1
_STEPS_BACK = 2


class DecodingPool:
    """A number of threads. One event loop uses it, so that plain counting is safe."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._owners: list[Hashable] = []
        self._seconds = 0.0
        self._threads = ThreadPoolExecutor(workers, "decoder", step_back, (_STEPS_BACK,))

    @property
    def owners(self) -> Sequence[Hashable]:
        """Whose work is waiting or being done, once for each piece."""
        return self._owners

    async def run(self, work: Callable[[], Result], *, owner: Hashable | None = None) -> Result:
        """The result of `work`, done in one of the threads; cancelling this gives up its place in the queue.

        Args:
            work: what to do.
            owner: whose film it is; by default a request's only one.
        """
        owner = work if owner is None else owner

        def timed() -> tuple[Result, float]:
            started = time.perf_counter()
            result = work()
            return result, time.perf_counter() - started

        self._owners.append(owner)
        try:
            result, seconds = await asyncio.get_running_loop().run_in_executor(self._threads, timed)
        finally:
            self._owners.remove(owner)
        self._seconds += _SMOOTHING * (seconds - self._seconds) if self._seconds else seconds
        return result

    def expected_wait(self) -> float:
        """Seconds until a thread would come to work that is handed in now."""
        return len(self._owners) * self._seconds / self.workers

    def stop(self) -> None:
        """Take no more work, and drop what has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)
