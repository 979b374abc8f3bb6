"""YAML 1.2 as a tree of values that know their place, read one by one, for ``registry``.

Owns the text: the core schema of YAML 1.2 (``off``, ``no``, ``09:00`` and a date are text), line
and column of every value and mistake, the reading of plain values, and the limits that keep a
hostile or broken file from costing more than its size. Refuses to know what any key means.

It is built on the parser's events rather than on its loader, because the loader resolves tags by
YAML 1.1 where a directive asks for it, recurses once per level and loses the places of values.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from coordinator.errors import BadInput, Mistake, Unusable

MAX_BYTES = 1024 * 1024
"""Size of a file, in bytes."""
MAX_DEPTH = 20
"""Levels of nesting; the registry itself needs six."""
MAX_ALIASES = 100
"""Uses of ``*anchor`` in one file."""
MAX_VALUES = 200_000
"""Values in one file, with every alias counted as often as it is used."""

MAX_DURATION = timedelta(days=30)
MAX_MISTAKES = 100
"""How many mistakes are told at once; the number of the others is told instead."""

_DURATION = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a value stands; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. ``text`` is how it was written, ``value`` what YAML 1.2's core schema reads."""

    place: Place
    text: str
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Entries:
    """A mapping in the file's order, without repeated keys."""

    place: Place
    items: tuple[tuple[Scalar, Node], ...]


Node = Scalar | Items | Entries


class YamlMistakeError(Exception):
    """The text cannot be read any further; ``mistakes`` are (place, sentence), in order."""

    def __init__(self, mistakes: list[tuple[Place, str]]) -> None:
        super().__init__(mistakes[-1][1])
        self.mistakes = mistakes


def read(text: str) -> tuple[Node | None, list[tuple[Place, str]]]:
    """Read one document: its root (None where there is nothing) and the repeated keys found.

    Raises:
        YamlMistakeError: the text is no YAML, or over a limit.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        sentence = f"the file has {size:,} bytes, the most is {MAX_BYTES:,}; split or shorten it"
        raise YamlMistakeError([(Place(1, 1), sentence)])
    reader = _Reader(text)
    try:
        root = reader.document()
    except YAMLError as error:
        raise YamlMistakeError([*reader.repeated, _syntax(error, text)]) from error
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        # The parser is known to trip over some malformed text instead of naming it.
        sentence = f"the text cannot be read as YAML after this place ({error}); mend what follows"
        raise YamlMistakeError([*reader.repeated, (reader.last, sentence)]) from error
    return root, reader.repeated


class _Reader:
    """Turns the parser's events into a tree, counting as it goes."""

    def __init__(self, text: str) -> None:
        parser = YAML(typ="safe", pure=True)
        self._events: Iterator[Event] = iter(parser.parse(text))
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._aliases = 0
        self._values = 0
        self.repeated: list[tuple[Place, str]] = []
        self.last = Place(1, 1)

    def document(self) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._refuse(
                        event, "a second document starts here; keep one, without ---"
                    )
            elif isinstance(event, NodeEvent):
                root = self._node(event, depth=1)
        return root

    def _node(self, event: NodeEvent, depth: int) -> Node:
        place = self._place(event)
        if isinstance(event, AliasEvent):
            return self._alias(event)
        self._count(event, 1)
        before = self._values
        node: Node
        if isinstance(event, ScalarEvent):
            node = Scalar(place, event.value, self._value(event))
        else:
            if depth > MAX_DEPTH:
                raise self._refuse(event, f"nested deeper than {MAX_DEPTH} levels; flatten it")
            assert isinstance(event, CollectionStartEvent)
            if event.tag is not None and not event.implicit:
                raise self._refuse(event, f"the tag {event.tag} means nothing here; take it out")
            node = (
                Items(place, tuple(self._list(depth)))
                if isinstance(event, SequenceStartEvent)
                else Entries(place, tuple(self._mapping(depth)))
            )
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._values - before + 1)
        return node

    def _list(self, depth: int) -> Iterator[Node]:
        for event in self._events:
            if isinstance(event, CollectionEndEvent):
                return
            assert isinstance(event, NodeEvent)
            yield self._node(event, depth + 1)

    def _mapping(self, depth: int) -> Iterator[tuple[Scalar, Node]]:
        seen: dict[str, Place] = {}
        for event in self._events:
            if isinstance(event, CollectionEndEvent):
                return
            if isinstance(event, (MappingStartEvent, SequenceStartEvent)):
                raise self._refuse(event, "a key must be plain text, not a list or a mapping")
            assert isinstance(event, NodeEvent)
            key = self._node(event, depth + 1)
            follower = next(self._events, None)
            assert isinstance(follower, NodeEvent)
            value = self._node(follower, depth + 1)
            if not isinstance(key, Scalar):
                raise self._refuse(event, "a key must be plain text, not a list or a mapping")
            if key.text in seen:
                first = seen[key.text]
                sentence = (
                    f"the key {key.text!r} stands twice, first at {first.line}:{first.column}"
                )
                self.repeated.append((key.place, f"{sentence}; keep one of them"))
                continue
            seen[key.text] = key.place
            yield key, value

    def _alias(self, event: AliasEvent) -> Node:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise self._refuse(event, f"more than {MAX_ALIASES} aliases (*name); write them out")
        if event.anchor not in self._anchors:
            raise self._refuse(event, f"no anchor &{event.anchor} ends before this alias")
        node, size = self._anchors[event.anchor]
        self._count(event, size)
        return node

    def _count(self, event: NodeEvent, size: int) -> None:
        self._values += size
        if self._values > MAX_VALUES:
            raise self._refuse(event, f"more than {MAX_VALUES:,} values, aliases written out")

    def _value(self, event: ScalarEvent) -> str | int | float | bool | None:
        text: str = event.value
        if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
            raise self._refuse(event, f"the tag {event.tag} means nothing here; take it out")
        return text if event.tag is not None or not event.implicit[0] else core_value(text)

    def _place(self, event: Event) -> Place:
        mark = event.start_mark
        self.last = Place(mark.line + 1, mark.column + 1)
        return self.last

    def _refuse(self, event: Event, sentence: str) -> YamlMistakeError:
        return YamlMistakeError([*self.repeated, (self._place(event), sentence)])


