"""The door for events: what was loaded, and what runners report by message.

Owns the outcome of every event (contract 3.3): one transaction over its ledger, its table's date,
the calendar where it sets one, and every dependent partition. Events that wait at the same time
are combined into one transaction, so a burst on one date costs far fewer commits than events.
What cannot be read goes to quarantine whole; nothing is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from coordinator.core.facts import Fact, Loaded, Ticked
from coordinator.core.model import (
    Arrival,
    CalendarDate,
    Flag,
    Fold,
    Grain,
    LoadStatus,
    Status,
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
from coordinator.errors import BadInput, Bug, CoordinatorError, Mistake
from coordinator.ports import Changes, Key, Kind, Need, Op, Query, Where
from coordinator.registry import Registry
from coordinator.service.engine import Committed, Docs, Engine, Reading, Target
from coordinator.service.quarantine import Quarantine
from coordinator.service.runs import Runs
from coordinator.wire import (
    BadMessage,
    LoadMessage,
    RunMessage,
    content_digest,
    read_envelope,
    read_event,
    read_json,
    shown,
)

BATCH_LIMIT = 256
"""Events that share one transaction at the most."""
PARTITIONS_PER_COMMIT = 150
"""Partitions in one commit of a store whose commits should be small."""
WINDOW_DEPENDENTS_LIMIT = 400
"""Open partitions that one load inside their windows re-judges at the most."""
LAST_DATE = "9999-12-31"
_OPEN = (Status.WAITING.value, Status.SETTLING.value)
_DONE = (Status.SUCCEEDED.value, Status.COOLING.value, Status.FAILED.value)
"""Ran, and of interest while newer data waits for a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """A partition that an event was delivered to, as it stood after the commit."""

    processor: str
    game_date: str
    status: str
    fired_run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an event got (contract 3.3)."""

    outcome: str
    event_id: str | None = None
    affected: tuple[Affected, ...] = ()
    errors: tuple[Mistake, ...] = ()
    warnings: tuple[str, ...] = ()
    quarantine_id: str | None = None


@dataclass(slots=True)
class _Arriving:
    """One event on its way through a transaction."""

    message: LoadMessage
    table: TableSpec
    arrival: Arrival
    targets: tuple[Target, ...]
    """Every partition it is delivered to."""
    named: frozenset[Target]
    """Those of them with a non-window requirement that names the table."""


@dataclass(slots=True)
class _Waiting:
    arriving: _Arriving
    future: asyncio.Future[Outcome]
    received_at: datetime = field(kw_only=True)


class Ingest:
    """Takes events in."""

    def __init__(self, engine: Engine, runs: Runs, quarantine: Quarantine) -> None:
        self._engine = engine
        self._runs = runs
        self._quarantine = quarantine
        self._queue: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None
        self._in_windows = _tables_in_windows(engine.registry)
        self.counts: dict[tuple[str, str], int] = {}
        """(table or ``?``, outcome) → events since the start, for metrics."""

    @property
    def registry(self) -> Registry:
        return self._engine.registry

    # ── the two ways in ──────────────────────────────────────────────────────────────────────

    async def push(self, body: bytes) -> Outcome:
        """Take a Pub/Sub push body in. What is bad in any way is quarantined, not refused.

        Raises ``Unavailable`` when the store is out of reach; then nothing was recorded.
        """
        received_at = self._engine.clock.now()
        message_id = None
        try:
            envelope = read_envelope(body)
            message_id = envelope.message_id
            event = read_json(envelope.data, "message.data")
            return await self._take(event, received_at, message_id)
        except BadInput as error:
            return await self._set_aside(body, "push", error, message_id, received_at)

    async def take(self, event: Any) -> Outcome:
        """Take one event in over REST: a bad one is answered with its mistakes and not stored.

        Raises ``Unavailable`` when the store is out of reach.
        """
        try:
            return await self._take(event, self._engine.clock.now(), None)
        except BadInput as error:
            mistakes = error.mistakes or (Mistake("event", error.detail),)
            self._count("?", "rejected")
            return Outcome(outcome="rejected", errors=mistakes)

    async def replay(self, raw: bytes, source: str, message_id: str | None) -> Outcome:
        """Take a quarantined message in again. Raises ``BadInput`` when it is still bad."""
        received_at = self._engine.clock.now()
        if source == "push":
            envelope = read_envelope(raw)
            raw, message_id = envelope.data, envelope.message_id
        return await self._take(read_json(raw, "message.data"), received_at, message_id)

    def examine(self, raw: bytes, source: str, message_id: str | None) -> None:
        """Say whether a quarantined message would be read now. Raises ``BadInput`` if not."""
        if source == "push":
            raw = read_envelope(raw).data
        event = read_json(raw, "message.data")
        message = read_event(event, self._engine.clock.now(), message_id)
        if isinstance(message, LoadMessage):
            self._table(message)

    async def announce(self, arrival: Arrival, processor: str) -> Outcome:
        """Take in the announcement of a processor's own output."""
        table = self.registry.tables.get(arrival.table)
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
        return await self._enqueue(message, table, self._engine.clock.now())

    async def _take(self, event: Any, received_at: datetime, message_id: str | None) -> Outcome:
        message = read_event(event, received_at, message_id)
        if isinstance(message, RunMessage):
            return await self._report(message)
        return await self._enqueue(message, self._table(message), received_at)

    def _table(self, message: LoadMessage) -> TableSpec:
        """The table a message names. Raises ``BadMessage`` where it names none that is declared."""
        table = next((t for n in message.names if (t := self.registry.table_for(n))), None)
        if table is None:
            raise BadMessage(
                f"no declared table is named {', '.join(message.names)}",
                (
                    Mistake(
                        "target_table",
                        "names no declared table or alias; declare it in registry.yaml, "
                        "or mend the name",
                        shown(message.names[0]),
                    ),
                ),
                code="unknown_table",
            )
        return table

    async def _report(self, message: RunMessage) -> Outcome:
        """A runner's report as a message. What the state machine refuses is ``refused``."""
        try:
            if message.status is not None:
                await self._runs.complete(
                    message.run_id,
                    message.lease_token,
                    message.status,
                    message.record_count,
                    message.error,
                )
            else:
                await self._runs.heartbeat(message.run_id, message.lease_token)
        except CoordinatorError as error:
            if error.status not in (404, 409):
                raise
            self._count("runs", "refused")
            return Outcome(outcome="refused", errors=(Mistake("run_id", error.detail),))
        self._count("runs", "applied")
        return Outcome(outcome="applied")

    async def _set_aside(
        self,
        body: bytes,
        source: str,
        error: BadInput,
        message_id: str | None,
        received_at: datetime,
    ) -> Outcome:
        quarantined = await self._quarantine.add(body, source, error, message_id, received_at)
        self._count("?", "quarantined")
        return Outcome(
            outcome="quarantined",
            errors=error.mistakes,
            quarantine_id=quarantined.quarantine_id,
        )

    def _count(self, table: str, outcome: str) -> None:
        self.counts[table, outcome] = self.counts.get((table, outcome), 0) + 1

    # ── combining ────────────────────────────────────────────────────────────────────────────

    async def _enqueue(
        self, message: LoadMessage, table: TableSpec, received_at: datetime
    ) -> Outcome:
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
        named = self._named(table, arrival)
        targets = await self._targets(table, arrival, named)
        arriving = _Arriving(message, table, arrival, targets, frozenset(named))
        future = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(arriving, future, received_at=received_at))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._drain())
        outcome: Outcome = await future
        self._count(table.name, outcome.outcome)
        if outcome.outcome == "conflict":
            raise BadMessage(
                f"event_id {message.event_id} is known with other content",
                (
                    Mistake(
                        "event_id",
                        "came before with other content; give each load an id of its own",
                        shown(message.event_id),
                    ),
                ),
                code="event_id_conflict",
            )
        return outcome

    async def _drain(self) -> None:
        """Commit what waits, batch after batch, until nothing does."""
        scattered = getattr(self._engine.store, "scattered", False)
        while self._queue:
            batch, self._queue = self._queue[:BATCH_LIMIT], self._queue[BATCH_LIMIT:]
            if scattered:
                await asyncio.gather(*(self._settle_all(parts) for parts in parted(batch)))
            else:
                await self._settle(batch)

    async def _settle_all(self, batches: Sequence[Sequence[_Waiting]]) -> None:
        for batch in batches:
            await self._settle(batch)

    async def _settle(self, batch: Sequence[_Waiting]) -> None:
        """Commit a batch, and tell every waiter."""
        try:
            outcomes = await self._commit([w.arriving for w in batch])
        except Exception as error:  # noqa: BLE001 - handed to the waiters, never swallowed
            if len(batch) == 1 or (isinstance(error, CoordinatorError) and error.status == 503):
                for waiting in batch:
                    if not waiting.future.done():
                        waiting.future.set_exception(error)
                return
            await self._commit_each(batch)
            return
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(outcome)

    async def _commit_each(self, batch: Sequence[_Waiting]) -> None:
        """One bad event must not take its neighbours down."""
        for waiting in batch:
            try:
                result = (await self._commit([waiting.arriving]))[0]
            except Exception as error:  # noqa: BLE001 - handed to the waiters, never swallowed
                if not waiting.future.done():
                    waiting.future.set_exception(error)
            else:
                if not waiting.future.done():
                    waiting.future.set_result(result)

    async def _commit(self, batch: Sequence[_Arriving]) -> list[Outcome]:
        """Fold a batch into the ledger and decide on every dependent partition, atomically."""
        engine = self._engine
        now = engine.clock.now()
        targets: dict[Target, None] = {}
        for arriving in batch:
            targets.update(dict.fromkeys(arriving.targets))

        def step(docs: Docs) -> Changes[tuple[list[Outcome], list[Committed]]] | Need:
            return self._step(Reading(docs), batch, now)

        keys: dict[Key, None] = {}
        for arriving in batch:
            a = arriving.arrival
            keys[event_key(a.table, a.game_date, a.event_id)] = None
            keys[table_date_key(a.table, a.game_date)] = None
            keys[calendar_key(a.game_date)] = None
        for target in targets:
            keys.update(dict.fromkeys(engine.keys_of(target)))
        outcomes, committed = await engine.store.transact(list(keys), step)
        engine.committed(committed)
        await self._catch_up(batch, targets)
        return outcomes

    async def _catch_up(self, batch: Sequence[_Arriving], reached: Mapping[Target, None]) -> None:
        """Re-judge partitions that look back at these loads and came to be while they were taken in.

        They were looked for before the commit, and one made since may have been judged without
        the load. Should this fail, the event is not acknowledged and comes again as a duplicate.
        """
        missed: dict[Target, None] = {}
        for arriving in batch:
            if arriving.table.name in self._in_windows:
                found = await self._windowed(arriving.table, arriving.arrival)
                missed.update(dict.fromkeys(t for t in found if t not in reached))
        if missed:
            await self._engine.apply_each({t: (Ticked(),) for t in missed})

    # ── one transaction ──────────────────────────────────────────────────────────────────────

    def _named(self, table: TableSpec, arrival: Arrival) -> list[Target]:
        """The partitions with a non-window requirement that names the table for this date."""
        if not table.enabled:
            return []
        return [
            (d.spec.name, shift(arrival.game_date, -d.offset) if d.offset else arrival.game_date)
            for d in self.registry.dependents(table.name)
            if d.window is None
        ]

    async def _targets(
        self, table: TableSpec, arrival: Arrival, named: Sequence[Target]
    ) -> tuple[Target, ...]:
        """The partitions an event is delivered to."""
        found = dict.fromkeys(named)
        if table.name == self.registry.calendar_table and table.enabled:
            for spec in self.registry.processors.values():
                for offset in {0, *spec.offsets}:
                    found[spec.name, shift(arrival.game_date, -offset)] = None
        if table.name in self._in_windows:
            found.update(dict.fromkeys(await self._windowed(table, arrival)))
        return tuple(found)

    async def _windowed(self, table: TableSpec, arrival: Arrival) -> tuple[Target, ...]:
        """Partitions whose windows may look at this load, and that it could make fire or hold."""
        if not table.enabled:
            return ()
        of_calendar = table.name == self.registry.calendar_table
        windows: dict[str, list[Window]] = {}
        for dependent in self.registry.dependents(table.name):
            if dependent.window is not None:
                windows.setdefault(dependent.spec.name, []).append(dependent.window)
        for spec in self.registry.processors.values() if of_calendar else ():
            if spec.windows:
                windows[spec.name] = [r.window for r in spec.windows if r.window is not None]
        found: list[Target] = []
        for name in sorted(windows):
            last = max([await self._reach(w, arrival.game_date) for w in windows[name]])
            page = await self._engine.store.find(
                Query(
                    Kind.PARTITION,
                    (
                        Where("processor", Op.EQ, name),
                        Where("game_date", Op.GT, arrival.game_date),
                        Where("game_date", Op.LE, last),
                        Where("status", Op.IN, (*_OPEN, *_DONE)),
                    ),
                    order="game_date",
                    limit=WINDOW_DEPENDENTS_LIMIT,
                )
            )
            found += [
                (p.processor, p.game_date)
                for _, p in page.items
                if p.status.value in _OPEN or Flag.NEWER_DATA in p.flags
            ]
        return tuple(found)

    async def _reach(self, window: Window, game_date: str) -> str:
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

    def _step(
        self,
        reading: Reading,
        batch: Sequence[_Arriving],
        now: datetime,
    ) -> Changes[tuple[list[Outcome], list[Committed]]] | Need:
        facts: dict[Target, list[Fact]] = {}
        results = [self._fold(reading, arriving, facts) for arriving in batch]
        committed: dict[Target, Committed] = {}
        for target, target_facts in facts.items():
            decided = self._engine.decide_in(reading, target, target_facts, now)
            if decided is not None:
                committed[target] = decided
        if reading.missing:
            return Need(tuple(reading.missing))
        affected = {t: _affected(c) for t, c in committed.items()}
        outcomes = [
            Outcome(
                outcome=outcome,
                event_id=arriving.arrival.event_id,
                affected=tuple([affected[t] for t in targets]),
                warnings=warnings,
            )
            for arriving, (outcome, targets, warnings) in zip(batch, results, strict=True)
        ]
        return Changes(
            (outcomes, list(committed.values())), reading.puts, frozenset(reading.creates)
        )

    def _fold(
        self, reading: Reading, arriving: _Arriving, facts: dict[Target, list[Fact]]
    ) -> tuple[str, Sequence[Target], tuple[str, ...]]:
        """Fold one event into the ledger; says its outcome, its partitions and its warnings."""
        arrival, table, message = arriving.arrival, arriving.table, arriving.message
        ledger_key = event_key(arrival.table, arrival.game_date, arrival.event_id)
        known: LedgerEntry | None = reading.get(ledger_key)
        targets = arriving.targets
        if known is not None:
            if known.digest != message.digest:
                return "conflict", [], ()
            for target in targets:
                facts.setdefault(target, []).append(Ticked())
            return "duplicate", targets, ()
        date_key = table_date_key(arrival.table, arrival.game_date)
        before: TableDate | None = reading.get(date_key)
        calendar: CalendarDate | None = reading.get(calendar_key(arrival.game_date))
        grain = Grain.DATE if table.name == self.registry.calendar_table else table.grain
        folded, fold = (before or TableDate(table=arrival.table, game_date=arrival.game_date)).fold(
            arrival, grain, None if calendar is None else calendar.games
        )
        warnings: tuple[str, ...] = ()
        is_calendar = table.name == self.registry.calendar_table and table.enabled
        revised = False
        if is_calendar:
            revised, warnings = self._set_calendar(reading, arrival, calendar)
        if fold is Fold.SUPERSEDED and not revised:
            outcome = "superseded"
        elif not targets and not is_calendar and table.name not in self._in_windows:
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
            ),
            create=True,
        )
        if fold is Fold.APPLIED:
            reading.put(date_key, folded)
            if before is None and table.name in self._in_windows:
                _list_date(reading, table.name, arrival.game_date, there=True)
        for target in targets:
            known_facts = facts.setdefault(target, [])
            if fold is not Fold.APPLIED or target not in arriving.named:
                known_facts.append(Ticked())
            elif known_facts and arrival.informs and _precedes(known_facts[-1], arrival):
                known_facts[-1] = Loaded(table_date=folded, arrival=arrival)  # it holds both
            else:
                known_facts.append(Loaded(table_date=folded, arrival=arrival))
        return outcome, targets, warnings

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


