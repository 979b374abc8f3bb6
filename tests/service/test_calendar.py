"""What sets the calendar, and what does not (specification 3.1)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from coordinator.documents import calendar_key
from tests.service.support import Launches
from tests.service.test_registry_rollout import DATE, served

REGISTRY = """
version: 1
timezone: America/New_York
calendar: {table: raw.games, known_from: "2024-10-22"}
tables: {raw.a: {grain: game}}
processors:
  P: {phase: 3, output: out.p, requires: [{table: raw.a}]}
"""
START = datetime.now(UTC) - timedelta(hours=1)


def schedule(number: int, minutes: int, **said: Any) -> dict[str, Any]:
    return {
        "event_type": "raw_data_loaded",
        "target_table": "raw.games",
        "game_date": DATE,
        "status": "success",
        "timestamp": (START + timedelta(minutes=minutes)).isoformat(),
        "execution_id": f"s{number}",
        **said,
    }


async def test_rows_without_game_ids_neither_change_the_calendar_nor_outdate_a_load_with_them(
    tmp_path: Path,
) -> None:
    async with served(tmp_path / "s.db", REGISTRY, Launches()) as application:
        take = application.ingest.take
        key = calendar_key(DATE)
        first = await take(schedule(1, 30, record_count=2))
        assert (first.outcome, len(first.warnings)) == ("applied", 1)
        assert (await application.store.get([key]))[key] is None
        older = await take(schedule(2, 10, game_ids=["g1", "g2"], record_count=2))
        assert older.outcome == "applied"
        assert (await application.store.get([key]))[key].games == ("g1", "g2")
        oldest = await take(schedule(3, 5, game_ids=["g1"], record_count=1))
        assert oldest.outcome == "superseded"
        assert (await application.store.get([key]))[key].games == ("g1", "g2")
        none = await take(schedule(4, 40, status="no_data"))
        assert none.outcome == "applied"
        assert (await application.store.get([key]))[key].games == ()
        assert {a.status for a in none.affected} == {"not_expected"}
