"""Judgements that are shown again without being made again: they must be those of the instant."""

from __future__ import annotations

from datetime import timedelta

import pytest

from coordinator.adapters.sqlite import MEMORY, SqliteStore
from coordinator.app import Application
from coordinator.core.model import Partition
from coordinator.documents import partition_key
from coordinator.service.engine import shown_now
from coordinator.service.queries import reader
from coordinator.service.queries.reader import Verdicts
from tests.service.support import ManualClock, event, wired

pytestmark = pytest.mark.anyio

REGISTRY = """
version: 1
timezone: UTC
tables: {raw.a: {}, raw.b: {}}
processors:
  Settles: {phase: 3, output: out.s, debounce: 10m, requires: [{table: raw.a}]}
  Waits: {phase: 3, output: out.w, requires: [{table: raw.a}, {table: raw.b}]}
  Ages: {phase: 3, output: out.o, requires: [
    {table: raw.a, max_age_hours_warn: 2, max_age_hours_fail: 5}, {table: raw.b}]}
"""
DAY = "2024-10-22"


async def partitions(clock: ManualClock) -> tuple[Application, list[Partition]]:
    store = SqliteStore(MEMORY, inline=True)
    await store.open()
    app = wired(store, REGISTRY, clock)
    await app.ingest.take(event("raw.a", clock.at))
    keys = [partition_key(name, DAY) for name in app.registry.processors]
    found = await store.get(keys)
    return app, [found[key] for key in keys]


async def test_they_are_those_of_the_instant() -> None:
    clock = ManualClock()
    app, stored = await partitions(clock)
    verdicts = Verdicts()
    for minutes in (1, 2, 9, 10, 11, 119, 121, 299, 301, 5, 600, 0):
        now = clock.at + timedelta(minutes=minutes)
        for partition in stored:
            spec = app.registry.processors[partition.processor]
            shown = verdicts.judged(partition, (), spec, now, None)
            assert (shown.partition, shown.verdict) == shown_now(partition, spec, now)


async def test_they_are_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    app, stored = await partitions(clock)
    made: list[str] = []

    def counted(partition: Partition, *rest: object) -> object:
        made.append(partition.processor)
        return shown_now(partition, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "shown_now", counted)
    verdicts = Verdicts()
    for minutes in (1, 2, 3, 11):
        for partition in stored:
            spec = app.registry.processors[partition.processor]
            now = clock.at + timedelta(minutes=minutes)
            verdicts.judged(partition, (), spec, now, None)
    assert sorted(made) == ["Ages"] * 4 + ["Settles"] * 2 + ["Waits"]
