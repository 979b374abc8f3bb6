"""What each fact does to a partition (specification 3.2, 4 and 5.3 to 5.4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from coordinator.core.arrivals import Grain, LoadStatus, TableDate, arrivals_key
from coordinator.core.choices import Bypass, RunStatus
from coordinator.core.draft import HISTORY_LIMIT, NOTIFIED_LIMIT
from coordinator.core.facts import (
    Claimed,
    Completed,
    Delivered,
    DeliveryFailed,
    Loaded,
    Surveyed,
    WaiverGranted,
)
from coordinator.core.machine import blank, decide
from coordinator.core.model import EffectKind, Flag, Status, Trigger
from coordinator.core.people import WAIVERS_LIMIT
from coordinator.core.runs import TRANSITIONS_PER_RUN_LIMIT
from coordinator.core.spec import (
    ClockTime,
    Deadline,
    DeadlineAction,
    OffDay,
    ScheduleEntry,
    ScheduleWhen,
)
from tests.core.world import (
    BEFORE,
    DATE,
    GAMES,
    A,
    B,
    C,
    D,
    World,
    any_of,
    arrival,
    at,
    at_least,
    clock_time,
    day,
    deadline,
    minutes,
    processor,
    schedule,
    table,
    window,
)

ZERO = minutes(0)
HOUR = minutes(60)
ALERT, FIRE, SKIP = DeadlineAction.ALERT, DeadlineAction.FIRE, DeadlineAction.SKIP
NO_DATA = LoadStatus.NO_DATA


def fired(**settings: object) -> World:
    world = World(table(A), table(B, critical=False), **settings)
    world.load()
    return world


def running(**settings: object) -> World:
    world = fired(**settings)
    world.claim()
    return world


def done(**settings: object) -> World:
    return fired(**settings).run_through()


# ── firing ───────────────────────────────────────────────────────────────────────────────────


def test_what_is_ready_and_not_held_is_fired_by_the_call_that_learns_of_it() -> None:
    world = World(table(A), table(B))
    assert world.load(A).fired is None
    decision = world.load(B, correlation_id="c9")
    run = decision.fired
    assert run is not None
    assert (run.generation, run.trigger, run.attempt) == (1, Trigger.DEPENDENCIES, 1)
    assert run.correlation_id == "c9"
    assert decision.runs == (run,)


def test_a_run_explains_itself_and_names_the_registry_and_what_it_consumed() -> None:
    world = World(table(A), table(B, critical=False), grains={A: Grain.GAME})
    world.load(A, GAMES, event_id="e-a")
    run = world.run
    assert run.registry_hash == "r1"
    assert f"{A} has 10 of 10 games" in run.explanation
    assert [(i.table, i.event_ids, i.game_ids) for i in run.inputs] == [(A, ("e-a",), GAMES)]


def test_the_inputs_of_a_table_named_twice_are_listed_once() -> None:
    world = World(table(A), any_of(A, B))
    world.load(A)
    assert [i.table for i in world.run.inputs] == [A]


def test_games_without_rows_are_not_listed_as_inputs() -> None:
    world = World(table(A, min_coverage=0.5), grains={A: Grain.GAME}, grace=HOUR, debounce=HOUR)
    world.load(games=GAMES[:9])
    world.load(games=GAMES[9:], status=NO_DATA, rows=0)
    world.trigger()
    assert world.run.inputs[0].game_ids == GAMES[:9]


def test_a_load_by_date_lists_the_games_it_names() -> None:
    world = World(table(A))
    world.load(games=GAMES[:2])
    assert world.run.inputs[0].game_ids == GAMES[:2]


def test_an_empty_input_lists_no_games() -> None:
    world = World(table(A), games=(), off_day=OffDay.RUN)
    world.load(games=GAMES[:1], rows=0)
    assert world.run.inputs[0].game_ids == ()


def test_a_duplicate_re_evaluates_and_fires_nothing_twice() -> None:
    world = fired()
    assert world.tick().fired is None
    assert not world.decision.changed
    assert world.decision.partition is world.partition


def test_a_date_without_games_is_not_expected_and_nothing_fires() -> None:
    world = World(table(A), games=())
    world.load(status=NO_DATA, rows=0)
    assert (world.status, world.partition.generation) == (Status.NOT_EXPECTED, 0)


def test_with_off_day_run_a_date_without_games_fires() -> None:
    world = World(table(A), games=(), off_day=OffDay.RUN)
    world.load(status=NO_DATA, rows=0)
    assert world.status is Status.FIRING


def test_the_calendar_moves_a_partition_in_and_out_of_not_expected() -> None:
    world = World(table(A), games=None)
    world.expect(())
    assert world.status is Status.NOT_EXPECTED
    world.expect(GAMES)
    assert world.status is Status.WAITING


def test_a_calendar_change_ends_no_run_and_undoes_no_success() -> None:
    world = running()
    world.expect(())
    assert world.status is Status.RUNNING
    world.complete()
    world.expect((*GAMES, "one more"))
    assert world.status is Status.SUCCEEDED


def test_inputs_read_anew_replace_what_was_known() -> None:
    world = World(table(A))
    known = World(table(A), table(B))
    known.load(quiet=True)
    arrivals = known.partition.arrivals
    world.step(Surveyed(games=world.games, arrivals=arrivals))
    assert world.flags == {Flag.QUIET}
    assert world.status is Status.SETTLING
    world.step(Surveyed(games=world.games, arrivals={}))
    assert world.status is Status.WAITING


def test_inputs_read_anew_after_a_generation_do_not_make_a_new_latest() -> None:
    world = done()
    fresh = World(table(A), table(B))
    fresh.load(quiet=True)
    before = world.partition.inputs.latest
    world.step(Surveyed(games=world.games, arrivals=fresh.partition.arrivals))
    assert world.partition.inputs.latest == before


@pytest.mark.parametrize("reset", [False, True])
def test_a_quiet_load_that_is_not_asked_for_any_more_holds_nothing(reset: bool) -> None:
    world = done(grains={A: Grain.GAME}) if reset else World(table(A), table(B))
    known = {k: t for k, t in world.partition.arrivals.items() if t.table == B}
    world.pause()
    if reset:
        world.reset()
    world.at(1).load(A, quiet=True)
    assert Flag.QUIET in world.flags
    asked = world.partition.arrivals
    world.step(Surveyed(games=world.games, pauses=world.pauses, arrivals=known))
    assert Flag.QUIET not in world.flags
    world.step(Surveyed(games=world.games, pauses=world.pauses, arrivals=asked))
    assert Flag.QUIET in world.flags  # an instance with the registry of before decides beside it


@pytest.mark.parametrize("status", [LoadStatus.SKIPPED, LoadStatus.SUCCESS])
@pytest.mark.parametrize("quiet", [True, False])
def test_a_load_that_only_another_registrys_instance_recorded_counts(
    status: LoadStatus, quiet: bool
) -> None:
    """It comes with the next load, which may say nothing about the data itself."""
    world = World(table(A))
    world.load(A, quiet=not quiet)
    world.at(1).arriving(A, quiet=quiet)
    world.at(2).load(A, status=status, quiet=quiet)
    assert (Flag.QUIET in world.flags) is quiet


def test_inputs_read_anew_after_a_reset_keep_that_a_load_of_games_not_kept_released() -> None:
    world = World(table(A), grains={A: Grain.GAME}, games=GAMES)
    world.load(A, GAMES)
    world.run_through()
    world.pause()
    world.reset()
    world.at(1).load(A, GAMES, quiet=True)
    world.at(2).load(A, [f"a{n:02}" for n in range(30)])
    world.at(3).load(A, [f"b{n:02}" for n in range(30)])
    arrivals = {**world.partition.arrivals, f"{B}@{DATE}": TableDate(table=B, game_date=DATE)}
    world.step(Surveyed(games=world.games, pauses=world.pauses, arrivals=arrivals))
    assert world.holds == {"pause"}


def test_inputs_read_anew_after_a_reset_keep_what_was_quiet_released() -> None:
    world = World(table(A), table(B))
    world.load(B)
    world.load(A)
    world.run_through()
    world.pause()
    world.reset()
    fresh = World(table(A), table(B))
    fresh.load(B)
    fresh.load(A, quiet=True)
    world.step(Surveyed(games=world.games, pauses=world.pauses, arrivals=fresh.partition.arrivals))
    assert world.holds == {"pause"}
    world.resume()
    assert world.partition.generation == 2


# ── delivery ─────────────────────────────────────────────────────────────────────────────────


def test_fired_only_once_the_launcher_holds_proof() -> None:
    world = fired()
    assert world.status is Status.FIRING
    world.at(1).deliver("m7")
    assert world.status is Status.FIRED
    assert world.run.current.message_id == "m7"
    assert world.entries(EffectKind.LAUNCH) == []


def test_delivery_is_retried_for_ever_with_back_off_up_to_a_minute() -> None:
    world = fired()
    waits = []
    for _ in range(12):
        world.fail_delivery()
        (entry,) = world.entries(EffectKind.LAUNCH)
        waits.append((entry.due_at - world.now).total_seconds())
        world.now = entry.due_at
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
    assert world.run.attempt == 1
    assert entry.last_error == "503"


def test_an_undeliverable_launch_is_notified_after_ten_minutes_and_once() -> None:
    world = fired()
    world.at(9.9).fail_delivery()
    assert world.notices() == []
    world.at(10).fail_delivery()
    world.at(11).fail_delivery()
    assert world.notices() == ["launch_undeliverable"]


def test_the_ten_minutes_of_a_later_attempt_run_from_its_launch() -> None:
    world = running(retry_backoff=HOUR)
    world.complete(RunStatus.FAILED)
    world.at(60).fail_delivery()
    assert world.notices() == []
    world.at(70).fail_delivery()
    assert world.notices() == ["launch_undeliverable"]


def test_an_output_that_cannot_be_announced_is_notified_after_ten_minutes_and_once() -> None:
    world = done()
    (entry,) = world.entries(EffectKind.ANNOUNCE)
    failed = DeliveryFailed(effect_id=entry.effect_id, error="503")
    world.at(9.9).step(failed)
    assert world.notices() == []
    world.at(30).step(failed)
    world.at(31).step(failed)
    assert world.notices() == ["announcement_undeliverable"]


def test_a_notice_that_cannot_be_delivered_is_not_notified() -> None:
    world = fired()
    world.at(10).fail_delivery()
    (notice,) = world.entries(EffectKind.NOTIFY)
    world.at(60).step(DeliveryFailed(effect_id=notice.effect_id, error="503"))
    assert len(world.notices()) == 1


def test_the_launch_of_a_run_that_ended_is_no_longer_owed() -> None:
    world = fired()
    world.skip(end_run=True)
    assert world.entries(EffectKind.LAUNCH) == []


def test_proof_of_what_is_not_owed_changes_nothing() -> None:
    world = fired()
    for fact in (Delivered(effect_id="x"), DeliveryFailed(effect_id="x", error="e")):
        assert world.step(fact).replies[0].code == "unchanged"
        assert not world.decision.changed


# ── claims ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("delivered", [False, True])
def test_a_claim_proves_delivery_and_grants_the_lease(*, delivered: bool) -> None:
    world = fired()
    if delivered:
        world.deliver()
    world.at(1)
    run = world.claim("w1", "t1").replies[0].run
    assert run is not None
    assert (run.lease_token, run.lease_expires_at) == ("t1", at(6))
    assert world.status is Status.RUNNING
    assert world.entries(EffectKind.LAUNCH) == []


def test_a_late_2xx_never_moves_a_running_run_back() -> None:
    world = fired()
    launch = world.entries(EffectKind.LAUNCH)[0].effect_id
    world.claim()
    world.step(Delivered(effect_id=launch, message_id="late"))
    assert world.status is Status.RUNNING


def test_the_same_owner_gets_the_same_token_again() -> None:
    world = running()
    reply = world.claim("w1", "another").replies[0]
    assert reply.ok
    assert reply.run is not None
    assert reply.run.lease_token == "t1"
    assert not world.decision.changed


def test_another_owner_is_refused() -> None:
    world = running()
    reply = world.claim("w2", "t2").replies[0]
    assert (reply.ok, reply.code) == (False, "taken")
    assert world.run.lease_token == "t1"


@pytest.mark.parametrize("attempt", [0, 2, 99])
def test_a_claim_of_another_attempt_is_stale(attempt: int) -> None:
    world = fired()
    assert world.claim(attempt=attempt).replies[0].code == "stale"


@pytest.mark.parametrize("delivered", [True, False])
def test_a_claim_proves_delivery_whatever_this_clock_says(delivered: bool) -> None:
    world = running()
    world.complete(RunStatus.FAILED)
    assert world.run.current.launch_at > world.now  # it was launched by a clock that is ahead
    if delivered:
        world.deliver()
    assert world.claim("w2", "t2").replies[0].ok
    assert world.status is Status.RUNNING
    assert world.entries(EffectKind.LAUNCH) == []


@pytest.mark.parametrize(("generation", "code"), [(1, "over"), (2, "unknown"), (-1, "unknown")])
def test_a_run_that_is_over_or_never_was_is_distinguished(generation: int, code: str) -> None:
    world = done()
    fact = Claimed(generation=generation, attempt=1, owner="w", token="t")
    assert world.step(fact).replies[0].code == code


def test_the_token_of_a_lease_that_ran_out_is_not_handed_out_again() -> None:
    world = running()
    reply = world.at(6).claim("w1", "t2", attempt=1).replies[0]
    assert (reply.ok, reply.code) == (False, "stale")
    assert world.run.attempt == 2


# ── leases ───────────────────────────────────────────────────────────────────────────────────


def test_a_heartbeat_extends_the_lease() -> None:
    world = running()
    reply = world.at(4).heartbeat().replies[0]
    assert reply.run is not None
    assert reply.run.lease_expires_at == at(9)
    assert world.partition.wake_at == at(9)


def test_a_run_ends_at_its_timeout_however_often_it_reports() -> None:
    world = running(run_timeout=minutes(8))
    world.at(4).heartbeat()
    assert world.partition.wake_at == at(8)
    reply = world.at(8).heartbeat().replies[0]
    assert (reply.ok, reply.code) == (False, "over")
    assert world.run.attempt == 2
    assert world.notices() == ["lease_lost"]


@pytest.mark.parametrize("token", ["garbage", ""])
def test_a_stale_token_changes_nothing(token: str) -> None:
    world = running()
    for decision in (world.heartbeat(token), world.complete(token=token)):
        assert decision.replies[0].code == "stale"
        assert not decision.changed


def test_a_report_without_a_claim_is_refused() -> None:
    world = fired()
    assert world.heartbeat().replies[0].code == "stale"
    assert world.complete().replies[0].code == "stale"


def test_reports_of_a_run_that_never_was_are_unknown() -> None:
    world = World()
    assert world.heartbeat().replies[0].code == "unknown"
    assert world.complete(generation=5).replies[0].code == "unknown"


@pytest.mark.parametrize(
    ("settings", "kind", "after"),
    [
        ({"heartbeat_timeout": minutes(5)}, "lease_lost", 5),
        ({"run_timeout": minutes(3)}, "lease_lost", 3),
    ],
)
def test_a_lost_lease_is_notified_and_the_next_attempt_starts_after_its_back_off(
    settings: dict[str, timedelta], kind: str, after: int
) -> None:
    world = running(**settings)
    world.tick(after)
    assert (world.status, world.run.attempt) == (Status.FIRING, 2)
    assert world.run.current.launch_at == at(after + 1)
    assert world.notices() == [kind]


def test_an_unclaimed_launch_is_notified_and_the_next_attempt_starts() -> None:
    world = fired(claim_timeout=minutes(10))
    world.at(2).deliver()
    assert world.partition.wake_at == at(12)
    world.tick(12)
    assert (world.status, world.run.attempt, world.notices()) == (Status.FIRING, 2, ["unclaimed"])


def test_an_undelivered_launch_is_never_unclaimed() -> None:
    world = fired(claim_timeout=minutes(10))
    world.tick(600)
    assert (world.status, world.run.attempt) == (Status.FIRING, 1)


def test_back_off_doubles_up_to_an_hour_and_the_registry_may_say_more() -> None:
    waits = []
    world = fired(attempts=9, retry_backoff=minutes(1))
    for _ in range(8):
        world.now = max(world.now, world.run.current.launch_at)
        world.claim(token=f"t{world.run.attempt}")
        world.complete(RunStatus.FAILED, f"t{world.run.attempt}")
        waits.append((world.run.current.launch_at - world.now) / minutes(1))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    longer = running(retry_backoff=timedelta(hours=2))
    longer.complete(RunStatus.FAILED)
    assert longer.run.current.launch_at == at(120)


def test_hundreds_of_attempts_do_not_overflow() -> None:
    world = fired(attempts=300)
    world.run_through(RunStatus.FAILED)
    assert (world.status, len(world.decision.runs[0].attempts)) == (Status.FAILED, 300)


def test_a_zombie_is_refused_after_another_attempt_took_over() -> None:
    world = running()
    world.tick(5)
    world.at(6).claim("w2", "t2")
    assert world.complete(token="t1").replies[0].code == "stale"
    assert world.heartbeat("t1").replies[0].code == "stale"
    assert world.complete(token="t2").replies[0].ok


# ── the end of a run ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [RunStatus.SUCCESS, RunStatus.NO_DATA, RunStatus.SKIPPED])
def test_a_good_outcome_ends_the_run(status: RunStatus) -> None:
    world = running()
    decision = world.complete(status)
    assert world.status is Status.SUCCEEDED
    (run,) = decision.runs
    assert (run.status, run.lease_token, run.record_count) == (status, None, 300)


def test_completion_repeated_with_the_same_token_and_status_is_accepted_again() -> None:
    world = running()
    world.complete()
    again = world.at(1).complete()
    assert again.replies[0].ok
    assert not again.changed
    assert not world.complete(RunStatus.NO_DATA).replies[0].ok
    assert not world.complete(token="other").replies[0].ok


def test_completion_repeated_after_the_next_generation_fired_is_accepted_again() -> None:
    world = running(cooldown=ZERO)
    world.at(1).load()
    world.complete()
    assert world.partition.generation == 2
    again = world.complete(generation=1)
    assert again.replies[0].ok
    assert not again.changed


def test_a_failed_report_repeated_is_accepted_again_and_spends_one_attempt() -> None:
    world = running()
    world.complete(RunStatus.FAILED)
    again = world.complete(RunStatus.FAILED)
    assert again.replies[0].ok
    assert world.run.attempt == 2
    assert not world.complete(RunStatus.SUCCESS).replies[0].ok
    last = running(attempts=1)
    last.complete(RunStatus.FAILED)
    assert last.complete(RunStatus.FAILED).replies[0].ok


def test_a_status_that_ends_no_run_is_refused() -> None:
    world = running()
    assert world.complete(RunStatus.CANCELLED).replies[0].code == "bad_status"
    assert world.status is Status.RUNNING


def test_failures_spend_the_attempts_and_the_end_is_notified_once() -> None:
    world = done(attempts=2)
    failing = fired(attempts=2)
    failing.run_through(RunStatus.FAILED)
    assert failing.status is Status.FAILED
    assert failing.notices() == ["run_failed"]
    assert world.notices() == []
    failing.tick(600)
    assert failing.notices() == ["run_failed"]
    assert failing.partition.live is None


def test_a_late_report_in_time_for_its_lease_counts_although_no_sweep_came() -> None:
    world = running()
    assert world.at(6).complete().replies[0].ok
    assert world.status is Status.SUCCEEDED


def test_a_failed_partition_runs_again_on_newer_data_after_the_cooldown_as_a_refire() -> None:
    world = fired(attempts=1, cooldown=HOUR)
    world.run_through(RunStatus.FAILED)
    world.at(1).load()
    assert world.status is Status.FAILED
    assert world.partition.wake_at == at(60)
    world.tick(60)
    assert (world.status, world.partition.execution.refires) == (Status.FIRING, 1)
    world.run_through()
    assert world.status is Status.SUCCEEDED


# ── re-fires ─────────────────────────────────────────────────────────────────────────────────


def test_max_refires_bounds_the_generations_and_reaching_it_is_notified_once() -> None:
    world = fired(cooldown=ZERO, max_refires=2)
    for n in range(1, 6):
        world.run_through()
        world.at(n).load()
    assert world.partition.generation == 3
    assert world.flags == {Flag.NEWER_DATA, Flag.REFIRES_SPENT}
    assert world.notices() == ["refires_spent"]
    world.tick(600)
    assert world.notices() == ["refires_spent"]


def test_a_person_may_trigger_past_the_budget_and_uses_none_of_it() -> None:
    world = fired(cooldown=HOUR, max_refires=0)
    world.run_through().at(1).load()
    world.trigger()
    assert (world.partition.generation, world.partition.execution.refires) == (2, 0)
    assert Flag.FORCED not in world.flags
    assert world.run.trigger is Trigger.MANUAL


def test_a_backfill_uses_neither_cooldown_nor_budget() -> None:
    world = fired(cooldown=HOUR, max_refires=0)
    world.run_through()
    world.backfill()
    assert (world.run.trigger, world.partition.execution.refires) == (Trigger.BACKFILL, 0)


# ── triggers ─────────────────────────────────────────────────────────────────────────────────


def test_a_trigger_fires_what_is_ready_and_overrides_what_only_delays_it() -> None:
    world = World(
        any_of(A, B, prefer_for=HOUR),
        table(C, critical=False),
        grace=HOUR,
        debounce=HOUR,
        not_before=clock_time(at(120)),
    )
    world.load(B, quiet=True)
    run = world.trigger().replies[0].run
    assert run is not None
    assert (run.trigger, run.actor, run.reason, run.bypassed) == (
        Trigger.MANUAL,
        "ann",
        "wanted",
        (),
    )
    assert world.flags == set()


def test_a_trigger_of_a_succeeded_partition_runs_it_again() -> None:
    world = done()
    assert world.trigger().fired is not None


def test_a_trigger_without_its_needs_is_refused_with_what_is_missing() -> None:
    world = World()
    reply = world.trigger().replies[0]
    assert (reply.ok, reply.code) == (False, "not_ready")
    assert f"{A}: no load yet for {DATE}" in reply.detail
    optional = World(table(A, critical=False))
    assert "no input has arrived" in optional.trigger().replies[0].detail


def test_dependencies_can_be_bypassed_which_is_force_and_recorded() -> None:
    world = World(table(A), table(B))
    world.load(A, event_id="e-a")
    world.trigger(Bypass.DEPENDENCIES)
    assert world.run.bypassed == ("dependencies",)
    assert world.run.unmet == (f"{B}: no load yet for {DATE}",)
    assert [i.table for i in world.run.inputs] == [A]
    assert Flag.FORCED in world.flags
    world.run_through()
    assert Flag.FORCED in world.flags


def test_a_forced_run_lists_what_it_found_of_an_unmet_requirement() -> None:
    world = World(table(A), grains={A: Grain.GAME})
    world.load(games=GAMES[:3])
    world.trigger(Bypass.DEPENDENCIES)
    (found,) = world.run.inputs
    assert (found.state, found.game_ids) == ("incomplete", GAMES[:3])


def test_words_of_bypass_with_nothing_to_bypass_are_no_force() -> None:
    world = World(grace=HOUR, debounce=HOUR)
    world.load()
    world.trigger(*Bypass)
    assert Flag.FORCED not in world.flags
    assert world.run.unmet == ()


def test_the_calendar_can_be_bypassed_like_a_dependency() -> None:
    world = World(games=())
    assert "no games" in world.trigger().replies[0].detail
    world.trigger(Bypass.DEPENDENCIES)
    assert (world.status, Flag.FORCED in world.flags) == (Status.FIRING, True)


def test_a_pause_can_be_bypassed_which_is_force() -> None:
    world = World()
    world.pause()
    world.load()
    assert "bypass: pause" in world.trigger().replies[0].detail
    world.trigger(Bypass.PAUSE)
    assert world.flags == {Flag.PAUSED, Flag.FORCED}


@pytest.mark.parametrize("bypass", [(), tuple(Bypass)])
def test_a_trigger_never_makes_a_second_live_run(bypass: tuple[Bypass, ...]) -> None:
    world = fired()
    reply = world.trigger(*bypass).replies[0]
    assert (reply.ok, reply.code) == (False, "live_run")
    assert world.partition.generation == 1


def test_a_trigger_takes_a_skip_back() -> None:
    world = World()
    world.load()
    world.run_through()
    world.skip()
    world.trigger()
    assert world.partition.skip is None


# ── skip and reset ───────────────────────────────────────────────────────────────────────────


def test_data_does_not_change_a_skipped_partition() -> None:
    world = World()
    world.skip()
    world.load()
    assert (world.status, world.partition.generation) == (Status.SKIPPED, 0)
    assert world.partition.wake_at is None


def test_skipping_a_live_run_needs_end_run() -> None:
    world = running()
    assert world.skip().replies[0].code == "live_run"
    decision = world.skip(end_run=True)
    assert world.status is Status.SKIPPED
    assert decision.runs[0].status is RunStatus.CANCELLED
    assert world.complete().replies[0].code == "over"


def test_a_skipped_partition_wakes_for_nothing_but_its_waivers() -> None:
    world = done(cooldown=HOUR)
    world.at(1).load()
    assert world.partition.wake_at is not None
    world.skip()
    assert world.partition.wake_at is None
    world.waive(B, until=30)
    assert world.partition.wake_at == at(30)


def test_reset_judges_afresh_without_cooldown_and_generations_go_on() -> None:
    world = done(cooldown=HOUR)
    assert world.reset().fired is not None
    assert (world.partition.generation, world.partition.execution.refires) == (2, 0)
    assert world.run.trigger is Trigger.DEPENDENCIES


def test_reset_ends_a_live_lease() -> None:
    world = running()
    world.reset()
    assert (world.status, world.partition.generation) == (Status.FIRING, 2)
    assert world.complete(generation=1).replies[0].code == "over"


def test_reset_clears_the_budget_of_refires_and_what_was_forced() -> None:
    world = fired(cooldown=ZERO, max_refires=1)
    world.run_through().at(1).load()
    world.run_through().at(2).load()
    assert Flag.REFIRES_SPENT in world.flags
    world.reset()
    assert world.partition.execution.refires == 0
    world.run_through().at(3).load()
    assert world.partition.generation == 4


def test_reset_of_a_skipped_partition_waits_again() -> None:
    world = World()
    world.skip()
    world.reset()
    assert world.status is Status.WAITING


def test_reset_releases_what_was_quiet() -> None:
    world = World()
    world.load(quiet=True)
    assert world.status is Status.SETTLING
    world.reset()
    assert world.status is Status.FIRING


def test_reset_after_the_deadline_does_not_let_it_act_again() -> None:
    world = World(table(A), table(B), deadline=deadline(30, SKIP))
    world.tick(30)
    assert world.status is Status.SKIPPED
    world.at(31).reset()
    assert (world.status, world.flags) == (Status.WAITING, {Flag.OVERDUE})
    done_before = fired(deadline=deadline(30, FIRE))
    done_before.run_through().at(40)
    done_before.load(status=NO_DATA, rows=0)
    done_before.reset()
    assert done_before.status is Status.WAITING
    assert done_before.notices() == []


def test_reset_keeps_a_deadline_that_a_pause_holds() -> None:
    world = World(table(A), table(B), deadline=deadline(30, FIRE))
    world.load(A)
    world.pause()
    world.at(40).reset()
    world.resume()
    assert world.run.trigger is Trigger.DEADLINE


# ── waivers ──────────────────────────────────────────────────────────────────────────────────


def test_a_waiver_fires_what_it_makes_ready() -> None:
    world = World(table(A), table(B))
    world.load(A)
    world.waive(B)
    assert world.status is Status.FIRING


def test_a_run_under_a_waived_short_input_lists_the_rows_there_are() -> None:
    world = World(table(A, expected_count_min=100))
    world.load(A, rows=7)
    world.waive(A)
    run = world.partition.live
    assert run is not None
    assert [(i.table, i.state, i.record_count) for i in run.inputs] == [(A, "short", 7)]


def test_a_waiver_that_ends_sends_a_settling_partition_back_to_waiting() -> None:
    world = World(table(A), table(B, critical=False), grace=HOUR)
    world.waive(A, until=20)
    assert world.status is Status.SETTLING
    world.tick(20)
    assert world.status is Status.WAITING


def test_a_waiver_of_a_stale_input_closes_with_the_generation_that_ends_freshness() -> None:
    world = World(table(A, max_age_fail=HOUR), table(B, critical=False, max_age_fail=HOUR))
    world.pause()
    world.waive(A)
    world.load(A, stamp=at(-90))
    world.load(B, stamp=at(-90))
    world.resume()
    assert world.partition.waivers[0].closed_because == "its data came"


def test_a_newer_waiver_replaces_an_older_one() -> None:
    world = World(table(A), table(B))
    world.waive(A, until=10)
    world.waive(A, until=20)
    old, new = world.partition.waivers
    assert old.closed_because == "replaced by a newer waiver"
    assert new.closed_at is None


def test_lifting_a_waiver_closes_it_and_one_that_is_not_there_is_unknown() -> None:
    world = World(table(A), table(B))
    world.waive(A)
    assert world.lift(A).replies[0].ok
    assert world.partition.waivers[0].closed_because == "lifted by ann: found"
    assert world.lift(A).replies[0].code == "unknown"


def test_a_waiver_of_a_table_that_nothing_names_is_refused() -> None:
    world = World()
    assert world.waive("nba_raw.other").replies[0].code == "unknown"
    assert world.partition.waivers == ()


def test_the_limit_of_waivers_drops_closed_ones_alone() -> None:
    world = World(table(A), table(B))
    world.waive(A)
    for _ in range(WAIVERS_LIMIT + 5):
        world.waive(B)
    assert len(world.partition.waivers) == WAIVERS_LIMIT
    assert [w.table for w in world.partition.waivers if w.closed_at is None] == [A, B]


# ── deadlines ────────────────────────────────────────────────────────────────────────────────


def late(then: DeadlineAction, **settings: object) -> World:
    world = World(table(A), table(B), deadline=deadline(30, then), **settings)
    world.load(A)
    return world


def test_an_alert_is_sent_at_the_deadline_with_no_event_and_once() -> None:
    world = late(ALERT)
    assert world.partition.wake_at == at(30)
    world.tick(30)
    assert (world.status, world.flags, world.notices()) == (
        Status.WAITING,
        {Flag.OVERDUE},
        ["deadline"],
    )
    world.tick(90)
    assert world.notices() == ["deadline"]
    world.load(B)
    world.run_through()
    assert world.flags == set()


def test_fire_launches_what_is_there_and_records_what_was_missing() -> None:
    world = late(FIRE)
    world.tick(30)
    run = world.run
    assert (run.trigger, run.bypassed) == (Trigger.DEADLINE, ("dependencies",))
    assert run.unmet == (f"{B}: no load yet for {DATE}",)
    assert world.flags == {Flag.OVERDUE, Flag.FORCED}


def test_fire_launches_from_settling_which_is_no_force() -> None:
    world = World(table(A), table(B, critical=False), grace=HOUR, deadline=deadline(30, FIRE))
    world.load(A)
    world.tick(30)
    assert (world.run.trigger, world.run.bypassed) == (Trigger.DEADLINE, ())
    assert Flag.FORCED not in world.flags


def test_fire_with_no_usable_input_alerts_instead() -> None:
    world = World(deadline=deadline(30, FIRE))
    world.load(rows=0)
    world.tick(30)
    assert (world.status, world.notices()) == (Status.WAITING, ["deadline"])


def test_ready_dates_of_a_window_are_usable_input() -> None:
    world = World(window(C, game_dates=3), deadline=deadline(30, FIRE))
    world.look_back(day("2024-10-20"), day(BEFORE, met=False))
    world.tick(30)
    assert world.status is Status.FIRING


def test_fire_does_not_pass_a_quiet_load() -> None:
    for world in (late(FIRE), World(deadline=deadline(30, FIRE))):
        world.load(A, quiet=True)
        world.tick(30)
        assert world.partition.generation == 0
        assert world.notices() == ["deadline"]


def test_skip_gives_the_date_up_and_says_why() -> None:
    world = late(SKIP)
    world.tick(30)
    assert world.status is Status.SKIPPED
    assert world.partition.skip is not None
    assert B in world.partition.skip.reason
    assert world.flags == set()
    optional = World(table(A, critical=False), deadline=deadline(30, SKIP))
    optional.tick(30)
    assert optional.partition.skip is not None
    assert "no input arrived" in optional.partition.skip.reason


def test_skip_leaves_a_ready_partition_to_fire() -> None:
    world = World(table(A), table(B, critical=False), grace=HOUR, deadline=deadline(30, SKIP))
    world.load(A)
    world.tick(30)
    assert world.status is Status.SETTLING
    world.tick(60)
    assert world.status is Status.FIRING


@pytest.mark.parametrize("then", DeadlineAction)
def test_a_date_first_known_after_its_deadline_is_overdue_and_judged_as_usual(
    then: DeadlineAction,
) -> None:
    world = World(table(A), table(B), deadline=deadline(30, then), first_known=60)
    world.load(A)
    assert (world.status, world.flags) == (Status.WAITING, {Flag.OVERDUE})
    assert world.notices() == []
    world.load(B)
    assert world.run.trigger is Trigger.DEPENDENCIES


def test_a_date_first_expected_after_its_deadline_is_overdue_and_judged_as_usual() -> None:
    world = World(games=(), deadline=deadline(30, SKIP))
    world.at(60).expect(GAMES)
    assert (world.status, world.flags) == (Status.WAITING, {Flag.OVERDUE})


@pytest.mark.parametrize("then", DeadlineAction)
def test_a_deadline_passed_while_the_service_was_down_acts_at_the_next_look(
    then: DeadlineAction,
) -> None:
    world = late(then)
    world.tick(600)
    assert world.notices() == ["deadline"]


@pytest.mark.parametrize("then", DeadlineAction)
def test_a_deadline_passed_while_paused_acts_on_resume(then: DeadlineAction) -> None:
    world = late(then)
    world.pause()
    assert world.partition.wake_at == at(30)
    world.tick(30)
    assert world.flags == {Flag.PAUSED, Flag.OVERDUE}
    assert world.notices() == []
    world.at(45).resume()
    assert world.notices() == ["deadline"]


@pytest.mark.parametrize("then", DeadlineAction)
def test_a_deadline_that_passes_while_a_run_is_live_is_notified_once_and_does_nothing_else(
    then: DeadlineAction,
) -> None:
    world = fired(deadline=deadline(30, then))
    assert world.partition.wake_at == at(30)
    world.tick(30)
    assert (world.flags, world.notices()) == ({Flag.OVERDUE}, ["deadline"])
    (notice,) = world.entries(EffectKind.NOTIFY)
    assert notice.summary == f"P {DATE} passed its deadline; run P:{DATE}:1 is firing."
    world.tick(31)
    world.run_through()
    assert (world.status, world.flags, world.notices()) == (Status.SUCCEEDED, set(), ["deadline"])


def test_a_deadline_that_passed_while_the_service_was_down_is_notified_though_the_run_has_ended() -> (
    None
):
    world = running(heartbeat_timeout=HOUR, deadline=deadline(30))
    world.at(40).complete()
    assert (world.status, world.notices()) == (Status.SUCCEEDED, ["deadline"])


def test_a_deadline_that_passes_under_a_pause_is_notified_where_a_run_is_live() -> None:
    world = fired(deadline=deadline(30))
    world.pause()
    world.tick(30)
    assert world.notices() == ["deadline"]


def test_a_deadline_before_a_date_was_known_is_not_notified_under_its_run() -> None:
    world = fired(deadline=deadline(30), first_known=60)
    assert (world.flags, world.notices()) == ({Flag.OVERDUE}, [])
    assert world.partition.timers.deadline_done
    unseen = World(deadline=deadline(30), first_known=60)
    unseen.partition = blank(unseen.spec, DATE, unseen.now)
    unseen.trigger(Bypass.DEPENDENCIES)
    assert (unseen.status, unseen.flags, unseen.notices()) == (
        Status.FIRING,
        {Flag.OVERDUE, Flag.FORCED},
        [],
    )


def test_no_deadline_is_notified_of_a_run_on_a_day_without_games() -> None:
    world = World(games=(), deadline=deadline(30))
    world.trigger(Bypass.DEPENDENCIES)
    world.tick(30)
    assert (world.status, world.notices()) == (Status.FIRING, [])


def test_a_deadline_that_a_registry_moves_into_the_future_acts_again_at_its_new_instant() -> None:
    world = late(ALERT)
    world.tick(30)
    assert world.notices() == ["deadline"]
    world.respec(deadline=deadline(90, SKIP))
    world.tick(60)
    assert (world.flags, world.partition.wake_at) == (set(), at(90))
    world.tick(90)
    assert (world.status, world.notices()) == (Status.SKIPPED, ["deadline", "deadline"])


def test_a_deadline_done_before_instants_were_kept_stays_done() -> None:
    world = late(SKIP)
    timers = replace(world.partition.timers, deadline_done=True)
    world.partition = replace(world.partition, timers=timers)
    world.tick(30)
    assert (world.status, world.notices()) == (Status.WAITING, [])


# ── instants that a change of the registry puts into the past ────────────────────────────────


@pytest.mark.parametrize("then", DeadlineAction)
def test_a_deadline_put_into_the_past_does_nothing(then: DeadlineAction) -> None:
    world = World(table(A), table(B))
    world.load(A)
    world.at(60).respec(deadline=replace(deadline(30, then), set_since=at(60)))
    world.tick()
    assert (world.status, world.flags, world.notices()) == (Status.WAITING, set(), [])
    world.load(B)
    assert world.run.trigger is Trigger.DEPENDENCIES
    world.tick(61)
    assert (world.flags, world.notices()) == (set(), [])


@pytest.mark.parametrize("since", [30, None])
def test_a_deadline_set_by_its_instant_acts_though_the_look_comes_late(since: int | None) -> None:
    world = World(table(A), table(B))
    world.load(A)
    set_since = None if since is None else at(since)
    world.at(60).respec(deadline=replace(deadline(30, FIRE), set_since=set_since))
    world.tick()
    assert (world.run.trigger, world.notices()) == (Trigger.DEADLINE, ["deadline"])


@pytest.mark.parametrize(("since", "runs"), [(60, 1), (30, 2)])
def test_a_schedule_put_into_the_past_fires_nothing_again(since: int, runs: int) -> None:
    world = done()
    entry = replace(schedule(30, when=ScheduleWhen.ALWAYS)[0], set_since=at(since))
    world.at(60).respec(schedule=(entry,))
    world.tick()
    assert world.partition.generation == runs
    world.respec(schedule=(replace(entry, at=clock_time(at(90))),))
    world.run_through()
    world.tick(90)
    assert world.partition.generation == runs + 1


def test_a_day_without_games_that_runs_from_now_on_has_no_deadline_in_the_past() -> None:
    world = World(table(A), table(B), games=(), deadline=deadline(30, FIRE))
    world.load(A)
    world.at(60).respec(off_day=OffDay.RUN, off_day_since=at(60))
    world.survey()
    assert (world.status, world.flags, world.notices()) == (Status.WAITING, set(), [])
    world.expect(GAMES)  # first expected after its deadline
    assert (world.status, world.flags, world.notices()) == (Status.WAITING, {Flag.OVERDUE}, [])


# ── what a launch warns of (specification 6) ──────────────────────────────────────────────────────


def test_a_launch_warns_of_an_optional_requirement_that_was_not_met_after_its_grace() -> None:
    world = World(table(A), table(B, critical=False), grace=minutes(15))
    world.load(A)
    world.tick(15)
    assert world.run.warnings == (f"optional and not met: {B}: no load yet for {DATE}",)


def test_a_launch_warns_of_what_a_deadline_passed_over() -> None:
    world = World(table(A), table(B), deadline=deadline(30, FIRE))
    world.load(A)
    world.tick(30)
    assert world.run.warnings == (f"critical and not met: {B}: no load yet for {DATE}",)


def test_a_launch_warns_of_what_a_person_passed_over() -> None:
    world = World(table(A, max_age_fail=minutes(60)), table(B))
    world.load(A)
    world.at(90).waive(B)
    world.trigger(Bypass.FRESHNESS)
    stale, waived = world.run.warnings
    assert stale.startswith(f"critical and not met: {A}: too old for a first run")
    assert waived == f"waived and not met: {B} is waived by ann until its data comes: lost"


def test_a_launch_warns_of_a_fallback_and_of_inputs_that_are_aging() -> None:
    world = World(any_of(A, B), table(C, max_age_warn=minutes(60)), debounce=minutes(90))
    world.load(B)
    world.load(C)
    world.tick(90)
    fallback, aging = world.run.warnings
    assert fallback == (f"{B} is used in place of the preferred {A} ({A}: no load yet for {DATE})")
    assert aging == f"{C} was loaded 1 h 30 min ago"


def test_a_launch_that_used_its_preferred_source_warns_of_nothing() -> None:
    world = World(any_of(A, B), at_least(1, B, C), calendar_table="nba_raw.schedule")
    world.load(A)
    world.load(C)
    assert world.run.warnings == ()


@pytest.mark.parametrize(
    ("games", "words"),
    [(None, f"the calendar does not know {DATE}"), ((), f"the calendar has no games on {DATE}")],
)
def test_a_launch_warns_of_the_calendar(games: tuple[str, ...] | None, words: str) -> None:
    world = World(table(A), games=games, calendar_table="nba_raw.schedule", debounce=HOUR)
    world.load(A)
    world.trigger(Bypass.DEPENDENCIES)
    assert words in world.run.warnings


def test_grace_without_critical_needs_runs_from_the_first_arrival_not_from_a_waiver() -> None:
    world = World(table(A, critical=False), table(B, critical=False), grace=minutes(3))
    world.waive(A)
    world.at(30).load(A)
    assert world.status is Status.SETTLING
    assert world.partition.wake_at == at(33)


def test_debounce_without_critical_needs_counts_no_empty_load() -> None:
    world = World(
        table(A, critical=False), table(B, critical=False), debounce=HOUR, max_settle=2 * HOUR
    )
    world.load(A, status=NO_DATA, rows=0)
    world.at(180).load(B)
    assert world.status is Status.SETTLING
    assert world.partition.wake_at == at(240)
    off = World(table(A, critical=False), games=(), off_day=OffDay.RUN, debounce=HOUR)
    off.load(A, status=NO_DATA, rows=0)
    assert off.partition.wake_at == at(60)


def test_an_ordinary_load_of_games_that_are_not_kept_releases_a_quiet_one() -> None:
    world = World(table(A), grains={A: Grain.GAME}, cooldown=ZERO, games=GAMES)
    world.load(A, GAMES)
    world.run_through()
    world.at(1).load(A, [f"a{n:02}" for n in range(30)], quiet=True)
    assert Flag.QUIET in world.flags
    world.at(2).load(A, [f"b{n:02}" for n in range(30)])
    assert world.run.trigger is Trigger.LATE_DATA


def test_a_quiet_load_committed_last_holds_whatever_another_table_has_received_later() -> None:
    world = World(table(A), table(B), cooldown=minutes(60))
    for name in (A, B):
        world.load(name)
    world.run_through()
    quiet = world.at(1).arriving(B, quiet=True)
    world.at(2).load(A)
    world.step(quiet)
    assert Flag.QUIET in world.flags


def test_a_load_that_aged_before_the_next_came_breaks_since_when_it_is_met() -> None:
    world = World(table(A, max_age_fail=minutes(60)), debounce=minutes(2), max_settle=minutes(10))
    world.load()
    world.at(90).load()  # no sweep came between
    assert world.status is Status.SETTLING
    assert world.partition.wake_at == at(92)


def test_a_waiver_that_ended_before_the_data_came_breaks_since_when_it_is_met() -> None:
    world = World(table(A), table(B), debounce=minutes(2), max_settle=minutes(10))
    world.load(A)
    world.waive(B, until=1)
    world.at(90).load(B)
    assert world.status is Status.SETTLING
    assert world.partition.wake_at == at(92)


# ── clocks that step, or disagree ────────────────────────────────────────────────────────────


def test_an_ordinary_load_releases_a_quiet_one_though_the_clock_stepped_back() -> None:
    world = World(table(A), table(B))
    world.step(world.at(2).arriving(A, quiet=True))
    ordinary = World(table(A), table(B)).arriving(B)
    assert isinstance(ordinary, Loaded)
    world.step(ordinary)
    assert world.status is Status.FIRING


def test_newer_data_is_released_by_the_load_committed_last() -> None:
    world = World(table(A), table(B), cooldown=ZERO)
    world.load(A)
    world.load(B)
    world.run_through()
    earlier = world.at(1).arriving(B)
    world.step(world.at(2).arriving(A, quiet=True))
    assert Flag.QUIET in world.flags
    world.step(earlier)
    assert world.run.trigger is Trigger.LATE_DATA


def test_a_load_that_is_no_newer_data_hides_none_that_released_a_quiet_one() -> None:
    world = World(table(A), table(B), any_of(C, D), cooldown=ZERO)
    for name in (A, B, C):
        world.load(name)
    earlier = world.at(1).arriving(B)
    world.step(world.at(2).arriving(A, quiet=True))
    world.step(earlier)
    world.at(3).load(D)
    world.run_through()
    assert world.run.trigger is Trigger.LATE_DATA


def test_a_reload_of_equal_content_hides_no_load_that_released_a_quiet_one() -> None:
    world = World(table(A), table(B), grains={A: Grain.GAME}, cooldown=ZERO)
    world.load(A, mark="consumed")
    world.load(B)
    world.step(world.at(1).arriving(A, mark="newer", quiet=True))
    world.at(2).load(B)
    world.at(3).load(A, GAMES[:1], mark="consumed")  # the quiet one still counts for other games
    world.run_through()
    assert world.run.trigger is Trigger.LATE_DATA


def test_a_heartbeat_under_a_clock_that_is_behind_does_not_shorten_a_lease() -> None:
    world = running(heartbeat_timeout=minutes(5))
    until = world.run.lease_expires_at
    world.now = at(-3)
    assert world.heartbeat().replies[0].ok
    assert world.run.lease_expires_at == until


def test_a_deadline_does_nothing_on_a_day_without_games() -> None:
    world = World(games=(), deadline=deadline(30, ALERT))
    assert world.partition.wake_at is None
    world.tick(30)
    assert (world.flags, world.notices()) == (set(), [])


def test_a_failed_run_stays_overdue_until_one_succeeds() -> None:
    world = fired(attempts=1, deadline=deadline(30, ALERT))
    world.tick(30)
    world.run_through(RunStatus.FAILED)
    assert Flag.OVERDUE in world.flags
    world.trigger()
    world.run_through()
    assert Flag.OVERDUE not in world.flags


def test_a_skip_by_a_person_is_not_overdue() -> None:
    world = late(ALERT)
    world.tick(30)
    world.skip()
    assert world.flags == set()


@pytest.mark.parametrize(
    ("date", "hour", "instant"),
    [
        ("2025-03-09", 2, datetime(2025, 3, 9, 7, tzinfo=UTC)),  # skipped: read as the jump
        ("2024-11-03", 1, datetime(2024, 11, 3, 5, 30, tzinfo=UTC)),  # twice: the first, EDT
    ],
)
def test_clock_times_hold_on_the_days_the_clocks_change(
    date: str, hour: int, instant: datetime
) -> None:
    clock = ClockTime(hour=hour, minute=30)
    deadlined = processor(table(A), deadline=Deadline(at=clock))
    scheduled = processor(table(A), table(B, critical=False), grace=HOUR * 99,
                          schedule=(ScheduleEntry(at=clock),))  # fmt: skip
    held = processor(table(A), not_before=clock)
    first_known = instant - HOUR
    load = arrival(A, date=date, stamp=first_known)
    known, _ = TableDate(table=A, game_date=date).fold(load, Grain.DATE, GAMES)
    for spec, facts in (
        (deadlined, ()),
        (scheduled, (Loaded(table_date=known, arrival=load),)),
        (held, (Loaded(table_date=known, arrival=load),)),
    ):
        first = decide(blank(spec, date, first_known), facts, spec, first_known).partition
        assert first.wake_at == instant
        early = decide(first, (), spec, instant - timedelta(seconds=1)).partition
        assert (early.generation, early.outbox) == (0, ())
        then = decide(early, (), spec, instant).partition
        assert len(then.outbox) == 1


# ── schedules ────────────────────────────────────────────────────────────────────────────────


def test_a_schedule_fires_what_is_ready_at_its_instant_past_what_delays_it() -> None:
    world = World(table(A), table(B, critical=False), grace=HOUR, schedule=schedule(30))
    world.load(A)
    assert world.partition.wake_at == at(30)
    world.tick(30)
    assert world.run.trigger is Trigger.SCHEDULE


@pytest.mark.parametrize("when", ScheduleWhen)
def test_a_schedule_does_not_fire_without_its_needs(when: ScheduleWhen) -> None:
    world = World(schedule=schedule(30, when=when))
    world.tick(30)
    assert world.status is Status.WAITING


@pytest.mark.parametrize("when", ScheduleWhen)
def test_an_instant_that_found_a_partition_waiting_never_fires_it_later(
    when: ScheduleWhen,
) -> None:
    world = World(table(A), table(B, critical=False), grace=HOUR, schedule=schedule(30, when=when))
    world.at(31).load(A)
    assert world.status is Status.SETTLING


def test_ready_does_nothing_on_a_success_with_nothing_newer() -> None:
    world = done(schedule=schedule(30))
    world.tick(30)
    assert world.status is Status.SUCCEEDED
    world.at(31).load()
    assert world.status is Status.COOLING


def test_ready_fires_newer_data_at_its_instant_past_the_cooldown() -> None:
    world = done(cooldown=HOUR, schedule=schedule(30))
    assert world.partition.wake_at is None
    world.at(10).load()
    assert world.partition.wake_at == at(30)
    world.tick(30)
    assert (world.run.trigger, world.partition.execution.refires) == (Trigger.SCHEDULE, 1)


def test_newer_data_that_turned_empty_at_the_instant_is_not_fired_by_it() -> None:
    world = World(any_of(A, B), cooldown=HOUR, schedule=schedule(30))
    world.load(A)
    world.load(B)
    world.run_through().at(10).load(A)
    assert world.status is Status.COOLING
    world.at(30).load(A, status=NO_DATA, rows=0)
    assert (world.status, world.partition.generation) == (Status.SUCCEEDED, 1)


def test_always_fires_once_per_instant() -> None:
    world = done(schedule=schedule(30, 40, when=ScheduleWhen.ALWAYS))
    assert world.partition.wake_at == at(30)
    world.tick(30)
    assert world.partition.generation == 2
    world.run_through()
    world.tick(35)
    assert world.partition.generation == 2
    world.tick(40)
    assert world.partition.generation == 3


def test_always_waits_for_the_run_that_is_live_at_its_instant() -> None:
    world = running(schedule=schedule(3, when=ScheduleWhen.ALWAYS))
    world.tick(3)
    assert world.partition.generation == 1
    world.complete()
    assert world.run.trigger is Trigger.SCHEDULE


def test_ready_passes_over_a_run_that_is_live_at_its_instant() -> None:
    world = running(schedule=schedule(3))
    world.tick(3)
    world.at(4).complete()
    assert world.status is Status.SUCCEEDED


@pytest.mark.parametrize("when", ScheduleWhen)
def test_a_schedule_that_passed_while_paused_acts_on_resume(when: ScheduleWhen) -> None:
    world = World(table(A), table(B, critical=False), grace=HOUR, schedule=schedule(30, when=when))
    world.load(A)
    world.pause()
    world.tick(30)
    assert world.status is Status.SETTLING
    world.at(45).resume()
    assert world.run.trigger is Trigger.SCHEDULE


def test_a_schedule_that_passed_while_the_service_was_down_acts_at_the_next_look() -> None:
    world = done(schedule=schedule(30, when=ScheduleWhen.ALWAYS))
    world.tick(600)
    assert world.run.trigger is Trigger.SCHEDULE


def test_a_schedule_does_nothing_on_a_skipped_partition_nor_later() -> None:
    world = fired(schedule=schedule(30, when=ScheduleWhen.ALWAYS))
    world.run_through()
    world.skip()
    world.tick(31)
    world.reset()
    assert world.run.trigger is Trigger.DEPENDENCIES


def test_a_schedule_that_acted_is_done_after_a_reset_under_a_clock_that_was_set_back() -> None:
    world = done(schedule=schedule(30, when=ScheduleWhen.ALWAYS))
    world.tick(30)
    world.run_through()
    world.now = at(5)
    world.reset()
    world.run_through()
    generation = world.partition.generation
    world.tick(40)
    assert world.partition.generation == generation


def test_a_schedule_does_nothing_on_a_day_without_games() -> None:
    world = World(games=(), schedule=schedule(30, when=ScheduleWhen.ALWAYS))
    world.load(rows=0)
    world.tick(30)
    assert world.status is Status.NOT_EXPECTED


def test_a_schedule_does_nothing_on_a_date_that_lost_its_games_nor_when_they_come_back() -> None:
    world = done(schedule=schedule(30, 60, when=ScheduleWhen.ALWAYS))
    world.at(10).expect(())
    assert world.partition.wake_at is None
    world.at(40).expect(GAMES)
    assert (world.status, world.partition.generation) == (Status.SUCCEEDED, 1)
    world.at(50).expect(())
    world.tick(60)
    assert world.partition.generation == 1


def test_a_schedule_does_not_pass_a_quiet_load() -> None:
    world = World(schedule=schedule(30))
    world.load(quiet=True)
    world.tick(30)
    assert world.status is Status.SETTLING
    succeeded = done(cooldown=ZERO, schedule=schedule(30, when=ScheduleWhen.ALWAYS))
    succeeded.at(1).load(quiet=True)
    succeeded.tick(30)
    assert succeeded.partition.generation == 1


def test_an_instant_that_came_under_a_quiet_load_is_over_when_an_ordinary_one_comes() -> None:
    world = World(table(A), debounce=HOUR, max_settle=HOUR, schedule=schedule(30))
    world.load(quiet=True)
    world.at(31).load()  # no sweep came between
    assert world.status is Status.SETTLING
    succeeded = done(cooldown=HOUR, schedule=schedule(30, when=ScheduleWhen.ALWAYS))
    succeeded.at(1).load(quiet=True)
    succeeded.at(31).load()
    assert succeeded.status is Status.COOLING


def test_an_instant_that_came_while_the_needs_were_not_met_is_over_when_they_are() -> None:
    world = done(cooldown=HOUR, schedule=schedule(30, when=ScheduleWhen.ALWAYS))
    world.at(10).load(status=NO_DATA, rows=0)
    world.at(31).load()  # no sweep came between
    assert world.status is Status.COOLING


def test_always_counts_against_the_budget_and_finding_it_spent_is_notified() -> None:
    world = done(max_refires=1, schedule=schedule(30, 40, when=ScheduleWhen.ALWAYS))
    world.tick(30)
    world.run_through()
    world.tick(40)
    assert world.partition.generation == 2
    assert world.notices() == ["refires_spent"]


def test_instants_before_a_date_was_first_known_are_not_for_it() -> None:
    world = World(
        table(A), schedule=schedule(30, when=ScheduleWhen.ALWAYS), first_known=31, grace=HOUR
    )
    world.load()
    assert world.run.trigger is Trigger.DEPENDENCIES


# ── limits and memory ────────────────────────────────────────────────────────────────────────


def test_history_is_bounded() -> None:
    world = World()
    for _ in range(HISTORY_LIMIT + 5):
        world.skip()
    assert len(world.partition.history) == HISTORY_LIMIT


def test_a_runs_history_is_bounded() -> None:
    world = fired(attempts=TRANSITIONS_PER_RUN_LIMIT)
    world.run_through(RunStatus.FAILED)
    assert len(world.decision.runs[0].transitions) == TRANSITIONS_PER_RUN_LIMIT


def test_the_memory_of_notices_is_bounded() -> None:
    world = fired(attempts=NOTIFIED_LIMIT + 5, claim_timeout=minutes(1))
    while world.partition.live is not None:
        world.now = max(world.now, world.run.current.launch_at)
        world.deliver()
        world.now += minutes(1)
        world.tick()
    assert len(world.partition.journal.notified) == NOTIFIED_LIMIT


def test_long_errors_are_cut() -> None:
    world = running(attempts=1)
    world.complete(RunStatus.FAILED, error="x" * 10_000)
    assert world.partition.outcome is not None
    assert len(world.partition.outcome.error or "") == 4000
    assert all(len(line.detail) <= 1000 for line in world.partition.history)


def test_facts_in_one_call_are_applied_in_order_and_judged_once() -> None:
    world = World(table(A), table(B))
    loads = [world.arriving(name) for name in (A, B)]
    decision = world.step(*loads)
    assert len(decision.replies) == 2
    assert world.partition.generation == 1
    assert set(world.partition.arrivals) == {arrivals_key(n, DATE) for n in (A, B)}


def test_a_new_registry_is_recorded_by_the_next_decision() -> None:
    world = World()
    world.respec(grace=HOUR)
    world.tick()
    assert world.partition.registry_hash == "r2"


def test_garbage_is_refused_and_never_raises() -> None:
    world = running()
    facts = [
        Claimed(generation=10**9, attempt=-1, owner="", token=""),
        Completed(generation=-5, token="", status=RunStatus.RUNNING),
        WaiverGranted(table="", reason="", actor=""),
        Delivered(effect_id=""),
    ]
    for fact in facts:
        assert not world.step(fact).changed
