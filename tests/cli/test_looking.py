"""What the looking verbs say when something is wrong, against a service whose launcher can fail."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.api.support import Service, envelope, serving
from tests.cli.support import Ran, invoke

GAMES = ["0022500225", "0022500226"]
ROOT = Path(__file__).parents[1]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path) as running:
        yield running


def call(service: Service, *args: str) -> Ran:
    return invoke(*args, COORDINATOR_URL=service.url)


def calendar(service: Service, game_date: str, *games: str) -> None:
    status = "success" if games else "no_data"
    service.send(
        target_table="raw.schedule",
        game_date=game_date,
        game_ids=list(games),
        record_count=len(games),
        status=status,
    )


def stuck(service: Service) -> str:
    """A run whose launch fails; returns its id."""
    service.launcher.down = True
    calendar(service, "2025-11-15", *GAMES)
    run_id = service.fire(game_ids=GAMES)
    service.until(lambda: service.partition()["outbox"][0]["tries"])
    return run_id


def test_a_launch_that_fails_is_shown_by_every_verb(service: Service) -> None:
    run_id = stuck(service)
    why = call(service, "why", "Summary", "2025-11-15").out
    assert "could not be delivered in" in why.splitlines()[0]
    assert "the launcher is down. Next try" in why
    assert "Expected to fire" not in why
    assert "its launch cannot be delivered" in call(service, "status", "2025-11-15").out
    assert "the launcher is down" in call(service, "gaps", "--to", "2025-11-15").out
    shown = call(service, "runs", "show", run_id).out
    assert shown.splitlines()[0] == f"{run_id}: pending. Fired by dependencies."
    assert "launches go to: local" in shown
    assert "The launch could not be delivered in" in shown


def test_doctor_warns_of_what_waits_long_and_of_quarantine(service: Service) -> None:
    run_id = stuck(service)
    place = ["doctor", "--registry", str(ROOT / "api/registry.yaml"), "--store", "sqlite:no.db"]

    def findings() -> dict[str, tuple[str, str]]:
        found = call(service, *place, "--json").json["checks"]
        return {f["check"]: (f["state"], f["words"]) for f in found}

    calm = findings()
    assert calm["outbox"][0] == "ok"
    assert "quarantine" not in calm
    service.clock.ahead = timedelta(minutes=11)
    service.push(b"poison")
    found = findings()
    state, words = found["outbox"]
    assert state == "warning"
    assert words.endswith(f"The launch of {run_id} could not be delivered: the launcher is down")
    assert found["quarantine"] == ("warning", "1 open message; see `coordinator quarantine list`")


def test_a_window_is_drawn_by_its_dates_unmet_first(service: Service) -> None:
    calendar(service, "2025-11-13", *GAMES)
    calendar(service, "2025-11-14", *GAMES)
    calendar(service, "2025-11-15", *GAMES)
    service.send(target_table="analytics.summary", game_date="2025-11-13", record_count=5)
    lines = call(service, "why", "Form", "2025-11-15").out.splitlines()
    leaves = [line.strip("│├└─ ") for line in lines if "2025-11-1" in line]
    assert "✗ missing  2025-11-14" in leaves
    assert leaves.index("✗ missing  2025-11-14") < leaves.index("✓ ready  2025-11-13")
    assert "None" not in "\n".join(lines)


@pytest.mark.parametrize(("count", "status"), [(1, "success"), (None, "failed"), (0, "no_data")])
def test_status_does_not_say_that_no_loads_are_known_where_there_are_some(
    service: Service, count: int | None, status: str
) -> None:
    calendar(service, "2025-11-15", *GAMES)
    assert "No loads are known for 2025-11-15" in call(service, "status", "2025-11-15").out
    service.send(target_table="raw.box", record_count=count, status=status, game_ids=GAMES[:1])
    shown = call(service, "status", "2025-11-15")
    assert "No loads are known" not in shown.out
    answer = service.get("/v1/status/2025-11-15")
    assert answer["loads_known"] is True
    summary = next(item for item in answer["items"] if item["processor"] == "Summary")
    assert (summary["requirements"]["met"], summary["generation"]) == (0, 0)


def test_status_names_the_quarantine_and_hints_at_what_is_lacking_alone(service: Service) -> None:
    calendar(service, "2025-11-14", *GAMES)
    calendar(service, "2025-11-15", *GAMES)
    calendar(service, "2025-11-16")
    with_games = call(service, "status", "2025-11-15").out
    assert "coordinator events send FILE" in with_games
    assert "calendar load" not in with_games
    assert "quarantine" not in with_games
    assert "No loads are known" not in call(service, "status", "2025-11-16").out
    assert "calendar load" in call(service, "status", "2025-11-17").out
    service.push(b"poison")
    assert "1 message is in quarantine: coordinator quarantine list" in (
        call(service, "status", "2025-11-15").out
    )
    service.push(b"more")
    assert "2 messages are in quarantine" in call(service, "status", "2025-11-15").out


def test_gaps_say_what_the_calendar_does_not_know(service: Service) -> None:
    def gaps(first: str, last: str) -> str:
        return call(service, "gaps", "--from", first, "--to", last).out.splitlines()[-1]

    calendar(service, "2025-11-10", *GAMES)
    calendar(service, "2025-11-12")
    assert gaps("2025-11-12", "2025-11-12") == (
        "No gaps from 2025-11-12 to 2025-11-12 on the 0 dates with games that the calendar knows."
    )
    assert gaps("2025-11-12", "2025-11-13") == (
        "No gaps from 2025-11-12 to 2025-11-13 on the 0 dates with games that the calendar knows. "
        "It knows nothing of 2025-11-13: load the calendar."
    )
    assert gaps("2025-11-13", "2025-12-12").endswith(
        "It knows nothing of 2025-11-13 to 2025-12-12 (30 dates): load the calendar."
    )
    assert gaps("2025-11-09", "2025-11-13") == (
        "3 gaps from 2025-11-09 to 2025-11-13; the calendar knows 1 date with games there. "
        "It knows nothing of 3 dates between 2025-11-09 and 2025-11-13: load the calendar."
    )


def test_a_run_says_what_it_was_fired_by(service: Service) -> None:
    service.succeed(service.fire())
    service.send(game_ids=GAMES)
    asked = ["--reason", "again", "--bypass", "cooldown", "--skip-downstream"]
    assert call(service, "trigger", "Summary", "2025-11-15", *asked).code == 0
    first = call(service, "runs", "show", "Summary:2025-11-15:2").out.splitlines()[0]
    assert first.endswith(
        "Fired by manual: newer data in raw.box; bypassing cooldown; announced quietly."
    )


def test_a_message_in_quarantine_is_traced(service: Service) -> None:
    service.push(envelope(service.event(target_table="raw.nobody", correlation_id="c-9")))
    assert [q["correlation_id"] for q in service.get("/v1/trace/c-9")["quarantined"]] == ["c-9"]
