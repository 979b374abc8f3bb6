"""Sentences that explain a verdict to a person at three in the morning.

Owns the wording. Refuses to judge: every number in a sentence comes from the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from coordinator.core.arrivals import LoadStatus
from coordinator.core.choices import RunStatus
from coordinator.core.effects import announce_id, launch_id
from coordinator.core.model import Flag, OutboxEntry, Partition, Run, Status, Waiver
from coordinator.core.schedule import instant
from coordinator.core.spec import ProcessorSpec, RequirementKind
from coordinator.core.verdict import (
    Hold,
    HoldKind,
    RequirementVerdict,
    SourceVerdict,
    State,
    Verdict,
)
from coordinator.core.words import counted, listed, words_for


def clock(at: datetime) -> str:
    """An instant for a sentence, in UTC, to the second."""
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


def source_sentence(source: SourceVerdict, *, opening: bool = False) -> str:
    """One table's state. ``opening`` words it to follow "Waiting for"."""
    has = ":" if opening else " has"
    name = source.table
    if source.producer is not None and not source.met:
        name = f"{name} (written by {source.producer})"
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
        case State.INCOMPLETE if source.in_part and not source.missing_games:
            rows = "" if source.record_count is None else f" ({source.record_count} rows)"
            return (
                f"{name}: a part of {source.game_date} is loaded{rows}, and the partial load does "
                "not name every game"
            )
        case State.INCOMPLETE:
            games = f"{source.games_loaded} of {source.games_expected} games"
            return f"{name}{has} {games}, missing {listed(source.missing_games)}"
        case State.SHORT if source.record_count is None:
            return f"{name}{has} an unknown number of rows where {source.minimum} are needed"
        case State.SHORT:
            return f"{name}{has} {source.record_count} of at least {source.minimum} rows"
        case State.STALE:
            return f"{name}: too old for a first run{_age(source)}; reload {source.table} for {source.game_date}"
        case State.WAIVED if source.waiver is not None:
            return f"{name} is {waiver_words(source.waiver)}"
        case State.NOT_EXPECTED:
            return f"{name} is not expected: no games on {source.game_date}"
        case State.AGING:
            at = f", loaded {clock(source.oldest)}" if source.oldest else ""
            return f"{name} is ready but aging{at}"
    rows = "" if source.record_count is None else f", {source.record_count} rows"
    if source.games_expected and source.games_loaded:
        return f"{name} has {source.games_loaded} of {source.games_expected} games{rows}"
    return f"{name} is ready{rows}"


def _age(source: SourceVerdict) -> str:
    """When a stale source was loaded, and how old it may be."""
    assert source.oldest is not None
    assert source.stale_at is not None
    assert source.age is not None
    limit = words_for(source.stale_at - source.oldest)
    return f" (loaded {clock(source.oldest)}, {words_for(source.age)} ago; at most {limit})"


def waiver_words(waiver: Waiver) -> str:
    until = f" until {clock(waiver.until)}" if waiver.until else " until its data comes"
    return f"waived by {waiver.actor}{until}: {waiver.reason}"


def requirement_sentence(verdict: RequirementVerdict, *, opening: bool = False) -> str:
    """One requirement's state, whatever its kind."""
    requirement = verdict.requirement
    if requirement.kind is RequirementKind.WINDOW:
        return _window_sentence(verdict, opening=opening)
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


def unmet_sentences(verdict: Verdict) -> tuple[str, ...]:
    """One sentence for each critical requirement that is not met."""
    return tuple(requirement_sentence(r) for r in verdict.unmet)


def _window_sentence(verdict: RequirementVerdict, *, opening: bool) -> str:
    requirement = verdict.requirement
    window, table = requirement.window, requirement.sources[0]
    assert window is not None
    if verdict.state is State.WAIVED:
        return source_sentence(verdict.sources[0])
    known, before = verdict.window, f"the {counted(window.days or 0, 'day')} before"
    if known is None or not known.dates:
        span = before if window.days else f"the last {counted(window.game_dates or 0, 'game date')}"
        if known is None:
            return f"{table}: {span} have not been evaluated yet"
        if verdict.met:
            return f"{table}: {span} hold no known game dates, so there is nothing to wait for"
        return (
            f"{table}: no game dates are known in {span}; "
            "say calendar.known_from in the registry, or load the calendar"
        )
    last = "last " if window.game_dates is not None else ""
    of = f"{known.ready} of the {last}{counted(known.dates, 'game date')}"
    of = of if window.game_dates is not None else f"{of} in {before}"
    if verdict.met:
        return f"{table} is ready on {of}"
    missing = listed(known.unmet, of=known.dates - known.ready)
    if opening:
        return f"{table} on {missing}: ready on {of}, {verdict.days_needed} needed"
    return f"{table} is ready on {of}, {verdict.days_needed} needed, not on {missing}"


