"""The door for events: what was loaded, and what runners report by message.

Owns the outcome of every event (contract 3.3): one transaction over its ledger, its table's date,
the calendar where it sets one, and every dependent partition. Events that wait at the same time
are combined into one transaction, so a burst on one date costs far fewer commits than events.
What cannot be read goes to quarantine whole; nothing is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from coordinator.core.effects import OUTPUT
from coordinator.core.facts import Fact
from coordinator.core.model import Arrival
from coordinator.core.spec import TableSpec
from coordinator.documents import GAME_DATES
from coordinator.errors import (
    CONTENDED,
    QUEUE_FULL,
    BadInput,
    CoordinatorError,
    Mistake,
    Unavailable,
)
from coordinator.ports import Changes, Key, Need
from coordinator.registry import Registry
from coordinator.service.engine import Committed, Docs, Engine, Reading, Target
from coordinator.service.loads import Load, Loads
from coordinator.service.quarantine import Quarantine
from coordinator.service.runs import Runs, UnknownProcessor
from coordinator.wire import (
    BadMessage,
    LoadMessage,
    RunReport,
    read_envelope,
    read_event,
    read_json,
    shown,
)

log = structlog.get_logger(__name__)

BATCH_LIMIT = 256
"""Events that share one transaction at the most."""
PARTITIONS_PER_COMMIT = 150
"""Partitions in one commit of a store whose commits should be small."""
DIVIDED_SECONDS = 8.0
"""How long a batch that too many want is divided further: who pushes waits for ten."""
WAITING_MAX = 20_000
"""Events that may wait for the store, each counted with the game ids that it names: some tens of
megabytes. More are answered 503 at once, so that a store that stalls does not fill the memory;
senders try again."""
CONSIDERED = 2000
"""Waiting events that are looked at to find the next batches."""


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


@dataclass(slots=True, eq=False)
class _Waiting:
    load: Load
    future: asyncio.Future[Outcome]
    size: int = 1
    """It, and the game ids that it names."""


@dataclass(slots=True, eq=False)
class Part:
    """Events that hang together, in the order in which they came, and what they may write."""

    events: list[_Waiting]
    documents: set[object]


@dataclass(frozen=True, slots=True)
class Taken:
    """What one commit of events did."""

    outcomes: list[Outcome]
    committed: list[Committed]
    pending: list[tuple[str, str]]
    """(table, date) of what it left to be done."""


class Ingest:
    """Takes events in."""

    def __init__(self, engine: Engine, loads: Loads, runs: Runs, quarantine: Quarantine) -> None:
        self._engine = engine
        self._loads = loads
        self._runs = runs
        self._quarantine = quarantine
        self._queue: list[_Waiting] = []
        self._starting: asyncio.Handle | None = None
        self.waiting = 0
        """Events that were taken from their senders and are not committed yet."""
        self._waiting_size = 0
        self.turned_away = 0
        """Events that were answered 503 because too many waited, since the start."""
        self._busy: set[object] = set()
        """What the batches on their way may write."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._small_commits = engine.store.profile.small_commits
        self.counts = loads.counts

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
            self._loads.count("?", "rejected")
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
        """Take in the announcement of a processor's own output.

        Raises ``Unavailable`` while another registry is served that has its table and this one has
        not: an instance of that one delivers it.
        """
        name = arrival.table
        if name not in self.registry.tables:
            await self._engine.in_force.unknown_here(
                f"the table {shown(name)}", lambda other: other is None or name in other.tables
            )
        message, table = self._loads.announced(arrival, processor)
        return await self._enqueue(message, table, self._engine.clock.now(), own=True)

    async def _take(self, event: Any, received_at: datetime, message_id: str | None) -> Outcome:
        message = read_event(event, received_at, message_id)
        if isinstance(message, RunReport):
            return await self._report(message)
        names, in_force = message.names, self._engine.in_force
        unknown = f"the table {shown(names[0])}"
        try:
            table = self._table(message)
        except BadMessage:
            await in_force.unknown_here(
                unknown, lambda other: other is None or any(map(other.table_for, names))
            )
            raise
        if in_force.others and self.registry.table_for(names[0]) is None:
            # Another name in it is known here; the first one may be another registry's table.
            await in_force.unknown_here(
                unknown, lambda other: other is None or other.table_for(names[0]) is not None
            )
        return await self._enqueue(message, table, received_at)

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

    async def _report(self, message: RunReport) -> Outcome:
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
        except UnknownProcessor as error:
            raise BadMessage(
                error.detail,
                (
                    Mistake(
                        "run_id",
                        "must be of a processor that the registry has; replay it once that is so",
                        shown(message.run_id),
                    ),
                ),
                code="unknown_processor",
            ) from error
        except CoordinatorError as error:
            if error.status not in (404, 409):
                raise
            self._loads.count("runs", "refused")
            return Outcome(outcome="refused", errors=(Mistake("run_id", error.detail),))
        self._loads.count("runs", "applied")
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
        self._loads.count("?", "quarantined")
        return Outcome(
            outcome="quarantined",
            errors=error.mistakes,
            quarantine_id=quarantined.quarantine_id,
        )

    # ── combining ────────────────────────────────────────────────────────────────────────────

    async def _enqueue(
        self, message: LoadMessage, table: TableSpec, received_at: datetime, *, own: bool = False
    ) -> Outcome:
        size = 1 + len(message.game_ids)
        if self.waiting and self._waiting_size + size > WAITING_MAX:
            self.turned_away += 1
            raise Unavailable(
                f"{self.waiting} events wait already for the store, which is slow or out of reach; "
                "nothing of this one was recorded. Send it again later.",
                code=QUEUE_FULL,
            )
        load = self._loads.load(message, table, received_at, own=own)
        future = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(load, future, size))
        self.waiting += 1
        self._waiting_size += size
        if self._starting is None:
            self._starting = asyncio.get_running_loop().call_soon(self._start)
        outcome: Outcome = await future
        self._loads.count(table.name, outcome.outcome)
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
        if outcome.outcome == "reserved":
            raise BadMessage(
                f"event_id {shown(message.event_id)} is reserved: an id that begins with {OUTPUT} "
                "marks the announced output of a run; give the load another id, or leave event_id "
                "out",
                (
                    Mistake(
                        "event_id",
                        f"must not begin with {OUTPUT}, which marks the announced output of a run; "
                        "give the load another id, or leave it out and one is derived",
                        shown(message.event_id),
                    ),
                ),
                code="event_id_reserved",
            )
        log.info(
            "load",
            table=table.name,
            game_date=message.game_date,
            outcome=outcome.outcome,
            event_id=message.event_id,
            correlation_id=message.correlation_id,
        )
        return outcome

    def _start(self) -> None:
        """Begin to commit what waits, but for what shares documents with a batch on its way."""
        self._starting = None
        considered, self._queue = self._queue[:CONSIDERED], self._queue[CONSIDERED:]
        kept: list[_Waiting] = []
        for part in parted(considered, self._documents):
            if self._busy.isdisjoint(part.documents):
                batch = part.events[: self._fitting(part.events)]
                kept += part.events[len(batch) :]
                self._busy |= part.documents
                task = asyncio.create_task(self._serve(batch, part.documents))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                kept += part.events
        order = {waiting: place for place, waiting in enumerate(considered)}
        self._queue[:0] = sorted(kept, key=order.__getitem__)

    async def _serve(self, batch: Sequence[_Waiting], documents: Set[object]) -> None:
        try:
            await self._settle(batch)
        finally:
            self.waiting -= len(batch)
            self._waiting_size -= sum(waiting.size for waiting in batch)
            self._busy -= documents
            if self._queue and self._starting is None:
                self._start()

    def _documents(self, load: Load) -> Set[object]:
        """What this load writes and others may write too: they are to share a commit.

        A store whose commits gain nothing from being small takes one batch after the other.
        """
        if not self._small_commits:
            return {None}
        arrival = load.arrival
        found: set[object] = {*load.targets, (arrival.table, arrival.game_date, None)}
        if arrival.table == self.registry.calendar_table:
            found.add(GAME_DATES)
        return found

    def _fitting(self, events: Sequence[_Waiting]) -> int:
        """How many of these events go into one commit, at least one."""
        if not self._small_commits:
            return BATCH_LIMIT
        partitions: set[Target] = set()
        for place, waiting in enumerate(events):
            partitions.update(waiting.load.targets)
            if place and (len(partitions) > PARTITIONS_PER_COMMIT or place >= BATCH_LIMIT):
                return place
        return len(events)

    async def _settle(self, batch: Sequence[_Waiting], until: float | None = None) -> None:
        """Commit a batch, in parts where it cannot be whole until then, and tell every waiter."""
        monotonic = self._engine.clock.monotonic
        until = monotonic() + DIVIDED_SECONDS if until is None else until
        try:
            outcomes = await self._commit([w.load for w in batch])
        except Exception as error:  # noqa: BLE001 - handed to the waiters, never swallowed
            over = isinstance(error, Unavailable) and (
                error.code != CONTENDED or monotonic() >= until
            )
            if len(batch) == 1 or over:
                for waiting in batch:
                    if not waiting.future.done():
                        waiting.future.set_exception(error)
                return
            # One bad event must not take its neighbours down, and fewer documents are less wanted.
            half = len(batch) // 2
            await self._settle(batch[:half], until)
            await self._settle(batch[half:], until)
            return
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(outcome)

    async def _commit(self, batch: Sequence[Load]) -> list[Outcome]:
        """Fold a batch into the ledger and decide on every dependent partition, atomically."""
        engine = self._engine
        now = engine.clock.now()
        targets: dict[Target, None] = {}
        for load in batch:
            targets.update(dict.fromkeys(load.targets))

        def step(docs: Docs) -> Changes[Taken] | Need:
            return self._step(Reading(docs), batch, now)

        keys: dict[Key, None] = {}
        for load in batch:
            a = load.arrival
            keys.update(dict.fromkeys(self._loads.keys_of(a.table, a.game_date, a.event_id)))
        for target in targets:
            keys.update(dict.fromkeys(engine.keys_of(target)))
        taken = await engine.transact(list(keys), step)
        engine.committed(taken.committed)
        if taken.pending:
            engine.pending(taken.pending)
        return taken.outcomes

    # ── one transaction ──────────────────────────────────────────────────────────────────────

    def _step(
        self,
        reading: Reading,
        batch: Sequence[Load],
        now: datetime,
    ) -> Changes[Taken] | Need:
        facts: dict[Target, list[Fact]] = {}
        results = [self._loads.fold(reading, load, facts) for load in batch]
        committed = self._loads.decide(reading, facts, now)
        if reading.missing:
            return Need(tuple(reading.missing))
        affected = {t: _affected(c) for t, c in committed.items()}
        outcomes = [
            Outcome(
                outcome=folded.outcome,
                event_id=load.arrival.event_id,
                affected=tuple([affected[t] for t in folded.targets]),
                warnings=folded.warnings,
            )
            for load, folded in zip(batch, results, strict=True)
        ]
        pending = [p for folded in results for p in folded.pending]
        return reading.changes(Taken(outcomes, list(committed.values()), pending))


def parted(waiting: Sequence[_Waiting], documents: Callable[[Load], Set[object]]) -> list[Part]:
    """Events by what hangs together: those that share no document need no common commit."""
    owner: dict[object, Part] = {}
    parts: dict[Part, None] = {}
    for one in waiting:
        wanted = documents(one.load)
        joined = list({owner[d]: None for d in wanted if d in owner})
        part = joined[0] if joined else Part([], set())
        for other in joined[1:]:
            part.events += other.events
            part.documents |= other.documents
            owner |= dict.fromkeys(other.documents, part)
            del parts[other]
        part.events.append(one)
        part.documents |= wanted
        owner |= dict.fromkeys(wanted, part)
        parts[part] = None
    order = {one: place for place, one in enumerate(waiting)}
    for part in parts:
        part.events.sort(key=order.__getitem__)
    return list(parts)


def _affected(committed: Committed) -> Affected:
    decision = committed.decision
    return Affected(
        processor=decision.partition.processor,
        game_date=decision.partition.game_date,
        status=decision.partition.status.value,
        fired_run_id=decision.fired.run_id if decision.fired else None,
    )
