"""Durations, counts and lists as sentences say them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from coordinator.core.words import counted, listed, words_for


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (5, "5 s"),
        (60, "1 min"),
        (649, "10 min 49 s"),
        (624.827782, "10 min 24 s"),
        (7200, "2 h"),
        (7205, "2 h"),
        (11_100, "3 h 5 min"),
        (86_400, "1 d"),
        (93_600, "1 d 2 h"),
        (40 * 86_400 + 59, "40 d"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert words_for(timedelta(seconds=seconds)) == words


def test_one_is_not_many() -> None:
    assert counted(1, "game") == "1 game"
    assert counted(0, "game") == "0 games"
    assert counted(2, "try", "tries") == "2 tries"


def test_a_list_is_bounded() -> None:
    assert listed("ab", most=2) == "a, b"
    assert listed("abcd", most=2) == "a, b and 2 more"
