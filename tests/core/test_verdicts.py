"""Whole verdicts, field by field: what a person or a client of the API sees of a judgement."""

from __future__ import annotations

from datetime import datetime

from coordinator.core.arrivals import Grain, LoadStatus
from coordinator.core.choices import RunStatus
from coordinator.core.model import (
    Attempt,
    EffectKind,
    Input,
    Latest,
    OutboxEntry,
    Run,
    Transition,
    Trigger,
)
from coordinator.core.verdict import Dirt, Hold, HoldKind, SourceVerdict, State
from tests.core.world import (
    BEFORE,
    DATE,
    GAMES,
    OUTPUT,
    A,
    B,
    C,
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

R1 = f"P:{DATE}:1"
BY_GAME = {A: Grain.GAME, B: Grain.GAME}


def source(world: World, index: int = 0, place: int = 0) -> SourceVerdict:
    return world.requirement(index).sources[place]


def rests_on(found: SourceVerdict) -> tuple[datetime | None, datetime | None, tuple[str, ...]]:
    return found.oldest, found.loaded_at, found.event_ids


def test_nothing_known_of_a_table_by_game() -> None:
    world = World(grains=BY_GAME)
    assert source(world) == SourceVerdict(
        table=A, game_date=DATE, state=State.MISSING, games_expected=10, missing_games=GAMES
    )
    by_date = World()
    assert source(by_date).missing_games == ()
    unknown = World(games=None, grains=BY_GAME)
    assert (source(unknown).games_expected, source(unknown).missing_games) == (None, ())


def test_a_failure_is_shown_where_nothing_else_is_known() -> None:
    world = World()
    world.at(1).load(status=LoadStatus.FAILED, event_id="bad")
    failure = arrival(A, stamp=at(1), event_id="bad", status=LoadStatus.FAILED)
    assert source(world) == SourceVerdict(
        table=A, game_date=DATE, state=State.FAILED, games_expected=10, last_failure=failure
    )


def test_a_table_of_a_date_rests_on_its_last_load() -> None:
    world = World(
        table(A, expected_count_min=50, max_age_fail=minutes(600), max_age_warn=minutes(300)),
        table(B),
    )
    world.at(1).load(rows=40, stamp=at(-5), event_id="x")
    assert source(world)._replace(loads=()) == SourceVerdict(
        table=A,
        game_date=DATE,
        state=State.SHORT,
        games_expected=10,
        record_count=40,
        minimum=50,
    )
    assert rests_on(source(world)) == (at(-5), at(-5), ("x",))
    world.at(2).load(rows=50, stamp=at(0), event_id="y")
    assert source(world)._replace(loads=()) == SourceVerdict(
        table=A,
        game_date=DATE,
        state=State.READY,
        games_expected=10,
        record_count=50,
        minimum=50,
        stale_at=at(600),
        since=at(2),
    )
    assert rests_on(source(world)) == (at(0), at(0), ("y",))
    assert world.partition.wake_at == at(600)
    world.at(300)
    aging = source(world)
    assert (aging.state, aging.warnings) == (State.AGING, (f"{A} was loaded 5 h ago",))
    world.at(600)
    stale = source(world)
    assert (stale.state, stale.age, stale.since) == (State.STALE, minutes(600), None)


def test_a_table_by_game_adds_up_what_covers_its_games() -> None:
    world = World(table(A, expected_count_per_game=20, min_coverage=0.8), table(B), grains=BY_GAME)
    world.at(1).load(A, GAMES[:4], rows=80, event_id="x")
    world.at(2).load(A, (*GAMES[4:7], "stranger"), rows=80, event_id="y")
    unmet = source(world)
    assert unmet._replace(loads=()) == SourceVerdict(
        table=A,
        game_date=DATE,
        state=State.INCOMPLETE,
        games_expected=10,
        games_loaded=7,
        missing_games=GAMES[7:],
        unexpected_games=("stranger",),
        record_count=140,
        minimum=200,
        warnings=(f"{A} has games that the calendar does not expect: stranger",),
    )
    assert rests_on(unmet) == (at(1), at(2), ("x", "y"))
    world.at(3).load(A, GAMES[7:8], rows=60, event_id="z")
    met = source(world)
    assert (met.state, met.games_loaded, met.record_count) == (State.READY, 8, 200)
    assert (met.since, met.missing_games) == (at(3), GAMES[8:])


def test_games_that_are_said_to_have_no_rows_are_missing() -> None:
    world = World(grains=BY_GAME)
    world.load(A, GAMES[:2], rows=0, event_id="none")
    empty = source(world)
    assert (empty.state, empty.games_loaded, empty.event_ids) == (State.EMPTY, 0, ("none",))
    world.load(A, GAMES[2:4], rows=40, event_id="some")
    some = source(world)
    assert (some.state, some.games_loaded, some.event_ids) == (State.INCOMPLETE, 2, ("some",))
    assert some.missing_games == (*GAMES[:2], *GAMES[4:])


def test_without_a_calendar_rows_are_counted_and_coverage_is_not() -> None:
    world = World(table(A, expected_count_per_game=20), table(B), games=None, grains=BY_GAME)
    world.load(A, GAMES[:2], rows=40, event_id="x")
    found = source(world)
    assert found.warnings == (
        "the calendar is unknown, so rows per game cannot be judged",
        f"{A}: the calendar does not know {DATE}, so coverage cannot be judged",
    )
    assert (found.state, found.record_count, found.games_loaded) == (State.READY, 40, 2)
    assert (found.minimum, found.games_expected) == (None, None)


def test_holds_say_until_when_and_for_what() -> None:
    world = World(
        table(A),
        table(B, critical=False),
        any_of(C, A, prefer_for=minutes(30), critical=False),
        grace=minutes(20),
        debounce=minutes(5),
        max_settle=minutes(60),
        not_before=clock_time(at(90)),
    )
    world.load(quiet=True, event_id="x")
    world.pause()
    assert world.verdict.holds == (
        Hold(kind=HoldKind.GRACE, until=at(20), detail=B),
        Hold(kind=HoldKind.PREFER, until=at(20), detail=C),
        Hold(kind=HoldKind.DEBOUNCE, until=at(5)),
        Hold(kind=HoldKind.NOT_BEFORE, until=at(90)),
        Hold(kind=HoldKind.QUIET, detail="x"),
        Hold(kind=HoldKind.PAUSE, detail="ann: maintenance"),
    )
    assert world.verdict.hold(HoldKind.DEBOUNCE) == Hold(kind=HoldKind.DEBOUNCE, until=at(5))
    assert world.verdict.hold(HoldKind.BUDGET) is None
    assert world.verdict.ready_since == at(0)
    assert world.partition.wake_at == at(5)


def test_newer_data_says_what_changed_and_what_holds_it() -> None:
    world = World(
        table(A), cooldown=minutes(60), debounce=minutes(5), max_refires=0, grains=BY_GAME
    )
    world.load(A, GAMES, event_id="x")
    world.tick(5)
    world.run_through()
    world.at(10).load(A, GAMES[2:4], event_id="y", quiet=True)
    latest = Latest(event_id="y", received_at=at(10), quiet=True)
    assert world.verdict.dirty == (
        Dirt(key=A, table=A, game_date=DATE, games=GAMES[2:4], ready=True, latest=latest),
    )
    assert world.verdict.changed_games == GAMES[2:4]
    assert world.verdict.changed_tables == (A,)
    assert world.verdict.refires_spent
    assert world.verdict.holds == (
        Hold(kind=HoldKind.BUDGET, detail="0 re-fires"),
        Hold(kind=HoldKind.COOLDOWN, until=at(65)),
        Hold(kind=HoldKind.DEBOUNCE, until=at(15)),
        Hold(kind=HoldKind.QUIET, detail="y"),
    )
    world.at(11).load(A, event_id="z")
    assert world.verdict.changed_games == GAMES


def test_a_run_is_created_with_everything_that_explains_it() -> None:
    world = World(
        table(A, max_age_warn=minutes(30)),
        table(B, critical=False),
        window(C, game_dates=2, min_ready=0.5),
        known_from=BEFORE,
    )
    world.look_back(day("2024-10-21", met=False), day(BEFORE, since=at(-600)))
    world.at(40).load(A, GAMES[:3], rows=9, stamp=at(5), event_id="x", correlation_id="c7")
    aging = f"{A} was loaded 35 min ago"
    assert world.run == Run(
        run_id=R1,
        processor="P",
        game_date=DATE,
        generation=1,
        trigger=Trigger.DEPENDENCIES,
        status=RunStatus.PENDING,
        registry_hash="r1",
        fired_at=at(40),
        attempts=(Attempt(number=1, launch_at=at(40)),),
        inputs=(
            Input(
                table=A,
                game_date=DATE,
                state="aging",
                record_count=9,
                game_ids=GAMES[:3],
                event_ids=("x",),
                loaded_at=at(5),
            ),
            Input(
                table=C,
                game_date=BEFORE,
                state="ready",
                record_count=5,
                game_ids=(),
                event_ids=(),
                loaded_at=at(-600),
            ),
        ),
        explanation=(
            f"{A} is ready but aging, loaded 2024-10-24 02:05:00Z. {B}: no load yet for {DATE}. "
            f"{C} is ready on 1 of the last 2 game dates."
        ),
        warnings=world.run.warnings,
        correlation_id="c7",
        transitions=(Transition(at=at(40), what="fired", detail="dependencies"),),
    )
    assert aging in world.run.warnings
    assert world.partition.outbox == (
        OutboxEntry(
            effect_id=f"launch:{R1}:1",
            kind=EffectKind.LAUNCH,
            subject=R1,
            attempt=1,
            due_at=at(40),
            created_at=at(40),
        ),
    )


def test_an_output_is_announced_as_the_run_ended() -> None:
    world = World()
    world.load(correlation_id="c7")
    world.claim()
    world.at(3).complete(rows=12)
    (entry,) = world.partition.outbox
    assert (entry.effect_id, entry.subject) == (f"announce:{R1}", R1)
    assert (entry.due_at, entry.created_at) == (at(3), at(3))
    assert entry.announcement == arrival(
        OUTPUT, rows=12, stamp=at(3), event_id=f"run:{R1}", correlation_id="c7"
    )
    outcome = world.partition.outcome
    assert outcome is not None
    assert (outcome.generation, outcome.attempt, outcome.at) == (1, 1, at(3))
    assert (outcome.record_count, outcome.error, outcome.lease_token) == (12, None, "t1")


def test_a_game_without_a_mark_of_its_own_is_compared_with_the_load_of_its_date() -> None:
    world = World(grains=BY_GAME, cooldown=minutes(60))
    world.load(A, mark="m", event_id="whole")
    world.run_through()
    world.at(1).load(A, GAMES[:1], mark="m", event_id="same")
    assert world.verdict.dirty == ()
    world.at(2).load(A, GAMES[:1], mark="n", event_id="other")
    assert world.verdict.changed_games == GAMES[:1]


def test_a_group_is_met_since_the_receipt_that_made_it_so() -> None:
    world = World(any_of(A, B), at_least(2, A, B, C), table(OUTPUT))
    world.at(3).load(B)
    assert world.requirement(0).since == at(3)
    assert world.requirement(1).since is None
    world.at(5).load(C)
    assert world.requirement(1).since == at(5)
