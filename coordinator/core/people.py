"""What people do to a partition: trigger, skip, reset, and waive requirements.

Owns what each of these does and when it is refused, and how waivers end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from coordinator.core import runs, timers
from coordinator.core.choices import Bypass
from coordinator.core.draft import Draft
from coordinator.core.explain import unmet_sentences
from coordinator.core.facts import (
    Reply,
    Requested,
    ResetRequested,
    SkipRequested,
    WaiverGranted,
    WaiverLifted,
)
from coordinator.core.firing import fire
from coordinator.core.model import Execution, Run, Skip, Trigger, Waiver
from coordinator.core.verdict import MET, Verdict

WAIVERS_LIMIT = 50

Answer = tuple[Draft, Reply]


def requested(draft: Draft, fact: Requested) -> Answer:
    """Fire now, unless a rule that is not bypassed forbids it (specification 5.4)."""
    if draft.live is not None:
        return draft, _live_run(
            draft.live, "wait for its end, or reset the partition to end its lease."
        )
    freshness = draft.execution.generation == 0 and fact.trigger is not Trigger.BACKFILL
    ruled = verdict = draft.judged(freshness=freshness)
    if freshness and Bypass.FRESHNESS in fact.bypass:
        verdict = draft.judged(freshness=False)
    problems = _problems(draft, fact, verdict)
    if problems:
        return draft, Reply(ok=False, code="not_ready", detail="; ".join(problems))
    draft = fire(
        draft,
        verdict,
        fact.trigger,
        forced=ruled.off_day or not ruled.critical_met or bool(draft.inputs.pauses),
        bypassed=tuple(sorted(b.value for b in fact.bypass)),
        unmet=unmet_sentences(ruled),
        reason=fact.reason,
        actor=fact.actor,
        skip_downstream=fact.skip_downstream,
        ruled=ruled,
    )
    return draft, Reply(run=draft.live)


def _problems(draft: Draft, fact: Requested, verdict: Verdict) -> list[str]:
    """The rules that a request neither meets nor bypasses."""
    problems = []
    if Bypass.DEPENDENCIES not in fact.bypass:
        if verdict.off_day:
            date = draft.before.game_date
            problems.append(f"the calendar has no games on {date} (bypass: dependencies)")
        elif not verdict.critical_met:
            what = "; ".join(unmet_sentences(verdict)) or "no input has arrived"
            problems.append(f"not ready: {what} (bypass: dependencies)")
    if draft.inputs.pauses and Bypass.PAUSE not in fact.bypass:
        problems.append(f"paused by {draft.inputs.pauses[0].actor} (bypass: pause)")
    return problems


def _live_run(run: Run, what_to_do: str) -> Reply:
    detail = f"Run {run.run_id} is {run.status.value}; {what_to_do}"
    return Reply(ok=False, code="live_run", detail=detail, run=run)


def skip_requested(draft: Draft, fact: SkipRequested) -> Answer:
    """It need not run; data does not change that."""
    run = draft.live
    if run is not None:
        if not fact.end_run:
            return draft, _live_run(run, "say end_run to end its lease and skip.")
        draft = runs.cancel(draft, run, fact.actor, f"skipped: {fact.reason}")
    skip = Skip(reason=fact.reason, actor=fact.actor, at=draft.now)
    draft = draft._replace(
        execution=replace(draft.execution, skip=skip),
        timers=replace(draft.timers, overdue=False),
    )
    return draft.remember("skipped", fact.reason, fact.actor), Reply()


def reset_requested(draft: Draft, fact: ResetRequested) -> Answer:
    """Judge it as if nothing had run: no outcome, no skip, no cooldown, a full budget."""
    execution = draft.execution
    untouched = execution.live is None and execution.outcome is None and execution.skip is None
    if not untouched and timers.deadline_passed(draft):
        draft = timers.close_deadline(draft)  # it acted, or found nothing to do, at its instant
    if execution.live is not None:
        draft = runs.cancel(draft, execution.live, fact.actor, f"reset: {fact.reason}")
    # What acted stays done, also where the clock was set back since.
    schedule_done_at = max(draft.timers.schedule_done_at or draft.now, draft.now)
    draft = draft._replace(
        execution=Execution(generation=execution.generation),
        inputs=replace(draft.inputs, latest=None, committed=()),
        timers=replace(draft.timers, schedule_done_at=schedule_done_at),
    )
    return draft.remember("reset", fact.reason, fact.actor), Reply()


# ── waivers ──────────────────────────────────────────────────────────────────────────────────


def waiver_granted(draft: Draft, fact: WaiverGranted) -> Answer:
    """The requirements on a table need not be met, until an instant or until its data comes."""
    if fact.table not in draft.spec.named_tables():
        detail = f"No requirement of {draft.before.processor} names {fact.table}."
        return draft, Reply(ok=False, code="unknown", detail=detail)
    waiver = Waiver(
        table=fact.table, reason=fact.reason, actor=fact.actor, at=draft.now, until=fact.until
    )
    draft = _close(draft, {fact.table: "replaced by a newer waiver"})
    still_open = [w for w in draft.inputs.waivers if w.closed_at is None]
    closed = [w for w in draft.inputs.waivers if w.closed_at is not None]
    kept = closed[-max(1, WAIVERS_LIMIT - 1 - len(still_open)) :]  # an open one is never cut
    draft = _with(draft, (*kept, *still_open, waiver))
    return draft.remember("waived", f"{fact.table}: {fact.reason}", fact.actor), Reply()


def waiver_lifted(draft: Draft, fact: WaiverLifted) -> Answer:
    """A waiver is taken back."""
    if not any(w.table == fact.table and w.open_at(draft.now) for w in draft.inputs.waivers):
        detail = f"No open waiver of {fact.table} on this partition."
        return draft, Reply(ok=False, code="unknown", detail=detail)
    draft = _close(draft, {fact.table: f"lifted by {fact.actor}: {fact.reason}"})
    return draft.remember("waiver lifted", f"{fact.table}: {fact.reason}", fact.actor), Reply()


def expire_waivers(draft: Draft) -> Draft:
    """Close the waivers whose time is over."""
    now = draft.now
    expired = [
        w
        for w in draft.inputs.waivers
        if w.closed_at is None and w.until is not None and w.until <= now
    ]
    for waiver in expired:
        over = replace(waiver, closed_at=waiver.until, closed_because="its time is over")
        draft = _with(draft, tuple(over if w is waiver else w for w in draft.inputs.waivers))
        draft = draft.remember("waiver over", waiver.table)
    return draft


def close_met_waivers(draft: Draft, verdict: Verdict) -> Draft:
    """Close the waivers without an end whose data has come."""
    unwaived: dict[str, list[bool]] = {}
    for r in verdict.requirements:
        for s in r.sources:
            if s.waiver is not None and s.waiver.until is None:
                unwaived.setdefault(s.table, []).append(s.unwaived_state in MET)
    met = {t: "its data came" for t, states in unwaived.items() if all(states)}
    if not met:
        return draft
    draft = _close(draft, met)
    for table in met:
        draft = draft.remember("waiver over", f"{table}: its data came")
    return draft


def _close(draft: Draft, because: Mapping[str, str]) -> Draft:
    """Close the open waivers of these tables; ``because`` maps a table to the reason."""
    waivers = tuple(
        replace(w, closed_at=draft.now, closed_because=because[w.table])
        if w.table in because and w.open_at(draft.now)
        else w
        for w in draft.inputs.waivers
    )
    return _with(draft, waivers)


def _with(draft: Draft, waivers: tuple[Waiver, ...]) -> Draft:
    return draft._replace(inputs=replace(draft.inputs, waivers=waivers))
