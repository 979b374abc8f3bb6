"""What only the SQLite store promises: its file, its commits, its threads, other processes."""

# ruff: noqa: ASYNC240 - a test may read its own small file between two awaits

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, closing
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from coordinator.adapters.sqlite import APPLICATION_ID, MEMORY, queries, schema
from coordinator.adapters.sqlite.schema import MIGRATIONS
from coordinator.core.choices import RunStatus
from coordinator.core.model import (
    GOOD_OUTCOMES,
    Control,
    Execution,
    Flag,
    Inputs,
    Outcome,
    Partition,
)
from coordinator.documents import INDEXES, AuditEntry, Progress, encode
from coordinator.errors import BadInput, Bug, Refused, Unavailable
from coordinator.ports import Changes, Document, Grouping, Key, Kind, Op, Query, Step, Where
from tests.contract.process import CALLERS, SHARED, add_one, pair
from tests.contract.samples import NOON, PARTITION, SAMPLES
from tests.contract.transacting import TransactingSqlite as SqliteStore

pytestmark = pytest.mark.anyio

CHECKOUT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store.sqlite")


@asynccontextmanager
async def opened(path: str, **options: Any) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def process(what: str, path: str, number: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.contract.process", what, path, str(number)]
    return subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)


def finish(child: subprocess.Popen[str]) -> str:
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    return out


async def shared(store: SqliteStore) -> int:
    known = (await store.get([SHARED]))[SHARED]
    return 0 if known is None else int(known.scope)


def write(key: Key, scope: str) -> Step[None]:
    return lambda docs: Changes(None, {key: Control(scope=scope)})