def launch_warnings(
    verdict: Verdict, spec: ProcessorSpec, game_date: str, games: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """What a careful runner should know of a run's inputs (specification 6, ``warnings``)."""
    found = []
    if verdict.off_day:
        found.append(f"the calendar has no games on {game_date}")
    elif spec.calendar_table is not None and game_date not in games:
        found.append(f"the calendar does not know {game_date}")
    for r in verdict.requirements:
        preferred = r.requirement.sources[0]
        if not r.met and r.requirement.critical:
            found.append(f"critical and not met: {requirement_sentence(r)}")
        elif not r.met:
            found.append(f"optional and not met: {requirement_sentence(r)}")
        elif r.state is State.WAIVED and len(r.used) < r.requirement.needed:
            found.append(f"waived and not met: {requirement_sentence(r)}")
        elif r.requirement.kind is RequirementKind.ANY_OF and r.used[:1] not in ((), (preferred,)):
            words = source_sentence(r.sources[0])
            found.append(f"{r.used[0]} is used in place of the preferred {preferred} ({words})")
    return tuple(dict.fromkeys([*found, *verdict.warnings]))


def hold_sentence(hold: Hold) -> str:
    until = f" until {clock(hold.until)}" if hold.until else ""
    match hold.kind:
        case HoldKind.GRACE:
            return f"grace{until} for the optional {hold.detail}"
        case HoldKind.PREFER:
            return f"waiting for the preferred source {hold.detail}{until}"
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
        case HoldKind.BUDGET:  # pragma: no branch - mypy checks that none is missing
            return f"the budget of {hold.detail} is spent; trigger it by hand, or reset it"


def why(
    partition: Partition, spec: ProcessorSpec, verdict: Verdict, *, behind: int | None = None
) -> str:
    """One plain sentence: why the partition is where it is, and since when it is overdue.

    ``behind`` is how many launches are before its own where that waits for a free worker.
    """
    words = _why(partition, spec, verdict, behind)
    deadline = spec.policy.deadline
    if deadline is None or Flag.OVERDUE not in partition.flags:
        return words
    return (
        f"{words} Overdue since {clock(instant(partition.game_date, deadline.at, spec.timezone))}."
    )


def _why(partition: Partition, spec: ProcessorSpec, verdict: Verdict, behind: int | None) -> str:
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
            return f"{_firing(partition, live, spec, verdict, behind)}{_by(partition)}"
        case Status.FIRED if live is not None:
            at = live.current.delivered_at or live.fired_at
            return f"Run {live.run_id} was delivered at {clock(at)}; nobody has claimed it yet.{_by(partition)}"
        case Status.RUNNING if live is not None:
            at = live.current.claimed_at or live.fired_at
            return f"Run {live.run_id} has been running since {clock(at)} on {live.current.owner}.{_by(partition)}"
        case Status.SUCCEEDED | Status.COOLING:
            return _done(partition, verdict)
        case Status.FAILED if partition.outcome is not None:
            outcome = partition.outcome
            tries, error = counted(outcome.attempt, "attempt"), ended(outcome.error or "")
            advice = "Trigger or reset it."
            if not verdict.refires_spent:
                advice = "Trigger or reset it, or wait for newer data."
            return f"Failed at {clock(outcome.at)} after {tries}: {error}{_newer(verdict)} {advice}"
        case Status.SKIPPED if partition.skip is not None:
            skip = partition.skip
            return f"Skipped by {skip.actor} at {clock(skip.at)}: {ended(skip.reason)}"
        case Status.NOT_EXPECTED:
            return f"The calendar has no games on {partition.game_date}, so nothing is expected."
    return f"{partition.status.value}."


def _firing(
    partition: Partition, run: Run, spec: ProcessorSpec, verdict: Verdict, behind: int | None
) -> str:
    """The launch that is committed: what keeps it from being delivered, or what it waits for."""
    launch = undelivered(partition, launch_id(run.run_id, run.attempt))
    if run.attempt == 1:
        words = f"Run {run.run_id} was decided at {clock(run.fired_at)}"
    else:
        starts = "starts" if launch is None and behind is None else "was due"
        words = (
            f"Attempt {run.attempt} of {spec.policy.attempts} of run {run.run_id} {starts} "
            f"at {clock(run.current.launch_at)}"
        )
    if launch is not None:
        return f"{words}; its launch could not be delivered in {tried(launch, verdict)}"
    if behind is not None:
        place = f"behind {counted(behind, 'other')}" if behind else "the next in the queue"
        words = f"{words}; it waits for a free worker, {place}"
    elif run.attempt == 1:
        words = f"{words}; being delivered"
    if run.attempt == 1:
        return f"{words}."
    return f"{words}; the one before: {ended(run.attempts[-2].error or 'lost')}"


def undelivered(partition: Partition, effect_id: str) -> OutboxEntry | None:
    """The outbox entry of an effect whose delivery has failed; None where none has."""
    return next((e for e in partition.outbox if e.effect_id == effect_id and e.tries), None)


def tried(entry: OutboxEntry, verdict: Verdict) -> str:
    """How many deliveries of an effect failed, why, when the next is due and what to do."""
    following = (
        f"Next try {clock(entry.due_at)}." if entry.due_at > verdict.at else "Tried again now."
    )
    return (
        f"{counted(entry.tries, 'try', 'tries')}: {ended(entry.last_error or 'no error was given')} "
        f"{following} Fix the target; no other action is needed."
    )


def ended(words: str) -> str:
    """Words that somebody else wrote, with one mark at their end."""
    words = words.rstrip()
    return words if words.endswith((".", "!", "?")) else f"{words}."


def fired(run: Run) -> str:
    """What a run was fired by: the trigger, what was newer, and what was overridden."""
    words = [f"Fired by {run.trigger.value}"]
    if run.changed_tables:
        words = [f"{words[0]}: newer data in {listed(run.changed_tables)}"]
    if run.bypassed:
        words.append(f"bypassing {', '.join(run.bypassed)}")
    if run.skip_downstream:
        words.append("announced quietly")
    return f"{'; '.join(words)}."


def _waiting(verdict: Verdict) -> str:
    if not verdict.unmet:
        names = ", ".join(r.key for r in verdict.requirements)
        return f"Waiting for a first load of any of: {names}."
    words = [requirement_sentence(r, opening=i == 0) for i, r in enumerate(verdict.unmet)]
    return f"Waiting for {'; '.join(words)}."


def upstream(verdict: Verdict, spec: ProcessorSpec) -> tuple[tuple[str, str], ...]:
    """The (processor, game date) that would write what the critical requirements lack.

    Of a window it is the newest date that is not ready.
    """
    found: dict[tuple[str, str], None] = {}
    for r in verdict.requirements:
        if r.met or not r.requirement.critical:
            continue
        lacking = [(s.table, s.game_date) for s in r.sources if not s.met]
        if r.window is not None and r.window.newest_unmet is not None:
            lacking.append((r.requirement.sources[0], r.window.newest_unmet))
        for table, date in lacking:
            if table in spec.producers:
                found[spec.producers[table], date] = None
    return tuple(found)


def upstream_sentence(producer: Partition) -> str:
    """The status of a processor whose output another waits for, and the command that explains it."""
    name, live = producer.processor, producer.live
    words = _STATUS_WORDS[producer.status]
    if live is not None and undelivered(producer, launch_id(live.run_id, live.attempt)):
        words = f"{words} (its launch cannot be delivered)"
    elif undelivered(producer, announce_id(producer.run_id or "")):
        words = f"{words} (its output cannot be announced)"
    elif Flag.PAUSED in producer.flags and live is None:
        words = f"{words} (paused)"
    return f"{name} {words}. See: coordinator why {name} {producer.game_date}."


_STATUS_WORDS = {
    Status.WAITING: "is waiting",
    Status.SETTLING: "is settling",
    Status.FIRING: "is firing",
    Status.FIRED: "was launched and is not claimed yet",
    Status.RUNNING: "is running",
    Status.SUCCEEDED: "succeeded",
    Status.COOLING: "succeeded",
    Status.FAILED: "failed",
    Status.SKIPPED: "was skipped",
    Status.NOT_EXPECTED: "is not expected",
}


def _done(partition: Partition, verdict: Verdict) -> str:
    outcome = partition.outcome
    assert outcome is not None
    how = {
        RunStatus.SUCCESS: "Succeeded",
        RunStatus.NO_DATA: "Ran and found no data",
        RunStatus.SKIPPED: "The run reported that it had nothing to do",
    }.get(outcome.status, outcome.status.value.capitalize())
    rows = f" with {outcome.record_count} rows" if outcome.record_count is not None else ""
    words = f"{how} at {clock(outcome.at)}{rows} (generation {outcome.generation})."
    announcing = undelivered(partition, announce_id(partition.run_id or ""))
    if announcing is not None:
        words = f"{words} Its output could not be announced in {tried(announcing, verdict)}"
    return f"{words}{_newer(verdict)}"


def _newer(verdict: Verdict) -> str:
    if not verdict.dirty:
        return ""
    tables = ", ".join(verdict.changed_tables)
    words = f" Newer data in {tables}"
    if not verdict.critical_met:
        return f"{words} is not ready: {'; '.join(unmet_sentences(verdict))}."
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
    if not run.actor:
        return f" Forced{over}."
    return f" Triggered by {run.actor}{over}: {ended(run.reason or 'no reason was given')}"
