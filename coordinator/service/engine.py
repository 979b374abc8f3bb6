"""The one way to a decision: read a partition and what surrounds it, decide, write it all.

Owns the transaction around ``machine.decide``: which documents it reads (the partition, the
calendar of its dates, the pauses, its windows), how a partition that is new or was last judged
under another registry is filled from the ledger, and which documents a decision becomes. Every
door of the service goes through here, so no two of them can treat a partition differently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

import structlog

from coordinator.core.facts import (
    Claimed,
    Delivered,
    DeliveryFailed,
    Fact,
    Heartbeat,
    Surveyed,
)
from coordinator.core.machine import Decision, Reply, blank, decide, status_of
from coordinator.core.model import (
    CalendarDate,
    Grain,
    Partition,
    TableDate,
    WindowDay,
    arrivals_key,
)
from coordinator.core.readiness import Verdict, judge, judge_source
from coordinator.core.schedule import shift, window_dates
from coordinator.core.spec import ProcessorSpec, Requirement
from coordinator.documents import (
    GAME_DATES,
    INDEXES,
    OFF_DATES,
    calendar_key,
    control_key,
    dates_key,
    partition_key,
    run_key,
    table_date_key,
)
from coordinator.ports import (
    Changes,
    Clock,
    Document,
    Entropy,
    Key,
    Need,
    Op,
    Page,
    Query,
    Step,
    Store,
    Where,
)
from coordinator.registry import Registry
from coordinator.service.in_force import InForce

ALL = "_all"
"""The control document that pauses every processor."""

NAMES_ASKED_FOR = 30
"""As many values as a store compares a field with."""

SOME_GAME = ("",)
"""Stands for the games of a date where only that there are some counts."""

log = structlog.get_logger(__name__)

T = TypeVar("T")

Docs = Mapping[Key, Document | None]
Target = tuple[str, str]
"""(processor, game date)."""


@dataclass(slots=True)
class Reading:
    """The documents of one transaction, read or about to be written."""

    docs: Docs
    puts: dict[Key, Document] = field(default_factory=dict)
    creates: set[Key] = field(default_factory=set)
    missing: list[Key] = field(default_factory=list)

    def get(self, key: Key) -> Document | None:
        """A document as this transaction sees it; one not read yet is asked for."""
        if key in self.puts:
            return self.puts[key]
        if key not in self.docs:
            self.missing.append(key)
            return None
        return self.docs[key]

    def stored(self, key: Key) -> Document | None:
        """A document as it was before this transaction; one not read yet is asked for."""
        if key not in self.docs:
            self.missing.append(key)
            return None
        return self.docs[key]

    def put(self, key: Key, document: Document, *, create: bool = False) -> None:
        self.puts[key] = document
        if create:
            self.creates.add(key)


@dataclass(frozen=True, slots=True)
class Committed:
    """A decision that is durable now."""

    before: Partition | None
    decision: Decision


Also = Callable[[Decision], Mapping[Key, Document]]
Listener = Callable[[Sequence[Committed]], None]


class Engine:
    """Decides on partitions inside transactions of one store."""

    def __init__(self, store: Store, registry: Registry, clock: Clock, entropy: Entropy) -> None:
        self.store = store
        self.registry = registry
        self.clock = clock
        self.entropy = entropy
        self.in_force = InForce(store, registry, clock)
        names = tuple(registry.processors)
        self.portions = [
            (Where("processor", Op.IN, names[n : n + NAMES_ASKED_FOR]),)
            for n in range(0, len(names), NAMES_ASKED_FOR)
        ] or [(Where("processor", Op.IN, ()),)]
        """Restrict looks at partitions to processors that the registry has, a portion in each."""
        self.mine = self.portions[0] if len(self.portions) == 1 else ()
        """Restricts a look at partitions to processors that the registry has, if they are few."""
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with every batch of committed decisions."""
        self._listeners.append(listener)

    def committed(self, decisions: Sequence[Committed]) -> None:
        """Tell the listeners (the relay, the sweeper, the stream) what has become durable."""
        for listener in self._listeners:
            try:
                listener(decisions)
            except Exception:  # what is committed is committed, whoever stumbles over it
                log.exception("a listener failed")

    async def first(self, query: Query) -> tuple[list[Partition], bool]:
        """The first page of partitions of the processors that the registry has; and if more follow.

        Those of removed processors never crowd them out: where a page holds any, processors are
        asked for by name, as many at a time as a store compares with. Raises ``Unavailable``.
        """
        known = self.registry.processors

        async def page(*mine: Where) -> Page:
            return await self.store.find(replace(query, where=(*query.where, *mine)))

        whole = await page(*self.mine)
        found = [p for _, p in whole.items if p.processor in known]
        if self.mine or whole.next_page_token is None or len(found) == len(whole.items):
            return found, whole.next_page_token is not None
        pages = await asyncio.gather(*(page(*portion) for portion in self.portions))
        place: Callable[[Partition], Any] = INDEXES[query.kind].get(query.order, lambda p: p.id)
        found = sorted((p for one in pages for _, p in one.items), key=place)
        more = len(found) > query.limit or any(one.next_page_token is not None for one in pages)
        return found[: query.limit], more

    async def transact(self, keys: Sequence[Key], step: Step[T]) -> T:
        """Commit decisions, knowing which registries are served. Raises ``Unavailable``."""
        await self.in_force.keep()
        return await self.store.transact(keys, step)

    # ── one partition ────────────────────────────────────────────────────────────────────────

    async def apply(
        self,
        spec: ProcessorSpec,
        game_date: str,
        facts: Sequence[Fact],
        *,
        dry_run: bool = False,
        also: Also | None = None,
    ) -> Decision:
        """Apply facts to one partition, durably. With ``dry_run`` decide and write nothing.

        ``also`` gives further documents to write in the same transaction, such as an audit entry.
        """
        work = {(spec.name, game_date): facts}
        return (await self.apply_each(work, dry_run=dry_run, also=also))[0]

    async def apply_each(
        self,
        work: Mapping[Target, Sequence[Fact]],
        *,
        dry_run: bool = False,
        also: Also | None = None,
        refill: bool = False,
    ) -> list[Decision]:
        """Apply facts to several partitions in one transaction.

        With ``refill`` their inputs are read from the ledger anew.
        """
        now = self.clock.now()

        def step(docs: Docs) -> Changes[list[Committed]] | Need:
            reading = Reading(docs)
            found = [
                self.decide_in(reading, target, facts, now, refill=refill)
                for target, facts in work.items()
            ]
            if reading.missing:
                return Need(tuple(reading.missing))
            decisions = [f for f in found if f is not None]
            if dry_run:
                return Changes(decisions)
            if also is not None:
                for key, document in also(decisions[0].decision).items():
                    reading.put(key, document)
            return Changes(decisions, reading.puts, frozenset(reading.creates))

        keys = [k for target in work for k in self.keys_of(target)]
        if dry_run:
            committed = await self.store.transact(keys, step)
        else:
            committed = await self.transact(keys, step)
            self.committed(committed)
        return [c.decision for c in committed]

    def keys_of(self, target: Target) -> list[Key]:
        """The documents a decision on this partition reads, but for those inside its windows."""
        processor, game_date = target
        spec = self.registry.processors[processor]
        keys = [partition_key(processor, game_date), control_key(ALL), control_key(processor)]
        dates = {game_date, *(shift(game_date, o) for o in spec.offsets)}
        if spec.windows:
            names = {GAME_DATES, OFF_DATES, *(r.sources[0] for r in spec.windows)}
            keys += [dates_key(n) for n in sorted(names)]
        keys += [calendar_key(d) for d in sorted(dates)]
        return keys

    def decide_in(
        self,
        reading: Reading,
        target: Target,
        facts: Sequence[Fact],
        now: datetime,
        *,
        refill: bool = False,
    ) -> Committed | None:
        """Decide on one partition inside a transaction; None while documents are missing."""
        processor, game_date = target
        spec = self.in_force.spec(processor)
        before: Partition | None = reading.get(partition_key(processor, game_date))
        stale = before is None or before.registry_hash != spec.registry_hash
        arrivals = self._refill(reading, spec, game_date) if stale or refill else None
        pauses = []
        for scope in (ALL, processor):
            control = reading.get(control_key(scope))
            if control is not None and control.pause is not None:
                pauses.append(control.pause)
        games: dict[str, tuple[str, ...]] = {}
        for offset in {0, *spec.offsets}:
            date = shift(game_date, offset)
            calendar = reading.get(calendar_key(date))
            if calendar is not None:
                games[date] = calendar.games
        partition = before or blank(spec, game_date, now)
        looks = arrivals is not None or not of_a_run(partition, facts)
        while True:
            windows = partition.windows
            if looks:
                windows = {
                    requirement.key: self._survey(reading, requirement, spec, game_date, now)
                    for requirement in spec.windows
                }
            if reading.missing:
                return None
            survey = Surveyed(
                games=games,
                windows=windows,
                pauses=tuple(pauses),
                arrivals=arrivals,
                registry_since=self.in_force.since,
            )
            decision = decide(partition, (survey, *facts), spec, now)
            if looks or (decision.fired is None and decision.partition.live is not None):
                break
            looks = True
        if decision.changed or before is None:
            reading.put(
                partition_key(processor, game_date), decision.partition, create=before is None
            )
        for run in decision.runs:
            created = decision.fired is not None and run.run_id == decision.fired.run_id
            reading.put(run_key(run.run_id), run, create=created)
        return Committed(before, decision)

    def _refill(
        self, reading: Reading, spec: ProcessorSpec, game_date: str
    ) -> dict[str, TableDate]:
        """Every input of a partition, from the ledger: for a new partition or registry.

        As it was before this transaction; what the transaction brings is delivered as facts.
        """
        arrivals: dict[str, TableDate] = {}
        for requirement in spec.requirements:
            if requirement.window is not None:
                continue
            date = shift(game_date, requirement.offset)
            for table in requirement.sources:
                known = reading.stored(table_date_key(table, date))
                if known is not None:
                    arrivals[arrivals_key(table, date)] = known
        return arrivals

    def _survey(
        self,
        reading: Reading,
        requirement: Requirement,
        spec: ProcessorSpec,
        game_date: str,
        now: datetime,
    ) -> tuple[WindowDay, ...]:
        """Judge each date of a window. Which dates it has is read in the transaction too."""
        window, table = requirement.window, requirement.sources[0]
        assert window is not None
        games, off, loaded = (
            () if listed is None else listed.dates
            for listed in (reading.get(dates_key(n)) for n in (GAME_DATES, OFF_DATES, table))
        )
        known = {**dict.fromkeys(games, SOME_GAME), **dict.fromkeys(off, ())}
        dates = window_dates(window, game_date, known, loaded, spec.known_from)
        days = []
        for date in dates:
            calendar: CalendarDate | None = reading.get(calendar_key(date))
            source = judge_source(
                requirement,
                table,
                date,
                reading.get(table_date_key(table, date)),
                spec.grains.get(table, Grain.DATE),
                None if calendar is None else calendar.games,
                now,
                freshness=False,
            )
            days.append(
                WindowDay(
                    game_date=date,
                    met=source.met,
                    state=source.state.value,
                    since=source.since if source.event_ids else None,
                    record_count=source.record_count,
                    event_ids=source.event_ids,
                )
            )
        return tuple(days)

    # ── looking ──────────────────────────────────────────────────────────────────────────────

    async def view(self, spec: ProcessorSpec, game_date: str) -> tuple[Partition, Verdict]:
        """A partition and its judgement now; nothing is written.

        One that is not stored yet is shown as it would be made, without a run.
        """
        key = partition_key(spec.name, game_date)
        partition: Partition | None = (await self.store.get([key]))[key]
        if partition is None:
            decision = await self.apply(spec, game_date, (), dry_run=True)
            return unheard(decision, spec)
        return partition, judge(partition, spec, self.clock.now())


def of_a_run(partition: Partition, facts: Sequence[Fact]) -> bool:
    """Whether nothing but a live run hears of these facts, which then need no look at windows.

    Windows may be hundreds of documents, and a live run is delivered, claimed and beats. Only where
    it ends by that is there a reason to look: the next generation may be due.
    """
    return partition.live is not None and all(
        isinstance(fact, Claimed | Delivered | DeliveryFailed | Heartbeat) for fact in facts
    )


def unheard(decision: Decision, spec: ProcessorSpec) -> tuple[Partition, Verdict]:
    """A partition that is not stored, judged from a first decision that nobody commits.

    What that decision would fire is no run: nothing is decided until something is heard of the
    date.
    """
    if decision.fired is None:
        return decision.partition, decision.verdict
    partition = replace(
        decision.partition,
        revision=0,
        generation=0,
        live=None,
        consumed=None,
        consumed_at=None,
        outbox=(),
        history=(),
        wake_at=None,
    )
    verdict = judge(partition, spec, decision.verdict.at)
    return replace(partition, status=status_of(None, None, None, verdict)), verdict


def reply_of(decision: Decision) -> Reply:
    """The answer to the last fact given."""
    return decision.replies[-1]
