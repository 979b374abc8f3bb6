"""Deadlines, schedules and windows on the registry's clock. Pure date arithmetic."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from math import ceil
from zoneinfo import ZoneInfo

from coordinator.core.spec import ClockTime, Window


@lru_cache(maxsize=4096)
def instant(game_date: str, clock: ClockTime, timezone: str) -> datetime:
    """The UTC instant of a clock time relative to a game date.

    A wall-clock time that daylight saving skips is read as the instant the clock jumps to (02:30
    becomes 03:00); one that occurs twice is read as its first occurrence (specification 2.6). What
    lies outside the years that can be counted is read as their first or last instant.
    """
    day = date.fromisoformat(shift(game_date, clock.day))
    wall = datetime.combine(day, time(clock.hour, clock.minute, clock.second))
    zone = ZoneInfo(timezone)
    try:
        # The two folds differ in offset around a change; only in a gap does the first come later.
        late = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
        early = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
        return late if late <= early else _jump(early, late, zone)
    except OverflowError:
        return wall.replace(tzinfo=UTC)


def _jump(early: datetime, late: datetime, zone: ZoneInfo) -> datetime:
    """The instant between two at which the zone's offset changes, to the second."""
    before = early.astimezone(zone).utcoffset()
    low, high = 0, int((late - early).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        if (early + timedelta(seconds=middle)).astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return early + timedelta(seconds=high)


def acts(at: datetime, *set_since: datetime | None) -> bool:
    """Whether a deadline's or schedule's instant acts, by since when what sets it is served.

    One that a change of the registry put into the past does nothing (specification 2.8). None: since
    the first registry.
    """
    return all(since is None or at >= since for since in set_since)


@lru_cache(maxsize=16384)
def shift(game_date: str, days: int) -> str:
    """The game date ``days`` later (negative: earlier), within the years 1 to 9999."""
    try:
        return (date.fromisoformat(game_date) + timedelta(days=days)).isoformat()
    except OverflowError:
        return (date.max if days > 0 else date.min).isoformat()


def all_game_dates(
    games: Iterable[str], off: Iterable[str] = (), loaded: Iterable[str] = ()
) -> tuple[str, ...]:
    """Every date that a window may count, ascending.

    Those are the dates on which the calendar has ``games``, and those that it does not know at all
    (they are neither there nor ``off``) where the table has loads (``loaded``).
    """
    return tuple(sorted({*games, *({*loaded} - {*off})}))


def window_dates(
    window: Window, game_date: str, game_dates: Sequence[str], known_from: str | None = None
) -> tuple[str, ...]:
    """Those of ``game_dates`` (ascending) that a window holds, ascending.

    Nothing before ``known_from`` counts.
    """
    floor = known_from or ""
    if window.days is not None:
        floor = max(floor, shift(game_date, -window.days))
    first, end = bisect_left(game_dates, floor), bisect_left(game_dates, game_date)
    if window.game_dates is not None:
        first = max(first, end - window.game_dates)
    return tuple(game_dates[first:end])


def needed_of(window: Window, existing: int) -> int:
    """How many of ``existing`` dates must be ready."""
    return ceil(window.min_ready * existing - 1e-9)
