"""Taking a registry into use: what is open is judged again, what is new is filled from the ledger.

Owns the work at a start under a registry that the store has not seen as current. A removed
requirement may fire, an added one holds; nothing that ran is disturbed. From the first change on,
until the work is done, both the old registry and the new one count as current, so a start that is
cut short begins again, whichever of them comes next. Inputs are read from the ledger even where a
partition was last judged under this same registry: what came in between may have passed it by.
"""

from __future__ import annotations

from dataclasses import replace

import structlog

from coordinator.core.facts import Ticked
from coordinator.core.schedule import shift
from coordinator.documents import RegistryRecord
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


async def _targets(engine: Engine) -> set[Target]:
    """Every partition that is stored, or that the ledger or the calendar gives rise to."""
    registry = engine.registry
    found: set[Target] = set()
    after: str | None = None
    while True:
        page = await engine.store.find(Query(Kind.PARTITION, limit=500, after=after))
        found.update(
            (p.processor, p.game_date) for _, p in page.items if p.processor in registry.processors
        )
        after = page.next_page_token
        if after is None:
            break
    while True:
        page = await engine.store.find(Query(Kind.TABLE_DATE, limit=500, after=after))
        for _, table_date in page.items:
            for dependency in registry.dependents(table_date.table):
                if dependency.window is None:
                    date = shift(table_date.game_date, -(dependency.offset or 0))
                    found.add((dependency.spec.name, date))
        after = page.next_page_token
        if after is None:
            break
    while True:
        page = await engine.store.find(Query(Kind.CALENDAR, limit=500, after=after))
        found.update((name, c.game_date) for _, c in page.items for name in registry.processors)
        after = page.next_page_token
        if after is None:
            return found
