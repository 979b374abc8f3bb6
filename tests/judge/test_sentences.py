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


def test_nothing_is_expected_in_the_past() -> None:
    stage = Stage(NEEDS)
    why = f"Waiting for {ODDS}; {PBP}."
    past = stage.now - timedelta(minutes=5)
    assert says(stage, "waiting", why, 0, expected_at=past, wake_at=past) == [
        "status.expected_at",
        "status.wake_at",
    ]
