"""Which events wait for each other over a store whose commits should be small."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from coordinator import outbox
from coordinator.adapters.sqlite import SqliteStore
from coordinator.core.spec import LaunchKind
from coordinator.errors import Unavailable
from coordinator.ports import Answer, CommitAttempt, Kind, StoreProfile
from coordinator.service.engine import Engine
from tests.service.support import wired
from tests.service.test_registry_rollout import HEAD, ONE, load

SLOW = "2024-10-22"


class Held(SqliteStore):
    """A store in which one date's commits wait to be let go."""

    profile = StoreProfile(small_commits=True, shared=True)

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.let_go = asyncio.Event()
        self.sizes: list[int] = []
        """How many documents each commit read at first."""

    async def attempt(self, attempt: CommitAttempt) -> Sequence[Answer]:
        keys = {key for transaction in attempt.transactions for key in transaction.keys}
        if any(key.id.endswith(f"__{SLOW}") for key in keys):
            await self.let_go.wait()
        self.sizes.append(len(keys))
        return await super().attempt(attempt)


def on(date: str, number: int = 1, table: str = "raw.a", **said: Any) -> dict[str, Any]:
    return {**load(table, number), "game_date": date, **said}


async def test_a_date_whose_commits_hang_holds_up_no_other_date(tmp_path: Path) -> None:
    store = Held(str(tmp_path / "s.db"))
    await store.open()
    application = wired(store, ONE)
    hangs = asyncio.create_task(application.ingest.take(on(SLOW)))
    await asyncio.sleep(0)
    for day in range(23, 31):
        outcome = await asyncio.wait_for(application.ingest.take(on(f"2024-10-{day}")), 5)
        assert outcome.outcome == "applied"
    assert not hangs.done()
    store.let_go.set()
    assert (await hangs).outcome == "applied"
    await store.close()


async def test_what_waits_for_a_busy_date_shares_its_next_commit(tmp_path: Path) -> None:
    store = Held(str(tmp_path / "s.db"))
    await store.open()
    application = wired(store, ONE)
    first = asyncio.create_task(application.ingest.take(on(SLOW)))
    await asyncio.sleep(0.01)
    rest = [asyncio.create_task(application.ingest.take(on(SLOW, n))) for n in range(2, 50)]
    await asyncio.sleep(0.01)
    store.let_go.set()
    outcomes = [o.outcome for o in await asyncio.gather(first, *rest)]
    assert set(outcomes) == {"applied"}
    assert len(store.sizes) == 2
    await store.close()


async def test_a_large_batch_is_cut_by_its_partitions_and_keeps_its_order(tmp_path: Path) -> None:
    many = "".join(
        f"  P{n}: {{phase: 3, output: out.p{n}, requires: [{{table: raw.a}}]}}\n" for n in range(40)
    )
    registry = HEAD.replace("raw.c: {}", "raw.c: {}, raw.cal: {}") + many
    registry = registry.replace("tables:", "calendar: {table: raw.cal}\ntables:", 1)
    store = Held(str(tmp_path / "s.db"))
    store.let_go.set()
    await store.open()
    application = wired(store, registry)
    dates = [f"2024-11-{day:02}" for day in range(1, 13)]
    loads = [on(d, n, "raw.cal", game_ids=["g"]) for n, d in enumerate(dates)]
    outcomes = await asyncio.gather(*(application.ingest.take(one) for one in loads))
    assert [o.outcome for o in outcomes] == ["applied"] * 12
    assert len(store.sizes) == 4  # 150 partitions and no more are three dates and not four
    assert not application.engine.commits.waiting
    await store.close()


async def test_a_batch_that_too_many_want_is_divided(tmp_path: Path) -> None:
    class Contended(Held):
        async def attempt(self, attempt: CommitAttempt) -> Sequence[Answer]:
            keys = {key for transaction in attempt.transactions for key in transaction.keys}
            if sum(key.kind is Kind.EVENT for key in keys) > 2:
                raise Contended("too many want it")
            return await super().attempt(attempt)

    store = Contended(str(tmp_path / "s.db"))
    store.let_go.set()
    await store.open()
    application = wired(store, ONE)
    outcomes = await asyncio.gather(*(application.ingest.take(on(SLOW, n)) for n in range(9)))
    assert {o.outcome for o in outcomes} == {"applied"}
    await store.close()


async def test_a_delivery_that_cannot_be_recorded_at_once_is_not_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Held(str(tmp_path / "s.db"))
    store.let_go.set()
    await store.open()
    application = wired(store, ONE)
    await application.ingest.take(on(SLOW))
    monkeypatch.setattr(outbox, "RECORD_PAUSES_SECONDS", (0.0, 0.0, 0.0))
    real, refusals = Engine.apply, iter((True, True, False))

    async def apply(self: Engine, *args: Any, **named: Any) -> Any:
        if next(refusals):
            raise Unavailable("somebody else was quicker")
        return await real(self, *args, **named)

    monkeypatch.setattr(Engine, "apply", apply)
    await application.relay.drain()
    launches: Any = application.relay._launchers[LaunchKind.LOCAL]
    assert launches.run_ids == [f"P:{SLOW}:1"]
    assert next(refusals, None) is None
    await store.close()
