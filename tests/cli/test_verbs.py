"""The verbs against a real service over HTTP. Each test keeps to game dates of its own."""

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx
import pytest

from coordinator.cli import doctor
from tests.cli.support import DEFENSE, NOBODY, OFFENSE, PLAYER, REGISTRY, Ran, event, invoke, run

SCOREBOARD, BOXSCORES = "nba_raw.nbac_scoreboard_v2", "nba_raw.bdl_player_boxscores"
HOSTILE = "\x1b]0;owned\x07\x1b[31m"


@pytest.fixture
def call(url: str) -> Callable[..., Ran]:
    def calling(*args: str, stdin: str | None = None) -> Ran:
        return invoke(*args, stdin=stdin, COORDINATOR_URL=url)

    return calling


def send(call: Callable[..., Ran], *events: dict[str, Any]) -> Ran:
    return call("events", "send", "-", "--json", stdin=json.dumps(list(events)))


def eventually(call: Callable[..., Ran], *args: str, status: str, seconds: float = 20) -> Any:
    until = time.monotonic() + seconds
    while True:
        answer = call(*args, "--json").json
        if answer["status"] == status or time.monotonic() > until:
            assert answer["status"] == status
            return answer
        time.sleep(0.05)


def test_status_of_a_date_nobody_knows_says_what_to_do(call: Callable[..., Ran]) -> None:
    ran = call("status", "2031-01-01")
    assert ran.code == 0
    assert "No loads are known for 2031-01-01 yet" in ran.out
    assert "coordinator events send" in ran.out


def test_status_without_a_date_is_today_where_the_registry_is(call: Callable[..., Ran]) -> None:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    before = datetime.now(UTC).astimezone(ZoneInfo("America/New_York")).date().isoformat()
    shown = call("status", "--json").json["game_date"]
    after = datetime.now(UTC).astimezone(ZoneInfo("America/New_York")).date().isoformat()
    assert shown in (before, after)


def test_why_opens_with_the_sentence_then_shows_the_evidence(call: Callable[..., Ran]) -> None:
    date = "2024-11-01"
    assert send(call, event("bdl_player_boxscores", date, record_count=200)).code == 0
    ran = call("why", DEFENSE, date)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].startswith(f"Waiting for {SCOREBOARD}")
    assert any("✓ ready" in line and BOXSCORES in line for line in lines)
    assert any("✗ missing" in line and SCOREBOARD in line for line in lines)
    assert "No run yet." in ran.out


def test_why_takes_an_alias_and_gives_json(call: Callable[..., Ran]) -> None:
    answer = call("why", "player_game_summary", "2024-11-02", "--json").json
    assert (answer["processor"], answer["game_date"]) == (PLAYER, "2024-11-02")
    assert len(answer["verdict"]["requirements"]) == answer["requirements"]["total"]


def test_a_trigger_that_is_not_ready_is_refused_with_the_verdict(call: Callable[..., Ran]) -> None:
    ran = call("trigger", PLAYER, "2024-11-03", "--reason", "try", "--json")
    assert ran.code == 1
    assert ran.json["error"]["status"] == 409
    assert ran.json["error"]["verdict"]["ready"] is False
    assert "no load yet for 2024-11-03" in ran.err
    assert "(--bypass dependencies)" in ran.err, "the option, as it is written"


def test_a_forced_trigger_runs_and_everything_shows_it(call: Callable[..., Ran]) -> None:
    date = "2024-11-04"
    asked = ["--bypass", "dependencies", "--reason", "nothing will come"]
    dry = call("trigger", OFFENSE, date, *asked, "--dry-run", "--json")
    assert (dry.code, dry.json["dry_run"]) == (0, True)
    assert dry.json["partition"]["why"] == f"Run {OFFENSE}:{date}:1 would fire."
    printed = call("trigger", OFFENSE, date, *asked, "--dry-run").out
    assert f"Would fire: {OFFENSE}:{date}:1" in printed
    assert "was decided" not in printed
    assert call("status", date, "--json").json["items"][0]["generation"] == 0
    done = call("trigger", OFFENSE, date, *asked)
    run_id = f"{OFFENSE}:{date}:1"
    assert done.code == 0
    assert f"Fired: {run_id}" in done.out
    eventually(call, "runs", "show", run_id, status="no_data")
    listed = call("runs", "list", "--processor", OFFENSE, "--date", date, "--json").json
    assert [found["run_id"] for found in listed["items"]] == [run_id]
    assert "no_data" in call("runs", "list", "--date", date).out
    assert "nothing will come" in call("runs", "show", run_id).out
    audit = call("audit", "--processor", OFFENSE, "--date", date).out
    assert "trigger" in audit
    assert "bypass dependencies" in audit
    assert "skip_downstream" not in audit, "it was not said"
    assert "nothing will come" in audit


