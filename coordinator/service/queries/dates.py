"""Queries of many dates: the grid, and the gaps.

Neither decodes a partition to find what it shows: the index says that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from datetime import datetime
from typing import NamedTuple, TypeVar

from coordinator.core.arrivals import CalendarDate
from coordinator.core.choices import ALL
from coordinator.core.model import GOOD_OUTCOMES, Flag, Pause, Status
from coordinator.core.schedule import acts, instant
from coordinator.core.spec import ClockTime, OffDay, ProcessorSpec
from coordinator.documents import Progress, flags_of
from coordinator.paging import bad_page_token, read_page_token
from coordinator.paging import page_token as token_of
from coordinator.ports import Grouping, Groups, Kind, Op, Query, Where
from coordinator.service.queries.reader import CHUNK, Reader, date_range
from coordinator.service.queries.shared import SharedAnswers
from coordinator.service.reading import Target
from coordinator.service.views.dates import (
    Gaps,
    Grid,
    GridCell,
    GridDate,
    GridRow,
    unknown_dates,
)
from coordinator.service.views.partition import PartitionRow
from coordinator.wire import is_game_date

T = TypeVar("T")

GRID_DATES_LIMIT = 400
GAPS_DATES_LIMIT = 4000
GRID_SECONDS = 10.0
"""How old a grid may be over a store whose readings cost money: a year's takes 73,000 of them."""
GRIDS_KEPT = 8
CELLS_AT_ONCE = 3000
"""Cells that are read, or worked on, before something else gets its turn: about a millisecond."""
CELLS_PER_CALL = 30_000
"""The same of a store whose readings wait for a network, and cost money even where nothing is."""
DATE_CELLS = 20
"""A date's own entry takes as long as so many cells."""


class _Missing(NamedTuple):
    """A partition of which no run is known to have succeeded."""

    target: Target
    place: int
    """That of its processor."""
    uncertain: bool
    """An earlier generation may have succeeded."""


