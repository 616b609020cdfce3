import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.engine.batcher import Answer, Batcher, BatchRun, Pixels, batch_sizes
from app.engine.classifier import Classifier
from app.engine.errors import DeviceFailed, QueueFull, Stopped, Warming
from tests import tiny_model
from tests.app.live import Gate, gated, wait_until


def film(level: int = 140) -> Pixels:
    return np.full((tiny_model.SIZE, tiny_model.SIZE), level, np.uint8)


def level(answer: Answer) -> float:
    """The grey level of the film that this is the answer to: the tiny model's novelty."""
    assert answer.outputs.novelty is not None
    return float(answer.outputs.novelty[0])


@contextmanager
def started(classifier: Classifier, **options: Any) -> Iterator[Batcher]:
    defaults: dict[str, Any] = {"max_batch": 4, "max_queue": 8, "wait_seconds": 0.0}
    batcher = Batcher(classifier, **(defaults | options))
    batcher.start()
    try:
        wait_until(lambda: batcher.ready, "the batcher is warm")
        yield batcher
    finally:
        batcher.stop(timeout=10)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def held(gate: Gate, batcher: Batcher) -> "asyncio.Task[Any]":
    """Close the gate and let one film run into it, so that the next ones wait in the queue."""
    gate.close()
    runs = len(gate.batches)
    task = asyncio.create_task(batcher.submit(film()))
    await until(lambda: len(gate.batches) > runs)
    return task


@pytest.mark.parametrize(
    ("max_batch", "sizes"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))]
)
def test_sizes_are_powers_of_two_and_the_largest(max_batch: int, sizes: tuple[int, ...]) -> None:
    assert batch_sizes(max_batch) == sizes


def test_every_size_is_run_before_readiness(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)
    gate.close()
    batcher = Batcher(classifier, max_batch=6, max_queue=8, wait_seconds=0)
    batcher.start()
    try:
        assert not batcher.ready
        with pytest.raises(Warming):
            asyncio.run(batcher.submit(film()))
        gate.open()
        wait_until(lambda: batcher.ready, "the batcher is warm")
        assert gate.batches == [1, 1, 2, 2, 4, 4, 6, 6], "once slowly, once to be timed"
    finally:
        gate.open()
        batcher.stop(timeout=10)


def test_films_that_wait_together_run_together_padded_to_a_warm_size(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)
    runs: list[BatchRun] = []

    async def scenario(batcher: Batcher) -> None:
        first = await held(gate, batcher)
        others = [asyncio.create_task(batcher.submit(film(100 + place))) for place in range(3)]
        await until(lambda: batcher.depth == 3)
        gate.open()
        answers = await asyncio.gather(first, *others)
        assert [level(answer) for answer in answers] == [140, 100, 101, 102], "each film gets its own answer"
        assert all(answer.queue_seconds >= 0 and answer.inference_seconds > 0 for answer in answers)

    with started(classifier, on_batch=runs.append) as batcher:
        gate.batches.clear()
        asyncio.run(scenario(batcher))
    assert gate.batches == [1, 4]
    assert [run.films for run in runs] == [1, 3]


def test_a_batch_waits_for_company_as_long_as_it_was_told(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)

    async def scenario(batcher: Batcher) -> None:
        await asyncio.gather(*(batcher.submit(film()) for _ in range(4)))

    with started(classifier, wait_seconds=30.0) as batcher:
        gate.batches.clear()
        asyncio.run(scenario(batcher))
        assert gate.batches == [4], "a full batch does not wait any longer"


def test_a_full_queue_refuses_with_a_time_to_come_back(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)

    async def scenario(batcher: Batcher) -> None:
        first = await held(gate, batcher)
        waiting = [asyncio.create_task(batcher.submit(film())) for _ in range(2)]
        await until(lambda: batcher.depth == 2)
        with pytest.raises(QueueFull) as refused:
            await batcher.submit(film())
        assert refused.value.retry_after >= 1
        gate.open()
        await asyncio.gather(first, *waiting)

    with started(classifier, max_queue=2) as batcher:
        asyncio.run(scenario(batcher))


def test_a_cancelled_film_frees_its_place_and_is_not_run(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)

    async def scenario(batcher: Batcher) -> None:
        first = await held(gate, batcher)
        gone = asyncio.create_task(batcher.submit(film(10)))
        await until(lambda: batcher.depth == 1)
        gone.cancel()
        await until(lambda: batcher.depth == 0)
        stays = asyncio.create_task(batcher.submit(film(20)))
        await until(lambda: batcher.depth == 1)
        gate.open()
        answers = await asyncio.gather(first, stays)
        assert [level(answer) for answer in answers] == [140, 20]

    with started(classifier, max_queue=1) as batcher:
        gate.batches.clear()
        asyncio.run(scenario(batcher))
    assert gate.batches == [1, 1]


def test_the_thread_outlives_a_film_that_leaves_while_it_waits_for_company(tiny_folder: Path) -> None:
    classifier, _ = gated(tiny_folder)

    async def scenario(batcher: Batcher) -> None:
        gone = asyncio.create_task(batcher.submit(film()))
        await until(lambda: batcher.depth == 1)
        gone.cancel()
        await until(lambda: batcher.depth == 0)
        # The thread sees the empty queue when the wait for company ends.
        await asyncio.sleep(0.3)
        async with asyncio.timeout(30):
            await batcher.submit(film())

    with started(classifier, wait_seconds=0.2) as batcher:
        asyncio.run(scenario(batcher))


def test_the_thread_outlives_a_device_failure(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)

    async def scenario(batcher: Batcher) -> None:
        gate.broken = True
        with pytest.raises(DeviceFailed):
            await batcher.submit(film())
        gate.broken = False
        assert level(await batcher.submit(film())) == 140

    with started(classifier) as batcher:
        asyncio.run(scenario(batcher))


def test_the_thread_outlives_a_film_of_the_wrong_size(tiny_folder: Path) -> None:
    classifier, _ = gated(tiny_folder)
    wrong = np.zeros((5, 7), np.uint8)

    async def scenario(batcher: Batcher) -> None:
        with pytest.raises(DeviceFailed):
            await batcher.submit(wrong)
        await batcher.submit(film())

    with started(classifier) as batcher:
        asyncio.run(scenario(batcher))


def test_stopping_answers_what_waits_and_refuses_what_comes(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)

    async def scenario(batcher: Batcher) -> None:
        first = await held(gate, batcher)
        waiting = asyncio.create_task(batcher.submit(film(33)))
        await until(lambda: batcher.depth == 1)
        stopping = asyncio.create_task(asyncio.to_thread(batcher.stop, 30))
        await until(lambda: not batcher.ready)
        with pytest.raises(Stopped):
            await batcher.submit(film())
        gate.open()
        await stopping
        answers = await asyncio.gather(first, waiting)
        assert [level(answer) for answer in answers] == [140, 33]

    with started(classifier) as batcher:
        asyncio.run(scenario(batcher))
