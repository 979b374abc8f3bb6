"""The record of a world, and checks of the eight laws (specification, section 4).

The record keeps its own copy of every document in the order of the commits, every message that was
acknowledged, every claim that was granted and every delivery that was proved. Each commit is
checked as it happens; ``final`` checks what must be true once faults have stopped. These are
the laws about documents. ``coordinator.judge`` checks what should have happened; the record shows it
each commit in the shapes of the API.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from coordinator.core.choices import RunStatus
from coordinator.core.effects import announce_id, load_id
from coordinator.core.model import (
    ANNOUNCED,
    EffectKind,
    OutboxEntry,
    Partition,
    Run,
    Status,
    Trigger,
    run_id,
)
from coordinator.core.transitions import may_follow
from coordinator.documents import (
    LedgerEntry,
    Quarantined,
    event_key,
    run_key,
)
from coordinator.judge import Judge
from coordinator.ports import Document, Key, Kind
from coordinator.service.engine import Committed
from coordinator.simulation.registries import Definition
from coordinator.simulation.shown import public

HISTORY_MOST = 100
WAIVERS_MOST = 50
OUTBOX_MOST = 150
AUTOMATIC = (Trigger.DEPENDENCIES, Trigger.LATE_DATA, Trigger.DEADLINE, Trigger.SCHEDULE)
_OVER = frozenset({"success", "no_data", "skipped", "failed"})


class LawBroken(Exception):
    """A law of the specification is violated."""


@dataclass(slots=True)
class GrantedClaim:
    """A claim that was granted."""

    owner: str
    token: str


@dataclass(slots=True)
class Record:
    """What happened, recorded independently of the service."""

    docs: dict[Key, Document] = field(default_factory=dict)
    judge: Judge = field(default_factory=Judge)
    """Checks what the public shapes show against the specification."""
    events: dict[tuple[str, str], list[LedgerEntry]] = field(default_factory=dict)
    """(table, date) → the ledger, in the order of the commits."""
    broken: list[str] = field(default_factory=list)
    proved: set[str] = field(default_factory=set)
    """Effects of which the outside gave proof of delivery."""
    message_ids: set[str] = field(default_factory=set)
    grants: dict[tuple[str, int], list[GrantedClaim]] = field(default_factory=dict)
    lease_ends: dict[tuple[str, str], str] = field(default_factory=dict)
    """(run, token) → how its lease ended, in the words of the run's history."""
    firings: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    automatic: Counter[str] = field(default_factory=Counter)
    """Partition → generations since its last reset that no person requested."""
    commits: int = 0
    _pending: list[tuple[tuple[str, int], Any, Mapping[Key, Document], datetime]] = field(
        default_factory=list
    )
    _notices_gone: set[str] = field(default_factory=set)

    # ── commits ──────────────────────────────────────────────────────────────────────────────

    def observe(
        self, name: tuple[str, int], process: Any, puts: Mapping[Key, Document], now: datetime
    ) -> list[str]:
        """Record what a step writes. It counts as committed when the next thing happens."""
        if self._pending and self._pending[-1][0] == name:
            self._pending.pop()
        lines = self.flush()
        self._pending.append((name, process, puts, now))
        return lines

    def committed(self, process: Any, puts: Mapping[Key, Document], now: datetime) -> list[str]:
        """Record what a store has just committed; returns the lines for the transcript."""
        self.commits += 1
        return self._commit(process, puts, now)

    def forget(self, name: tuple[str, int]) -> None:
        """A transaction failed: nothing was written."""
        self._pending = [p for p in self._pending if p[0] != name]

    def flush(self) -> list[str]:
        """Record what was committed since; returns the lines for the transcript."""
        lines: list[str] = []
        pending, self._pending = self._pending, []
        for _, process, puts, now in pending:
            if puts:
                self.commits += 1
                lines += self._commit(process, puts, now)
        return lines

    def _commit(self, process: Any, puts: Mapping[Key, Document], now: datetime) -> list[str]:
        before = {key: self.docs.get(key) for key in puts}
        changed = {k: d for k, d in puts.items() if before[k] is not d}
        self.docs.update(changed)
        shown = (o for k, d in changed.items() for o in public(k, d, self.docs))
        self.judge.see(now, *shown, registry=process.registry.registry_hash)
        lines: list[str] = []
        for key, document in changed.items():
            if key.kind is Kind.EVENT:
                self._event(before[key], document)
        for key, document in changed.items():
            if key.kind is Kind.PARTITION:
                lines += self._partition(before[key], document, process, now)
            elif key.kind is Kind.RUN:
                self._run(before[key], document)
            elif key.kind is Kind.CONTROL:
                lines.append(f"{key.id} {'paused' if document.pause else 'not paused'}")
        return lines

    def law(self, number: int, sentence: str) -> None:
        """Note that a law is broken."""
        self.broken.append(f"law {number}: {sentence}")

    def _event(self, old: LedgerEntry | None, new: LedgerEntry) -> None:
        if old is not None:
            self.law(5, f"the ledger's {new.event_id} was written over")
            return
        self.events.setdefault((new.table, new.game_date), []).append(new)

    def _run(self, old: Run | None, new: Run) -> None:
        if old is None:
            return
        if not old.live and (old.status, old.ended_at) != (new.status, new.ended_at):
            self.law(2, f"{new.run_id} had ended as {old.status} and is {new.status} now")
        kept = {(t.at, t.detail) for t in new.transitions if t.what == "refused"}
        lost = [t for t in old.transitions if t.what == "refused" and (t.at, t.detail) not in kept]
        if lost and len(new.transitions) < HISTORY_MOST:
            self.law(5, f"{new.run_id} forgot a refused report: {lost[0].detail}")

    def decided(self, decisions: Sequence[Committed]) -> None:
        """Hold decisions that a service has committed to the table of transitions."""
        for committed in decisions:
            before, decision = committed.before, committed.decision
            old = Status.WAITING if before is None else before.status
            new = decision.partition
            if new.status not in may_follow(old, decision.facts):
                facts = ", ".join(type(fact).__name__ for fact in decision.facts)
                self.broken.append(f"transitions: {new.id} {old} -> {new.status} on {facts}")

    # ── one partition ────────────────────────────────────────────────────────────────────────

    def _partition(
        self, old: Partition | None, new: Partition, process: Any, now: datetime
    ) -> list[str]:
        lines: list[str] = []
        generation = old.generation if old is not None else 0
        if old is not None and new.revision <= old.revision:
            self.law(2, f"{new.id} was written over: revision {new.revision} over {old.revision}")
        remembered = set(old.history) if old is not None else set()
        if any(line.what == "reset" for line in new.history if line not in remembered):
            self.automatic[new.id] = 0
        if new.generation not in (generation, generation + 1):
            self.law(2, f"{new.id} went from generation {generation} to {new.generation}")
        elif new.generation > generation:
            self._fired(old, new, process)
        if new.live is not None:
            self._live(old, new)
        self._leases(old, new)
        self._outbox(old, new)
        self._announced(old, new, process)
        self._bounds(new, process)
        self._timers(new, process)
        if old is None or (old.status, old.generation) != (new.status, new.generation):
            flags = f" [{' '.join(f.value for f in new.flags)}]" if new.flags else ""
            lines.append(f"{new.id} {new.status.value} gen {new.generation}{flags}")
            self.statuses[new.status.value] += 1
        return lines

    def _fired(self, old: Partition | None, new: Partition, process: Any) -> None:
        assert new.run_id is not None
        run: Run | None = self.docs.get(run_key(new.run_id))
        if run is None or run.generation != new.generation:
            self.law(2, f"{new.id} has generation {new.generation} and no run of it")
            return
        self.firings[run.trigger.value] += 1
        if run.actor is None:
            self.automatic[new.id] += 1
        if run.registry_hash != process.registry.registry_hash or not run.explanation:
            self.law(6, f"{run.run_id} does not say under which registry or why it was fired")
        launch = f"launch:{run.run_id}:1"
        if all(e.effect_id != launch for e in new.outbox):
            self.law(3, f"{run.run_id} was fired without a launch in the outbox")

    def _live(self, old: Partition | None, new: Partition) -> None:
        run = new.live
        assert run is not None
        if run.generation != new.generation or not run.live:
            self.law(2, f"{new.id} calls {run.run_id} ({run.status}) its live run")
        shown: Run | None = self.docs.get(run_key(run.run_id))
        if shown is None or replace(shown, transitions=()) != replace(run, transitions=()):
            self.law(6, f"the record of {run.run_id} is not what {new.id} decides from")
        before = old.live if old is not None else None
        if before is not None and before.run_id == run.run_id:
            if run.attempt not in (before.attempt, before.attempt + 1):
                self.law(2, f"{run.run_id} went from attempt {before.attempt} to {run.attempt}")
            held = before.status is RunStatus.RUNNING and before.attempt == run.attempt
            if held and (
                run.status is not RunStatus.RUNNING
                or run.lease_token != before.lease_token
                or run.current.owner != before.current.owner
            ):
                self.law(2, f"{run.run_id} attempt {run.attempt} changed hands")
        if run.status is RunStatus.DELIVERED and run.current.message_id not in self.message_ids:
            self.law(3, f"{run.run_id} counts as delivered without proof")
        if run.status is RunStatus.PENDING:
            launch = f"launch:{run.run_id}:{run.attempt}"
            if all(e.effect_id != launch for e in new.outbox):
                self.law(3, f"{run.run_id} is pending and its launch is not in the outbox")

    def _leases(self, old: Partition | None, new: Partition) -> None:
        """Note how each lease ended."""
        run = old.live if old is not None else None
        if run is None or run.status is not RunStatus.RUNNING or run.lease_token is None:
            return
        now_run: Run | None = self.docs.get(run_key(run.run_id))
        if now_run is None:
            return
        over = not now_run.live or now_run.attempt > run.attempt
        if over:
            seen = len(run.transitions)
            words = [t.what for t in now_run.transitions[seen:] if t.what != "refused"]
            lines = [t.what for t in now_run.transitions if t.what in {*_OVER, "lease_lost"}]
            last = words[0] if words else (lines[-1] if lines else "cancelled")
            self.lease_ends[run.run_id, run.lease_token] = last

    def _outbox(self, old: Partition | None, new: Partition) -> None:
        before = old.outbox if old is not None else ()
        left = {e.effect_id for e in new.outbox}
        if len(left) != len(new.outbox):
            self.law(5, f"{new.id} has an effect twice in its outbox")
        for entry in before:
            if entry.effect_id not in left:
                self._gone(new, entry)
        known = {e.effect_id for e in before}
        for entry in new.outbox:
            if entry.effect_id in known or entry.kind is not EffectKind.NOTIFY:
                continue
            if f"{new.id}:{entry.effect_id}" in self._notices_gone:
                self.law(7, f"{new.id} notifies twice of {entry.effect_id}")

    def _announced(self, old: Partition | None, new: Partition, process: Any) -> None:
        """The output of a run that has just ended is in the ledger, or on its way there."""
        outcome = new.outcome
        if outcome is None or (old is not None and old.outcome == outcome):
            return
        if outcome.status not in ANNOUNCED:
            return
        run = run_id(new.processor, new.game_date, outcome.generation)
        output = process.registry.processors[new.processor].output
        kept = event_key(output, new.game_date, load_id(run)) in self.docs
        if not kept and all(e.effect_id != announce_id(run) for e in new.outbox):
            self.law(3, f"{run} ended as {outcome.status.value} and its output is not announced")

    def _gone(self, new: Partition, entry: OutboxEntry) -> None:
        """An effect left the outbox: its delivery was proved, or its reason is gone."""
        if entry.kind is EffectKind.NOTIFY:
            name = f"{new.id}:{entry.effect_id}"
            self._notices_gone.add(name)
            if name not in self.proved:
                self.law(5, f"{new.id} dropped the notice {entry.effect_id}")
            return
        if entry.kind is EffectKind.ANNOUNCE:
            assert entry.announcement is not None
            a = entry.announcement
            if event_key(a.table, a.game_date, a.event_id) not in self.docs:
                self.law(5, f"{new.id} dropped the announcement {entry.effect_id}")
            return
        run = new.live
        needed = (
            run is not None
            and entry.effect_id == f"launch:{run.run_id}:{run.attempt}"
            and run.status is RunStatus.PENDING
        )
        if needed:
            self.law(3, f"{new.id} dropped {entry.effect_id}, which is still to be delivered")

    def _bounds(self, new: Partition, process: Any) -> None:
        sizes = {
            "history": (len(new.history), HISTORY_MOST),
            "memory of notices": (len(new.journal.notified), HISTORY_MOST),
            "waivers": (len(new.waivers), WAIVERS_MOST),
            "outbox": (len(new.outbox), OUTBOX_MOST),
        }
        if new.live is not None:
            sizes["transitions"] = (len(new.live.transitions), HISTORY_MOST)
            most = max(p.get("attempts", 3) for p in _policies(process, new.processor))
            sizes["attempts"] = (new.live.attempt, most)
        budget = max(p.get("max_refires", 5) for p in _policies(process, new.processor))
        sizes["automatic generations"] = (self.automatic[new.id], 1 + budget)
        for what, (size, most) in sizes.items():
            if size > most:
                self.law(7, f"{new.id}: {what} has {size}, over {most}")

    def _timers(self, new: Partition, process: Any) -> None:
        """Whatever time alone must change has a wake_at that is early enough."""
        latest: list[tuple[datetime, str]] = []
        run = new.live
        policy = process.registry.processors[new.processor].policy
        if run is not None and run.status is RunStatus.DELIVERED:
            assert run.current.delivered_at is not None
            latest.append((run.current.delivered_at + policy.claim_timeout, "unclaimed"))
        if run is not None and run.status is RunStatus.RUNNING:
            assert run.lease_expires_at is not None
            latest.append((run.lease_expires_at, "its lease"))
        for at, what in latest:
            if new.wake_at is None or new.wake_at > at:
                self.law(4, f"{new.id} sleeps past {what} ({new.wake_at} > {at})")

    # ── what the outside saw ─────────────────────────────────────────────────────────────────

    def granted(self, run_id: str, attempt: int, owner: str, token: str) -> None:
        """A claim was granted."""
        known = self.grants.setdefault((run_id, attempt), [])
        for grant in known:
            if grant.owner != owner:
                self.law(2, f"{run_id} attempt {attempt} went to {grant.owner} and to {owner}")
            elif grant.token != token:
                self.law(2, f"{run_id} attempt {attempt} has two tokens for {owner}")
        known.append(GrantedClaim(owner, token))

    def accepted(self, run_id: str, token: str, status: str) -> None:
        """A report was answered as accepted."""
        ended = self.lease_ends.get((run_id, token))
        if ended != status:
            self.law(2, f"{run_id}: a {status} report was accepted, its lease had ended: {ended}")

    def has_quarantined(self, body: bytes) -> bool:
        """Whether a message is in quarantine, whole."""
        return any(
            key.kind is Kind.QUARANTINE and isinstance(d, Quarantined) and d.raw == body
            for key, d in self.docs.items()
        )

    def ledger_entries(self, table: str, game_date: str) -> Iterable[LedgerEntry]:
        """The ledger's events of one table and date."""
        return self.events.get((table, game_date), [])

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    def final(self, definition: Definition, now: datetime) -> None:
        """Faults have stopped and time has passed: whatever could happen has happened."""
        self.judge.at_rest(now)
        for key, document in self.docs.items():
            if key.kind is Kind.PARTITION and document.processor in definition["processors"]:
                self._at_rest(document, now)

    def _at_rest(self, p: Partition, now: datetime) -> None:
        if p.outbox:
            self.law(3, f"{p.id} still has {p.outbox[0].effect_id} in its outbox")
        if p.live is not None:
            self.law(3, f"{p.id} is stuck: {p.status} since {p.live.fired_at}")
        if p.wake_at is not None and p.wake_at <= now:
            self.law(4, f"{p.id} was due at {p.wake_at} and was not evaluated")


def _policies(process: Any, name: str) -> list[Mapping[str, Any]]:
    """The policy of a processor under every registry that the world has had."""
    found: list[Mapping[str, Any]] = []
    for definition in process.definitions:
        entry = definition["processors"].get(name)
        if entry is not None:
            found.append({**definition.get("defaults", {}), **entry})
    return found
