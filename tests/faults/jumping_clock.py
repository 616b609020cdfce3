"""The service by a wall clock that jumps a day ahead at SIGUSR1, and a day back at SIGUSR2."""

import signal
import time
from unittest import mock

from app import cli

DAY = 86_400.0


def main() -> None:
    """Serve."""
    true_time = time.time
    ahead = 0.0

    def shown() -> float:
        return true_time() + ahead

    def jump(number: int, _: object) -> None:
        nonlocal ahead
        ahead += DAY if number == signal.SIGUSR1 else -DAY

    signal.signal(signal.SIGUSR1, jump)
    signal.signal(signal.SIGUSR2, jump)
    with mock.patch.object(time, "time", shown):
        cli.main()


if __name__ == "__main__":
    main()
