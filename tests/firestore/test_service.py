"""The whole service over Firestore: what contends, what it costs, what several processes see."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Any

import pytest

from coordinator.app import Application
from coordinator.core.choices import RunStatus
from coordinator.core.model import Status
from coordinator.documents import event_key, partition_key
from coordinator.errors import CoordinatorError, Refused
from coordinator.health import readiness
from coordinator.ports import Kind, Query
from coordinator.registry import Registry, parse
from coordinator.service.commits import GROUPS_AT_ONCE
from tests.firestore.proxy import UNAVAILABLE, Proxy
from tests.firestore.stores import FirestoreFactory
from tests.firestore.support import DAY, event, registry, wired

pytestmark = [pytest.mark.anyio, pytest.mark.emulator]


@asynccontextmanager
async def services(
    factory: FirestoreFactory, registry: Registry, number: int
) -> AsyncIterator[list[Application]]:
    apps = [wired(factory(), registry) for _ in range(number)]
    for app in apps:
        await app.store.open()
        await app.sweeper.rollout.start()
    try:
        yield apps
    finally:
        for app in apps:
            await app.relay.stop()
            await app.store.close()


async def runs(app: Application) -> dict[str, Any]:
    return dict((await app.store.find(Query(Kind.RUN, limit=1000))).items)


async def test_32_events_at_once_on_one_partition_fire_once(factory: FirestoreFactory) -> None:
    async with services(factory, registry(32), 2) as apps:
        started = time.monotonic()
        outcomes = await asyncio.gather(
            *(apps[n % 2].ingest.take(event(f"raw.t{n}", n)) for n in range(32))
        )
        seconds = time.monotonic() - started
        assert {o.outcome for o in outcomes} == {"applied"}
        assert list(await runs(apps[0])) == [f"P0:{DAY}:1"]
        assert seconds < 2


async def test_a_burst_on_one_date_settles(factory: FirestoreFactory) -> None:
    """1,000 events over 8 processors from two processes, every tenth of them twice."""
    async with services(factory, registry(10, 8, debounce="1s"), 2) as apps:
        sent = [event(f"raw.t{n % 10}", n) for n in range(1000)]
        sent += sent[::10]
        outcomes = await asyncio.gather(*(apps[n % 2].ingest.take(e) for n, e in enumerate(sent)))
        counts = [o.outcome for o in outcomes]
        assert counts.count("duplicate") == 100
        assert set(counts) <= {"applied", "superseded", "duplicate"}
        await asyncio.sleep(1.1)
        await asyncio.gather(*(app.sweeper.sweep() for app in apps))
        assert sorted(await runs(apps[0])) == [f"P{n}:{DAY}:1" for n in range(8)]
        keys = [
            event_key(e["target_table"], DAY, o.event_id or "")
            for e, o in zip(sent, outcomes, strict=True)
        ]
        assert all((await apps[1].store.get(keys)).values())


async def test_every_refused_claim_of_a_live_run_stays_in_its_history(
    factory: FirestoreFactory,
) -> None:
    """A live run is stored in its partition, which may know of more than the run's own document."""
    async with services(factory, registry(1), 2) as apps:
        await apps[0].ingest.take(event("raw.t0", 0))
        run = f"P0:{DAY}:1"
        for n, app in enumerate((apps[0], apps[1], apps[0])):
            with pytest.raises(Refused):
                await app.runs.heartbeat(run, f"token{n}-{'x' * n}")
            with pytest.raises(Refused):
                await app.runs.claim(run, f"runner{n}", 7)
        lines = [t.detail for t in (await runs(apps[1]))[run].transitions if t.what == "refused"]
        assert [line.split(":")[0] for line in lines if "runner" in line] == [
            f"claim by runner{n}" for n in range(3)
        ]


CALENDAR = """version: 1
timezone: America/New_York
calendar: {table: raw.cal, known_from: "2025-10-01"}
tables: {raw.cal: {}, raw.a: {}, raw.x: {}}
processors:
  P:
    phase: 3
    output: out.p
    requires:
      - {table: raw.a}
      - {table: raw.x, dates: {last_game_dates: 10, min_ready: 0.1}, critical: false}
  Q: {phase: 3, output: out.q, requires: [{table: raw.a}]}
"""