class DateQueries:
    """Queries of many dates. Every method raises ``Unavailable``."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._grids: SharedAnswers[Grid] = SharedAnswers(
            reader.engine.clock, GRID_SECONDS, GRIDS_KEPT
        )

    async def grid(self, first: str, last: str) -> Grid:
        """Processors × dates, compact: status and flags, as stored.

        A date that the calendar knows has a cell for every processor, also where nothing is stored
        (``stored`` is False: waiting, perhaps overdue, or not expected); a date that nothing is
        known of has none.
        Over a store that bills each reading, one that was read within ``GRID_SECONDS`` is given
        again. Raises ``BadInput`` for bad dates and for more than 400 of them.
        """
        dates = date_range(first, last, GRID_DATES_LIMIT)
        if self._reader.store.profile.shared:
            return await self._grids.get((first, last), lambda: self._grid(dates))
        return await self._grid(dates)

    async def _grid(self, dates: Sequence[str]) -> Grid:
        reader, first, last = self._reader, dates[0], dates[-1]
        specs = reader.specs()
        calendar = {c.game_date: c for c in await reader.calendar(first, last)}
        paused = {name for name, by in held_by(specs, await reader.pauses()).items() if by}
        cells = _Cells(dates, calendar, reader.engine.clock.now())
        rows: dict[str, list[int | None]] = {s.name: [None] * len(dates) for s in specs}
        put = 0
        async for _, groups in self._stored(dates, "progress", "status", "flags"):
            for (day, _, status, flags), names in groups.items():
                cells.put_stored(rows, paused, day, Status(status), flags_of(flags), names)
                put += len(names)
                if put >= CELLS_AT_ONCE:
                    put = 0
                    await asyncio.sleep(0)
        items: list[GridRow] = []
        async for some in _some_at_once(specs, len(dates)):
            for spec in some:
                row, rules = rows.pop(spec.name), reader.engine.membership.spec(spec.name)
                cells.put_unstored(row, rules, paused=spec.name in paused)
                items.append(GridRow(processor=spec.name, phase=spec.phase, cells=tuple(row)))
        days: list[GridDate] = []
        async for part in _some_at_once(dates, DATE_CELLS):
            for day in part:
                known = calendar.get(day)
                days.append(
                    GridDate(game_date=day, games=None if known is None else len(known.games))
                )
        return Grid(
            from_=first,
            to=last,
            dates=tuple(days),
            legend=cells.legend,
            items=tuple(items),
            next_page_token=None,
        )

    async def _stored(
        self, dates: Sequence[str], *by: str
    ) -> AsyncIterator[tuple[Sequence[str], Groups]]:
        """The processors with a stored partition, by date and further fields; some dates at a time.

        ``dates`` follow one another.
        """
        store = self._reader.store
        most = CELLS_PER_CALL if store.profile.shared else CELLS_AT_ONCE
        async for some in _some_at_once(dates, len(self._reader.specs()), most):
            between = (Where("game_date", Op.GE, some[0]), Where("game_date", Op.LE, some[-1]))
            grouping = Grouping(("game_date", *by), "processor", between)
            yield some, await store.grouped(grouping)

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
        missing = self._without_success([d for d in dates if d >= begin], calendar, start)
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
        dates: Sequence[str],
        calendar: Mapping[str, bool],
        after: tuple[str, int] | None,
    ) -> AsyncIterator[_Missing]:
        """Partitions whose latest generation has not succeeded, by date, upstream first.

        ``after`` is the date and the processor's place to begin behind. ``calendar`` says of each
        date that it knows whether there are games.
        """
        specs = self._reader.specs()
        async for some, groups in self._stored(dates, "progress"):
            for day in some:
                if not calendar.get(day, True):
                    continue
                of = {p: {*groups.get((day, p.value), ())} for p in Progress}
                open_ = of[Progress.RECORDED] | of[Progress.UNCERTAIN]
                for place, spec in enumerate(specs):
                    name = spec.name
                    # Of a date that is unknown to the calendar only what is recorded can be missing.
                    expected = (
                        name in open_ if day not in calendar else name not in of[Progress.SUCCEEDED]
                    )
                    if expected and (after is None or (day, place) > after):
                        yield _Missing((name, day), place, name in of[Progress.UNCERTAIN])

    async def _gap_rows(
        self, missing: AsyncIterator[_Missing], limit: int
    ) -> tuple[list[PartitionRow], str | None]:
        """Rows of those of which no earlier generation succeeded, and the next page's token."""
        items: list[PartitionRow] = []
        some: list[_Missing] = []
        last_at: tuple[str, int] | None = None
        async for one in missing:
            if len(items) + len(some) == limit:
                items += await self._gaps_among(some)
                some = []
                if len(items) == limit:
                    return items, token_of(last_at) if last_at else None
            some.append(one)
            if len(some) == CHUNK:
                items += await self._gaps_among(some)
                some = []
            last_at = (one.target[1], one.place)
        return [*items, *await self._gaps_among(some)], None

    async def _gaps_among(self, missing: Sequence[_Missing]) -> list[PartitionRow]:
        """Rows of those of which no run succeeded."""
        uncertain = [m.target for m in missing if m.uncertain]
        done = await asyncio.gather(*map(self._ever_succeeded, uncertain))
        succeeded = {target for target, found in zip(uncertain, done, strict=True) if found}
        judged = await self._reader.judged([m.target for m in missing if m.target not in succeeded])
        rows = await self._reader.rows(judged)
        # One may have succeeded since the index was read.
        return [
            row
            for one, row in zip(judged, rows, strict=True)
            if Progress.of(one.partition) is not Progress.SUCCEEDED
        ]

    async def _ever_succeeded(self, target: Target) -> bool:
        """Whether any generation of a partition succeeded."""
        page = await self._reader.store.find(
            Query(
                Kind.RUN,
                (
                    Where("processor", Op.EQ, target[0]),
                    Where("game_date", Op.EQ, target[1]),
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


async def _some_at_once(
    items: Sequence[T], cells: int, most: int = CELLS_AT_ONCE
) -> AsyncIterator[Sequence[T]]:
    """Consecutive parts of ``items``, each of which has ``cells`` cells; others work in between."""
    step = max(1, most // max(1, cells))
    for n in range(0, len(items), step):
        await asyncio.sleep(0)
        yield items[n : n + step]


def held_by(specs: Sequence[ProcessorSpec], pauses: Sequence[Pause]) -> dict[str, list[Pause]]:
    """The pauses that hold each processor."""
    return {s.name: [p for p in pauses if p.scope in (ALL, s.name)] for s in specs}


class _Cells:
    """The different cells of a grid, each once, and where on its rows they belong."""

    def __init__(
        self, dates: Sequence[str], calendar: Mapping[str, CalendarDate], now: datetime
    ) -> None:
        self._place = {day: n for n, day in enumerate(dates)}
        self._known = [(self._place[day], known) for day, known in calendar.items()]
        self._now = now
        self._numbers: dict[tuple[Status, tuple[Flag, ...], bool], int] = {}
        self._instants: dict[tuple[ClockTime, str], list[datetime]] = {}

    @property
    def legend(self) -> tuple[GridCell, ...]:
        """Every cell that was put, by its number."""
        return tuple(GridCell(status=s, flags=f, stored=stored) for s, f, stored in self._numbers)

    def _number(
        self, status: Status, flags: tuple[Flag, ...], *, paused: bool, stored: bool
    ) -> int:
        cell = (status, (Flag.PAUSED, *flags) if paused else flags, stored)
        return self._numbers.setdefault(cell, len(self._numbers))

    def put_stored(
        self,
        rows: Mapping[str, list[int | None]],
        paused: Set[str],
        day: str,
        status: Status,
        flags: tuple[Flag, ...],
        names: Sequence[str],
    ) -> None:
        """Put the same cell, but for pauses, on the rows of processors; unknown ones have none."""
        place = self._place[day]
        held = [name for name in names if name in paused] if paused else []
        free = [name for name in names if name not in paused] if held else names
        for some, is_paused in ((free, False), (held, True)):
            known = [rows[name] for name in some if name in rows]
            if known:
                number = self._number(status, flags, paused=is_paused, stored=True)
                for row in known:
                    row[place] = number

    def put_unstored(self, row: list[int | None], spec: ProcessorSpec, *, paused: bool) -> None:
        """Fill the row of a processor where nothing is stored, on dates that the calendar knows."""
        if None not in row:
            return
        off = spec.policy.off_day is OffDay.SKIP
        overdue = self._overdue(spec)
        for n, (place, known) in enumerate(self._known):
            if row[place] is not None:
                continue
            skipped = off and not known.games
            late = not skipped and overdue is not None and overdue(n, known)
            status = Status.NOT_EXPECTED if skipped else Status.WAITING
            flags = (Flag.OVERDUE,) if late else ()
            row[place] = self._number(status, flags, paused=paused, stored=False)

    def _overdue(self, spec: ProcessorSpec) -> Callable[[int, CalendarDate], bool] | None:
        """Says of a date whether a partition that is not stored would be overdue."""
        deadline = spec.policy.deadline
        if deadline is None:
            return None
        key = (deadline.at, spec.timezone)
        if key not in self._instants:
            self._instants[key] = [
                instant(known.game_date, deadline.at, spec.timezone) for _, known in self._known
            ]
        instants, since = self._instants[key], deadline.set_since

        def overdue(n: int, known: CalendarDate) -> bool:
            off_day_since = None if known.games else spec.policy.off_day_since
            return self._now >= instants[n] and acts(instants[n], since, off_day_since)

        return overdue


def _gaps_position(token: str) -> tuple[str, int]:
    """The date and the processor's place at which a page ended. Raises ``BadInput``."""
    match read_page_token(token):
        case [str() as day, int() as place] if is_game_date(day) and type(place) is int:
            return day, place
    raise bad_page_token()
