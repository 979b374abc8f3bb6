"""What instances over one store leave to each other, and what they take over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coordinator.adapters.sqlite import SqliteStore
from coordinator.app import Application, build
from coordinator.core.choices import RunStatus
from coordinator.core.model import Flag, Partition, Run
from coordinator.core.spec import LaunchKind, LaunchTarget, ProcessorSpec
from coordinator.errors import Refused, TooLarge, Unavailable
from coordinator.health import lags, readiness
from coordinator.ports import Answer, CommitAttempt, Kind, Notice, Op, Query, StoreProfile, Where
from coordinator.registry import parse
from coordinator.service import engine as engine_module
from coordinator.service import sweep as sweep_module
from coordinator.service.engine import Engine
from coordinator.settings import Settings
from coordinator.web.metrics import Metrics
from tests.service.support import ManualClock
from tests.service.test_registry_rollout import DATE, HEAD, ONE, load

DEADLINE = 'deadline: {at: "00:01", day: 1, then: alert}'
ALERTS = HEAD + f"  P: {{phase: 3, output: out.p, {DEADLINE}, requires: [{{table: raw.a}}]}}\n"
MANY = HEAD + "".join(
    f"  P{n}: {{phase: 3, output: out.p{n}, requires: [{{table: raw.a}}]}}\n" for n in range(31)
)


class Scattered(SqliteStore):
    """A store that many processes share, as its profile says."""

    profile = StoreProfile(small_commits=True, shared=True)


@dataclass
class World:
    """Instances over one store, and the world outside."""

    store: Scattered
    clock: ManualClock = field(default_factory=ManualClock)
    launched: list[str] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    down: bool = False

    def instance(self, registry: str = ONE, *, alone: bool = False) -> Application:
        return build(
            Settings(),
            registry=parse(registry),
            store=self.store,
            clock=self.clock,
            launchers={LaunchKind.LOCAL: self},
            notifiers=[self],
            alone=alone,
        )

    async def launch(
        self, target: LaunchTarget, spec: ProcessorSpec, run: Run, message: Mapping[str, Any]
    ) -> str:
        if self.down:
            raise Unavailable("nobody listens")
        self.launched.append(run.run_id)
        return "m"

    async def notify(self, notice: Notice) -> None:
        self.notices.append(notice)

    @property
    def kinds(self) -> list[str]:
        """The notices that belong to a partition."""
        return [n.kind for n in self.notices if n.processor is not None]

    def load(self, table: str) -> dict[str, Any]:
        return {**load(table), "timestamp": self.clock.at.isoformat()}

    def later(self, seconds: float) -> None:
        self.clock.at += timedelta(seconds=seconds)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    store = Scattered(":memory:", inline=True)
    await store.open()
    try:
        yield World(store)
    finally:
        await store.close()


async def test_a_sweep_that_is_asked_for_delivers_what_a_dead_instance_left() -> None:
    async with world() as w:
        dead, alive = w.instance(), w.instance()
        await dead.ingest.take(w.load("raw.a"))
        w.later(6)
        await alive.operate.sweep()
        assert w.launched == [f"P:{DATE}:1"]


async def test_it_leaves_to_a_live_instance_what_that_is_delivering() -> None:
    async with world() as w:
        delivering, other = w.instance(), w.instance()
        await delivering.ingest.take(w.load("raw.a"))
        w.later(1)
        await other.operate.sweep()
        assert w.launched == []
        await delivering.relay.drain()
        assert w.launched == [f"P:{DATE}:1"]


async def test_a_notice_is_left_for_a_while_to_the_instance_that_asked_for_it() -> None:
    async with world() as w:
        w.clock.at = datetime(2024, 10, 22, 12, tzinfo=UTC)
        first, second = w.instance(ALERTS), w.instance(ALERTS)
        await first.ingest.take(w.load("raw.b"))
        await first.ingest.take({**w.load("raw.a"), "status": "failed"})
        w.later(86_400)
        await first.sweeper.sweep()
        await second.relay.drain()
        assert w.kinds == []
        await first.relay.drain()
        assert w.kinds == ["deadline"]


async def test_a_notice_of_a_dead_instance_is_delivered_in_the_end() -> None:
    async with world() as w:
        w.clock.at = datetime(2024, 10, 22, 12, tzinfo=UTC)
        dead, alive = w.instance(ALERTS), w.instance(ALERTS)
        await dead.ingest.take({**w.load("raw.a"), "status": "failed"})
        w.later(86_400)
        await dead.sweeper.sweep()
        w.later(16)
        await alive.relay.drain()
        assert w.kinds == ["deadline"]


async def test_processors_that_the_registry_lost_cost_a_sweep_nothing() -> None:
    async with world() as w:
        old = w.instance(HEAD + "  Gone: {phase: 3, output: out.g, requires: [{table: raw.a}]}\n")
        await old.ingest.take(w.load("raw.a"))
        w.later(86_400)
        new = w.instance()
        due = await new.engine.store.find(Query(Kind.PARTITION, new.engine.mine))
        assert due.items == ()
        assert await new.sweeper.next_wake(datetime(1970, 1, 1, tzinfo=UTC)) is None
        assert await new.relay.discover() == 0
        assert (await lags(new)).outbox_seconds == 0


async def test_more_processors_than_can_be_asked_for_are_picked_out_afterwards() -> None:
    async with world() as w:
        many = w.instance(MANY)
        assert many.engine.mine == ()
        await many.ingest.take(w.load("raw.a"))
        other = w.instance(MANY)
        assert await other.relay.discover() == 31
        await other.relay.drain()
        assert len(w.launched) == 31


@pytest.mark.parametrize("processors", [1, 31])
async def test_partitions_of_a_removed_processor_hide_nothing(
    processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a late sweep nor an undelivered launch nor a failed run, however many there are."""
    every = "".join(
        f"  P{n}: {{phase: 3, output: out.p{n}, {DEADLINE}, requires: [{{table: raw.b}}]}}\n"
        for n in range(processors)
    )
    gone = f"  Gone: {{phase: 3, output: out.g, {DEADLINE}, requires: [{{table: raw.a}}]}}\n"
    fires = "  Fires: {phase: 3, output: out.f, requires: [{table: raw.c}]}\n"
    async with world() as w:
        w.clock.at = datetime(2024, 10, 22, 12, tzinfo=UTC)
        old = w.instance(HEAD + gone + fires + every)
        for number in range(1100):
            date = (datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=number)).date().isoformat()
            state = "success" if number < 1050 else "failed"
            await old.ingest.take({**w.load("raw.a"), "game_date": date, "status": state})
        gone_fire = await old.store.find(
            Query(Kind.PARTITION, (Where("status", Op.EQ, "firing"),), limit=1000)
        )
        assert len(gone_fire.items) == 1000, "more than are ever read"
        w.later(60)
        await old.ingest.take({**w.load("raw.b"), "status": "failed"})
        await old.ingest.take(w.load("raw.c"))
        new = w.instance(HEAD + fires + every)
        w.later(2 * 86_400)
        found = await lags(new)
        assert found.untried_seconds == 2 * 86_400
        assert found.sweep_seconds > 86_400
        readiness_now = await readiness(new)
        parts = readiness_now.parts
        assert not readiness_now.ready
        assert (parts["outbox"].ok, parts["sweep"].ok) == (False, False)
        text = (await Metrics(new).text(found)).decode()
        assert 'coordinator_partitions{status="firing"} 1.0' in text
        assert (await new.queries.partitions.due()).looked_at == processors
        asked = 0
        find = w.store.find

        async def counted(query: Query) -> Any:
            nonlocal asked
            asked += 1
            return await find(query)

        with monkeypatch.context() as patch:
            patch.setattr(w.store, "find", counted)
            swept = await new.sweeper.sweep()
        assert swept.looked_at == processors
        assert asked <= 12, "a sweep does not page through what is nobody's"
        await new.relay.drain()
        assert w.launched == [f"Fires:{DATE}:1"]
        assert (await readiness(new)).ready