def test_a_waiver_lets_a_run_fire_as_the_quickstart_says(call: Callable[..., Ran]) -> None:
    date = "2024-11-10"
    load = event("bdl_player_boxscores", date, record_count=240)
    assert send(call, load).json["results"][0]["outcome"] == "applied"
    assert send(call, load).json["results"][0]["outcome"] == "duplicate"
    waiving = ["waive", DEFENSE, date, "--table", SCOREBOARD, "--reason", "trying it out"]
    dry = call(*waiving, "--dry-run")
    assert dry.code == 0
    assert "nothing was changed" in dry.out
    assert call("why", DEFENSE, date, "--json").json["status"] == "waiting"
    assert call(*waiving).code == 0
    answer = eventually(call, "why", DEFENSE, date, status="succeeded")
    assert answer["outcome"]["status"] == "no_data"
    assert "Ran and found no data" in call("why", DEFENSE, date).out


def test_a_waiver_can_be_lifted_once(call: Callable[..., Ran]) -> None:
    place = [DEFENSE, "2024-11-11", "--table", SCOREBOARD]
    until = ["--until", "2999-01-01T00:00:00Z"]
    assert call("waive", *place, "--reason", "x", *until).code == 0
    assert "Waived until 2999-01-01" in call("why", DEFENSE, "2024-11-11").out
    assert call("unwaive", *place, "--reason", "y").code == 0
    again = call("unwaive", *place, "--reason", "y")
    assert again.code == 1
    assert "No open waiver" in again.err


def test_skip_and_reset(call: Callable[..., Ran]) -> None:
    place = [PLAYER, "2024-11-12"]
    assert call("skip", *place, "--reason", "no stats").code == 0
    assert "Skipped by" in call("why", *place).out
    assert call("reset", *place, "--reason", "stats after all").code == 0
    assert call("why", *place, "--json").json["status"] == "waiting"


def test_pause_and_resume_one_processor(call: Callable[..., Ran]) -> None:
    assert call("pause", OFFENSE, "--reason", "moving the warehouse").code == 0
    try:
        ran = call("status", "2031-01-02")
        assert f"Paused: {OFFENSE}" in ran.out
        assert "moving the warehouse" in ran.out
    finally:
        assert call("resume", OFFENSE, "--reason", "moved").code == 0
    assert "Paused" not in call("status", "2031-01-02").out
    assert "It was not paused." in call("resume", OFFENSE, "--reason", "again").out


def test_a_dry_pause_of_all_changes_nothing(call: Callable[..., Ran]) -> None:
    assert call("pause", "--all", "--reason", "x", "--dry-run").code == 0
    assert call("status", "2031-01-02", "--json").json["pauses"] == []


def test_sweep_says_what_it_looked_at(call: Callable[..., Ran]) -> None:
    assert call("sweep", "--dry-run", "--json").json["dry_run"] is True
    assert "Evaluated" in call("sweep").out


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["grid", "--from", "2026-11-24", "--to", "2026-11-01"], "swap them"),
        (["gaps", "--from", "2026-11-24", "--to", "2026-11-01"], "swap them"),
        (["waive", PLAYER, "2024-11-03", "--table", "nope", "--reason", "x"], "nope"),
        (
            [
                *("waive", PLAYER, "2024-11-03", "--table", "nba_raw.nbac_gamebook_player_stats"),
                *("--until", "2020-01-01T00:00:00Z", "--reason", "x"),
            ],
            "has passed",
        ),
    ],
    ids=["grid", "gaps", "a table", "an instant"],
)
def test_what_the_service_finds_wrong_in_what_was_asked_is_usage(
    call: Callable[..., Ran], asked: list[str], says: str
) -> None:
    ran = call(*asked, "--json")
    assert ran.code == 2
    assert says in ran.err
    assert ran.json["error"]["status"] == 422


