"""Whatever goes wrong on the way to Firestore, a change happens once or not at all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from google.auth.exceptions import DefaultCredentialsError

from coordinator.core.arrivals import TableDate
from coordinator.core.model import Control
from coordinator.documents import AuditEntry
from coordinator.errors import Unavailable
from coordinator.ports import Changes, Document, Key, Kind, Query
from tests.contract.samples import NOON, RUN
from tests.contract.transacting import TransactingFirestore
from tests.firestore.proxy import ABORTED, DEADLINE, LOST, SLOW, UNAVAILABLE, Proxy
from tests.firestore.stores import FirestoreFactory

pytestmark = [pytest.mark.anyio, pytest.mark.emulator]

LEFT, RIGHT = Key(Kind.CONTROL, "left"), Key(Kind.TABLE_DATE, "right")


def add_one(docs: Mapping[Key, Document | None]) -> Changes[int]:
    known = docs[LEFT]
    count = 1 if known is None else int(known.scope) + 1
    puts = {
        LEFT: Control(scope=str(count)),
        RIGHT: TableDate(table=str(count), game_date="d"),
        Key(Kind.AUDIT, f"a{count}"): AuditEntry(
            audit_id=f"a{count}", at=NOON, actor="a", act="add", reason="r"
        ),
    }
    return Changes(count, puts, frozenset({Key(Kind.AUDIT, f"a{count}")}))


async def count(store: TransactingFirestore) -> int:
    docs = await store.get([LEFT, RIGHT])
    left, right = docs[LEFT], docs[RIGHT]
    if left is None or right is None:
        assert left is right is None
        return 0
    assert left.scope == right.table
    return int(left.scope)


def times(*faults: str | None, method: str = "Commit") -> Callable[[str], str | None]:
    """These faults for the first calls of a method, in order."""
    left = list(faults)
    return lambda called: left.pop(0) if called == method and left else None


@pytest.mark.parametrize("fault", [ABORTED, UNAVAILABLE, DEADLINE, LOST, SLOW])
@pytest.mark.parametrize("method", ["Commit", "BatchGetDocuments"])
async def test_one_fault_is_not_seen(
    store: TransactingFirestore, proxy: Proxy, fault: str, method: str
) -> None:
    proxy.fault = times(fault, method=method)
    assert await store.transact([LEFT], add_one) == 1
    assert await store.transact([LEFT], add_one) == 2
    assert await count(store) == 2
    assert sum(proxy.counts.faults.values()) == 1


async def test_a_commit_whose_answer_was_lost_is_not_repeated(
    store: TransactingFirestore, proxy: Proxy
) -> None:
    proxy.fault = times(LOST)
    assert await store.transact([LEFT], add_one) == 1
    assert store.settled == 1
    assert proxy.counts.calls["Commit"] == 1
    assert await count(store) == 1


async def test_it_is_known_even_after_others_wrote_the_same_documents(
    factory: FirestoreFactory, proxy: Proxy
) -> None:
    store, other = factory(), factory()
    await store.open()
    await other.open()
    lost = asyncio.Event()
    loop = asyncio.get_running_loop()
    faults = [LOST, None, None, None]

    def fault(method: str) -> str | None:
        if method == "Commit" and faults and faults.pop(0) == LOST:
            loop.call_soon_threadsafe(lost.set)
            return LOST
        if method == "BatchGetDocuments" and lost.is_set() and len(faults) > 0:
            return SLOW  # the one that asks what became of it, while others go on
        return None

    proxy.fault = fault
    first = asyncio.ensure_future(store.transact([LEFT], add_one))
    await lost.wait()
    for _ in range(3):
        await other.transact([LEFT], add_one)
    assert await first == 1
    assert await count(other) == 4
    await store.close()
    await other.close()


async def test_a_store_that_stays_away_is_unavailable_and_nothing_was_changed(
    factory: FirestoreFactory, proxy: Proxy
) -> None:
    store = factory(tries=4, patience_seconds=3.0)
    await store.open()
    await store.transact([LEFT], add_one)
    proxy.fault = lambda method: UNAVAILABLE if method == "Commit" else None
    with pytest.raises(Unavailable):
        await store.transact([LEFT], add_one)
    proxy.fault = lambda method: UNAVAILABLE
    for call in (store.get([LEFT]), store.find(Query(Kind.CONTROL)), store.ping()):
        with pytest.raises(Unavailable):
            await call
    proxy.fault = None
    assert await count(store) == 1
    assert await store.transact([LEFT], add_one) == 2
    await store.close()


async def test_a_call_that_hangs_ends_at_its_deadline(
    factory: FirestoreFactory, proxy: Proxy
) -> None:
    store = factory(call_seconds=0.2, tries=3)
    await store.open()
    proxy.slow_seconds = 1.0
    proxy.fault = times(SLOW, SLOW, method="BatchGetDocuments")
    assert await store.transact([LEFT], add_one) == 1
    proxy.slow_seconds = 0.3
    await store.close()


async def test_a_commit_that_lands_after_its_deadline_is_applied_once(
    factory: FirestoreFactory, proxy: Proxy
) -> None:
    store = factory(call_seconds=0.25)
    await store.open()
    proxy.slow_seconds = 0.4
    proxy.fault = times(SLOW, None, SLOW)
    for n in range(1, 5):
        assert await store.transact([LEFT], add_one) == n
    await asyncio.sleep(0.6)
    assert await count(store) == 4
    proxy.slow_seconds = 0.3
    await store.close()


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_storm_of_faults_loses_and_repeats_nothing(
    factory: FirestoreFactory, proxy: Proxy, seed: int
) -> None:
    """Three processes' worth of callers, a third of all calls failing in every way there is."""
    chance = random.Random(seed)
    proxy.slow_seconds = 0.02
    kinds = [None] * 6 + [ABORTED, UNAVAILABLE, LOST, SLOW]
    proxy.fault = lambda method: (
        chance.choice(kinds)
        if method == "Commit"
        else chance.choice([None, None, None, UNAVAILABLE])
    )
    stores = [factory(tries=60, patience_seconds=60.0) for _ in range(3)]
    for made in stores:
        await made.open()
    results = await asyncio.gather(*(stores[n % 3].transact([LEFT], add_one) for n in range(45)))
    assert sorted(results) == list(range(1, 46))
    proxy.fault = None
    proxy.slow_seconds = 0.3
    assert await count(stores[0]) == 45
    audits = await stores[0].find(Query(Kind.AUDIT, limit=1000))
    assert len(audits.items) == 45
    for made in stores:
        await made.close()