async def test_a_partition_that_cannot_be_judged_keeps_no_instance_from_being_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world() as w:
        w.clock.at = datetime(2024, 10, 22, 12, tzinfo=UTC)
        one = w.instance(ALERTS)
        await one.ingest.take({**w.load("raw.a"), "status": "failed"})
        w.later(2 * 86_400)
        found = await readiness(one)
        ready, parts = found.ready, found.parts
        assert not ready

        def broken(self: Engine, *_: Any, **__: Any) -> Any:
            raise ValueError("a bug")

        with monkeypatch.context() as patch:
            patch.setattr(Engine, "decide_in", broken)
            await one.sweeper.sweep()
        found = await readiness(one)
        ready, parts = found.ready, found.parts
        assert ready
        assert f"1 cannot be judged, which the log explains: P {DATE}" in parts["sweep"].detail
        await one.sweeper.sweep()
        assert not one.sweeper.stuck


async def test_a_change_of_registry_that_is_too_large_for_a_commit_is_made_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world() as w:
        old = w.instance()
        await old.sweeper.rollout.start()
        for day in range(10, 20):
            await old.ingest.take({**w.load("raw.a"), "game_date": f"2024-10-{day}"})
        real = w.store.attempt
        sizes: list[int] = []

        async def small(attempt: CommitAttempt) -> Any:
            keys = {key for transaction in attempt.transactions for key in transaction.keys}
            partitions = sum(key.kind is Kind.PARTITION for key in keys)
            sizes.append(partitions)
            if partitions > 3:
                return [Answer(error=TooLarge("a commit is too large"))]
            return await real(attempt)

        monkeypatch.setattr(w.store, "attempt", small)
        new = w.instance(ONE.replace("phase: 3", "phase: 4"))
        assert await new.sweeper.rollout.start() == 10
        assert max(sizes) == 10


