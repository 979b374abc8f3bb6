"""History windows: how many of their dates are ready.

Owns the judgement of a window from its dates, or from what the partition remembers of them. Refuses
to choose the dates (see ``schedule``) and to judge one of them (see ``sources``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from coordinator.core.model import Judgeable, WindowDay, WindowState
from coordinator.core.schedule import needed_of
from coordinator.core.spec import ProcessorSpec, Requirement
from coordinator.core.verdict import MET, RequirementVerdict, SourceVerdict, State

UNMET_KEPT = 6
"""Unmet dates of a window that its sentence names."""


def window_state(
    requirement: Requirement, days: Sequence[WindowDay], spec: ProcessorSpec, otherwise: datetime
) -> WindowState:
    """The state of a window with these dates, ascending; ``otherwise`` is since when a date is
    ready that rests on no load."""
    assert requirement.window is not None
    needed = needed_of(requirement.window, len(days))
    ready = sorted(d.since or otherwise for d in days if d.met)
    unmet = tuple(d.game_date for d in days if not d.met)
    met = len(ready) >= needed if days else spec.known_from is not None
    since = None
    if met:
        since = ready[needed - 1] if needed else otherwise
    return WindowState(
        dates=len(days),
        ready=len(ready),
        met=met,
        since=since,
        unmet=unmet[:UNMET_KEPT],
        newest_unmet=unmet[-1] if unmet else None,
    )


def judge_window(
    partition: Judgeable,
    spec: ProcessorSpec,
    requirement: Requirement,
    now: datetime,
    days: tuple[WindowDay, ...] | None,
) -> RequirementVerdict:
    """Judge a window by its dates; where they were not read, as the partition remembers it."""
    assert requirement.window is not None
    inputs, table = partition.inputs, requirement.sources[0]
    if days is None:
        known = inputs.window_states.get(requirement.key)
    else:
        known = window_state(requirement, days, spec, partition.created_at)
    state = State.MISSING
    warnings: tuple[str, ...] = ()
    since = None
    if known is not None and known.met:
        state, since = State.READY, known.since
        if not known.dates:
            warnings = (f"{table}: no game dates before {partition.game_date} are known",)
    elif known is not None and known.ready:
        state = State.INCOMPLETE
    waiver = next((w for w in inputs.waivers if w.table == table and w.open_at(now)), None)
    unwaived = state
    sources: tuple[SourceVerdict, ...] = ()  # a window's leaves are its days
    if waiver is not None:
        state, since = State.WAIVED, since if unwaived in MET else waiver.at
        sources = (
            SourceVerdict(
                table=table,
                game_date=partition.game_date,
                state=state,
                since=since,
                waiver=waiver,
                unwaived_state=unwaived,
            ),
        )
    return RequirementVerdict(
        requirement=requirement,
        state=state,
        sources=sources,
        used=(table,) if unwaived in MET and known is not None and known.dates else (),
        window=known,
        days=days or (),
        days_needed=0 if known is None else needed_of(requirement.window, known.dates),
        since=since,
        warnings=warnings,
    )
