"""Which cores this process and what it starts may use."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def all_cores() -> list[int]:
    """The cores that this process may use, by their numbers."""
    return sorted(os.sched_getaffinity(0))


@contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Within the block this thread, and every process that it starts, may use these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
