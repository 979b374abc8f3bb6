"""Deliveries: what one receiver does to the others, which is nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from coordinator import app as app_module
from coordinator import outbox
from coordinator.adapters.local import LocalLauncher
from coordinator.adapters.sqlite import SqliteStore
from coordinator.app import Application, build
from coordinator.core.arrivals import Arrival
from coordinator.core.choices import RunStatus
from coordinator.core.model import Partition, Run
from coordinator.core.spec import LaunchKind, LaunchTarget, ProcessorSpec
from coordinator.documents import partition_key
from coordinator.errors import Unavailable
from coordinator.health import lags, readiness
from coordinator.ports import Launcher, Notice
from coordinator.registry import parse
from coordinator.settings import Settings
from coordinator.web.metrics import Metrics
from tests.service.test_registry_rollout import HEAD, load

GOOD = (
    '  Good: {phase: 3, output: out.good, requires: [{table: raw.b}], launch: {http: "http://g"}}\n'
)


def bad(number: int, launch: str = '{http: "http://b"}') -> str:
    """So many processors of one target."""
    return HEAD + "".join(
        f"  P{n}: {{phase: 3, output: out.p{n}, requires: [{{table: raw.a}}], launch: {launch}}}\n"
        for n in range(number)
    )


@dataclass
class Outside:
    """Receivers: those named in ``hanging`` hang until they are let go, those in ``gone`` fail."""

    hanging: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    launched: list[str] = field(default_factory=list)
    most: int = 0
    on_their_way: int = 0

    async def receive(self, name: str) -> None:
        if name in self.gone:
            raise Unavailable(f"{name} answered 404")
        if name in self.hanging:
            self.on_their_way += 1
            self.most = max(self.most, self.on_their_way)
            await self.let_go.wait()
            self.on_their_way -= 1

    async def launch(
        self, target: LaunchTarget, spec: ProcessorSpec, run: Run, message: Mapping[str, Any]
    ) -> str:
        await self.receive(target.address)
        self.launched.append(run.processor)
        return "m"


@dataclass
class Receiver:
    """A notifier or an announcer."""

    outside: Outside
    name: str
    seen: list[str] = field(default_factory=list)

    async def notify(self, notice: Notice) -> None:
        await self.outside.receive(self.name)
        self.seen.append(notice.kind)

    async def announce(self, arrival: Arrival) -> str:
        await self.outside.receive(self.name)
        self.seen.append(arrival.event_id)
        return "m"


async def until(promise: Callable[[], bool]) -> None:
    for _ in range(2000):
        if promise():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to hold")


@asynccontextmanager
async def serving(
    registry: str,
    launchers: Mapping[LaunchKind, Launcher],
    *,
    store: SqliteStore | None = None,
    loops: bool = True,
    **more: Any,
) -> AsyncIterator[Application]:
    app = build(
        Settings(),
        registry=parse(registry),
        store=store or SqliteStore(":memory:", inline=True),
        launchers=launchers,
        **{"notifiers": [], **more},
    )
    if store is None:
        await app.store.open()
    relay = asyncio.create_task(app.relay.run()) if loops else None
    try:
        yield app
    finally:
        if relay is not None:
            relay.cancel()
        await app.relay.stop()
        if store is None:
            await app.store.close()


async def partition(app: Application, processor: str) -> Partition:
    key = partition_key(processor, load("raw.a")["game_date"])
    found: Partition | None = (await app.store.get([key]))[key]
    assert found is not None
    return found


async def test_a_target_that_hangs_has_its_own_slots() -> None:
    outside = Outside(hanging={"http://b"})
    async with serving(bad(30) + GOOD, {LaunchKind.HTTP: outside}) as app:
        await app.ingest.take(load("raw.a"))
        await until(lambda: outside.on_their_way > 0)
        await app.ingest.take(load("raw.b"))
        await until(lambda: outside.launched == ["Good"])
        assert outside.on_their_way == outbox.LAUNCHES_PER_TARGET
        assert not app.relay.idle
        found = await readiness(app)
        ready, parts = found.ready, found.parts
        assert ready, parts
        assert (await lags(app)).untried_seconds == 0
        outside.let_go.set()
        await until(lambda: len(outside.launched) == 31)
        await until(lambda: app.relay.idle)
        assert outside.most == outbox.LAUNCHES_PER_TARGET


async def test_a_delivery_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "DELIVERY_SECONDS", 0.05)
    outside = Outside(hanging={"http://b"})
    async with serving(bad(1), {LaunchKind.HTTP: outside}) as app:
        await app.ingest.take(load("raw.a"))
        await until(lambda: app.relay.deliveries.get(("launch", "failed"), 0) > 0)
        await until(lambda: app.relay.idle)
        (entry,) = (await partition(app, "P0")).outbox
        assert entry.last_error == "http http://b took longer than 0.05 s"
        parts = (await readiness(app)).parts
        assert "launch to http http://b: the last 1 delivery failed" in parts["receivers"].detail


async def test_a_notifier_that_hangs_delays_neither_launches_nor_other_notifiers() -> None:
    outside = Outside(hanging={"webhook"})
    webhook, slack = Receiver(outside, "webhook"), Receiver(outside, "slack")
    deadline = 'deadline: {at: "00:01", day: 1, then: alert}'
    text = HEAD + (
        "  P: {phase: 3, output: out.p, requires: [{table: raw.a}, {table: raw.b}], "
        f'launch: {{http: "http://g"}}, {deadline}}}\n'
    )
    async with serving(text, {LaunchKind.HTTP: outside}, notifiers=[webhook, slack]) as app:
        spec = app.registry.processors["P"]
        game_date = datetime.now(UTC).date().isoformat()
        await app.ingest.take({**load("raw.a"), "game_date": game_date})
        for number in range(outbox.NOTICES_PER_NOTIFIER * 2):
            app.notices.send(notice(number))
        await until(lambda: len(slack.seen) == outbox.NOTICES_PER_NOTIFIER * 2)
        assert outside.on_their_way == outbox.NOTICES_PER_NOTIFIER
        await app.ingest.take({**load("raw.b"), "game_date": game_date})
        await until(lambda: outside.launched == ["P"])
        assert spec.launch is not None
        outside.let_go.set()
        await until(lambda: len(webhook.seen) == outbox.NOTICES_PER_NOTIFIER * 2)


def notice(number: int) -> Notice:
    return Notice("info", f"k{number}", None, None, "s", "d", notice_id=f"n{number}")


async def test_notices_of_no_partition_are_bounded_for_each_receiver_and_drops_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "LOOSE_NOTICES_LIMIT", 3)
    outside = Outside(hanging={"webhook"})
    webhook, slack = Receiver(outside, "webhook"), Receiver(outside, "slack")
    async with serving(HEAD, {}, notifiers=[webhook, slack]) as app:
        for number in range(5):
            app.notices.send(notice(number))
            await until(lambda: len(slack.seen) == number + 1)  # noqa: B023 - awaited at once
        parts = (await readiness(app)).parts
        assert parts["receivers"].detail == "2 notices were dropped since the start."
        text = (await Metrics(app).text(await lags(app))).decode()
        assert 'coordinator_notices_dropped_total{receiver="webhook"} 2.0' in text
        assert 'coordinator_notices_dropped_total{receiver="slack"} 0.0' in text
        outside.let_go.set()
        await until(lambda: webhook.seen == ["k0", "k1", "k2"])
        app.notices.send(notice(5))
        await until(lambda: webhook.seen[3:] == ["k5"])


async def test_a_notice_that_every_try_fails_is_dropped_and_its_receiver_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "NOTICE_PAUSES_SECONDS", (0.0, 0.0))
    outside = Outside(gone={"webhook"})
    async with serving(HEAD, {}, notifiers=[Receiver(outside, "webhook")]) as app:
        app.notices.send(notice(0))
        (lane,) = (each for each in app.relay.lanes if each.name.receiver == "webhook")
        await until(lambda: lane.dropped == 1)
        parts = (await readiness(app)).parts
        assert parts["receivers"].detail == (
            "notify to webhook: the last 3 deliveries failed, 0 more wait; webhook answered 404; "
            "1 notice was dropped since the start"
        )
        outside.gone.clear()
        app.notices.send(notice(1))
        await until(lambda: not lane.failures)


async def test_a_retry_for_one_receiver_repeats_no_other() -> None:
    outside = Outside(gone={"second"})
    first, second = Receiver(outside, "first"), Receiver(outside, "second")
    text = (
        HEAD
        + '  P: {phase: 3, output: out.p, requires: [{table: raw.a}], launch: {http: "http://g"}}\n'
    )
    async with serving(text, {LaunchKind.HTTP: outside}, announcers=[first, second]) as app:
        await app.ingest.take(load("raw.a"))
        await until(lambda: outside.launched == ["P"])
        run_id = f"P:{load('raw.a')['game_date']}:1"
        token = (await app.runs.claim(run_id, "pod", 1)).lease_token or ""
        await app.runs.complete(run_id, token, RunStatus.SUCCESS, 7)
        await until(lambda: app.relay.deliveries.get(("announce", "failed"), 0) > 0)
        outside.gone.clear()
        await until(lambda: app.relay.deliveries.get(("announce", "delivered"), 0) > 0)
        await until(lambda: app.relay.idle)
        assert first.seen == second.seen == [f"run:{run_id}"]
        assert not (await partition(app, "P")).outbox


async def test_effects_that_fail_for_weeks_hide_none_behind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "DUE_PER_ROUND", 10)
    monkeypatch.setattr(outbox, "PAGES_PER_ROUND", 1)
    monkeypatch.setattr(outbox, "LAUNCHES_PER_TARGET", 2)
    outside = Outside(hanging={"http://b"})
    store = SqliteStore(":memory:", inline=True)
    await store.open()
    http = {LaunchKind.HTTP: outside}
    text = bad(35) + GOOD
    async with serving(text, http, store=store, loops=False) as dead:
        await dead.ingest.take(load("raw.a"))
        await dead.ingest.take(load("raw.b"))
    async with serving(text, http, store=store, loops=False) as app:
        found = []
        for _ in range(5):
            found.append(await app.relay.discover())
            app.relay.start_due()
            await asyncio.sleep(0.05)
        assert sum(found) == 36
        await until(lambda: outside.launched == ["Good"])
    await store.close()


async def test_a_launch_waits_for_a_local_worker_and_is_no_fault() -> None:
    let_go = asyncio.Event()
    seen: list[str] = []

    async def handle(message: Mapping[str, Any]) -> None:
        seen.append(message["processor"])
        await let_go.wait()

    local = LocalLauncher(handle, workers=2)
    async with serving(bad(12, "{local: true}"), {LaunchKind.LOCAL: local}) as app:
        await app.ingest.take(load("raw.a"))
        await until(lambda: len(seen) == 2)
        await until(lambda: app.relay.waiting_for_workers == 10)
        waiting = next(f"P{n}" for n in range(12) if f"P{n}" not in seen)
        queued = await partition(app, waiting)
        assert app.relay.queued(queued, queued.outbox[0])
        assert queued.live is not None
        assert queued.live.status is RunStatus.PENDING
        assert (await lags(app)).outbox_seconds == 0
        # Whoever asks sees the queue, and of each place in it once.
        rows = (await app.queries.partitions.date(queued.game_date)).items
        places = [row.why for row in rows if "; it waits for a free worker, " in row.why]
        assert len(places) == 10
        for place in ["the next in the queue", "behind 1 other", "behind 9 others"]:
            assert sum(words.endswith(f" {place}.") for words in places) == 1, places
        whole = await app.queries.partitions.partition(waiting, queued.game_date)
        assert whole.why in places
        # One that is skipped while it waits is not launched.
        await app.operate.skip(
            waiting, queued.game_date, end_run=True, reason="not needed", actor="ana"
        )
        let_go.set()
        await until(lambda: app.relay.idle and local.idle)
        assert len(seen) == 11
        assert waiting not in seen
        assert app.relay.deliveries == {("launch", "delivered"): 11}
        await local.stop()
