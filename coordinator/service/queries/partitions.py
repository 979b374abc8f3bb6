"""Queries of partitions: a date's, one whole, and what a sweep would evaluate."""

from __future__ import annotations

from coordinator.core.arrivals import CalendarDate
from coordinator.documents import calendar_key
from coordinator.ports import Kind, Op, Query, Where
from coordinator.service.queries.reader import Reader
from coordinator.service.queries.runs import RunQueries
from coordinator.service.views.act import SweepView
from coordinator.service.views.partition import (
    DateStatus,
    PartitionView,
    PauseView,
    partition_view,
)
from coordinator.wire import check_date

DUE_SHOWN = 1000
QUARANTINE_COUNTED = 100
"""Open messages in quarantine that are counted; so many means that many or more."""


class PartitionQueries:
    """Queries of partitions. Every method raises ``Unavailable``."""

    def __init__(self, reader: Reader, runs: RunQueries) -> None:
        self._reader = reader
        self._runs = runs

    async def date(self, game_date: str) -> DateStatus:
        """Every processor's partition on a date, stored or not. Raises ``BadInput``."""
        check_date("game_date", game_date)
        reader = self._reader
        judged = await reader.judged([(s.name, game_date) for s in reader.specs()])
        calendar: CalendarDate | None = await reader.one(calendar_key(game_date))
        return DateStatus(
            game_date=game_date,
            games=None if calendar is None else calendar.games,
            loads_known=await self._loads_known(game_date),
            registry_hash=reader.engine.registry.registry_hash,
            pauses=tuple(map(PauseView.of, await reader.pauses())),
            quarantine_open=await self._quarantine_open(),
            items=tuple(await reader.rows(judged)),
            next_page_token=None,
        )

    async def partition(self, processor: str, game_date: str) -> PartitionView:
        """The whole partition. Raises ``BadInput`` for a bad date, ``NotFound``."""
        check_date("game_date", game_date)
        spec = self._reader.spec(processor)
        (judged,) = await self._reader.judged([(spec.name, game_date)])
        (row,) = await self._reader.rows([judged])
        runs = await self._runs.of_partition(spec, judged.partition)
        return partition_view(
            row, judged.partition, spec, judged.verdict, runs, stored=judged.stored
        )

    async def due(self) -> SweepView:
        """What a sweep now would evaluate, at most a thousand; nothing is decided."""
        engine = self._reader.engine
        now = engine.clock.now()
        due, more = await engine.first(
            Query(Kind.PARTITION, (Where("wake_at", Op.LE, now),), order="wake_at", limit=DUE_SHOWN)
        )
        wakes = [p.wake_at for p in due if p.wake_at is not None]
        return SweepView(
            at=now,
            dry_run=True,
            looked_at=len(wakes),
            changed=0,
            fired_run_ids=(),
            late_seconds=(now - wakes[0]).total_seconds() if wakes else 0.0,
            more=more,
        )

    async def _loads_known(self, game_date: str) -> bool:
        """Whether the ledger holds a load for a date, of any table but the calendar's."""
        page = await self._reader.store.find(
            Query(Kind.TABLE_DATE, (Where("game_date", Op.EQ, game_date),), limit=2)
        )
        calendar = self._reader.engine.registry.calendar_table
        return any(loads.table != calendar for _, loads in page.items)

    async def _quarantine_open(self) -> int:
        """How many messages are open in quarantine, counted to a limit."""
        page = await self._reader.store.find(
            Query(
                Kind.QUARANTINE,
                (Where("state", Op.EQ, "open"),),
                order="received_at",
                descending=True,
                limit=QUARANTINE_COUNTED,
            )
        )
        return len(page.items)
