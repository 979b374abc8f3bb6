"""The entry point for time: every partition whose ``wake_at`` has passed is evaluated.

Owns when that happens. Embedded, it sleeps until the earliest ``wake_at`` and is woken by every
commit that sets an earlier one, so a grace of two seconds ends within a second; a scheduler may
also call it. What time does to a partition is the core's to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from coordinator.core.choices import ALL
from coordinator.core.facts import Fact, Ticked
from coordinator.core.machine import Decision
from coordinator.core.model import Control
from coordinator.core.words import words_for
from coordinator.errors import CONTENDED, CoordinatorError, Unavailable
from coordinator.ports import Changes, Key, Kind, Notice, Op, Query, Where
from coordinator.service.engine import Committed, Engine
from coordinator.service.notices import Notices
from coordinator.service.notify_once import first_time
from coordinator.service.pages import pages
from coordinator.service.pending import Pending
from coordinator.service.reading import Docs, Target
from coordinator.service.registry_rollout import RegistryRollout
from coordinator.service.silent_sources import SilentSources
from coordinator.service.wakeup import time_or_event

log = structlog.get_logger(__name__)

BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
"""Before every ``wake_at``."""
PARTITIONS_PER_SWEEP = 2000
PER_TRANSACTION = 50
IDLE_LOOK = timedelta(seconds=15)
"""How often the store is queried for its earliest ``wake_at`` when no commit set one."""
REST_TIMES = 4
"""After what loads left is finished, rest so many times as long as it took: a burst shares it."""
REST_SECONDS_MAX = 1.0
LATE_AFTER = timedelta(minutes=5)
"""A partition found this long after its ``wake_at`` makes the sweep late, which is notified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep did."""

    at: datetime
    looked_at: int
    changed: int
    fired: tuple[str, ...]
    late_seconds: float
    more: bool
    """The limit per sweep was reached: what is left comes with the next one."""
    next_wake: datetime | None
    """The earliest ``wake_at`` in the store that was not due; where ``more``, one that was."""


class Sweeper:
    """Gives time to partitions."""

    def __init__(self, engine: Engine, notices: Notices, *, alone: bool = False) -> None:
        """With ``alone`` no other process can serve the store."""
        self._engine = engine
        self._notices = notices
        self._kick = asyncio.Event()
        self._next: datetime | None = None
        self.last_at: datetime | None = None
        self.limit_reached = 0
        self.stuck = engine.stuck
        self._late = False
        """The last sweep was late, which was notified; the next notice is after one in time."""
        self._silent_sources = SilentSources(engine)
        self._pending = Pending(engine)
        self._work_left = False
        self.rollout = RegistryRollout(engine, alone=alone)
        """Each sweep delivers what instances under another registry leave out."""
        engine.listen(self._on_commit)

    def _on_commit(self, committed: Sequence[Committed]) -> None:
        for c in committed:
            wake = c.decision.partition.wake_at
            if wake is not None and (self._next is None or wake < self._next):
                self._next = wake
                self._kick.set()

    def left_pending(self, dates: Iterable[tuple[str, str]]) -> None:
        """Loads of these (table, date) were committed here and leave work: finish it at once."""
        self._pending.hint(dates)
        self._work_left = True
        self._kick.set()

    async def run(self) -> None:
        """Sweep for ever, each time at the earliest ``wake_at``. Cancel to stop."""
        clock = self._engine.clock
        while True:
            self._next = None  # what commits tell from here on counts
            try:
                swept = await self.sweep()
            except Exception as error:
                if isinstance(error, CoordinatorError):
                    log.warning("sweep failed; it will be tried again", error=error.detail)
                else:
                    log.exception("sweep failed unexpectedly; it will be tried again")
                self._next = _earlier(self._next, clock.now() + timedelta(seconds=5))
            else:
                if swept.more:
                    continue
                self._next = _earlier(self._next, swept.next_wake)
            look_at = clock.now() + IDLE_LOOK
            while True:
                self._kick.clear()  # all that it signalled is in `_next` and `_work_left`
                if self._work_left:
                    await self._finish_soon()
                wake = min(look_at, self._next) if self._next else look_at
                await time_or_event(clock, self._kick, (wake - clock.now()).total_seconds())
                if not self._work_left or wake <= clock.now():
                    break

    async def _finish_soon(self) -> None:
        """Finish what loads left to be done, and rest, so that a burst of them shares the work."""
        clock = self._engine.clock
        began = clock.monotonic()
        self._work_left = False
        try:
            await self._pending.finish(self._notices.send)
        except Exception as error:  # what is recorded is finished by a sweep
            if isinstance(error, CoordinatorError):
                log.warning("work is left pending; it will be tried again", error=error.detail)
            else:
                log.exception("work is left pending; it will be tried again")
            self._next = _earlier(self._next, clock.now() + timedelta(seconds=5))
        took = clock.monotonic() - began
        await clock.sleep(min(REST_TIMES * took, REST_SECONDS_MAX))

    async def next_wake(self, after: datetime) -> datetime | None:
        """The earliest ``wake_at`` in the store after an instant."""
        found, _ = await self._engine.first(
            Query(Kind.PARTITION, (Where("wake_at", Op.GT, after),), order="wake_at", limit=1)
        )
        return found[0].wake_at if found else None

    def _now(self) -> datetime:
        return self._engine.clock.now()

    async def sweep(self, *, limit: int = PARTITIONS_PER_SWEEP) -> Swept:
        """Evaluate every partition that is due, at most ``limit`` of them."""
        now = self._now()
        self.last_at = now
        await self._tend_registries()
        await self._finish_resumes()
        finished = await self._finish_pending()
        looked = changed = 0
        late = 0.0
        fired = [d.fired.run_id for d in finished if d.fired is not None]
        more = False
        # One query of one partition is all that an idle sweep needs.
        next_wake = await self.next_wake(BEFORE_ALL)
        if next_wake is not None and next_wake <= now:
            async for partitions in self._due(now):
                if looked >= limit:
                    more = True
                    self.limit_reached += 1
                    log.warning("the sweep reached its limit", limit=limit)
                    break
                looked += len(partitions)
                late = max(late, *((now - p.wake_at).total_seconds() for p in partitions))
                work = {(p.processor, p.game_date): (Ticked(),) for p in partitions}
                for decision in await self._engine.apply_each(work):
                    changed += decision.changed
                    if decision.fired is not None:
                        fired.append(decision.fired.run_id)
            else:
                next_wake = await self.next_wake(now)
        await self._silent_sources.check(self._notices.send)
        await self._notify_late(late, now)
        return Swept(
            at=now,
            looked_at=looked,
            changed=changed,
            fired=tuple(fired),
            late_seconds=late,
            more=more,
            next_wake=next_wake,
        )

    async def _due(self, now: datetime) -> AsyncIterator[list[Any]]:
        """The partitions whose ``wake_at`` has come and whose processor is known, page by page."""
        engine, known = self._engine, self._engine.registry.processors
        due = Where("wake_at", Op.LE, now)
        portions = [engine.mine]
        while portions:
            query = Query(
                Kind.PARTITION, (due, *portions.pop(0)), order="wake_at", limit=PER_TRANSACTION
            )
            async for page in pages(engine.store, query):
                found = [p for _, p in page.items if p.processor in known]
                if len(found) < len(page.items) and len(query.where) == 1:
                    # Those of removed processors stay due for ever: ask by name from here on.
                    portions = list(engine.portions)
                    break
                if found:
                    yield found

    async def _notify_late(self, late: float, now: datetime) -> None:
        """Notify of a sweep that came late, once until one is in time again."""
        was_late, self._late = self._late, late > LATE_AFTER.total_seconds()
        if not self._late or was_late:
            return
        woken = (now - timedelta(seconds=late)).isoformat()
        if await first_time(self._engine, "sweep_late", woken):
            self._notices.send(
                Notice(
                    severity="warning",
                    kind="sweep_late",
                    processor=None,
                    game_date=None,
                    summary=f"A sweep came {words_for(timedelta(seconds=late))} late.",
                    detail="The service was down, or nothing called POST /v1/sweep.",
                    notice_id=f"sweep_late:{woken}",
                    at=now,
                )
            )

    async def _tend_registries(self) -> None:
        notice = await self.rollout.follow_up()
        if notice is not None and await first_time(self._engine, notice.kind, notice.notice_id):
            self._notices.send(notice)

    async def _finish_pending(self) -> list[Decision]:
        self._work_left = False
        try:
            return await self._pending.finish(self._notices.send)
        except Unavailable as error:
            if error.code != CONTENDED:
                raise
            log.warning("work is left pending; it will be tried again", error=error.detail)
        except Exception:  # it must not keep time from all partitions
            log.exception("work is left pending; it will be tried again")
        return []

    # ── resumes ──────────────────────────────────────────────────────────────────────────────

    async def _finish_resumes(self) -> None:
        """Evaluate what a pause held, for every resume that was committed and not finished."""
        page = await self._engine.store.find(
            Query(Kind.CONTROL, (Where("resume_pending", Op.EQ, 1),))
        )
        for _, control in page.items:
            await self.release(control.scope)

    async def release(self, scope: str) -> list[str]:
        """Re-judge every partition that a pause held; returns the runs that fired."""
        where = [Where("paused", Op.EQ, 1)]
        if scope != ALL:
            where.append(Where("processor", Op.EQ, scope))
        fired: list[str] = []
        query = Query(Kind.PARTITION, tuple(where), limit=PER_TRANSACTION)
        async for page in pages(self._engine.store, query):
            known = self._engine.registry.processors
            work: dict[Target, Sequence[Fact]] = {
                (p.processor, p.game_date): (Ticked(),)
                for _, p in page.items
                if p.processor in known
            }
            if work:
                decisions = await self._engine.apply_each(work)
                fired += [d.fired.run_id for d in decisions if d.fired is not None]
        await self._released(scope)
        return fired

    async def _released(self, scope: str) -> None:
        key = Key(Kind.CONTROL, scope)

        def step(docs: Docs) -> Changes[None]:
            control: Control | None = docs[key]
            if control is None or not control.resume_pending:
                return Changes(None)
            return Changes(None, {key: replace(control, resume_pending=False)})

        await self._engine.commits.transact([key], step)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    """The earlier of two instants, where None is never."""
    return min((at for at in (one, other) if at is not None), default=None)
