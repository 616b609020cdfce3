"""Which uploads are taken: decided before their bodies are read, and again before they are decoded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.api.errors import Overloaded
from app.engine.batcher import retry_after


class Admission:
    """A number of places, and a longest wait. One event loop uses it, so that plain counting is safe."""

    def __init__(self, places: int, *, max_wait_seconds: float, expected_wait: Callable[[], float]) -> None:
        """Nothing is taken yet.

        Args:
            places: most uploads under way at once.
            max_wait_seconds: longest that a film may have to wait for its turn.
            expected_wait: the seconds that a film which comes now would wait.
        """
        self._places = places
        self._max_wait_seconds = max_wait_seconds
        self._expected_wait = expected_wait
        self.taken = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one place.

        Raises:
            Overloaded: all are taken, or the wait is too long.
        """
        if self.taken >= self._places:
            raise Overloaded(retry_after(self._expected_wait()))
        self.judge_wait()
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    def judge_wait(self) -> None:
        """Refuse if a film that comes now would wait too long.

        Raises:
            Overloaded: it would.
        """
        wait = self._expected_wait()
        if wait > self._max_wait_seconds:
            raise Overloaded(retry_after(wait))
