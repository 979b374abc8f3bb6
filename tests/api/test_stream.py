"""The stream where a store tells what other processes changed: nothing twice, whatever comes first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from coordinator.adapters.clock import SystemClock
from coordinator.core.machine import Decision
from coordinator.core.model import Partition, Status
from coordinator.ports import ChangeCursor, Kind
from coordinator.service.engine import Committed
from coordinator.web import stream as streams
from coordinator.web.stream import Stream
from tests.contract.samples import SAMPLES

pytestmark = pytest.mark.anyio

PARTITION: Partition = replace(SAMPLES[Kind.PARTITION], status=Status.WAITING)


class Others:
    """Tells what it is given, again at every look."""

    def __init__(self, *partitions: Partition) -> None:
        self.partitions = partitions
        self.looks = 0

    async def changed_since(
        self, mark: ChangeCursor | None
    ) -> tuple[Sequence[Partition], ChangeCursor]:
        self.looks += 1
        return self.partitions, ChangeCursor(datetime.now(UTC), 0.0)


def at(revision: int, **changes: Any) -> Partition:
    return replace(PARTITION, revision=revision, **changes)


def committed(before: Partition, after: Partition) -> Committed:
    return Committed(before, cast(Decision, Decided(after)))


class Decided:
    """What the stream reads of a decision."""

    def __init__(self, partition: Partition) -> None:
        self.partition, self.fired, self.changed = partition, None, True


async def changes(stream: Stream, number: int) -> list[dict[str, Any]]:
    """The next changes that a listener receives."""
    found = []
    async with asyncio.timeout(5), aclosing(cast(Any, stream.listen(None))) as lines:
        async for text in lines:
            if "event: partition" in text:
                found.append(json.loads(text.partition("data: ")[2]))
            if len(found) >= number:
                break
    return found


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "ASK_SECONDS", 0.05)


async def test_a_change_found_in_the_store_is_not_sent_again_by_its_commit() -> None:
    others = Others(at(7))
    stream = Stream(SystemClock(), "boot", others)
    listener = asyncio.create_task(changes(stream, 2))
    await asyncio.sleep(0.2)
    stream.committed([committed(at(5), at(6)), committed(at(6), at(7)), committed(at(7), at(8))])
    assert [c["revision"] for c in await listener] == [7, 8]
    assert others.looks > 1


async def test_a_change_of_this_process_is_not_sent_again_by_the_store() -> None:
    others = Others(at(6))
    stream = Stream(SystemClock(), "boot", others)
    listener = asyncio.create_task(changes(stream, 2))
    await asyncio.sleep(0)
    stream.committed([committed(at(5), at(6))])
    await asyncio.sleep(0.2)
    others.partitions = (
        at(9, status=Status.FIRING, execution=replace(PARTITION.execution, generation=2)),
    )
    received = await listener
    assert [c["revision"] for c in received] == [6, 9]
    assert received[1]["before"] == "waiting"
    assert received[1]["fired_run_id"] == received[1]["run_id"]


async def test_no_look_without_listeners() -> None:
    others = Others(at(6))
    stream = Stream(SystemClock(), "boot", others)
    await changes(stream, 1)
    await asyncio.sleep(0)
    looks = others.looks
    await asyncio.sleep(0.3)
    assert others.looks == looks