def parted(batch: Sequence[_Waiting]) -> list[list[list[_Waiting]]]:
    """A batch by what hangs together: events that share no document need no common commit.

    Each part is in the order of arrival, cut so that no commit holds too many documents; its cuts
    are to be committed one after the other.
    """
    parts: list[tuple[set[object], list[_Waiting]]] = []
    for waiting in batch:
        arrival = waiting.arriving.arrival
        shared: set[object] = {*waiting.arriving.targets, (arrival.table, arrival.game_date, None)}
        joined = [part for part in parts if not shared.isdisjoint(part[0])]
        parts = [part for part in parts if shared.isdisjoint(part[0])]
        members = [w for _, ws in joined for w in ws]
        for documents, _ in joined:
            shared |= documents
        parts.append((shared, [*members, waiting]))
    order = {id(waiting): n for n, waiting in enumerate(batch)}
    return [_cut(sorted(part, key=lambda w: order[id(w)])) for _, part in parts]


def _cut(part: Sequence[_Waiting]) -> list[list[_Waiting]]:
    cuts: list[list[_Waiting]] = [[]]
    documents: set[object] = set()
    for waiting in part:
        documents.update(waiting.arriving.targets)
        if len(documents) > PARTITIONS_PER_COMMIT and cuts[-1]:
            cuts.append([])
            documents = set(waiting.arriving.targets)
        cuts[-1].append(waiting)
    return cuts


def _affected(committed: Committed) -> Affected:
    decision = committed.decision
    return Affected(
        processor=decision.partition.processor,
        game_date=decision.partition.game_date,
        status=decision.partition.status.value,
        fired_run_id=decision.fired.run_id if decision.fired else None,
    )
