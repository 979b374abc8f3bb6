"""``judge``: the explained judgement of a partition at an instant.

Owns every rule of contract section 2 ("how they are read, exactly"): requirements, freshness,
groups, windows, waiting and dirtiness. Refuses to change anything: it is a pure function of what
the partition holds, what the registry says and the instant, so what is shown is what is decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil

from coordinator.core.model import (
    WHOLE,
    Arrival,
    ConsumedRequirement,
    Grain,
    Latest,
    Mark,
    Partition,
    TableDate,
    Waiver,
    WindowDay,
    WindowState,
    arrivals_key,
    load_key,
)
from coordinator.core.schedule import instant, needed_of, shift
from coordinator.core.spec import OffDay, ProcessorSpec, Requirement, RequirementKind
from coordinator.core.words import counted, listed, words_for

UNMET_KEPT = 6
"""Unmet dates of a window that its sentence names."""


class State(StrEnum):
    """How a requirement stands. The first four are met."""

    READY = "ready"
    AGING = "aging"
    WAIVED = "waived"
    NOT_EXPECTED = "not_expected"
    MISSING = "missing"
    FAILED = "failed"
    EMPTY = "empty"
    SHORT = "short"
    INCOMPLETE = "incomplete"
    STALE = "stale"


MET = (State.READY, State.AGING, State.WAIVED, State.NOT_EXPECTED)
_NEAREST_FIRST = (
    State.STALE,
    State.SHORT,
    State.INCOMPLETE,
    State.EMPTY,
    State.FAILED,
    State.MISSING,
)
"""Unmet states by how near they are to being met; a group shows the nearest of its sources."""


class HoldKind(StrEnum):
    """What keeps a partition with met requirements from firing."""

    GRACE = "grace"
    PREFER = "prefer"
    DEBOUNCE = "debounce"
    NOT_BEFORE = "not_before"
    COOLDOWN = "cooldown"
    QUIET = "quiet"
    PAUSE = "pause"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One thing that holds a firing; ``until`` is None where time alone does not end it."""

    kind: HoldKind
    until: datetime | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceVerdict:
    """One table on one date, judged, with its evidence."""

    table: str
    game_date: str
    state: State
    games_expected: int | None = None
    games_loaded: int = 0
    missing_games: tuple[str, ...] = ()
    in_part: bool = False
    """It rests on a partial load that does not say what it covers."""
    unexpected_games: tuple[str, ...] = ()
    record_count: int | None = None
    minimum: int | None = None
    oldest: datetime | None = None
    """Timestamp of the oldest load it rests on."""
    loaded_at: datetime | None = None
    """Timestamp of the newest load it rests on."""
    stale_at: datetime | None = None
    age: timedelta | None = None
    """Where it is stale: how old the oldest load is."""
    since: datetime | None = None
    """Receipt time since when it has been met without a break; None while unmet."""
    event_ids: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    waiver: Waiver | None = None
    unwaived_state: State | None = None
    last_failure: Arrival | None = None
    """Where nothing else is known: the load that failed or was skipped."""
    producer: str | None = None
    """The processor that writes the table, where one does."""

    @property
    def met(self) -> bool:
        return self.state in MET

    @property
    def by_data(self) -> bool:
        """Met by what was loaded, with or without a waiver."""
        return (self.unwaived_state or self.state) in MET


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementVerdict:
    """One requirement, judged."""

    requirement: Requirement
    state: State
    sources: tuple[SourceVerdict, ...] = ()
    """The leaves; those of a window are its ``days``, and a waiver's where one stands for them."""
    used: tuple[str, ...] = ()
    """The sources that meet it, in order of preference."""
    window: WindowState | None = None
    """Of a window: how it stands. None where it was not evaluated, and of every other kind."""
    days: tuple[WindowDay, ...] = ()
    """Of a window: its dates, where they were read for this judgement."""
    days_needed: int = 0
    since: datetime | None = None
    prefer_until: datetime | None = None
    """While set and in the future, a more preferred source is still waited for."""
    warnings: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        return self.state in MET

    @property
    def key(self) -> str:
        return self.requirement.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Dirt:
    """Newer data than the latest generation consumed, in one table."""

    key: str
    table: str
    game_date: str
    games: tuple[str, ...]
    ready: bool
    latest: Latest
    """The newest load behind it, by receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The explained judgement: a tree of requirements, what holds the firing, and until when."""

    at: datetime
    requirements: tuple[RequirementVerdict, ...]
    off_day: bool
    """The calendar says there are no games, and the processor does not run on such days."""
    critical_met: bool
    optional_met: bool
    usable: bool
    """At least one input holds rows, be it on a date inside a window."""
    ready_since: datetime | None
    holds: tuple[Hold, ...]
    quiet: bool
    """The latest arrival that no generation has consumed was announced quiet."""
    dirty: tuple[Dirt, ...]
    refires_spent: bool
    wake_at: datetime | None
    windows_decide: bool = False
    """Everything critical is met but for windows, and a run could follow: a window that is not met
    keeps it from firing, or prolongs its grace."""

    @property
    def unmet(self) -> tuple[RequirementVerdict, ...]:
        """The critical requirements that are not met."""
        return tuple(r for r in self.requirements if r.requirement.critical and not r.met)

    @property
    def newer_ready(self) -> bool:
        """Newer data is there and could be consumed."""
        return self.critical_met and any(d.ready for d in self.dirty)

    @property
    def changed_games(self) -> tuple[str, ...]:
        return tuple(sorted({g for d in self.dirty for g in d.games}))

    @property
    def changed_tables(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(d.table for d in self.dirty))

    def hold(self, kind: HoldKind) -> Hold | None:
        return next((h for h in self.holds if h.kind is kind), None)

    @property
    def met_count(self) -> int:
        return sum(r.met for r in self.requirements)

    @property
    def warnings(self) -> tuple[str, ...]:
        found = [w for r in self.requirements for w in r.warnings]
        found += [w for r in self.requirements for s in r.sources for w in s.warnings]
        return tuple(dict.fromkeys(found))


