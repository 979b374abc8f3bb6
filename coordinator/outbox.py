"""The relay: takes committed effects out to the world and records the proof.

Owns delivery of launches, announcements and notices, at least once each. An effect leaves a
partition's outbox only when its delivery is proved, or when its reason is gone. A failed delivery
is tried again for ever, with a pause that grows to a minute. It never decides: proof and failure go
back as facts.

Every receiver (a launch target, the local pool, a notifier, an announcer) has a lane: a queue and a
bounded number of deliveries at once. So a receiver that is slow, hangs or refuses holds up its own
queue and no other (specification 4.2).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

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
    PooledLauncher,
    Query,
    Where,
)
from coordinator.service.engine import Committed, Engine
from coordinator.service.ingest import Ingest
from coordinator.service.notices import Notices
from coordinator.service.reading import Target
from coordinator.service.wakeup import time_or_event
from coordinator.wire import launch_message

log = structlog.get_logger(__name__)

LAUNCHES_PER_TARGET = 8
"""Launches on their way to one target at once, where the settings say nothing else."""
ANNOUNCEMENTS_AT_ONCE = 16
NOTICES_PER_NOTIFIER = 4
STORE_CALLS_AT_ONCE = 32
"""Partitions that are read, or whose deliveries are recorded, at once."""
LOOSE_NOTICES_LIMIT = 1000
"""Notices that belong to no partition and wait for one notifier; more are dropped and counted."""
DUE_PER_ROUND = 200
"""Partitions that are started from one page of the store."""
PAGES_PER_ROUND = 5
DELIVERED_LIMIT = 10_000
"""Deliveries to one of several receivers that are remembered, the newest of them."""
NOTICE_PAUSES_SECONDS = (1.0, 5.0, 15.0, 60.0)
"""Between the tries to deliver a notice that belongs to no partition."""
RECORD_PAUSES_SECONDS = (0.5, 2.0, 5.0, 15.0)
"""Between the tries to record a delivery that happened."""
DISCOVER_EVERY = timedelta(seconds=15)
"""How often the store is queried for due effects that no commit of this process created."""
DISCOVER_AGAIN = timedelta(seconds=1)
"""The same while the last round left some behind."""

OTHERS_GRACE = timedelta(seconds=15)
"""Where many processes share a store: how long an effect is left to the one that committed it."""
ASKED_GRACE = timedelta(seconds=5)
"""The same where somebody asks for a sweep."""

Work = Callable[[], Coroutine[Any, Any, None]]


class LaneName(NamedTuple):
    """What a lane leads to: the kind of effect, and a target's address or a notifier's name."""

    kind: EffectKind
    receiver: str


@dataclass(slots=True)
class Lane:
    """The deliveries to one receiver: those that wait, and a bounded number on their way."""

    name: LaneName
    slots: int
    room: Callable[[], int] | None = None
    """How many the receiver takes now; None where it does not say."""
    waiting: deque[Work] = field(default_factory=deque)
    busy: int = 0
    failures: int = 0
    """Deliveries that failed since the last that did not."""
    last_error: str | None = None
    loose: int = 0
    """Notices that belong to no partition and are not delivered yet."""
    dropped: int = 0
    """Those that were given up since the start."""

    @property
    def free(self) -> int:
        """How many more may start now."""
        most = self.slots if self.room is None else min(self.slots, self.room())
        return most - self.busy


@dataclass(slots=True)
class _Effect:
    """One outbox entry that this process delivers, in one part for each of its receivers."""

    target: Target
    entry: OutboxEntry
    lane: LaneName
    """The (first) lane it is in."""
    partition: Partition | None
    """As it was just read; None once the effect had to wait."""
    parts: int = 1
    started: bool = False
    proof: str = ""
    error: str | None = None
    withdrawn: bool = False
    retry: bool = False
    """Whether the store could not be read, so nothing was tried."""

    @property
    def key(self) -> tuple[Target, str]:
        return (self.target, self.entry.effect_id)


class Relay:
    """Delivers what is due. One per process; several processes may deliver the same effect twice,
    which claims and event ids make harmless."""

    def __init__(
        self,
        engine: Engine,
        ingest: Ingest,
        notices: Notices,
        launchers: Mapping[LaunchKind, Launcher],
        default_target: LaunchTarget,
        announcers: Sequence[Announcer] = (),
        notifiers: Sequence[Notifier] = (),
        link_base: str | None = None,
        launches_per_target: int = LAUNCHES_PER_TARGET,
        delivery_seconds: float | None = None,
        asked_seconds: float | None = None,
    ) -> None:
        """``delivery_seconds`` is the longest that one delivery may take, whatever its adapter
        allows; ``asked_seconds`` how long ``deliver_for_others`` waits. Both in real time, and
        without a limit where the clock is virtual."""
        self._engine = engine
        self._ingest = ingest
        self._launchers = launchers
        self._default = default_target
        self._link_base = link_base
        self._launches_per_target = launches_per_target
        self._delivery_seconds = delivery_seconds
        self._asked_seconds = asked_seconds
        self._pending: dict[Target, datetime] = {}
        self._kick = asyncio.Event()
        self._reading: set[Target] = set()
        self._shared = engine.store.profile.shared
        self._own: set[Target] = set()
        """The partitions whose effects this process's own commits created."""
        self._store_calls = asyncio.Semaphore(STORE_CALLS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self.deliveries: dict[tuple[str, str], int] = {}
        """(kind of effect, ``delivered`` or ``failed``) → count since the start."""
        self._lanes: dict[LaneName, Lane] = {}
        self._ledger = self._lane(LaneName(EffectKind.ANNOUNCE, "ledger"), ANNOUNCEMENTS_AT_ONCE)
        self._announcers = [
            (self._lane(LaneName(EffectKind.ANNOUNCE, name), ANNOUNCEMENTS_AT_ONCE), announcer)
            for name, announcer in _named(announcers)
        ]
        self._notifiers = [
            (self._lane(LaneName(EffectKind.NOTIFY, name), NOTICES_PER_NOTIFIER), notifier)
            for name, notifier in _named(notifiers)
        ]
        self._effects: dict[tuple[Target, str], _Effect] = {}
        self._ended: dict[Target, list[_Effect]] = {}
        """Effects whose delivery is over and not recorded yet."""
        self._recording: set[Target] = set()
        self._delivered: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._loose: set[asyncio.Task[None]] = set()
        self._next_page: str | None = None
        for launcher in launchers.values():
            if isinstance(launcher, PooledLauncher):
                launcher.call_on_room(self._pump_all)
        engine.listen(self._committed)
        notices.subscribe(self.deliver_notice)

    def _committed(self, committed: Sequence[Committed]) -> None:
        """Deliver the effects of these commits; those of earlier ones are being delivered."""
        for c in committed:
            partition = c.decision.partition
            before = () if c.before is None else c.before.outbox
            due = min((e.due_at for e in partition.outbox if e not in before), default=None)
            if due is not None:
                target = (partition.processor, partition.game_date)
                self._own.add(target)
                self._await(target, due)

    def _await(self, target: Target, due: datetime) -> None:
        self._pending[target] = min(due, self._pending.get(target, due))
        self._kick.set()

    # ── what is due ──────────────────────────────────────────────────────────────────────────

    @property
    def idle(self) -> bool:
        """Whether nothing this process knows of is due or on its way."""
        now = self._engine.clock.now()
        on_its_way = self._reading or self._effects or self._tasks
        return not on_its_way and not any(due <= now for due in self._pending.values())

    @property
    def next_due(self) -> datetime | None:
        """When the earliest effect that this process knows of is due."""
        return min(self._pending.values(), default=None)

    @property
    def lanes(self) -> Sequence[Lane]:
        """Every receiver that was delivered to since the start, and what waits for it."""
        return tuple(self._lanes.values())

    @property
    def waiting_for_workers(self) -> int:
        """Launches that wait for a worker of this process's own pool."""
        return sum(len(lane.waiting) for lane in self._lanes.values() if lane.room is not None)

    def in_hand(self, partition: Partition, entry: OutboxEntry) -> bool:
        """Whether this process is delivering an effect, or has it in a lane's queue."""
        return ((partition.processor, partition.game_date), entry.effect_id) in self._effects

    @property
    def taken_up(self) -> int:
        """How many effects this process is delivering or has in a lane's queue."""
        return len(self._effects)

    def queued(self, partition: Partition, entry: OutboxEntry) -> bool:
        """Whether an effect waits for a worker of this process's own pool: work, and no fault."""
        effect = self._effects.get(((partition.processor, partition.game_date), entry.effect_id))
        return effect is not None and not effect.started and self._pooled(effect.lane)

    def behind(self, partition: Partition) -> int | None:
        """How many launches are before a partition's in the queue of this process's own pool.

        None where it has none there.
        """
        target = (partition.processor, partition.game_date)
        queued = [
            self._effects[(target, entry.effect_id)]
            for entry in partition.outbox
            if entry.kind is EffectKind.LAUNCH and self.queued(partition, entry)
        ]
        if not queued:
            return None
        earlier = takewhile(lambda each: each is not queued[0], self._effects.values())
        return sum(each.lane == queued[0].lane and not each.started for each in earlier)

    def _pooled(self, name: LaneName) -> bool:
        return self._lanes[name].room is not None

    # ── the loop ─────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Deliver for ever. Cancel to stop."""
        clock = self._engine.clock
        discover_at = clock.monotonic()  # the wall clock may be set back by hours
        overdue = timedelta(0)
        while True:
            if clock.monotonic() >= discover_at:
                try:
                    await self.discover(overdue)
                    if self._shared:
                        overdue = OTHERS_GRACE
                except CoordinatorError as error:
                    log.warning("outbox look-up failed", error=error.detail)
                except Exception:
                    log.exception("outbox look-up failed unexpectedly")
                pause = DISCOVER_EVERY if self._next_page is None else DISCOVER_AGAIN
                discover_at = clock.monotonic() + pause.total_seconds()
            self._kick.clear()
            self.start_due()
            now = clock.now()
            waits = [
                (due - now).total_seconds()
                for target, due in self._pending.items()
                if target not in self._reading
            ]
            await time_or_event(clock, self._kick, min([discover_at - clock.monotonic(), *waits]))

    async def discover(self, overdue: timedelta = timedelta(0)) -> int:
        """Ask the store which partitions have due effects: after a start, or another's crash.

        Only those count that have been due for ``overdue``. One round is bounded; the next goes on
        where it ended, so that effects which fail for weeks hide none behind them. Returns how
        many were found that this process did not know of.
        """
        now = self._engine.clock.now()
        known = self._engine.registry.processors
        found = 0
        for _ in range(PAGES_PER_ROUND):
            page = await self._engine.store.find(
                Query(
                    Kind.PARTITION,
                    (Where("outbox_due", Op.LE, now - overdue), *self._engine.mine),
                    order="outbox_due",
                    limit=DUE_PER_ROUND,
                    after=self._next_page,
                )
            )
            for _, partition in page.items:
                target = (partition.processor, partition.game_date)
                # One that the registry no longer has keeps its intents, and nobody's turn.
                if partition.processor not in known or target in self._pending:
                    continue
                if target not in self._reading and any(
                    self._begins_at(e, target) <= now and (target, e.effect_id) not in self._effects
                    for e in partition.outbox
                ):
                    self._pending[target] = now
                    found += 1
            self._next_page = page.next_page_token
            if self._next_page is None or found >= DUE_PER_ROUND:
                break
        return found

    def start_due(self) -> None:
        """Start reading every partition that is due and not being read already."""
        now = self._engine.clock.now()
        for target, due in list(self._pending.items()):
            if due <= now and target not in self._reading:
                del self._pending[target]
                self._reading.add(target)
                self._start(self._enqueue_due(target))

    async def drain(self) -> None:
        """Deliver everything that is due now, and wait for it; not for a worker to be free."""
        self._next_page = None
        while await self.discover() or self._next_page is not None:
            self.start_due()
        self.start_due()
        while self._tasks:
            await asyncio.gather(*list(self._tasks))
            self.start_due()

    async def deliver_for_others(self) -> None:
        """Deliver what others should have delivered, and wait for it: a scheduler's call.

        It waits a bounded time; what is not delivered by then goes on.
        """
        await self.discover(ASKED_GRACE if self._shared else timedelta(0))
        delivering = asyncio.ensure_future(self._until_delivered())
        try:
            await asyncio.wait({delivering}, timeout=self._asked_seconds)
        finally:
            delivering.cancel()

    async def _until_delivered(self) -> None:
        self.start_due()
        while self._tasks:
            await asyncio.wait(list(self._tasks))
            self.start_due()

    async def stop(self) -> None:
        """Cancel what is on its way; it is still in the outbox."""
        self._stopped = True
        tasks = [*self._tasks, *self._loose]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ── one partition ────────────────────────────────────────────────────────────────────────

    async def _enqueue_due(self, target: Target) -> None:
        """Put what is due of one partition into the lanes of its receivers."""
        try:
            async with self._store_calls:
                partition = await self._read(target)
            spec = self._engine.registry.processors.get(target[0])
            if partition is not None and spec is not None:
                now = self._engine.clock.now()
                for entry in partition.outbox:
                    if self._begins_at(entry, target) <= now:
                        self._enqueue(target, entry, partition, spec)
                self._await_later(partition)
        except CoordinatorError as error:
            log.warning("an outbox cannot be read", target=target, error=error.detail)
            self._pending.setdefault(target, self._engine.clock.now() + timedelta(seconds=1))
        except Exception:
            log.exception("delivery failed unexpectedly", target=target)
            self._pending.setdefault(target, self._engine.clock.now() + timedelta(seconds=10))
        finally:
            self._reading.discard(target)
            self._kick.set()

    async def _read(self, target: Target) -> Partition | None:
        key = partition_key(*target)
        partition: Partition | None = (await self._engine.store.get([key]))[key]
        return partition

    def _await_later(self, partition: Partition) -> None:
        """Come back to a partition when the next of its effects is due that is in no lane."""
        target = (partition.processor, partition.game_date)
        if not partition.outbox:
            self._own.discard(target)  # everything is delivered, by whomever
        later = [
            self._begins_at(e, target)
            for e in partition.outbox
            if (target, e.effect_id) not in self._effects
        ]
        if later:
            self._await(target, min(later))

    def _begins_at(self, entry: OutboxEntry, target: Target) -> datetime:
        """When to deliver an effect. Two launches of one attempt are harmless; of two notices one
        is noise, so those that another process created are left to it for a while."""
        if entry.kind is EffectKind.NOTIFY and self._shared and target not in self._own:
            return entry.due_at + OTHERS_GRACE
        return entry.due_at

    # ── lanes ────────────────────────────────────────────────────────────────────────────────

    def _lane(self, name: LaneName, slots: int, room: Callable[[], int] | None = None) -> Lane:
        if name not in self._lanes:
            self._lanes[name] = Lane(name, slots, room)
        return self._lanes[name]

    def _launch_lane(self, spec: ProcessorSpec) -> Lane:
        target = self._launch_target(spec)
        receiver = f"{target.kind.value} {target.address}".strip()
        launcher, room = self._launchers.get(target.kind), None
        if isinstance(launcher, PooledLauncher):
            pool: PooledLauncher = launcher

            def room() -> int:
                return pool.room

        return self._lane(LaneName(EffectKind.LAUNCH, receiver), self._launches_per_target, room)

    def _enqueue(
        self, target: Target, entry: OutboxEntry, partition: Partition, spec: ProcessorSpec
    ) -> None:
        if (target, entry.effect_id) in self._effects:
            return
        parts: list[tuple[Lane, Callable[[_Effect, Partition], Awaitable[str]]]]
        if entry.kind is EffectKind.LAUNCH:
            parts = [(self._launch_lane(spec), partial(self._launch, spec))]
        elif entry.kind is EffectKind.ANNOUNCE:
            parts = [(self._ledger, partial(self._announce, spec))]
            parts += [
                (lane, partial(self._announce_outside, lane, a)) for lane, a in self._announcers
            ]
        else:
            parts = [(lane, partial(self._notify, lane, n)) for lane, n in self._notifiers]
        effect = _Effect(
            target,
            entry,
            parts[0][0].name if parts else LaneName(entry.kind, ""),
            partition,
            len(parts),
        )
        self._effects[effect.key] = effect
        for lane, deliver in parts:
            self._submit(lane, partial(self._part, effect, lane, deliver))
        if not parts:
            self._finish(effect)
        elif any(lane.waiting for lane, _ in parts):
            effect.partition = None

    def _submit(self, lane: Lane, work: Work) -> None:
        lane.waiting.append(work)
        self._pump(lane)

    def _pump(self, lane: Lane) -> None:
        """Start as many of a lane's deliveries as may be on their way."""
        while lane.waiting and lane.free > 0 and not self._stopped:
            lane.busy += 1
            self._start(self._in_lane(lane, lane.waiting.popleft()))

    def _pump_all(self) -> None:
        for lane in self._lanes.values():
            self._pump(lane)

    async def _in_lane(self, lane: Lane, work: Work) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            lane.busy -= 1
            raise
        lane.busy -= 1
        self._pump(lane)

    # ── one delivery ─────────────────────────────────────────────────────────────────────────

    async def _part(
        self,
        effect: _Effect,
        lane: Lane,
        deliver: Callable[[_Effect, Partition], Awaitable[str]],
    ) -> None:
        """Deliver an effect to one of its receivers."""
        effect.started = True
        try:
            if (partition := await self._still_asked_for(effect)) is not None:
                async with asyncio.timeout(self._delivery_seconds):
                    effect.proof = await deliver(effect, partition)
                lane.failures, lane.last_error = 0, None
        except Exception as error:  # noqa: BLE001 - logged by `_failed`
            effect.error = self._failed(lane, error, effect_id=effect.entry.effect_id)
        effect.parts -= 1
        if effect.parts == 0:
            self._finish(effect)

    def _failed(self, lane: Lane, error: Exception, **delivery: str) -> str:
        """Log a failed delivery and count it for its receiver; returns the error in words."""
        words = error.detail if isinstance(error, CoordinatorError) else repr(error)
        if isinstance(error, TimeoutError):
            words = f"{lane.name.receiver} took longer than {self._delivery_seconds} s"
        elif not isinstance(error, CoordinatorError):
            log.exception("an adapter raised", **delivery)
        log.warning("delivery failed", **delivery, receiver=lane.name.receiver, error=words)
        lane.failures, lane.last_error = lane.failures + 1, words
        return words

    async def _still_asked_for(self, effect: _Effect) -> Partition | None:
        """The partition, read again if the effect had to wait; None if nothing is to be done."""
        if effect.partition is not None:
            return effect.partition
        try:
            async with self._store_calls:
                partition = await self._read(effect.target)
        except CoordinatorError as error:
            log.warning("an outbox cannot be read", target=effect.target, error=error.detail)
            effect.retry = True
            return None
        if partition is None or all(
            e.effect_id != effect.entry.effect_id for e in partition.outbox
        ):
            effect.withdrawn = True
            return None
        return partition

    def _finish(self, effect: _Effect) -> None:
        """Every part is over: have it recorded, together with what else of the partition is."""
        self._kick.set()
        if effect.withdrawn or effect.retry:
            del self._effects[effect.key]
            pause = timedelta(seconds=1 if effect.retry else 0)
            self._await(effect.target, self._engine.clock.now() + pause)
            return
        self._count(effect.entry, "delivered" if effect.error is None else "failed")
        self._ended.setdefault(effect.target, []).append(effect)
        if effect.target not in self._recording:
            self._recording.add(effect.target)
            self._start(self._record_ended(effect.target))

    async def _record_ended(self, target: Target) -> None:
        """Write down what became of a partition's deliveries, until nothing is left to write."""
        try:
            while effects := self._ended.pop(target, []):
                try:
                    spec = self._engine.registry.processors[target[0]]
                    decision = await self._record(spec, target[1], [_fact(e) for e in effects])
                except CoordinatorError as error:
                    log.warning("delivery was not recorded", target=target, error=error.detail)
                    self._await(target, self._engine.clock.now() + timedelta(seconds=1))
                except Exception:
                    log.exception("delivery failed unexpectedly", target=target)
                    self._await(target, self._engine.clock.now() + timedelta(seconds=10))
                else:
                    self._forget(effects)
                    self._await_later(decision.partition)
                    continue
                self._forget(effects)
        finally:
            self._recording.discard(target)
            self._kick.set()

    def _forget(self, effects: Sequence[_Effect]) -> None:
        for effect in effects:
            self._effects.pop(effect.key, None)

    async def _record(self, spec: ProcessorSpec, date: str, facts: Sequence[Fact]) -> Decision:
        """Write down what was proved. Patiently: what is not written down is delivered again."""
        for pause in RECORD_PAUSES_SECONDS:
            try:
                async with self._store_calls:
                    return await self._engine.apply(spec, date, facts)
            except Unavailable as error:
                log.warning(
                    "a delivery is not recorded yet", target=(spec.name, date), error=error.detail
                )
            await self._engine.clock.sleep(pause)
        return await self._engine.apply(spec, date, facts)

    def _count(self, entry: OutboxEntry, result: str) -> None:
        key = (entry.kind.value, result)
        self.deliveries[key] = self.deliveries.get(key, 0) + 1

    # ── receivers ────────────────────────────────────────────────────────────────────────────

    def _launch_target(self, spec: ProcessorSpec) -> LaunchTarget:
        return spec.launch or self._default

    async def _launch(self, spec: ProcessorSpec, effect: _Effect, partition: Partition) -> str:
        run = partition.live
        if run is None:
            raise Bug(f"{partition.id} has a launch in its outbox and no live run")
        target = self._launch_target(spec)
        launcher = self._launchers.get(target.kind)
        if launcher is None:
            raise Unavailable(
                f"{spec.name} launches by {target.kind.value}, which this deployment does not "
                "have; set `launch` in the registry, or install and configure it"
            )
        message: dict[str, Any] = launch_message(run, spec, self._engine.clock.now())
        return await launcher.launch(target, spec, run, message)

    async def _announce(self, spec: ProcessorSpec, effect: _Effect, partition: Partition) -> str:
        if effect.entry.announcement is None:
            raise Bug(f"{effect.entry.effect_id} announces nothing")
        await self._ingest.announce(effect.entry.announcement, spec.name)
        return effect.entry.effect_id

    async def _announce_outside(
        self, lane: Lane, announcer: Announcer, effect: _Effect, partition: Partition
    ) -> str:
        arrival = effect.entry.announcement
        if arrival is not None:
            name = f"{partition.id}:{effect.entry.effect_id}"
            await self._once(lane, name, lambda: announcer.announce(arrival))
        return effect.entry.effect_id

    async def _notify(
        self, lane: Lane, notifier: Notifier, effect: _Effect, partition: Partition
    ) -> str:
        notice = self._notice(effect.entry, partition)
        await self._once(lane, notice.notice_id, lambda: notifier.notify(notice))
        return effect.entry.effect_id

    async def _once(self, lane: Lane, name: str, deliver: Callable[[], Awaitable[Any]]) -> None:
        """Deliver to one of several receivers: a retry for the sake of one repeats no other."""
        key = (name, lane.name.receiver)
        if key in self._delivered:
            return
        await deliver()
        self._delivered[key] = None
        if len(self._delivered) > DELIVERED_LIMIT:
            self._delivered.popitem(last=False)

    def deliver_notice(self, notice: Notice) -> None:
        """Deliver a notice that belongs to no partition, in the background.

        Its cause is durable elsewhere (quarantine, the sweep's metrics), so a notice that is lost
        with the process, or dropped, loses no fact.
        """
        for lane, notifier in self._notifiers:
            if lane.loose >= LOOSE_NOTICES_LIMIT:
                self._drop(lane, notice, "too many wait")
                continue
            lane.loose += 1
            task = asyncio.create_task(self._deliver_loose(lane, notifier, notice))
            self._loose.add(task)
            task.add_done_callback(self._loose.discard)

    async def _deliver_loose(self, lane: Lane, notifier: Notifier, notice: Notice) -> None:
        try:
            for pause in (*NOTICE_PAUSES_SECONDS, None):
                over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
                self._submit(lane, partial(self._try_loose, lane, notifier, notice, over))
                if await over:
                    return
                if pause is not None:
                    await self._engine.clock.sleep(pause)
            self._drop(lane, notice, "every try failed")
        finally:
            lane.loose -= 1

    async def _try_loose(
        self, lane: Lane, notifier: Notifier, notice: Notice, over: asyncio.Future[bool]
    ) -> None:
        delivered = False
        try:
            async with asyncio.timeout(self._delivery_seconds):
                await notifier.notify(notice)
            lane.failures, lane.last_error = 0, None
            delivered = True
        except Exception as error:  # noqa: BLE001 - logged by `_failed`
            self._failed(lane, error, notice=notice.kind)
        if not over.done():
            over.set_result(delivered)

    def _drop(self, lane: Lane, notice: Notice, reason: str) -> None:
        lane.dropped += 1
        log.warning(
            "a notice was dropped", kind=notice.kind, receiver=lane.name.receiver, reason=reason
        )

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


def _fact(effect: _Effect) -> Fact:
    if effect.error is None:
        return Delivered(effect_id=effect.entry.effect_id, message_id=effect.proof)
    return DeliveryFailed(effect_id=effect.entry.effect_id, error=effect.error)


def _named(receivers: Iterable[Any]) -> list[tuple[str, Any]]:
    """Receivers with a name each: their own, or that of their type and place."""
    return [
        (getattr(each, "name", None) or f"{type(each).__name__} {place}", each)
        for place, each in enumerate(receivers, 1)
    ]
