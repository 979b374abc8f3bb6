"""The stage of a story: the real service over SQLite in memory, and what a story may do to it.

Owns the virtual clock, the launcher and the runners of a story, its single process, and its faults.
Time acts exactly at ``wake_at`` and where an effect is due.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from coordinator.adapters.sqlite import SqliteStore
from coordinator.core.choices import RunStatus
from coordinator.core.effects import OUTPUT
from coordinator.core.model import Run
from coordinator.core.spec import LaunchTarget, ProcessorSpec
from coordinator.errors import CoordinatorError, Unavailable
from coordinator.judge.observations import (
    Explained,
    Granted,
    Launched,
    Observation,
    ReportAccepted,
    Reporting,
    Served,
    Stopped,
)
from coordinator.ports import Document, Key, Kind, Notice, Op, Query, Where
from coordinator.registry import Registry
from coordinator.service.queries import Queries
from coordinator.simulation.clock import VirtualClock, rest
from coordinator.simulation.faults import Faults, FaultyStore
from coordinator.simulation.process import (
    Process,
    Unreachable,
    current_process,
    keep_tasks_by_process,
    outside,
)
from coordinator.simulation.shown import Witness, noticed
from coordinator.wire import announce_message, notice_message, report_status

CRASHES = {
    "before_commit": "crash_before_commit",
    "after_commit": "crash_after_commit",
    "before_launch": "crash_before_launch",
    "after_launch": "crash_after_launch",
}
ROUNDS_MOST = 200


class Armed(Faults):
    """Faults that occur when the story says so, and only then."""

    def __init__(self) -> None:
        super().__init__(random.Random(0))
        self.on = False
        self.armed: Counter[str] = Counter()
        self.always: set[str] = set()

    def strikes(self, kind: str, weight: float = 1.0) -> bool:
        """Whether the story wants this fault now."""
        if kind in self.always:
            return True
        if self.armed[kind] > 0:
            self.armed[kind] -= 1
            return True
        return False


@dataclass(slots=True)
class ActAnswer:
    """What an act of a story was answered."""

    outcome: str
    detail: str = ""
    affected: list[dict[str, Any]] = field(default_factory=list)


class Stage:
    """Everything that one story plays on."""

    def __init__(
        self, registry: Registry, start: datetime, runners: Mapping[str, Any] | None
    ) -> None:
        self.registry = registry
        self.clock = VirtualClock(start)
        self.faults = Armed()
        self.store = SqliteStore(":memory:", inline=True)
        self.runners = runners
        self.launches: list[dict[str, Any]] = []
        self.notices: list[dict[str, Any]] = []
        self.announced: list[dict[str, Any]] = []
        self.tokens: dict[tuple[str, str], str] = {}
        self.commits = 0
        self.witness = Witness()
        """Shows a judge what happens."""
        self._names: Counter[str] = Counter()
        self._outside: set[asyncio.Task[None]] = set()
        self.process: Process | None = None

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Start the service."""
        keep_tasks_by_process()
        await self.store.open()
        await self.start()

    async def close(self) -> None:
        """Stop everything."""
        for task in list(self._outside):
            task.cancel()
        if self.process is not None:
            self.process.kill("the story ends")
        for _ in range(5):
            await asyncio.sleep(0)
        await self.store.close()

    async def start(self, registry: Registry | None = None) -> ActAnswer:
        """Start the process (again), over the same store."""
        self.registry = registry or self.registry
        self.kill()
        store = FaultyStore(
            self.store, self.faults, random.Random(0), self._observe, self.witness.forget
        )
        process = Process(
            self.name("process"),
            store,
            self.registry,
            self.clock,
            lambda: self.name("token"),
            self,
            notifiers=(self,),
        )
        store.process = process
        self.process = process
        self.saw(Served(self.registry.registry_hash, self.registry.text, process.name))
        process.on_death = lambda _: self.saw(Stopped(process.name))
        return await self.ask(lambda p: p.roll_out_inside())

    def kill(self) -> None:
        """Kill the process at once."""
        if self.process is not None:
            self.process.kill("the story says so")

    def _observe(self, number: int, store: FaultyStore, puts: Mapping[Key, Document]) -> None:
        self.commits += bool(puts)
        if self.process is not None:
            registry = self.process.registry.registry_hash
            self.witness.wants(number, registry, puts, self.clock.now())
        for key, entry in puts.items():
            if key.kind is Kind.EVENT and entry.event_id.startswith(OUTPUT):
                message = announce_message(entry.arrival, entry.processor_name or "")
                details = {"table": entry.table, "quiet": entry.arrival.quiet}
                self.announced.append({**message, **details})

    def saw(self, *seen: Observation) -> None:
        """Show the judge what was visible outside."""
        self.witness.saw(self.clock.now(), *seen)

    async def explain(self) -> None:
        """Show the judge what each partition at rest says of itself."""
        page = await self.store.find(Query(Kind.PARTITION, limit=1000))
        queries = self.queries
        for _, p in page.items:
            if p.processor in self.registry.processors:
                whole = await queries.partitions.partition(p.processor, p.game_date)
                self.saw(Explained.of(whole.model_dump(mode="json")))

    @property
    def undisturbed(self) -> bool:
        """Whether the service is running and no fault is active or pending."""
        faults = self.faults
        alive = self.process is not None and not self.process.dead
        return alive and not faults.always and not +faults.armed

    def name(self, kind: str) -> str:
        """A name that was not used before."""
        self._names[kind] += 1
        return f"{kind}{self._names[kind]}"

    @property
    def queries(self) -> Queries:
        """What the service shows, read from the store itself."""
        assert self.process is not None
        engine = self.process.engine
        return Queries(type(engine)(self.store, self.registry, self.clock, engine.entropy))

    # ── acts ─────────────────────────────────────────────────────────────────────────────────

    async def ask(self, work: Callable[[Process], Awaitable[Any]], word: str = "done") -> ActAnswer:
        """Do something with the service; what it answered."""
        if self.process is None:
            return ActAnswer("no answer", "there is no process")
        try:
            result = await self.process.call(work)
        except Unreachable as error:
            return ActAnswer("no answer", str(error))
        except CoordinatorError as error:
            return ActAnswer(error.code, error.detail)
        return result if isinstance(result, ActAnswer) else ActAnswer(word)

    async def tend(self) -> None:
        """Give time to what is due, and deliver what is due, until nothing is."""
        await rest()
        for _ in range(ROUNDS_MOST):
            if self.process is None or self.process.dead:
                return
            due = await self.next_due()
            if due is None or due > self.clock.now():
                return
            before = self.commits
            await self.ask(lambda p: p.sweeper.sweep())
            await self.ask(lambda p: p.relay.drain())
            await rest()
            if self.commits == before:
                return  # what is due cannot be done now, such as with a store out of reach

    async def next_due(self) -> datetime | None:
        """When time alone next changes something."""
        pending = await self.store.find(Query(Kind.PENDING, (Where("open", Op.EQ, 1),), limit=1))
        found = [self.clock.now() for _ in pending.items]
        for name in ("wake_at", "outbox_due"):
            page = await self.store.find(
                Query(
                    Kind.PARTITION,
                    (Where(name, Op.GT, datetime.min.replace(tzinfo=self.clock.now().tzinfo)),),
                    order=name,
                    limit=1,
                )
            )
            found += [getattr(p, name) for _, p in page.items]
        return min(found, default=None)

    async def advance_to(self, target: datetime) -> None:
        """Let time pass; everything acts at its instant."""
        while True:
            now = self.clock.now()
            stops = [target]
            if self.process is not None and not self.process.dead:
                due = await self.next_due()
                if due is not None and due > now:
                    stops.append(due)
            sleeper = self.clock.next_sleeper
            if sleeper is not None:
                stops.append(now + sleeper)
            stop = max(now, min(stops))
            await self.clock.advance(stop - now)
            await self.tend()
            if stop >= target:
                return

    # ── ports ────────────────────────────────────────────────────────────────────────────────

    async def launch(
        self, target: LaunchTarget, spec: ProcessorSpec, run: Run, message: Mapping[str, Any]
    ) -> str:
        """As ``ports.Launcher``."""
        process = current_process()
        if self.faults.strikes("launch_refused"):
            self.saw(Launched(message, None, taken=False))
            raise Unavailable("the launcher refused (the story says so)")
        await self._die(process, "crash_before_launch")
        self.launches.append({**message, "target": target.address})
        proof = self.name("message")
        self.saw(Launched(message, proof))
        if self.runners is not None:
            task = outside(self._runner(message))
            self._outside.add(task)
            task.add_done_callback(self._outside.discard)
        await self._die(process, "crash_after_launch")
        if self.faults.strikes("proof_lost"):
            self.saw(Launched(message, None))
            raise Unavailable("the launcher's answer was lost (the story says so)")
        return proof

    async def _die(self, process: Process | None, kind: str) -> None:
        if process is not None and self.faults.strikes(kind):
            process.kill(kind)
            await asyncio.get_running_loop().create_future()

    async def notify(self, notice: Notice) -> None:
        """As ``ports.Notifier``."""
        self.notices.append(notice_message(notice))
        self.saw(noticed(notice))

    async def _runner(self, message: Mapping[str, Any]) -> None:
        """A runner that behaves, as the story's ``runners`` says."""
        assert self.runners is not None
        run_id, attempt = message["run_id"], message["attempt"]
        await self.clock.sleep(float(self.runners["after"].total_seconds()))
        answer = await self.ask(lambda p: self.claim(p, run_id, "runner", attempt))
        if answer.outcome != "granted":
            return
        await self.clock.sleep(float(self.runners["take"].total_seconds()))
        token = self.tokens[run_id, "runner"]
        status = report_status(self.runners["status"])
        assert status is not None
        count = self.runners["record_count"]
        await self.ask(lambda p: self.complete(p, run_id, token, status, count))

    async def claim(self, process: Process, run_id: str, owner: str, attempt: int) -> ActAnswer:
        """Claim a run and keep its token."""
        run = await process.runs.claim(run_id, owner, attempt)
        assert run.lease_token is not None
        self.tokens[run_id, owner] = run.lease_token
        self.saw(Granted(run_id, attempt, owner, run.lease_token))
        return ActAnswer("granted")

    async def complete(
        self,
        process: Process,
        run_id: str,
        token: str,
        status: RunStatus,
        count: int | None,
        error: str | None = None,
    ) -> ActAnswer:
        """Report the end of a run."""
        self.saw(Reporting(run_id, token, status.value, count))
        await process.runs.complete(run_id, token, status, count, error)
        self.saw(ReportAccepted(run_id, token, status.value))
        return ActAnswer("accepted")
