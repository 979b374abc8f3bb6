"""Instants on the registry's clock, and the dates of a window."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from coordinator.core.schedule import all_game_dates, instant, needed_of, shift, window_dates
from coordinator.core.spec import ClockTime, Window

NEW_YORK = "America/New_York"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("date", "clock", "expected"),
    [
        ("2024-10-23", ClockTime(hour=10, minute=0, day=1), utc(2024, 10, 24, 14, 0)),
        ("2024-12-23", ClockTime(hour=10, minute=0, second=30), utc(2024, 12, 23, 15, 0, 30)),
        # 2025-03-09 02:30 does not exist: the instant the clock jumps to, 03:00 EDT
        ("2025-03-09", ClockTime(hour=2, minute=30), utc(2025, 3, 9, 7, 0)),
        ("2025-03-09", ClockTime(hour=2, minute=0), utc(2025, 3, 9, 7, 0)),
        ("2025-03-09", ClockTime(hour=2, minute=59, second=59), utc(2025, 3, 9, 7, 0)),
        ("2025-03-09", ClockTime(hour=1, minute=59), utc(2025, 3, 9, 6, 59)),
        ("2025-03-09", ClockTime(hour=3, minute=0), utc(2025, 3, 9, 7, 0)),
        # 2024-11-03 01:30 occurs twice: the first, still EDT
        ("2024-11-03", ClockTime(hour=1, minute=30), utc(2024, 11, 3, 5, 30)),
        ("2024-11-02", ClockTime(hour=1, minute=30, day=1), utc(2024, 11, 3, 5, 30)),
        ("2024-11-03", ClockTime(hour=2, minute=0), utc(2024, 11, 3, 7, 0)),
    ],
)
def test_a_clock_time_is_one_instant_also_when_the_clocks_change(
    date: str, clock: ClockTime, expected: datetime
) -> None:
    assert instant(date, clock, NEW_YORK) == expected


def test_dates_at_the_edge_of_the_calendar_do_not_overflow() -> None:
    late = ClockTime(hour=23, minute=59, day=2)
    assert instant("9999-12-31", late, NEW_YORK) == utc(9999, 12, 31, 23, 59)
    assert instant("0001-01-01", ClockTime(hour=0, minute=0), "Asia/Tokyo") == utc(1, 1, 1)
    assert shift("9999-12-31", 1) == "9999-12-31"
    assert shift("0001-01-01", -1) == "0001-01-01"


def test_shift_counts_calendar_days() -> None:
    assert shift("2024-03-01", -1) == "2024-02-29"
    assert shift("2024-12-31", 1) == "2025-01-01"


GAMES = ("2024-10-19", "2024-10-20", "2024-10-22", "2024-10-23", "2024-10-24")
OFF = ("2024-10-21",)
DATES = all_game_dates(GAMES, OFF)


def test_a_window_counted_in_game_dates_skips_days_without_games() -> None:
    found = window_dates(Window(game_dates=2), "2024-10-23", DATES)
    assert found == ("2024-10-20", "2024-10-22")


def test_a_window_counted_in_days_looks_at_the_game_dates_among_them() -> None:
    found = window_dates(Window(days=3), "2024-10-23", DATES)
    assert found == ("2024-10-20", "2024-10-22")
    assert window_dates(Window(days=1), "2024-10-22", DATES) == ()


def test_a_window_never_looks_at_its_own_date_or_later() -> None:
    assert "2024-10-23" not in window_dates(Window(game_dates=9), "2024-10-23", DATES)


def test_nothing_before_known_from_is_looked_at() -> None:
    found = window_dates(Window(game_dates=9), "2024-10-23", DATES, known_from="2024-10-20")
    assert found == ("2024-10-20", "2024-10-22")
    days = window_dates(Window(days=9), "2024-10-23", DATES, known_from="2024-10-22")
    assert days == ("2024-10-22",)


def test_a_date_the_calendar_does_not_know_counts_where_the_table_has_loads() -> None:
    loaded = ("2024-10-18", "2024-10-21")
    found = window_dates(Window(game_dates=9), "2024-10-20", all_game_dates(GAMES, OFF, loaded))
    assert found == ("2024-10-18", "2024-10-19")
    off = window_dates(Window(game_dates=9), "2024-10-22", all_game_dates(GAMES, OFF, loaded))
    assert "2024-10-21" not in off


@pytest.mark.parametrize(
    ("share", "existing", "needed"),
    [(0.8, 10, 8), (0.8, 9, 8), (0.7, 10, 7), (1.0, 3, 3), (0.5, 0, 0)],
)
def test_the_share_of_a_window_is_rounded_up(share: float, existing: int, needed: int) -> None:
    assert needed_of(Window(game_dates=10, min_ready=share), existing) == needed
