import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.engine.classifier import Outputs
from app.engine.runs import Pixels, Runs, batch_sizes
from tests import tiny_model
from tests.app.live import gated, wait_until


@pytest.mark.parametrize(
    ("max_batch", "sizes"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))]
)
def test_sizes_are_powers_of_two_and_the_largest(max_batch: int, sizes: tuple[int, ...]) -> None:
    assert batch_sizes(max_batch) == sizes


def test_two_lanes_that_run_out_of_memory_at_once_both_answer_all_their_films(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder, lanes=2)
    runs = Runs(classifier, max_batch=2, on_loss=lambda: pytest.fail("the device is not lost"))
    arrivals = itertools.count()

    def short_of_memory(pixels: Pixels) -> None:
        if len(pixels) == 2:
            if next(arrivals):
                wait_until(lambda: runs.sizes == (1,), "the other lane has made do with less")
            raise MemoryError

    gate.before = short_of_memory
    gate.close()
    films = [np.full((tiny_model.SIZE, tiny_model.SIZE), level, np.uint8) for level in (10, 20)]
    with ThreadPoolExecutor(2) as lanes:
        answers = [lanes.submit(runs.outcomes, films) for _ in range(2)]
        wait_until(lambda: gate.batches == [2, 2], "both run two films")
        gate.open()
        for answer in answers:
            assert all(isinstance(outcome, Outputs) for outcome in answer.result())
    assert runs.sizes == (1,)
