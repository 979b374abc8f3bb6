"""The relay: takes committed effects out to the world and records the proof.

Owns delivery of launches, announcements and notices, at least once each. An effect leaves a
partition's outbox only when its delivery is proved, or when its reason is gone. A failed delivery
is tried again for ever, with a pause that grows to a minute. It never decides: proof and failure go
back as facts.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from coordinator.core.facts import Delivered, DeliveryFailed, Fact
from coordinator.core.machine import Decision
from coordinator.core.model import EffectKind, OutboxEntry, Partition
from coordinator.core.spec import LaunchKind, LaunchTarget, ProcessorSpec
from coordinator.documents import partition_key
from coordinator.errors import Bug, CoordinatorError, Unavailable
from coordinator.ports import (
    Announcer,
    Kind,
    Launcher,
    Notice,
    Notifier,
    Op,
    Query,
    Where,
)
from coordinator.service.engine import Committed, Engine, Target
from coordinator.service.ingest import Ingest
from coordinator.service.waiting import time_or_news
from coordinator.wire import launch_message

log = structlog.get_logger(__name__)

DELIVERIES_AT_ONCE = 32
DUE_PER_ROUND = 200
TOLD_LIMIT = 10_000
NOTICE_PAUSES_SECONDS = (1.0, 5.0, 15.0, 60.0, 60.0)
RECORD_PAUSES_SECONDS = (0.5, 2.0, 5.0, 15.0)
"""Between the tries to record a delivery that happened."""
IDLE_LOOK = timedelta(seconds=15)
"""How often the store is asked for due effects that no commit of this process told of."""

OTHERS_GRACE = timedelta(seconds=15)
"""Where many processes share a store: how long an effect is left to the one that committed it."""
ASKED_GRACE = timedelta(seconds=5)
"""The same where somebody asks for a sweep."""


class Relay:
    """Delivers what is due. One per process; several processes may deliver the same effect twice,
    which claims and event ids make harmless."""

    def __init__(
        self,
        engine: Engine,
        ingest: Ingest,
        launchers: Mapping[LaunchKind, Launcher],
        default_target: LaunchTarget,
        announcers: Sequence[Announcer] = (),
        notifiers: Sequence[Notifier] = (),
        link_base: str | None = None,
    ) -> None:
        self._engine = engine
        self._ingest = ingest
        self._launchers = launchers
        self._default = default_target
        self._announcers = announcers
        self._notifiers = notifiers
        self._link_base = link_base
        self._pending: dict[Target, datetime] = {}
        self._kick = asyncio.Event()
        self._busy: set[Target] = set()
        self._scattered: bool = getattr(engine.store, "scattered", False)
        self._own: set[Target] = set()
        """The partitions whose effects this process's own commits asked for."""
        self._slots = asyncio.Semaphore(DELIVERIES_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self.deliveries: dict[tuple[str, str], int] = {}
        """(kind of effect, ``delivered`` or ``failed``) → count since the start."""
        self._told: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._notices: set[asyncio.Task[None]] = set()
        engine.listen(self._heard)

    def _heard(self, committed: Sequence[Committed]) -> None:
        """Take on what these commits asked for. What was asked before has somebody already."""
        for c in committed:
            partition = c.decision.partition
            before = () if c.before is None else c.before.outbox
            due = min((e.due_at for e in partition.outbox if e not in before), default=None)
            if due is not None:
                self._own.add((partition.processor, partition.game_date))
                self._await(partition, due)

    def _await(self, partition: Partition, due: datetime) -> None:
        target = (partition.processor, partition.game_date)
        self._pending[target] = min(due, self._pending.get(target, due))
        self._kick.set()

    @property
    def idle(self) -> bool:
        """Whether nothing this process knows of is due or on its way."""
        now = self._engine.clock.now()
        return not self._busy and not any(due <= now for due in self._pending.values())

    @property
    def next_due(self) -> datetime | None:
        """When the earliest effect that this process knows of is due."""
        return min(self._pending.values(), default=None)

    async def run(self) -> None:
        """Deliver for ever. Cancel to stop."""
        clock = self._engine.clock
        look_at = clock.monotonic()  # the wall clock may be set back by hours
        overdue = timedelta(0)
        while True:
            if clock.monotonic() >= look_at:
                try:
                    await self.discover(overdue)
                    if self._scattered:
                        overdue = OTHERS_GRACE
                except CoordinatorError as error:
                    log.warning("outbox look-up failed", error=error.detail)
                except Exception:
                    log.exception("outbox look-up failed unexpectedly")
                look_at = clock.monotonic() + IDLE_LOOK.total_seconds()
            self._kick.clear()
            self.start_due()
            now = clock.now()
            waits = [
                (due - now).total_seconds()
                for target, due in self._pending.items()
                if target not in self._busy
            ]
            await time_or_news(clock, self._kick, min([look_at - clock.monotonic(), *waits]))

    async def discover(self, overdue: timedelta = timedelta(0)) -> int:
        """Ask the store which partitions have due effects: after a start, or another's crash.

        Only those count that have been due for ``overdue``.
        """
        now = self._engine.clock.now()
        known = self._engine.registry.processors
        found = 0
        after: str | None = None
        while found < DUE_PER_ROUND:
            page = await self._engine.store.find(
                Query(
                    Kind.PARTITION,
                    (Where("outbox_due", Op.LE, now - overdue), *self._engine.mine),
                    order="outbox_due",
                    limit=DUE_PER_ROUND,
                    after=after,
                )
            )
            for _, partition in page.items:
                # One that the registry no longer has keeps its intents, and nobody's turn.
                if partition.processor in known:
                    self._pending.setdefault((partition.processor, partition.game_date), now)
                    found += 1
            after = page.next_page_token
            if after is None:
                break
        return found

    def start_due(self) -> None:
        """Start delivering for every partition that is due and not being delivered already."""
        now = self._engine.clock.now()
        for target, due in list(self._pending.items()):
            if due <= now and target not in self._busy:
                del self._pending[target]
                self._busy.add(target)
                task = asyncio.create_task(self._partition(target))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Deliver everything that is due now, and wait for it."""
        await self.discover()
        self.start_due()
        while self._tasks:
            await asyncio.gather(*list(self._tasks))
            self.start_due()

    async def deliver_for_others(self) -> None:
        """Deliver what others should have delivered, and wait for it: a scheduler's call."""
        await self.discover(ASKED_GRACE if self._scattered else timedelta(0))
        self.start_due()
        await asyncio.gather(*list(self._tasks))

    async def stop(self) -> None:
        """Cancel what is on its way; it is still in the outbox."""
        tasks = [*self._tasks, *self._notices]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _partition(self, target: Target) -> None:
        try:
            async with self._slots:
                await self._deliver_due(target)
        except CoordinatorError as error:
            log.warning("delivery was not recorded", target=target, error=error.detail)
            self._pending.setdefault(target, self._engine.clock.now() + timedelta(seconds=1))
        except Exception:
            log.exception("delivery failed unexpectedly", target=target)
            self._pending.setdefault(target, self._engine.clock.now() + timedelta(seconds=10))
        finally:
            self._busy.discard(target)
            self._kick.set()

    async def _deliver_due(self, target: Target) -> None:
        spec = self._engine.registry.processors.get(target[0])
        key = partition_key(*target)
        partition: Partition | None = (await self._engine.store.get([key]))[key]
        if partition is None or spec is None:
            return  # a processor that the registry no longer has keeps its intents
        now = self._engine.clock.now()
        due = [e for e in partition.outbox if self._begins_at(e, target) <= now]
        if not due:
            later = min((self._begins_at(e, target) for e in partition.outbox), default=None)
            if later is not None:
                self._pending[target] = later
            else:
                self._own.discard(target)  # somebody else delivered it
            return
        facts: list[Fact] = []
        for entry in due:
            try:
                proof = await self._deliver(entry, partition, spec)
            except Exception as error:
                words = error.detail if isinstance(error, CoordinatorError) else repr(error)
                if not isinstance(error, CoordinatorError):
                    log.exception("an adapter raised", effect_id=entry.effect_id)
                log.warning("delivery failed", effect_id=entry.effect_id, error=words)
                facts.append(DeliveryFailed(effect_id=entry.effect_id, error=words))
                self._count(entry, "failed")
            else:
                facts.append(Delivered(effect_id=entry.effect_id, message_id=proof))
                self._count(entry, "delivered")
        left = (await self._record(spec, target[1], facts)).partition
        if left.outbox_due is not None:
            self._await(left, left.outbox_due)
        else:
            self._own.discard(target)

    async def _record(self, spec: ProcessorSpec, date: str, facts: Sequence[Fact]) -> Decision:
        """Write down what was proved. Patiently: what is not written down is delivered again."""
        for pause in RECORD_PAUSES_SECONDS:
            try:
                return await self._engine.apply(spec, date, facts)
            except Unavailable as error:
                log.warning(
                    "a delivery is not recorded yet", target=(spec.name, date), error=error.detail
                )
            await self._engine.clock.sleep(pause)
        return await self._engine.apply(spec, date, facts)

    def _begins_at(self, entry: OutboxEntry, target: Target) -> datetime:
        """When to deliver an effect. Two launches of one attempt are harmless; of two notices one
        is noise, so those that another process asked for are left to it for a while."""
        if entry.kind is EffectKind.NOTIFY and self._scattered and target not in self._own:
            return entry.due_at + OTHERS_GRACE
        return entry.due_at

    def _count(self, entry: OutboxEntry, result: str) -> None:
        key = (entry.kind.value, result)
        self.deliveries[key] = self.deliveries.get(key, 0) + 1

    async def _deliver(self, entry: OutboxEntry, partition: Partition, spec: ProcessorSpec) -> str:
        if entry.kind is EffectKind.LAUNCH:
            return await self._launch(partition, spec)
        if entry.kind is EffectKind.ANNOUNCE:
            return await self._announce(entry, spec)
        await self._tell_all(self._notice(entry, partition))
        return entry.effect_id

    async def _tell_all(self, notice: Notice) -> None:
        """Tell every notifier once: a retry for the sake of one does not repeat the others."""
        for place, notifier in enumerate(self._notifiers):
            name = (notice.notice_id, place)
            if name in self._told:
                continue
            await notifier.notify(notice)
            self._told[name] = None
            if len(self._told) > TOLD_LIMIT:
                self._told.popitem(last=False)

    def tell(self, notice: Notice) -> None:
        """Deliver a notice that belongs to no partition, in the background.

        What it tells of is durable elsewhere (quarantine, the sweep's metrics), so a notice lost
        with the process loses no fact.
        """
        task = asyncio.create_task(self._tell_patiently(notice))
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)

    async def _tell_patiently(self, notice: Notice) -> None:
        for pause in NOTICE_PAUSES_SECONDS:
            try:
                await self._tell_all(notice)
            except CoordinatorError as error:
                log.warning("a notice was not delivered", kind=notice.kind, error=error.detail)
                await self._engine.clock.sleep(pause)
            else:
                return

    async def _launch(self, partition: Partition, spec: ProcessorSpec) -> str:
        run = partition.live
        if run is None:
            raise Bug(f"{partition.id} has a launch in its outbox and no live run")
        target = spec.launch or self._default
        if target.kind is LaunchKind.PUBSUB and not target.address:
            target = LaunchTarget(kind=LaunchKind.PUBSUB, address=f"nba-phase{spec.phase}-trigger")
        launcher = self._launchers.get(target.kind)
        if launcher is None:
            raise Unavailable(
                f"{spec.name} launches by {target.kind.value}, which this deployment does not "
                "have; set `launch` in the registry, or install and configure it"
            )
        message: dict[str, Any] = launch_message(run, spec, self._engine.clock.now())
        return await launcher.launch(target, spec, run, message)

    async def _announce(self, entry: OutboxEntry, spec: ProcessorSpec) -> str:
        if entry.announcement is None:
            raise Bug(f"{entry.effect_id} announces nothing")
        await self._ingest.announce(entry.announcement, spec.name)
        for announcer in self._announcers:
            await announcer.announce(entry.announcement)
        return entry.effect_id

    def _notice(self, entry: OutboxEntry, partition: Partition) -> Notice:
        link = None
        if self._link_base:
            link = f"{self._link_base}/v1/status/{partition.game_date}/{partition.processor}"
        return Notice(
            severity=entry.severity,
            kind=entry.subject,
            processor=partition.processor,
            game_date=partition.game_date,
            summary=entry.summary,
            detail=entry.detail,
            link=link,
            notice_id=f"{partition.id}:{entry.effect_id}",
            at=entry.created_at,
        )
