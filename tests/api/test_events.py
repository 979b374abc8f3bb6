"""Events over HTTP: every outcome (specification 3.3) and every accepted field name (3.1)."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from tests.api.support import Service, envelope, load_event


def outcome(service: Service, **fields: Any) -> str:
    return str(service.send(**fields)["outcome"])


def ledger(service: Service, table: str = "raw.box", game_date: str = "2025-11-15") -> Any:
    return service.get(f"/v1/tables/{table}/dates/{game_date}")


# ── outcomes ─────────────────────────────────────────────────────────────────────────────────


def test_an_applied_event_is_in_the_ledger_and_fires(service: Service) -> None:
    result = service.send(event_id="load-1", correlation_id="c-1")
    assert result["outcome"] == "applied"
    assert result["event_id"] == "load-1"
    affected = {a["processor"]: a for a in result["affected"]}
    assert affected["Summary"]["status"] == "firing"
    assert affected["Summary"]["fired_run_id"] == "Summary:2025-11-15:1"
    assert [e["event_id"] for e in ledger(service)["items"]] == ["load-1"]
    message = service.until(lambda: service.launcher.messages)[0]
    assert message["run_id"] == "Summary:2025-11-15:1"
    assert message["inputs"][0]["event_ids"] == ["load-1"]


def test_a_duplicate_records_and_fires_nothing_new(service: Service) -> None:
    event = service.event(event_id="load-1")
    service.post("/v1/events", event)
    service.until(lambda: service.launcher.messages)
    again = service.post("/v1/events", event)["results"][0]
    assert again["outcome"] == "duplicate"
    assert [a["fired_run_id"] for a in again["affected"]] == [None]
    assert len(ledger(service)["items"]) == 1
    assert len(service.launcher.messages) == 1


def test_a_pushed_message_that_comes_again_is_a_duplicate(service: Service) -> None:
    body = envelope(service.event(execution_id=None), message_id="m-1")
    for _ in range(3):
        assert service.push(body).status_code == 204
    entries = ledger(service)["items"]
    assert [(e["message_id"], e["outcome"]) for e in entries] == [("m-1", "applied")]


def test_an_older_load_is_superseded_and_kept_in_the_ledger(service: Service) -> None:
    old = service.clock.now() - timedelta(hours=1)
    assert outcome(service, table=None, record_count=7) == "applied"
    earlier = load_event(at=old, record_count=5)
    assert service.post("/v1/events", earlier)["results"][0]["outcome"] == "superseded"
    entries = ledger(service)
    assert [e["outcome"] for e in entries["items"]] == ["applied", "superseded"]
    assert entries["record_count"] == 7


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ({"status": "failed"}, {"status": "failed"}),
        ({"game_ids": ["g1"]}, {"game_ids": ["g1"]}),
        ({}, {"game_ids": ["g1"]}),
    ],
    ids=["a failure", "a game", "a game of a whole date"],
)
def test_a_superseded_load_says_which_one_counts(
    service: Service, newer: dict[str, Any], older: dict[str, Any]
) -> None:
    now = service.clock.now()
    first = load_event(at=now - timedelta(seconds=1), event_id="first", **newer)
    second = load_event(at=now - timedelta(days=2), event_id="second", **older)
    assert service.post("/v1/events", first)["results"][0]["warnings"] == []
    (warning,) = service.post("/v1/events", second)["results"][0]["warnings"]
    then = now - timedelta(days=2)
    assert warning.startswith(f"older ({then:%Y-%m-%d %H:%M:%SZ}) than what counts (")
    assert warning.endswith("event first)")


def test_a_load_that_nobody_needs_or_is_switched_off_is_ignored(service: Service) -> None:
    assert outcome(service, target_table="raw.lonely") == "ignored"
    assert outcome(service, target_table="raw.rosters") == "ignored"
    assert ledger(service, "raw.rosters")["items"][0]["outcome"] == "ignored"


def test_a_report_that_cannot_be_accepted_is_refused(service: Service) -> None:
    run_id = service.fire()
    service.claim(run_id)
    report = {
        "event_type": "run_completed",
        "run_id": run_id,
        "lease_token": "wrong",
        "status": "success",
    }
    result = service.post("/v1/events", report)["results"][0]
    assert result["outcome"] == "refused"
    assert result["errors"]
    assert service.push(envelope(report)).status_code == 204
    unknown = {**report, "run_id": "Nobody:2025-11-15:1"}
    assert service.post("/v1/events", unknown)["results"][0]["outcome"] == "refused"
    assert service.partition()["status"] == "running"


def test_a_known_id_with_other_content_is_quarantined_or_rejected(service: Service) -> None:
    assert outcome(service, event_id="load-1", record_count=100) == "applied"
    other = service.event(event_id="load-1", record_count=99)
    answer = service.client.post("/v1/events", json=other)
    assert answer.status_code == 422
    assert answer.json()["results"][0]["outcome"] == "rejected"
    assert service.push(envelope(other)).status_code == 204
    assert service.get("/v1/quarantine")["items"][0]["reason"].startswith("event_id load-1")
    assert len(ledger(service)["items"]) == 1


def test_a_store_out_of_reach_is_503_and_nothing_else_is(service: Service) -> None:
    service.on_loop(service.application.store.close())
    answer = service.push(envelope(service.event()))
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    assert service.push(b"poison").status_code == 503
    rest = service.client.post("/v1/events", json=service.event())
    assert rest.status_code == 503
    assert rest.json()["code"] == "unavailable"
    service.on_loop(service.application.store.open())
    assert service.push(envelope(service.event())).status_code == 204
    assert service.get("/v1/quarantine")["items"] == []


# ── spellings ────────────────────────────────────────────────────────────────────────────────

TABLES: list[dict[str, Any]] = [
    {"target_table": "raw.box"},
    {"target_table": "box"},
    {"source_table": "box"},
    {"source_table": "raw.box"},
    {"output_dataset": "raw", "output_table": "box"},
    {"output_table": "raw.box"},
    {"processor_name": "BoxProcessor"},
    {"processor_name": "p2_box_pdf"},
    {"target_table": "nobody", "source_table": "box"},
    {"target_table": "raw.box", "source_table": "odds"},
]


@pytest.mark.parametrize("names", TABLES, ids=lambda n: " ".join(f"{k}={v}" for k, v in n.items()))
@pytest.mark.parametrize("endpoint", ["push", "rest"])
def test_a_table_is_found_under_every_name(
    shared: Service, names: dict[str, Any], endpoint: str
) -> None:
    event = shared.event(
        **{"target_table": None, **names}, event_id=f"{endpoint} {sorted(names)}{names}"
    )
    if endpoint == "push":
        assert shared.push(envelope(event)).status_code == 204
    else:
        assert shared.client.post("/v1/events", json=event).status_code == 200
    entries = ledger(shared)["items"]
    assert event["event_id"] in {e["event_id"] for e in entries}


@pytest.mark.parametrize("field", ["game_date", "analysis_date", "target_date", "data_date"])
def test_a_date_is_read_from_every_field(shared: Service, field: str) -> None:
    event = shared.event(**{"game_date": None, field: "2025-11-10"}, event_id=f"by {field}")
    assert shared.post("/v1/events", event)["results"][0]["event_id"] == f"by {field}"
    assert f"by {field}" in {e["event_id"] for e in ledger(shared, game_date="2025-11-10")["items"]}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"status": "success"}, "success"),
        ({"status": "partial"}, "partial"),
        ({"status": "no_data"}, "no_data"),
        ({"status": "failed"}, "failed"),
        ({"status": "skipped"}, "skipped"),
        ({"status": None, "success": True}, "success"),
        ({"status": None, "success": False}, "failed"),
    ],
)
def test_every_status_is_read(shared: Service, fields: dict[str, Any], status: str) -> None:
    name = json.dumps(fields)
    shared.send(**fields, event_id=name, game_date="2025-11-11")
    entries = ledger(shared, game_date="2025-11-11")["items"]
    assert {e["event_id"]: e["status"] for e in entries}[name] == status


@pytest.mark.parametrize(
    ("fields", "games"),
    [
        ({"game_ids": ["0022500226", "0022500225"]}, ["0022500225", "0022500226"]),
        ({"game_ids": [22500225]}, ["22500225"]),
        ({"game_id": "20260211_MIL_ORL"}, ["20260211_MIL_ORL"]),
        ({"game_ids": []}, []),
        ({}, []),
    ],
)
def test_games_are_read_as_strings(
    shared: Service, fields: dict[str, Any], games: list[str]
) -> None:
    name = json.dumps(fields)
    shared.send(**fields, event_id=name, game_date="2025-11-12")
    entries = ledger(shared, game_date="2025-11-12")["items"]
    assert {e["event_id"]: e["game_ids"] for e in entries}[name] == games


@pytest.mark.parametrize(
    "timestamp",
    [
        "2025-11-14T21:30:00-05:00",
        "2025-11-15T02:30:00Z",
        "2025-11-15t02:30:00z",
        "2025-11-15T02:30:00.000000000Z",
        "2025-11-15 02:30:00+00:00",
    ],
)
def test_timestamps_are_read_with_any_zone_and_shown_in_utc(
    shared: Service, timestamp: str
) -> None:
    shared.send(timestamp=timestamp, event_id=timestamp, game_date="2025-11-13")
    entries = ledger(shared, game_date="2025-11-13")["items"]
    assert {e["event_id"]: e["timestamp"] for e in entries}[timestamp] == "2025-11-15T02:30:00Z"


def test_a_completion_that_names_no_run_counts_as_a_load_of_its_output(service: Service) -> None:
    event = service.event(
        event_type="run_completed", target_table=None, processor_name="player_summary"
    )
    assert service.post("/v1/events", event)["results"][0]["outcome"] == "applied"
    assert len(ledger(service, "analytics.summary")["items"]) == 1


# ── lists ────────────────────────────────────────────────────────────────────────────────────


def test_a_list_is_answered_in_order_good_and_bad_mixed(service: Service) -> None:
    events = [
        service.event(event_id="a"),
        service.event(event_id="b", game_date="TODAY"),
        service.event(event_id="c", target_table="raw.lonely"),
        {"event_type": "raw_data_loaded"},
        service.event(event_id="a"),
        "not an event",
    ]
    events[4] = events[0]
    results = service.post("/v1/events", events)["results"]
    got = [r["outcome"] for r in results]
    assert got == ["applied", "rejected", "ignored", "rejected", "duplicate", "rejected"]
    assert [r["event_id"] for r in results] == ["a", None, "c", None, "a", None]
    assert {"field", "message", "value"} == set(results[1]["errors"][0])
    assert results[1]["errors"][0]["field"] == "game_date"
    assert results[1]["errors"][0]["value"] == "'TODAY'"
    assert len(results[3]["errors"]) > 1


def test_a_list_of_bad_events_is_a_problem_with_the_results_inside(shared: Service) -> None:
    answer = shared.client.post("/v1/events", json=[{}, shared.event(status="ok")])
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "all_rejected"
    assert [r["outcome"] for r in problem["results"]] == ["rejected", "rejected"]


def test_a_thousand_events_are_taken_and_one_more_is_not(service: Service) -> None:
    events = [service.event(event_id=f"e{n}", game_ids=[f"g{n}"]) for n in range(1000)]
    results = service.post("/v1/events", events)["results"]
    assert [r["event_id"] for r in results] == [f"e{n}" for n in range(1000)]
    assert {r["outcome"] for r in results} == {"applied"}
    answer = service.client.post("/v1/events", json=[*events, service.event()])
    assert answer.status_code == 422
    assert answer.json()["code"] == "too_many"
    assert len(ledger(service)["items"]) == 1000


def test_an_empty_list_is_answered_with_no_results(shared: Service) -> None:
    assert shared.post("/v1/events", []) == {"results": []}


def test_a_burst_over_push_loses_nothing_and_fires_once(service: Service) -> None:
    bodies = [
        envelope(service.event(event_id=f"e{n}", game_ids=[f"g{n}"]), str(n)) for n in range(200)
    ]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(service.push, bodies))
    assert {a.status_code for a in answers} == {204}
    assert len(ledger(service)["items"]) == 200
    assert len(service.get("/v1/runs", game_date="2025-11-15", processor="Summary")["items"]) == 1


def test_an_id_that_is_reserved_for_outputs_of_runs_says_so(service: Service) -> None:
    """In the answer, in quarantine, and in the reference."""
    bad = service.event(event_id="run:Summary:2025-11-15:1")
    answer = service.client.post("/v1/events", json=bad)
    assert answer.status_code == 422
    (mistake,) = answer.json()["results"][0]["errors"]
    assert mistake["field"] == "event_id"
    assert "must not begin with run:" in mistake["message"]
    assert "give the load another id" in mistake["message"]
    assert service.push(envelope(bad)).status_code == 204
    (entry,) = service.get("/v1/quarantine")["items"]
    assert "'run:Summary:2025-11-15:1' is reserved" in entry["reason"]
    assert "give the load another id" in entry["reason"]
    assert service.push(envelope({**bad, "event_id": "Run:1"}, "2")).status_code == 204
    assert len(service.get("/v1/quarantine")["items"]) == 1
    field = service.get("/openapi.json")["components"]["schemas"]["LoadEvent"]["properties"]
    assert "`run:`" in field["event_id"]["description"]
