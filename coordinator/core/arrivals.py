"""Arrivals: the loads that events reported, folded by table and game date; and the calendar's dates.

Owns which of several loads counts, and how many games are kept of them. Refuses to judge (see
``sources``). Game dates are ISO ``YYYY-MM-DD`` strings; instants are timezone-aware UTC values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

RUN_OUTPUT = "run:"
"""What the event ids of runs' outputs begin with."""
WHOLE = "*"
"""The name under which a load that covers a whole date is kept beside per-game loads."""
SMALLEST_STEP = timedelta(microseconds=1)
"""The finest difference between two instants."""

UNEXPECTED_GAMES_KEPT = 20
"""Games of one table and date that are kept although the calendar does not expect them."""
UNKNOWN_GAMES_KEPT = 200
"""Games of one table and date that are kept while the calendar does not know the date."""


class LoadStatus(StrEnum):
    """The status that a load reports (specification 3.1)."""

    SUCCESS = "success"
    PARTIAL = "partial"
    """Counts for what it covers."""
    NO_DATA = "no_data"
    FAILED = "failed"
    """Never satisfies, never undoes a success, takes no part in ordering."""
    SKIPPED = "skipped"
    """As failed."""


class Grain(StrEnum):
    """How the loads of a table add up: by game (a union), or by date (the last replaces)."""

    DATE = "date"
    GAME = "game"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One load that an event reported for (table, game date).

    ``timestamp`` is the load's own, read as no later than ``received_at`` (specification 3.1), so a
    fast clock elsewhere cannot win for ever.
    """

    event_id: str
    table: str
    game_date: str
    status: LoadStatus
    timestamp: datetime
    received_at: datetime
    record_count: int | None = None
    game_ids: tuple[str, ...] = ()
    content_hash: str | None = None
    quiet: bool = False
    correlation_id: str | None = None
    games_named: int | None = None
    """How many games it names, where ``game_ids`` keeps only some of them."""

    @property
    def informs(self) -> bool:
        """Whether it carries information about the data: failed and skipped loads do not."""
        return self.status not in (LoadStatus.FAILED, LoadStatus.SKIPPED)

    def covers(self, game_id: str) -> bool:
        """Whether its rows are all there are of a game that it wins.

        Part of a game, or of a date, is all that a partial load without game ids is known to hold.
        """
        return self.status is not LoadStatus.PARTIAL or game_id in self.game_ids

    def covers_all(self, games: Sequence[str] | None) -> bool:
        """Whether its rows are all there are of a date; ``games`` are the expected ones."""
        if self.status is not LoadStatus.PARTIAL:
            return True
        return games is not None and all(g in self.game_ids for g in games)

    @property
    def empty(self) -> bool:
        """Whether it reports that there are no rows (``no_data``, or zero of them)."""
        return self.status is LoadStatus.NO_DATA or self.record_count == 0

    def outranks(self, other: Arrival) -> bool:
        """Whether it wins over ``other``: the newer timestamp, of equal ones the later received.

        Where both are equal neither outranks, and the one recorded last wins. Outputs of one
        processor are ordered by generation: the clock may have stepped back between two of them.
        """
        mine, theirs = _generation(self.event_id), _generation(other.event_id)
        if mine is not None and theirs is not None and mine[0] == theirs[0]:
            return mine[1] > theirs[1]
        if self.timestamp != other.timestamp:
            return self.timestamp > other.timestamp
        return self.received_at > other.received_at

    @property
    def share(self) -> float | None:
        """Rows per game it covers: the record count shared evenly (specification 3.1)."""
        rows = self.record_count
        return None if rows is None else rows / (self.game_count or 1)

    @property
    def game_count(self) -> int:
        """How many games it names."""
        return len(self.game_ids) if self.games_named is None else self.games_named

    def bounded(self, expected: Sequence[str] | None) -> Arrival:
        """The arrival with no more game ids than are kept (specification 3.1)."""
        kept = games_kept(self.game_ids, expected)
        if len(kept) == len(self.game_ids):
            return self
        ids = tuple(g for g in self.game_ids if g in kept)
        return replace(self, game_ids=ids, games_named=self.game_count)


def games_kept(games: Collection[str], expected: Sequence[str] | None) -> Collection[str]:
    """Which games of one table and date are kept: all expected ones, and a bounded number of others.

    Of the others the first in order of their ids are kept, so that it does not matter in which order
    they came.
    """
    most = UNKNOWN_GAMES_KEPT if expected is None else UNEXPECTED_GAMES_KEPT
    if len(games) <= most:
        return games
    wanted = frozenset(expected or ())
    others = sorted(g for g in games if g not in wanted)
    if len(others) <= most:
        return games
    return wanted.intersection(games).union(others[:most])


def _newest(arrivals: Iterable[Arrival]) -> Arrival | None:
    """The arrival that wins over all others; of equal ones the last."""
    newest: Arrival | None = None
    for arrival in arrivals:
        if newest is None or not newest.outranks(arrival):
            newest = arrival
    return newest


def _generation(event_id: str) -> tuple[str, int] | None:
    """Of the event id of a run's output: its processor and date, and its generation."""
    if not event_id.startswith(RUN_OUTPUT):
        return None
    subject, _, generation = event_id.rpartition(":")
    return (subject, int(generation)) if generation.isdecimal() else None


