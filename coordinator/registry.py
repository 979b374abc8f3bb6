"""``registry.yaml`` → validated specs, names, the reverse index and a hash (contract section 2).

Owns what each key means, which values it takes, and every mistake with its place and mend.
Refuses to half-accept: either the whole file is good and a frozen ``Registry`` comes out, or a
``RegistryError`` carries all mistakes that were found.

The file is read in two rounds, because a line may name a table that is declared further down:
first every name and its owner, then what each processor needs.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from coordinator.core.model import Grain
from coordinator.core.spec import (
    ClockTime,
    Deadline,
    DeadlineAction,
    LaunchKind,
    LaunchTarget,
    OffDay,
    Policy,
    ProcessorSpec,
    Requirement,
    RequirementKind,
    ScheduleEntry,
    ScheduleWhen,
    TableSpec,
    Window,
)
from coordinator.registry_meaning import POLICY_KEYS, diff_meanings, meaning, window_dict
from coordinator.registry_yaml import (
    MAX_BYTES,
    Entries,
    Fields,
    Mistakes,
    Node,
    Place,
    RegistryError,
    RegistryMistake,
    Scalar,
    UnreadableRegistry,
    Values,
    YamlMistakeError,
    did_you_mean,
    kind_of,
    read,
    shown,
)

KEYS: Mapping[str, tuple[str, ...]] = {
    "registry": ("version", "timezone", "calendar", "defaults", "tables", "processors"),
    "calendar": ("table", "known_from"),
    "defaults": (*POLICY_KEYS, "launch"),
    "table": ("aliases", "grain", "enabled"),
    "processor": (
        *("aliases", "phase", "output", "requires", "entrypoint", "launch"),
        *POLICY_KEYS,
    ),
    "requirement": (
        *("table", "any_of", "prefer_for", "at_least", "of", "critical", "expected_count_min"),
        *("expected_count_per_game", "min_coverage", "max_age_hours_warn", "max_age_hours_fail"),
        "dates",
    ),
    "dates": ("offset", "last_game_dates", "window_days", "min_ready"),
    "not_before": ("at", "day"),
    "deadline": ("at", "day", "then"),
    "schedule": ("at", "day", "when"),
    "launch": ("local", "http", "pubsub"),
}
"""Every key that the file may hold, by the mapping it stands in."""

MAX_TABLES = 500
MAX_PROCESSORS = 200
MAX_REQUIREMENTS = 50
MAX_GROUP = 20
MAX_ALIASES_PER_NAME = 50
MAX_SCHEDULE = 50
MAX_WINDOW = 366
"""Dates, for a window, and days, for an offset."""
MAX_AGE_HOURS = 24 * 366
MAX_CYCLES = 20
"""Cycles that are named at once."""

_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_PROCESSOR_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}", re.ASCII)
_TABLE_NAME = re.compile(r"(?=.{3,100}\Z)[A-Za-z][A-Za-z0-9_-]*\.[A-Za-z0-9_-]+", re.ASCII)
_ENTRYPOINT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_TOPIC = re.compile(
    r"(projects/[a-z][a-z0-9.:-]{1,62}/topics/)?(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}", re.ASCII
)


# ── what comes out ───────────────────────────────────────────────────────────────────────────


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

    def as_dict(self) -> dict[str, Any]:
        """All of it for JSON; durations as ``{"seconds": 900, "text": "15m"}``. Not the text."""
        told = meaning(self)
        told["registry_hash"] = self.registry_hash
        told["warnings"] = [str(w) for w in self.warnings]
        return told


def diff(old: Registry, new: Registry) -> list[str]:
    """What ``new`` means that ``old`` did not, one readable line each; empty where nothing changed.

    The order of a processor's lines and how the file is written make no difference.
    """
    return diff_meanings(meaning(old), meaning(new))


def load(path: str | Path) -> Registry:
    """Read and validate a registry file.

    Raises:
        UnreadableRegistry: the file cannot be read.
        RegistryError: it is not UTF-8, or holds mistakes; all of them are named.
    """
    name = str(path)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        mistake = RegistryMistake("", f"cannot be read: {why}; name a registry file", None, name)
        raise UnreadableRegistry(name, [mistake]) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(raw) <= MAX_BYTES:
            before = raw[: error.start].decode("utf-8-sig", "replace")
            line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
            sentence = "the file is not UTF-8 from this place on; save it as UTF-8"
            bad = RegistryMistake("", sentence, None, name, line, column)
            raise RegistryError(name, [bad]) from error
        text = raw.decode("utf-8", "replace")  # over the limit in any case: parse says so
    return parse(text, name)


def parse(text: str, name: str = "registry.yaml") -> Registry:
    """Validate the text of a registry; ``name`` is how mistakes call the file.

    Raises:
        RegistryError: with every mistake that was found, each with line and column.
    """
    mistakes = Mistakes(name)
    try:
        root, repeated = read(text.removeprefix("\ufeff"))
    except YamlMistakeError as error:
        for place, sentence in error.mistakes:
            mistakes.add(place, "", sentence)
        raise RegistryError(name, mistakes.sorted()) from error
    for place, sentence in repeated:
        mistakes.add(place, "", sentence)
    builder = _Builder(mistakes)
    builder.read(root)
    if mistakes.found:
        raise RegistryError(name, mistakes.sorted())
    return builder.registry(text)


# ── reading values ───────────────────────────────────────────────────────────────────────────

_NOTHING: Any = object()
_BUILT_IN = Policy()


class _Policies(Values):
    """Reads clock times, policies and launch targets."""

    def clock(self, found: Fields, node: Node, path: str) -> ClockTime | None:
        """``at`` and ``day`` of a mapping."""
        day = self.integer(found["day"][1], f"{path}.day", -30, 366) if "day" in found else 0
        if "at" not in found:
            self.wrong(node, path, "needs 'at', a time such as \"09:00\"")
            return None
        at = found["at"][1]
        text = at.value if isinstance(at, Scalar) else None
        match = _CLOCK.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            sentence = (
                f'{shown(at)} is no time of day; write "HH:MM" or "HH:MM:SS", 00:00 to 23:59:59'
            )
            self.wrong(at, f"{path}.at", sentence)
            return None
        hour, minute, second = (int(part or 0) for part in match.groups())
        return ClockTime(hour=hour, minute=minute, second=second, day=day or 0)

    # policies

    def policy(self, found: Fields, path: str) -> dict[str, Any]:
        """The policy keys among ``found``, as arguments of ``Policy``; ``null`` is the built-in."""
        policy: dict[str, Any] = {}
        for key in POLICY_KEYS:
            if key in found:
                value = self._policy_value(key, found[key][1], f"{path}.{key}")
                if value is not _NOTHING:
                    policy[key] = value
        return policy

    def _policy_value(self, key: str, node: Node, path: str) -> Any:
        if _is_null(node):
            return getattr(_BUILT_IN, key)
        value: Any
        match key:
            case "not_before":
                found = self.fields(node, path, KEYS["not_before"])
                value = None if found is None else self.clock(found, node, path)
            case "deadline":
                value = self._deadline(node, path)
            case "schedule":
                value = self._schedule(node, path)
            case "max_refires":
                value = self.integer(node, path, 0, 1000)
            case "attempts":
                value = self.integer(node, path, 1, 20)
            case "off_day":
                chosen = self.choice(node, path, [o.value for o in OffDay])
                value = None if chosen is None else OffDay(chosen)
            case _:
                zero = key not in ("run_timeout", "heartbeat_timeout", "claim_timeout")
                value = self.duration(node, path, zero=zero)
        return _NOTHING if value is None else value

    def _deadline(self, node: Node, path: str) -> Deadline | None:
        found = self.fields(node, path, KEYS["deadline"])
        if found is None:
            return None
        at = self.clock(found, node, path)
        then: str | None = DeadlineAction.ALERT.value
        if "then" in found:
            then = self.choice(found["then"][1], f"{path}.then", [a.value for a in DeadlineAction])
        return None if at is None or then is None else Deadline(at=at, then=DeadlineAction(then))

    def _schedule(self, node: Node, path: str) -> tuple[ScheduleEntry, ...] | None:
        items = self.items(node, path, MAX_SCHEDULE, "times")
        if items is None:
            return None
        entries: list[ScheduleEntry] = []
        for i, item in enumerate(items):
            here = f"{path}[{i}]"
            found = self.fields(item, here, KEYS["schedule"])
            if found is None:
                continue
            at = self.clock(found, item, here)
            when: str | None = ScheduleWhen.READY.value
            if "when" in found:
                when = self.choice(
                    found["when"][1], f"{here}.when", [w.value for w in ScheduleWhen]
                )
            if at is not None and when is not None:
                entries.append(ScheduleEntry(at=at, when=ScheduleWhen(when)))
        return tuple(entries)

    def launch(self, node: Node, path: str) -> LaunchTarget | None:
        found = self.fields(node, path, KEYS["launch"])
        if found is None:
            return None
        if len(found) != 1:
            if _misspelt(node, found):
                return None
            had = " and ".join(found) or "none"
            self.wrong(node, path, f"must hold exactly one of local, http and pubsub, not {had}")
            return None
        kind, (_, target) = next(iter(found.items()))
        here = f"{path}.{kind}"
        if kind == "local":
            if self.boolean(target, here) is False:
                self.wrong(
                    target, here, "must be true; leave launch out for the deployment's default"
                )
            return LaunchTarget(kind=LaunchKind.LOCAL)
        address = self.string(target, here)
        if address is None:
            return None
        if kind == "http" and (wrong := _wrong_url(address)):
            self.wrong(target, here, wrong)
        if kind == "pubsub" and not _TOPIC.fullmatch(address):
            self.wrong(
                target,
                here,
                f"{shown(target)} is no topic; write its id (a letter, then 2 to 254 of letters, "
                "digits and ._~+%-, not starting with goog), or projects/PROJECT/topics/ID",
            )
        return LaunchTarget(kind=LaunchKind(kind), address=address)


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _misspelt(node: Node, found: Fields) -> bool:
    """Whether a mapping held unknown keys, so that a missing one has been told of already."""
    return isinstance(node, Entries) and len(found) < len(node.items)


def _wrong_url(address: str) -> str | None:
    """What is wrong with a URL that launches are posted to, as a sentence, or None."""
    mend = "write http:// or https://, a host and a path"
    if len(address) > 2048 or not address.isascii() or not address.isprintable() or " " in address:
        return f"is no URL (too long, or with spaces or other letters than ASCII's); {mend}"
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"is no URL ({error}); {mend}"
    if parts.scheme not in ("http", "https") or not host:
        return f"{address[:60]} is no http or https URL; {mend}"
    if parts.username is not None or parts.password is not None:
        return "holds a user name or password, which everybody who sees the registry would read; take it out"
    return None


# ── building ─────────────────────────────────────────────────────────────────────────────────


class _Claim(NamedTuple):
    """Who answers to a name: a table (a processor answers for its output)."""

    table: str
    owner: str
    place: Place


class _RawProcessor(NamedTuple):
    """A processor after the first round: its name and its fields, not yet its needs."""

    key: Scalar
    path: str
    found: Fields
    phase: int
    output: str
    aliases: tuple[str, ...]


class _Edge(NamedTuple):
    """``needs`` needs ``needed``, ``offset`` days from its own date (a window: the day before)."""

    needs: str
    needed: str
    offset: int
    place: Place
    path: str


class _Builder:
    """Holds what the two rounds find out, and assembles the registry at the end."""

    def __init__(self, mistakes: Mistakes) -> None:
        self.mistakes = mistakes
        self.values = _Policies(mistakes)
        self.timezone = "America/New_York"
        self.calendar_table: str | None = None
        self.known_from: str | None = None
        self.defaults: dict[str, Any] = {}
        self.default_launch: LaunchTarget | None = None
        self.tables: dict[str, TableSpec] = {}
        self.raw: list[_RawProcessor] = []
        self.specs: dict[str, ProcessorSpec] = {}
        self.claims: dict[str, _Claim] = {}
        self.bare: dict[str, set[str]] = {}
        self.edges: list[_Edge] = []
        self.used: set[str] = set()
        self.warnings = Mistakes(mistakes.name)
        self.table_places: dict[str, Place] = {}

    def read(self, root: Node | None) -> None:
        """Both rounds."""
        start = Place(1, 1)
        if root is None or (isinstance(root, Scalar) and root.value is None):
            self.mistakes.add(start, "", "is empty; it needs version, tables and processors")
            return
        found = self.values.fields(root, "", KEYS["registry"])
        if found is None:
            return
        for key in ("version", "processors"):
            if key not in found:
                mend = "version: 1" if key == "version" else "processors:, with one entry each"
                self.mistakes.add(root.place, key, f"is missing; write {mend}")
        if "version" in found:
            self._read_version(found["version"][1])
        if "timezone" in found:
            self._read_timezone(found["timezone"][1])
        if "defaults" in found:
            node = found["defaults"][1]
            defaults = self.values.fields(node, "defaults", KEYS["defaults"], empty=True) or {}
            self.defaults = self.values.policy(defaults, "defaults")
            self.default_launch = self._read_launch(defaults, "defaults", None)
        if "tables" in found:
            for name, node in self.values.named(found["tables"][1], "tables", MAX_TABLES):
                self._read_table(name, node)
        if "calendar" in found:
            self._read_calendar(*found["calendar"])
        if "processors" in found:
            entries = self.values.named(found["processors"][1], "processors", MAX_PROCESSORS)
            for name, node in entries:
                self._read_processor(name, node)
        self._index_bare_names()
        for raw in self.raw:
            self._read_needs(raw)
        self._refuse_cycles()

    def _read_version(self, node: Node) -> None:
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, bool) or not isinstance(value, int) or value != 1:
            sentence = f"must be 1, the only version there is, not {kind_of(node)}"
            self.values.wrong(node, "version", sentence)

    def _read_timezone(self, node: Node) -> None:
        name = self.values.string(node, "timezone", "the name of a time zone")
        if name is None:
            return
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            meant = difflib.get_close_matches(name, sorted(_zones()), n=1, cutoff=0.5)
            mend = (
                f"did you mean {meant[0]!r}?" if meant else 'write one such as "America/New_York"'
            )
            self.values.wrong(node, "timezone", f"unknown time zone {shown(node)!r}; {mend}")
            return
        self.timezone = name

    # names

    def _claim(self, name: str, table: str, owner: str, place: Place, path: str) -> None:
        """Give ``name`` to an owner, or note that it has another one already."""
        known = self.claims.setdefault(name, _Claim(table, owner, place))
        if known.table == table:
            return
        at = f"{known.place.line}:{known.place.column}"
        self.mistakes.add(
            place,
            path,
            f"{name!r} belongs to {known.owner} already (line:column {at}); "
            "a name means one table, so take it out of one of them",
            name,
        )

    def _read_aliases(self, found: Fields, path: str) -> Iterator[tuple[str, Place, str]]:
        if "aliases" not in found:
            return
        node = found["aliases"][1]
        items = self.values.items(node, f"{path}.aliases", MAX_ALIASES_PER_NAME, "aliases")
        for i, item in enumerate(items or ()):
            here = f"{path}.aliases[{i}]"
            alias = self.values.string(item, here, "a name")
            if alias is None:
                continue
            if not (0 < len(alias) <= 200 and alias == alias.strip() and alias.isprintable()):
                sentence = "an alias has 1 to 200 visible characters, without spaces at its ends"
                self.values.wrong(item, here, sentence)
                continue
            yield alias, item.place, here

    def _table_name(self, node: Node, path: str) -> str | None:
        name = self.values.string(node, path, "a table's name, dataset.table")
        if name is None:
            return None
        if not _TABLE_NAME.fullmatch(name) or "__" in name:
            self.values.wrong(
                node,
                path,
                f"{shown(node)!r} is not a valid table name; write dataset.table, at most 100 "
                "letters, digits, _ and -, starting with a letter, without __ (ids are joined by it)",
            )
            return None
        return name

    def _read_table(self, key: Scalar, node: Node) -> None:
        path = f"tables.{shown(key)}"
        name = self._table_name(Scalar(key.place, key.text, key.text), path)
        found = self.values.fields(node, path, KEYS["table"], empty=True) or {}
        grain, enabled = Grain.DATE, True
        if "grain" in found:
            chosen = self.values.choice(
                found["grain"][1], f"{path}.grain", [g.value for g in (Grain.GAME, Grain.DATE)]
            )
            grain = Grain(chosen) if chosen is not None else grain
        if "enabled" in found:
            enabled = self.values.boolean(found["enabled"][1], f"{path}.enabled") is not False
        if name is None:
            return
        self._claim(name, name, f"table {name}", key.place, path)
        aliases = []
        for alias, place, here in self._read_aliases(found, path):
            self._claim(alias, name, f"table {name}", place, here)
            aliases.append(alias)
        unique = tuple(dict.fromkeys(aliases))
        self.tables[name] = TableSpec(name=name, grain=grain, enabled=enabled, aliases=unique)
        self.table_places[name] = key.place

    def _read_calendar(self, key: Scalar, node: Node) -> None:
        found = self.values.fields(node, "calendar", KEYS["calendar"])
        if found is None:
            return
        if "table" not in found:
            self.mistakes.add(
                key.place, "calendar", "needs 'table', whose loads carry the game_ids"
            )
        else:
            target = found["table"][1]
            name = self._table_name(target, "calendar.table")
            if name is not None:
                self._claim(name, name, f"table {name}", target.place, "calendar.table")
                self.calendar_table = name
                self.tables.setdefault(name, TableSpec(name=name))
                if not self.tables[name].enabled:
                    sentence = f"{name} is disabled under tables, so the calendar would stay unknown; enable it"
                    self.values.wrong(target, "calendar.table", sentence)
        if "known_from" in found:
            since = found["known_from"][1]
            text = self.values.string(since, "calendar.known_from", "a date, YYYY-MM-DD")
            if text is not None:
                if _is_date(text):
                    self.known_from = text
                else:
                    sentence = f"{shown(since)} is no date; write it as YYYY-MM-DD"
                    self.values.wrong(since, "calendar.known_from", sentence)

    def _read_processor(self, key: Scalar, node: Node) -> None:
        name = key.text
        path = f"processors.{shown(key)}"
        good = bool(_PROCESSOR_NAME.fullmatch(name)) and "__" not in name
        if not good:
            self.mistakes.add(
                key.place,
                path,
                f"{shown(key)!r} is no processor name; write at most 100 letters, digits, _ . -, "
                "starting with a letter, without __ (ids are joined by it)",
                shown(key),
            )
        found = self.values.fields(node, path, KEYS["processor"])
        if found is None:
            return
        phase: int | None = None
        output: str | None = None
        if "phase" in found:
            phase = self.values.integer(found["phase"][1], f"{path}.phase", 1, 99)
        else:
            self.mistakes.add(key.place, path, "needs 'phase', a whole number from 1, such as 3")
        if "output" in found:
            target = found["output"][1]
            output = self._table_name(target, f"{path}.output")
            if output is not None and good:
                self._own_output(name, output, target.place, f"{path}.output")
        else:
            self.mistakes.add(key.place, path, "needs 'output', the table that it writes")
        aliases = []
        if good and output is not None:
            self._claim(name, output, f"processor {name}", key.place, path)
        for alias, place, here in self._read_aliases(found, path):
            if good and output is not None:
                self._claim(alias, output, f"processor {name}", place, here)
            aliases.append(alias)
        unique = tuple(dict.fromkeys(aliases))
        self.raw.append(_RawProcessor(key, path, found, phase or 1, output or "", unique))

    def _own_output(self, name: str, output: str, place: Place, path: str) -> None:
        table = self.tables.get(output, TableSpec(name=output))
        if table.producer is not None:
            sentence = f"{output!r} is written by {table.producer} already; a table has one owner"
            self.mistakes.add(place, path, f"{sentence}, so give this processor its own", output)
            return
        if output == self.calendar_table:
            sentence = "is the calendar's table; its games come from loads, not from a processor"
            self.mistakes.add(place, path, f"{sentence}, so give this processor its own", output)
            return
        self._claim(output, output, f"processor {name}", place, path)
        self.tables[output] = replace(table, producer=name)

    def _index_bare_names(self) -> None:
        for name in self.tables:
            self.bare.setdefault(name.split(".", 1)[1], set()).add(name)

    # needs

    def _read_needs(self, raw: _RawProcessor) -> None:
        path, found = raw.path, raw.found
        policy = Policy(**{**self.defaults, **self.values.policy(found, path)})
        requirements: list[Requirement] = []
        disabled: list[str] = []
        if "requires" not in found:
            self.mistakes.add(
                raw.key.place, path, "needs 'requires', the list of what it waits for"
            )
        else:
            requirements = self._read_requirements(raw, found["requires"][1], disabled)
        entrypoint: str | None = None
        if "entrypoint" in found:
            node = found["entrypoint"][1]
            entrypoint = self.values.string(node, f"{path}.entrypoint", "module:attribute")
            if entrypoint is not None and not _ENTRYPOINT.fullmatch(entrypoint):
                sentence = f'{shown(node)} is no entry point; write "package.module:Name"'
                self.values.wrong(node, f"{path}.entrypoint", sentence)
        launch = self._read_launch(found, path, self.default_launch)
        self.specs[raw.key.text] = ProcessorSpec(
            name=raw.key.text,
            phase=raw.phase,
            output=raw.output,
            requirements=tuple(requirements),
            policy=policy,
            timezone=self.timezone,
            grains={t: self.tables[t].grain for r in requirements for t in r.sources},
            producers={
                t: writer
                for r in requirements
                for t in r.sources
                if (writer := self.tables[t].producer) is not None
            },
            calendar_table=self.calendar_table,
            known_from=self.known_from,
            aliases=raw.aliases,
            disabled=tuple(dict.fromkeys(disabled)),
            entrypoint=entrypoint,
            launch=launch,
        )

    def _read_launch(
        self, found: Fields, path: str, default: LaunchTarget | None
    ) -> LaunchTarget | None:
        """The launch target of a mapping; None where ``null`` leaves it to the deployment."""
        if "launch" not in found:
            return default
        node = found["launch"][1]
        return None if _is_null(node) else self.values.launch(node, f"{path}.launch")

    def _read_requirements(
        self, raw: _RawProcessor, node: Node, disabled: list[str]
    ) -> list[Requirement]:
        path = f"{raw.path}.requires"
        items = self.values.items(node, path, MAX_REQUIREMENTS, "requirements")
        if items is None:
            return []
        before = len(self.mistakes.found)
        kept: list[Requirement] = []
        keys: dict[str, int] = {}
        for i, item in enumerate(items):
            requirement = self._read_requirement(raw, item, f"{path}[{i}]", disabled)
            if requirement is None:
                continue
            times = keys[requirement.key] = keys.get(requirement.key, 0) + 1
            if times > 1:
                requirement = replace(requirement, key=f"{requirement.key} #{times}")
            if requirement.sources:
                kept.append(requirement)
        if len(self.mistakes.found) > before:
            return kept
        if not kept:
            what = "is empty" if not items else "names only disabled tables"
            sentence = f"{what}, so nothing could ever start it; name at least one enabled table"
            self.values.wrong(node, path, sentence)
        elif all(r.window is not None and not r.critical for r in kept):
            sentence = "holds optional windows alone, and arrivals in a window start nothing"
            self.values.wrong(
                node, path, f"{sentence}; make one critical, or name a table without it"
            )
        return kept

    def _read_requirement(
        self, raw: _RawProcessor, node: Node, path: str, disabled: list[str]
    ) -> Requirement | None:
        """One line; without sources where all of an optional line's are disabled."""
        values = self.values
        found = values.fields(node, path, KEYS["requirement"])
        if found is None:
            return None
        form = self._form(found, node, path)
        if form is None:
            return None
        kind, named, needed = form
        offset, window = 0, None
        if "dates" in found:
            offset, window = self._read_dates(found["dates"][1], f"{path}.dates", kind)
        critical = True
        if "critical" in found:
            critical = values.boolean(found["critical"][1], f"{path}.critical") is not False
        sources = tuple(t for t in named if self.tables[t].enabled)
        off = [t for t in named if not self.tables[t].enabled]
        disabled += off
        if critical and len(sources) < needed:
            if kind is RequirementKind.AT_LEAST:
                what = f"needs {needed} of its tables and has {len(sources)} enabled"
            else:
                what = "has no enabled table left"
            self.mistakes.add(
                node.place,
                path,
                f"is critical and {what} ({', '.join(off)} disabled), so it could never be met; "
                "enable a table, or make it critical: false",
            )
        elif sources and len(sources) < needed:
            sentence = f"has no effect: it needs {needed} tables and has {len(sources)} enabled"
            self.warnings.add(node.place, path, sentence)
            sources = ()
        counts = self._read_counts(found, path)
        prefer_for = timedelta(0)
        if "prefer_for" in found:
            named_at, value = found["prefer_for"]
            prefer_for = values.duration(value, f"{path}.prefer_for") or prefer_for
            if kind is not RequirementKind.ANY_OF:
                sentence = "only an any_of group has an order of preference; take it out"
                self.mistakes.add(named_at.place, f"{path}.prefer_for", sentence)
        self._note_no_effect(found, path, sources, window)
        self.used.update(named)
        for table in sources:
            producer = self.tables[table].producer
            if producer is not None:
                day = -1 if window is not None else offset
                self.edges.append(_Edge(raw.key.text, producer, day, node.place, path))
        return Requirement(
            key=_requirement_key(kind, named, needed, offset, window),
            kind=RequirementKind.WINDOW if window is not None else kind,
            sources=sources,
            critical=critical,
            needed=needed,
            offset=offset,
            window=window,
            prefer_for=prefer_for,
            **counts,
        )

    def _form(
        self, found: Fields, node: Node, path: str
    ) -> tuple[RequirementKind, tuple[str, ...], int] | None:
        """Which form the line has, the tables it names, and how many must be met."""
        forms = [k for k in ("table", "any_of", "at_least") if k in found]
        if "of" in found and "at_least" not in found and not _misspelt(node, found):
            key = found["of"][0]
            sentence = "stands without 'at_least', how many of them are needed; add it"
            self.mistakes.add(key.place, f"{path}.of", sentence)
            return None
        if len(forms) != 1:
            if _misspelt(node, found):
                return None
            had = " and ".join(forms) or "none"
            sentence = f"names its tables by exactly one of table, any_of, or at_least with of; it has {had}"
            self.mistakes.add(node.place, path, f"{sentence}; split or complete the line")
            return None
        if forms == ["table"]:
            table = self._known_table(found["table"][1], f"{path}.table")
            return None if table is None else (RequirementKind.TABLE, (table,), 1)
        if forms == ["any_of"]:
            group = self._group(found["any_of"][1], f"{path}.any_of")
            return None if group is None else (RequirementKind.ANY_OF, group, 1)
        key, count = found["at_least"]
        if "of" not in found:
            sentence = "stands without 'of', the list of tables; add it"
            self.mistakes.add(key.place, f"{path}.at_least", sentence)
            return None
        group = self._group(found["of"][1], f"{path}.of")
        most = len(group) if group is not None else MAX_GROUP
        needed = self.values.integer(count, f"{path}.at_least", 1, most)
        return (
            None if group is None or needed is None else (RequirementKind.AT_LEAST, group, needed)
        )

    def _group(self, node: Node, path: str) -> tuple[str, ...] | None:
        items = self.values.items(node, path, MAX_GROUP, "tables")
        if items is None:
            return None
        if not items:
            self.values.wrong(node, path, "is empty; name the tables of the group")
            return None
        named: list[str] = []
        good = True
        for i, item in enumerate(items):
            table = self._known_table(item, f"{path}[{i}]")
            if table is None:
                good = False
            elif table in named:
                good = False
                self.values.wrong(
                    item, f"{path}[{i}]", f"{table!r} stands twice in the group; keep one"
                )
            else:
                named.append(table)
        return tuple(named) if good else None

    def _known_table(self, node: Node, path: str) -> str | None:
        name = self.values.string(node, path, "a table's name, dataset.table")
        if name is None or name in self.tables:
            return name
        claim = self.claims.get(name)
        near = {claim.table} if claim is not None else self.bare.get(name, set())
        if near:
            mend = f"requirements use the full name: {' or '.join(sorted(near))}"
        else:
            mend = f"{did_you_mean(name, self.tables)}; a new one has to be declared under tables"
        self.values.wrong(node, path, f"unknown table {shown(node)!r}; {mend}")
        return None

    def _read_dates(
        self, node: Node, path: str, kind: RequirementKind
    ) -> tuple[int, Window | None]:
        """The offset in days, or the window, of a line."""
        values = self.values
        found = values.fields(node, path, KEYS["dates"])
        if found is None:
            return 0, None
        forms = [k for k in ("offset", "last_game_dates", "window_days") if k in found]
        if len(forms) != 1:
            if _misspelt(node, found):
                return 0, None
            had = " and ".join(forms) or "none"
            sentence = f"holds exactly one of offset, last_game_dates and window_days; it has {had}"
            self.mistakes.add(node.place, path, f"{sentence}. A window never holds its own date")
            return 0, None
        if forms == ["offset"]:
            if "min_ready" in found:
                sentence = "belongs to a window; an offset looks at one date, so take it out"
                self.mistakes.add(found["min_ready"][0].place, f"{path}.min_ready", sentence)
            offset = values.integer(found["offset"][1], f"{path}.offset", -MAX_WINDOW, MAX_WINDOW)
            return offset or 0, None
        form = forms[0]
        if kind is not RequirementKind.TABLE:
            sentence = (
                f"a window looks at one table, and this line is {_article(kind)} group; "
                "give each table its own line, or take the window out"
            )
            self.mistakes.add(found[form][0].place, f"{path}.{form}", sentence)
        size = self._window_size(found[form][1], f"{path}.{form}")
        min_ready = 1.0
        if "min_ready" in found:
            min_ready = values.above_zero(found["min_ready"][1], f"{path}.min_ready", 1) or 1.0
        if form == "window_days":
            return 0, Window(days=size, min_ready=min_ready)
        return 0, Window(game_dates=size, min_ready=min_ready)

    def _window_size(self, node: Node, path: str) -> int:
        value = node.value if isinstance(node, Scalar) else None
        if value == 0 and value is not False:
            sentence = "a window of 0 would look at its own date; a window looks at dates before it"
            self.values.wrong(node, path, f"{sentence}, so write 1 or more, or leave dates out")
            return 1
        return self.values.integer(node, path, 1, MAX_WINDOW) or 1

    def _read_counts(self, found: Fields, path: str) -> dict[str, Any]:
        """Minimums, coverage and ages of a line, as arguments of ``Requirement``."""
        values, counts = self.values, dict[str, Any]()
        if "expected_count_min" in found:
            here = f"{path}.expected_count_min"
            counts["expected_count_min"] = values.integer(
                found["expected_count_min"][1], here, 1, 1_000_000_000
            )
        if "expected_count_per_game" in found:
            here = f"{path}.expected_count_per_game"
            counts["expected_count_per_game"] = values.above_zero(
                found["expected_count_per_game"][1], here, 1_000_000
            )
        if "min_coverage" in found:
            here = f"{path}.min_coverage"
            share = values.above_zero(found["min_coverage"][1], here, 1)
            counts["min_coverage"] = share if share is not None else 1.0
        ages: dict[str, float] = {}
        for key in ("max_age_hours_warn", "max_age_hours_fail"):
            if key in found:
                hours = values.above_zero(found[key][1], f"{path}.{key}", MAX_AGE_HOURS)
                if hours is not None:
                    ages[key] = hours
                    counts[key.replace("hours_", "")] = timedelta(hours=hours)
        if len(ages) == 2 and ages["max_age_hours_warn"] >= ages["max_age_hours_fail"]:
            values.wrong(
                found["max_age_hours_warn"][1],
                f"{path}.max_age_hours_warn",
                f"must be less than max_age_hours_fail ({ages['max_age_hours_fail']:g}), "
                "else nobody would be warned before it fails",
            )
        return counts

    def _note_no_effect(
        self, found: Fields, path: str, sources: Sequence[str], window: Window | None
    ) -> None:
        """Note lines that are valid and do nothing."""
        by_game = any(self.tables[t].grain is Grain.GAME for t in sources)
        if "min_coverage" in found and sources and not by_game:
            sentence = "has no effect: no table of this line has grain: game"
            self.warnings.add(found["min_coverage"][0].place, f"{path}.min_coverage", sentence)
        for key in ("max_age_hours_warn", "max_age_hours_fail"):
            if key in found and window is not None:
                sentence = "has no effect: the age of loads is not judged in a window"
                self.warnings.add(found[key][0].place, f"{path}.{key}", sentence)
        if window is not None and self.known_from is None:
            sentence = "calendar.known_from is not set, so a season's first dates stay unmet"
            self.warnings.add(found["dates"][0].place, f"{path}.dates", sentence)

    # cycles

    def _refuse_cycles(self) -> None:
        """Name each cycle at the same date, else one that never moves back in time."""
        edges = {(e.needs, e.needed): e for e in reversed(self.edges) if e.offset == 0}
        found = False
        for _ in range(MAX_CYCLES):
            graph: dict[str, set[str]] = {}
            for needs, needed in edges:
                graph.setdefault(needs, set()).add(needed)
            cycle = _cycle(graph)
            if cycle is None:
                break
            found = True
            first = self._name_cycle(list(reversed(cycle)), edges)
            del edges[first]
        if not found:
            self._refuse_forward_cycle()

    def _name_cycle(
        self, cycle: list[str], edges: Mapping[tuple[str, str], _Edge]
    ) -> tuple[str, str]:
        """Note a cycle at its last line in the file, which most likely was added last."""
        pairs = list(pairwise(cycle))
        last = max(pairs, key=lambda p: edges[p].place)
        start = pairs.index(last)
        turned = [*(a for a, _ in pairs[start:]), *(a for a, _ in pairs[:start]), last[0]]
        self.mistakes.add(
            edges[last].place,
            edges[last].path,
            f"makes a cycle on the same date: {' needs '.join(turned)}; none of them could ever "
            "run, so take one of these lines out or let it look at an earlier date "
            "(dates: {offset: -1})",
        )
        return last

    def _refuse_forward_cycle(self) -> None:
        """Refuse a cycle whose offsets add up to 0 or more: it waits for itself or the future.

        Bellman-Ford over whole numbers: ``-(offset * n + 1)`` with n above the number of
        processors makes a cycle negative exactly where its offsets add up to 0 or more.
        """
        scale = len(self.raw) + 1
        furthest: dict[tuple[str, str], _Edge] = {}
        for e in sorted(self.edges, key=lambda e: e.offset):
            furthest[e.needs, e.needed] = e
        edges = tuple(furthest.values())
        cost = {name: 0 for e in edges for name in (e.needs, e.needed)}
        through: dict[str, _Edge] = {}
        changed: str | None = None
        for _ in range(len(cost) + 1):
            changed = None
            for e in edges:
                reached = cost[e.needs] - (e.offset * scale + 1)
                if reached < cost[e.needed]:
                    cost[e.needed] = reached
                    through[e.needed] = e
                    changed = e.needed
            if changed is None:
                return
        assert changed is not None
        for _ in range(len(cost)):
            changed = through[changed].needs
        cycle = [through[changed]]
        while cycle[-1].needs != changed:
            cycle.append(through[cycle[-1].needs])
        forward = max(cycle, key=lambda e: (e.offset, e.place))
        i = cycle.index(forward)
        turned = [*reversed(cycle[: i + 1]), *reversed(cycle[i + 1 :])]
        told = ", ".join(f"{e.needs} needs {e.needed} at {e.offset:+d}d" for e in turned)
        self.mistakes.add(
            forward.place,
            f"{forward.path}.dates",
            f"makes a cycle that never ends in an earlier date: {told}; offsets around a cycle "
            "must add up to less than 0, so look back here or take the line out",
        )

    # assembly

    def registry(self, text: str) -> Registry:
        """The registry; only to be called when no mistake was found."""
        for name, table in self.tables.items():
            if name not in self.used and table.producer is None and name != self.calendar_table:
                sentence = "no processor needs this table, so its events are ignored and counted"
                self.warnings.add(self.table_places[name], f"tables.{name}", sentence)
        bare = Registry(
            version=1,
            timezone=self.timezone,
            calendar_table=self.calendar_table,
            known_from=self.known_from,
            tables=self.tables,
            processors=self.specs,
            registry_hash="",
        )
        said = json.dumps(meaning(bare), sort_keys=True, separators=(",", ":"))
        registry_hash = hashlib.sha256(said.encode()).hexdigest()
        specs = {n: replace(s, registry_hash=registry_hash) for n, s in self.specs.items()}
        names = {b: next(iter(tables)) for b, tables in self.bare.items() if len(tables) == 1}
        names.update((name, claim.table) for name, claim in self.claims.items())
        processors = {n: p for n, t in names.items() if (p := self.tables[t].producer) is not None}
        order = _upstream_first(specs, self.tables)
        dependents: dict[str, list[Dependent]] = {}
        for name in order:
            for r in specs[name].requirements:
                for source in r.sources:
                    dependents.setdefault(source, []).append(
                        Dependent(
                            spec=specs[name],
                            requirement=r,
                            offset=r.offset if r.window is None else None,
                            window=r.window,
                        )
                    )
        return replace(
            bare,
            processors=specs,
            registry_hash=registry_hash,
            text=text,
            warnings=tuple(self.warnings.sorted()),
            _tables_by_name=names,
            _processors_by_name=processors,
            _dependents={t: tuple(found) for t, found in dependents.items()},
            _order=order,
        )


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _article(kind: RequirementKind) -> str:
    return "an any_of" if kind is RequirementKind.ANY_OF else "an at_least"


