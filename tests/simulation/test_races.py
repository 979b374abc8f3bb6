"""What chance finds rarely, played step by step."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coordinator.adapters.sqlite import SqliteStore
from coordinator.core.spec import LaunchKind
from coordinator.documents import partition_key
from coordinator.ports import Kind, Op, Query, Where
from coordinator.registry import Registry, parse
from coordinator.service import engine
from coordinator.simulation.clock import VirtualClock, rest, run_virtually
from coordinator.simulation.process import Process, keep_tasks_by_process, quiet_log

REGISTRY = parse("""
version: 1
timezone: America/New_York
calendar: {table: nba_raw.schedule, known_from: "2025-11-01"}
tables:
  nba_raw.schedule: {}
  nba_raw.box: {}
  nba_raw.lines: {}
processors:
  Form:
    phase: 4
    output: nba_precompute.form
    requires:
      - {table: nba_raw.box, dates: {last_game_dates: 1}}
      - {table: nba_raw.lines}
""")


class Held(SqliteStore):
    """A store whose next look for partitions waits until it is let go."""

    def __init__(self) -> None:
        super().__init__(":memory:", inline=True)
        self.gate: asyncio.Event | None = None
        self.holds: Callable[[Query], bool] = lambda query: query.kind is Kind.PARTITION

    async def find(self, query: Query) -> Any:
        page = await super().find(query)
        if self.gate is not None and self.holds(query):
            gate, self.gate = self.gate, None
            await gate.wait()
        return page


class Launcher:
    async def launch(self, *_: Any) -> str:
        return "message"


class Counting(Launcher):
    """Counts what it launches."""

    def __init__(self, launched: list[Any]) -> None:
        self._launched = launched

    async def launch(self, *what: Any) -> str:
        self._launched.append(what)
        return await super().launch(*what)


@asynccontextmanager
async def serving(
    store: SqliteStore, registry: Registry
) -> AsyncIterator[tuple[Process, VirtualClock]]:
    """A process over a store, with no loops of its own, and the clock, which the caller moves."""
    keep_tasks_by_process()
    await store.open()
    clock = VirtualClock(datetime(2025, 11, 16, 8, tzinfo=UTC))
    process = Process("one", store, registry, clock, lambda: "token", Launcher())
    await process.roll_out()
    yield process, clock
    process.kill("the end")
    await rest()
    await store.close()


def load(table: str, game_date: str, **fields: Any) -> dict[str, Any]:
    return {
        "event_type": "raw_data_loaded",
        "target_table": f"nba_raw.{table}",
        "game_date": game_date,
        "status": "success",
        "record_count": 10,
        "timestamp": "2025-11-15T08:00:00Z",
        "event_id": f"{table}-{game_date}",
        **fields,
    }


@pytest.mark.parametrize("made_first", [True, False])
def test_a_partition_made_while_who_looks_back_at_a_load_is_looked_for_fires(
    made_first: bool,
) -> None:
    async def play() -> Any:
        store = Held()
        store.holds = lambda query: (
            query.kind is Kind.PARTITION and any(w.field == "watching" for w in query.where)
        )
        async with serving(store, REGISTRY) as (process, _):
            take = process.ingest.take
            await take(load("schedule", "2025-11-14", game_ids=["g1"], record_count=1))
            if made_first:
                await take(load("lines", "2025-11-15"))
            await take(load("box", "2025-11-14"))
            gate = store.gate = asyncio.Event()
            sweep = asyncio.ensure_future(process.sweeper.sweep())
            await rest()
            assert not sweep.done()  # it has looked, and found what was there
            if not made_first:
                await take(load("lines", "2025-11-15"))
            gate.set()
            await sweep
            key = partition_key("Form", "2025-11-15")
            return (await store.get([key]))[key].generation

    with quiet_log():
        assert run_virtually(play()) == 1


def test_a_partition_that_cannot_be_judged_keeps_time_from_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = parse("""
version: 1
timezone: America/New_York
tables:
  nba_raw.lines: {}
processors:
  Good: {phase: 3, output: a.good, debounce: 1m, requires: [{table: nba_raw.lines}]}
  Poor: {phase: 3, output: a.poor, debounce: 1m, requires: [{table: nba_raw.lines}]}