def judge(
    partition: Partition,
    spec: ProcessorSpec,
    now: datetime,
    *,
    freshness: bool | None = None,
    days: Mapping[str, Sequence[WindowDay]] | None = None,
) -> Verdict:
    """Judge a partition at ``now``.

    ``freshness`` says whether the age of loads counts; by default it does exactly while generation
    1 has not been fired (contract section 2, Freshness). ``days`` holds the dates of its windows;
    without them windows stand as the partition remembers them.
    """
    if freshness is None:
        freshness = partition.execution.generation == 0
    requirements = tuple(
        _requirement(partition, spec, r, now, freshness, days) for r in spec.requirements
    )
    critical = [r for r in requirements if r.requirement.critical]
    arrived = any(_has_rows(t) for t in partition.inputs.arrivals.values())
    usable = arrived or any(r.window.ready for r in requirements if r.window is not None)
    own = [r for r in requirements if r.requirement.window is None]
    if critical:
        critical_met = all(r.met for r in critical)
        rest_met = all(r.met for r in critical if r.requirement.window is None)
    else:  # one arrival is needed; a window's history is no arrival unless nothing else is asked for
        critical_met = arrived or any(r.used for r in own or requirements)
        rest_met = arrived or any(r.used for r in own) or not own
    optional_met = all(r.met for r in requirements if not r.requirement.critical)
    today = partition.inputs.games.get(partition.game_date)
    off_day = today == () and spec.policy.off_day is OffDay.SKIP
    ready_since = _ready_since(partition, critical, requirements) if critical_met else None
    dirty: tuple[Dirt, ...] = ()
    latest = partition.inputs.latest
    if partition.execution.outcome is not None:
        dirty = _dirt(partition, spec, requirements)
        latest = _last_committed(partition, dirty)
    newer_ready = critical_met and any(d.ready for d in dirty)
    spent = newer_ready and partition.execution.refires >= spec.policy.max_refires
    could_run = not off_day if partition.execution.outcome is None else any(d.ready for d in dirty)
    holds: list[Hold] = []
    if partition.execution.outcome is None and ready_since is not None and not off_day:
        holds = _first_holds(partition, spec, requirements, ready_since, optional_met, now)
        holds += _common_holds(partition, spec, latest, now)
    elif newer_ready:
        holds = _late_holds(partition, spec, latest, now, spent)
        holds += _common_holds(partition, spec, latest, now)
    return Verdict(
        at=now,
        requirements=requirements,
        off_day=off_day,
        critical_met=critical_met,
        optional_met=optional_met,
        usable=usable,
        ready_since=ready_since,
        holds=tuple(holds),
        quiet=latest is not None and latest.quiet,
        dirty=dirty,
        refires_spent=spent,
        wake_at=_wake_at(partition, requirements, holds, freshness, now),
        windows_decide=rest_met and could_run and any(map(_lacks, requirements)),
    )


