"""How many films one caller may send in a while."""

import math

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from app.api.callers import Caller
from app.api.errors import RateExceeded, TooManyFiles

MOST_COUNTERS = 2_000
"""Where so many are kept already, a network that has none shares one with all others that came too late.

`limits` looks through all of them whenever one is charged, though not twice within 10 ms: 0.2 ms of a core at this
number, 2.4 ms at ten times as many.
"""

_REST = ("rest", "rest")

_ROUNDING_SECONDS = 1e-5
"""By so much at most the seconds left of a window are told too short: floats of today's date are coarse."""


class Rates:
    """Counts films by caller, by a sliding window made of two counters, so that films take no memory."""

    def __init__(self, rate: str, *, most_counters: int = MOST_COUNTERS) -> None:
        """Nothing is counted yet.

        Args:
            rate: films a caller in a while, such as 600/minute.
            most_counters: what bounds the memory.
        """
        self._limit = parse(rate)
        self._storage = MemoryStorage()
        self._counter = SlidingWindowCounterRateLimiter(self._storage)
        self._most_counters = most_counters

    @property
    def counters(self) -> int:
        """How many counters are kept."""
        return len(self._storage.storage)

    def judge(self, caller: Caller) -> None:
        """Go on only if `caller` may send one more film now. Nothing is counted.

        Raises:
            RateExceeded: not yet.
        """
        counted_as = self._counted_as(caller)
        if not self._counter.test(self._limit, *counted_as):
            raise self._exceeded(counted_as, 1)

    def charge(self, caller: Caller, films: int, *, known: int = 0) -> None:
        """Count films.

        Args:
            caller: who sends them.
            films: how many they are.
            known: how many of them were counted before.

        Raises:
            RateExceeded: `caller` has to wait before sending so many. None of these is counted.
            TooManyFiles: no wait would help: they are more than the rate allows at once.
        """
        most, more = self._limit.amount, films - known
        if films > most:
            raise TooManyFiles(
                f"The request has more films than the {most} that one caller may send at once."
            )
        counted_as = self._counted_as(caller)
        if more > 0 and not self._counter.hit(self._limit, *counted_as, cost=more):
            raise self._exceeded(counted_as, more)

    def _counted_as(self, caller: Caller) -> tuple[str, str]:
        if caller.name is not None:
            return "key", caller.name
        network = ("network", caller.network)
        if self.counters < self._most_counters:
            return network
        before, _, now, _ = self._window(network)
        return network if before or now else _REST

    def _window(self, counted_as: tuple[str, str]) -> tuple[int, float, int, float]:
        """Films of the fixed window before and the seconds until none of them counts; and the same of this one."""
        return self._storage.get_sliding_window(self._limit.key_for(*counted_as), self._limit.get_expiry())

    def _exceeded(self, counted_as: tuple[str, str], films: int) -> RateExceeded:
        length = self._limit.get_expiry()
        before, before_left, now, now_left = self._window(counted_as)
        most = self._limit.amount - films
        # The films of the window before count by the share of it that the sliding window still covers.
        if now > most:
            seconds = now_left - length + length * (1 - (most + 1) / now)
        else:
            seconds = before_left - length * (most + 1 - now) / max(1, before)
        return RateExceeded(max(1, math.floor(seconds + _ROUNDING_SECONDS) + 1))
