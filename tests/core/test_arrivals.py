"""Folding: what is known of a table's date after each load (specification 3.1)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import permutations

import pytest

from coordinator.core.arrivals import (
    SMALLEST_STEP,
    UNEXPECTED_GAMES_KEPT,
    UNKNOWN_GAMES_KEPT,
    Arrival,
    Fold,
    Grain,
    LoadStatus,
    TableDate,
)
from tests.core.world import DATE, GAMES, A, arrival, at

ONE, TWO, THREE = GAMES[:3]


def fold(
    *loads: Arrival, grain: Grain = Grain.DATE, expected: Sequence[str] | None = GAMES
) -> TableDate:
    known = TableDate(table=A, game_date=DATE)
    for load in loads:
        known, _ = known.fold(load, grain, expected)
    return known


def what(known: TableDate, load: Arrival, grain: Grain = Grain.DATE) -> Fold:
    return known.fold(load, grain, GAMES)[1]


def load(event_id: str, games: Sequence[str] = (), *, stamp: float = 0, **said: object) -> Arrival:
    return arrival(
        games=games,
        event_id=event_id,
        stamp=at(stamp),
        received=at(said.pop("received", stamp)),  # type: ignore[arg-type]
        **said,  # type: ignore[arg-type]
    )


def test_the_newest_timestamp_wins() -> None:
    old, new = load("old", stamp=1), load("new", stamp=2)
    assert fold(old, new).whole == "new"
    assert fold(new, old).whole == "new"
    assert what(fold(new), old) is Fold.SUPERSEDED
    assert what(fold(old), new) is Fold.APPLIED


def test_an_older_load_changes_nothing() -> None:
    known = fold(load("new", stamp=2))
    assert known.fold(load("old", stamp=1), Grain.DATE, GAMES)[0] is known


@pytest.mark.parametrize("games", [(), (ONE,)])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_equal_timestamps_the_later_received_wins(
    games: tuple[str, ...], order: tuple[int, int]
) -> None:
    loads = load("first", games, received=5), load("second", games, received=6)
    known = fold(loads[order[0]], loads[order[1]], grain=Grain.GAME)
    winner = known.winner(ONE)
    assert winner is not None
    assert winner.event_id == "second"


def test_of_loads_equal_in_both_the_one_taken_in_last_wins() -> None:
    assert fold(load("a"), load("b")).whole == "b"


def test_by_date_a_load_replaces_the_last() -> None:
    known = fold(load("old", stamp=1), load("new", (ONE,), stamp=2))
    assert set(known.arrivals) == {"new"}
    assert not known.games


def test_by_game_coverage_is_the_union() -> None:
    known = fold(load("x", (ONE, TWO), stamp=2), load("y", (TWO, THREE)), grain=Grain.GAME)
    assert known.games == {ONE: "x", TWO: "x", THREE: "y"}


def test_a_load_that_wins_for_any_of_its_games_is_applied() -> None:
    known = fold(load("x", (ONE,), stamp=2), grain=Grain.GAME)
    assert what(known, load("y", (ONE, TWO), stamp=1), Grain.GAME) is Fold.APPLIED
    assert what(known, load("z", (ONE,), stamp=1), Grain.GAME) is Fold.SUPERSEDED


def test_a_load_that_no_game_rests_on_any_more_is_forgotten() -> None:
    known = fold(load("x", (ONE,)), load("y", (ONE,), stamp=1), grain=Grain.GAME)
    assert set(known.arrivals) == {"y"}


def test_a_load_without_games_covers_every_game() -> None:
    known = fold(load("all"), grain=Grain.GAME)
    assert all(known.winner(g) == load("all") for g in GAMES)
    assert TableDate(table=A, game_date=DATE).winner(ONE) is None


def test_an_old_load_of_the_whole_date_wins_for_the_games_that_have_nothing_newer() -> None:
    known = fold(load("one", (ONE,), stamp=2), load("all", stamp=1), grain=Grain.GAME)
    assert known.winner(ONE) == load("one", (ONE,), stamp=2)
    assert known.winner(TWO) == load("all", stamp=1)
    later = fold(load("one", (ONE,), stamp=2), load("all", stamp=3), grain=Grain.GAME)
    assert not later.games


def test_an_old_load_of_the_whole_date_that_wins_for_no_expected_game_is_superseded() -> None:
    known = fold(load("each", GAMES, stamp=2), grain=Grain.GAME)
    assert what(known, load("all", stamp=1), Grain.GAME) is Fold.SUPERSEDED
    unknown = known.fold(load("all", stamp=1), Grain.GAME, None)
    assert unknown[1] is Fold.APPLIED


def test_a_per_game_load_older_than_the_whole_is_superseded() -> None:
    known = fold(load("all", stamp=2), grain=Grain.GAME)
    assert what(known, load("one", (ONE,), stamp=1), Grain.GAME) is Fold.SUPERSEDED


@pytest.mark.parametrize("status", [LoadStatus.FAILED, LoadStatus.SKIPPED])
def test_failed_and_skipped_never_undo_a_success_and_take_no_part_in_ordering(
    status: LoadStatus,
) -> None:
    good = load("good", stamp=1)
    bad = load("bad", stamp=9, status=status)
    assert fold(good, bad).whole == fold(bad, good).whole == "good"
    assert fold(bad, good).last_failure == bad
    assert what(fold(bad), load("older", stamp=1, status=status)) is Fold.SUPERSEDED


def test_no_data_replaces_an_older_success() -> None:
    known = fold(load("good"), load("none", stamp=1, status=LoadStatus.NO_DATA, rows=None))
    assert known.newest is not None
    assert known.newest.empty


def test_any_order_of_loads_with_their_receipt_times_folds_to_the_same() -> None:
    loads = [
        load("a", (ONE, TWO), stamp=1, received=1),
        load("b", (TWO, THREE), stamp=1, received=2),
        load("all", stamp=0, received=3),
        load("c", (ONE,), stamp=2, received=4),
    ]
    results = {
        tuple(winner.event_id for g in GAMES if (winner := known.winner(g)))
        for order in permutations(loads)
        for known in [fold(*order, grain=Grain.GAME)]
    }
    assert len(results) == 1


def test_rows_are_shared_evenly_among_the_games_of_a_load() -> None:
    assert load("x", (ONE, TWO), rows=50).share == 25
    assert load("x", rows=50).share == 50
    assert load("x", rows=None).share is None


def test_the_newest_of_per_game_loads_counts_after_a_change_of_grain() -> None:
    known = fold(load("x", (ONE,)), load("y", (TWO,), stamp=1), grain=Grain.GAME)
    assert known.newest == load("y", (TWO,), stamp=1)
    assert TableDate(table=A, game_date=DATE).newest is None


def test_the_newest_of_all_counts_after_a_change_of_grain() -> None:
    one = load("one", (ONE,), stamp=2)
    known = fold(one, load("all", stamp=1), grain=Grain.GAME)
    assert known.newest == one


def test_a_load_older_than_one_of_a_game_is_superseded_after_a_change_of_grain_to_date() -> None:
    known = fold(load("one", (ONE,), stamp=2), grain=Grain.GAME)
    assert what(known, load("all", stamp=1), Grain.DATE) is Fold.SUPERSEDED
    assert what(known, load("all", stamp=3), Grain.DATE) is Fold.APPLIED


# ── games that nobody expects ────────────────────────────────────────────────────────────────


def wrong(n: int) -> str:
    return f"wrong-{n:05}"


def per_game(n: int) -> Arrival:
    return load(f"e{n}", (wrong(n),), stamp=n, rows=1)


def good(stamp: float = 5000) -> list[Arrival]:
    return [load(f"good-{g}", (g,), stamp=stamp) for g in GAMES]


def test_games_that_the_calendar_does_not_expect_are_kept_up_to_a_bound_and_counted() -> None:
    known = fold(*(per_game(n) for n in range(3000)), *good(), grain=Grain.GAME)
    assert set(known.games) == {*GAMES, *(wrong(n) for n in range(UNEXPECTED_GAMES_KEPT))}
    assert set(known.arrivals) == set(known.games.values())
    assert known.not_kept == 3000 - UNEXPECTED_GAMES_KEPT


def test_a_few_unexpected_games_are_all_kept() -> None:
    known = fold(*(per_game(n) for n in range(UNEXPECTED_GAMES_KEPT)), *good(), grain=Grain.GAME)
    assert known.not_kept == 0
    assert not known.to_fold_again(GAMES)


@pytest.mark.parametrize("expected", [GAMES, None, ()])
def test_the_newest_counts_after_a_change_of_grain_though_none_of_its_games_are_kept(
    expected: Sequence[str] | None,
) -> None:
    low, high = ([wrong(n) for n in range(first, first + 300)] for first in (0, 300))
    newest = load("newest", high, stamp=9, received=1)
    lower, whole = load("lower", low, stamp=1, received=2), load("whole", stamp=5, received=6)
    known = fold(newest, lower, whole, grain=Grain.GAME, expected=expected)
    assert known.newest is not None
    assert (known.newest.event_id, known.counting) == ("newest", {"whole"})
    assert what(known, load("older", stamp=8), Grain.DATE) is Fold.SUPERSEDED
    after, _ = known.fold(load("newer", stamp=10), Grain.DATE, expected)
    assert set(after.arrivals) == {"newer"}


@pytest.mark.parametrize("expected", [GAMES, None, ()])
@pytest.mark.parametrize("seed", range(5))
def test_which_games_are_kept_does_not_depend_on_the_order_of_loads(
    expected: Sequence[str] | None, seed: int
) -> None:
    loads = [*(per_game(n) for n in range(500)), *good()]
    one = fold(*loads, grain=Grain.GAME, expected=expected)
    random.Random(seed).shuffle(loads)
    other = fold(*loads, grain=Grain.GAME, expected=expected)
    assert (one.games, dict(one.arrivals)) == (other.games, dict(other.arrivals))


def test_while_the_calendar_is_unknown_more_games_are_kept() -> None:
    loads = [*(per_game(n) for n in range(UNKNOWN_GAMES_KEPT))]
    known = fold(*loads, grain=Grain.GAME, expected=None)
    assert (len(known.games), known.not_kept) == (UNKNOWN_GAMES_KEPT, 0)
    assert known.to_fold_again(GAMES)
    assert fold(*loads, per_game(999), grain=Grain.GAME, expected=None).not_kept == 1


def test_a_load_that_names_too_many_games_is_kept_without_most_of_them() -> None:
    many = [wrong(n) for n in range(1000)]
    known = fold(load("big", [*many, ONE], rows=1001), grain=Grain.GAME)
    kept = known.arrivals["big"]
    assert len(kept.game_ids) == len(known.games) == UNEXPECTED_GAMES_KEPT + 1
    assert (kept.game_count, kept.share, known.not_kept) == (1001, 1.0, 980)
    failed = load("bad", many, status=LoadStatus.FAILED)
    failure = fold(failed, grain=Grain.GAME).last_failure
    assert failure is not None
    assert len(failure.game_ids) == UNEXPECTED_GAMES_KEPT


# ── clocks that step, or disagree ────────────────────────────────────────────────────────────


def output(generation: int, *, processor: str = "P", **said: object) -> Arrival:
    return load(f"run:{processor}:{DATE}:{generation}", **said)  # type: ignore[arg-type]


def test_the_outputs_of_a_processor_are_ordered_by_generation() -> None:
    first, second = output(9, stamp=100), output(10, stamp=0)
    assert fold(first, second).whole == second.event_id
    assert fold(second, first).whole == second.event_id
    assert what(fold(second), first) is Fold.SUPERSEDED


def test_the_outputs_of_different_processors_are_ordered_by_time() -> None:
    known = fold(output(9, stamp=100))
    assert what(known, output(10, processor="Q", stamp=0)) is Fold.SUPERSEDED
    assert what(known, load(f"run:P:{DATE}:x", stamp=0)) is Fold.SUPERSEDED
    assert what(known, load(f"run:P:{DATE}:x", stamp=101)) is Fold.APPLIED


def test_a_load_received_under_a_clock_that_is_behind_is_ordered_after_what_is_known() -> None:
    known = fold(load("first", stamp=99, received=100))
    late = load("second", stamp=1, received=1)  # its own timestamp was cut to its receipt
    ordered = known.in_order(late, at(101))
    assert ordered.received_at == known.arrivals["first"].received_at + SMALLEST_STEP
    assert what(known, ordered) is Fold.APPLIED
    assert what(known, known.in_order(late, at(50))) is Fold.SUPERSEDED  # it says that it is older
    assert what(known, known.in_order(late, at(99))) is Fold.APPLIED  # of equal ones the later


def test_the_output_of_a_run_that_has_just_ended_is_newer_than_what_is_known() -> None:
    known = fold(load("by hand", stamp=99, received=100))
    ended = output(1, stamp=1)
    assert what(known, known.in_order(ended, ended.timestamp)) is Fold.APPLIED
    stamped_late = output(1, stamp=1, received=5)
    assert what(known, known.in_order(stamped_late, stamped_late.timestamp)) is Fold.SUPERSEDED


def test_a_load_received_in_order_is_left_alone() -> None:
    one = load("one", stamp=5)
    assert TableDate(table=A, game_date=DATE).in_order(one, at(5)) is one
    assert fold(load("zero", stamp=4)).in_order(one, at(5)) is one


def test_a_failed_load_counts_as_received_too() -> None:
    known = fold(load("bad", stamp=100, status=LoadStatus.FAILED))
    assert known.in_order(load("good", stamp=1), at(1)).received_at > at(100)
