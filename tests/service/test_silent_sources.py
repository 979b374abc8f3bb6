"""A source without any load causes one notice (specification 6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from coordinator.adapters.sqlite import SqliteStore
from coordinator.ports import Notice
from tests.service.support import ManualClock, event, wired

REGISTRY = """
version: 1
timezone: America/New_York
calendar: {table: raw.games}
tables: {raw.known: {}, raw.silent: {}, raw.off: {enabled: false}}
processors:
  P:
    phase: 3
    output: out.p
    requires: [{table: raw.known}, {table: raw.silent}, {table: raw.off, critical: false}]
  Q: {phase: 4, output: out.q, requires: [{table: out.p}]}
"""


async def test_a_source_that_says_nothing_of_a_date_that_is_over_is_notified_once(
    tmp_path: Path,
) -> None:
    clock = ManualClock(datetime(2024, 10, 22, 16, 0, tzinfo=UTC))
    notices: list[Notice] = []
    store = SqliteStore(str(tmp_path / "s.db"), inline=True)
    await store.open()

    def service() -> Any:
        application = wired(store, REGISTRY, clock)
        application.notices.subscribe(notices.append)
        return application

    application = service()
    await application.ingest.take(event("raw.games", clock.at, game_ids=["g1", "g2"]))
    await application.ingest.take(event("raw.known", clock.at))
    clock.at = datetime(2024, 10, 24, 3, 59, tzinfo=UTC)
    await application.sweeper.sweep()
    assert notices == [], "the day after is not over yet in New York"
    clock.at += timedelta(hours=1, minutes=1)
    await application.sweeper.sweep()
    assert [(n.kind, n.game_date) for n in notices] == [("silent_source", "2024-10-22")]
    assert "raw.silent" in notices[0].summary
    clock.at += timedelta(hours=2)
    await application.sweeper.sweep()
    await service().sweeper.sweep()
    assert len(notices) == 1
    await store.close()
