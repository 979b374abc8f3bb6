"""What was worked out of a large value, kept for those who ask next.

A load is delivered to every dependent partition in one commit, and each of them asks the same of the
same table's date. Owns the comparison of values by identity, which reads none of them. Only for
frozen values and pure functions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

V = TypeVar("V")
R = TypeVar("R")

KEPT = 64
"""Answers of one function. The values that they are about are kept with them, so that no other value
gets their identity."""


def by_identity(function: Callable[..., R]) -> Callable[..., R]:
    """Remember what ``function`` gave for its first argument, compared by identity, and the rest,
    which must be hashable."""
    kept: dict[tuple[Hashable, ...], tuple[Any, R]] = {}

    def remembered(value: Any, *rest: Hashable) -> R:
        key = (id(value), *rest)
        held = kept.get(key)
        if held is None:
            if len(kept) >= KEPT:
                kept.clear()
            held = kept[key] = value, function(value, *rest)
        return held[1]

    return remembered
