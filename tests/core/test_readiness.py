"""How requirements are evaluated (specification 2)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from coordinator.core.arrivals import (
    UNEXPECTED_GAMES_KEPT,
    UNKNOWN_GAMES_KEPT,
    Grain,
    LoadStatus,
    TableDate,
    arrivals_key,
)
from coordinator.core.choices import Bypass, RunStatus
from coordinator.core.facts import Surveyed
from coordinator.core.model import Flag, Status, WindowDay
from coordinator.core.newer import marks_of
from coordinator.core.readiness import judge
from coordinator.core.sources import judge_source
from coordinator.core.spec import OffDay
from coordinator.core.verdict import HoldKind, State
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
    minutes,
    table,
    window,
)

ONE, TWO, THREE = GAMES[:3]
GAME = {A: Grain.GAME}
NO_DATA = LoadStatus.NO_DATA
HOUR = minutes(60)


def by_game(**settings: object) -> World:
    return World(table(A, **settings), table(B), grains=GAME)


# ── one table ────────────────────────────────────────────────────────────────────────────────


def test_nothing_received_is_missing() -> None:
    assert World().state() is State.MISSING


@pytest.mark.parametrize("status", [LoadStatus.FAILED, LoadStatus.SKIPPED])
def test_a_failed_or_skipped_load_alone_is_failed_and_never_satisfies(status: LoadStatus) -> None:
    world = World()
    world.load(status=status)
    assert world.state() is State.FAILED
    assert world.status is Status.WAITING


@pytest.mark.parametrize("status", [LoadStatus.FAILED, LoadStatus.SKIPPED])
def test_a_failed_or_skipped_load_never_undoes_a_success(status: LoadStatus) -> None:
    world = World(table(A), table(B))
    world.load()
    world.load(status=status)
    assert world.state() is State.READY


@pytest.mark.parametrize("said", [{"status": NO_DATA, "rows": None}, {"rows": 0}])
def test_a_load_without_rows_on_a_date_with_games_is_empty(said: dict[str, object]) -> None:
    world = World(table(A), table(B))
    world.load(**said)
    assert world.state() is State.EMPTY


@pytest.mark.parametrize("said", [{"status": NO_DATA, "rows": None}, {"rows": 0}])
@pytest.mark.parametrize("grain", Grain)
def test_a_load_without_rows_satisfies_where_the_calendar_expects_no_games(
    grain: Grain, said: dict[str, object]
) -> None:
    world = World(table(A), table(B), games=(), grains={A: grain}, off_day=OffDay.RUN)
    world.load(**said)
    assert world.state() is State.READY


@pytest.mark.parametrize("grain", Grain)
def test_a_load_without_rows_is_empty_where_the_calendar_is_unknown(grain: Grain) -> None:
    world = World(table(A), table(B), games=None, grains={A: grain})
    world.load(status=NO_DATA, rows=0)
    assert world.state() is State.EMPTY


@pytest.mark.parametrize("grain", Grain)
def test_a_newer_no_data_makes_a_success_empty_and_a_later_good_load_ready(grain: Grain) -> None:
    world = World(table(A), table(B), grains={A: grain})
    world.load()
    world.at(1).load(status=NO_DATA, rows=0)
    assert world.state() is State.EMPTY
    world.at(2).load()
    assert world.state() is State.READY


def test_an_older_no_data_changes_nothing() -> None:
    world = World(table(A), table(B))
    world.at(5).load()
    world.load(status=NO_DATA, rows=0, stamp=at(1))
    assert world.state() is State.READY


def test_partial_counts_for_what_it_covers() -> None:
    world = by_game()
    world.load(games=GAMES[:4], status=LoadStatus.PARTIAL)
    assert world.state() is State.INCOMPLETE
    world.load(games=GAMES[4:], status=LoadStatus.PARTIAL)
    assert world.state() is State.READY


PARTIAL = LoadStatus.PARTIAL


def test_a_partial_load_by_date_that_does_not_say_what_it_covers_is_not_the_whole_date() -> None:
    world = World(table(A))
    world.load(status=PARTIAL, rows=7)
    assert (world.status, world.state()) == (Status.WAITING, State.INCOMPLETE)
    assert f"{A}: a part of {DATE} is loaded (7 rows)" in world.why
    world.load(rows=200)
    assert world.state() is State.READY


@pytest.mark.parametrize("grain", Grain)
@pytest.mark.parametrize(
    ("rows", "state"), [(9, State.SHORT), (None, State.SHORT), (10, State.READY)]
)
def test_where_a_minimum_says_what_is_enough_the_rows_of_a_partial_load_count(
    grain: Grain, rows: int | None, state: State
) -> None:
    world = World(table(A, expected_count_min=10), table(B), grains={A: grain})
    world.load(status=PARTIAL, rows=rows)
    assert world.state() is state
    assert any("is partial" in w for w in world.verdict.warnings)


def test_a_partial_load_by_date_that_names_every_expected_game_covers_the_date() -> None:
    world = World(table(A), table(B))
    world.load(games=GAMES[:9], status=PARTIAL)
    assert world.state() is State.INCOMPLETE
    world.load(games=GAMES, status=PARTIAL)
    assert world.state() is State.READY
    assert world.verdict.warnings == ()


def test_a_partial_load_by_date_needs_to_cover_nothing_where_there_are_no_games() -> None:
    world = World(table(A), table(B), games=())
    world.load(status=PARTIAL)
    assert world.state() is State.READY


def test_a_partial_load_by_date_covers_nothing_that_the_calendar_does_not_know() -> None:
    world = World(table(A), table(B), games=None)
    world.load(games=GAMES, status=PARTIAL, rows=None)
    assert world.state() is State.INCOMPLETE
    assert f"a part of {DATE} is loaded, and" in world.why


def test_a_partial_load_by_game_that_names_no_games_covers_none_of_them() -> None:
    world = by_game(min_coverage=0.1)
    world.load(games=GAMES[:1], status=NO_DATA, rows=0)
    world.load(status=PARTIAL)
    assert world.state() is State.INCOMPLETE
    world.load(games=GAMES[:1])
    assert world.state() is State.READY
    assert world.requirement().sources[0].games_loaded == 1
    assert any("is partial" in w for w in world.verdict.warnings)


@pytest.mark.parametrize(
    ("minimum", "state"), [(None, State.INCOMPLETE), (50, State.READY), (500, State.SHORT)]
)
def test_a_partial_load_of_games_that_the_calendar_does_not_know(
    minimum: int | None, state: State
) -> None:
    world = World(table(A, expected_count_min=minimum), table(B), grains=GAME, games=None)
    world.load(status=PARTIAL, rows=100)
    assert world.state() is state
    if minimum is None:
        world.load(games=(ONE,), rows=10)
        assert world.state() is State.READY


def test_an_offset_looks_at_another_date() -> None:
    world = World(table(A, offset=-1), table(B))
    world.expect(GAMES[:2], BEFORE)
    world.load(A)
    assert world.state() is State.MISSING
    world.load(A, date=BEFORE)
    assert world.state() is State.READY


def test_an_offset_that_lands_on_an_off_day_is_not_expected_which_is_met() -> None:
    world = World(table(A, offset=-1), table(B))
    world.expect((), BEFORE)
    assert world.state() is State.NOT_EXPECTED
    world.load(B)
    assert world.status is Status.FIRING


# ── minimums and coverage ────────────────────────────────────────────────────────────────────


def test_fewer_rows_than_the_minimum_are_short() -> None:
    world = World(table(A, expected_count_min=200), table(B))
    world.load(rows=199)
    assert world.state() is State.SHORT
    world.load(rows=200)
    assert world.state() is State.READY


def test_rows_per_game_are_times_the_games_the_calendar_expects() -> None:
    world = World(table(A, expected_count_per_game=18), table(B))
    world.load(rows=179)
    assert world.state() is State.SHORT
    assert world.requirement().sources[0].minimum == 180
    world.expect(GAMES[:9])
    assert world.state() is State.READY


def test_the_greater_of_two_minimums_counts() -> None:
    world = World(table(A, expected_count_min=500, expected_count_per_game=18), table(B))
    world.load(rows=400)
    assert world.requirement().sources[0].minimum == 500


def test_an_unknown_count_meets_no_minimum_and_is_short_where_there_is_one() -> None:
    world = World(table(A), table(B, expected_count_min=1), table(C))
    world.load(A, rows=None)
    world.load(B, rows=None)
    assert world.state(0) is State.READY
    assert world.state(1) is State.SHORT


@pytest.mark.parametrize("grain", Grain)
def test_with_the_calendar_unknown_any_rows_meet_what_is_counted_per_game(grain: Grain) -> None:
    world = World(table(A, expected_count_per_game=18), table(B), games=None, grains={A: grain})
    world.load(rows=1)
    assert world.state() is State.READY
    assert any("calendar" in w for w in world.verdict.warnings)


def test_with_the_calendar_unknown_coverage_is_not_judged_but_a_plain_minimum_is() -> None:
    world = World(table(A, expected_count_min=30), table(B), games=None, grains=GAME)
    world.load(games=(ONE,), rows=20)
    assert world.state() is State.SHORT
    world.load(games=(TWO,), rows=20)
    assert world.state() is State.READY
    assert world.requirement().sources[0].record_count == 40


def test_with_the_calendar_unknown_a_game_without_rows_counts_as_none() -> None:
    world = World(table(A, expected_count_min=30), table(B), games=None, grains=GAME)
    world.load(games=(ONE,), rows=40)
    world.load(games=(TWO,), status=NO_DATA, rows=None)
    assert world.state() is State.READY
    assert world.requirement().sources[0].games_loaded == 1


def test_with_the_calendar_unknown_newer_games_stand_beside_the_whole_date() -> None:
    world = World(table(A, expected_count_min=30), table(B), games=None, grains=GAME)
    world.load(rows=200)
    world.at(1).load(games=(ONE,), rows=20)
    assert world.requirement().sources[0].record_count == 200
    world.at(2).load(games=(TWO,), rows=None)
    assert world.state() is State.SHORT  # nobody knows


def test_coverage_is_counted_per_game_and_missing_games_are_named() -> None:
    world = by_game()
    world.load(games=GAMES[:7])
    source = world.requirement().sources[0]
    assert world.state() is State.INCOMPLETE
    assert (source.games_loaded, source.games_expected) == (7, 10)
    assert source.missing_games == GAMES[7:]
    world.load(games=GAMES[7:])
    assert world.state() is State.READY


def test_min_coverage_is_the_share_of_expected_games_that_is_enough() -> None:
    world = by_game(min_coverage=0.75)
    world.load(games=GAMES[:7])
    assert world.state() is State.INCOMPLETE
    world.load(games=GAMES[7:8])
    assert world.state() is State.READY


def test_no_coverage_at_all_is_never_enough() -> None:
    world = by_game(min_coverage=0.0)
    world.load(games=("other",))
    assert world.state() is State.INCOMPLETE


def test_one_game_without_rows_leaves_the_table_incomplete() -> None:
    world = by_game()
    world.load(games=GAMES)
    world.at(1).load(games=(ONE,), status=NO_DATA, rows=0)
    assert world.state() is State.INCOMPLETE
    assert world.requirement().sources[0].missing_games == (ONE,)


def test_counts_add_up_over_games_and_a_reload_replaces_its_own() -> None:
    world = by_game(expected_count_min=200)
    for game in GAMES:
        world.load(games=(game,), rows=20)
    assert world.requirement().sources[0].record_count == 200
    assert world.state() is State.READY
    world.at(1).load(games=(ONE,), rows=10)
    assert world.requirement().sources[0].record_count == 190
    assert world.state() is State.SHORT


def test_the_rows_of_a_load_of_several_games_are_shared_evenly() -> None:
    world = by_game()
    world.load(games=GAMES, rows=200)
    world.at(1).load(games=GAMES[:5], rows=50)
    assert world.requirement().sources[0].record_count == 150


def test_a_load_without_games_covers_every_expected_game_and_shares_its_rows() -> None:
    world = by_game()
    world.load(rows=200)
    world.at(1).load(games=(ONE,), rows=30)
    assert world.state() is State.READY
    assert world.requirement().sources[0].record_count == 210


def test_one_unknown_count_makes_the_sum_unknown() -> None:
    world = by_game(expected_count_min=1)
    world.load(games=GAMES[:9], rows=90)
    world.load(games=GAMES[9:], rows=None)
    assert world.state() is State.SHORT


def test_unexpected_games_cover_nothing_and_are_named_in_a_warning() -> None:
    world = by_game()
    world.load(games=("20241023_MIL_ORL", ONE))
    source = world.requirement().sources[0]
    assert source.games_loaded == 1
    assert source.unexpected_games == ("20241023_MIL_ORL",)
    assert any("20241023_MIL_ORL" in w for w in world.verdict.warnings)


def test_games_on_a_day_without_games_are_named_and_the_requirement_is_met() -> None:
    world = World(table(A), table(B), games=(), grains=GAME, off_day=OffDay.RUN)
    world.load(games=(ONE,))
    assert world.state() is State.READY
    assert any(ONE in w for w in world.verdict.warnings)


def test_a_table_whose_grain_was_changed_to_date_is_judged_by_its_newest_load() -> None:
    known, _ = TableDate(table=A, game_date=DATE).fold(arrival(games=(ONE,)), Grain.GAME, GAMES)
    source = judge_source(table(A), A, DATE, known, Grain.DATE, GAMES, at(0), freshness=False)
    assert source.state is State.READY


def test_after_a_change_of_grain_to_date_only_a_newer_load_of_the_date_is_newer_data() -> None:
    some = table(A, min_coverage=0.0)
    world = World(some, grains={A: Grain.GAME}, games=GAMES, cooldown=minutes(30))
    world.load(A, GAMES[:1], stamp=at(0))
    world.run_through()
    world.at(5).load(A, stamp=at(-5))
    assert world.verdict.dirty
    world.spec = replace(world.spec, grains={})
    assert world.tick(6).verdict.dirty == ()
    world.at(7).load(A)
    assert world.verdict.dirty


def test_after_a_change_of_grain_what_counted_is_what_was_consumed() -> None:
    some = table(A, min_coverage=0.0)
    world = World(some, grains={A: Grain.GAME}, games=GAMES, cooldown=minutes(30), grace=HOUR)
    world.load(A, stamp=at(-5), mark="old")
    world.run_through()
    world.at(1).load(A, GAMES[:1], stamp=at(0), mark="new")
    world.spec = replace(world.spec, grains={})
    world.at(31).tick()
    world.run_through()
    assert world.verdict.dirty == ()
    world.at(40).load(A, mark="old")
    assert world.verdict.dirty


@pytest.mark.parametrize(
    ("whole", "game", "later", "newer"),
    [("a", "a", "a", False), ("a", "b", "a", True), ("a", "b", "b", True)],
)
def test_after_a_change_of_grain_a_load_of_the_date_is_compared_with_all_that_was_consumed(
    whole: str, game: str, later: str, newer: bool
) -> None:
    world = World(table(A), grains={A: Grain.GAME}, games=GAMES, debounce=minutes(1))
    world.load(A, stamp=at(-5), mark=whole)
    world.load(A, GAMES[:1], stamp=at(-4), mark=game)
    world.tick(1)
    world.run_through()
    world.spec = replace(world.spec, grains={})
    world.at(5).load(A, mark=later)
    assert bool(world.verdict.dirty) is newer


def test_an_equal_mark_is_newer_data_where_an_optional_requirement_was_not_met() -> None:
    optional = table(B, critical=False, expected_count_min=100)
    world = World(table(A), optional, cooldown=minutes(30))
    world.load(B, rows=10, mark="same")
    world.load(A)
    world.run_through()
    world.at(1).load(B, rows=10, mark="same")
    assert world.verdict.dirty == ()
    world.at(2).load(B, rows=100, mark="same")
    assert [d.table for d in world.verdict.dirty] == [B]


# ── freshness ────────────────────────────────────────────────────────────────────────────────


def aging() -> World:
    return World(
        table(A, max_age_warn=timedelta(hours=12), max_age_fail=timedelta(hours=24)), table(B)
    )


def test_a_load_ages_and_then_is_stale_by_its_own_timestamp() -> None:
    world = aging()
    world.load(stamp=at(-60))
    assert world.state() is State.READY
    assert world.at(11 * 60).state() is State.AGING
    assert any("h ago" in w for w in world.verdict.warnings)
    assert world.at(23 * 60).state() is State.STALE


def test_staleness_comes_without_an_event() -> None:
    world = aging()
    world.load()
    assert world.partition.wake_at == at(24 * 60)
    world.tick(24 * 60)
    assert world.partition.wake_at is None


def test_freshness_does_not_apply_to_later_generations() -> None:
    world = aging()
    world.load(A)
    world.load(B)
    world.run_through()
    world.at(48 * 60).load(B)
    assert world.state() is State.READY
    assert world.partition.generation == 2


def test_freshness_does_not_apply_to_backfills() -> None:
    world = aging()
    world.load(A, stamp=at(-48 * 60))
    world.load(B)
    assert world.state() is State.STALE
    world.backfill()
    assert world.run.unmet == ()
    assert Flag.FORCED not in world.flags


def test_freshness_can_be_bypassed_which_is_force() -> None:
    world = aging()
    world.load(A, stamp=at(-48 * 60))
    world.load(B)
    assert not world.trigger().replies[-1].ok
    world.trigger(Bypass.FRESHNESS)
    assert world.run.bypassed == ("freshness",)
    assert f"reload {A}" in world.run.unmet[0]
    assert Flag.FORCED in world.flags


# ── groups ───────────────────────────────────────────────────────────────────────────────────


def either(**settings: object) -> World:
    return World(any_of(A, B, C, **settings), table(D))


def test_any_of_is_met_by_any_source() -> None:
    world = either()
    assert world.state() is State.MISSING
    world.load(B)
    assert world.state() is State.READY
    assert world.requirement().used == (B,)


def test_of_several_ready_sources_the_first_named_is_used() -> None:
    world = either()
    world.load(C)
    world.load(A)
    world.load(B)
    assert world.requirement().used == (A,)


def test_an_unmet_group_shows_the_nearest_of_its_sources() -> None:
    world = either(expected_count_min=100)
    world.load(A, status=LoadStatus.FAILED)
    assert world.state() is State.FAILED
    world.load(B, rows=5)
    assert world.state() is State.SHORT


def test_the_first_source_wins_as_soon_as_it_is_ready() -> None:
    world = World(any_of(A, B, prefer_for=minutes(30)))
    world.load(A)
    assert world.status is Status.FIRING


def test_a_later_source_wins_once_prefer_for_has_passed_since_its_receipt() -> None:
    world = World(any_of(A, B, prefer_for=minutes(30)))
    world.at(5).load(B)
    assert world.status is Status.SETTLING
    assert world.partition.wake_at == at(35)
    world.tick(35)
    assert world.run.inputs[0].table == B


def test_the_preferred_source_in_time_is_the_one_used() -> None:
    world = World(any_of(A, B, prefer_for=minutes(30)))
    world.load(B)
    world.at(29).load(A)
    assert world.run.inputs[0].table == A


def test_preference_counts_from_the_first_receipt_among_alternates() -> None:
    world = World(any_of(A, B, C, prefer_for=minutes(30)))
    world.load(C)
    world.at(20).load(B)
    assert world.partition.wake_at == at(30)


def test_a_partial_preferred_source_is_waited_for_no_longer_than_prefer_for() -> None:
    world = World(any_of(A, B, prefer_for=minutes(30)), grains=GAME)
    world.load(A, GAMES[:4])
    world.load(B)
    assert world.holds == {"prefer"}
    world.tick(30)
    assert [i.table for i in world.run.inputs] == [B]


def test_a_reload_of_the_alternate_does_not_restart_the_preference() -> None:
    world = World(any_of(A, B, prefer_for=minutes(30)))
    world.load(B)
    world.at(20).load(B)
    assert world.partition.wake_at == at(30)


def test_an_optional_group_is_capped_by_grace() -> None:
    world = World(table(D), any_of(A, B, prefer_for=HOUR, critical=False), grace=minutes(15))
    world.load(D)
    world.at(5).load(B)
    assert world.holds == {"prefer"}
    assert world.partition.wake_at == at(15)
    world.tick(15)
    assert world.status is Status.FIRING


def test_at_least_is_met_by_any_k() -> None:
    world = World(at_least(2, A, B, C), table(D))
    world.load(C)
    assert world.state() is State.MISSING
    world.load(A)
    assert world.state() is State.READY
    assert world.requirement().used == (A, C)


def test_at_least_is_met_since_the_kth_source() -> None:
    world = World(at_least(2, A, B, C), table(D))
    world.at(1).load(C)
    world.at(3).load(A)
    world.at(9).load(B)
    assert world.requirement().since == at(3)


def test_a_group_whose_sources_all_age_is_aging() -> None:
    world = World(at_least(2, A, B, max_age_warn=HOUR), table(D))
    world.load(A)
    world.load(B)
    assert world.at(90).state() is State.AGING


# ── waivers ──────────────────────────────────────────────────────────────────────────────────


def test_a_waiver_holds_in_every_line_that_names_the_table() -> None:
    world = World(table(A), any_of(A, B), at_least(2, A, B, C), table(D))
    world.load(C)
    world.waive(A)
    assert [world.state(i) for i in range(3)] == [State.WAIVED] * 3


def test_at_least_counts_a_waived_source_as_one() -> None:
    world = World(at_least(2, A, B, C), table(D))
    world.waive(A)
    assert world.state() is State.MISSING
    world.load(C)
    assert world.state() is State.WAIVED


def test_a_waiver_without_a_time_closes_when_the_data_comes() -> None:
    world = World(table(A), table(B))
    world.waive(A)
    world.at(5).load(A)
    (waiver,) = world.partition.waivers
    assert (waiver.closed_at, waiver.closed_because) == (at(5), "its data came")
    assert world.state() is State.READY


def test_a_waiver_without_a_time_stays_while_a_line_still_lacks_the_data() -> None:
    world = World(table(A), table(A, offset=-1, expected_count_min=5), table(B))
    world.waive(A)
    world.load(A)
    assert world.partition.waivers[0].closed_at is None
    world.load(A, date=BEFORE)
    assert world.partition.waivers[0].closed_at is not None


def test_a_waiver_with_a_time_closes_then_with_no_event() -> None:
    world = World(table(A), table(B))
    world.waive(A, until=30)
    assert world.partition.wake_at == at(30)
    world.tick(30)
    assert world.state() is State.MISSING
    assert world.partition.waivers[0].closed_because == "its time is over"


def test_a_waiver_with_a_time_outlives_the_data() -> None:
    world = World(table(A), table(B))
    world.waive(A, until=30)
    world.load(A)
    assert world.partition.waivers[0].closed_at is None
    assert world.requirement().used == (A,)


def test_a_waived_window_is_met() -> None:
    world = World(table(A), window(C, game_dates=3))
    world.waive(C)
    assert world.state(1) is State.WAIVED
    world.look_back(day(BEFORE, since=at(-9)))
    assert world.partition.waivers[0].closed_at is not None
    assert world.state(1) is State.READY


def test_no_preference_is_waited_for_in_a_waived_group() -> None:
    world = World(any_of(A, B, prefer_for=HOUR))
    world.load(B)
    assert world.status is Status.SETTLING
    world.waive(A)
    assert world.status is Status.FIRING


# ── windows ──────────────────────────────────────────────────────────────────────────────────


def looking_back(known_from: str | None = None, **settings: object) -> World:
    return World(
        table(A), window(C, game_dates=10, **settings), known_from=known_from, cooldown=minutes(0)
    )


def days(ready: int, missing: int) -> list[WindowDay]:
    found = [day(f"2024-10-0{n}", since=at(-n)) for n in range(1, ready + 1)]
    return found + [day(f"2024-09-0{n}", met=False) for n in range(1, missing + 1)]


def test_a_window_needs_its_share_of_dates() -> None:
    world = looking_back(min_ready=0.8)
    world.look_back(*days(7, 3))
    assert world.state(1) is State.INCOMPLETE
    world.look_back(*days(8, 2))
    assert world.state(1) is State.READY


def test_fewer_dates_than_asked_for_are_judged_as_they_are() -> None:
    world = looking_back(min_ready=0.8)
    world.look_back(*days(2, 1))
    assert world.state(1) is State.INCOMPLETE
    world.look_back(*days(3, 0))
    assert world.state(1) is State.READY
    assert world.requirement(1).days_needed == 3


def test_a_window_without_any_ready_date_is_missing() -> None:
    world = looking_back()
    world.look_back(*days(0, 2))
    assert world.state(1) is State.MISSING


def test_no_dates_at_all_are_met_with_a_warning_from_known_from_on() -> None:
    world = looking_back(known_from=DATE)
    assert world.state(1) is State.READY
    assert any("no game dates" in w for w in world.verdict.warnings)
    world.load(A)
    assert world.status is Status.FIRING


def test_no_dates_at_all_are_unmet_without_known_from() -> None:
    world = looking_back()
    assert world.state(1) is State.MISSING
    world.load(A)
    assert world.status is Status.WAITING
    assert "known_from" in world.why


def test_a_window_is_met_since_the_date_that_made_it_so() -> None:
    world = looking_back(min_ready=0.5)
    world.look_back(*days(3, 1))
    assert world.requirement(1).since == at(-2)


def test_arrivals_inside_a_window_never_make_a_partition_dirty() -> None:
    world = looking_back()
    world.look_back(*days(3, 0))
    world.load(A)
    world.run_through()
    world.look_back(*days(4, 0))
    assert world.verdict.dirty == ()
    assert world.status is Status.SUCCEEDED


def test_ready_dates_of_a_window_are_inputs_of_the_run() -> None:
    world = looking_back(min_ready=0.5)
    world.look_back(*days(2, 1))
    world.load(A)
    assert [(i.table, i.game_date) for i in world.run.inputs] == [
        (A, DATE),
        (C, "2024-10-01"),
        (C, "2024-10-02"),
    ]


# ── only optional requirements ───────────────────────────────────────────────────────────────


def test_with_only_optional_requirements_one_arrival_is_needed() -> None:
    world = World(table(A, critical=False), table(B, critical=False))
    assert world.status is Status.WAITING
    world.load(B)
    assert world.status is Status.FIRING


def test_an_optional_arrival_of_any_rows_is_one_also_where_it_is_short() -> None:
    world = World(table(A, critical=False, expected_count_min=100))
    world.load(rows=3)
    assert world.status is Status.FIRING


def test_an_empty_optional_load_is_no_arrival_where_games_are_expected() -> None:
    world = World(table(A, critical=False))
    world.load(status=NO_DATA, rows=0)
    assert world.status is Status.WAITING


def test_an_empty_optional_load_that_is_right_counts_as_one() -> None:
    world = World(table(A, critical=False), games=(), off_day=OffDay.RUN)
    world.load(status=NO_DATA, rows=0)
    assert world.status is Status.FIRING


def test_the_history_in_an_optional_window_is_no_arrival() -> None:
    world = World(table(A, critical=False), window(C, game_dates=3, critical=False))
    world.look_back(*days(3, 0))
    assert world.status is Status.WAITING


def test_where_windows_are_all_that_is_asked_for_they_are_enough() -> None:
    world = World(window(C, game_dates=3, critical=False))
    assert world.status is Status.WAITING
    world.look_back(*days(3, 0))
    assert world.status is Status.FIRING


def test_grace_of_only_optional_requirements_runs_from_the_first_receipt() -> None:
    world = World(table(A, critical=False), table(B, critical=False), grace=minutes(15))
    world.at(3).load(A)
    assert world.partition.wake_at == at(18)


# ── waiting ──────────────────────────────────────────────────────────────────────────────────


def test_grace_runs_from_the_moment_the_critical_requirements_are_met() -> None:
    world = World(table(A), table(B, critical=False), grace=minutes(15))
    world.at(7).load(A)
    assert (world.status, world.holds) == (Status.SETTLING, {"grace"})
    assert world.partition.wake_at == at(22)
    world.tick(22)
    assert world.status is Status.FIRING


def test_grace_ends_early_when_every_optional_requirement_is_met() -> None:
    world = World(table(A), table(B, critical=False), table(C, critical=False), grace=HOUR)
    world.load(A)
    world.at(5).load(B)
    assert world.status is Status.SETTLING
    world.at(6).load(C)
    assert world.status is Status.FIRING


def test_a_reload_does_not_restart_grace() -> None:
    world = World(table(A), table(B, critical=False), grace=minutes(15))
    world.load(A)
    world.at(10).load(A)
    assert world.partition.wake_at == at(15)


def test_a_break_in_readiness_restarts_grace() -> None:
    world = World(table(A), table(B, critical=False), grace=minutes(15))
    world.load(A)
    world.at(5).load(A, status=NO_DATA, rows=0)
    assert world.status is Status.WAITING
    world.at(8).load(A)
    assert world.partition.wake_at == at(23)


def test_debounce_restarts_with_each_applied_arrival() -> None:
    world = World(table(A), debounce=minutes(2))
    world.load()
    assert world.holds == {"debounce"}
    world.at(1).load()
    assert world.partition.wake_at == at(3)
    world.at(2).load(status=LoadStatus.FAILED)
    world.load(stamp=at(-60))  # superseded
    assert world.partition.wake_at == at(3)
    world.tick(3)
    assert world.status is Status.FIRING


def test_debounce_is_capped_by_max_settle_from_first_being_ready() -> None:
    world = World(table(A), debounce=minutes(2), max_settle=minutes(5))
    for n in range(5):
        world.at(n).load()
    assert world.partition.wake_at == at(5)
    world.tick(5)
    assert world.status is Status.FIRING


def test_not_before_holds_until_its_instant() -> None:
    world = World(table(A), not_before=clock_time(at(45)))
    world.load()
    assert world.holds == {"not_before"}
    world.tick(44)
    assert world.status is Status.SETTLING
    world.tick(45)
    assert world.status is Status.FIRING


def test_a_quiet_arrival_holds_until_an_ordinary_one() -> None:
    world = World(table(A))
    world.load(quiet=True)
    assert (world.status, world.flags) == (Status.SETTLING, {Flag.QUIET})
    assert world.partition.wake_at is None
    world.at(1).load()
    assert world.status is Status.FIRING


def test_an_ordinary_arrival_after_a_quiet_one_counts_by_receipt() -> None:
    world = World(table(A), table(B))
    quiet = world.at(1).arriving(A, quiet=True)
    ordinary = world.at(2).arriving(B)
    world.step(ordinary)
    world.step(quiet)
    assert world.status is Status.FIRING


def test_a_quiet_failed_load_holds_nothing() -> None:
    world = World(table(A), table(B))
    world.load(A)
    world.load(B, status=LoadStatus.FAILED, quiet=True)
    world.load(B)
    assert world.status is Status.FIRING


def test_a_pause_holds_and_loses_nothing() -> None:
    world = World(table(A))
    world.pause()
    world.load()
    assert (world.status, world.holds) == (Status.SETTLING, {"pause"})
    assert world.flags == {Flag.PAUSED}
    world.resume()
    assert world.status is Status.FIRING


# ── newer data ───────────────────────────────────────────────────────────────────────────────


def done(*requirements: object, **settings: object) -> World:
    """Succeeded on everything loaded, with an hour of cooldown."""
    world = World(*requirements, **settings)  # type: ignore[arg-type]
    for name in sorted(world.spec.named_tables()):
        world.load(name)
    return world.run_through().at(10)


def test_a_reload_without_a_mark_is_newer_data() -> None:
    world = done(table(A))
    world.load()
    assert world.status is Status.COOLING
    assert world.flags == {Flag.NEWER_DATA}


def test_a_reload_with_the_consumed_mark_is_not() -> None:
    world = World(table(A))
    world.load(mark="h1")
    world.run_through().at(1).load(mark="h1")
    assert world.status is Status.SUCCEEDED
    assert world.verdict.dirty == ()
    world.load(mark="h2")
    assert world.status is Status.COOLING


@pytest.mark.parametrize("status", [LoadStatus.FAILED, LoadStatus.SKIPPED])
def test_failed_and_skipped_loads_are_never_newer_data(status: LoadStatus) -> None:
    world = done(table(A))
    world.load(status=status)
    assert world.verdict.dirty == ()


def test_an_older_load_is_not_newer_data() -> None:
    world = done(table(A))
    world.load(stamp=at(-60))
    assert world.verdict.dirty == ()


def test_further_alternates_of_a_satisfied_group_are_not_newer_data() -> None:
    world = World(any_of(A, B, C))
    world.load(B)
    world.run_through().at(1).load(C)
    assert world.verdict.dirty == ()
    assert world.status is Status.SUCCEEDED


def test_a_more_preferred_source_is_newer_data() -> None:
    world = World(any_of(A, B))
    world.load(B)
    world.run_through().at(1).load(A)
    assert world.status is Status.COOLING
    assert [d.table for d in world.verdict.dirty] == [A]


def test_a_more_preferred_source_is_dirty_when_applied_and_ready_once_it_would_be_used() -> None:
    world = World(any_of(A, B), grains=GAME)
    world.load(B)
    world.run_through().at(1).load(A, GAMES[:4])
    assert world.flags == {Flag.NEWER_DATA}
    assert world.status is Status.SUCCEEDED
    world.load(A, GAMES[4:])
    assert world.status is Status.COOLING


def test_an_alternate_that_was_used_is_no_newer_data_once_a_preferred_source_would_be_read() -> (
    None
):
    world = World(any_of(A, B))
    world.load(B)
    world.run_through().at(1).load(B)
    world.load(A)
    assert [(d.table, d.ready) for d in world.verdict.dirty] == [(A, True), (B, False)]


def test_at_least_asks_again_for_the_sources_it_used_alone() -> None:
    world = World(at_least(2, A, B, C))
    world.load(A)
    world.load(B)
    world.run_through().at(1).load(C)
    assert world.verdict.dirty == ()
    world.load(A)
    assert world.status is Status.COOLING


def test_what_a_waiver_stood_in_for_is_newer_data_when_it_comes() -> None:
    world = World(at_least(2, A, B, C), table(D))
    world.load(A)
    world.load(D)
    world.waive(B)
    world.run_through().at(1).load(B)
    assert world.status is Status.COOLING
    plain = World(table(A), table(D))
    plain.load(D)
    plain.waive(A)
    plain.run_through().at(1).load(A)
    assert plain.status is Status.COOLING


def test_an_optional_requirement_unmet_when_fired_is_newer_data_once_it_is_met() -> None:
    world = World(table(A), table(B, critical=False), grains={B: Grain.GAME})
    world.load(A)
    world.run_through().at(1).load(B, GAMES[:4])
    assert world.verdict.dirty == ()
    world.load(B, GAMES[4:])
    assert world.status is Status.COOLING


def test_calendar_loads_are_never_newer_data() -> None:
    world = done(table(A), table(B), calendar_table=B)
    world.load(B)
    assert world.verdict.dirty == ()


def test_newer_data_that_is_not_ready_is_flagged_and_does_not_cool() -> None:
    world = done(table(A))
    world.load(status=NO_DATA, rows=0)
    assert (world.status, world.flags) == (Status.SUCCEEDED, {Flag.NEWER_DATA})
    assert "is not ready" in world.why


def test_what_came_between_firing_and_the_end_of_the_run_is_newer_data() -> None:
    world = World(table(A))
    world.load()
    world.claim()
    world.at(1).load()
    world.at(2).complete()
    assert world.status is Status.COOLING


def test_a_whole_date_reload_in_place_of_per_game_loads_is_newer_data_of_those_games() -> None:
    world = World(table(A), grains=GAME)
    for game in GAMES:
        world.load(games=(game,), mark=game)
    world.run_through().at(1).load(mark="whole")
    assert world.status is Status.COOLING
    assert world.verdict.changed_games == GAMES


def test_games_that_are_kept_no_more_or_again_are_no_newer_data() -> None:
    world = World(grains={A: Grain.GAME}, games=None, cooldown=timedelta(0))
    burst = tuple(f"x{n:03}" for n in range(UNKNOWN_GAMES_KEPT))
    world.step(world.arriving(rows=5), world.arriving(A, burst))
    world.run_through()
    assert world.partition.generation == 1
    known = world.ledger[arrivals_key(A, DATE)]
    kept = dict(sorted(known.games.items())[:UNEXPECTED_GAMES_KEPT])
    fewer = {arrivals_key(A, DATE): replace(known, games=kept)}
    world.games = {DATE: GAMES}
    for arrivals in (fewer, {arrivals_key(A, DATE): known}):
        world.at(30).step(Surveyed(games=world.games, arrivals=arrivals))
        assert (world.status, world.partition.generation) == (Status.SUCCEEDED, 1)


def test_a_game_of_a_consumed_date_that_is_kept_only_now_is_no_newer_data() -> None:
    world = World(grains={A: Grain.GAME}, games=None, cooldown=timedelta(0))
    world.load(A, ["x1"])
    world.at(1).run_through()
    key = arrivals_key(A, DATE)
    unkept = arrival(A, [GAMES[0]], event_id="e0", received=at(-1), stamp=at(-1))
    known = world.ledger[key]
    again = replace(
        known,
        arrivals={**known.arrivals, "e0": unkept},
        games={**known.games, GAMES[0]: "e0"},
    )
    world.at(2).step(Surveyed(games={}, arrivals={key: again}))
    assert (world.status, world.partition.generation) == (Status.SUCCEEDED, 1)


def test_a_load_of_the_instant_of_the_consumed_one_is_newer_data() -> None:
    world = World(cooldown=timedelta(0))
    world.load()
    world.load()
    world.run_through()
    assert world.partition.generation == 2


def test_a_whole_date_reload_that_takes_a_correction_back_is_newer_data() -> None:
    world = World(table(A), table(B), grains=GAME)
    world.load(mark="h")
    world.at(1).load(games=(ONE,), mark="corrected")
    world.load(B)
    world.run_through().at(2).load(mark="h")
    assert world.status is Status.COOLING
    assert world.verdict.changed_games == (ONE,)


def test_a_correction_of_one_game_names_that_game() -> None:
    world = World(table(A), grains=GAME, cooldown=minutes(0))
    world.load(mark="h")
    world.run_through().at(1).load(games=(TWO,), mark="x")
    assert world.run.changed_games == (TWO,)


def test_a_reload_by_date_names_the_games_it_names_or_all() -> None:
    world = done(table(A))
    world.load(games=(ONE,))
    assert world.verdict.changed_games == (ONE,)
    world.at(11).load()
    assert world.verdict.changed_games == GAMES


def test_for_a_requirement_added_later_what_came_after_firing_counts() -> None:
    for grain in Grain:
        world = World(table(A), grains={B: grain})
        world.load(B, GAMES[:1] if grain is Grain.GAME else ())
        world.at(1).load(A)
        world.run_through().at(2)
        world.spec = World(table(A), table(B, critical=False), grains={B: grain}).spec
        world.tick()
        assert world.verdict.dirty == ()
        world.at(3).load(B)
        world.at(4).load(B, GAMES[:1])
        assert [d.table for d in world.verdict.dirty] == [B]


def unmet_when_fired() -> World:
    """Succeeded without its optional requirement, of which nine games of ten were there."""
    world = World(table(B), table(A, critical=False), grains=GAME, cooldown=HOUR)
    world.load(A, GAMES[:9])
    world.load(B)
    return world.run_through().at(1)


def test_an_optional_requirement_that_is_met_since_the_calendar_changed_is_newer_data() -> None:
    world = unmet_when_fired()
    assert world.verdict.dirty == ()
    world.expect(GAMES[:9])
    assert (world.status, world.flags) == (Status.COOLING, {Flag.NEWER_DATA})
    assert f"Newer data in {A} is ready" in world.why
    world.tick(60)
    assert (world.run.trigger.value, world.run.changed_tables) == ("late_data", (A,))
    world.run_through()
    world.expect(GAMES[:8])
    assert (world.status, world.flags) == (Status.SUCCEEDED, set())


def test_a_quiet_load_that_was_consumed_holds_no_newer_data_of_the_calendar() -> None:
    world = World(table(B), table(A, critical=False), grains=GAME)
    world.load(A, GAMES[:9], quiet=True)
    world.load(B)
    world.run_through().at(1)
    world.expect(GAMES[:9])
    assert world.flags == {Flag.NEWER_DATA}


def test_a_calendar_that_has_no_games_any_more_asks_for_no_run() -> None:
    world = World(table(B), table(A, critical=False), cooldown=minutes(0))
    world.load(A, status=NO_DATA, rows=0)
    world.load(B)
    world.run_through().at(1)
    world.expect(())
    assert (world.status, world.flags) == (Status.SUCCEEDED, set())


def test_a_critical_requirement_that_was_passed_over_waits_for_newer_data() -> None:
    world = World(table(A), grains=GAME, cooldown=minutes(0))
    world.load(A, GAMES[:9])
    world.trigger(Bypass.DEPENDENCIES)
    world.run_through().at(1)
    world.expect(GAMES[:9])
    assert world.status is Status.SUCCEEDED


def test_an_optional_input_that_was_too_old_is_no_newer_data_once_age_does_not_count() -> None:
    world = World(table(B), table(A, critical=False, max_age_fail=HOUR), cooldown=minutes(0))
    world.load(A)
    world.at(90).load(B)
    assert "optional and not met" in world.run.warnings[0]
    world.run_through().tick(200)
    assert (world.status, world.flags) == (Status.SUCCEEDED, set())


def test_a_used_source_that_was_switched_off_leaves_the_others_to_count() -> None:
    world = World(any_of(A, B, C))
    world.load(A)
    world.run_through().at(1)
    (group,) = world.spec.requirements
    world.spec = replace(world.spec, requirements=(replace(group, sources=(B, C)),))
    world.load(C)
    assert [d.table for d in world.verdict.dirty] == [C]


def test_an_off_day_found_later_to_have_games_makes_its_load_newer_data() -> None:
    world = World(table(A), table(B, offset=-1))
    world.expect((), BEFORE)
    world.load(A)
    world.run_through().at(1)
    world.expect(GAMES, BEFORE)
    world.load(B, date=BEFORE)
    assert world.status is Status.COOLING


def test_cooldown_holds_newer_data_for_its_time_after_the_outcome() -> None:
    world = done(table(A), cooldown=HOUR)
    world.load()
    assert world.holds == {"cooldown"}
    assert world.partition.wake_at == at(60)
    world.tick(60)
    assert world.run.trigger.value == "late_data"


def test_debounce_holds_a_refire_and_max_settle_caps_it() -> None:
    world = World(table(A), cooldown=minutes(0), debounce=minutes(5), max_settle=minutes(12))
    world.load()
    world.tick(5)
    world.run_through().at(20).load()
    assert (world.status, world.partition.wake_at) == (Status.COOLING, at(25))
    world.at(24).load()
    assert world.partition.wake_at == at(29)
    world.at(28).load()
    assert world.partition.wake_at == at(32)
    world.tick(32)
    assert world.partition.generation == 2


def test_debounce_of_a_refire_counts_newer_data_alone() -> None:
    world = World(any_of(A, B), cooldown=minutes(0), debounce=minutes(5))
    world.load(A)
    world.tick(5)
    world.run_through().at(10).load(A)
    world.at(12).load(B)  # a further alternate: never newer data
    assert world.partition.wake_at == at(15)


def test_quiet_newer_data_is_held_and_shown_until_an_ordinary_load() -> None:
    world = done(table(A), table(B), cooldown=minutes(0))
    world.load(A, quiet=True)
    assert (world.status, world.flags) == (Status.SUCCEEDED, {Flag.QUIET, Flag.NEWER_DATA})
    world.at(11).load(B)
    assert world.status is Status.FIRING


def test_a_load_that_is_no_newer_data_neither_sets_nor_releases_quiet() -> None:
    world = World(any_of(A, B), cooldown=minutes(0))
    world.load(A)
    world.run_through().at(1).load(A, quiet=True)
    world.at(2).load(B)
    assert world.verdict.quiet
    assert world.status is Status.SUCCEEDED
    other = World(any_of(A, B), cooldown=minutes(30))
    other.load(A)
    other.run_through().at(1).load(A)
    other.at(2).load(B, quiet=True)
    assert other.tick(30).fired is not None


def test_the_budget_of_refires_holds_and_is_flagged() -> None:
    world = World(table(A), cooldown=minutes(0), max_refires=0)
    world.load()
    world.run_through().at(1).load()
    assert world.holds == {"budget"}
    assert world.status is Status.SUCCEEDED
    assert world.flags == {Flag.NEWER_DATA, Flag.REFIRES_SPENT}


def test_not_before_and_pause_hold_a_refire_too() -> None:
    world = World(table(A), cooldown=minutes(0))
    world.load()
    world.run_through().at(1)
    world.pause()
    world.load()
    assert (world.status, world.holds) == (Status.COOLING, {"pause"})
    world.respec(not_before=clock_time(at(45)))
    world.resume()
    assert world.holds == {"not_before"}


# ── the verdict ──────────────────────────────────────────────────────────────────────────────


def test_a_verdict_counts_what_is_met_and_names_each_warning_once() -> None:
    world = World(table(A), table(B, critical=False), any_of(A, C), games=None, grains=GAME)
    world.load(A)
    assert world.verdict.met_count == 2
    assert len(world.verdict.warnings) == 1
    assert world.verdict.hold(HoldKind.GRACE) is None


def test_judging_changes_nothing_and_is_repeatable() -> None:
    world = World(table(A), table(B))
    world.load(A)
    assert judge(world.partition, world.spec, world.now) == world.verdict


def test_without_a_record_of_what_was_consumed_nothing_is_newer() -> None:
    world = done(table(A))
    execution = replace(world.partition.execution, consumed=None, consumed_at=None)
    bare = replace(world.partition, execution=execution)
    assert judge(bare, world.spec, world.now).dirty == ()


def test_a_table_never_loaded_has_no_marks() -> None:
    assert marks_of(None, Grain.DATE) == {}


def test_a_failed_run_leaves_its_newer_data_to_the_cooldown() -> None:
    world = World(table(A), attempts=1, cooldown=HOUR)
    world.load()
    world.claim()
    world.at(1).load()
    world.at(2).complete(RunStatus.FAILED, error="boom")
    assert (world.status, world.holds) == (Status.FAILED, {"cooldown"})
    world.tick(62)
    assert world.partition.generation == 2
    assert world.partition.execution.refires == 1


def test_rows_of_games_that_are_not_kept_are_said_not_to_count() -> None:
    many = [f"g{n:04}" for n in range(300)]
    known, _ = TableDate(table=A, game_date=DATE).fold(arrival(A, many, rows=600), Grain.GAME)
    one = table(A, expected_count_min=500)
    source = judge_source(one, A, DATE, known, Grain.GAME, None, at(0), freshness=False)
    assert (source.state, source.record_count) == (State.SHORT, 400)
    assert source.warnings[0] == (
        f"{A}: rows of games beyond the first 200 by id are not counted until the calendar is known"
    )


def test_unexpected_games_beyond_those_kept_are_counted_in_the_warning() -> None:
    world = World(table(A, min_coverage=0.0), grains={A: Grain.GAME})
    world.load(A, [f"x{n:02}" for n in range(25)])
    (warning,) = (w for w in world.decision.verdict.warnings if "does not expect" in w)
    assert warning.endswith("such ids were named 5 times beyond those kept")
