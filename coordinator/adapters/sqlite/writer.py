"""The one connection that writes: batches of transactions, each batch one commit.

Owns the order of transactions, what a batch has read and will write, and the cache of decoded
documents. Refuses to know of threads (see ``jobs``).
"""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from coordinator.adapters.sqlite.jobs import Write, from_sqlite
from coordinator.adapters.sqlite.queries import UPSERT, Cell, Cells, body_of, cells_of, update
from coordinator.adapters.sqlite.schema import connect_writer, pragma
from coordinator.documents import check_changes, decode, encode
from coordinator.errors import Bug, CoordinatorError
from coordinator.ports import Changes, Document, Key, Kind, NeedDocuments

ROUNDS_MAX: Final = 16
"""How often one transaction's step may be called: more is a step that never decides."""


class _Held(NamedTuple):
    """A document as the file has it, None where it has none."""

    document: Document | None
    size: int
    """Bytes, encoded."""
    cells: Cells | None
    """None: not worked out yet."""


_NOTHING: Final = _Held(None, 0, None)
"""Most partitions have no pause, and every decision asks for one."""


class _Put(NamedTuple):
    """A document as it is to be written."""

    document: Document
    body: bytes
    cells: Cells

    @classmethod
    def of(cls, key: Key, document: Document) -> _Put:
        """Raise ``Bug`` where it cannot be stored: the fault of one transaction, not of the store."""
        try:
            key.id.encode()
            return cls(document, encode(document), cells_of(key.kind, document))
        except Exception as error:
            raise Bug(f"A document cannot be stored: {type(error).__name__}: {error}.") from error


class Cache:
    """The decoded documents used last, bounded by number and by their encoded bytes.

    Without the ledger's: of thousands hardly one is read again.
    """

    def __init__(self, documents_max: int, bytes_max: int) -> None:
        self._documents_max = documents_max
        self._bytes_max = bytes_max
        self._held: OrderedDict[Key, _Held] = OrderedDict()
        self._bytes = 0

    def get(self, key: Key) -> _Held | None:
        held = self._held.get(key)
        if held is not None:
            self._held.move_to_end(key)
        return held

    def put(self, key: Key, held: _Held) -> None:
        before = self._held.pop(key, None)
        self._bytes += held.size - (0 if before is None else before.size)
        self._held[key] = held
        while len(self._held) > self._documents_max or self._bytes > self._bytes_max:
            _, freed = self._held.popitem(last=False)
            self._bytes -= freed.size

    def clear(self) -> None:
        self._held.clear()
        self._bytes = 0


class _Batch:
    """What one commit has read and is about to write."""

    __slots__ = ("puts", "read")

    def __init__(self) -> None:
        self.read: dict[Key, _Held] = {}
        """As the file has it; a key that nobody requested is absent."""
        self.puts: dict[Key, _Put] = {}

    def write(self, connection: sqlite3.Connection) -> dict[Key, _Held]:
        """Write the documents; what the file has of them once committed."""
        rows: dict[str, list[tuple[Cell | bytes, ...]]] = {}
        written: dict[Key, _Held] = {}
        for key, put in self.puts.items():
            written[key] = _Held(put.document, len(put.body), put.cells)
            sql, row = self._statement(key, put.cells, put.body)
            rows.setdefault(sql, []).append(row)
        for sql, of_sql in rows.items():
            connection.executemany(sql, of_sql)
        return written

    def _statement(
        self, key: Key, cells: Cells, body: bytes
    ) -> tuple[str, tuple[Cell | bytes, ...]]:
        held = self.read.get(key)
        if held is None or held.document is None:
            return UPSERT[key.kind], (*cells, body, key.id)
        before = held.cells if held.cells is not None else cells_of(key.kind, held.document)
        if before == cells:
            return update(key.kind, ()), (body, key.id)
        changed = tuple([n for n, cell in enumerate(cells) if cell != before[n]])
        return update(key.kind, changed), (*[cells[n] for n in changed], body, key.id)


