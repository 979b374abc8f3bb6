"""What was loaded, and what the calendar expects, computed from every event.

Owns the reading of events as they were sent (specification 3.1), which of them win, and the calendar.
Nothing is aggregated: every question reads every load, in the order of the commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from coordinator.judge.observations import Recorded, Sent, moment
from coordinator.judge.rules import Rules

OUTPUT = "run:"
"""What the event ids of runs' outputs begin with."""
WHOLE = "*"
"""In place of a game: the games that only loads of the whole date cover."""
SAMPLE = 20
"""How many unexpected games of a date are certainly kept (specification 3.1)."""


@dataclass(frozen=True, slots=True)
class RecordedLoad:
    """One event of the ledger, with the content that its sender sent."""

    number: int
    """Its place in the order of the commits, of everything the judge has seen."""
    table: str
    game_date: str
    event_id: str
    status: str
    timestamp: datetime
    """Its own, read as no later than its receipt."""
    received_at: datetime
    seen_at: datetime
    """When the judge saw it: earlier than its receipt where clocks were set back."""
    count: int | None
    games: tuple[str, ...]
    mark: str | None
    """Its content mark (``metadata.content_hash``)."""
    quiet: bool
    correlation_id: str | None
    generation: int = 0
    """Of a run's output: the run's generation."""
    _covered: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_covered", frozenset(self.games))

    @property
    def speaks(self) -> bool:
        """Whether it says something about the data: failed and skipped loads do not."""
        return self.status not in ("failed", "skipped")

    @property
    def empty(self) -> bool:
        """Whether it says that there are no rows."""
        return self.status == "no_data" or self.count == 0

    def covers(self, game: str) -> bool:
        return not self.games or game in self._covered


def newer(one: RecordedLoad, other: RecordedLoad) -> bool:
    """Whether ``one`` wins over ``other``.

    The newest timestamp wins, of equal ones the later received (specification 3.1). Outputs of
    one processor are ordered by generation, whatever its clock did meanwhile.
    """
    if one.generation and other.generation:
        return one.generation > other.generation
    first, second = (one.timestamp, one.received_at), (other.timestamp, other.received_at)
    return first > second or (first == second and one.number > other.number)


def newest(loads: Iterable[RecordedLoad]) -> RecordedLoad | None:
    """The load that wins over all others."""
    best: RecordedLoad | None = None
    for load in loads:
        if best is None or newer(load, best):
            best = load
    return best


@dataclass(frozen=True, slots=True)
class Said:
    """An event as its sender wrote it, read."""

    names: tuple[str, ...]
    """The fields that may name its table, in order of precedence."""
    game_date: str | None
    status: str | None
    timestamp: datetime
    count: int | None
    games: frozenset[str]
    mark: str | None
    quiet: bool
    event_id: str | None
    execution_id: str | None
    correlation_id: str | None


