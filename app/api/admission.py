"""How many uploads are under way at once: decided before their bodies are read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.api.errors import Overloaded


class Admission:
    """A number of places. One event loop uses it, so that plain counting is safe."""

    def __init__(self, places: int, expected_wait: Callable[[], int]) -> None:
        """`expected_wait` gives the seconds after which a refused client should try again."""
        self._places = places
        self.taken = 0
        self._expected_wait = expected_wait

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one place.

        Raises:
            Overloaded: all are taken.
        """
        if self.taken >= self._places:
            raise Overloaded(self._expected_wait())
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
