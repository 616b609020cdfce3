"""When to stop waiting for the device."""

from collections.abc import Collection, Hashable

_LOOKS = 20
_LONGEST_INTERVAL = 1.0


class Watchdog:
    """Told again and again what the device owes, it says when one thing has been owed for too long.

    It counts the time that it was awake itself: a process that was stopped, or a machine that slept, owes nothing
    for that time.
    """

    def __init__(self, limit_seconds: float) -> None:
        """Nothing is owed yet.

        Args:
            limit_seconds: how long one thing may be owed.
        """
        self._limit = limit_seconds
        self.interval = min(_LONGEST_INTERVAL, limit_seconds / _LOOKS)
        """Seconds between looks."""
        self.expired = False
        self._seconds: dict[Hashable, float] = {}
        self._last: float | None = None

    def look(self, owed: Collection[Hashable], now: float) -> None:
        """Note what is owed at `now`, in seconds of a clock that never goes back."""
        passed = 0.0 if self._last is None else min(now - self._last, 2 * self.interval)
        self._last = now
        known = self._seconds
        self._seconds = {what: known[what] + passed if what in known else 0.0 for what in owed}
        self.expired = max(self._seconds.values(), default=0.0) > self._limit
