"""Whether what a partition says about itself is true (specification 5.2).

Owns the facts in ``why``, not its wording: the tables that it names, the holds and their ends; and the
counts and instants beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from coordinator.judge.needs import EvaluatedNeed, EvaluatedNeeds
from coordinator.judge.observations import Explained
from coordinator.judge.story import HoldSpan

Break = Callable[[str, str, str, str], None]
SECOND = timedelta(seconds=1)


def check(
    broken: Break,
    seen: Explained,
    where: str,
    ready: EvaluatedNeeds,
    holds: Sequence[HoldSpan],
    patience: timedelta,
) -> None:
    """Compare what a partition at rest says with the model at the same instant.

    ``holds`` are those of a partition that has data to fire for.
    """
    _counts(broken, seen, where, ready)
    _instants(broken, seen, where, patience)
    if seen.status == "waiting":
        _waiting(broken, seen, where, ready)
    elif seen.status == "settling":
        _held(broken, seen, where, holds)


def _counts(broken: Break, seen: Explained, where: str, ready: EvaluatedNeeds) -> None:
    least = sum(n.met is True for n in ready.needs)
    most = sum(n.met is not False for n in ready.needs)
    if seen.total != len(ready.needs) or not least <= seen.met <= most:
        counted = str(least) if least == most else f"{least} to {most}"
        broken(
            "status.requirements",
            "5.2",
            where,
            f"is shown with {seen.met} of {seen.total} requirements met; "
            f"{counted} of {len(ready.needs)} are",
        )


def _instants(broken: Break, seen: Explained, where: str, patience: timedelta) -> None:
    if seen.expected_at is not None and seen.expected_at + SECOND < seen.at:
        broken("status.expected_at", "5.2", where, f"expected at {seen.expected_at}, in the past")
    if seen.wake_at is not None and seen.wake_at + patience < seen.at:
        broken("status.wake_at", "5.2", where, f"is to be evaluated at {seen.wake_at}, in the past")


def _waiting(broken: Break, seen: Explained, where: str, ready: EvaluatedNeeds) -> None:
    """The sentence names what is not met, and nothing that is."""
    lines = [n for n in ready.needs if n.line.critical]
    if lines:
        _critical(broken, seen, where, lines)
        lines = [n for n in lines if n.met is not True]
    else:
        lines = list(ready.needs)  # any first load will do
    if not any(_named(n, seen.why) for n in lines):
        broken("why.waiting", "5.2", where, f"names nothing that it waits for: {seen.why}")


def _critical(broken: Break, seen: Explained, where: str, lines: Sequence[EvaluatedNeed]) -> None:
    open_tables = {t for n in lines if n.met is not True for t in n.line.tables}
    for need in lines:
        if need.met is False and not _named(need, seen.why):
            broken("why.waiting", "5.2", where, f"does not name {need.line.key}: {seen.why}")
        for table in need.line.tables:
            if need.met is True and table not in open_tables and _word(table, seen.why):
                broken(
                    "why.waiting",
                    "5.2",
                    where,
                    f"names {table} as missing, which is met: {seen.why}",
                )


def _held(broken: Break, seen: Explained, where: str, holds: Sequence[HoldSpan]) -> None:
    """What holds it is named, with its end."""
    known = {h.kind: h for h in holds}
    for kind, until in seen.holds:
        hold = known.get(kind)
        if hold is None:
            broken("why.held", "5.2", where, f"is said to be held by {kind}, and is not")
        elif until is not None:
            if not hold.until.plus(-SECOND).first <= until <= hold.until.plus(SECOND).last:
                broken(
                    "why.held",
                    "5.2",
                    where,
                    f"{kind} is said to hold until {until}, and does until {hold.until.last}",
                )
            if _clock(until) not in seen.why:
                broken("why.held", "5.2", where, f"does not say {kind}'s end {until}: {seen.why}")
    said = {kind for kind, _ in seen.holds}
    for hold in holds:
        if hold.surely_at(seen.at) and hold.kind not in said:
            broken("why.held", "5.2", where, f"does not name what holds it: {hold.kind}")


def _named(need: EvaluatedNeed, sentence: str) -> bool:
    return any(_word(t, sentence) for t in need.line.tables)


def _word(table: str, sentence: str) -> bool:
    """Whether a sentence has a table's whole name."""
    return re.search(rf"(?<![\w.-]){re.escape(table)}(?![\w-])(?!\.\w)", sentence) is not None


def _clock(at: datetime) -> str:
    return at.strftime("%H:%M:%S")
