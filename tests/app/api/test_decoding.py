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
        assert pool.expected_wait() >= 2 * 0.05
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


def test_work_that_fails_gives_its_place_back() -> None:
    async def scenario() -> None:
        pool = DecodingPool(2)
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 / 0)
        assert len(pool.owners) == 0
        pool.stop()

    asyncio.run(scenario())
