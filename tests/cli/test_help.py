"""Help teaches, stays quick, and the reference page is what it says."""

import subprocess
import sys
from typing import Any

import pytest
import typer.main

from coordinator.cli import app, settings_reference
from coordinator.cli.local import SECRET_SETTINGS
from coordinator.cli.reference import render
from coordinator.settings import Settings
from tests.cli.support import PLAYER, ROOT, environment, invoke

VERBS_OF_THE_CONTRACT = [
    *("serve", "demo", "status", "why", "grid", "gaps", "trigger", "skip", "reset", "waive"),
    *("unwaive", "pause", "resume", "sweep", "audit", "doctor", "events send"),
    *("quarantine list", "quarantine show", "quarantine replay", "quarantine discard"),
    *("registry check", "registry show", "registry diff", "calendar load", "scenario run"),
    *("runs list", "runs show", "loads", "trace"),
]
HEAVY = [
    *("fastapi", "uvicorn", "duckdb", "sqlglot", "httpx", "structlog", "sqlite3"),
    *("ruamel", "starlette", "asyncio", "coordinator.documents"),
    *("coordinator.wire", "coordinator.service", "coordinator.registry", "click"),
    *(
        f"coordinator.core.{file.stem}"
        for file in sorted((ROOT / "coordinator" / "core").glob("*.py"))
        if file.stem not in ("__init__", "choices")
    ),
]
UNUSED_BY_HELP = [*HEAVY, "rich", "pygments", "markdown_it"]
"""Without pydantic, by which typer reads the words of a command line."""


def tree() -> dict[str, Any]:
    found: dict[str, Any] = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        children = getattr(command, "commands", {})
        if not children:
            found[" ".join(words)] = command
        for name, child in children.items():
            walk(child, (*words, name))

    walk(typer.main.get_command(app), ())
    return found


TREE = tree()
OPTIONS = {name: {p.name for p in command.params} for name, command in TREE.items()}


@pytest.mark.parametrize("verb", VERBS_OF_THE_CONTRACT)
def test_the_verb_is_there(verb: str) -> None:
    assert verb in TREE


@pytest.mark.parametrize("verb", list(TREE))
def test_help_of_every_verb_shows_examples(verb: str) -> None:
    ran = invoke(*verb.split(), "--help", COLUMNS="200")
    assert ran.code == 0
    assert "Examples:" in ran.out
    assert f"    coordinator {verb}" in ran.out


@pytest.mark.parametrize("verb", list(TREE))
def test_every_verb_has_json(verb: str) -> None:
    assert any("--json" in parameter.opts for parameter in TREE[verb].params)


@pytest.mark.parametrize("verb", list(TREE))
def test_every_option_says_what_it_is_for(verb: str) -> None:
    assert all(parameter.help for parameter in TREE[verb].params)


@pytest.mark.parametrize("verb", ["serve", "doctor"])
def test_every_kind_of_store_is_named(verb: str) -> None:
    shown = " ".join(invoke(verb, "--help", COLUMNS="200").out.split())
    assert "--store STORE" in shown
    for name in ("sqlite:PATH", "firestore:PROJECT", "firestore:PROJECT/DATABASE"):
        assert name in shown
    assert f"coordinator {verb} --store firestore:my-project" in shown


@pytest.mark.parametrize(
    "verb",
    [
        *("trigger", "skip", "reset", "waive", "unwaive", "pause", "resume"),
        *("quarantine replay", "quarantine discard"),
    ],
)
def test_every_act_takes_a_reason_and_a_dry_run(verb: str) -> None:
    options = {name for parameter in TREE[verb].params for name in parameter.opts}
    assert {"--reason", "--dry-run"} <= options


def test_the_reference_page_is_what_the_verbs_say() -> None:
    page = (ROOT / "docs" / "reference-cli.md").read_text(encoding="utf-8")
    assert page == render(), "run: python -m coordinator.cli.reference > docs/reference-cli.md"


@pytest.mark.parametrize("verb", [name for name in TREE if "url" not in OPTIONS[name]])
def test_the_page_says_that_a_verb_works_without_a_service(verb: str) -> None:
    head = (ROOT / "docs" / "reference-cli.md").read_text(encoding="utf-8").partition("| exit")[0]
    assert f"`{verb}`" in head


def test_the_page_of_settings_is_what_the_settings_say() -> None:
    page = (ROOT / "docs" / "reference-settings.md").read_text(encoding="utf-8")
    say = "python -m coordinator.cli.settings_reference > docs/reference-settings.md"
    assert page == settings_reference.render(), f"run: {say}"


def test_every_setting_says_what_it_is_for() -> None:
    assert [k for k, field in Settings.model_fields.items() if not field.description] == []


def test_secret_settings_are_those_that_are_declared_so() -> None:
    declared = {k for k, f in Settings.model_fields.items() if "SecretStr" in str(f.annotation)}
    assert declared == SECRET_SETTINGS


def imported(names: list[str], *words: str, **env: str) -> list[str]:
    """Which of these modules a call of the command line imports."""
    code = (
        "import sys, coordinator.cli\n"
        f"sys.argv = ['coordinator', *{words!r}]\n"
        "try: coordinator.cli.main()\n"
        "except SystemExit: pass\n"
        f"print('', *[n for n in {names!r} if n in sys.modules], sep='\\n', end='', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment(PYTHONPATH=str(ROOT), **env),
        check=True,
    )
    assert "Traceback" not in done.stderr
    return [name for name in done.stderr.splitlines() if name in names]


@pytest.mark.parametrize("words", [[], ["runs"], ["status"], ["events", "send"]])
def test_a_help_page_imports_nothing_heavy(words: list[str]) -> None:
    assert imported(UNUSED_BY_HELP, *words, "--help") == []


def test_the_list_of_commands_needs_no_models() -> None:
    assert imported(["pydantic", "http.client", "ssl"], "--help") == []


def test_completion_imports_nothing_heavy() -> None:
    env = {
        "_COORDINATOR_COMPLETE": "complete_bash",
        "COMP_WORDS": "coordinator why Play",
        "COMP_CWORD": "2",
        "COORDINATOR_REGISTRY": str(ROOT / "registry.yaml"),
    }
    assert imported(UNUSED_BY_HELP, **env) == []


@pytest.mark.parametrize(
    "words",
    [
        *(["status", "2024-10-22"], ["why", PLAYER, "2024-10-22"], ["runs", "list"], ["grid"]),
        ["trigger", PLAYER, "2024-10-22", "--reason", "test"],
    ],
)
def test_a_verb_shows_an_answer_without_anything_heavy(url: str, words: list[str]) -> None:
    assert imported(HEAVY, *words, COORDINATOR_URL=url) == []


def test_the_version_is_printed() -> None:
    assert invoke("--version").out.startswith("coordinator ")


def test_completion_knows_processors_and_tables_of_the_registry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from coordinator.cli.complete import processors, tables

    monkeypatch.setenv("COORDINATOR_REGISTRY", str(ROOT / "registry.yaml"))
    assert processors("Player") == ["PlayerGameSummaryProcessor"]
    assert "nba_raw.nbac_schedule" in tables("nba_raw.")
    monkeypatch.setenv("COORDINATOR_REGISTRY", str(ROOT / "absent.yaml"))
    assert processors("Player") == []
