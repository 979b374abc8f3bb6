"""What people do: trigger, skip, reset, waive, pause and resume.

Owns the checks of each request (a reason, names that exist), the audit entry of each act, and the
dry run: the same code, with nothing written. What an act does to a partition is the core's to say.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from coordinator.core.choices import ALL, Bypass, QuarantineState
from coordinator.core.facts import (
    Fact,
    Requested,
    ResetRequested,
    SkipRequested,
    Ticked,
    WaiverGranted,
    WaiverLifted,
)
from coordinator.core.machine import Decision
from coordinator.core.model import Control, Pause
from coordinator.core.spec import ProcessorSpec
from coordinator.documents import AuditEntry, Quarantined, control_key
from coordinator.errors import BadInput, Mistake, NotFound, Refused
from coordinator.ports import Changes, Document, Key, Kind, Op, Where
from coordinator.service.engine import Engine, reply_of
from coordinator.service.ingest import Ingest, Ingested
from coordinator.service.pages import targets
from coordinator.service.quarantine import Quarantine
from coordinator.service.reading import Docs
from coordinator.service.sweep import Sweeper, Swept
from coordinator.wire import check_date, shown

MAX_REASON = 1000
MARKED_TOGETHER = 50
"""Partitions on which a pause is shown in one commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What an operator's act did, or with a dry run would do."""

    act: str
    dry_run: bool
    decision: Decision | None = None
    fired_run_ids: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


class NotReady(Refused):
    """A trigger without the bypass it needs; ``decision`` carries the verdict."""

    code = "not_ready"

    def __init__(self, detail: str, decision: Decision, *, code: str) -> None:
        super().__init__(detail, code=code)
        self.decision = decision


def _check_open(entry: Quarantined) -> None:
    """Raise ``Refused`` where a message was settled before."""
    if entry.state is not QuarantineState.OPEN:
        raise Refused(f"quarantined message {entry.quarantine_id} is already {entry.state}")


