"""The one way to a decision: read a partition and what surrounds it, decide, write it all.

Owns the transaction around ``machine.decide``: which documents it reads (the partition, the
calendar of its dates, the pauses, its windows), how a partition that is new or was last judged
under another registry is filled from the ledger, and which documents a decision becomes. Every
entry point of the service goes through here, so no two of them can treat a partition differently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import structlog

from coordinator.core.arrivals import TableDate, arrivals_key
from coordinator.core.choices import ALL
from coordinator.core.facts import (
    BY_PERSON,
    Fact,
    Reply,
    Surveyed,
    Ticked,
)
from coordinator.core.machine import Decision, blank, decide, status_of
from coordinator.core.model import Execution, Journal, Partition, WindowDay
from coordinator.core.readiness import judge
from coordinator.core.schedule import shift
from coordinator.core.spec import ProcessorSpec
from coordinator.core.verdict import Verdict
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
from coordinator.errors import Unavailable
from coordinator.ports import (
    Changes,
    Clock,
    Document,
    Entropy,
    Key,
    NeedDocuments,
    Op,
    Page,
    Query,
    Step,
    Store,
    Where,
)
from coordinator.registry import Registry
from coordinator.service.commits import Commits, Item
from coordinator.service.reading import Docs, Reading, Target
from coordinator.service.registry_membership import Parse, RegistryMembership, parse_in_thread
from coordinator.service.windows import judged_windows

NAMES_ASKED_FOR = 30
"""As many values as a store compares a field with."""

WINDOW_READS_MAX = 150
"""Documents of history windows that the transaction of a load or a report reads at the most: two for
each game date. Longer windows are evaluated by the sweep, in transactions of their own."""

PARTITIONS_TOGETHER = 50
"""Partitions that are handed in for one commit."""

WINDOWED_TOGETHER = 10
"""The same, where windows are read: each may fire a run that names hundreds of dates as its inputs."""

TARGETS_KEPT = 4096
"""Partitions of which it is remembered what a decision on them reads."""

log = structlog.get_logger(__name__)

T = TypeVar("T")


class _Places(NamedTuple):
    """Where what a decision on a partition reads is, but for the dates of its windows."""

    partition: Key
    controls: tuple[Key, ...]
    calendar: tuple[tuple[str, Key], ...]
    """Its dates, each with its place in the calendar."""
    all: tuple[Key, ...]


class Committed(NamedTuple):
    """A decision that is durable now."""

    before: Partition | None
    decision: Decision


Also = Callable[[Decision], Mapping[Key, Document]]
Listener = Callable[[Sequence[Committed]], None]


class Engine:
    """Decides on partitions inside transactions of one store."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        clock: Clock,
        entropy: Entropy,
        parse: Parse = parse_in_thread,
        commits: Commits | None = None,
    ) -> None:
        self.store = store
        self.commits = commits or Commits(store, monotonic=clock.monotonic, sleep=clock.sleep)
        self.registry = registry
        self.clock = clock
        self.entropy = entropy
        self.membership = RegistryMembership(store, registry, clock, self.commits, parse)
        names = tuple(registry.processors)
        self.portions = [
            (Where("processor", Op.IN, names[n : n + NAMES_ASKED_FOR]),)
            for n in range(0, len(names), NAMES_ASKED_FOR)
        ] or [(Where("processor", Op.IN, ()),)]
        """Restrict queries of partitions to processors that the registry has, a portion in each."""
        self.mine = self.portions[0] if len(self.portions) == 1 else ()
        """Restricts a query of partitions to processors that the registry has, if they are few."""
        self._listeners: list[Listener] = []
        self._places = lru_cache(TARGETS_KEPT)(self._find_places)
        self.stuck: set[Target] = set()
        """Partitions that could not be decided on when this process last tried."""

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with every batch of committed decisions."""
        self._listeners.append(listener)

    def committed(self, decisions: Sequence[Committed]) -> None:
        """Tell the listeners (the relay, the sweeper, the stream) what has become durable."""
        if self.stuck:
            self.stuck -= {
                (c.decision.partition.processor, c.decision.partition.game_date) for c in decisions
            }
        for listener in self._listeners:
            try:
                listener(decisions)
            except Exception:  # what is committed is committed, whoever stumbles over it
                log.exception("a listener failed")

    async def first(self, query: Query) -> tuple[list[Partition], bool]:
        """The first page of partitions of the processors that the registry has; and if more follow.

        Those of removed processors never crowd them out: where a page holds any, processors are
        queried by name, as many at a time as a store compares with. Raises ``Unavailable``.
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

    async def transact(self, keys: Sequence[Key], step: Step[T], writes: Iterable[Key]) -> T:
        """Commit decisions, knowing which registries are served. Raises ``Unavailable``."""
        await self.membership.ensure_current()
        return await self.commits.transact(keys, step, writes=writes)

    # ── partitions ───────────────────────────────────────────────────────────────────────────

    async def apply(
        self,
        spec: ProcessorSpec,
        game_date: str,
        facts: Sequence[Fact],
        *,
        also: Also | None = None,
    ) -> Decision:
        """Apply facts to one partition, durably.

        ``also`` gives further documents to write in the same commit, such as an audit entry.
        """
        target, now = (spec.name, game_date), self.clock.now()

        def step(docs: Docs) -> Changes[Committed] | NeedDocuments:
            reading = Reading(docs)
            found = self.decide_in(reading, target, facts, now)
            if found is None:
                return NeedDocuments(tuple(reading.missing))
            if also is not None:
                for key, document in also(found.decision).items():
                    reading.put(key, document)
            return reading.changes(found)

        committed = await self.transact(self.keys_of(target), step, [partition_key(*target)])
        self.committed([committed])
        return committed.decision

    async def preview(
        self, spec: ProcessorSpec, game_date: str, facts: Sequence[Fact] = ()
    ) -> Decision:
        """What would be decided if these facts were applied now; nothing is written."""
        target = (spec.name, game_date)
        (found,) = await self._decided_now([target], facts)
        return found.decision

    async def apply_each(
        self,
        work: Mapping[Target, Sequence[Fact]],
        *,
        refill: bool = False,
        windows: bool = False,
    ) -> list[Decision]:
        """Apply facts to several partitions, together where that can be.

        With ``refill`` their inputs are read from the ledger again, with ``windows`` their windows.
        One that cannot be decided on is a bug: it is logged, and keeps nothing from the others.
        Raises ``Unavailable``.
        """
        windowed = any(self.registry.processors[name].windows for name, _ in work)
        most = WINDOWED_TOGETHER if windowed else PARTITIONS_TOGETHER
        targets = list(work)
        decisions: list[Decision] = []
        for start in range(0, len(targets), most):
            some = {t: work[t] for t in targets[start : start + most]}
            decisions += await self._apply_together(some, refill=refill, windows=windows)
        return decisions

    async def _apply_together(
        self, work: Mapping[Target, Sequence[Fact]], *, refill: bool, windows: bool
    ) -> list[Decision]:
        now = self.clock.now()

        def decide_all(targets: Sequence[Target]) -> Step[Sequence[Committed]]:
            def step(docs: Docs) -> Changes[Sequence[Committed]] | NeedDocuments:
                reading = Reading(docs)
                found = [
                    self.decide_in(reading, t, work[t], now, refill=refill, windows=windows)
                    for t in targets
                ]
                if reading.missing:
                    return NeedDocuments(tuple(reading.missing))
                return reading.changes([f for f in found if f is not None])

            return step

        items = [Item(t, self.keys_of(t), [partition_key(*t)]) for t in work]
        await self.membership.ensure_current()
        answers = await self.commits.together(decide_all, items, self.committed)
        for target, answer in zip(work, answers, strict=True):
            if isinstance(answer, Unavailable):
                raise answer
            if isinstance(answer, Exception):
                log.error("a partition cannot be judged", target=target, exc_info=answer)
                self.stuck.add(target)
        return [a.decision for a in answers if isinstance(a, Committed)]

    def keys_of(self, target: Target) -> tuple[Key, ...]:
        """The documents that a decision on a partition reads, but for those inside its windows."""
        return self._places(target).all

    def _find_places(self, target: Target) -> _Places:
        processor, game_date = target
        spec = self.registry.processors[processor]
        partition = partition_key(processor, game_date)
        controls = control_key(ALL), control_key(processor)
        dates = {game_date, *(shift(game_date, o) for o in spec.offsets)}
        calendar = tuple((d, calendar_key(d)) for d in sorted(dates))
        keys = [partition, *controls, *(key for _, key in calendar)]
        if spec.windows:
            names = {GAME_DATES, OFF_DATES, *(r.sources[0] for r in spec.windows)}
            keys += [dates_key(n) for n in sorted(names)]
        return _Places(partition, controls, calendar, tuple(keys))

    def decide_in(
        self,
        reading: Reading,
        target: Target,
        facts: Sequence[Fact],
        now: datetime,
        *,
        refill: bool = False,
        windows: bool = False,
        window_reads_max: int | None = None,
    ) -> Committed | None:
        """Decide on one partition inside a transaction; None while documents are missing.

        Its windows are read only where the decision rests on them, or ``windows`` asks for it. With
        ``window_reads_max`` a transaction reads so many documents of windows at the most; where
        that is not enough the sweep evaluates the partition at once, and nothing is decided here.
        """
        processor, game_date = target
        spec = self.membership.spec(processor)
        missing = len(reading.missing)  # what others miss is none of its own
        places = self._places(target)
        stored: Partition | None = reading.get(places.partition)
        stale = stored is None or stored.registry_hash != spec.registry_hash
        refill = refill or stale or self.membership.unevaluated
        arrivals = self._refill(reading, spec, game_date) if refill else None
        survey = self._survey(reading, places, arrivals)
        if len(reading.missing) > missing:
            return None
        before = stored or blank(spec, game_date, now)
        if arrivals is not None and spec.windows:
            # What is remembered of them may be another rule's.
            inputs = replace(before.inputs, window_states={})
            before = replace(before, inputs=inputs, watching=False)
        by_person = any(isinstance(f, BY_PERSON) for f in facts)
        asked = windows or before.inputs.windows_due or by_person
        decision = None
        if not asked or not spec.windows:
            decision = decide(before, (survey, *facts), spec, now)
        if decision is None or (spec.windows and _rests_on_windows(before, decision)):
            decision = _decide_on_windows(
                reading, before, survey, facts, spec, now, window_reads_max
            )
            if decision is None:
                return None
        if decision.changed or stored is None:
            reading.put_partition(places.partition, stored, decision.partition)
        for run in decision.runs:
            created = decision.fired is not None and run.run_id == decision.fired.run_id
            reading.put(run_key(run.run_id), run, create=created)
        return Committed(stored, decision)

    def _survey(
        self, reading: Reading, places: _Places, arrivals: Mapping[str, TableDate] | None
    ) -> Surveyed:
        """What is around a partition, but for its windows."""
        pauses = []
        for key in places.controls:
            control = reading.get(key)
            if control is not None and control.pause is not None:
                pauses.append(control.pause)
        games: dict[str, tuple[str, ...]] = {}
        for date, key in places.calendar:
            calendar = reading.get(key)
            if calendar is not None:
                games[date] = calendar.games
        return Surveyed(
            games=games,
            pauses=tuple(pauses),
            arrivals=arrivals,
            registry_since=self.membership.since,
        )

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

    # ── looking ──────────────────────────────────────────────────────────────────────────────

    async def view(self, spec: ProcessorSpec, game_date: str) -> tuple[Partition, Verdict]:
        """A partition and its judgement now; nothing is written.

        One that is not stored yet is shown as it would be made, without a run.
        """
        key = partition_key(spec.name, game_date)
        partition: Partition | None = (await self.store.get([key]))[key]
        if partition is None:
            decision = await self.preview(spec, game_date)
            partition, _ = not_stored(decision, spec)
        days = (await self.windows_now([(spec.name, game_date)]))[spec.name, game_date]
        return shown_now(partition, spec, self.clock.now(), days)

    async def windows_now(
        self, targets: Iterable[Target]
    ) -> Mapping[Target, Mapping[str, tuple[WindowDay, ...]]]:
        """The windows of partitions as they are now. A partition does not keep their dates."""
        work = {t: self.registry.processors[t[0]] for t in targets}
        docs: dict[Key, Document | None] = {}
        now = self.clock.now()
        while True:
            reading = Reading(docs)
            found: dict[Target, Mapping[str, tuple[WindowDay, ...]]] = {}
            for target, spec in work.items():
                days = judged_windows(reading, spec, target[1], now, None) if spec.windows else None
                found[target] = {} if days is None else days.days
            if not reading.missing:
                return found
            docs.update(await self.store.get(list(dict.fromkeys(reading.missing))))

    async def evaluate(self, targets: Sequence[Target]) -> list[Target]:
        """Those of these stored partitions that would change if time and windows acted now.

        Nothing is written: to find that nothing changes, which is the rule, takes no transaction.
        """
        decided = await self._decided_now(targets, (Ticked(),), windows=True)
        return [t for t, c in zip(targets, decided, strict=True) if c.decision.changed]

    async def _decided_now(
        self, targets: Sequence[Target], facts: Sequence[Fact], *, windows: bool = False
    ) -> list[Committed]:
        """What would be decided on each of these now; nothing is written."""
        docs: dict[Key, Document | None] = {}
        wanted = [k for t in targets for k in self.keys_of(t)]
        while True:
            docs.update(await self.store.get(list(dict.fromkeys(wanted))))
            reading, now = Reading(docs), self.clock.now()
            found = [self.decide_in(reading, t, facts, now, windows=windows) for t in targets]
            wanted = reading.missing
            if not wanted:
                return [c for c in found if c is not None]