async def test_a_season_of_calendar_dates_at_once_settles(
    factory: FirestoreFactory, proxy: Proxy
) -> None:
    """Every one of them writes the same list of dates."""
    async with services(factory, parse(CALENDAR), 1) as (app,):
        dates = [(date(2025, 10, 1) + timedelta(days=n)).isoformat() for n in range(120)]
        proxy.take()
        loads = [event("raw.cal", n, game_date=d, game_ids=["g"]) for n, d in enumerate(dates)]
        outcomes = await asyncio.gather(*(app.ingest.take(load) for load in loads))
        assert {o.outcome for o in outcomes} == {"applied"}
        assert app.store.conflicts == 0  # type: ignore[attr-defined]
        assert proxy.take().calls["Commit"] < 10


async def test_first_loads_of_a_windowed_table_at_once_settle(factory: FirestoreFactory) -> None:
    """Nothing tells beforehand that each of them is a table's first on its date."""
    async with services(factory, parse(CALENDAR), 1) as (app,):
        dates = [(date(2025, 10, 1) + timedelta(days=n)).isoformat() for n in range(120)]
        loads = [event("raw.x", n, game_date=d) for n, d in enumerate(dates)]
        outcomes = await asyncio.gather(*(app.ingest.take(load) for load in loads))
        assert {o.outcome for o in outcomes} == {"applied"}
        store: Any = app.store
        assert store.conflicts < 2 * GROUPS_AT_ONCE  # those that began beside each other


async def test_an_event_costs_two_round_trips_and_its_documents(
    factory: FirestoreFactory, proxy: Proxy
) -> None:
    async with services(factory, registry(5, 3), 1) as (app,):
        for n in range(2):
            await app.ingest.take(event(f"raw.t{n}", n))
        for n in (2, 3):
            proxy.take()
            await app.ingest.take(event(f"raw.t{n}", n))
            counts = proxy.take()
            assert dict(counts.calls) == {"BatchGetDocuments": 1, "Commit": 1}
            assert (counts.reads, counts.writes) == (1 + 3, 1 + 3)
        await app.ingest.take(event("raw.t3", 3))
        counts = proxy.take()
        assert (dict(counts.calls), counts.reads, counts.writes) == (
            {"BatchGetDocuments": 1},
            1 + 3,
            0,
        )
        # The one that fires makes sure of pauses and calendar before it does.
        await app.ingest.take(event("raw.t4", 4))
        counts = proxy.take()
        assert counts.calls["Commit"] == 1
        assert counts.calls["BatchGetDocuments"] == 2
        assert counts.writes == 1 + 3 + 3
        assert counts.reads <= 1 + 3 + 5


async def test_an_idle_sweep_costs_three_queries_and_writes_nothing(
    factory: FirestoreFactory, proxy: Proxy
) -> None:
    async with services(factory, registry(2), 1) as (app,):
        await app.ingest.take(event("raw.t0", 0))
        await app.sweeper.sweep()  # the first of an hour looks for silent sources too
        proxy.take()
        await app.sweeper.sweep()
        counts = proxy.take()
        assert dict(counts.calls) == {"RunQuery": 3}, "resumes, pending windows, what is due"
        assert counts.writes == 0


async def test_a_live_run_shows_though_its_own_document_is_not_written(
    factory: FirestoreFactory, proxy: Proxy
) -> None:
    async with services(factory, registry(1), 2) as (app, other):
        await app.ingest.take(event("raw.t0", 0))
        await app.relay.drain()
        run_id = f"P0:{DAY}:1"
        proxy.take()
        claimed = await app.runs.claim(run_id, "pod", 1)
        assert proxy.take().writes == 1
        for view in (app, other):
            assert (await view.queries.runs.run(run_id)).status == "running"
            listed = await view.queries.runs.runs(status="running")
            assert [r.run_id for r in listed.items] == [run_id]
            assert not (await view.queries.runs.runs(status="pending")).items
        await app.runs.complete(run_id, claimed.lease_token or "", RunStatus.SUCCESS, 5)
        counts = proxy.take()
        assert counts.calls["Commit"] == 1
        assert counts.writes == 2 + 1, "its partition, its run, and the ledger of its output"
        await app.relay.drain()
        assert proxy.take().writes == 0, "its announcement is delivered already"
        assert (await other.queries.runs.run(run_id)).status == "success"
        assert len((await other.queries.runs.runs(status="success")).items) == 1
        assert not (await other.queries.runs.runs(status="running")).items


