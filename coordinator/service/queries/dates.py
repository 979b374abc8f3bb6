"""Queries of many dates: the grid, and the gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import cache

from coordinator.core.arrivals import CalendarDate
from coordinator.core.model import GOOD_OUTCOMES, Flag, Partition, Pause, Status
from coordinator.core.schedule import acts, instant
from coordinator.core.spec import OffDay, ProcessorSpec
from coordinator.documents import ALL
from coordinator.paging import bad_page_token, read_page_token
from coordinator.paging import page_token as token_of
from coordinator.ports import Kind, Op, Query, Where
from coordinator.service.queries.reader import CHUNK, Judged, Reader, date_range
from coordinator.service.reading import Target
from coordinator.service.views.dates import (
    Gaps,
    Grid,
    GridCell,
    GridDate,
    GridRow,
    unknown_dates,
)
from coordinator.service.views.partition import PartitionRow, under_pauses
from coordinator.wire import is_game_date

GRID_DATES_LIMIT = 400
GAPS_DATES_LIMIT = 4000


class DateQueries:
    """Queries of many dates. Every method raises ``Unavailable``."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def grid(self, first: str, last: str) -> Grid:
        """Processors × dates, compact: status and flags, as stored.

        A date that the calendar knows has a cell for every processor, also where nothing is stored
        (``stored`` is False: waiting, perhaps overdue, or not expected); a date that nothing is
        known of has none.
        Raises ``BadInput`` for bad dates and for more than 400 of them.
        """
        dates = date_range(first, last, GRID_DATES_LIMIT)
        reader = self._reader
        calendar = {c.game_date: c for c in await reader.calendar(first, last)}
        specs = reader.specs()
        cells: dict[str, dict[str, GridCell]] = {s.name: {} for s in specs}
        held = held_by(specs, await reader.pauses())
        async for p in reader.partitions(first, last):
            if p.processor in cells:
                flags = under_pauses(p, held[p.processor]).flags
                cells[p.processor][p.game_date] = _cell(p.status, flags, True)
        now = reader.engine.clock.now()
        for spec in specs:
            paused = (Flag.PAUSED,) if held[spec.name] else ()
            rules = reader.engine.membership.spec(spec.name)
            row = cells[spec.name]
            for day, known in calendar.items():
                if day not in row:
                    row[day] = _unstored(rules, known, paused, now)
        return Grid(
            from_=first,
            to=last,
            dates=tuple(
                GridDate(game_date=d, games=len(calendar[d].games) if d in calendar else None)
                for d in dates
            ),
            items=tuple(
                GridRow(processor=s.name, phase=s.phase, cells=dict(sorted(cells[s.name].items())))
                for s in specs
            ),
            next_page_token=None,
        )

    async def gaps(
        self,
        first: str | None = None,
        last: str | None = None,
        *,
        limit: int = 500,
        page_token: str | None = None,
    ) -> Gaps:
        """Dates on which the calendar expects an output and no run succeeded, with why.

        Of a date that the calendar does not know nothing is expected; what is recorded of it and
        has not succeeded is listed all the same. The first page counts the dates of both kinds.

        Left out, ``first`` is where the calendar begins (its ``known_from``, else its first date)
        and ``last`` is today on the registry's clock; so a gap of any age is found. Raises
        ``BadInput``.
        """
        reader = self._reader
        known_from = reader.engine.registry.known_from
        first = first or known_from or await self._calendar_end() or reader.today()
        last = last or max(reader.today(), first)
        dates = date_range(first, last, GAPS_DATES_LIMIT)
        start = _gaps_position(page_token) if page_token else None
        begin = max(first, start[0]) if start else first
        calendar = {c.game_date: bool(c.games) for c in await reader.calendar(begin, last)}
        missing = await self._without_success(begin, last, calendar, start)
        items, next_page_token = await self._gap_rows(missing, limit)
        return Gaps(
            from_=first,
            to=last,
            game_dates=None if start else sum(calendar.values()),
            unknown_dates=None if start else unknown_dates([d for d in dates if d not in calendar]),
            calendar_until=await self._calendar_end(descending=True),
            items=tuple(items),
            next_page_token=next_page_token,
        )

    async def _without_success(
        self,
        first: str,
        last: str,
        calendar: dict[str, bool],
        after: tuple[str, int] | None,
    ) -> list[tuple[Target, int]]:
        """Partitions whose latest generation has not succeeded, by date, upstream first.

        Each with its processor's place; ``after`` is the date and place to begin behind.
        ``calendar`` says of each date that it knows whether there are games.
        """
        specs = self._reader.specs()
        names = {s.name for s in specs}
        stored: dict[str, dict[str, bool]] = {}
        async for p in self._reader.partitions(first, last):
            if p.processor in names and (p.game_date in calendar or _recorded(p)):
                stored.setdefault(p.game_date, {})[p.processor] = _succeeded(p)
        days = {*(d for d in calendar if calendar[d]), *(stored.keys() - calendar)}
        return [
            ((spec.name, day), place)
            for day in sorted(days)
            for place, spec in enumerate(specs)
            # Of a date that is unknown to the calendar only what is recorded can be missing.
            if not stored.get(day, {}).get(spec.name, day not in calendar)
            and (after is None or (day, place) > after)
        ]

    async def _gap_rows(
        self, missing: Sequence[tuple[Target, int]], limit: int
    ) -> tuple[list[PartitionRow], str | None]:
        """Rows of those of which no earlier generation succeeded, and the next page's token."""
        items: list[PartitionRow] = []
        last_at: tuple[str, int] | None = None
        for n in range(0, len(missing), CHUNK):
            chunk = missing[n : n + CHUNK]
            judged = await self._reader.judged([target for target, _ in chunk])
            rows = await self._reader.rows(judged)
            done = await asyncio.gather(*map(self._ever_succeeded, judged))
            for ((_, day), place), row, succeeded in zip(chunk, rows, done, strict=True):
                if len(items) >= limit:
                    return items, token_of(last_at) if last_at else None
                if not succeeded:
                    items.append(row)
                last_at = (day, place)
        return items, None

    async def _ever_succeeded(self, judged: Judged) -> bool:
        """Whether an earlier generation succeeded where the latest did not."""
        partition = judged.partition
        if _succeeded(partition):
            return True
        if partition.generation == 0 or (partition.generation == 1 and partition.outcome):
            return False
        page = await self._reader.store.find(
            Query(
                Kind.RUN,
                (
                    Where("processor", Op.EQ, partition.processor),
                    Where("game_date", Op.EQ, partition.game_date),
                    Where("status", Op.IN, tuple(s.value for s in GOOD_OUTCOMES)),
                ),
                limit=1,
            )
        )
        return bool(page.items)

    async def _calendar_end(self, *, descending: bool = False) -> str | None:
        """The first date that the calendar knows, or with ``descending`` the last."""
        query = Query(Kind.CALENDAR, order="game_date", descending=descending, limit=1)
        page = await self._reader.store.find(query)
        return page.items[0][1].game_date if page.items else None


