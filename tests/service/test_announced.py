"""The output of a run that ended well is announced with its end (docs/decisions, 10)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from coordinator.adapters.sqlite import SqliteStore
from coordinator.app import Application, build
from coordinator.core.arrivals import Arrival
from coordinator.core.choices import RunStatus
from coordinator.core.model import EffectKind, Partition
from coordinator.core.spec import LaunchKind
from coordinator.documents import Work, event_key, partition_key, pending_key
from coordinator.errors import NotFound, Refused
from coordinator.ports import Kind, Query
from coordinator.registry import parse
from coordinator.service import engine as engine_module
from coordinator.service.loads import Loads
from coordinator.service.runs import Runs
from coordinator.settings import Settings

DAY = "2024-10-22"
RUN = f"First:{DAY}:1"
REGISTRY = """
version: 1
timezone: America/New_York
defaults: {grace: 0s, debounce: 0s}
tables: {raw.a: {}}
processors:
  First: {phase: 3, output: out.first, requires: [{table: raw.a}]}
  Second: {phase: 4, output: out.second, requires: [{table: out.first}]}
"""
LOOKS_BACK = "  Form: {phase: 4, output: out.form, requires: [{table: out.first, dates: {window_days: 3}}]}\n"


class Launcher:
    async def launch(self, *_: Any) -> str:
        return "message"


class Outside:
    """The world that outputs are published to."""

    def __init__(self) -> None:
        self.published: list[str] = []

    async def announce(self, arrival: Arrival) -> str:
        self.published.append(arrival.event_id)
        return arrival.event_id


@asynccontextmanager
async def serving(
    registry: str = REGISTRY, announcers: Sequence[Outside] = ()
) -> AsyncIterator[Application]:
    """A service that delivers only when it is asked to."""
    app = build(
        Settings(),
        registry=parse(registry),
        store=SqliteStore(":memory:"),
        launchers={LaunchKind.LOCAL: Launcher()},
        notifiers=[],
        announcers=announcers,
    )
    await app.store.open()
    yield app
    await app.relay.stop()
    await app.store.close()


async def claimed(app: Application) -> str:
    """The token of the run that a load of ``raw.a`` has fired."""
    event = {
        "event_type": "raw_data_loaded",
        "target_table": "raw.a",
        "game_date": DAY,
        "status": "success",
        "record_count": 10,
        "timestamp": datetime.now(UTC).isoformat(),
    }
    await app.ingest.take(event)
    await app.relay.drain()
    return (await app.runs.claim(RUN, "pod", 1)).lease_token or ""


async def partition(app: Application, processor: str) -> Partition | None:
    key = partition_key(processor, DAY)
    found: Partition | None = (await app.store.get([key]))[key]
    return found


async def announced(app: Application) -> bool:
    key = event_key("out.first", DAY, f"run:{RUN}")
    return (await app.store.get([key]))[key] is not None


async def test_what_is_downstream_is_fired_in_the_same_commit() -> None:
    async with serving() as app:
        token = await claimed(app)
        await app.runs.complete(RUN, token, RunStatus.SUCCESS, 7)
        first, second = await partition(app, "First"), await partition(app, "Second")
        assert first is not None
        assert first.outcome is not None
        assert not first.outbox
        assert second is not None
        assert second.generation == 1
        assert await announced(app)
        assert app.ingest.counts["out.first", "applied"] == 1


async def test_a_report_that_comes_again_announces_nothing_twice() -> None:
    async with serving() as app:
        token = await claimed(app)
        for _ in range(3):
            await app.runs.complete(RUN, token, RunStatus.SUCCESS, 7)
        second = await partition(app, "Second")
        assert second is not None
        assert second.generation == 1
        assert app.ingest.counts["out.first", "applied"] == 1
        events = await app.store.find(Query(Kind.EVENT))
        assert len(events.items) == 2


async def test_a_run_that_was_skipped_announces_nothing() -> None:
    async with serving() as app:
        token = await claimed(app)
        await app.runs.complete(RUN, token, RunStatus.SKIPPED)
        assert not await announced(app)
        assert await partition(app, "Second") is None


async def test_where_an_output_is_published_the_relay_proves_it() -> None:
    outside = Outside()
    async with serving(announcers=[outside]) as app:
        token = await claimed(app)
        await app.runs.complete(RUN, token, RunStatus.SUCCESS, 7)
        first = await partition(app, "First")
        assert first is not None
        assert [e.kind for e in first.outbox] == [EffectKind.ANNOUNCE]
        assert not outside.published
        await app.relay.drain()
        assert outside.published == [f"run:{RUN}"]
        assert await announced(app)


async def test_an_output_that_windows_look_at_leaves_them_to_be_evaluated() -> None:
    async with serving(REGISTRY + LOOKS_BACK) as app:
        token = await claimed(app)
        await app.runs.complete(RUN, token, RunStatus.SUCCESS, 7)
        first = await partition(app, "First")
        assert first is not None
        assert first.outbox == ()
        assert await announced(app)
        (pending,) = await app.store.get([pending_key("out.first", DAY)])
        record = (await app.store.get([pending]))[pending]
        assert record.work == (Work.WINDOWS,)
        await app.sweeper.sweep()
        assert (await app.store.get([pending]))[pending].work == ()


@pytest.fixture
def second_cannot_be_judged(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Until the patch is undone."""
    real = engine_module.decide

    def stumble(partition: Partition, *rest: Any) -> Any:
        if partition.processor == "Second":
            raise AssertionError("a bug")
        return real(partition, *rest)

    monkeypatch.setattr(engine_module, "decide", stumble)
    return monkeypatch


@pytest.mark.parametrize("then", ["nothing", "the report again", "a forged report"])
async def test_what_cannot_be_judged_downstream_keeps_no_run_from_ending(
    second_cannot_be_judged: pytest.MonkeyPatch, then: str
) -> None:
    async with serving() as app:
        token = await claimed(app)
        await app.runs.complete(RUN, token, RunStatus.SUCCESS, 7)
        first = await partition(app, "First")
        assert first is not None
        assert first.outcome is not None
        assert [e.kind for e in first.outbox] == [EffectKind.ANNOUNCE]
        second_cannot_be_judged.undo()
        if then == "the report again":
            await app.runs.complete(RUN, token, RunStatus.SUCCESS, 7)
        elif then == "a forged report":
            with pytest.raises(Refused):
                await app.runs.complete(RUN, "forged", RunStatus.SUCCESS, 7)
        await app.relay.drain()
        assert await announced(app)
        second = await partition(app, "Second")
        assert second is not None
        assert second.generation == 1


async def test_an_announcement_that_another_process_left_waiting_is_not_struck_off() -> None:
    async with serving() as app:
        token = await claimed(app)
        others = Runs(
            app.engine, Loads(app.engine, app.sweeper.left_pending), announced_outside=True
        )
        await others.complete(RUN, token, RunStatus.SUCCESS, 7)
        await app.runs.complete(RUN, token, RunStatus.SUCCESS, 7)
        await app.relay.drain()
        assert await announced(app)


async def test_a_report_on_a_run_that_never_was_leaves_nothing_behind() -> None:
    async with serving() as app:
        with pytest.raises(NotFound):
            await app.runs.complete(f"First:{DAY}:1", "token", RunStatus.SUCCESS)
        assert await partition(app, "First") is None
        assert not (await app.store.find(Query(Kind.TABLE_DATE))).items
