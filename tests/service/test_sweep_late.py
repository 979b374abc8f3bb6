"""A late sweep causes one notice per delay (specification 6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coordinator.adapters.sqlite import SqliteStore
from coordinator.ports import Notice
from coordinator.service import sweep as sweeping
from tests.service.support import ManualClock, event, wired

REGISTRY = """
version: 1
timezone: America/New_York
tables: {raw.a: {}, raw.b: {}}
processors:
  P:
    phase: 3
    output: out.p
    grace: 1h
    requires: [{table: raw.a}, {table: raw.b, critical: false}]
"""


async def test_sweeps_that_catch_up_after_one_delay_notify_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "PER_TRANSACTION", 1)
    clock = ManualClock(datetime(2024, 10, 23, 12, 0, tzinfo=UTC))
    notices: list[Notice] = []
    store = SqliteStore(str(tmp_path / "s.db"), inline=True)
    await store.open()
    try:
        application = wired(store, REGISTRY, clock)
        application.notices.subscribe(notices.append)

        async def settling(*days: int) -> None:
            for day in days:
                date = f"2024-10-{day}"
                await application.ingest.take(event("raw.a", clock.at, game_date=date))

        async def swept() -> bool:
            return (await application.sweeper.sweep(limit=1)).late_seconds > 0

        await settling(20, 21, 22)
        clock.at += timedelta(hours=3)
        assert [await swept() for _ in range(3)] == [True, True, True]
        assert [n.kind for n in notices] == ["sweep_late"]
        assert not await swept()
        await settling(18)
        clock.at += timedelta(hours=3)
        assert await swept()
        assert [n.kind for n in notices] == ["sweep_late", "sweep_late"]
    finally:
        await store.close()
