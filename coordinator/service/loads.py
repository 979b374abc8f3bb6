"""A load inside a transaction: its ledger, its table's date, the calendar, and who receives it.

Owns where a load goes (the partitions it is delivered to) and how it is folded in, whether it came
as an event (``ingest``) or as the output of a run that ended (``runs``). Refuses to commit: its
callers own their transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from coordinator.core.arrivals import Arrival, CalendarDate, Fold, Grain, LoadStatus, TableDate
from coordinator.core.effects import OUTPUT
from coordinator.core.facts import Fact, Loaded, Ticked
from coordinator.core.schedule import shift
from coordinator.core.sources import judge_source
from coordinator.core.spec import Requirement, TableSpec
from coordinator.documents import (
    GAME_DATES,
    OFF_DATES,
    Dates,
    LedgerEntry,
    PendingWork,
    Work,
    calendar_key,
    dates_key,
    event_key,
    partition_key,
    pending_key,
    table_date_key,
)
from coordinator.ports import Key
from coordinator.registry import Registry
from coordinator.service.engine import WINDOW_READS_MAX, Committed, Engine
from coordinator.service.reading import Reading, Target
from coordinator.wire import LoadMessage, content_digest

DEPENDENTS_PER_COMMIT = 400
"""Partitions that the commit of one load holds at the most (specification 4.5)."""


@dataclass(slots=True)
class IncomingLoad:
    """One load on its way through a transaction."""

    message: LoadMessage
    table: TableSpec
    arrival: Arrival
    targets: tuple[Target, ...]
    """The partitions that it is delivered to in its commit."""
    named: frozenset[Target]
    """Those of them with a non-window requirement that names the table."""
    own: bool = False
    """The output of a run, announced by the service itself."""
    more: bool = False
    """There are further partitions, to which the sweep delivers it."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What became of a load inside its transaction."""

    outcome: str
    """As specification 3.3 names it; ``conflict``: its id is known with other content;
    ``reserved``: its id is a run's, and that run has announced nothing."""
    targets: Sequence[Target] = ()
    """The partitions that receive it."""
    warnings: tuple[str, ...] = ()
    pending: tuple[tuple[str, str], ...] = ()
    """(table, date) of what its commit leaves to be done."""


