"""Guards that only show when something goes wrong in between, or comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from coordinator.adapters.sqlite import SqliteStore
from coordinator.app import Application
from coordinator.core.choices import QuarantineState
from coordinator.core.model import Partition
from coordinator.documents import calendar_key
from coordinator.errors import Unavailable
from coordinator.ports import Answer, CommitAttempt, Kind, Query
from coordinator.service.reading import FOLLOWS_FROM_ITSELF
from tests.api.support import envelope
from tests.service.support import wired
from tests.service.test_instances import World, world
from tests.service.test_registry_rollout import DATE, HEAD, ONE, load

CALENDAR = """
version: 1
timezone: America/New_York
calendar: {table: raw.games, known_from: "2024-10-22"}
tables: {raw.a: {grain: game}}
processors:
  P: {phase: 3, output: out.p, requires: [{table: raw.a}]}
"""
DEBOUNCED = HEAD + (
    "  P: {phase: 3, output: out.p, debounce: 1h, max_settle: 5h, requires: [{table: raw.a}]}\n"
)


async def status(application: Application) -> Any:
    return (await application.queries.partitions.partition("P", DATE)).status


# ── pause and resume ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scope", [None, "P"])
async def test_a_resume_that_is_cut_short_is_finished_by_the_next_sweep(
    scope: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is killed after the resume is durable and before anything was evaluated."""
    async with world() as w:
        dying, alive = w.instance(), w.instance()
        await dying.operate.pause(scope, reason="x", actor="ana")
        await dying.ingest.take(w.load("raw.a"))
        assert await status(alive) == "settling"

        async def killed(*_: Any, **__: Any) -> Any:
            raise Unavailable("killed")

        monkeypatch.setattr(dying.sweeper, "release", killed)
        with pytest.raises(Unavailable):
            await dying.operate.resume(scope, reason="x", actor="ana")
        assert await status(alive) == "settling"
        await alive.sweeper.sweep()
        assert await status(alive) == "firing"


async def test_a_resume_that_fails_half_way_is_finished_by_the_next_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world() as w:
        dying, alive = w.instance(), w.instance()
        days = [f"2024-{month}-{day:02}" for month in (10, 11, 12) for day in range(1, 21)]
        await dying.operate.pause(None, reason="x", actor="ana")
        for day in days:
            await dying.ingest.take({**w.load("raw.a"), "game_date": day})
        real, calls = dying.engine.apply_each, 0

        async def fails_the_second_time(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise Unavailable("killed")
            return await real(*args, **options)

        monkeypatch.setattr(dying.engine, "apply_each", fails_the_second_time)
        with pytest.raises(Unavailable):
            await dying.operate.resume(None, reason="x", actor="ana")
        assert 0 < await fired(w) < len(days)
        await alive.sweeper.sweep()
        assert await fired(w) == len(days)


async def fired(w: World) -> int:
    return len((await w.store.find(Query(Kind.RUN, limit=500))).items)


# ── events ───────────────────────────────────────────────────────────────────────────────────


async def test_of_two_schedule_loads_of_one_instant_the_later_received_counts() -> None:
    """Specification 3.1, order: of equal timestamps the later received wins, also for the calendar."""
    async with world() as w:
        one = w.instance(CALENDAR)
        key = calendar_key(DATE)
        said = {**w.load("raw.games"), "record_count": 2}
        await one.ingest.take({**said, "game_ids": ["g1", "g2"], "execution_id": "first"})
        w.later(1)
        outcome = await one.ingest.take({**said, "game_ids": ["g1"], "execution_id": "second"})
        assert outcome.outcome == "applied"
        calendar = (await w.store.get([key]))[key]
        assert calendar is not None
        assert calendar.games == ("g1",)


async def test_a_load_that_comes_again_heals_a_partition_whose_time_has_come() -> None:
    """Specification 3.1: nothing is recorded twice, yet the partition is evaluated again."""
    async with world() as w:
        one = w.instance(DEBOUNCED)
        event = w.load("raw.a")
        assert (await one.ingest.take(event)).affected[0].status == "settling"
        w.later(2 * 3600)  # and no sweep came
        again = await one.ingest.take(event)
        assert again.outcome == "duplicate"
        assert again.affected[0].fired_run_id == f"P:{DATE}:1"


async def test_a_timestamp_after_its_receipt_counts_as_its_receipt() -> None:
    """Specification 3.1, order: a clock that runs ahead does not outrank what comes later."""
    async with world() as w:
        one = w.instance()
        ahead = {**w.load("raw.a"), "execution_id": "ahead"}
        w.clock.at = datetime.fromisoformat(ahead["timestamp"])
        w.later(-60)
        await one.ingest.take(ahead)
        w.later(30)
        correct = {**w.load("raw.a"), "execution_id": "correct"}
        assert (await one.ingest.take(correct)).outcome == "applied"


class Poisoned(SqliteStore):
    """A store that a transaction over one date breaks in."""

    async def attempt(self, attempt: CommitAttempt) -> Sequence[Answer]:
        if any(key.id.endswith("__2024-10-25") for t in attempt.transactions for key in t.keys):
            raise ValueError("a bug")
        return await super().attempt(attempt)


async def test_an_event_that_breaks_takes_none_of_its_batch_with_it() -> None:
    store = Poisoned(":memory:", inline=True)
    await store.open()
    application = wired(store, ONE)
    days = [f"2024-10-{day}" for day in range(20, 30)]
    answers = await asyncio.gather(
        *(application.ingest.take({**load("raw.a"), "game_date": day}) for day in days),
        return_exceptions=True,
    )
    broken = [d for d, a in zip(days, answers, strict=True) if isinstance(a, BaseException)]
    assert broken == ["2024-10-25"]
    await store.close()


# ── quarantine ───────────────────────────────────────────────────────────────────────────────


async def test_a_discarded_message_that_comes_again_stays_discarded() -> None:
    async with world() as w:
        one = w.instance()
        body = envelope(b"no json")
        entry = (await one.ingest.push(body)).quarantine_id or ""
        await one.operate.discard(entry, reason="noise", actor="ana")
        again = await one.ingest.push(body)
        assert again.quarantine_id == entry
        kept = await one.quarantine.get(entry)
        assert (kept.state, kept.times_seen, kept.settled_by) == ("discarded", 2, "ana")
        assert (await one.quarantine.page(state="open")).items == ()


async def test_a_replayed_message_that_is_bad_again_is_open_again() -> None:
    async with world() as w:
        one = w.instance()
        unknown = envelope({**w.load("raw.new"), "timestamp": datetime.now(UTC).isoformat()})
        entry = (await one.ingest.push(unknown)).quarantine_id or ""
        await one.quarantine.settle(entry, QuarantineState.REPLAYED, "ana", "x")
        await one.ingest.push(unknown)
        assert (await one.quarantine.get(entry)).state == "open"


# ── what a decision rests on ─────────────────────────────────────────────────────────────────


def test_what_follows_from_a_partition_itself_is_named_by_fields_that_it_has() -> None:
    """Any other field, also one that is added, makes a decision rest on its surroundings."""

    def names(of: Any) -> set[str]:
        groups = [f.default_factory for f in fields(of) if is_dataclass(f.default_factory)]
        return {f.name for f in fields(of)}.union(*map(names, groups))

    assert names(Partition) >= FOLLOWS_FROM_ITSELF