def _lacks(verdict: RequirementVerdict) -> bool:
    """Whether it is a window that its data does not meet."""
    if verdict.requirement.window is None:
        return False
    return verdict.window is None or not verdict.window.met


# ── one requirement ──────────────────────────────────────────────────────────────────────────


def _requirement(
    partition: Partition,
    spec: ProcessorSpec,
    requirement: Requirement,
    now: datetime,
    freshness: bool,
    days: Mapping[str, Sequence[WindowDay]] | None,
) -> RequirementVerdict:
    if requirement.window is not None:
        known = () if days is None else days.get(requirement.key, ())
        return _window(partition, spec, requirement, now, None if days is None else tuple(known))
    date = (
        shift(partition.game_date, requirement.offset)
        if requirement.offset
        else (partition.game_date)
    )
    expected = partition.inputs.games.get(date)
    if requirement.offset and expected == ():
        return RequirementVerdict(
            requirement=requirement,
            state=State.NOT_EXPECTED,
            since=partition.created_at,
            sources=tuple(
                SourceVerdict(table=t, game_date=date, state=State.NOT_EXPECTED, games_expected=0)
                for t in requirement.sources
            ),
        )
    sources = []
    for table in requirement.sources:
        source = judge_source(
            requirement,
            table,
            date,
            partition.inputs.arrivals.get(arrivals_key(table, date)),
            spec.grains.get(table, Grain.DATE),
            expected,
            now,
            freshness=freshness,
            met_since=partition.inputs.met_since.get(f"{requirement.key}/{table}"),
            producer=spec.producers.get(table),
        )
        for waiver in partition.inputs.waivers:
            if waiver.table == table and waiver.open_at(now):
                source = replace(
                    source,
                    state=State.WAIVED,
                    since=source.since or waiver.at,
                    waiver=waiver,
                    unwaived_state=source.state,
                )
                break
        sources.append(source)
    return _group(requirement, tuple(sources))


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
        nearest = min((s.state for s in sources if not s.met), key=_NEAREST_FIRST.index)
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


def judge_source(
    requirement: Requirement,
    table: str,
    date: str,
    known: TableDate | None,
    grain: Grain,
    expected: Sequence[str] | None,
    now: datetime,
    *,
    freshness: bool,
    met_since: datetime | None = None,
    producer: str | None = None,
) -> SourceVerdict:
    """Judge one table on one date. ``expected`` are the calendar's games, None where unknown.

    ``met_since`` is since when it is known to have been met without a break; ``producer`` is the
    processor that writes the table, to be named beside it.
    """
    if known is None or not known.arrivals:
        failure = known.last_failure if known is not None else None
        return SourceVerdict(
            table=table,
            game_date=date,
            state=State.MISSING if failure is None else State.FAILED,
            last_failure=failure,
            games_expected=None if expected is None else len(expected),
            missing_games=tuple(expected or ()) if grain is Grain.GAME else (),
            producer=producer,
        )
    if grain is Grain.DATE:
        found = _whole_date(requirement, known, expected)
    elif expected:
        found = _by_game(requirement, table, known, expected)
    else:
        found = _games_unjudged(requirement, table, date, known, expected)
    state, warnings = found.state, found.warnings
    if state is State.READY and found.minimum is not None:
        enough = found.count is not None and found.count >= found.minimum
        state = State.READY if enough else State.SHORT
    oldest = min([a.timestamp for a in found.resting_on])
    stale_at = None
    if freshness and state is State.READY:
        if requirement.max_age_fail is not None:
            stale_at = oldest + requirement.max_age_fail
        if stale_at is not None and now >= stale_at:
            state = State.STALE
        elif requirement.max_age_warn is not None and now >= oldest + requirement.max_age_warn:
            state = State.AGING
            warnings = (*warnings, f"{table} was loaded {words_for(now - oldest)} ago")
    since = None
    if state in MET:
        since = met_since or max([a.received_at for a in found.resting_on])
    return SourceVerdict(
        table=table,
        game_date=date,
        state=state,
        games_expected=None if expected is None else len(expected),
        games_loaded=found.covered,
        missing_games=found.missing,
        in_part=found.in_part,
        unexpected_games=found.unexpected,
        record_count=found.count,
        minimum=found.minimum,
        oldest=oldest,
        loaded_at=max([a.timestamp for a in found.resting_on]),
        stale_at=stale_at,
        age=now - oldest if state is State.STALE else None,
        since=since,
        event_ids=tuple(sorted([a.event_id for a in found.resting_on])),
        warnings=warnings,
        producer=producer,
    )


