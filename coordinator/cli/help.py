"""How ``--help`` is laid out: paragraphs that wrap, examples that do not, commands by panel.

Owns the text of a help page. It is plain text, because the library that would draw boxes around it
takes longer to import than everything else that a help page needs.
"""

from __future__ import annotations

from inspect import cleandoc
from textwrap import indent
from typing import Any

from typer.core import TyperCommand, TyperGroup

WIDTH_AT_MOST = 100
"""Columns; a wider terminal leaves the rest empty, since long lines are hard to read."""


class Verb(TyperCommand):
    """A command whose help keeps the lines of its examples."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what the command says of itself."""
        _write(self.help or "", formatter)


class Group(TyperGroup):
    """Commands in panels, in the order in which they were added."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what the group says of itself."""
        _write(self.help or "", formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one line for each command, under the heading of its panel."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            first = cleandoc(command.help or "").partition("\n\n")[0]
            panel = getattr(command, "rich_help_panel", None) or "Commands"
            panels.setdefault(panel, []).append((name, first))
        widest = max(map(len, self.commands), default=0)
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl([(f"{name:{widest}}", words) for name, words in rows])


def _write(words: str, formatter: Any) -> None:
    for paragraph in cleandoc(words).split("\n\n"):
        formatter.write_paragraph()
        with formatter.indentation():
            if paragraph.startswith(" "):
                formatter.write(indent(paragraph, " " * formatter.current_indent) + "\n")
            else:
                formatter.write_text(paragraph)
