"""A load inside a transaction: its ledger, its table's date, the calendar, and who hears of it.

Owns where a load goes (the partitions it is delivered to) and how it is folded in, whether it came
as an event (``ingest``) or as the output of a run that ended (``runs``). Refuses to commit: its
callers own their transactions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from coordinator.core.effects import OUTPUT
from coordinator.core.facts import Fact, Loaded, Ticked
from coordinator.core.model import (
    WATCHES,
    WATCHES_FOR_NEWER_DATA,
    Arrival,
    CalendarDate,
    Fold,
    Grain,
    LoadStatus,
    TableDate,
)
from coordinator.core.schedule import shift
from coordinator.core.spec import TableSpec, Window
from coordinator.documents import (
    GAME_DATES,
    OFF_DATES,
    Dates,
    LedgerEntry,
    calendar_key,
    dates_key,
    event_key,
    table_date_key,
)
from coordinator.errors import Bug
from coordinator.ports import Key, Kind, Op, Query, Where
from coordinator.registry import Registry
from coordinator.service.engine import Committed, Engine, Reading, Target
from coordinator.wire import LoadMessage, content_digest

WINDOW_DEPENDENTS_LIMIT = 400
"""Open partitions that one load inside their windows re-judges at the most."""
LAST_DATE = "9999-12-31"
_WATCHING = tuple(s.value for s in (*WATCHES, *WATCHES_FOR_NEWER_DATA))


@dataclass(slots=True)
class Load:
    """One load on its way through a transaction."""

    message: LoadMessage
    table: TableSpec
    arrival: Arrival
    targets: tuple[Target, ...]
    """Every partition it is delivered to."""
    named: frozenset[Target]
    """Those of them with a non-window requirement that names the table."""
    own: bool = False
    """The output of a run, announced by the service itself."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What became of a load inside its transaction."""

    outcome: str
    """In the words of contract 3.3; ``conflict``: its id is known with other content; ``reserved``:
    its id is a run's, and that run has announced nothing."""
    targets: Sequence[Target] = ()
    """The partitions that hear of it."""
    warnings: tuple[str, ...] = ()


