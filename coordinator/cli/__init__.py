"""The command line: verbs that mirror the service (specification 7).

``app`` is the tree of verbs, ``main`` the console entry. Verbs talk to a running service over HTTP;
what works in this process (serve, demo, scenarios, doctor) imports the heavy parts only when asked.
"""

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from coordinator.cli import act, local, look, quarantine, registry_file, send, store
from coordinator.cli.help import WIDTH_AT_MOST, Group, Verb
from coordinator.cli.verbs import ACT, LOOK, SEND, SERVE, prose
from coordinator.terminal import safe_lines

__all__ = ["app", "main"]


class _Root(Group):
    """Every verb. Takes the words of a library out of a usage error."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = safe_lines(error.message.removeprefix("Value error, "))
            raise


app = typer.Typer(
    name="coordinator",
    cls=_Root,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": WIDTH_AT_MOST,
    },
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"coordinator {version('coordinator')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Start each processor exactly when its inputs for a game date are there; explain why or why not.

    Verbs talk to a running service: --url or COORDINATOR_URL, by default http://127.0.0.1:8080.
    Exit codes: 0 done, 1 refused or not ready, 2 usage, 3 service out of reach.

    Examples:

        coordinator demo --serve
        coordinator status 2024-10-22
        coordinator why PlayerGameSummaryProcessor 2024-10-22
    """


_root.__doc__ = prose(_root.__doc__ or "")
app.callback()(_root)


def _group(name: str, panel: str, words: str, example: str) -> typer.Typer:
    words = f"{words}\n\nExamples:\n\n    {example}\n\nEach verb of it has help of its own."
    group = typer.Typer(cls=Group, no_args_is_help=True, help=words)
    app.add_typer(group, name=name, rich_help_panel=panel)
    return group


def _verb(function: Callable[..., Any], panel: str, name: str | None = None) -> None:
    app.command(name or function.__name__, cls=Verb, rich_help_panel=panel)(function)


_verb(look.status, LOOK)
_verb(look.why, LOOK)
_verb(look.grid, LOOK)
_verb(look.gaps, LOOK)
_runs = _group("runs", LOOK, "Runs: list them, show one.", "coordinator runs list")
_runs.command("list", cls=Verb)(look.runs_list)
_runs.command("show", cls=Verb)(look.runs_show)
_verb(look.loads, LOOK)
_verb(look.trace, LOOK)
_verb(look.audit, LOOK)

_verb(act.trigger, ACT)
_verb(act.skip, ACT)
_verb(act.reset, ACT)
_verb(act.waive, ACT)
_verb(act.unwaive, ACT)
_verb(act.pause, ACT)
_verb(act.resume, ACT)
_verb(act.sweep, ACT)

_events = _group("events", SEND, "Send events.", "coordinator events send night.json")
_events.command("send", cls=Verb)(send.send)
_events.command("flush", cls=Verb)(send.flush)
_calendar = _group(
    "calendar",
    SEND,
    "The calendar of games.",
    "coordinator calendar load schedule.csv",
)
_calendar.command("load", cls=Verb)(send.load_calendar)
_quarantine = _group(
    "quarantine",
    SEND,
    "Messages that could not be read.",
    "coordinator quarantine list",
)
_quarantine.command("list", cls=Verb)(quarantine.show_all)
_quarantine.command("show", cls=Verb)(quarantine.show)
_quarantine.command("replay", cls=Verb)(quarantine.replay)
_quarantine.command("discard", cls=Verb)(quarantine.discard)

_verb(local.serve, SERVE)
_verb(local.demo, SERVE)
_registry = _group(
    "registry",
    SERVE,
    "The registry: check a file, show it, compare two.",
    "coordinator registry check",
)
_registry.command("check", cls=Verb)(registry_file.check)
_registry.command("show", cls=Verb)(registry_file.show)
_registry.command("diff", cls=Verb)(registry_file.diff)
_scenario = _group(
    "scenario",
    SERVE,
    "Stories on a virtual clock.",
    "coordinator scenario run tests/scenarios/*.yaml",
)
_scenario.command("run", cls=Verb)(local.scenario_run)
_store = _group(
    "store",
    SERVE,
    "The state: copy it from one store to another.",
    "coordinator store copy --from sqlite:state.db --to firestore:my-project",
)
_store.command("copy", cls=Verb)(store.copy)
_verb(local.doctor, SERVE)


def _narrow(words: list[str]) -> None:
    """Leave out of the tree what these words do not name: to build all of it takes long."""
    verbs = [each for each in app.registered_commands if each.name in words]
    groups = [each for each in app.registered_groups if each.name in words]
    if verbs or groups:
        app.registered_commands, app.registered_groups = verbs, groups


def main() -> None:
    """Run the command line; the exit codes are those of specification 7."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal in another encoding gets a substitute, not a traceback.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    try:
        _narrow(sys.argv[1:2])
        app()
    except Exception:  # noqa: BLE001 - a bug, whose traceback may quote what an event said
        import traceback

        sys.stderr.write(f"{safe_lines(traceback.format_exc())}\n")
        sys.exit(1)