_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST_INT = 18


def core_value(text: str) -> str | int | float | bool | None:
    """What a plain scalar means in the core schema of YAML 1.2 (its section 10.3.2).

    Whole numbers of more than 18 characters are read as floats: none that long is meant here.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text) and len(text) <= _LONGEST_INT:
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


def _syntax(error: YAMLError, text: str) -> tuple[Place, str]:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        parts = [getattr(error, "context", None), getattr(error, "problem", None)]
        said = ", ".join(p.strip() for p in parts if p)
        place = Place(mark.line + 1, mark.column + 1)
        return place, f"this is no YAML: {said or error}; look at the indentation and quotes here"
    position = getattr(error, "position", None)
    if isinstance(position, int):
        before = text[:position]
        place = Place(before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)
        return place, "a control character or a lone surrogate stands here; take it out"
    return Place(1, 1), f"this is no YAML: {error}"


# ── mistakes ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class RegistryMistake(Mistake):
    """One mistake with its place; ``line`` and ``column`` count from 1.

    ``field`` is the path of keys (``processors.X.requires[0].table``), ``message`` says the rule
    and the mend, ``value`` what stood there where one value is at fault.
    """

    file: str = "registry.yaml"
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return (
            f"{where}: {self.field}: {self.message}" if self.field else f"{where}: {self.message}"
        )


class RegistryError(BadInput):
    """The registry is invalid. ``mistakes`` holds all that were found, in the file's order."""

    code = "bad_registry"

    def __init__(self, name: str, mistakes: Sequence[RegistryMistake]) -> None:
        told = list(mistakes[:MAX_MISTAKES])
        lines = [str(m) for m in told]
        if len(mistakes) > MAX_MISTAKES:
            lines.append(f"… and {len(mistakes) - MAX_MISTAKES} more")
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__("\n".join([f"{name} has {count}:", *lines]), told)


class UnreadableRegistry(RegistryError, Unusable):
    """The registry's file cannot be read at all."""


