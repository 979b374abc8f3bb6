"""Mistakes of a registry file, each with its place, its rule and its fix.

Owns how they are collected, worded and shown.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from coordinator.errors import BadInput, Mistake, Unusable
from coordinator.registry.document import Items as ListNode
from coordinator.registry.document import Loc, Node, Place, Scalar, node_at

MAX_MISTAKES: Final = 100
"""How many mistakes are shown at once; of the others only the number is."""
_SHOWN_CHARACTERS = 60
_ROOT = Place(1, 1)


@dataclass(frozen=True, slots=True)
class RegistryMistake(Mistake):
    """One mistake with its place; ``line`` and ``column`` count from 1.

    ``field`` is the path of keys (``processors.X.requires[0].table``), ``message`` says the rule
    and the fix, ``value`` what was there where one value is at fault.
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
    """The registry is invalid. ``mistakes`` are all that were found, in the file's order."""

    code = "bad_registry"

    def __init__(self, name: str, mistakes: Sequence[RegistryMistake]) -> None:
        first = list(mistakes[:MAX_MISTAKES])
        lines = [str(m) for m in first]
        if len(mistakes) > MAX_MISTAKES:
            lines.append(f"… and {len(mistakes) - MAX_MISTAKES} more")
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__("\n".join([f"{name} has {count}:", *lines]), first)


class UnreadableRegistry(RegistryError, Unusable):
    """The registry's file cannot be read at all."""


class Mistakes:
    """The mistakes found so far in one file, or its warnings; each is placed by its path."""

    def __init__(self, file: str, root: Node | None = None) -> None:
        self.file = file
        self.root = root
        self._found: list[RegistryMistake] = []
        self._keys: dict[Loc, set[int | str]] = {}
        """The keys below each path at which, or inside which, there is a mistake."""

    def __bool__(self) -> bool:
        return bool(self._found)

    def at(self, loc: Loc, rule: str, *, key: bool = False, field: Loc | None = None) -> None:
        """Note that the value at ``loc`` breaks a rule, or with ``key`` that its key does.

        ``field`` is another path to show, where the value is elsewhere than what it is about.
        """
        name, node = node_at(self.root, loc)
        here = name if key and name is not None else node
        value = shown(here) if isinstance(here, Scalar) and here.text else None
        for n, part in enumerate(loc):
            self._keys.setdefault(loc[:n], set()).add(part)
        self._keys.setdefault(loc, set())
        self.add(
            here.place if here else _ROOT, path_of(loc if field is None else field), rule, value
        )

    def add(self, place: Place, field: str, rule: str, value: str | None = None) -> None:
        """Note a mistake at a place."""
        self._found.append(RegistryMistake(field, rule, value, self.file, place.line, place.column))

    def within(self, loc: Loc) -> bool:
        """Whether a value at ``loc`` or inside it has a mistake."""
        return loc in self._keys

    def keys_within(self, loc: Loc) -> set[int | str]:
        """The keys of the mapping at ``loc`` that are unknown, or whose values have mistakes."""
        return self._keys.get(loc, set())

    def place(self, loc: Loc) -> Place:
        """Where the key at ``loc`` is, or the value where it has none."""
        key, node = node_at(self.root, loc)
        here = key or node
        return here.place if here else _ROOT

    def sorted(self) -> list[RegistryMistake]:
        """In the file's order, none twice."""
        return sorted(dict.fromkeys(self._found), key=lambda m: (m.line, m.column))


def path_of(loc: Loc) -> str:
    """A path as mistakes show it: ``processors.X.requires[0].table``."""
    parts = (f"[{p}]" if isinstance(p, int) else f".{p[:_SHOWN_CHARACTERS]}" for p in loc)
    return "".join(parts).removeprefix(".")


def shown(node: Node | None) -> str:
    """A value as a mistake shows it, bounded."""
    if isinstance(node, Scalar):
        text = node.text
        return (
            text[: _SHOWN_CHARACTERS - 3] + "…"
            if len(text) > _SHOWN_CHARACTERS
            else text or "nothing"
        )
    return "a list" if isinstance(node, ListNode) else "a mapping"


def kind_of(node: Node | None) -> str:
    """The kind of a value, with the value itself: ``text (off)``."""
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
    first = ", ".join(names[:15])
    return f"choose from {first}" + ("" if len(names) <= 15 else f" and {len(names) - 15} more")
