"""The sentences: what a person reads at three in the morning."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from coordinator.core.arrivals import Grain, LoadStatus
from coordinator.core.choices import Bypass, RunStatus
from coordinator.core.explain import (
    fired,
    hold_sentence,
    requirement_sentence,
    upstream,
    upstream_sentence,
    why,
)
from coordinator.core.facts import DeliveryFailed
from coordinator.core.model import EffectKind, Status
from coordinator.core.spec import DeadlineAction
from coordinator.core.verdict import Hold, HoldKind
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
    at,
    at_least,
    clock_time,
    day,
    deadline,
    minutes,
    table,
    window,
)

GAMEBOOK = "nba_raw.nbac_gamebook_player_stats"
BOX = "nba_raw.bdl_player_boxscores"
HOUR = minutes(60)


def sentence(world: World, index: int = 0) -> str:
    return requirement_sentence(world.requirement(index))


def test_waiting_names_each_unmet_requirement_and_the_missing_games() -> None:
    world = World(table(BOX), table(GAMEBOOK), grains={GAMEBOOK: Grain.GAME})
    world.load(GAMEBOOK, (*GAMES[:2], *GAMES[5:]))
    assert world.why == (
        f"Waiting for {BOX}: no load yet for {DATE}; {GAMEBOOK} has 7 of 10 games, "
        "missing 0022400063, 0022400064, 0022400065."
    )


def test_the_first_requirement_follows_waiting_for() -> None:
    world = World(table(A), grains={A: Grain.GAME})
    world.load(games=GAMES[:2])
    assert world.why == (
        f"Waiting for {A}: 2 of 10 games, missing "
        "0022400063, 0022400064, 0022400065, 0022400066, 0022400067, 0022400068 and 2 more."
    )


@pytest.mark.parametrize(
    ("status", "how"), [(LoadStatus.FAILED, "failed"), (LoadStatus.SKIPPED, "was skipped")]
)
def test_a_load_that_did_not_succeed_is_said_to_have_done_so(status: LoadStatus, how: str) -> None:
    world = World()
    world.load(status=status)
    assert world.why == (
        f"Waiting for {A}: no load for {DATE} succeeded; the last {how} at 2024-10-24 02:00:00Z."
    )


def test_empty_and_short_say_what_there_is() -> None:
    world = World(table(A), table(B, expected_count_min=10), table(C, expected_count_min=10))
    world.load(A, rows=0)
    world.load(B, rows=4)
    world.load(C, rows=None)
    assert world.why == (
        f"Waiting for {A}: loaded with no rows for {DATE}; {B} has 4 of at least 10 rows; "
        f"{C} has an unknown number of rows where 10 are needed."
    )


def test_stale_says_what_to_reload() -> None:
    world = World(table(A, max_age_fail=timedelta(hours=24)), table(B))
    world.load(stamp=at(-25 * 60))
    assert sentence(world) == (
        f"{A}: too old for a first run (loaded 2024-10-23 01:00:00Z, 1 d 1 h ago; at most 1 d); "
        f"reload {A} for {DATE}"
    )


def test_met_requirements_say_on_what_they_rest() -> None:
    world = World(
        table(A), table(B), table(C, offset=-1), table(BOX, max_age_warn=HOUR), table(GAMEBOOK),
        grains={A: Grain.GAME},
    )  # fmt: skip
    world.expect((), BEFORE)
    world.load(A, GAMES, rows=300)
    world.load(B, rows=None)
    world.load(BOX, stamp=at(-90))
    assert sentence(world, 0) == f"{A} has 10 of 10 games, 300 rows"
    assert sentence(world, 1) == f"{B} is ready"
    assert sentence(world, 2) == f"{C} is not expected: no games on {BEFORE}"
    assert sentence(world, 3) == f"{BOX} is ready but aging, loaded 2024-10-24 00:30:00Z"


def test_groups_say_what_each_source_lacks_and_which_one_is_used() -> None:
    world = World(any_of(A, B), at_least(2, A, B, C), table(GAMEBOOK))
    assert sentence(world, 0) == (
        f"any of {A}, {B} ({A}: no load yet for {DATE}; {B}: no load yet for {DATE})"
    )
    world.load(B, rows=5)
    assert sentence(world, 0) == f"{B} is ready, 5 rows"
    assert sentence(world, 1).startswith(f"at least 2 of {A}, {B}, {C} (1 ready: {A}: no load yet")


def test_waivers_say_who_why_and_until_when() -> None:
    world = World(table(A), any_of(A, B), table(C), window(GAMEBOOK, game_dates=3))
    world.waive(A)
    world.waive(C, until=30)
    world.waive(GAMEBOOK)
    ends = "waived by ann until its data comes: lost"
    assert sentence(world, 0) == f"{A} is {ends}"
    assert sentence(world, 1) == f"{A} is {ends}"
    assert sentence(world, 2) == f"{C} is waived by ann until 2024-10-24 02:30:00Z: lost"
    assert sentence(world, 3) == f"{GAMEBOOK} is {ends}"


def test_windows_say_on_which_dates_they_are_not_ready() -> None:
    world = World(table(A), window(C, game_dates=10, min_ready=0.8), window(B, days=30))
    world.look_back(day("2024-10-20"), day("2024-10-21"), day(BEFORE, met=False))
    world.look_back(day(BEFORE), name=B)
    assert sentence(world, 1) == (
        f"{C} is ready on 2 of the last 3 game dates, 3 needed, not on {BEFORE}"
    )
    assert sentence(world, 2) == f"{B} is ready on 1 of the 1 game date in the 30 days before"


def test_a_window_that_opens_the_sentence_names_the_dates_first() -> None:
    world = World(window(C, game_dates=3))
    world.look_back(day("2024-10-21"), day(BEFORE, met=False))
    assert world.why == (
        f"Waiting for {C} on {BEFORE}: ready on 1 of the last 2 game dates, 2 needed."
    )
    assert world.requirement().sources == ()


def test_an_empty_window_says_what_is_missing_or_that_nothing_is() -> None:
    unknown = World(table(A), window(C, game_dates=10))
    assert "say calendar.known_from in the registry" in sentence(unknown, 1)
    first = World(table(A), window(C, game_dates=10), known_from=DATE)
    assert sentence(first, 1).endswith("so there is nothing to wait for")


def test_with_only_optional_requirements_it_waits_for_a_first_load() -> None:
    world = World(table(A, critical=False), table(B, critical=False))
    assert world.why == f"Waiting for a first load of any of: {A}, {B}."


def test_settling_names_each_hold_and_its_end() -> None:
    world = World(
        any_of(A, B, prefer_for=HOUR),
        table(C, critical=False),
        grace=minutes(15),
        debounce=minutes(2),
        not_before=clock_time(at(30)),
    )
    world.pause()
    world.load(B, quiet=True)
    assert world.why == (
        "Everything critical is there; held: "
        f"grace until 2024-10-24 02:15:00Z for the optional {C}; "
        f"waiting for the preferred source {A} until 2024-10-24 03:00:00Z; "
        "loads are still coming in; quiet time until 2024-10-24 02:02:00Z; "
        "not before 2024-10-24 02:30:00Z; "
        "the latest load was announced quiet; an ordinary load or a person's trigger releases it; "
        "paused by ann: maintenance."
    )


def test_a_date_that_nobody_named_says_what_it_waits_for() -> None:
    world = World(table(A))
    not_stored = replace(world.partition, revision=0, status=Status.SETTLING)
    assert why(not_stored, world.spec, world.verdict) == (
        f"Everything critical is there; it fires as soon as a load or the calendar names {DATE}."
    )


def test_settling_with_every_hold_over_is_due_now() -> None:
    world = World(table(A), table(C, critical=False), grace=minutes(15))
    world.load()
    assert world.at(15).why == "Everything critical is there; held: due now."


def test_the_stages_of_a_run() -> None:
    world = World()
    world.load()
    run = f"Run P:{DATE}:1"
    assert world.why == f"{run} was decided at 2024-10-24 02:00:00Z; being delivered."
    partition = world.partition
    for behind, place in ((0, "the next in the queue"), (1, "behind 1 other")):
        words = why(partition, world.spec, world.verdict, behind=behind)
        assert words == (
            f"{run} was decided at 2024-10-24 02:00:00Z; it waits for a free worker, {place}."
        )
    world.at(1).deliver()
    assert world.why == f"{run} was delivered at 2024-10-24 02:01:00Z; nobody has claimed it yet."
    world.at(2).claim()
    assert world.why == f"{run} has been running since 2024-10-24 02:02:00Z on w1."
    world.at(3).complete(rows=300)
    assert world.why == "Succeeded at 2024-10-24 02:03:00Z with 300 rows (generation 1)."


@pytest.mark.parametrize(
    ("status", "how"),
    [
        (RunStatus.NO_DATA, "Ran and found no data"),
        (RunStatus.SKIPPED, "The run reported that it had nothing to do"),
    ],
)
def test_other_good_outcomes_are_distinguished(status: RunStatus, how: str) -> None:
    world = World()
    world.load()
    world.claim()
    world.complete(status, rows=None)
    assert world.why == f"{how} at 2024-10-24 02:00:00Z (generation 1)."


def test_a_retry_says_what_became_of_the_attempt_before() -> None:
    world = World()
    world.load()
    world.claim()
    world.complete(RunStatus.FAILED, error="out of memory")
    assert world.why == (
        f"Attempt 2 of 3 of run P:{DATE}:1 starts at 2024-10-24 02:01:00Z; "
        "the one before: out of memory."
    )


def test_a_launch_that_cannot_be_delivered_says_so_and_what_to_do() -> None:
    world = World(attempts=2)
    world.load()
    decided = f"Run P:{DATE}:1 was decided at 2024-10-24 02:00:00Z"
    error = "http://x: All connection attempts failed"
    world.fail_delivery(error)
    assert world.why == (
        f"{decided}; its launch could not be delivered in 1 try: {error}. "
        "Next try 2024-10-24 02:00:01Z. Fix the target; no other action is needed."
    )
    world.at(1).fail_delivery(f"{error}.")
    assert world.why == (
        f"{decided}; its launch could not be delivered in 2 tries: {error}. "
        "Next try 2024-10-24 02:01:02Z. Fix the target; no other action is needed."
    )
    assert f"{error}. Tried again now. Fix" in world.at(2).why
    world.deliver()
    world.claim()
    world.complete(RunStatus.FAILED, error="out of memory")
    world.at(3).fail_delivery("")
    assert world.why.startswith(
        f"Attempt 2 of 2 of run P:{DATE}:1 was due at 2024-10-24 02:03:00Z; its launch could not "
        "be delivered in 1 try: no error was given. Next try"
    )


def test_an_output_that_cannot_be_announced_is_named_beside_the_success() -> None:
    world = World()
    world.load()
    world.run_through()
    (entry,) = world.entries(EffectKind.ANNOUNCE)
    world.step(DeliveryFailed(effect_id=entry.effect_id, error="503"))
    assert world.why == (
        "Succeeded at 2024-10-24 02:00:00Z with 300 rows (generation 1). Its output could not be "
        "announced in 1 try: 503. Next try 2024-10-24 02:00:01Z. Fix the target; no other "
        "action is needed."
    )


def test_an_attempt_that_nobody_claimed_asks_whether_anybody_reads() -> None:
    world = World(claim_timeout=timedelta(seconds=5), attempts=2)
    world.load()
    world.deliver()
    world.tick(1)
    assert world.why.endswith(
        "the one before: nobody claimed it within 5 s: is a runner reading there?"
    )
    (lost,) = [t for t in world.run.transitions if t.what == "unclaimed"]
    assert lost.detail == "nobody claimed it within 5 s: is a runner reading there?"


def test_an_undeliverable_launch_says_for_how_long() -> None:
    world = World()
    world.load()
    world.at(10.42).fail_delivery()
    (notice,) = world.entries(EffectKind.NOTIFY)
    assert notice.summary == f"The launch of P:{DATE}:1 could not be delivered for 10 min 25 s."


def test_what_waits_for_an_output_names_who_writes_it() -> None:
    world = World(table(A), any_of(B, C), window(D, game_dates=3))
    world.spec = replace(world.spec, producers={A: "Q", C: "R", D: "S"})
    world.look_back(day("2024-10-21", met=False), day(BEFORE, met=False), name=D)
    assert world.why.startswith(f"Waiting for {A} (written by Q): no load yet for {DATE}; any of")
    assert f"{C} (written by R): no load yet" in world.why
    assert upstream(world.verdict, world.spec) == (("Q", DATE), ("R", DATE), ("S", BEFORE))
    world.load(A)
    world.load(B)
    assert world.verdict.requirements[0].sources[0].producer == "Q"
    assert sentence(world) == f"{A} is ready, 200 rows"
    assert upstream(world.verdict, world.spec) == (("S", BEFORE),)


def test_the_state_of_a_producer_is_a_sentence() -> None:
    def sentence(world: World) -> str:
        return upstream_sentence(world.partition)

    see = f"See: coordinator why P {DATE}."
    world = World()
    assert sentence(world) == f"P is waiting. {see}"
    world.pause()
    assert sentence(world) == f"P is waiting (paused). {see}"
    world.resume()
    world.load()
    assert sentence(world) == f"P is firing. {see}"
    world.fail_delivery()
    assert sentence(world) == f"P is firing (its launch cannot be delivered). {see}"
    world.run_through()
    assert sentence(world) == f"P succeeded. {see}"
    (entry,) = world.entries(EffectKind.ANNOUNCE)
    world.step(DeliveryFailed(effect_id=entry.effect_id, error="503"))
    assert sentence(world) == f"P succeeded (its output cannot be announced). {see}"


def test_a_run_says_what_it_was_fired_by() -> None:
    world = World(table(A), table(B), cooldown=minutes(0))
    world.load(A)
    world.load(B)
    assert fired(world.run) == "Fired by dependencies."
    world.run_through().at(1).load(B)
    assert fired(world.run) == f"Fired by late_data: newer data in {B}."
    assert world.run.changed_tables == (B,)
    forced = World()
    forced.trigger(Bypass.DEPENDENCIES)
    assert fired(replace(forced.run, skip_downstream=True)) == (
        "Fired by manual; bypassing dependencies; announced quietly."
    )


def test_an_overdue_partition_says_since_when() -> None:
    world = World(deadline=deadline(30))
    world.tick(31)
    assert world.why == (
        f"Waiting for {A}: no load yet for {DATE}. Overdue since 2024-10-24 02:30:00Z."
    )


def test_once_the_re_fires_are_spent_nobody_is_advised_to_wait_for_data() -> None:
    world = World(attempts=1, max_refires=0)
    world.load()
    world.claim()
    world.complete(RunStatus.FAILED, error="boom")
    world.load()
    assert "re-fires_spent" not in world.why
    assert world.why.endswith("Trigger or reset it.")


def test_a_failed_run_says_why_and_what_to_do() -> None:
    world = World(attempts=1)
    world.load()
    world.claim()
    world.complete(RunStatus.FAILED, error="boom")
    assert world.why == (
        "Failed at 2024-10-24 02:00:00Z after 1 attempt: boom. "
        "Trigger or reset it, or wait for newer data."
    )
    world.at(1).load()
    assert (
        "Newer data in nba_raw.a is ready; held: cooldown until 2024-10-24 03:00:00Z" in world.why
    )


def test_newer_data_says_whether_it_is_ready() -> None:
    world = World(table(A), any_of(B, C), grains={B: Grain.GAME}, cooldown=HOUR)
    world.load(A)
    world.load(C)
    world.run_through().at(1).load(B, GAMES[:4])
    assert world.why.endswith(f" Newer data in {B} is not ready yet.")
    world.load(A, rows=0)
    assert world.why.endswith(
        f" Newer data in {A}, {B} is not ready: {A}: loaded with no rows for {DATE}."
    )
    world.at(2).load(A)
    assert world.why.endswith(" is ready; held: cooldown until 2024-10-24 03:00:00Z.")
    assert world.at(70).why.endswith(" is ready.")


def test_a_spent_budget_says_who_can_act() -> None:
    world = World(max_refires=0, cooldown=minutes(0))
    world.load()
    world.run_through().at(1).load()
    assert "the budget of 0 re-fires is spent; trigger it by hand, or reset it" in world.why
    one = World(max_refires=1, cooldown=minutes(0))
    one.load()
    one.run_through().at(1).load()
    one.run_through().at(2).load()
    assert "the budget of 1 re-fire is spent" in one.why


def test_a_run_that_somebody_asked_for_says_who_and_what_was_bypassed() -> None:
    world = World()
    world.trigger(Bypass.DEPENDENCIES)
    assert world.why.endswith(" Triggered by ann bypassing dependencies: wanted.")
    ready = World()
    ready.pause()
    ready.load()
    ready.trigger(Bypass.PAUSE)
    ready.deliver()
    assert ready.why.endswith(" Triggered by ann bypassing pause: wanted.")


def test_a_run_that_a_deadline_forced_says_so() -> None:
    world = World(table(A), table(B), deadline=deadline(30, DeadlineAction.FIRE))
    world.load(A)
    world.tick(30)
    assert world.why.endswith(" Forced bypassing dependencies. Overdue since 2024-10-24 02:30:00Z.")


def test_skipped_and_not_expected_say_why() -> None:
    world = World()
    world.skip()
    assert world.why == "Skipped by ann at 2024-10-24 02:00:00Z: not needed."
    off = World(games=())
    assert off.why == f"The calendar has no games on {DATE}, so nothing is expected."


def test_a_hold_without_an_end_is_a_sentence_too() -> None:
    assert hold_sentence(Hold(kind=HoldKind.NOT_BEFORE)) == "not yet"


def test_a_partition_that_says_less_than_its_status_is_still_answered() -> None:
    world = World()
    odd = replace(world.partition, status=Status.RUNNING)
    assert why(odd, world.spec, world.verdict) == "running."


def test_an_error_that_was_not_given_is_said_to_be_none() -> None:
    world = World(attempts=1)
    world.load()
    world.claim()
    world.complete(RunStatus.FAILED)
    assert "after 1 attempt: the runner reported a failure." in world.why
