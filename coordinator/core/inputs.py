"""What is learned of a partition's inputs: loads, its calendar, its windows and pauses.

Owns how such facts enter a draft. Refuses to judge what they mean (see ``readiness``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from coordinator.core import timers
from coordinator.core.arrivals import Arrival, TableDate, arrivals_key, load_key
from coordinator.core.draft import Draft
from coordinator.core.facts import Loaded, Surveyed
from coordinator.core.memo import by_identity
from coordinator.core.model import Inputs, Latest, WindowDay, WindowState
from coordinator.core.newer import newer_after
from coordinator.core.spec import OffDay
from coordinator.core.verdict import State, Verdict
from coordinator.core.windows import window_state


def loaded(draft: Draft, fact: Loaded) -> Draft:
    """Record a load of a table that a requirement names."""
    inputs, after = draft.inputs, fact.table_date
    key = arrivals_key(after.table, after.game_date)
    before = inputs.arrivals.get(key)
    arrivals = {**inputs.arrivals, key: after}
    new = [a for a in (*_missed(before, fact), fact.arrival) if a.informs]
    latest = inputs.latest
    for load in new:
        later = latest is None or latest.received_at <= load.received_at
        # A clock that is behind, or stepped back, must not leave a quiet one the latest for ever.
        releases = latest is not None and latest.quiet and not load.quiet
        if later or releases:
            latest = Latest.of(load)
    if new:
        known = frozenset().union(*map(_load_keys, arrivals.values()))
        kept = [k for k in inputs.committed if k in known]
        committed = (*kept, *[load_key(key, load.event_id) for load in new])
        inputs = replace(inputs, arrivals=arrivals, latest=latest, committed=committed)
    else:
        inputs = replace(inputs, arrivals=arrivals)
    return draft._replace(inputs=inputs)


def _missed(before: TableDate | None, fact: Loaded) -> list[Arrival]:
    """The loads that an instance under another registry recorded without this partition."""
    known, after = before.arrivals if before is not None else {}, fact.table_date.arrivals
    missed = after.keys() - known.keys()
    missed.discard(fact.arrival.event_id)
    if not missed:
        return []
    return sorted([a for e, a in after.items() if e in missed], key=lambda a: a.received_at)


def surveyed(draft: Draft, fact: Surveyed) -> Draft:
    """Record what surrounds the partition: calendar, windows, pauses and, if given, all loads."""
    off_day = draft.no_games and (
        draft.policy.off_day is OffDay.SKIP or timers.deadline_at(draft) is None
    )
    if (fact.games, fact.pauses) != (draft.inputs.games, draft.inputs.pauses):
        inputs = replace(draft.inputs, games=fact.games, pauses=fact.pauses)
        draft = draft._replace(inputs=inputs)
    if fact.windows is not None:
        draft = _evaluated(draft, fact.windows)
    elif fact.windows_later:
        inputs = replace(draft.inputs, window_states={}, windows_due=True)
        draft = draft._replace(inputs=inputs)
    if off_day and not draft.no_games and timers.deadline_passed(draft):
        draft = timers.close_deadline(draft)  # first expected after its deadline: only overdue
    if fact.arrivals is not None:
        if fact.arrivals != draft.inputs.arrivals:
            draft = _refilled(draft, fact.arrivals)
        draft = _note_new_requirements(draft, fact.registry_since)
    return draft


def _evaluated(draft: Draft, days: Mapping[str, tuple[WindowDay, ...]]) -> Draft:
    """Record the dates of its windows. What nothing depends on is no change worth a write."""
    known = draft.inputs.window_states
    states: dict[str, WindowState] = {}
    for requirement in draft.spec.windows:
        key = requirement.key
        dates = days.get(key, ())
        now = window_state(requirement, dates, draft.spec, draft.before.created_at)
        before = known.get(key)
        same = before is not None and (before.met, before.since) == (now.met, now.since)
        states[key] = before if before is not None and same else now
    inputs = draft.inputs
    if states != known or inputs.windows_due:
        inputs = replace(inputs, window_states=states, windows_due=False)
    return draft._replace(inputs=inputs, days=days)


def _refilled(draft: Draft, arrivals: Mapping[str, TableDate]) -> Draft:
    """Take every input from the ledger."""
    inputs = replace(draft.inputs, arrivals=dict(arrivals))
    if draft.execution.generation == 0:
        received = (t.latest for t in arrivals.values())
        newest = max((a for a in received if a), key=lambda a: a.received_at, default=None)
        latest = None if newest is None else Latest.of(newest)
    else:
        inputs = replace(inputs, committed=_with_unnoticed(draft, inputs.arrivals))
        latest = _last_that_counts(inputs)
    return draft._replace(inputs=replace(inputs, latest=latest))


def _with_unnoticed(draft: Draft, ledger: Mapping[str, TableDate]) -> tuple[str, ...]:
    """The loads in the order of their commits, with those recorded without the partition.

    Such as while no registry in use had its processor. Of their place only the receipt is known.
    """
    known = draft.inputs.arrivals
    received = {k: a.received_at for k, a in (_loads(known) | _loads(ledger)).items()}
    committed = list(draft.inputs.committed)
    for key, since in _noticed_until(draft, ledger).items():
        for load in ledger[key].arrivals.values():
            name, at = load_key(key, load.event_id), load.received_at
            if at <= since or name in committed:
                continue
            later = (n for n, k in enumerate(committed) if received.get(k, at) > at)
            committed.insert(next(later, len(committed)), name)
    return tuple(committed)


def _noticed_until(draft: Draft, ledger: Mapping[str, TableDate]) -> dict[str, datetime]:
    """The receipt up to which the loads of each table and date are known or consumed."""
    found: dict[str, datetime] = {}
    for key in ledger:
        known = draft.inputs.arrivals.get(key)
        latest = None if known is None else known.latest
        since = draft.execution.consumed_at if latest is None else latest.received_at
        if since is not None:
            found[key] = since
    return found


def _note_new_requirements(draft: Draft, since: datetime | None) -> Draft:
    """Note from when on loads are newer data to requirements that a registry brought."""
    noted = newer_after(draft, draft.spec, since)
    if noted == draft.execution.newer_after:
        return draft
    return draft._replace(execution=replace(draft.execution, newer_after=noted))


def _last_that_counts(inputs: Inputs) -> Latest | None:
    """Of the loads that no generation has consumed, the last of a table that is required."""
    counts = {key: Latest.of(load) for key, load in _loads(inputs.arrivals).items()}
    latest = inputs.latest
    if latest is not None:  # it may be one that is not kept
        counts |= {load_key(key, latest.event_id): latest for key in inputs.arrivals}
    return next((counts[key] for key in reversed(inputs.committed) if key in counts), None)


@by_identity
def _load_keys(known: TableDate) -> frozenset[str]:
    """The ``load_key`` of every load of a table's date."""
    key = arrivals_key(known.table, known.game_date)
    return frozenset([load_key(key, event_id) for event_id in known.arrivals])


def _loads(arrivals: Mapping[str, TableDate]) -> dict[str, Arrival]:
    """Every load that is known, by its ``load_key``."""
    return {load_key(key, e): a for key, t in arrivals.items() for e, a in t.arrivals.items()}


def note_met(draft: Draft, verdict: Verdict) -> Draft:
    """Keep, per source, since when it has been met; forget it once it is not."""
    known: dict[str, datetime] = {}
    for r in verdict.requirements:
        if r.requirement.window is not None:
            continue
        for s in r.sources:
            if s.met and s.since is not None and s.state is not State.NOT_EXPECTED:
                known[f"{r.key}/{s.table}"] = s.since
    if known == draft.inputs.met_since:
        return draft
    return draft._replace(inputs=replace(draft.inputs, met_since=known))
