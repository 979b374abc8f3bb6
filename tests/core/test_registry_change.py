"""Inputs read again from the ledger under a changed registry (specification 2.8)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core.arrivals import TableDate
from coordinator.core.facts import Surveyed
from coordinator.core.model import Flag, Latest, Trigger
from coordinator.core.spec import ProcessorSpec
from tests.core.world import A, B, C, World, any_of, at, minutes, table


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
    assert world.partition.inputs.latest == Latest(
        event_id=f"{B}@2", received_at=at(2), quiet=False
    )
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


def test_to_a_new_line_what_came_before_the_run_is_no_newer_data() -> None:
    world = World(table(A), cooldown=minutes(60))
    world.at(9).load()
    world.run_through()
    world.spec = with_new_line(world.spec)
    world.at(10).step(Surveyed(games=world.games, arrivals=ledger((B, 3)), registry_since=at(1)))
    assert not world.verdict.dirty


def test_sources_in_another_order_are_no_newer_data() -> None:
    """The alternative came at 3, after the run was fired at 0; the order changes at 5."""
    world = World(any_of(A, B))
    world.load()
    world.run_through()
    world.at(3).load(B)
    world.spec = replace(world.spec, requirements=(any_of(B, A),), registry_hash="r2")
    known = world.partition.arrivals
    world.at(5).step(Surveyed(games=world.games, arrivals=known, registry_since=at(5)))
    assert not world.verdict.dirty
    assert world.partition.generation == 1
    world.at(70).load(B)
    assert world.decision.fired is not None
    assert world.decision.fired.changed_tables == (B,)
    assert not world.partition.execution.newer_after


def test_newer_data_of_a_new_line_stays_newer_data_under_the_next_registry() -> None:
    """The line came at 5 and its load at 6, held by the cooldown; another line came at 8."""
    world = World(table(A), cooldown=minutes(60))
    world.load()
    world.run_through()
    world.spec = with_new_line(world.spec)
    world.at(5).step(
        Surveyed(games=world.games, arrivals=world.partition.arrivals, registry_since=at(5))
    )
    world.at(6).load(B)
    more = (*world.spec.requirements, table(C, critical=False))
    world.spec = replace(world.spec, requirements=more, registry_hash="r3")
    arrivals = {**world.partition.arrivals, **ledger((C, 7))}
    world.at(8).step(Surveyed(games=world.games, arrivals=arrivals, registry_since=at(8)))
    assert [d.table for d in world.verdict.dirty] == [B]
    world.tick(62)
    assert world.partition.generation == 2


def test_what_a_run_read_is_no_newer_data_though_clocks_were_set_back() -> None:
    """The load was received at 9, the run fired at 1, and the order changed at 5."""
    world = World(any_of(A, B), table(C))
    ahead = ledger((A, 9), (B, 9))
    world.at(1).step(Surveyed(games=world.games, arrivals=ahead), world.arriving(C))
    world.run_through()
    world.spec = replace(world.spec, requirements=(any_of(B, A), table(C)), registry_hash="r2")
    known = world.partition.arrivals
    world.at(5).step(Surveyed(games=world.games, arrivals=known, registry_since=at(5)))
    assert not world.verdict.dirty
    assert world.partition.generation == 1


def test_a_load_of_the_instant_at_which_a_run_was_fired_is_no_newer_data() -> None:
    world = World(table(A), cooldown=minutes(60))
    world.at(3).load()
    world.run_through()
    world.spec = with_new_line(world.spec)
    world.at(4).step(Surveyed(games=world.games, arrivals=ledger((B, 3)), registry_since=at(0)))
    assert not world.verdict.dirty


# ── loads that were recorded without the partition ───────────────────────────────────────────


def read_ledger(world: World) -> None:
    """A registry with the processor comes into use, and its inputs are read again."""
    known = dict(world.ledger)
    world.step(Surveyed(games=world.games, pauses=world.pauses, arrivals=known))


def after_a_run(*optional: str) -> World:
    lines = (table(A), *(table(name, critical=False) for name in optional))
    world = World(*lines, cooldown=minutes(0), grace=minutes(0))
    world.load(A)
    return world.run_through()


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("quiet", [True, False])
def test_a_load_that_came_while_no_registry_had_the_processor_counts(
    quiet: bool, reset: bool
) -> None:
    world = after_a_run()
    world.pause()
    if reset:
        world.reset()
    world.at(1).load(A, quiet=not quiet)
    world.at(2).arriving(A, quiet=quiet)
    read_ledger(world)
    assert (Flag.QUIET in world.flags) is quiet


def test_so_does_the_first_load_of_a_table() -> None:
    world = after_a_run(B)
    world.at(1).load(A, quiet=True)
    world.at(2).arriving(B)
    assert Flag.QUIET in world.flags
    read_ledger(world)
    assert world.run.trigger is Trigger.LATE_DATA


def test_an_ordinary_load_that_came_before_a_quiet_one_does_not_release_it() -> None:
    world = after_a_run(B)
    world.at(1).arriving(B)
    world.at(2).load(A, quiet=True)
    read_ledger(world)
    assert Flag.QUIET in world.flags


def test_after_a_reset_a_table_without_loads_before_releases_nothing() -> None:
    world = after_a_run(B)
    world.pause()
    world.reset()
    world.at(1).arriving(B)
    world.at(2).load(A, quiet=True)
    read_ledger(world)
    assert Flag.QUIET in world.flags
