"""The exact notice of each cause: kind, severity, summary and detail (specification 6)."""

from __future__ import annotations

import pytest

from coordinator.core.choices import RunStatus
from coordinator.core.facts import DeliveryFailed
from coordinator.core.model import EffectKind, OutboxEntry
from coordinator.core.spec import DeadlineAction, ScheduleWhen
from tests.core.world import DATE, A, B, World, at, clock_time, deadline, minutes, schedule, table

R1 = f"P:{DATE}:1"
LONG = "x" * 3000


def notice(
    n: float, kind: str, cause: str, severity: str, summary: str, detail: str
) -> OutboxEntry:
    return OutboxEntry(
        effect_id=f"notify:{kind}:{cause}",
        kind=EffectKind.NOTIFY,
        subject=kind,
        due_at=at(n),
        created_at=at(n),
        severity=severity,
        summary=summary,
        detail=detail,
    )


def only(world: World) -> OutboxEntry:
    (entry,) = world.entries(EffectKind.NOTIFY)
    return entry


def test_a_launch_that_cannot_be_delivered() -> None:
    world = World()
    world.load()
    for n in range(11):
        world.at(n).fail_delivery(LONG)
    assert only(world) == notice(
        10,
        "launch_undeliverable",
        f"{R1}:1",
        "error",
        f"The launch of {R1} could not be delivered for 10 min.",
        LONG[:1000],
    )
    (launch,) = world.entries(EffectKind.LAUNCH)
    assert (launch.tries, launch.last_error) == (11, LONG[:1000])
    assert launch.due_at == at(11), "the pause is at most a minute"


def test_an_output_that_cannot_be_announced() -> None:
    world = World()
    world.load()
    world.run_through()
    (owed,) = world.entries(EffectKind.ANNOUNCE)
    world.at(10).step(DeliveryFailed(effect_id=owed.effect_id, error=LONG))
    assert only(world) == notice(
        10,
        "announcement_undeliverable",
        R1,
        "error",
        f"The output of {R1} could not be announced for 10 min; subscribers have not received it.",
        LONG[:1000],
    )


@pytest.mark.parametrize("tries", range(9))
def test_the_pause_between_deliveries_doubles_up_to_a_minute(tries: int) -> None:
    world = World()
    world.load()
    for _ in range(tries + 1):
        world.fail_delivery()
    (launch,) = world.entries(EffectKind.LAUNCH)
    assert (launch.due_at - at(0)).total_seconds() == min(2**tries, 60)


def test_a_lost_lease() -> None:
    world = World(heartbeat_timeout=minutes(5), retry_backoff=minutes(1))
    world.load()
    world.claim()
    world.tick(5)
    assert only(world) == notice(
        5,
        "lease_lost",
        f"{R1}:1",
        "warning",
        f"Attempt 1 of {R1}: lease lost.",
        "no heartbeat within 5 min",
    )
    assert world.run.attempts[0].error == "no heartbeat within 5 min"
    assert world.run.transitions[-1].what == "lease_lost"


def test_a_run_beyond_its_time() -> None:
    world = World(run_timeout=minutes(3), heartbeat_timeout=minutes(5))
    world.load()
    world.claim()
    world.tick(3)
    assert only(world).detail == "ran longer than 3 min"


def test_an_unclaimed_launch() -> None:
    world = World(claim_timeout=minutes(7))
    world.load()
    world.deliver()
    world.tick(7)
    assert only(world) == notice(
        7,
        "unclaimed",
        f"{R1}:1",
        "warning",
        f"Attempt 1 of {R1}: unclaimed.",
        "nobody claimed it within 7 min: is a runner reading there?",
    )


def test_a_failed_run() -> None:
    world = World(attempts=1)
    world.load()
    world.claim()
    world.at(1).complete(RunStatus.FAILED, error="boom")
    assert only(world) == notice(
        1, "run_failed", R1, "error", f"Run {R1} failed; attempts spent: 1.", "boom"
    )


def test_a_failure_without_a_word() -> None:
    world = World(attempts=1)
    world.load()
    world.claim()
    world.complete(RunStatus.FAILED)
    assert only(world).detail == "the runner reported a failure"


def test_spent_refires_by_newer_data() -> None:
    world = World(table(A), table(B), max_refires=0, cooldown=minutes(0))
    world.load(A)
    world.load(B)
    world.run_through()
    world.at(1)
    world.step(world.arriving(A), world.arriving(B))
    assert only(world) == notice(
        1,
        "refires_spent",
        f"P:{DATE}:1",
        "warning",
        f"P {DATE} has no re-fires left.",
        f"newer data in {A}, {B}; trigger it by hand, or reset it",
    )


def test_spent_refires_by_a_schedule() -> None:
    world = World(max_refires=0, schedule=schedule(60, when=ScheduleWhen.ALWAYS))
    world.load()
    world.run_through()
    world.tick(60)
    assert only(world).detail == "its schedule is due; trigger it by hand, or reset it"


@pytest.mark.parametrize(
    ("then", "load", "done", "detail"),
    [
        (DeadlineAction.ALERT, False, "nobody has fired it", f"{A}: no load yet for {DATE}"),
        (DeadlineAction.FIRE, False, "nobody has fired it", f"{A}: no load yet for {DATE}"),
        (
            DeadlineAction.FIRE,
            True,
            "it was fired with what is there",
            f"{A}: no load yet for {DATE}",
        ),
        (DeadlineAction.SKIP, False, "it was skipped", f"{A}: no load yet for {DATE}"),
    ],
)
def test_a_deadline(then: DeadlineAction, load: bool, done: str, detail: str) -> None:
    world = World(table(A), table(B, critical=False), deadline=deadline(10, then))
    if load:
        world.load(B)
    world.tick(10)
    entry = only(world)
    assert (entry.subject, entry.severity) == ("deadline", "warning")
    assert entry.summary == f"P {DATE} passed its deadline; {done}."
    assert entry.detail == detail


def test_a_deadline_past_which_everything_critical_is_met() -> None:
    world = World(deadline=deadline(10), not_before=clock_time(at(30)))
    world.load()
    world.tick(10)
    assert only(world).detail == "every critical requirement is met"
