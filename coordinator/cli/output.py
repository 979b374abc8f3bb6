"""What verbs print: tables and sentences for people, JSON for programs.

Owns the split between stdout (the answer) and stderr (progress and errors). Everything that came
from a service or a file is escaped (see ``terminal``). Refuses to decide what to say.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from coordinator.terminal import safe, safe_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress
    from rich.table import Table
    from rich.text import Text

PIPED_WIDTH = 220
"""Columns of a table that is not written to a terminal, where nothing says how wide the reader is."""

STYLES: Mapping[str, str] = {
    "waiting": "yellow",
    "settling": "yellow",
    "firing": "cyan",
    "fired": "cyan",
    "running": "cyan",
    "pending": "cyan",
    "delivered": "cyan",
    "succeeded": "green",
    "success": "green",
    "no_data": "green",
    "cooling": "green",
    "failed": "bold red",
    "cancelled": "red",
    "skipped": "dim",
    "not_expected": "dim",
    "ready": "green",
    "aging": "yellow",
    "missing": "red",
    "empty": "red",
    "short": "red",
    "incomplete": "red",
    "stale": "red",
    "waived": "magenta",
    "applied": "green",
    "duplicate": "dim",
    "superseded": "dim",
    "ignored": "dim",
    "refused": "yellow",
    "rejected": "bold red",
    "quarantined": "bold red",
    "open": "yellow",
    "replayed": "green",
    "discarded": "dim",
}
"""The colour of each status, state and outcome."""

MARKS: Mapping[str, str] = {
    "waiting": "·",
    "settling": "◔",
    "firing": "▷",
    "fired": "▷",
    "running": "▶",
    "succeeded": "✓",
    "cooling": "✓",
    "failed": "✗",
    "skipped": "–",
    "not_expected": " ",
}
"""One character for each status, for grids."""


def cell(value: object) -> str:
    """A value of an answer as a table shows it: nothing for null, instants to the second."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{safe(k)}={cell(v)}" for k, v in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return ", ".join(cell(item) for item in value)
    return safe(value)


def count(number: int, word: str) -> str:
    """``1 game``, ``2 games``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def instant(at: datetime | None) -> str:
    """An instant in UTC, to the second: ``2024-10-23 04:10:22Z``; nothing for None."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def console(*, stderr: bool = False) -> Console:
    """The console of stdout, or of stderr. Colour only on a terminal without ``NO_COLOR``."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    narrow = stream.isatty() or "COLUMNS" in os.environ
    return Console(
        file=stream,
        width=None if narrow else PIPED_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
    )


def styled(value: object, style: str | None = None) -> Text:
    """Escaped text in the colour of the word it is, or in ``style``."""
    from rich.text import Text

    words = cell(value)
    return Text(words, style=style if style is not None else STYLES.get(words, ""))


def say(*parts: RenderableType) -> None:
    """Print to stdout, for people."""
    out = console()
    for part in parts:
        out.print(part, soft_wrap=isinstance(part, str))


def sentence(words: object, style: str = "") -> None:
    """Print one escaped sentence to stdout; a terminal wraps it, a pipe gets one line."""
    from rich.text import Text

    console().print(Text(safe(words), style=style), soft_wrap=not sys.stdout.isatty())


def note(words: object) -> None:
    """Print one escaped line to stderr: progress, hints."""
    from rich.text import Text

    console(stderr=True).print(Text(safe(words), style="dim"), soft_wrap=True)


def complain(words: object, *more: object) -> None:
    """Print an error to stderr, and what belongs to it on lines of their own."""
    from rich.text import Text

    out = console(stderr=True)
    out.print(Text.assemble(("error: ", "bold red"), safe(words)), soft_wrap=True)
    for line in more:
        out.print(Text(f"  {safe(line)}"), soft_wrap=True)


def emit(document: object) -> None:
    """Print one JSON document to stdout, for programs."""
    sys.stdout.write(safe_json(json.dumps(document, ensure_ascii=False, indent=2)) + "\n")
    sys.stdout.flush()


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Sequence[str] = (),
    nowrap: Sequence[str] = (),
) -> Table:
    """A table whose cells are escaped; ``right`` names the columns of numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in headings:
        made.add_column(
            Text(heading),
            justify="right" if heading in right else "left",
            no_wrap=heading in nowrap,
            overflow="fold",
        )
    for row in rows:
        made.add_row(*(value if isinstance(value, Text) else styled(value) for value in row))
    return made


def listing(
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Sequence[str] = (),
) -> None:
    """Print a table whose last column is a sentence.

    If the terminal is too narrow for it, each sentence is printed below its line instead.
    """
    from rich.measure import Measurement
    from rich.padding import Padding
    from rich.text import Text

    out = console()
    whole = table(headings, rows, right=right)
    if Measurement.get(out, out.options.update(width=10_000), whole).maximum <= out.width:
        out.print(whole)
        return
    facts = table(headings[:-1], [row[:-1] for row in rows], right=right, nowrap=headings)
    lines = out.render_lines(facts, out.options.update(width=10_000), pad=False)
    shown = [line for line in lines if any(part.text.strip() for part in line)]
    head = len(shown) - len(rows)
    for at, line in enumerate(shown):
        words = Text.assemble(*((part.text, part.style or "") for part in line))
        words.rstrip()
        out.print(words, no_wrap=True, overflow="ignore", crop=False)
        if at < head:
            continue
        row = rows[at - head]
        last = row[-1] if isinstance(row[-1], Text) else styled(row[-1])
        if last.plain:
            out.print(Padding(last, (0, 0, 0, 2)))


def progress() -> Progress:
    """A progress bar on stderr; where that is no terminal it prints nothing."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    out = console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=out,
        disable=not out.is_terminal,
        transient=True,
    )
