"""The entry point for events: what was loaded, and what runners report by message.

Owns the outcome of every event (specification 3.3): one transaction over its ledger, its table's
date, the calendar where it sets one, and every dependent partition. Events that wait at the same
time share commits (``commits``), so a burst on one date costs far fewer of them than events. What
cannot be read goes to quarantine whole; nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog

from coordinator.core.arrivals import Arrival
from coordinator.core.effects import OUTPUT
from coordinator.core.facts import Fact
from coordinator.core.spec import TableSpec
from coordinator.errors import (
    QUEUE_FULL,
    BadInput,
    CoordinatorError,
    Mistake,
    Unavailable,
)
from coordinator.ports import Changes, NeedDocuments, Step
from coordinator.registry import Registry
from coordinator.service.commits import Item
from coordinator.service.engine import Committed, Engine
from coordinator.service.loads import Folded, IncomingLoad, Loads
from coordinator.service.quarantine import Quarantine
from coordinator.service.reading import Docs, Reading, Target
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

WAITING_MAX = 20_000
"""Events that may wait for the store, each counted with the game ids that it names: some tens of
megabytes. More are answered 503 at once, so that a store that stalls does not fill the memory;
senders try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """A partition that an event was delivered to, as it was after the commit."""

    processor: str
    game_date: str
    status: str
    fired_run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What an event got (specification 3.3)."""

    outcome: str
    event_id: str | None = None
    affected: tuple[Affected, ...] = ()
    errors: tuple[Mistake, ...] = ()
    warnings: tuple[str, ...] = ()
    quarantine_id: str | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a load in its transaction."""

    outcome: Ingested
    pending: tuple[tuple[str, str], ...]
    """(table, date) of what it left to be done."""
    committed: tuple[Committed, ...] = ()
    """What was decided in that transaction; with its first load."""


