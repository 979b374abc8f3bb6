"""Answers that viewers share: one reading for all who ask, kept for a short time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from coordinator.errors import Unavailable
from coordinator.service.queries.shared import SharedAnswers
from tests.service.support import ManualClock

pytestmark = pytest.mark.anyio


class Readings:
    """Counts readings, which end when they are let go."""

    def __init__(self) -> None:
        self.count = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def read(self) -> int:
        self.count += 1
        number = self.count
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return number


async def test_who_asks_meanwhile_waits_for_the_same_reading() -> None:
    shared, readings = SharedAnswers[int](ManualClock(), 10, 8), Readings()
    asked = [asyncio.create_task(shared.get("a", readings.read)) for _ in range(3)]
    other = asyncio.create_task(shared.get("b", readings.read))
    await asyncio.sleep(0)
    asked[0].cancel()
    await asyncio.sleep(0)
    readings.gate.set()
    assert await asyncio.gather(*asked[1:], other) == [1, 1, 2]


async def test_an_answer_is_kept_for_its_seconds() -> None:
    clock, readings = ManualClock(), Readings()
    shared = SharedAnswers[int](clock, 10, 8)
    readings.gate.set()
    answers = []
    for seconds in (0, 9, 2):
        clock.at += timedelta(seconds=seconds)
        answers.append(await shared.get("a", readings.read))
    assert answers == [1, 1, 2]


async def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    shared, readings = SharedAnswers[int](ManualClock(), 10, 8), Readings()
    readings.error = Unavailable("no store")
    asked = [asyncio.create_task(shared.get("a", readings.read)) for _ in range(2)]
    await asyncio.sleep(0)
    readings.gate.set()
    errors = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(e) for e in errors] == [Unavailable, Unavailable]
    readings.error = None
    assert await shared.get("a", readings.read) == 2


async def test_few_answers_are_kept() -> None:
    shared, readings = SharedAnswers[int](ManualClock(), 10, 2), Readings()
    readings.gate.set()
    for key in "abcb":
        await shared.get(key, readings.read)
    assert readings.count == 3
    await shared.get("a", readings.read)
    assert readings.count == 4
