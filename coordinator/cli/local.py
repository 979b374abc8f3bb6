"""Verbs that work in this process: serve, demo, scenario run, doctor.

Owns the way from options to settings, and what a person sees of a demonstration. Everything heavy
is imported inside the verbs, so that help and completion stay quick.
"""

import os
import signal
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from coordinator.cli import verbs
from coordinator.cli.client import DEFAULT_URL
from coordinator.cli.output import (
    cell,
    console,
    count,
    emit,
    listing,
    note,
    say,
    sentence,
    styled,
    table,
)
from coordinator.cli.verbs import AsJson, From, To, Url, verb
from coordinator.errors import Refused, Unusable
from coordinator.terminal import safe

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from coordinator.demo import Moment, Playing, Summary

T = TypeVar("T")

WIDE = 100
"""Columns from which on the summary of a demonstration names the trigger of each run too."""
SECRET_SETTINGS = frozenset({"webhook_url", "webhook_secret", "slack_url"})
"""Settings whose values are shown nowhere."""
EXPLORE_PORT = 8080
"""Where a demonstration goes on serving, so that the other verbs find it without --url."""


class LogLevelWord(StrEnum):
    """Least level of log lines."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


RegistryFile = Annotated[
    Path | None,
    typer.Option(
        envvar="COORDINATOR_REGISTRY", metavar="FILE", help="The registry. (registry.yaml)"
    ),
]
StoreName = Annotated[
    str | None,
    typer.Option(
        envvar="COORDINATOR_STORE",
        metavar="STORE",
        help="Where state lives: sqlite:PATH, firestore:PROJECT or firestore:PROJECT/DATABASE. "
        "(sqlite:state.db)",
    ),
]


@verb
def serve(
    registry: RegistryFile = None,
    store: StoreName = None,
    warehouse: Annotated[
        str | None,
        typer.Option(
            envvar="COORDINATOR_WAREHOUSE",
            metavar="duckdb:PATH",
            help="Where local runs read and write tables. (duckdb:warehouse.duckdb)",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            envvar="COORDINATOR_HOST", metavar="ADDRESS", help="Where to listen. (127.0.0.1)"
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            envvar="COORDINATOR_PORT", min=0, max=65535, metavar="PORT", help="Port. (8080)"
        ),
    ] = None,
    log_level: Annotated[
        LogLevelWord | None,
        typer.Option(envvar="COORDINATOR_LOG_LEVEL", help="Least level of log lines. (info)"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write log lines as JSON, also on a terminal.")
    ] = False,
) -> None:
    """Serve the coordinator until interrupted.

    What is left out comes from COORDINATOR_… variables, then from coordinator.toml (or the file
    that COORDINATOR_SETTINGS names), then from the defaults in parentheses.

    Examples:

        coordinator serve
        coordinator serve --registry registry.yaml --store sqlite:state.db --port 8080
        coordinator serve --store firestore:my-project
    """
    given = {
        "registry": registry,
        "store": store,
        "warehouse": warehouse,
        "host": host,
        "port": port,
        "log_level": log_level.value if log_level else None,
        "log_format": "json" if as_json else None,
    }
    settings = read_settings({k: v for k, v in given.items() if v is not None})
    from coordinator.app import serve as serve_settings

    try:
        with stoppable():
            serve_settings(settings)
    except KeyboardInterrupt:
        note("stopped before it served")
    except SystemExit as error:  # the HTTP server's way to say that it could not start
        raise Refused(
            f"cannot listen on {settings.host}:{settings.port}; is the port taken? "
            "Choose another with --port"
        ) from error


@contextmanager
def stoppable() -> Iterator[None]:
    """A request to terminate ends what runs inside in order, as ctrl-c does."""

    def stop(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def read_settings(given: dict[str, Any]) -> Any:
    """Settings with ``given`` over environment and file. Bad ones are a usage error."""
    from pydantic import ValidationError

    from coordinator.settings import Settings

    try:
        return Settings(**given)
    except ValidationError as error:
        lines = [_bad_setting(found, given) for found in error.errors()]
        raise verbs.usage("; ".join(lines)) from error
    except Unusable as error:
        raise verbs.usage(error.detail) from error
    except (ValueError, OSError) as error:  # the settings file is not TOML, or cannot be read
        raise verbs.usage(f"the settings file cannot be read: {error}") from error


def _bad_setting(found: "ErrorDetails", given: Mapping[str, Any]) -> str:
    """What is wrong with one setting: where it was set, the value, the rule."""
    from coordinator.registry import did_you_mean
    from coordinator.settings import Settings, settings_file
    from coordinator.validation import rule

    key, value = ".".join(map(str, found["loc"])), found["input"]
    variable = f"COORDINATOR_{key.upper()}"
    if os.environ.get(variable) == str(value):
        place = variable
    elif key in given:
        place = f"--{key.replace('_', '-')}"
    else:
        place = str(settings_file())
    if found["type"] == "extra_forbidden":
        return f"{place}: unknown key {key!r}; {did_you_mean(key, Settings.model_fields)}"
    if place.endswith(".toml"):
        place = f"{place}: {key}"
    shown = "the value" if key in SECRET_SETTINGS else repr(value)
    return f"{place}: {shown} {rule(found)}"


# ── scenarios ────────────────────────────────────────────────────────────────────────────────


@verb
def scenario_run(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…",
            exists=True,
            help="Scenario files, or folders of them.",
            show_default=False,
        ),
    ],
    update: Annotated[
        bool,
        typer.Option("--update", help="Write what happened into the files as the expected result."),
    ] = False,
    judge: Annotated[
        bool,
        typer.Option(
            "--judge", help="Also check everything that happens against the specification."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run stories on a virtual clock and compare what happened with what they expect.

    The exit code is 1 if any differs, or with --judge violates a rule.

    Examples:

        coordinator scenario run tests/scenarios/*.yaml
        coordinator scenario run tests/scenarios/*.yaml --judge
        coordinator scenario run story.yaml --update
    """
    from coordinator.scenario import run_files

    code = run_files(files, update=update, json=as_json, judged=judge)
    if code:
        raise typer.Exit(code)


