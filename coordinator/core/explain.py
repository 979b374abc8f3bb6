"""Sentences: what a verdict says to a person at three in the morning.

Owns the wording. Refuses to judge: every number in a sentence comes from the verdict.
"""

from __future__ import annotations

from datetime import datetime

from coordinator.core.model import LoadStatus, Partition, RunStatus, Status, Waiver
from coordinator.core.readiness import (
    Hold,
    HoldKind,
    RequirementVerdict,
    SourceVerdict,
    State,
    Verdict,
    listed,
)
from coordinator.core.spec import ProcessorSpec, RequirementKind


def clock(at: datetime) -> str:
    """An instant for a sentence, in UTC, to the second."""
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


def source_sentence(source: SourceVerdict, *, opening: bool = False) -> str:
    """One table's state. ``opening`` words it to follow "Waiting for"."""
    has = ":" if opening else " has"
    name = source.table
    match source.state:
        case State.MISSING:
            return f"{name}: no load yet for {source.game_date}"
        case State.FAILED:
            load = source.last_failure
            how = "was skipped" if load and load.status is LoadStatus.SKIPPED else "failed"
            at = f" at {clock(load.timestamp)}" if load else ""
            return f"{name}: no load for {source.game_date} succeeded; the last {how}{at}"
        case State.EMPTY:
            return f"{name}: loaded with no rows for {source.game_date}"
        case State.INCOMPLETE:
            games = f"{source.games_loaded} of {source.games_expected} games"
            return f"{name}{has} {games}, missing {listed(source.missing_games)}"
        case State.SHORT if source.record_count is None:
            return f"{name}{has} an unknown number of rows where {source.minimum} are needed"
        case State.SHORT:
            return f"{name}{has} {source.record_count} of at least {source.minimum} rows"
        case State.STALE:
            at = f" (loaded {clock(source.oldest)})" if source.oldest else ""
            return f"{name}: too old for a first run{at}; reload {name} for {source.game_date}"
        case State.WAIVED if source.waiver is not None:
            return f"{name} is {waiver_words(source.waiver)}"
        case State.NOT_EXPECTED:
            return f"{name} is not expected: no games on {source.game_date}"
        case State.AGING:
            at = f" since {clock(source.oldest)}" if source.oldest else ""
            return f"{name} is ready but aging{at}"
    rows = "" if source.record_count is None else f", {source.record_count} rows"
    if source.games_expected and source.games_loaded:
        return f"{name} has {source.games_loaded} of {source.games_expected} games{rows}"
    return f"{name} is ready{rows}"


def waiver_words(waiver: Waiver) -> str:
    until = f" until {clock(waiver.until)}" if waiver.until else " until its data comes"
    return f"waived by {waiver.actor}{until}: {waiver.reason}"


def requirement_sentence(verdict: RequirementVerdict, *, opening: bool = False) -> str:
    """One requirement's state, whatever its kind."""
    requirement = verdict.requirement
    if requirement.kind is RequirementKind.WINDOW:
        return _window_sentence(verdict)
    if len(verdict.sources) == 1 and requirement.kind is RequirementKind.TABLE:
        return source_sentence(verdict.sources[0], opening=opening)
    if verdict.met and verdict.state is State.WAIVED:
        waived = next(s for s in verdict.sources if s.state is State.WAIVED)
        return source_sentence(waived)
    if requirement.kind is RequirementKind.ANY_OF and verdict.met:
        used = next((s for s in verdict.sources if s.table in verdict.used), verdict.sources[0])
        return source_sentence(used)
    details = "; ".join(source_sentence(s) for s in verdict.sources)
    if requirement.kind is RequirementKind.ANY_OF:
        return f"any of {', '.join(requirement.sources)} ({details})"
    met = sum(s.met for s in verdict.sources)
    names = ", ".join(requirement.sources)
    words = f"at least {requirement.needed} of {names}"
    return f"{words} ({met} ready: {details})"


def _window_sentence(verdict: RequirementVerdict) -> str:
    requirement = verdict.requirement
    window, table = requirement.window, requirement.sources[0]
    assert window is not None
    if verdict.state is State.WAIVED:
        return source_sentence(verdict.sources[0])
    span = (
        f"the last {window.game_dates} game dates"
        if window.game_dates is not None
        else f"the {window.days} days before"
    )
    if not verdict.days:
        if verdict.met:
            return f"{table}: {span} hold no known game dates, so there is nothing to wait for"
        return (
            f"{table}: no game dates are known in {span}; "
            "say calendar.known_from in the registry, or load the calendar"
        )
    ready = sum(d.met for d in verdict.days)
    missing = [d.game_date for d in verdict.days if not d.met]
    words = f"{table} is ready on {ready} of {len(verdict.days)} game dates in {span}"
    if verdict.met:
        return words
    return f"{words}, {verdict.days_needed} needed, not on {listed(missing)}"


