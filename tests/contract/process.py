"""Another process on the same file: ``python -m tests.contract.process WHAT PATH [NUMBER]``.

Not a test: test_sqlite.py starts it.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Mapping
from typing import Any

from coordinator.core.arrivals import TableDate
from coordinator.core.model import Control
from coordinator.documents import AuditEntry
from coordinator.errors import Unavailable
from coordinator.ports import Changes, Document, Key, Kind
from tests.contract.samples import NOON
from tests.contract.transacting import TransactingSqlite as SqliteStore

SHARED = Key(Kind.CONTROL, "shared")
CALLERS = 16


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def add_one(docs: Mapping[Key, Document | None]) -> Changes[int]:
    known = docs[SHARED]
    count = 1 if known is None else int(known.scope) + 1
    return Changes(count, {SHARED: Control(scope=str(count))})


async def increments(store: SqliteStore, number: int) -> None:
    """Add ``number`` to the shared counter, some at once and some one by one."""
    await asyncio.gather(*(store.transact([SHARED], add_one) for _ in range(number // 2)))
    for _ in range(number - number // 2):
        await store.transact([SHARED], add_one)


def pair(caller: int) -> tuple[Key, Key]:
    """Two documents of different kinds that every transaction of a caller changes together."""
    return Key(Kind.CONTROL, f"pair-{caller}"), Key(Kind.TABLE_DATE, f"pair-{caller}")


def write_pair(caller: int, count: int) -> Any:
    control, table = pair(caller)

    def step(docs: Mapping[Key, Document | None]) -> Changes[None]:
        log = Key(Kind.AUDIT, f"{caller}-{count}")
        entry = AuditEntry(audit_id=log.id, at=NOON, actor="a", act="write", reason="r" * 300)
        return Changes(
            None,
            {
                control: Control(scope=str(count)),
                table: TableDate(table=str(count), game_date="d" * 1500),
                log: entry,
            },
            frozenset({log}),
        )

    return step


async def pairs(store: SqliteStore, number: int) -> None:
    """Write pairs for ever; say ``caller count`` once each is durable. ``number``: where to start."""

    async def caller(which: int) -> None:
        count = number
        while True:
            count += 1
            await store.transact(list(pair(which)), write_pair(which, count))
            say(f"{which} {count}")

    async with asyncio.TaskGroup() as tasks:
        for which in range(CALLERS):
            tasks.create_task(caller(which))


async def full(store: SqliteStore, number: int) -> None:
    """Run into a disk that takes no more, then get room again."""
    await store.transact([SHARED], add_one)
    size = os.stat(f"{store.path}-wal").st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    results = await asyncio.gather(
        *(store.transact([SHARED], add_one) for _ in range(10)), return_exceptions=True
    )
    assert all(isinstance(r, Unavailable) for r in results), results
    (seen,) = (await store.get([SHARED])).values()
    assert seen == Control(scope="1"), seen
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert await store.transact([SHARED], add_one) == 2
    assert store.failed_commits >= 1


async def main(what: str, path: str, number: int) -> None:
    store = SqliteStore(path)
    if what == "serve":
        with store.lock_for_serving():
            say("serving")
            await asyncio.sleep(600)
    await store.open()
    try:
        await {"increments": increments, "pairs": pairs, "full": full}[what](store, number)
    finally:
        await store.close()
    say("done")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0))
