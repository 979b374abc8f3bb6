"""YAML 1.2 as a tree of values that know their line and column.

Owns the text: the core schema of YAML 1.2 (``off``, ``no``, ``09:00`` and a date are text) and the
limits that keep a hostile or broken file from costing more than its size. Refuses to know what any
key means.

It is built on the parser's events rather than on its loader, because the loader resolves tags by
YAML 1.1 where a directive asks for it, recurses once per level and loses the places of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import yaml
from yaml.error import YAMLError
from yaml.events import (
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

MAX_BYTES: Final = 4 * 1024 * 1024
"""Size of a file, in bytes."""
MAX_DEPTH: Final = 20
"""Levels of nesting; the registry itself needs six."""
MAX_ALIASES: Final = 100
"""Uses of ``*anchor`` in one file."""
MAX_VALUES: Final = 500_000
"""Values in one file, with every alias counted as often as it is used."""


class Place(NamedTuple):
    """Where a value begins; line and column count from 1."""

    line: int
    column: int


class Scalar(NamedTuple):
    """One value. ``text`` is how it was written, ``value`` what YAML 1.2's core schema reads."""

    place: Place
    text: str
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Entries:
    """A mapping in the file's order, without repeated keys."""

    place: Place
    items: tuple[tuple[Scalar, Node], ...]

    @cached_property
    def by_key(self) -> Mapping[str, tuple[Scalar, Node]]:
        """Key and value by the key's text."""
        return {key.text: (key, value) for key, value in self.items}


Node = Scalar | Items | Entries

Loc = tuple[int | str, ...]
"""A path of keys and indices from the root, as pydantic names a value."""


_PARSER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""Over libyaml, which takes a thirtieth of the time; in Python alone where PyYAML has none."""
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that YAML has not (its section 5.1)."""


class YamlMistakeError(Exception):
    """The text cannot be read any further; ``mistakes`` are (place, sentence), in order."""

    def __init__(self, mistakes: list[tuple[Place, str]]) -> None:
        super().__init__(mistakes[-1][1])
        self.mistakes = mistakes


def read(text: str) -> tuple[Node | None, list[tuple[Place, str]]]:
    """Read one document: its root (None where there is nothing) and the repeated keys found.

    Raises:
        YamlMistakeError: the text is not valid YAML, or over a limit.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        sentence = f"the file has {size:,} bytes, the most is {MAX_BYTES:,}; split or shorten it"
        raise YamlMistakeError([(Place(1, 1), sentence)])
    forbidden = _FORBIDDEN.search(text)
    if forbidden is not None:
        sentence = "a control character or an unpaired surrogate is not allowed; remove it"
        raise YamlMistakeError([(_place_in(text, forbidden.start()), sentence)])
    reader = _Reader(text)
    try:
        root = reader.document()
    except YAMLError as error:
        raise YamlMistakeError([*reader.repeated, _syntax(error)]) from error
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        # The parser is known to trip over some malformed text instead of naming it.
        sentence = f"the text cannot be read as YAML after this place ({error}); fix what follows"
        raise YamlMistakeError([*reader.repeated, (reader.last, sentence)]) from error
    return root, reader.repeated


class _Reader:
    """Turns the parser's events into a tree, counting as it goes."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Event] = iter(_PARSER(text).get_event, None)
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
        if isinstance(event, AliasEvent):
            return self._alias(event)
        place = self._place(event)
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
                raise self._refuse(event, f"the tag {event.tag} has no meaning here; remove it")
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
                    f"the key {key.text!r} is given twice, first at {first.line}:{first.column}"
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
            raise self._refuse(event, f"the tag {event.tag} has no meaning here; remove it")
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
    if text[0] not in "-+.0123456789":
        return text
    if _INT.fullmatch(text) and len(text) <= _LONGEST_INT:
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


def _syntax(error: YAMLError) -> tuple[Place, str]:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        parts = [getattr(error, "context", None), getattr(error, "problem", None)]
        problem = ", ".join(p.strip() for p in parts if p)
        place = Place(mark.line + 1, mark.column + 1)
        return (
            place,
            f"this is not valid YAML: {problem or error}; check the indentation and quotes here",
        )
    return Place(1, 1), f"this is not valid YAML: {error}"


def _place_in(text: str, position: int) -> Place:
    before = text[:position]
    return Place(before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)


# ── the tree ─────────────────────────────────────────────────────────────────────────────────


def plain(node: Node | None) -> Any:
    """The tree as dicts, lists and scalars, without places. Keys are text."""
    if isinstance(node, Entries):
        return {key.text: plain(value) for key, value in node.items}
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return None if node is None else node.value


def node_at(root: Node | None, loc: Sequence[int | str]) -> tuple[Scalar | None, Node | None]:
    """The value at a path, with its key where it is in a mapping; the deepest one that is there."""
    key: Scalar | None = None
    node = root
    for part in loc:
        if isinstance(node, Entries):
            if part not in node.by_key:
                break
            key, node = node.by_key[str(part)]
        elif isinstance(node, Items) and isinstance(part, int) and part < len(node.items):
            key, node = None, node.items[part]
        else:
            break
    return key, node
