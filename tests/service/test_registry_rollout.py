"""A registry that changes between two starts (specification 2.8)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from coordinator.adapters.sqlite import SqliteStore
from coordinator.app import Application, build
from coordinator.core.choices import RunStatus
from coordinator.core.model import Partition
from coordinator.core.spec import LaunchKind
from coordinator.documents import partition_key
from coordinator.registry import parse
from coordinator.service.registry_rollout import unchanged
from coordinator.settings import Settings
from tests.service.support import Launches

DATE = "2024-10-22"
TABLES = "tables: {raw.a: {}, raw.b: {}, raw.c: {}}\n"
HEAD = "version: 1\ntimezone: America/New_York\n" + TABLES + "processors:\n"
ONE = HEAD + "  P: {phase: 3, output: out.p, requires: [{table: raw.a}]}\n"
TWO = HEAD + "  P: {phase: 3, output: out.p, requires: [{table: raw.a}, {table: raw.b}]}\n"
MORE = TWO + "  Late: {phase: 3, output: out.late, requires: [{table: raw.a}]}\n"


@asynccontextmanager
async def served(path: Path, registry: str, launches: Launches) -> AsyncIterator[Application]:
    application = build(
        Settings(),
        registry=parse(registry),
        store=SqliteStore(str(path)),
        launchers={LaunchKind.LOCAL: launches},
        notifiers=[],
    )
    async with application.running():
        await application.rolled_out.wait()
        yield application
        await application.relay.drain()


def load(table: str, number: int = 1) -> dict[str, Any]:
    return {
        "event_type": "raw_data_loaded",
        "target_table": table,
        "game_date": DATE,
        "status": "success",
        "timestamp": datetime.now(UTC).isoformat(),
        "record_count": 10,
        "execution_id": f"{table}-{number}",
    }


async def partition(application: Application, processor: str) -> Partition | None:
    key = partition_key(processor, DATE)
    found: Partition | None = (await application.store.get([key]))[key]
    return found


async def test_a_removed_requirement_fires_what_waited_for_it(tmp_path: Path) -> None:
    launches = Launches()
    async with served(tmp_path / "s.db", TWO, launches) as application:
        outcome = await application.ingest.take(load("raw.a"))
        assert outcome.affected[0].status == "waiting"
    assert launches.run_ids == []
    async with served(tmp_path / "s.db", ONE, launches) as application:
        found = await partition(application, "P")
        assert found is not None
        assert found.generation == 1
        assert found.registry_hash == application.registry.registry_hash
    assert launches.run_ids == [f"P:{DATE}:1"]


async def test_an_added_requirement_holds_what_has_not_run(tmp_path: Path) -> None:
    launches = Launches()
    async with served(tmp_path / "s.db", TWO, launches) as application:
        await application.ingest.take(load("raw.b"))
    async with served(tmp_path / "s.db", HEAD + _three(), launches) as application:
        await application.ingest.take(load("raw.a"))
        found = await partition(application, "P")
        assert found is not None
        assert found.status == "waiting"
        assert "raw.b@2024-10-22" in found.arrivals
    assert launches.run_ids == []


def _three() -> str:
    requires = "[{table: raw.a}, {table: raw.b}, {table: raw.c}]"
    return f"  P: {{phase: 3, output: out.p, requires: {requires}}}\n"


async def test_nothing_that_ran_is_disturbed(tmp_path: Path) -> None:
    launches = Launches()
    async with served(tmp_path / "s.db", ONE, launches) as application:
        await application.ingest.take(load("raw.a"))
        await application.relay.drain()  # a claim that is quicker takes the launch away
        run = await application.runs.claim(f"P:{DATE}:1", "me", 1)
        assert run.lease_token is not None
        await application.runs.complete(run.run_id, run.lease_token, RunStatus.SUCCESS, 3)
        await application.ingest.take(load("raw.b"))
    async with served(tmp_path / "s.db", TWO, launches) as application:
        found = await partition(application, "P")
        assert found is not None
        assert (found.status, found.generation) == ("succeeded", 1)
    assert launches.run_ids == [f"P:{DATE}:1"]


async def test_a_processor_added_later_is_filled_from_the_ledger(tmp_path: Path) -> None:
    launches = Launches()
    async with served(tmp_path / "s.db", TWO, launches) as application:
        await application.ingest.take(load("raw.a"))
        assert await partition(application, "Late") is None
    async with served(tmp_path / "s.db", MORE, launches) as application:
        found = await partition(application, "Late")
        assert found is not None
        assert found.generation == 1
    assert launches.run_ids == [f"Late:{DATE}:1"]


async def test_a_start_under_the_same_registry_writes_nothing(tmp_path: Path) -> None:
    launches = Launches()
    async with served(tmp_path / "s.db", ONE, launches) as application:
        await application.ingest.take(load("raw.a"))
        await application.relay.drain()
        before = await partition(application, "P")
    async with served(tmp_path / "s.db", ONE, launches) as application:
        assert await partition(application, "P") == before


async def test_only_what_means_something_else_is_looked_at_again(tmp_path: Path) -> None:
    launches = Launches()
    async with served(tmp_path / "s.db", TWO, launches) as application:
        await application.ingest.take(load("raw.a"))
    async with served(tmp_path / "s.db", MORE, launches) as application:
        found = await partition(application, "P")
        assert found is not None
        assert found.registry_hash != application.registry.registry_hash  # nothing to judge again
        assert await partition(application, "Late") is not None
        await application.ingest.take(load("raw.b"))
        found = await partition(application, "P")
        assert found is not None
        assert found.registry_hash == application.registry.registry_hash
        assert found.generation == 1


def test_what_another_registry_means_is_compared_by_processor() -> None:
    more = parse(MORE)

    def same(*others: str) -> set[str]:
        return unchanged(more, [parse(text) for text in others])

    assert same(TWO) == {"P"}
    assert same(MORE + "# a comment\n") == {"P", "Late"}
    assert same(TWO, ONE) == set()
    assert unchanged(more, [more, None]) == set()
    assert same(TWO.replace("New_York", "Chicago")) == set()
    assert same(TWO.replace("raw.b: {}", "raw.b: {grain: game}")) == set()
    assert same(TWO.replace("raw.c: {}", "raw.c: {grain: game}")) == {"P"}
