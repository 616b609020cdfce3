"""Lanes: threads side by side, each of which takes batches off one queue."""

import math
import threading
from collections.abc import Callable, Sequence

from app.engine.answers import Waiting


class Lane:
    """One dispatcher thread, the films that it is at, and when it will be through with them.

    `running`, `alone` and `free_at` are written by the lane's own thread, under the lock of the queue.
    """

    def __init__(self, work: Callable[["Lane"], None], name: str) -> None:
        """The thread is not started yet; it will do `work`, and be called `name`."""
        self.running: list[Waiting] = []
        self.alone = False
        self.free_at = 0.0
        self.thread = threading.Thread(target=work, args=(self,), name=name, daemon=True)

    @property
    def has_ended(self) -> bool:
        """Whether its thread was started and runs no more."""
        return self.thread.ident is not None and not self.thread.is_alive()

    def busy_seconds(self, now: float) -> float:
        """Seconds from `now`, of `time.perf_counter`, until it will be through; 0 where it is idle."""
        return max(0.0, self.free_at - now)


def share(waiting: int, lanes: Sequence[Lane]) -> int:
    """How many of the films that wait an idle lane takes: no more than leave some for each other idle one."""
    idle = sum(not lane.running for lane in lanes)
    return math.ceil(waiting / idle)


def is_alone(lane: Lane, lanes: Sequence[Lane]) -> bool:
    """Whether the lane's one film is the only one that runs, where there are several lanes."""
    return (
        len(lanes) > 1
        and len(lane.running) == 1
        and not any(other.running for other in lanes if other is not lane)
    )
