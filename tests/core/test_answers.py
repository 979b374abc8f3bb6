"""The exact answer to each fact that is refused, repeated or accepted (specification 5.3, 5.4).

A runner acts on ``ok`` and ``code``; a person reads ``detail``. None of the three may go astray.
"""

from __future__ import annotations

import pytest

from coordinator.core.choices import RunStatus
from coordinator.core.facts import (
    Claimed,
    Completed,
    Delivered,
    DeliveryFailed,
    Heartbeat,
    Reply,
    ReportRefused,
)
from coordinator.core.machine import Decision
from coordinator.core.model import Run
from coordinator.core.runs import TRANSITIONS_PER_RUN_LIMIT
from tests.core.world import DATE, A, B, World, at, minutes, table

R1 = f"P:{DATE}:1"


def fired() -> World:
    world = World(heartbeat_timeout=minutes(5), claim_timeout=minutes(10), retry_backoff=minutes(1))
    world.load()
    return world


def running() -> World:
    world = fired()
    world.claim()
    return world


def ended() -> World:
    world = running()
    world.complete()
    return world


def answer(decision: Decision) -> Reply:
    return decision.replies[-1]


def refused(code: str, detail: str) -> Reply:
    return Reply(ok=False, code=code, detail=detail)


def test_what_is_not_owed_any_more_changes_nothing() -> None:
    gone = "that effect is not in the outbox any more"
    world = running()
    for fact in (Delivered(effect_id="?"), DeliveryFailed(effect_id="?", error="503")):
        assert answer(world.step(fact)) == Reply(code="unchanged", detail=gone)


def test_a_claim_is_answered_with_the_run() -> None:
    world = fired()
    assert answer(world.claim()) == Reply(run=world.run)
    assert answer(world.claim()) == Reply(code="unchanged", run=world.run)
    assert answer(world.claim(owner="w2", token="t2")) == refused(
        "taken", f"{R1} attempt 1 is claimed by w1 and its lease is alive."
    )


def test_a_claim_of_another_attempt_says_which_is_current() -> None:
    world = running()
    world.complete(RunStatus.FAILED)
    assert answer(world.claim(attempt=1)) == refused(
        "stale", f"Attempt 1 of {R1} is over; the current attempt is 2."
    )
    assert answer(world.claim(attempt=3)) == refused(
        "stale", f"Attempt 3 of {R1} is not launched yet; the current attempt is 2."
    )
    assert answer(world.claim(attempt=2)) == Reply(run=world.run)


@pytest.mark.parametrize("generation", [0, -1, 2, 7])
def test_a_run_that_never_was_is_unknown(generation: int) -> None:
    world = running()
    unknown = refused("unknown", f"There is no run P:{DATE}:{generation}.")
    assert answer(world.claim(generation=generation)) == unknown
    assert answer(world.step(Heartbeat(generation=generation, token="t1"))) == unknown
    completed = Completed(generation=generation, token="t1", status=RunStatus.SUCCESS)
    assert answer(world.step(completed)) == unknown


def test_a_run_that_ended_is_over() -> None:
    world = ended()
    over = refused("over", f"Run {R1} is over.")
    claimed = Claimed(generation=1, attempt=1, owner="w1", token="t9")
    assert answer(world.step(claimed)) == over
    assert answer(world.heartbeat()) == over
    assert answer(world.complete(token="another")) == over
    assert answer(world.complete(RunStatus.NO_DATA)) == over
    assert answer(world.complete()) == Reply(code="unchanged", detail="already reported")


def test_a_failure_that_is_reported_again_changes_nothing() -> None:
    world = running()
    assert answer(world.complete(RunStatus.FAILED)) == Reply()
    again = Reply(code="unchanged", detail="already reported")
    assert answer(world.complete(RunStatus.FAILED)) == again
    assert not world.decision.changed


def test_a_stale_token_says_who_took_over() -> None:
    stale = refused(
        "stale",
        f"That lease token does not hold {R1}: the lease ended, or another attempt (now 1) took "
        "over. Stop, and discard the result.",
    )
    world = running()
    assert answer(world.heartbeat("t2")) == stale
    assert answer(world.complete(token="t2")) == stale
    assert answer(fired().heartbeat()) == stale


def test_a_heartbeat_past_the_runs_time_is_over() -> None:
    world = World(run_timeout=minutes(8), heartbeat_timeout=minutes(5))
    world.load()
    world.claim()
    world.at(4)
    assert answer(world.heartbeat()) == Reply(run=world.run)
    assert world.decision.runs == (world.run,)
    assert world.run.lease_expires_at == at(9)
    world.at(8)
    assert answer(world.heartbeat()) == refused("over", f"{R1} has used up its run_timeout.")


