"""A date that nobody named yet: what is shown of it is no decision."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from coordinator.errors import NotFound
from tests.service.support import Launches
from tests.service.test_registry_rollout import DATE, load, served

REGISTRY = """
version: 1
timezone: America/New_York
calendar: {table: raw.games, known_from: "2024-10-22"}
tables: {raw.a: {}}
processors:
  Back: {phase: 4, output: out.back, requires: [{table: raw.a, dates: {last_game_dates: 5}}]}
"""


async def test_no_run_is_shown_of_a_date_that_nobody_named(tmp_path: Path) -> None:
    launches = Launches()
    async with served(tmp_path / "s.db", REGISTRY, launches) as application:
        whole = await application.queries.partitions.partition("Back", DATE)
        assert (whole.status, whole.run, whole.generation) == ("settling", None, 0)
        assert whole.stored is False
        assert whole.history == ()
        assert whole.expected_at is None
        assert whole.why == (
            "Everything critical is there; "
            f"it fires as soon as a load or the calendar names {DATE}."
        )
        row = (await application.queries.partitions.date(DATE)).items[0]
        assert vars(row) == {k: v for k, v in vars(whole).items() if k in vars(row)}
        spec = application.registry.processors["Back"]
        partition, verdict = await application.engine.view(spec, DATE)
        assert (partition.live, partition.generation, verdict.critical_met) == (None, 0, True)
        with pytest.raises(NotFound):
            await application.queries.runs.run(f"Back:{DATE}:1")
        await application.relay.drain()
        assert launches.run_ids == []
        named = await application.ingest.take(
            {
                "event_type": "raw_data_loaded",
                "target_table": "raw.games",
                "game_date": DATE,
                "status": "success",
                "timestamp": datetime.now(UTC).isoformat(),
                "game_ids": ["g1"],
                "record_count": 1,
            }
        )
        assert [a.fired_run_id for a in named.affected] == [f"Back:{DATE}:1"]


async def test_a_load_that_only_windows_look_at_is_applied(tmp_path: Path) -> None:
    async with served(tmp_path / "s.db", REGISTRY, Launches()) as application:
        outcome = await application.ingest.take(load("raw.a"))
        assert (outcome.outcome, outcome.affected) == ("applied", ())
