"""Notices of silent sources: declared, waited for, and without any load for a game date.

Owns the one question that no event can answer. It reads the last date with games that is well over
(a full day after its end, on the registry's clock), and every enabled source that a processor waits
for on it. Each table and date is notified once, which is recorded first.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from coordinator.core.schedule import instant, shift
from coordinator.core.spec import ClockTime
from coordinator.documents import table_date_key
from coordinator.ports import Kind, Notice, Op, Query, Where
from coordinator.service.engine import Engine
from coordinator.service.notify_once import first_time

CHECK_EVERY = timedelta(hours=1)
LOOK_BACK_DAYS = 7
"""A date longer ago than this is history being loaded, not a source gone silent."""
_WELL_OVER = ClockTime(hour=0, minute=0, day=2)


class SilentSources:
    """Finds sources that are missing although no event says so."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._checked_at: datetime | None = None
        registry = engine.registry
        waited_for = {
            table
            for spec in registry.processors.values()
            for r in spec.requirements
            if r.window is None and r.offset == 0
            for table in r.sources
        }
        self._tables = sorted(
            name
            for name in waited_for
            if name != registry.calendar_table and registry.tables[name].producer is None
        )

    async def check(self, notify: Callable[[Notice], None] | None) -> list[str]:
        """Check, at most once an hour; gives the tables that were notified."""
        now = self._engine.clock.now()
        if self._checked_at is not None and now < self._checked_at + CHECK_EVERY:
            return []
        self._checked_at = now
        date = await self._last_date(now)
        if date is None:
            return []
        keys = {t: table_date_key(t, date) for t in self._tables}
        known = await self._engine.store.get(list(keys.values()))
        found = []
        for table, key in keys.items():
            if known[key] is None and await first_time(self._engine, f"silent:{table}", date):
                found.append(table)
                if notify is not None:
                    notify(self._notice(table, date, now))
        return found

    async def _last_date(self, now: datetime) -> str | None:
        registry = self._engine.registry
        today = now.astimezone(ZoneInfo(registry.timezone)).date().isoformat()
        page = await self._engine.store.find(
            Query(
                Kind.CALENDAR,
                (
                    Where("game_date", Op.GE, shift(today, -LOOK_BACK_DAYS)),
                    Where("game_date", Op.LT, today),
                    Where("games_count", Op.GT, 0),
                ),
                order="game_date",
                descending=True,
                limit=LOOK_BACK_DAYS,
            )
        )
        dates = (c.game_date for _, c in page.items)
        over = (d for d in dates if instant(d, _WELL_OVER, registry.timezone) <= now)
        return next(over, None)

    def _notice(self, table: str, date: str, now: datetime) -> Notice:
        waiting = sorted(
            s.name for s in self._engine.registry.processors.values() if table in s.named_tables()
        )
        return Notice(
            severity="warning",
            kind="silent_source",
            processor=None,
            game_date=date,
            summary=f"{table} has sent nothing for {date}, a date with games.",
            detail=f"{', '.join(waiting)} may wait for it. Fix the source, or switch the table "
            "off in the registry (enabled: false).",
            notice_id=f"silent_source:{table}:{date}",
            at=now,
        )
