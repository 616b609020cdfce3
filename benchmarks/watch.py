"""Processor time and memory of a server: its process and all that descend from it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import psutil

INTERVAL_SECONDS = 0.25
_GONE = (psutil.NoSuchProcess, psutil.AccessDenied)


@dataclass(frozen=True, slots=True)
class Sample:
    """The tree at one moment: processor seconds so far, and resident bytes."""

    at: float
    processor_seconds: float
    resident_bytes: int


def sample(root: psutil.Process) -> Sample:
    """The tree of `root` now. What ended and was waited for counts in its parent's processor time."""
    seconds, resident = 0.0, 0
    at = time.monotonic()
    for process in tree(root):
        try:
            with process.oneshot():
                times = process.cpu_times()
                resident += process.memory_info().rss
        except _GONE:
            continue
        seconds += times.user + times.system + times.children_user + times.children_system
    return Sample(at, seconds, resident)


def proportional_bytes(root: psutil.Process) -> int:
    """Memory of the tree of `root` with shared pages counted once, divided among those that share them (PSS)."""
    total = 0
    for process in tree(root):
        try:
            total += process.memory_full_info().pss
        except _GONE:
            continue
    return total


def tree(root: psutil.Process) -> list[psutil.Process]:
    """`root` and all its descendants."""
    try:
        return [root, *root.children(recursive=True)]
    except _GONE:
        return []


class Watch:
    """Samples of a tree, taken four times a second while it is watched."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def processor_seconds(self, began: float, ended: float) -> float:
        """What the tree used between two moments (`time.monotonic`), interpolated between the samples."""
        times = [each.at for each in self.samples]
        used = [each.processor_seconds for each in self.samples]
        return float(np.interp(ended, times, used) - np.interp(began, times, used))

    def peak_resident_bytes(self) -> int:
        """The most that was resident in any sample."""
        return max((each.resident_bytes for each in self.samples), default=0)


@contextmanager
def watching(pid: int, interval: float = INTERVAL_SECONDS) -> Iterator[Watch]:
    """Watch the tree of `pid` until the block ends."""
    watch, root, over = Watch(), psutil.Process(pid), threading.Event()

    def look() -> None:
        watch.samples.append(sample(root))
        while not over.wait(interval):
            watch.samples.append(sample(root))
        watch.samples.append(sample(root))

    thread = threading.Thread(target=look, name="watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()