async def test_a_pause_shows_on_a_run_that_goes_on() -> None:
    async with world() as w:
        one = w.instance()
        await one.ingest.take(w.load("raw.a"))
        run = await one.runs.claim(f"P:{DATE}:1", "me", 1)
        await one.operate.pause("P", reason="x", actor="ana")
        view = await one.queries.partitions.partition("P", DATE)
        assert view.status == "running"
        assert view.flags == (Flag.PAUSED,)
        assert view.pauses[0].reason == "x"
        assert (await one.queries.partitions.date(DATE)).items[0].flags == (Flag.PAUSED,)
        await one.operate.resume("P", reason="x", actor="ana")
        assert (await one.queries.partitions.partition("P", DATE)).flags == ()
        await one.runs.complete(run.run_id, run.lease_token or "", RunStatus.SUCCESS, 1)


async def test_an_id_of_a_runs_output_is_the_runs_alone() -> None:
    async with world() as w:
        one = w.instance(ONE + "  Q: {phase: 4, output: out.q, requires: [{table: out.p}]}\n")
        await one.ingest.take(w.load("raw.a"))
        forged = {**w.load("out.p"), "event_id": f"run:P:{DATE}:1", "status": "failed"}
        outcome = await one.ingest.take(forged)
        assert outcome.outcome == "rejected"
        assert outcome.errors[0].field == "event_id"
        assert "must not begin with run:" in outcome.errors[0].message
        run = await one.runs.claim(f"P:{DATE}:1", "me", 1)
        await one.runs.complete(run.run_id, run.lease_token or "", RunStatus.SUCCESS, 10)
        assert (await one.queries.partitions.partition("Q", DATE)).status == "firing"
        (entry,) = (await one.queries.loads.ledger("out.p", DATE)).items
        own = {**w.load("out.p"), "event_id": f"run:P:{DATE}:1", "record_count": 10}
        assert entry.event_id == own["event_id"]
        assert (await one.ingest.take(own)).outcome == "duplicate"  # the announcement, come back