# ── the demonstration ────────────────────────────────────────────────────────────────────────


@verb
def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="A folder of schedule*.csv and player_box_scores*.csv; left out: a made-up season.",
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", file_okay=False, help="Leave state.db and warehouse.duckdb there."
        ),
    ] = None,
    first: From = None,
    last: To = None,
    seed: Annotated[
        int, typer.Option(help="Settles the made-up season, the load times and the mishaps.")
    ] = 7,
    go_on: Annotated[
        bool, typer.Option("--serve", help="Keep the service up afterwards, to look around.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, metavar="PORT", help="Listen here; left out: any, with --serve 8080."
        ),
    ] = None,
    registry: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            envvar="COORDINATOR_REGISTRY",
            help="The registry; left out: registry.yaml here, or the one that came along.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Play nights of a season through a whole service, on a virtual clock.

    Raw tables load after each tip-off, one source comes late, one event is sent twice, one load
    fails; every load is published over HTTP, and the Phase 3 processors run for real. Ends with
    what fired when; the exit code is 1 if anything that should have succeeded did not.

    Examples:

        coordinator demo
        coordinator demo --serve
        coordinator demo --data ./box-scores --from 2024-10-22 --to 2024-11-30 --keep ./out
    """
    import asyncio

    from coordinator.demo import DemoOptions, play

    options = DemoOptions(
        registry=registry or found_registry(),
        data=data,
        keep=keep,
        first=date.fromisoformat(first) if first else None,
        last=date.fromisoformat(last) if last else None,
        seed=seed,
        port=(EXPLORE_PORT if go_on else 0) if port is None else port,
        serve=go_on,
    )
    quiet_logs()
    view = DemoView(as_json=as_json)
    try:
        summary = asyncio.run(cancelled_by_sigterm(play(options, view)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        if view.shown:  # it was serving for people to look around, and they are done
            raise typer.Exit(verbs.REFUSED if view.failed else verbs.DONE) from None
        raise Refused("interrupted before the end of the replay") from None
    finally:
        view.ended()
    view.show_summary(summary)
    if summary.failures:
        raise typer.Exit(verbs.REFUSED)


async def cancelled_by_sigterm(work: Coroutine[Any, Any, T]) -> T:
    """Await ``work``; a request to terminate cancels it, as asyncio does for ctrl-c."""
    import asyncio

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await work
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def found_registry() -> Path:
    """The registry in this folder, else the one of the checkout or the installed package."""
    import coordinator

    here = Path("registry.yaml")
    package = Path(coordinator.__file__).parent
    for candidate in (here, package / "registry.yaml", package.parent / "registry.yaml"):
        if candidate.is_file():
            return candidate
    raise Unusable("there is no registry.yaml here; name a registry with --registry")


def quiet_logs() -> None:
    """Log lines of the service that matter go to stderr; the rest would drown the replay."""
    import logging
    import sys

    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


class DemoView:
    """What a person sees of a demonstration: a bar on a terminal, lines everywhere, a summary."""

    def __init__(self, *, as_json: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._as_json = as_json
        self._out = console(stderr=as_json)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            console=self._out,
            disable=not self._out.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("starting")
        self.shown = False
        self.failed = False

    def began(self, playing: "Playing") -> None:
        """Say what is about to be played."""
        self._line(
            f"Playing {playing.first} to {playing.last}: {playing.games} games, {playing.loads} "
            f"loads, through {playing.url}/pubsub/push"
        )
        self._bar.update(self._task, total=playing.loads)
        self._bar.start()

    def moment(self, moment: "Moment") -> None:
        """Show how runs end, mishaps, and notices to people."""
        if moment.kind in ("load", "fired"):
            return
        from rich.text import Text

        from coordinator.demo import local_time

        style = {"mishap": "yellow", "notice": "magenta"}.get(moment.kind, "")
        words = f"{moment.kind}: {moment.words}" if style else moment.words
        line = Text.assemble(
            (f"{local_time(moment.at)}  ", "dim"),
            (f"{safe(moment.game_date)}  ", "dim"),
            (safe(words), style or ("" if moment.good else "bold red")),
        )
        self._print(line)

    def played(self, at: datetime, done: int) -> None:
        """Move the bar on."""
        from coordinator.demo import local_time

        self._bar.update(self._task, completed=done, description=local_time(at))

    def serving(self, url: str, summary: "Summary") -> None:
        """Show the summary, and where to look now."""
        self.ended()
        self.show_summary(summary)
        day = summary.partitions[0].game_date if summary.partitions else summary.first
        name = summary.partitions[0].processor if summary.partitions else "PROCESSOR"
        flag = "" if url.endswith(f":{EXPLORE_PORT}") else f" --url {url}"
        for line in (
            "",
            f"The service goes on at {url} (ctrl-c ends it):",
            f"  {url}/docs",
            f"  coordinator status {day}{flag}",
            f"  coordinator why {name} {day}{flag}",
            f"  coordinator grid --from {summary.first} --to {summary.last}{flag}",
        ):
            self._line(line)

    def ended(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def show_summary(self, summary: "Summary") -> None:
        """Show the summary, once."""
        if self.shown:
            return
        self.shown, self.failed = True, bool(summary.failures)
        if self._as_json:
            emit(plain(summary))
        else:
            show_summary(summary)
        if summary.failures:
            from coordinator.cli.output import complain

            complain("not everything came out as it should", *summary.failures)

    def _line(self, words: str) -> None:
        from rich.text import Text

        self._print(Text(safe(words)))

    def _print(self, line: Any) -> None:
        if not self._as_json or self._out.is_terminal:
            self._bar.console.print(line, soft_wrap=True)


def plain(value: Any) -> Any:
    """A dataclass as JSON values; instants as RFC 3339 in UTC."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value