@dataclass(slots=True, kw_only=True)
class _Found:
    """What the loads of one table on one date cover, before minimums and freshness."""

    state: State
    resting_on: Sequence[Arrival]
    count: int | None
    minimum: int | None = None
    covered: int = 0
    missing: tuple[str, ...] = ()
    in_part: bool = False
    """It rests on a partial load that does not say what it covers."""
    unexpected: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def _whole_date(
    requirement: Requirement, known: TableDate, expected: Sequence[str] | None
) -> _Found:
    """The last load stands for the date."""
    arrival = known.newest
    assert arrival is not None  # it has arrivals
    if arrival.empty:
        nothing_due = expected is not None and not expected
        state = State.READY if nothing_due else State.EMPTY
        return _Found(state=state, resting_on=(arrival,), count=0)
    minimum, warnings = _minimum(requirement, expected)
    in_part = not arrival.covers_all(expected)
    if in_part:
        warnings = (*warnings, _in_part(known))
    return _Found(
        state=State.INCOMPLETE if in_part and minimum is None else State.READY,
        resting_on=(arrival,),
        count=arrival.record_count,
        minimum=minimum,
        in_part=in_part,
        warnings=warnings,
    )


def _by_game(
    requirement: Requirement, table: str, known: TableDate, expected: Sequence[str]
) -> _Found:
    """Coverage is the union of the per-game winners; counts add up over covered games."""
    minimum, warnings = _minimum(requirement, expected)
    covering: dict[str, Arrival] = {}
    saying_none: dict[str, Arrival] = {}
    in_part = False
    missing: list[str] = []
    counts: list[float | None] = []
    for game in expected:
        event_id = known.games.get(game, known.whole)
        arrival = None if event_id is None else known.arrivals[event_id]
        if arrival is None or arrival.empty:
            missing.append(game)
            if arrival is not None:
                saying_none[arrival.event_id] = arrival
            continue
        if not arrival.covers(game):
            in_part = True
            if minimum is None:  # else its rows say whether they are enough
                missing.append(game)
                continue
        covering[arrival.event_id] = arrival
        rows = arrival.record_count
        counts.append(None if rows is None else rows / (arrival.game_count or len(expected)))
    covered = len(expected) - len(missing)
    state = State.READY
    if covered < max(1, ceil(requirement.min_coverage * len(expected) - 1e-9)):
        none_at_all = saying_none and not covering and not in_part
        state = State.EMPTY if none_at_all else State.INCOMPLETE
    if in_part:
        warnings = (*warnings, _in_part(known))
    unexpected = tuple(sorted(known.games.keys() - expected)) if known.games else ()
    if unexpected:
        warnings = (*warnings, _unexpected(table, unexpected, known.not_kept))
    return _Found(
        state=state,
        resting_on=tuple((covering or saying_none or known.arrivals).values()),
        count=_added_up(counts),
        minimum=minimum,
        covered=covered,
        missing=tuple(missing),
        in_part=in_part,
        unexpected=unexpected,
        warnings=warnings,
    )


