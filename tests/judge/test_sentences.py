"""What a partition says of itself, true and untrue."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from coordinator.judge.observations import Explained
from tests.judge.stage import DATE, ODDS, PBP, Stage

NEEDS = [{"table": ODDS}, {"table": PBP}]


def says(stage: Stage, status: str, why: str, met: int, **more: Any) -> list[str]:
    """The rules that a partition breaks by saying this."""
    said: dict[str, Any] = {"total": 2, "holds": (), "expected_at": None, "wake_at": None, **more}
    at = stage.now
    stage.judge.see(at, Explained("P", DATE, at, status, why, met, **said))
    return stage.rules


@pytest.mark.parametrize(
    ("why", "met", "broken"),
    [
        (f"Waiting for {PBP}: no load yet for {DATE}.", 1, []),
        (f"Waiting for {PBP}: no load yet for {DATE}.", 2, ["status.requirements"]),
        (f"Waiting for {ODDS}: no load yet; {PBP}: no load yet.", 1, ["why.waiting"]),
        (f"Waiting for {PBP}_more: no load yet for {DATE}.", 1, ["why.waiting", "why.waiting"]),
    ],
)
def test_who_waits_names_what_is_not_met(why: str, met: int, broken: list[str]) -> None:
    stage = Stage(NEEDS)
    stage.load(ODDS)
    assert says(stage, "waiting", why, met) == broken


def test_who_is_held_names_the_hold_and_its_end() -> None:
    def stage() -> Stage:
        found = Stage([{"table": ODDS}, {"table": PBP, "critical": False}], grace="10m")
        found.load(ODDS)
        return found

    end = stage().now + timedelta(minutes=10)
    why = f"held: grace until {end:%Y-%m-%d %H:%M:%SZ}"
    assert says(stage(), "settling", why, 1, holds=(("grace", end),)) == []
    late = end + timedelta(minutes=1)
    words = f"held: grace until {late:%Y-%m-%d %H:%M:%SZ}"
    assert says(stage(), "settling", words, 1, holds=(("grace", late),)) == ["why.held"]
    assert says(stage(), "settling", "held.", 1, holds=(("grace", end),)) == ["why.held"]
    assert says(stage(), "settling", "due now.", 1) == ["why.held"]
    cooldown = (("grace", end), ("cooldown", end))
    assert says(stage(), "settling", why, 1, holds=cooldown) == ["why.held"]


def test_a_hold_whose_beginning_nobody_can_say_is_known_by_its_end() -> None:
    stage = Stage([{"table": ODDS}, {"table": PBP, "critical": False}], debounce="10m")
    stage.load(ODDS)
    stage.acts("reset")
    end = stage.now + timedelta(minutes=10)
    for over, broken in ((end, []), (end + timedelta(minutes=1), ["why.held"])):
        why = f"held: quiet time until {over:%Y-%m-%d %H:%M:%SZ}"
        assert says(stage, "settling", why, 1, holds=(("debounce", over),)) == broken


def test_a_load_that_an_instance_with_a_fast_clock_found_too_old_is_held_from_its_receipt() -> None:
    stage = Stage([{"table": ODDS, "max_age_hours_fail": 1}, {"table": PBP}], debounce="10m")
    stage.load(PBP)
    stage.after(hours=2).load(ODDS, timestamp=(stage.now - timedelta(hours=2)).isoformat())
    end = stage.now + timedelta(minutes=10)
    stage.after(hours=-2)
    why = f"held: quiet time until {end:%Y-%m-%d %H:%M:%SZ}"
    assert says(stage, "settling", why, 2, holds=(("debounce", end),)) == []


def test_nothing_is_expected_in_the_past() -> None:
    stage = Stage(NEEDS)
    why = f"Waiting for {ODDS}; {PBP}."
    past = stage.now - timedelta(minutes=5)
    assert says(stage, "waiting", why, 0, expected_at=past, wake_at=past) == [
        "status.expected_at",
        "status.wake_at",
    ]
