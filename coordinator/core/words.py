"""Words that sentences share: durations, counts and lists of names. Pure text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def words_for(duration: timedelta) -> str:
    """A duration for a sentence, in its two largest units: ``5 s``, ``10 min 49 s``, ``2 h``.

    What is less than a second, or negative, is ``0 s``.
    """
    left = max(0, int(duration.total_seconds()))
    at = next((n for n, (_, size) in enumerate(_UNITS) if left >= size), len(_UNITS) - 1)
    parts: list[str] = []
    for unit, size in _UNITS[at : at + 2]:
        number, left = divmod(left, size)
        if number or not parts:
            parts.append(f"{number} {unit}")
    return " ".join(parts)


def counted(number: int, one: str, many: str | None = None) -> str:
    """``1 try``, ``2 tries``; ``many`` defaults to ``one`` with an s."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def listed(names: Sequence[str], most: int = 6, *, of: int | None = None) -> str:
    """Names for a sentence, bounded; they may be the first ones ``of`` so many."""
    shown, more = names[:most], (len(names) if of is None else of) - min(most, len(names))
    return f"{', '.join(shown)} and {more} more" if more > 0 else ", ".join(shown)