def _games_unjudged(
    requirement: Requirement,
    table: str,
    date: str,
    known: TableDate,
    expected: Sequence[str] | None,
) -> _Found:
    """No games to cover: the calendar is unknown, or says that there are none."""
    winners = tuple(known.arrivals.values())
    if expected is not None:
        unexpected = tuple(sorted(known.games))
        return _Found(
            state=State.READY,
            resting_on=winners,
            count=0,
            unexpected=unexpected,
            warnings=(_unexpected(table, unexpected, known.not_kept),) if unexpected else (),
        )
    with_rows = tuple(a for a in winners if not a.empty)
    minimum, warnings = _minimum(requirement, None)
    by_game = [known.arrivals[e] for e in known.games.values()]
    count = _added_up([0.0 if a.empty else a.share for a in by_game])
    whole = known.whole_arrival
    if whole is not None and not whole.empty:
        # Nobody can say which of its rows the newer per-game loads replaced.
        unknown = whole.record_count is None or count is None
        count = None if unknown else max(whole.record_count or 0, count or 0)
    in_part = whole is not None and not whole.empty and not whole.covers_all(None)
    state = State.READY if with_rows else State.EMPTY
    if known.not_kept and by_game:
        warnings = (
            *warnings,
            f"{table}: rows of games beyond the first {len(by_game)} by id are "
            "not counted until the calendar is known",
        )
    if in_part:
        warnings = (*warnings, _in_part(known))
        state = State.INCOMPLETE if minimum is None and with_rows == (whole,) else state
    return _Found(
        state=state,
        in_part=in_part,
        resting_on=with_rows or winners,
        count=count,
        minimum=minimum,
        covered=sum(not a.empty for a in by_game),
        warnings=(
            *warnings,
            f"{table}: the calendar does not know {date}, so coverage cannot be judged",
        ),
    )


def _in_part(known: TableDate) -> str:
    return f"{known.table}: a load of {known.game_date} is partial and does not name every game"


def _added_up(counts: Sequence[float | None]) -> int | None:
    """The sum of row counts, or None where one is unknown."""
    known = [c for c in counts if c is not None]
    return round(sum(known)) if len(known) == len(counts) else None


def _unexpected(table: str, games: Sequence[str], not_kept: int) -> str:
    words = f"{table} has games that the calendar does not expect: {listed(games)}"
    if not_kept:
        words = f"{words}; such ids were named {counted(not_kept, 'time')} beyond those kept"
    return words


def _minimum(
    requirement: Requirement, expected: Sequence[str] | None
) -> tuple[int | None, tuple[str, ...]]:
    """The rows needed in all, and a warning where a per-game minimum cannot be judged."""
    minimum = requirement.expected_count_min
    per_game = requirement.expected_count_per_game
    if per_game is None:
        return minimum, ()
    if expected is None:
        return minimum, ("the calendar is unknown, so rows per game cannot be judged",)
    return max(minimum or 0, ceil(per_game * len(expected) - 1e-9)), ()


def window_state(
    requirement: Requirement, days: Sequence[WindowDay], spec: ProcessorSpec, otherwise: datetime
) -> WindowState:
    """How a window stands with these dates, ascending; ``otherwise`` is since when a date is ready
    that rests on no load."""
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


def _window(
    partition: Partition,
    spec: ProcessorSpec,
    requirement: Requirement,
    now: datetime,
    days: tuple[WindowDay, ...] | None,
) -> RequirementVerdict:
    assert requirement.window is not None
    table = requirement.sources[0]
    if days is None:
        known = partition.inputs.window_states.get(requirement.key)
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
    waiver = next(
        (w for w in partition.inputs.waivers if w.table == table and w.open_at(now)), None
    )
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


# ── waiting ──────────────────────────────────────────────────────────────────────────────────


def _ready_since(
    partition: Partition,
    critical: Sequence[RequirementVerdict],
    requirements: Sequence[RequirementVerdict],
) -> datetime:
    """The moment the critical requirements were met, by receipt times alone."""
    if critical:
        return max((r.since for r in critical if r.since is not None), default=partition.created_at)
    receipts = [
        a.received_at for t in partition.inputs.arrivals.values() for a in t.arrivals.values()
    ]
    # An arrival is needed, so a waiver alone begins nothing.
    receipts += [r.since for r in requirements if r.window is not None and r.since is not None]
    return min(receipts, default=partition.created_at)