def test_unknown_names_are_refused_with_the_known_ones(call: Callable[..., Ran]) -> None:
    ran = call("why", "NoSuchProcessor", "2024-11-01")
    assert ran.code == 1
    assert PLAYER in ran.err


# ── events ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", ["object", "list", "ndjson"])
def test_events_of_every_form_are_sent(call: Callable[..., Ran], tmp_path: Path, form: str) -> None:
    first = event("nbac_team_stats", "2024-11-13", execution_id=f"{form}-1")
    second = event("nbac_team_stats", "2024-11-14", execution_id=f"{form}-2")
    texts = {
        "object": json.dumps(first, indent=1),
        "list": json.dumps([first, second]),
        "ndjson": f"{json.dumps(first)}\n\n{json.dumps(second)}\n",
    }
    file = tmp_path / "events"
    file.write_text(texts[form], encoding="utf-8")
    ran = call("events", "send", str(file), "--json")
    assert ran.code == 0
    assert ran.json["outcomes"] == {"applied": 1 if form == "object" else 2}


def test_more_events_than_one_call_takes_are_sent_in_parts(call: Callable[..., Ran]) -> None:
    loads = [
        event("nbac_gamebook_player_stats", "2024-11-15", game_ids=[f"g{n}"], execution_id=f"n{n}")
        for n in range(450)
    ]
    ran = send(call, *loads)
    assert (ran.code, len(ran.json["results"])) == (0, 450)


def test_bad_events_are_named_one_by_one(call: Callable[..., Ran]) -> None:
    good = event("nbac_team_stats", "2024-11-16")
    bad = event("no_such_table", "2024-11-16")
    ran = call("events", "send", "-", stdin=f"{json.dumps(good)}\n{json.dumps(bad)}\n")
    assert ran.code == 1
    assert "names no declared table" in ran.out
    assert "2 events: 1 applied, 1 rejected." in ran.out
    assert send(call, bad).json["outcomes"] == {"rejected": 1}


def test_a_file_that_is_not_json_is_refused_and_nothing_sent(call: Callable[..., Ran]) -> None:
    good = event("nbac_team_stats", "2024-11-17")
    ran = call("events", "send", "-", stdin=f"{json.dumps(good)}\n{{oops\n")
    assert ran.code == 1
    assert "line 2" in ran.err
    known = call("status", "2024-11-17", "--json").json["items"]
    assert not any(item["requirements"]["met"] for item in known)


def test_no_events_are_nothing_to_send(call: Callable[..., Ran], tmp_path: Path) -> None:
    assert "no events" in call("events", "send", "-", stdin="\n").out
    assert call("events", "send", str(tmp_path / "absent")).code == 2


# ── loads, and what an id touched ────────────────────────────────────────────────────────────


def test_an_older_load_says_what_counts_instead_and_is_in_the_ledger(
    call: Callable[..., Ran],
) -> None:
    date, id_ = "2024-11-21", "night-of-the-21st"
    newer = event("nbac_team_stats", date, timestamp="2024-11-22T17:52:13Z", event_id="new")
    older = {**newer, "timestamp": "2024-11-22T10:00:00Z", "event_id": "old"}
    both = [{**load, "correlation_id": id_} for load in (newer, older)]
    ran = call("events", "send", "-", stdin=json.dumps(both))
    assert ran.code == 0
    assert "older (10:00:00Z) than what counts (17:52:13Z, event new)" in ran.out
    shown = call("loads", "nbac_team_stats", date)
    assert shown.out.startswith("nba_raw.nbac_team_stats is ready, 100 rows")
    lines = [line.rstrip() for line in shown.out.splitlines()]
    first, second = (line for line in lines if line.endswith((" new", " old")))
    assert "applied" in first
    assert "superseded" in second
    ledger = call("loads", "nba_raw.nbac_team_stats", date, "--limit", "1", "--json").json
    assert [load["event_id"] for load in ledger["items"]] == ["new"]
    traced = call("trace", id_)
    assert "superseded" in traced.out
    assert OFFENSE in traced.out
    assert [e["event_id"] for e in call("trace", id_, "--json").json["events"]] == ["new", "old"]
    assert "Nothing carries the correlation id nobody." in call("trace", "nobody").out
    assert call("loads", "no_such_table", date).code == 1


