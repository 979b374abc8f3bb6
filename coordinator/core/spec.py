"""What a registry entry means once it has been validated.

Owns the meaning of requirements and policies. Refuses to read files (see ``registry``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from coordinator.core.arrivals import Grain


class RequirementKind(StrEnum):
    TABLE = "table"
    ANY_OF = "any_of"
    AT_LEAST = "at_least"
    WINDOW = "window"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A range of game dates before the partition's own.

    ``game_dates`` counts dates with games; ``days`` counts calendar days, of which those with
    games count. ``min_ready`` is the share of them, in (0, 1], that must be ready.
    """

    game_dates: int | None = None
    days: int | None = None
    min_ready: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One line of a processor's needs. ``sources`` holds the enabled tables, in the file's order."""

    key: str
    kind: RequirementKind
    sources: tuple[str, ...]
    critical: bool = True
    needed: int = 1
    """How many sources must be met: 1, or k of an at-least-k-of group."""
    expected_count_min: int | None = None
    expected_count_per_game: float | None = None
    min_coverage: float = 1.0
    max_age_warn: timedelta | None = None
    max_age_fail: timedelta | None = None
    offset: int = 0
    """Days from the partition's game date to the date it requires; 0 is the same date."""
    window: Window | None = None
    prefer_for: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockTime:
    """``at`` on the registry's clock, ``day`` days after the game date."""

    hour: int
    minute: int
    second: int = 0
    day: int = 0


class DeadlineAction(StrEnum):
    ALERT = "alert"
    FIRE = "fire"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    at: ClockTime
    then: DeadlineAction = DeadlineAction.ALERT
    set_since: datetime | None = None
    """Since when served registries have set it without a break; None: since the first one.

    Instants before it were put into the past by a change of the registry (specification 2.8).
    """


class ScheduleWhen(StrEnum):
    READY = "ready"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleEntry:
    at: ClockTime
    when: ScheduleWhen = ScheduleWhen.READY
    set_since: datetime | None = None
    """As of a deadline."""


class OffDay(StrEnum):
    SKIP = "skip"
    RUN = "run"


class LaunchKind(StrEnum):
    """How a launch is delivered."""

    LOCAL = "local"
    HTTP = "http"
    PUBSUB = "pubsub"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTarget:
    """Where launches go; ``address`` is a URL for http, a topic for pubsub, empty for local."""

    kind: LaunchKind
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When to fire, how often, and for how long to wait. All durations are ``timedelta``."""

    grace: timedelta = timedelta(0)
    debounce: timedelta = timedelta(0)
    max_settle: timedelta = timedelta(hours=1)
    not_before: ClockTime | None = None
    cooldown: timedelta = timedelta(hours=1)
    max_refires: int = 5
    deadline: Deadline | None = None
    schedule: tuple[ScheduleEntry, ...] = ()
    run_timeout: timedelta = timedelta(minutes=30)
    heartbeat_timeout: timedelta = timedelta(minutes=5)
    claim_timeout: timedelta = timedelta(minutes=10)
    attempts: int = 3
    retry_backoff: timedelta = timedelta(minutes=1)
    off_day: OffDay = OffDay.SKIP
    off_day_since: datetime | None = None
    """Since when ``off_day: run`` is set without a break; None: since the first registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """A declared table: a raw one, or a processor's output (``producer`` set)."""

    name: str
    grain: Grain = Grain.DATE
    enabled: bool = True
    aliases: tuple[str, ...] = ()
    producer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorSpec:
    """A processor as the state machine sees it."""

    name: str
    phase: int
    output: str
    requirements: tuple[Requirement, ...]
    policy: Policy = field(default_factory=Policy)
    timezone: str = "America/New_York"
    grains: Mapping[str, Grain] = field(default_factory=dict)
    """Grain of every table that a requirement names; absent means ``date``."""
    producers: Mapping[str, str] = field(default_factory=dict)
    """Of the tables that a requirement names, those that a processor writes: table → processor."""
    calendar_table: str | None = None
    known_from: str | None = None
    aliases: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    """Tables named by requirements that are switched off: never waited for."""
    entrypoint: str | None = None
    launch: LaunchTarget | None = None
    registry_hash: str = ""

    offsets: tuple[int, ...] = field(init=False, compare=False, repr=False)
    """The day offsets that non-window requirements use, ascending, without repeats."""
    windows: tuple[Requirement, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Every decision asks for them.
        offsets = {r.offset for r in self.requirements if r.window is None}
        object.__setattr__(self, "offsets", tuple(sorted(offsets)))
        windows = tuple(r for r in self.requirements if r.window is not None)
        object.__setattr__(self, "windows", windows)

    def named_tables(self) -> frozenset[str]:
        """Every table that a requirement names."""
        return frozenset(t for r in self.requirements for t in r.sources)
