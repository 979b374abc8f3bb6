"""The doors that only look: what every GET of the contract (5.2) answers.

Owns the queries and their bounds. What is shown is what is decided from: the stored documents, and
the same ``judge`` at this instant, so no page can disagree with the machine. Nothing here writes,
and nothing here uses the store's writer.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from coordinator.core.explain import source_sentence, upstream
from coordinator.core.model import (
    GOOD_OUTCOMES,
    CalendarDate,
    Control,
    Flag,
    Partition,
    Run,
    RunStatus,
    Status,
    TableDate,
)
from coordinator.core.readiness import Verdict, judge_source
from coordinator.core.schedule import acts, instant, shift
from coordinator.core.spec import (
    LaunchKind,
    LaunchTarget,
    OffDay,
    ProcessorSpec,
    Requirement,
    RequirementKind,
    TableSpec,
)
from coordinator.documents import calendar_key, control_key, partition_key, run_key, table_date_key
from coordinator.errors import BadInput, Bug, Mistake, NotFound
from coordinator.ports import Document, Key, Kind, Op, Query, Where
from coordinator.registry import Registry
from coordinator.service.engine import (
    ALL,
    Committed,
    Engine,
    Reading,
    Target,
    shown_now,
    unheard,
)
from coordinator.service.pages import pages
from coordinator.service.shapes import (
    View,
    audit_view,
    ledger_row,
    partition_row,
    partition_whole,
    pause_view,
    quarantine_view,
    run_brief,
    run_whole,
    table_date_view,
    under_pauses,
)
from coordinator.wire import check_date, instant_text, is_game_date, shown

GRID_DATES_LIMIT = 400
GAPS_DATES_LIMIT = 4000
RUNS_PER_PARTITION = 50
LEDGER_PAGE = 1000
TRACE_LIMIT = 1000
DUE_SHOWN = 1000
UPSTREAM_SHOWN = 3
"""How many of the processors that a partition waits for its sentence speaks of."""
QUARANTINE_COUNTED = 100
"""Open messages in quarantine that are counted; so many stand for that many or more."""
QUARANTINE_SEARCHED = 500
"""How many of the newest quarantined messages a trace looks through."""
QUARANTINE_RAW_IN_LISTS = 16 * 1024
"""Bytes; a longer raw message is shown by its own address alone, so that a list stays small."""
_PAGE = 500
_CHUNK = 50
_READ_ROUNDS = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """A partition as it stands, judged now. ``stored`` is False where it would only be made."""

    partition: Partition
    spec: ProcessorSpec
    verdict: Verdict
    stored: bool


class StatusViews:
    """Answers what people and programs ask of the state. Every method raises ``Unavailable``.

    ``default_target`` is where launches go of which the registry does not say where.
    """

    def __init__(self, engine: Engine, default_target: LaunchTarget | None = None) -> None:
        self._engine = engine
        self._default_target = default_target
        self.behind: Callable[[Partition], int | None] = lambda _: None
        """How many launches are before a partition's where that waits for a worker here."""

    # ── partitions ───────────────────────────────────────────────────────────────────────────

    async def date(self, game_date: str) -> View:
        """Every processor's partition on a date, stored or not. Raises ``BadInput``."""
        check_date("game_date", game_date)
        specs = self._specs()
        seen = await self._look([(s.name, game_date) for s in specs])
        calendar: CalendarDate | None = await self._one(calendar_key(game_date))
        pauses = await self._controls()
        return {
            "game_date": game_date,
            "games": None if calendar is None else list(calendar.games),
            "loads_known": await self._loads_known(game_date),
            "registry_hash": self._engine.registry.registry_hash,
            "pauses": [pause_view(c.pause) for c in pauses if c.pause is not None],
            "quarantine_open": await self._quarantine_open(),
            "items": await self._rows(seen),
            "next_page_token": None,
        }

    async def partition(self, processor: str, game_date: str) -> View:
        """The whole partition. Raises ``BadInput`` for a bad date, ``NotFound``."""
        check_date("game_date", game_date)
        spec = self.spec(processor)
        seen = (await self._look([(spec.name, game_date)]))[0]
        runs = await self._engine.store.find(
            Query(
                Kind.RUN,
                (Where("processor", Op.EQ, spec.name), Where("game_date", Op.EQ, game_date)),
                order="fired_at",
                descending=True,
                limit=RUNS_PER_PARTITION,
            )
        )
        (waited_for,) = await self._upstream([seen])
        behind = self.behind(seen.partition)
        whole = partition_whole(
            seen.partition, spec, seen.verdict, waited_for, behind, stored=seen.stored
        )
        target = self._target(spec)
        return {**whole, "runs": [run_whole(r, target, seen.partition) for _, r in runs.items]}

    async def _loads_known(self, game_date: str) -> bool:
        """Whether the ledger holds a load for a date, of any table but the calendar's."""
        page = await self._engine.store.find(
            Query(Kind.TABLE_DATE, (Where("game_date", Op.EQ, game_date),), limit=2)
        )
        calendar = self._engine.registry.calendar_table
        return any(loads.table != calendar for _, loads in page.items)

    async def due(self) -> View:
        """What a sweep now would look at, at most a thousand; nothing is decided."""
        now = self._engine.clock.now()
        due, more = await self._engine.first(
            Query(Kind.PARTITION, (Where("wake_at", Op.LE, now),), order="wake_at", limit=DUE_SHOWN)
        )
        wakes = [p.wake_at for p in due if p.wake_at is not None]
        return {
            "at": instant_text(now),
            "dry_run": True,
            "looked_at": len(wakes),
            "changed": 0,
            "fired_run_ids": [],
            "late_seconds": (now - wakes[0]).total_seconds() if wakes else 0.0,
            "more": more,
        }

    async def _look(self, targets: Sequence[Target]) -> list[Seen]:
        """Partitions judged now, in the order asked for; those not stored as they would be made."""
        keys = {partition_key(*t): t for t in targets}
        controls = {name: control_key(name) for name in (ALL, *(t[0] for t in targets))}
        docs = await self._engine.store.get([*keys, *controls.values()])
        now = self._engine.clock.now()
        found: dict[Target, Seen] = {}
        for key, target in keys.items():
            partition: Partition | None = docs[key]
            if partition is not None:
                spec = self._engine.registry.processors[target[0]]
                held_by = [docs[controls[name]] for name in (ALL, spec.name)]
                partition = under_pauses(partition, [c.pause for c in held_by if c and c.pause])
                partition, verdict = shown_now(partition, spec, now)
                found[target] = Seen(partition, spec, verdict, True)
        absent = [t for t in targets if t not in found]
        for n in range(0, len(absent), _CHUNK):
            for seen in await self._imagine(absent[n : n + _CHUNK]):
                found[seen.partition.processor, seen.partition.game_date] = seen
        windowed = [t for t in targets if found[t].spec.windows]
        for target, days in (await self._engine.windows_now(windowed)).items():
            seen = found[target]
            partition, verdict = shown_now(seen.partition, seen.spec, now, days)
            found[target] = replace(seen, partition=partition, verdict=verdict)
        return [found[t] for t in targets]

    async def _rows(self, seen: Sequence[Seen]) -> list[View]:
        """A line for each partition."""
        waited_for = await self._upstream(seen)
        pairs = zip(seen, waited_for, strict=True)
        return [
            partition_row(s.partition, s.spec, s.verdict, others, self.behind(s.partition))
            for s, others in pairs
        ]

    async def _upstream(self, seen: Sequence[Seen]) -> list[list[Partition]]:
        """For each partition that waits: those whose outputs it waits for, a few of them.

        Taken from ``seen`` where they stand there; of the others no more than a chunk is read.
        """
        known = {(s.partition.processor, s.partition.game_date): s.partition for s in seen}
        wanted = [
            upstream(s.verdict, s.spec)[:UPSTREAM_SHOWN]
            if s.partition.status is Status.WAITING
            else ()
            for s in seen
        ]
        absent = dict.fromkeys(t for targets in wanted for t in targets if t not in known)
        for other in await self._look(list(absent)[:_CHUNK]):
            known[other.partition.processor, other.partition.game_date] = other.partition
        return [[known[t] for t in targets if t in known] for targets in wanted]

    def _target(self, spec: ProcessorSpec) -> LaunchTarget | None:
        """Where a processor's launches go."""
        target = spec.launch or self._default_target
        if target is not None and target.kind is LaunchKind.PUBSUB and not target.address:
            return LaunchTarget(kind=target.kind, address=f"nba-phase{spec.phase}-trigger")
        return target

    async def _imagine(self, targets: Sequence[Target]) -> list[Seen]:
        """Partitions that are not stored, as a first decision on them would make them."""
        engine = self._engine
        docs: dict[Key, Document | None] = {}
        wanted = [k for t in targets for k in engine.keys_of(t)]
        for _ in range(_READ_ROUNDS):
            docs.update(await engine.store.get(list(dict.fromkeys(wanted))))
            now = engine.clock.now()
            reading = Reading(docs)
            decided = [engine.decide_in(reading, t, (), now) for t in targets]
            wanted = reading.missing
            if not wanted:
                return [_imagined(c, engine.registry, now) for c in decided if c is not None]
        raise Bug("reading a partition's surroundings does not end")

    # ── many dates ───────────────────────────────────────────────────────────────────────────

    async def grid(self, first: str, last: str) -> View:
        """Processors × dates, compact: status and flags, as stored.

        A date that the calendar knows has a cell for every processor, also where nothing is stored
        (``stored`` is False: waiting, perhaps overdue, or not expected); a date that nothing is
        known of has none.
        Raises ``BadInput`` for bad dates and for more than 400 of them.
        """
        dates = date_range(first, last, GRID_DATES_LIMIT)
        calendar = {c.game_date: c async for c in self._calendar(first, last)}
        specs = self._specs()
        cells: dict[str, dict[str, View]] = {s.name: {} for s in specs}
        pauses = [c.pause for c in await self._controls() if c.pause is not None]
        held = {s.name: [p for p in pauses if p.scope in (ALL, s.name)] for s in specs}
        async for p in self._partitions(first, last):
            if p.processor in cells:
                shown_flags = [f.value for f in under_pauses(p, held[p.processor]).flags]
                cells[p.processor][p.game_date] = _cell(p.status, shown_flags, True)
        now = self._engine.clock.now()
        for spec in specs:
            flags = [Flag.PAUSED.value] if held[spec.name] else []
            row = cells[spec.name]
            for day, known in calendar.items():
                if day in row:
                    continue
                if not known.games and spec.policy.off_day is OffDay.SKIP:
                    row[day] = _cell(Status.NOT_EXPECTED, flags, False)
                    continue
                rules = self._engine.in_force.spec(spec.name)
                late = [Flag.OVERDUE.value] if _overdue(rules, known, now) else []
                row[day] = _cell(Status.WAITING, [*flags, *late], False)
        return {
            "from": first,
            "to": last,
            "dates": [
                {"game_date": d, "games": len(calendar[d].games) if d in calendar else None}
                for d in dates
            ],
            "items": [
                {
                    "processor": s.name,
                    "phase": s.phase,
                    "cells": dict(sorted(cells[s.name].items())),
                }
                for s in specs
            ],
            "next_page_token": None,
        }

    async def gaps(
        self,
        first: str | None = None,
        last: str | None = None,
        *,
        limit: int = 500,
        page_token: str | None = None,
    ) -> View:
        """Dates on which the calendar expects an output and no run succeeded, with why.

        Of a date that the calendar does not know nothing is expected; what was heard of there and
        has not succeeded is listed all the same. The first page counts the dates of both kinds.

        Left out, ``first`` is where the calendar begins (its ``known_from``, else its first date)
        and ``last`` is today on the registry's clock; so a gap of any age is seen. Raises
        ``BadInput``.
        """
        first = first or self._engine.registry.known_from or await self._first_calendar_date()
        last = last or max(self.today(), first)
        dates = date_range(first, last, GAPS_DATES_LIMIT)
        start = _from_gaps_token(page_token) if page_token else None
        specs = self._specs()
        order = {s.name: n for n, s in enumerate(specs)}
        begin = max(first, start[0]) if start else first
        calendar = {c.game_date: bool(c.games) async for c in self._calendar(begin, last)}
        stored: dict[str, dict[str, bool]] = {}
        async for p in self._partitions(begin, last):
            if p.processor in order and (p.game_date in calendar or _heard_of(p)):
                stored.setdefault(p.game_date, {})[p.processor] = _succeeded_now(p)
        open_: list[Target] = []
        for day in sorted({*(d for d in calendar if calendar[d]), *(stored.keys() - calendar)}):
            for spec in specs:
                if start and (day, order[spec.name]) <= start:
                    continue
                # Of a date that is unknown to the calendar only what was heard of is missed.
                if not stored.get(day, {}).get(spec.name, day not in calendar):
                    open_.append((spec.name, day))
        items: list[View] = []
        last_at: tuple[str, int] | None = None
        more = False
        for n in range(0, len(open_), _CHUNK):
            chunk = open_[n : n + _CHUNK]
            seen = await self._look(chunk)
            waits = await self._upstream(seen)
            done = await asyncio.gather(*(self._ever_succeeded(one.partition) for one in seen))
            for one, waited_for, succeeded in zip(seen, waits, done, strict=True):
                if len(items) >= limit:
                    more = True
                    break
                if not succeeded:
                    behind = self.behind(one.partition)
                    row = partition_row(one.partition, one.spec, one.verdict, waited_for, behind)
                    items.append(row)
                last_at = (one.partition.game_date, order[one.partition.processor])
            if more:
                break
        return {
            "from": first,
            "to": last,
            "game_dates": None if start else sum(calendar.values()),
            "unknown_dates": None if start else _unknown([d for d in dates if d not in calendar]),
            "calendar_until": await self._last_calendar_date(),
            "items": items,
            "next_page_token": _gaps_token(last_at) if more and last_at else None,
        }

    async def _ever_succeeded(self, partition: Partition) -> bool:
        """Whether an earlier generation succeeded where the latest did not."""
        if _succeeded_now(partition):
            return True
        if partition.generation == 0 or (partition.generation == 1 and partition.outcome):
            return False
        page = await self._engine.store.find(
            Query(
                Kind.RUN,
                (
                    Where("processor", Op.EQ, partition.processor),
                    Where("game_date", Op.EQ, partition.game_date),
                    Where("status", Op.IN, tuple(s.value for s in GOOD_OUTCOMES)),
                ),
                limit=1,
            )
        )
        return bool(page.items)

    async def _first_calendar_date(self) -> str:
        page = await self._engine.store.find(Query(Kind.CALENDAR, order="game_date", limit=1))
        return page.items[0][1].game_date if page.items else self.today()

    async def _last_calendar_date(self) -> str | None:
        query = Query(Kind.CALENDAR, order="game_date", descending=True, limit=1)
        page = await self._engine.store.find(query)
        return page.items[0][1].game_date if page.items else None

    def today(self) -> str:
        """The date on the registry's clock."""
        zone = ZoneInfo(self._engine.registry.timezone)
        return self._engine.clock.now().astimezone(zone).date().isoformat()

    async def _calendar(self, first: str, last: str) -> AsyncIterator[CalendarDate]:
        async for document in self._between(Kind.CALENDAR, first, last):
            yield document

    async def _partitions(self, first: str, last: str) -> AsyncIterator[Partition]:
        async for document in self._between(Kind.PARTITION, first, last):
            yield document

    async def _between(self, kind: Kind, first: str, last: str) -> AsyncIterator[Any]:
        query = Query(
            kind,
            (Where("game_date", Op.GE, first), Where("game_date", Op.LE, last)),
            order="game_date",
            limit=_PAGE,
        )
        async for page in pages(self._engine.store, query):
            for _, document in page.items:
                yield document
            await asyncio.sleep(0)  # a year of partitions must not hold up the push endpoint

    # ── loads ────────────────────────────────────────────────────────────────────────────────

    async def ledger(
        self, table: str, game_date: str, *, limit: int = LEDGER_PAGE, page_token: str | None = None
    ) -> View:
        """The ledger of one table and date: its events by receipt, and what they add up to.

        Raises ``BadInput`` for a bad date, ``NotFound``.
        """
        check_date("game_date", game_date)
        spec = self.table(table)
        keys = [table_date_key(spec.name, game_date), calendar_key(game_date)]
        docs = await self._engine.store.get(keys)
        folded: TableDate | None = docs[keys[0]]
        calendar: CalendarDate | None = docs[keys[1]]
        page = await self._engine.store.find(
            Query(
                Kind.EVENT,
                (Where("table", Op.EQ, spec.name), Where("game_date", Op.EQ, game_date)),
                order="received_at",
                limit=limit,
                after=page_token,
            )
        )
        expected = None if calendar is None else calendar.games
        covered = _covered(folded, expected)
        judged = judge_source(
            Requirement(key=spec.name, kind=RequirementKind.TABLE, sources=(spec.name,)),
            spec.name,
            game_date,
            folded,
            spec.grain,
            expected,
            self._engine.clock.now(),
            freshness=False,
            producer=spec.producer,
        )
        return {
            "table": spec.name,
            "game_date": game_date,
            "grain": spec.grain.value,
            "enabled": spec.enabled,
            "producer": spec.producer,
            "facts": table_date_view(folded or TableDate(table=spec.name, game_date=game_date)),
            "games_expected": None if expected is None else list(expected),
            "games_covered": covered,
            "games_missing": None
            if expected is None
            else [g for g in expected if g not in covered],
            "state": judged.state.value,
            "sentence": source_sentence(judged),
            "record_count": judged.record_count,
            "warnings": list(judged.warnings),
            "items": [ledger_row(e) for _, e in page.items],
            "next_page_token": page.next_page_token,
        }

    async def trace(self, correlation_id: str) -> View:
        """Everything that one correlation id touched: events, partitions, runs.

        Messages in quarantine that name it are looked for among the newest of them.
        """
        where = (Where("correlation_id", Op.EQ, correlation_id),)
        events = await self._engine.store.find(
            Query(Kind.EVENT, where, order="received_at", limit=TRACE_LIMIT)
        )
        runs = await self._engine.store.find(
            Query(Kind.RUN, where, order="fired_at", limit=TRACE_LIMIT)
        )
        targets: dict[Target, None] = {}
        registry = self._engine.registry
        for _, event in events.items:
            for dependency in registry.dependents(event.table):
                if dependency.window is None:
                    day = shift(event.game_date, -(dependency.offset or 0))
                    targets[dependency.spec.name, day] = None
        for _, run in runs.items:
            if run.processor in registry.processors:
                targets[run.processor, run.game_date] = None
        seen = await self._look(list(targets)[:TRACE_LIMIT])
        quarantined, searched_all = await self._quarantined_with(correlation_id)
        return {
            "correlation_id": correlation_id,
            "events": [ledger_row(e) for _, e in events.items],
            "partitions": await self._rows(seen),
            "runs": [run_brief(r) for _, r in runs.items],
            "quarantined": quarantined,
            "truncated": bool(
                events.next_page_token
                or runs.next_page_token
                or len(targets) > TRACE_LIMIT
                or not searched_all
            ),
        }

    async def _quarantined_with(self, correlation_id: str) -> tuple[list[View], bool]:
        """Quarantined messages that name the id, newest first, and whether all were looked at.

        No index leads to them: one would cost every store a column for a rare question.
        """
        found: list[View] = []
        after: str | None = None
        for _ in range(0, QUARANTINE_SEARCHED, _CHUNK):
            page = await self._engine.store.find(
                Query(
                    Kind.QUARANTINE,
                    order="received_at",
                    descending=True,
                    limit=_CHUNK,
                    after=after,
                )
            )
            found += [
                quarantine_view(q, QUARANTINE_RAW_IN_LISTS)
                for _, q in page.items
                if q.correlation_id == correlation_id
            ]
            after = page.next_page_token
            if after is None:
                return found, True
        return found, False

    # ── runs ─────────────────────────────────────────────────────────────────────────────────

    async def runs(
        self,
        *,
        processor: str | None = None,
        game_date: str | None = None,
        status: str | None = None,
        limit: int = 100,
        page_token: str | None = None,
    ) -> View:
        """Runs, the last fired first. Raises ``BadInput`` for a bad filter, ``NotFound``."""
        where: list[Where] = []
        if game_date is not None:
            check_date("game_date", game_date)
            where.append(Where("game_date", Op.EQ, game_date))
        if status is not None:
            words = ", ".join(s.value for s in RunStatus)
            if status not in [s.value for s in RunStatus]:
                raise BadInput(
                    f"status: {shown(status)} is no status of a run; give one of {words}",
                    [Mistake("status", f"must be one of {words}", shown(status))],
                )
            where.append(Where("status", Op.EQ, status))
        if processor is not None:
            where.append(Where("processor", Op.EQ, self.spec(processor).name))
        page = await self._engine.store.find(
            Query(
                Kind.RUN,
                tuple(where),
                order="fired_at",
                descending=True,
                limit=limit,
                after=page_token,
            )
        )
        return _list((run_brief(r) for _, r in page.items), page.next_page_token)

    async def run(self, run_id: str) -> View:
        """One run: attempts, timings, transitions, inputs, explanation. Raises ``NotFound``."""
        run: Run | None = await self._one(run_key(run_id))
        if run is None:
            raise NotFound(f"there is no run {run_id[:200]}; ids read PROCESSOR:YYYY-MM-DD:N")
        spec = self._engine.registry.processors.get(run.processor)
        partition: Partition | None = None
        if run.status is RunStatus.PENDING:
            partition = await self._one(partition_key(run.processor, run.game_date))
        return run_whole(run, self._target(spec) if spec else None, partition)

    # ── the registry ─────────────────────────────────────────────────────────────────────────

    def registry(self) -> View:
        """The registry in use, with its hash."""
        registry = self._engine.registry
        return {**registry.as_dict(), "registry_hash": registry.registry_hash}

    def graph(self) -> View:
        """Nodes and edges of the dependencies."""
        registry = self._engine.registry
        return {**registry.graph(), "registry_hash": registry.registry_hash}

    # ── quarantine and audit ─────────────────────────────────────────────────────────────────

    async def quarantine(
        self, *, state: str | None = None, limit: int = 50, page_token: str | None = None
    ) -> View:
        """Messages that could not be taken in, newest first."""
        where = (Where("state", Op.EQ, state),) if state else ()
        page = await self._engine.store.find(
            Query(
                Kind.QUARANTINE,
                where,
                order="received_at",
                descending=True,
                limit=limit,
                after=page_token,
            )
        )
        rows = (quarantine_view(q, QUARANTINE_RAW_IN_LISTS) for _, q in page.items)
        return _list(rows, page.next_page_token)

    async def _quarantine_open(self) -> int:
        """How many messages are open in quarantine, counted to a limit."""
        page = await self._engine.store.find(
            Query(
                Kind.QUARANTINE,
                (Where("state", Op.EQ, "open"),),
                order="received_at",
                descending=True,
                limit=QUARANTINE_COUNTED,
            )
        )
        return len(page.items)

    async def quarantined(self, quarantine_id: str) -> View:
        """One such message with all of its bytes. Raises ``NotFound``."""
        entry = await self._one(Key(Kind.QUARANTINE, quarantine_id))
        if entry is None:
            raise NotFound(
                f"no quarantined message {quarantine_id[:100]}; see GET /v1/quarantine for them"
            )
        return quarantine_view(entry, None)

    async def audit(
        self,
        *,
        processor: str | None = None,
        game_date: str | None = None,
        actor: str | None = None,
        limit: int = 100,
        page_token: str | None = None,
    ) -> View:
        """Who did what, when and why, newest first. Raises ``BadInput``, ``NotFound``."""
        where: list[Where] = []
        if game_date is not None:
            check_date("game_date", game_date)
            where.append(Where("game_date", Op.EQ, game_date))
        if actor is not None:
            where.append(Where("actor", Op.EQ, actor))
        if processor is not None:
            where.append(Where("processor", Op.EQ, self.spec(processor).name))
        page = await self._engine.store.find(
            Query(
                Kind.AUDIT, tuple(where), order="at", descending=True, limit=limit, after=page_token
            )
        )
        return _list((audit_view(a) for _, a in page.items), page.next_page_token)

    # ── names ────────────────────────────────────────────────────────────────────────────────

    def spec(self, processor: str) -> ProcessorSpec:
        """A processor by name or alias. Raises ``NotFound``."""
        found = self._engine.registry.processor_for(processor)
        if found is None:
            known = ", ".join(sorted(self._engine.registry.processors)[:20])
            raise NotFound(f"no processor is named {shown(processor[:100])}; known are {known}")
        return found

    def table(self, table: str) -> TableSpec:
        """A table by name or alias. Raises ``NotFound``."""
        found = self._engine.registry.table_for(table)
        if found is None:
            known = ", ".join(sorted(self._engine.registry.tables)[:20])
            raise NotFound(f"no declared table is named {shown(table[:100])}; known are {known}")
        return found

    def _specs(self) -> tuple[ProcessorSpec, ...]:
        return tuple(self._engine.registry.in_order())

    async def _one(self, key: Key) -> Any:
        return (await self._engine.store.get([key]))[key]

    async def _controls(self) -> list[Control]:
        found: list[Control] = []
        async for page in pages(self._engine.store, Query(Kind.CONTROL, limit=_PAGE)):
            found += [c for _, c in page.items]
        return found