class Loads:
    """Folds loads into the ledger and delivers them to partitions."""

    def __init__(
        self, engine: Engine, left_pending: Callable[[Iterable[tuple[str, str]]], None]
    ) -> None:
        """``left_pending`` is called with the (table, date) of committed loads that leave work."""
        self._engine = engine
        self.left_pending = left_pending
        self._windows = _windows_by_table(engine.registry)
        self.in_windows = _tables_in_windows(engine.registry)
        """The tables whose loads some window may cover."""
        self._by_game = tuple(
            t.name
            for t in engine.registry.tables.values()
            if t.grain is Grain.GAME and t.name != engine.registry.calendar_table
        )
        self.counts: dict[tuple[str, str], int] = {}
        """(table or ``?``, outcome) → events since the start, for metrics."""

    def count(self, table: str, outcome: str) -> None:
        self.counts[table, outcome] = self.counts.get((table, outcome), 0) + 1

    # ── where a load goes ────────────────────────────────────────────────────────────────────

    def load(
        self, message: LoadMessage, table: TableSpec, received_at: datetime, *, own: bool = False
    ) -> IncomingLoad:
        """A message as a load, with the partitions that it is delivered to."""
        arrival = Arrival(
            event_id=message.event_id,
            table=table.name,
            game_date=message.game_date,
            status=message.status,
            timestamp=min(message.timestamp, received_at),
            received_at=received_at,
            record_count=message.record_count,
            game_ids=message.game_ids,
            content_hash=message.content_hash,
            quiet=message.quiet,
            correlation_id=message.correlation_id,
        )
        registry = self._engine.registry
        named = frozenset(named_partitions(registry, table, arrival.game_date))
        targets = dependent_partitions(registry, table, arrival.game_date)
        now = targets[:DEPENDENTS_PER_COMMIT]
        return IncomingLoad(message, table, arrival, now, named, own, more=len(now) < len(targets))

    def announced(self, arrival: Arrival, processor: str) -> tuple[LoadMessage, TableSpec]:
        """The announcement of a processor's own output, as a message, and the output's table.

        A run may have written a table that no registry has any more. Its output is recorded all the
        same, and nobody needs it.
        """
        name = arrival.table
        table = self._engine.registry.tables.get(name) or TableSpec(name=name, producer=processor)
        message = LoadMessage(
            names=(arrival.table,),
            game_date=arrival.game_date,
            status=arrival.status,
            timestamp=arrival.timestamp,
            event_id=arrival.event_id,
            given_id=False,
            digest=content_digest(
                arrival.status, arrival.record_count, arrival.game_ids, arrival.content_hash
            ),
            record_count=arrival.record_count,
            quiet=arrival.quiet,
            correlation_id=arrival.correlation_id,
            processor_name=processor,
        )
        return message, table

    def keys_of(self, table: str, game_date: str, event_id: str) -> list[Key]:
        """The documents of a load itself, without those of its partitions."""
        keys = [
            event_key(table, game_date, event_id),
            table_date_key(table, game_date),
            calendar_key(game_date),
        ]
        if table in self.in_windows:
            keys += [dates_key(table), pending_key(table, game_date)]
        if table == self._engine.registry.calendar_table:
            keys += [dates_key(GAME_DATES), dates_key(OFF_DATES)]
        return keys

    def writes_of(self, load: IncomingLoad) -> list[Key]:
        """The documents that others may write too and that a load is expected to write."""
        arrival = load.arrival
        writes = [table_date_key(arrival.table, arrival.game_date)]
        writes += [partition_key(*target) for target in load.targets]
        if arrival.table == self._engine.registry.calendar_table:
            writes += [calendar_key(arrival.game_date), dates_key(GAME_DATES), dates_key(OFF_DATES)]
        return writes

    # ── one transaction ──────────────────────────────────────────────────────────────────────

    def fold(self, reading: Reading, load: IncomingLoad, facts: dict[Target, list[Fact]]) -> Folded:
        """Fold a load into the ledger, and add to ``facts`` what its partitions hear.

        Where ``reading`` then misses documents, the answer means nothing yet.
        """
        table, message = load.table, load.message
        date_key = table_date_key(table.name, message.game_date)
        before: TableDate | None = reading.get(date_key)
        arrival = load.arrival
        if before is not None:
            arrival = before.in_order(arrival, message.timestamp)
        ledger_key = event_key(arrival.table, arrival.game_date, arrival.event_id)
        known: LedgerEntry | None = reading.get(ledger_key)
        targets = load.targets
        if known is not None:
            if known.digest != message.digest:
                return Folded("conflict")
            for target in targets:
                facts.setdefault(target, []).append(Ticked())
            in_windows = arrival.table in self.in_windows
            again = ((arrival.table, arrival.game_date),) if in_windows else ()
            return Folded("duplicate", targets, pending=again)
        if arrival.event_id.startswith(OUTPUT) and not load.own:
            return Folded("reserved")
        calendar: CalendarDate | None = reading.get(calendar_key(arrival.game_date))
        expected = None if calendar is None else calendar.games
        grain = table.grain
        if table.name == self._engine.registry.calendar_table:
            grain, expected = Grain.DATE, arrival.game_ids
        folded, fold = (before or TableDate(table=arrival.table, game_date=arrival.game_date)).fold(
            arrival, grain, expected
        )
        warnings: tuple[str, ...] = ()
        work: dict[str, set[Work]] = {arrival.table: set()}
        is_calendar = table.name == self._engine.registry.calendar_table and table.enabled
        revised = False
        if is_calendar:
            revised, warnings = self._set_calendar(reading, arrival, calendar, work)
        not_kept_before = 0 if before is None else before.not_kept
        if folded.not_kept > not_kept_before:
            warnings = (*warnings, _not_kept(folded))
            if not not_kept_before:
                work[arrival.table].add(Work.GAMES_NOT_KEPT)
        if fold is Fold.SUPERSEDED and not revised:
            outcome = "superseded"
            reading.turned_away = True
            warnings = (*warnings, _older(folded, arrival, grain))
        elif not targets and not is_calendar and table.name not in self.in_windows:
            outcome = "ignored"
        else:
            outcome = "applied"
        entry = _ledger_entry(message, arrival, outcome, warnings)
        reading.put(ledger_key, entry, create=True)
        if fold is Fold.APPLIED:
            reading.put(date_key, folded)
            if before is None and table.name in self.in_windows:
                _list_date(reading, table.name, arrival.game_date, there=True)
            if self._changes_windows(table, before, folded, calendar):
                work[arrival.table].add(Work.WINDOWS)
        if load.more and (fold is Fold.APPLIED or revised):
            work[arrival.table].add(Work.DEPENDENTS)
        for target in targets:
            known_facts = facts.setdefault(target, [])
            if fold is Fold.APPLIED and target in load.named:
                _add_loaded(known_facts, Loaded(table_date=folded, arrival=arrival))
            else:
                known_facts.append(Ticked())
        return Folded(outcome, targets, warnings, _leave(reading, arrival.game_date, work))

    def _changes_windows(
        self,
        table: TableSpec,
        before: TableDate | None,
        after: TableDate,
        calendar: CalendarDate | None,
    ) -> bool:
        """Whether a load may change the state of a window, so that who watches it is evaluated."""
        windows = self._windows.get(table.name, ())
        if not windows or not table.enabled:
            return False
        if before is None and calendar is None:
            return True  # a game date that nobody knew of
        games = None if calendar is None else calendar.games
        at = self._engine.clock.now()

        def met(requirement: Requirement, known: TableDate | None) -> bool:
            return judge_source(
                requirement,
                table.name,
                after.game_date,
                known,
                table.grain,
                games,
                at,
                freshness=False,
            ).met

        return any(met(r, before) != met(r, after) for r in windows)

    def _set_calendar(
        self,
        reading: Reading,
        arrival: Arrival,
        known: CalendarDate | None,
        work: dict[str, set[Work]],
    ) -> tuple[bool, tuple[str, ...]]:
        """Take the games a schedule load expects on its date (specification 3.1).

        Says whether it did, and what to warn of; adds to ``work`` what that leaves to be done. The
        newest load that says which games there are counts, whatever loads without game ids came
        after it.
        """
        none = arrival.status is LoadStatus.NO_DATA or arrival.record_count == 0
        if not arrival.informs:
            return False, ()
        if not arrival.game_ids and not none:
            return False, (
                f"{arrival.table} for {arrival.game_date} has rows but no game_ids; "
                "the calendar is unchanged. Send the ids of the games it lists.",
            )
        if known is not None and known.timestamp > arrival.timestamp:
            return False, ()
        games = () if arrival.status is LoadStatus.NO_DATA else arrival.game_ids
        reading.put(
            calendar_key(arrival.game_date),
            CalendarDate(
                game_date=arrival.game_date,
                games=games,
                event_id=arrival.event_id,
                timestamp=arrival.timestamp,
                received_at=arrival.received_at,
            ),
        )
        _list_date(reading, GAME_DATES, arrival.game_date, there=bool(games))
        _list_date(reading, OFF_DATES, arrival.game_date, there=not games)
        if known is None or set(known.games) != set(games):
            if self.in_windows:
                work[arrival.table].add(Work.WINDOWS)
            for table in self._by_game:
                folded: TableDate | None = reading.get(table_date_key(table, arrival.game_date))
                if folded is not None and folded.to_fold_again(games):
                    work[table] = {Work.REFOLD}
        return True, ()

    def decide(
        self, reading: Reading, facts: Mapping[Target, Sequence[Fact]], now: datetime
    ) -> dict[Target, Committed]:
        """Decide on every partition that receives something; incomplete where documents are
        missing."""
        found: dict[Target, Committed] = {}
        for target, received in facts.items():
            decided = self._engine.decide_in(
                reading, target, received, now, window_reads_max=WINDOW_READS_MAX
            )
            if decided is not None:
                found[target] = decided
        return found