def read_event(event: Mapping[str, Any]) -> Said | None:
    """Read an event with any accepted field names; None if it is not a readable load."""
    try:
        names = [event.get("target_table"), event.get("source_table")]
        if event.get("output_dataset") and event.get("output_table"):
            names.append(f"{event['output_dataset']}.{event['output_table']}")
        names.append(event.get("processor_name"))
        dates = ("game_date", "analysis_date", "target_date", "data_date", "partition_date")
        status = event.get("status")
        if status is None and "success" in event:
            status = "success" if event["success"] else "failed"
        details = event.get("metadata") or {}
        return Said(
            names=tuple(str(n) for n in names if n),
            game_date=next((str(event[d]) for d in dates if event.get(d)), None),
            status=status,
            timestamp=moment(str(event["timestamp"]).replace("Z", "+00:00")),
            count=event.get("record_count"),
            games=frozenset(str(g) for g in event.get("game_ids") or ()),
            mark=details.get("content_hash"),
            quiet=bool(event.get("skip_downstream") or details.get("skip_downstream")),
            event_id=event.get("event_id"),
            execution_id=event.get("execution_id"),
            correlation_id=event.get("correlation_id"),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


@dataclass(slots=True)
class Ledger:
    """Every load in the order of the commits, and the calendar that follows from them."""

    loads: dict[tuple[str, str], list[RecordedLoad]] = field(default_factory=dict)
    """(table, date) → its loads."""
    superseded: set[int] = field(default_factory=set)
    """Numbers of loads that were older than what was known when they came: they change nothing,
    then or later."""
    calendars: dict[str, list[tuple[int, datetime, datetime, tuple[str, ...]]]] = field(
        default_factory=dict
    )
    """date → each change of its games: the number, the load's timestamp, receipt, the games."""
    sent: dict[str, list[Said]] = field(default_factory=dict)
    """Given event id, or execution id → the events that carry it."""

    clock: datetime | None = None
    """The instant of what was seen last."""
    furthest: datetime | None = None
    """The latest instant that was ever seen: later than ``clock`` where clocks were set back."""
    peaks: list[tuple[datetime, int]] = field(default_factory=list)
    """Instants that none after them reached, and how much had been seen before each."""

    def pass_time(self, at: datetime, number: int) -> None:
        """Advance to this time, or set the clock back to it, after so many observations."""
        self.clock = at
        self.furthest = at if self.furthest is None else max(self.furthest, at)
        while self.peaks and self.peaks[-1][0] <= at:
            self.peaks.pop()
        self.peaks.append((at, number))

    def came_and_went(self, at: datetime) -> bool:
        """Whether an instant has come, and clocks were set back to before it."""
        if self.clock is None or self.furthest is None:
            return False
        return self.clock < at <= self.furthest

    def was_seen_at(self, load: RecordedLoad, at: datetime) -> bool:
        """Whether an instant came while a load was known, and clocks were set back to before it."""
        if not self.came_and_went(at):
            return False
        since = (peak for peak, number in self.peaks if number >= load.number)
        return at <= max(load.seen_at, next(since, load.seen_at))

    def note_sent(self, sent: Sent) -> None:
        """Record what a sender wrote."""
        said = read_event(sent.event)
        if said is not None:
            self.sent.setdefault(said.event_id or said.execution_id or "", []).append(said)

    def sources_of(self, row: Recorded) -> list[Said]:
        """The sent events that a ledger line may have come from."""
        found = self.sent.get(row.event_id) or self.sent.get(row.execution_id or "")
        if not found:  # its id was made from the message's, or from the timestamp
            found = [s for s in self.sent.get("", []) if s.status == row.status]
        return [s for s in found if s.game_date == row.game_date]

    # ── loads ────────────────────────────────────────────────────────────────────────────────

    def of(self, table: str, game_date: str, until: int | None = None) -> list[RecordedLoad]:
        """The loads that count on a date: those that changed something when they were recorded."""
        return [
            x
            for x in self.loads.get((table, game_date), ())
            if x.speaks and x.number not in self.superseded and (until is None or x.number <= until)
        ]

    def wins_anything(self, load: RecordedLoad, rules: Rules) -> bool:
        """Whether a load that has just come changes what is known of its date."""
        known = [x for x in self.of(load.table, load.game_date) if x.number < load.number]
        if not rules.by_game(load.table):
            return not any(newer(x, load) for x in known)
        if load.games:
            games: Sequence[str] = load.games
        else:
            expected = self.games(load.game_date, load.number)
            games = expected or (WHOLE,)
        return any(
            not any(newer(x, load) for x in known if (not x.games or g in x.games)) for g in games
        )

    @property
    def last_number(self) -> int:
        """The number of the load that was seen last; 0: none."""
        return max((xs[-1].number for xs in self.loads.values()), default=0)

    def keeps_all(self, table: str, game_date: str) -> bool:
        """Whether so few games of a date were unexpected that all of them are kept (specification 3.1)."""
        expected = {*(self.games(game_date) or ())}
        named = {*expected}
        for load in self.of(table, game_date):
            named.update(load.games)
            if len(named) > len(expected) + SAMPLE:
                return False
        return True

    def winner(self, loads: Iterable[RecordedLoad], game: str) -> RecordedLoad | None:
        """The load that counts for one game."""
        return newest(x for x in loads if x.covers(game))

    # ── the calendar ─────────────────────────────────────────────────────────────────────────

    def note_calendar(self, load: RecordedLoad) -> None:
        """A load of the calendar's table sets the date's games (specification 3.1)."""
        if not load.speaks or not (load.games or load.empty):
            return
        changes = self.calendars.setdefault(load.game_date, [])
        if changes and load.timestamp < changes[-1][1]:
            return
        games = () if load.status == "no_data" else load.games
        changes.append((load.number, load.timestamp, load.received_at, games))

    def games(self, game_date: str, until: int | None = None) -> tuple[str, ...] | None:
        """The games expected on a date; None if the calendar does not know it."""
        for number, _, _, games in reversed(self.calendars.get(game_date, ())):
            if until is None or number <= until:
                return games
        return None

    def calendar_changes(self, game_date: str) -> list[tuple[int, datetime]]:
        """When what is expected on a date changed: number and receipt."""
        return [(number, received) for number, _, received, _ in self.calendars.get(game_date, ())]