def show_summary(summary: "Summary") -> None:
    """Per date and processor what came in, when it fired, how it ended; then the totals."""
    from coordinator.demo import local_time

    wide = console().width >= WIDE
    rows = []
    before = ""
    for p in summary.partitions:
        opening = [
            p.game_date if p.game_date != before else "",
            cell(p.games) if p.game_date != before else "",
            p.processor if wide else p.processor.removesuffix("Processor"),
            cell(p.arrivals),
        ]
        before = p.game_date
        if not p.runs:
            rows.append([*opening, "", "", styled(p.status), "", ""])
        for run in p.runs:
            last = run is p.runs[-1]
            status = styled(p.status if last else run.status)
            fired = local_time(run.fired_at)
            rows.append([*opening, fired, run.generation, status, run.rows, run.trigger])
            opening = [""] * len(opening)
    headings = ["date", "games", "processor", "loads", "fired (ET)", "gen", "status", "rows"]
    numbers = ["games", "loads", "gen", "rows"]
    if wide:
        headings.append("because of")
    say(table(headings, [row[: len(headings)] for row in rows], right=numbers, nowrap=headings))
    for mishap in summary.mishaps:
        sentence(f"Mishap: {mishap}", "yellow")
    outcomes = ", ".join(f"{number} {word}" for word, number in summary.events.items())
    sentence(
        f"{count(summary.dates, 'date')} with games, {count(summary.games, 'game')}, "
        f"{count(summary.events_sent, 'event')} sent ({outcomes})."
    )
    notices = sum(summary.notices.values())
    sentence(
        f"{count(summary.runs, 'run')}, {summary.refires} of them for newer data, "
        f"{count(summary.rows, 'row')}; {count(notices, 'notice')} to people."
    )
    days = summary.virtual_seconds / 86400
    sentence(f"{days:.1f} days in {summary.wall_seconds:.1f} s.", "bold")
    if summary.folder:
        sentence(f"state.db and warehouse.duckdb are in {summary.folder}.")


