"""The history windows of a partition: which game dates they hold, and each of these judged.

Owns which documents that takes, and how many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from coordinator.core.arrivals import CalendarDate, Grain
from coordinator.core.model import WindowDay
from coordinator.core.schedule import window_dates
from coordinator.core.sources import judge_source
from coordinator.core.spec import ProcessorSpec, Requirement
from coordinator.documents import GAME_DATES, OFF_DATES, calendar_key, dates_key, table_date_key
from coordinator.ports import Key
from coordinator.service.reading import Reading

READS_PER_DATE = 2
"""The load of a date and its calendar."""


@dataclass(frozen=True, slots=True)
class Days:
    """The dates of a partition's windows, judged."""

    days: Mapping[str, tuple[WindowDay, ...]]
    tables: frozenset[str]
    dates: tuple[tuple[str, str], ...]
    """The (table, date) that they are about."""

    @property
    def reads(self) -> int:
        """How many documents they rest on, but for the lists of dates."""
        return READS_PER_DATE * len(self.dates)

    def keys(self) -> set[Key]:
        """The documents that they rest on."""
        names = {GAME_DATES, OFF_DATES, *self.tables}
        found = {dates_key(name) for name in names}
        for table, date in self.dates:
            found |= {calendar_key(date), table_date_key(table, date)}
        return found


def judged_windows(
    reading: Reading,
    spec: ProcessorSpec,
    game_date: str,
    now: datetime,
    reads_max: int | None,
) -> Days | None:
    """Every date of a partition's windows, judged in this transaction.

    None where that takes more than ``reads_max`` documents. Where ``reading`` then misses
    documents, the answer means nothing yet.
    """
    found: dict[str, list[tuple[Requirement, str]]] = {}
    dates_of: list[tuple[str, str]] = []
    for requirement in spec.windows:
        window, table = requirement.window, requirement.sources[0]
        assert window is not None
        known = reading.game_dates(table)
        dates = window_dates(window, game_date, known, spec.known_from)
        found[requirement.key] = [(requirement, date) for date in dates]
        dates_of += [(table, date) for date in dates]
    if reads_max is not None:
        reading.window_dates.update(dates_of)
        if READS_PER_DATE * len(reading.window_dates) > reads_max:
            return None
    days = {
        key: tuple([_day(reading, spec, requirement, date, now) for requirement, date in of])
        for key, of in found.items()
    }
    tables = frozenset(r.sources[0] for r in spec.windows)
    return Days(days, tables, tuple(dates_of))


def _day(
    reading: Reading,
    spec: ProcessorSpec,
    requirement: Requirement,
    date: str,
    now: datetime,
) -> WindowDay:
    """One date of a window, judged; once for all partitions of a transaction."""
    place = (spec.name, requirement.key, date)
    known = reading.days.get(place)
    if known is not None:
        return known
    table = requirement.sources[0]
    calendar: CalendarDate | None = reading.get(calendar_key(date))
    source = judge_source(
        requirement,
        table,
        date,
        reading.get(table_date_key(table, date)),
        spec.grains.get(table, Grain.DATE),
        None if calendar is None else calendar.games,
        now,
        freshness=False,
    )
    day = WindowDay(
        game_date=date,
        met=source.met,
        state=source.state.value,
        since=source.since if source.event_ids else None,
        record_count=source.record_count,
        event_ids=source.event_ids,
    )
    reading.days[place] = day
    return day