class Writer:
    """The one connection that writes, with its cache. Synchronous: one thread at a time."""

    def __init__(self, path: str, busy_timeout_seconds: float, cache: Cache) -> None:
        self.path = path
        self._busy_timeout_seconds = busy_timeout_seconds
        self._cache = cache
        self._connection: sqlite3.Connection | None = None
        self._data_version = -1
        self.commits = 0
        self.failed_commits = 0
        self.written_at: float | None = None
        """When a commit last wrote something, on the monotonic clock; None once one failed."""
        self.transactions = 0
        self.batch_max = 0
        self.cache_hits = 0
        self.cache_misses = 0

    def connection(self) -> sqlite3.Connection:
        """The connection, opened again where it was lost."""
        if self._connection is None:
            self._connection = connect_writer(self.path, self._busy_timeout_seconds)
            self._data_version = -1
        return self._connection

    def close(self) -> None:
        self._cache.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def commit(self, jobs: Sequence[Write]) -> None:
        """Run ``jobs`` in order inside one commit, and give each its value or error.

        When the commit fails each gets ``Unavailable``, also those whose step raised: what that
        step saw may never have been.
        """
        try:
            self._attempt(jobs)
        except sqlite3.Error as error:
            self._fail(jobs, from_sqlite(error, self.path))
        except CoordinatorError as error:  # the connection was lost and cannot be had again
            self._fail(jobs, error)
        else:
            self.transactions += len(jobs)
            self.batch_max = max(self.batch_max, len(jobs))

    def _fail(self, jobs: Sequence[Write], error: CoordinatorError) -> None:
        self.failed_commits += 1
        self.written_at = None
        for job in jobs:
            job.value = None
            job.error = type(error)(error.detail)
            job.error.__cause__ = error.__cause__

    def _attempt(self, jobs: Sequence[Write]) -> None:
        connection = self.connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = pragma(connection, "data_version")
            if version != self._data_version:
                self._cache.clear()
                self._data_version = version
            batch = _Batch()
            for job in jobs:
                self._run(connection, job, batch)
            written = batch.write(connection)
            connection.execute("COMMIT")
        except BaseException:
            self._undo(connection)
            raise
        if written:
            self.commits += 1
            self.written_at = time.monotonic()
        for key, held in written.items():
            if key.kind is not Kind.EVENT:
                self._cache.put(key, held)

    def _undo(self, connection: sqlite3.Connection) -> None:
        """Forget what was not committed; a connection that cannot is given up."""
        self._cache.clear()
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._connection = None
            connection.close()

    def _run(self, connection: sqlite3.Connection, job: Write, batch: _Batch) -> None:
        job.value, job.error = None, None
        try:
            job.value = self._settle(connection, job, batch)
        except sqlite3.Error:
            raise
        except StopIteration as error:  # no future can carry it
            job.error = Bug("a transaction's step raised StopIteration")
            job.error.__cause__ = error
        except Exception as error:  # noqa: BLE001 - it is handed to the caller
            job.error = error

    def _settle(self, connection: sqlite3.Connection, job: Write, batch: _Batch) -> Any:
        """Call the step until it decides, and take its changes into ``batch``."""
        docs: dict[Key, Document | None] = {}
        missing: Iterable[Key] = job.transaction.keys
        for _ in range(ROUNDS_MAX):
            for key in missing:
                docs[key] = self._read(connection, key, batch)
            answer: Changes[Any] | NeedDocuments = job.transaction.step(docs.copy())
            if isinstance(answer, NeedDocuments):
                missing = [key for key in answer.keys if key not in docs]
                if not missing:
                    raise Bug("a step needs only documents that it was given")
                continue
            missing = [key for key in answer.creates if key not in docs]
            for key in missing:
                docs[key] = self._read(connection, key, batch)
            taken = [key for key in answer.creates if docs[key] is not None]
            if not taken:
                check_changes(answer, docs)
                changed = [(k, d) for k, d in answer.puts.items() if d is not docs.get(k)]
                batch.puts |= {k: _Put.of(k, d) for k, d in changed}
                return answer.result
            if not set(taken) <= set(missing):
                raise Bug(f"a step creates what it was shown to exist: {taken}")
        raise Bug(f"a step has not decided after {ROUNDS_MAX} calls")

    def _read(self, connection: sqlite3.Connection, key: Key, batch: _Batch) -> Document | None:
        put = batch.puts.get(key)
        if put is not None:
            return put.document
        held = self._cache.get(key)
        if held is not None:
            self.cache_hits += 1
        elif key in batch.read:
            held = batch.read[key]
        else:
            self.cache_misses += 1
            body = body_of(connection, key)
            held = _NOTHING if body is None else _Held(decode(key.kind, body), len(body), None)
            if key.kind is not Kind.EVENT:
                self._cache.put(key, held)
        batch.read[key] = held
        return held.document
