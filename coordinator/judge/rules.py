"""A registry's text as plain rules.

Owns the judge's own reading of ``registry.yaml`` (specification 2): durations, clock times, defaults,
and the tables of a line. It reads valid registries and checks nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ruamel.yaml import YAML

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """A time of day on the registry's clock, some days after a game date."""

    at: str
    day: int = 0
    what: str = ""
    """``then`` of a deadline, ``when`` of a schedule entry."""


@dataclass(frozen=True, slots=True)
class Line:
    """One requirement."""

    key: str
    """What the line requires, as text: two registries have the same line if this is equal, whatever
    minimums and waits they set."""
    tables: tuple[str, ...]
    """Its enabled tables, the most preferred first."""
    needed: int
    ordered: bool
    """``any_of``: one of the tables is used."""
    critical: bool
    minimum: int | None
    per_game: float | None
    coverage: float
    warn: timedelta | None
    fail: timedelta | None
    offset: int
    prefer_for: timedelta
    last_game_dates: int | None
    window_days: int | None
    min_ready: float

    @property
    def window(self) -> bool:
        return self.last_game_dates is not None or self.window_days is not None


@dataclass(frozen=True, slots=True)
class ProcessorRules:
    """One processor's rules."""

    name: str
    phase: int
    output: str
    lines: tuple[Line, ...]
    grace: timedelta
    debounce: timedelta
    max_settle: timedelta
    cooldown: timedelta
    max_refires: int
    not_before: TimeOfDay | None
    deadline: TimeOfDay | None
    schedule: tuple[TimeOfDay, ...]
    run_timeout: timedelta
    heartbeat_timeout: timedelta
    claim_timeout: timedelta
    attempts: int
    retry_backoff: timedelta
    runs_on_off_days: bool

    @property
    def critical(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.critical)

    @property
    def clocks(self) -> list[tuple[str, TimeOfDay]]:
        """Its deadline and the entries of its schedule, each with its kind."""
        deadlines = [] if self.deadline is None else [("deadline", self.deadline)]
        return [*deadlines, *(("schedule", entry) for entry in self.schedule)]

    @property
    def offsets(self) -> frozenset[int]:
        """The dates, relative to its own, that its lines require (except windows)."""
        return frozenset({0} | {line.offset for line in self.lines if not line.window})

    def names(self, table: str) -> bool:
        """Whether any line names the table."""
        return any(table in line.tables for line in self.lines)


@dataclass(frozen=True, slots=True)
class TableRules:
    """One table's rules."""

    by_game: bool = False
    enabled: bool = True
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """A registry, read, and when it was first served."""

    hash: str
    served_at: datetime
    timezone: str
    calendar: str | None
    known_from: str | None
    tables: Mapping[str, TableRules]
    processors: Mapping[str, ProcessorRules]

    def by_game(self, table: str) -> bool:
        """Whether the table's loads add up by game. The calendar's never do."""
        return table != self.calendar and self.tables.get(table, TableRules()).by_game

    def instant(self, game_date: str, clock: TimeOfDay) -> datetime:
        """The instant of a clock time."""
        return wall_clock(shifted(game_date, clock.day), clock.at, self.timezone)

    def table_of(self, name: str) -> str | None:
        """The table that an event's name means, or None."""
        if name in self.tables or any(p.output == name for p in self.processors.values()):
            return name
        if name == self.calendar:
            return name
        for table, rules in self.tables.items():
            if name in rules.aliases:
                return table
        known = {*self.tables, *(p.output for p in self.processors.values())}
        if self.calendar:
            known.add(self.calendar)
        bare = [t for t in sorted(known) if t.split(".")[-1] == name]
        return bare[0] if len(bare) == 1 else None


def shifted(game_date: str, days: int) -> str:
    """The date some days later."""
    return (date.fromisoformat(game_date) + timedelta(days=days)).isoformat()


def wall_clock(day: str, at: str, timezone: str) -> datetime:
    """The instant of a wall-clock time: a skipped one is the instant of the jump, of a time that
    occurs twice the first counts (specification 2.6)."""
    numbers = [int(n) for n in at.split(":")]
    hour, minute, second = numbers + [0] * (3 - len(numbers))
    zone = ZoneInfo(timezone)
    wall = datetime.combine(date.fromisoformat(day), time(hour, minute, second))
    found = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall:
        return found
    before = (wall - timedelta(days=1)).replace(tzinfo=zone).astimezone(UTC)
    lo, hi = before, found  # the offset changes once in between
    start = lo.astimezone(zone).utcoffset()
    while hi - lo > timedelta(seconds=1):
        middle = lo + (hi - lo) / 2
        lo, hi = (middle, hi) if middle.astimezone(zone).utcoffset() == start else (lo, middle)
    return hi.replace(microsecond=0)


