"""``docs/states.md``, written from the state machine itself.

Owns the wording around the table. Refuses to know anything that the core does not say: statuses,
flags, facts and transitions are read from it. ``python -m coordinator.statesdoc --write`` renews
the page, ``--check`` fails where it differs from the code.
"""

from __future__ import annotations

import argparse
import ast
import sys
from enum import Enum
from inspect import cleandoc, getsource
from pathlib import Path

from coordinator.core.facts import Fact
from coordinator.core.machine import (
    BY_FACT,
    BY_FACT_ALONE,
    BY_TIME,
    FACTS,
    TRANSITIONS,
    WHY_BY_TIME,
)
from coordinator.core.model import Flag, RunStatus, Status

PAGE = Path(__file__).resolve().parent.parent / "docs" / "states.md"

OPENING = """\
<!-- Written by `python -m coordinator.statesdoc --write`. Change the code, not this page. -->
# States

A partition (one processor on one game date) is decided on by one function, `decide`. It takes the
partition, what happened, the registry's rules and the instant, and answers with the next partition
and what is asked of the outside. This page is written from that function's own table, and the tests
hold the code to the same table.

## Three things are stored, the status follows

| stored | says |
| --- | --- |
| the **verdict** | are the needs met, and what holds a firing; judged anew on every look |
| the **live run** | pending delivery, delivered, or claimed; at most one |
| the **last outcome** | none, success, no_data, skipped or failed |

The status is derived from these three (and from a person's or a deadline's word that the partition
is skipped), in this order: a live run gives `firing`, `fired` or `running`; a skip gives `skipped`;
with no outcome yet the verdict gives `not_expected`, `waiting` or `settling`; an outcome gives
`failed`, or `succeeded` and `cooling`. It is never set by itself, so nothing can forget to set it.
"""

TABLE = """\
## What may follow what

Every fact gives time its turn: leases end, deadlines pass, holds run out. So beside **any fact**
stands where time alone may lead, which is what a sweep brings about; the lines below it are what a
fact adds. Where a line says *only*, a person's word comes before anything that time would do. A
fact without a line of its own leads nowhere that time could not.

One decision may take several steps: a failed report can end the run and, with newer data that
nothing holds, start the next generation at once.
"""


def member_words(enum: type[Enum]) -> dict[str, str]:
    """What each member says of itself: the string under it in the class body."""
    body = ast.parse(getsource(enum)).body[0]
    assert isinstance(body, ast.ClassDef)
    words: dict[str, str] = {}
    name = ""
    for node in body.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
            words[enum[name].value] = " ".join(str(node.value.value).replace("``", "`").split())
    return words


def render() -> str:
    """The whole page."""
    parts = [OPENING, _statuses(), _diagram(), TABLE, _table(), _facts(), _flags(), _runs()]
    return "\n".join(parts)


def _statuses() -> str:
    words = member_words(Status)
    lines = [f"| `{s.value}` | {words[s.value]} |" for s in Status]
    return "\n".join(["## Statuses", "", "| status | meaning |", "| --- | --- |", *lines, ""])


def _diagram() -> str:
    """Where a partition goes by time and events; a person's skip and reset are left out."""
    arrows: dict[tuple[Status, Status], None] = {}
    by_people = {"SkipRequested", "ResetRequested"}
    for (status, fact), following in TRANSITIONS.items():
        if fact not in by_people:
            arrows.update({(status, to): None for to in following if to is not status})
    lines = [f"    {a.value} --> {b.value}" for a, b in arrows]
    start = ["    [*] --> waiting", "    [*] --> not_expected"]
    return "\n".join(
        [
            "## The way of a partition",
            "",
            "Left out, for they lead from anywhere: a person's skip (to `skipped`) and reset (to a",
            "fresh judgement).",
            "",
            "```mermaid",
            "stateDiagram-v2",
            *start,
            *lines,
            "```",
            "",
        ]
    )


def _table() -> str:
    lines = ["| status | fact | may follow | why |", "| --- | --- | --- | --- |"]
    for status in Status:
        lines.append(
            f"| `{status.value}` | any fact | {_names(BY_TIME[status])} | {WHY_BY_TIME[status]} |"
        )
        for fact in FACTS:
            if (status, fact) in BY_FACT:
                more, why = BY_FACT[status, fact]
                lines.append(f"| | {fact.__name__} | {_names(more)} | {why} |")
            if (status, fact) in BY_FACT_ALONE:
                only, why = BY_FACT_ALONE[status, fact]
                lines.append(f"| | {fact.__name__} | *only* {_names(only)} | {why} |")
    return "\n".join([*lines, ""])


def _facts() -> str:
    lines = [f"| {f.__name__} | {_first_paragraph(f)} |" for f in FACTS]
    return "\n".join(["## Facts", "", "| fact | says |", "| --- | --- |", *lines, ""])


def _flags() -> str:
    words = member_words(Flag)
    lines = [f"| `{f.value}` | {words[f.value]} |" for f in Flag]
    return "\n".join(["## Flags", "", "| flag | says |", "| --- | --- |", *lines, ""])


def _runs() -> str:
    words = member_words(RunStatus)
    lines = [f"| `{s.value}` | {words[s.value]} |" for s in RunStatus]
    head = "A run is one generation's execution; each launch of it is an attempt."
    return "\n".join(["## Runs", "", head, "", "| run | meaning |", "| --- | --- |", *lines, ""])


def _first_paragraph(fact: type[Fact]) -> str:
    text = cleandoc(fact.__doc__ or "").split("\n\n")[0]
    return " ".join(text.replace("``", "`").split())


def _names(statuses: tuple[Status, ...]) -> str:
    return ", ".join(f"`{s.value}`" for s in statuses)


def main(arguments: list[str] | None = None) -> int:
    """Write or check the page; 1 where it differs from the code."""
    parser = argparse.ArgumentParser(prog="python -m coordinator.statesdoc", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="renew docs/states.md")
    what.add_argument("--check", action="store_true", help="fail where it differs from the code")
    options = parser.parse_args(arguments)
    page = render()
    if options.write:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    known = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if known == page:
        return 0
    sys.stderr.write(
        "docs/states.md differs from the code; run python -m coordinator.statesdoc --write\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
