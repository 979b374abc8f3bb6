"""``decide``: what a fact does to a partition. The state machine, pure and total.

The laws it keeps (contract section 4):

1. No run without its needs: a generation is created only here, and only when every critical
   requirement is met, waived, or bypassed by a recorded decision.
2. One run per generation, one owner per attempt: generations rise by one; a claim is granted to
   one owner; a stale token changes nothing and is told so.
3. No lost trigger: whatever is ready and not held is fired by the same call that learns of it, or
   at ``wake_at``.
4. Time moves things: every timer is one field, ``wake_at``, which always lies in the future.
5. Nothing is lost: an effect leaves the outbox only when its delivery is proved or its reason gone.
6. Every decision explains itself: the run carries the judgement it was created on.
7. Bounded: attempts, generations, history and memory of notices have limits.
8. Pause keeps everything: while paused facts are still taken in; only new generations wait.

Three axes are stored (what is known of the inputs, the live run, the last outcome). The status is
derived from them by ``status_of`` alone, so no transition can forget one. ``TRANSITIONS`` says
which statuses may follow which, by fact; it feeds the documentation and the tests hold the code to
it. Identifiers are derived; the one token a claim needs comes in with the fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import cast, get_args

from coordinator.core import effects
from coordinator.core.explain import clock, launch_warnings, requirement_sentence
from coordinator.core.facts import (
    Claimed,
    Completed,
    Delivered,
    DeliveryFailed,
    Fact,
    Heartbeat,
    Loaded,
    Requested,
    ResetRequested,
    SkipRequested,
    Surveyed,
    Ticked,
    WaiverGranted,
    WaiverLifted,
)
from coordinator.core.model import (
    ANNOUNCED,
    GOOD_OUTCOMES,
    REPORTABLE_STATUSES,
    Arrival,
    Attempt,
    Bypass,
    EffectKind,
    Execution,
    Flag,
    Input,
    Inputs,
    Journal,
    Latest,
    OutboxEntry,
    Outcome,
    Partition,
    Run,
    RunStatus,
    Skip,
    Status,
    TableDate,
    Timers,
    Transition,
    Trigger,
    Waiver,
    WindowDay,
    WindowState,
    arrivals_key,
    load_key,
    run_id,
)
from coordinator.core.readiness import (
    MET,
    SourceVerdict,
    State,
    Verdict,
    consume,
    judge,
    window_state,
)
from coordinator.core.schedule import acts, instant, shift
from coordinator.core.spec import (
    DeadlineAction,
    OffDay,
    ProcessorSpec,
    ScheduleEntry,
    ScheduleWhen,
)
from coordinator.core.words import words_for

FACTS: tuple[type[Fact], ...] = get_args(Fact)
"""Every kind of fact there is."""

BY_TIME: Mapping[Status, tuple[Status, ...]] = {
    Status.WAITING: (Status.WAITING, Status.FIRING, Status.SKIPPED),
    Status.SETTLING: (Status.WAITING, Status.SETTLING, Status.FIRING, Status.SKIPPED),
    Status.FIRING: (Status.FIRING,),
    Status.FIRED: (Status.FIRING, Status.FIRED, Status.FAILED),
    Status.RUNNING: (Status.FIRING, Status.RUNNING, Status.FAILED),
    Status.SUCCEEDED: (Status.FIRING, Status.SUCCEEDED),
    Status.COOLING: (Status.FIRING, Status.SUCCEEDED, Status.COOLING),
    Status.FAILED: (Status.FIRING, Status.FAILED),
    Status.SKIPPED: (Status.SKIPPED,),
    Status.NOT_EXPECTED: (Status.NOT_EXPECTED,),
}
"""Where time alone may take a status. Every fact gives time its turn, so each may find these."""

WHY_BY_TIME: Mapping[Status, str] = {
    Status.WAITING: "a deadline fires with what is there, or skips",
    Status.SETTLING: "a hold ends, or a deadline cuts it short; a waiver or freshness runs out "
    "first, and then a deadline may skip it",
    Status.FIRING: "delivery and the back-off before an attempt go on for as long as they take",
    Status.FIRED: "nobody claimed it: the next attempt, or the attempts are spent",
    Status.RUNNING: "the lease or the run's time is over: the next attempt, or they are spent",
    Status.SUCCEEDED: "a schedule instant that always fires",
    Status.COOLING: "the hold ends; or a waiver does, and what is newer is not ready any more",
    Status.FAILED: "newer data that is ready, after the cooldown; or a schedule instant",
    Status.SKIPPED: "neither time nor data changes it",
    Status.NOT_EXPECTED: "time does not change the calendar",
}

_AFRESH = (Status.WAITING, Status.SETTLING, Status.FIRING, Status.NOT_EXPECTED)
_ENDED = "the run's lease is ended and the partition judged as if nothing had run"
_JUDGED = "judged as if nothing had run"
_NEWER = "newer data that is ready and held; without a hold it fires"

BY_FACT: Mapping[tuple[Status, type[Fact]], tuple[tuple[Status, ...], str]] = {
    (Status.WAITING, Loaded): ((Status.SETTLING,), "the load that was missing; unheld it fires"),
    (Status.WAITING, Surveyed): (
        (Status.SETTLING, Status.NOT_EXPECTED),
        "the calendar expects fewer games, or none; a window has filled; a resume lets time act",
    ),
    (Status.WAITING, WaiverGranted): ((Status.SETTLING,), "what was missing need not be met"),
    (Status.SETTLING, Surveyed): ((Status.NOT_EXPECTED,), "the calendar has no games any more"),
    (Status.FIRING, Delivered): ((Status.FIRED,), "the launcher holds a message id or a 2xx"),
    (Status.FIRING, Claimed): ((Status.RUNNING,), "a claim proves delivery"),
    (Status.FIRING, SkipRequested): ((Status.SKIPPED,), "with end_run; refused without"),
    (Status.FIRED, Claimed): ((Status.RUNNING,), "one owner gets the attempt"),
    (Status.FIRED, SkipRequested): ((Status.SKIPPED,), "with end_run; refused without"),
    (Status.RUNNING, Completed): (
        (Status.SUCCEEDED, Status.COOLING),
        "an outcome; newer data may have come meanwhile. A failure spends the attempt",
    ),
    (Status.RUNNING, SkipRequested): ((Status.SKIPPED,), "with end_run; refused without"),
    (Status.SUCCEEDED, Loaded): ((Status.COOLING,), _NEWER),
    (Status.SUCCEEDED, Surveyed): ((Status.COOLING,), "the calendar makes newer data complete"),
    (Status.SUCCEEDED, WaiverGranted): ((Status.COOLING,), "what kept newer data from being ready"),
    (Status.SKIPPED, Requested): ((Status.FIRING,), "a person triggers it after all"),
    (Status.NOT_EXPECTED, Surveyed): (
        (Status.WAITING, Status.SETTLING, Status.FIRING),
        "the calendar has games now",
    ),
    (Status.NOT_EXPECTED, Requested): ((Status.FIRING,), "a person, past the calendar"),
}
"""What a fact may lead to beyond time, and why."""

BY_FACT_ALONE: Mapping[tuple[Status, type[Fact]], tuple[tuple[Status, ...], str]] = {
    (Status.WAITING, SkipRequested): ((Status.SKIPPED,), "a person says that it need not run"),
    (Status.SETTLING, SkipRequested): ((Status.SKIPPED,), "a person says that it need not run"),
    (Status.SUCCEEDED, SkipRequested): ((Status.SKIPPED,), "newer data will not run it again"),
    (Status.COOLING, SkipRequested): ((Status.SKIPPED,), "newer data will not run it again"),
    (Status.FAILED, SkipRequested): ((Status.SKIPPED,), "a person gives it up"),
    (Status.NOT_EXPECTED, SkipRequested): ((Status.SKIPPED,), "whatever the calendar says later"),
    (Status.FIRING, ResetRequested): (_AFRESH, _ENDED),
    (Status.FIRED, ResetRequested): (_AFRESH, _ENDED),
    (Status.RUNNING, ResetRequested): (_AFRESH, _ENDED),
    (Status.SUCCEEDED, ResetRequested): (_AFRESH, _JUDGED),
    (Status.COOLING, ResetRequested): (_AFRESH, _JUDGED),
    (Status.FAILED, ResetRequested): (_AFRESH, _JUDGED),
    (Status.SKIPPED, ResetRequested): (_AFRESH, _JUDGED),
}
"""What a fact leads to instead of what time would: a person's word comes first."""