""")
    real = engine.decide
    errors: list[str] = []

    def stumble(partition: Any, facts: Any, spec: Any, now: datetime) -> Any:
        if spec.name == "Poor" and now.minute >= 1:
            raise AssertionError("a bug")
        return real(partition, facts, spec, now)

    async def play() -> Any:
        store = SqliteStore(":memory:", inline=True)
        async with serving(store, registry) as (process, clock):
            process.loops()
            await process.ingest.take(load("lines", "2025-11-15"))
            await clock.advance(timedelta(minutes=2))
            keys = [partition_key(name, "2025-11-15") for name in ("Good", "Poor")]
            found = await store.get(keys)
            return [found[key].generation for key in keys]

    monkeypatch.setattr(engine, "decide", stumble)
    with quiet_log(errors.append):
        assert run_virtually(play()) == [1, 0]
    assert errors
    assert all("cannot be judged" in e for e in errors)


def test_what_is_committed_during_a_sweep_is_not_overslept() -> None:
    registry = parse("""
version: 1
timezone: America/New_York
tables:
  nba_raw.lines: {}
processors:
  Soon: {phase: 3, output: a.soon, debounce: 2s, requires: [{table: nba_raw.lines}]}
""")

    async def play() -> Any:
        store = Held()
        async with serving(store, registry) as (process, clock):
            process.spawn(process.sweeper.run())
            await process.ingest.take(load("lines", "2025-11-14"))  # so that something is due
            await rest()
            # the sweep's last look: when the next is due
            store.holds = lambda query: query.where[0] == Where("wake_at", Op.GT, clock.now())
            gate = store.gate = asyncio.Event()
            await clock.advance(timedelta(seconds=2))
            assert store.gate is None, "the sweep has looked, and its answer is on its way"
            await process.ingest.take(load("lines", "2025-11-15"))
            gate.set()
            await clock.advance(timedelta(seconds=3))
            key = partition_key("Soon", "2025-11-15")
            return (await store.get([key]))[key].generation

    with quiet_log():
        assert run_virtually(play()) == 1


def test_commits_during_a_sweep_that_have_time_bring_no_further_sweep() -> None:
    registry = parse("""
version: 1
timezone: America/New_York
tables:
  nba_raw.lines: {}
processors:
  Later: {phase: 3, output: a.later, debounce: 10m, requires: [{table: nba_raw.lines}]}
""")

    async def play() -> int:
        store = Held()
        sweeps = 0
        async with serving(store, registry) as (process, clock):
            sweep = process.sweeper.sweep

            async def counted() -> Any:
                nonlocal sweeps
                sweeps += 1
                return await sweep()

            process.sweeper.sweep = counted  # type: ignore[method-assign,assignment]
            gate = store.gate = asyncio.Event()
            process.spawn(process.sweeper.run())
            await rest()
            for day in range(11, 15):
                await process.ingest.take(load("lines", f"2025-11-{day}"))
            gate.set()
            await clock.advance(timedelta(seconds=20))
        return sweeps

    with quiet_log():
        assert run_virtually(play()) == 1


def test_a_clock_that_is_set_back_keeps_nobody_from_looking_for_due_effects() -> None:
    async def play() -> int:
        store = SqliteStore(":memory:", inline=True)
        async with serving(store, REGISTRY) as (process, clock):
            process.spawn(process.relay.run())
            await rest()
            clock.jump(-timedelta(hours=6))
            await clock.advance(timedelta(minutes=1))
            launched: list[Any] = []
            process.relay._launchers = dict.fromkeys(LaunchKind, Counting(launched))
            other = Process("other", store, REGISTRY, clock, lambda: "token", Launcher())
            await other.ingest.take(load("schedule", "2025-11-14", game_ids=["g"], record_count=1))
            await other.ingest.take(load("box", "2025-11-14"))
            await other.ingest.take(load("lines", "2025-11-15"))
            other.kill("it committed the launch and died")
            await clock.advance(timedelta(minutes=1))
            return len(launched)

    with quiet_log():
        assert run_virtually(play()) == 1
