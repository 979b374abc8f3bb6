"""The record of a world, and the eight laws of contract section 4 held against it.

The record keeps its own copy of every document in the order of the commits, every message that was
acknowledged, every claim that was granted and every delivery that was proved. Each commit is
checked as it happens; ``final`` checks what must be true once faults have stopped. It trusts
nothing that the core derived: needs are judged anew by ``judge``, from the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from coordinator.core.effects import announce_id, load_id
from coordinator.core.model import (
    ANNOUNCED,
    GOOD_OUTCOMES,
    EffectKind,
    OutboxEntry,
    Partition,
    Run,
    RunStatus,
    Status,
    Trigger,
    Waiver,
    run_id,
)
from coordinator.documents import (
    LedgerEntry,
    Quarantined,
    control_key,
    event_key,
    partition_key,
    run_key,
)
from coordinator.ports import Document, Key, Kind
from coordinator.service.engine import ALL
from coordinator.simulation.judge import Judge, Ledger, Load, seconds, shifted
from coordinator.simulation.registries import LEAGUE, SCHEDULE, Definition

HISTORY_MOST = 100
WAIVERS_MOST = 50
OUTBOX_MOST = 150
AUTOMATIC = (Trigger.DEPENDENCIES, Trigger.LATE_DATA, Trigger.DEADLINE, Trigger.SCHEDULE)
_OVER = frozenset({"success", "no_data", "skipped", "failed"})


class LawBroken(Exception):
    """A law of the contract does not hold."""


@dataclass(slots=True)
class Grant:
    """A claim that was granted."""

    owner: str
    token: str


@dataclass(slots=True)
class Record:
    """What happened, by the record's own hand."""

    docs: dict[Key, Document] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    broken: list[str] = field(default_factory=list)
    proved: set[str] = field(default_factory=set)
    """Effects of which the outside gave proof of delivery."""
    message_ids: set[str] = field(default_factory=set)
    grants: dict[tuple[str, int], list[Grant]] = field(default_factory=dict)
    lease_ends: dict[tuple[str, str], str] = field(default_factory=dict)
    """(run, token) → how its lease ended, in the words of the run's history."""
    firings: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    automatic: Counter[str] = field(default_factory=Counter)
    """Partition → generations since its last reset that no person asked for."""
    commits: int = 0
    calendar_loads: dict[str, list[Load]] = field(default_factory=dict)
    """Game date → the loads that said which games there are, of what was the calendar's table."""
    _pending: list[tuple[tuple[str, int], Any, Mapping[Key, Document], datetime]] = field(
        default_factory=list
    )
    _notices_gone: set[str] = field(default_factory=set)

    # ── commits ──────────────────────────────────────────────────────────────────────────────

    def observe(
        self, name: tuple[str, int], process: Any, puts: Mapping[Key, Document], now: datetime
    ) -> list[str]:
        """Note what a step wants written. It is taken as committed when the next thing happens."""
        if self._pending and self._pending[-1][0] == name:
            self._pending.pop()
        lines = self.flush()
        self._pending.append((name, process, puts, now))
        return lines

    def committed(self, process: Any, puts: Mapping[Key, Document], now: datetime) -> list[str]:
        """Take in what a store has committed just now; the lines for the transcript."""
        self.commits += 1
        return self._commit(process, puts, now)

    def forget(self, name: tuple[str, int]) -> None:
        """A transaction failed: nothing was written."""
        self._pending = [p for p in self._pending if p[0] != name]

    def flush(self) -> list[str]:
        """Take in what was committed since; the lines for the transcript."""
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
        lines: list[str] = []
        for key, document in changed.items():
            if key.kind is Kind.EVENT:
                self._event(before[key], document, process)
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

    def _event(self, old: LedgerEntry | None, new: LedgerEntry, process: Any) -> None:
        if old is not None:
            self.law(5, f"the ledger's {new.event_id} was written over")
            return
        a = new.arrival
        load = Load(
            number=sum(map(len, self.ledger.loads.values())),
            table=new.table,
            game_date=new.game_date,
            event_id=new.event_id,
            status=a.status.value,
            at=a.timestamp,
            count=a.record_count,
            games=a.game_ids,
            content=a.content_hash,
            quiet=a.quiet,
            superseded=new.outcome == "superseded",
            received_at=a.received_at,
        )
        self.ledger.add(load)
        if load.table != process.definition["calendar"]["table"]:
            return
        if not load.informs or not (load.games or load.empty):
            return
        told = self.calendar_loads.setdefault(load.game_date, [])
        told.append(load)
        newest = max(told, key=lambda x: (x.at, x.number))
        games = () if newest.status == "no_data" else newest.games
        self.ledger.calendar[load.game_date] = games

    def _run(self, old: Run | None, new: Run) -> None:
        if old is None:
            return
        if not old.live and (old.status, old.ended_at) != (new.status, new.ended_at):
            self.law(2, f"{new.run_id} had ended as {old.status} and is {new.status} now")
        kept = {(t.at, t.detail) for t in new.transitions if t.what == "refused"}
        lost = [t for t in old.transitions if t.what == "refused" and (t.at, t.detail) not in kept]
        if lost and len(new.transitions) < HISTORY_MOST:
            self.law(5, f"{new.run_id} forgot a refused report: {lost[0].detail}")

    # ── one partition ────────────────────────────────────────────────────────────────────────

    def _partition(
        self, old: Partition | None, new: Partition, process: Any, now: datetime
    ) -> list[str]:
        judge = Judge(process.definition, self.ledger)
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
            self._fired(old, new, judge, process, now)
        if new.live is not None:
            self._live(old, new)
        self._leases(old, new)
        self._outbox(old, new)
        self._announced(old, new, process)
        self._bounds(new, process)
        self._timers(new, process)
        self._status(new, judge, now)
        if old is None or (old.status, old.generation) != (new.status, new.generation):
            flags = f" [{' '.join(f.value for f in new.flags)}]" if new.flags else ""
            lines.append(f"{new.id} {new.status.value} gen {new.generation}{flags}")
            self.statuses[new.status.value] += 1
        return lines

    def _fired(
        self, old: Partition | None, new: Partition, judge: Judge, process: Any, now: datetime
    ) -> None:
        assert new.run_id is not None
        run: Run | None = self.docs.get(run_key(new.run_id))
        if run is None or run.generation != new.generation:
            self.law(2, f"{new.id} has generation {new.generation} and no run of it")
            return
        self.firings[run.trigger.value] += 1
        if old is not None and old.live is not None and old.live.live:
            ended: Run | None = self.docs.get(run_key(old.live.run_id))
            if ended is None or ended.live:
                self.law(2, f"{run.run_id} was fired beside the live {old.live.run_id}")
        self._needs(old, new, run, judge)
        if run.actor is None:
            self.automatic[new.id] += 1
            self._on_time(old, run, judge)
        for scope in (ALL, new.processor):
            control = self.docs.get(control_key(scope))
            paused = control is not None and control.pause is not None
            if paused and not (run.actor and "pause" in run.bypassed):
                self.law(8, f"{run.run_id} was fired while {scope} is paused")
        if run.registry_hash != process.registry.registry_hash or not run.explanation:
            self.law(6, f"{run.run_id} does not say under which registry or why it was fired")
        if run.bypassed and run.trigger is not Trigger.DEADLINE and not (run.actor and run.reason):
            self.law(6, f"{run.run_id} bypassed {run.bypassed} and does not say who did and why")
        for used in run.inputs:
            known = {e.event_id for e in self.ledger.loads.get((used.table, used.game_date), [])}
            strange = set(used.event_ids) - known
            if strange:
                self.law(6, f"{run.run_id} consumed {sorted(strange)}, which no ledger has")
        launch = f"launch:{run.run_id}:1"
        if all(e.effect_id != launch for e in new.outbox):
            self.law(3, f"{run.run_id} was fired without a launch in the outbox")

    def _needs(self, old: Partition | None, new: Partition, run: Run, judge: Judge) -> None:
        if "dependencies" in run.bypassed:
            if run.trigger is not Trigger.DEADLINE and not run.actor:
                self.law(1, f"{run.run_id} bypassed its needs and nobody asked for it")
            return
        waived = frozenset(w.table for w in new.waivers if _held_at(w, run.fired_at))
        first = (old.generation if old is not None else 0) == 0
        # A load that was superseded stays so, though the games it would win for come up later.
        met = {
            judge.needs_met(
                new.processor,
                new.game_date,
                run.fired_at,
                waived=waived,
                freshness=first and "freshness" not in run.bypassed,
                superseded=superseded,
            )
            for superseded in (True, False)
        }
        if met == {False}:
            self.law(1, f"{run.run_id} was fired ({run.trigger}) without its needs")
        nothing_ran = old is None or old.outcome is None
        if nothing_ran and judge.off_day(new.processor, new.game_date):
            self.law(1, f"{run.run_id} was fired on a day without games")

    def _on_time(self, old: Partition | None, run: Run, judge: Judge) -> None:
        policy, name = judge.policy, run.processor
        cooldown = timedelta(seconds=seconds(policy(name, "cooldown", "1h")))
        if run.trigger is Trigger.LATE_DATA:
            assert old is not None
            if old.outcome is None or run.fired_at < old.outcome.at + cooldown:
                self.law(1, f"{run.run_id} was fired by newer data inside the cooldown")
        if run.trigger in (Trigger.DEPENDENCIES, Trigger.LATE_DATA):
            earliest = policy(name, "not_before", None)
            if earliest and run.fired_at < _instant(run.game_date, earliest, judge):
                self.law(1, f"{run.run_id} was fired before its earliest instant")
        if run.trigger is Trigger.DEADLINE:
            deadline = policy(name, "deadline", None)
            if not deadline or run.fired_at < _instant(run.game_date, deadline, judge):
                self.law(4, f"{run.run_id} was fired by a deadline that has not passed")

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
                self.law(7, f"{new.id} tells twice of {entry.effect_id}")

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
            "memory of notices": (len(new.notified), HISTORY_MOST),
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
        judge = Judge(process.definition, self.ledger)
        deadline = judge.policy(new.processor, "deadline", None)
        idle = run is None and new.outcome is None and new.skip is None
        shown_off = new.status is Status.NOT_EXPECTED
        if deadline and idle and not new.deadline_done and not new.pauses and not shown_off:
            latest.append((_instant(new.game_date, deadline, judge), "its deadline"))
        for at, what in latest:
            if new.wake_at is None or new.wake_at > at:
                self.law(4, f"{new.id} sleeps past {what} ({new.wake_at} > {at})")

    def _status(self, new: Partition, judge: Judge, now: datetime) -> None:
        """What is shown follows from what is stored."""
        expected: set[Status]
        if new.live is not None:
            expected = {
                {
                    RunStatus.PENDING: Status.FIRING,
                    RunStatus.DELIVERED: Status.FIRED,
                    RunStatus.RUNNING: Status.RUNNING,
                }[new.live.status]
            }
        elif new.skip is not None:
            expected = {Status.SKIPPED}
        elif new.outcome is not None:
            good = new.outcome.status in GOOD_OUTCOMES
            expected = {Status.SUCCEEDED, Status.COOLING} if good else {Status.FAILED}
        elif judge.off_day(new.processor, new.game_date):
            expected = {Status.NOT_EXPECTED}
        else:
            expected = {Status.WAITING, Status.SETTLING}
            met = self.met(new, judge, now)
            if met is not None:
                expected = {Status.SETTLING if met else Status.WAITING}
        if new.status not in expected:
            words = " or ".join(sorted(s.value for s in expected))
            self.law(6, f"{new.id} is shown as {new.status}, and is {words}")

    def met(self, partition: Partition, judge: Judge, now: datetime) -> bool | None:
        """Whether the needs are met, where it is beyond doubt."""
        requires = judge.processor(partition.processor)["requires"]
        if any("max_age_hours_fail" in r for r in requires) and partition.generation == 0:
            return None  # a matter of seconds, which reading and committing may differ by
        if any(_looks_back(r) for r in requires):
            return None  # judged when a partition is next looked at
        if any(w.until and abs(w.until - now) < timedelta(minutes=10) for w in partition.waivers):
            return None
        return self._surely_met(partition, judge, now)

    def _surely_met(self, partition: Partition, judge: Judge, now: datetime) -> bool | None:
        waived = frozenset(w.table for w in partition.waivers if w.open_at(now))
        answers = {
            judge.needs_met(
                partition.processor,
                partition.game_date,
                now,
                waived=waived,
                freshness=partition.generation == 0,
                superseded=superseded,
            )
            for superseded in (True, False)
        }
        return answers.pop() if len(answers) == 1 else None

    # ── what the outside saw ─────────────────────────────────────────────────────────────────

    def granted(self, run_id: str, attempt: int, owner: str, token: str) -> None:
        """A claim was granted."""
        known = self.grants.setdefault((run_id, attempt), [])
        for grant in known:
            if grant.owner != owner:
                self.law(2, f"{run_id} attempt {attempt} went to {grant.owner} and to {owner}")
            elif grant.token != token:
                self.law(2, f"{run_id} attempt {attempt} has two tokens for {owner}")
        known.append(Grant(owner, token))

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
        for load in self.ledger.loads.get((table, game_date), []):
            entry: LedgerEntry = self.docs[event_key(table, game_date, load.event_id)]
            yield entry

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    def final(self, definitions: Sequence[Definition], now: datetime) -> None:
        """Faults have stopped and time has passed: whatever could happen has happened.

        ``definitions`` are the registries that the world has had, the one in force last.
        """
        definition = definitions[-1]
        judge = Judge(definition, self.ledger)
        for key, document in self.docs.items():
            if key.kind is Kind.PARTITION and document.processor in definition["processors"]:
                self._at_rest(document, judge, now)
        for name in definition["processors"]:
            for game_date in self._dates(judge, name):
                self._ran(judge, definitions, name, game_date, now)

    def _at_rest(self, p: Partition, judge: Judge, now: datetime) -> None:
        if p.outbox:
            self.law(3, f"{p.id} still has {p.outbox[0].effect_id} in its outbox")
        if p.live is not None:
            self.law(3, f"{p.id} is stuck: {p.status} since {p.live.fired_at}")
        if p.wake_at is not None and p.wake_at <= now:
            self.law(4, f"{p.id} was to be looked at {p.wake_at} and was not")

    def _dates(self, judge: Judge, name: str) -> list[str]:
        found: set[str] = set()
        for r in judge.processor(name)["requires"]:
            offset = (r.get("dates") or {}).get("offset", 0)
            if _looks_back(r):
                continue
            for table in judge.sources(r):
                found |= {shifted(d, -offset) for (t, d) in self.ledger.loads if t == table}
        return sorted(found)

    def _ran(
        self,
        judge: Judge,
        definitions: Sequence[Definition],
        name: str,
        game_date: str,
        now: datetime,
    ) -> None:
        """Ready, and not held: then it has run."""
        if judge.off_day(name, game_date):
            return
        p: Partition | None = self.docs.get(partition_key(name, game_date))
        if p is None:
            self.law(3, f"{name} {game_date} has loads and no partition")
            return
        controls = (self.docs.get(control_key(s)) for s in (ALL, name))
        held = (
            p.live is not None
            or p.skip is not None
            or any(c is not None and c.pause for c in controls)
            or (p.latest is not None and p.latest.quiet)
        )
        if held or self._surely_met(p, judge, now) is not True:
            return
        earliest = judge.policy(name, "not_before", None)
        if earliest and now < _instant(game_date, earliest, judge):
            return
        if p.outcome is None:
            self.law(3, f"{name} {game_date} is ready, nothing holds it, and it has not run")
            return
        self._consumed_the_newest(p, judge, definitions)

    def _consumed_the_newest(
        self, p: Partition, judge: Judge, definitions: Sequence[Definition]
    ) -> None:
        """No newer data of a critical table is left unconsumed while there is budget.

        To a line that a later registry brought, what came before that registry is no news.
        """
        if p.refires >= judge.policy(p.processor, "max_refires", 5):
            return
        run: Run | None = self.docs.get(run_key(p.run_id or ""))
        if run is None:
            return
        consumed = {(i.table, i.game_date): set(i.event_ids) for i in run.inputs}
        for r in judge.processor(p.processor)["requires"]:
            table = r.get("table")
            if table in (SCHEDULE, LEAGUE) or not all(
                _names(d, p.processor, table) for d in definitions
            ):
                continue
            if judge.definition["tables"].get(table, {}).get("grain") == "game":
                continue
            loads = [x for x in self.ledger.loads.get((table, p.game_date), []) if x.informs]
            if not loads:
                continue
            newest = max(loads, key=lambda x: (x.at, x.number))
            used = consumed.get((table, p.game_date))
            same = {x.content for x in loads if used and x.event_id in used} - {None}
            if used is None or newest.event_id in used or newest.content in same or newest.quiet:
                continue
            if newest.superseded or newest.empty or newest.received_at <= run.fired_at:
                continue
            self.law(3, f"{p.id}: {newest.event_id} of {table} is newer data that never fired it")