class Ingest:
    """Takes events in."""

    def __init__(self, engine: Engine, loads: Loads, runs: Runs, quarantine: Quarantine) -> None:
        self._engine = engine
        self._loads = loads
        self._runs = runs
        self._quarantine = quarantine
        self.waiting = 0
        """Events that were taken from their senders and are not committed yet."""
        self._waiting_size = 0
        self.turned_away = 0
        """Events that were answered 503 because too many waited, since the start."""
        self.counts = loads.counts

    @property
    def registry(self) -> Registry:
        return self._engine.registry

    # ── the two ways in ──────────────────────────────────────────────────────────────────────

    async def push(self, body: bytes) -> Ingested:
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

    async def take(self, event: Any) -> Ingested:
        """Take one event in over REST: a bad one is answered with its mistakes and not stored.

        Raises ``Unavailable`` when the store is out of reach.
        """
        try:
            return await self._take(event, self._engine.clock.now(), None)
        except BadInput as error:
            mistakes = error.mistakes or (Mistake("event", error.detail),)
            self._loads.count("?", "rejected")
            return Ingested(outcome="rejected", errors=mistakes)

    async def replay(self, raw: bytes, source: str, message_id: str | None) -> Ingested:
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

    async def announce(self, arrival: Arrival, processor: str) -> Ingested:
        """Ingest the announcement of a processor's own output.

        Raises ``Unavailable`` while another registry is served that has its table and this one has
        not: an instance of that one delivers it.
        """
        name = arrival.table
        if name not in self.registry.tables:
            await self._engine.membership.unknown_here(
                f"the table {shown(name)}", lambda other: other is None or name in other.tables
            )
        message, table = self._loads.announced(arrival, processor)
        return await self._record(message, table, self._engine.clock.now(), own=True)

    async def _take(self, event: Any, received_at: datetime, message_id: str | None) -> Ingested:
        message = read_event(event, received_at, message_id)
        if isinstance(message, RunReport):
            return await self._report(message)
        names, membership = message.names, self._engine.membership
        unknown = f"the table {shown(names[0])}"
        try:
            table = self._table(message)
        except BadMessage:
            await membership.unknown_here(
                unknown, lambda other: other is None or any(map(other.table_for, names))
            )
            raise
        if membership.others and self.registry.table_for(names[0]) is None:
            # Another name in it is known here; the first one may be another registry's table.
            await membership.unknown_here(
                unknown, lambda other: other is None or other.table_for(names[0]) is not None
            )
        return await self._record(message, table, received_at)

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
                        "or fix the name",
                        shown(message.names[0]),
                    ),
                ),
                code="unknown_table",
            )
        return table

    async def _report(self, message: RunReport) -> Ingested:
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
            return Ingested(outcome="refused", errors=(Mistake("run_id", error.detail),))
        self._loads.count("runs", "applied")
        return Ingested(outcome="applied")

    async def _set_aside(
        self,
        body: bytes,
        source: str,
        error: BadInput,
        message_id: str | None,
        received_at: datetime,
    ) -> Ingested:
        quarantined = await self._quarantine.add(body, source, error, message_id, received_at)
        self._loads.count("?", "quarantined")
        return Ingested(
            outcome="quarantined",
            errors=error.mistakes,
            quarantine_id=quarantined.quarantine_id,
        )

    # ── committing ───────────────────────────────────────────────────────────────────────────

    async def _record(
        self, message: LoadMessage, table: TableSpec, received_at: datetime, *, own: bool = False
    ) -> Ingested:
        size = 1 + len(message.game_ids)
        if self.waiting and self._waiting_size + size > WAITING_MAX:
            self.turned_away += 1
            raise Unavailable(
                f"{self.waiting} events wait already for the store, which is slow or out of reach; "
                "nothing of this one was recorded. Send it again later.",
                code=QUEUE_FULL,
            )
        load = self._loads.load(message, table, received_at, own=own)
        self.waiting += 1
        self._waiting_size += size
        try:
            outcome = await self._commit(load)
        finally:
            self.waiting -= 1
            self._waiting_size -= size
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

    async def _commit(self, load: IncomingLoad) -> Ingested:
        """Fold a load into the ledger and decide on every dependent partition, atomically.

        Loads that wait for the same documents share a commit, and one decision on each partition.
        """
        engine, arrival = self._engine, load.arrival
        keys = self._loads.keys_of(arrival.table, arrival.game_date, arrival.event_id)
        keys += [key for target in load.targets for key in engine.keys_of(target)]
        await engine.membership.ensure_current()
        item = Item(load, keys, self._loads.writes_of(load))
        return (await engine.commits.merged(self._step_for, item, self._committed)).outcome

    def _step_for(self, loads: Sequence[IncomingLoad]) -> Step[Sequence[Taken]]:
        """The step that decides on loads in one transaction, in the order in which they came."""
        now = self._engine.clock.now()

        def step(docs: Docs) -> Changes[Sequence[Taken]] | NeedDocuments:
            reading = Reading(docs)
            facts: dict[Target, list[Fact]] = {}
            results = [self._loads.fold(reading, load, facts) for load in loads]
            committed = self._loads.decide(reading, facts, now)
            if reading.missing:
                return NeedDocuments(tuple(reading.missing))
            affected = {t: _affected(c) for t, c in committed.items()}
            taken = [
                Taken(_outcome(load, folded, affected), folded.pending)
                for load, folded in zip(loads, results, strict=True)
            ]
            taken[0] = replace(taken[0], committed=tuple(committed.values()))
            return reading.changes(taken)

        return step

    def _committed(self, taken: Sequence[Taken]) -> None:
        """Pass on what the loads of one transaction did, whether or not their senders still wait."""
        self._engine.committed([c for one in taken for c in one.committed])
        pending = [p for one in taken for p in one.pending]
        if pending:
            self._loads.left_pending(pending)


def _outcome(load: IncomingLoad, folded: Folded, affected: Mapping[Target, Affected]) -> Ingested:
    return Ingested(
        outcome=folded.outcome,
        event_id=load.arrival.event_id,
        affected=tuple([affected[t] for t in folded.targets]),
        warnings=folded.warnings,
    )


def _affected(committed: Committed) -> Affected:
    decision = committed.decision
    return Affected(
        processor=decision.partition.processor,
        game_date=decision.partition.game_date,
        status=decision.partition.status.value,
        fired_run_id=decision.fired.run_id if decision.fired else None,
    )