def test_a_trace_shows_the_run_that_a_load_fired(call: Callable[..., Ran]) -> None:
    date, id_ = "2024-11-22", "night-of-the-22nd"
    loads = [
        event(t, date, correlation_id=id_) for t in ("nbac_scoreboard_v2", "bdl_player_boxscores")
    ]
    assert send(call, *loads).code == 0
    waive = ["waive", DEFENSE, date, "--table", BOXSCORES, "--reason", "x"]
    assert call(*waive).code == 0
    eventually(call, "why", DEFENSE, date, status="succeeded")
    assert f"{DEFENSE}:{date}:1" in call("trace", id_).out


# ── what strangers wrote ─────────────────────────────────────────────────────────────────────


def test_no_text_of_an_event_reaches_the_terminal_raw(call: Callable[..., Ran], url: str) -> None:
    load = event("nbac_team_stats", "2024-11-18", status=HOSTILE)
    assert "\x1b" not in call("events", "send", "-", stdin=json.dumps(load)).out
    httpx.post(f"{url}/pubsub/push", content=b"not json " + HOSTILE.encode()).raise_for_status()
    listed = call("quarantine", "list")
    entry = call("quarantine", "list", "--json").json["items"][0]
    shown = call("quarantine", "show", entry["quarantine_id"])
    for ran in (listed, shown):
        assert ran.code == 0
        assert "\x1b" not in ran.out
    assert "\\x1b[31m" in shown.out


def test_a_reason_is_shown_escaped(call: Callable[..., Ran]) -> None:
    assert call("skip", PLAYER, "2024-11-19", "--reason", f"bad {HOSTILE}").code == 0
    for verb in (["why", PLAYER, "2024-11-19"], ["status", "2024-11-19"], ["audit"]):
        ran = call(*verb)
        assert "\x1b" not in ran.out
        assert "\x07" not in ran.out


def test_quarantine_is_listed_shown_replayed_and_discarded(
    call: Callable[..., Ran], url: str
) -> None:
    httpx.post(f"{url}/pubsub/push", content=b"neither this").raise_for_status()
    entry = next(
        found
        for found in call("quarantine", "list", "--state", "open", "--json").json["items"]
        if found["text"] == "neither this"
    )
    name = entry["quarantine_id"]
    assert "neither this" in call("quarantine", "show", name).out
    assert call("quarantine", "replay", name, "--reason", "is it good now?").code == 1
    assert "would be" in call("quarantine", "discard", name, "--reason", "x", "--dry-run").out
    assert call("quarantine", "discard", name, "--reason", "x").code == 0
    assert call("quarantine", "discard", name, "--reason", "x").code == 1
    printed = [line for line in call("audit").out.splitlines() if name in line]
    assert [("refused" in line) for line in printed] == [True, False, True]
    assert "discarded" in call("quarantine", "show", name).out
    assert call("quarantine", "show", "absent").code == 1


# ── the calendar, many dates ─────────────────────────────────────────────────────────────────


def test_a_calendar_is_loaded_and_shows_in_grid_and_gaps(
    call: Callable[..., Ran], tmp_path: Path
) -> None:
    file = tmp_path / "schedule.csv"
    file.write_text("game_id,game_date,label\n1,2025-03-01,\n2,2025-03-01,\n3,2025-03-03,\n")
    dry = call("calendar", "load", str(file), "--dry-run", "--json")
    assert dry.json["outcomes"] == {}
    ran = call("calendar", "load", str(file), "--json")
    assert ran.code == 0
    assert (ran.json["dates"], ran.json["dates_without_games"], ran.json["games"]) == (3, 1, 3)
    assert ran.json["outcomes"] == {"applied": 3}
    span = ["--from", "2025-03-01", "--to", "2025-03-03"]
    grid = call("grid", *span, "--json").json
    assert [grid["legend"][place]["status"] for place in grid["items"][0]["cells"]] == [
        *("waiting", "not_expected", "waiting")
    ]
    assert PLAYER in call("grid", *span).out
    gaps = call("gaps", *span, "--json").json["items"]
    assert {gap["game_date"] for gap in gaps} == {"2025-03-01", "2025-03-03"}
    assert "6 gaps" in call("gaps", *span).out


