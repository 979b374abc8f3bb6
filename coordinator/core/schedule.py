"""Deadlines, schedules and windows on the registry's clock. Pure date arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from math import ceil
from zoneinfo import ZoneInfo

from coordinator.core.spec import ClockTime, Window


@lru_cache(maxsize=4096)
def instant(game_date: str, clock: ClockTime, timezone: str) -> datetime:
    """The UTC instant of a clock time relative to a game date.

    A wall-clock time that a change to summer time skips is read with the offset in force before
    the change (02:30 becomes 03:30); one that occurs twice is read as its first occurrence. What
    lies outside the years that can be counted is read as their first or last instant.
    """
    day = date.fromisoformat(shift(game_date, clock.day))
    wall = datetime.combine(day, time(clock.hour, clock.minute, clock.second))
    try:
        return wall.replace(tzinfo=ZoneInfo(timezone), fold=0).astimezone(UTC)
    except OverflowError:
        return wall.replace(tzinfo=UTC)


def acts(at: datetime, *set_since: datetime | None) -> bool:
    """Whether a deadline's or schedule's instant acts, by since when what sets it is in force.

    One that a change of the registry put into the past does nothing (contract 4.1). None: in force
    since the first registry.
    """
    return all(since is None or at >= since for since in set_since)


@lru_cache(maxsize=16384)
def shift(game_date: str, days: int) -> str:
    """The game date ``days`` later (negative: earlier), within the years 1 to 9999."""
    try:
        return (date.fromisoformat(game_date) + timedelta(days=days)).isoformat()
    except OverflowError:
        return (date.max if days > 0 else date.min).isoformat()


def window_dates(
    window: Window,
    game_date: str,
    calendar: Mapping[str, tuple[str, ...]],
    loaded: Iterable[str] = (),
    known_from: str | None = None,
) -> tuple[str, ...]:
    """The game dates a window looks at, ascending.

    ``calendar`` holds the known dates; a date it does not know counts as a game date where the
    table has loads on it (``loaded``). Nothing before ``known_from`` is looked at.
    """
    known = {d for d, games in calendar.items() if games}
    known |= {d for d in loaded if d not in calendar}
    floor = known_from or ""
    if window.days is not None:
        floor = max(floor, shift(game_date, -window.days))
    found = sorted(d for d in known if floor <= d < game_date)
    return tuple(found[-window.game_dates :] if window.game_dates is not None else found)


def needed_of(window: Window, existing: int) -> int:
    """How many of ``existing`` dates must be ready."""
    return ceil(window.min_ready * existing - 1e-9)
