"""Verbs that send events: ``events send``, ``events flush`` and ``calendar load``.

Owns reading of files and of the schedule, batching and the account of what came of each event.
Refuses to judge an event: the service says what is wrong with it.
"""

import csv
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from coordinator.cli import verbs
from coordinator.cli.answers import ShownEventResult
from coordinator.cli.client import DEFAULT_URL, Busy, OutOfReach, Refusal, Service, read
from coordinator.cli.output import count, emit, listing, note, progress, sentence, styled
from coordinator.cli.verbs import AsJson, DryRun, From, To, Url, verb
from coordinator.errors import BadInput, Unusable
from coordinator.game_dates import is_game_date

EVENTS_PER_CALL = 200
"""Events of one request; the API accepts up to 1,000 (specification 5.1), fewer show progress."""
PAUSES_SECONDS = (1.0, 3.0)
"""Pauses before a call that the service could not accept is retried."""
ROWS_SHOWN = 200
FLUSH_STEP_SECONDS = 10.0
"""How often a flush shows its progress."""
GOOD_OUTCOMES = frozenset({"applied", "duplicate", "superseded", "ignored"})

File = Annotated[
    str,
    typer.Argument(metavar="FILE", help="A file, or - for standard input.", show_default=False),
]


@verb
def send(
    file: File,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Send events from a file and say what came of each.

    The file holds one JSON object, a JSON list, or one object per line (NDJSON). Sending the same
    events again is harmless. The exit code is 1 if any was rejected or refused.

    Examples:

        coordinator events send night.json
        cat night.ndjson | coordinator events send -
        coordinator events send night.json --json
    """
    events = read_events(file)
    if not events:
        if as_json:
            emit({"results": [], "outcomes": {}})
        else:
            sentence(f"{file} has no events; nothing was sent.")
        return
    with verbs.service(url) as running:
        documents = post_events(running, events, "Sending events")
    results = _results(documents)
    outcomes = Counter[str](r.outcome for r in results)
    if as_json:
        emit({"results": documents, "outcomes": dict(outcomes)})
    else:
        _show(events, results, outcomes)
    if any(outcome not in GOOD_OUTCOMES for outcome in outcomes):
        raise typer.Exit(verbs.REFUSED)


@verb
def flush(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The spool's folder.", show_default=False)
    ],
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=1, max=86_400, help="Give up after this."),
    ] = 300,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Send the events that a publisher keeps in its spool, oldest first.

    A publisher sends them at its next load; this command is for a spool whose loads have stopped,
    or for a scheduler. It can run at the same time as the publisher: nothing is lost or sent out of
    order. The exit code is 1 if any event was rejected or could not be read (they are in
    FOLDER/set-aside), 3 if events are still kept because the service is out of reach.

    Examples:

        coordinator events flush /var/spool/coordinator
        coordinator events flush /var/spool/coordinator --timeout 30 --json
    """
    import uuid

    from coordinator.cli.local import quiet_logs
    from processors.errors import SpoolError
    from processors.publisher import HttpTransport, RawDataPubSubPublisher
    from processors.spool import Spool

    if not folder.is_dir():
        raise Unusable(f"{folder} is not a folder; name the spool of a publisher")

    def now() -> datetime:
        return datetime.now(UTC)

    def new_id() -> str:
        return uuid.uuid4().hex

    quiet_logs()
    until = time.monotonic() + timeout
    sent = aside = 0
    try:
        spool = Spool(folder)
        with HttpTransport(url, clock=now, new_id=new_id) as transport, progress() as bar:
            publisher = RawDataPubSubPublisher(transport, clock=now, new_id=new_id, spool=spool)
            task = bar.add_task("Sending kept events", total=spool.state().events)
            while True:
                left = until - time.monotonic()
                flushed = publisher.flush(min(left, FLUSH_STEP_SECONDS))
                sent, aside = sent + flushed.sent, aside + flushed.set_aside
                bar.update(task, completed=sent + aside)
                over = time.monotonic() >= until
                if not flushed.kept or over or not (flushed.sent or flushed.set_aside):
                    break
    except SpoolError as error:
        raise Unusable(str(error)) from error
    if as_json:
        emit({"sent": sent, "kept": flushed.kept, "set_aside": aside, "error": flushed.error})
    else:
        kept = "an unknown number" if flushed.kept is None else flushed.kept
        sentence(f"{count(sent, 'event')} sent, {kept} kept, {aside} set aside.")
        if aside:
            sentence(f"Check the events in {folder / 'set-aside'}.", "yellow")
    if flushed.kept != 0:
        note(
            f"{'Events' if flushed.kept is None else count(flushed.kept, 'event')} could not be "
            f"sent: {flushed.error}"
        )
        raise typer.Exit(verbs.OUT_OF_REACH)
    if aside:
        raise typer.Exit(verbs.REFUSED)


def read_events(file: str) -> list[Any]:
    """Every event of a file, in order. Raises ``BadInput`` that names the line."""
    text = _text(file)
    if not text.strip():
        return []
    try:
        document = json.loads(text)
    except ValueError:
        return [_line(file, number, line) for number, line in _lines(text)]
    return document if isinstance(document, list) else [document]


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def _line(file: str, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise BadInput(
            f"{file}, line {number}: not JSON ({error}); nothing was sent. A file holds one JSON "
            "value, or one object on each line"
        ) from error


def _text(file: str) -> str:
    try:
        if file == "-":
            return sys.stdin.buffer.read().decode("utf-8-sig")
        return Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Unusable(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8 text (byte {error.start})") from error


def _results(documents: Sequence[Any]) -> list[ShownEventResult]:
    return [read(ShownEventResult, document) for document in documents]


def post_events(running: Service, events: Sequence[Any], words: str) -> list[Any]:
    """Send events in order, with progress; one result each.

    Raises ``OutOfReach`` that says how many were taken before the service was lost.
    """
    results: list[Any] = []
    with progress() as bar:
        task = bar.add_task(words, total=len(events))
        for start in range(0, len(events), EVENTS_PER_CALL):
            batch = list(events[start : start + EVENTS_PER_CALL])
            try:
                answer = _patiently(partial(running.post, "v1", "events", body=batch))
            except Refusal as refusal:
                if "results" not in refusal.document:
                    raise
                answer = refusal.document
            except OutOfReach as error:
                raise OutOfReach(
                    f"{error.detail.rstrip('.')}. {len(results)} of {len(events)} events were "
                    f"accepted, and perhaps some of the next {len(batch)}; sending them all again is "
                    "harmless"
                ) from error
            results += answer["results"]
            bar.update(task, completed=len(results))
    return results


def _patiently(send: Callable[[], Any]) -> Any:
    """Retry what could not be accepted; what was already recorded is a duplicate."""
    for pause in PAUSES_SECONDS:
        try:
            return send()
        except Busy:
            time.sleep(pause)
    return send()


def _show(
    events: Sequence[Any], results: Sequence[ShownEventResult], outcomes: Mapping[str, int]
) -> None:
    bad_first = sorted(range(len(results)), key=lambda i: _is_good(results[i]))
    shown = sorted(bad_first[:ROWS_SHOWN])
    rows = []
    for at in shown:
        event = events[at] if isinstance(events[at], dict) else {}
        result = results[at]
        rows.append(
            [
                at + 1,
                styled(result.outcome),
                event.get("target_table") or event.get("source_table") or event.get("run_id"),
                event.get("game_date"),
                _came_of(result),
            ]
        )
    listing(["#", "outcome", "table", "date", "what came of it"], rows, right=["#"])
    if len(results) > ROWS_SHOWN:
        note(f"{len(results) - ROWS_SHOWN} more are not shown; --json has them all")
    counts = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
    sentence(f"{count(len(results), 'event')}: {counts}.")


def _is_good(result: ShownEventResult) -> bool:
    return result.outcome in GOOD_OUTCOMES


def _came_of(result: ShownEventResult) -> str:
    words = [f"{e.field}: {e.message}" for e in result.errors]
    words += result.warnings
    for affected in result.affected:
        fired = f", fired {affected.fired_run_id}" if affected.fired_run_id else ""
        words.append(f"{affected.processor} {affected.status}{fired}")
    return "; ".join(words)


# ── the calendar ─────────────────────────────────────────────────────────────────────────────


@verb
def load_calendar(
    file: File,
    first: From = None,
    last: To = None,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Load the calendar: which games are expected on which date.

    The file is CSV with the columns game_id and game_date (others are ignored), or JSON such as
    {"2024-10-22": ["0022400061", "0022400062"]}. Every date from the first to the last is sent,
    including those without games. Loading a file again is harmless.

    Examples:

        coordinator calendar load schedule.csv
        coordinator calendar load schedule.csv --from 2024-10-22 --to 2024-11-30
        coordinator calendar load schedule.json --dry-run
    """
    games = between(read_calendar(file), first, last)
    if not games:
        raise BadInput(f"{file} has no games{_span(first, last)}; nothing was sent")
    with verbs.service(url) as running:
        calendar = running.get("v1", "registry").get("calendar")
        name = calendar.get("table") if isinstance(calendar, Mapping) else calendar
        if not name:
            raise BadInput("the registry of this service names no calendar table; add `calendar:`")
        events = calendar_events(str(name), games, datetime.now(UTC))
        documents = [] if dry_run else post_events(running, events, "Loading the calendar")
    results = _results(documents)
    outcomes = Counter[str](r.outcome for r in results)
    off = sum(not ids for ids in games.values())
    summary = {
        "table": name,
        "from": min(games),
        "to": max(games),
        "dates": len(games),
        "dates_without_games": off,
        "games": sum(len(ids) for ids in games.values()),
        "outcomes": dict(outcomes),
        "dry_run": dry_run,
    }
    judged = list(zip(results, documents, strict=True))
    bad = [result for result, _ in judged if not _is_good(result)]
    if as_json:
        emit({**summary, "rejected": [d for r, d in judged if not _is_good(r)]})
    else:
        sentence(
            f"{'Would load' if dry_run else 'Loaded'} {count(summary['games'], 'game')} on "
            f"{count(len(games) - off, 'date')}, and {count(off, 'date')} without games, from "
            f"{min(games)} to {max(games)} into {name}."
        )
        if outcomes:
            sentence(", ".join(f"{number} {outcome}" for outcome, number in outcomes.items()) + ".")
        for result in bad[:20]:
            sentence(_came_of(result), "red")
    if bad:
        raise typer.Exit(verbs.REFUSED)


def _span(first: str | None, last: str | None) -> str:
    return (f" from {first}" if first else "") + (f" to {last}" if last else "")


def read_calendar(file: str) -> dict[str, list[str]]:
    """Games by date, as the file has them. Raises ``BadInput`` that names the place."""
    text = _text(file)
    if text.lstrip().startswith(("{", "[")):
        return _calendar_json(file, text)
    return _calendar_csv(file, text)


def _calendar_json(file: str, text: str) -> dict[str, list[str]]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{file} is not JSON: {error}") from error
    games: dict[str, list[str]] = {}
    for day, ids in document.items() if isinstance(document, dict) else ():
        if not is_game_date(day) or not isinstance(ids, list) or not all(map(_is_id, ids)):
            break
        games[day] = ids
    else:
        if isinstance(document, dict):
            return games
    raise BadInput(f'{file} must hold an object such as {{"2024-10-22": ["0022400061"]}}')


def _calendar_csv(file: str, text: str) -> dict[str, list[str]]:
    reader = csv.DictReader(text.splitlines())
    missing = {"game_id", "game_date"} - set(reader.fieldnames or ())
    if missing:
        raise BadInput(f"{file}: the header has no column {' and no '.join(sorted(missing))}")
    games: dict[str, list[str]] = {}
    for row in reader:
        day, game_id = row["game_date"], row["game_id"]
        if not is_game_date(day) or not game_id:
            place = f"{file}, line {reader.line_num}"
            raise BadInput(
                f"{place}: game_date {day!r} and game_id {game_id!r} must be a date YYYY-MM-DD "
                "and an id that is not empty"
            )
        games.setdefault(day, []).append(game_id)
    return games


def _is_id(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def between(
    games: Mapping[str, Sequence[str]], first: str | None, last: str | None
) -> dict[str, list[str]]:
    """Every date from the first to the last, with the games of each; none is an empty list.

    The range reaches no further than the file does, since nobody knows what lies beyond it.
    """
    inside = [d for d in games if (first or "") <= d <= (last or "9999-12-31")]
    if not inside:
        return {}
    known_first, known_last = min(games), max(games)
    begin = date.fromisoformat(max(first or known_first, known_first))
    end = date.fromisoformat(min(last or known_last, known_last))
    days = [(begin + timedelta(days=n)).isoformat() for n in range((end - begin).days + 1)]
    return {day: list(dict.fromkeys(games.get(day, ()))) for day in days}


def calendar_events(
    name: str, games: Mapping[str, Sequence[str]], loaded_at: datetime
) -> list[dict[str, Any]]:
    """One load of the calendar's table for each date.

    Each call makes new ids: a calendar that goes back to an earlier state must not be taken for
    a duplicate of that state.
    """
    at = loaded_at.isoformat().replace("+00:00", "Z")
    return [
        {
            "event_type": "raw_data_loaded",
            "target_table": name,
            "execution_id": f"calendar-load-{at}",
            "correlation_id": f"calendar-load-{at}",
            "game_date": day,
            "game_ids": list(ids),
            "record_count": len(ids),
            "status": "success" if ids else "no_data",
            "timestamp": at,
        }
        for day, ids in games.items()
    ]