# ── doctor ───────────────────────────────────────────────────────────────────────────────────


@verb
def doctor(
    registry: RegistryFile = None,
    store: StoreName = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Check the setup on this machine, and the service itself.

    Checks versions, settings, registry, store and warehouse, then the running service: is it
    reachable and ready, does it serve this registry, does its clock agree. The exit code is 0 if
    everything is in order, 3 if only the service is out of reach, 1 otherwise.

    A store in Firestore is read, with one query for each index, within ten seconds. TTL policies
    cannot be checked this way.

    Examples:

        coordinator doctor
        coordinator doctor --store firestore:my-project
        coordinator doctor --url http://127.0.0.1:9000 --json
    """
    from coordinator.cli.doctor import examine

    given: dict[str, Any] = {"registry": registry, "store": store}
    settings = read_settings({k: v for k, v in given.items() if v is not None})
    findings = examine(settings, url)
    if as_json:
        emit({"checks": [asdict(f) for f in findings], "well": all(f.well for f in findings)})
    else:
        marks = {"ok": ("✓ ok", "green"), "warning": ("! warning", "yellow")}
        rows = []
        for finding in findings:
            words, style = marks.get(finding.state, ("✗ " + finding.state, "bold red"))
            rows.append([styled(words, style), finding.check, finding.words])
        listing(["", "check", "finding"], rows)
    bad = [f for f in findings if not f.well]
    if bad:
        only_away = all(f.state == "out of reach" for f in bad)
        raise typer.Exit(verbs.OUT_OF_REACH if only_away else verbs.REFUSED)
