import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from app.engine.answers import Answer
from app.engine.batcher import Batcher
from app.engine.classifier import Classifier, Outputs
from app.engine.errors import DeviceFailed, OutOfDeviceMemory, QueueFull, Stopped, Warming
from app.engine.model_file import read_file
from app.engine.providers import Provider, open_session
from app.engine.runs import BatchRun, Pixels
from tests import tiny_model
from tests.app.live import Gate, gated, wait_until

POISON = 13
SHIPPED = Path(__file__).parents[3] / "models" / "pneumonia" / "1"


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
        await until(lambda: batcher.ready)
        assert level(await batcher.submit(film())) == 140

    with started(classifier) as batcher:
        asyncio.run(scenario(batcher))


def refuse_poison(pixels: Pixels) -> None:
    if (pixels == POISON).any():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize("place", range(5))
def test_a_film_that_the_device_chokes_on_fails_alone(tiny_folder: Path, place: int) -> None:
    classifier, gate = gated(tiny_folder)
    levels = [100 + level for level in range(5)]
    levels[place] = POISON

    async def scenario(batcher: Batcher) -> None:
        first = await held(gate, batcher)
        waiting = [asyncio.create_task(batcher.submit(film(level))) for level in levels]
        await until(lambda: batcher.depth == 5)
        gate.open()
        outcomes = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert batcher.ready, "one bad film is no fault of the device"
        told = [level(outcome) if isinstance(outcome, Answer) else outcome for outcome in outcomes[1:]]
        assert isinstance(told.pop(place), DeviceFailed)
        assert told == [level for level in levels if level != POISON]
        assert level(await batcher.submit(film(7))) == 7

    with started(classifier, max_batch=8) as batcher:
        gate.before = refuse_poison
        gate.batches.clear()
        asyncio.run(scenario(batcher))
    assert set(gate.batches) <= {1, 2, 4, 8}, "what runs again is padded to a warm size too"


def test_a_lost_device_takes_no_films_until_it_runs_every_size_again(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)

    async def scenario(batcher: Batcher) -> None:
        first = await held(gate, batcher)
        waiting = [asyncio.create_task(batcher.submit(film())) for _ in range(6)]
        await until(lambda: batcher.depth == 6)
        gate.broken = True
        gate.open()
        outcomes = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {DeviceFailed}, "each film is told"
        assert not batcher.ready
        with pytest.raises(Warming) as refused:
            await batcher.submit(film())
        assert refused.value.retry_after >= 5, "as long as the pause between attempts"
        assert len(batcher.owed) >= 1
        gate.batches.clear()
        gate.broken = False
        await until(lambda: batcher.ready)
        assert gate.batches[-6:] == [1, 1, 2, 2, 4, 4]
        assert batcher.owed == frozenset()
        assert level(await batcher.submit(film(9))) == 9

    with started(classifier) as batcher:
        asyncio.run(scenario(batcher))


def test_a_device_that_is_lost_while_another_lane_waits_is_warmed_by_the_first(tiny_folder: Path) -> None:
    classifier, alone, beside = two_lanes(tiny_folder)

    async def scenario(batcher: Batcher) -> None:
        for _ in range(4):  # whichever lane takes it
            alone.broken = beside.broken = True
            with pytest.raises(DeviceFailed):
                await batcher.submit(film())
            assert not batcher.ready
            alone.broken = beside.broken = False
            await until(lambda: batcher.ready)
            assert level(await batcher.submit(film(5))) == 5

    with started(classifier) as batcher:
        asyncio.run(scenario(batcher))


def test_a_model_that_cannot_be_warmed_for_an_unknown_reason_is_tried_again(tiny_folder: Path) -> None:
    classifier, _ = gated(tiny_folder)
    small = classifier.manifest
    # A square beyond all memory: the black films themselves cannot be made.
    classifier.manifest = small.model_copy(update={"input_size": 2**30})
    batcher = Batcher(classifier, max_batch=1, max_queue=8, wait_seconds=0)
    batcher.start()
    try:
        wait_until(lambda: len(batcher.owed) == 1, "the loss is noted")
        classifier.manifest = small
        wait_until(lambda: batcher.ready, "the batcher is warm")
    finally:
        batcher.stop(timeout=10)


def test_films_of_a_device_that_hangs_can_be_told(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)

    async def scenario(batcher: Batcher) -> None:
        first = await held(gate, batcher)
        assert len(batcher.owed) == 1
        waiting = asyncio.create_task(batcher.submit(film()))
        await until(lambda: batcher.depth == 1)
        batcher.give_up()
        outcomes = await asyncio.gather(first, waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DeviceFailed, DeviceFailed]
        gate.open()
        assert level(await batcher.submit(film(8))) == 8, "and late answers disturb nobody"

    with started(classifier) as batcher:
        asyncio.run(scenario(batcher))


