"""A partition is shown as it is at this instant, whatever was stored of it (specification 5.2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from coordinator.adapters.sqlite import SqliteStore
from tests.service.support import ManualClock, event, wired

DATE = "2024-10-22"
REGISTRY = """
version: 1
timezone: America/New_York
tables: {raw.a: {}, raw.b: {}}
processors:
  P:
    phase: 3
    output: out.p
    grace: 2d
    requires: [{table: raw.a, max_age_hours_fail: 3}, {table: raw.b, critical: false}]
"""


async def test_status_and_sentence_agree_before_a_sweep_and_after_a_clock_was_set_back(
    tmp_path: Path,
) -> None:
    clock = ManualClock(datetime(2024, 10, 23, 12, 0, tzinfo=UTC))
    store = SqliteStore(str(tmp_path / "s.db"), inline=True)
    await store.open()
    try:
        application = wired(store, REGISTRY, clock)

        async def shown() -> tuple[str, str]:
            whole = await application.queries.partitions.partition("P", DATE)
            (row,) = (await application.queries.partitions.date(DATE)).items
            assert row == type(row).of(whole)
            return whole.status, whole.why

        await application.ingest.take(event("raw.a", clock.at))
        fresh = await shown()
        assert (fresh[0], fresh[1].split(";")[0]) == ("settling", "Everything critical is there")
        clock.at += timedelta(hours=4)
        too_old = await shown()
        assert (too_old[0], too_old[1].split(" (")[0]) == (
            "waiting",
            "Waiting for raw.a: too old for a first run",
        )
        await application.sweeper.sweep()
        assert await shown() == too_old
        clock.at -= timedelta(hours=4)
        assert await shown() == fresh
    finally:
        await store.close()
