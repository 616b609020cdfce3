import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from benchmarks.watch import Sample, Watch, proportional_bytes, sample, tree, watching

BURNED_SECONDS = 0.2
HELD_BYTES = 60_000_000
CHILD = f"""
import sys, time
held = bytearray({HELD_BYTES})
while time.process_time() < {BURNED_SECONDS}: pass
print("done", flush=True)
sys.stdin.read()
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"


@pytest.fixture
def parent() -> Iterator[int]:
    """A process whose child has used processor time and holds memory."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        yield process.pid
        process.communicate("")


def test_a_tree_is_a_process_and_all_that_descend_from_it(parent: int) -> None:
    assert len(tree(psutil.Process(parent))) == 2


def test_a_sample_holds_the_childs_processor_time_and_memory(parent: int) -> None:
    found = sample(psutil.Process(parent))
    assert found.processor_seconds >= BURNED_SECONDS
    assert found.resident_bytes >= HELD_BYTES
    assert HELD_BYTES <= proportional_bytes(psutil.Process(parent)) <= found.resident_bytes


def test_watching_samples_until_the_block_ends(parent: int) -> None:
    with watching(parent, interval=0.01) as watch:
        deadline = time.monotonic() + 60
        while len(watch.samples) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    taken = len(watch.samples)
    time.sleep(0.05)
    assert len(watch.samples) == taken >= 3
    assert watch.peak_resident_bytes() >= HELD_BYTES


def test_processor_time_between_two_moments_is_interpolated() -> None:
    watch = Watch()
    watch.samples += [Sample(0, 0, 5), Sample(10, 5, 9), Sample(20, 25, 7)]
    assert watch.processor_seconds(5, 15) == pytest.approx(12.5)
    assert watch.peak_resident_bytes() == 9