def hold_sentence(hold: Hold) -> str:
    until = f" until {clock(hold.until)}" if hold.until else ""
    match hold.kind:
        case HoldKind.GRACE:
            return f"grace{until} for the optional {hold.detail}"
        case HoldKind.PREFER:
            return f"the preferred source {hold.detail} is waited for{until}"
        case HoldKind.DEBOUNCE:
            return f"loads are still coming in; quiet time{until}"
        case HoldKind.NOT_BEFORE:
            return f"not before {clock(hold.until)}" if hold.until else "not yet"
        case HoldKind.COOLDOWN:
            return f"cooldown{until}"
        case HoldKind.QUIET:
            return (
                "the latest load was announced quiet; "
                "an ordinary load or a person's trigger releases it"
            )
        case HoldKind.PAUSE:
            return f"paused by {hold.detail}"
    return f"the budget of {hold.detail} is spent; trigger it by hand, or reset it"


def why(partition: Partition, spec: ProcessorSpec, verdict: Verdict) -> str:
    """One plain sentence: why the partition is where it is."""
    live = partition.live
    match partition.status:
        case Status.WAITING:
            return _waiting(verdict)
        case Status.SETTLING if partition.revision == 0 and not verdict.holds:
            return (
                "Everything critical is there; "
                f"it fires as soon as a load or the calendar names {partition.game_date}."
            )
        case Status.SETTLING:
            holds = "; ".join(hold_sentence(h) for h in verdict.holds)
            return f"Everything critical is there; held: {holds or 'due now'}."
        case Status.FIRING if live is not None:
            if live.attempt > 1:
                lost = live.attempts[-2].error or "lost"
                return (
                    f"Attempt {live.attempt} of {spec.policy.attempts} of run {live.run_id} starts "
                    f"at {clock(live.current.launch_at)}; the one before: {lost}."
                )
            return f"Run {live.run_id} was decided at {clock(live.fired_at)}; being delivered.{_by(partition)}"
        case Status.FIRED if live is not None:
            at = live.current.delivered_at or live.fired_at
            return f"Run {live.run_id} was delivered at {clock(at)}; nobody has claimed it yet.{_by(partition)}"
        case Status.RUNNING if live is not None:
            at = live.current.claimed_at or live.fired_at
            return f"Run {live.run_id} is running since {clock(at)} on {live.current.owner}.{_by(partition)}"
        case Status.SUCCEEDED | Status.COOLING:
            return _done(partition, verdict)
        case Status.FAILED if partition.outcome is not None:
            outcome = partition.outcome
            tries = "1 attempt" if outcome.attempt == 1 else f"{outcome.attempt} attempts"
            return (
                f"Failed at {clock(outcome.at)} after {tries}: {outcome.error}."
                f"{_newer(verdict)} Trigger or reset it, or wait for newer data."
            )
        case Status.SKIPPED if partition.skip is not None:
            skip = partition.skip
            return f"Skipped by {skip.actor} at {clock(skip.at)}: {skip.reason}."
        case Status.NOT_EXPECTED:
            return f"The calendar has no games on {partition.game_date}, so nothing is expected."
    return f"{partition.status.value}."


def _waiting(verdict: Verdict) -> str:
    unmet = [r for r in verdict.requirements if r.requirement.critical and not r.met]
    if not unmet:
        names = ", ".join(r.key for r in verdict.requirements)
        return f"Waiting for a first load of any of: {names}."
    words = [requirement_sentence(r, opening=i == 0) for i, r in enumerate(unmet)]
    return f"Waiting for {'; '.join(words)}."


def _done(partition: Partition, verdict: Verdict) -> str:
    outcome = partition.outcome
    assert outcome is not None
    how = {
        RunStatus.SUCCESS: "Succeeded",
        RunStatus.NO_DATA: "Ran and found no data",
        RunStatus.SKIPPED: "The run said it had nothing to do",
    }.get(outcome.status, outcome.status.value.capitalize())
    rows = f" with {outcome.record_count} rows" if outcome.record_count is not None else ""
    return f"{how} at {clock(outcome.at)}{rows} (generation {outcome.generation}).{_newer(verdict)}"


def _newer(verdict: Verdict) -> str:
    if not verdict.dirty:
        return ""
    tables = ", ".join(dict.fromkeys(d.table for d in verdict.dirty))
    words = f" Newer data in {tables}"
    if not verdict.critical_met:
        unmet = [r for r in verdict.requirements if r.requirement.critical and not r.met]
        return f"{words} is not ready: {'; '.join(requirement_sentence(r) for r in unmet)}."
    if not verdict.newer_ready:
        return f"{words} is not ready yet."
    holds = "; ".join(hold_sentence(h) for h in verdict.holds)
    return f"{words} is ready; held: {holds}." if holds else f"{words} is ready."


def _by(partition: Partition) -> str:
    """Who overrode what, where somebody did (law 6)."""
    run = partition.live
    if run is None or not (run.bypassed or run.actor):
        return ""
    over = f" bypassing {', '.join(run.bypassed)}" if run.bypassed else ""
    return f" Asked for by {run.actor}{over}: {run.reason}." if run.actor else f" Forced{over}."
