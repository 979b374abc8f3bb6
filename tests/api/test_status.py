"""What every GET of the status answers, against what was done to the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from coordinator.core.arrivals import CalendarDate
from coordinator.core.model import Partition
from coordinator.documents import calendar_key, partition_key
from coordinator.ports import Changes, Document, Key
from coordinator.service.views.dates import Gaps, Grid
from coordinator.service.views.load import LedgerView
from coordinator.service.views.partition import DateStatus, PartitionView
from coordinator.service.views.records import QuarantineList
from coordinator.service.views.run import RunList, RunView
from coordinator.service.views.trace import Trace
from tests.api.support import DATE, Service, envelope

GAMES = ["0022500225", "0022500226"]


def calendar(service: Service, game_date: str, games: list[str]) -> None:
    result = service.send(
        target_table="raw.schedule",
        game_date=game_date,
        game_ids=games,
        record_count=len(games),
        status="success" if games else "no_data",
    )
    assert result["outcome"] == "applied"


def row(service: Service, processor: str, game_date: str = "2025-11-15") -> dict[str, Any]:
    items = service.get(f"/v1/status/{game_date}")["items"]
    return next(i for i in items if i["processor"] == processor)


# ── a date ───────────────────────────────────────────────────────────────────────────────────


def test_a_date_shows_every_processor_before_any_event(service: Service) -> None:
    view = service.get("/v1/status/2025-11-15")
    assert [i["processor"] for i in view["items"]] == ["Summary", "Form", "Report"]
    assert {i["status"] for i in view["items"]} == {"waiting"}
    assert view["games"] is None
    assert view["next_page_token"] is None
    summary = row(service, "Summary")
    assert summary["requirements"] == {"met": 0, "total": 1}
    assert summary["run"] is None
    assert summary["why"] == "Waiting for raw.box: no load yet for 2025-11-15."
    assert not any(service.grid().values()), "looking stores nothing"


def test_a_date_without_games_is_not_expected(service: Service) -> None:
    calendar(service, "2025-11-15", [])
    assert row(service, "Summary")["status"] == "not_expected"
    assert service.get("/v1/status/2025-11-15")["games"] == []


def test_progress_is_shown_as_it_happens(service: Service) -> None:
    calendar(service, "2025-11-15", GAMES)
    service.send(game_ids=GAMES[:1])
    waiting = row(service, "Summary")
    assert waiting["status"] == "waiting"
    assert "1 of 2 games" in waiting["why"]
    assert GAMES[1] in waiting["why"]
    service.send(game_ids=GAMES[1:])
    service.until(lambda: row(service, "Summary")["status"] == "fired")
    fired = row(service, "Summary")
    assert fired["run"] == {"run_id": "Summary:2025-11-15:1", "status": "delivered", "attempt": 1}
    service.claim("Summary:2025-11-15:1")
    assert row(service, "Summary")["status"] == "running"


def test_expected_at_is_the_end_of_a_hold_or_a_deadline_that_fires(service: Service) -> None:
    before = row(service, "Report")
    assert before["expected_at"] is None, "the deadline of that date has passed long ago"
    ahead = (service.clock.now() + timedelta(days=2)).date().isoformat()
    expected = row(service, "Report", ahead)["expected_at"]
    assert datetime.fromisoformat(expected) > service.clock.now()
    service.send(target_table="analytics.summary", game_date=ahead)
    settling = row(service, "Report", ahead)
    assert settling["status"] == "settling"
    left = datetime.fromisoformat(settling["expected_at"]) - service.clock.now()
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    assert settling["wake_at"] == settling["expected_at"]


def test_a_launch_that_cannot_be_delivered_is_said_wherever_one_looks(service: Service) -> None:
    service.launcher.down = True
    calendar(service, "2025-11-15", GAMES)
    run_id = service.fire(game_ids=GAMES)
    service.until(lambda: service.partition()["outbox"][0]["tries"])
    whole = service.partition()
    said = "; its launch could not be delivered in "
    assert said in whole["why"]
    assert "the launcher is down. Next try " in whole["why"]
    assert whole["expected_at"] is None, "nothing will make it true"
    assert said in row(service, "Summary")["why"]
    gaps = {g["processor"]: g for g in service.get("/v1/gaps")["items"]}
    assert said in gaps["Summary"]["why"]
    launch = service.get(f"/v1/runs/{run_id}")["launch"]
    assert (launch["kind"], launch["address"]) == ("local", "")
    assert launch["tries"] >= 1
    assert launch["last_error"] == "the launcher is down"
    assert launch["next_try_at"] is not None
    assert whole["runs"][0]["launch"].keys() == launch.keys()
    # What waits for its output says where to look, on every page alike.
    where = (
        "Waiting for analytics.summary (written by Summary): no load yet for 2025-11-15. Summary "
        "is firing (its launch cannot be delivered). See: coordinator why Summary 2025-11-15."
    )
    report = service.partition("Report")
    assert report["why"].startswith(where[: where.index(" Summary is")])
    assert "(its launch cannot be delivered). See: coordinator why Summary" in report["why"]
    assert report["why"] == row(service, "Report")["why"] == gaps["Report"]["why"]
    service.launcher.down = False
    service.until(lambda: row(service, "Summary")["status"] == "fired")
    delivered = service.get(f"/v1/runs/{run_id}")["launch"]
    assert (delivered["tries"], delivered["next_try_at"]) == (0, None)


def test_a_window_is_shown_by_its_dates(service: Service) -> None:
    calendar(service, "2025-11-14", GAMES)
    calendar(service, "2025-11-15", GAMES)
    window = service.partition("Form")["verdict"]["requirements"][0]
    assert (window["sources"], window["state"]) == ([], "missing")
    assert [(d["game_date"], d["met"]) for d in window["days"]] == [("2025-11-14", False)]
    assert row(service, "Form")["why"].startswith(
        "Waiting for analytics.summary on 2025-11-14: ready on 0 of the last 1 game date, 1 needed; "
        "raw.odds: no load yet for 2025-11-15."
    )
    assert (
        "Summary is waiting. See: coordinator why Summary 2025-11-14."
        in row(service, "Form")["why"]
    )


def test_why_of_a_partition_that_succeeded_looks_at_its_windows_as_they_are_now(
    service: Service,
) -> None:
    for day in ("2025-11-13", "2025-11-14"):
        service.succeed(service.fire(day))
    for day in ("2025-11-13", "2025-11-14", "2025-11-15"):
        calendar(service, day, GAMES)
    service.send(target_table="raw.odds", record_count=20)
    service.until(lambda: row(service, "Form")["status"] == "fired")
    service.succeed("Form:2025-11-15:1")

    def days() -> dict[str, bool]:
        window = service.partition("Form")["verdict"]["requirements"][0]
        return {d["game_date"]: d["met"] for d in window["days"]}

    assert days() == {"2025-11-13": True, "2025-11-14": True}
    again = service.post(
        "/v1/processors/Summary/dates/2025-11-14/trigger", {"reason": "it was wrong"}
    )
    token = service.claim(again["run_id"])["lease_token"]
    report = {"lease_token": token, "status": "no_data"}
    service.post(f"/v1/runs/{again['run_id']}/complete", report)
    service.until(lambda: days() == {"2025-11-13": True, "2025-11-14": False})
    assert service.partition("Form")["status"] == "succeeded"


def test_a_date_says_how_many_messages_are_in_quarantine(service: Service) -> None:
    assert service.get("/v1/status/2025-11-15")["quarantine_open"] == 0
    for n in range(3):
        service.push(b"poison %d" % n)
    assert service.get("/v1/status/2025-11-15")["quarantine_open"] == 3


# ── one partition ────────────────────────────────────────────────────────────────────────────


def test_the_whole_partition_explains_itself(service: Service) -> None:
    calendar(service, "2025-11-15", GAMES)
    service.send(game_ids=GAMES, event_id="load-1", record_count=36)
    run_id = "Summary:2025-11-15:1"
    service.succeed(run_id, record_count=30)
    service.send(game_ids=GAMES[:1], event_id="load-2", record_count=19)
    view = service.partition("player_summary")
    assert view["partition_id"] == "Summary__2025-11-15"
    assert view["status"] == "cooling"
    assert "newer_data" in view["flags"]
    assert view["newer_data"][0]["games"] == GAMES[:1]
    assert view["games"] == GAMES
    requirement = view["verdict"]["requirements"][0]
    assert requirement["met"] is True
    assert requirement["sources"][0]["games_loaded"] == 2
    assert requirement["sources"][0]["event_ids"] == ["load-1", "load-2"]
    assert "raw.box" in requirement["sentence"]
    assert view["verdict"]["holds"][0]["kind"] == "cooldown"
    arrivals = view["arrivals"][0]
    assert arrivals["games"] == {GAMES[0]: "load-2", GAMES[1]: "load-1"}
    assert [a["event_id"] for a in arrivals["loads"]] == ["load-1", "load-2"]
    assert [r["run_id"] for r in view["runs"]] == [run_id]
    assert view["runs"][0]["event_ids"] == ["load-1"]
    assert view["runs"][0]["explanation"]
    assert view["outcome"]["record_count"] == 30
    assert view["history"][0]["what"] == "fired"
    assert view["generation"] == 1


def test_the_etag_changes_with_what_is_shown_and_not_with_the_time(service: Service) -> None:
    path = "/v1/status/2025-11-15/Summary"
    service.send(status="failed")
    first = service.client.get(path)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    again = service.client.get(path, headers={"If-None-Match": f'"x", {tag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == tag
    service.fire()
    changed = service.client.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


def test_an_unknown_processor_is_not_found_and_a_bad_date_names_the_rule(shared: Service) -> None:
    assert "known are" in shared.get("/v1/status/2025-11-15/Nobody", 404)["detail"]
    for date in ("TODAY", "20251115", "2025-02-30", "2025-11-15T00:00:00Z", "0001-01-01"):
        for path in (f"/v1/status/{date}", f"/v1/status/{date}/Summary"):
            problem = shared.get(path, 422)
            assert "YYYY-MM-DD" in problem["detail"]
            assert problem["errors"][0]["field"] == "game_date"


# ── many dates ───────────────────────────────────────────────────────────────────────────────


def test_the_grid_shows_dates_that_the_calendar_knows(service: Service) -> None:
    calendar(service, "2025-11-14", [])
    calendar(service, "2025-11-15", GAMES)
    service.send(game_ids=GAMES)
    grid = service.get("/v1/grid", **{"from": "2025-11-13", "to": "2025-11-16"})
    assert [(d["game_date"], d["games"]) for d in grid["dates"]] == [
        ("2025-11-13", None),
        ("2025-11-14", 0),
        ("2025-11-15", 2),
        ("2025-11-16", None),
    ]
    cells = service.grid("2025-11-13", "2025-11-16")
    assert cells["Summary"]["2025-11-14"]["status"] == "not_expected"
    assert cells["Summary"]["2025-11-15"]["status"] in ("firing", "fired")
    assert cells["Report"]["2025-11-15"]["status"] == "waiting"
    assert "2025-11-13" not in cells["Summary"]


def test_the_grid_lists_what_it_shows_once(service: Service) -> None:
    for day in range(10, 20):
        calendar(service, f"2025-11-{day}", GAMES if day % 2 else [])
    service.send(game_ids=GAMES)
    grid = service.get("/v1/grid", **{"from": "2025-11-01", "to": "2025-11-30"})
    shown = [(c["status"], tuple(c["flags"]), c["stored"]) for c in grid["legend"]]
    assert len(shown) == len({*shown})
    places = {place for row in grid["items"] for place in row["cells"] if place is not None}
    assert places == {*range(len(shown))}
    assert {len(row["cells"]) for row in grid["items"]} == {30}


def test_the_etag_of_the_grid_changes_with_what_it_shows(service: Service) -> None:
    def ask(tag: str = "") -> httpx.Response:
        query = {"from": "2025-11-15", "to": "2025-11-16"}
        return service.client.get("/v1/grid", params=query, headers={"If-None-Match": tag})

    first = ask()
    assert first.headers["content-type"] == "application/json"
    same = ask(first.headers["etag"])
    assert (same.status_code, same.content) == (304, b"")
    service.send(game_ids=GAMES)
    changed = ask(first.headers["etag"])
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]
    service.post("/v1/pause", {"reason": "tested"})
    assert ask(changed.headers["etag"]).status_code == 200


def test_the_grid_and_the_date_agree_on_what_is_overdue(service: Service) -> None:
    ahead = (service.clock.now() + timedelta(days=3)).date().isoformat()
    for day in ("2025-11-15", ahead):
        service.on_loop(_only_the_calendar(service, day))
        shown = row(service, "Report", day)
        assert service.partition("Report", day)["stored"] is False
        cell = service.grid(day)["Report"][day]
        assert (cell["status"], cell["flags"]) == (shown["status"], shown["flags"])
    assert shown["flags"] == []
    old = row(service, "Report")
    assert (old["status"], old["flags"]) == ("waiting", ["overdue"])
    assert "Overdue since 2025-11-16 15:00:00Z." in old["why"]


def test_the_grid_shows_a_pause_that_a_decision_did_not_know_yet(service: Service) -> None:
    service.send()
    service.post("/v1/pause", {"reason": "tested"})
    service.on_loop(_as_another_instance_stores_it(service))
    cell = service.grid()["Summary"]["2025-11-15"]
    assert cell["flags"].count("paused") == 1
    assert row(service, "Summary")["flags"] == cell["flags"]


async def _as_another_instance_stores_it(service: Service) -> None:
    """Store a partition as an instance does that decided beside the commit of the pause."""
    key = partition_key("Summary", "2025-11-15")

    def step(docs: Mapping[Key, Document | None]) -> Changes[None]:
        known: Partition | None = docs[key]
        assert known is not None
        inputs = replace(known.inputs, pauses=())
        return Changes(None, {key: replace(known, inputs=inputs, flags=(), revision=99)})

    await service.application.engine.commits.transact([key], step)


async def _only_the_calendar(service: Service, game_date: str) -> None:
    """Write a date into the calendar as if it had been loaded before the processors were there."""
    now = service.clock.now()
    entry = CalendarDate(
        game_date=game_date, games=("g1",), event_id="e", timestamp=now, received_at=now
    )
    key = calendar_key(game_date)
    await service.application.engine.commits.transact([key], lambda _: Changes(None, {key: entry}))


@pytest.mark.parametrize(
    "query",
    [
        {"from": "2025-11-16", "to": "2025-11-15"},
        {"from": "2024-01-01", "to": "2025-11-15"},
        {"from": "TODAY", "to": "2025-11-15"},
        {"from": "2025-11-15"},
        {},
    ],
)
def test_a_bad_range_is_refused(shared: Service, query: dict[str, str]) -> None:
    assert shared.get("/v1/grid", 422, **query)["errors"]


def test_gaps_are_found_at_any_age_with_why(service: Service) -> None:
    for day, games in (("2025-10-22", GAMES), ("2025-10-23", []), ("2025-11-15", GAMES)):
        calendar(service, day, games)
    service.send(game_ids=GAMES)
    service.succeed("Summary:2025-11-15:1")
    gaps = service.get("/v1/gaps")
    assert gaps["from"] == "2025-10-21", "where the calendar begins"
    found = [(g["game_date"], g["processor"]) for g in gaps["items"]]
    assert ("2025-10-22", "Summary") in found
    assert ("2025-11-15", "Summary") not in found
    assert ("2025-11-15", "Report") in found
    assert all(date != "2025-10-23" for date, _ in found)
    assert all(g["why"] for g in gaps["items"])
    only = service.get("/v1/gaps", **{"from": "2025-11-01", "to": "2025-11-30"})["items"]
    assert {g["game_date"] for g in only} == {"2025-11-15"}


def test_gaps_are_paged_without_loss(service: Service) -> None:
    for day in range(1, 8):
        calendar(service, f"2025-11-{day:02}", GAMES)
    whole = [(g["game_date"], g["processor"]) for g in service.get("/v1/gaps")["items"]]
    assert len(whole) == 21
    assert whole == sorted(whole, key=lambda g: g[0])
    seen: list[tuple[str, str]] = []
    token: str | None = None
    while True:
        query = {"page_token": token} if token else {}
        page = service.get("/v1/gaps", limit=4, **query)
        assert len(page["items"]) <= 4
        seen += [(g["game_date"], g["processor"]) for g in page["items"]]
        token = page["next_page_token"]
        if token is None:
            break
    assert seen == whole
    service.get("/v1/gaps", 422, page_token="nonsense!")


def test_gaps_say_of_which_dates_the_calendar_knows_nothing(service: Service) -> None:
    dates = {"from": "2025-11-01", "to": "2025-11-30"}
    empty = service.get("/v1/gaps", **dates)
    assert (empty["game_dates"], empty["calendar_until"], empty["items"]) == (0, None, [])
    assert empty["unknown_dates"] == {"count": 30, "first": "2025-11-01", "last": "2025-11-30"}
    calendar(service, "2025-11-01", GAMES)
    calendar(service, "2025-11-02", [])
    calendar(service, "2025-12-24", GAMES)
    known = service.get("/v1/gaps", limit=1, **dates)
    assert (known["game_dates"], known["calendar_until"]) == (1, "2025-12-24")
    assert known["unknown_dates"] == {"count": 28, "first": "2025-11-03", "last": "2025-11-30"}
    rest = service.get("/v1/gaps", page_token=known["next_page_token"], **dates)
    assert (rest["game_dates"], rest["unknown_dates"]) == (None, None)
    whole = service.get("/v1/gaps", **{"from": "2025-11-01", "to": "2025-11-02"})
    assert whole["unknown_dates"] == {"count": 0, "first": None, "last": None}


def test_what_is_known_of_unknown_dates_and_has_not_succeeded_is_a_gap(
    service: Service,
) -> None:
    def found() -> list[tuple[str, str, str]]:
        items = service.get("/v1/gaps", **{"from": "2025-11-01", "to": "2025-11-30"})["items"]
        return [(g["game_date"], g["processor"], g["status"]) for g in items]

    calendar(service, "2025-11-03", GAMES)
    service.send(target_table="raw.odds", game_date="2025-11-02", record_count=20)
    service.fire("2025-11-04")
    service.fire("2025-11-05")
    for attempt in (1, 2):
        launch = ("Summary:2025-11-04:1", attempt)
        service.until(
            lambda launch=launch: (
                launch in [(m["run_id"], m["attempt"]) for m in service.launcher.messages]
            )
        )
        token = service.claim(*launch)["lease_token"]
        body = {"lease_token": token, "status": "failed"}
        service.post("/v1/runs/Summary:2025-11-04:1/complete", body)
    service.succeed("Summary:2025-11-05:1")
    service.until(lambda: service.partition("Report", "2025-11-05")["status"] == "settling")
    assert [g for g in found() if g[0] != "2025-11-03"] == [
        ("2025-11-02", "Form", "fired"),
        ("2025-11-02", "Report", "waiting"),
        ("2025-11-04", "Summary", "failed"),
        ("2025-11-05", "Report", "settling"),
    ]
    assert [g for g in found() if g[0] == "2025-11-03"] != []


def test_an_earlier_success_is_no_gap_though_the_newest_run_failed(service: Service) -> None:
    calendar(service, "2025-11-15", GAMES)
    service.send(game_ids=GAMES)
    service.succeed("Summary:2025-11-15:1")
    trigger = "/v1/processors/Summary/dates/2025-11-15/trigger"
    service.post(trigger, {"reason": "again"})
    for attempt in (1, 2):
        run_id = "Summary:2025-11-15:2"
        service.until(lambda n=attempt: len(service.launcher.messages) >= 1 + n)
        token = service.claim(run_id, attempt)["lease_token"]
        service.post(f"/v1/runs/{run_id}/complete", {"lease_token": token, "status": "failed"})
    assert service.partition()["status"] == "failed"
    found = service.get("/v1/gaps")["items"]
    assert all(g["processor"] != "Summary" for g in found)


# ── loads ────────────────────────────────────────────────────────────────────────────────────


def test_the_ledger_says_what_is_covered_and_what_is_missing(service: Service) -> None:
    calendar(service, "2025-11-15", GAMES)
    service.send(game_ids=GAMES[:1], event_id="a", record_count=18)
    service.send(status="failed", event_id="b")
    view = service.get("/v1/tables/p2_box_pdf/dates/2025-11-15")
    assert view["table"] == "raw.box"
    assert view["grain"] == "game"
    assert [e["event_id"] for e in view["items"]] == ["a", "b"]
    assert view["games_expected"] == GAMES
    assert view["games_covered"] == GAMES[:1]
    assert view["games_missing"] == GAMES[1:]
    assert view["record_count"] == 18
    assert view["state"] == "incomplete"
    assert view["facts"]["last_failure"]["event_id"] == "b"
    service.get("/v1/tables/nobody/dates/2025-11-15", 404)
    service.get("/v1/tables/raw.box/dates/TODAY", 422)


def test_the_ledger_is_paged_in_order_of_receipt(service: Service) -> None:
    for n in range(5):
        service.send(event_id=f"e{n}")
    path = "/v1/tables/raw.box/dates/2025-11-15"
    seen: list[str] = []
    page = service.get(path, limit=2)
    while True:
        seen += [e["event_id"] for e in page["items"]]
        if page["next_page_token"] is None:
            break
        page = service.get(path, limit=2, page_token=page["next_page_token"])
    assert seen == [f"e{n}" for n in range(5)]


def test_a_correlation_id_may_hold_anything_that_a_path_can(service: Service) -> None:
    service.send(correlation_id="cörr/3#?%")
    trace = service.get(f"/v1/trace/{quote('cörr/3#?%', safe='')}")
    assert [e["table"] for e in trace["events"]] == ["raw.box"]


def test_a_trace_shows_events_partitions_and_runs(service: Service) -> None:
    run_id = service.fire(correlation_id="c-1")
    service.send(correlation_id="c-2", game_date="2025-11-16")
    service.succeed(run_id)
    service.until(lambda: len(service.get("/v1/trace/c-1")["events"]) == 2)
    trace = service.get("/v1/trace/c-1")
    assert [e["table"] for e in trace["events"]] == ["raw.box", "analytics.summary"]
    assert [r["run_id"] for r in trace["runs"]] == [run_id]
    assert {p["processor"] for p in trace["partitions"]} == {"Summary", "Report"}
    assert trace["truncated"] is False
    assert service.get("/v1/trace/nobody")["events"] == []


def test_a_trace_names_what_is_in_quarantine(service: Service) -> None:
    event = service.event(target_table="raw.nobody", correlation_id="c-9")
    service.push(envelope(event))
    service.push(envelope({**event, "correlation_id": "other", "analysis_date": "2025-11-15"}))
    service.push(envelope({"correlation_id": 7, "target_date": "TODAY"}))
    service.push(b"poison")
    (kept,) = service.get("/v1/trace/c-9")["quarantined"]
    assert (kept["correlation_id"], kept["game_date"]) == ("c-9", DATE)
    assert kept["reason"]
    marks = [(q["correlation_id"], q["game_date"]) for q in service.get("/v1/quarantine")["items"]]
    assert sorted(marks, key=str) == sorted(
        [("c-9", DATE), ("other", DATE), (None, None), (None, None)], key=str
    )
    assert service.get("/v1/trace/nobody")["quarantined"] == []


# ── runs ─────────────────────────────────────────────────────────────────────────────────────


def test_runs_are_filtered_and_paged(service: Service) -> None:
    for day in range(10, 15):
        service.fire(f"2025-11-{day}")
    service.succeed("Summary:2025-11-10:1")

    def ids(**query: Any) -> list[str]:
        return [r["run_id"] for r in service.get("/v1/runs", **query)["items"]]

    newest_first = [f"Summary:2025-11-{day}:1" for day in range(14, 9, -1)]
    assert ids(processor="player_summary") == newest_first
    assert ids(game_date="2025-11-12") == ["Summary:2025-11-12:1"]
    assert ids(status="success") == ["Summary:2025-11-10:1"]
    assert ids(processor="Form") == []
    page = service.get("/v1/runs", limit=3, processor="Summary")
    rest = service.get("/v1/runs", limit=3, processor="Summary", page_token=page["next_page_token"])
    assert [r["run_id"] for r in (*page["items"], *rest["items"])] == newest_first
    assert rest["next_page_token"] is None


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"limit": 0}, 422),
        ({"limit": 1001}, 422),
        ({"limit": "many"}, 422),
        ({"status": "done"}, 422),
        ({"game_date": "TODAY"}, 422),
        ({"page_token": "nonsense"}, 422),
        ({"page_token": "x" * 3000}, 422),
        ({"processor": "Nobody"}, 404),
    ],
)
def test_a_bad_filter_is_refused(shared: Service, query: dict[str, Any], status: int) -> None:
    problem = shared.get("/v1/runs", status, **query)
    assert problem["status"] == status


# ── the registry ─────────────────────────────────────────────────────────────────────────────


def test_the_registry_and_its_graph_are_shown(shared: Service) -> None:
    registry = shared.get("/v1/registry")
    graph = shared.get("/v1/graph")
    assert registry["registry_hash"] == graph["registry_hash"]
    assert set(registry["processors"]) == {"Summary", "Report", "Form"}
    ids = {n["id"] for n in graph["nodes"]}
    assert {"raw.box", "Summary", "analytics.summary"} <= ids
    assert any((e["from"], e["to"]) == ("raw.box", "Summary") for e in graph["edges"])


def test_every_answer_is_of_its_model(service: Service) -> None:
    calendar(service, "2025-11-15", GAMES)
    service.send(game_ids=GAMES)
    service.succeed("Summary:2025-11-15:1")
    service.send(target_table="odds", record_count=20)
    service.push(b"poison")
    for path, model in (
        ("/v1/status/2025-11-15", DateStatus),
        ("/v1/status/2025-11-15/Summary", PartitionView),
        ("/v1/status/2025-11-15/Report", PartitionView),
        ("/v1/status/2025-11-15/Form", PartitionView),
        ("/v1/grid?from=2025-11-01&to=2025-11-30", Grid),
        ("/v1/gaps", Gaps),
        ("/v1/tables/raw.box/dates/2025-11-15", LedgerView),
        ("/v1/runs", RunList),
        ("/v1/runs/Summary:2025-11-15:1", RunView),
        ("/v1/quarantine", QuarantineList),
        ("/v1/trace/nobody", Trace),
    ):
        answer = service.client.get(path)
        assert answer.status_code == 200, answer.text
        model.model_validate_json(answer.content)


def test_instants_are_utc_with_a_z(service: Service) -> None:
    service.fire()

    def instants(value: Any, name: str = "") -> list[str]:
        if isinstance(value, dict):
            return [i for k, v in value.items() for i in instants(v, k)]
        if isinstance(value, list):
            return [i for v in value for i in instants(v, name)]
        named = name == "at" or name.endswith(("_at", "since", "until", "timestamp"))
        return [value] if named and isinstance(value, str) else []

    found = instants(service.partition()) + instants(service.get("/v1/runs"))
    assert len(found) > 10
    assert all(i.endswith("Z") for i in found)
