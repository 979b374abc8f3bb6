"""Verbs that only look: status, why, grid, gaps, runs, loads, trace, audit.

Owns how answers are laid out for people; with ``--json`` the service's own answer is passed on.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.cli import complete, verbs
from coordinator.cli.answers import (
    ShownAuditRow,
    ShownDateStatus,
    ShownGaps,
    ShownGrid,
    ShownGridCell,
    ShownHoldView,
    ShownLaunchView,
    ShownLedgerRow,
    ShownLedgerView,
    ShownPartitionRow,
    ShownPartitionView,
    ShownRequirementCount,
    ShownRequirementView,
    ShownRunRow,
    ShownRunView,
    ShownSourceView,
    ShownTrace,
    ShownTransitionView,
    ShownUnknownDates,
    ShownVerdictView,
    ShownWindowDateView,
)
from coordinator.cli.client import DEFAULT_URL, Service, read
from coordinator.cli.output import (
    MARKS,
    STYLES,
    cell,
    count,
    emit,
    instant,
    listing,
    note,
    say,
    sentence,
    styled,
    table,
)
from coordinator.cli.verbs import AsJson, DateArgument, From, ProcessorArgument, To, Url, verb
from coordinator.core.choices import ALL, RunStatus
from coordinator.terminal import safe

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text
    from rich.tree import Tree

GRID_DAYS = 14
"""Dates of a grid that names no range."""
GRID_COLUMNS = 31
"""Dates of a grid that are printed side by side; more go into further blocks."""
HISTORY_SHOWN = 12
DAYS_SHOWN = 8
"""Dates of a history window in a tree."""
QUARANTINE_COUNTED = 100
"""From here on the service stops counting."""

ProcessorFilter = Annotated[
    str | None,
    typer.Option(
        "--processor",
        metavar="PROCESSOR",
        autocompletion=complete.processors,
        help="Only this processor, by name or alias.",
    ),
]
DateFilter = Annotated[
    str | None,
    typer.Option(
        "--date", metavar="DATE", callback=verbs.checked_date, help="Only this game date."
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many lines.")]


def today(running: Service) -> str:
    """The date in the time zone of the service's registry."""
    from zoneinfo import ZoneInfo

    zone = running.get("v1", "registry").get("timezone") or "UTC"
    return datetime.now(UTC).astimezone(ZoneInfo(zone)).date().isoformat()


# ── one date, one partition ──────────────────────────────────────────────────────────────────