class Loads:
    """Folds loads into the ledger and delivers them to partitions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.in_windows = _tables_in_windows(engine.registry)
        """The tables whose loads some window may look at."""
        self.counts: dict[tuple[str, str], int] = {}
        """(table or ``?``, outcome) → events since the start, for metrics."""

    def count(self, table: str, outcome: str) -> None:
        self.counts[table, outcome] = self.counts.get((table, outcome), 0) + 1

    # ── where a load goes ────────────────────────────────────────────────────────────────────

    async def load(
        self, message: LoadMessage, table: TableSpec, received_at: datetime, *, own: bool = False
    ) -> Load:
        """A message as a load, with the partitions that hear of it. Raises ``Unavailable``."""
        targets = await self.reach(table, message.game_date)
        return self.reaching(message, table, received_at, targets, own=own)

    def reaching(
        self,
        message: LoadMessage,
        table: TableSpec,
        received_at: datetime,
        targets: tuple[Target, ...],
        *,
        own: bool = False,
    ) -> Load:
        """A message as a load to partitions that were found before."""
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
        named = frozenset(self._named(table, arrival.game_date))
        return Load(message, table, arrival, targets, named, own)

    def announced(self, arrival: Arrival, processor: str) -> tuple[LoadMessage, TableSpec]:
        """The announcement of a processor's own output, as a message, and the output's table."""
        table = self._engine.registry.tables.get(arrival.table)
        if table is None:
            raise Bug(f"{processor} announces {arrival.table}, which the registry does not have")
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

    def _named(self, table: TableSpec, game_date: str) -> list[Target]:
        """The partitions with a non-window requirement that names the table for this date."""
        if not table.enabled:
            return []
        return [
            (d.spec.name, shift(game_date, -d.offset) if d.offset else game_date)
            for d in self._engine.registry.dependents(table.name)
            if d.window is None
        ]

    async def reach(self, table: TableSpec, game_date: str) -> tuple[Target, ...]:
        """The partitions that a load is delivered to. Raises ``Unavailable``."""
        found = dict.fromkeys(self._named(table, game_date))
        if table.name == self._engine.registry.calendar_table and table.enabled:
            for spec in self._engine.registry.processors.values():
                for offset in {0, *spec.offsets}:
                    found[spec.name, shift(game_date, -offset)] = None
        if table.name in self.in_windows:
            found.update(dict.fromkeys(await self.windowed(table, game_date)))
        return tuple(found)

    async def windowed(self, table: TableSpec, game_date: str) -> tuple[Target, ...]:
        """Partitions whose windows may look at this load, and that it could make fire or hold."""
        if not table.enabled:
            return ()
        of_calendar = table.name == self._engine.registry.calendar_table
        windows: dict[str, list[Window]] = {}
        for dependent in self._engine.registry.dependents(table.name):
            if dependent.window is not None:
                windows.setdefault(dependent.spec.name, []).append(dependent.window)
        for spec in self._engine.registry.processors.values() if of_calendar else ():
            if spec.windows:
                windows[spec.name] = [r.window for r in spec.windows if r.window is not None]
        found: list[Target] = []
        for name in sorted(windows):
            last = max([await self._horizon(w, game_date) for w in windows[name]])
            page = await self._engine.store.find(
                Query(
                    Kind.PARTITION,
                    (
                        Where("processor", Op.EQ, name),
                        Where("game_date", Op.GT, game_date),
                        Where("game_date", Op.LE, last),
                        Where("status", Op.IN, _WATCHING),
                    ),
                    order="game_date",
                    limit=WINDOW_DEPENDENTS_LIMIT,
                )
            )
            found += [(p.processor, p.game_date) for _, p in page.items if p.watches_windows]
        return tuple(found)

    async def _horizon(self, window: Window, game_date: str) -> str:
        """The last date whose window can look at ``game_date``.

        Dates that the calendar does not know can only bring it nearer.
        """
        if window.days is not None:
            return shift(game_date, window.days)
        page = await self._engine.store.find(
            Query(
                Kind.CALENDAR,
                (Where("game_date", Op.GT, game_date), Where("games_count", Op.GT, 0)),
                order="game_date",
                limit=window.game_dates or 1,
            )
        )
        far_enough = len(page.items) == window.game_dates
        return page.items[-1][0] if far_enough else LAST_DATE

    def keys_of(self, table: str, game_date: str, event_id: str) -> list[Key]:
        """The documents of a load itself, without those of its partitions."""
        keys = [
            event_key(table, game_date, event_id),
            table_date_key(table, game_date),
            calendar_key(game_date),
        ]
        if table in self.in_windows:
            keys.append(dates_key(table))
        if table == self._engine.registry.calendar_table:
            keys += [dates_key(GAME_DATES), dates_key(OFF_DATES)]
        return keys

    # ── one transaction ──────────────────────────────────────────────────────────────────────

    def fold(self, reading: Reading, load: Load, facts: dict[Target, list[Fact]]) -> Folded:
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
            return Folded("duplicate", targets)
        if arrival.event_id.startswith(OUTPUT) and not load.own:
            return Folded("reserved")
        calendar: CalendarDate | None = reading.get(calendar_key(arrival.game_date))
        grain = Grain.DATE if table.name == self._engine.registry.calendar_table else table.grain
        folded, fold = (before or TableDate(table=arrival.table, game_date=arrival.game_date)).fold(
            arrival, grain, None if calendar is None else calendar.games
        )
        warnings: tuple[str, ...] = ()
        is_calendar = table.name == self._engine.registry.calendar_table and table.enabled
        revised = False
        if is_calendar:
            revised, warnings = self._set_calendar(reading, arrival, calendar)
        if fold is Fold.SUPERSEDED and not revised:
            outcome = "superseded"
            warnings = (*warnings, _older(folded, arrival, grain))
        elif not targets and not is_calendar and table.name not in self.in_windows:
            outcome = "ignored"
        else:
            outcome = "applied"
        reading.put(
            ledger_key,
            LedgerEntry(
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
            ),
            create=True,
        )
        if fold is Fold.APPLIED:
            reading.put(date_key, folded)
            if before is None and table.name in self.in_windows:
                _list_date(reading, table.name, arrival.game_date, there=True)
        for target in targets:
            known_facts = facts.setdefault(target, [])
            if fold is not Fold.APPLIED or target not in load.named:
                known_facts.append(Ticked())
            elif known_facts and arrival.informs and _precedes(known_facts[-1], arrival):
                known_facts[-1] = Loaded(table_date=folded, arrival=arrival)  # it holds both
            else:
                known_facts.append(Loaded(table_date=folded, arrival=arrival))
        return Folded(outcome, targets, warnings)

    def _set_calendar(
        self, reading: Reading, arrival: Arrival, known: CalendarDate | None
    ) -> tuple[bool, tuple[str, ...]]:
        """Take the games a schedule load expects on its date (contract 3.1).

        Says whether it did, and what to warn of. The newest load that says which games there are
        counts, whatever loads without game ids came after it.
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
        return True, ()

    def decide(
        self, reading: Reading, facts: Mapping[Target, Sequence[Fact]], now: datetime
    ) -> dict[Target, Committed]:
        """Decide on every partition that hears something; incomplete where documents are missing."""
        found: dict[Target, Committed] = {}
        for target, heard in facts.items():
            decided = self._engine.decide_in(reading, target, heard, now)
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


def _tables_in_windows(registry: Registry) -> frozenset[str]:
    """The tables whose loads some window may look at; the calendar decides what all look at."""
    windows = [r for s in registry.processors.values() for r in s.windows]
    tables = {t for r in windows for t in r.sources}
    if windows and registry.calendar_table is not None:
        tables.add(registry.calendar_table)
    return frozenset(tables)
