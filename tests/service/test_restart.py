"""What a start reads, and what it leaves for later (specification 2.8)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest

from coordinator.adapters.sqlite import SqliteStore
from coordinator.app import Application, build
from coordinator.core.spec import LaunchKind
from coordinator.documents import partition_key
from coordinator.errors import Unavailable
from coordinator.ports import Kind, Page, Query
from coordinator.registry import parse
from coordinator.service.registry_rollout import RegistryRollout
from coordinator.settings import Settings
from tests.service.support import Launches
from tests.service.test_registry_rollout import ONE, TWO, load

DATES = [(date(2024, 10, 22) + timedelta(days=n)).isoformat() for n in range(120)]


class CountedStore(SqliteStore):
    """Counts the documents that queries gave."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.found: Counter[Kind] = Counter()

    async def find(self, query: Query) -> Page:
        page = await super().find(query)
        self.found[query.kind] += len(page.items)
        return page


def service(path: Path, registry: str, launches: Launches) -> tuple[Application, CountedStore]:
    store = CountedStore(path)
    application = build(
        Settings(),
        registry=parse(registry),
        store=store,
        launchers={LaunchKind.LOCAL: launches},
        notifiers=[],
    )
    return application, store


async def filled(path: Path, registry: str, table: str = "raw.a") -> None:
    application, _ = service(path, registry, Launches())
    async with application.running():
        for game_date in DATES:
            await application.ingest.take({**load(table), "game_date": game_date})
        await application.relay.drain()


async def generations(application: Application, dates: Sequence[str]) -> list[int]:
    keys = [partition_key("P", game_date) for game_date in dates]
    documents = await application.store.get(keys)
    return [documents[key].generation for key in keys]


async def test_a_restart_under_the_same_registry_reads_no_partition(tmp_path: Path) -> None:
    await filled(tmp_path / "s.db", TWO)
    application, store = service(tmp_path / "s.db", TWO, Launches())
    async with application.running():
        await application.rolled_out.wait()
        await application.sweeper.sweep()
        await application.relay.discover()
        assert store.found[Kind.PARTITION] == 0
        assert sum(store.found.values()) <= 1, store.found  # the registry's own record


async def test_a_service_answers_before_what_a_registry_changed_is_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(tmp_path / "s.db", TWO)
    go_on = asyncio.Event()
    finish = RegistryRollout.finish

    async def later(self: RegistryRollout) -> int:
        await go_on.wait()
        return await finish(self)

    monkeypatch.setattr(RegistryRollout, "finish", later)
    launches = Launches()
    application, _ = service(tmp_path / "s.db", ONE, launches)
    async with application.running():
        await application.sweeper.sweep()
        assert await generations(application, DATES) == [0] * len(DATES)
        again = await application.ingest.take({**load("raw.a", 2), "game_date": DATES[0]})
        assert [a.status for a in again.affected] != ["waiting"]  # by the rules of this registry
        go_on.set()
        await application.rolled_out.wait()
        assert await generations(application, DATES) == [1] * len(DATES)
        await application.relay.drain()
    assert sorted(launches.run_ids) == sorted(f"P:{game_date}:1" for game_date in DATES)


async def test_a_rollout_that_fails_is_left_to_the_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(tmp_path / "s.db", TWO)

    async def fails(_: RegistryRollout) -> int:
        raise Unavailable("the store is out of reach")

    monkeypatch.setattr(RegistryRollout, "_evaluate_all", fails)
    application, _ = service(tmp_path / "s.db", ONE, Launches())
    async with application.running():
        await application.rolled_out.wait()
        monkeypatch.undo()
        await application.sweeper.sweep()
        assert await generations(application, DATES) == [1] * len(DATES)
