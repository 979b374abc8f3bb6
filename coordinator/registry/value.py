"""A validated registry: a frozen value that answers who is who, and who needs what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coordinator.core.spec import ProcessorSpec, Requirement, TableSpec, Window
from coordinator.registry.meaning import diff_meanings, processor_dict, table_dict, window_dict
from coordinator.registry.mistakes import RegistryMistake


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependent:
    """A processor's line that names a table: one entry of the reverse index.

    Exactly one of ``offset`` (in days; the partition's date is the load's date minus it) and
    ``window`` is set.
    """

    spec: ProcessorSpec
    requirement: Requirement
    offset: int | None = None
    window: Window | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A validated registry; a frozen value that may be shared between threads.

    ``tables`` holds raw tables, the calendar's table and every processor's output (with its
    ``producer``), ``processors`` the specs; both in the file's order. ``registry_hash`` is the
    SHA-256 (hex) of the meaning: comments, white space, the order of keys and defaults that are
    written out do not change it. ``warnings`` are lines that are valid and have no effect.
    """

    version: int
    timezone: str
    calendar_table: str | None
    known_from: str | None
    tables: Mapping[str, TableSpec]
    processors: Mapping[str, ProcessorSpec]
    registry_hash: str
    text: str = field(repr=False, compare=False, default="")
    warnings: tuple[RegistryMistake, ...] = field(repr=False, compare=False, default=())
    _tables_by_name: Mapping[str, str] = field(repr=False, compare=False, default_factory=dict)
    _processors_by_name: Mapping[str, str] = field(repr=False, compare=False, default_factory=dict)
    _dependents: Mapping[str, tuple[Dependent, ...]] = field(
        repr=False, compare=False, default_factory=dict
    )
    _order: tuple[str, ...] = field(repr=False, compare=False, default=())

    def table_for(self, name: str) -> TableSpec | None:
        """The table that a message means by ``name``, or None.

        A declared name, an alias of a table, a processor's name or alias (which mean its output),
        or a table's name without its data set where only one table has it; in this order.
        """
        found = self._tables_by_name.get(name)
        return None if found is None else self.tables[found]

    def processor_for(self, name: str) -> ProcessorSpec | None:
        """The processor called ``name``, or having it as an alias, or owning the output ``name``."""
        found = self._processors_by_name.get(name)
        return None if found is None else self.processors[found]

    def dependents(self, table: str) -> tuple[Dependent, ...]:
        """Every enabled line that names ``table`` (its full name), upstream processors first."""
        return self._dependents.get(table, ())

    def in_order(self) -> tuple[ProcessorSpec, ...]:
        """Every processor after those whose output it needs on the same date, stable by name."""
        return tuple(self.processors[name] for name in self._order)

    def graph(self) -> dict[str, list[dict[str, Any]]]:
        """Nodes and edges for a page: tables, processors, who needs and who writes what."""
        nodes: list[dict[str, Any]] = [
            {
                "id": t.name,
                "kind": "table",
                "grain": t.grain.value,
                "enabled": t.enabled,
                "producer": t.producer,
                "calendar": t.name == self.calendar_table,
            }
            for t in self.tables.values()
        ]
        nodes += [
            {"id": p.name, "kind": "processor", "phase": p.phase, "output": p.output}
            for p in self.in_order()
        ]
        edges: list[dict[str, Any]] = []
        for p in self.in_order():
            edges += [
                {
                    "from": table,
                    "to": p.name,
                    "kind": r.kind.value,
                    "critical": r.critical,
                    "requirement": r.key,
                    "offset": r.offset if r.window is None else None,
                    "window": window_dict(r.window),
                }
                for r in p.requirements
                for table in r.sources
            ]
            edges.append({"from": p.name, "to": p.output, "kind": "output"})
        return {"nodes": nodes, "edges": edges}

    def meaning(self) -> dict[str, Any]:
        """Everything that the file says, in one spelling: what is hashed, shown and compared."""
        calendar = None
        if self.calendar_table is not None or self.known_from is not None:
            calendar = {"table": self.calendar_table, "known_from": self.known_from}
        return {
            "version": self.version,
            "timezone": self.timezone,
            "calendar": calendar,
            "tables": {t.name: table_dict(t) for t in self.tables.values()},
            "processors": {p.name: processor_dict(p) for p in self.processors.values()},
        }

    def as_dict(self) -> dict[str, Any]:
        """All of it for JSON; durations as ``{"seconds": 900, "text": "15m"}``. Not the text."""
        return {
            **self.meaning(),
            "registry_hash": self.registry_hash,
            "warnings": [str(w) for w in self.warnings],
        }


def diff(old: Registry, new: Registry) -> list[str]:
    """What ``new`` means that ``old`` did not, one readable line each; empty where nothing changed.

    The order of a processor's lines and how the file is written make no difference.
    """
    return diff_meanings(old.meaning(), new.meaning())
