"""``judge``: the explained judgement of a partition at an instant.

Owns how requirements, holds and newer data make one verdict (specification 2.3 to 2.7). The rules
themselves are in ``sources`` (one table on one date), ``windows`` (history windows), ``holds``
(waiting) and ``newer`` (dirtiness). Refuses to change anything: it is a pure function of what the
partition holds, the registry and the instant, so what is shown is what is decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from coordinator.core.arrivals import Grain, TableDate, arrivals_key
from coordinator.core.holds import first_holds, late_holds, ready_since, wake_at
from coordinator.core.memo import by_identity
from coordinator.core.model import Judgeable, WindowDay
from coordinator.core.newer import latest_unconsumed, newer_than_consumed
from coordinator.core.schedule import shift
from coordinator.core.sources import judge_source
from coordinator.core.spec import OffDay, ProcessorSpec, Requirement, RequirementKind
from coordinator.core.verdict import (
    NEAREST_FIRST,
    Hold,
    RequirementVerdict,
    SourceVerdict,
    State,
    Verdict,
)
from coordinator.core.windows import judge_window


def judge(
    partition: Judgeable,
    spec: ProcessorSpec,
    now: datetime,
    *,
    freshness: bool | None = None,
    days: Mapping[str, Sequence[WindowDay]] | None = None,
) -> Verdict:
    """Judge a partition at ``now``.

    ``freshness`` says whether the age of loads counts; by default it does exactly while generation
    1 has not been fired (specification 2.3). ``days`` holds the dates of its windows;
    without them windows count as the partition remembers them.
    """
    execution = partition.execution
    if freshness is None:
        freshness = execution.generation == 0
    requirements = tuple(
        [_requirement(partition, spec, r, now, freshness, days) for r in spec.requirements]
    )
    arrived = any(_has_rows(t) for t in partition.inputs.arrivals.values())
    critical_met, others_met = _critical_met(requirements, arrived)
    off_day = (
        partition.inputs.games.get(partition.game_date) == () and spec.policy.off_day is OffDay.SKIP
    )
    dirty = newer_than_consumed(partition, spec, requirements)
    latest = latest_unconsumed(partition, dirty)
    dirty_ready = any(d.ready for d in dirty)
    spent = critical_met and dirty_ready and execution.refires >= spec.policy.max_refires
    optional_met = all(r.met for r in requirements if not r.requirement.critical)
    since = ready_since(partition, requirements) if critical_met else None
    holds: tuple[Hold, ...] = ()
    if execution.outcome is None and since is not None and not off_day:
        holds = first_holds(partition, spec, requirements, since, now, optional_met=optional_met)
    elif critical_met and dirty_ready:
        holds = late_holds(partition, spec, latest, now, spent=spent)
    could_run = not off_day if execution.outcome is None else dirty_ready
    return Verdict(
        at=now,
        requirements=requirements,
        off_day=off_day,
        critical_met=critical_met,
        optional_met=optional_met,
        usable=arrived or any(r.window.ready for r in requirements if r.window is not None),
        ready_since=since,
        holds=holds,
        quiet=latest is not None and latest.quiet,
        dirty=dirty,
        refires_spent=spent,
        wake_at=wake_at(partition, requirements, holds, now, freshness=freshness),
        windows_decide=others_met and could_run and any(map(_lacks, requirements)),
    )


def _critical_met(requirements: Sequence[RequirementVerdict], arrived: bool) -> tuple[bool, bool]:
    """Whether what is critical is met: all of it, and all of it but for windows.

    Where everything is optional one arrival is needed; a window's history is no arrival unless
    nothing else is required.
    """
    critical = [r for r in requirements if r.requirement.critical]
    if critical:
        unmet = [r for r in critical if not r.met]
        return not unmet, all(r.requirement.window is not None for r in unmet)
    own = [r for r in requirements if r.requirement.window is None]
    used = arrived or any(r.used for r in own)
    return used or (not own and any(r.used for r in requirements)), used or not own


def _lacks(verdict: RequirementVerdict) -> bool:
    """Whether it is a window that its data does not meet."""
    if verdict.requirement.window is None:
        return False
    return verdict.window is None or not verdict.window.met


@by_identity
def _has_rows(known: TableDate) -> bool:
    return any(not a.empty for a in known.arrivals.values())


# ── one requirement ──────────────────────────────────────────────────────────────────────────


def _requirement(
    partition: Judgeable,
    spec: ProcessorSpec,
    requirement: Requirement,
    now: datetime,
    freshness: bool,
    days: Mapping[str, Sequence[WindowDay]] | None,
) -> RequirementVerdict:
    if requirement.window is not None:
        known = None if days is None else tuple(days.get(requirement.key, ()))
        return judge_window(partition, spec, requirement, now, known)
    date = partition.game_date
    if requirement.offset:
        date = shift(date, requirement.offset)
        if partition.inputs.games.get(date) == ():
            return _not_expected(partition, requirement, date)
    sources = [
        _source(partition, spec, requirement, table, date, now, freshness)
        for table in requirement.sources
    ]
    return _group(requirement, tuple(sources))


def _source(
    partition: Judgeable,
    spec: ProcessorSpec,
    requirement: Requirement,
    table: str,
    date: str,
    now: datetime,
    freshness: bool,
) -> SourceVerdict:
    """One source of a requirement, waived where a waiver of its table is open."""
    inputs = partition.inputs
    source = judge_source(
        requirement,
        table,
        date,
        inputs.arrivals.get(arrivals_key(table, date)),
        spec.grains.get(table, Grain.DATE),
        inputs.games.get(date),
        now,
        freshness=freshness,
        met_since=inputs.met_since.get(f"{requirement.key}/{table}"),
        producer=spec.producers.get(table),
    )
    for waiver in inputs.waivers:
        if waiver.table == table and waiver.open_at(now):
            return source._replace(
                state=State.WAIVED,
                since=source.since or waiver.at,
                waiver=waiver,
                unwaived_state=source.state,
            )
    return source


def _not_expected(partition: Judgeable, requirement: Requirement, date: str) -> RequirementVerdict:
    """A requirement on a date without games: there is nothing to wait for."""
    return RequirementVerdict(
        requirement=requirement,
        state=State.NOT_EXPECTED,
        since=partition.created_at,
        sources=tuple(
            SourceVerdict(table=t, game_date=date, state=State.NOT_EXPECTED, games_expected=0)
            for t in requirement.sources
        ),
    )


def _group(requirement: Requirement, sources: tuple[SourceVerdict, ...]) -> RequirementVerdict:
    """Combine judged sources: a single table, ordered any-of, or k of n."""
    if len(sources) == 1:
        only = sources[0]
        return RequirementVerdict(
            requirement=requirement,
            state=only.state,
            sources=sources,
            used=(only.table,) if only.by_data else (),
            since=only.since,
        )
    met = [s for s in sources if s.met]
    if len(met) < requirement.needed:
        nearest = min((s.state for s in sources if not s.met), key=NEAREST_FIRST.index)
        return RequirementVerdict(requirement=requirement, state=nearest, sources=sources)
    since = sorted(s.since for s in met if s.since is not None)[requirement.needed - 1]
    if requirement.kind is RequirementKind.AT_LEAST:
        state = State.WAIVED if any(s.state is State.WAIVED for s in met) else State.READY
        if all(s.state is State.AGING for s in met):
            state = State.AGING
        used = tuple(s.table for s in met if s.by_data)
        return RequirementVerdict(
            requirement=requirement, state=state, sources=sources, used=used, since=since
        )
    waived = next((s for s in met if s.state is State.WAIVED), None)
    with_data = next((s for s in met if s.by_data), None)
    chosen = with_data or met[0]
    prefer_until = None
    if requirement.prefer_for and chosen is not sources[0] and waived is None:
        prefer_until = min(s.since for s in met if s.since is not None) + requirement.prefer_for
    return RequirementVerdict(
        requirement=requirement,
        state=State.WAIVED if waived is not None else chosen.state,
        sources=sources,
        used=(chosen.table,) if with_data is not None else (),
        since=since,
        prefer_until=prefer_until,
    )
