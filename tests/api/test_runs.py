"""A run's life over HTTP: claim, heartbeat, complete, and everyone who comes too late."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.api.support import Service, envelope


def refused(service: Service, run_id: str, verb: str, body: dict[str, object]) -> dict[str, str]:
    problem: dict[str, str] = service.post(f"/v1/runs/{run_id}/{verb}", body, status=409)
    assert service.answers[-1].headers["content-type"] == "application/problem+json"
    return problem


def test_a_run_is_claimed_kept_and_completed(service: Service) -> None:
    run_id = service.fire(correlation_id="c-1")
    granted = service.claim(run_id)
    assert granted["run_id"] == run_id
    assert granted["processor"] == "Summary"
    assert granted["game_date"] == "2025-11-15"
    assert granted["generation"] == granted["attempt"] == 1
    assert granted["trigger"] == "dependencies"
    assert granted["output"] == "analytics.summary"
    assert granted["entrypoint"] == "processors.analytics:PlayerGameSummaryProcessor"
    assert granted["correlation_id"] == "c-1"
    assert granted["inputs"][0]["table"] == "raw.box"
    assert granted["skip_downstream"] is False
    service.clock.ahead += timedelta(minutes=1)
    kept = service.post(f"/v1/runs/{run_id}/heartbeat", {"lease_token": granted["lease_token"]})
    assert 299 < granted["lease_seconds"] <= granted["heartbeat_timeout_seconds"] == 300
    assert 299 < kept["lease_seconds"] <= 300
    before, after = (datetime.fromisoformat(x["lease_expires_at"]) for x in (granted, kept))
    assert after - before >= timedelta(minutes=1)
    body = {"lease_token": granted["lease_token"], "status": "success", "record_count": 42}
    assert service.post(f"/v1/runs/{run_id}/complete", body)["status"] == "success"
    run = service.get(f"/v1/runs/{run_id}")
    assert run["status"] == "success"
    assert run["record_count"] == 42
    assert run["owner"] == "runner-1"
    assert run["attempts"][0]["run_seconds"] >= 60
    announced = service.until(
        lambda: service.get("/v1/tables/analytics.summary/dates/2025-11-15")["items"]
    )
    assert announced[0]["correlation_id"] == "c-1"
    assert announced[0]["record_count"] == 42


def test_an_announcement_that_comes_back_as_a_message_is_a_duplicate(service: Service) -> None:
    run_id = service.fire()
    token = service.claim(run_id)["lease_token"]
    body = {"lease_token": token, "status": "success", "record_count": 42}
    service.post(f"/v1/runs/{run_id}/complete", body)
    ledger = "/v1/tables/analytics.summary/dates/2025-11-15"
    announced = service.until(lambda: service.get(ledger)["items"])[0]
    again = {
        "event_type": "raw_data_loaded",
        "event_id": announced["event_id"],
        "target_table": "analytics.summary",
        "game_date": "2025-11-15",
        "status": "success",
        "timestamp": announced["timestamp"],
        "record_count": 42,
        "game_ids": [],
        "correlation_id": announced["correlation_id"],
    }
    assert service.post("/v1/events", again)["results"][0]["outcome"] == "duplicate"
    assert len(service.get(ledger)["items"]) == 1


def test_the_same_owner_gets_the_same_token_again(service: Service) -> None:
    run_id = service.fire()
    assert service.claim(run_id)["lease_token"] == service.claim(run_id)["lease_token"]


def test_a_lease_is_answered_as_what_is_left_of_it(service: Service) -> None:
    run_id = service.fire()
    first = service.claim(run_id)
    service.clock.ahead += timedelta(minutes=2)
    again = service.claim(run_id)
    before, after = (datetime.fromisoformat(x["lease_expires_at"]) for x in (first, again))
    gained = (after - before).total_seconds()
    assert again["lease_seconds"] == pytest.approx(first["lease_seconds"] - 120 + gained, abs=2)


def test_another_owner_is_refused(service: Service) -> None:
    run_id = service.fire()
    service.claim(run_id)
    problem = refused(service, run_id, "claim", {"owner": "runner-2", "attempt": 1})
    assert problem["code"] == "taken"
    assert "runner-1" in problem["detail"]


@pytest.mark.parametrize("status", ["success", "no_data", "skipped"])
def test_a_repeated_report_is_taken_again_and_another_word_is_not(
    service: Service, status: str
) -> None:
    run_id = service.fire()
    token = service.claim(run_id)["lease_token"]
    body = {"lease_token": token, "status": status}
    for _ in range(3):
        service.post(f"/v1/runs/{run_id}/complete", body)
    refused(service, run_id, "complete", {**body, "status": "failed"})
    refused(service, run_id, "complete", {**body, "lease_token": "other"})
    assert service.get(f"/v1/runs/{run_id}")["status"] == status


def test_a_report_is_taken_again_at_any_later_time(service: Service) -> None:
    run_id = service.fire()
    first = service.claim(run_id)["lease_token"]
    failed = {"lease_token": first, "status": "failed", "error": "no such column"}
    service.post(f"/v1/runs/{run_id}/complete", failed)
    service.until(lambda: len(service.launcher.messages) == 2)
    token = service.claim(run_id, attempt=2)["lease_token"]
    body = {"lease_token": token, "status": "success", "record_count": 42}

    def again() -> None:
        for report in (failed, body):
            service.post(f"/v1/runs/{run_id}/complete", report)
        refused(service, run_id, "complete", {**body, "status": "no_data"})
        refused(service, run_id, "complete", {**body, "lease_token": "other"})
        assert service.get(f"/v1/runs/{run_id}")["record_count"] == 42

    service.post(f"/v1/runs/{run_id}/complete", body)
    again()
    place = "/v1/processors/Summary/dates/2025-11-15"
    service.post(f"{place}/reset", {"reason": "again"})
    assert service.partition()["generation"] == 2
    again()
    service.succeed("Summary:2025-11-15:2", record_count=7)
    again()
    assert service.partition()["outcome"]["record_count"] == 7
    notes = [t["what"] for t in service.get(f"/v1/runs/{run_id}")["transitions"]]
    assert notes.count("success") == 1


def test_the_output_of_the_later_generation_counts_though_the_clock_stepped_back(
    service: Service,
) -> None:
    service.succeed(service.fire(), record_count=100)
    place = "/v1/processors/Summary/dates/2025-11-15"
    again = service.post(f"{place}/trigger", {"reason": "corrected"})
    service.clock.ahead -= timedelta(seconds=100)
    service.succeed(again["run_id"], record_count=200)
    items = service.until(
        lambda: [
            i
            for i in service.get("/v1/tables/analytics.summary/dates/2025-11-15")["items"]
            if i["event_id"] == f"run:{again['run_id']}"
        ]
    )
    assert items[0]["outcome"] == "applied"
    counted = service.get("/v1/tables/analytics.summary/dates/2025-11-15")
    assert counted["record_count"] == 200


def test_a_correction_counts_though_the_clock_stepped_back(service: Service) -> None:
    sent = service.clock.now()
    service.send(target_table="raw.odds", record_count=10, event_id="o1")
    service.clock.ahead -= timedelta(seconds=100)
    later = (sent + timedelta(seconds=1)).isoformat()  # by a clock that did not step
    result = service.send(target_table="raw.odds", record_count=20, event_id="o2", timestamp=later)
    assert result["outcome"] == "applied"
    found = service.get("/v1/tables/raw.odds/dates/2025-11-15")
    assert found["record_count"] == 20
    assert [i["event_id"] for i in found["items"]] == ["o1", "o2"]


def test_a_delivered_launch_is_claimed_at_an_instance_that_is_behind(service: Service) -> None:
    run_id = service.fire()
    service.clock.ahead -= timedelta(milliseconds=50)
    assert service.claim(run_id)["attempt"] == 1


def test_a_clock_that_stepped_back_shows_no_negative_durations(service: Service) -> None:
    run_id = service.fire()
    token = service.claim(run_id)["lease_token"]
    service.clock.ahead -= timedelta(minutes=3)
    service.post(f"/v1/runs/{run_id}/complete", {"lease_token": token, "status": "success"})
    run = service.get(f"/v1/runs/{run_id}")
    assert run["duration_seconds"] == 0
    assert run["attempts"][0]["run_seconds"] == 0


def test_a_failed_report_spends_the_attempt_and_is_taken_again(service: Service) -> None:
    run_id = service.fire()
    token = service.claim(run_id)["lease_token"]
    body = {"lease_token": token, "status": "failed", "error": "no such column"}
    service.post(f"/v1/runs/{run_id}/complete", body)
    service.until(lambda: len(service.launcher.messages) == 2)
    assert service.launcher.messages[1]["attempt"] == 2
    assert service.launcher.messages[1]["trigger"] == "retry"
    second = service.claim(run_id, attempt=2)
    assert second["trigger"] == "retry"
    body["lease_token"] = second["lease_token"]
    for _ in range(2):
        service.post(f"/v1/runs/{run_id}/complete", body)
    assert service.partition()["status"] == "failed"
    assert "no such column" in service.partition()["why"]


def test_a_zombie_is_refused_and_changes_nothing(service: Service) -> None:
    run_id = service.fire()
    zombie = service.claim(run_id, owner="zombie")["lease_token"]
    service.clock.ahead += timedelta(minutes=6)
    service.post("/v1/sweep")
    service.clock.ahead += timedelta(minutes=1)
    for verb, body in (
        ("heartbeat", {"lease_token": zombie}),
        ("complete", {"lease_token": zombie, "status": "success"}),
        ("claim", {"owner": "zombie", "attempt": 1}),
    ):
        assert refused(service, run_id, verb, body)["code"] == "stale"
    granted = service.claim(run_id, attempt=2, owner="second")
    assert (
        refused(service, run_id, "complete", {"lease_token": zombie, "status": "success"})["code"]
        == "stale"
    )
    body = {"lease_token": granted["lease_token"], "status": "success"}
    service.post(f"/v1/runs/{run_id}/complete", body)
    for verb in ("heartbeat", "complete"):
        late = {"lease_token": zombie} | ({"status": "success"} if verb == "complete" else {})
        assert refused(service, run_id, verb, late)["code"] == "over"
    assert service.get(f"/v1/runs/{run_id}")["owner"] == "second"


def test_an_attempt_that_is_not_launched_cannot_be_claimed(service: Service) -> None:
    run_id = service.fire()
    assert refused(service, run_id, "claim", {"owner": "x", "attempt": 2})["code"] == "stale"


@pytest.mark.parametrize(
    "run_id",
    ["Summary:2025-11-15:2", "Nobody:2025-11-15:1", "nonsense", "Summary:TODAY:1", "a:b:c:d"],
)
def test_a_run_that_never_was_is_not_found(shared: Service, run_id: str) -> None:
    claim = {"owner": "x", "attempt": 1}
    assert shared.post(f"/v1/runs/{run_id}/claim", claim, status=404)["code"] == "not_found"
    body = {"lease_token": "x", "status": "success"}
    shared.post(f"/v1/runs/{run_id}/complete", body, status=404)
    shared.post(f"/v1/runs/{run_id}/heartbeat", {"lease_token": "x"}, status=404)
    shared.get(f"/v1/runs/{run_id}", 404)


def test_a_question_leaves_no_partition_behind(service: Service) -> None:
    service.post("/v1/runs/Summary:2025-11-15:1/claim", {"owner": "x", "attempt": 1}, status=404)
    assert service.partition()["stored"] is False


def test_reports_come_by_message_too(service: Service) -> None:
    run_id = service.fire()
    token = service.claim(run_id)["lease_token"]
    for kind in ("run_started", "run_heartbeat"):
        report = {"event_type": kind, "run_id": run_id, "lease_token": token}
        assert service.push(envelope(report)).status_code == 204
    report = {
        "event_type": "run_completed",
        "run_id": run_id,
        "lease_token": token,
        "status": "success",
        "record_count": 7,
    }
    for _ in range(2):
        assert service.push(envelope(report)).status_code == 204
    run = service.get(f"/v1/runs/{run_id}")
    assert (run["status"], run["record_count"]) == ("success", 7)
    assert service.get("/v1/quarantine")["items"] == []


def test_no_answer_but_the_claim_shows_a_lease_token(service: Service) -> None:
    run_id = service.fire()
    token = service.claim(run_id)["lease_token"]
    service.post(f"/v1/runs/{run_id}/complete", {"lease_token": token, "status": "success"})
    for path in (
        f"/v1/runs/{run_id}",
        "/v1/runs",
        "/v1/status/2025-11-15/Summary",
        "/v1/status/2025-11-15",
        "/v1/audit",
    ):
        service.get(path)
        assert token not in service.answers[-1].text