class Gate:
    """A step that holds the writer until it is let go, so that others gather behind it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go = threading.Event()

    def step(self, docs: Mapping[Key, Document | None]) -> Changes[None]:
        self.reached.set()
        assert self.go.wait(30)
        return Changes(None)

    async def held(self, store: SqliteStore) -> asyncio.Future[None]:
        held = asyncio.ensure_future(store.transact([], self.step))
        assert await asyncio.to_thread(self.reached.wait, 30)
        return held


# --------------------------------------------------------------------------- commits


async def test_concurrent_transactions_share_commits(path: str) -> None:
    async with opened(path) as store:
        keys = [Key(Kind.CONTROL, f"c{n}") for n in range(1000)]
        await asyncio.gather(*(store.transact([key], write(key, "x")) for key in keys))
        assert store.transactions == 1000
        assert store.commits <= 10
        assert 100 < store.batch_max <= 512
        assert store.waiting == 0


async def test_transactions_that_write_nothing_commit_nothing(path: str) -> None:
    async with opened(path) as store:
        await store.transact([SHARED], add_one)
        await store.transact([SHARED], lambda docs: Changes(None))
        await store.transact([SHARED], lambda docs: Changes(None, {SHARED: docs[SHARED]}))
        assert (store.commits, store.transactions) == (1, 3)


async def test_a_commit_is_bounded(path: str) -> None:
    async with opened(path, commit_max=10) as store:
        await asyncio.gather(*(store.transact([SHARED], add_one) for _ in range(95)))
        assert store.batch_max == 10
        assert store.commits >= 10
        assert await shared(store) == 95


async def test_too_many_waiting_is_unavailable(path: str) -> None:
    async with opened(path, waiting_max=5) as store:
        gate = Gate()
        held = await gate.held(store)
        tasks = [asyncio.ensure_future(store.transact([SHARED], add_one)) for _ in range(8)]
        await asyncio.sleep(0)
        assert store.waiting == 5
        gate.go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await held
        assert [type(r) for r in results] == [int] * 5 + [Unavailable] * 3
        assert await shared(store) == 5


async def test_one_bad_document_in_a_shared_commit_fails_alone(path: str) -> None:
    bad = AuditEntry(
        audit_id="a", at=NOON, actor="a", act="a", reason="r", detail={"what": object()}
    )
    async with opened(path) as store:
        gate = Gate()
        held = await gate.held(store)
        steps = [add_one] * 3 + [lambda docs: Changes(0, {Key(Kind.AUDIT, "a"): bad})] + [add_one]
        tasks = [asyncio.ensure_future(store.transact([SHARED], step)) for step in steps]
        await asyncio.sleep(0)
        gate.go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await held
        assert isinstance(results.pop(3), Bug)
        assert results == [1, 2, 3, 4]
        assert await shared(store) == 4


async def test_a_caller_cancelled_inside_a_commit_harms_nobody(path: str) -> None:
    async with opened(path) as store:
        first, second = Gate(), Gate()
        held = await first.held(store)
        behind = asyncio.ensure_future(store.transact([], second.step))
        tasks = [asyncio.ensure_future(store.transact([SHARED], add_one)) for _ in range(3)]
        await asyncio.sleep(0)
        first.go.set()
        assert await asyncio.to_thread(second.reached.wait, 30)  # all four are in one commit now
        tasks[0].cancel()
        second.go.set()
        async with asyncio.timeout(10):
            results = await asyncio.gather(held, behind, *tasks, return_exceptions=True)
        assert isinstance(results[2], asyncio.CancelledError)
        assert results[3:] == [2, 3]
        assert await shared(store) == 3


async def test_a_step_may_raise_anything(path: str) -> None:
    def stops(docs: Mapping[Key, Document | None]) -> Changes[None]:
        raise StopIteration

    async with opened(path) as store:
        async with asyncio.timeout(10):
            with pytest.raises(Bug, match="StopIteration"):
                await store.transact([], stops)
        assert await store.transact([SHARED], add_one) == 1


async def test_reads_and_the_event_loop_wait_for_no_writer(path: str) -> None:
    async with opened(path) as store:
        await store.transact([SHARED], add_one)
        gate = Gate()
        held = await gate.held(store)
        async with asyncio.timeout(5):
            assert await shared(store) == 1
            assert len((await store.find(Query(Kind.CONTROL))).items) == 1
            await store.ping()
        assert not held.done()
        gate.go.set()
        await held


async def test_documents_are_handed_out_as_the_same_objects(path: str) -> None:
    async with opened(path) as store:
        await store.transact([SHARED], add_one)
        first = await store.transact([SHARED], lambda docs: Changes(docs[SHARED]))
        second = await store.transact([SHARED], lambda docs: Changes(docs[SHARED]))
        assert first is second
        assert (store.cache_hits, store.cache_misses) == (2, 1)


async def test_what_is_not_there_is_looked_for_once_until_somebody_writes_it(path: str) -> None:
    async with opened(path) as store, opened(path) as other:
        for _ in range(3):
            assert await store.transact([SHARED], lambda docs: Changes(docs[SHARED])) is None
        assert (store.cache_hits, store.cache_misses) == (2, 1)
        await other.transact([SHARED], add_one)
        assert await store.transact([SHARED], add_one) == 2


async def test_the_ledger_takes_no_place_in_the_cache(path: str) -> None:
    key, entry = Key(Kind.EVENT, "e"), SAMPLES[Kind.EVENT]
    async with opened(path) as store:
        for known in (None, entry):
            found = await store.transact([key], lambda docs: Changes(docs[key], {key: entry}))
            assert found == known
        assert (store.cache_hits, store.cache_misses) == (0, 2)


@pytest.mark.parametrize("bound", [{"cache_documents": 3}, {"cache_bytes": 150}])
async def test_the_cache_is_bounded(path: str, bound: dict[str, int]) -> None:
    keys = [Key(Kind.CONTROL, f"c{n}") for n in range(10)]
    async with opened(path, **bound) as store:
        for n in range(3):
            for key in keys:
                await store.transact([key], write(key, f"{n}"))
        misses = store.cache_misses
        docs = await store.transact(keys, lambda docs: Changes(dict(docs)))
        assert all(document == Control(scope="2") for document in docs.values())
        assert store.cache_misses - misses >= 7


async def test_inline_keeps_the_order_of_calls() -> None:
    async with opened(MEMORY, inline=True) as store:
        threads = threading.active_count()
        order: list[int] = []

        async def caller(n: int) -> None:
            order.append(await store.transact([SHARED], add_one))

        await asyncio.gather(*(caller(n) for n in range(50)))
        assert order == list(range(1, 51))
        assert store.commits == 50
        assert threading.active_count() == threads


# --------------------------------------------------------------------------- the file


async def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    for bad in (str(tmp_path / "no" / "store.sqlite"), str(tmp_path), ""):
        with pytest.raises(BadInput):
            await SqliteStore(bad).open()
    assert list(tmp_path.iterdir()) == []


async def test_an_empty_file_becomes_a_store(path: str) -> None:
    Path(path).touch()
    async with opened(path) as store:
        assert await store.transact([SHARED], add_one) == 1
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert raw.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("inline", [False, True])
async def test_a_file_of_another_program_is_left_as_it_is(path: str, inline: bool) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE theirs (x)")
        raw.commit()
    before = Path(path).read_bytes()
    with pytest.raises(BadInput, match="another program"):
        await SqliteStore(path, inline=inline).open()
    assert Path(path).read_bytes() == before
    Path(path).write_text("dear diary " * 1000)
    with pytest.raises(BadInput, match="not a SQLite file"):
        await SqliteStore(path, inline=inline).open()
    assert Path(path).read_text().startswith("dear diary")


async def test_a_newer_schema_is_refused(path: str) -> None:
    async with opened(path) as store:
        await store.transact([SHARED], add_one)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(Refused, match="newer"):
        await SqliteStore(path).open()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    async with opened(path) as store:
        assert await shared(store) == 1


async def test_migrations_run_once_in_order_and_whole_or_not_at_all(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as store:
        await store.transact([SHARED], add_one)

    def second(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE second (x)")

    def third(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO second VALUES (1)")
        if failing:
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, second, third))
    failing = True
    with pytest.raises(Unavailable):
        await SqliteStore(path).open()
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert not raw.execute("SELECT 1 FROM sqlite_schema WHERE name = 'second'").fetchall()
    failing = False
    for _ in range(2):
        async with opened(path) as store:
            assert await shared(store) == 1
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 2,)
        assert raw.execute("SELECT count(*) FROM second").fetchone() == (1,)


def every_progress() -> Iterator[Partition]:
    """Partitions that differ in what a migration reads of them."""
    ended = Outcome(status=RunStatus.FAILED, generation=1, attempt=1, at=NOON)
    outcomes = [None, ended, *(replace(ended, status=s) for s in GOOD_OUTCOMES)]
    some = product((0, 1, 2), (None, PARTITION.live), outcomes, (PARTITION.inputs, Inputs()))
    for n, (generation, live, outcome, inputs) in enumerate(some):
        execution = Execution(generation=generation, live=live, outcome=outcome)
        flags = tuple(Flag)[: n % 7]
        yield replace(PARTITION, processor=f"P{n}", execution=execution, inputs=inputs, flags=flags)


async def test_partitions_of_an_older_file_are_indexed_as_new_ones_are(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = {p.id: p for p in every_progress()}
    assert {Progress.of(p) for p in stored.values()} == {*Progress}
    of = INDEXES[Kind.PARTITION]
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", MIGRATIONS[:2])
        names = [name for name in of if name not in ("flags", "progress")]
        known = {**INDEXES, Kind.PARTITION: {name: of[name] for name in names}}
        older.setattr(schema, "INDEXES", known)
        with closing(schema.connect_writer(path, 1)) as raw:
            columns, marks = ", ".join(names), ", ".join("?" * len(names))
            for id_, p in stored.items():
                cells = [queries.cell_of(of[name](p)) for name in names]
                raw.execute(
                    f"INSERT INTO partitions (id, body, {columns}) VALUES (?, ?, {marks})",
                    (id_, encode(p), *cells),
                )
    async with opened(path) as store:
        found = await store.grouped(Grouping(("processor", "flags", "progress"), "status"))
    assert {*found} == {(p.processor, of["flags"](p), of["progress"](p)) for p in stored.values()}


async def test_an_indexed_field_without_its_column_is_noticed(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {**INDEXES[Kind.CONTROL], "scope": lambda c: c.scope}
    monkeypatch.setattr(schema, "INDEXES", {**INDEXES, Kind.CONTROL: fields})
    with pytest.raises(Bug, match="controls"):
        await SqliteStore(path).open()


async def test_opening_waits_for_another_process_that_has_the_file(path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as raw:
        raw.execute("BEGIN IMMEDIATE")  # no busy handler covers the switch to the write-ahead log
        with pytest.raises(Unavailable, match="locked"):
            await SqliteStore(path, busy_timeout_seconds=0.1).open()
        letting_go = threading.Timer(0.3, raw.execute, ["ROLLBACK"])
        letting_go.start()
        async with opened(path) as store:
            assert await store.transact([SHARED], add_one) == 1
        letting_go.join()


async def test_a_file_that_was_moved_away_fails_the_ping(path: str) -> None:
    async with opened(path) as store:
        await store.transact([SHARED], add_one)
        await store.ping()
        Path(path).rename(path + ".old")
        with pytest.raises(Unavailable):
            await store.ping()
        Path(path).touch()
        with pytest.raises(Unavailable):
            await store.ping()
        Path(path + ".old").replace(path)
        await store.ping()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(Kind.PARTITION, (Where("wake_at", Op.LE, NOON),), "wake_at"), "wake_at"),
        (Query(Kind.PARTITION, (Where("outbox_due", Op.LE, NOON),), "outbox_due"), "outbox_due"),
        (Query(Kind.PARTITION, (Where("game_date", Op.EQ, "d"),)), "game_date"),
        (Query(Kind.EVENT, (Where("correlation_id", Op.EQ, "c"),)), "correlation_id"),
        (Query(Kind.RUN, (Where("processor", Op.EQ, "p"),)), "processor"),
        *(
            (Query(Kind.RUN, (Where("status", op, value), Where(field, Op.EQ, "p"))), field)
            for field in ("processor", "game_date")
            for op, value in ((Op.EQ, "success"), (Op.IN, ("success", "failed")))
        ),
        (Query(Kind.AUDIT, order="at", descending=True), "at"),
        (Query(Kind.QUARANTINE, order="received_at", after="token"), "received_at"),
        (Query(Kind.PARTITION, (Where("paused", Op.EQ, 1),)), "paused"),
        (Query(Kind.PENDING, (Where("open", Op.EQ, 1),), after="token"), "open"),
        (
            Query(
                Kind.PARTITION,
                (
                    Where("processor", Op.EQ, "p"),
                    Where("watching", Op.EQ, 1),
                    Where("game_date", Op.GT, "d"),
                ),
                order="game_date",
            ),
            "watching",
        ),
    ],
)
async def test_usual_queries_use_an_index(
    path: str, monkeypatch: pytest.MonkeyPatch, query: Query, index: str
) -> None:
    statements: list[str] = []
    monkeypatch.setattr(queries, "_from_token", lambda query, token: (1, "id"))
    async with opened(path, inline=True) as store:
        store._writer.connection().set_trace_callback(statements.append)
        await store.find(query)
        (sql,) = [statement for statement in statements if statement.startswith("SELECT")]
        plan = store._writer.connection().execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
    steps = [step[3] for step in plan]
    assert any(f"USING INDEX {query.kind.value}_{index} " in f"{step} " for step in steps), steps
    assert query.order == "id" or not any("USE TEMP B-TREE FOR ORDER BY" in s for s in steps), steps


# --------------------------------------------------------------------------- other processes


@pytest.mark.parametrize("by", [("progress",), ("progress", "status", "flags")])
async def test_a_grouping_by_dates_reads_one_index_in_its_order(
    path: str, by: tuple[str, ...]
) -> None:
    statements: list[str] = []
    between = (Where("game_date", Op.GE, "d"), Where("game_date", Op.LE, "e"))
    async with opened(path, inline=True) as store:
        connection = store._writer.connection()
        connection.set_trace_callback(statements.append)
        await store.grouped(Grouping(("game_date", *by), "processor", between))
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statements[-1]}").fetchall()
    steps = [step[3] for step in plan]
    assert any("USING COVERING INDEX partitions_game_date " in step for step in steps), steps
    assert not any("TEMP B-TREE" in step for step in steps), steps


async def test_processes_that_compete_lose_no_change(path: str) -> None:
    children = [process("increments", path, 150) for _ in range(3)]  # all create the file at once
    async with opened(path, busy_timeout_seconds=60) as store:
        last = 0
        for _ in range(100):
            count = await store.transact([SHARED], add_one)
            assert count > last
            last = count
            assert await shared(store) >= count
        assert [await asyncio.to_thread(finish, child) for child in children] == ["done\n"] * 3
        assert await shared(store) == 3 * 150 + 100
        assert await store.transact([SHARED], add_one) == 3 * 150 + 101


async def test_a_killed_process_loses_nothing_that_it_acknowledged(path: str) -> None:
    rng = random.Random(7)
    start = 0
    for _ in range(6):
        child = process("pairs", path, start)
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(rng.randint(1, 400))]
        child.send_signal(signal.SIGKILL)
        said += child.communicate(timeout=30)[0].splitlines()
        acknowledged = [tuple(map(int, line.split())) for line in said]
        async with opened(path) as store:
            for caller in range(CALLERS):
                counts = [count for who, count in acknowledged if who == caller]
                last = max(counts, default=start)
                control, table = (await store.get(pair(caller))).values()
                if control is None or table is None:
                    assert (control, table, counts) == (None, None, [])
                    continue
                assert control.scope == table.table
                assert int(control.scope) >= last
                logs = [Key(Kind.AUDIT, f"{caller}-{count}") for count in counts]
                assert None not in (await store.get(logs)).values()
                unborn = Key(Kind.AUDIT, f"{caller}-{int(control.scope) + 1}")
                assert (await store.get([unborn]))[unborn] is None
        start += 100_000
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_store_held_by_another_beyond_the_timeout_is_unavailable(path: str) -> None:
    async with opened(path, busy_timeout_seconds=0.1) as store:
        await store.transact([SHARED], add_one)
        with closing(sqlite3.connect(path, isolation_level=None)) as raw:
            raw.execute("BEGIN IMMEDIATE")
            results = await asyncio.gather(
                *(store.transact([SHARED], add_one) for _ in range(3)), return_exceptions=True
            )
            assert [type(r) for r in results] == [Unavailable] * 3
            assert await shared(store) == 1  # reading goes on
            with pytest.raises(Unavailable):
                await store.prove_writable()  # but it is not reported as ready
            raw.execute("ROLLBACK")
        await store.prove_writable()  # and it recovers without any write
        assert await store.transact([SHARED], add_one) == 2
        assert store.failed_commits >= 1


async def test_a_full_disk_is_unavailable_and_changes_nothing(path: str) -> None:
    assert await asyncio.to_thread(finish, process("full", path)) == "done\n"
    async with opened(path) as store:
        assert await shared(store) == 2


def lock(path: str) -> AbstractContextManager[None]:
    return SqliteStore(path).lock_for_serving()


def test_one_coordinator_serves_a_file_and_the_lock_dies_with_it(path: str) -> None:
    child = process("serve", path)
    assert child.stdout is not None
    assert child.stdout.readline() == "serving\n"
    with pytest.raises(Refused, match=f"process {child.pid}\\) is serving"), lock(path):
        pass
    child.kill()
    child.communicate(timeout=30)
    with lock(path), pytest.raises(Refused, match="Another coordinator"), lock(path):
        pass
    with lock(path):
        pass


def test_a_lock_knows_a_file_by_all_its_names(path: str, tmp_path: Path) -> None:
    link = tmp_path / "link.sqlite"
    link.symlink_to(path)
    with lock(path), pytest.raises(Refused), lock(str(link)):
        pass


def test_in_memory_there_is_nobody_to_exclude() -> None:
    with lock(MEMORY), lock(MEMORY):
        pass


def test_a_store_belongs_to_the_loop_that_opened_it(path: str) -> None:
    store = SqliteStore(path, inline=True)
    asyncio.run(store.open())
    with pytest.raises(Bug, match="event loop"):
        asyncio.run(store.ping())
    asyncio.run(store.close())


async def test_opening_twice_is_a_bug(path: str) -> None:
    async with opened(path) as store:
        with pytest.raises(Bug):
            await store.open()