def duration(text: str) -> timedelta:
    """A duration of the registry."""
    return timedelta(seconds=float(text[:-1]) * _UNITS[text[-1]])


def read(text: str, identity: str, served_at: datetime) -> Rules:
    """Read a valid registry's text (YAML; JSON is YAML)."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError:
        data = YAML(typ="safe", pure=True).load(text)
    tables = {
        name: TableRules(
            by_game=(entry or {}).get("grain", "date") == "game",
            enabled=(entry or {}).get("enabled", True),
            aliases=tuple((entry or {}).get("aliases") or ()),
        )
        for name, entry in (data.get("tables") or {}).items()
    }
    defaults = data.get("defaults") or {}
    calendar = data.get("calendar") or {}
    known_from = calendar.get("known_from")
    return Rules(
        hash=identity,
        served_at=served_at,
        timezone=data.get("timezone", "America/New_York"),
        calendar=calendar.get("table"),
        known_from=None if known_from is None else str(known_from),
        tables=tables,
        processors={
            name: _processor(name, {**defaults, **entry}, tables)
            for name, entry in data["processors"].items()
        },
    )


def _processor(
    name: str, entry: Mapping[str, Any], tables: Mapping[str, TableRules]
) -> ProcessorRules:
    def time_of(key: str, default: str) -> timedelta:
        return duration(str(entry.get(key) or default))

    deadline, earliest = entry.get("deadline"), entry.get("not_before")
    lines = [_line(raw, tables) for raw in entry["requires"]]
    return ProcessorRules(
        name=name,
        phase=entry["phase"],
        output=entry["output"],
        lines=tuple(line for line in lines if line.tables),
        grace=time_of("grace", "0s"),
        debounce=time_of("debounce", "0s"),
        max_settle=time_of("max_settle", "1h"),
        cooldown=time_of("cooldown", "1h"),
        max_refires=entry.get("max_refires", 5),
        not_before=TimeOfDay(str(earliest["at"]), earliest.get("day", 0)) if earliest else None,
        deadline=TimeOfDay(
            str(deadline["at"]), deadline.get("day", 0), deadline.get("then", "alert")
        )
        if deadline
        else None,
        schedule=tuple(
            TimeOfDay(str(e["at"]), e.get("day", 0), e.get("when", "ready"))
            for e in entry.get("schedule") or ()
        ),
        run_timeout=time_of("run_timeout", "30m"),
        heartbeat_timeout=time_of("heartbeat_timeout", "5m"),
        claim_timeout=time_of("claim_timeout", "10m"),
        attempts=entry.get("attempts", 3),
        retry_backoff=time_of("retry_backoff", "1m"),
        runs_on_off_days=entry.get("off_day", "skip") == "run",
    )


def _line(raw: Mapping[str, Any], tables: Mapping[str, TableRules]) -> Line:
    named: Sequence[str] = raw.get("any_of") or raw.get("of") or [raw["table"]]
    dates = raw.get("dates") or {}
    hours = {key: raw.get(f"max_age_hours_{key}") for key in ("warn", "fail")}
    ages = {k: None if h is None else timedelta(hours=h) for k, h in hours.items()}
    means = {k: v for k, v in raw.items() if k in ("table", "any_of", "of", "at_least", "dates")}
    return Line(
        key=json.dumps(means, sort_keys=True, default=str),
        tables=tuple(t for t in named if tables.get(t, TableRules()).enabled),
        needed=raw.get("at_least", 1),
        ordered="any_of" in raw,
        critical=raw.get("critical", True),
        minimum=raw.get("expected_count_min"),
        per_game=raw.get("expected_count_per_game"),
        coverage=raw.get("min_coverage", 1.0),
        warn=ages["warn"],
        fail=ages["fail"],
        offset=dates.get("offset", 0),
        prefer_for=duration(str(raw.get("prefer_for", "0s"))),
        last_game_dates=dates.get("last_game_dates"),
        window_days=dates.get("window_days"),
        min_ready=dates.get("min_ready", 1.0),
    )
