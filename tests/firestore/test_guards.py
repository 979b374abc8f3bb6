"""Guards of the Firestore adapter that only a certain order shows: one commit is held back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from coordinator.adapters.firestore.store import Outside
from coordinator.core.facts import Ticked
from coordinator.core.model import Control
from coordinator.documents import control_key
from coordinator.errors import Unavailable
from coordinator.ports import Changes, Document, Key
from coordinator.registry import parse
from tests.firestore.proxy import ABORTED, Proxy
from tests.firestore.stores import FirestoreFactory
from tests.firestore.support import DAY, event, registry
from tests.firestore.test_service import WINDOWED, runs, services

pytestmark = [pytest.mark.anyio, pytest.mark.emulator]


@pytest.fixture
def patient(proxy: Proxy) -> FirestoreFactory:
    """Makes stores that wait for a held commit, however busy the machine is."""
    return FirestoreFactory(proxy.host, call_seconds=60.0, patience_seconds=60.0)


T = TypeVar("T")
BEFORE = "2025-11-14"
CALENDAR = """
version: 1
timezone: America/New_York
calendar: {table: raw.schedule, known_from: "2025-01-01"}
tables: {raw.schedule: {grain: date}, raw.t0: {grain: date}, raw.g: {grain: game}}
processors:
  P:
    phase: 4
    output: out.p
    requires: [{table: raw.t0}, {table: raw.g, dates: {window_days: 1, min_ready: 1.0}}]
"""


GAMES = """
version: 1
timezone: America/New_York
calendar: {table: raw.schedule, known_from: "2025-01-01"}
tables: {raw.schedule: {grain: date}, raw.g: {grain: game}}
processors:
  P: {phase: 3, output: out.p, grace: 0s, debounce: 0s, requires: [{table: raw.g}]}
"""


@asynccontextmanager
async def held_commit(proxy: Proxy, work: Awaitable[T]) -> AsyncIterator[asyncio.Future[T]]:
    """Begin ``work`` and hold its first commit back until the context ends."""
    reached, released = threading.Event(), threading.Event()

    def hold(method: str) -> None:
        if method == "Commit" and not reached.is_set():
            reached.set()
            released.wait(50)

    proxy.fault = hold
    task = asyncio.ensure_future(work)
    try:
        assert await asyncio.to_thread(reached.wait, 50)
        yield task
    finally:
        released.set()
        await asyncio.wait({task})
        proxy.fault = None


async def test_a_partition_committed_after_a_load_in_its_window_was_taken_in_sees_it(
    patient: FirestoreFactory, proxy: Proxy
) -> None:
    """It was judged before the load, and the load looked for it before it was there."""
    async with services(patient, parse(WINDOWED), 2) as (here, there):
        games = event("raw.schedule", 2, game_date=BEFORE, game_ids=["g1"], record_count=1)
        await there.ingest.take(games)  # so the window waits for that date
        own = here.ingest.take(event("raw.t0", 0))
        async with held_commit(proxy, own) as taken:
            inside = await there.ingest.take(event("raw.w", 1, game_date=BEFORE))
            assert inside.outcome == "applied"
            await there.sweeper.sweep()
            assert not await runs(there)
        assert (await taken).outcome == "applied"
        await there.sweeper.sweep()
        assert list(await runs(here)) == [f"W:{DAY}:1"]


async def test_a_pause_that_ended_meanwhile_is_not_set_on_a_partition(
    patient: FirestoreFactory, proxy: Proxy
) -> None:
    """It was judged under the pause, and the resume looked for it before it was there."""
    async with services(patient, registry(1), 2) as (here, there):
        await here.operate.pause(None, reason="storm", actor="ann")
        own = here.ingest.take(event("raw.t0", 0))
        async with held_commit(proxy, own) as taken:
            await there.operate.resume(None, reason="over", actor="ann")
            await there.sweeper.sweep()
        assert (await taken).outcome == "applied"
        await there.sweeper.sweep()
        assert list(await runs(here)) == [f"P0:{DAY}:1"]


async def test_an_older_load_is_not_turned_away_on_a_remembered_calendar(
    factory: FirestoreFactory,
) -> None:
    """An old load of the whole date counts for a game that only another process knows of.

    No partition is touched by it, which would have the calendar read again.
    """
    newer = datetime.now(UTC)
    older = (newer - timedelta(minutes=5)).isoformat()
    async with services(factory, parse(CALENDAR), 2) as (here, there):
        await here.ingest.take(event("raw.schedule", 0, game_ids=["g1"], record_count=1))
        await here.ingest.take(event("raw.g", 1, game_ids=["g1"], timestamp=newer.isoformat()))
        await there.ingest.take(event("raw.schedule", 2, game_ids=["g1", "g2"], record_count=2))
        whole = await here.ingest.take(event("raw.g", 3, timestamp=older))
        assert whole.outcome == "applied"


async def test_a_partition_does_not_fire_by_a_remembered_calendar(
    factory: FirestoreFactory,
) -> None:
    """Only another process knows of the second game that its load must cover."""
    async with services(factory, parse(GAMES), 2) as (here, there):
        await here.ingest.take(event("raw.schedule", 0, game_ids=["g1"], record_count=1))
        await there.ingest.take(event("raw.schedule", 1, game_ids=["g1", "g2"], record_count=2))
        await here.ingest.take(event("raw.g", 2, game_ids=["g1"]))
        assert not await runs(here)
        await here.ingest.take(event("raw.g", 3, game_ids=["g2"]))
        assert list(await runs(here)) == [f"P:{DAY}:1"]


async def test_an_evaluation_that_changes_nothing_rests_on_no_remembered_pause(
    factory: FirestoreFactory,
) -> None:
    """The resume is committed elsewhere, and the first to evaluate what it held is this process."""
    async with services(factory, registry(1), 2) as (here, there):
        await here.operate.pause(None, reason="storm", actor="ann")
        await here.ingest.take(event("raw.t0", 0))
        key = control_key("_all")
        ended: dict[Key, Document] = {key: Control(scope="_all", resume_pending=True)}
        await there.engine.commits.transact([key], lambda _: Changes(None, ended))
        spec = here.engine.registry.processors["P0"]
        decision = await here.engine.apply(spec, DAY, (Ticked(),))
        assert decision.fired is not None


async def test_a_caller_whose_patience_ends_takes_nobody_with_it(
    factory: FirestoreFactory, proxy: Proxy
) -> None:
    """Transactions share a commit; each is tried for as long as its own caller waits."""
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        await asyncio.sleep(0)

    outside = Outside(monotonic=lambda: now, sleep=sleep)
    store = factory(outside=outside, patience_seconds=7.5, tries=200)
    await store.open()
    key = control_key("P")
    tasks: list[asyncio.Future[Any]] = []

    def change(docs: Any) -> Changes[None]:
        document: dict[Key, Document] = {key: Control(scope="P")}
        return Changes(None, document)

    def refuse(method: str) -> str | None:
        """Refuse every commit until the second caller has been answered."""
        return ABORTED if method == "Commit" and not (tasks[1:] and tasks[1].done()) else None

    proxy.fault = refuse
    for since in (0.0, 0.1, 5.0):  # the first keeps the document busy; the others are joined
        now = max(now, since)
        tasks.append(asyncio.ensure_future(store.transact([key], change)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    await store.close()
    assert isinstance(answers[0], Unavailable)
    assert isinstance(answers[1], Unavailable)
    assert answers[2] is None
