"""What every store promises, whatever keeps the bytes (``coordinator.ports.Store``)."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from coordinator.core.arrivals import TableDate
from coordinator.core.model import Control, Execution, Flag, Inputs, Journal, Partition, Status
from coordinator.documents import INDEXES, TYPES, Quarantined, decode, encode
from coordinator.errors import BadInput, Bug, Refused, Unavailable
from coordinator.ports import (
    Changes,
    Document,
    Grouping,
    Groups,
    Key,
    Kind,
    NeedDocuments,
    Op,
    Page,
    Query,
    Where,
)
from tests.contract.conftest import StoreFactory
from tests.contract.samples import NOON, PARTITION, RUN, SAMPLES
from tests.contract.transacting import TransactingStore as Store

pytestmark = pytest.mark.anyio

Docs = Mapping[Key, Document | None]

LEFT, RIGHT = Key(Kind.CONTROL, "left"), Key(Kind.TABLE_DATE, "right")


def count_of(document: Document | None) -> int:
    return 0 if document is None else int(document.scope)


def counter(n: int) -> Control:
    return Control(scope=str(n))


def increment(key: Key) -> Any:
    def step(docs: Docs) -> Changes[int]:
        n = count_of(docs[key]) + 1
        return Changes(n, {key: counter(n)})

    return step


def put(docs: Mapping[Key, Document]) -> Any:
    return lambda _: Changes(None, docs)


async def put_all(store: Store, docs: Mapping[Key, Document]) -> None:
    await store.transact([], put(docs))


# --------------------------------------------------------------------------- transactions


async def test_what_was_never_written_is_none(store: Store) -> None:
    key = Key(Kind.RUN, "nobody")
    assert await store.get([key]) == {key: None}
    assert await store.get([]) == {}
    seen: list[Docs] = []

    def step(docs: Docs) -> Changes[str]:
        seen.append(docs)
        return Changes("done")

    assert await store.transact([key], step) == "done"
    assert seen == [{key: None}]


async def test_a_committed_change_is_read_by_everyone(store: Store) -> None:
    docs = {Key(kind, "x"): document for kind, document in SAMPLES.items()}
    await put_all(store, docs)
    assert await store.get(list(docs)) == docs
    assert await store.transact(list(docs), lambda read: Changes(dict(read))) == docs


async def test_a_later_change_replaces_the_whole_document(store: Store) -> None:
    key = Key(Kind.PARTITION, "p")
    await put_all(store, {key: PARTITION})
    bare = Partition(processor="Summary", game_date="2025-11-16", created_at=NOON)
    await put_all(store, {key: bare})
    assert await store.get([key]) == {key: bare}
    page = await store.find(Query(Kind.PARTITION, (Where("wake_at", Op.EQ, None),)))
    assert page.items == (("p", bare),)
    assert not (
        await store.find(
            Query(Kind.PARTITION, (Where("wake_at", Op.LE, NOON + timedelta(days=9)),))
        )
    ).items


async def test_a_step_that_raises_writes_nothing_and_harms_nobody(store: Store) -> None:
    class Odd(Exception):
        pass

    def fails(docs: Docs) -> Changes[None]:
        raise Odd("no")

    def refuses(docs: Docs) -> Changes[None]:
        raise Refused("a rule said no")

    others = [Key(Kind.CONTROL, f"c{n}") for n in range(20)]
    results = await asyncio.gather(
        *(store.transact([key], increment(key)) for key in others[:10]),
        store.transact([LEFT], fails),
        store.transact([LEFT], refuses),
        *(store.transact([key], increment(key)) for key in others[10:]),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [int] * 10 + [Odd, Refused] + [int] * 10
    read = await store.get([LEFT, *others])
    assert read[LEFT] is None
    assert all(count_of(read[key]) == 1 for key in others)


@pytest.mark.parametrize(
    ("puts", "creates"),
    [
        ({LEFT: counter(1), RIGHT: counter(1)}, frozenset()),
        ({LEFT: counter(1), RIGHT: None}, frozenset()),
        ({LEFT: counter(1)}, frozenset({RIGHT})),
    ],
    ids=["another kind's document", "no document", "a create that is not put"],
)
async def test_changes_that_make_no_sense_are_a_bug_and_write_nothing(
    store: Store, puts: dict[Key, Document], creates: frozenset[Key]
) -> None:
    with pytest.raises(Bug):
        await store.transact([], lambda _: Changes(None, puts, creates))
    assert await store.get([LEFT, RIGHT]) == {LEFT: None, RIGHT: None}


async def test_a_document_that_cannot_be_encoded_fails_alone(store: Store) -> None:
    bad = replace(SAMPLES[Kind.AUDIT], detail={"what": object()})
    keys = [Key(Kind.CONTROL, f"c{n}") for n in range(9)]
    results = await asyncio.gather(
        *(store.transact([key], increment(key)) for key in keys[:5]),
        store.transact([], put({Key(Kind.AUDIT, "a"): bad, LEFT: counter(1)})),
        *(store.transact([key], increment(key)) for key in keys[5:]),
        return_exceptions=True,
    )
    assert isinstance(results.pop(5), Bug)
    assert results == [1] * 9
    assert await store.get([LEFT]) == {LEFT: None}
    assert [count_of(d) for d in (await store.get(keys)).values()] == [1] * 9


async def test_readers_never_see_half_a_transaction(store: Store) -> None:
    def both(docs: Docs) -> Changes[None]:
        n = count_of(docs[LEFT]) + 1
        return Changes(None, {LEFT: counter(n), RIGHT: TableDate(table=str(n), game_date="d")})

    async def write() -> None:
        for _ in range(60):
            await store.transact([LEFT], both)

    async def read() -> int:
        last = 0
        while not writing.done():
            docs = await store.get([LEFT, RIGHT])
            left, right = docs[LEFT], docs[RIGHT]
            assert (left is None) == (right is None)
            if left is not None and right is not None:
                assert left.scope == right.table
                assert int(left.scope) >= last
                last = int(left.scope)
        return last

    writing = asyncio.ensure_future(write())
    await asyncio.gather(read(), read())
    await writing
    assert count_of((await store.get([LEFT]))[LEFT]) == 60


async def test_concurrent_changes_of_one_document_are_serial(
    store: Store, store_factory: StoreFactory
) -> None:
    callers = store_factory.contenders
    results = await asyncio.gather(
        *(store.transact([LEFT], increment(LEFT)) for _ in range(callers))
    )
    assert sorted(results) == list(range(1, callers + 1))
    assert count_of((await store.get([LEFT]))[LEFT]) == callers


async def test_a_decision_on_what_was_read_holds_when_it_commits(store: Store) -> None:
    """No write skew: of two, at most one may be paused, and each reads both."""
    keys = [Key(Kind.CONTROL, "a"), Key(Kind.CONTROL, "b")]
    paused = replace(SAMPLES[Kind.CONTROL], resume_pending=False)

    def pause(mine: Key) -> Any:
        def step(docs: Docs) -> Changes[bool]:
            if any(docs[key] is not None for key in keys):
                return Changes(False)
            return Changes(True, {mine: paused})

        return step

    won = await asyncio.gather(*(store.transact(keys, pause(keys[n % 2])) for n in range(10)))
    assert sum(won) == 1
    assert sum(d is not None for d in (await store.get(keys)).values()) == 1


async def test_of_many_creators_one_wins_and_the_others_see_its_document(store: Store) -> None:
    key = Key(Kind.RUN, RUN.run_id)

    def create(name: str) -> Any:
        def step(docs: Docs) -> Changes[str]:
            known = docs[key]
            if known is not None:
                return Changes(f"saw {known.actor}")
            return Changes(f"made {name}", {key: replace(RUN, actor=name)}, frozenset({key}))

        return step

    results = await asyncio.gather(*(store.transact([key], create(f"n{n}")) for n in range(8)))
    winner = next(r for r in results if r.startswith("made")).removeprefix("made ")
    assert sorted(results) == sorted([f"made {winner}", *[f"saw {winner}"] * 7])
    stored = (await store.get([key]))[key]
    assert stored is not None
    assert stored.actor == winner


async def test_a_create_without_reading_is_run_again_on_what_is_there(store: Store) -> None:
    key = Key(Kind.RUN, RUN.run_id)
    await put_all(store, {key: RUN})

    def step(docs: Docs) -> Changes[str]:
        known = docs.get(key)
        if known is not None:
            return Changes(known.run_id, {LEFT: counter(1)})
        return Changes("made", {key: replace(RUN, actor="me")}, frozenset({key}))

    assert await store.transact([], step) == RUN.run_id
    assert await store.get([key, LEFT]) == {key: RUN, LEFT: counter(1)}


async def test_a_step_that_insists_on_creating_what_exists_is_a_bug(store: Store) -> None:
    key = Key(Kind.RUN, RUN.run_id)
    await put_all(store, {key: RUN})
    again = Changes(None, {key: replace(RUN, actor="me"), LEFT: counter(1)}, frozenset({key}))
    for keys in ([], [key]):
        with pytest.raises(Bug):
            await store.transact(keys, lambda _: again)
    assert await store.get([key, LEFT]) == {key: RUN, LEFT: None}


async def test_a_step_may_need_more_in_rounds(store: Store) -> None:
    chain = [Key(Kind.CONTROL, f"c{n}") for n in range(6)]
    await put_all(store, {key: Control(scope=f"c{n + 1}") for n, key in enumerate(chain[:-1])})

    def follow(docs: Docs) -> Changes[int] | NeedDocuments:
        last = list(docs)[-1]
        known = docs[last]
        if known is not None:
            return NeedDocuments((Key(Kind.CONTROL, known.scope),))
        return Changes(len(docs), {last: Control(scope="end")})

    assert await store.transact(chain[:1], follow) == 6
    assert (await store.get(chain[-1:]))[chain[-1]] == Control(scope="end")


async def test_a_step_that_never_decides_is_a_bug(store: Store) -> None:
    with pytest.raises(Bug):
        await store.transact([LEFT], lambda docs: NeedDocuments((LEFT,)))
    with pytest.raises(Bug):
        await store.transact([], lambda docs: NeedDocuments((Key(Kind.CONTROL, f"c{len(docs)}"),)))
    assert await store.transact([LEFT], increment(LEFT)) == 1


async def test_putting_back_what_was_read_is_harmless(store: Store) -> None:
    await put_all(store, {LEFT: counter(1)})

    def same(docs: Docs) -> Changes[None]:
        return Changes(None, {LEFT: docs[LEFT], RIGHT: TableDate(table="t", game_date="d")})

    await store.transact([LEFT], same)
    assert await store.get([LEFT, RIGHT]) == {
        LEFT: counter(1),
        RIGHT: TableDate(table="t", game_date="d"),
    }


async def test_a_cancelled_caller_harms_nobody(store: Store) -> None:
    tasks = [asyncio.ensure_future(store.transact([LEFT], increment(LEFT))) for _ in range(60)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    done = [r for r in results if isinstance(r, int)]
    assert len(done) >= 40
    assert all(isinstance(r, int | asyncio.CancelledError) for r in results)
    stored = count_of((await store.get([LEFT]))[LEFT])
    assert len(done) <= stored <= 60  # a cancelled one may have been committed whole
    assert await store.transact([LEFT], increment(LEFT)) == stored + 1


# --------------------------------------------------------------------------- documents


@pytest.mark.parametrize("kind", Kind)
async def test_every_kind_comes_back_as_it_was(store: Store, kind: Kind) -> None:
    document, key = SAMPLES[kind], Key(kind, "one")
    assert type(document) is TYPES[kind]
    assert decode(kind, encode(document)) == document
    await put_all(store, {key: document})
    assert (await store.get([key]))[key] == document
    assert (await store.find(Query(kind))).items == (("one", document),)


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind, fields in INDEXES.items() for field in fields]
)
async def test_every_indexed_field_finds_and_orders(store: Store, kind: Kind, field: str) -> None:
    document = SAMPLES[kind]
    await put_all(store, {Key(kind, name): document for name in "ab"})
    value = INDEXES[kind][field](document)
    assert value is not None
    for op, fits in [(Op.EQ, True), (Op.LE, True), (Op.GE, True), (Op.LT, False), (Op.GT, False)]:
        page = await store.find(Query(kind, (Where(field, op, value),), order=field))
        assert [id_ for id_, _ in page.items] == (["a", "b"] if fits else []), op
    page = await store.find(Query(kind, (Where(field, Op.IN, [value]),)))
    assert [id_ for id_, _ in page.items] == ["a", "b"]


@pytest.mark.parametrize("field", INDEXES[Kind.PARTITION])
@pytest.mark.parametrize("again", [False, True], ids=["in the same store", "after reopening"])
async def test_an_indexed_field_follows_its_document(
    outliving_factory: StoreFactory, field: str, again: bool
) -> None:
    """Each field changes alone, and back, and together with all others."""
    bare = Partition(processor="Other", game_date="2025-11-16", created_at=NOON)
    changes: dict[str, Any] = {
        "processor": {"processor": "Other"},
        "game_date": {"game_date": "2025-11-16"},
        "status": {"status": Status.COOLING},
        "wake_at": {"wake_at": None},
        "outbox_due": {"journal": Journal()},
        "paused": {"inputs": Inputs()},
        "registry_hash": {"registry_hash": "f11"},
        "watching": {"watching": False},
        "flags": {"flags": (Flag.QUIET,)},
        "progress": {"execution": Execution()},
    }
    key, of = Key(Kind.PARTITION, "p"), INDEXES[Kind.PARTITION][field]
    states = [PARTITION, replace(PARTITION, **changes[field]), PARTITION, bare, PARTITION]
    store = outliving_factory()
    await store.open()
    for n, state in enumerate(states):
        await store.transact([key], put({key: state}))
        if again:
            await store.close()
            store = outliving_factory()
            await store.open()
        found = await store.find(Query(Kind.PARTITION, (Where(field, Op.EQ, of(state)),)))
        assert found.items == (("p", state),)
        if n and of(states[n - 1]) != of(state):
            old = Where(field, Op.EQ, of(states[n - 1]))
            assert not (await store.find(Query(Kind.PARTITION, (old,)))).items
    await store.close()


IDS = [
    "plain",
    "nba_raw.nbac_gamebook_player_stats__2025-11-15__" + "x" * 600,
    "Réal‑Madrid 🏀 \u2028 ｆｕｌｌ",
    "quotes ' \" ; -- \\ %_ * [a-z]",
    " ends in a space ",
    "UPPER",
    "upper",
]


async def test_ids_are_kept_as_they_are(store: Store) -> None:
    docs = {Key(Kind.CONTROL, id_): Control(scope=id_) for id_ in IDS}
    await put_all(store, docs)
    assert await store.get(list(docs)) == docs
    page = await store.find(Query(Kind.CONTROL))
    assert {id_: d.scope for id_, d in page.items} == {id_: id_ for id_ in IDS}
    for id_ in IDS:
        page = await store.find(Query(Kind.CONTROL, (Where("id", Op.EQ, id_),)))
        assert [found for found, _ in page.items] == [id_]


async def test_an_id_that_is_no_text_is_bad_input(store: Store) -> None:
    key = Key(Kind.CONTROL, "half \ud83c")
    with pytest.raises(BadInput):
        await store.get([key])
    with pytest.raises(BadInput):
        await store.transact([key], increment(key))


async def test_a_large_document_comes_back(store: Store) -> None:
    key = Key(Kind.QUARANTINE, "large")
    large = replace(SAMPLES[Kind.QUARANTINE], raw=bytes(range(256)) * 1500)
    assert len(encode(large)) > 500_000
    await put_all(store, {key: large})
    assert (await store.get([key]))[key] == large


async def test_a_raw_message_keeps_every_byte(store: Store) -> None:
    docs: dict[Key, Document] = {
        Key(Kind.QUARANTINE, f"q{n}"): replace(SAMPLES[Kind.QUARANTINE], raw=raw)
        for n, raw in enumerate([b"", b"\x00", bytes(range(256)), b"\xff\xfe{}", b'"\\\n'])
    }
    await put_all(store, docs)
    for key, document in (await store.get(list(docs))).items():
        assert isinstance(document, Quarantined)
        assert document.raw == docs[key].raw


# --------------------------------------------------------------------------- finding


def partition(name: str, minutes: int | None, **changes: Any) -> Partition:
    wake_at = None if minutes is None else NOON + timedelta(minutes=minutes)
    made = Partition(processor=name, game_date="2025-11-15", created_at=NOON, wake_at=wake_at)
    return replace(made, **changes)


WAKES = {"a": 3, "b": None, "c": 1, "d": 3, "e": None, "f": 2, "g": 3, "h": 1}


@pytest.fixture
async def woken(store: Store) -> Store:
    await put_all(store, {Key(Kind.PARTITION, n): partition(f"P{n}", m) for n, m in WAKES.items()})
    return store


def ids(page: Page) -> str:
    return "".join(id_ for id_, _ in page.items)


@pytest.mark.parametrize(
    ("op", "minutes", "expected"),
    [
        (Op.EQ, 3, "adg"),
        (Op.LT, 3, "cfh"),
        (Op.LE, 2, "cfh"),
        (Op.GT, 2, "adg"),
        (Op.GE, 2, "adfg"),
        (Op.EQ, 9, ""),
    ],
)
async def test_find_filters_and_null_fits_no_comparison(
    woken: Store, op: Op, minutes: int, expected: str
) -> None:
    where = Where("wake_at", op, NOON + timedelta(minutes=minutes))
    assert ids(await woken.find(Query(Kind.PARTITION, (where,)))) == expected


async def test_find_combines_conditions(woken: Store) -> None:
    def query(*where: Where) -> Query:
        return Query(Kind.PARTITION, where)

    due = Where("wake_at", Op.LE, NOON + timedelta(minutes=2))
    assert ids(await woken.find(query(Where("wake_at", Op.EQ, None)))) == "be"
    assert ids(await woken.find(query(due, Where("processor", Op.GT, "Pc")))) == "fh"
    assert ids(await woken.find(query(Where("processor", Op.IN, ["Pa", "Pe", "no"])))) == "ae"
    assert ids(await woken.find(query(Where("processor", Op.IN, [])))) == ""
    assert ids(await woken.find(query(due, Where("status", Op.EQ, Status.WAITING)))) == "cfh"
    assert ids(await woken.find(query(Where("paused", Op.EQ, False)))) == "abcdefgh"


async def test_microseconds_are_distinguished(store: Store) -> None:
    step = timedelta(microseconds=1)
    docs = {Key(Kind.RUN, f"r{n}"): replace(RUN, fired_at=NOON + n * step) for n in range(3)}
    await put_all(store, docs)
    page = await store.find(Query(Kind.RUN, (Where("fired_at", Op.GT, NOON),), order="fired_at"))
    assert [id_ for id_, _ in page.items] == ["r1", "r2"]


ORDERS = [
    ("wake_at", False, "bechfadg"),
    ("wake_at", True, "gdafhceb"),
    ("id", False, "abcdefgh"),
    ("id", True, "hgfedcba"),
    ("processor", True, "hgfedcba"),
    ("game_date", False, "abcdefgh"),
    ("game_date", True, "hgfedcba"),
]


@pytest.mark.parametrize(("order", "descending", "expected"), ORDERS)
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 9])
async def test_pages_cover_everything_once_in_order(
    woken: Store, order: str, descending: bool, expected: str, limit: int
) -> None:
    got, pages = "", 0
    query = Query(Kind.PARTITION, order=order, descending=descending, limit=limit)
    while True:
        page = await woken.find(query)
        assert len(page.items) <= limit
        got, pages = got + ids(page), pages + 1
        if page.next_page_token is None:
            break
        query = replace(query, after=page.next_page_token)
    assert got == expected
    assert pages == -(-8 // limit)


async def test_pages_keep_their_filter_and_survive_changes(woken: Store) -> None:
    query = Query(
        Kind.PARTITION,
        (Where("processor", Op.LT, "Pg"),),
        order="wake_at",
        descending=True,
        limit=2,
    )
    page = await woken.find(query)
    assert ids(page) == "da"
    await put_all(woken, {Key(Kind.PARTITION, "z"): partition("PZ", 9)})  # before the place reached
    await put_all(woken, {Key(Kind.PARTITION, "d"): partition("Pd", 9)})
    rest = ""
    while page.next_page_token is not None:
        page = await woken.find(replace(query, after=page.next_page_token))
        rest += ids(page)
    assert rest == "fceb"


async def test_a_page_has_an_upper_bound(store: Store) -> None:
    await put_all(store, {Key(Kind.CONTROL, f"c{n:04}"): counter(n) for n in range(1003)})
    page = await store.find(Query(Kind.CONTROL, limit=5000))
    assert len(page.items) == 1000
    rest = await store.find(Query(Kind.CONTROL, limit=5000, after=page.next_page_token))
    assert [id_ for id_, _ in rest.items] == ["c1000", "c1001", "c1002"]
    assert rest.next_page_token is None


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_page_holds_something(store: Store, limit: int) -> None:
    with pytest.raises(BadInput):
        await store.find(Query(Kind.CONTROL, limit=limit))


def forged(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "token",
    [
        *("", "x", "é", "!!!!", "AAAA", "=" * 9),
        *(forged([]), forged(None), forged({"a": 1}), forged(1.5), forged("[" * 5000)),
        *(forged(["wake_at", 0, *rest]) for rest in ([[1], "a"], [1, 2], [10**30, "a"], [1.5, ""])),
        forged(["wake_at", 0, 1, "\ud800"]),
        base64.urlsafe_b64encode(b"[" * 99_000).decode(),
        base64.urlsafe_b64encode(b'["wake_at",0,1,"\xff"]').decode(),
    ],
)
async def test_a_bad_page_token_is_bad_input(woken: Store, token: str) -> None:
    with pytest.raises(BadInput):
        await woken.find(Query(Kind.PARTITION, order="wake_at", after=token))


async def test_a_token_of_another_order_is_bad_input(woken: Store) -> None:
    query = Query(Kind.PARTITION, order="wake_at", limit=2)
    token = (await woken.find(query)).next_page_token
    assert token is not None
    with pytest.raises(BadInput):
        await woken.find(replace(query, after=token, descending=True))
    with pytest.raises(BadInput):
        await woken.find(replace(query, after=token, order="processor"))


@pytest.mark.parametrize(
    "query",
    [
        Query(Kind.PARTITION, (Where("colour", Op.EQ, "red"),)),
        Query(Kind.PARTITION, order="revision"),
        Query(Kind.PARTITION, (Where("body", Op.EQ, b"{}"),)),
        Query(Kind.PARTITION, (Where("wake_at", Op.LT, None),)),
        Query(Kind.PARTITION, (Where("wake_at", Op.EQ, NOON.replace(tzinfo=None)),)),
    ],
    ids=["unknown field", "unindexed order", "the body", "less than null", "no zone"],
)
async def test_a_query_that_no_store_can_answer_is_a_bug(store: Store, query: Query) -> None:
    with pytest.raises(Bug):
        await store.find(query)


# --------------------------------------------------------------------------- grouping


def grouped_by_hand(partitions: Iterable[Partition], grouping: Grouping) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {}
    of = INDEXES[Kind.PARTITION]
    for p in partitions:
        found.setdefault(tuple(of[n](p) for n in grouping.by), []).append(of[grouping.of](p))
    return found


def in_order(groups: Groups) -> dict[Any, list[Any]]:
    return {by: sorted(values) for by, values in groups.items()}


SEASON = [
    replace(PARTITION, processor=f"P{n % 4} 🏀", game_date=f"2025-11-{10 + n // 4}", flags=flags)
    for n, flags in enumerate([(), (Flag.PAUSED,), (Flag.OVERDUE, Flag.PAUSED, Flag.QUIET)] * 8)
]


@pytest.mark.parametrize(
    ("grouping", "fits"),
    [
        (Grouping(("game_date", "progress", "status", "flags"), "processor"), SEASON),
        (Grouping(("status",), "game_date"), SEASON),
        (Grouping(("processor", "watching"), "paused"), SEASON),
        (
            Grouping(
                ("game_date", "progress"),
                "processor",
                (Where("game_date", Op.GE, "2025-11-11"), Where("game_date", Op.LT, "2025-11-13")),
            ),
            SEASON[4:12],
        ),
        (Grouping(("flags",), "processor", (Where("status", Op.EQ, "failed"),)), []),
        (Grouping(("flags",), "processor", (Where("status", Op.IN, ()),)), []),
    ],
)
async def test_partitions_are_grouped_by_what_is_indexed(
    store: Store, grouping: Grouping, fits: Sequence[Partition]
) -> None:
    await put_all(store, {Key(Kind.PARTITION, p.id): p for p in SEASON})
    assert in_order(await store.grouped(grouping)) == in_order(grouped_by_hand(fits, grouping))


async def test_a_grouping_follows_its_partitions(store: Store) -> None:
    grouping = Grouping(("progress", "flags"), "processor")
    assert await store.grouped(grouping) == {}
    for partition in (SEASON[2], replace(SEASON[2], execution=Execution(), flags=())):
        await store.transact(
            [Key(Kind.PARTITION, partition.id)], put({Key(Kind.PARTITION, partition.id): partition})
        )
        assert await store.grouped(grouping) == grouped_by_hand([partition], grouping)


async def test_a_grouping_looks_at_no_more_than_its_limit(store: Store) -> None:
    await put_all(store, {Key(Kind.PARTITION, p.id): p for p in SEASON})
    found = await store.grouped(Grouping(("status",), "processor", limit=5))
    assert [len(values) for values in found.values()] == [5]


@pytest.mark.parametrize("field", ["revision", "id", "wake_at"])
async def test_a_grouping_that_no_store_can_answer_is_a_bug(store: Store, field: str) -> None:
    for grouping in (Grouping((field,), "status"), Grouping(("status",), field)):
        with pytest.raises(Bug):
            await store.grouped(grouping)


# --------------------------------------------------------------------------- life


async def test_a_store_that_is_not_open_is_unavailable(store_factory: StoreFactory) -> None:
    store = store_factory()

    async def all_refuse() -> None:
        for call in (
            store.transact([LEFT], increment(LEFT)),
            store.get([LEFT]),
            store.find(Query(Kind.CONTROL)),
            store.ping(),
            store.prove_writable(),
        ):
            with pytest.raises(Unavailable):
                await call

    await all_refuse()
    await store.open()
    await store.ping()
    await store.close()
    await all_refuse()
    await store.close()


async def test_a_store_proves_that_it_can_be_written_and_not_again_at_once(
    store_factory: StoreFactory,
) -> None:
    store: Any = store_factory()
    await store.open()
    try:
        await store.prove_writable()
        proved = store.commits
        assert proved >= 1
        await store.prove_writable()
        assert store.commits == proved
        await store.transact([LEFT], increment(LEFT))
        await store.prove_writable()
        assert store.commits == proved + 1
    finally:
        await store.close()


async def test_closing_lets_what_waits_finish(outliving_factory: StoreFactory) -> None:
    store = outliving_factory()
    await store.open()
    tasks = [asyncio.ensure_future(store.transact([LEFT], increment(LEFT))) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    done = [r for r in results if not isinstance(r, Unavailable)]
    assert all(isinstance(r, int) for r in done)
    again = outliving_factory()
    await again.open()
    assert count_of((await again.get([LEFT]))[LEFT]) == len(done)
    await again.close()


async def test_what_was_acknowledged_is_there_after_reopening(
    outliving_factory: StoreFactory,
) -> None:
    docs = {Key(kind, "x"): document for kind, document in SAMPLES.items()}
    store = outliving_factory()
    await store.open()
    await put_all(store, docs)
    await store.close()
    again = outliving_factory()
    await again.open()
    assert await again.get(list(docs)) == docs
    assert await again.transact([LEFT], increment(LEFT)) == 1
    await again.close()


async def test_two_stores_over_one_state_see_each_other(outliving_factory: StoreFactory) -> None:
    first, second = outliving_factory(), outliving_factory()
    await first.open()
    await second.open()
    stores: Sequence[Store] = [first, second] * 10
    for n, store in enumerate(stores, start=1):
        assert await store.transact([LEFT], increment(LEFT)) == n
        for other in (first, second):
            assert count_of((await other.get([LEFT]))[LEFT]) == n
    await first.close()
    await second.close()


@pytest.mark.parametrize("declared", [True, False])
async def test_a_guard_holds_what_a_decision_rests_on(
    outliving_factory: StoreFactory, declared: bool
) -> None:
    """One writes a partition by what it read of a table's date, the other that by the partition.

    A step that declares no guards rests on everything that it read.
    """

    def guard(key: Key) -> frozenset[Key] | None:
        return frozenset({key}) if declared else None

    one, other = outliving_factory(), outliving_factory()
    await one.open()
    await other.open()
    try:
        for n in range(20):
            left, right = Key(Kind.PARTITION, f"p{n}"), Key(Kind.TABLE_DATE, f"t{n}")

            def decides(docs: Docs, left: Key = left, right: Key = right) -> Changes[None]:
                if docs[right] is not None:
                    return Changes(None)
                return Changes(None, {left: PARTITION}, guards=guard(right))

            def loads(docs: Docs, left: Key = left, right: Key = right) -> Changes[None]:
                if docs[left] is not None:
                    return Changes(None)
                return Changes(None, {right: SAMPLES[Kind.TABLE_DATE]}, guards=guard(left))

            await asyncio.gather(
                one.transact([left, right], decides), other.transact([left, right], loads)
            )
            docs = await one.get([left, right])
            assert (docs[left] is None) != (docs[right] is None)
    finally:
        await one.close()
        await other.close()