async def test_racing_processes_that_change_one_document_lose_no_change(
    factory: FirestoreFactory,
) -> None:
    stores = [factory() for _ in range(4)]
    for made in stores:
        await made.open()

    def increment(docs: Mapping[Key, Document | None]) -> Changes[int]:
        known = docs[LEFT]
        number = 1 if known is None else int(known.scope) + 1
        return Changes(number, {LEFT: Control(scope=str(number))})

    numbers = await asyncio.gather(*(stores[n % 4].transact([LEFT], increment) for n in range(24)))
    assert sorted(numbers) == list(range(1, 25))
    for made in stores:
        await made.close()


async def test_racing_processes_create_a_run_once(factory: FirestoreFactory) -> None:
    """One firing, one claim: of many stores that all saw nothing there, one creates it."""
    stores = [factory() for _ in range(4)]
    for made in stores:
        await made.open()
    key = Key(Kind.RUN, RUN.run_id)

    def create(name: str) -> Any:
        def step(docs: Mapping[Key, Document | None]) -> Changes[str]:
            known = docs.get(key)
            if known is not None:
                return Changes(known.actor)
            return Changes(name, {key: replace(RUN, actor=name)}, frozenset({key}))

        return step

    winners = await asyncio.gather(
        *(stores[n % 4].transact([], create(f"n{n}")) for n in range(32))
    )
    assert len(set(winners)) == 1
    for made in stores:
        await made.close()


async def test_a_client_that_keeps_failing_is_replaced_and_a_failing_replacement_is_no_error(
    factory: FirestoreFactory, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = factory(tries=4, patience_seconds=3.0)
    await store.open()
    first = store._client

    def no_credentials() -> None:
        raise DefaultCredentialsError("nobody answers")

    proxy.fault = lambda _: UNAVAILABLE
    with monkeypatch.context() as patch:
        patch.setattr(store, "_new_client", no_credentials)
        with pytest.raises(Unavailable):
            await store.get([LEFT])
        assert store._client is first
    store._renewed_at = float("-inf")
    with pytest.raises(Unavailable):
        await store.get([LEFT])
    assert store._client is not first
    proxy.fault = None
    assert await store.transact([LEFT], add_one) == 1
    assert not store._calls_of
    await store.close()