def _first_holds(
    partition: Partition,
    spec: ProcessorSpec,
    requirements: Sequence[RequirementVerdict],
    ready_since: datetime,
    optional_met: bool,
    now: datetime,
) -> list[Hold]:
    """What still holds the first firing (or the first after a reset)."""
    policy = spec.policy
    grace_end = ready_since + policy.grace
    holds: list[Hold] = []
    if not optional_met and policy.grace and grace_end > now:
        unmet = ", ".join(r.key for r in requirements if not r.met)
        holds.append(Hold(kind=HoldKind.GRACE, until=grace_end, detail=unmet))
    for r in requirements:
        if r.prefer_until is None:
            continue
        until = r.prefer_until if r.requirement.critical else min(r.prefer_until, grace_end)
        if until > now:
            holds.append(Hold(kind=HoldKind.PREFER, until=until, detail=r.requirement.sources[0]))
    if partition.inputs.latest is not None and policy.debounce:
        until = min(
            partition.inputs.latest.received_at + policy.debounce, ready_since + policy.max_settle
        )
        if until > now:
            holds.append(Hold(kind=HoldKind.DEBOUNCE, until=until))
    return holds


def _late_holds(
    partition: Partition, spec: ProcessorSpec, latest: Latest | None, now: datetime, spent: bool
) -> list[Hold]:
    """What still holds the generation that newer data asks for."""
    assert partition.execution.outcome is not None
    policy = spec.policy
    holds: list[Hold] = []
    if spent:
        holds.append(Hold(kind=HoldKind.BUDGET, detail=counted(policy.max_refires, "re-fire")))
    cool = partition.execution.outcome.at + policy.cooldown
    if cool > now:
        holds.append(Hold(kind=HoldKind.COOLDOWN, until=cool))
    if latest is not None and policy.debounce:
        since = partition.execution.dirty_since or latest.received_at
        until = min(latest.received_at + policy.debounce, since + policy.max_settle)
        if until > now:
            holds.append(Hold(kind=HoldKind.DEBOUNCE, until=until))
    return holds


def _common_holds(
    partition: Partition, spec: ProcessorSpec, latest: Latest | None, now: datetime
) -> Iterable[Hold]:
    if spec.policy.not_before is not None:
        earliest = instant(partition.game_date, spec.policy.not_before, spec.timezone)
        if earliest > now:
            yield Hold(kind=HoldKind.NOT_BEFORE, until=earliest)
    if latest is not None and latest.quiet:
        yield Hold(kind=HoldKind.QUIET, detail=latest.event_id)
    for pause in partition.inputs.pauses:
        yield Hold(kind=HoldKind.PAUSE, detail=f"{pause.actor}: {pause.reason}")


def _wake_at(
    partition: Partition,
    requirements: Sequence[RequirementVerdict],
    holds: Sequence[Hold],
    freshness: bool,
    now: datetime,
) -> datetime | None:
    """When time alone could change this judgement."""
    instants = [h.until for h in holds if h.until is not None]
    instants += [
        w.until for w in partition.inputs.waivers if w.until is not None and w.open_at(now)
    ]
    if freshness and partition.execution.live is None:
        instants += [
            s.stale_at
            for r in requirements
            for s in r.sources
            if s.stale_at is not None and s.state in MET
        ]
    return min((i for i in instants if i > now), default=None)


# ── what was consumed, and what is newer ─────────────────────────────────────────────────────


def marks_of(known: TableDate | None, grain: Grain) -> Mapping[str, Mark]:
    """What identifies a table's content on a date: per game, and ``*`` for the whole date."""
    if known is None:
        return {}
    if grain is Grain.DATE:
        return {} if known.newest is None else {WHOLE: _mark(known.newest)}
    marks = {g: _mark(known.arrivals[e]) for g, e in known.games.items()}
    whole = known.whole_arrival
    if whole is not None:
        marks[WHOLE] = _mark(whole)
    return marks


def _mark(arrival: Arrival) -> Mark:
    return Mark(event_id=arrival.event_id, content_hash=arrival.content_hash)


def consume(
    arrivals: Mapping[str, TableDate], grains: Mapping[str, Grain], verdict: Verdict
) -> Mapping[str, ConsumedRequirement]:
    """What a generation fired now consumes, per requirement (windows never make dirty)."""
    return {
        r.key: ConsumedRequirement(
            met=r.met and (bool(r.used) or r.state is State.NOT_EXPECTED),
            used=r.used,
            marks={
                s.table: marks_of(
                    arrivals.get(arrivals_key(s.table, s.game_date)),
                    grains.get(s.table, Grain.DATE),
                )
                for s in r.sources
            },
            received={
                s.table: newest.received_at
                for s in r.sources
                if (known := arrivals.get(arrivals_key(s.table, s.game_date))) is not None
                and (newest := known.latest) is not None
            },
        )
        for r in verdict.requirements
        if r.requirement.window is None
    }


