"""Queries of loads: the ledger of a table and date, and what a correlation id touched."""

from __future__ import annotations

from coordinator.core.arrivals import CalendarDate, TableDate
from coordinator.core.schedule import shift
from coordinator.core.sources import judge_source
from coordinator.core.spec import Requirement, RequirementKind
from coordinator.documents import calendar_key, table_date_key
from coordinator.ports import Kind, Op, Query, Where
from coordinator.service.queries.reader import Reader
from coordinator.service.queries.records import RecordQueries
from coordinator.service.reading import Target
from coordinator.service.views.load import LedgerView, ledger_row, ledger_view
from coordinator.service.views.run import run_row
from coordinator.service.views.trace import Trace
from coordinator.wire import check_date

LEDGER_PAGE = 1000
TRACE_LIMIT = 1000


class LoadQueries:
    """Queries of loads. Every method raises ``Unavailable``."""

    def __init__(self, reader: Reader, records: RecordQueries) -> None:
        self._reader = reader
        self._records = records

    async def ledger(
        self, table: str, game_date: str, *, limit: int = LEDGER_PAGE, page_token: str | None = None
    ) -> LedgerView:
        """The ledger of one table and date: its events by receipt, and what they add up to.

        Raises ``BadInput`` for a bad date, ``NotFound``.
        """
        check_date("game_date", game_date)
        spec = self._reader.table(table)
        keys = [table_date_key(spec.name, game_date), calendar_key(game_date)]
        docs = await self._reader.store.get(keys)
        folded: TableDate | None = docs[keys[0]]
        calendar: CalendarDate | None = docs[keys[1]]
        expected = None if calendar is None else calendar.games
        page = await self._reader.store.find(
            Query(
                Kind.EVENT,
                (Where("table", Op.EQ, spec.name), Where("game_date", Op.EQ, game_date)),
                order="received_at",
                limit=limit,
                after=page_token,
            )
        )
        judged = judge_source(
            Requirement(key=spec.name, kind=RequirementKind.TABLE, sources=(spec.name,)),
            spec.name,
            game_date,
            folded,
            spec.grain,
            expected,
            self._reader.engine.clock.now(),
            freshness=False,
            producer=spec.producer,
        )
        folded = folded or TableDate(table=spec.name, game_date=game_date)
        entries = [e for _, e in page.items]
        return ledger_view(spec, folded, expected, judged, entries, page.next_page_token)

    async def trace(self, correlation_id: str) -> Trace:
        """Everything that one correlation id touched: events, partitions, runs.

        Messages in quarantine that name it are looked for among the newest of them.
        """
        store, registry = self._reader.store, self._reader.engine.registry
        where = (Where("correlation_id", Op.EQ, correlation_id),)
        events = await store.find(Query(Kind.EVENT, where, order="received_at", limit=TRACE_LIMIT))
        runs = await store.find(Query(Kind.RUN, where, order="fired_at", limit=TRACE_LIMIT))
        targets: dict[Target, None] = {}
        for _, event in events.items:
            for dependency in registry.dependents(event.table):
                if dependency.window is None:
                    day = shift(event.game_date, -(dependency.offset or 0))
                    targets[dependency.spec.name, day] = None
        for _, run in runs.items:
            if run.processor in registry.processors:
                targets[run.processor, run.game_date] = None
        judged = await self._reader.judged(list(targets)[:TRACE_LIMIT])
        quarantined, searched_all = await self._records.quarantined_with(correlation_id)
        return Trace(
            correlation_id=correlation_id,
            events=tuple(ledger_row(e) for _, e in events.items),
            partitions=tuple(await self._reader.rows(judged)),
            runs=tuple(run_row(r) for _, r in runs.items),
            quarantined=tuple(quarantined),
            truncated=bool(
                events.next_page_token
                or runs.next_page_token
                or len(targets) > TRACE_LIMIT
                or not searched_all
            ),
        )