def _may_follow(status: Status, fact: type[Fact]) -> tuple[Status, ...]:
    if (status, fact) in BY_FACT_ALONE:
        return BY_FACT_ALONE[status, fact][0]
    more = BY_FACT[status, fact][0] if (status, fact) in BY_FACT else ()
    return tuple(s for s in Status if s in BY_TIME[status] or s in more)


TRANSITIONS: Mapping[tuple[Status, str], tuple[Status, ...]] = {
    (status, fact.__name__): _may_follow(status, fact) for status in Status for fact in FACTS
}
"""(status, fact) → the statuses that may follow one decision on that fact alone.

A decision may take several steps: a failed report can end the run and, with newer data that
nothing holds, fire the next generation at once.
"""

HISTORY_LIMIT = 100
TRANSITIONS_PER_RUN_LIMIT = 100
NOTIFIED_LIMIT = 100
WAIVERS_LIMIT = 50
WINDOW_INPUTS_MAX = 400
"""Dates of one window that a run names as its inputs, the newest ones."""
AT_ONCE = timedelta(microseconds=1)
"""The least time in the future: ``wake_at`` of what the next sweep is to evaluate."""
RETRY_BACKOFF_CAP = timedelta(hours=1)
DELIVERY_BACKOFF_CAP = timedelta(minutes=1)
UNDELIVERABLE_AFTER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the asker of a fact is told. ``code`` is machine-readable, ``detail`` for people."""

    ok: bool = True
    code: str = "ok"
    detail: str = ""
    run: Run | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The new partition, what was judged, and every run that changed on the way."""

    partition: Partition
    verdict: Verdict
    replies: tuple[Reply, ...]
    runs: tuple[Run, ...]
    """Runs to be written: created, moved on, or ended."""
    fired: Run | None = None
    """The run of the generation that this decision created."""
    changed: bool = True


def blank(spec: ProcessorSpec, game_date: str, now: datetime) -> Partition:
    """A partition of which nothing is known yet."""
    return Partition(
        processor=spec.name, game_date=game_date, created_at=now, registry_hash=spec.registry_hash
    )


def decide(
    partition: Partition, facts: Sequence[Fact], spec: ProcessorSpec, now: datetime
) -> Decision:
    """Apply facts in order, judge once, and fire if nothing holds.

    Never raises on anything that a network can send: duplicates, stale tokens and reports out of
    order answer with a refusal and change nothing.
    """
    work = _Work(partition, spec, now)
    work.pass_idle_instants()
    work.note_what_time_ended()
    work.note_deadline_under_run()  # a report that ends the run must not hide it
    replies = tuple(work.apply(fact) for fact in facts)
    verdict = work.settle()
    result = work.freeze(verdict)
    changed = result != partition
    if changed:
        result = work.draft(partition.revision + 1)
    return Decision(
        partition=result if changed else partition,
        verdict=verdict,
        replies=replies,
        runs=tuple(work.runs.values()),
        fired=work.fired,
        changed=changed,
    )


def status_of(
    live: Run | None, skip: Skip | None, outcome: Outcome | None, verdict: Verdict
) -> Status:
    """The one derivation of a status from verdict, live run and last outcome."""
    if live is not None:
        return _LIVE_STATUS[live.status]
    if skip is not None:
        return Status.SKIPPED
    if outcome is None:
        if verdict.off_day:
            return Status.NOT_EXPECTED
        return Status.SETTLING if verdict.critical_met else Status.WAITING
    if outcome.status not in GOOD_OUTCOMES:
        return Status.FAILED
    held_for_good = verdict.refires_spent or verdict.quiet
    return Status.COOLING if verdict.newer_ready and not held_for_good else Status.SUCCEEDED


_LIVE_STATUS = {
    RunStatus.PENDING: Status.FIRING,
    RunStatus.DELIVERED: Status.FIRED,
    RunStatus.RUNNING: Status.RUNNING,
}