def newer_after(
    partition: Partition, spec: ProcessorSpec, since: datetime | None
) -> Mapping[str, datetime]:
    """From when on loads are newer data to requirements that the latest generation did not know.

    That is once the registry that brought the requirement is in use, at ``since``: to require more,
    or the same in another order, is no newer data. One that an earlier registry brought keeps what
    was noted then.
    """
    execution = partition.execution
    if execution.consumed is None or execution.consumed_at is None:
        return {}
    found: dict[str, datetime] = {}
    for r in spec.requirements:
        if r.window is not None or r.key in execution.consumed:
            continue
        date = shift(partition.game_date, r.offset)
        for table in r.sources:
            name = f"{r.key}/{table}"
            known = partition.arrivals.get(arrivals_key(table, date))
            noted = execution.newer_after.get(name)
            found[name] = noted or _known_until(
                known, execution.consumed, execution.consumed_at, since
            )
    return found


def _known_until(
    known: TableDate | None,
    consumed: Mapping[str, ConsumedRequirement],
    consumed_at: datetime,
    since: datetime | None,
) -> datetime:
    """The receipt up to which loads of a table are no newer data to a requirement that is new."""
    if known is None or known.latest is None:
        return consumed_at
    newest = known.latest.received_at
    before = newest if since is None else min(newest, since)
    # Under a clock that was set back, what a run read may have been received after it was fired.
    marks = [m for c in consumed.values() for m in c.marks.get(known.table, {}).values()]
    read = [known.arrivals[m.event_id] for m in marks if m.event_id in known.arrivals]
    return max([consumed_at, before, *(a.received_at for a in read)])


def _dirt(
    partition: Partition, spec: ProcessorSpec, requirements: Sequence[RequirementVerdict]
) -> tuple[Dirt, ...]:
    """Newer data than the latest generation consumed (contract section 2, Dirty)."""
    found: list[Dirt] = []
    for r in requirements:
        if r.requirement.window is not None:
            continue
        consumed = (
            partition.execution.consumed.get(r.key)
            if partition.execution.consumed is not None
            else None
        )
        for source in _sources_that_count(r, consumed):
            if source.table == spec.calendar_table:
                continue
            known = partition.inputs.arrivals.get(arrivals_key(source.table, source.game_date))
            if known is None:
                continue
            grain = spec.grains.get(source.table, Grain.DATE)
            if consumed is None:
                name = f"{r.key}/{source.table}"
                execution = partition.execution
                after = execution.newer_after.get(name, execution.consumed_at)
                games = _received_after(known, after)
            else:
                # What an optional requirement lacked was not consumed: no mark is equal to it.
                marked = consumed.met or r.requirement.critical
                games = _changed(known, consumed, source.table, grain, marked=marked)
            ready = source.by_data and source.table in r.used
            if games:
                latest = _latest_of(games, known, grain)
            elif ready and _met_by_calendar(partition, r, consumed, source.game_date):
                # Its loads were there before: none of them is a quiet one that still waits.
                latest = replace(_latest_of((*known.games, WHOLE), known, grain), quiet=False)
            else:
                continue
            found.append(
                Dirt(
                    key=r.key,
                    table=source.table,
                    game_date=source.game_date,
                    games=_game_names(games, known, partition.inputs.games.get(source.game_date)),
                    ready=ready,
                    latest=latest,
                )
            )
    return tuple(found)


def _last_committed(partition: Partition, dirty: Sequence[Dirt]) -> Latest | None:
    """The load behind newer data that was committed last, whatever clocks say."""
    places = {key: place for place, key in enumerate(partition.inputs.committed)}
    last = partition.inputs.latest
    found: list[tuple[int, datetime, Latest]] = []
    for d in dirty:
        date = arrivals_key(d.table, d.game_date)
        place = places.get(load_key(date, d.latest.event_id), -1)
        found.append((place, d.latest.received_at, d.latest))
        if last is not None and last.event_id not in partition.inputs.arrivals[date].arrivals:
            place = places.get(load_key(date, last.event_id), -1)
            if place >= 0:  # of games that nobody expects only a sample is kept
                found.append((place, last.received_at, last))
    return max(found, key=lambda f: f[:2])[2] if found else None