def _decide_on_windows(
    reading: Reading,
    before: Partition,
    survey: Surveyed,
    facts: Sequence[Fact],
    spec: ProcessorSpec,
    now: datetime,
    reads_max: int | None,
) -> Decision | None:
    """Decide on a partition's windows as they are now; None while documents are missing."""
    missing = len(reading.missing)
    days = judged_windows(reading, spec, before.game_date, now, reads_max)
    if len(reading.missing) > missing:
        return None
    later = replace(survey, windows_later=True)
    if days is None:
        return decide(before, (later, *facts), spec, now)
    read = replace(survey, windows=days.days)
    decision = decide(before, (read, *facts), spec, now)
    if decision.partition.watching and not before.watching:
        # A date may change between its reading here and this commit, by a load that finds nobody
        # watching yet. The sweep reads long windows again once it is stored as watching.
        if days.reads > WINDOW_READS_MAX:
            return decide(before, (later, *facts), spec, now)
        reading.guards |= days.keys()
    return decision


def _rests_on_windows(before: Partition, decision: Decision) -> bool:
    """Whether a decision made on what is remembered of its windows has to read them.

    While other needs are open, or a run is live, or nothing newer came, they matter only at the
    instant of a deadline or a schedule; and where they keep a partition from firing it watches
    them, so that what changes in them since is evaluated.
    """
    after = decision.partition
    begins = after.watching and not before.watching
    instants = _instants_over(before) != _instants_over(after)
    return decision.fired is not None or begins or instants


