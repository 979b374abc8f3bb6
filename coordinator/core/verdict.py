"""The explained judgement of a partition: a tree of requirements, with evidence.

Owns the shape of a verdict and what follows from it alone. Refuses to judge (see ``readiness``) and
to word it (see ``explain``). They are tuples: a judgement makes a tree of them for each decision, and a
tuple is made several times as fast as a frozen dataclass.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from coordinator.core.arrivals import Arrival
from coordinator.core.model import Latest, Waiver, WindowDay, WindowState
from coordinator.core.spec import Requirement


class State(StrEnum):
    """The state of a requirement. The first four are met."""

    READY = "ready"
    AGING = "aging"
    WAIVED = "waived"
    NOT_EXPECTED = "not_expected"
    MISSING = "missing"
    FAILED = "failed"
    EMPTY = "empty"
    SHORT = "short"
    INCOMPLETE = "incomplete"
    STALE = "stale"


MET = (State.READY, State.AGING, State.WAIVED, State.NOT_EXPECTED)
NEAREST_FIRST = (
    State.STALE,
    State.SHORT,
    State.INCOMPLETE,
    State.EMPTY,
    State.FAILED,
    State.MISSING,
)
"""Unmet states by how near they are to being met; a group shows the nearest of its sources."""


class HoldKind(StrEnum):
    """What keeps a partition with met requirements from firing."""

    GRACE = "grace"
    PREFER = "prefer"
    DEBOUNCE = "debounce"
    NOT_BEFORE = "not_before"
    COOLDOWN = "cooldown"
    QUIET = "quiet"
    PAUSE = "pause"
    BUDGET = "budget"


class Hold(NamedTuple):
    """One thing that holds a firing; ``until`` is None where time alone does not end it."""

    kind: HoldKind
    until: datetime | None = None
    detail: str = ""


class SourceVerdict(NamedTuple):
    """One table on one date, judged, with its evidence."""

    table: str
    game_date: str
    state: State
    games_expected: int | None = None
    games_loaded: int = 0
    missing_games: tuple[str, ...] = ()
    in_part: bool = False
    """It rests on a partial load that does not say what it covers."""
    unexpected_games: tuple[str, ...] = ()
    record_count: int | None = None
    minimum: int | None = None
    loads: tuple[Arrival, ...] = ()
    """The loads it rests on."""
    stale_at: datetime | None = None
    age: timedelta | None = None
    """Where it is stale: how old the oldest load is."""
    since: datetime | None = None
    """Receipt time since when it has been met without a break; None while unmet."""
    warnings: tuple[str, ...] = ()
    waiver: Waiver | None = None
    unwaived_state: State | None = None
    last_failure: Arrival | None = None
    """Where nothing else is known: the load that failed or was skipped."""
    producer: str | None = None
    """The processor that writes the table, where one does."""

    @property
    def met(self) -> bool:
        return self.state in MET

    @property
    def by_data(self) -> bool:
        """Met by what was loaded, with or without a waiver."""
        return (self.unwaived_state or self.state) in MET

    @property
    def event_ids(self) -> tuple[str, ...]:
        """The ids of the loads it rests on, in order."""
        return tuple(sorted([a.event_id for a in self.loads]))

    @property
    def oldest(self) -> datetime | None:
        """Timestamp of the oldest load it rests on."""
        return min([a.timestamp for a in self.loads], default=None)

    @property
    def loaded_at(self) -> datetime | None:
        """Timestamp of the newest load it rests on."""
        return max([a.timestamp for a in self.loads], default=None)


class RequirementVerdict(NamedTuple):
    """One requirement, judged."""

    requirement: Requirement
    state: State
    sources: tuple[SourceVerdict, ...] = ()
    """The leaves. Those of a window are its ``days``; a waived one has the waiver as its only leaf."""
    used: tuple[str, ...] = ()
    """The sources that meet it, in order of preference."""
    window: WindowState | None = None
    """Of a window: its state. None where it was not evaluated, and of every other kind."""
    days: tuple[WindowDay, ...] = ()
    """Of a window: its dates, where they were read for this judgement."""
    days_needed: int = 0
    since: datetime | None = None
    prefer_until: datetime | None = None
    """While set and in the future, a more preferred source is still waited for."""
    warnings: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        return self.state in MET

    @property
    def key(self) -> str:
        return self.requirement.key


class Dirt(NamedTuple):
    """Newer data than the latest generation consumed, in one table."""

    key: str
    table: str
    game_date: str
    games: tuple[str, ...]
    ready: bool
    latest: Latest
    """The newest load behind it, by receipt."""


class Verdict(NamedTuple):
    """The explained judgement: a tree of requirements, what holds the firing, and until when."""

    at: datetime
    requirements: tuple[RequirementVerdict, ...]
    off_day: bool
    """The calendar says there are no games, and the processor does not run on such days."""
    critical_met: bool
    optional_met: bool
    usable: bool
    """At least one input holds rows, be it on a date inside a window."""
    ready_since: datetime | None
    holds: tuple[Hold, ...]
    quiet: bool
    """The latest arrival that no generation has consumed was announced quiet."""
    dirty: tuple[Dirt, ...]
    refires_spent: bool
    wake_at: datetime | None
    windows_decide: bool = False
    """Everything critical is met but for windows, and a run could follow: a window that is not met
    keeps it from firing, or prolongs its grace."""

    @property
    def unmet(self) -> tuple[RequirementVerdict, ...]:
        """The critical requirements that are not met."""
        return tuple(r for r in self.requirements if r.requirement.critical and not r.met)

    @property
    def newer_ready(self) -> bool:
        """Newer data is there and could be consumed."""
        return self.critical_met and any(d.ready for d in self.dirty)

    @property
    def changed_games(self) -> tuple[str, ...]:
        return tuple(sorted({g for d in self.dirty for g in d.games}))

    @property
    def changed_tables(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(d.table for d in self.dirty))

    def hold(self, kind: HoldKind) -> Hold | None:
        return next((h for h in self.holds if h.kind is kind), None)

    @property
    def met_count(self) -> int:
        return sum(r.met for r in self.requirements)

    @property
    def warnings(self) -> tuple[str, ...]:
        found = [w for r in self.requirements for w in r.warnings]
        found += [w for r in self.requirements for s in r.sources for w in s.warnings]
        return tuple(dict.fromkeys(found))
