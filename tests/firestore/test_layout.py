"""What lies where: ids, the ledger and its roll-over, large documents, TTL fields, page bounds."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from google.cloud.firestore_v1 import DELETE_FIELD

from coordinator.adapters.firestore import layout
from coordinator.core.arrivals import TableDate
from coordinator.core.choices import QuarantineState
from coordinator.documents import LedgerEntry, encode, event_key, table_date_key
from coordinator.errors import BadInput, TooLarge
from coordinator.ports import Changes, Document, Grouping, Key, Kind, Op, Query, Where
from tests.contract.samples import ARRIVAL, DATE, NOON, PARTITION, SAMPLES, TABLE
from tests.contract.transacting import TransactingFirestore
from tests.firestore.proxy import Proxy
from tests.firestore.stores import FirestoreFactory

pytestmark = [pytest.mark.anyio, pytest.mark.emulator]


@pytest.fixture
async def rolling(factory: FirestoreFactory) -> AsyncIterator[TransactingFirestore]:
    """A store whose ledgers roll over after about twenty entries."""
    made = factory(ledger_bytes_max=12_000, chunk_bytes_max=4_000)
    await made.open()
    yield made
    await made.close()


def entry(number: int, **changes: Any) -> LedgerEntry:
    arrival = replace(
        ARRIVAL,
        event_id=f"e{number}",
        received_at=NOON + timedelta(seconds=number),
        correlation_id=f"night-{number % 5}",
    )
    return LedgerEntry(
        event_id=f"e{number}",
        table=TABLE,
        game_date=DATE,
        outcome="applied",
        digest=f"d{number}",
        received_at=arrival.received_at,
        arrival=replace(arrival, **changes),
    )


def key(number: int) -> Key:
    return event_key(TABLE, DATE, f"e{number}")


async def put(store: TransactingFirestore, docs: dict[Key, Document]) -> None:
    await store.transact([], lambda _: Changes(None, docs))


async def record(store: TransactingFirestore, number: int) -> str:
    """Take an event in as the service does: once."""
    home = table_date_key(TABLE, DATE)

    def step(docs: Any) -> Changes[str]:
        if docs[key(number)] is not None:
            return Changes("duplicate")
        folded = TableDate(table=TABLE, game_date=DATE)
        puts = {key(number): entry(number), home: folded}
        return Changes("applied", puts, frozenset({key(number)}))

    return await store.transact([key(number), home], step)


@pytest.mark.parametrize(
    "id_",
    ["a/b", "a%2Fb", "%", ".", "..", "__x__", "____", "é🏀/..", "x" * 1400, "_all", "a__b"],
)
async def test_any_id_comes_back(store: TransactingFirestore, id_: str) -> None:
    document = SAMPLES[Kind.CONTROL]
    await put(store, {Key(Kind.CONTROL, id_): document})
    assert (await store.find(Query(Kind.CONTROL))).items == ((id_, document),)
    assert (await store.get([Key(Kind.CONTROL, id_)]))[Key(Kind.CONTROL, id_)] == document
    assert layout.unescape(layout.escape(id_)) == id_


@pytest.mark.parametrize("id_", ["", "x" * 1501, "🏀" * 400])
async def test_an_id_that_cannot_be_is_bad_input(store: TransactingFirestore, id_: str) -> None:
    with pytest.raises(BadInput):
        await store.get([Key(Kind.CONTROL, id_)])


@pytest.mark.parametrize("event_id", ["plain", "a/b", "x__2025-01-01__y", "é🏀", "__", "x" * 256])
async def test_any_event_id_lies_in_its_own_ledger(
    store: TransactingFirestore, event_id: str
) -> None:
    made = replace(entry(1), event_id=event_id)
    await put(store, {event_key(TABLE, DATE, event_id): made})
    where = (Where("table", Op.EQ, TABLE), Where("game_date", Op.EQ, DATE))
    page = await store.find(Query(Kind.EVENT, where, order="received_at"))
    assert page.items == ((event_key(TABLE, DATE, event_id).id, made),)
    assert not (await store.find(Query(Kind.TABLE_DATE))).items


async def test_a_ledger_rolls_over_and_still_knows_every_event(
    rolling: TransactingFirestore, proxy: Proxy
) -> None:
    total = 150
    for number in range(total):
        assert await record(rolling, number) == "applied"
    for number in range(0, total, 7):
        assert await record(rolling, number) == "duplicate"
    docs = await rolling.get([key(n) for n in range(total)])
    assert [d.event_id for d in docs.values() if d is not None] == [f"e{n}" for n in range(total)]
    proxy.take()
    assert await record(rolling, total) == "applied"
    assert (proxy.counts.reads, proxy.counts.writes) == (1, 1)


async def test_a_rolled_over_ledger_is_listed_and_traced_whole(
    rolling: TransactingFirestore,
) -> None:
    total = 90
    for start in range(0, total, 10):
        await put(rolling, {key(n): entry(n) for n in range(start, start + 10)})
    where = (Where("table", Op.EQ, TABLE), Where("game_date", Op.EQ, DATE))
    query = Query(Kind.EVENT, where, order="received_at", limit=13)
    found: list[str] = []
    while True:
        page = await rolling.find(query)
        found += [e.event_id for _, e in page.items]
        if page.next_page_token is None:
            break
        query = replace(query, after=page.next_page_token)
    assert found == [f"e{n}" for n in range(total)]
    traced = Query(
        Kind.EVENT, (Where("correlation_id", Op.EQ, "night-2"),), order="received_at", limit=1000
    )
    ids = [e.event_id for _, e in (await rolling.find(traced)).items]
    assert ids == [f"e{n}" for n in range(2, total, 5)]
    for order in ("id", "game_date", "table"):
        query, found = Query(Kind.EVENT, order=order, limit=40), []
        while True:
            page = await rolling.find(query)
            found += [id_ for id_, _ in page.items]
            if page.next_page_token is None:
                break
            query = replace(query, after=page.next_page_token)
        assert found == sorted(key(n).id for n in range(total))


async def test_a_ledger_is_listed_however_long_it_is(store: TransactingFirestore) -> None:
    many = [entry(n) for n in range(2_300)]
    for start in range(0, len(many), 500):
        puts = {event_key(TABLE, DATE, e.event_id): e for e in many[start : start + 500]}
        await store.transact(list(puts), lambda _, puts=puts: Changes(None, puts))
    one = (Where("table", Op.EQ, TABLE), Where("game_date", Op.EQ, DATE))
    traced = (Where("correlation_id", Op.EQ, "night-3"),)
    for where, wanted in ((one, many), (traced, many[3::5])):
        found: list[LedgerEntry] = []
        after: str | None = None
        while True:
            page = await store.find(
                Query(Kind.EVENT, where, order="received_at", limit=900, after=after)
            )
            found += [e for _, e in page.items]
            after = page.next_page_token
            if after is None:
                break
        assert [e.event_id for e in found] == [e.event_id for e in wanted]


async def test_ledgers_of_many_dates_are_listed_in_order(store: TransactingFirestore) -> None:
    days = [f"2025-{m:02}-{d:02}" for m in (1, 2, 3) for d in range(1, 25)]
    docs: dict[Key, Document] = {}
    for n, day in enumerate(days):
        for e in range(2):
            made = replace(entry(2 * n + e), game_date=day)
            docs[event_key(TABLE, day, made.event_id)] = made
    await put(store, docs)
    between = (Where("game_date", Op.GE, "2025-01-10"), Where("game_date", Op.LE, "2025-03-02"))
    for descending in (False, True):
        query = Query(Kind.EVENT, between, "game_date", descending, limit=17)
        found: list[tuple[str, str]] = []
        while True:
            page = await store.find(query)
            found += [(e.game_date, id_) for id_, e in page.items]
            if page.next_page_token is None:
                break
            query = replace(query, after=page.next_page_token)
        wanted = [
            (e.game_date, k.id)
            for k, e in docs.items()
            if "2025-01-10" <= e.game_date <= "2025-03-02"
        ]
        assert found == sorted(wanted, reverse=descending)


async def test_a_message_of_several_mebibytes_is_kept_whole(store: TransactingFirestore) -> None:
    where = Key(Kind.QUARANTINE, "large")
    for size in (1_500_000, 900_000, 10):
        large = replace(SAMPLES[Kind.QUARANTINE], raw=os.urandom(size))
        await store.transact([where], lambda _, d=large: Changes(None, {where: d}))
        assert (await store.get([where]))[where] == large
        assert (await store.find(Query(Kind.QUARANTINE))).items == (("large", large),)


async def test_what_no_commit_can_hold_is_too_large_and_harms_nobody(
    store: TransactingFirestore,
) -> None:
    large = replace(SAMPLES[Kind.QUARANTINE], raw=os.urandom(9_000_000))
    where, other = Key(Kind.QUARANTINE, "large"), Key(Kind.CONTROL, "c")
    with pytest.raises(TooLarge):
        await put(store, {where: large, other: SAMPLES[Kind.CONTROL]})
    assert set((await store.get([where, other])).values()) == {None}


async def test_a_document_near_the_bound_is_kept(store: TransactingFirestore) -> None:
    near = replace(SAMPLES[Kind.AUDIT], detail={"noise": os.urandom(420_000).hex()})
    assert 800_000 < len(encode(near)) < 900_000
    where = Key(Kind.AUDIT, "near")
    await put(store, {where: near})
    assert (await store.get([where]))[where] == near


async def test_what_may_go_carries_the_instant_when(store: TransactingFirestore) -> None:
    settled = replace(SAMPLES[Kind.QUARANTINE], state=QuarantineState.REPLAYED, settled_at=NOON)
    await put(
        store,
        {
            Key(Kind.AUDIT, "a"): SAMPLES[Kind.AUDIT],
            Key(Kind.QUARANTINE, "open"): SAMPLES[Kind.QUARANTINE],
            Key(Kind.QUARANTINE, "settled"): settled,
        },
    )
    rows = await store._read(["audit/a", "quarantine/open", "quarantine/settled"])
    assert rows["audit/a"].fields["expire_at"] == NOON + layout.AUDIT_KEPT
    assert rows["quarantine/open"].fields["expire_at"] is None
    assert rows["quarantine/settled"].fields["expire_at"] == NOON + layout.SETTLED_KEPT


async def test_long_texts_are_found_by_all_of_their_characters(store: TransactingFirestore) -> None:
    docs = {
        Key(Kind.RUN, f"r{n}"): replace(SAMPLES[Kind.RUN], correlation_id="é" * 2000 + str(n))
        for n in range(3)
    }
    await put(store, docs)
    page = await store.find(
        Query(Kind.RUN, (Where("correlation_id", Op.EQ, "é" * 2000 + "1"),), order="fired_at")
    )
    assert [id_ for id_, _ in page.items] == ["r1"]


@pytest.mark.parametrize(
    "older",
    [
        {"flags": DELETE_FIELD, "progress": DELETE_FIELD, "indexed_by": DELETE_FIELD},
        {"flags": "quiet", "ops": ["later"]},
    ],
    ids=["written by it", "updated by it"],
)
async def test_a_partition_of_an_older_version_is_grouped_by_its_body(
    store: TransactingFirestore, older: dict[str, Any]
) -> None:
    some = [replace(PARTITION, processor=f"P{n}") for n in range(3)]
    await put(store, {Key(Kind.PARTITION, p.id): p for p in some})
    client = store._check_open()
    await client.document(f"partitions/{some[1].id}").update(older)
    read = store.documents_read
    found = await store.grouped(Grouping(("status", "flags", "progress"), "processor"))
    assert found == {("running", "overdue", 1): ["P0", "P2", "P1"]}
    assert store.documents_read == read + 4, "only the older one is read whole"
