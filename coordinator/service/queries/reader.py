"""Partitions read and judged now, for every query that shows some.

Owns the judgement of what is shown, stored or not, the upstream partitions that a sentence names,
and the names of processors and tables. Refuses to write.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from coordinator.core.arrivals import CalendarDate
from coordinator.core.choices import ALL
from coordinator.core.explain import upstream
from coordinator.core.model import Partition, Pause, Status, WindowDay
from coordinator.core.spec import ProcessorSpec, TableSpec
from coordinator.core.verdict import Verdict
from coordinator.documents import control_key, partition_key
from coordinator.errors import BadInput, Bug, Mistake, NotFound
from coordinator.ports import Document, Key, Kind, Op, Query, Where
from coordinator.registry import Registry
from coordinator.service.engine import Committed, Engine, not_stored, shown_now
from coordinator.service.pages import items, pages
from coordinator.service.reading import Reading, Target
from coordinator.service.views.partition import PartitionRow, partition_row, under_pauses
from coordinator.wire import check_date, shown

UPSTREAM_SHOWN = 3
"""How many of the processors that a partition waits for its sentence names."""
CHUNK = 50
"""Partitions that are read together."""
AT_ONCE = 10
"""Partitions that are judged before something else gets its turn: about a millisecond."""
VERDICTS_KEPT = 1000
_PAGE = 500
_READ_ROUNDS = 16


@dataclass(frozen=True, slots=True)
class Judged:
    """A partition judged now. ``stored`` is False where it would only be created."""

    partition: Partition
    spec: ProcessorSpec
    verdict: Verdict
    stored: bool


class Verdicts:
    """Judgements of stored partitions, each given again until time alone may change it.

    What may rest on windows, pauses or the age of loads is always judged.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Partition, Judged]] = OrderedDict()

    def judged(
        self,
        stored: Partition,
        pauses: Sequence[Pause],
        spec: ProcessorSpec,
        now: datetime,
        days: Mapping[str, tuple[WindowDay, ...]] | None,
    ) -> Judged:
        """A stored partition under the pauses that there are, judged at ``now``."""
        held = self._kept.get(stored.id)
        if held is not None and held[0] is stored and not pauses:
            before = held[1].verdict
            if before.at <= now and (before.wake_at is None or now < before.wake_at):
                return replace(held[1], verdict=before._replace(at=now))
        partition, verdict = shown_now(under_pauses(stored, pauses), spec, now, days)
        judged = Judged(partition, spec, verdict, True)
        ages = stored.generation == 0 and any(
            r.max_age_warn is not None or r.max_age_fail is not None for r in spec.requirements
        )
        if not pauses and days is None and not ages:
            self._kept[stored.id] = stored, judged
            self._kept.move_to_end(stored.id)
            if len(self._kept) > VERDICTS_KEPT:
                self._kept.popitem(last=False)
        return judged


