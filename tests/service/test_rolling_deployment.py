"""Two registries served side by side over one store, as in a rolling deployment (decision 12)."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from coordinator.adapters.sqlite import SqliteStore
from coordinator.app import Application, build
from coordinator.core.choices import RunStatus
from coordinator.core.spec import LaunchKind
from coordinator.documents import event_key
from coordinator.errors import NotFound, Unavailable
from coordinator.health import readiness
from coordinator.ports import Key, Kind, Notice, Store
from coordinator.registry import parse
from coordinator.service.loads import Loads
from coordinator.service.registry_membership import GONE_AFTER, REFRESH_EVERY
from coordinator.service.runs import Runs
from coordinator.settings import Settings
from tests.service.support import Launches, ManualClock
from tests.service.test_registry_rollout import DATE, HEAD, MORE, ONE, TWO, partition

OTHER_TABLE = HEAD.replace("raw.c: {}", "raw.c: {}, raw.d: {}")
NEWEST = OTHER_TABLE + "  P: {phase: 3, output: out.p, requires: [{table: raw.d}]}\n"


@dataclass
class Shared:
    """A store that several instances serve."""

    store: Store
    clock: ManualClock
    launches: Launches

    def wired(self, registry: str) -> Application:
        """An instance that is about to start, without loops of its own."""
        return build(
            Settings(),
            registry=parse(registry),
            store=self.store,
            clock=self.clock,
            launchers={LaunchKind.LOCAL: self.launches},
            notifiers=[],
            alone=False,
        )

    async def instance(self, registry: str) -> Application:
        """One that has been started."""
        application = self.wired(registry)
        await application.sweeper.rollout.start()
        return application

    async def pass_by(self, by: timedelta, *sweeping: Application) -> None:
        """Let time pass; these instances sweep twice a minute meanwhile."""
        until = self.clock.at + by
        while self.clock.at < until:
            self.clock.at += min(timedelta(seconds=30), until - self.clock.at)
            for application in sweeping:
                await application.sweeper.sweep()

    async def current(self) -> set[str]:
        """The registries that count as served."""
        keys = [Key(Kind.REGISTRY, parse(text).registry_hash) for text in (TWO, MORE, NEWEST)]
        found = await self.store.get(keys)
        return {k.id for k in keys if found[k] is not None and found[k].current}

    def load(self, table: str, number: int = 1) -> dict[str, Any]:
        return {
            "event_type": "raw_data_loaded",
            "target_table": table,
            "game_date": DATE,
            "status": "success",
            "timestamp": self.clock.at.isoformat(),
            "record_count": 10,
            "execution_id": f"{table}-{number}",
        }


@asynccontextmanager
async def shared() -> AsyncIterator[Shared]:
    store = SqliteStore(":memory:", inline=True)
    await store.open()
    try:
        yield Shared(store, ManualClock(), Launches())
    finally:
        await store.close()


async def test_what_an_old_instance_takes_in_reaches_processors_that_only_the_new_one_has() -> None:
    async with shared() as s:
        old = await s.instance(TWO)
        new = await s.instance(MORE)
        await old.ingest.take(s.load("raw.a"))  # and is never seen again
        assert await partition(new, "Late") is None
        await s.pass_by(GONE_AFTER + 2 * REFRESH_EVERY, new)
        late = await partition(new, "Late")
        assert late is not None
        assert late.generation == 1


async def test_what_another_registry_recorded_counts_before_a_start_has_evaluated_everything() -> (
    None
):
    async with shared() as s:
        first = await s.instance(TWO)
        await first.ingest.take(s.load("raw.a"))
        without = await s.instance(
            HEAD + "  Q: {phase: 3, output: out.q, requires: [{table: raw.c}]}\n"
        )
        await without.ingest.take(s.load("raw.b"))  # `P` is not known to it
        again = s.wired(TWO)
        assert await again.sweeper.rollout.begin()
        taken = await again.ingest.take(s.load("raw.a", 2))
        assert [a.fired_run_id for a in taken.affected] == [f"P:{DATE}:1"]
        await again.sweeper.rollout.finish()
        assert not again.engine.membership.unevaluated


async def test_a_new_instance_that_dies_meanwhile_leaves_the_next_start_to_look() -> None:
    async with shared() as s:
        old = await s.instance(TWO)
        await s.instance(MORE)
        await old.ingest.take(s.load("raw.a"))
        await s.pass_by(timedelta(days=1))
        late = await partition(await s.instance(MORE), "Late")
        assert late is not None
        assert late.generation == 1


async def test_an_old_instance_that_goes_on_is_not_given_up() -> None:
    async with shared() as s:
        old, new = await s.instance(TWO), await s.instance(MORE)
        await s.pass_by(10 * GONE_AFTER, old, new)
        assert len(await s.current()) == 2
        await old.ingest.take(s.load("raw.a"))
        await s.pass_by(timedelta(minutes=11), old, new)
        assert await partition(new, "Late") is not None


async def test_an_instance_that_was_frozen_says_that_it_is_there_before_it_takes_anything_in() -> (
    None
):
    async with shared() as s:
        old, new = await s.instance(TWO), await s.instance(MORE)
        await s.pass_by(2 * GONE_AFTER + 2 * REFRESH_EVERY, new)
        assert await s.current() == {new.registry.registry_hash}
        await old.ingest.take(s.load("raw.a"))
        assert old.registry.registry_hash in await s.current()
        await s.pass_by(2 * REFRESH_EVERY, new)
        assert await partition(new, "Late") is not None


async def test_once_the_old_one_is_gone_nothing_more_is_looked_at() -> None:
    async with shared() as s:
        await s.instance(TWO)
        new = await s.instance(MORE)
        await s.pass_by(GONE_AFTER + 2 * REFRESH_EVERY, new)
        assert await s.current() == {new.registry.registry_hash}
        assert new.engine.membership.others == {}
        assert await new.sweeper.rollout.start() == 0


async def test_a_registry_taken_back_sees_what_the_newer_one_took_in() -> None:
    async with shared() as s:
        old, new = await s.instance(MORE), await s.instance(TWO)  # which lacks Late
        await new.ingest.take(s.load("raw.a"))
        assert await partition(old, "Late") is None
        await s.pass_by(GONE_AFTER + 2 * REFRESH_EVERY, old)
        assert await partition(old, "Late") is not None


async def test_a_table_that_only_the_new_registry_has_is_sent_again_and_not_set_aside() -> None:
    async with shared() as s:
        old, new = await s.instance(TWO), await s.instance(NEWEST)
        message = {"data": b64encode(json.dumps(s.load("raw.d")).encode()).decode()}
        body = json.dumps({"message": {**message, "messageId": "1"}}).encode()
        with pytest.raises(Unavailable, match=r"another registry is served"):
            await old.ingest.push(body)
        assert (await new.ingest.push(body)).outcome == "applied"
        await s.pass_by(2 * GONE_AFTER, new)
        body = body.replace(b'"1"', b'"2"')
        unknown = json.dumps({**s.load("raw.zzz")}).encode()
        aside = {"message": {"data": b64encode(unknown).decode(), "messageId": "3"}}
        assert (await new.ingest.push(json.dumps(aside).encode())).outcome == "quarantined"


async def test_a_report_on_a_run_that_only_the_new_registry_knows_is_to_be_sent_again() -> None:
    async with shared() as s:
        old, new = await s.instance(TWO), await s.instance(MORE)
        await new.ingest.take(s.load("raw.a"))
        with pytest.raises(Unavailable, match=r"processor 'Late'|another registry"):
            await old.runs.claim(f"Late:{DATE}:1", "runner", 1)
        assert (await new.runs.claim(f"Late:{DATE}:1", "runner", 1)).lease_token is not None
        await s.pass_by(GONE_AFTER + 2 * REFRESH_EVERY, new)
        with pytest.raises(NotFound):
            await new.runs.claim(f"Nobody:{DATE}:1", "runner", 1)


def pushed(event: dict[str, Any], message_id: str) -> bytes:
    data = b64encode(json.dumps(event).encode()).decode()
    return json.dumps({"message": {"data": data, "messageId": message_id}}).encode()


async def test_a_report_on_a_processor_that_was_taken_back_is_kept_and_can_be_replayed() -> None:
    async with shared() as s:
        old, new = await s.instance(TWO), await s.instance(MORE)
        await new.ingest.take(s.load("raw.a"))
        run = await new.runs.claim(f"Late:{DATE}:1", "runner", 1)
        await s.pass_by(2 * GONE_AFTER, old)
        report = {
            "event_type": "run_completed",
            "run_id": run.run_id,
            "lease_token": run.lease_token,
            "status": "success",
            "record_count": 4,
        }
        outcome = await old.ingest.push(pushed(report, "9"))
        assert outcome.outcome == "quarantined"
        assert outcome.quarantine_id is not None
        unknown = {**report, "run_id": f"Nobody:{DATE}:1"}
        assert (await old.ingest.push(pushed(unknown, "10"))).outcome == "refused"
        again = await s.instance(MORE)
        await again.operate.replay(outcome.quarantine_id, reason="it is back", actor="ana")
        late = await partition(again, "Late")
        assert late is not None
        assert late.status == "succeeded"


async def test_a_load_is_not_taken_for_another_table_that_it_also_names() -> None:
    async with shared() as s:
        old = await s.instance(TWO)
        await s.instance(NEWEST)
        await s.pass_by(REFRESH_EVERY, old)
        event = {**s.load("raw.d"), "source_table": "raw.a"}
        with pytest.raises(Unavailable, match=r"another registry is served"):
            await old.ingest.take(event)
        await s.pass_by(2 * GONE_AFTER, old)
        assert (await old.ingest.take({**event, "game_date": "2024-10-20"})).outcome == "applied"


async def test_an_output_under_a_former_name_is_announced_once_nobody_serves_that_name() -> None:
    async with shared() as s:
        old = await s.instance(TWO)
        await old.ingest.take(s.load("raw.a"))
        await old.ingest.take(s.load("raw.b"))
        run = await old.runs.claim(f"P:{DATE}:1", "me", 1)
        by_relay = Runs(
            old.engine, Loads(old.engine, old.sweeper.left_pending), announced_outside=True
        )
        await by_relay.complete(run.run_id, run.lease_token or "", RunStatus.SUCCESS, 7)
        new = await s.instance(TWO.replace("out.p", "out.renamed"))
        output = event_key("out.p", DATE, f"run:{run.run_id}")
        await new.relay.drain()
        assert (await s.store.get([output]))[output] is None
        await s.pass_by(2 * GONE_AFTER, new)
        await new.relay.drain()
        entry = (await s.store.get([output]))[output]
        assert entry is not None
        assert entry.outcome == "ignored"
        p = await partition(new, "P")
        assert p is not None
        assert not p.outbox


async def test_readiness_names_the_other_registry() -> None:
    async with shared() as s:
        old = await s.instance(TWO)
        new = await s.instance(MORE)
        found = await readiness(new)
        ready, parts = found.ready, found.parts
        assert ready
        assert parts["registry"].others == (old.registry.registry_hash[:12],)
        assert "counts as served beside it" in parts["registry"].detail


async def test_a_table_that_no_registry_has_is_set_aside_whatever_else_is_served() -> None:
    async with shared() as s:
        old, new = await s.instance(TWO), await s.instance(MORE)
        for one in (old, new):
            assert (await one.ingest.push(pushed(s.load("raw.zzz"), "3"))).outcome == "quarantined"


async def succeeded(s: Shared, registry: str) -> Application:
    """An instance under which P has run once, and everything of DATE is loaded."""
    one = await s.instance(registry)
    await one.ingest.take(s.load("raw.b"))
    await one.ingest.take(s.load("raw.a"))
    run = await one.runs.claim(f"P:{DATE}:1", "me", 1)
    await one.runs.complete(run.run_id, run.lease_token or "", RunStatus.SUCCESS, 5)
    s.clock.at += timedelta(minutes=10)
    return one


@pytest.mark.parametrize("by", ["new", "old", "new, and the old one touches it"])
async def test_newer_data_of_a_new_line_fires_whichever_instance_ingested_it(by: str) -> None:
    async with shared() as s:
        old = await succeeded(s, ONE)
        new = await s.instance(TWO)
        s.clock.at += timedelta(seconds=5)
        taker = old if by == "old" else new
        await taker.ingest.take(s.load("raw.b", 2))
        if by.endswith("touches it"):
            same = {**s.load("raw.a"), "timestamp": "2024-10-23T06:00:00+00:00"}
            assert (await old.ingest.take(same)).outcome == "duplicate"
        await s.pass_by(timedelta(minutes=90), new)
        found = await partition(new, "P")
        assert found is not None
        assert found.generation == 2


async def test_what_came_before_the_registry_is_no_newer_data_to_its_new_lines() -> None:
    async with shared() as s:
        await succeeded(s, ONE)
        new = await s.instance(TWO)
        await s.pass_by(timedelta(minutes=90), new)
        found = await partition(new, "P")
        assert found is not None
        assert found.generation == 1


async def test_a_mark_that_was_taken_back_meanwhile_declares_nobody_gone() -> None:
    async with shared() as s:
        old, new = await s.instance(TWO), await s.instance(MORE)
        (name,) = new.engine.membership.others
        first = new.engine.membership.others[name].leaving_at
        await old.engine.membership.refresh()
        s.clock.at += timedelta(seconds=1)
        await new.engine.membership.mark_leaving(name)
        await new.engine.membership.mark_gone(name, first)
        assert name in await s.current()


async def test_a_new_window_looks_at_dates_that_were_loaded_before_it() -> None:
    looks_back = "{table: raw.b, dates: {window_days: 1, min_ready: 1.0}}"
    windowed = ONE.replace("{table: raw.a}", "{table: raw.a}, " + looks_back)
    async with shared() as s:
        old = await s.instance(TWO)
        await old.ingest.take({**s.load("raw.b"), "game_date": "2024-10-21"})
        await old.ingest.take(s.load("raw.a"))
        found = await partition(await s.instance(windowed), "P")
        assert found is not None
        assert found.generation == 1
        assert [(w.dates, w.ready) for w in found.inputs.window_states.values()] == [(1, 1)]


async def test_two_registries_that_stay_are_notified_once() -> None:
    async with shared() as s:
        old, new = await s.instance(TWO), await s.instance(MORE)
        notices: list[Notice] = []
        for one in (old, new):
            one.notices.subscribe(notices.append)
        await s.pass_by(timedelta(minutes=14), old, new)
        assert [n for n in notices if n.kind == "registries_differ"] == []
        await s.pass_by(timedelta(hours=1), old, new)
        (notice,) = [n for n in notices if n.kind == "registries_differ"]
        assert "2 registries are served over one store" in notice.summary
        assert old.registry.registry_hash[:12] in notice.summary


async def test_a_dry_run_writes_nothing_even_when_another_registry_was_taken_up() -> None:
    async with shared() as s:
        old = await s.instance(TWO)
        await old.ingest.take(s.load("raw.a"))
        new = await s.instance(MORE)
        await s.pass_by(2 * GONE_AFTER + 2 * REFRESH_EVERY, new)
        act = await old.operate.skip("P", DATE, reason="x", actor="ana", dry_run=True)
        assert act.dry_run
        assert await s.current() == {new.registry.registry_hash}


LARGE = OTHER_TABLE + "".join(
    f"  P{n}: {{phase: 3, output: out.p{n}, requires: [{{table: raw.d}}, {{table: raw.a}}]}}\n"
    for n in range(150)
)


async def test_another_registry_is_parsed_once_and_off_the_event_loop() -> None:
    started = time.perf_counter()
    parse(LARGE)
    parsing = time.perf_counter() - started
    async with shared() as s:
        old = await s.instance(TWO)
        await s.instance(LARGE)
        longest = 0.0

        async def watch() -> None:
            nonlocal longest
            while True:
                before = time.perf_counter()
                await asyncio.sleep(0.001)
                longest = max(longest, time.perf_counter() - before)

        watching = asyncio.create_task(watch())

        async def take(number: int) -> None:
            with suppress(Unavailable):
                await old.ingest.push(pushed(s.load("raw.zzz", number), f"m{number}"))

        try:
            await take(0)
            stalled = longest
            started = time.perf_counter()
            for number in range(1, 11):
                await take(number)
            await asyncio.gather(*(take(n) for n in range(11, 21)))
            seconds = time.perf_counter() - started
        finally:
            watching.cancel()
        assert stalled < parsing / 2, "the loop was blocked while the other registry was parsed"
        assert seconds < parsing, "20 more events cost less than parsing it once"


async def test_events_that_ask_at_once_share_a_look_that_began_after_they_came() -> None:
    async with shared() as s:
        old = await s.instance(TWO)
        looks = 0
        look = old.engine.membership.refresh

        async def counted() -> None:
            nonlocal looks
            looks += 1
            await asyncio.sleep(0)
            await look()

        old.engine.membership.refresh = counted  # type: ignore[method-assign]
        await asyncio.gather(
            *(old.ingest.push(pushed(s.load("raw.zzz", n), f"m{n}")) for n in range(20))
        )
        assert looks <= 2
        new = await s.instance(NEWEST)
        with pytest.raises(Unavailable, match=r"another registry is served"):
            await old.ingest.take(s.load("raw.d"))
        assert (await new.ingest.take(s.load("raw.d"))).outcome == "applied"