def _met_by_calendar(
    partition: Partition,
    r: RequirementVerdict,
    consumed: ConsumedRequirement | None,
    game_date: str,
) -> bool:
    """Whether an optional requirement is met since the calendar changed, by what was there before."""
    before = partition.execution.consumed_games
    if r.requirement.critical or consumed is None or consumed.met or before is None:
        return False
    games = partition.inputs.games.get(game_date)
    return bool(games) and games != before.get(game_date)


def _sources_that_count(
    r: RequirementVerdict, consumed: ConsumedRequirement | None
) -> Iterable[SourceVerdict]:
    """The sources whose newer loads are news to what was consumed."""
    if consumed is None:
        return r.sources
    if not consumed.met:
        # Unmet when fired. A critical one was forced: any newer load is news. An optional one is
        # news once it is met.
        return r.sources if r.requirement.critical or r.met else ()
    if r.requirement.kind is RequirementKind.AT_LEAST:
        if len(consumed.used) < r.requirement.needed:
            return r.sources  # a waiver stood in for the rest; their data is news
        return tuple(s for s in r.sources if s.table in consumed.used)
    if not consumed.used:
        return r.sources
    names = r.requirement.sources
    used = consumed.used[0]
    return r.sources[: names.index(used) + 1] if used in names else r.sources


def _changed(
    known: TableDate, consumed: ConsumedRequirement, table: str, grain: Grain, *, marked: bool
) -> tuple[str, ...]:
    """The games (or ``*``) that a later load gave other content than was consumed.

    Only where it is ``marked`` does an equal content mark say that nothing changed.
    A game without a mark of its own is read from the load of the whole date, then and now: a whole
    load that replaces per-game ones changes those games, even where an equal one was consumed.
    Which games are kept of those that nobody expects may change with the calendar, so a game that
    is kept now and was not then, or the other way round, is news only by a load that came since.
    """
    before, seen = consumed.marks.get(table, {}), consumed.received.get(table)
    read = {mark.event_id for mark in before.values()}
    changed = []
    by_date = grain is Grain.DATE  # games that are known are from when it was loaded by game
    for name in (WHOLE,) if by_date else dict.fromkeys((*known.games, WHOLE, *before)):
        arrival = _counting(known, name, grain)
        old = before.get(name) or before.get(WHOLE)
        if arrival is None or arrival.event_id in read:
            continue
        if seen is not None and arrival.received_at < seen:
            continue
        if old is None or not (marked and _mark(arrival).same_content(old)):
            changed.append(name)
    return tuple(changed)


def _counting(known: TableDate, name: str, grain: Grain) -> Arrival | None:
    """The load that counts for a game, or for the whole date."""
    return known.newest if grain is Grain.DATE else known.winner(name)


def _received_after(known: TableDate, since: datetime | None) -> tuple[str, ...]:
    """For a requirement that was added later: what came after the generation was fired."""
    if since is None:
        return ()
    names = [g for g, e in known.games.items() if known.arrivals[e].received_at > since]
    whole = known.whole_arrival
    if whole is not None and whole.received_at > since:
        names.append(WHOLE)
    return tuple(names)


def _latest_of(changed: Sequence[str], known: TableDate, grain: Grain) -> Latest:
    """The newest load behind changed marks, by receipt."""
    names = [WHOLE] if grain is Grain.DATE else changed
    found = [a for name in names if (a := _counting(known, name, grain)) is not None]
    newest = max(found, key=lambda a: a.received_at)
    return Latest.of(newest)


def _game_names(
    changed: Sequence[str], known: TableDate, expected: Sequence[str] | None
) -> tuple[str, ...]:
    """The games behind changed marks: a whole load changes the games it names, or all expected."""
    games = {g for g in changed if g != WHOLE}
    whole = known.whole_arrival
    if WHOLE in changed and whole is not None:
        games.update(whole.game_ids or expected or ())
    return tuple(sorted(games))


def _has_rows(known: TableDate) -> bool:
    return any(not a.empty for a in known.arrivals.values())
