"""Who answers to which name: every table, its aliases, and the processor that writes it.

Owns the rule that a name means one table (specification 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from coordinator.core.spec import TableSpec
from coordinator.registry.document import Loc
from coordinator.registry.mistakes import Mistakes
from coordinator.registry.models import ProcessorEntry, RegistryEntry, TableEntry

_PLAIN = TableEntry()


class _Owner(NamedTuple):
    """What a name means: a table (a processor's name means its output)."""

    table: str
    called: str
    loc: Loc
    is_key: bool


class Names:
    """Every name of a file, and the tables that they mean. Notes each name with two owners."""

    def __init__(self, file: RegistryEntry, mistakes: Mistakes) -> None:
        self._mistakes = mistakes
        self._owners: dict[str, _Owner] = {}
        self.tables: dict[str, TableSpec] = {}
        """The declared ones, the calendar's and every output, in this order."""
        self.calendar_table: str | None = None
        for name, table in file.tables.items():
            self._declare(name, table or _PLAIN)
        if file.calendar is not None:
            self._declare_calendar(file.calendar.table)
        for name, processor in file.processors.items():
            self._declare_output(name, processor)
        self._bare: dict[str, set[str]] = {}
        for name in self.tables:
            self._bare.setdefault(name.split(".", 1)[1], set()).add(name)

    def means(self, name: str) -> set[str]:
        """The full names of the tables that a name could mean."""
        owner = self._owners.get(name)
        return {owner.table} if owner is not None else self._bare.get(name, set())

    def by_name(self) -> Mapping[str, str]:
        """Every name that means one table → the table. Given names win over bare ones."""
        names = {b: next(iter(tables)) for b, tables in self._bare.items() if len(tables) == 1}
        names.update((name, owner.table) for name, owner in self._owners.items())
        return names

    # ── declaring ────────────────────────────────────────────────────────────────────────────

    def _claim(self, name: str, table: str, called: str, loc: Loc, *, key: bool = False) -> None:
        owner = self._owners.setdefault(name, _Owner(table, called, loc, key))
        if owner.table == table:
            return
        place = self._mistakes.place(owner.loc)
        self._mistakes.at(
            loc,
            f"{name!r} belongs to {owner.called} already (line:column {place.line}:{place.column});"
            " a name means one table, so remove it from one of them",
            key=key,
        )

    def _declare(self, name: str, table: TableEntry) -> None:
        loc: Loc = ("tables", name)
        self._claim(name, name, f"table {name}", loc, key=True)
        for alias, here in _aliases(table, loc):
            self._claim(alias, name, f"table {name}", here)
        self.tables[name] = TableSpec(
            name=name, grain=table.grain, enabled=table.enabled, aliases=_unique(table.aliases)
        )

    def _declare_calendar(self, name: str) -> None:
        loc: Loc = ("calendar", "table")
        self._claim(name, name, f"table {name}", loc)
        self.calendar_table = name
        if not self.tables.setdefault(name, TableSpec(name=name)).enabled:
            self._mistakes.at(
                loc,
                f"{name} is disabled under tables, so the calendar would stay unknown; enable it",
            )

    def _declare_output(self, name: str, processor: ProcessorEntry) -> None:
        if not processor.output:
            return  # it is missing or bad, which is noted
        loc: Loc = ("processors", name)
        called, output = f"processor {name}", processor.output
        table = self.tables.get(output, TableSpec(name=output))
        fix = "so give this processor its own"
        if table.producer is not None:
            self._mistakes.at(
                (*loc, "output"),
                f"{output!r} is written by {table.producer} already; a table has one owner, {fix}",
            )
        elif output == self.calendar_table:
            self._mistakes.at(
                (*loc, "output"),
                "is the calendar's table; its games come from loads, not from a processor, " + fix,
            )
        else:
            self._claim(output, output, called, (*loc, "output"))
            self.tables[output] = replace(table, producer=name)
        self._claim(name, output, called, loc, key=True)
        for alias, here in _aliases(processor, loc):
            self._claim(alias, output, called, here)


def _aliases(entry: TableEntry | ProcessorEntry, loc: Loc) -> Iterator[tuple[str, Loc]]:
    for i, alias in enumerate(entry.aliases):
        yield alias, (*loc, "aliases", i)


def _unique(aliases: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(aliases))
