"""The threads that decode films and paint heat maps, and how long their queue is."""

import asyncio
import time
from collections.abc import Callable
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
        self.waiting = 0
        """Pieces of work that are waiting or being done."""
        self._seconds = 0.0
        self._threads = ThreadPoolExecutor(workers, "decoder", step_back, (_STEPS_BACK,))

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, done in one of the threads; cancelling this gives up its place in the queue."""

        def timed() -> tuple[Result, float]:
            started = time.perf_counter()
            result = work()
            return result, time.perf_counter() - started

        self.waiting += 1
        try:
            result, seconds = await asyncio.get_running_loop().run_in_executor(self._threads, timed)
        finally:
            self.waiting -= 1
        self._seconds += _SMOOTHING * (seconds - self._seconds) if self._seconds else seconds
        return result

    def expected_wait(self) -> float:
        """Seconds until a thread would come to work that is handed in now."""
        return self.waiting * self._seconds / self.workers

    def stop(self) -> None:
        """Take no more work, and drop what has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)