class Operate:
    """The acts of people."""

    def __init__(
        self,
        engine: Engine,
        sweeper: Sweeper,
        ingest: Ingest,
        quarantine: Quarantine,
        deliver: Callable[[], Awaitable[None]],
    ) -> None:
        """``deliver`` delivers what was left undelivered."""
        self._engine = engine
        self._sweeper = sweeper
        self._ingest = ingest
        self._quarantine = quarantine
        self._deliver = deliver

    # ── one partition ────────────────────────────────────────────────────────────────────────

    async def trigger(
        self,
        processor: str,
        game_date: str,
        *,
        reason: str,
        actor: str,
        bypass: Sequence[str] = (),
        skip_downstream: bool = False,
        dry_run: bool = False,
    ) -> Act:
        """Fire now. With no bypass it fires only if ready.

        Raises, judged in this order: ``BadInput`` (no reason, bad word, bad date), ``NotFound``,
        ``NotReady`` (a live run, or not ready).
        """
        self._check_reason(reason)
        words = {b.value: b for b in Bypass}
        bad = [b for b in bypass if b not in words]
        if bad:
            known = ", ".join(words)
            raise BadInput(
                f"bypass: {bad[0]!r} is not a word for it; known are {known}",
                [Mistake("bypass", f"must be words of {known}", shown(bad[0]))],
            )
        fact = Requested(
            reason=reason,
            actor=actor,
            bypass=frozenset(words[b] for b in bypass),
            skip_downstream=skip_downstream,
        )
        detail = {"bypass": sorted(bypass), "skip_downstream": skip_downstream}
        return await self._on_partition(
            "trigger", processor, game_date, fact, reason, actor, dry_run, detail
        )

    async def skip(
        self,
        processor: str,
        game_date: str,
        *,
        reason: str,
        actor: str,
        end_run: bool = False,
        dry_run: bool = False,
    ) -> Act:
        """Say that a partition need not run. Raises as ``trigger``."""
        self._check_reason(reason)
        fact = SkipRequested(reason=reason, actor=actor, end_run=end_run)
        return await self._on_partition(
            "skip", processor, game_date, fact, reason, actor, dry_run, {"end_run": end_run}
        )

    async def reset(
        self, processor: str, game_date: str, *, reason: str, actor: str, dry_run: bool = False
    ) -> Act:
        """Back to a fresh judgement; ends a live run's lease."""
        self._check_reason(reason)
        fact = ResetRequested(reason=reason, actor=actor)
        return await self._on_partition(
            "reset", processor, game_date, fact, reason, actor, dry_run, {}
        )

    async def waive(
        self,
        processor: str,
        game_date: str,
        *,
        table: str,
        reason: str,
        actor: str,
        until: datetime | None = None,
        dry_run: bool = False,
    ) -> Act:
        """Waive a table's requirements until a time, or until the data comes."""
        self._check_reason(reason)
        spec = self._spec(processor)
        name = self._named_table(spec, table)
        if until is not None and until <= self._engine.clock.now():
            raise BadInput(
                f"until: {until.isoformat()} has passed",
                [Mistake("until", "must be in the future", shown(until.isoformat()))],
            )
        fact = WaiverGranted(table=name, reason=reason, actor=actor, until=until)
        detail = {"table": name, "until": until.isoformat() if until else None}
        return await self._on_partition(
            "waive", processor, game_date, fact, reason, actor, dry_run, detail
        )

    async def unwaive(
        self,
        processor: str,
        game_date: str,
        *,
        table: str,
        reason: str,
        actor: str,
        dry_run: bool = False,
    ) -> Act:
        """Lift an open waiver. Raises ``NotFound`` where there is none."""
        self._check_reason(reason)
        spec = self._spec(processor)
        name = self._named_table(spec, table)
        fact = WaiverLifted(table=name, reason=reason, actor=actor)
        return await self._on_partition(
            "unwaive", processor, game_date, fact, reason, actor, dry_run, {"table": name}
        )

    async def _on_partition(
        self,
        act: str,
        processor: str,
        game_date: str,
        fact: Fact,
        reason: str,
        actor: str,
        dry_run: bool,
        detail: Mapping[str, Any],
    ) -> Act:
        check_date("game_date", game_date)
        spec = self._spec(processor)

        def audited(decision: Decision) -> dict[Key, Document]:
            reply = reply_of(decision)
            return self._entry(
                act,
                reason,
                actor,
                processor=spec.name,
                game_date=game_date,
                detail=detail,
                result="done" if reply.ok else f"refused: {reply.code}",
            )

        # A dry run first: a refused act must leave no new partition behind.
        decision = await self._engine.preview(spec, game_date, (fact,))
        reply = reply_of(decision)
        if not dry_run and reply.ok:
            decision = await self._engine.apply(spec, game_date, (fact,), also=audited)
            reply = reply_of(decision)
        elif not dry_run:
            await self._write(audited(decision))
        if not reply.ok:
            if reply.code == "unknown":
                raise NotFound(reply.detail)
            raise NotReady(reply.detail, decision, code=reply.code)
        fired = (decision.fired.run_id,) if decision.fired else ()
        return Act(act=act, dry_run=dry_run, decision=decision, fired_run_ids=fired, detail=detail)

    # ── pauses ───────────────────────────────────────────────────────────────────────────────

    async def pause(
        self, processor: str | None, *, reason: str, actor: str, dry_run: bool = False
    ) -> Act:
        """Hold new generations of one processor, or of all. Events are still recorded."""
        self._check_reason(reason)
        name = self._spec(processor).name if processor else None
        scope = name or ALL
        key = control_key(scope)
        now = self._engine.clock.now()
        pause = Pause(scope=scope, reason=reason, actor=actor, at=now)

        def step(docs: Docs) -> Changes[bool]:
            known: Control | None = docs[key]
            already = known is not None and known.pause is not None
            puts: dict[Key, Document] = dict(entry)
            if not already:
                puts[key] = Control(scope=scope, pause=pause)
            return Changes(already, puts)

        entry = self._entry("pause", reason, actor, processor=name, detail={"scope": scope})
        if dry_run:
            already = await self._is_paused(key)
        else:
            already = await self._engine.commits.transact([key], step)
            await self._mark_held(scope)
        return Act(act="pause", dry_run=dry_run, detail={"scope": scope, "already": already})

    async def _is_paused(self, key: Key) -> bool:
        control: Control | None = (await self._engine.store.get([key]))[key]
        return control is not None and control.pause is not None

    async def _mark_held(self, scope: str) -> None:
        """Show the pause on every open partition (it holds the others when they are decided on)."""
        where = [
            Where("paused", Op.EQ, 0),
            Where("status", Op.IN, ("settling", "cooling", "waiting")),
        ]
        if scope != ALL:
            where.append(Where("processor", Op.EQ, scope))
        known = self._engine.registry.processors
        held = [t for t in await targets(self._engine.store, *where) if t[0] in known]
        for n in range(0, len(held), MARKED_TOGETHER):
            await self._engine.apply_each(dict.fromkeys(held[n : n + MARKED_TOGETHER], (Ticked(),)))

    async def resume(
        self, processor: str | None, *, reason: str, actor: str, dry_run: bool = False
    ) -> Act:
        """End a pause; what is ready fires at once."""
        self._check_reason(reason)
        name = self._spec(processor).name if processor else None
        scope = name or ALL
        key = control_key(scope)

        def step(docs: Docs) -> Changes[bool]:
            known: Control | None = docs[key]
            paused = known is not None and known.pause is not None
            puts: dict[Key, Document] = dict(entry)
            if paused:
                puts[key] = Control(scope=scope, resume_pending=True)
            return Changes(paused, puts)

        entry = self._entry("resume", reason, actor, processor=name, detail={"scope": scope})
        fired: Sequence[str] = ()
        if dry_run:
            paused = await self._is_paused(key)
        else:
            paused = await self._engine.commits.transact([key], step)
            fired = await self._sweeper.release(scope)
        return Act(
            act="resume",
            dry_run=dry_run,
            fired_run_ids=tuple(fired),
            detail={"scope": scope, "was_paused": paused},
        )

    # ── the rest ─────────────────────────────────────────────────────────────────────────────

    async def sweep(self) -> Swept:
        """One sweep now, and delivery of what is due and somebody else left undelivered."""
        swept = await self._sweeper.sweep()
        await self._deliver()
        return swept

    async def replay(
        self, quarantine_id: str, *, reason: str, actor: str, dry_run: bool = False
    ) -> Ingested:
        """Ingest a quarantined message again, once its cause has been fixed.

        Raises ``NotFound``, ``Refused`` (already settled), ``BadInput`` (still bad).
        """
        self._check_reason(reason)
        entry = await self._quarantine.get(quarantine_id)
        detail = {"quarantine_id": quarantine_id}
        async with self._audited("quarantine replay", reason, actor, detail, dry_run):
            _check_open(entry)
            if dry_run:
                self._ingest.examine(entry.raw, entry.source, entry.message_id)
                return Ingested(outcome="would be replayed", quarantine_id=quarantine_id)
            outcome = await self._ingest.replay(entry.raw, entry.source, entry.message_id)
            await self._quarantine.settle(quarantine_id, QuarantineState.REPLAYED, actor, reason)
            detail["outcome"] = outcome.outcome
        return outcome

    async def discard(
        self, quarantine_id: str, *, reason: str, actor: str, dry_run: bool = False
    ) -> None:
        """Set a quarantined message aside for good (it stays readable)."""
        self._check_reason(reason)
        entry = await self._quarantine.get(quarantine_id)
        detail = {"quarantine_id": quarantine_id}
        async with self._audited("quarantine discard", reason, actor, detail, dry_run):
            _check_open(entry)
            if not dry_run:
                await self._quarantine.settle(
                    quarantine_id, QuarantineState.DISCARDED, actor, reason
                )

    @asynccontextmanager
    async def _audited(
        self, act: str, reason: str, actor: str, detail: Mapping[str, Any], dry_run: bool
    ) -> AsyncIterator[None]:
        """Write the audit entry of what is done inside, and of its refusal too."""

        async def write(result: str) -> None:
            if not dry_run:
                await self._write(self._entry(act, reason, actor, detail=detail, result=result))

        try:
            yield
        except (BadInput, Refused) as error:
            await write(f"refused: {error.code}")
            raise
        await write("done")

    def _entry(
        self,
        act: str,
        reason: str,
        actor: str,
        *,
        processor: str | None = None,
        game_date: str | None = None,
        detail: Mapping[str, Any] | None = None,
        result: str = "done",
    ) -> dict[Key, Document]:
        """The audit entry of an act, ready to be written with it."""
        entry = AuditEntry(
            audit_id=self._engine.entropy(),
            at=self._engine.clock.now(),
            actor=actor,
            act=act,
            reason=reason,
            processor=processor,
            game_date=game_date,
            detail=detail or {},
            result=result,
        )
        return {Key(Kind.AUDIT, entry.audit_id): entry}

    async def _write(self, documents: Mapping[Key, Document]) -> None:
        await self._engine.commits.transact([], lambda _: Changes(None, documents))

    def _check_reason(self, reason: str) -> None:
        if not reason or not reason.strip():
            raise BadInput(
                "reason: is missing; say why, for whoever reads the audit log",
                [Mistake("reason", "is missing")],
            )
        if len(reason) > MAX_REASON:
            raise BadInput(
                f"reason: is longer than {MAX_REASON} characters",
                [Mistake("reason", f"is longer than {MAX_REASON} characters")],
            )

    def _spec(self, processor: str) -> ProcessorSpec:
        spec = self._engine.registry.processor_for(processor)
        if spec is None:
            known = ", ".join(sorted(self._engine.registry.processors)[:20])
            raise NotFound(f"no processor is named {processor[:100]!r}; known are {known}")
        return spec

    def _named_table(self, spec: ProcessorSpec, table: str) -> str:
        found = self._engine.registry.table_for(table)
        if found is None or found.name not in spec.named_tables():
            names = ", ".join(sorted(spec.named_tables()))
            raise BadInput(
                f"table: {spec.name} does not require {table[:100]!r}; it requires {names}",
                [Mistake("table", f"must be one of {names}", shown(table))],
            )
        return found.name