def out_of_memory(*_: object) -> NoReturn:
    raise MemoryError


def film_after_film(batcher: Batcher) -> list[Answer | BaseException]:
    """What becomes of two films, of which the second comes when the first has its answer."""

    async def scenario() -> list[Answer | BaseException]:
        async with asyncio.timeout(30):
            (first,) = await asyncio.gather(batcher.submit(film(1)), return_exceptions=True)
            await until(lambda: batcher.ready)
            return [first, await batcher.submit(film(2))]

    return asyncio.run(scenario())


def test_the_thread_outlives_a_want_of_memory_while_it_looks_at_the_outputs(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, _ = gated(tiny_folder)
    sound = Outputs.sound
    looks = iter((out_of_memory, sound))

    def short_of_memory_once(outputs: Outputs) -> Any:
        return next(looks)(outputs)

    monkeypatch.setattr(Outputs, "sound", short_of_memory_once)
    with started(classifier) as batcher:
        first, second = film_after_film(batcher)
    assert isinstance(first, DeviceFailed)
    assert isinstance(second, Answer)


def test_the_thread_outlives_a_want_of_memory_for_the_black_film(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, gate = gated(tiny_folder)
    with started(classifier) as batcher, monkeypatch.context() as short:
        gate.before = refuse_poison
        zeros = np.zeros
        calls = iter((out_of_memory,))

        def short_of_memory_once(*shape: Any) -> Any:
            return next(calls, zeros)(*shape)

        short.setattr(np, "zeros", short_of_memory_once)
        with pytest.raises(DeviceFailed):
            asyncio.run(asyncio.wait_for(batcher.submit(film(POISON)), 30))
        wait_until(lambda: batcher.ready, "it is warm again")
        assert level(asyncio.run(asyncio.wait_for(batcher.submit(film(2)), 30))) == 2


def test_a_film_that_cannot_be_counted_gets_its_finding(tiny_folder: Path) -> None:
    classifier, _ = gated(tiny_folder)
    with started(classifier, on_batch=out_of_memory) as batcher:
        answers = film_after_film(batcher)
    assert [level(answer) for answer in answers if isinstance(answer, Answer)] == [1, 2]


def test_the_thread_outlives_whatever_else_keeps_it_from_answering(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, _ = gated(tiny_folder)
    makers = iter((out_of_memory, Answer))

    def short_of_memory_once(*parts: Any) -> Answer:
        return next(makers)(*parts)

    monkeypatch.setattr("app.engine.batcher.Answer", short_of_memory_once)
    with started(classifier) as batcher:
        first, second = film_after_film(batcher)
    assert isinstance(first, DeviceFailed)
    assert isinstance(second, Answer)


def test_a_dispatcher_that_ends_all_the_same_is_owed_and_no_film_waits_for_it(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, _ = gated(tiny_folder)
    with started(classifier) as batcher:
        monkeypatch.setattr("app.engine.batcher.share", out_of_memory)
        with pytest.raises(DeviceFailed):
            asyncio.run(asyncio.wait_for(batcher.submit(film()), 30))
        assert not batcher.ready
        wait_until(lambda: len(batcher.owed) == 2, "the thread's end is owed, and the loss")


def test_a_film_without_a_probability_fails_alone(model_folder: Path) -> None:
    (model_folder / "model.onnx").write_bytes(tiny_model.build(nan="for dark films"))
    classifier, gate = gated(model_folder)

    async def scenario(batcher: Batcher) -> None:
        first = await held(gate, batcher)
        waiting = [asyncio.create_task(batcher.submit(film(level))) for level in (100, 0, 102)]
        await until(lambda: batcher.depth == 3)
        gate.open()
        await first
        one, dark, other = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(dark, DeviceFailed)
        assert isinstance(one, Answer)
        assert isinstance(other, Answer)
        assert (level(one), level(other)) == (100, 102)

    with started(classifier) as batcher:
        gate.batches.clear()
        asyncio.run(scenario(batcher))
    assert gate.batches == [1, 4], "nothing runs twice"


class Memory:
    """Device memory with room for so many films at once."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, pixels: Pixels) -> None:
        if len(pixels) > self.room:
            raise RuntimeError(
                "[ONNXRuntimeError] : 6 : BFCArena: Failed to allocate memory for requested buffer"
            )


@pytest.mark.parametrize("room", [1, 2, 3, 5])
def test_without_memory_for_a_batch_smaller_ones_answer_it_and_all_later_ones(
    tiny_folder: Path, room: int
) -> None:
    classifier, gate = gated(tiny_folder)

    async def burst(batcher: Batcher) -> None:
        first = await held(gate, batcher)
        waiting = [asyncio.create_task(batcher.submit(film(100 + place))) for place in range(6)]
        await until(lambda: batcher.depth == 6)
        gate.open()
        answers = await asyncio.gather(first, *waiting)
        assert [level(answer) for answer in answers] == [140, 100, 101, 102, 103, 104, 105]

    with started(classifier, max_batch=6) as batcher:
        gate.before = Memory(room)
        asyncio.run(burst(batcher))
        gate.batches.clear()
        asyncio.run(burst(batcher))
    assert max(gate.batches) <= room


def test_without_memory_for_one_film_it_fails_and_the_next_may_pass(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)
    memory = gate.before = Memory(1)

    async def scenario(batcher: Batcher) -> None:
        memory.room = 0
        with pytest.raises(OutOfDeviceMemory):
            await batcher.submit(film())
        memory.room = 1
        await until(lambda: batcher.ready)
        assert level(await batcher.submit(film())) == 140

    with started(classifier) as batcher:
        asyncio.run(scenario(batcher))


def test_a_size_that_cannot_be_warmed_for_want_of_memory_is_given_up(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)
    gate.before = Memory(3)
    with started(classifier, max_batch=8):
        assert gate.batches == [1, 1, 2, 2, 4]


def test_a_single_film_does_not_wait_behind_a_large_request(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)
    finished: list[str] = []

    async def scenario(batcher: Batcher) -> None:
        async def submit(name: str, owner: object) -> None:
            await batcher.submit(film(), owner=owner)
            finished.append(name)

        first = await held(gate, batcher)
        large, single = object(), object()
        waiting = [asyncio.create_task(submit("large", large)) for _ in range(6)]
        await until(lambda: batcher.depth == 6)
        waiting.append(asyncio.create_task(submit("single", single)))
        await until(lambda: batcher.depth == 7)
        gate.open()
        await asyncio.gather(first, *waiting)

    with started(classifier, max_batch=2) as batcher:
        asyncio.run(scenario(batcher))
    assert "single" in finished[:2], "it is in the next batch"


def test_the_expected_wait_grows_with_the_queue_and_falls_back_to_nothing(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)
    gate.before = lambda _: time.sleep(0.02)

    async def scenario(batcher: Batcher) -> None:
        assert batcher.expected_wait() == 0
        assert 0.02 <= batcher.expected_wait(range(1)) <= batcher.expected_wait(range(5))
        first = await held(gate, batcher)
        waits = []
        waiting = []
        for _ in range(8):
            waiting.append(asyncio.create_task(batcher.submit(film())))
            await until(lambda: batcher.depth == len(waiting))
            waits.append(batcher.expected_wait())
        assert waits[3] >= 0.02, "a batch of four"
        assert waits[7] >= 2 * 0.02, "two of them"
        gate.open()
        await asyncio.gather(first, *waiting)
        await until(lambda: batcher.expected_wait() == 0)

    with started(classifier) as batcher:
        asyncio.run(scenario(batcher))


def test_of_each_other_request_one_film_counts_for_the_expected_wait(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)
    gate.before = lambda _: time.sleep(0.02)

    async def scenario(batcher: Batcher) -> None:
        first = await held(gate, batcher)
        large = object()
        waiting = [asyncio.create_task(batcher.submit(film(), owner=large)) for _ in range(8)]
        await until(lambda: batcher.depth == 8)
        behind_eight, alone = batcher.expected_wait(), batcher.expected_wait([large])
        assert behind_eight == pytest.approx(alone, abs=0.01)
        assert batcher.expected_wait([object(), object(), object()]) >= behind_eight + 0.02
        gate.open()
        await asyncio.gather(first, *waiting)

    with started(classifier, max_batch=1) as batcher:
        asyncio.run(scenario(batcher))


def test_the_expected_wait_follows_a_device_that_becomes_slow(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)

    async def scenario(batcher: Batcher) -> None:
        before = batcher.expected_wait(range(1))
        gate.before = lambda _: time.sleep(before + 0.05)
        for _ in range(20):
            await batcher.submit(film())
        assert batcher.expected_wait(range(1)) > before + 0.04

    with started(classifier) as batcher:
        asyncio.run(scenario(batcher))


def test_one_slow_run_of_a_large_batch_does_not_refuse_large_batches_for_ever(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)

    async def scenario(batcher: Batcher) -> None:
        alone = batcher.expected_wait(range(1))
        gate.before = lambda pixels: time.sleep(20 * alone + 0.1 if len(pixels) == 2 else 0)
        first = await held(gate, batcher)
        waiting = [asyncio.create_task(batcher.submit(film())) for _ in range(2)]
        await until(lambda: batcher.depth == 2)
        gate.open()
        await asyncio.gather(first, *waiting)
        await until(lambda: batcher.expected_wait() == 0)
        assert batcher.expected_wait(range(2)) <= 2 * batcher.expected_wait(range(1)), (
            "one by one at the worst"
        )

    with started(classifier, max_batch=2) as batcher:
        gate.batches.clear()
        asyncio.run(scenario(batcher))
    assert gate.batches == [1, 2]


def test_the_thread_outlives_a_film_of_the_wrong_size(tiny_folder: Path) -> None:
    classifier, _ = gated(tiny_folder)
    wrong = np.zeros((5, 7), np.uint8)

    async def scenario(batcher: Batcher) -> None:
        with pytest.raises(DeviceFailed):
            await batcher.submit(wrong)
        await batcher.submit(film())

    with started(classifier) as batcher:
        asyncio.run(scenario(batcher))


def test_what_a_stop_in_a_hurry_cuts_off_is_told_so(tiny_folder: Path) -> None:
    classifier, gate = gated(tiny_folder)

    async def scenario(batcher: Batcher) -> None:
        first = await held(gate, batcher)
        waiting = asyncio.create_task(batcher.submit(film()))
        await until(lambda: batcher.depth == 1)
        await asyncio.to_thread(batcher.stop, 0.05)
        outcomes = await asyncio.gather(first, waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Stopped, Stopped]
        gate.open()

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


def two_lanes(folder: Path) -> tuple[Classifier, Gate, Gate]:
    """A classifier for two runs side by side: the gate of what runs on all cores, and that of the others."""
    file = read_file(folder / "model.onnx")
    provider = Provider("cpu", "a test")
    alone, beside = (Gate(open_session(file.content, provider, threads=1)) for _ in range(2))
    return Classifier(alone, file, provider, beside=beside, lanes=2), alone, beside


def test_a_film_alone_gets_all_cores_and_the_next_one_runs_beside_it(tiny_folder: Path) -> None:
    classifier, alone, beside = two_lanes(tiny_folder)

    async def scenario(batcher: Batcher) -> None:
        alone.close()
        first = asyncio.create_task(batcher.submit(film(10)))
        await until(lambda: alone.batches == [1])
        assert level(await batcher.submit(film(20))) == 20, "it does not wait for the first"
        assert beside.batches == [1]
        alone.open()
        assert level(await first) == 10

    with started(classifier) as batcher:
        alone.batches.clear()
        beside.batches.clear()
        asyncio.run(scenario(batcher))


def test_lanes_share_what_waits_and_a_stop_ends_them_all(tiny_folder: Path) -> None:
    classifier, alone, beside = two_lanes(tiny_folder)

    async def scenario(batcher: Batcher) -> None:
        alone.close()
        beside.close()
        first = asyncio.create_task(batcher.submit(film(1)))
        await until(lambda: alone.batches == [1])
        second = asyncio.create_task(batcher.submit(film(2)))
        await until(lambda: beside.batches == [1])
        others = [asyncio.create_task(batcher.submit(film(3 + place))) for place in range(5)]
        await until(lambda: batcher.depth == 5)
        stopping = asyncio.create_task(asyncio.to_thread(batcher.stop, 30))
        await until(lambda: not batcher.ready)
        beside.open()
        answers = await asyncio.gather(second, *others)
        assert [level(answer) for answer in answers] == [2, 3, 4, 5, 6, 7]
        alone.open()
        assert level(await first) == 1
        await stopping

    with started(classifier) as batcher:
        assert batcher.room == 8, "two batches of four"
        alone.batches.clear()
        beside.batches.clear()
        asyncio.run(scenario(batcher))
    assert alone.batches == [1]
    assert beside.batches == [1, 4, 1], "no lane leaves films to one that is busy"


def test_with_lanes_the_expected_wait_is_that_of_all_of_them(tiny_folder: Path) -> None:
    classifier, alone, beside = two_lanes(tiny_folder)
    beside.before = lambda _: time.sleep(0.02)
    alone.before = lambda _: time.sleep(0.01)

    async def scenario(batcher: Batcher) -> None:
        alone.close()
        first = asyncio.create_task(batcher.submit(film()))
        await until(lambda: alone.batches[-1:] == [1])
        assert batcher.expected_wait() == 0, "the other lane is free"
        assert batcher.expected_wait(range(1)) >= 0.5 * 0.02
        alone.open()
        await first

    with started(classifier, max_batch=1) as batcher:
        assert 0.5 * 0.02 <= batcher.film_seconds < 0.02 + 0.5, "a run of one lane, divided among both"
        asyncio.run(scenario(batcher))


@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx"])
def test_a_film_gets_the_same_answer_from_either_session(name: str) -> None:
    classifier = Classifier.open_file(SHIPPED / name, lanes=2, threads=2)
    assert classifier.lanes == 2
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224), np.uint8)
    for name, output in classifier.run(pixels).named().items():
        np.testing.assert_allclose(classifier.run_beside(pixels).named()[name], output, atol=1e-5, rtol=0)
