"""What a decision asks of the outside, with ids derived from what it is for."""

from __future__ import annotations

import pytest

from coordinator.core.arrivals import LoadStatus
from coordinator.core.choices import Bypass, RunStatus
from coordinator.core.model import EffectKind
from tests.core.world import DATE, OUTPUT, World


def test_a_firing_asks_for_one_launch() -> None:
    world = World()
    world.load()
    (entry,) = world.partition.outbox
    assert entry.effect_id == f"launch:P:{DATE}:1:1"
    assert (entry.kind, entry.subject, entry.attempt) == (EffectKind.LAUNCH, f"P:{DATE}:1", 1)
    assert entry.due_at == entry.created_at == world.now


def test_the_launch_of_a_later_attempt_waits_for_its_back_off() -> None:
    world = World()
    world.load()
    world.claim()
    world.complete(RunStatus.FAILED)
    (entry,) = world.entries(EffectKind.LAUNCH)
    assert entry.effect_id.endswith(":2")
    assert entry.due_at == world.run.current.launch_at > world.now


@pytest.mark.parametrize(
    ("status", "announced"),
    [(RunStatus.SUCCESS, LoadStatus.SUCCESS), (RunStatus.NO_DATA, LoadStatus.NO_DATA)],
)
def test_a_run_that_succeeds_announces_its_output(status: RunStatus, announced: LoadStatus) -> None:
    world = World()
    world.load(correlation_id="c1")
    world.claim()
    world.complete(status, rows=7)
    (entry,) = world.entries(EffectKind.ANNOUNCE)
    load = entry.announcement
    assert load is not None
    assert (load.table, load.game_date, load.status) == (OUTPUT, DATE, announced)
    assert (load.record_count, load.correlation_id, load.quiet) == (7, "c1", False)
    assert load.event_id == f"run:P:{DATE}:1"


@pytest.mark.parametrize("status", [RunStatus.SKIPPED, RunStatus.FAILED])
def test_a_run_that_was_skipped_or_failed_announces_nothing(status: RunStatus) -> None:
    world = World(attempts=1)
    world.load()
    world.claim()
    world.complete(status)
    assert world.entries(EffectKind.ANNOUNCE) == []


def test_a_run_asked_to_skip_downstream_announces_quietly() -> None:
    world = World()
    world.trigger(Bypass.DEPENDENCIES, skip_downstream=True)
    world.run_through()
    (entry,) = world.entries(EffectKind.ANNOUNCE)
    assert entry.announcement is not None
    assert entry.announcement.quiet