def _imagined(committed: Committed, registry: Registry, now: datetime) -> Seen:
    """A partition that was not stored a moment ago; one stored since is shown as it is."""
    before = committed.before
    spec = registry.processors[committed.decision.partition.processor]
    if before is not None:
        partition, verdict = shown_now(before, spec, now)
        return Seen(partition, spec, verdict, True)
    partition, verdict = unheard(committed.decision, spec)
    return Seen(partition, spec, verdict, False)


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


def _cell(status: Status, flags: list[str], stored: bool) -> View:
    return {"status": status.value, "flags": flags, "stored": stored}


def _overdue(spec: ProcessorSpec, day: CalendarDate, now: datetime) -> bool:
    """Whether a partition that is not stored would be overdue."""
    deadline = spec.policy.deadline
    if deadline is None:
        return False
    at = instant(day.game_date, deadline.at, spec.timezone)
    off_day_since = None if day.games else spec.policy.off_day_since
    return now >= at and acts(at, deadline.set_since, off_day_since)


def _unknown(dates: Sequence[str]) -> View:
    """Dates that the calendar does not know, ascending, in three words."""
    return {
        "count": len(dates),
        "first": dates[0] if dates else None,
        "last": dates[-1] if dates else None,
    }


def _heard_of(partition: Partition) -> bool:
    """Whether a load arrived, or a run was fired."""
    return partition.generation > 0 or any(t.arrivals for t in partition.arrivals.values())


