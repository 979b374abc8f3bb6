"""Rolling out a registry: open partitions are evaluated again, new ones filled from the ledger.

Owns the evaluation of every partition whose rules changed: at a start under a registry that the
store does not know as the only one served, and again while and after another is served beside it. A
removed requirement may fire, an added one holds; nothing that ran is disturbed. Inputs are read
from the ledger even where a partition was last judged under this same registry: an instance of the
other registry records what it ingests, but does not deliver it to partitions and lines that it does
not have.

The other registry counts as served until it is proved gone (``registry_membership``) and everything
was evaluated once more after that, so a start that is cut short begins again, whichever registry
comes next.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from coordinator.core.facts import Ticked
from coordinator.core.schedule import shift
from coordinator.core.spec import ProcessorSpec
from coordinator.documents import Dates, dates_key
from coordinator.errors import Unavailable
from coordinator.ports import Changes, Kind, Notice, Op, Query, Where
from coordinator.registry import Registry
from coordinator.service.engine import Engine
from coordinator.service.pages import items, targets
from coordinator.service.reading import Docs, Target
from coordinator.service.registry_membership import GONE_AFTER, REFRESH_AHEAD, REFRESH_EVERY

log = structlog.get_logger(__name__)

PER_TRANSACTION = 50
PER_PAGE = 100
"""Documents that are held at once while all are gone through; a partition may have 100 kB."""
LONGEST_PAUSE = timedelta(minutes=10)
"""Between two evaluations of everything, while another registry goes on being served."""
NOTICE_AFTER = timedelta(minutes=15)
"""Two registries served side by side for longer are no rolling deployment."""


class RegistryRollout:
    """Evaluates every partition under the engine's registry, and delivers what others leave out."""

    def __init__(self, engine: Engine, *, alone: bool = False) -> None:
        """With ``alone`` no other process can serve the store: registries served before are gone."""
        self._engine = engine
        self._membership = engine.membership
        self._alone = alone
        self._leaving: dict[str, tuple[datetime, float]] = {}
        """The registries that are leaving: since when by their records, and when that was seen
        here."""
        self._finishing = False
        """The evaluation after a start is going on."""
        self._next_evaluation = 0.0
        self._pause = REFRESH_EVERY
        self._mixed_since: float | None = None
        self._notified = False

    async def start(self) -> int:
        """Roll out the registry at a start; gives how many partitions were evaluated.

        Raises ``Unavailable``.
        """
        return await self.finish() if await self.begin() else 0

    async def begin(self) -> bool:
        """Take the registry into use; gives whether partitions are left for ``finish``.

        What comes from here on is judged by it: until ``finish`` every decision reads the inputs of
        its partition from the ledger first. Raises ``Unavailable``.
        """
        await self._membership.refresh()
        others = sorted(self._membership.others)
        if others:
            own = self._engine.registry.registry_hash
            log.info("the registry changed", hash=own, before=others)
            self._membership.unevaluated = self._finishing = True
            await _list_dates(self._engine)
        return bool(others)

    async def finish_behind(self) -> None:
        """``finish`` while the service answers; where it fails, the sweeps evaluate everything."""
        try:
            await self.finish()
        except Unavailable as error:
            log.warning("the rollout was cut short; the sweeps go on with it", error=error.detail)

    async def finish(self) -> int:
        """Evaluate what the registry changed; gives how many partitions those were.

        Raises ``Unavailable``.
        """
        try:
            return await self._finish(sorted(self._membership.others))
        finally:
            self._finishing = False

    async def _finish(self, others: list[str]) -> int:
        evaluated = await self._evaluate_all()
        if self._alone:
            for name in others:
                await self._membership.mark_gone(name)
            await self._membership.refresh()
        else:
            await self._ask(others)
        return evaluated

    async def follow_up(self) -> Notice | None:
        """Evaluate everything again where another registry was served since; may give a notice of
        it.

        Raises ``Unavailable``.
        """
        await self._membership.ensure_current(REFRESH_AHEAD)
        if self._finishing:
            return None
        now = self._engine.clock.monotonic()
        others = self._membership.others
        if not others:
            self._leaving.clear()
            self._pause, self._mixed_since, self._notified = REFRESH_EVERY, None, False
            return None
        served = [name for name, record in others.items() if record.leaving_at is None]
        gone: list[tuple[str, datetime]] = []
        for name, record in others.items():
            at = record.leaving_at
            if at is not None and self._seen_for(name, at, now) >= GONE_AFTER:
                gone.append((name, at))
        if gone or (served and now >= self._next_evaluation):
            await self._evaluate_all()
            for name, leaving_at in gone:
                await self._membership.mark_gone(name, leaving_at)
        if gone or served:
            await self._ask(served)
        return self._notice(now, served)

    async def _ask(self, served: list[str]) -> None:
        """Ask whether these are still served: an instance that serves one answers within a
        minute."""
        for name in served:
            await self._membership.mark_leaving(name)
        await self._membership.refresh()

    def _seen_for(self, name: str, leaving_at: datetime, now: float) -> timedelta:
        """For how long this instance has seen a registry leave."""
        known = self._leaving.get(name)
        if known is None or known[0] != leaving_at:
            self._leaving[name] = known = (leaving_at, now)
        return timedelta(seconds=now - known[1])

    def _notice(self, now: float, served: list[str]) -> Notice | None:
        if not served:
            return None
        if self._mixed_since is None:
            self._mixed_since = now
        if self._notified or now < self._mixed_since + NOTICE_AFTER.total_seconds():
            return None
        self._notified = True
        clock, own = self._engine.clock, self._engine.registry.registry_hash
        hashes = ", ".join(name[:12] for name in sorted([own, *served]))
        return Notice(
            severity="warning",
            kind="registries_differ",
            processor=None,
            game_date=None,
            summary=f"{len(served) + 1} registries are served over one store: {hashes}.",
            detail="A partition is judged by the rules of whichever instance evaluates it, and "
            "what one registry does not have waits up to ten minutes. Bring every instance "
            "to the same registry file; GET /v1/registry says which one it serves.",
            notice_id=f"registries_differ:{hashes}:{clock.now().date()}",
            at=clock.now(),
        )

    async def _evaluate_all(self) -> int:
        engine = self._engine
        self._next_evaluation = engine.clock.monotonic() + self._pause.total_seconds()
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        await _list_dates(engine)
        changed = set(engine.registry.processors) - unchanged(
            engine.registry, await self._membership.other_registries()
        )
        every = sorted(await _targets(engine, changed)) if changed else []
        evaluated = 0
        for start in range(0, len(every), PER_TRANSACTION):
            work = {t: (Ticked(),) for t in every[start : start + PER_TRANSACTION]}
            evaluated += len(await engine.apply_each(work, refill=True))
        self._membership.unevaluated = False
        log.info("partitions re-evaluated", partitions=evaluated, processors=len(changed))
        return evaluated