def _requirement_key(
    kind: RequirementKind,
    named: Sequence[str],
    needed: int,
    offset: int,
    window: Window | None,
) -> str:
    """The name of a requirement in documents and sentences: what it says, enabled or not.

    It does not change when a table is switched off, so what a run consumed stays comparable.
    """
    if kind is RequirementKind.TABLE:
        key = named[0]
    else:
        listed = ", ".join(named)
        if len(listed) > 400:  # a document's field names are bounded
            mark = hashlib.sha256(listed.encode()).hexdigest()[:12]
            listed = f"{named[0]} and {len(named) - 1} more, {mark}"
        start = "any_of" if kind is RequirementKind.ANY_OF else f"at_least {needed} of "
        key = f"{start}({listed})"
    if window is not None and window.game_dates is not None:
        return f"{key} [last_game_dates {window.game_dates}]"
    if window is not None:
        return f"{key} [window_days {window.days}]"
    return f"{key} @{offset:+d}d" if offset else key


def _cycle(graph: Mapping[str, Iterable[str]]) -> list[str] | None:
    """A cycle as graphlib names it, first and last the same, or None."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return None


def _upstream_first(
    specs: Mapping[str, ProcessorSpec], tables: Mapping[str, TableSpec]
) -> tuple[str, ...]:
    """Names of processors after those they need on the same date; of equals by phase and name."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for spec in specs.values():
        producers = {
            tables[t].producer or ""
            for r in spec.requirements
            if r.window is None and r.offset == 0
            for t in r.sources
        }
        sorter.add(spec.name, *sorted(producers - {""}))
    sorter.prepare()
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=lambda n: (specs[n].phase, n))
        order += ready
        sorter.done(*ready)
    return tuple(order)
