"""The entry point for runners: claim, heartbeat, complete.

Owns the way from a run id to its partition, the words of a refusal, and that the output of a run
that ended well is announced with its end. Every runner, in this process or far away, comes through
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog

from coordinator.core.choices import RunStatus
from coordinator.core.effects import announce_id, announcement, load_id
from coordinator.core.facts import (
    Claimed,
    Completed,
    Delivered,
    Fact,
    Heartbeat,
    Reply,
    ReportRefused,
)
from coordinator.core.model import ANNOUNCED, Partition, Run
from coordinator.core.spec import ProcessorSpec
from coordinator.documents import partition_key, run_key, table_date_key
from coordinator.errors import Bug, NotFound, Refused, TooLarge, Unavailable
from coordinator.ports import Changes, NeedDocuments
from coordinator.service.engine import WINDOW_READS_MAX, Committed, Engine
from coordinator.service.loads import (
    DEPENDENTS_PER_COMMIT,
    Folded,
    Loads,
    dependent_partitions,
)
from coordinator.service.reading import Docs, Reading, Target
from coordinator.wire import parse_run_id, shown

log = structlog.get_logger(__name__)


class UnknownProcessor(NotFound):
    """A run that was, of a processor that the registry in use does not have. HTTP 404."""


class Runs:
    """Grants claims and takes reports.

    With ``announced_outside`` announcements go to the world too, and only the relay can prove that.
    """

    def __init__(self, engine: Engine, loads: Loads, *, announced_outside: bool = False) -> None:
        self._engine = engine
        self._loads = loads
        self._announced_outside = announced_outside

    async def claim(self, run_id: str, owner: str, attempt: int) -> Run:
        """Grant a run to one owner. The returned run carries its lease token and inputs.

        Raises ``NotFound`` for a run that never was, ``Refused`` (409) when it is taken, stale or
        over.
        """
        spec, date, generation = await self._place(run_id)
        token = self._engine.entropy()
        fact = Claimed(generation=generation, attempt=attempt, owner=owner, token=token)
        reply = await self._report(spec, date, run_id, fact, f"claim by {owner}")
        assert reply.run is not None
        return reply.run

    async def heartbeat(self, run_id: str, lease_token: str) -> Run:
        """Extend a lease. Raises ``NotFound``, ``Refused``."""
        spec, date, generation = await self._place(run_id)
        fact = Heartbeat(generation=generation, token=lease_token)
        reply = await self._report(spec, date, run_id, fact, "heartbeat")
        assert reply.run is not None
        return reply.run

    def lease_seconds(self, run: Run) -> float:
        """How many seconds a run's lease lasts from now on, never below 0."""
        if run.lease_expires_at is None:
            return 0.0
        return max(0.0, (run.lease_expires_at - self._engine.clock.now()).total_seconds())

    async def complete(
        self,
        run_id: str,
        lease_token: str,
        status: RunStatus,
        record_count: int | None = None,
        error: str | None = None,
    ) -> None:
        """End an attempt. Repeated with the same token and status it is accepted again, at any time.

        Raises ``NotFound``, ``Refused``.
        """
        try:
            spec, date, generation = await self._place(run_id)
        except UnknownProcessor:
            if await self._was_reported(run_id, lease_token, status):
                return
            raise
        fact = Completed(
            generation=generation,
            token=lease_token,
            status=status,
            record_count=record_count,
            error=error,
        )
        what = f"{status.value} report"
        if self._announces_at_once(status):
            try:
                await self._report(spec, date, run_id, fact, what, announce=True)
            except (NotFound, Refused, Unavailable):
                raise
            # What is downstream has no room or cannot be judged. That must not keep the run from
            # ending: its announcement waits in the outbox, where its failure is notified.
            except TooLarge as error:
                log.warning("no room for an output", run_id=run_id, error=error.detail)
            except Exception:
                log.exception("an output is not announced with its run", run_id=run_id)
            else:
                return
        await self._report(spec, date, run_id, fact, what)

    def _announces_at_once(self, status: RunStatus) -> bool:
        """Whether nothing is left to do about an output once its run's end is committed."""
        return status in ANNOUNCED and not self._announced_outside

    async def _place(self, run_id: str) -> tuple[ProcessorSpec, str, int]:
        place = parse_run_id(run_id)
        spec = self._engine.registry.processors.get(place[0]) if place else None
        if place is not None and spec is None:
            name = shown(place[0])
            await self._engine.membership.unknown_here(
                f"the processor {name}", lambda other: other is None or place[0] in other.processors
            )
            key = run_key(run_id)
            if (await self._engine.store.get([key]))[key] is not None:
                raise UnknownProcessor(
                    f"the registry in use has no processor {name} any more, so nothing can come of "
                    f"its run {shown(run_id)}"
                )
        if place is None or spec is None:
            raise NotFound(f"there is no run {run_id[:200]}; ids read PROCESSOR:YYYY-MM-DD:N")
        return spec, place[1], place[2]

    async def _report(
        self,
        spec: ProcessorSpec,
        date: str,
        run_id: str,
        fact: Fact,
        what: str,
        *,
        announce: bool = False,
    ) -> Reply:
        """Apply a runner's report to its partition; with ``announce`` deliver the output with it."""
        engine, loads = self._engine, self._loads
        target = (spec.name, date)
        key = partition_key(*target)
        now = engine.clock.now()
        keys, writes = [*engine.keys_of(target)], [key]
        if announce:
            output = engine.registry.tables[spec.output]
            targets = dependent_partitions(engine.registry, output, date)[:DEPENDENTS_PER_COMMIT]
            keys += loads.keys_of(spec.output, date, load_id(run_id))
            keys += [k for t in targets for k in engine.keys_of(t)]
            writes += [table_date_key(spec.output, date), *(partition_key(*t) for t in targets)]

        def step(docs: Docs) -> Changes[tuple[list[Committed], Folded | None]] | NeedDocuments:
            partition: Partition | None = docs[key]
            if partition is None:
                # Asking for a run that never was must leave no partition behind.
                raise NotFound(
                    f"there is no run {run_id[:200]}; nothing was received for {date} yet"
                )
            facts: tuple[Fact, ...] = (fact,)
            if announce and partition.live is not None and partition.live.run_id == run_id:
                # Of a run that had ended before, an announcement that still waits stays.
                facts = (fact, Delivered(effect_id=announce_id(run_id)))
            reading = Reading(docs)
            own = engine.decide_in(reading, target, facts, now, window_reads_max=WINDOW_READS_MAX)
            committed = [] if own is None else [own]
            folded = None
            if own is not None and announce:
                ended = next((r for r in own.decision.runs if r.run_id == run_id), None)
                if ended is not None and ended.status in ANNOUNCED:
                    folded, dependents = self._announce(reading, ended, spec, now)
                    committed += dependents
            if reading.missing:
                return NeedDocuments(tuple(reading.missing))
            if folded is not None and folded.outcome == "conflict":
                raise Bug(f"the ledger has another load under the id {load_id(run_id)}")
            return reading.changes((committed, folded))

        committed, folded = await engine.transact(keys, step, writes)
        engine.committed(committed)
        if folded is not None:
            loads.count(spec.output, folded.outcome)
            if folded.pending:
                loads.left_pending(folded.pending)
        reply = committed[0].decision.replies[1]  # the first is that of the survey
        return reply if reply.ok else await self._refuse(spec, date, run_id, fact, what, reply)

    async def _refuse(
        self, spec: ProcessorSpec, date: str, run_id: str, fact: Fact, what: str, reply: Reply
    ) -> Reply:
        """Record a refusal and raise it; the reply to a report that only came again."""
        if isinstance(fact, Completed) and await self._was_reported(
            run_id, fact.token, fact.status
        ):
            return Reply(code="unchanged", detail="already reported")
        if reply.code == "unknown":
            raise NotFound(reply.detail)
        await self._record_refusal(spec, date, run_id, f"{what}: {reply.detail}")
        raise Refused(reply.detail, code=reply.code)

    async def _was_reported(self, run_id: str, token: str, status: RunStatus) -> bool:
        """Whether an attempt's end was reported so under this lease (specification 5.3).

        The partition remembers only its last outcome, and a reset forgets that; the run does not.
        """
        key = run_key(run_id)
        run: Run | None = (await self._engine.store.get([key]))[key]
        return run is not None and run.reported(token) is status

    def _announce(
        self,
        reading: Reading,
        ended: Run,
        spec: ProcessorSpec,
        now: datetime,
    ) -> tuple[Folded, list[Committed]]:
        """Ingest the output of a run that ended, as the load that it is."""
        message, table = self._loads.announced(announcement(ended, spec.output, now), spec.name)
        load = self._loads.load(message, table, now, own=True)
        facts: dict[Target, list[Fact]] = {}
        folded = self._loads.fold(reading, load, facts)
        return folded, list(self._loads.decide(reading, facts, now).values())

    async def _record_refusal(
        self, spec: ProcessorSpec, date: str, run_id: str, detail: str
    ) -> None:
        """Record in the history of a run that a claim or a report of it was refused."""
        engine, target, key = self._engine, (spec.name, date), run_key(run_id)
        place, now = partition_key(*target), engine.clock.now()

        def step(docs: Docs) -> Changes[Sequence[Committed]] | NeedDocuments:
            run: Run | None = docs[key]
            if run is None:
                return Changes([])
            reading = Reading(docs)
            fact = ReportRefused(run=run, detail=detail)
            found = engine.decide_in(
                reading, target, (fact,), now, window_reads_max=WINDOW_READS_MAX
            )
            if found is None:
                return NeedDocuments(tuple(reading.missing))
            return reading.changes([found])

        keys = [key, *engine.keys_of(target)]
        engine.committed(await engine.transact(keys, step, [key, place]))
