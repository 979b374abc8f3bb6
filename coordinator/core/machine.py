"""``decide``: what facts do to a partition. The state machine, pure and total.

The laws it keeps (specification 4.4):

1. No run without its needs: a generation is created only in ``firing``, and only when every critical
   requirement is met, waived, or bypassed by a recorded decision.
2. One run per generation, one owner per attempt: generations rise by one; a claim is granted to
   one owner; a report with a stale token is refused and changes nothing.
3. No lost trigger: whatever is ready and not held is fired by the same call that learns of it, or
   at ``wake_at``.
4. Time moves things: every timer is one field, ``wake_at``, which is always in the future.
5. Nothing is lost: an effect leaves the outbox only when its delivery is proved or its reason gone.
6. Every decision explains itself: the run carries the judgement it was created on.
7. Bounded: attempts, generations, history and memory of notices have limits.
8. Pause keeps everything: while paused facts are still recorded; only new generations wait.

Three axes are stored (what is known of the inputs, the live run, the last outcome). The status is
derived from them by ``status_of`` alone, so no transition can forget one. Which statuses may follow
which is listed in ``transitions``; the code does not run by that list, it is checked against it at
every decision in tests and simulation. Identifiers are derived; the one token a claim needs comes in
with the fact.

What each fact does is defined by subject: ``inputs``, ``runs``, ``people``; what time does in
``timers``; how a run is created in ``firing``. Here is the order in which they act.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from coordinator.core import inputs, people, runs, timers
from coordinator.core.draft import Draft
from coordinator.core.facts import (
    Claimed,
    Completed,
    Delivered,
    DeliveryFailed,
    Fact,
    Heartbeat,
    Loaded,
    Reply,
    ReportRefused,
    Requested,
    ResetRequested,
    SkipRequested,
    Surveyed,
    Ticked,
    WaiverGranted,
)
from coordinator.core.firing import fire
from coordinator.core.model import (
    GOOD_OUTCOMES,
    LIVE_STATUSES,
    Flag,
    Outcome,
    Partition,
    Run,
    Skip,
    Status,
    Trigger,
)
from coordinator.core.spec import ProcessorSpec
from coordinator.core.verdict import Verdict


class Decision(NamedTuple):
    """The new partition, what was judged, and every run that changed on the way."""

    facts: tuple[Fact, ...]
    """What was decided on, in this order."""
    partition: Partition
    verdict: Verdict
    replies: tuple[Reply, ...]
    """One for each fact."""
    runs: tuple[Run, ...]
    """Runs to be written: created, advanced, or ended."""
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
    """Apply facts in order, let time act, judge, and fire if nothing holds.

    Never raises on anything that a network can send: duplicates, stale tokens and reports out of
    order answer with a refusal and change nothing.
    """
    draft = Draft.of(partition, spec, now)
    # What came due before these facts is settled on what was known then. Data that comes now must
    # not find an old instant of the schedule unused, nor hide that its requirement was not met for
    # a while, nor may a report hide a deadline under its run.
    draft = timers.pass_idle_instants(draft)
    draft = _note_what_time_ended(draft)
    draft = timers.note_deadline_under_run(draft)
    replies = []
    for fact in facts:
        draft, reply = _apply(draft, fact)
        replies.append(reply)
    draft, verdict = _settle(draft)
    result = _finished(draft, verdict)
    return Decision(
        facts=tuple(facts),
        partition=result,
        verdict=verdict,
        replies=tuple(replies),
        runs=tuple(draft.runs.values()),
        fired=draft.fired,
        changed=result is not partition,
    )


def _note_what_time_ended(draft: Draft) -> Draft:
    """Forget since when a source has been met if its load aged, or its waiver ended, meanwhile.

    Called before the facts: what meets it again does so from now on, as if a sweep had come between.
    """
    wake_at = draft.before.wake_at
    if wake_at is None or wake_at > draft.now:
        return draft
    return inputs.note_met(draft, draft.judged())


def _apply(draft: Draft, fact: Fact) -> tuple[Draft, Reply]:
    """What one fact does by itself, before time acts and the partition is judged."""
    match fact:
        case Loaded():
            return inputs.loaded(draft, fact), Reply()
        case Surveyed():
            return inputs.surveyed(draft, fact), Reply()
        case Ticked():
            return draft, Reply()
        case Delivered():
            return runs.delivered(draft, fact)
        case DeliveryFailed():
            return runs.delivery_failed(draft, fact)
        case Claimed():
            return runs.claimed(draft, fact)
        case Heartbeat():
            return runs.heartbeat(draft, fact)
        case Completed():
            return runs.completed(draft, fact)
        case ReportRefused():
            return runs.report_refused(draft, fact), Reply()
        case Requested():
            return people.requested(draft, fact)
        case SkipRequested():
            return people.skip_requested(draft, fact)
        case ResetRequested():
            return people.reset_requested(draft, fact)
        case WaiverGranted():
            return people.waiver_granted(draft, fact)
    return people.waiver_lifted(draft, fact)


def _settle(draft: Draft) -> tuple[Draft, Verdict]:
    """Let time act, judge, and fire at most one generation. The order matters:

    1. Waivers and attempts whose time is over end first, for the verdict rests on the waivers, and
       whether anything may fire on the live run.
    2. The partition is judged once. Everything below decides on this verdict.
    3. A deadline under a live run only notifies. A deadline that acts comes before the schedule and
       before ordinary firing: it may skip the partition, or fire what is not ready.
    4. The schedule comes before ordinary firing, for its instants pass over grace and cooldown, and
       a run is labelled by what released it.
    5. Ordinary firing comes last, and only where nothing above has fired or skipped.

    While paused, 3 to 5 wait and their instants stay open: they act on resume (law 8). So they do
    while its windows are still to be evaluated. Whatever fires sets the live run, which is what
    keeps the steps after it from firing again (law 2).
    """
    draft = people.expire_waivers(draft)
    draft = runs.expire_attempt(draft)
    draft, verdict = _judged(draft)
    draft = timers.close_void_deadline(draft)
    draft = timers.note_deadline_under_run(draft)
    if _may_fire(draft) and not draft.inputs.pauses:
        draft = timers.act_on_deadline(draft, verdict)
        draft = timers.act_on_schedule(draft, verdict)
    draft = timers.note_overdue(draft, verdict)
    if _may_fire(draft):
        draft = _fire_if_free(draft, verdict)
    # Instants that found nothing to do are over, so that a decision repeated now changes nothing.
    draft = timers.pass_idle_instants(draft)
    if draft.fired is not None:
        return _judged(draft)  # freshness counted before the first generation alone
    return _note_newer(draft, verdict), verdict


def _may_fire(draft: Draft) -> bool:
    """Whether a generation may be created: no run, no skip, and no window left unevaluated."""
    execution = draft.execution
    return execution.live is None and execution.skip is None and not draft.inputs.windows_due


def _judged(draft: Draft) -> tuple[Draft, Verdict]:
    """Judge, close the waivers whose data has come, and note since when sources are met."""
    verdict = draft.judged()
    closed = people.close_met_waivers(draft, verdict)
    if closed is not draft:
        verdict = closed.judged()
    return inputs.note_met(closed, verdict), verdict


def _fire_if_free(draft: Draft, verdict: Verdict) -> Draft:
    """Fire what is ready and not held: a first generation, or one for newer data."""
    if verdict.holds or not verdict.critical_met:
        return draft
    if draft.execution.outcome is None:
        return draft if verdict.off_day else fire(draft, verdict, Trigger.DEPENDENCIES)
    return fire(draft, verdict, Trigger.LATE_DATA) if verdict.newer_ready else draft


def _note_newer(draft: Draft, verdict: Verdict) -> Draft:
    """Keep since when newer data is ready, and notify where no re-fires are left for it."""
    execution = draft.execution
    since = None
    if verdict.newer_ready:
        since = execution.dirty_since or max(d.latest.received_at for d in verdict.dirty)
    if since != execution.dirty_since:
        draft = draft._replace(execution=replace(execution, dirty_since=since))
    if verdict.refires_spent and execution.live is None and execution.skip is None:
        draft = timers.notify_budget(draft, verdict)
    return draft


def status_of(
    live: Run | None, skip: Skip | None, outcome: Outcome | None, verdict: Verdict
) -> Status:
    """The one derivation of a status from verdict, live run and last outcome."""
    if live is not None:
        return LIVE_STATUSES[live.status]
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


def _finished(draft: Draft, verdict: Verdict) -> Partition:
    """The partition after this decision, with everything that is derived."""
    execution = draft.execution
    could_fire = execution.live is None and execution.skip is None
    if draft.inputs.windows_due and not could_fire:
        draft = draft._replace(inputs=replace(draft.inputs, windows_due=False))
    return draft.finished(
        status=status_of(execution.live, execution.skip, execution.outcome, verdict),
        flags=tuple(_flags(draft, verdict)),
        wake_at=timers.next_wake(draft, verdict),
        watching=could_fire and verdict.windows_decide,
    )


def _flags(draft: Draft, verdict: Verdict) -> Iterable[Flag]:
    live = draft.execution.live is not None
    if draft.inputs.pauses:
        yield Flag.PAUSED
    if draft.timers.overdue:
        yield Flag.OVERDUE
    if draft.execution.forced:
        yield Flag.FORCED
    if verdict.quiet:
        yield Flag.QUIET
    if verdict.dirty and not live:
        yield Flag.NEWER_DATA
    if verdict.refires_spent and not live:
        yield Flag.REFIRES_SPENT
