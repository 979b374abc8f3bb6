"""The virtual clock only moves when it is set, and sleepers wake when their instant is past."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

from coordinator.demo import CompressedClock

START = datetime(2024, 10, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def woken(task: asyncio.Task[None]) -> bool:
    for _ in range(5):
        await asyncio.sleep(0)
    return task.done()


async def test_it_does_not_move_by_itself() -> None:
    clock = CompressedClock(START)
    await asyncio.sleep(0.01)
    assert clock.now() == START
    clock.advance(START + HOUR)
    assert clock.now() == START + HOUR
    clock.advance(START)
    assert clock.now() == START + HOUR


async def test_sleepers_wake_in_virtual_time() -> None:
    clock = CompressedClock(START)
    short = asyncio.ensure_future(clock.sleep(60))
    long = asyncio.ensure_future(clock.sleep(7200))
    assert not await woken(short)
    clock.advance(START + HOUR)
    assert await woken(short)
    assert not await woken(long)
    clock.advance(START + 2 * HOUR)
    assert await woken(long)


async def test_a_sleep_counts_from_the_call_even_if_it_is_awaited_later() -> None:
    clock = CompressedClock(START)
    sleep = clock.sleep(60)
    clock.advance(START + HOUR)
    await asyncio.wait_for(sleep, 1)


async def test_a_cancelled_sleeper_wakes_nobody() -> None:
    clock = CompressedClock(START)
    task = asyncio.ensure_future(clock.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    clock.advance(START + HOUR)
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_released_it_runs_with_real_time() -> None:
    clock = CompressedClock(START)
    waiting = asyncio.ensure_future(clock.sleep(7200))
    await asyncio.sleep(0)
    clock.release(START + HOUR)
    assert await woken(waiting)
    began = time.monotonic()
    await clock.sleep(0.02)
    assert time.monotonic() - began >= 0.015
    assert clock.now() > START + HOUR
