"""Waiting for time or for news, whichever comes first."""

from __future__ import annotations

import asyncio

from coordinator.ports import Clock


async def time_or_news(clock: Clock, news: asyncio.Event, seconds: float) -> None:
    """Wait until ``seconds`` have passed on ``clock``, or ``news`` is set."""
    waiter = asyncio.ensure_future(news.wait())
    sleeper = asyncio.ensure_future(clock.sleep(max(0.0, seconds)))
    try:
        await asyncio.wait({waiter, sleeper}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
        sleeper.cancel()