async def test_a_sweep_that_came_late_is_notified_by_one_of_the_instances() -> None:
    async with world() as w:
        w.clock.at = datetime(2024, 10, 22, 12, tzinfo=UTC)
        instances = [w.instance(ALERTS) for _ in range(3)]
        await instances[0].ingest.take({**w.load("raw.a"), "status": "failed"})
        w.later(86_400)
        notices: list[Notice] = []
        for one in instances:
            one.notices.subscribe(notices.append)
            one.sweeper._tick = _nothing  # type: ignore[method-assign]
            await one.sweeper.sweep()
        (notice,) = notices
        assert notice.summary == "A sweep came 7 h 59 min late."


async def _nothing(work: object) -> list[Any]:
    return []


async def test_a_run_that_ends_by_a_late_beat_is_judged_with_its_windows_as_they_are() -> None:
    """While it lived nobody read them."""
    registry = (
        HEAD
        + "  P: {phase: 3, output: out.p, attempts: 1, run_timeout: 10m, heartbeat_timeout: 9m, "
        + "cooldown: 0s, requires: [{table: raw.a}, "
        + "{table: raw.b, dates: {window_days: 1, min_ready: 1.0}}]}\n"
    )
    async with world() as w:
        one = w.instance(registry)
        before = {**w.load("raw.b"), "game_date": "2024-10-21"}
        await one.ingest.take({**before, "status": "failed"})
        await one.ingest.take(w.load("raw.a"))
        await one.operate.trigger("P", DATE, reason="x", actor="ana", bypass=["dependencies"])
        run = await one.runs.claim(f"P:{DATE}:1", "me", 1)
        w.later(60)
        await one.ingest.take({**w.load("raw.a"), "execution_id": "newer"})
        good = {**before, "execution_id": "good", "timestamp": w.clock.at.isoformat()}
        assert (await one.ingest.take(good)).outcome == "applied"
        for _ in range(2):
            w.later(300)
            try:
                await one.runs.heartbeat(run.run_id, run.lease_token or "")
            except Refused:
                break
        view = await one.queries.partitions.partition("P", DATE)
        assert view.run.run_id == f"P:{DATE}:2"
        assert view.status == "firing"


async def test_a_partition_that_cannot_be_judged_keeps_no_registry_from_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world() as w:
        old = w.instance()
        await old.sweeper.rollout.start()
        for day in (20, 21, 22):
            await old.ingest.take({**w.load("raw.a"), "game_date": f"2024-10-{day}"})
        real = engine_module.decide

        def decide(partition: Partition, *rest: Any) -> Any:
            if partition.game_date == "2024-10-21":
                raise KeyError("a bug")
            return real(partition, *rest)

        monkeypatch.setattr(engine_module, "decide", decide)
        new = w.instance(ONE.replace("phase: 3", "phase: 4"))
        assert await new.sweeper.rollout.start() == 2


async def test_the_only_process_over_a_store_knows_that_the_last_one_is_gone() -> None:
    async with world() as w:
        await w.instance().sweeper.rollout.start()
        new = w.instance(ONE.replace("phase: 3", "phase: 4"), alone=True)
        await new.sweeper.rollout.start()
        assert new.engine.membership.others == {}


async def test_a_sweep_that_fails_by_a_bug_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(BaseException):
        pass

    async with world() as w:
        one = w.instance()
        tries = iter((KeyError("a bug"), Ended()))

        async def sweep() -> Any:
            raise next(tries)

        monkeypatch.setattr(one.sweeper, "sweep", sweep)
        monkeypatch.setattr(sweep_module, "time_or_event", _nothing_passes)
        with pytest.raises(Ended):
            await one.sweeper.run()


async def _nothing_passes(*_: Any) -> None:
    return None
