"""What is wrong with a call is a usage error (2); a service that is away is 3."""

import socket
from pathlib import Path

import pytest

from tests.cli.support import NOBODY, PLAYER, REGISTRY, invoke, run

DATE = "2024-10-22"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (["trigger", PLAYER, DATE], "--reason"),
        (["trigger", PLAYER, DATE, "--reason", "  "], "say why"),
        (["skip", PLAYER, DATE], "--reason"),
        (["reset", PLAYER, DATE], "--reason"),
        (["waive", PLAYER, DATE, "--table", "x"], "--reason"),
        (["waive", PLAYER, DATE, "--reason", "x"], "--table"),
        (["unwaive", PLAYER, DATE, "--table", "x"], "--reason"),
        (["pause", "--reason", "x"], "--all"),
        (["pause", PLAYER, "--all", "--reason", "x"], "not both"),
        (["resume", "--all"], "--reason"),
        (["quarantine", "replay", "abc"], "--reason"),
        (["quarantine", "discard", "abc"], "--reason"),
        (["trigger", PLAYER, "TODAY", "--reason", "x"], "YYYY-MM-DD"),
        (["trigger", PLAYER, "20241022", "--reason", "x"], "YYYY-MM-DD"),
        (["status", "2024-13-01"], "YYYY-MM-DD"),
        (["grid", "--from", "2024-W43-1"], "YYYY-MM-DD"),
        (["trigger", PLAYER, DATE, "--reason", "x", "--bypass", "everything"], "dependencies"),
        (["waive", PLAYER, DATE, "--table", "x", "--reason", "x", "--until", "noon"], "zone"),
        (["runs", "list", "--status", "done"], "success"),
        (["runs", "list", "--limit", "0"], "--limit"),
        (["serve", "--store", "postgres:x"], "sqlite:PATH"),
        (
            ["serve", "--store", "sqllite:x"],
            "--store: 'sqllite:x' must read sqlite:PATH or firestore:PROJECT[/DATABASE]",
        ),
        (["serve", "--host", "0.0.0.0"], "loopback"),
        (["store", "copy", "--from", "sqlite:x", "--to", "foo:bar"], "--to: 'foo:bar' must read"),
        (["store", "copy", "--from", "foo:bar", "--to", "sqlite:x"], "--from: 'foo:bar' must read"),
        (["store", "copy", "--from", "sqlite:/no/x", "--to", "sqlite:y"], "/no/x does not exist"),
        (["store", "copy", "--from", "sqlite:x", "--to", "sqlite:x"], "the same store"),
        (["events", "send", "/no/such.json"], "/no/such.json cannot be read"),
        (["calendar", "load", "/no/such.csv"], "/no/such.csv cannot be read"),
        (["registry", "check", "/no/such.yaml"], "cannot be read"),
        (["registry", "show", "--file", "/no/such.yaml"], "cannot be read"),
        (["serve", "--port", "70000"], "--port"),
        (["demo", "--data", "/no/such/folder"], "--data"),
        (["demo", "--from", "yesterday"], "YYYY-MM-DD"),
        (["nonsense"], "nonsense"),
        (["status", "--nonsense"], "--nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_usage_error_names_what_is_wrong(call: list[str], says: str) -> None:
    ran = invoke(*call, TERMINAL_WIDTH="300", COORDINATOR_URL=NOBODY)
    assert ran.code == 2
    assert says in ran.err
    assert "Value error" not in ran.err
    assert ran.out == ""


@pytest.mark.parametrize(
    "call",
    [
        ["status", DATE],
        ["status"],
        ["why", PLAYER, DATE],
        ["grid", "--from", DATE, "--to", DATE],
        ["gaps"],
        ["runs", "list"],
        ["runs", "show", f"{PLAYER}:{DATE}:1"],
        ["audit"],
        ["loads", "nba_raw.nbac_team_stats", DATE],
        ["trace", "night-1"],
        ["trigger", PLAYER, DATE, "--reason", "x"],
        ["skip", PLAYER, DATE, "--reason", "x"],
        ["reset", PLAYER, DATE, "--reason", "x"],
        ["waive", PLAYER, DATE, "--table", "x", "--reason", "x"],
        ["unwaive", PLAYER, DATE, "--table", "x", "--reason", "x"],
        ["pause", "--all", "--reason", "x"],
        ["resume", PLAYER, "--reason", "x"],
        ["sweep"],
        ["quarantine", "list"],
        ["quarantine", "show", "abc"],
        ["registry", "show"],
        ["registry", "diff", str(REGISTRY)],
    ],
    ids=" ".join,
)
def test_a_service_out_of_reach_is_3_and_says_where_and_how_to_start_one(call: list[str]) -> None:
    ran = invoke(*call, "--url", NOBODY, "--json")
    assert ran.code == 3
    assert NOBODY in ran.err
    assert "coordinator serve" in ran.err
    assert NOBODY in ran.json["error"]["detail"]


def test_a_real_process_ends_with_the_same_codes(tmp_path: Path) -> None:
    away = run("status", DATE, COORDINATOR_URL=NOBODY)
    assert (away.code, away.out) == (3, "")
    assert run("trigger", PLAYER, DATE).code == 2
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nnonsense: 2\n")
    refused = run("registry", "check", str(bad), "--json")
    assert refused.code == 1
    assert [m["line"] for m in refused.json["error"]["mistakes"]] == [1, 2]
    assert f"{bad}:2:1" in refused.err
    assert run("registry", "check").code == 0


def test_an_answer_that_is_no_coordinators_is_out_of_reach(
    tmp_path: Path, httpd_that_says_hello: str
) -> None:
    ran = invoke("status", DATE, "--url", httpd_that_says_hello)
    assert ran.code == 3
    assert "no answer of a coordinator" in ran.err


def test_a_token_is_not_taken_to_another_place(
    httpd_that_says_hello: str, httpd_that_redirects: str
) -> None:
    ran = invoke("status", DATE, "--url", httpd_that_redirects, COORDINATOR_TOKEN="secret")
    assert ran.code == 3
    assert f"{httpd_that_redirects} answered 302" in ran.err


@pytest.mark.parametrize(
    "address",
    ["bogus", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port", "http://[::1"],
)
def test_an_address_that_is_none_is_said_to_be(address: str) -> None:
    ran = invoke("status", DATE, "--url", address)
    assert ran.code == 2
    assert "no address of a service" in ran.err


def test_a_password_in_an_address_is_rejected_and_not_shown() -> None:
    ran = invoke("status", DATE, "--url", "http://me:hidden@127.0.0.1")
    assert ran.code == 2
    assert "COORDINATOR_TOKEN" in ran.err
    assert "hidden" not in ran.err


def test_a_broken_settings_file_is_a_usage_error(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("port = [")
    ran = invoke("serve", COORDINATOR_SETTINGS=str(file))
    assert ran.code == 2
    assert "settings file" in ran.err


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("prt = 1\n")
    ran = invoke("serve", COORDINATOR_SETTINGS=str(file), TERMINAL_WIDTH="300")
    assert ran.code == 2
    assert f"{file}: unknown key 'prt'; did you mean 'port'?" in ran.err


def test_a_settings_file_that_is_named_and_absent_is_a_usage_error(tmp_path: Path) -> None:
    file = tmp_path / "missing.toml"
    ran = invoke("serve", COORDINATOR_SETTINGS=str(file), TERMINAL_WIDTH="300")
    assert ran.code == 2
    assert f"COORDINATOR_SETTINGS names {file}, which does not exist" in ran.err


def test_a_bad_setting_names_where_it_was_said_and_what_was_said(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('workers = "many"\nwebhook_url = 7\n')
    ran = invoke(
        "serve",
        COORDINATOR_SETTINGS=str(file),
        COORDINATOR_STORE="mysql:x",
    )
    assert ran.code == 2
    said = " ".join(ran.err.replace("│", "").split())
    assert "COORDINATOR_STORE: 'mysql:x' must read sqlite:PATH" in said
    assert f"{file}: workers: 'many' must be a whole number" in said
    assert f"{file}: webhook_url: the value must be a string" in said, "a secret is not shown"
    assert "Value error" not in said


def test_a_launch_target_holds_no_password() -> None:
    """It is shown by every status, by /readyz and in the log."""
    ran = invoke("serve", COORDINATOR_LAUNCH="https://ana:secret@runner.example/launch")
    assert ran.code == 2
    assert "holds a user name or password" in " ".join(ran.err.replace("│", "").split())


def test_serving_an_invalid_registry_is_refused_with_its_places(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 2\n")
    ran = run("serve", "--registry", str(bad), "--store", f"sqlite:{tmp_path / 's.db'}")
    assert ran.code == 1
    assert f"{bad}:1:" in ran.err


def test_a_port_that_is_taken_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = run("serve", "--registry", str(REGISTRY), "--port", port, cwd=tmp_path)
    assert ran.code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ran.err
    assert "--port" in ran.err


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("defaults:\n", "defaults:\n  launch: {pubsub: nba-phase3-trigger}\n", "defaults"),
        (
            "    phase: 3 ",
            "    launch: {pubsub: nba-phase3-trigger}\n    phase: 3 ",
            "processors.PlayerGameSummaryProcessor",
        ),
    ],
)
def test_a_way_of_launching_that_the_service_does_not_have_is_refused_at_start(
    tmp_path: Path, old: str, new: str, place: str
) -> None:
    """It is valid, since another deployment may have it; here it would never deliver."""
    text = REGISTRY.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file = tmp_path / "registry.yaml"
    file.write_text(text.replace(old, new))
    assert invoke("registry", "check", str(file)).code == 0
    ran = run(
        *("serve", "--registry", str(file), "--port", "0"),
        *("--store", f"sqlite:{tmp_path / 'state.db'}"),
        COORDINATOR_WAREHOUSE=f"duckdb:{tmp_path / 'warehouse.duckdb'}",
    )
    assert ran.code == 1
    said = " ".join(ran.err.split())
    lines = enumerate(file.read_text().splitlines(), 1)
    (line,) = (n for n, text in lines if "nba-phase3-trigger" in text)
    assert f":{line}:" in said
    assert f"{place}.launch.pubsub: this service launches by local or http alone" in said