class Reader:
    """Reads what queries have in common. Every method raises ``Unavailable``."""

    def __init__(self, engine: Engine, behind: Callable[[Partition], int | None]) -> None:
        self.engine = engine
        self.store = engine.store
        self.behind = behind
        self._verdicts = Verdicts()

    # ── partitions ───────────────────────────────────────────────────────────────────────────

    async def judged(self, targets: Sequence[Target]) -> list[Judged]:
        """Partitions judged now, in this order; those not stored as they would be created."""
        keys = {partition_key(*t): t for t in targets}
        controls = {name: control_key(name) for name in (ALL, *(t[0] for t in targets))}
        docs = await self.store.get([*keys, *controls.values()])
        processors = self.engine.registry.processors
        windowed = [t for t in targets if processors[t[0]].windows]
        windows = await self.engine.windows_now(windowed) if windowed else {}
        now = self.engine.clock.now()
        found: dict[Target, Judged] = {}
        absent: list[Target] = []
        for n, (key, target) in enumerate(keys.items(), 1):
            partition: Partition | None = docs[key]
            if partition is None:
                absent.append(target)
                continue
            spec = processors[target[0]]
            held_by = [docs[controls[name]] for name in (ALL, spec.name)]
            pauses = [c.pause for c in held_by if c and c.pause]
            found[target] = self._verdicts.judged(partition, pauses, spec, now, windows.get(target))
            if n % AT_ONCE == 0:
                await asyncio.sleep(0)  # events go between
        for n in range(0, len(absent), AT_ONCE):
            for one in await self._imagined(absent[n : n + AT_ONCE]):
                target = (one.partition.processor, one.partition.game_date)
                if target in windows:
                    partition, verdict = shown_now(one.partition, one.spec, now, windows[target])
                    one = replace(one, partition=partition, verdict=verdict)
                found[target] = one
        return [found[t] for t in targets]

    async def rows(self, judged: Sequence[Judged]) -> list[PartitionRow]:
        """A line for each partition."""
        found: list[PartitionRow] = []
        for j, others in zip(judged, await self._upstream(judged), strict=True):
            behind = self.behind(j.partition)
            found.append(partition_row(j.partition, j.spec, j.verdict, others, behind))
            if len(found) % AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    async def _upstream(self, judged: Sequence[Judged]) -> list[list[Partition]]:
        """For each partition that waits: those whose outputs it waits for, a few of them.

        Those in ``judged`` are not read again; of the others no more than a chunk is read.
        """
        known = {(j.partition.processor, j.partition.game_date): j.partition for j in judged}
        wanted = [
            upstream(j.verdict, j.spec)[:UPSTREAM_SHOWN]
            if j.partition.status is Status.WAITING
            else ()
            for j in judged
        ]
        absent = dict.fromkeys(t for targets in wanted for t in targets if t not in known)
        for other in await self.judged(list(absent)[:CHUNK]):
            known[other.partition.processor, other.partition.game_date] = other.partition
        return [[known[t] for t in targets if t in known] for targets in wanted]

    async def _imagined(self, targets: Sequence[Target]) -> list[Judged]:
        """Partitions that are not stored, as a first decision on them would create them."""
        engine = self.engine
        docs: dict[Key, Document | None] = {}
        wanted = [k for t in targets for k in engine.keys_of(t)]
        for _ in range(_READ_ROUNDS):
            docs.update(await self.store.get(list(dict.fromkeys(wanted))))
            now = engine.clock.now()
            reading = Reading(docs)
            decided = [engine.decide_in(reading, t, (), now) for t in targets]
            wanted = reading.missing
            if not wanted:
                return [_first_decision(c, engine.registry, now) for c in decided if c is not None]
        raise Bug("reading a partition's surroundings does not end")

    # ── many documents ───────────────────────────────────────────────────────────────────────

    async def one(self, key: Key) -> Any:
        """One document, None where there is none."""
        return (await self.store.get([key]))[key]

    async def pauses(self) -> list[Pause]:
        """Every active pause."""
        found: list[Pause] = []
        async for page in pages(self.store, Query(Kind.CONTROL, limit=_PAGE)):
            found += [c.pause for _, c in page.items if c.pause is not None]
        return found

    async def calendar(self, first: str, last: str) -> list[CalendarDate]:
        """What the calendar knows of these dates."""
        query = Query(
            Kind.CALENDAR,
            (Where("game_date", Op.GE, first), Where("game_date", Op.LE, last)),
            order="game_date",
            limit=_PAGE,
        )
        return [c async for _, c in items(self.store, query)]

    # ── names ────────────────────────────────────────────────────────────────────────────────

    def spec(self, processor: str) -> ProcessorSpec:
        """A processor by name or alias. Raises ``NotFound``."""
        found = self.engine.registry.processor_for(processor)
        if found is None:
            known = ", ".join(sorted(self.engine.registry.processors)[:20])
            raise NotFound(f"no processor is named {shown(processor[:100])}; known are {known}")
        return found

    def table(self, table: str) -> TableSpec:
        """A table by name or alias. Raises ``NotFound``."""
        found = self.engine.registry.table_for(table)
        if found is None:
            known = ", ".join(sorted(self.engine.registry.tables)[:20])
            raise NotFound(f"no declared table is named {shown(table[:100])}; known are {known}")
        return found

    def specs(self) -> tuple[ProcessorSpec, ...]:
        """Every processor, upstream first."""
        return tuple(self.engine.registry.in_order())

    def today(self) -> str:
        """The date on the registry's clock."""
        zone = ZoneInfo(self.engine.registry.timezone)
        return self.engine.clock.now().astimezone(zone).date().isoformat()

    def of_partition(self, processor: str | None, game_date: str | None) -> list[Where]:
        """Conditions on a processor, by name or alias, and a date; each may be left out.

        Raises ``BadInput`` for a bad date, ``NotFound``.
        """
        where: list[Where] = []
        if game_date is not None:
            check_date("game_date", game_date)
            where.append(Where("game_date", Op.EQ, game_date))
        if processor is not None:
            where.append(Where("processor", Op.EQ, self.spec(processor).name))
        return where


def _first_decision(committed: Committed, registry: Registry, now: datetime) -> Judged:
    """A partition that was not stored a moment ago; one stored since is shown as it is."""
    before = committed.before
    spec = registry.processors[committed.decision.partition.processor]
    if before is not None:
        partition, verdict = shown_now(before, spec, now)
        return Judged(partition, spec, verdict, True)
    partition, verdict = not_stored(committed.decision, spec)
    return Judged(partition, spec, verdict, False)


def date_range(first: str, last: str, most: int) -> list[str]:
    """The dates from ``first`` to ``last``, both included. Raises ``BadInput``."""
    check_date("from", first)
    check_date("to", last)
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    if end < begin:
        raise BadInput(
            f"to: {last} lies before from ({first}); swap them",
            [Mistake("to", "must not lie before from", shown(last))],
        )
    days = (end - begin).days + 1
    if days > most:
        raise BadInput(
            f"to: {first} to {last} are {days} dates; ask for at most {most} at a time",
            [Mistake("to", f"must lie within {most} dates of from", shown(last))],
        )
    return [(begin + timedelta(days=n)).isoformat() for n in range(days)]
