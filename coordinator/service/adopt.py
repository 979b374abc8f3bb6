"""Taking a registry into use: what is open is judged again, what is new is filled from the ledger.

Owns the work at a start under a registry that the store has not seen as current. A removed
requirement may fire, an added one holds; nothing that ran is disturbed. From the first change on,
until the work is done, both the old registry and the new one count as current, so a start that is
cut short begins again, whichever of them comes next. Inputs are read from the ledger even where a
partition was last judged under this same registry: what came in between may have passed it by.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import structlog

from coordinator.core.facts import Ticked
from coordinator.core.schedule import shift
from coordinator.documents import Dates, RegistryRecord, dates_key
from coordinator.ports import Changes, Document, Key, Kind, Op, Query, Where
from coordinator.service.engine import Docs, Engine, Target

log = structlog.get_logger(__name__)

PER_TRANSACTION = 50


async def adopt(engine: Engine) -> int:
    """Bring every partition under the engine's registry; says how many were looked at."""
    registry = engine.registry
    key = Key(Kind.REGISTRY, registry.registry_hash)
    page = await engine.store.find(Query(Kind.REGISTRY, (Where("current", Op.EQ, 1),)))
    current = [k for k, _ in page.items]
    if current == [key.id]:
        return 0
    looked = 0
    if current:
        await _mark_current(engine, key)
        await _list_dates(engine)
        targets = sorted(await _targets(engine))
        log.info("the registry changed", partitions=len(targets), hash=registry.registry_hash)
        for start in range(0, len(targets), PER_TRANSACTION):
            chunk = targets[start : start + PER_TRANSACTION]
            work = {t: (Ticked(),) for t in chunk}
            looked += len(await engine.apply_each(work, refill=True))
    old = [Key(Kind.REGISTRY, k) for k in current if k != key.id]

    def step(docs: Docs) -> Changes[None]:
        puts: dict[Key, Document] = {}
        for k in old:
            record: RegistryRecord | None = docs[k]
            if record is not None:
                puts[k] = replace(record, current=False)
        puts[key] = _current(docs[key], engine)
        return Changes(None, puts)

    await engine.store.transact([key, *old], step)
    return looked


async def _mark_current(engine: Engine, key: Key) -> None:
    def step(docs: Docs) -> Changes[None]:
        return Changes(None, {key: _current(docs[key], engine)})

    await engine.store.transact([key], step)


def _current(known: RegistryRecord | None, engine: Engine) -> RegistryRecord:
    if known is not None:
        return replace(known, current=True)
    registry = engine.registry
    return RegistryRecord(
        registry_hash=registry.registry_hash,
        first_used_at=engine.clock.now(),
        text=registry.text,
    )


async def _list_dates(engine: Engine) -> None:
    """Bring the lists of dates that windows read up to date with the ledger and the calendar."""
    tables = {r.sources[0] for s in engine.registry.processors.values() for r in s.windows}
    for table in sorted(tables):
        where = (Where("table", Op.EQ, table),)
        dates = [d.game_date async for d in _every(engine, Kind.TABLE_DATE, where)]
        await _add_dates(engine, table, dates)


async def _every(engine: Engine, kind: Kind, where: tuple[Where, ...]) -> AsyncIterator[Document]:
    after: str | None = None
    while True:
        page = await engine.store.find(Query(kind, where, limit=500, after=after))
        for _, document in page.items:
            yield document
        after = page.next_page_token
        if after is None:
            return


async def _add_dates(engine: Engine, name: str, dates: list[str]) -> None:
    key = dates_key(name)

    def step(docs: Docs) -> Changes[None]:
        known: Dates | None = docs[key]
        every = tuple(sorted({*dates, *(known.dates if known else ())}))
        if known is not None and known.dates == every:
            return Changes(None)
        return Changes(None, {key: Dates(name=name, dates=every)})

    await engine.store.transact([key], step)


async def _targets(engine: Engine) -> set[Target]:
    """Every partition that is stored, or that the ledger or the calendar gives rise to."""
    registry = engine.registry
    found: set[Target] = set()
    async for p in _every(engine, Kind.PARTITION, ()):
        if p.processor in registry.processors:
            found.add((p.processor, p.game_date))
    async for table_date in _every(engine, Kind.TABLE_DATE, ()):
        for dependency in registry.dependents(table_date.table):
            if dependency.window is None:
                date = shift(table_date.game_date, -(dependency.offset or 0))
                found.add((dependency.spec.name, date))
    async for calendar in _every(engine, Kind.CALENDAR, ()):
        found.update((name, calendar.game_date) for name in registry.processors)
    return found
