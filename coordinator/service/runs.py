"""The door for runners: claim, heartbeat, complete.

Owns the way from a run id to its partition and the words of a refusal. Every runner, in this
process or far away, comes through here.
"""

from __future__ import annotations

from dataclasses import replace

from coordinator.core.facts import Claimed, Completed, Fact, Heartbeat
from coordinator.core.machine import TRANSITIONS_PER_RUN_LIMIT, Reply
from coordinator.core.model import Partition, Run, RunStatus, Transition
from coordinator.core.spec import ProcessorSpec
from coordinator.documents import partition_key, run_key
from coordinator.errors import NotFound, Refused
from coordinator.ports import Changes, Document, Key
from coordinator.service.engine import Docs, Engine, reply_of
from coordinator.wire import parse_run_id


class Runs:
    """Grants claims and takes reports."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def claim(self, run_id: str, owner: str, attempt: int) -> Run:
        """Grant a run to one owner. The returned run carries its lease token and inputs.

        Raises ``NotFound`` for a run that never was, ``Refused`` (409) when it is taken, stale or
        over.
        """
        spec, date, generation = self._place(run_id)
        token = self._engine.entropy()
        fact = Claimed(generation=generation, attempt=attempt, owner=owner, token=token)
        reply = await self._report(spec, date, run_id, fact, f"claim by {owner}")
        assert reply.run is not None
        return reply.run

    async def heartbeat(self, run_id: str, lease_token: str) -> Run:
        """Extend a lease. Raises ``NotFound``, ``Refused``."""
        spec, date, generation = self._place(run_id)
        fact = Heartbeat(generation=generation, token=lease_token)
        reply = await self._report(spec, date, run_id, fact, "heartbeat")
        assert reply.run is not None
        return reply.run

    async def complete(
        self,
        run_id: str,
        lease_token: str,
        status: RunStatus,
        record_count: int | None = None,
        error: str | None = None,
    ) -> None:
        """End an attempt. Repeated with the same token and status it is accepted again.

        Raises ``NotFound``, ``Refused``.
        """
        spec, date, generation = self._place(run_id)
        fact = Completed(
            generation=generation,
            token=lease_token,
            status=status,
            record_count=record_count,
            error=error,
        )
        await self._report(spec, date, run_id, fact, f"{status.value} report")

    def _place(self, run_id: str) -> tuple[ProcessorSpec, str, int]:
        place = parse_run_id(run_id)
        spec = self._engine.registry.processors.get(place[0]) if place else None
        if place is None or spec is None:
            raise NotFound(f"there is no run {run_id[:200]}; ids read PROCESSOR:YYYY-MM-DD:N")
        return spec, place[1], place[2]

    async def _report(
        self, spec: ProcessorSpec, date: str, run_id: str, fact: Fact, what: str
    ) -> Reply:
        key = partition_key(spec.name, date)
        if (await self._engine.store.get([key]))[key] is None:
            # Asking for a run that never was must leave no partition behind.
            raise NotFound(f"there is no run {run_id[:200]}; nothing was heard of {date} yet")
        decision = await self._engine.apply(spec, date, (fact,))
        reply = reply_of(decision)
        if reply.ok:
            return reply
        if reply.code == "unknown":
            raise NotFound(reply.detail)
        await self._note_refusal(spec, date, run_id, f"{what}: {reply.detail}")
        raise Refused(reply.detail, code=reply.code)

    async def _note_refusal(self, spec: ProcessorSpec, date: str, run_id: str, what: str) -> None:
        """A line in the history of the run; the same line is not repeated.

        A live run stands in its partition too, from where its record is written next time.
        """
        key, place = run_key(run_id), partition_key(spec.name, date)
        now = self._engine.clock.now()

        def step(docs: Docs) -> Changes[None]:
            run: Run | None = docs[key]
            partition: Partition | None = docs[place]
            if run is None:
                return Changes(None)
            last = run.transitions[-1] if run.transitions else None
            if last is not None and last.what == "refused" and last.detail == what[:1000]:
                return Changes(None)
            line = Transition(at=now, what="refused", detail=what[:1000])
            kept = run.transitions[-(TRANSITIONS_PER_RUN_LIMIT - 1) :]
            noted = replace(run, transitions=(*kept, line))
            puts: dict[Key, Document] = {key: noted}
            live = None if partition is None else partition.live
            if partition is not None and live is not None and live.run_id == run_id:
                puts[place] = replace(partition, live=noted, revision=partition.revision + 1)
            return Changes(None, puts)

        await self._engine.store.transact([key, place], step)
