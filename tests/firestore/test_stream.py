"""The stream over several processes: changes of others come, once, and nobody asks for nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from coordinator.adapters.firestore import FirestoreStore
from coordinator.adapters.firestore import store as module
from coordinator.adapters.firestore.queries import changed_plan
from coordinator.app import Application
from coordinator.web import stream as streams
from coordinator.web.api import create_app
from coordinator.web.stream import Stream
from tests.firestore.proxy import Proxy
from tests.firestore.stores import FirestoreFactory
from tests.firestore.support import DAY, event, registry, wired

pytestmark = [pytest.mark.anyio, pytest.mark.emulator]


class Instance:
    """A service with its HTTP application; ``stream`` is what listeners of it hear."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.stream: Stream = create_app(application).state.stream

    async def load(self, number: int, game_date: str = DAY) -> None:
        sent = event(f"raw.t{number}", number, game_date=game_date)
        assert (await self.application.ingest.take(sent)).outcome == "applied"


class Listener:
    """Reads one stream, and keeps what it receives."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.last_id: str | None = None
        self.resets = 0
        self.received: list[dict[str, Any]] = []
        self._more = asyncio.Condition()

    async def read(self) -> None:
        async for text in self._lines:
            fields = dict(
                line.split(": ", 1) for line in text.split("\n") if line[:1] not in ("", ":")
            )
            self.last_id = fields.get("id", self.last_id)
            self.resets += fields.get("event") == "reset"
            if fields.get("event") == "partition":
                self.received.append(json.loads(fields["data"]))
                async with self._more:
                    self._more.notify_all()

    async def until(self, number: int, seconds: float = 8) -> None:
        """Wait until so many changes were received."""
        async with asyncio.timeout(seconds), self._more:
            await self._more.wait_for(lambda: len(self.received) >= number)


@asynccontextmanager
async def listening(at: Instance, last_id: str | None = None) -> AsyncIterator[Listener]:
    async with aclosing(cast(Any, at.stream.listen(last_id))) as lines:
        listener = Listener(lines)
        task = asyncio.create_task(listener.read())
        await asyncio.sleep(0.1)
        try:
            yield listener
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def instances(factory: FirestoreFactory) -> AsyncIterator[list[Instance]]:
    """Two over one database."""
    made = [Instance(wired(factory(), registry(3))) for _ in range(2)]
    for one in made:
        await one.application.store.open()
        await one.application.sweeper.rollout.start()
    yield made
    for one in made:
        one.stream.close()
        await one.application.relay.stop()
        await one.application.store.close()


async def test_every_instance_streams_every_change_once(instances: list[Instance]) -> None:
    a, b = instances
    async with listening(a) as near, listening(b) as far, listening(b) as also_far:
        await a.load(0)
        await far.until(1)
        await b.load(1)
        await near.until(2)
        await a.load(2)
        for listener in (near, far, also_far):
            await listener.until(3)
        await asyncio.sleep(2.5)  # looks that find all of it again
    for listener in (near, far, also_far):
        seen = [(c["processor"], c["game_date"], c["revision"]) for c in listener.received]
        assert seen == [("P0", DAY, n) for n in (1, 2, 3)]
        assert [c["fired_run_id"] for c in listener.received] == [None, None, f"P0:{DAY}:1"]
        assert listener.received[-1]["before"] == listener.received[-2]["status"]


async def test_asked_once_for_all_listeners_and_never_without(
    instances: list[Instance], proxy: Proxy
) -> None:
    b = instances[1]
    proxy.take()
    await asyncio.sleep(1.5)
    assert not proxy.take().calls
    async with listening(b), listening(b), listening(b):
        await asyncio.sleep(4.5)  # looks after 1 s, 3 s, 7 s, and every 5 s from there
        counts = proxy.take()
        assert dict(counts.calls) == {"BatchGetDocuments": 1, "RunQuery": 2}
        assert counts.writes == 0
    proxy.take()
    await asyncio.sleep(4)
    assert not proxy.take().calls


async def test_what_others_did_while_a_listener_was_away_comes_when_it_is_back(
    instances: list[Instance],
) -> None:
    a, b = instances
    async with listening(b) as listener:
        await a.load(0)
        await listener.until(1)
    await a.load(1)
    async with listening(b, listener.last_id) as back:
        await back.until(1)
        assert (back.resets, back.received[0]["revision"]) == (0, 2)


async def test_a_listener_that_was_away_for_long_reads_the_state_afresh(
    instances: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = instances
    async with listening(b) as listener:
        await a.load(0)
        await listener.until(1)
    monkeypatch.setattr(streams, "UNWATCHED_SECONDS_MAX", 0.0)
    async with listening(b, listener.last_id) as back:
        assert back.resets == 1


async def test_the_stream_survives_a_store_out_of_reach(
    instances: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = instances
    asked = cast(FirestoreStore, b.application.store).changed_since
    failures = iter([OSError("gone"), OSError("gone")])

    async def failing(mark: Any) -> Any:
        for error in failures:
            raise error
        return await asked(mark)

    monkeypatch.setattr(streams, "ASK_SECONDS", 0.1)
    monkeypatch.setattr(b.application.store, "changed_since", failing)
    async with listening(b) as listener:
        await a.load(0)
        await listener.until(1)


async def test_changes_are_found_page_by_page_and_the_mark_moves_on(
    instances: list[Instance], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHANGED_PER_PAGE", 2)
    monkeypatch.setattr(module, "OVERLAP", timedelta(0))
    a, b = (cast(FirestoreStore, one.application.store) for one in instances)
    none, mark = await b.changed_since(None)
    assert not none
    days = [f"2025-01-{n:02}" for n in range(1, 6)]
    for day in days:
        await instances[0].load(0, day)
    proxy.take()
    found, after = await b.changed_since(mark)
    assert proxy.take().calls["RunQuery"] == 3
    assert [p.game_date for p in found] == days
    again, later = await b.changed_since(after)
    assert not again
    assert mark.at < after.at < later.at
    await instances[0].load(1, days[0])
    assert [p.game_date for p in (await a.changed_since(later))[0]] == days[:1]


def test_no_composite_index_is_needed() -> None:
    assert changed_plan(datetime.now(UTC)).index is None