class _Work:
    """A partition while facts are applied to it. Lives inside one call of ``decide``."""

    def __init__(self, partition: Partition, spec: ProcessorSpec, now: datetime) -> None:
        self.before = partition
        self.spec = spec
        self.policy = spec.policy
        self.now = now
        self.runs: dict[str, Run] = {}
        self.fired: Run | None = None
        self.arrivals: Mapping[str, TableDate] = partition.inputs.arrivals
        self.games = partition.inputs.games
        self.window_states = partition.inputs.window_states
        self.days: Mapping[str, tuple[WindowDay, ...]] | None = None
        self.windows_due = partition.inputs.windows_due
        self.met_since = partition.inputs.met_since
        self.latest = partition.inputs.latest
        self.committed = partition.inputs.committed
        self.pauses = partition.inputs.pauses
        self.waivers = partition.inputs.waivers
        self.generation = partition.execution.generation
        self.refires = partition.execution.refires
        self.live = partition.execution.live
        self.outcome = partition.execution.outcome
        self.skip = partition.execution.skip
        self.forced = partition.execution.forced
        self.consumed = partition.execution.consumed
        self.consumed_at = partition.execution.consumed_at
        self.consumed_games = partition.execution.consumed_games
        self.newer_after = partition.execution.newer_after
        self.dirty_since = partition.execution.dirty_since
        self.deadline_done = partition.timers.deadline_done
        self.deadline_done_at = partition.timers.deadline_done_at
        self.overdue = partition.timers.overdue
        self.schedule_done_at = partition.timers.schedule_done_at
        self.outbox = partition.journal.outbox
        self.notified = partition.journal.notified
        self.history = partition.journal.history
        self.status = partition.status
        self.flags = partition.flags
        self.wake_at = partition.wake_at
        self.watching = partition.watching

    # ── facts ────────────────────────────────────────────────────────────────────────────────

    def apply(self, fact: Fact) -> Reply:
        match fact:
            case Loaded():
                return self._loaded(fact)
            case Surveyed():
                return self._surveyed(fact)
            case Ticked():
                return Reply()
            case Delivered():
                return self._delivered(fact)
            case DeliveryFailed():
                return self._delivery_failed(fact)
            case Claimed():
                return self._claimed(fact)
            case Heartbeat():
                return self._heartbeat(fact)
            case Completed():
                return self._completed(fact)
            case Requested():
                return self._requested(fact)
            case SkipRequested():
                return self._skip_requested(fact)
            case ResetRequested():
                return self._reset_requested(fact)
            case WaiverGranted():
                return self._waiver_granted(fact)
        return self._waiver_lifted(fact)

    def _surveyed(self, fact: Surveyed) -> Reply:
        date = self.before.game_date
        off = self.games.get(date) == ()
        was_off = off and (self.policy.off_day is OffDay.SKIP or self._deadline_at() is None)
        if fact.games != self.games:
            self.games = fact.games
        if fact.windows is not None:
            self._evaluated(fact.windows)
        elif fact.windows_later:
            self.window_states, self.windows_due = {}, True
        if fact.pauses != self.pauses:
            self.pauses = fact.pauses
        if was_off and self.games.get(date) != () and self._deadline_passed():
            self._deadline_over()  # first expected after its deadline: overdue, never acts
        if fact.arrivals is not None:
            if fact.arrivals != self.arrivals:
                self._refilled(fact.arrivals)
            self._note_new_requirements(fact.registry_since)
        return Reply()

    def _evaluated(self, days: Mapping[str, tuple[WindowDay, ...]]) -> None:
        """Take in the dates of its windows. What nothing depends on is no change worth a write."""
        self.days, self.windows_due = days, False
        known = self.window_states
        states: dict[str, WindowState] = {}
        for requirement in self.spec.windows:
            key = requirement.key
            now = window_state(requirement, days.get(key, ()), self.spec, self.before.created_at)
            before = known.get(key)
            same = before is not None and (before.met, before.since) == (now.met, now.since)
            states[key] = before if before is not None and same else now
        if states != known:
            self.window_states = states

    def _refilled(self, arrivals: Mapping[str, TableDate]) -> None:
        """Take every input from the ledger."""
        self.arrivals = dict(arrivals)
        if self.generation == 0:
            received = (t.latest for t in arrivals.values())
            newest = max((a for a in received if a), key=lambda a: a.received_at, default=None)
            self.latest = None if newest is None else Latest.of(newest)
        else:
            self.latest = self._last_that_counts()

    def _note_new_requirements(self, since: datetime | None) -> None:
        """Note which loads a requirement that a registry brought takes for newer data.

        Those received after the registry came into service, at ``since``: to ask for more, or for
        the same in another order, is no newer data. One that an earlier registry brought keeps what
        was noted then.
        """
        if self.consumed is None or self.consumed_at is None:
            return
        noted: dict[str, datetime] = {}
        for r in self.spec.requirements:
            if r.window is not None or r.key in self.consumed:
                continue
            date = shift(self.before.game_date, r.offset)
            for table in r.sources:
                name = f"{r.key}/{table}"
                known = self.arrivals.get(arrivals_key(table, date))
                noted[name] = self.newer_after.get(name) or self._newer_after(known, since)
        if noted != self.newer_after:
            self.newer_after = noted

    def _newer_after(self, known: TableDate | None, since: datetime | None) -> datetime:
        """The receipt up to which loads are no newer data to a requirement that is new."""
        assert self.consumed is not None
        assert self.consumed_at is not None
        if known is None or known.latest is None:
            return self.consumed_at
        newest = known.latest.received_at
        before = newest if since is None else min(newest, since)
        # Under a clock that was set back, what a run read may have been received after it was fired.
        marks = [m for c in self.consumed.values() for m in c.marks.get(known.table, {}).values()]
        read = [known.arrivals[m.event_id] for m in marks if m.event_id in known.arrivals]
        return max([self.consumed_at, before, *(a.received_at for a in read)])

    def _last_that_counts(self) -> Latest | None:
        """Of the loads that no generation has consumed, the last of a table that is asked for."""
        counts = {key: Latest.of(load) for key, load in self._loads().items()}
        if self.latest is not None:  # it may be one that is not kept
            counts |= {load_key(key, self.latest.event_id): self.latest for key in self.arrivals}
        return next((counts[key] for key in reversed(self.committed) if key in counts), None)

    def _loads(self) -> dict[str, Arrival]:
        """Every load that is known, by its ``load_key``."""
        return {
            load_key(key, e): a for key, t in self.arrivals.items() for e, a in t.arrivals.items()
        }

    def _loaded(self, fact: Loaded) -> Reply:
        key = arrivals_key(fact.table_date.table, fact.table_date.game_date)
        if self.arrivals is self.before.arrivals:
            self.arrivals = dict(self.arrivals)
        cast("dict[str, TableDate]", self.arrivals)[key] = fact.table_date
        arrival = fact.arrival
        if arrival.informs:
            known_loads = self._loads()
            kept = (k for k in self.committed if k in known_loads)
            self.committed = (*kept, load_key(key, arrival.event_id))
        known = self.latest
        later = known is None or known.received_at <= arrival.received_at
        # A clock that is behind, or stepped back, must not leave a quiet one the latest for ever.
        releases = known is not None and known.quiet and not arrival.quiet
        if arrival.informs and (later or releases):
            self.latest = Latest.of(arrival)
        return Reply()

    def _delivered(self, fact: Delivered) -> Reply:
        entry = next((e for e in self.outbox if e.effect_id == fact.effect_id), None)
        if entry is None:
            return Reply(code="unchanged", detail="that effect is not in the outbox any more")
        self.outbox = tuple(e for e in self.outbox if e is not entry)
        run = self.live
        if (
            entry.kind is EffectKind.LAUNCH
            and run is not None
            and run.status is RunStatus.PENDING
            and effects.launch_id(run.run_id, run.attempt) == fact.effect_id
        ):
            attempt = replace(run.current, delivered_at=self.now, message_id=fact.message_id)
            self._move(
                replace(run, status=RunStatus.DELIVERED, attempts=(*run.attempts[:-1], attempt)),
                "delivered",
                fact.message_id,
            )
        return Reply()

    def _delivery_failed(self, fact: DeliveryFailed) -> Reply:
        entry = next((e for e in self.outbox if e.effect_id == fact.effect_id), None)
        if entry is None:
            return Reply(code="unchanged", detail="that effect is not in the outbox any more")
        pause = min(timedelta(seconds=2.0 ** min(entry.tries, 10)), DELIVERY_BACKOFF_CAP)
        tried = replace(
            entry, tries=entry.tries + 1, due_at=self.now + pause, last_error=fact.error[:1000]
        )
        self.outbox = tuple(tried if e is entry else e for e in self.outbox)
        waited = self.now - max(entry.created_at, self._first_due(entry))
        if waited < UNDELIVERABLE_AFTER:
            return Reply()
        if entry.kind is EffectKind.ANNOUNCE:
            self._notify(
                "announcement_undeliverable",
                entry.subject,
                "error",
                f"The output of {entry.subject} could not be announced for {words_for(waited)}; "
                "what needs it does not hear of it.",
                fact.error[:1000],
            )
        if entry.kind is EffectKind.LAUNCH:
            self._notify(
                "launch_undeliverable",
                f"{entry.subject}:{entry.attempt}",
                "error",
                f"The launch of {entry.subject} could not be delivered for {words_for(waited)}.",
                fact.error[:1000],
            )
        return Reply()

    def _first_due(self, entry: OutboxEntry) -> datetime:
        run = self.live
        if run is not None and run.run_id == entry.subject and run.attempt == entry.attempt:
            return run.current.launch_at
        return entry.created_at

    def _claimed(self, fact: Claimed) -> Reply:
        if self.live is not None and self.live.status is RunStatus.RUNNING:
            self._expire_attempt()  # no token of a lease that ended is handed out again
        run = self.live
        if run is None or run.generation != fact.generation:
            return self._refuse_stale(fact.generation)
        if run.attempt != fact.attempt:
            words = "over" if fact.attempt < run.attempt else "not launched yet"
            return Reply(
                ok=False,
                code="stale",
                detail=f"Attempt {fact.attempt} of {run.run_id} is {words}; "
                f"the current attempt is {run.attempt}.",
            )
        if run.status is RunStatus.RUNNING:
            if run.current.owner == fact.owner:
                return Reply(code="unchanged", run=run)
            return Reply(
                ok=False,
                code="taken",
                detail=f"{run.run_id} attempt {run.attempt} is claimed by {run.current.owner} "
                "and its lease is alive.",
            )
        attempt = replace(
            run.current,
            claimed_at=self.now,
            owner=fact.owner,
            delivered_at=run.current.delivered_at or self.now,
        )
        claimed = replace(
            run,
            status=RunStatus.RUNNING,
            attempts=(*run.attempts[:-1], attempt),
            lease_token=fact.token,
            lease_expires_at=self.now + self.policy.heartbeat_timeout,
        )
        self._drop_launch(run)
        self._move(claimed, "claimed", fact.owner)
        return Reply(run=self.live)

    def _heartbeat(self, fact: Heartbeat) -> Reply:
        run = self.live
        if run is None or run.generation != fact.generation:
            return self._refuse_stale(fact.generation)
        if run.lease_token != fact.token or run.status is not RunStatus.RUNNING:
            return self._refuse_token(run)
        assert run.current.claimed_at is not None
        if self.now >= run.current.claimed_at + self.policy.run_timeout:
            return Reply(ok=False, code="over", detail=f"{run.run_id} has used up its run_timeout.")
        assert run.lease_expires_at is not None
        until = max(run.lease_expires_at, self.now + self.policy.heartbeat_timeout)
        extended = replace(run, lease_expires_at=until)
        self.live = extended
        self.runs[extended.run_id] = extended
        return Reply(run=extended)

    def _completed(self, fact: Completed) -> Reply:
        run = self.live
        if run is None or run.generation != fact.generation:
            last = self.outcome
            if (
                last is not None
                and last.generation == fact.generation
                and last.lease_token == fact.token
                and last.status is fact.status
            ):
                return Reply(code="unchanged", detail="already reported")
            return self._refuse_stale(fact.generation)
        if run.lease_token != fact.token or run.status is not RunStatus.RUNNING:
            failed = fact.status is RunStatus.FAILED
            if failed and any(a.reported_token == fact.token for a in run.attempts):
                return Reply(code="unchanged", detail="already reported")
            return self._refuse_token(run)
        if fact.status not in REPORTABLE_STATUSES:
            return Reply(ok=False, code="bad_status", detail=f"{fact.status} ends no run.")
        error = (fact.error or "")[:4000] or None
        if fact.status is RunStatus.FAILED:
            self._attempt_over(error or "the runner reported a failure", "failed", fact.token)
            return Reply()
        self._end(run, fact.status, fact.record_count, error, token=fact.token)
        self.overdue = False
        return Reply()

    def _refuse_stale(self, generation: int) -> Reply:
        subject = run_id(self.before.processor, self.before.game_date, generation)
        if generation > self.generation or generation < 1:
            return Reply(ok=False, code="unknown", detail=f"There is no run {subject}.")
        return Reply(ok=False, code="over", detail=f"Run {subject} is over.")

    def _refuse_token(self, run: Run) -> Reply:
        return Reply(
            ok=False,
            code="stale",
            detail=f"That lease token does not hold {run.run_id}: the lease ended, or another "
            f"attempt (now {run.attempt}) took over. Stop, and discard the result.",
        )

    # ── people ───────────────────────────────────────────────────────────────────────────────

    def _requested(self, fact: Requested) -> Reply:
        if self.live is not None:
            return self._refuse_live()
        draft = self.draft()
        freshness = self.generation == 0 and fact.trigger is not Trigger.BACKFILL
        ruled = verdict = judge(draft, self.spec, self.now, freshness=freshness, days=self.days)
        if freshness and Bypass.FRESHNESS in fact.bypass:
            verdict = judge(draft, self.spec, self.now, freshness=False, days=self.days)
        problems = []
        if Bypass.DEPENDENCIES not in fact.bypass:
            if verdict.off_day:
                problems.append(
                    f"the calendar has no games on {self.before.game_date} (bypass: dependencies)"
                )
            elif not verdict.critical_met:
                what = "; ".join(_unmet(verdict)) or "no input has arrived"
                problems.append(f"not ready: {what} (bypass: dependencies)")
        if self.pauses and Bypass.PAUSE not in fact.bypass:
            problems.append(f"paused by {self.pauses[0].actor} (bypass: pause)")
        if problems:
            return Reply(ok=False, code="not_ready", detail="; ".join(problems))
        self._fire(
            verdict,
            fact.trigger,
            forced=ruled.off_day or not ruled.critical_met or bool(self.pauses),
            bypassed=tuple(sorted(b.value for b in fact.bypass)),
            unmet=tuple(_unmet(ruled)),
            reason=fact.reason,
            actor=fact.actor,
            skip_downstream=fact.skip_downstream,
            ruled=ruled,
        )
        return Reply(run=self.live)

    def _refuse_live(self) -> Reply:
        assert self.live is not None
        return Reply(
            ok=False,
            code="live_run",
            detail=f"Run {self.live.run_id} is {self.live.status.value}; wait for its end, "
            "or reset the partition to end its lease.",
            run=self.live,
        )

    def _skip_requested(self, fact: SkipRequested) -> Reply:
        if self.live is not None:
            if not fact.end_run:
                return Reply(
                    ok=False,
                    code="live_run",
                    detail=f"Run {self.live.run_id} is {self.live.status.value}; "
                    "say end_run to end its lease and skip.",
                    run=self.live,
                )
            self._cancel(fact.actor, f"skipped: {fact.reason}")
        self.skip = Skip(reason=fact.reason, actor=fact.actor, at=self.now)
        self.overdue = False
        self._remember("skipped", fact.reason, fact.actor)
        return Reply()

    def _reset_requested(self, fact: ResetRequested) -> Reply:
        waiting = self.live is None and self.outcome is None and self.skip is None
        if not waiting and self._deadline_passed():
            self._deadline_over()  # it acted, or found nothing to do, at its instant
        if self.live is not None:
            self._cancel(fact.actor, f"reset: {fact.reason}")
        self.outcome = None
        self.skip = None
        self.refires = 0
        self.forced = False
        self.consumed = None
        self.consumed_at = None
        self.consumed_games = None
        self.newer_after = {}
        self.dirty_since = None
        self.latest = None
        self.committed = ()
        # What acted stays done, also where the clock was set back since.
        self.schedule_done_at = max(self.schedule_done_at or self.now, self.now)
        self._remember("reset", fact.reason, fact.actor)
        return Reply()

    def _waiver_granted(self, fact: WaiverGranted) -> Reply:
        if fact.table not in self.spec.named_tables():
            return Reply(
                ok=False,
                code="unknown",
                detail=f"No requirement of {self.before.processor} names {fact.table}.",
            )
        waiver = Waiver(
            table=fact.table, reason=fact.reason, actor=fact.actor, at=self.now, until=fact.until
        )
        self._close_waivers({fact.table: "replaced by a newer waiver"})
        open_now = [w for w in self.waivers if w.closed_at is None]
        closed = [w for w in self.waivers if w.closed_at is not None]
        kept = closed[-max(1, WAIVERS_LIMIT - 1 - len(open_now)) :]  # one that holds is never cut
        self.waivers = (*kept, *open_now, waiver)
        self._remember("waived", f"{fact.table}: {fact.reason}", fact.actor)
        return Reply()

    def _waiver_lifted(self, fact: WaiverLifted) -> Reply:
        if not any(w.table == fact.table and w.open_at(self.now) for w in self.waivers):
            return Reply(
                ok=False,
                code="unknown",
                detail=f"No open waiver of {fact.table} on this partition.",
            )
        self._close_waivers({fact.table: f"lifted by {fact.actor}: {fact.reason}"})
        self._remember("waiver lifted", f"{fact.table}: {fact.reason}", fact.actor)
        return Reply()

    def _close_waivers(self, because: Mapping[str, str]) -> None:
        self.waivers = tuple(
            replace(w, closed_at=self.now, closed_because=because[w.table])
            if w.table in because and w.open_at(self.now)
            else w
            for w in self.waivers
        )

    # ── runs ─────────────────────────────────────────────────────────────────────────────────

    def _fire(
        self,
        verdict: Verdict,
        trigger: Trigger,
        *,
        forced: bool = False,
        bypassed: tuple[str, ...] = (),
        unmet: tuple[str, ...] = (),
        reason: str | None = None,
        actor: str | None = None,
        skip_downstream: bool = False,
        ruled: Verdict | None = None,
    ) -> None:
        """Create the next generation with its launch in the outbox. The only place that does.

        ``ruled`` is the judgement by every rule, where ``verdict`` leaves one out.
        """
        partition = self.before
        by_person = actor is not None
        if self.outcome is not None and not by_person:
            self.refires += 1
        self.generation += 1
        identity = run_id(partition.processor, partition.game_date, self.generation)
        run = Run(
            run_id=identity,
            processor=partition.processor,
            game_date=partition.game_date,
            generation=self.generation,
            trigger=trigger,
            status=RunStatus.PENDING,
            registry_hash=self.spec.registry_hash,
            fired_at=self.now,
            attempts=(Attempt(number=1, launch_at=self.now),),
            inputs=tuple(self._inputs(verdict)),
            explanation=" ".join(f"{requirement_sentence(r)}." for r in verdict.requirements),
            bypassed=bypassed,
            unmet=unmet,
            reason=reason,
            actor=actor,
            skip_downstream=skip_downstream,
            changed_games=verdict.changed_games,
            changed_tables=verdict.changed_tables,
            warnings=launch_warnings(
                ruled or verdict, self.spec, self.before.game_date, self.games
            ),
            correlation_id=self._correlation_id(),
        )
        self.consumed = consume(self.draft(), self.spec, verdict)
        self.consumed_at = self.now
        self.consumed_games = self.games
        self.newer_after = {}
        self.latest = None
        self.committed = ()
        self.dirty_since = None
        self.skip = None
        self.forced = forced
        self.outbox = (*self.outbox, effects.launch(run, self.now))
        self._move(run, "fired", trigger.value, actor)
        self.fired = self.live
        self._remember("fired", f"generation {self.generation}: {trigger.value}", actor)

    def _inputs(self, verdict: Verdict) -> Iterable[Input]:
        """What the run reads: used sources, and where it was forced, whatever holds rows."""
        seen: set[tuple[str, str]] = set()
        for r in verdict.requirements:
            if r.requirement.window is not None:
                table = r.requirement.sources[0]
                for day in r.days[-WINDOW_INPUTS_MAX:]:
                    if day.met and (table, day.game_date) not in seen:
                        seen.add((table, day.game_date))
                        yield Input(
                            table=table,
                            game_date=day.game_date,
                            state=day.state,
                            record_count=day.record_count,
                            game_ids=(),
                            event_ids=day.event_ids,
                            loaded_at=day.since,
                        )
                continue
            for source in r.sources:
                stands_in = r.met and source.waiver is None  # another source is read instead
                if source.table not in r.used and (stands_in or not source.event_ids):
                    continue
                if (source.table, source.game_date) in seen:
                    continue
                seen.add((source.table, source.game_date))
                yield self._input(source)

    def _input(self, source: SourceVerdict) -> Input:
        known = self.arrivals[arrivals_key(source.table, source.game_date)]
        games = {g for g, e in known.games.items() if not known.arrivals[e].empty}
        whole = known.whole_arrival
        if whole is not None and not whole.empty:
            games.update(whole.game_ids)
        return Input(
            table=source.table,
            game_date=source.game_date,
            state=(source.unwaived_state or source.state).value,
            record_count=source.record_count,
            game_ids=tuple(sorted(games)),
            event_ids=source.event_ids,
            loaded_at=source.loaded_at,
        )

    def _correlation_id(self) -> str | None:
        arrivals = [a for t in self.arrivals.values() for a in t.arrivals.values()]
        carrying = [a for a in arrivals if a.correlation_id]
        newest = max(carrying, key=lambda a: a.received_at, default=None)
        return newest.correlation_id if newest else None

    def _move(self, run: Run, what: str, detail: str = "", actor: str | None = None) -> None:
        """Put a live run's new version in place, with a line in its history."""
        line = Transition(at=self.now, what=what, detail=detail[:1000], actor=actor)
        kept = run.transitions[-(TRANSITIONS_PER_RUN_LIMIT - 1) :]
        run = replace(run, transitions=(*kept, line))
        self.live = run if run.live else None
        self.runs[run.run_id] = run

    def _end(
        self,
        run: Run,
        status: RunStatus,
        record_count: int | None = None,
        error: str | None = None,
        actor: str | None = None,
        token: str | None = None,
    ) -> None:
        """End the live run; ``token`` is that of the lease whose holder reported it."""
        self._drop_launch(run)
        attempt = replace(run.current, ended_at=self.now, error=error, reported_token=token)
        ended = replace(
            run,
            status=status,
            attempts=(*run.attempts[:-1], attempt),
            lease_token=None,
            lease_expires_at=None,
            ended_at=self.now,
            record_count=record_count,
            error=error,
        )
        self._move(ended, status.value, error or "", actor)
        if status is RunStatus.CANCELLED:
            return
        self.outcome = Outcome(
            status=status,
            generation=run.generation,
            attempt=run.attempt,
            at=self.now,
            record_count=record_count,
            error=error,
            lease_token=run.lease_token,
        )
        if status in ANNOUNCED:
            self.outbox = (*self.outbox, effects.announce(ended, self.spec.output, self.now))
        self._remember(status.value, error or f"generation {run.generation}")

    def _cancel(self, actor: str, why: str) -> None:
        assert self.live is not None
        self._end(self.live, RunStatus.CANCELLED, error=why, actor=actor)

    def _attempt_over(self, error: str, what: str, token: str | None = None) -> None:
        """An attempt was spent: back off to the next one, or fail the run."""
        run = self.live
        assert run is not None
        self._drop_launch(run)
        if run.attempt >= self.policy.attempts:
            self._end(run, RunStatus.FAILED, error=error, token=token)
            self._notify(
                "run_failed",
                run.run_id,
                "error",
                f"Run {run.run_id} failed; attempts spent: {run.attempt}.",
                error,
            )
            return
        base = self.policy.retry_backoff
        wait = min(base * 2 ** min(run.attempt - 1, 10), max(base, RETRY_BACKOFF_CAP))
        spent = replace(run.current, ended_at=self.now, error=error, reported_token=token)
        following = Attempt(number=run.attempt + 1, launch_at=self.now + wait)
        retry = replace(
            run,
            status=RunStatus.PENDING,
            attempt=run.attempt + 1,
            attempts=(*run.attempts[:-1], spent, following),
            lease_token=None,
            lease_expires_at=None,
        )
        self._move(retry, what, error)
        self.outbox = (*self.outbox, effects.launch(retry, self.now))

    def _drop_launch(self, run: Run) -> None:
        effect_id = effects.launch_id(run.run_id, run.attempt)
        self.outbox = tuple(e for e in self.outbox if e.effect_id != effect_id)

    # ── time ─────────────────────────────────────────────────────────────────────────────────

    def settle(self) -> Verdict:
        """Let time act, judge, and fire if nothing holds."""
        self._expire_waivers()
        self._expire_attempt()
        verdict = self._look()
        self._pass_void_deadline()
        self.note_deadline_under_run()
        decides = self.live is None and self.skip is None and not self.windows_due
        if decides and not self.pauses:
            self._act_on_deadline(verdict)
            self._act_on_schedule(verdict)
        self._note_overdue(verdict)
        if decides and self.live is None and self.skip is None:
            self._fire_if_free(verdict)
        self.pass_idle_instants()
        if self.fired is not None:
            verdict = self._look()  # freshness counted before the first generation alone
        elif verdict.newer_ready:
            latest = max(d.latest.received_at for d in verdict.dirty)
            self.dirty_since = self.dirty_since or latest
            if verdict.refires_spent and self.live is None and self.skip is None:
                self._notify_budget(verdict)
        else:
            self.dirty_since = None
        return verdict

    def _look(self) -> Verdict:
        """Judge, close the waivers whose data has come, and note since when sources are met."""
        verdict = judge(self.draft(), self.spec, self.now, days=self.days)
        if self._waivers_met(verdict):
            verdict = judge(self.draft(), self.spec, self.now, days=self.days)
        self._note_met(verdict)
        return verdict

    def _fire_if_free(self, verdict: Verdict) -> None:
        if verdict.holds or not verdict.critical_met:
            return
        if self.outcome is None:
            if not verdict.off_day:
                self._fire(verdict, Trigger.DEPENDENCIES)
        elif verdict.newer_ready:
            self._fire(verdict, Trigger.LATE_DATA)

    def _expire_waivers(self) -> None:
        expired = [
            w
            for w in self.waivers
            if w.closed_at is None and w.until is not None and w.until <= self.now
        ]
        for waiver in expired:
            self.waivers = tuple(
                replace(w, closed_at=waiver.until, closed_because="its time is over")
                if w is waiver
                else w
                for w in self.waivers
            )
            self._remember("waiver over", waiver.table)

    def _waivers_met(self, verdict: Verdict) -> bool:
        """Close waivers without an end whose data has come; says whether any was."""
        unwaived: dict[str, list[bool]] = {}
        for r in verdict.requirements:
            for s in r.sources:
                if s.waiver is not None and s.waiver.until is None:
                    unwaived.setdefault(s.table, []).append(s.unwaived_state in MET)
        come = {t: "its data came" for t, states in unwaived.items() if all(states)}
        self._close_waivers(come)
        for table in come:
            self._remember("waiver over", f"{table}: its data came")
        return bool(come)

    def _expire_attempt(self) -> None:
        run = self.live
        if run is None:
            return
        attempt = run.current
        if run.status is RunStatus.DELIVERED:
            assert attempt.delivered_at is not None
            if self.now >= attempt.delivered_at + self.policy.claim_timeout:
                within = words_for(self.policy.claim_timeout)
                self._lost(
                    "unclaimed", f"nobody claimed it within {within}: is a runner reading there?"
                )
        elif run.status is RunStatus.RUNNING:
            assert attempt.claimed_at is not None
            assert run.lease_expires_at is not None
            if self.now >= attempt.claimed_at + self.policy.run_timeout:
                self._lost("lease_lost", f"ran longer than {words_for(self.policy.run_timeout)}")
            elif self.now >= run.lease_expires_at:
                within = words_for(self.policy.heartbeat_timeout)
                self._lost("lease_lost", f"no heartbeat within {within}")

    def _lost(self, kind: str, error: str) -> None:
        run = self.live
        assert run is not None
        words = kind.replace("_", " ")
        self._notify(
            kind,
            f"{run.run_id}:{run.attempt}",
            "warning",
            f"Attempt {run.attempt} of {run.run_id}: {words}.",
            error,
        )
        self._attempt_over(error, kind)

    def _deadline_at(self) -> datetime | None:
        """The deadline's instant; None where none acts on this partition."""
        deadline = self.policy.deadline
        if deadline is None:
            return None
        at = instant(self.before.game_date, deadline.at, self.spec.timezone)
        return at if self._acts(at, deadline.set_since) else None

    def _acts(self, at: datetime, set_since: datetime | None) -> bool:
        """Whether an instant acts: none that a change of the registry put into the past does."""
        off = self.games.get(self.before.game_date) == ()
        return acts(at, set_since, self.policy.off_day_since if off else None)

    def _deadline_passed(self) -> bool:
        at = self._deadline_at()
        return at is not None and self.now >= at

    def _pass_void_deadline(self) -> None:
        """Mark a deadline that a change of the registry put into the past as over."""
        deadline = self.policy.deadline
        if deadline is None or self._deadline_at() is not None:
            return
        at = instant(self.before.game_date, deadline.at, self.spec.timezone)
        if at <= self.now and not self.draft().timers.deadline_over(at):
            self.deadline_done, self.deadline_done_at = True, at

    def _deadline_over(self) -> None:
        """The deadline that has passed has acted, or is not for this partition."""
        self.deadline_done, self.deadline_done_at = True, self._deadline_at()

    def _deadline_due(self) -> datetime | None:
        """The deadline's instant, where it has come and has not acted yet."""
        at = self._deadline_at()
        if at is None or self.now < at or self.outcome is not None:
            return None
        return None if self.draft().timers.deadline_over(at) else at

    def _on_off_day(self) -> bool:
        """Whether the calendar has no games that date, and the processor skips such dates."""
        off = self.games.get(self.before.game_date) == ()
        return off and self.policy.off_day is OffDay.SKIP

    def note_deadline_under_run(self) -> None:
        """Notify of a deadline that passes while a run is live; it does nothing else then."""
        if self.live is None or self._on_off_day():
            return
        at = self._deadline_due()
        if at is None:
            return
        self._deadline_over()
        run = self.live
        if self.before.created_at < at:
            self._notify_deadline(
                at,
                f"run {run.run_id} is {_LIVE_STATUS[run.status].value}",
                f"attempt {run.attempt} of {self.policy.attempts}, "
                f"decided at {clock(run.fired_at)}",
            )

    def _notify_deadline(self, at: datetime, done: str, detail: str) -> None:
        self._notify(
            "deadline",
            f"{at:%Y-%m-%dT%H:%M:%SZ}",
            "warning",
            f"{self.before.processor} {self.before.game_date} passed its deadline; {done}.",
            detail,
        )

    def _act_on_deadline(self, verdict: Verdict) -> None:
        at = self._deadline_due()
        if at is None or verdict.off_day:
            return
        self._deadline_over()
        if self.before.created_at >= at:
            return  # first heard of after its deadline: overdue, judged as usual
        assert self.policy.deadline is not None
        action = self.policy.deadline.then
        unmet = _unmet(verdict)
        done = "nobody has fired it"
        if action is DeadlineAction.FIRE and verdict.usable and not verdict.quiet:
            forced = not verdict.critical_met
            self._fire(
                verdict,
                Trigger.DEADLINE,
                forced=forced,
                bypassed=(Bypass.DEPENDENCIES.value,) if forced else (),
                unmet=tuple(unmet),
            )
            done = "it was fired with what is there"
        elif action is DeadlineAction.SKIP and not verdict.critical_met:
            why = f"deadline {clock(at)} passed: {'; '.join(unmet) or 'no input arrived'}"
            self.skip = Skip(reason=why, actor="deadline", at=self.now)
            self._remember("skipped", why, "deadline")
            done = "it was skipped"
        self._notify_deadline(at, done, "; ".join(unmet) or "every critical requirement is met")

    def _note_overdue(self, verdict: Verdict) -> None:
        if self.outcome is None and self.skip is None and not verdict.off_day:
            self.overdue = self._deadline_passed()
        elif self.skip is not None or verdict.off_day:
            self.overdue = False

    def _due_schedule(self) -> list[tuple[datetime, ScheduleEntry]]:
        """Schedule instants that have come and not acted yet."""
        after = self.schedule_done_at or self.before.created_at
        found = (
            (instant(self.before.game_date, e.at, self.spec.timezone), e)
            for e in self.policy.schedule
        )
        return [
            (at, e) for at, e in found if after < at <= self.now and self._acts(at, e.set_since)
        ]

    def pass_idle_instants(self) -> None:
        """Mark schedule instants as passed that had nothing to do when they came.

        An instant acts on what was known then. Without this, data that comes later would find an
        old instant unused and fire at once. Called before the facts, on what was known, and again
        when everything has acted, so that a second look at the same instant finds nothing to do.
        """
        if not self.policy.schedule or self.pauses or self.windows_due:
            return
        due = self._due_schedule()
        if not due:
            return
        always = any(e.when is ScheduleWhen.ALWAYS for _, e in due)
        if self._on_off_day():
            idle = True
        elif self.live is not None:
            idle = not always
        elif self.skip is not None:
            idle = True
        elif self.outcome is None:
            idle = self.before.status in (Status.WAITING, Status.NOT_EXPECTED)
        else:
            idle = not always and self.dirty_since is None
        if idle:
            self.schedule_done_at = max(at for at, _ in due)

    def _act_on_schedule(self, verdict: Verdict) -> None:
        if not self.policy.schedule or self.live is not None or self.skip is not None:
            return
        due = self._due_schedule()
        if not due:
            return
        self.schedule_done_at = max(at for at, _ in due)
        always = any(e.when is ScheduleWhen.ALWAYS for _, e in due)
        if verdict.off_day or not verdict.critical_met or verdict.quiet:
            return
        if not (always or self.outcome is None or verdict.newer_ready):
            return
        if self.outcome is not None and self.refires >= self.policy.max_refires:
            self._notify_budget(verdict)
            return
        self._fire(verdict, Trigger.SCHEDULE)

    def _next_wake(self, verdict: Verdict) -> datetime | None:
        instants = [verdict.wake_at] if verdict.wake_at is not None else []
        run = self.live
        if run is not None or self.skip is not None:
            # What holds a firing does not matter now; only what ends by itself does.
            instants = [w.until for w in self.waivers if w.until and w.open_at(self.now)]
        if run is not None and run.status is RunStatus.DELIVERED:
            assert run.current.delivered_at is not None
            instants.append(run.current.delivered_at + self.policy.claim_timeout)
        elif run is not None and run.status is RunStatus.RUNNING:
            assert run.lease_expires_at is not None
            assert run.current.claimed_at is not None
            instants.append(run.lease_expires_at)
            instants.append(run.current.claimed_at + self.policy.run_timeout)
        if self.skip is None and not verdict.off_day:
            at = self._deadline_at()
            if at is not None and self.outcome is None:
                instants.append(at)
            if run is None and not self.pauses:
                instants += self._schedule_instants()
        if self.windows_due:
            instants.append(self.now + AT_ONCE)
        return min((i for i in instants if i > self.now), default=None)

    def _schedule_instants(self) -> Iterable[datetime]:
        """Schedule instants that would act on this partition as it stands."""
        for entry in self.policy.schedule:
            acts = (
                self.outcome is None
                or entry.when is ScheduleWhen.ALWAYS
                or self.dirty_since is not None
            )
            if acts:
                yield instant(self.before.game_date, entry.at, self.spec.timezone)

    # ── notes ────────────────────────────────────────────────────────────────────────────────

    def note_what_time_ended(self) -> None:
        """Forget since when a source has been met if its load aged, or its waiver ended, meanwhile.

        Called before the facts: one that meets it again begins anew, as if a sweep had come between.
        """
        if self.before.wake_at is not None and self.before.wake_at <= self.now:
            self._note_met(judge(self.draft(), self.spec, self.now))

    def _note_met(self, verdict: Verdict) -> None:
        """Keep, per source, since when it has been met; forget it once it is not."""
        known: dict[str, datetime] = {}
        for r in verdict.requirements:
            if r.requirement.window is not None:
                continue
            for s in r.sources:
                if s.met and s.since is not None and s.state is not State.NOT_EXPECTED:
                    known[f"{r.key}/{s.table}"] = s.since
        if known != self.met_since:
            self.met_since = known

    def _notify_budget(self, verdict: Verdict) -> None:
        tables = ", ".join(verdict.changed_tables)
        what = f"newer data in {tables}" if tables else "its schedule asks for a run"
        self._notify(
            "refires_spent",
            f"{self.before.processor}:{self.before.game_date}:{self.generation}",
            "warning",
            f"{self.before.processor} {self.before.game_date} has no re-fires left.",
            f"{what}; trigger it by hand, or reset it",
        )

    def _notify(self, kind: str, cause: str, severity: str, summary: str, detail: str) -> None:
        name = f"{kind}:{cause}"
        if name in self.notified:
            return
        self.notified = (*self.notified[-(NOTIFIED_LIMIT - 1) :], name)
        entry = effects.notify(kind, cause, severity, summary, detail, self.now)
        self.outbox = (*self.outbox, entry)

    def _remember(self, what: str, detail: str, actor: str | None = None) -> None:
        line = Transition(at=self.now, what=what, detail=detail[:1000], actor=actor)
        self.history = (*self.history[-(HISTORY_LIMIT - 1) :], line)

    # ── freezing ─────────────────────────────────────────────────────────────────────────────

    def draft(self, revision: int | None = None) -> Partition:
        """The partition as it stands. Until ``freeze`` its derived fields are those of before."""
        before = self.before
        return Partition(
            processor=before.processor,
            game_date=before.game_date,
            created_at=before.created_at,
            registry_hash=self.spec.registry_hash,
            revision=before.revision if revision is None else revision,
            inputs=Inputs(
                arrivals=self.arrivals,
                games=self.games,
                window_states=self.window_states,
                windows_due=self.windows_due,
                met_since=self.met_since,
                latest=self.latest,
                committed=self.committed,
                pauses=self.pauses,
                waivers=self.waivers,
            ),
            execution=Execution(
                generation=self.generation,
                refires=self.refires,
                live=self.live,
                outcome=self.outcome,
                skip=self.skip,
                forced=self.forced,
                consumed=self.consumed,
                consumed_at=self.consumed_at,
                consumed_games=self.consumed_games,
                newer_after=self.newer_after,
                dirty_since=self.dirty_since,
            ),
            timers=Timers(
                deadline_done=self.deadline_done,
                deadline_done_at=self.deadline_done_at,
                overdue=self.overdue,
                schedule_done_at=self.schedule_done_at,
            ),
            journal=Journal(
                outbox=self.outbox,
                notified=self.notified,
                history=self.history,
            ),
            status=self.status,
            flags=self.flags,
            wake_at=self.wake_at,
            watching=self.watching,
        )

    def freeze(self, verdict: Verdict) -> Partition:
        """The finished partition, with status, flags and wake_at derived."""
        could_fire = self.live is None and self.skip is None
        self.watching = could_fire and verdict.windows_decide
        self.windows_due = could_fire and self.windows_due
        self.status = status_of(self.live, self.skip, self.outcome, verdict)
        self.flags = tuple(self._flags(verdict))
        self.wake_at = self._next_wake(verdict)
        return self.draft()

    def _flags(self, verdict: Verdict) -> Iterable[Flag]:
        if self.pauses:
            yield Flag.PAUSED
        if self.overdue:
            yield Flag.OVERDUE
        if self.forced:
            yield Flag.FORCED
        if verdict.quiet:
            yield Flag.QUIET
        if verdict.dirty and self.live is None:
            yield Flag.NEWER_DATA
        if verdict.refires_spent and self.live is None:
            yield Flag.REFIRES_SPENT


def _unmet(verdict: Verdict) -> list[str]:
    return [
        requirement_sentence(r)
        for r in verdict.requirements
        if r.requirement.critical and not r.met
    ]