def _succeeded_now(partition: Partition) -> bool:
    return partition.outcome is not None and partition.outcome.status in GOOD_OUTCOMES


def _list(items: Iterable[View], next_page_token: str | None) -> View:
    return {"items": list(items), "next_page_token": next_page_token}


def _covered(folded: TableDate | None, expected: Sequence[str] | None) -> list[str]:
    """The games that a load with rows covers."""
    if folded is None:
        return []
    games: dict[str, None] = dict.fromkeys(expected or ())
    games.update(dict.fromkeys(folded.games))
    for arrival in folded.arrivals.values():
        games.update(dict.fromkeys(arrival.game_ids))
    winners: Mapping[str, Any] = {g: folded.winner(g) for g in games}
    return sorted(g for g, a in winners.items() if a is not None and not a.empty)


def _gaps_token(at: tuple[str, int]) -> str:
    return base64.urlsafe_b64encode(json.dumps(at).encode()).decode().rstrip("=")


def _from_gaps_token(token: str) -> tuple[str, int]:
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        day, number = json.loads(base64.b64decode(padded, b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise _bad_token() from error
    if not is_game_date(day) or type(number) is not int:
        raise _bad_token()
    return day, number


def _bad_token() -> BadInput:
    return BadInput(
        "The page token is not one that this listing gave out. Start again without it.",
        code="bad_page_token",
    )
