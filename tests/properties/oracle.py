"""A deliberately simple reading of section 2 of the specification, built on plain lists of loads.

It folds nothing and keeps nothing: for each game it looks through every load there ever was. Slow,
obvious and structurally unlike the code it is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction

from coordinator.core.arrivals import Arrival, Grain, LoadStatus
from coordinator.core.model import Waiver
from coordinator.core.spec import ProcessorSpec, Requirement, RequirementKind

NEVER = (LoadStatus.FAILED, LoadStatus.SKIPPED)
MET = {"ready", "aging", "waived", "not_expected"}
NEAREST = ["stale", "short", "incomplete", "empty", "failed", "missing"]


def no_rows(load: Arrival) -> bool:
    return load.status is LoadStatus.NO_DATA or load.record_count == 0


def newest(loads: Sequence[Arrival]) -> Arrival | None:
    """The newest timestamp wins; of equal ones the later received."""
    best: Arrival | None = None
    for load in loads:
        if best is None or (load.timestamp, load.received_at) >= (best.timestamp, best.received_at):
            best = load
    return best


def says_all(load: Arrival, game: str) -> bool:
    """Whether the load is known to hold all of a game: a partial one must name it."""
    return load.status is not LoadStatus.PARTIAL or game in load.game_ids


def enough(rows: Fraction | None, minimum: float | None) -> bool:
    """An unknown count meets no minimum, and is short where there is one."""
    return minimum is None or (rows is not None and rows >= minimum)


def least_rows(requirement: Requirement, games: Sequence[str] | None) -> float | None:
    asked = [requirement.expected_count_min]
    if requirement.expected_count_per_game is not None and games is not None:
        asked.append(requirement.expected_count_per_game * len(games))  # type: ignore[arg-type]
    found = [a for a in asked if a is not None]
    return max(found) if found else None


def aged(requirement: Requirement, oldest: datetime, now: datetime, *, first: bool) -> str:
    if first and requirement.max_age_fail and now - oldest >= requirement.max_age_fail:
        return "stale"
    if first and requirement.max_age_warn and now - oldest >= requirement.max_age_warn:
        return "aging"
    return "ready"


def source_state(
    requirement: Requirement,
    loads: Sequence[Arrival],
    grain: Grain,
    games: Sequence[str] | None,
    now: datetime,
    *,
    first: bool,
) -> str:
    said = [load for load in loads if load.status not in NEVER]
    if not said:
        return "failed" if loads else "missing"
    if grain is Grain.GAME and games:
        return _game_by_game(requirement, said, games, now, first=first)
    if grain is Grain.GAME and games is not None:
        return aged(requirement, min(x.timestamp for x in _standing(said)), now, first=first)
    if grain is Grain.GAME:
        return _calendar_unknown(requirement, said, now, first=first)
    last = newest(said)
    assert last is not None
    if no_rows(last):
        fine = games is not None and len(games) == 0
        return aged(requirement, last.timestamp, now, first=first) if fine else "empty"
    least = least_rows(requirement, games)
    whole = last.status is not LoadStatus.PARTIAL
    named = games is not None and set(games) <= set(last.game_ids)
    if least is None and not whole and not named:
        return "incomplete"
    rows = None if last.record_count is None else Fraction(last.record_count)
    if not enough(rows, least_rows(requirement, games)):
        return "short"
    return aged(requirement, last.timestamp, now, first=first)


def _standing(said: Sequence[Arrival]) -> list[Arrival]:
    """Loads that are the newest for something: for a game they name, or for the whole date."""
    named = {g for load in said for g in load.game_ids}
    found = [newest([x for x in said if not x.game_ids or g in x.game_ids]) for g in named]
    found.append(newest([x for x in said if not x.game_ids]))
    return [x for x in found if x is not None]


def _calendar_unknown(
    requirement: Requirement, said: Sequence[Arrival], now: datetime, *, first: bool
) -> str:
    standing = [x for x in _standing(said) if not no_rows(x)]
    if not standing:
        return "empty"
    minimum = requirement.expected_count_min
    if minimum is None and all(x.status is LoadStatus.PARTIAL and not x.game_ids for x in standing):
        return "incomplete"
    if minimum is not None:
        named = {g for load in said for g in load.game_ids}
        rows: Fraction | None = Fraction(0)
        for game in named:
            won = newest([x for x in said if not x.game_ids or game in x.game_ids])
            if won is None or not won.game_ids or no_rows(won):
                continue
            if won.record_count is None or rows is None:
                rows = None
            else:
                rows += Fraction(won.record_count, len(won.game_ids))
        if not enough(rows, minimum):
            return "short"
    return aged(requirement, min(x.timestamp for x in standing), now, first=first)


def _game_by_game(
    requirement: Requirement,
    said: Sequence[Arrival],
    games: Sequence[str],
    now: datetime,
    *,
    first: bool,
) -> str:
    winners = [newest([x for x in said if not x.game_ids or g in x.game_ids]) for g in games]
    least = least_rows(requirement, games)
    with_rows = [(g, w) for g, w in zip(games, winners, strict=True) if w and not no_rows(w)]
    covering = [w for g, w in with_rows if least is not None or says_all(w, g)]
    if not covering or Fraction(len(covering), len(games)) < Fraction(
        str(requirement.min_coverage)
    ):
        known = any(w is not None for w in winners)
        return "empty" if known and not with_rows else "incomplete"
    rows: Fraction | None = Fraction(0)
    for load in covering:
        if load.record_count is None or rows is None:
            rows = None
        else:
            rows += Fraction(load.record_count, len(load.game_ids) or len(games))
    if not enough(rows, least_rows(requirement, games)):
        return "short"
    return aged(requirement, min(x.timestamp for x in covering), now, first=first)


def requirement_state(
    spec: ProcessorSpec,
    requirement: Requirement,
    loads: Mapping[tuple[str, str], Sequence[Arrival]],
    calendar: Mapping[str, Sequence[str]],
    date: str,
    waivers: Sequence[Waiver],
    now: datetime,
    *,
    first: bool = True,
) -> tuple[str, tuple[str, ...]]:
    """A requirement's state, and the sources that a run would read."""
    if requirement.offset and date in calendar and not calendar[date]:
        return "not_expected", ()
    states = [
        source_state(
            requirement,
            loads.get((table, date), ()),
            spec.grains.get(table, Grain.DATE),
            calendar.get(date),
            now,
            first=first,
        )
        for table in requirement.sources
    ]
    waived = [any(w.table == t and w.open_at(now) for w in waivers) for t in requirement.sources]
    with_data = [t for t, s in zip(requirement.sources, states, strict=True) if s in MET]
    if requirement.kind is RequirementKind.AT_LEAST:
        met = sum(s in MET or w for s, w in zip(states, waived, strict=True))
        used = tuple(with_data)
    else:
        met = int(bool(with_data) or any(waived))
        used = tuple(with_data[:1])
    if met < requirement.needed:
        unmet = [s for s, w in zip(states, waived, strict=True) if s not in MET and not w]
        return min(unmet, key=NEAREST.index), ()
    if any(waived):
        return "waived", used
    read = [s for t, s in zip(requirement.sources, states, strict=True) if t in used]
    if requirement.kind is RequirementKind.AT_LEAST:
        return ("aging" if all(s == "aging" for s in read) else "ready"), used
    return read[0], used