class Fold(StrEnum):
    """What folding an arrival into a table's date did."""

    APPLIED = "applied"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDate:
    """The loads of one table on one game date, folded: the newest facts and nothing else.

    ``arrivals`` holds the winning arrivals by event id; ``whole`` the id of the newest that covers
    the whole date; ``games`` the ids of the newest per game that are newer than ``whole``. The newest
    of all is held even where none of its games are kept: after a change of grain it is the date.
    """

    table: str
    game_date: str
    arrivals: Mapping[str, Arrival] = field(default_factory=dict)
    whole: str | None = None
    games: Mapping[str, str] = field(default_factory=dict)
    last_failure: Arrival | None = None
    not_kept: int = 0
    """How often loads named games that were not kept because there were too many of them. While it
    is 0 nothing is missing; otherwise a change of the calendar folds the date again from its
    ledger."""

    @property
    def whole_arrival(self) -> Arrival | None:
        return self.arrivals[self.whole] if self.whole is not None else None

    @property
    def newest(self) -> Arrival | None:
        """The arrival that represents the whole date where loads replace each other.

        Normally there is no other; after a table's grain was changed from game to date, per-game
        loads are known beside it, and the newest of all counts.
        """
        return _newest(self.arrivals.values())

    @property
    def counting(self) -> frozenset[str]:
        """The ids of the arrivals that count for the whole date or for a game that is kept."""
        whole = () if self.whole is None else (self.whole,)
        return frozenset((*whole, *self.games.values()))

    def winner(self, game_id: str) -> Arrival | None:
        """The newest arrival that covers ``game_id``, or None."""
        event_id = self.games.get(game_id, self.whole)
        return self.arrivals[event_id] if event_id is not None else None

    @property
    def latest(self) -> Arrival | None:
        """The winning arrival that was received last."""
        return max(self.arrivals.values(), key=lambda a: a.received_at, default=None)

    def in_order(self, arrival: Arrival, reported_at: datetime) -> Arrival:
        """The arrival as received after everything that is known here, whatever the clock showed.

        A clock that stepped back, or that of an instance that is behind, would order it before
        loads that were committed earlier, and it would be lost (a hybrid logical clock).
        ``reported_at`` is its own timestamp, before that was read as no later than its receipt; the
        output of a run that has just ended carries the coordinator's time, which moves with it.
        """
        known = [*self.arrivals.values()]
        if self.last_failure is not None:
            known.append(self.last_failure)
        newest = max((a.received_at for a in known), default=arrival.received_at)
        if newest <= arrival.received_at:
            return arrival
        received_at = newest + SMALLEST_STEP
        now = arrival.event_id.startswith(RUN_OUTPUT) and arrival.timestamp == arrival.received_at
        timestamp = received_at if now else min(reported_at, received_at)
        return replace(arrival, received_at=received_at, timestamp=timestamp)

    def fold(
        self, arrival: Arrival, grain: Grain, expected: Sequence[str] | None = None
    ) -> tuple[TableDate, Fold]:
        """Take one arrival in; the newest timestamp wins, of equal ones the later received.

        ``expected`` are the games the calendar expects (None: unknown); they decide whether an old
        load of the whole date still wins for any game, and which games are kept.
        """
        named = len(arrival.game_ids)
        arrival = arrival.bounded(expected)
        not_kept = self.not_kept
        if grain is Grain.GAME:
            not_kept += named - len(arrival.game_ids)
        if not arrival.informs:
            if self.last_failure is not None and self.last_failure.outranks(arrival):
                return self, Fold.SUPERSEDED
            return replace(self, last_failure=arrival), Fold.APPLIED
        whole = self.whole_arrival
        covers_date = grain is Grain.DATE or not arrival.game_ids
        if whole is not None and whole.outranks(arrival):
            return self, Fold.SUPERSEDED
        games = dict(self.games)
        new_whole = self.whole
        if covers_date:
            newer = {g: e for g, e in games.items() if self.arrivals[e].outranks(arrival)}
            if grain is Grain.DATE:
                # Some may be left from when the table's grain was game.
                wins = not any(a.outranks(arrival) for a in self.arrivals.values())
            else:
                wins = not expected or any(g not in newer for g in expected)
            if not wins:
                return self, Fold.SUPERSEDED
            games, new_whole = newer, arrival.event_id
        else:
            won = [
                g
                for g in arrival.game_ids
                if g not in games or not self.arrivals[games[g]].outranks(arrival)
            ]
            if not won:
                return self, Fold.SUPERSEDED
            games.update((g, arrival.event_id) for g in won)
            keep = games_kept(games, expected)
            not_kept += len(games) - len(keep)
            games = {g: e for g, e in games.items() if g in keep}
        known_arrivals = {**self.arrivals, arrival.event_id: arrival}
        folded = replace(self, games=games, whole=new_whole, not_kept=not_kept)
        counting, newest = folded.counting, _newest(known_arrivals.values())
        arrivals = {e: a for e, a in known_arrivals.items() if e in counting or a is newest}
        return replace(folded, arrivals=arrivals), Fold.APPLIED

    def to_fold_again(self, expected: Sequence[str] | None) -> bool:
        """Whether the ledger may give another answer now that the calendar expects these games."""
        return self.not_kept > 0 or len(games_kept(self.games, expected)) < len(self.games)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarDate:
    """The games expected on one date; an empty tuple means that there are none."""

    game_date: str
    games: tuple[str, ...]
    event_id: str
    timestamp: datetime
    received_at: datetime


def arrivals_key(table: str, game_date: str) -> str:
    """The key of a table's date inside a partition."""
    return f"{table}@{game_date}"


def load_key(date_key: str, event_id: str) -> str:
    """The key of a load inside a partition; event ids are unique within a table's date only."""
    return f"{date_key} {event_id}"
