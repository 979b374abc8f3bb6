"""Readiness agrees with the dumb oracle, and no order or repetition of arrivals changes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from coordinator.core.arrivals import Arrival, Fold, Grain, LoadStatus, TableDate, arrivals_key
from coordinator.core.facts import Fact, Loaded, Surveyed, Ticked
from coordinator.core.machine import blank, decide
from coordinator.core.model import Execution, Inputs, Partition, Pause, Waiver
from coordinator.core.readiness import judge
from coordinator.core.schedule import shift
from coordinator.core.spec import Policy, ProcessorSpec, Requirement, RequirementKind
from tests.core.world import DATE, START, minutes, processor
from tests.properties.conftest import bounded
from tests.properties.oracle import requirement_state

TABLES = ("r.a", "r.b", "r.c")
GAME_IDS = ("g1", "g2", "g3", "g4")
UNEXPECTED = "other"
LATEST = 48 * 60
"""Minutes before the start that a load may lie back."""


@st.composite
def requirements(draw: st.DrawFn, index: int) -> Requirement:
    kind = draw(
        st.sampled_from([RequirementKind.TABLE, RequirementKind.ANY_OF, RequirementKind.AT_LEAST])
    )
    count = 1 if kind is RequirementKind.TABLE else draw(st.integers(2, 3))
    sources = tuple(draw(st.permutations(TABLES)))[:count]
    warn = draw(st.sampled_from([None, timedelta(hours=12)]))
    return Requirement(
        key=f"q{index}",
        kind=kind,
        sources=sources,
        needed=draw(st.integers(1, count)) if kind is RequirementKind.AT_LEAST else 1,
        critical=draw(st.booleans()),
        expected_count_min=draw(st.sampled_from([None, 60, 120])),
        expected_count_per_game=draw(st.sampled_from([None, 30.0, 60.0])),
        min_coverage=draw(st.sampled_from([1.0, 0.75, 0.5])),
        max_age_warn=warn,
        max_age_fail=draw(st.sampled_from([None, timedelta(hours=24)])),
        offset=draw(st.sampled_from([0, 0, 0, -1])),
    )


@st.composite
def specs(draw: st.DrawFn, **policy: Any) -> ProcessorSpec:
    lines = [draw(requirements(n)) for n in range(draw(st.integers(1, 3)))]
    grains = {t: draw(st.sampled_from(Grain)) for t in TABLES}
    return processor(*lines, grains=grains, **policy)


@st.composite
def arrivals(draw: st.DrawFn) -> list[Arrival]:
    """Loads of two dates, received one after the other, with timestamps in any order."""
    found = []
    for n in range(draw(st.integers(0, 9))):
        received = START - minutes(30) + minutes(n)
        stamp = START - minutes(draw(st.integers(31, LATEST)))
        found.append(
            Arrival(
                event_id=f"e{n}",
                table=draw(st.sampled_from(TABLES)),
                game_date=draw(st.sampled_from([DATE, DATE, DATE, shift(DATE, -1)])),
                status=draw(st.sampled_from([LoadStatus.SUCCESS] * 4 + list(LoadStatus))),
                timestamp=stamp if draw(st.booleans()) else START - minutes(60),
                received_at=received,
                # 720 is divisible by any number of games a load may cover: no rounding
                record_count=draw(st.sampled_from([None, 0, 60, 120, 240, 720])),
                game_ids=tuple(
                    sorted(
                        draw(
                            st.sets(st.sampled_from((*GAME_IDS, UNEXPECTED)), max_size=4).filter(
                                lambda s: len(s) != 5
                            )
                        )
                    )
                ),
                content_hash=draw(st.sampled_from([None, "h1", "h2"])),
            )
        )
    return found


calendars = st.fixed_dictionaries(
    {},
    optional={
        DATE: st.sampled_from([(), GAME_IDS, GAME_IDS[:2]]),
        shift(DATE, -1): st.sampled_from([(), GAME_IDS]),
    },
)


def fold(
    loads: Sequence[Arrival], spec: ProcessorSpec, calendar: dict[str, tuple[str, ...]]
) -> dict[str, TableDate]:
    ledger: dict[str, TableDate] = {}
    for load in loads:
        key = arrivals_key(load.table, load.game_date)
        known = ledger.get(key, TableDate(table=load.table, game_date=load.game_date))
        grain = spec.grains[load.table]
        ledger[key], _ = known.fold(load, grain, calendar.get(load.game_date))
    return ledger


def mixed(requirement: Requirement, loads: Sequence[Arrival], spec: ProcessorSpec) -> bool:
    """Whether a row minimum meets whole-date and per-game loads with the calendar unknown.

    The specification does not say how many of the whole load's rows the newer games replaced.
    """
    return requirement.expected_count_min is not None and any(
        spec.grains[load.table] is Grain.GAME and not load.game_ids
        for load in loads
        if load.table in requirement.sources
    )


@bounded
@given(
    spec=specs(),
    loads=arrivals(),
    calendar=calendars,
    waived=st.sets(st.sampled_from(TABLES), max_size=1),
    later=st.integers(0, LATEST),
    generation=st.integers(0, 1),
)
def test_readiness_agrees_with_a_dumb_oracle(
    spec: ProcessorSpec,
    loads: list[Arrival],
    calendar: dict[str, tuple[str, ...]],
    waived: set[str],
    later: int,
    generation: int,
) -> None:
    now = START + minutes(later)
    waivers = tuple(Waiver(table=t, reason="r", actor="ann", at=START) for t in sorted(waived))
    partition = replace(
        blank(spec, DATE, START - minutes(90)),
        inputs=Inputs(arrivals=fold(loads, spec, calendar), games=calendar, waivers=waivers),
        execution=Execution(generation=generation),
    )
    verdict = judge(partition, spec, now)
    by_table: dict[tuple[str, str], list[Arrival]] = {}
    for load in loads:
        by_table.setdefault((load.table, load.game_date), []).append(load)
    for requirement, judged in zip(spec.requirements, verdict.requirements, strict=True):
        date = shift(DATE, requirement.offset)
        if date not in calendar and mixed(requirement, loads, spec):
            continue
        state, used = requirement_state(
            spec,
            requirement,
            by_table,
            calendar,
            date,
            waivers,
            now,
            first=generation == 0,
        )
        assert (judged.state.value, judged.used) == (state, used), judged
    critical = [r for r in verdict.requirements if r.requirement.critical]
    if critical:
        assert verdict.critical_met == all(r.met for r in critical)
    assert verdict.wake_at is None or verdict.wake_at > now


def play(
    loads: Sequence[Arrival], spec: ProcessorSpec, calendar: dict[str, tuple[str, ...]]
) -> tuple[Partition, int]:
    """Every load, at one instant, through the same function as the service. Counts the firings."""
    partition = decide(blank(spec, DATE, START), (Surveyed(games=calendar),), spec, START).partition
    ledger: dict[str, TableDate] = {}
    seen: set[str] = set()
    looked_at = {(t, shift(DATE, r.offset)) for r in spec.requirements for t in r.sources}
    fired = 0
    for load in loads:
        if (load.table, load.game_date) not in looked_at:
            continue
        key = arrivals_key(load.table, load.game_date)
        known = ledger.get(key, TableDate(table=load.table, game_date=load.game_date))
        fact: Fact = Ticked()
        if load.event_id not in seen:
            grain = spec.grains[load.table]
            ledger[key], what = known.fold(load, grain, calendar.get(load.game_date))
            if what is Fold.APPLIED:
                fact = Loaded(table_date=ledger[key], arrival=load)
        seen.add(load.event_id)
        decision = decide(partition, (fact,), spec, START)
        fired += decision.fired is not None
        partition = decision.partition
    return partition, fired


def essence(partition: Partition, spec: ProcessorSpec) -> list[tuple[object, ...]]:
    return [
        (r.key, r.state, r.used, [(s.state, s.record_count, s.event_ids) for s in r.sources])
        for r in judge(partition, spec, START, freshness=True).requirements
    ]


@bounded
@given(spec=specs(), loads=arrivals(), calendar=calendars, data=st.data())
def test_any_order_and_repetition_of_arrivals_gives_the_same_verdict(
    spec: ProcessorSpec,
    loads: list[Arrival],
    calendar: dict[str, tuple[str, ...]],
    data: st.DataObject,
) -> None:
    again = data.draw(st.lists(st.sampled_from(loads), max_size=4) if loads else st.just([]))
    shuffled = data.draw(st.permutations([*loads, *again]))
    straight, _ = play(loads, spec, calendar)
    other, fired = play(shuffled, spec, calendar)
    assert essence(straight, spec) == essence(other, spec)
    assert fired <= 1  # the cooldown holds whatever comes in the same instant


@bounded
@given(loads=arrivals(), calendar=calendars, data=st.data())
def test_held_until_all_is_in_any_order_fires_once_on_the_same_inputs(
    loads: list[Arrival], calendar: dict[str, tuple[str, ...]], data: st.DataObject
) -> None:
    spec = data.draw(specs())
    assume(calendar.get(DATE) != ())
    shuffled = data.draw(st.permutations(loads))
    pause = (Pause(scope="_all", reason="r", actor="ann", at=START),)
    results = []
    for order in (loads, shuffled):
        spec_held = replace(spec, policy=Policy(debounce=minutes(90), max_settle=minutes(900)))
        partition, fired = play(order, spec_held, calendar)
        assert fired == 0 or not loads
        held = decide(partition, (Surveyed(games=calendar, pauses=pause),), spec_held, START)
        freed = decide(held.partition, (Surveyed(games=calendar),), spec_held, START + minutes(120))
        run = freed.fired
        results.append(None if run is None else (run.generation, run.inputs, run.correlation_id))
    assert results[0] == results[1]
