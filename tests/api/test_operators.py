"""What people can do over HTTP: each act, its rehearsal, its refusals and its audit entry."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.api.support import Service, envelope

SUMMARY = "/v1/processors/Summary/dates/2025-11-15"
REPORT = "/v1/processors/Report/dates/2025-11-15"
WHY = {"reason": "tested"}


def audit(service: Service) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = service.get("/v1/audit")["items"]
    return items


def test_a_trigger_fires_what_is_not_ready_only_with_a_bypass(service: Service) -> None:
    problem = service.post(f"{SUMMARY}/trigger", WHY, status=409)
    assert problem["code"] == "not_ready"
    assert problem["verdict"]["ready"] is False
    assert problem["verdict"]["requirements"][0]["state"] == "missing"
    assert service.partition()["stored"] is False
    done = service.post(f"{SUMMARY}/trigger", {**WHY, "bypass": ["dependencies"]})
    assert done["run_id"] == "Summary:2025-11-15:1"
    assert done["fired_run_ids"] == ["Summary:2025-11-15:1"]
    assert done["partition"]["status"] == "firing"
    assert "forced" in done["partition"]["flags"]
    run = service.get("/v1/runs/Summary:2025-11-15:1")
    assert (run["trigger"], run["actor"], run["reason"]) == ("manual", "local", "tested")
    assert run["bypassed"] == ["dependencies"]
    assert [(a["act"], a["result"], a["actor"]) for a in audit(service)] == [
        ("trigger", "done", "local"),
        ("trigger", "refused: not_ready", "local"),
    ]


def test_a_trigger_is_judged_in_the_order_of_the_contract(service: Service) -> None:
    nobody = "/v1/processors/Nobody/dates/2025-11-15/trigger"
    for body in ({}, {"reason": ""}, {"reason": "   "}, {"reason": None}):
        problem = service.post(nobody, body, status=422)
        assert problem["errors"][0]["field"] == "reason"
    service.post(nobody, {**WHY, "bypass": ["everything"]}, status=422)
    assert service.post(nobody, WHY, status=404)["code"] == "not_found"
    service.post("/v1/processors/Summary/dates/TODAY/trigger", WHY, status=422)
    service.fire()
    assert service.post(f"{SUMMARY}/trigger", WHY, status=409)["code"] == "live_run"
    problem = service.post(f"{SUMMARY}/trigger", {**WHY, "bypass": ["limits"]}, status=409)
    assert problem["code"] == "live_run"


def test_names_may_be_aliases(service: Service) -> None:
    path = "/v1/processors/player_summary/dates/2025-11-15/trigger"
    done = service.post(path, {**WHY, "bypass": ["dependencies"], "dry_run": True})
    assert done["partition"]["processor"] == "Summary"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{SUMMARY}/trigger", {"bypass": ["dependencies"], "skip_downstream": True}),
        (f"{SUMMARY}/skip", {}),
        (f"{SUMMARY}/reset", {}),
        (f"{SUMMARY}/waivers", {"table": "box"}),
        ("/v1/processors/Summary/pause", {}),
        ("/v1/processors/Summary/resume", {}),
        ("/v1/pause", {}),
        ("/v1/resume", {}),
    ],
)
def test_a_rehearsal_says_what_it_would_do_and_changes_nothing(
    service: Service, path: str, body: dict[str, Any]
) -> None:
    before = service.get("/v1/status/2025-11-15")
    done = service.post(path, {**WHY, **body, "dry_run": True})
    assert done["dry_run"] is True
    assert done["act"] in path.replace("waivers", "waive")
    after = service.get("/v1/status/2025-11-15")
    assert after == before
    assert audit(service) == []
    assert service.launcher.messages == []
    done = service.post(path, {**WHY, **body})
    assert done["dry_run"] is False
    assert len(audit(service)) == 1


@pytest.mark.parametrize(
    "path",
    [
        f"{SUMMARY}/trigger",
        f"{SUMMARY}/skip",
        f"{SUMMARY}/reset",
        f"{SUMMARY}/waivers",
        "/v1/processors/Summary/pause",
        "/v1/processors/Summary/resume",
        "/v1/pause",
        "/v1/resume",
        "/v1/quarantine/x/replay",
        "/v1/quarantine/x/discard",
    ],
)
def test_every_act_needs_a_reason(shared: Service, path: str) -> None:
    problem = shared.post(path, {}, status=422)
    assert "reason" in {e["field"] for e in problem["errors"]}
    shared.post(path, {"reason": "x" * 1001, "table": "box"}, status=422)
    answer = shared.client.post(path)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_skip_with_a_live_run_needs_to_say_so(service: Service) -> None:
    run_id = service.fire()
    assert service.post(f"{SUMMARY}/skip", WHY, status=409)["code"] == "live_run"
    done = service.post(f"{SUMMARY}/skip", {**WHY, "end_run": True})
    assert done["partition"]["status"] == "skipped"
    assert service.get(f"/v1/runs/{run_id}")["status"] == "cancelled"
    service.send(record_count=7)
    assert service.partition()["status"] == "skipped"
    assert service.partition()["skip"]["reason"] == "tested"


def test_reset_ends_a_lease_and_judges_afresh(service: Service) -> None:
    run_id = service.fire()
    token = service.claim(run_id)["lease_token"]
    done = service.post(f"{SUMMARY}/reset", WHY)
    assert done["fired_run_ids"] == ["Summary:2025-11-15:2"]
    body = {"lease_token": token, "status": "success"}
    assert service.post(f"/v1/runs/{run_id}/complete", body, status=409)["code"] == "over"


def test_a_waiver_replaces_data_and_can_be_lifted(service: Service) -> None:
    service.post("/v1/processors/Summary/pause", WHY)
    done = service.post(f"{SUMMARY}/waivers", {**WHY, "table": "box"})
    assert done["verdict"]["requirements"][0]["state"] == "waived"
    waiver = service.partition()["waivers"][0]
    assert (waiver["table"], waiver["open"], waiver["actor"]) == ("raw.box", True, "local")
    url = f"{SUMMARY}/waivers/box"
    assert service.client.delete(url).status_code == 422
    assert service.client.delete(url, params={"reason": "r", "dry_run": "true"}).status_code == 200
    assert service.partition()["waivers"][0]["open"]
    assert service.client.request("DELETE", url, json=WHY).status_code == 200
    assert not service.partition()["waivers"][0]["open"]
    answer = service.client.delete(url, params={"reason": "again"})
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


def test_a_waiver_is_checked(shared: Service) -> None:
    def mistake(**fields: Any) -> str:
        problem = shared.post(f"{SUMMARY}/waivers", {**WHY, **fields}, status=422)
        return str(problem["errors"][0]["field"])

    assert mistake() == "table"
    assert mistake(table="odds") == "table"
    assert mistake(table="nobody") == "table"
    assert mistake(table="box", until="tomorrow") == "until"
    assert mistake(table="box", until="2025-11-15T00:00:00") == "until"
    assert mistake(table="box", until="2020-01-01T00:00:00Z") == "until"


def test_a_waiver_ends_with_its_time(service: Service) -> None:
    service.post("/v1/processors/Summary/pause", WHY)
    until = (service.clock.now() + timedelta(hours=1)).isoformat()
    service.post(f"{SUMMARY}/waivers", {**WHY, "table": "box", "until": until})
    assert service.partition()["verdict"]["ready"]
    service.clock.ahead += timedelta(hours=2)
    service.post("/v1/sweep")
    assert not service.partition()["verdict"]["ready"]


@pytest.mark.parametrize("scope", ["/v1", "/v1/processors/Summary"])
def test_a_pause_keeps_everything_and_resume_fires(service: Service, scope: str) -> None:
    service.post(f"{scope}/pause", WHY)
    result = service.send()
    assert result["outcome"] == "applied"
    partition = service.partition()
    assert partition["status"] == "settling"
    assert "paused" in partition["flags"]
    assert partition["expected_at"] is None
    assert service.get("/v1/status/2025-11-15")["pauses"][0]["reason"] == "tested"
    problem = service.post(f"{SUMMARY}/trigger", WHY, status=409)
    assert problem["code"] == "not_ready"
    done = service.post(f"{scope}/resume", WHY)
    assert done["fired_run_ids"] == ["Summary:2025-11-15:1"]
    assert done["detail"]["was_paused"] is True
    assert service.get("/v1/status/2025-11-15")["pauses"] == []


def test_quarantine_is_listed_replayed_and_discarded(service: Service) -> None:
    body = envelope(service.event(game_date="TODAY"))
    service.push(body)
    service.push(b"poison")
    listed = service.get("/v1/quarantine")["items"]
    assert [q["state"] for q in listed] == ["open", "open"]
    assert listed[0]["text"] == "poison"
    assert '"game_date": "TODAY"' in listed[1]["data_text"]
    poison, today = (q["quarantine_id"] for q in listed)
    problem = service.post(f"/v1/quarantine/{today}/replay", WHY, status=422)
    assert problem["errors"][0]["field"] == "game_date"
    service.post(f"/v1/quarantine/{poison}/discard", {**WHY, "dry_run": True})
    assert service.get(f"/v1/quarantine/{poison}")["state"] == "open"
    service.post(f"/v1/quarantine/{poison}/discard", WHY)
    settled = service.get(f"/v1/quarantine/{poison}")
    assert (settled["state"], settled["settled_by"], settled["settled_reason"]) == (
        "discarded", "local", "tested",
    )  # fmt: skip
    service.post(f"/v1/quarantine/{poison}/discard", WHY, status=409)
    service.post(f"/v1/quarantine/{poison}/replay", WHY, status=409)
    service.post("/v1/quarantine/nobody/replay", WHY, status=404)
    service.get("/v1/quarantine/nobody", 404)
    assert len(service.get("/v1/quarantine", state="open")["items"]) == 1
    service.get("/v1/quarantine", 422, state="lost")


def test_what_was_refused_of_quarantine_is_audited(service: Service) -> None:
    service.push(b"poison")
    (poison,) = (q["quarantine_id"] for q in service.get("/v1/quarantine")["items"])
    at = f"/v1/quarantine/{poison}"
    service.post(f"{at}/replay", {**WHY, "dry_run": True}, status=422)
    service.post(f"{at}/replay", WHY, status=422)
    service.post(f"{at}/discard", WHY)
    service.post(f"{at}/discard", {**WHY, "dry_run": True}, status=409)
    service.post(f"{at}/discard", WHY, status=409)
    service.post(f"{at}/replay", WHY, status=409)
    entries = [(a["act"], a["result"], a["detail"]) for a in reversed(audit(service))]
    assert entries == [
        ("quarantine replay", "refused: bad_input", {"quarantine_id": poison}),
        ("quarantine discard", "done", {"quarantine_id": poison}),
        ("quarantine discard", "refused: refused", {"quarantine_id": poison}),
        ("quarantine replay", "refused: refused", {"quarantine_id": poison}),
    ]


def test_a_date_that_is_none_is_said_in_the_same_words_everywhere(shared: Service) -> None:
    words = "game_date: 'TODAY' is not a game date; give a calendar date as YYYY-MM-DD"
    acted = shared.post("/v1/processors/Summary/dates/TODAY/trigger", WHY, status=422)
    looked = shared.get("/v1/status/TODAY", 422)
    assert acted["detail"] == looked["detail"] == words
    assert acted["errors"] == looked["errors"]


def test_a_pause_by_alias_is_filed_under_the_processor(service: Service) -> None:
    service.post("/v1/processors/player_summary/pause", WHY)
    service.post("/v1/processors/player_summary/resume", WHY)
    filed = service.get("/v1/audit", processor="Summary")["items"]
    assert [a["act"] for a in filed] == ["resume", "pause"]


def test_a_sweep_gives_time_and_can_be_rehearsed(service: Service) -> None:
    service.send(target_table="analytics.summary")
    partition = service.partition("Report")
    assert partition["status"] in ("settling", "firing", "fired")
    service.clock.ahead += timedelta(hours=2)
    would = service.post("/v1/sweep", {"dry_run": True})
    assert would["dry_run"] is True
    assert would["fired_run_ids"] == []
    swept = service.post("/v1/sweep")
    assert swept["dry_run"] is False
    assert service.partition("Report")["generation"] == 1
    assert service.client.post("/v1/sweep").status_code == 200


def test_the_audit_can_be_filtered_and_paged(service: Service) -> None:
    for n in range(5):
        service.post(f"{SUMMARY}/skip", {"reason": f"s{n}"})
    service.post("/v1/pause", WHY)
    assert len(service.get("/v1/audit", processor="player_summary")["items"]) == 5
    assert len(service.get("/v1/audit", game_date="2025-11-16")["items"]) == 0
    assert len(service.get("/v1/audit", actor="local")["items"]) == 6
    seen: list[str] = []
    token = None
    while True:
        query = {"page_token": token} if token else {}
        page = service.get("/v1/audit", limit=2, **query)
        seen += [a["reason"] for a in page["items"]]
        token = page["next_page_token"]
        if token is None:
            break
    assert seen == ["tested", "s4", "s3", "s2", "s1", "s0"]
