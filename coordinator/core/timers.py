"""What an instant of the clock does to a partition: deadlines, schedules, and when to wake next.

Owns which instants act, and what they do. Refuses to end leases and waivers (see ``runs`` and
``people``), and to say in what order things happen (see ``machine``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from coordinator.core.choices import Bypass, RunStatus
from coordinator.core.draft import Draft
from coordinator.core.explain import clock, unmet_sentences
from coordinator.core.firing import fire
from coordinator.core.model import LIVE_STATUSES, Flag, Skip, Status, Trigger
from coordinator.core.schedule import acts, instant
from coordinator.core.spec import DeadlineAction, OffDay, ScheduleEntry, ScheduleWhen
from coordinator.core.verdict import Verdict

AT_ONCE = timedelta(microseconds=1)
"""The least time in the future: ``wake_at`` of what the next sweep is to evaluate."""


# ── deadlines ────────────────────────────────────────────────────────────────────────────────


def deadline_at(draft: Draft) -> datetime | None:
    """The deadline's instant; None where none acts on this partition."""
    deadline = draft.policy.deadline
    if deadline is None:
        return None
    at = instant(draft.before.game_date, deadline.at, draft.spec.timezone)
    return at if _acts(draft, at, deadline.set_since) else None


def deadline_passed(draft: Draft) -> bool:
    """Whether the deadline's instant has come, whatever it did."""
    at = deadline_at(draft)
    return at is not None and draft.now >= at


def close_deadline(draft: Draft, at: datetime | None = None) -> Draft:
    """Note that deadlines up to ``at`` have acted, or are not for this partition."""
    timers = replace(draft.timers, deadline_done=True, deadline_done_at=at or deadline_at(draft))
    return draft._replace(timers=timers)


def close_void_deadline(draft: Draft) -> Draft:
    """Close a deadline that a change of the registry put into the past (specification 2.8)."""
    deadline = draft.policy.deadline
    if deadline is None or deadline_at(draft) is not None:
        return draft
    at = instant(draft.before.game_date, deadline.at, draft.spec.timezone)
    over = at > draft.now or draft.timers.deadline_over(at)
    return draft if over else close_deadline(draft, at)


def note_deadline_under_run(draft: Draft) -> Draft:
    """Notify of a deadline that passes while a run is live; it does nothing else then."""
    run = draft.live
    if run is None or _skips_its_date(draft):
        return draft
    at = _deadline_due(draft)
    if at is None:
        return draft
    draft = close_deadline(draft)
    if draft.before.created_at >= at:
        return draft
    return _notify_deadline(
        draft,
        at,
        f"run {run.run_id} is {LIVE_STATUSES[run.status].value}",
        f"attempt {run.attempt} of {draft.policy.attempts}, decided at {clock(run.fired_at)}",
    )


def act_on_deadline(draft: Draft, verdict: Verdict) -> Draft:
    """Alert, fire or skip at the deadline, once. A partition that is newer only gets overdue."""
    at = _deadline_due(draft)
    if at is None or verdict.off_day:
        return draft
    draft = close_deadline(draft)
    if draft.before.created_at >= at:
        return draft
    assert draft.policy.deadline is not None
    action = draft.policy.deadline.then
    unmet = unmet_sentences(verdict)
    done = "nobody has fired it"
    if action is DeadlineAction.FIRE and verdict.usable and not verdict.quiet:
        forced = not verdict.critical_met
        draft = fire(
            draft,
            verdict,
            Trigger.DEADLINE,
            forced=forced,
            bypassed=(Bypass.DEPENDENCIES.value,) if forced else (),
            unmet=unmet,
        )
        done = "it was fired with what is there"
    elif action is DeadlineAction.SKIP and not verdict.critical_met:
        why = f"deadline {clock(at)} passed: {'; '.join(unmet) or 'no input arrived'}"
        skip = Skip(reason=why, actor="deadline", at=draft.now)
        draft = draft._replace(execution=replace(draft.execution, skip=skip))
        draft = draft.remember("skipped", why, "deadline")
        done = "it was skipped"
    detail = "; ".join(unmet) or "every critical requirement is met"
    return _notify_deadline(draft, at, done, detail)


def note_overdue(draft: Draft, verdict: Verdict) -> Draft:
    """Flag a partition whose deadline has passed while nothing has ended well or been skipped."""
    overdue = draft.timers.overdue
    if draft.execution.skip is not None or verdict.off_day:
        overdue = False
    elif draft.execution.outcome is None:
        overdue = deadline_passed(draft)
    if overdue is draft.timers.overdue:
        return draft
    return draft._replace(timers=replace(draft.timers, overdue=overdue))


def _notify_deadline(draft: Draft, at: datetime, done: str, detail: str) -> Draft:
    subject = f"{draft.before.processor} {draft.before.game_date}"
    return draft.notify(
        "deadline",
        f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "warning",
        f"{subject} passed its deadline; {done}.",
        detail,
    )


def _deadline_due(draft: Draft) -> datetime | None:
    """The deadline's instant, where it has come and has not acted yet."""
    at = deadline_at(draft)
    if at is None or draft.now < at or draft.execution.outcome is not None:
        return None
    return None if draft.timers.deadline_over(at) else at


def _acts(draft: Draft, at: datetime, set_since: datetime | None) -> bool:
    """Whether an instant acts: none that a change of the registry put into the past does."""
    return acts(at, set_since, draft.policy.off_day_since if draft.no_games else None)