def unchanged(registry: Registry, others: Iterable[Registry | None]) -> set[str]:
    """The processors to which every other registry means the very same.

    Whoever serves such a one delivers all that they wait for. One that cannot be read any more
    (None) may have meant anything.
    """
    specs = registry.processors
    same = set(specs)
    for other in others:
        if other is None:
            return set()
        known = other.processors
        same = {n for n in same if n in known and _meaning(known[n]) == _meaning(specs[n])}
    return same


def _meaning(spec: ProcessorSpec) -> ProcessorSpec:
    return replace(spec, registry_hash="")


async def _list_dates(engine: Engine) -> None:
    """Bring the lists of dates that windows read up to date with the ledger and the calendar."""
    tables = {r.sources[0] for s in engine.registry.processors.values() for r in s.windows}
    for table in sorted(tables):
        query = Query(Kind.TABLE_DATE, (Where("table", Op.EQ, table),), limit=PER_PAGE)
        dates = [d.game_date async for _, d in items(engine.store, query)]
        await _add_dates(engine, table, dates)


async def _add_dates(engine: Engine, name: str, dates: list[str]) -> None:
    key = dates_key(name)

    def step(docs: Docs) -> Changes[None]:
        known: Dates | None = docs[key]
        every = tuple(sorted({*dates, *(known.dates if known else ())}))
        if known is not None and known.dates == every:
            return Changes(None)
        return Changes(None, {key: Dates(name=name, dates=every)})

    await engine.transact([key], step, [key])


async def _targets(engine: Engine, processors: Set[str]) -> set[Target]:
    """Every partition of these that is stored, or that the ledger or the calendar gives rise to."""
    registry = engine.registry
    found: set[Target] = set()
    found.update(t for t in await targets(engine.store) if t[0] in processors)
    async for _, table_date in items(engine.store, Query(Kind.TABLE_DATE, limit=PER_PAGE)):
        for dependency in registry.dependents(table_date.table):
            if dependency.window is None and dependency.spec.name in processors:
                date = shift(table_date.game_date, -(dependency.offset or 0))
                found.add((dependency.spec.name, date))
    async for _, calendar in items(engine.store, Query(Kind.CALENDAR, limit=PER_PAGE)):
        found.update((name, calendar.game_date) for name in processors)
    return found
