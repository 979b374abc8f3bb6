"""What the commits of loads left to be done: recorded with them, and finished here.

A load's commit holds its ledger and the partitions that name its table (specification 4.5). What
may take longer is recorded in it as ``PendingWork``: partitions whose windows cover its date,
dependent partitions beyond those that fit, a date to be folded again from its ledger. Whoever
sweeps finishes it in bounded batches; a crash in between loses nothing, since the record stays open
until the work is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog

from coordinator.core.arrivals import CalendarDate, Grain, TableDate
from coordinator.core.facts import Ticked
from coordinator.core.machine import Decision
from coordinator.core.schedule import shift
from coordinator.core.spec import TableSpec, Window
from coordinator.documents import (
    LedgerEntry,
    PendingWork,
    Work,
    calendar_key,
    pending_key,
    table_date_key,
)
from coordinator.errors import Unavailable
from coordinator.ports import Changes, Key, Kind, Notice, Op, Query, Where
from coordinator.service.engine import Engine
from coordinator.service.loads import dependent_partitions
from coordinator.service.notify_once import first_time
from coordinator.service.pages import pages
from coordinator.service.reading import Docs, Target

log = structlog.get_logger(__name__)

RECORDS_PER_PAGE = 100
WATCHERS_PER_PAGE = 50
"""Partitions that are evaluated at once to find which of them change; nothing is written by that."""
LEDGER_PAGE = 500
REFOLD_TRIES = 20
LAST_DATE = "9999-12-31"

Notify = Callable[[Notice], None]


class Pending:
    """Finishes what loads left to be done."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._hints: dict[tuple[str, str], None] = {}
        """Dates of which a load came again: partitions whose windows cover them are evaluated,
        should they be stuck. Nothing is lost with these."""
        self._busy = asyncio.Lock()

    def hint(self, dates: Iterable[tuple[str, str]]) -> None:
        """Evaluate the partitions whose windows cover these (table, date), too."""
        self._hints.update(dict.fromkeys(dates))

    async def finish(self, notify: Notify | None) -> list[Decision]:
        """Do everything that is recorded, and give what was decided. Raises ``Unavailable``.

        ``notify`` sends a notice.
        """
        decisions: list[Decision] = []
        async with self._busy:
            hints, self._hints = self._hints, {}
            query = Query(Kind.PENDING, (Where("open", Op.EQ, 1),), limit=RECORDS_PER_PAGE)
            async for page in pages(self._engine.store, query):
                records: list[PendingWork] = [r for _, r in page.items]
                if records:
                    decisions += await self._do(records, notify)
                for record in records:
                    hints.pop((record.table, record.game_date), None)
            decisions += await self._evaluate(hints)
        return decisions

    async def _do(self, records: Sequence[PendingWork], notify: Notify | None) -> list[Decision]:
        registry = self._engine.registry
        if self._engine.membership.others:
            # What is not declared here is for an instance of the registry that declares it.
            records = [r for r in records if r.table in registry.tables]
        decisions: list[Decision] = []
        refolded: dict[tuple[str, str], None] = {}
        left: set[PendingWork] = set()
        for record in records:
            table = registry.tables.get(record.table)
            if table is None:
                continue
            if Work.GAMES_NOT_KEPT in record.work:
                await self._notify(record, notify)
            try:
                decided = await self._bring(table, record, refolded)
            except Unavailable:
                raise
            except Exception:  # it must not keep the others waiting
                log.exception("work cannot be done", table=record.table, date=record.game_date)
                decided = None
            if decided is None:
                left.add(record)
            else:
                decisions += decided
        in_windows = {(r.table, r.game_date): None for r in records if Work.WINDOWS in r.work}
        decisions += await self._evaluate({**in_windows, **refolded})
        await self._close([r for r in records if r not in left])
        return decisions

    async def _bring(
        self, table: TableSpec, record: PendingWork, refolded: dict[tuple[str, str], None]
    ) -> list[Decision] | None:
        """Fold a date again and bring it to its dependents, as recorded; None where it is left."""
        again = Work.REFOLD in record.work
        if again:
            if not await self._refold(table, record.game_date):
                return None
            refolded[record.table, record.game_date] = None
        if again or Work.DEPENDENTS in record.work:
            return await self._deliver(table, record.game_date)
        return []

    async def _close(self, records: Sequence[PendingWork]) -> None:
        """Note that records are done, but for those to which a load has added since."""
        done = {pending_key(r.table, r.game_date): r for r in records}
        if not done:
            return

        def step(docs: Docs) -> Changes[None]:
            puts = {}
            for key, record in done.items():
                now: PendingWork | None = docs[key]
                if now is not None and now.serial == record.serial:
                    puts[key] = PendingWork(
                        table=now.table, game_date=now.game_date, serial=now.serial
                    )
            return Changes(None, puts)

        await self._engine.commits.transact(list(done), step)

    # ── windows ──────────────────────────────────────────────────────────────────────────────

    async def _evaluate(self, dates: Iterable[tuple[str, str]]) -> list[Decision]:
        """Evaluate every partition that watches a window with one of these (table, date) in it."""
        spans = await self._spans(dates)
        decisions: list[Decision] = []
        for processor, (first, last) in spans.items():
            query = Query(
                Kind.PARTITION,
                (
                    Where("processor", Op.EQ, processor),
                    Where("watching", Op.EQ, 1),
                    Where("game_date", Op.GT, first),
                    Where("game_date", Op.LE, last),
                ),
                order="game_date",
                limit=WATCHERS_PER_PAGE,
            )
            async for page in pages(self._engine.store, query):
                watchers = [(p.processor, p.game_date) for _, p in page.items]
                changing = {t: (Ticked(),) for t in await self._changing(watchers)}
                decisions += await self._engine.apply_each(changing, windows=True)
        return decisions

    async def _changing(self, targets: Sequence[Target]) -> Sequence[Target]:
        if not targets:
            return ()
        try:
            return await self._engine.evaluate(targets)
        except Unavailable:
            raise
        except Exception:
            log.exception("partitions cannot be evaluated together", partitions=len(targets))
            return targets  # decided on one by one, where it comes to that

    async def _spans(self, dates: Iterable[tuple[str, str]]) -> dict[str, tuple[str, str]]:
        """Processor → the dates (after the first, up to the last) whose windows may hold these."""
        registry = self._engine.registry
        dates_of: dict[str, list[str]] = {}
        windows: dict[str, list[Window]] = {}
        for table, date in dates:
            of_calendar = table == registry.calendar_table
            for spec in registry.processors.values():
                over = [
                    r.window
                    for r in spec.windows
                    if r.window is not None and (of_calendar or table in r.sources)
                ]
                if over:
                    dates_of.setdefault(spec.name, []).append(date)
                    windows.setdefault(spec.name, []).extend(over)
        found = {}
        for name, of in dates_of.items():
            ends = [await self._horizon(w, max(of)) for w in dict.fromkeys(windows[name])]
            found[name] = (min(of), max(ends))
        return found

    async def _horizon(self, window: Window, game_date: str) -> str:
        """The last date whose window can hold ``game_date``.

        Dates that the calendar does not know can only bring it nearer.
        """
        if window.days is not None:
            return shift(game_date, window.days)
        page = await self._engine.store.find(
            Query(
                Kind.CALENDAR,
                (Where("game_date", Op.GT, game_date), Where("games_count", Op.GT, 0)),
                order="game_date",
                limit=window.game_dates or 1,
            )
        )
        far_enough = len(page.items) == window.game_dates
        return page.items[-1][0] if far_enough else LAST_DATE

    # ── dependents ───────────────────────────────────────────────────────────────────────────

    async def _deliver(self, table: TableSpec, game_date: str) -> list[Decision]:
        """Bring what the ledger knows of a date to every partition that names the table."""
        targets = dependent_partitions(self._engine.registry, table, game_date)
        return await self._engine.apply_each({t: (Ticked(),) for t in targets}, refill=True)

    # ── folding again ────────────────────────────────────────────────────────────────────────

    async def _refold(self, table: TableSpec, game_date: str) -> bool:
        """Fold a date from all loads in its ledger, by what the calendar expects now.

        False where loads come faster than the ledger is read: it is left for the next sweep.
        """
        key, calendar = table_date_key(table.name, game_date), calendar_key(game_date)
        for _ in range(REFOLD_TRIES):
            known = await self._engine.store.get([key, calendar])
            before: TableDate | None = known[key]
            if before is None:
                return True
            expected: CalendarDate | None = known[calendar]
            games = None if expected is None else expected.games
            folded = await self._folded(table, game_date, games)
            if await self._replace(known, key, folded):
                return True
        log.warning("a ledger changes too fast to be folded again", table=table.name)
        return False

    async def _folded(
        self, table: TableSpec, game_date: str, games: tuple[str, ...] | None
    ) -> TableDate:
        entries: list[LedgerEntry] = []
        query = Query(
            Kind.EVENT,
            (Where("table", Op.EQ, table.name), Where("game_date", Op.EQ, game_date)),
            limit=LEDGER_PAGE,
        )
        async for page in pages(self._engine.store, query):
            entries += [entry for _, entry in page.items]
        folded = TableDate(table=table.name, game_date=game_date)
        for entry in sorted(entries, key=lambda e: (e.received_at, e.event_id)):
            folded, _ = folded.fold(entry.arrival, Grain.GAME, games)
        return folded

    async def _replace(self, read: Docs, key: Key, folded: TableDate) -> bool:
        """Put a date's fold in place of the one that was read; False where it has changed since."""

        def step(docs: Docs) -> Changes[bool]:
            if any(docs[k] != document for k, document in read.items()):
                return Changes(False)
            return Changes(True, {} if docs[key] == folded else {key: folded})

        return await self._engine.commits.transact(list(read), step)

    # ── notices ──────────────────────────────────────────────────────────────────────────────

    async def _notify(self, record: PendingWork, notify: Notify | None) -> None:
        table, date = record.table, record.game_date
        if notify is None or not await first_time(self._engine, f"games:{table}", date):
            return
        notify(
            Notice(
                severity="warning",
                kind="unexpected_games",
                processor=None,
                game_date=date,
                summary=f"{table} for {date} names more games that the calendar does not expect "
                "than are kept.",
                detail="Loads of such games cover nothing. Find out what sends them; "
                f"`coordinator loads {table} {date}` lists the loads.",
                notice_id=f"unexpected_games:{table}:{date}",
                at=self._engine.clock.now(),
            )
        )
