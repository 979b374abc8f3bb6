"""What a launch carries, and the notices around it and of no partition."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from coordinator.judge.observations import InQuarantine, Launched, Noticed
from tests.judge.stage import CALENDAR, DATE, ODDS, PBP, Stage, registry


@pytest.mark.parametrize(
    ("carried", "rule"),
    [("c1", []), (None, ["launch.correlation_id"]), ("c2", ["launch.correlation_id"])],
)
def test_a_run_carries_the_correlation_id_of_a_load(carried: str | None, rule: list[str]) -> None:
    stage = Stage()
    event = stage.load(correlation_id="c1")
    assert stage.fire((ODDS, event), correlation_id=carried) == rule


def test_a_launch_carries_the_correlation_id_of_its_run() -> None:
    stage = Stage()
    event = stage.load(correlation_id="c1")
    stage.fire((ODDS, event), correlation_id="c1")
    message = {**stage.message(stage.runs[1]), "correlation_id": None}
    stage.judge.see(stage.now, Launched(message, "m1"))
    assert stage.rules == ["launch.correlation_id"]


def test_the_ledger_keeps_the_correlation_id() -> None:
    stage = Stage()
    stage.load(correlation_id="c1", recorded={"correlation_id": "c2"})
    assert stage.rules == ["ledger.content"]


@pytest.mark.parametrize(("listed", "rule"), [(True, []), (False, ["launch.inputs"])])
def test_what_came_of_a_group_that_a_waiver_completes_is_an_input(
    listed: bool, rule: list[str]
) -> None:
    stage = Stage([{"at_least": 2, "of": [ODDS, PBP]}])
    stage.acts("waive", table=PBP)
    event = stage.load()
    assert stage.fire(*([(ODDS, event)] if listed else [])) == rule


@pytest.mark.parametrize(("minutes", "rule"), [(2, ["notice.launch_undeliverable"]), (11, [])])
def test_a_launch_is_undeliverable_after_ten_minutes(minutes: int, rule: list[str]) -> None:
    stage = Stage()
    event = stage.load()
    stage.fire((ODDS, event))
    stage.after(minutes=minutes)
    message = stage.message(stage.runs[1])
    stage.judge.see(stage.now, Launched(message, None, taken=False))
    assert stage.notice("launch_undeliverable", f"The launch of P:{DATE}:1") == rule


@pytest.mark.parametrize(
    ("decided", "received", "rule"), [(12, 1, []), (2, 12, ["notice.launch_undeliverable"])]
)
def test_the_clock_that_decided_on_a_notice_counts_its_ten_minutes(
    decided: int, received: int, rule: list[str]
) -> None:
    stage = Stage()
    event = stage.load()
    stage.fire((ODDS, event))
    at = stage.now + timedelta(minutes=decided)
    message = stage.message(stage.runs[1])
    stage.judge.see(stage.now, Launched(message, None, clock=stage.now))
    stage.after(minutes=received)
    assert stage.notice("launch_undeliverable", f"The launch of P:{DATE}:1", at=at) == rule


@pytest.mark.parametrize(
    ("minutes", "rule"), [((131, 10), []), ((10, 10), ["notice.launch_undeliverable"])]
)
def test_each_attempt_has_an_undeliverable_launch_of_its_own(
    minutes: tuple[int, int], rule: list[str]
) -> None:
    stage = Stage(retry_backoff="1m")
    event = stage.load()
    begun = stage.now
    stage.fire((ODDS, event))
    first = stage.runs[1]
    stage.judge.see(stage.now, Launched(stage.message(first), None))
    delivered = stage.deliver()
    stage.after(hours=2)
    ended = replace(delivered, ended_at=stage.now)
    second = replace(first.attempt, number=2, launch_at=stage.now + timedelta(minutes=1))
    stage.change(status="pending", attempts=(ended, second))
    stage.after(minutes=1)
    message = {**stage.message(stage.runs[1]), "attempt": 2, "trigger": "retry"}
    stage.judge.see(stage.now, Launched(message, None))
    stage.after(hours=1)
    for number, after in enumerate(minutes):
        at = begun + timedelta(minutes=after)
        stage.notice("launch_undeliverable", f"The launch of P:{DATE}:1", f"n{number}", at)
    assert stage.rules == rule


def test_a_launch_that_nobody_refused_is_not_undeliverable() -> None:
    stage = Stage()
    event = stage.load()
    stage.fire((ODDS, event))
    stage.after(minutes=11)
    said = stage.notice("launch_undeliverable", f"The launch of P:{DATE}:1")
    assert said == ["notice.launch_undeliverable"]


def _notified(stage: Stage, kind: str, summary: str, detail: str = "", identity: str = "n") -> None:
    date = DATE if kind == "silent_source" else None
    notice = Noticed(identity, kind, "warning", None, date, summary, detail, stage.now)
    stage.judge.see(stage.now, notice)


def test_each_quarantined_message_is_notified_once() -> None:
    stage = Stage()
    stage.judge.see(stage.now, InQuarantine("q1", "not JSON"))
    _notified(stage, "quarantined", "quarantined: not JSON", "show q1")
    _notified(stage, "quarantined", "quarantined: not JSON", "show q1")  # the same, delivered again
    assert stage.rules == []
    _notified(stage, "quarantined", "quarantined: not JSON", "show q1", "other")
    assert stage.rules == ["notice.quarantined"]


@pytest.mark.parametrize(("summary", "detail"), [("not JSON", "show q2"), ("so", "show q1")])
def test_a_notice_of_quarantine_names_what_is_kept(summary: str, detail: str) -> None:
    stage = Stage()
    stage.judge.see(stage.now, InQuarantine("q1", "not JSON"))
    _notified(stage, "quarantined", summary, detail)
    assert stage.rules == ["notice.quarantined"]


def test_a_silent_source_is_notified_once_and_only_where_games_are_expected() -> None:
    stage = Stage()
    _notified(stage, "silent_source", f"{ODDS} is silent", identity="a")
    assert stage.rules == ["notice.silent_source"]
    other = Stage()
    other.load(CALENDAR, game_ids=["g1"], record_count=1)
    _notified(other, "silent_source", f"{ODDS} is silent", identity="a")
    _notified(other, "silent_source", f"{PBP} is silent", identity="b")
    assert other.rules == []
    _notified(other, "silent_source", f"{ODDS} is silent", identity="c")
    assert other.rules == ["notice.silent_source"]


def test_registries_that_differ_are_two() -> None:
    stage = Stage()
    _notified(stage, "registries_differ", "two are served", identity="a")
    assert stage.rules == ["notice.registries_differ"]
    other = Stage()
    other.serve(registry(grace="1m"), "two")
    _notified(other, "registries_differ", "two are served", identity="a")
    assert other.rules == []
