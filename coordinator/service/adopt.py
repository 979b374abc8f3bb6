"""Taking a registry into use: what is open is judged again, what is new is filled from the ledger.

Owns the look at every partition whose rules changed: at a start under a registry that the store
does not know as the only one served, and again while and after another is served beside it. A
removed requirement may fire, an added one holds; nothing that ran is disturbed. Inputs are read
from the ledger even where a partition was last judged under this same registry: an instance of the
other registry records what it takes in, but does not bring it to partitions and lines that it does
not have.

The other registry counts as served until it is proved gone (``in_force``) and everything was looked
at once more after that, so a start that is cut short begins again, whichever registry comes next.
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
from coordinator.ports import Changes, Kind, Notice, Op, Query, Where
from coordinator.registry import Registry
from coordinator.service.engine import Engine
from coordinator.service.in_force import GONE_AFTER, LOOK_AHEAD, LOOK_EVERY
from coordinator.service.pages import items
from coordinator.service.reading import Docs, Target

log = structlog.get_logger(__name__)

PER_TRANSACTION = 50
LONGEST_PAUSE = timedelta(minutes=10)
"""Between two looks at everything, while another registry goes on being served."""
NEWS_AFTER = timedelta(minutes=15)
"""Two registries served side by side for longer are no deployment on its way."""


class Adoption:
    """Brings every partition under the engine's registry, and what others leave out."""

    def __init__(self, engine: Engine, *, alone: bool = False) -> None:
        """With ``alone`` no other process can serve the store: registries served before are gone."""
        self._engine = engine
        self._in_force = engine.in_force
        self._alone = alone
        self._leaving: dict[str, tuple[datetime, float]] = {}
        """Who is leaving: since when by its record, and when that was seen here."""
        self._next_look = 0.0
        self._pause = LOOK_EVERY
        self._mixed_since: float | None = None
        self._told = False

    async def take_up(self) -> int:
        """Take the registry into use at a start; says how many partitions were looked at.

        Raises ``Unavailable``.
        """
        await self._in_force.look()
        others = sorted(self._in_force.others)
        if not others:
            return 0
        own = self._engine.registry.registry_hash
        log.info("the registry changed", hash=own, before=others)
        looked = await self._look_at_everything()
        if self._alone:
            for name in others:
                await self._in_force.say_gone(name)
            await self._in_force.look()
        else:
            await self._ask(others)
        return looked

    async def tend(self) -> Notice | None:
        """Look at everything again where another registry was served since; gives news of it.

        Raises ``Unavailable``.
        """
        await self._in_force.keep(LOOK_AHEAD)
        now = self._engine.clock.monotonic()
        others = self._in_force.others
        if not others:
            self._leaving.clear()
            self._pause, self._mixed_since, self._told = LOOK_EVERY, None, False
            return None
        served = [name for name, record in others.items() if record.leaving_at is None]
        gone: list[tuple[str, datetime]] = []
        for name, record in others.items():
            at = record.leaving_at
            if at is not None and self._seen_for(name, at, now) >= GONE_AFTER:
                gone.append((name, at))
        if gone or (served and now >= self._next_look):
            await self._look_at_everything()
            for name, leaving_at in gone:
                await self._in_force.say_gone(name, leaving_at)
        if gone or served:
            await self._ask(served)
        return self._news(now, served)

    async def _ask(self, served: list[str]) -> None:
        """Ask whether these are still served: who serves one says so within a minute."""
        for name in served:
            await self._in_force.say_leaving(name)
        await self._in_force.look()

    def _seen_for(self, name: str, leaving_at: datetime, now: float) -> timedelta:
        """For how long this instance has seen a registry leave."""
        known = self._leaving.get(name)
        if known is None or known[0] != leaving_at:
            self._leaving[name] = known = (leaving_at, now)
        return timedelta(seconds=now - known[1])

    def _news(self, now: float, served: list[str]) -> Notice | None:
        if not served:
            return None
        if self._mixed_since is None:
            self._mixed_since = now
        if self._told or now < self._mixed_since + NEWS_AFTER.total_seconds():
            return None
        self._told = True
        clock, own = self._engine.clock, self._engine.registry.registry_hash
        hashes = ", ".join(name[:12] for name in sorted([own, *served]))
        return Notice(
            severity="warning",
            kind="registries_differ",
            processor=None,
            game_date=None,
            summary=f"{len(served) + 1} registries are served over one store: {hashes}.",
            detail="A partition is judged by the rules of whichever instance looks at it, and "
            "what one registry does not have waits up to ten minutes. Bring every instance "
            "to the same registry file; GET /v1/registry tells which one it serves.",
            notice_id=f"registries_differ:{hashes}:{clock.now().date()}",
            at=clock.now(),
        )

    async def _look_at_everything(self) -> int:
        engine = self._engine
        self._next_look = engine.clock.monotonic() + self._pause.total_seconds()
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        await _list_dates(engine)
        changed = set(engine.registry.processors) - unchanged(
            engine.registry, await self._in_force.other_registries()
        )
        targets = sorted(await _targets(engine, changed)) if changed else []
        looked = 0
        for start in range(0, len(targets), PER_TRANSACTION):
            work = {t: (Ticked(),) for t in targets[start : start + PER_TRANSACTION]}
            looked += len(await engine.apply_each(work, refill=True))
        log.info("partitions were looked at again", partitions=looked, processors=sorted(changed))
        return looked


def unchanged(registry: Registry, others: Iterable[Registry | None]) -> set[str]:
    """The processors to which every other registry means the very same.

    Whoever serves such a one brings them all that they wait for. One that cannot be read any more
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
        query = Query(Kind.TABLE_DATE, (Where("table", Op.EQ, table),), limit=500)
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
    async for _, p in items(engine.store, Query(Kind.PARTITION, limit=500)):
        if p.processor in processors:
            found.add((p.processor, p.game_date))
    async for _, table_date in items(engine.store, Query(Kind.TABLE_DATE, limit=500)):
        for dependency in registry.dependents(table_date.table):
            if dependency.window is None and dependency.spec.name in processors:
                date = shift(table_date.game_date, -(dependency.offset or 0))
                found.add((dependency.spec.name, date))
    async for _, calendar in items(engine.store, Query(Kind.CALENDAR, limit=500)):
        found.update((name, calendar.game_date) for name in processors)
    return found
