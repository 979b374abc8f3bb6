"""``judge_source``: one table on one date, judged by its loads, the calendar and the instant.

Owns coverage, minimums and freshness (specification 2.3). Refuses to combine sources (see
``readiness``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import ceil
from typing import NamedTuple

from coordinator.core.arrivals import Arrival, Grain, LoadStatus, TableDate
from coordinator.core.memo import by_identity
from coordinator.core.spec import Requirement
from coordinator.core.verdict import MET, SourceVerdict, State
from coordinator.core.words import counted, listed, words_for


def judge_source(
    requirement: Requirement,
    table: str,
    date: str,
    known: TableDate | None,
    grain: Grain,
    expected: tuple[str, ...] | None,
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
        return _not_loaded(table, date, known, grain, expected, producer)
    found = _found(
        known,
        grain,
        expected,
        requirement.expected_count_min,
        requirement.expected_count_per_game,
        requirement.min_coverage,
    )
    state, warnings = found.state, found.warnings
    stale_at = age = since = None
    if freshness and state is State.READY:
        oldest = min([a.timestamp for a in found.loads])
        state, stale_at = _by_age(requirement, oldest, now)
        if state is State.AGING:
            warnings = (*warnings, f"{table} was loaded {words_for(now - oldest)} ago")
        elif state is State.STALE:
            age = now - oldest
    if state in MET:
        since = met_since or max([a.received_at for a in found.loads])
    return SourceVerdict(
        table=table,
        game_date=date,
        state=state,
        games_expected=None if expected is None else len(expected),
        games_loaded=found.covered,
        missing_games=found.missing,
        in_part=found.in_part,
        unexpected_games=found.unexpected,
        record_count=found.rows,
        minimum=found.minimum,
        loads=found.loads,
        stale_at=stale_at,
        age=age,
        since=since,
        warnings=warnings,
        producer=producer,
    )


def _not_loaded(
    table: str,
    date: str,
    known: TableDate | None,
    grain: Grain,
    expected: Sequence[str] | None,
    producer: str | None,
) -> SourceVerdict:
    """Nothing was loaded: no load came, or those that came failed or were skipped."""
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


def _by_age(
    requirement: Requirement, oldest: datetime, now: datetime
) -> tuple[State, datetime | None]:
    """What a ready source is by its age, and the instant at which it becomes stale."""
    stale_at = None if requirement.max_age_fail is None else oldest + requirement.max_age_fail
    if stale_at is not None and now >= stale_at:
        return State.STALE, stale_at
    if requirement.max_age_warn is not None and now >= oldest + requirement.max_age_warn:
        return State.AGING, stale_at
    return State.READY, stale_at


class _Found(NamedTuple):
    """What the loads of one table on one date cover, before freshness."""

    state: State
    loads: tuple[Arrival, ...]
    """The loads it rests on."""
    rows: int | None
    minimum: int | None = None
    covered: int = 0
    missing: tuple[str, ...] = ()
    in_part: bool = False
    """It rests on a partial load that does not say what it covers."""
    unexpected: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@by_identity
def _found(
    known: TableDate,
    grain: Grain,
    expected: tuple[str, ...] | None,
    minimum: int | None,
    per_game: float | None,
    min_coverage: float,
) -> _Found:
    """What the loads of a table's date cover, by the rules of a requirement.

    ``minimum`` and ``per_game`` are the rows needed in all and for each game, ``min_coverage`` the
    share of the expected games that must be loaded.
    """
    warnings: tuple[str, ...] = ()
    if per_game is not None and expected is None:
        warnings = ("the calendar is unknown, so rows per game cannot be judged",)
    elif per_game is not None and expected is not None:
        minimum = max(minimum or 0, ceil(per_game * len(expected) - 1e-9))
    if grain is Grain.DATE:
        found = _whole_date(known, expected, minimum, warnings)
    elif expected:
        found = _by_game(known, expected, minimum, min_coverage, warnings)
    else:
        found = _games_unjudged(known, expected, minimum, warnings)
    if found.state is not State.READY or found.minimum is None:
        return found
    enough = found.rows is not None and found.rows >= found.minimum
    return found if enough else found._replace(state=State.SHORT)


def _whole_date(
    known: TableDate,
    expected: Sequence[str] | None,
    minimum: int | None,
    warnings: tuple[str, ...],
) -> _Found:
    """The last load is the whole date."""
    arrival = known.newest
    assert arrival is not None  # it has arrivals
    if arrival.empty:
        nothing_due = expected is not None and not expected
        state = State.READY if nothing_due else State.EMPTY
        return _Found(state=state, loads=(arrival,), rows=0)
    in_part = not arrival.covers_all(expected)
    if in_part:
        warnings = (*warnings, _in_part(known))
    return _Found(
        state=State.INCOMPLETE if in_part and minimum is None else State.READY,
        loads=(arrival,),
        rows=arrival.record_count,
        minimum=minimum,
        in_part=in_part,
        warnings=warnings,
    )


def _by_game(
    known: TableDate,
    expected: Sequence[str],
    minimum: int | None,
    min_coverage: float,
    warnings: tuple[str, ...],
) -> _Found:
    """Coverage is the union of the per-game winners; counts add up over covered games."""
    covering: dict[str, Arrival] = {}
    saying_none: dict[str, Arrival] = {}
    in_part = False
    missing: list[str] = []
    counts: list[float | None] = []
    games, whole, arrivals = known.games, known.whole, known.arrivals
    for game in expected:
        event_id = games.get(game, whole)
        arrival = None if event_id is None else arrivals[event_id]
        if arrival is None or arrival.empty:
            missing.append(game)
            if arrival is not None:
                saying_none[arrival.event_id] = arrival
            continue
        if arrival.status is LoadStatus.PARTIAL and not arrival.covers(game):
            in_part = True
            if minimum is None:  # else its rows say whether they are enough
                missing.append(game)
                continue
        covering[arrival.event_id] = arrival
        rows = arrival.record_count
        counts.append(None if rows is None else rows / (arrival.game_count or len(expected)))
    covered = len(expected) - len(missing)
    state = State.READY
    if covered < max(1, ceil(min_coverage * len(expected) - 1e-9)):
        none_at_all = saying_none and not covering and not in_part
        state = State.EMPTY if none_at_all else State.INCOMPLETE
    if in_part:
        warnings = (*warnings, _in_part(known))
    unexpected = tuple(sorted(known.games.keys() - expected)) if known.games else ()
    if unexpected:
        warnings = (*warnings, _unexpected(known, unexpected))
    return _Found(
        state=state,
        loads=tuple((covering or saying_none or known.arrivals).values()),
        rows=_added_up(counts),
        minimum=minimum,
        covered=covered,
        missing=tuple(missing),
        in_part=in_part,
        unexpected=unexpected,
        warnings=warnings,
    )


def _games_unjudged(
    known: TableDate,
    expected: Sequence[str] | None,
    minimum: int | None,
    warnings: tuple[str, ...],
) -> _Found:
    """No games to cover: the calendar is unknown, or says that there are none."""
    winners = tuple(known.arrivals.values())
    if expected is not None:
        unexpected = tuple(sorted(known.games))
        return _Found(
            state=State.READY,
            loads=winners,
            rows=0,
            unexpected=unexpected,
            warnings=(_unexpected(known, unexpected),) if unexpected else (),
        )
    with_rows = tuple([a for a in winners if not a.empty])
    by_game = [a for e in known.games.values() if not (a := known.arrivals[e]).empty]
    count = _added_up([a.share for a in by_game])
    whole = known.whole_arrival
    if whole is not None and not whole.empty:
        # Nobody can say which of its rows the newer per-game loads replaced.
        unknown = whole.record_count is None or count is None
        count = None if unknown else max(whole.record_count or 0, count or 0)
    in_part = whole is not None and not whole.empty and not whole.covers_all(None)
    state = State.READY if with_rows else State.EMPTY
    if known.not_kept and known.games:
        warnings = (
            *warnings,
            f"{known.table}: rows of games beyond the first {len(known.games)} by id are "
            "not counted until the calendar is known",
        )
    if in_part:
        warnings = (*warnings, _in_part(known))
        state = State.INCOMPLETE if minimum is None and with_rows == (whole,) else state
    return _Found(
        state=state,
        in_part=in_part,
        loads=with_rows or winners,
        rows=count,
        minimum=minimum,
        covered=len(by_game),
        warnings=(
            *warnings,
            f"{known.table}: the calendar does not know {known.game_date}, so coverage cannot be "
            "judged",
        ),
    )


def _in_part(known: TableDate) -> str:
    return f"{known.table}: a load of {known.game_date} is partial and does not name every game"


def _added_up(counts: Sequence[float | None]) -> int | None:
    """The sum of row counts, or None where one is unknown."""
    known = [c for c in counts if c is not None]
    return round(sum(known)) if len(known) == len(counts) else None


def _unexpected(known: TableDate, games: Sequence[str]) -> str:
    words = f"{known.table} has games that the calendar does not expect: {listed(games)}"
    if known.not_kept:
        times = counted(known.not_kept, "time")
        words = f"{words}; such ids were named {times} beyond those kept"
    return words
