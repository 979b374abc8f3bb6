"""What a partition and its runs remember of what happened, line by line (law 6)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from coordinator.core.choices import RunStatus
from coordinator.core.facts import SkipRequested
from coordinator.core.model import Attempt, Flag, Run, Skip, Transition, Trigger
from coordinator.core.people import WAIVERS_LIMIT
from coordinator.core.spec import DeadlineAction
from tests.core.world import DATE, A, B, World, at, deadline, minutes, table

R1 = f"P:{DATE}:1"


def line(n: float, what: str, detail: str = "", actor: str | None = None) -> Transition:
    return Transition(at=at(n), what=what, detail=detail, actor=actor)


def fired(**policy: object) -> World:
    world = World(**{"heartbeat_timeout": minutes(5), "retry_backoff": minutes(1), **policy})
    world.load()
    return world


def ended(world: World) -> Run:
    """The run that the last decision ended."""
    (run,) = [r for r in world.decision.runs if not r.live]
    return run


def test_a_run_keeps_every_step_of_its_life() -> None:
    world = fired()
    world.at(1).deliver("m7")
    world.at(2).claim()
    world.at(3).complete(RunStatus.FAILED, error="boom")
    world.at(5).deliver("m8")
    world.claim("w2", "t2")
    world.at(6).complete(token="t2", rows=12)
    run = ended(world)
    assert run.transitions == (
        line(0, "fired", "dependencies"),
        line(1, "delivered", "m7"),
        line(2, "claimed", "w1"),
        line(3, "failed", "boom"),
        line(5, "delivered", "m8"),
        line(5, "claimed", "w2"),
        line(6, "success"),
    )
    first = Attempt(
        number=1,
        launch_at=at(0),
        delivered_at=at(1),
        message_id="m7",
        claimed_at=at(2),
        owner="w1",
        ended_at=at(3),
        error="boom",
        reported_token="t1",
    )
    second = Attempt(
        number=2,
        launch_at=at(4),
        delivered_at=at(5),
        message_id="m8",
        claimed_at=at(5),
        owner="w2",
        ended_at=at(6),
        reported_token="t2",
    )
    assert run.attempts == (first, second)
    assert (run.status, run.ended_at, run.record_count) == (RunStatus.SUCCESS, at(6), 12)
    assert (run.lease_token, run.lease_expires_at, run.error) == (None, None, None)
    assert world.partition.history == (
        line(0, "fired", "generation 1: dependencies"),
        line(6, "success", "generation 1"),
    )


@pytest.mark.parametrize("act", ["skip", "reset"])
def test_a_run_that_a_person_ended_says_who_and_why(act: str) -> None:
    world = fired()
    world.claim()
    world.at(1)
    if act == "skip":
        world.skip(end_run=True)
        why = "skipped: not needed"
    else:
        world.waive("nba_raw.none")
        world.reset()
        why = "reset: again"
    run = next(r for r in world.decision.runs if r.run_id == R1)
    assert run.status is RunStatus.CANCELLED
    assert run.error == why
    assert run.current.error == why
    assert run.transitions[-1] == line(1, "cancelled", why, "ann")


def test_people_are_remembered_with_their_reasons() -> None:
    world = World(table(A), table(B))
    world.waive(A)
    world.at(1).lift(A)
    world.at(2).waive(B, until=4)
    world.tick(4)
    world.at(5).skip()
    world.at(6).reset()
    assert world.partition.history == (
        line(0, "waived", f"{A}: lost", "ann"),
        line(1, "waiver lifted", f"{A}: found", "ann"),
        line(2, "waived", f"{B}: lost", "ann"),
        line(4, "waiver over", B),
        line(5, "skipped", "not needed", "ann"),
        line(6, "reset", "again", "ann"),
    )
    assert [(w.closed_at, w.closed_because) for w in world.partition.waivers] == [
        (at(1), "lifted by ann: found"),
        (at(4), "its time is over"),
    ]


def test_a_waiver_that_is_replaced_or_whose_data_came_says_so() -> None:
    world = World(table(A), table(B))
    world.waive(A)
    world.at(1).waive(A)
    world.at(2).load(A)
    replaced, come = world.partition.waivers
    assert replaced.closed_because == "replaced by a newer waiver"
    assert (come.closed_at, come.closed_because) == (at(2), "its data came")
    assert world.partition.history[-1] == line(2, "waiver over", f"{A}: its data came")


def test_of_many_waivers_at_least_one_closed_one_is_kept() -> None:
    names = [f"nba_raw.t{n}" for n in range(WAIVERS_LIMIT)]
    world = World(*(table(name) for name in [*names, A]))
    world.waive(A)
    world.lift(A)
    world.waive(A)
    world.lift(A)
    for name in names:
        world.waive(name)
    kept = world.partition.waivers
    assert sum(w.closed_at is None for w in kept) == WAIVERS_LIMIT
    assert sum(w.closed_at is not None for w in kept) == 1


def test_a_trigger_is_remembered_with_who_asked() -> None:
    world = fired()
    world.run_through()
    world.at(10).trigger()
    assert world.partition.history[-1] == line(10, "fired", "generation 2: manual", "ann")
    assert world.run.transitions == (line(10, "fired", "manual", "ann"),)
    assert (world.run.trigger, world.run.reason, world.run.actor) == (
        Trigger.MANUAL,
        "wanted",
        "ann",
    )


def test_a_skip_takes_the_flag_of_what_is_overdue() -> None:
    world = World(deadline=deadline(10))
    world.tick(11)
    assert world.flags == {Flag.OVERDUE}
    world.step(SkipRequested(reason="no game", actor="bob"))
    assert world.partition.skip == Skip(reason="no game", actor="bob", at=at(11))
    assert world.partition.timers.overdue is False
    assert world.flags == set()


def test_a_deadline_that_skips_is_remembered_as_one() -> None:
    world = World(deadline=deadline(10, DeadlineAction.SKIP))
    world.tick(10)
    skip = world.partition.skip
    assert skip is not None
    assert skip.actor == "deadline"
    assert skip.reason.endswith(f" passed: {A}: no load yet for {DATE}")
    assert world.partition.history[-1] == line(10, "skipped", skip.reason, "deadline")


def test_a_reset_forgets_what_was_consumed_forced_and_newer() -> None:
    world = fired(cooldown=timedelta(hours=9))
    world.run_through()
    world.at(1).load()
    assert world.partition.execution.dirty_since == at(1)
    world.pause()
    world.reset()
    partition = world.partition
    assert (partition.execution.consumed, partition.execution.consumed_at) == (None, None)
    assert (
        partition.execution.dirty_since,
        partition.inputs.latest,
        partition.execution.forced,
    ) == (None, None, False)
    assert (partition.outcome, partition.skip, partition.execution.refires) == (None, None, 0)
    assert partition.timers.schedule_done_at == at(1)
