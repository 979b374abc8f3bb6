"""Where the processes of a world keep their state: one store for all, or a client each of a server.

``Shared`` is a store inside the world's own loop, such as SQLite in memory; ``firestore`` has the
other kind. Owns too what befalls a SQLite store for a while, and the limits of Firestore for worlds
that are played over another store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from coordinator.adapters.sqlite import MEMORY, SqliteStore
from coordinator.errors import Bug
from coordinator.ports import Document, Key, Store
from coordinator.simulation.clock import Turns, VirtualClock
from coordinator.simulation.faults import Faults

OnCommit = Callable[[Mapping[Key, Document]], None]
"""Called with what each transaction of a commit puts, in the order of the commits."""


class Stores(Protocol):
    """The stores of one world."""

    @property
    def turns(self) -> Turns | None:
        """The turns that their calls take, where they are clients of a server."""
        ...

    @property
    def reports_commits(self) -> bool:
        """Whether they report their commits themselves."""
        ...

    @property
    def trouble(self) -> Trouble | None:
        """What may befall the store itself; None where nothing can be done to it."""
        ...

    @property
    def processes(self) -> Sequence[int]:
        """How many processes share the state, to draw from."""
        ...

    @property
    def truth(self) -> Store:
        """What is committed, seen without faults."""
        ...

    async def open(self) -> None: ...

    async def of_process(self, clock: VirtualClock, faults: Faults, on_commit: OnCommit) -> Store:
        """An open store for a process that is being started."""
        ...

    async def close(self) -> None: ...

    def discard(self) -> None:
        """Throw the state away, once the world's loop has ended."""
        ...


class Shared:
    """``Stores`` that are one, inside the world's loop."""

    turns = None
    reports_commits = False
    processes = (1, 1, 2)

    def __init__(self, store: SqliteStore) -> None:
        self.truth: Store = store
        self.trouble = Trouble(store)

    async def open(self) -> None:
        """Open it."""
        await self.truth.open()

    async def of_process(self, clock: VirtualClock, faults: Faults, on_commit: OnCommit) -> Store:
        """The one store, which reports nothing."""
        return self.truth

    async def close(self) -> None:
        """Close it."""
        self.trouble.heal()
        await self.truth.close()

    def discard(self) -> None:
        """Nothing: whoever made the store owns it."""


class Trouble:
    """What befalls a SQLite file: its disk is full, another holds its lock, it cannot be written.

    SQLite itself refuses, for the reason that it would have in production. Only the lock on a store
    in memory, which nobody else can open, is refused in its place.
    """

    def __init__(self, store: SqliteStore) -> None:
        if not store.inline:
            raise Bug("a world's store runs on its loop: SqliteStore(path, inline=True)")
        self._store = store
        self._other: sqlite3.Connection | None = None
        self.kind: str | None = None

    def begin(self, kind: str) -> None:
        """Let one of ``faults.STORE_PERIODS`` begin; it lasts until ``heal``."""
        self.heal()
        self.kind = kind
        connection = self._store._writer.connection()
        if kind == "store_full":
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")
        elif kind == "store_read_only":
            connection.execute("PRAGMA query_only = ON")
        elif self._store.path == MEMORY:
            self._store._writer._connection = _Locked(connection)  # type: ignore[assignment]
        else:
            connection.execute(
                "PRAGMA busy_timeout = 0"
            )  # the virtual clock does not move while it waits
            self._other = sqlite3.connect(self._store.path, isolation_level=None)
            self._other.execute("BEGIN IMMEDIATE")

    def heal(self) -> None:
        """Let it end."""
        if self.kind is None:
            return
        self.kind = None
        if self._other is not None:
            self._other.close()
            self._other = None
        connection: Any = self._store._writer.connection()
        if isinstance(connection, _Locked):
            self._store._writer._connection = connection = connection.locked
        connection.execute(f"PRAGMA max_page_count = {PAGES_MAX}")
        connection.execute("PRAGMA query_only = OFF")


PAGES_MAX = 1_073_741_823
"""SQLite's own default of ``max_page_count``."""


class _Locked:
    """A connection whose write lock somebody else holds."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.locked = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self.locked, name)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """As the connection, but nobody may begin to write."""
        if sql == "BEGIN IMMEDIATE":
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            error.sqlite_errorname = "SQLITE_BUSY"
            raise error
        return self.locked.execute(sql, *parameters)
