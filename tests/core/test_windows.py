"""History windows at their edges: since when they are met, waived, empty, and in words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from coordinator.core.explain import requirement_sentence
from coordinator.core.facts import Surveyed
from coordinator.core.machine import decide
from coordinator.core.verdict import State
from tests.core.world import DATE, A, C, World, at, day, table, window

FIRST, SECOND, THIRD = "2024-10-20", "2024-10-21", "2024-10-22"


def looking_back(*days: float | None, **settings: object) -> World:
    """A window over three dates, each met since so many minutes, or not."""
    world = World(table(A), window(C, game_dates=3, **settings), known_from=FIRST)
    dates = zip((FIRST, SECOND, THIRD), days, strict=False)
    world.at(30).look_back(
        *(day(d, met=n is not None, since=None if n is None else at(n)) for d, n in dates)
    )
    return world


@pytest.mark.parametrize(
    ("days", "min_ready", "since"),
    [
        ((1, 2, 3), 1.0, 3),
        ((3, 1, 2), 1.0, 3),
        ((1, 2, None), 0.6, 2),
        ((5, None, 9), 0.3, 5),
        ((7,), 1.0, 7),
    ],
)
def test_a_window_is_met_since_the_last_date_that_it_needed(
    days: tuple[float | None, ...], min_ready: float, since: float
) -> None:
    verdict = looking_back(*days, min_ready=min_ready).requirement(1)
    assert verdict.state is State.READY
    assert verdict.since == at(since)
    assert verdict.used == (C,)


def test_an_unmet_window_is_met_since_never_and_uses_nothing() -> None:
    verdict = looking_back(1, None, 3).requirement(1)
    assert (verdict.state, verdict.since, verdict.used) == (State.INCOMPLETE, None, ())


def test_an_empty_window_is_met_since_the_partition_is_known() -> None:
    verdict = looking_back().requirement(1)
    assert (verdict.state, verdict.since, verdict.used) == (State.READY, at(0), ())
    assert verdict.warnings == (f"{C}: no game dates before {DATE} are known",)


def test_a_waived_window_counts_since_it_was_met_or_else_since_the_waiver() -> None:
    world = looking_back(1, 2, 3)
    world.at(40).waive(C, until=90)
    verdict = world.requirement(1)
    assert (verdict.state, verdict.since) == (State.WAIVED, at(3))
    (leaf,) = verdict.sources
    assert (leaf.game_date, leaf.since, leaf.unwaived_state) == (DATE, at(3), State.READY)
    unmet = looking_back(1, None, 3)
    unmet.at(40).waive(C, until=90)
    verdict = unmet.requirement(1)
    assert (verdict.state, verdict.since, verdict.used) == (State.WAIVED, at(40), ())
    (leaf,) = verdict.sources
    assert (leaf.since, leaf.unwaived_state) == (at(40), State.INCOMPLETE)


@pytest.mark.parametrize(
    ("span", "words"),
    [
        ({"game_dates": 10}, "the last 10 game dates"),
        ({"game_dates": 1}, "the last 1 game date"),
        ({"days": 30}, "the 30 days before"),
        ({"days": 1}, "the 1 day before"),
    ],
)
def test_an_empty_window_is_said_with_its_span(span: dict[str, int], words: str) -> None:
    met = World(window(C, **span), known_from=DATE)
    assert requirement_sentence(met.requirement()) == (
        f"{C}: {words} hold no known game dates, so there is nothing to wait for"
    )
    unknown = World(window(C, **span))
    assert requirement_sentence(unknown.requirement()) == (
        f"{C}: no game dates are known in {words}; "
        "say calendar.known_from in the registry, or load the calendar"
    )


def test_a_window_that_is_left_to_the_sweep_is_due_at_once_and_says_so() -> None:
    world = looking_back(1, 2, 3)
    later = Surveyed(games=world.games, windows=None, windows_later=True)
    decision = decide(world.partition, (later,), world.spec, world.now)
    assert decision.partition.wake_at is not None
    assert decision.partition.wake_at - world.now <= timedelta(seconds=1)
    assert decision.fired is None
    sentence = requirement_sentence(decision.verdict.requirements[1])
    assert sentence == f"{C}: the last 3 game dates have not been evaluated yet"


def test_a_window_that_is_left_to_the_sweep_is_not_due_while_a_run_is_live() -> None:
    world = looking_back(1, 2, 3)
    world.load(A)
    later = Surveyed(games=world.games, windows=None, windows_later=True)
    decision = decide(world.partition, (later,), world.spec, world.now)
    assert decision.partition.live is not None
    assert not decision.partition.inputs.windows_due
