"""Events in their many spellings: what is read, and every mistake of one that cannot be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from coordinator.core.arrivals import LoadStatus
from coordinator.core.choices import RunStatus
from coordinator.wire import BadMessage, LoadMessage, RunReport, read_event

NOW = datetime(2025, 11, 15, 12, tzinfo=UTC)
LOAD = {
    "event_type": "raw_data_loaded",
    "target_table": "raw.box",
    "execution_id": "x",
    "game_date": "2025-11-15",
    "game_ids": ["g1"],
    "record_count": 5,
    "status": "success",
    "timestamp": "2025-11-15T02:30:00Z",
}
REPORT = {"event_type": "run_completed", "run_id": "P:2025-11-15:1", "lease_token": "t"}


def load(**fields: Any) -> LoadMessage:
    said = {k: v for k, v in {**LOAD, **fields}.items() if v is not ...}
    message = read_event(said, NOW)
    assert isinstance(message, LoadMessage)
    return message


def mistakes(event: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(BadMessage) as caught:
        read_event(event, NOW)
    return {m.field: m.message for m in caught.value.mistakes}


@pytest.mark.parametrize(
    "spelling",
    [
        {"game_date": ..., "target_date": "2025-11-15"},
        {"game_date": "", "data_date": "2025-11-15"},
        {"status": ..., "success": True},
        {"success": "not read beside a status"},
        {"game_ids": ..., "game_id": "g1"},
        {"game_ids": ["g1", "g1"]},
        {"record_count": 5, "error": None, "something_of_theirs": {"a": [1]}},
        {"event_id": "", "correlation_id": None},
    ],
    ids=str,
)
def test_every_spelling_means_the_same_load(spelling: dict[str, Any]) -> None:
    assert load(**spelling) == load()


@pytest.mark.parametrize(
    ("fields", "quiet"),
    [
        ({}, False),
        ({"skip_downstream": True}, True),
        ({"skip_downstream_trigger": True}, True),
        ({"metadata": {"skip_downstream": True}}, True),
        ({"metadata": {"skip_downstream_trigger": True}}, True),
        ({"skip_downstream": False, "metadata": {"skip_downstream": True}}, False),
    ],
)
def test_a_load_may_ask_to_fire_nothing(fields: dict[str, Any], quiet: bool) -> None:
    assert load(**fields).quiet is quiet


def test_the_names_of_the_table_come_best_first() -> None:
    message = load(
        output_dataset="raw", output_table="box", processor_name="P", source_table="b", processor=""
    )
    assert message.names == ("raw.box", "b", "raw.box", "P")
    assert load(target_table=..., output_table="raw.box", output_dataset="x").names == ("raw.box",)


def test_an_event_gets_its_id_from_its_content_and_keeps_a_given_one() -> None:
    assert load().event_id == load(correlation_id="other").event_id
    assert load().event_id != load(record_count=6).event_id
    assert (load(event_id="e").event_id, load(event_id="e").given_id) == ("e", True)
    assert load().given_id is False
    assert load().digest == load(event_id="e").digest != load(status="partial").digest


def test_every_mistake_of_a_load_is_named_at_once() -> None:
    found = mistakes(
        {
            "event_type": "raw_data_loaded",
            "analysis_date": "TODAY",
            "timestamp": "2025-11-15T12:10:01Z",
            "record_count": -1,
            "game_ids": "g1",
            "metadata": {"content_hash": 7, "skip_downstream": "yes"},
            "correlation_id": "x" * 1001,
        }
    )
    assert found == {
        "target_table": "is missing; name a table in target_table, source_table, output_table or "
        "processor_name",
        "analysis_date": "must be a calendar date YYYY-MM-DD",
        "status": "is missing; give one such as success",
        "timestamp": "is more than 10 minutes ahead of the clock; fix the sender's clock",
        "record_count": "must be at least 0",
        "game_ids": "must be a list of game ids",
        "metadata.content_hash": "must be a string",
        "metadata.skip_downstream": "must be true or false",
        "correlation_id": "must have at most 1,000 characters",
    }


def test_a_report_is_read_with_its_end() -> None:
    report = read_event({**REPORT, "status": "no_data", "error": {"at": 1}, "record_count": 0}, NOW)
    assert isinstance(report, RunReport)
    assert (report.status, report.error, report.record_count) == (RunStatus.NO_DATA, '{"at": 1}', 0)


def test_a_report_of_a_run_that_goes_on_has_no_end_whatever_it_says() -> None:
    report = read_event({**REPORT, "event_type": "run_heartbeat", "status": "running"}, NOW)
    assert isinstance(report, RunReport)
    assert report.status is None


def test_every_mistake_of_a_report_is_named_at_once() -> None:
    assert mistakes({**REPORT, "lease_token": "", "record_count": 1.5}) == {
        "status": "is missing; give one of success, no_data, skipped, failed",
        "lease_token": "is missing",
        "record_count": "must be a whole number",
    }
    assert list(mistakes({**REPORT, "status": "running"})) == ["status"]


def test_a_completion_that_names_no_run_is_a_load() -> None:
    message = load(event_type="run_completed", run_id="", status="failed")
    assert message.status is LoadStatus.FAILED
