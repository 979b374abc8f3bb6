"""A deliberately dumb judge: are a processor's needs met, by the ledger and the registry's text?

It shares no code with ``core.readiness``: no folding, no specs, no caches. It looks at every event
that the ledger holds, each time anew. Where the contract leaves a count to the implementation it
answers None, "cannot say", and claims nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from math import ceil
from typing import Any


@dataclass(frozen=True, slots=True)
class Load:
    """One event of the ledger. ``number`` is its place in the order of the commits."""

    number: int
    table: str
    game_date: str
    event_id: str
    status: str
    at: datetime
    count: int | None
    games: tuple[str, ...]
    content: str | None
    quiet: bool
    superseded: bool
    received_at: datetime

    @property
    def informs(self) -> bool:
        """Whether it says something of the data."""
        return self.status not in ("failed", "skipped")

    @property
    def empty(self) -> bool:
        """Whether it says that there are no rows."""
        return self.status == "no_data" or self.count == 0


@dataclass(slots=True)
class Ledger:
    """Every event, and the calendar they tell."""

    loads: dict[tuple[str, str], list[Load]] = field(default_factory=dict)
    calendar: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, load: Load) -> None:
        """Take one event in."""
        self.loads.setdefault((load.table, load.game_date), []).append(load)


def shifted(game_date: str, days: int) -> str:
    """The date some days later."""
    return (date.fromisoformat(game_date) + timedelta(days=days)).isoformat()


def seconds(text: str) -> float:
    """A duration of the registry in seconds."""
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]


class Judge:
    """Judges under one registry, given as the plain data of its file."""

    def __init__(self, definition: Mapping[str, Any], ledger: Ledger) -> None:
        self.definition = definition
        self.ledger = ledger
        self.known_from: str | None = (definition.get("calendar") or {}).get("known_from")

    def processor(self, name: str) -> Mapping[str, Any]:
        """A processor's entry."""
        found: Mapping[str, Any] = self.definition["processors"][name]
        return found

    def policy(self, name: str, key: str, default: Any) -> Any:
        """A policy key of a processor, or of the defaults."""
        return self.processor(name).get(key, self.definition.get("defaults", {}).get(key, default))

    def off_day(self, name: str, game_date: str) -> bool:
        """Whether nothing is expected that date."""
        none = self.ledger.calendar.get(game_date) == ()
        return none and self.policy(name, "off_day", "skip") == "skip"

    def needs_met(
        self,
        name: str,
        game_date: str,
        now: datetime,
        *,
        waived: frozenset[str] = frozenset(),
        freshness: bool = False,
        superseded: bool = True,
    ) -> bool | None:
        """Whether every critical requirement is met or waived; None where it cannot say."""
        requires = self.processor(name)["requires"]
        critical = [r for r in requires if r.get("critical", True)]
        if not critical:
            return self._anything(requires, game_date, now, superseded)
        answers = [
            self.requirement_met(r, game_date, now, waived, freshness, superseded) for r in critical
        ]
        if False in answers:
            return False
        return None if None in answers else True

    def _anything(
        self,
        requires: Sequence[Mapping[str, Any]],
        game_date: str,
        now: datetime,
        superseded: bool,
    ) -> bool | None:
        """Whether any input holds rows, or is met without."""
        answers: list[bool | None] = []
        for r in requires:
            dates = r.get("dates") or {}
            if "last_game_dates" in dates or "window_days" in dates:
                answers.append(None)  # its inputs lie on other dates
                continue
            offset = dates.get("offset", 0)
            on = shifted(game_date, offset)
            if offset and self.ledger.calendar.get(on) == ():
                answers.append(None)  # met, and no arrival
                continue
            for table in self.sources(r):
                loads = self._informing(table, on, superseded)
                if not loads:
                    continue
                answers.append(
                    self.source_met(r, table, on, now, freshness=False, superseded=superseded)
                )
                by_game = self.definition["tables"].get(table, {}).get("grain") == "game"
                if not by_game:
                    answers.append(not max(loads, key=lambda x: (x.at, x.number)).empty)
                elif all(not x.empty for x in loads):
                    answers.append(True)
                else:
                    answers.append(False if all(x.empty for x in loads) else None)
        if True in answers:
            return True
        return None if None in answers else False

    def sources(self, r: Mapping[str, Any]) -> list[str]:
        """The enabled tables of a requirement."""
        named = r.get("any_of") or r.get("of") or [r["table"]]
        tables = self.definition["tables"]
        return [t for t in named if tables.get(t, {}).get("enabled", True)]

    def requirement_met(
        self,
        r: Mapping[str, Any],
        game_date: str,
        now: datetime,
        waived: frozenset[str],
        freshness: bool,
        superseded: bool,
    ) -> bool | None:
        """Whether one requirement is met."""
        dates = r.get("dates") or {}
        if "last_game_dates" in dates or "window_days" in dates:
            return self._window(r, game_date, now, waived, superseded)
        offset = dates.get("offset", 0)
        on = shifted(game_date, offset)
        if offset and self.ledger.calendar.get(on) == ():
            return True
        answers = [
            True
            if table in waived
            else self.source_met(r, table, on, now, freshness=freshness, superseded=superseded)
            for table in self.sources(r)
        ]
        needed = r.get("at_least", 1)
        if sum(a is True for a in answers) >= needed:
            return True
        if sum(a is not False for a in answers) >= needed:
            return None
        return False

    def _informing(self, table: str, on: str, superseded: bool) -> list[Load]:
        loads = self.ledger.loads.get((table, on), [])
        return [x for x in loads if x.informs and (superseded or not x.superseded)]

    def source_met(
        self,
        r: Mapping[str, Any],
        table: str,
        on: str,
        now: datetime,
        *,
        freshness: bool,
        superseded: bool = True,
    ) -> bool | None:
        """Whether one table on one date meets a requirement."""
        loads = self._informing(table, on, superseded)
        if not loads:
            return False
        games = self.ledger.calendar.get(on)
        by_game = self.definition["tables"].get(table, {}).get("grain") == "game"
        if freshness and games == () and r.get("max_age_hours_fail") is not None:
            return None  # whether an empty load of an off day may be old
        minimum = r.get("expected_count_min")
        per_game = r.get("expected_count_per_game")
        if per_game is not None and games is not None:
            minimum = max(minimum or 0, ceil(per_game * len(games) - 1e-9))
        resting: list[Load]
        if not by_game:
            winner = max(loads, key=lambda x: (x.at, x.number))
            if winner.empty:
                return games == ()
            if minimum is not None and (winner.count is None or winner.count < minimum):
                return False
            named = set(winner.games)
            in_part = winner.status == "partial" and (games is None or not named >= set(games))
            if minimum is None and in_part:
                return False
            resting = [winner]
        elif games is None:
            if all(x.empty for x in loads):
                return False
            if minimum is not None:
                return None
            resting = [x for x in loads if not x.empty]
            if len(resting) < len(loads) or any(x.status == "partial" for x in loads):
                return None
        elif not games:
            return True
        else:
            resting = []
            total: float | None = 0.0
            for game in games:
                covering = [x for x in loads if not x.games or game in x.games]
                if not covering:
                    continue
                winner = max(covering, key=lambda x: (x.at, x.number))
                if winner.empty:
                    continue
                if minimum is None and winner.status == "partial" and game not in winner.games:
                    continue
                resting.append(winner)
                parts = len(winner.games) or len(games)
                if winner.count is None or total is None:
                    total = None
                else:
                    total += winner.count / parts
            needed = ceil(r.get("min_coverage", 1.0) * len(games) - 1e-9)
            if len(resting) < needed or not resting:
                return False
            if minimum is not None and (total is None or round(total) < minimum):
                return False
        limit = r.get("max_age_hours_fail")
        if freshness and limit is not None:
            oldest = min(x.at for x in resting)
            return now < oldest + timedelta(hours=limit)
        return True

    def _window(
        self,
        r: Mapping[str, Any],
        game_date: str,
        now: datetime,
        waived: frozenset[str],
        superseded: bool,
    ) -> bool | None:
        table = r["table"]
        if table in waived:
            return True
        dates = r["dates"]
        calendar = self.ledger.calendar
        found = {d for d, games in calendar.items() if games}
        found |= {d for (t, d) in self.ledger.loads if t == table and d not in calendar}
        floor = self.known_from or ""
        if "window_days" in dates:
            floor = max(floor, shifted(game_date, -dates["window_days"]))
        looked = sorted(d for d in found if floor <= d < game_date)
        if "last_game_dates" in dates:
            looked = looked[-dates["last_game_dates"] :]
        if not looked:
            return self.known_from is not None
        answers = [
            self.source_met(r, table, d, now, freshness=False, superseded=superseded)
            for d in looked
        ]
        needed = ceil(dates.get("min_ready", 1.0) * len(looked) - 1e-9)
        if sum(a is True for a in answers) >= needed:
            return True
        if sum(a is not False for a in answers) >= needed:
            return None
        return False
