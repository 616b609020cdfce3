import asyncio
import threading
import time

import pytest

from app.api.decoding import DecodingPool


async def until_begun(began: threading.Event) -> None:
    assert await asyncio.to_thread(began.wait, 30)


def test_work_that_waits_is_counted_and_timed() -> None:
    async def scenario() -> None:
        pool = DecodingPool(1)
        assert pool.expected_wait() == 0
        assert await pool.run(lambda: time.sleep(0.05) or "done") == "done"  # type: ignore[func-returns-value]
        began, ends = threading.Event(), threading.Event()
        first = asyncio.create_task(pool.run(lambda: (began.set(), ends.wait(30))))
        await until_begun(began)
        second = asyncio.create_task(pool.run(lambda: None))
        await asyncio.sleep(0)
        assert pool.waiting == 2
        assert pool.expected_wait() >= 2 * 0.05
        ends.set()
        await asyncio.gather(first, second)
        assert (pool.waiting, pool.expected_wait()) == (0, 0)
        pool.stop()

    asyncio.run(scenario())


def test_work_whose_client_has_gone_is_never_begun() -> None:
    async def scenario() -> None:
        pool = DecodingPool(1)
        began, ends = threading.Event(), threading.Event()
        first = asyncio.create_task(pool.run(lambda: (began.set(), ends.wait(30))))
        await until_begun(began)
        begun: list[str] = []
        gone = asyncio.create_task(pool.run(lambda: begun.append("gone")))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert pool.waiting == 1
        ends.set()
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
        assert pool.waiting == 0
        pool.stop()

    asyncio.run(scenario())
