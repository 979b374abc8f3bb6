"""Commands that act on partitions: trigger, skip, reset, waive, unwaive, pause, resume, sweep.

Owns their options and output; ``service.operate`` owns what they do (specification 5.4).
"""

import re
from datetime import datetime
from typing import Annotated, Any

import typer

from coordinator.cli import complete, verbs
from coordinator.cli.answers import ShownActView, ShownSweepView
from coordinator.cli.client import DEFAULT_URL, Refusal, read
from coordinator.cli.output import count, emit, sentence
from coordinator.cli.verbs import AsJson, DateArgument, DryRun, ProcessorArgument, Reason, Url, verb
from coordinator.core.choices import ALL, Bypass

TableOption = Annotated[
    str,
    typer.Option(
        "--table",
        metavar="TABLE",
        autocompletion=complete.tables,
        help="The table whose requirement is waived.",
        show_default=False,
    ),
]
OptionalProcessor = Annotated[
    str | None,
    typer.Argument(
        metavar="PROCESSOR",
        autocompletion=complete.processors,
        help="One processor; with --all, leave it out.",
        show_default=False,
    ),
]
All = Annotated[bool, typer.Option("--all", help="Every processor.")]


@verb
def trigger(
    processor: ProcessorArgument,
    date: DateArgument,
    reason: Reason = None,
    bypass: Annotated[
        list[Bypass] | None,
        typer.Option("--bypass", help="Override this rule; may be given several times."),
    ] = None,
    skip_downstream: Annotated[
        bool,
        typer.Option(
            "--skip-downstream",
            help="Announce the output quietly, so that it starts nothing downstream.",
        ),
    ] = False,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Fire a run now.

    Without --bypass it fires only if every critical requirement is met. It overrides grace,
    debounce, not_before and schedules, and never starts a second live run. If it is refused, the
    answer names what is missing, and the exit code is 1.

    Examples:

        coordinator trigger PlayerGameSummaryProcessor 2024-10-22 --reason "corrected box scores"
        coordinator trigger PlayerGameSummaryProcessor 2024-10-22 --dry-run --reason "what if"
        coordinator trigger PlayerGameSummaryProcessor 2024-10-22 --bypass dependencies --bypass cooldown --reason "the feed is down"
    """
    body = {"bypass": [b.value for b in bypass or []], "skip_downstream": skip_downstream}
    _on_partition(url, "trigger", processor, date, reason, body, dry_run, as_json)


@verb
def skip(
    processor: ProcessorArgument,
    date: DateArgument,
    reason: Reason = None,
    end_run: Annotated[
        bool,
        typer.Option(
            "--end-run",
            help="End the lease of a live run; without it, a live run refuses the skip.",
        ),
    ] = False,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Mark a partition as not needed.

    Data does not change that; a trigger or a reset does.

    Examples:

        coordinator skip PlayerGameSummaryProcessor 2024-10-22 --reason "no stats for this game"
        coordinator skip PlayerGameSummaryProcessor 2024-10-22 --end-run --reason "it hangs"
    """
    _on_partition(url, "skip", processor, date, reason, {"end_run": end_run}, dry_run, as_json)


@verb
def reset(
    processor: ProcessorArgument,
    date: DateArgument,
    reason: Reason = None,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Evaluate a partition again, as if nothing had run.

    Ends the lease of a live run, clears the budget of re-fires and ignores the cooldown: if it is
    ready, it fires.

    Examples:

        coordinator reset PlayerGameSummaryProcessor 2024-10-22 --reason "the runner was fixed"
        coordinator reset PlayerGameSummaryProcessor 2024-10-22 --dry-run --reason "would it fire?"
    """
    _on_partition(url, "reset", processor, date, reason, {}, dry_run, as_json)


def checked_instant(value: str | None) -> str | None:
    """An RFC 3339 instant with a zone; anything else is a usage error."""
    if value is None:
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise typer.BadParameter("write an instant with its zone, such as 2024-10-23T14:00:00Z")
    return value


@verb
def waive(
    processor: ProcessorArgument,
    date: DateArgument,
    table_name: TableOption,
    reason: Reason = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="INSTANT",
            callback=checked_instant,
            help="When the waiver ends, such as 2024-10-23T14:00:00Z; left out: when the data arrives.",
        ),
    ] = None,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Waive a requirement: the partition does not wait for this table.

    It applies to every requirement of the processor that names the table, until the given instant
    or until the data arrives.

    Examples:

        coordinator waive PlayerGameSummaryProcessor 2024-10-22 --table nba_raw.nbac_gamebook_player_stats --reason "source is down"
        coordinator waive PlayerGameSummaryProcessor 2024-10-22 --table nbac_gamebook_player_stats --until 2024-10-23T14:00:00Z --reason "late feed"
    """
    body = {"table": table_name, "until": until}
    _on_partition(url, "waivers", processor, date, reason, body, dry_run, as_json)


@verb
def unwaive(
    processor: ProcessorArgument,
    date: DateArgument,
    table_name: TableOption,
    reason: Reason = None,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Lift an open waiver.

    The requirement applies again as the registry declares it.

    Examples:

        coordinator unwaive PlayerGameSummaryProcessor 2024-10-22 --table nba_raw.nbac_gamebook_player_stats --reason "the feed is back"
    """
    with verbs.service(url) as running:
        answer = running.delete(
            *("v1", "processors", processor, "dates", date, "waivers", table_name),
            body={"reason": reason, "dry_run": dry_run},
        )
    _show("unwaive", answer, as_json)


@verb
def pause(
    processor: OptionalProcessor = None,
    everything: All = False,
    reason: Reason = None,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Hold new runs of one processor, or of all.

    Events are still recorded, and runs that were fired continue. Resuming fires what is ready.

    Examples:

        coordinator pause PlayerGameSummaryProcessor --reason "the warehouse is being moved"
        coordinator pause --all --reason "incident"
    """
    _on_processors(url, "pause", processor, everything, reason, dry_run, as_json)


@verb
def resume(
    processor: OptionalProcessor = None,
    everything: All = False,
    reason: Reason = None,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """End a pause; what is ready fires at once.

    With --all, a processor that was paused individually stays paused.

    Examples:

        coordinator resume PlayerGameSummaryProcessor --reason "the warehouse is back"
        coordinator resume --all --reason "incident is over"
    """
    _on_processors(url, "resume", processor, everything, reason, dry_run, as_json)


@verb
def sweep(
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Evaluate every partition that is due, now.

    The service does this by itself; a scheduler may call it too.

    Examples:

        coordinator sweep
        coordinator sweep --dry-run --json
    """
    with verbs.service(url) as running:
        document = running.post("v1", "sweep", body={"dry_run": dry_run})
    if as_json:
        emit(document)
        return
    answer = read(ShownSweepView, document)
    word = "Would evaluate" if dry_run else "Evaluated"
    sentence(f"{word} {count(answer.looked_at, 'due partition')}.")
    if answer.more:
        sentence("The limit of one sweep was reached; the next one continues.", "yellow")
    _fired(answer)


# ── what they share ──────────────────────────────────────────────────────────────────────────

_BYPASS = re.compile(r"\bbypass: (\w+)")
"""How the service names the bypass that a trigger needs; here it is an option."""


def _on_partition(
    url: str,
    act: str,
    processor: str,
    date: str,
    reason: str | None,
    body: dict[str, Any],
    dry_run: bool,
    as_json: bool,
) -> None:
    asked = {**body, "reason": reason, "dry_run": dry_run}
    with verbs.service(url) as running:
        try:
            answer = running.post("v1", "processors", processor, "dates", date, act, body=asked)
        except Refusal as refusal:
            refusal.detail = _BYPASS.sub(r"--bypass \1", refusal.detail)
            raise
    _show("waive" if act == "waivers" else act, answer, as_json)


def _on_processors(
    url: str,
    act: str,
    processor: str | None,
    everything: bool,
    reason: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    if (processor is None) != everything:
        raise verbs.usage(
            f"name one PROCESSOR, or use --all to {act} every one; not both"
            if everything
            else f"name the PROCESSOR to {act}, or use --all"
        )
    path = ("v1", act) if processor is None else ("v1", "processors", processor, act)
    with verbs.service(url) as running:
        answer = running.post(*path, body={"reason": reason, "dry_run": dry_run})
    _show(act, answer, as_json)


PAST = {
    "trigger": "Triggered",
    "skip": "Skipped",
    "reset": "Reset",
    "waive": "Waived",
    "unwaive": "Waiver lifted",
    "pause": "Paused",
    "resume": "Resumed",
}


def _show(act: str, document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        emit(document)
        return
    answer = read(ShownActView, document)
    partition, detail = answer.partition, answer.detail
    if partition:
        place = f"{partition.processor} {partition.game_date}"
    else:
        scope = str(detail.get("scope", ""))
        place = "every processor" if scope == ALL else scope
    word = f"Dry run of {act}; nothing was changed" if answer.dry_run else PAST[act]
    sentence(f"{word}: {place}.")
    if detail.get("already"):
        sentence("It was already paused; the earlier reason is kept.")
    if detail.get("was_paused") is False:
        sentence("It was not paused.")
    if partition and not (answer.dry_run and answer.fired_run_ids):
        then = "Then: " if answer.dry_run else ""
        sentence(f"{then}{partition.status}. {partition.why}")
    _fired(answer)


def _fired(answer: ShownActView | ShownSweepView) -> None:
    word = "Would fire" if answer.dry_run else "Fired"
    for run_id in answer.fired_run_ids:
        sentence(f"{word}: {run_id}", "green")
