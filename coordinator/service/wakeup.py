"""Waiting for time or for event, whichever comes first."""

from __future__ import annotations

import asyncio

from coordinator.ports import Clock


async def time_or_event(clock: Clock, event: asyncio.Event, seconds: float) -> None:
    """Wait until ``seconds`` have passed on ``clock``, or ``event`` is set."""
    waiter = asyncio.ensure_future(event.wait())
    sleeper = asyncio.ensure_future(clock.sleep(max(0.0, seconds)))
    try:
        await asyncio.wait({waiter, sleeper}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
        sleeper.cancel()
