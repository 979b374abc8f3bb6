"""What each measured line should reach, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A bound on one number of a row."""

    what: str
    """The row, by its name."""
    of: Literal["ratio", "value", "factor"]
    """The number: the row's ratio or value, or how many times that of the time before it is."""
    bound: float
    at_most: bool
    text: str

    def number(self, row: Mapping[str, Any], before: Mapping[str, Any] | None) -> float | None:
        """The number that is bounded; None where it was not measured."""
        if self.of == "factor":
            return factor(row, before) if before is not None else None
        found: float | None = row[self.of]
        return found

    def reached(self, row: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool | None:
        """Whether the bound holds; None where the number was not measured."""
        share = self.share(row, before)
        return None if share is None else share >= 1

    def share(self, row: Mapping[str, Any], before: Mapping[str, Any] | None) -> float | None:
        """How many times better than the bound the number is: at least 1 where it is reached."""
        number = self.number(row, before)
        if number is None:
            return None
        if self.at_most:
            return self.bound / number if number > 0 else float("inf")
        return number / self.bound


def factor(row: Mapping[str, Any], before: Mapping[str, Any]) -> float | None:
    """How many times that of before the number is: of the ratios where there are two."""
    of = "ratio" if row["ratio"] is not None and before["ratio"] is not None else "value"
    return row[of] / before[of] if before[of] else None


def _least(what: str, of: Literal["ratio", "value", "factor"], bound: float, text: str) -> Aim:
    return Aim(what=what, of=of, bound=bound, at_most=False, text=text)


def _most(what: str, of: Literal["ratio", "value", "factor"], bound: float, text: str) -> Aim:
    return Aim(what=what, of=of, bound=bound, at_most=True, text=text)


AIMS = {
    aim.what: aim
    for aim in (
        _least("32 senders, one date, K = 3", "ratio", 0.80, "ratio ≥ 0.80"),
        _least("32 senders, every event on another date", "ratio", 0.50, "ratio ≥ 0.50"),
        _least("one sender", "ratio", 0.35, "ratio ≥ 0.35"),
        _most("each dependant of K", "ratio", 0.10, "ratio ≤ 0.10"),
        _least("six events of a new date, 16 clients", "factor", 4, "≥ 4 × before"),
        _most("grid, all dates", "value", 100, "< 100 ms"),
        _most("grid, all dates: body", "value", 300, "< 300 kB"),
        _most("gaps, all dates", "value", 300, "< 300 ms"),
        _most("status of a date", "value", 15, "< 15 ms"),
        _most("event while the grid is read, p99", "ratio", 2, "≤ 2 × alone"),
        _most("restart with 100,000 partitions", "value", 3, "< 3 s"),
        _most("memory with 100,000 partitions", "value", 200, "< 200 MB"),
        _most("idle memory", "value", 90, "< 90 MB"),
        _most("start with 2,000 processors", "value", 2, "< 2 s"),
        _most("check of 2,000 processors", "value", 2, "< 2 s"),
        _most("coordinator --help", "value", 0.25, "< 0.25 s"),
        _most("coordinator status", "value", 0.4, "< 0.4 s"),
        _most("Firestore: calls of an ordinary event", "value", 2, "2"),
        _most("Firestore: reads beyond K", "value", 1, "1"),
        _most("Firestore: writes beyond K", "value", 1, "1"),
        _most("Firestore: a run's life", "value", 4, "4"),
    )
}
"""By the name of the row. A row without one is shown as it is."""