def _policies(process: Any, name: str) -> list[Mapping[str, Any]]:
    """The policy of a processor under every registry that the world has had."""
    found: list[Mapping[str, Any]] = []
    for definition in process.definitions:
        entry = definition["processors"].get(name)
        if entry is not None:
            found.append({**definition.get("defaults", {}), **entry})
    return found


def _names(definition: Definition, processor: str, table: str | None) -> bool:
    """Whether a registry has a critical line of its own for a table of the same date."""
    if table is None:
        return False
    requires = definition["processors"].get(processor, {}).get("requires", ())
    return any(
        r.get("table") == table and not r.get("dates") and r.get("critical", True) for r in requires
    )


def _held_at(waiver: Waiver, at: datetime) -> bool:
    """Whether a waiver was in force when something was fired, even if that ended it."""
    before_end = waiver.until is None or at < waiver.until
    return before_end and (waiver.closed_at is None or waiver.closed_at >= at)


def _looks_back(r: Mapping[str, Any]) -> bool:
    dates = r.get("dates") or {}
    return "last_game_dates" in dates or "window_days" in dates


def _instant(game_date: str, clock: Mapping[str, Any], judge: Judge) -> datetime:
    hour, minute = (int(x) for x in clock["at"].split(":")[:2])
    day = date.fromisoformat(game_date) + timedelta(days=clock.get("day", 0))
    return datetime.combine(day, time(hour, minute), ZoneInfo(judge.definition["timezone"]))
