"""Every status with every fact: what the table says may follow does, and nothing else.

For each status there are worlds in it, for each fact ways in which it may come. Every world is tried
each way, 30 minutes on, so that time has had something to do as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from typing import Any

import pytest

from coordinator.core.arrivals import Grain, LoadStatus
from coordinator.core.choices import Bypass, RunStatus
from coordinator.core.facts import (
    Claimed,
    Completed,
    Delivered,
    DeliveryFailed,
    Fact,
    Heartbeat,
    Loaded,
    ReportRefused,
    Requested,
    ResetRequested,
    SkipRequested,
    Surveyed,
    Ticked,
    WaiverGranted,
    WaiverLifted,
)
from coordinator.core.model import Pause, Run, Status
from coordinator.core.spec import DeadlineAction, ScheduleWhen
from coordinator.core.transitions import (
    BY_FACT,
    BY_FACT_ALONE,
    BY_TIME,
    FACTS,
    TRANSITIONS,
    WHY_BY_TIME,
)
from tests.core.world import (
    DATE,
    GAMES,
    START,
    A,
    B,
    C,
    World,
    at,
    deadline,
    minutes,
    schedule,
    table,
)

Make = Callable[[], World]


def world(**settings: Any) -> World:
    """Two critical tables, the first by game, and an optional one."""
    settings.setdefault("cooldown", minutes(0))
    return World(table(A), table(B), table(C, critical=False), grains={A: Grain.GAME}, **settings)


def ready(**settings: Any) -> World:
    made = world(**settings)
    made.load(A, GAMES)
    made.load(B)
    return made


def with_run(*acts: Callable[[World], object], **settings: Any) -> World:
    made = ready(**settings)
    for act in acts:
        act(made)
    return made


def ended(status: RunStatus, *acts: Callable[[World], object], **settings: Any) -> World:
    return with_run(lambda w: w.run_through(status), *acts, attempts=1, **settings)


def done(*acts: Callable[[World], object], **settings: Any) -> World:
    return ended(RunStatus.SUCCESS, *acts, **settings)


def fail(*acts: Callable[[World], object], **settings: Any) -> World:
    return ended(RunStatus.FAILED, *acts, **settings)


def settled(*acts: Callable[[World], object], **settings: Any) -> World:
    settings.setdefault("grace", minutes(60))
    return with_run(*acts, **settings)


def waived(name: str = B, until: float | None = 20, **settings: Any) -> World:
    made = world(**settings)
    made.waive(name, until=until)
    made.load(A)
    return made


def empty(name: str) -> Callable[[World], object]:
    return lambda w: w.load(name, status=LoadStatus.NO_DATA, rows=0)


def off(w: World) -> object:
    return w.expect(())


def newer(w: World) -> object:
    return w.load(A)


def later(n: float) -> Callable[[World], object]:
    return lambda w: w.at(n)


def one_game_more(w: World) -> object:
    """Newer data that is not complete, for a game was added."""
    w.expect((*GAMES, "x"))
    return w.load(A, GAMES[:1])


LATE = minutes(60)
SOON = minutes(30)
ALWAYS = schedule(30, when=ScheduleWhen.ALWAYS)


def launched(*acts: Callable[[World], object], **settings: Any) -> World:
    """With a first run, started by a person where something held it."""
    made = ready(**settings)
    if made.partition.live is None:
        made.trigger()
    for act in acts:
        act(made)
    return made


def deliver(w: World) -> object:
    return w.deliver()


def claim(w: World) -> object:
    return w.claim()


def succeed(w: World) -> object:
    return w.run_through()


def give_up(w: World) -> object:
    return w.run_through(RunStatus.FAILED)


def afresh(*acts: Callable[[World], object], **settings: Any) -> list[Make]:
    """Worlds that a fresh judgement finds ready, waiting, without games and settling."""
    return [
        lambda: launched(*acts, **settings),
        lambda: launched(*acts, empty(B), **settings),
        lambda: launched(*acts, off, **settings),
        lambda: launched(*acts, not_before=deadline(60).at, **settings),
    ]


WORLDS: dict[Status, list[Make]] = {
    Status.WAITING: [
        world,
        lambda: _waits_for_one(),
        lambda: _waits_for_one(grace=LATE),
        lambda: _waits_for_one(deadline=deadline(30, DeadlineAction.FIRE)),
        lambda: _waits_for_one(deadline=deadline(30, DeadlineAction.SKIP)),
        lambda: _waits_for_one(deadline=deadline(30, DeadlineAction.ALERT)),
        lambda: _waits_for_a_game(),
        lambda: _waits_for_a_game(grace=LATE),
    ],
    Status.SETTLING: [
        settled,
        lambda: settled(grace=SOON),
        lambda: settled(debounce=LATE),
        lambda: settled(lambda w: w.pause()),
        lambda: settled(deadline=deadline(30, DeadlineAction.FIRE)),
        lambda: waived(grace=LATE),
        lambda: waived(grace=LATE, deadline=deadline(30, DeadlineAction.SKIP)),
    ],
    Status.FIRING: [ready, *afresh()],
    Status.FIRED: [
        lambda: with_run(deliver, claim_timeout=LATE),
        lambda: with_run(deliver, claim_timeout=SOON),
        lambda: with_run(deliver, claim_timeout=SOON, attempts=1),
        *afresh(deliver),
    ],
    Status.RUNNING: [
        lambda: with_run(claim, heartbeat_timeout=LATE, run_timeout=LATE),
        lambda: with_run(claim, heartbeat_timeout=LATE, run_timeout=LATE, attempts=1),
        lambda: with_run(claim, newer, heartbeat_timeout=LATE, run_timeout=LATE, cooldown=LATE),
        lambda: with_run(claim, heartbeat_timeout=SOON),
        lambda: with_run(claim, heartbeat_timeout=SOON, attempts=1),
        *afresh(claim),
    ],
    Status.SUCCEEDED: [
        done,
        lambda: done(schedule=ALWAYS),
        lambda: done(cooldown=LATE),
        lambda: done(empty(B), cooldown=LATE),
        lambda: done(empty(B)),
        lambda: done(one_game_more, cooldown=LATE),
        lambda: done(lambda w: w.load(B), empty(A), cooldown=LATE),
        *afresh(succeed),
    ],
    Status.COOLING: [
        lambda: done(newer, cooldown=LATE),
        lambda: done(newer, cooldown=SOON),
        lambda: _cools_on_a_waiver(),
        lambda: done(newer, off, cooldown=LATE),
        *afresh(succeed, newer, cooldown=LATE)[3:],
    ],
    Status.FAILED: [
        fail,
        lambda: fail(newer, cooldown=SOON),
        *afresh(give_up, attempts=1),
    ],
    Status.SKIPPED: [
        lambda: with_run(lambda w: w.skip(), grace=LATE),
        lambda: _skips(world()),
        lambda: _skips(world(games=())),
        lambda: done(lambda w: w.skip()),
    ],
    Status.NOT_EXPECTED: [
        lambda: world(games=()),
        lambda: with_run(games=()),
        lambda: with_run(games=(), grace=LATE),
    ],
}


def _skips(made: World) -> World:
    made.skip()
    return made


def _waits_for_one(**settings: Any) -> World:
    made = world(**settings)
    made.load(A)
    return made


def _waits_for_a_game(**settings: Any) -> World:
    made = world(**settings)
    made.load(B)
    made.load(A, GAMES[:-1])
    return made


def _cools_on_a_waiver() -> World:
    made = waived(cooldown=LATE)
    made.run_through()
    made.load(A)
    return made


def surveys(w: World) -> Iterable[Fact]:
    pause = (Pause(scope="_all", reason="maintenance", actor="ann", at=START),)
    for games in (GAMES, GAMES[:-1], ()):
        for pauses in ((), pause):
            yield Surveyed(games={DATE: games}, pauses=pauses)
    yield Surveyed(games={})


def loads(w: World) -> Iterable[Fact]:
    ledger = dict(w.ledger)
    for name in (A, B, C):
        for said in (
            {},
            {"quiet": True},
            {"status": LoadStatus.NO_DATA, "rows": 0},
            {"status": LoadStatus.FAILED},
        ):
            yield w.arriving(name, **said)
            w.ledger = dict(ledger)


def claims(w: World) -> Iterable[Fact]:
    live = w.partition.live
    if live is not None:
        yield Claimed(generation=live.generation, attempt=live.attempt, owner="w1", token="t1")
        yield Claimed(generation=live.generation, attempt=live.attempt, owner="w2", token="t2")
    yield Claimed(generation=99, attempt=1, owner="w1", token="t1")


def reports(w: World) -> Iterable[Fact]:
    for token in ("t1", "garbage"):
        for status in (RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.RUNNING):
            yield Completed(generation=w.partition.generation, token=token, status=status)


def refusals(w: World) -> Iterable[Fact]:
    live = w.partition.live
    if live is not None:
        yield ReportRefused(run=live, detail="claim by w2: taken")
    yield ReportRefused(run=ended_run(), detail="heartbeat: over")


def ended_run() -> Run:
    w = World()
    w.load()
    w.run_through()
    return w.decision.runs[0]


def requests(w: World) -> Iterable[Fact]:
    yield Requested(reason="wanted", actor="ann")
    yield Requested(reason="wanted", actor="ann", bypass=frozenset(Bypass))


def waivers(w: World) -> Iterable[Fact]:
    for name in (A, B, C, "nba_raw.nobody"):
        for until in (None, w.now, at(90)):
            yield WaiverGranted(table=name, reason="lost", actor="ann", until=until)


WAYS: dict[type[Fact], Callable[[World], Iterable[Fact]]] = {
    Surveyed: surveys,
    Loaded: loads,
    Ticked: lambda w: [Ticked()],
    Delivered: lambda w: [
        Delivered(effect_id=e)
        for e in ("launch:nobody:1", *(o.effect_id for o in w.partition.outbox))
    ],
    DeliveryFailed: lambda w: [
        DeliveryFailed(effect_id=e, error="503")
        for e in ("launch:nobody:1", *(o.effect_id for o in w.partition.outbox))
    ],
    Claimed: claims,
    Heartbeat: lambda w: [
        Heartbeat(generation=w.partition.generation, token=t) for t in ("t1", "garbage")
    ],
    Completed: reports,
    ReportRefused: refusals,
    Requested: requests,
    SkipRequested: lambda w: [
        SkipRequested(reason="no", actor="ann", end_run=e) for e in (False, True)
    ],
    ResetRequested: lambda w: [ResetRequested(reason="again", actor="ann")],
    WaiverGranted: waivers,
    WaiverLifted: lambda w: [
        WaiverLifted(table=t, reason="found", actor="ann") for t in (A, B, "nba_raw.nobody")
    ],
}


@pytest.mark.parametrize("status", Status, ids=lambda s: s.value)
def test_the_worlds_are_in_the_status_they_are_listed_under(status: Status) -> None:
    assert {make().status for make in WORLDS[status]} == {status}


@pytest.mark.parametrize("fact", FACTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("status", Status, ids=lambda s: s.value)
def test_exactly_what_the_table_lists_follows(status: Status, fact: type[Fact]) -> None:
    reached = set()
    for made in [make() for make in WORLDS[status]]:
        for wait in (0, 30):
            then = copy(made).at(wait) if made.now <= at(wait) else made
            for way in WAYS[fact](then):
                tried = copy(then)
                tried.step(way)
                reached.add(tried.status)
    assert reached == set(TRANSITIONS[status, fact.__name__])


def test_every_status_and_fact_has_its_line() -> None:
    assert set(TRANSITIONS) == {(s, f.__name__) for s in Status for f in FACTS}
    assert set(BY_TIME) == set(WHY_BY_TIME) == set(Status)
    assert not set(BY_FACT) & set(BY_FACT_ALONE)
    assert all(BY_FACT[key][1] for key in BY_FACT)


@pytest.mark.parametrize("status", Status, ids=lambda s: s.value)
def test_what_a_fact_adds_is_more_than_time_does(status: Status) -> None:
    for (of, fact), (more, _) in BY_FACT.items():
        if of is status:
            assert not set(more) & set(BY_TIME[status]), fact


def test_nobody_but_a_person_or_the_calendar_leads_out_of_skipped_and_not_expected() -> None:
    people = {Requested, ResetRequested, SkipRequested}
    for fact in set(FACTS) - people:
        assert TRANSITIONS[Status.SKIPPED, fact.__name__] == (Status.SKIPPED,)
    for fact in set(FACTS) - people - {Surveyed}:
        assert TRANSITIONS[Status.NOT_EXPECTED, fact.__name__] == (Status.NOT_EXPECTED,)