def _older(known: TableDate, arrival: Arrival, grain: Grain) -> str:
    """Why a load changes nothing: which one counts instead."""
    if not arrival.informs:
        counting = [known.last_failure]
    elif grain is Grain.GAME and arrival.game_ids:
        counting = [known.winner(game) for game in arrival.game_ids]
    else:
        counting = [*known.arrivals.values()]
    newest = max((a for a in counting if a is not None), key=lambda a: (a.timestamp, a.received_at))
    same_day = newest.timestamp.date() == arrival.timestamp.date()
    form = "%H:%M:%SZ" if same_day else "%Y-%m-%d %H:%M:%SZ"
    return (
        f"older ({arrival.timestamp:{form}}) than what counts ({newest.timestamp:{form}}, "
        f"event {newest.event_id})"
    )


def _ledger_entry(
    message: LoadMessage, arrival: Arrival, outcome: str, warnings: tuple[str, ...]
) -> LedgerEntry:
    return LedgerEntry(
        event_id=arrival.event_id,
        table=arrival.table,
        game_date=arrival.game_date,
        outcome=outcome,
        digest=message.digest,
        received_at=arrival.received_at,
        arrival=arrival,
        execution_id=message.execution_id,
        processor_name=message.processor_name,
        source_scraper_execution_id=message.source_scraper_execution_id,
        message_id=message.message_id,
        warnings=warnings,
    )


