"""What a process remembers of calendar, pauses and lists of dates, and that it stays the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from coordinator.adapters.firestore.layout import path
from coordinator.documents import Dates, calendar_key, dates_key, event_key
from coordinator.ports import Changes, Document, Key, Kind
from coordinator.registry import parse
from tests.contract.transacting import TransactingFirestore
from tests.firestore.proxy import Proxy
from tests.firestore.stores import FirestoreFactory
from tests.firestore.support import DAY, event, wired

pytestmark = [pytest.mark.anyio, pytest.mark.emulator]

REGISTRY = parse("""
version: 1
timezone: America/New_York
calendar: {table: raw.schedule}
tables:
  raw.schedule: {}
  raw.box: {grain: game}
processors:
  P: {phase: 3, output: out.p, grace: 1h, requires: [{table: raw.box}]}
""")


def remembered(store: TransactingFirestore, key: Key) -> Document | None:
    found = store._remembered.get(path(key))
    return None if found is None else found[1].document(key.kind, {})


async def test_what_a_process_has_written_itself_is_not_read_again(
    factory: FirestoreFactory, proxy: Proxy
) -> None:
    app = wired(factory(), REGISTRY)
    await app.store.open()
    await app.ingest.take(event("raw.schedule", 1, game_ids=["g1", "g2"], record_count=2))
    proxy.take()
    await app.ingest.take(event("raw.box", 2, game_ids=["g1"]))
    counts = proxy.take()
    assert (counts.calls.total(), counts.reads, counts.writes) == (2, 1 + 1, 1 + 1)
    assert isinstance(app.store, TransactingFirestore)
    key = calendar_key(DAY)
    assert remembered(app.store, key) == (await app.store.get([key]))[key]
    await app.store.close()


class Late(TransactingFirestore):
    """The answer of its first commit is long on its way."""

    def __init__(self, project: str) -> None:
        super().__init__(project)
        self.carried_out = asyncio.Event()
        self.answered = asyncio.Event()

    async def _commit(self, *what: Any) -> Sequence[Any]:
        versions = await super()._commit(*what)
        if not self.carried_out.is_set():
            self.carried_out.set()
            await self.answered.wait()
        return versions


async def test_an_answer_that_was_overtaken_does_not_bring_the_past_back(
    factory: FirestoreFactory,
) -> None:
    factory()  # names the emulator
    store = Late(factory.project)
    await store.open()
    key = dates_key("games")

    async def listed(date: str) -> None:
        def step(docs: Mapping[Key, Document | None]) -> Changes[None]:
            known: Dates | None = docs[key]
            listed = (known or Dates(name="games")).having(date, True)
            return Changes(None, {key: listed}, guards=frozenset(), fresh=frozenset())

        # Nothing tells beforehand that it writes the list too, as with a table's first load.
        event = event_key("raw.schedule", date, "e")
        await store.unit.transact([key, event], step, writes=[event])

    first = asyncio.ensure_future(listed("2025-01-01"))
    await store.carried_out.wait()
    await listed("2025-01-02")
    store.answered.set()
    await first
    truth = (await store.get([key]))[key]
    assert truth is not None
    assert truth.dates == ("2025-01-01", "2025-01-02")
    assert remembered(store, key) in (None, truth)
    await store.close()


async def test_parts_of_a_large_document_are_not_remembered(store: TransactingFirestore) -> None:
    key = dates_key("games")
    many = tuple(f"{n:010}-{n * 7919 % 10**10:010}" for n in range(120_000))

    def step(docs: Mapping[Key, Document | None]) -> Changes[None]:
        return Changes(None, {key: Dates(name="games", dates=many)})

    await store.transact([key], step)
    assert not [p for p in store._remembered if "/parts/" in p]
    assert remembered(store, Key(Kind.CONTROL, "_all")) is None


async def test_a_step_that_declares_nothing_rests_on_nothing_remembered(
    factory: FirestoreFactory,
) -> None:
    here, there = factory(), factory()
    await here.open()
    await there.open()
    key = dates_key("games")

    def listed(date: str) -> Any:
        return lambda _: Changes(None, {key: Dates(name="games", dates=(date,))})

    def dates(docs: Mapping[Key, Document | None]) -> Changes[Any]:
        known: Dates | None = docs[key]
        return Changes(() if known is None else known.dates)

    await here.transact([key], listed("2025-01-01"))
    assert remembered(here, key) is not None
    await there.transact([key], listed("2025-01-02"))
    assert await here.transact([key], dates) == ("2025-01-02",)
    await here.close()
    await there.close()
