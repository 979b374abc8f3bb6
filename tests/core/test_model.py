"""What the values of a partition and a run say of themselves."""

from __future__ import annotations

from dataclasses import fields

from coordinator.core.choices import RunStatus
from coordinator.core.model import Mark, Partition, Waiver, run_id
from tests.core.world import DATE, GAMES, START, A, World, at


def test_marks_are_of_one_content_by_event_or_by_hash() -> None:
    mark = Mark(event_id="a", content_hash="h")
    assert mark.same_content(Mark(event_id="a"))
    assert mark.same_content(Mark(event_id="b", content_hash="h"))
    assert not mark.same_content(Mark(event_id="b", content_hash="i"))
    assert not Mark(event_id="a").same_content(Mark(event_id="b"))


def test_a_waiver_is_open_until_its_time_or_its_closing() -> None:
    waiver = Waiver(table=A, reason="r", actor="ann", at=START, until=at(5))
    assert waiver.open_at(at(4))
    assert not waiver.open_at(at(5))
    assert Waiver(table=A, reason="r", actor="ann", at=START).open_at(at(10_000))


def test_ids_are_derived() -> None:
    partition = Partition(processor="P", game_date=DATE, created_at=START)
    assert partition.id == f"P__{DATE}"
    assert partition.run_id is None
    assert partition.outbox_due is None
    world = World()
    world.load()
    assert world.partition.run_id == run_id("P", DATE, 1) == f"P:{DATE}:1"
    assert world.partition.outbox_due == world.now


def test_what_is_asked_of_a_partition_most_is_read_from_its_groups() -> None:
    world = World()
    world.load()
    partition = world.partition
    for group in (partition.inputs, partition.execution, partition.journal):
        for field in fields(group):
            if hasattr(partition, field.name):
                assert getattr(partition, field.name) is getattr(group, field.name)
    assert (partition.games, partition.pauses) == ({DATE: GAMES}, ())


# ── reports ──────────────────────────────────────────────────────────────────────────────────


def test_a_run_remembers_how_each_of_its_attempts_was_reported() -> None:
    world = World(attempts=2)
    world.load()
    world.claim(token="t1")
    world.complete(RunStatus.FAILED, "t1")
    assert world.run.reported("t1") is RunStatus.FAILED
    world.at(5).claim(token="t2")
    assert world.run.reported("t2") is None
    ended = world.complete(RunStatus.SUCCESS, "t2").runs[-1]
    assert ended.reported("t1") is RunStatus.FAILED
    assert ended.reported("t2") is RunStatus.SUCCESS


def test_a_run_whose_attempts_were_spent_remembers_the_last_report() -> None:
    world = World(attempts=1)
    world.load()
    world.claim()
    assert world.complete(RunStatus.FAILED).runs[-1].reported("t1") is RunStatus.FAILED


def test_a_cancelled_run_was_not_reported() -> None:
    world = World()
    world.load()
    world.claim()
    assert world.reset().runs[0].reported("t1") is None