def _add_loaded(facts: list[Fact], loaded: Loaded) -> None:
    """Add a load to the facts of a partition, in the place of one before it that it contains."""
    if facts and loaded.arrival.informs and _precedes(facts[-1], loaded.arrival):
        facts[-1] = loaded
    else:
        facts.append(loaded)


def _precedes(fact: Fact, arrival: Arrival) -> bool:
    """Whether a fact is an earlier received load of the same table and date."""
    return (
        isinstance(fact, Loaded)
        and fact.table_date.table == arrival.table
        and fact.table_date.game_date == arrival.game_date
        and fact.arrival.received_at <= arrival.received_at
    )


def _list_date(reading: Reading, name: str, date: str, *, there: bool) -> None:
    """Keep a list of dates true to what this transaction writes."""
    key = dates_key(name)
    known: Dates | None = reading.get(key)
    listed = (known or Dates(name=name)).having(date, there)
    if listed is not known:
        reading.put(key, listed)


def _leave(
    reading: Reading, game_date: str, work: Mapping[str, set[Work]]
) -> tuple[tuple[str, str], ...]:
    """Record in this transaction what it leaves to be done."""
    left = [(table, some) for table, some in work.items() if some]
    for table, some in left:
        key = pending_key(table, game_date)
        known: PendingWork | None = reading.get(key)
        pending = known or PendingWork(table=table, game_date=game_date)
        reading.put(key, pending.adding(some))
    return tuple((table, game_date) for table, _ in left)


def _not_kept(folded: TableDate) -> str:
    return (
        f"{folded.table} for {folded.game_date} names more games than are kept beside the expected "
        f"ones; those with the first {len(folded.games)} ids are kept. Send the ids of the calendar."
    )


def named_partitions(registry: Registry, table: TableSpec, game_date: str) -> list[Target]:
    """The partitions with a non-window requirement that names a table for this date."""
    if not table.enabled:
        return []
    return [
        (d.spec.name, shift(game_date, -d.offset) if d.offset else game_date)
        for d in registry.dependents(table.name)
        if d.window is None
    ]


def dependent_partitions(
    registry: Registry, table: TableSpec, game_date: str
) -> tuple[Target, ...]:
    """The partitions that a load is delivered to; those whose windows cover it are others."""
    found = dict.fromkeys(named_partitions(registry, table, game_date))
    if table.name == registry.calendar_table and table.enabled:
        for spec in registry.processors.values():
            for offset in {0, *spec.offsets}:
                found[spec.name, shift(game_date, -offset)] = None
    return tuple(found)


def _windows_by_table(registry: Registry) -> Mapping[str, tuple[Requirement, ...]]:
    """The window requirements over each table, without those that judge a date alike."""
    found: dict[str, dict[Requirement, Requirement]] = {}
    for spec in registry.processors.values():
        for r in spec.windows:
            alike = replace(r, key="", window=None, critical=True)
            found.setdefault(r.sources[0], {})[alike] = r
    return {table: tuple(some.values()) for table, some in found.items()}


def _tables_in_windows(registry: Registry) -> frozenset[str]:
    """The tables whose loads some window may cover; the calendar decides the dates of all
    windows."""
    windows = [r for s in registry.processors.values() for r in s.windows]
    tables = {t for r in windows for t in r.sources}
    if windows and registry.calendar_table is not None:
        tables.add(registry.calendar_table)
    return frozenset(tables)