@verb
def status(
    date: Annotated[
        str | None,
        typer.Argument(
            metavar="DATE",
            callback=verbs.checked_date,
            help="The game date, as YYYY-MM-DD; left out: today in the registry's time zone.",
            show_default=False,
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show every processor on one date, each with the sentence that says why.

    A processor without any data for the date is listed as waiting.

    Examples:

        coordinator status 2024-10-22
        coordinator status --json
    """
    with verbs.service(url) as running:
        day = date or today(running)
        document = running.get("v1", "status", day)
    if as_json:
        emit(document)
        return
    answer = read(ShownDateStatus, document)
    items = answer.items
    _heading(answer)
    for pause in answer.pauses:
        scope = "every processor" if pause.scope == ALL else pause.scope
        sentence(f"Paused: {scope}, by {pause.actor}: {pause.reason}", "yellow")
    if not items:
        sentence("The registry of this service has no processors.")
        return
    rows = [
        [
            item.processor,
            _status_text(item),
            _ratio(item.requirements),
            _run_words(item),
            instant(item.expected_at),
            item.why,
        ]
        for item in items
    ]
    listing(["processor", "status", "inputs", "run", "expected", "why"], rows, right=["inputs"])
    _hint(answer)


def _hint(answer: ShownDateStatus) -> None:
    """What to do about a date without any load; on an off day there is nothing to do."""
    games = answer.games
    if games == () or answer.loads_known or any(item.generation for item in answer.items):
        return
    calendar = ", or load the games of the date with `coordinator calendar load FILE`"
    sentence(
        f"No loads are known for {answer.game_date} yet; send events with `coordinator "
        f"events send FILE`{'' if games else calendar}."
    )


def _heading(answer: ShownDateStatus) -> None:
    games = answer.games
    if games is None:
        expected = "the calendar does not know this date"
    else:
        expected = count(len(games), "game") if games else "no games"
    counts = Counter(str(item.status) for item in answer.items)
    words = ", ".join(f"{number} {word}" for word, number in counts.items())
    sentence(f"{answer.game_date}: {expected}. {words}", "bold")
    number = answer.quarantine_open
    if number:
        sentence(f"{quarantined(number)} in quarantine: coordinator quarantine list", "yellow")


def quarantined(number: int) -> str:
    """``1 message is``, ``4 messages are``, ``100 or more messages are``."""
    if number == 1:
        return "1 message is"
    return f"{number}{' or more' if number >= QUARANTINE_COUNTED else ''} messages are"


def _ratio(requirements: ShownRequirementCount) -> str:
    return f"{requirements.met}/{requirements.total}"


def _status_text(item: ShownPartitionRow) -> "Text":
    from rich.text import Text

    text = styled(item.status)
    flags = item.flags
    return Text.assemble(text, (f" {cell(flags)}", "yellow")) if flags else text


def _run_words(item: ShownPartitionRow) -> str:
    run = item.run
    if not run:
        return ""
    attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
    return f"generation {item.generation} {run.status}{attempt}"


@verb
def why(
    processor: ProcessorArgument,
    date: DateArgument,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Explain the status of one partition.

    First the one plain sentence; then every requirement with its evidence, what holds the run,
    the run itself, and what happened so far.

    Examples:

        coordinator why PlayerGameSummaryProcessor 2024-10-22
        coordinator why player_game_summary 2024-10-22 --json
    """
    with verbs.service(url) as running:
        document = running.get("v1", "status", date, processor)
    if as_json:
        emit(document)
        return
    answer = read(ShownPartitionView, document)
    sentence(answer.why, "bold")
    say("")
    flags = f" ({cell(answer.flags)})" if answer.flags else ""
    sentence(f"{answer.processor} {answer.game_date}: {answer.status}{flags}")
    say(_verdict_tree(answer.verdict))
    for each in answer.verdict.warnings:
        sentence(f"Note: {each}", "yellow")
    _say_holds(answer)
    _say_runs(answer.runs)
    _say_history(answer.history)


def _verdict_tree(verdict: ShownVerdictView) -> "Tree":
    from rich.text import Text
    from rich.tree import Tree

    met = sum(bool(r.met) for r in verdict.requirements)
    tree = Tree(Text(f"Requirements: {met} of {len(verdict.requirements)} met", style="bold"))
    for requirement in verdict.requirements:
        kind = "" if requirement.critical else " (optional)"
        branch = tree.add(_leaf(requirement, requirement.sentence, kind))
        sources = requirement.sources
        if len(sources) > 1 or requirement.kind != "table":
            for source in sources:
                used = " (used)" if source.table in requirement.used else ""
                branch.add(_leaf(source, source.sentence, used))
        for leaf in _days(requirement.days):
            branch.add(leaf)
        for source in sources:
            for each in source.warnings:
                branch.add(Text(f"note: {safe(each)}", style="yellow"))
    return tree


def _days(days: Sequence[ShownWindowDateView]) -> "list[Text]":
    """The dates of a history window, those that are not ready first; no more than a few."""
    from rich.text import Text

    ordered = [d for d in days if not d.met] + [d for d in days if d.met]
    leaves = [_leaf(d, d.game_date, "") for d in ordered[:DAYS_SHOWN]]
    rest = ordered[DAYS_SHOWN:]
    if rest:
        ready = sum(bool(d.met) for d in rest)
        leaves.append(Text(f"and {len(rest)} more, {ready} of them ready", style="dim"))
    return leaves


def _leaf(
    judged: ShownRequirementView | ShownSourceView | ShownWindowDateView, words: str, after: str
) -> "Text":
    from rich.text import Text

    mark, style = ("✓", "green") if judged.met else ("✗", "red")
    state = str(judged.state)
    return Text.assemble(
        (f"{mark} ", style),
        (safe(state), STYLES.get(state, "")),
        (safe(after), "dim"),
        f"  {safe(words)}",
    )


def _say_holds(answer: ShownPartitionView) -> None:
    holds = answer.verdict.holds
    if holds:
        say(table(["held by", "until", "why"], [_hold_row(h) for h in holds]))
    for waiver in answer.waivers:
        if waiver.open:
            until = f" until {instant(waiver.until)}" if waiver.until else ""
            sentence(f"Waived{until}: {waiver.table}, by {waiver.actor}: {waiver.reason}")
    if answer.expected_at:
        sentence(f"Expected to fire at {instant(answer.expected_at)}.")
    elif answer.wake_at:
        sentence(f"Next evaluation at {instant(answer.wake_at)}.")


def _hold_row(hold: ShownHoldView) -> list[str]:
    return [cell(hold.kind), instant(hold.until), cell(hold.sentence)]


def _say_runs(runs: Sequence[ShownRunRow]) -> None:
    if not runs:
        sentence("No run yet.")
        return
    rows = [_run_row(run, run.generation) for run in runs]
    listing(["generation", *RUN_HEADINGS], rows, right=["generation", "rows", "attempt"])


RUN_HEADINGS = ["trigger", "status", "attempt", "fired", "ended", "rows", "error"]


def _run_row(run: ShownRunRow, name: object) -> list[Any]:
    return [
        name,
        run.trigger,
        styled(run.status),
        run.attempt,
        instant(run.fired_at),
        instant(run.ended_at),
        run.record_count,
        run.error,
    ]


def _say_history(history: Sequence[ShownTransitionView]) -> None:
    if not history:
        return
    shown = history[-HISTORY_SHOWN:]
    if len(history) > len(shown):
        note(f"{len(history) - len(shown)} earlier lines are not shown; --json has them all")
    say(table(["when", "what", "detail", "who"], [_line(each) for each in shown]))


def _line(line: ShownTransitionView) -> list[str]:
    return [instant(line.at), cell(line.what), cell(line.detail), cell(line.actor)]


# ── many dates ───────────────────────────────────────────────────────────────────────────────


@verb
def grid(
    first: From = None,
    last: To = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show processors × dates, one mark for each partition.

    Left out, --to is today in the registry's time zone and --from thirteen days before.

    Examples:

        coordinator grid
        coordinator grid --from 2024-10-22 --to 2024-11-30
    """
    with verbs.service(url) as running:
        end = last or (_days_after(first, GRID_DAYS - 1) if first else today(running))
        begin = first or _days_after(end, 1 - GRID_DAYS)
        document = running.get("v1", "grid", **{"from": begin, "to": end})
    if as_json:
        emit(document)
        return
    answer = read(ShownGrid, document)
    dates = answer.dates
    if not answer.legend:
        sentence(
            f"Nothing is known from {begin} to {end}: no loads, and no games in the calendar. "
            "Choose other dates with --from and --to, or load the calendar."
        )
        return
    for start in range(0, len(dates), GRID_COLUMNS):
        say(_grid_block(answer, slice(start, start + GRID_COLUMNS)))
    used = {c.status for c in answer.legend}
    marks = [f"{mark} {word}" for word, mark in MARKS.items() if word in used and mark.strip()]
    sentence(f"{'  '.join(marks)}   ! newer data, overdue or another flag", "dim")


def _days_after(day: str, days: int) -> str:
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()


def _grid_block(grid: ShownGrid, block_of: slice) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    dates = grid.dates[block_of]
    block = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0))
    months = [d.game_date[:7] for d in dates]
    block.add_column(Text(safe(" … ".join(dict.fromkeys([months[0], months[-1]])))), no_wrap=True)
    for day in dates:
        block.add_column(Text(safe(f" {day.game_date[8:]}")), justify="right", no_wrap=True)
    games = [Text(cell(d.games), style="dim") for d in dates]
    block.add_row(Text("games", style="dim"), *games)
    for item in grid.items:
        found = [None if n is None else grid.legend[n] for n in item.cells[block_of]]
        marks = [_mark(cell_) for cell_ in found]
        block.add_row(Text(safe(item.processor)), *marks)
    return block


def _mark(found: ShownGridCell | None) -> "Text":
    from rich.text import Text

    if found is None:
        return Text(" ")
    status = str(found.status)
    flag = "!" if found.flags else ""
    return Text(MARKS.get(status, "?") + flag, style=STYLES.get(status, ""))


@verb
def gaps(
    first: From = None,
    last: To = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List dates on which an output is expected and none succeeded.

    On dates that the calendar does not know, nothing is expected, but partitions that exist there
    and have not succeeded are listed too. By default, --from is the first date of the calendar and
    --to is today. The exit code is 0 even if there are gaps.

    Examples:

        coordinator gaps
        coordinator gaps --from 2024-10-22 --to 2024-11-30 --json
    """
    with verbs.service(url) as running:
        document = running.whole("v1", "gaps", **{"from": first, "to": last})
    if as_json:
        emit(document)
        return
    answer = read(ShownGaps, document)
    items = answer.items
    if items:
        rows = [[i.game_date, i.processor, _status_text(i), i.why] for i in items]
        listing(["date", "processor", "status", "why"], rows)
    span = f"from {answer.from_} to {answer.to}"
    dates = f"{count(answer.game_dates or 0, 'date')} with games"
    words = f"No gaps {span} on the {dates} that the calendar knows."
    if items:
        words = f"{count(len(items), 'gap')} {span}; the calendar knows {dates} there."
    sentence(words + _unknown(answer.unknown_dates))


def _unknown(unknown: ShownUnknownDates | None) -> str:
    """The dates of the range that the calendar does not know."""
    if unknown is None or unknown.first is None or unknown.last is None:
        return ""
    first, last = date.fromisoformat(unknown.first), date.fromisoformat(unknown.last)
    dates = count(unknown.count, "date")
    where = f"{first} to {last} ({dates})"
    if unknown.count == 1:
        where = str(first)
    elif (last - first).days + 1 != unknown.count:
        where = f"{dates} between {first} and {last}"
    return f" It knows nothing of {where}: load the calendar."


# ── loads, and what an id touched ────────────────────────────────────────────────────────────


@verb
def loads(
    table_name: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            autocompletion=complete.tables,
            help="A table's name or one of its aliases.",
            show_default=False,
        ),
    ],
    date: DateArgument,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show the ledger of one table and date: every load, and what became of it.

    First the loads that count, then all loads in order of receipt, including those that changed
    nothing.

    Examples:

        coordinator loads nba_raw.nbac_gamebook_player_stats 2024-10-22
        coordinator loads nbac_gamebook_player_stats 2024-10-22 --json
    """
    path = ("v1", "tables", table_name, "dates", date)
    with verbs.service(url) as running:
        document = running.get(*path, limit=1)
        found = list(running.items(*path, most=limit))
    document = {**document, "items": found, "next_page_token": None}
    if as_json:
        emit(document)
        return
    answer = read(ShownLedgerView, document)
    sentence(answer.sentence, "bold")
    for each in answer.warnings:
        sentence(f"Note: {each}", "yellow")
    if answer.items:
        listing(LOAD_HEADINGS, [_load_row(load) for load in answer.items], right=["rows", "games"])


LOAD_HEADINGS = ["received", "timestamp", "outcome", "status", "rows", "games", "event"]


def _load_row(load: ShownLedgerRow) -> list[Any]:
    return [
        instant(load.received_at),
        instant(load.timestamp),
        styled(load.outcome),
        load.status,
        load.record_count,
        len(load.game_ids) or None,
        load.event_id,
    ]


@verb
def trace(
    correlation_id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="A correlation id, as events carry it.", show_default=False
        ),
    ],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show everything that one correlation id touched: loads, partitions, runs.

    A run carries the id of the load that fired it, and hands it on to its output.

    Examples:

        coordinator trace night-2024-10-22
        coordinator trace night-2024-10-22 --json
    """
    with verbs.service(url) as running:
        document = running.get("v1", "trace", correlation_id)
    if as_json:
        emit(document)
        return
    answer = read(ShownTrace, document)
    loaded, partitions, runs = answer.events, answer.partitions, answer.runs
    if not loaded and not runs:
        sentence(f"Nothing carries the correlation id {correlation_id}.")
        return
    if loaded:
        headings = ["table", "date", *LOAD_HEADINGS]
        rows = [[load.table, load.game_date, *_load_row(load)] for load in loaded]
        listing(headings, rows, right=["rows", "games"])
    if partitions:
        headings = ["processor", "date", "status", "why"]
        rows = [[p.processor, p.game_date, _status_text(p), p.why] for p in partitions]
        listing(headings, rows)
    if runs:
        rows = [_run_row(run, run.run_id) for run in runs]
        listing(["run", *RUN_HEADINGS], rows, right=["rows", "attempt"])
    if answer.truncated:
        note("there is more than is shown; ask for a run or a table's date by itself")


# ── runs and the audit ───────────────────────────────────────────────────────────────────────


@verb
def runs_list(
    processor: ProcessorFilter = None,
    date: DateFilter = None,
    status: Annotated[
        RunStatus | None, typer.Option("--status", help="Only runs with this status.")
    ] = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List runs, the last fired first.

    One line per generation; `coordinator runs show` lists its attempts.

    Examples:

        coordinator runs list
        coordinator runs list --status failed --limit 10
        coordinator runs list --processor PlayerGameSummaryProcessor --date 2024-10-22
    """
    query = {
        "processor": processor,
        "game_date": date,
        "status": status,
    }
    with verbs.service(url) as running:
        found = list(running.items("v1", "runs", most=limit, **query))
    if as_json:
        emit({"items": found})
        return
    if not found:
        sentence("No runs" + (" fit this." if any(query.values()) else " yet."))
        return
    rows = [_run_row(run, run.run_id) for run in (read(ShownRunRow, each) for each in found)]
    listing(["run", *RUN_HEADINGS], rows, right=["rows", "attempt"])


@verb
def runs_show(
    run_id: Annotated[
        str,
        typer.Argument(
            metavar="RUN_ID", help="Such as PROCESSOR:2024-10-22:1.", show_default=False
        ),
    ],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show one run: why it was fired, its inputs, its attempts, what happened.

    A run is one generation of a partition: its id reads PROCESSOR:DATE:GENERATION.

    Examples:

        coordinator runs show PlayerGameSummaryProcessor:2024-10-22:1
    """
    with verbs.service(url) as running:
        document = running.get("v1", "runs", run_id)
    if as_json:
        emit(document)
        return
    run = read(ShownRunView, document)
    sentence(f"{run.run_id}: {run.status}. {run.fired_by}", "bold")
    if run.explanation:
        sentence(run.explanation)
    for name in ("reason", "actor", "unmet", "warnings", "error", "correlation_id"):
        if getattr(run, name):
            sentence(f"{name}: {cell(getattr(run, name))}")
    _say_launch(run.launch)
    inputs = [
        [i.table, i.game_date, styled(i.state), i.record_count, len(i.game_ids)] for i in run.inputs
    ]
    if inputs:
        headings = ["input", "date", "state", "rows", "games"]
        say(table(headings, inputs, right=["rows", "games"]))
    attempts = [
        [
            a.number,
            instant(a.launch_at),
            instant(a.delivered_at),
            instant(a.claimed_at),
            a.owner,
            instant(a.ended_at),
            a.error,
        ]
        for a in run.attempts
    ]
    headings = ["attempt", "launch", "delivered", "claimed", "owner", "ended", "error"]
    say(table(headings, attempts))
    _say_history(run.transitions)


def _say_launch(launch: ShownLaunchView) -> None:
    """Where the run's launches go, and what keeps the current one from being delivered."""
    if launch.kind is not None:
        where = " ".join(filter(None, (launch.kind, launch.address)))
        sentence(f"launches go to: {where}")
    if launch.tries:
        tries = "1 try" if launch.tries == 1 else f"{launch.tries} tries"
        sentence(
            f"The launch could not be delivered in {tries}: {launch.last_error} "
            f"(next try {instant(launch.next_try_at)})",
            "yellow",
        )


@verb
def audit(
    processor: ProcessorFilter = None,
    date: DateFilter = None,
    actor: Annotated[
        str | None, typer.Option("--actor", metavar="NAME", help="Only what this person did.")
    ] = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show who did what, when and why; the newest first.

    Refused acts are listed too.

    Examples:

        coordinator audit
        coordinator audit --processor PlayerGameSummaryProcessor --date 2024-10-22
    """
    query = {"processor": processor, "game_date": date, "actor": actor}
    with verbs.service(url) as running:
        found = list(running.items("v1", "audit", most=limit, **query))
    if as_json:
        emit({"items": found})
        return
    if not found:
        sentence("Nobody did anything" + (" that fits this." if any(query.values()) else " yet."))
        return
    rows = [
        [
            instant(e.at),
            e.actor,
            e.act,
            _audited_place(e),
            _audited_detail(e.detail),
            e.result,
            e.reason,
        ]
        for e in (read(ShownAuditRow, each) for each in found)
    ]
    listing(["when", "who", "act", "on", "with", "result", "why"], rows)


def _audited_place(entry: ShownAuditRow) -> str:
    if entry.detail.get("scope") == ALL:
        return "every processor"
    return " ".join(filter(None, (entry.processor, entry.game_date)))


def _audited_detail(detail: Mapping[str, Any]) -> str:
    """What was said with an act: ``bypass dependencies, cooldown; skip_downstream``."""
    said = {k: v for k, v in detail.items() if v and k != "scope"}
    return "; ".join(k if v is True else f"{k} {cell(v)}" for k, v in said.items())