def held_by(specs: Sequence[ProcessorSpec], pauses: Sequence[Pause]) -> dict[str, list[Pause]]:
    """The pauses that hold each processor."""
    return {s.name: [p for p in pauses if p.scope in (ALL, s.name)] for s in specs}


@cache
def _cell(status: Status, flags: tuple[Flag, ...], stored: bool) -> GridCell:
    """A cell; the thousands of a year are a few different ones."""
    return GridCell(status=status, flags=flags, stored=stored)


def _unstored(
    spec: ProcessorSpec, day: CalendarDate, flags: tuple[Flag, ...], now: datetime
) -> GridCell:
    """The cell of a partition that is not stored, on a date that the calendar knows."""
    if not day.games and spec.policy.off_day is OffDay.SKIP:
        return _cell(Status.NOT_EXPECTED, flags, False)
    if _overdue(spec, day, now):
        flags = (*flags, Flag.OVERDUE)
    return _cell(Status.WAITING, flags, False)


def _overdue(spec: ProcessorSpec, day: CalendarDate, now: datetime) -> bool:
    """Whether a partition that is not stored would be overdue."""
    deadline = spec.policy.deadline
    if deadline is None:
        return False
    at = instant(day.game_date, deadline.at, spec.timezone)
    off_day_since = None if day.games else spec.policy.off_day_since
    return now >= at and acts(at, deadline.set_since, off_day_since)


def _recorded(partition: Partition) -> bool:
    """Whether a load arrived, or a run was fired."""
    return partition.generation > 0 or any(t.arrivals for t in partition.arrivals.values())


def _succeeded(partition: Partition) -> bool:
    return partition.outcome is not None and partition.outcome.status in GOOD_OUTCOMES


def _gaps_position(token: str) -> tuple[str, int]:
    """The date and the processor's place at which a page ended. Raises ``BadInput``."""
    match read_page_token(token):
        case [str() as day, int() as place] if is_game_date(day) and type(place) is int:
            return day, place
    raise bad_page_token()
