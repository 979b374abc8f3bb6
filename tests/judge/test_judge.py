"""Facts, and what the judge says of them: must, may, must not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coordinator.judge.observations import AttemptShown, InputShown, Launched
from coordinator.judge.rules import wall_clock
from tests.judge.stage import BOX, DATE, ODDS, PBP, START, Stage, registry


def test_what_is_ready_may_be_fired() -> None:
    stage = Stage()
    event = stage.load()
    assert stage.fire((ODDS, event)) == []


def test_what_is_ready_must_be_fired() -> None:
    stage = Stage()
    stage.load()
    stage.show("settling")
    assert stage.after(minutes=1).rests() == ["unfired"]


def test_loads_without_a_partition_are_noticed() -> None:
    stage = Stage()
    stage.load()
    assert stage.rests() == ["partition.missing"]


@pytest.mark.parametrize(
    ("requires", "loads"),
    [
        pytest.param([{"table": ODDS}], [], id="nothing came"),
        pytest.param([{"table": ODDS}], [{"status": "failed"}], id="it failed"),
        pytest.param([{"table": ODDS}], [{"record_count": 0}], id="it is empty"),
        pytest.param([{"table": ODDS}], [{"status": "partial"}], id="a part of nobody knows what"),
        pytest.param([{"table": ODDS, "expected_count_min": 101}], [{}], id="too few rows"),
        pytest.param(
            [{"table": BOX}], [{"table": BOX, "game_ids": ["g1"]}], id="a game is missing"
        ),
        pytest.param([{"at_least": 2, "of": [ODDS, PBP]}], [{}], id="one of two"),
        pytest.param(
            [{"table": ODDS, "max_age_hours_fail": 1}],
            [{"timestamp": (START - timedelta(hours=2)).isoformat()}],
            id="too old",
        ),
        pytest.param(
            [{"table": ODDS, "dates": {"last_game_dates": 1}}, {"table": PBP}],
            [{"table": PBP}, {"game_date": "2025-11-14", "record_count": 0}],
            id="the window is empty",
        ),
    ],
)
def test_no_run_without_its_needs(requires: list[Any], loads: list[dict[str, Any]]) -> None:
    stage = Stage(requires)
    stage.calendar("g1", "g2")
    for load in loads:
        stage.load(**load)
    assert "run.needs" in stage.fire()


def test_a_load_of_a_game_that_came_later_completes_the_date() -> None:
    stage = Stage([{"table": BOX}])
    stage.calendar("g1", "g2")
    first = stage.load(BOX, game_ids=["g1"])
    second = stage.load(BOX, game_ids=["g2"])
    run = stage.fire(inputs=())
    assert run == ["launch.inputs"]  # it says that it reads nothing
    assert {first, second} == {"e2", "e3"}


@pytest.mark.parametrize(
    ("policy", "requires", "held"),
    [
        ({"debounce": "2m"}, [{"table": ODDS}], "hold.debounce"),
        ({"grace": "15m"}, [{"table": ODDS}, {"table": PBP, "critical": False}], "hold.grace"),
        ({}, [{"any_of": [PBP, ODDS], "prefer_for": "10m"}], "hold.prefer"),
        ({"not_before": {"at": "09:00", "day": 1}}, [{"table": ODDS}], "hold.not_before"),
    ],
)
def test_every_hold_holds_until_it_is_over(
    policy: dict[str, Any], requires: list[Any], held: str
) -> None:
    early, late = Stage(requires, **policy), Stage(requires, **policy)
    event = early.load()
    assert held in early.after(minutes=1).fire((ODDS, event))
    event = late.load()
    late.show("settling")
    assert not [r for r in late.after(hours=11).fire((ODDS, event)) if r.startswith("hold")]


def test_a_quiet_load_holds_until_an_ordinary_one() -> None:
    stage = Stage()
    event = stage.load(skip_downstream=True)
    stage.show("settling", "quiet")
    assert stage.rests() == []
    assert stage.fire((ODDS, event)) == ["hold.quiet"]
    other = Stage()
    other.load(skip_downstream=True)
    event = other.load()
    assert other.fire((ODDS, event)) == []


def test_a_pause_holds_new_generations_alone() -> None:
    stage = Stage()
    stage.acts("pause")
    event = stage.load()
    stage.show("settling", "paused")
    assert stage.rests() == []
    assert stage.fire((ODDS, event)) == ["hold.pause"]


def _succeeded(**policy: Any) -> Stage:
    stage = Stage(**policy)
    event = stage.load(metadata={"content_hash": "a"})
    stage.show("settling")
    stage.fire((ODDS, event))
    stage.succeed()
    stage.show("succeeded")
    assert stage.rules == []
    return stage


def test_newer_data_fires_after_the_cooldown_and_not_before() -> None:
    for hours, rule in ((0.5, ["hold.cooldown"]), (1, [])):
        stage = _succeeded()
        event = stage.load()
        found = stage.after(hours=hours).fire(
            (ODDS, event), trigger="late_data", changed_tables=(ODDS,)
        )
        assert found == rule


def test_newer_data_must_fire() -> None:
    stage = _succeeded()
    stage.load()
    stage.show("cooling", "newer_data")
    assert stage.rests() == []
    assert stage.after(hours=2).rests() == ["unfired.newer"]


@pytest.mark.parametrize(("back", "found"), [(True, []), (False, ["status"])])
def test_a_waiver_that_was_over_need_not_open_again_when_clocks_are_set_back(
    back: bool, found: list[str]
) -> None:
    stage = Stage()
    until = (stage.now + timedelta(minutes=30)).isoformat()
    stage.acts("waive", table=ODDS, until=until)
    if back:
        stage.after(hours=1).load(BOX)
        stage.after(minutes=-59)
    stage.load(PBP)
    stage.show("waiting")
    assert stage.rules == found


@pytest.mark.parametrize(("known_from", "found"), [(True, []), (False, ["unfired"])])
def test_a_waiver_that_an_empty_window_may_have_ended_under_another_registry_holds_nothing(
    known_from: bool, found: list[str]
) -> None:
    window = {"table": PBP, "dates": {"last_game_dates": 2}}
    without = registry([{"table": ODDS}, window]).replace(', "known_from": "2025-11-01"', "")
    stage = Stage([{"table": ODDS}, window])
    if not known_from:
        stage = Stage([{"table": ODDS}])
        stage.serve(without, "before")
    stage.acts("waive", table=PBP)
    stage.serve(without.replace('"phase": 3', '"phase": 4'), "two")
    stage.load()
    stage.show("waiting")
    assert stage.after(hours=2).rests() == found


@pytest.mark.parametrize(("hours", "found"), [(2, []), (0.01, ["hold.debounce"])])
def test_debounce_is_capped_from_when_a_waiver_made_it_ready(
    hours: float, found: list[str]
) -> None:
    stage = Stage([{"table": ODDS}, {"table": PBP}], debounce="1m", max_settle="1h")
    quiet = stage.load(PBP, skip_downstream=True)
    stage.acts("waive", table=ODDS)
    event = stage.after(hours=hours).load()
    assert stage.fire((ODDS, event), (PBP, quiet)) == found


@pytest.mark.parametrize(("minutes", "found"), [(10, []), (35, ["hold.grace"])])
def test_grace_runs_from_a_waiver_that_ended_where_the_data_came_by_then(
    minutes: int, found: list[str]
) -> None:
    stage = Stage([{"table": ODDS}, {"table": PBP, "critical": False}], grace="1h")
    until = (stage.now + timedelta(minutes=30)).isoformat()
    stage.acts("waive", table=ODDS, until=until)
    event = stage.after(minutes=minutes).load()
    rules = stage.after(minutes=61 - minutes).fire((ODDS, event))
    assert [r for r in rules if r.startswith("hold")] == found


@pytest.mark.parametrize(("games", "found"), [((), []), (("1",), ["run.needs"])])
def test_an_empty_load_needs_no_rows_on_a_day_without_games(
    games: tuple[str, ...], found: list[str]
) -> None:
    stage = Stage([{"table": ODDS, "expected_count_min": 50}], off_day="run")
    stage.calendar(*games)
    event = stage.load(record_count=0)
    rules = stage.fire((ODDS, event))
    assert [r for r in rules if r == "run.needs"] == found


def test_an_equal_mark_is_newer_data_where_an_optional_line_was_not_met() -> None:
    minimum = {"table": PBP, "critical": False, "expected_count_min": 100}
    stage = Stage([{"table": ODDS}, minimum], cooldown="0s")
    mark = {"metadata": {"content_hash": "same"}}
    stage.load(PBP, record_count=10, **mark)
    stage.fire((ODDS, stage.load()))
    stage.succeed()
    stage.load(PBP, record_count=100, skip_downstream=True, **mark)
    stage.show("succeeded", "quiet", "newer_data")
    assert "unfired.newer" not in stage.after(hours=2).rests()
    stage.load(PBP, record_count=200, **mark)
    assert "unfired.newer" in stage.after(hours=2).rests()


@pytest.mark.parametrize(
    ("before", "marks", "found"),
    [
        ("game", "aaa", "succeeded"),
        ("game", "aba", "cooling"),
        ("game", "abb", "cooling"),
        ("date", "aba", "cooling"),
        ("date", "abb", "succeeded"),
    ],
)
def test_the_grain_when_a_run_was_fired_says_what_it_consumed(
    before: str, marks: str, found: str
) -> None:
    """A load of the date, one of a game, and after an edit of the grain one of the other game."""
    texts = {"game": registry([{"table": BOX}])}
    texts["date"] = texts["game"].replace('"grain": "game"', '"grain": "date"')
    stage = Stage([{"table": BOX}])
    stage.serve(texts.pop(before), "two")
    stage.calendar("g1", "g2")
    for games, mark in zip(([], ["g2"], ["g1"]), marks, strict=True):
        if games == ["g1"]:
            stage.fire(inputs=())
            stage.succeed()
            stage.serve(*texts.values(), "three")
        stage.after(minutes=1).load(BOX, game_ids=games, metadata={"content_hash": mark})
    stage.judge.broken.clear()
    stage.show(found, *(["newer_data"] if found == "cooling" else []))
    assert stage.rests() == []


@pytest.mark.parametrize(("back", "found"), [(6, []), (0, ["run.newer"])])
def test_to_a_new_line_a_load_whose_receipt_lies_ahead_of_clocks_may_be_newer_data(
    back: int, found: list[str]
) -> None:
    stage = Stage(cooldown="0s")
    early = stage.after(hours=back).load(PBP)
    event = stage.after(hours=-back, minutes=1).load()
    stage.fire((ODDS, event))
    stage.succeed()
    stage.after(minutes=1).serve(registry([{"table": ODDS}, {"table": PBP}], cooldown="0s"), "two")
    rules = stage.after(minutes=1).fire(
        (ODDS, event), (PBP, early), trigger="late_data", changed_tables=(PBP,)
    )
    assert [r for r in rules if r == "run.newer"] == found


def test_grace_without_critical_needs_ends_though_some_are_not_met() -> None:
    needs = [{"table": ODDS, "critical": False}, {"table": PBP, "critical": False}]
    stage = Stage(needs, grace="10m")
    stage.load(ODDS)
    stage.show("settling")
    assert stage.rests() == []
    assert stage.after(minutes=11).rests() == ["unfired"]


def test_a_load_that_was_too_old_need_not_be_fresh_again_when_clocks_are_set_back() -> None:
    stage = Stage([{"table": ODDS, "max_age_hours_fail": 1}])
    stage.load(ODDS)
    stage.after(hours=2).show("waiting")
    assert stage.after(hours=-2).rests() == []


def test_a_load_that_came_after_clocks_were_set_back_is_fresh() -> None:
    stage = Stage([{"table": ODDS, "max_age_hours_fail": 1}])
    stage.after(hours=2).load(BOX)
    stage.after(hours=-2).load(ODDS)
    stage.show("settling")
    assert stage.after(minutes=5).rests() == ["unfired"]


def test_a_waived_table_counts_in_a_group_that_has_newer_data() -> None:
    stage = Stage([{"at_least": 2, "of": [ODDS, PBP]}])
    stage.acts("waive", table=PBP)
    first = stage.load()
    assert stage.fire((ODDS, first)) == []
    stage.succeed()
    second = stage.load()
    stage.after(hours=2)
    found = stage.fire((ODDS, second), trigger="late_data", changed_tables=(ODDS,))
    assert "run.newer" not in found


@pytest.mark.parametrize(
    ("changed", "found"), [((ODDS, PBP), []), ((ODDS,), ["launch.changed_tables"])]
)
def test_newer_rows_of_an_optional_table_count_where_a_waiver_meets_it(
    changed: tuple[str, ...], found: list[str]
) -> None:
    stage = Stage([{"table": ODDS}, {"table": PBP, "critical": False}], cooldown="0s")
    first = stage.load()
    stage.acts("waive", table=PBP)
    assert stage.fire((ODDS, first)) == []
    stage.succeed()
    part = stage.load(PBP, status="partial")
    newer = stage.load()
    fired = stage.fire((ODDS, newer), (PBP, part), trigger="late_data", changed_tables=changed)
    assert [rule for rule in fired if rule == "launch.changed_tables"] == found


@pytest.mark.parametrize(("wrong", "found"), [(20, ["status.newer_data"]), (21, [])])
def test_a_game_that_may_not_be_kept_may_not_be_newer_data(wrong: int, found: list[str]) -> None:
    """What a load of unexpected games said is replaced by a load of the date with an equal mark."""
    stage = Stage([{"table": BOX}], cooldown="10h")
    stage.load(BOX, record_count=300, metadata={"content_hash": "a"})
    games = [f"w{n:02}" for n in range(wrong)]
    stage.after(minutes=1).load(BOX, game_ids=games, record_count=300)
    stage.fire(inputs=())
    stage.succeed()
    stage.judge.broken.clear()
    stage.after(minutes=1).load(BOX, record_count=300, metadata={"content_hash": "a"})
    stage.show("succeeded")
    assert stage.rests() == found


def test_equal_content_is_no_newer_data() -> None:
    stage = _succeeded()
    stage.load(metadata={"content_hash": "a"})
    assert stage.after(hours=2).rests() == []
    assert "run.newer" in stage.fire((ODDS, "e2"), trigger="late_data")


def test_a_load_that_is_older_is_superseded() -> None:
    stage = Stage()
    stage.load()
    older = (START - timedelta(hours=1)).isoformat()
    stage.load(timestamp=older, outcome="superseded")
    assert stage.rules == []
    stage.load(timestamp=older, outcome="applied")
    assert stage.rules == ["ledger.superseded"]


def test_the_newest_load_is_not_superseded() -> None:
    stage = Stage()
    stage.load()
    stage.after(minutes=1).load(outcome="superseded")
    assert stage.rules == ["ledger.superseded"]


@pytest.mark.parametrize(
    "wrong", [{"quiet": True}, {"record_count": 1}, {"content_hash": "x"}, {"game_ids": ("g",)}]
)
def test_the_ledger_holds_what_was_sent(wrong: dict[str, Any]) -> None:
    stage = Stage()
    stage.load(recorded=wrong)
    assert stage.rules == ["ledger.content"]


def test_the_budget_of_refires_is_kept_and_notified() -> None:
    stage = _succeeded(max_refires=0)
    event = stage.load()
    stage.show("succeeded", "newer_data", "refires_spent")
    assert stage.after(hours=2).rests() == ["notice.refires_spent"]
    assert "hold.budget" in stage.fire((ODDS, event), trigger="late_data", changed_tables=(ODDS,))


def test_a_reset_clears_the_budget() -> None:
    stage = _succeeded(max_refires=0)
    stage.acts("reset")
    stage.show("settling")
    assert stage.rests() == ["unfired"]


@pytest.mark.parametrize(("then", "rule"), [("alert", "deadline.fire"), ("fire", "")])
def test_only_a_deadline_that_fires_fires(then: str, rule: str) -> None:
    stage = Stage(
        [{"table": ODDS}, {"table": PBP}], deadline={"at": "08:00", "day": 1, "then": then}
    )
    event = stage.load()
    stage.show("waiting")
    found = stage.after(hours=10).fire(
        (ODDS, event),
        trigger="deadline",
        bypassed=("dependencies",),
        warnings=(f"{PBP} is missing",),
    )
    assert found == ([rule] if rule else [])


@pytest.mark.parametrize(("before", "found"), [(True, []), (False, ["deadline.missed"])])
def test_a_deadline_that_acts_late_does_not_fire_what_is_quiet_by_then(
    before: bool, found: list[str]
) -> None:
    deadline = {"at": "08:00", "day": 1, "then": "fire"}
    stage = Stage(deadline=deadline, not_before={"at": "20:00", "day": 1})
    stage.load()
    stage.show("settling")
    stage.after(hours=9, minutes=5)
    if before:
        stage.load(skip_downstream=True)
    stage.notice("deadline")
    if not before:
        stage.after(minutes=5).load(skip_downstream=True)
    stage.show("settling", "overdue", "quiet")
    assert stage.rests() == found


def test_a_deadline_is_notified_exactly_once() -> None:
    policy = {"deadline": {"at": "08:00", "day": 1, "then": "alert"}}
    stage = Stage([{"table": ODDS}, {"table": PBP}], **policy)
    stage.load()
    stage.show("waiting")
    assert set(stage.notice("deadline")) == {"notice.deadline"}  # too early
    stage = Stage([{"table": ODDS}, {"table": PBP}], **policy)
    stage.load()
    stage.show("waiting")
    assert stage.after(hours=10).rests() == ["notice.deadline"]
    stage = Stage([{"table": ODDS}, {"table": PBP}], **policy)
    stage.load()
    stage.show("waiting")
    stage.after(hours=10).notice("deadline")
    assert stage.rests() == []
    assert stage.notice("deadline", identity="n2") == ["notice.deadline"]


@pytest.mark.parametrize(
    ("games", "found"), [(("1",), ["notice.deadline.live"]), ((), [])], ids=["games", "off day"]
)
def test_a_deadline_over_a_live_run_is_noticed_where_the_date_has_games(
    games: tuple[str, ...], found: list[str]
) -> None:
    policy = {"deadline": {"at": "08:00", "day": 1, "then": "alert"}, "claim_timeout": "2d"}
    stage = Stage(**policy)
    stage.calendar("1")
    stage.fire((ODDS, stage.load()))
    stage.deliver()
    stage.after(minutes=1).calendar(*games)
    stage.show("fired")
    rules = stage.after(days=1).rests()
    assert [r for r in rules if r.startswith("notice")] == found


@pytest.mark.parametrize(
    ("games", "rules"),
    [
        pytest.param(("g1",), [], id="the calendar came again"),
        pytest.param(("g2",), ["unfired.newer"], id="other games"),
    ],
)
def test_a_change_of_the_calendar_that_meets_an_optional_need_is_newer_data(
    games: tuple[str, ...], rules: list[str]
) -> None:
    """What an edit of a minimum meets is none."""
    needs = [{"table": ODDS}, {"table": PBP, "critical": False}]
    stage = Stage(needs)
    stage.calendar("g1")
    event = stage.load()
    stage.load(PBP, status="partial", record_count=5)
    stage.after(hours=1).fire((ODDS, event), warnings=(f"{PBP} is partial",))
    stage.succeed()
    broken = len(stage.rules)
    stage.serve(registry([needs[0], {**needs[1], "expected_count_per_game": 5}]), "two")
    stage.after(seconds=1).calendar(*games)
    stage.show("succeeded", "newer_data")
    assert [r for r in stage.after(hours=2).rests()[broken:] if r.startswith("unfired")] == rules


@pytest.mark.parametrize(
    ("hours", "rules"),
    [
        pytest.param(9, [], id="first known after it, by a clock that was ahead"),
        pytest.param(7, ["schedule.missed"], id="known before it"),
    ],
)
def test_a_schedule_acts_where_its_date_was_known_before_it(hours: int, rules: list[str]) -> None:
    stage = Stage(schedule=[{"at": "08:00", "day": 1, "when": "always"}])
    morning = wall_clock("2025-11-16", "00:00", "America/New_York")
    stage.now = morning + timedelta(hours=hours)
    stage.judge.pass_time(stage.now)
    stage.fire((ODDS, stage.load()))
    stage.succeed()
    stage.show("succeeded")
    stage.now = morning + timedelta(hours=7, minutes=30)
    stage.judge.pass_time(stage.now)
    stage.load(metadata={"content_hash": "a"}, status="failed")
    stage.now = morning + timedelta(hours=8, minutes=5)
    assert [r for r in stage.rests() if r.startswith("schedule")] == rules


def test_a_date_first_known_after_its_deadline_is_judged_as_usual() -> None:
    stage = Stage(
        [{"table": ODDS}, {"table": PBP}], deadline={"at": "08:00", "day": 1, "then": "fire"}
    )
    stage.after(hours=12)
    stage.judge.pass_time(stage.now)
    event = stage.load()
    stage.show("waiting", "overdue")
    assert stage.rests() == []
    found = stage.fire(
        (ODDS, event),
        trigger="deadline",
        bypassed=("dependencies",),
        warnings=(f"{PBP} is missing",),
    )
    assert found == ["deadline.fire"]


@pytest.mark.parametrize(
    ("received", "rules"),
    [
        pytest.param(-1, [], id="received before it"),
        pytest.param(1, ["notice.deadline"], id="received after it"),
    ],
)
def test_a_deadline_may_be_noticed_of_what_was_committed_after_it(
    received: int, rules: list[str]
) -> None:
    stage = Stage(
        [{"table": ODDS}, {"table": PBP}], deadline={"at": "08:00", "day": 1, "then": "alert"}
    )
    deadline = wall_clock("2025-11-16", "08:00", "America/New_York")
    stage.now = deadline + timedelta(minutes=2)
    stage.judge.pass_time(stage.now)
    at = deadline + timedelta(minutes=received)
    stage.load(timestamp=at.isoformat(), recorded={"received_at": at})
    stage.show("waiting", "overdue")
    assert sorted(set(stage.notice("deadline"))) == rules


def test_a_schedule_must_act_and_acts_once() -> None:
    policy = {"grace": "12h", "schedule": [{"at": "08:00", "day": 1, "when": "ready"}]}
    requires = [{"table": ODDS}, {"table": PBP, "critical": False}]
    stage = Stage(requires, **policy)
    stage.load()
    stage.show("settling")
    assert stage.after(hours=10).rests() == ["schedule.missed"]
    stage = Stage(requires, **policy)
    event = stage.load()
    stage.show("settling")
    warnings = (f"{PBP} is missing",)
    stage.after(hours=10).fire((ODDS, event), trigger="schedule", warnings=warnings)
    stage.succeed()
    assert stage.rests() == []
    assert stage.fire((ODDS, event), trigger="schedule", warnings=warnings) == ["schedule.fire"]


def test_a_schedule_does_nothing_on_a_date_that_lost_its_games() -> None:
    stage = Stage(
        [{"table": ODDS}], schedule=[{"at": "08:00", "day": 1, "when": "always"}], cooldown="1h"
    )
    event = stage.load()
    stage.show("settling")
    stage.fire((ODDS, event))
    stage.succeed()
    stage.calendar()
    stage.after(hours=10)
    assert stage.rests() == []
    assert stage.fire((ODDS, event), trigger="schedule") == ["schedule.fire"]


def test_a_change_of_the_registry_puts_no_instant_into_the_past() -> None:
    stage = Stage([{"table": ODDS}, {"table": PBP}])
    event = stage.load()
    stage.show("waiting")
    stage.after(hours=12)
    deadline = {"at": "08:00", "day": 1, "then": "fire"}
    stage.serve(registry([{"table": ODDS}, {"table": PBP}], deadline=deadline), "two")
    found = stage.after(minutes=1).fire(
        (ODDS, event),
        trigger="deadline",
        bypassed=("dependencies",),
        warnings=(f"{PBP} is missing",),
    )
    assert found == ["deadline.fire"]


@pytest.mark.parametrize("then", ["fire", "skip"])
def test_an_instance_that_dies_at_its_start_may_have_set_a_deadline_before_it_passed(
    then: str,
) -> None:
    requires = [{"table": ODDS}, {"table": PBP}]
    stage = Stage(requires)
    event = stage.load()
    stage.show("waiting")
    deadline = {"at": "08:00", "day": 1, "then": then}
    stage.serve(registry(requires, deadline=deadline), "two", ready=False)
    stage.after(hours=12)
    stage.serve(registry(requires, deadline=deadline, grace="1m"), "three")
    if then == "skip":
        stage.show("skipped")
        assert stage.rules == []
    else:
        missing = (f"{PBP} is missing",)
        bypassed = ("dependencies",)
        found = stage.fire((ODDS, event), trigger="deadline", bypassed=bypassed, warnings=missing)
        assert found == []


def test_a_person_may_fire_and_is_named() -> None:
    stage = Stage()
    act = stage.act("trigger", bypass=["dependencies"])
    warnings = (f"{ODDS} is missing",)
    assert (
        stage.fire(trigger="manual", act=act, bypassed=("dependencies",), warnings=warnings) == []
    )
    stage = Stage()
    assert "run.trigger" in stage.fire(trigger="manual", bypassed=())


@pytest.mark.parametrize(
    ("shown", "rule"),
    [
        ({"inputs": ()}, "launch.inputs"),
        ({"changed_tables": ()}, "launch.changed_tables"),
        ({"changed_games": ("g9",)}, "launch.changed_games"),
        ({"explanation": ""}, "run.explanation"),
        ({"bypassed": ("limits",)}, "launch.bypassed"),
        ({"trigger": "dependencies"}, "run.trigger"),
    ],
)
def test_a_run_says_what_it_consumes(shown: dict[str, Any], rule: str) -> None:
    stage = _succeeded()
    event = stage.load()
    usual: dict[str, Any] = {"trigger": "late_data", "changed_tables": (ODDS,)}
    assert stage.after(hours=1).fire((ODDS, event), **{**usual, **shown}) == [rule]


@pytest.mark.parametrize(
    ("wrong", "listed", "rule"),
    [
        (2, ("g1", "w0", "w1"), []),
        (2, ("g1",), ["launch.inputs"]),
        (20, ("g1",), ["launch.inputs"]),
        (21, ("g1",), []),
        (21, ("w0",), ["launch.inputs"]),
    ],
)
def test_a_few_games_that_nobody_expects_are_all_listed(
    wrong: int, listed: tuple[str, ...], rule: list[str]
) -> None:
    stage = Stage([{"table": BOX}])
    stage.calendar("g1")
    games = ["g1", *(f"w{n}" for n in range(wrong))]
    event = stage.load(BOX, game_ids=games, record_count=100 * len(games))
    warnings = (f"{BOX} has games that the calendar does not expect",)
    inputs = (InputShown(BOX, DATE, "ready", 100, listed, (event,)),)
    assert stage.fire(inputs=inputs, warnings=warnings) == rule


def test_an_optional_need_that_was_not_met_is_warned_of() -> None:
    stage = Stage([{"table": ODDS}, {"table": PBP, "critical": False}])
    event = stage.load()
    assert stage.fire((ODDS, event)) == ["launch.warnings.optional"]


def test_the_message_says_what_the_run_says() -> None:
    stage = Stage()
    event = stage.load()
    stage.fire((ODDS, event))
    message = {**stage.message(stage.runs[1]), "warnings": ["made up"]}
    stage.judge.see(stage.now, Launched(message, "m1"))
    assert stage.rules == ["launch.warnings"]


@pytest.mark.parametrize(("wait", "rule"), [(0, ["run.backoff"]), (60, []), (61, ["run.backoff"])])
def test_an_attempt_waits_for_its_back_off(wait: int, rule: list[str]) -> None:
    stage = Stage(claim_timeout="10m")
    event = stage.load()
    stage.fire((ODDS, event))
    first = stage.deliver()
    stage.after(minutes=10)
    spent = replace(first, ended_at=stage.now)
    launch_at = stage.now + timedelta(seconds=wait)
    following = AttemptShown(2, launch_at, None, None, None, None, None, None)
    assert stage.change(status="pending", attempts=(spent, following)) == rule


def backing_off() -> tuple[Stage, AttemptShown, dict[str, Any]]:
    """A run whose second attempt is due in an hour, and the launch of that attempt."""
    stage = Stage(claim_timeout="10m", retry_backoff="1h")
    stage.fire((ODDS, stage.load()))
    first = stage.deliver()
    stage.after(minutes=10)
    following = AttemptShown(2, stage.now + timedelta(hours=1), None, None, None, None, None, None)
    spent = replace(first, ended_at=stage.now)
    assert stage.change(status="pending", attempts=(spent, following)) == []
    return stage, following, {**stage.message(stage.runs[1]), "attempt": 2, "trigger": "retry"}


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize(("early", "rule"), [(1, ["run.backoff"]), (0, [])])
def test_no_launch_of_an_attempt_comes_before_its_back_off(
    taken: bool, early: int, rule: list[str]
) -> None:
    stage, following, message = backing_off()
    message["requested_at"] = (following.launch_at + timedelta(hours=1)).isoformat()
    stage.judge.see(stage.now, Launched(message, None, taken=False, clock=following.launch_at))
    assert stage.rules == []
    clock = following.launch_at - timedelta(seconds=early)
    stage.judge.see(stage.now, Launched(message, None, taken=taken, clock=clock))
    assert stage.rules == rule


@pytest.mark.parametrize(("minutes", "rule"), [(59, ["run.backoff"]), (60, [])])
def test_a_back_off_that_passed_is_over_though_clocks_were_set_back(
    minutes: int, rule: list[str]
) -> None:
    stage, _, message = backing_off()
    stage.judge.pass_time(stage.now - timedelta(hours=6))
    at = stage.now - timedelta(hours=6) + timedelta(minutes=minutes)
    stage.judge.see(at, Launched(message, None, clock=at))
    assert stage.rules == rule


def test_an_attempt_is_not_unclaimed_before_its_time() -> None:
    stage = Stage(claim_timeout="10m")
    event = stage.load()
    stage.fire((ODDS, event))
    first = stage.deliver()
    stage.after(minutes=9)
    spent = replace(first, ended_at=stage.now)
    following = AttemptShown(
        2, stage.now + timedelta(minutes=1), None, None, None, None, None, None
    )
    assert stage.change(status="pending", attempts=(spent, following)) == ["run.claim_timeout"]


def test_nothing_is_delivered_without_proof() -> None:
    stage = Stage()
    event = stage.load()
    stage.fire((ODDS, event))
    first = replace(stage.runs[1].attempts[0], delivered_at=stage.now, message_id="m1")
    assert stage.change(status="delivered", attempts=(first,)) == ["run.delivered"]


def test_nothing_ends_without_a_report() -> None:
    stage = _succeeded()
    stage.judge.runs.reports.clear()
    event = stage.load()
    stage.after(hours=1).fire((ODDS, event), trigger="late_data", changed_tables=(ODDS,))
    assert stage.change(status="success", ended_at=stage.now) == ["run.status", "run.reported"]


def test_a_failed_run_is_notified() -> None:
    stage = Stage(attempts=1)
    event = stage.load()
    stage.fire((ODDS, event))
    first = stage.deliver()
    stage.after(minutes=10)
    ended = replace(first, ended_at=stage.now)
    stage.change(status="failed", ended_at=stage.now, attempts=(ended,))
    stage.show("failed")
    assert sorted(stage.rests()) == ["notice.run_failed", "notice.unclaimed"]
    misnamed = Stage(attempts=1)
    assert misnamed.notice("run_failed", f"Run P:{DATE}:1 failed") == ["notice.run"]


@pytest.mark.parametrize(
    ("day", "at", "instant"),
    [
        ("2025-11-15", "09:00", datetime(2025, 11, 15, 14, tzinfo=UTC)),
        ("2025-03-09", "02:30", datetime(2025, 3, 9, 7, tzinfo=UTC)),  # skipped: the jump
        ("2025-11-02", "01:30", datetime(2025, 11, 2, 5, 30, tzinfo=UTC)),  # twice: the first
    ],
)
def test_wall_clock_instants(day: str, at: str, instant: datetime) -> None:
    assert wall_clock(day, at, "America/New_York") == instant


def test_what_came_before_a_registry_is_not_newer_to_its_lines_though_clocks_say_so() -> None:
    stage = Stage([{"table": ODDS}], cooldown="0s")
    stage.fire((ODDS, stage.load()))
    stage.succeed()
    later = stage.after(minutes=30).load(PBP)
    stage.now -= timedelta(minutes=20)
    stage.serve(registry([{"table": ODDS}, {"table": PBP}], cooldown="0s"), "two")
    event = stage.load()
    found = stage.fire((ODDS, event), (PBP, later), trigger="late_data", changed_tables=(ODDS,))
    assert found == []


def test_debounce_restarts_with_what_may_be_newer_data_and_was_committed_last() -> None:
    settle = {"cooldown": "0s", "debounce": "30s"}
    stage = Stage([{"table": ODDS}], **settle)
    first = stage.load()
    stage.after(seconds=31).fire((ODDS, first))
    stage.succeed()
    stage.after(minutes=30)
    stage.serve(registry([{"table": ODDS}, {"table": PBP}], **settle), "two")
    odds = stage.after(minutes=1).load()
    stage.now -= timedelta(minutes=20)
    maybe = stage.load(PBP)
    stage.after(seconds=31)
    changed = (ODDS, PBP)
    found = stage.fire((ODDS, odds), (PBP, maybe), trigger="late_data", changed_tables=changed)
    assert [r for r in found if r.startswith("hold")] == []