def _instants_over(partition: Partition) -> tuple[object, ...]:
    """Which instants of its deadline and its schedule have acted, or found nothing to do."""
    return (
        partition.timers.deadline_done,
        partition.timers.deadline_done_at,
        partition.timers.schedule_done_at,
    )


def shown_now(
    partition: Partition,
    spec: ProcessorSpec,
    now: datetime,
    days: Mapping[str, tuple[WindowDay, ...]] | None = None,
) -> tuple[Partition, Verdict]:
    """A partition as it is to be shown: its status is what the verdict of this instant says.

    The stored status may differ until the next sweep, or after a clock was set back. ``days``
    holds the dates of its windows; without them windows are as the partition remembers them.
    """
    verdict = judge(partition, spec, now, days=days)
    status = status_of(partition.live, partition.skip, partition.outcome, verdict)
    same = status is partition.status
    return partition if same else replace(partition, status=status), verdict


def not_stored(decision: Decision, spec: ProcessorSpec) -> tuple[Partition, Verdict]:
    """A partition that is not stored, judged from a first decision that nobody commits.

    What that decision would fire is no run: nothing is decided until something is received for
    the date.
    """
    if decision.fired is None:
        return decision.partition, decision.verdict
    partition = replace(
        decision.partition,
        revision=0,
        execution=Execution(),
        journal=Journal(),
        wake_at=None,
    )
    verdict = judge(partition, spec, decision.verdict.at)
    return replace(partition, status=status_of(None, None, None, verdict)), verdict


def reply_of(decision: Decision) -> Reply:
    """The answer to the last fact given."""
    return decision.replies[-1]