def _skips_its_date(draft: Draft) -> bool:
    """Whether the calendar has no games that date, and the processor skips such dates."""
    return draft.no_games and draft.policy.off_day is OffDay.SKIP


# ── schedules ────────────────────────────────────────────────────────────────────────────────


def pass_idle_instants(draft: Draft) -> Draft:
    """Mark schedule instants as passed that had nothing to do when they came.

    An instant acts on what was known then. Without this, data that comes later would find an old
    instant unused and fire at once.
    """
    if not draft.policy.schedule or draft.inputs.pauses or draft.inputs.windows_due:
        return draft
    due = _due_schedule(draft)
    if not due:
        return draft
    execution = draft.execution
    always = any(e.when is ScheduleWhen.ALWAYS for _, e in due)
    if _skips_its_date(draft):
        idle = True
    elif execution.live is not None:
        idle = not always
    elif execution.skip is not None or Flag.QUIET in draft.before.flags:
        idle = True
    elif execution.outcome is None:
        idle = draft.before.status in (Status.WAITING, Status.NOT_EXPECTED)
    elif always:
        verdict = draft.judged()
        # What its windows hold now is not known here: the instant acts by what is read of them.
        windows = draft.spec.windows and all(r.requirement.window for r in verdict.unmet)
        idle = not verdict.critical_met and not windows
    else:
        idle = execution.dirty_since is None
    return _close_schedule(draft, due) if idle else draft


def act_on_schedule(draft: Draft, verdict: Verdict) -> Draft:
    """Fire at a schedule's instant what is ready and has not run, or runs at every instant."""
    execution = draft.execution
    if not draft.policy.schedule or execution.live is not None or execution.skip is not None:
        return draft
    due = _due_schedule(draft)
    if not due:
        return draft
    draft = _close_schedule(draft, due)
    if verdict.off_day or not verdict.critical_met or verdict.quiet:
        return draft
    always = any(e.when is ScheduleWhen.ALWAYS for _, e in due)
    if not (always or execution.outcome is None or verdict.newer_ready):
        return draft
    if execution.outcome is not None and execution.refires >= draft.policy.max_refires:
        return notify_budget(draft, verdict)
    return fire(draft, verdict, Trigger.SCHEDULE)


def notify_budget(draft: Draft, verdict: Verdict) -> Draft:
    """Notify that a generation is due and that the re-fires are used up."""
    tables = ", ".join(verdict.changed_tables)
    what = f"newer data in {tables}" if tables else "its schedule is due"
    subject = f"{draft.before.processor} {draft.before.game_date}"
    return draft.notify(
        "refires_spent",
        f"{draft.before.processor}:{draft.before.game_date}:{draft.execution.generation}",
        "warning",
        f"{subject} has no re-fires left.",
        f"{what}; trigger it by hand, or reset it",
    )


def _due_schedule(draft: Draft) -> list[tuple[datetime, ScheduleEntry]]:
    """Schedule instants that have come and not acted yet."""
    after = draft.timers.schedule_done_at or draft.before.created_at
    found = (
        (instant(draft.before.game_date, e.at, draft.spec.timezone), e)
        for e in draft.policy.schedule
    )
    return [(at, e) for at, e in found if after < at <= draft.now and _acts(draft, at, e.set_since)]


def _close_schedule(draft: Draft, due: list[tuple[datetime, ScheduleEntry]]) -> Draft:
    done_at = max(at for at, _ in due)
    return draft._replace(timers=replace(draft.timers, schedule_done_at=done_at))


# ── when to wake ─────────────────────────────────────────────────────────────────────────────


def next_wake(draft: Draft, verdict: Verdict) -> datetime | None:
    """When time alone could next change the partition. It is always in the future."""
    execution = draft.execution
    run = execution.live
    instants = [verdict.wake_at] if verdict.wake_at is not None else []
    if run is not None or execution.skip is not None:
        # What holds a firing does not matter now; only what ends by itself does.
        instants = [w.until for w in draft.inputs.waivers if w.until and w.open_at(draft.now)]
    if run is not None and run.status is RunStatus.DELIVERED:
        assert run.current.delivered_at is not None
        instants.append(run.current.delivered_at + draft.policy.claim_timeout)
    elif run is not None and run.status is RunStatus.RUNNING:
        assert run.lease_expires_at is not None
        assert run.current.claimed_at is not None
        instants.append(run.lease_expires_at)
        instants.append(run.current.claimed_at + draft.policy.run_timeout)
    if execution.skip is None and not verdict.off_day:
        at = deadline_at(draft)
        if at is not None and execution.outcome is None:
            instants.append(at)
        if run is None and not draft.inputs.pauses:
            instants += _schedule_instants(draft)
    if draft.inputs.windows_due:
        instants.append(draft.now + AT_ONCE)
    return min((i for i in instants if i > draft.now), default=None)


def _schedule_instants(draft: Draft) -> Iterable[datetime]:
    """Schedule instants that would act on this partition as it is now."""
    execution = draft.execution
    for entry in draft.policy.schedule:
        due = execution.outcome is None or execution.dirty_since is not None
        if due or entry.when is ScheduleWhen.ALWAYS:
            yield instant(draft.before.game_date, entry.at, draft.spec.timezone)