class Mistakes:
    """What was found so far, in one file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: list[RegistryMistake] = []

    def add(self, place: Place, path: str, message: str, value: str | None = None) -> None:
        self.found.append(
            RegistryMistake(path, message, value, self.name, place.line, place.column)
        )

    def sorted(self) -> list[RegistryMistake]:
        return sorted(dict.fromkeys(self.found), key=lambda m: (m.line, m.column))


# ── reading values ───────────────────────────────────────────────────────────────────────────

Fields = dict[str, tuple[Scalar, Node]]
"""A mapping's values by key, with the key's own place."""


def shown(node: Node) -> str:
    """A value as a mistake shows it, bounded."""
    if isinstance(node, Scalar):
        return node.text[:57] + "…" if len(node.text) > 60 else node.text or "nothing"
    return "a list" if isinstance(node, Items) else "a mapping"


def kind_of(node: Node) -> str:
    if not isinstance(node, Scalar):
        return shown(node)
    if node.value is None:
        return "nothing"
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text"}
    return f"{kinds[type(node.value)]} ({shown(node)})"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean …?`` where something is near, else what there is."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    if not names:
        return "there is none"
    shown = ", ".join(names[:15])
    return f"choose from {shown}" + ("" if len(names) <= 15 else f" and {len(names) - 15} more")


class Values:
    """Reads one value each, or notes the mistake and answers None."""

    def __init__(self, mistakes: Mistakes) -> None:
        self.mistakes = mistakes

    def wrong(self, node: Node, path: str, sentence: str) -> None:
        """Note that the value at ``node`` breaks a rule; ``sentence`` says rule and mend."""
        self.mistakes.add(node.place, path, sentence, shown(node))

    def fields(
        self, node: Node, path: str, keys: Sequence[str], *, empty: bool = False
    ) -> Fields | None:
        """A mapping with known keys; with ``empty`` nothing at all is an empty one."""
        if isinstance(node, Scalar) and node.value is None and empty:
            return {}
        if not isinstance(node, Entries):
            expected = f"a mapping with keys of {', '.join(keys)}"
            self.wrong(node, path, f"must be {expected}, not {kind_of(node)}")
            return None
        found: Fields = {}
        for key, value in node.items:
            if key.text in keys:
                found[key.text] = (key, value)
                continue
            self.mistakes.add(
                key.place,
                f"{path}.{key.text[:60]}" if path else key.text[:60],
                f"unknown key {shown(key)!r}; {did_you_mean(key.text, keys)}",
                shown(key),
            )
        return found

    def named(self, node: Node, path: str, most: int) -> tuple[tuple[Scalar, Node], ...]:
        """A mapping from names to anything, of at most ``most`` entries."""
        if isinstance(node, Scalar) and node.value is None:
            return ()
        if not isinstance(node, Entries):
            self.wrong(node, path, f"must be a mapping from names, not {kind_of(node)}")
            return ()
        if len(node.items) > most:
            self.wrong(node, path, f"has {len(node.items)} entries, the most is {most}; split it")
            return ()
        return node.items

    def items(self, node: Node, path: str, most: int, what: str) -> tuple[Node, ...] | None:
        if not isinstance(node, Items):
            self.wrong(node, path, f"must be a list of {what}, not {kind_of(node)}")
            return None
        if len(node.items) > most:
            self.wrong(node, path, f"has {len(node.items)} {what}, the most is {most}; shorten it")
            return None
        return node.items

    def string(self, node: Node, path: str, what: str = "text") -> str | None:
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return node.value
        quoted = isinstance(node, Scalar) and node.value is not None
        mend = f'; put it in quotes: "{shown(node)}"' if quoted else ""
        self.wrong(node, path, f"must be {what}, not {kind_of(node)}{mend}")
        return None

    def boolean(self, node: Node, path: str) -> bool | None:
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        self.wrong(node, path, f"must be true or false, not {kind_of(node)}")
        return None

    def integer(self, node: Node, path: str, least: int, most: int) -> int | None:
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, bool) or not isinstance(value, int):
            self.wrong(node, path, f"must be a whole number, not {kind_of(node)}")
            return None
        if not least <= value <= most:
            self.wrong(node, path, f"{shown(node)} is outside {least:,} to {most:,}")
            return None
        return value

    def above_zero(self, node: Node, path: str, most: float) -> float | None:
        """A number in (0, most]; one that is whole comes back as it would be written: 18, 0.5."""
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong(node, path, f"must be a number, not {kind_of(node)}")
            return None
        if not (math.isfinite(value) and 0 < value <= most):
            self.wrong(node, path, f"{shown(node)} must be more than 0 and at most {most:,}")
            return None
        return float(value)

    def duration(self, node: Node, path: str, *, zero: bool = True) -> timedelta | None:
        text = node.value if isinstance(node, Scalar) else None
        match = _DURATION.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            self.wrong(
                node,
                path,
                f"{shown(node)} is no duration; write a whole number and a unit: 30s, 15m, 1h, 2d",
            )
            return None
        seconds = int(match[1]) * SECONDS[match[2]]
        if seconds > MAX_DURATION.total_seconds():
            self.wrong(node, path, f"{shown(node)} is longer than the most, 30d")
            return None
        if not seconds and not zero:
            self.wrong(node, path, f"{shown(node)} leaves no time at all; the least is 1s")
            return None
        return timedelta(seconds=seconds)

    def choice(self, node: Node, path: str, choices: Sequence[str]) -> str | None:
        text = node.value if isinstance(node, Scalar) else None
        if isinstance(text, str) and text in choices:
            return text
        listed = " or ".join(choices)
        self.wrong(node, path, f"must be {listed}, not {kind_of(node)}")
        return None