async def test_two_processes_race_for_one_claim(factory: FirestoreFactory) -> None:
    async with services(factory, registry(1), 2) as apps:
        await apps[0].ingest.take(event("raw.t0", 0))
        await apps[0].relay.drain()
        results = await asyncio.gather(
            *(apps[n % 2].runs.claim(f"P0:{DAY}:1", f"owner{n}", 1) for n in range(12)),
            return_exceptions=True,
        )
        won = [r for r in results if not isinstance(r, BaseException)]
        assert len(won) == 1
        assert all(r in won or isinstance(r, CoordinatorError) for r in results)


async def test_a_pause_elsewhere_holds_though_none_is_remembered_here(
    factory: FirestoreFactory,
) -> None:
    async with services(factory, registry(2), 2) as (here, there):
        await here.ingest.take(event("raw.t0", 0))  # now it remembers that there is no pause
        await there.operate.pause(None, reason="storm", actor="ann")
        await here.ingest.take(event("raw.t1", 1))
        assert not await runs(here)
        await there.operate.resume(None, reason="over", actor="ann")
        assert list(await runs(here)) == [f"P0:{DAY}:1"]


async def test_a_resume_elsewhere_fires_though_a_pause_is_remembered_here(
    factory: FirestoreFactory,
) -> None:
    async with services(factory, registry(2), 2) as (here, there):
        await here.operate.pause(None, reason="storm", actor="ann")
        await here.ingest.take(event("raw.t0", 0))
        await there.operate.resume(None, reason="over", actor="ann")
        await here.ingest.take(event("raw.t1", 1))
        assert list(await runs(here)) == [f"P0:{DAY}:1"]


async def test_resumes_that_race_arrivals_strand_nothing(factory: FirestoreFactory) -> None:
    """Whatever the order, once all is quiet every ready partition has fired once."""
    async with services(factory, registry(1), 2) as (here, there):
        days = [f"2025-01-{n:02}" for n in range(1, 13)]
        await here.operate.pause(None, reason="storm", actor="ann")
        arrivals = [
            asyncio.ensure_future(here.ingest.take(event("raw.t0", n, game_date=day)))
            for n, day in enumerate(days)
        ]
        await asyncio.sleep(0.01)
        await there.operate.resume(None, reason="over", actor="ann")
        await asyncio.gather(*arrivals)
        await there.sweeper.sweep()
        assert sorted(await runs(here)) == [f"P0:{day}:1" for day in days]


async def test_a_sweep_that_races_an_arrival_fires_once(factory: FirestoreFactory) -> None:
    async with services(factory, registry(2, 1, debounce="1s"), 2) as (here, there):
        await here.ingest.take(event("raw.t0", 0))
        await here.ingest.take(event("raw.t1", 1))
        await asyncio.sleep(1.05)
        await asyncio.gather(
            *(app.sweeper.sweep() for app in (here, there) * 3),
            *(here.ingest.take(event("raw.t1", n)) for n in range(2, 6)),
            *(there.ingest.take(event("raw.t0", n)) for n in range(6, 10)),
        )
        key = partition_key("P0", DAY)
        deadline = time.monotonic() + 5
        while not await runs(here) and time.monotonic() < deadline:
            await asyncio.sleep(0.3)
            await there.sweeper.sweep()
        assert list(await runs(here)) == [f"P0:{DAY}:1"]
        partition = (await there.store.get([key]))[key]
        assert partition is not None
        assert partition.status is Status.FIRING


WINDOWED = """
version: 1
timezone: America/New_York
calendar: {table: raw.schedule, known_from: "2025-01-01"}
tables: {raw.schedule: {grain: date}, raw.t0: {grain: date}, raw.w: {grain: date}, out.w: {grain: date}}
processors:
  W:
    phase: 4
    output: out.w
    grace: 0s
    debounce: 0s
    requires:
      - {table: raw.t0}
      - {table: raw.w, dates: {window_days: 1, min_ready: 1.0}}
"""