def test_part_of_a_calendar_as_json(call: Callable[..., Ran], tmp_path: Path) -> None:
    file = tmp_path / "schedule.json"
    file.write_text(json.dumps({"2025-04-01": ["a"], "2025-04-02": ["b"], "2025-04-05": ["c"]}))
    ran = call("calendar", "load", str(file), "--from", "2025-04-02", "--to", "2025-04-04")
    assert ran.code == 0
    assert "1 game on 1 date, and 2 dates without games" in ran.out


@pytest.mark.parametrize(
    "text", ["game,date\n1,2025-01-01\n", "game_id,game_date\n1,20250101\n", '{"2025": 1}', "[1]"]
)
def test_a_calendar_that_cannot_be_read_is_refused(
    call: Callable[..., Ran], tmp_path: Path, text: str
) -> None:
    file = tmp_path / "schedule"
    file.write_text(text)
    ran = call("calendar", "load", str(file))
    assert ran.code == 1
    assert str(file) in ran.err


def test_an_empty_grid_says_so(call: Callable[..., Ran]) -> None:
    assert "Nothing is known" in call("grid", "--from", "2031-01-01", "--to", "2031-01-05").out


# ── registry, doctor ─────────────────────────────────────────────────────────────────────────


def test_the_served_registry_is_shown_and_compared(
    call: Callable[..., Ran], tmp_path: Path
) -> None:
    assert PLAYER in call("registry", "show").out
    same = call("registry", "diff", str(REGISTRY), "--json").json
    assert (same["differences"], same["new_hash"]) == ([], same["old_hash"])
    changed = tmp_path / "changed.yaml"
    changed.write_text(REGISTRY.read_text().replace("cooldown: 1h", "cooldown: 2h"))
    assert "policy.cooldown: 1h -> 2h" in call("registry", "diff", str(changed)).out
    against = call("registry", "diff", str(changed), "--against", str(REGISTRY))
    assert "policy.cooldown: 1h -> 2h" in against.out


def test_doctor_finds_all_well(call: Callable[..., Ran], tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'state.db'}"
    ran = call("doctor", "--registry", str(REGISTRY), "--store", store, "--json")
    assert ran.code == 0
    assert ran.json["well"] is True
    assert {"registry", "state file", "service", "store", "served registry"} <= {
        check["check"] for check in ran.json["checks"]
    }


def test_doctor_names_what_is_wrong(call: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("this is no database, although it has its name")
    ran = call("doctor", "--registry", "absent.yaml", "--store", f"sqlite:{tmp_path / 'state.db'}")
    assert ran.code == 1
    assert "cannot be read" in ran.out
    assert "cannot be opened as a SQLite file" in ran.out


def test_doctor_without_a_service_is_3(tmp_path: Path) -> None:
    store = sqlite3.connect(tmp_path / "state.db")
    store.close()
    place = ["--registry", str(REGISTRY), "--store", f"sqlite:{tmp_path / 'state.db'}"]
    assert invoke("doctor", *place, "--url", NOBODY).code == 3


def test_doctor_says_how_to_install_what_the_store_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version_of(name: str) -> str:
        if name == "google-cloud-firestore":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor, "version", version_of)
    monkeypatch.setitem(sys.modules, "coordinator.adapters.firestore", None)
    place = ["--registry", str(REGISTRY), "--store", "firestore:absent", "--url", NOBODY]
    ran = invoke("doctor", *place, "--json")
    assert ran.code == 1
    found = {check["check"]: check for check in ran.json["checks"]}
    for name in ("versions", "database"):
        assert found[name]["state"] == "bad"
        assert "[gcp]'" in found[name]["words"]
    assert "pip install '.[gcp]'" in found["database"]["words"], "nothing is published"


def test_a_real_process_answers_in_plain_text_without_colour(url: str) -> None:
    ran = run("status", "2031-01-03", COORDINATOR_URL=url, TERM="xterm-256color")
    assert ran.code == 0
    assert "\x1b" not in ran.out
    assert ran.err == ""
