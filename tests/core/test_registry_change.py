"""Inputs read again from the ledger under a changed registry (specification 2.8)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core.facts import Surveyed
from coordinator.core.model import Latest, TableDate
from coordinator.core.spec import ProcessorSpec
from tests.core.world import A, B, World, at, minutes, table


def ledger(*loads: tuple[str, float]) -> dict[str, TableDate]:
    """What a ledger holds after loads of tables at minutes after the start."""
    other = World(*(table(name) for name, _ in loads))
    for name, n in loads:
        other.at(n).load(name, event_id=f"{name}@{n}")
    return dict(other.partition.arrivals)


def with_new_line(spec: ProcessorSpec) -> ProcessorSpec:
    return replace(spec, requirements=(*spec.requirements, table(B)), registry_hash="r2")


def test_before_the_first_generation_the_newest_load_is_the_latest() -> None:
    world = World(table(A), table(B), debounce=minutes(5))
    world.at(3).step(Surveyed(games=world.games, arrivals=ledger((A, 1), (B, 2))))
    assert world.partition.latest == Latest(event_id=f"{B}@2", received_at=at(2), quiet=False)
    assert world.partition.wake_at == at(7)


@pytest.mark.parametrize(
    ("since", "newer"),
    [
        (None, False),
        (4, False),
        (2, True),
    ],
)
def test_to_a_new_line_what_came_before_its_registry_is_no_newer_data(
    since: float | None, newer: bool
) -> None:
    """The load of the new line came at 3, after the run was fired at 0."""
    world = World(table(A), cooldown=minutes(60))
    world.load()
    world.run_through()
    world.spec = with_new_line(world.spec)
    arrivals = ledger((A, 0), (B, 3))
    arrivals[next(iter(arrivals))] = world.partition.arrivals[next(iter(world.partition.arrivals))]
    served = None if since is None else at(since)
    world.at(5).step(Surveyed(games=world.games, arrivals=arrivals, registry_since=served))
    assert bool(world.verdict.dirty) is newer
    assert world.partition.consumed_at == (at(3) if since is None else at(min(3, since)))


def test_what_was_consumed_never_moves_back() -> None:
    world = World(table(A), cooldown=minutes(60))
    world.at(9).load()
    world.run_through()
    world.spec = with_new_line(world.spec)
    world.at(10).step(Surveyed(games=world.games, arrivals=ledger((B, 3)), registry_since=at(1)))
    assert world.partition.consumed_at == at(9)
    assert not world.verdict.dirty


def test_a_load_of_the_instant_at_which_a_run_was_fired_is_no_newer_data() -> None:
    world = World(table(A), cooldown=minutes(60))
    world.at(3).load()
    world.run_through()
    world.spec = with_new_line(world.spec)
    world.at(4).step(Surveyed(games=world.games, arrivals=ledger((B, 3)), registry_since=at(0)))
    assert not world.verdict.dirty
