"""The door for events: what was loaded, and what runners report by message.

Owns the outcome of every event (contract 3.3): one transaction over its ledger, its table's date,
the calendar where it sets one, and every dependent partition. Events that wait at the same time
are combined into one transaction, so a burst on one date costs far fewer commits than events.
What cannot be read goes to quarantine whole; nothing is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from coordinator.core.facts import Fact, Ticked
from coordinator.core.model import Arrival
from coordinator.core.spec import TableSpec
from coordinator.errors import BadInput, CoordinatorError, Mistake
from coordinator.ports import Changes, Key, Need
from coordinator.registry import Registry
from coordinator.service.engine import Committed, Docs, Engine, Reading, Target
from coordinator.service.loads import Load, Loads, load_keys
from coordinator.service.quarantine import Quarantine
from coordinator.service.runs import Runs
from coordinator.wire import (
    BadMessage,
    LoadMessage,
    RunMessage,
    read_envelope,
    read_event,
    read_json,
    shown,
)

BATCH_LIMIT = 256
"""Events that share one transaction at the most."""
PARTITIONS_PER_COMMIT = 150
"""Partitions in one commit of a store whose commits should be small."""


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
class _Waiting:
    load: Load
    future: asyncio.Future[Outcome]


class Ingest:
    """Takes events in."""

    def __init__(self, engine: Engine, loads: Loads, runs: Runs, quarantine: Quarantine) -> None:
        self._engine = engine
        self._loads = loads
        self._runs = runs
        self._quarantine = quarantine
        self._queue: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None
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
        """Take in the announcement of a processor's own output."""
        message, table = self._loads.announced(arrival, processor)
        return await self._enqueue(message, table, self._engine.clock.now())

    async def _take(self, event: Any, received_at: datetime, message_id: str | None) -> Outcome:
        message = read_event(event, received_at, message_id)
        if isinstance(message, RunMessage):
            return await self._report(message)
        try:
            table = self._table(message)
        except BadMessage:
            await self._engine.in_force.unknown_here(f"the table {shown(message.names[0])}")
            raise
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
        self, message: LoadMessage, table: TableSpec, received_at: datetime
    ) -> Outcome:
        load = await self._loads.load(message, table, received_at)
        future = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(load, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._drain())
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
            outcomes = await self._commit([w.load for w in batch])
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
                result = (await self._commit([waiting.load]))[0]
            except Exception as error:  # noqa: BLE001 - handed to the waiters, never swallowed
                if not waiting.future.done():
                    waiting.future.set_exception(error)
            else:
                if not waiting.future.done():
                    waiting.future.set_result(result)

    async def _commit(self, batch: Sequence[Load]) -> list[Outcome]:
        """Fold a batch into the ledger and decide on every dependent partition, atomically."""
        engine = self._engine
        now = engine.clock.now()
        targets: dict[Target, None] = {}
        for load in batch:
            targets.update(dict.fromkeys(load.targets))

        def step(docs: Docs) -> Changes[tuple[list[Outcome], list[Committed]]] | Need:
            return self._step(Reading(docs), batch, now)

        keys: dict[Key, None] = {}
        for load in batch:
            a = load.arrival
            keys.update(dict.fromkeys(load_keys(a.table, a.game_date, a.event_id)))
        for target in targets:
            keys.update(dict.fromkeys(engine.keys_of(target)))
        outcomes, committed = await engine.transact(list(keys), step)
        engine.committed(committed)
        await self._catch_up(batch, targets)
        return outcomes

    async def _catch_up(self, batch: Sequence[Load], reached: Mapping[Target, None]) -> None:
        """Re-judge partitions that look back at these loads and came to be while they were taken in.

        They were looked for before the commit, and one made since may have been judged without
        the load. Should this fail, the event is not acknowledged and comes again as a duplicate.
        """
        missed: dict[Target, None] = {}
        for load in batch:
            if load.table.name in self._loads.in_windows:
                found = await self._loads.windowed(load.table, load.arrival.game_date)
                missed.update(dict.fromkeys(t for t in found if t not in reached))
        if missed:
            await self._engine.apply_each({t: (Ticked(),) for t in missed})

    # ── one transaction ──────────────────────────────────────────────────────────────────────

    def _step(
        self,
        reading: Reading,
        batch: Sequence[Load],
        now: datetime,
    ) -> Changes[tuple[list[Outcome], list[Committed]]] | Need:
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
        return Changes(
            (outcomes, list(committed.values())), reading.puts, frozenset(reading.creates)
        )


def parted(batch: Sequence[_Waiting]) -> list[list[list[_Waiting]]]:
    """A batch by what hangs together: events that share no document need no common commit.

    Each part is in the order of arrival, cut so that no commit holds too many documents; its cuts
    are to be committed one after the other.
    """
    parts: list[tuple[set[object], list[_Waiting]]] = []
    for waiting in batch:
        arrival = waiting.load.arrival
        shared: set[object] = {*waiting.load.targets, (arrival.table, arrival.game_date, None)}
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
        documents.update(waiting.load.targets)
        if len(documents) > PARTITIONS_PER_COMMIT and cuts[-1]:
            cuts.append([])
            documents = set(waiting.load.targets)
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
