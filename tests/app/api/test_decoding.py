import asyncio
import threading
import time

import pytest

from app.api.decoding import DecodingPool


class Held:
    """Work that is not done before it is told so."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._told = threading.Event()

    def __call__(self) -> None:
        self._begun.set()
        assert self._told.wait(30)

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._begun.wait, 30)

    def end(self) -> None:
        self._told.set()


def test_work_that_waits_is_counted_and_timed() -> None:
    async def scenario() -> None:
        pool = DecodingPool(1)
        assert pool.expected_wait() == 0
        await pool.run(lambda: time.sleep(0.05))
        held = Held()
        first = asyncio.create_task(pool.run(held))
        await held.begun()
        second = asyncio.create_task(pool.run(lambda: None))
        await asyncio.sleep(0)
        assert len(pool.owners) == 2
        assert pool.expected_wait() >= 0.05, "that of the one that waits, and what is left of the other"
        held.end()
        await asyncio.gather(first, second)
        assert (len(pool.owners), pool.expected_wait()) == (0, 0)
        pool.stop()

    asyncio.run(scenario())


def test_work_whose_client_has_gone_is_never_begun() -> None:
    async def scenario() -> None:
        pool = DecodingPool(1)
        held = Held()
        first = asyncio.create_task(pool.run(held))
        await held.begun()
        begun: list[str] = []
        gone = asyncio.create_task(pool.run(lambda: begun.append("gone")))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert len(pool.owners) == 1
        held.end()
        await first
        await pool.run(lambda: begun.append("last"))
        assert begun == ["last"]
        pool.stop()

    asyncio.run(scenario())


def test_long_work_is_expected_to_go_on_also_when_its_client_has_gone() -> None:
    async def scenario() -> None:
        pool = DecodingPool(2)
        await asyncio.gather(pool.run(lambda: None), pool.run(lambda: None))
        works = [Held(), Held()]
        tasks = [asyncio.create_task(pool.run(work)) for work in works]
        for work in works:
            await work.begun()
        await asyncio.sleep(0.2)
        assert pool.expected_wait() >= 0.2, "as long again"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(pool.owners) == 2, "the threads work on"
        assert pool.expected_wait() >= 0.2
        works[0].end()
        async with asyncio.timeout(30):
            while len(pool.owners) == 2:
                await asyncio.sleep(0.001)
        assert pool.expected_wait() == 0, "one of them is free"
        works[1].end()
        pool.stop()

    asyncio.run(scenario())


def test_work_that_fails_gives_its_place_back() -> None:
    async def scenario() -> None:
        pool = DecodingPool(2)
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 / 0)
        assert len(pool.owners) == 0
        pool.stop()

    asyncio.run(scenario())
