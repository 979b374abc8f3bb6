"""From the tree of a file to its entries: one validation, and each of its errors at its place.

Owns the mapping of pydantic's errors to registry mistakes. What is good beside a mistake is kept,
so that the next step can check what it refers to and every mistake is named at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from coordinator.registry.document import Loc, Scalar, node_at, plain
from coordinator.registry.mistakes import Mistakes, did_you_mean, kind_of, shown
from coordinator.registry.models import Entry, RegistryEntry
from coordinator.registry.rules import TEXT
from coordinator.validation import rule

_PLACEHOLDERS: Mapping[Any, Any] = {int: 0, str: "", list: [], dict: {}}
"""Replaces a required value that is missing or bad, by type; no registry comes of it."""


def read_entries(mistakes: Mistakes) -> RegistryEntry:
    """The file's entries. Where there are mistakes they are noted, and it has what is good."""
    data = plain(mistakes.root)
    if data is None:
        mistakes.at((), "is empty; it needs version, tables and processors")
        return RegistryEntry.model_construct(version=1, processors={})
    try:
        return RegistryEntry.model_validate(data)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            _note(mistakes, found)
        good = _good_part(RegistryEntry, data)
        assert isinstance(good, RegistryEntry)
        return good


# ── errors ───────────────────────────────────────────────────────────────────────────────────


def _note(mistakes: Mistakes, error: ErrorDetails) -> None:
    loc: Loc = error["loc"]
    if loc[-1:] == ("[key]",):  # the name of an entry, not the entry
        name, _ = node_at(mistakes.root, loc[:-1])
        mistakes.at(loc[:-1], _about(name, rule(error)), key=True)
        return
    _, node = node_at(mistakes.root, loc)
    match error["type"]:
        case "missing":
            _note_missing(mistakes, loc)
        case "extra_forbidden":
            key, _ = node_at(mistakes.root, loc)
            known = _entry_at(loc[:-1]).model_fields
            sentence = f"unknown key {shown(key)!r}; {did_you_mean(str(loc[-1]), known)}"
            mistakes.at(loc, sentence, key=True)
        case "model_type":
            keys = ", ".join(_entry_at(loc).model_fields)
            mistakes.at(loc, f"must be a mapping with keys of {keys}, not {kind_of(node)}")
        case kind:
            sentence = _about(node, rule(error))
            if kind == TEXT and isinstance(node, Scalar) and node.value is not None:
                sentence += f'; put it in quotes: "{shown(node)}"'
            mistakes.at(loc, sentence)


def _note_missing(mistakes: Mistakes, loc: Loc) -> None:
    what = _entry_at(loc[:-1]).model_fields[str(loc[-1])].title
    if len(loc) == 1:
        mistakes.at((), f"is missing; write {what}", field=loc)
    else:
        mistakes.at(loc[:-1], f"needs {loc[-1]!r}, {what}", key=True)


def _about(node: Any, sentence: str) -> str:
    """A rule's sentence with the value that breaks it."""
    if sentence.startswith("must be"):
        what, semicolon, fix = sentence.partition(";")
        return f"{what}, not {kind_of(node)}{semicolon}{fix}"
    if sentence.startswith(("is ", "leaves ")):
        return f"{shown(node)} {sentence}"
    return sentence


# ── the shape of the models ──────────────────────────────────────────────────────────────────


def _shape(annotation: Any) -> tuple[Any, Any]:
    """The kind of container that a field's type is, or None, and the entry or type inside it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _shape(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return _shape(next(a for a in get_args(annotation) if a is not type(None)))
    if origin in (list, dict):
        return origin, _shape(get_args(annotation)[-1])[1]
    return None, annotation


def _entry_at(loc: Loc) -> type[Entry]:
    """The model of the mapping at a path."""
    entry: type[Entry] = RegistryEntry
    parts = iter(loc)
    for part in parts:
        container, inner = _shape(entry.model_fields[str(part)].annotation)
        if container is not None:
            next(parts, None)  # a name or an index
        entry = inner
    return entry


# ── what is good ─────────────────────────────────────────────────────────────────────────────


def _good_part(entry: type[Entry], data: Any) -> Entry:
    """The entry with those values alone that are good, without checking it as a whole."""
    given = data if isinstance(data, dict) else {}
    good: dict[str, Any] = {}
    missing: dict[str, Any] = {}
    for name, field in entry.model_fields.items():
        value = _good_value(entry, name, given[name]) if name in given else None
        if value is not None:
            good[name] = value
        elif field.is_required():
            container, inner = _shape(field.annotation)
            missing[name] = _PLACEHOLDERS.get(container or inner)
    return entry.model_construct(_fields_set=set(good), **good, **missing)


def _good_value(entry: type[Entry], name: str, value: Any) -> Any:
    try:
        return _adapter(entry, name).validate_python(value)
    except ValidationError:
        annotation = entry.model_fields[name].annotation
        container, inner = _shape(annotation)
        if not (isinstance(inner, type) and issubclass(inner, Entry)):
            return None
        if container is list and isinstance(value, list):
            return [part for item in value if _is_complete(part := _good_part(inner, item))]
        if container is dict and isinstance(value, dict):
            named = TypeAdapter(get_args(annotation)[0])
            return {n: _good_part(inner, item) for n, item in value.items() if _is_good(named, n)}
        part = _good_part(inner, value)
        return part if container is None and _is_complete(part) else None


def _is_complete(part: Entry) -> bool:
    return all(getattr(part, n) for n, f in type(part).model_fields.items() if f.is_required())


@cache
def _adapter(entry: type[Entry], name: str) -> TypeAdapter[Any]:
    return TypeAdapter(entry.model_fields[name].rebuild_annotation())


def _is_good(adapter: TypeAdapter[Any], value: Any) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True
