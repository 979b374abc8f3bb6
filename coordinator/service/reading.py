"""The documents of one transaction: what it has read, what it writes, and what it rests on.

Owns which documents must be unchanged, or be read again, for a commit to be sound. That follows
from which fields of a partition a decision changed, so a field that is added is on the safe side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from operator import attrgetter
from typing import Any, TypeVar

from coordinator.core.choices import ALL
from coordinator.core.model import Partition, WindowDay
from coordinator.core.schedule import all_game_dates
from coordinator.documents import GAME_DATES, OFF_DATES, control_key, dates_key
from coordinator.ports import Changes, Document, Key, Kind

T = TypeVar("T")

Docs = Mapping[Key, Document | None]
Target = tuple[str, str]
"""(processor, game date)."""


@dataclass(slots=True)
class Reading:
    """The documents of one transaction, read or about to be written."""

    docs: Docs
    puts: dict[Key, Document] = field(default_factory=dict)
    creates: set[Key] = field(default_factory=set)
    missing: list[Key] = field(default_factory=list)
    guards: set[Key] = field(default_factory=set)
    turned_away: bool = False
    """It turns a load away as older than what counts."""
    moved: set[str] = field(default_factory=set)
    """The processors of partitions of which it changes what may rest on their surroundings."""
    window_dates: set[tuple[str, str]] = field(default_factory=set)
    """The (table, date) of windows that this transaction reads."""
    days: dict[tuple[str, str, str], WindowDay] = field(default_factory=dict)
    """(processor, requirement, date) → the date, judged on what is read and put so far."""
    _game_dates: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def get(self, key: Key) -> Document | None:
        """A document as this transaction sees it; one not read yet is requested."""
        put = self.puts.get(key)
        return self.stored(key) if put is None else put

    def stored(self, key: Key) -> Document | None:
        """A document as it was before this transaction; one not read yet is requested."""
        if key not in self.docs:
            self.missing.append(key)
            return None
        return self.docs[key]

    def put(self, key: Key, document: Document, *, create: bool = False) -> None:
        self.puts[key] = document
        if create:
            self.creates.add(key)
        if key.kind in (Kind.CALENDAR, Kind.DATES, Kind.TABLE_DATE):
            self.days.clear()
            self._game_dates.clear()

    def put_partition(self, key: Key, before: Partition | None, after: Partition) -> None:
        """Write a decided partition, and note what that rests on beyond the partition itself."""
        self.put(key, after, create=before is None)
        if before is None or _surroundings(before) != _surroundings(after):
            self.moved.add(after.processor)
        # Else a resume could look for what its pause held before this is there to be found.
        if after.pauses:
            known = () if before is None else before.pauses
            self.guards |= {control_key(p.scope) for p in after.pauses if p not in known}

    def game_dates(self, table: str) -> tuple[str, ...]:
        """Every date that a window over a table may count, ascending."""
        if table not in self._game_dates:
            games, off, loaded = (
                () if listed is None else listed.dates
                for listed in (self.get(dates_key(n)) for n in (GAME_DATES, OFF_DATES, table))
            )
            self._game_dates[table] = all_game_dates(games, off, loaded)
        return self._game_dates[table]

    def changes(self, result: T) -> Changes[T]:
        """What this transaction writes and rests on, with what its caller gets."""
        return Changes(
            result,
            self.puts,
            creates=frozenset(self.creates),
            guards=frozenset(self.guards),
            fresh=frozenset(self._fresh()),
        )

    def _fresh(self) -> Iterable[Key]:
        """The documents on which this transaction rests in a way that lasts.

        What merely delays or shows something is worked out again at the next evaluation, which
        whoever changes a calendar or a pause asks for.
        """
        only_looks = not self.puts and not any(k.kind is Kind.EVENT for k in self.docs)
        scopes = {ALL, *self.moved} if self.moved else set()
        dated = only_looks or bool(self.moved) or self.turned_away
        for key in self.docs:
            if key.kind is Kind.CONTROL:
                fresh = only_looks or key.id in scopes
            else:
                fresh = dated and key.kind in (Kind.CALENDAR, Kind.DATES)
            if fresh:
                yield key


FOLLOWS_FROM_ITSELF = frozenset(
    {
        *("processor", "game_date", "created_at", "revision"),
        *("arrivals", "committed", "met_since", "latest", "waivers"),
        *("refires", "live", "outcome", "forced", "dirty_since"),
        *("consumed", "consumed_at", "consumed_games"),
        *("outbox", "notified", "history"),
        *("status", "flags", "wake_at", "watching"),
    }
)
"""The fields of a partition that follow from its own loads and runs and from its other fields, or
that the next evaluation works out again. What changes any other field may rest on the calendar and
on pauses, and is committed only on what the store says of those now; so is a field that is added."""


def _resting_fields(of: Any, prefix: str = "") -> Iterable[str]:
    for f in fields(of):
        group: Any = f.default_factory
        if is_dataclass(group):
            yield from _resting_fields(group, f"{prefix}{f.name}.")
        elif f.name not in FOLLOWS_FROM_ITSELF:
            yield prefix + f.name


_surroundings = attrgetter(*_resting_fields(Partition))
"""What of a partition may rest on its surroundings."""