async def test_a_load_inside_a_window_that_races_the_partition_it_serves_is_seen(
    factory: FirestoreFactory,
) -> None:
    """Whichever comes first, nobody has to look again: both orders, in two processes, at once."""
    async with services(factory, parse(WINDOWED), 2) as (here, there):
        months = range(2, 10)
        own = [event("raw.t0", n, game_date=f"2025-{n:02}-15") for n in months]
        before = [event("raw.w", n, game_date=f"2025-{n:02}-14") for n in months]
        both = [
            call
            for one, other in zip(own, before, strict=True)
            for call in (here.ingest.take(one), there.ingest.take(other))
        ]
        evaluated = asyncio.ensure_future(_evaluate_until_done(there))
        outcomes = await asyncio.gather(*both)
        await evaluated
        assert {o.outcome for o in outcomes} <= {"applied", "ignored"}
        assert sorted(await runs(here)) == [f"W:2025-{n:02}-15:1" for n in months]


async def _evaluate_until_done(app: Application) -> None:
    """Finish what the loads leave, as soon as they do, until each of eight dates was evaluated."""
    for _ in range(400):
        await app.sweeper._pending.finish(app.notices.send)
        records = (await app.store.find(Query(Kind.PENDING))).items
        if len(records) == 8 and not any(r.work for _, r in records):
            return
        await asyncio.sleep(0.005)
    raise AssertionError("what the loads left was not finished")


async def test_a_load_under_a_long_window_writes_two_documents_and_its_dependents(
    factory: FirestoreFactory, proxy: Proxy
) -> None:
    """40 partitions have windows over it; what they lack besides keeps them unwritten."""
    long = WINDOWED.replace("window_days: 1", "window_days: 366")
    dates = [(date(2025, 3, 1) + timedelta(days=n)).isoformat() for n in range(40)]
    async with services(factory, parse(long), 1) as (app,):
        calendar = [
            event("raw.schedule", n, game_date=d, game_ids=["g"]) for n, d in enumerate(dates)
        ]
        await asyncio.gather(*(app.ingest.take(e) for e in calendar))
        own = [event("raw.t0", n, game_date=d) for n, d in enumerate(dates)]
        await asyncio.gather(*(app.ingest.take(e) for e in own))
        await app.sweeper.sweep()
        await app.ingest.take(event("raw.w", 100, game_date=dates[0]))  # lists its first date
        await app.sweeper.sweep()
        proxy.take()
        await app.ingest.take(event("raw.w", 101, game_date=dates[1]))
        counts = proxy.take()
        assert counts.calls["Commit"] == 1
        assert counts.writes == 3  # its ledger, what it leaves, and the list of dates
        await app.sweeper._pending.finish(app.notices.send)
        # What was left is done; one partition, of 39 that look back, lacked nothing else and fired.
        assert proxy.take().writes == 1 + 2


async def test_what_another_process_delivers_is_not_delivered_here_too(
    factory: FirestoreFactory,
) -> None:
    async with services(factory, registry(1), 2) as (here, there):
        await here.ingest.take(event("raw.t0", 0))
        assert here.relay.next_due is not None
        await there.ingest.take(event("raw.t0", 1))  # the launch is still on its way
        assert there.relay.next_due is None
        await there.relay.drain()  # as at a start, or when it has been due for long
        assert not (await there.store.get([partition_key("P0", DAY)]))[
            partition_key("P0", DAY)
        ].outbox


async def test_readiness_proves_that_firestore_takes_commits(
    factory: FirestoreFactory, proxy: Proxy
) -> None:
    async with services(factory, registry(1), 1) as (app,):
        assert (await readiness(app)).ready
        proxy.take()
        await app.ingest.take(event("raw.t0", 1))
        assert proxy.take().calls["Commit"] > 0
        for _ in range(10):
            assert (await readiness(app)).ready
        assert proxy.take().writes == 0, "an event is proof for a minute"
        proxy.fault = lambda method: UNAVAILABLE if method == "Commit" else None
        with pytest.raises(CoordinatorError):
            await app.ingest.take(event("raw.t0", 2))
        found = await readiness(app)
        ready, parts = found.ready, found.parts
        assert not ready
        assert parts["store"].detail.startswith("The store can be read, but")
        assert (parts["outbox"].ok, parts["sweep"].ok) == (True, True)
        proxy.fault = None
        proxy.take()
        assert await _soon_ready(app)
        for _ in range(10):
            assert (await readiness(app)).ready
        assert proxy.take().writes <= 2


async def _soon_ready(app: Application) -> bool:
    """Whether the service is ready within a few looks: each waits two seconds at the most."""
    for _ in range(5):
        if (await readiness(app)).ready:
            return True
    return False
