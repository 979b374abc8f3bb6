"""A source without any load causes one notice (specification 6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from coordinator.adapters.sqlite import SqliteStore
from coordinator.app import build
from coordinator.core.spec import LaunchKind
from coordinator.ports import Notice
from coordinator.registry import parse
from coordinator.settings import Settings
from tests.service.test_registry_rollout import Launches

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


class Clock:
    """A clock that is moved by hand."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps here")


def event(table: str, at: datetime, **said: Any) -> dict[str, Any]:
    return {
        "event_type": "raw_data_loaded",
        "target_table": table,
        "game_date": "2024-10-22",
        "status": "success",
        "timestamp": at.isoformat(),
        "record_count": 2,
        "execution_id": table,
        **said,
    }


async def test_a_source_that_says_nothing_of_a_date_that_is_over_is_notified_once(
    tmp_path: Path,
) -> None:
    clock = Clock(datetime(2024, 10, 22, 16, 0, tzinfo=UTC))
    notices: list[Notice] = []
    store = SqliteStore(str(tmp_path / "s.db"), inline=True)
    await store.open()

    def service() -> Any:
        application = build(
            Settings(),
            registry=parse(REGISTRY),
            store=store,
            clock=clock,
            launchers={LaunchKind.LOCAL: Launches()},
            notifiers=[],
        )
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