def test_a_status_that_ends_no_run_is_named() -> None:
    assert answer(running().complete(RunStatus.CANCELLED)) == refused(
        "bad_status", "cancelled ends no run."
    )


def test_an_act_over_a_live_run_says_what_to_do() -> None:
    world = running()
    assert answer(world.trigger()) == Reply(
        ok=False,
        code="live_run",
        detail=f"Run {R1} is running; wait for its end, or reset the partition to end its lease.",
        run=world.run,
    )
    assert answer(world.skip()) == Reply(
        ok=False,
        code="live_run",
        detail=f"Run {R1} is running; say end_run to end its lease and skip.",
        run=world.run,
    )


def test_a_trigger_of_what_is_not_ready_says_what_is_missing() -> None:
    world = World(table(A), table(B))
    world.load()
    world.pause()
    assert answer(world.trigger()) == refused(
        "not_ready",
        f"not ready: {B}: no load yet for {DATE} (bypass: dependencies); "
        "paused by ann (bypass: pause)",
    )
    world.resume()
    world.expect(())
    assert answer(world.trigger()) == refused(
        "not_ready", f"the calendar has no games on {DATE} (bypass: dependencies)"
    )


def test_waivers_that_cannot_be_are_refused() -> None:
    world = World()
    assert answer(world.waive("nba_raw.other")) == refused(
        "unknown", "No requirement of P names nba_raw.other."
    )
    assert answer(world.lift()) == refused("unknown", f"No open waiver of {A} on this partition.")
    assert answer(world.waive()) == Reply()


@pytest.mark.parametrize("act", ["skip", "reset"])
def test_what_was_done_is_answered_with_ok(act: str) -> None:
    world = ended()
    assert answer(world.skip() if act == "skip" else world.reset()) == Reply()


def refusals_of(run: Run) -> list[str]:
    return [t.detail for t in run.transitions if t.what == "refused"]


def test_a_refusal_is_recorded_in_the_history_of_the_live_run() -> None:
    world = running()
    status, token = world.status, world.run.lease_token
    decision = world.step(ReportRefused(run=world.run, detail="claim by w2: taken"))
    assert answer(decision) == Reply()
    assert decision.runs == (world.run,)
    assert refusals_of(world.run) == ["claim by w2: taken"]
    assert (world.status, world.run.lease_token) == (status, token)
    assert answer(world.complete()) == Reply()


def test_the_same_refusal_is_not_recorded_twice_in_a_row() -> None:
    world = running()
    for detail in ("a", "a", "b", "a"):
        world.step(ReportRefused(run=world.run, detail=detail))
    assert refusals_of(world.run) == ["a", "b", "a"]
    long = "x" * 2000
    world.step(ReportRefused(run=world.run, detail=long))
    decision = world.step(ReportRefused(run=world.run, detail=long))
    assert (decision.changed, decision.runs) == (False, ())
    assert refusals_of(world.run)[-1] == long[:1000]


def test_what_the_live_run_knows_is_kept_where_its_document_is_behind() -> None:
    world = running()
    behind = world.run
    world.step(ReportRefused(run=behind, detail="a"))
    world.step(ReportRefused(run=behind, detail="b"))
    assert refusals_of(world.run) == ["a", "b"]


def test_a_refusal_about_a_run_that_is_over_is_recorded_there_and_changes_nothing_else() -> None:
    world = ended()
    over = world.decision.runs[0]
    world.at(60).load()
    world.claim(token="t2")
    before = world.partition
    decision = world.step(ReportRefused(run=over, detail="heartbeat: over"))
    assert not decision.changed
    assert world.partition == before
    (run,) = decision.runs
    assert (run.run_id, run.status, refusals_of(run)) == (
        R1,
        RunStatus.SUCCESS,
        ["heartbeat: over"],
    )
    assert world.step(ReportRefused(run=run, detail="heartbeat: over")).runs == ()


def test_refusals_of_one_decision_with_the_report_that_ended_the_run_are_kept() -> None:
    world = running()
    behind = world.run
    report = Completed(generation=1, token="t1", status=RunStatus.SUCCESS)
    decision = world.step(report, ReportRefused(run=behind, detail="heartbeat: over"))
    (run,) = decision.runs
    assert (run.status, refusals_of(run)) == (RunStatus.SUCCESS, ["heartbeat: over"])


def test_refusals_never_make_the_history_of_a_run_grow_without_end() -> None:
    world = running()
    for n in range(TRANSITIONS_PER_RUN_LIMIT + 5):
        world.step(ReportRefused(run=world.run, detail=f"claim {n}"))
    assert len(world.run.transitions) == TRANSITIONS_PER_RUN_LIMIT
    assert refusals_of(world.run)[-1] == f"claim {TRANSITIONS_PER_RUN_LIMIT + 4}"
