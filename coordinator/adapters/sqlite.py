"""The embedded store: one SQLite file, durable, with grouped commits.

Owns the schema and its migrations, the writer's queue and the cache of decoded documents. Refuses
to know what documents mean (see ``documents``) or when to retry (the caller's word).

How it works:

- One writer. All transactions that wait while it is busy run, one after the other, inside the next
  ``BEGIN IMMEDIATE … COMMIT``, and share its one fsync; nothing lingers for company. Each sees what
  those before it wrote, so the order is serial. Callers hear of their result after the commit.
- Documents are immutable, so the writer keeps those it decoded and hands out the same objects.
  ``PRAGMA data_version`` tells when another process wrote; then they are dropped.
- Reads outside transactions go over connections of their own and wait for nobody (WAL).
- ``inline`` runs everything on the event loop's thread, one commit per transaction: the same order
  of calls gives the same order of commits, which simulations need.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import functools
import json
import os
import queue
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, cast

from coordinator.documents import INDEXES, TYPES, Indexed, decode, encode
from coordinator.errors import BadInput, Bug, CoordinatorError, Refused, Unavailable
from coordinator.ports import Changes, Document, Key, Kind, Need, Op, Page, Query, Step, Where

T = TypeVar("T")

APPLICATION_ID: Final = 0x434F4F52
"""``COOR`` in the file's header: what tells a coordinator's store from any other SQLite file."""

ROUNDS_MAX: Final = 16
"""How often one transaction's step may be called: more is a step that never decides."""

PAGE_MAX: Final = 1000
"""The most documents that one ``find`` returns, whatever its limit."""

MEMORY: Final = ":memory:"

# --------------------------------------------------------------------------- schema

# Instants are integer microseconds since 1970 UTC, so that they sort. Bodies are too large for
# WITHOUT ROWID to pay, except in the two small tables. A page's tie-breaker is the id, so an index
# whose values repeat carries it.
_VERSION_1: Final = (
    """CREATE TABLE partitions (
        id TEXT NOT NULL PRIMARY KEY, processor TEXT, game_date TEXT, status TEXT,
        wake_at INTEGER, outbox_due INTEGER, paused INTEGER, registry_hash TEXT,
        body BLOB NOT NULL)""",
    "CREATE INDEX partitions_processor ON partitions (processor, game_date)",
    "CREATE INDEX partitions_game_date ON partitions (game_date, id)",
    "CREATE INDEX partitions_status ON partitions (status, game_date)",
    "CREATE INDEX partitions_wake_at ON partitions (wake_at) WHERE wake_at IS NOT NULL",
    "CREATE INDEX partitions_outbox_due ON partitions (outbox_due) WHERE outbox_due IS NOT NULL",
    "CREATE INDEX partitions_paused ON partitions (paused, id) WHERE paused <> 0",
    "CREATE INDEX partitions_registry_hash ON partitions (registry_hash, id)",
    """CREATE TABLE table_dates (
        id TEXT NOT NULL PRIMARY KEY, "table" TEXT, game_date TEXT, body BLOB NOT NULL)""",
    'CREATE INDEX table_dates_table ON table_dates ("table", game_date)',
    "CREATE INDEX table_dates_game_date ON table_dates (game_date)",
    """CREATE TABLE events (
        id TEXT NOT NULL PRIMARY KEY, "table" TEXT, game_date TEXT, received_at INTEGER,
        correlation_id TEXT, body BLOB NOT NULL)""",
    'CREATE INDEX events_table ON events ("table", game_date)',
    "CREATE INDEX events_game_date ON events (game_date, received_at)",
    "CREATE INDEX events_received_at ON events (received_at)",
    """CREATE INDEX events_correlation_id ON events (correlation_id, received_at)
        WHERE correlation_id IS NOT NULL""",
    """CREATE TABLE calendar (
        id TEXT NOT NULL PRIMARY KEY, game_date TEXT, games_count INTEGER, body BLOB NOT NULL)
        WITHOUT ROWID""",
    "CREATE INDEX calendar_game_date ON calendar (game_date)",
    """CREATE TABLE runs (
        id TEXT NOT NULL PRIMARY KEY, processor TEXT, game_date TEXT, status TEXT,
        fired_at INTEGER, correlation_id TEXT, body BLOB NOT NULL)""",
    "CREATE INDEX runs_processor ON runs (processor, game_date)",
    "CREATE INDEX runs_game_date ON runs (game_date, fired_at)",
    "CREATE INDEX runs_status ON runs (status, fired_at)",
    "CREATE INDEX runs_fired_at ON runs (fired_at)",
    """CREATE INDEX runs_correlation_id ON runs (correlation_id, fired_at)
        WHERE correlation_id IS NOT NULL""",
    """CREATE TABLE controls (
        id TEXT NOT NULL PRIMARY KEY, resume_pending INTEGER, body BLOB NOT NULL)
        WITHOUT ROWID""",
    """CREATE TABLE quarantine (
        id TEXT NOT NULL PRIMARY KEY, received_at INTEGER, state TEXT, body BLOB NOT NULL)""",
    "CREATE INDEX quarantine_received_at ON quarantine (received_at)",
    "CREATE INDEX quarantine_state ON quarantine (state, received_at)",
    """CREATE TABLE audit (
        id TEXT NOT NULL PRIMARY KEY, "at" INTEGER, actor TEXT, processor TEXT, game_date TEXT,
        body BLOB NOT NULL)""",
    'CREATE INDEX audit_at ON audit ("at")',
    'CREATE INDEX audit_actor ON audit (actor, "at")',
    'CREATE INDEX audit_processor ON audit (processor, game_date, "at")',
    'CREATE INDEX audit_game_date ON audit (game_date, "at")',
    """CREATE TABLE backfills (
        id TEXT NOT NULL PRIMARY KEY, created_at INTEGER, state TEXT, body BLOB NOT NULL)""",
    "CREATE INDEX backfills_created_at ON backfills (created_at)",
    "CREATE INDEX backfills_state ON backfills (state, created_at)",
    """CREATE TABLE registries (
        id TEXT NOT NULL PRIMARY KEY, first_used_at INTEGER, "current" INTEGER,
        body BLOB NOT NULL)""",
    "CREATE INDEX registries_first_used_at ON registries (first_used_at)",
)


def _version_1(connection: sqlite3.Connection) -> None:
    for statement in _VERSION_1:
        connection.execute(statement)


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_version_1,)
"""In order; the file's ``user_version`` is how many of them it has had. Never change one that was
released: append. All that are missing run in one transaction with the version."""


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the schema up to date, all or nothing. Raises ``Refused`` for one from the future."""
    if _pragma(connection, "user_version") != len(MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = _pragma(connection, "user_version")
            if version > len(MIGRATIONS):
                raise Refused(
                    f"{path} was written by a newer coordinator (schema {version}; this one knows "
                    f"up to {len(MIGRATIONS)}). Serve it with that version, or name another file.",
                    code="newer_schema",
                )
            for migration in MIGRATIONS[version:]:
                migration(connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    for kind, fields in INDEXES.items():
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({kind.value})")}
        if columns != {"id", "body", *fields}:
            raise Bug(f"the table {kind.value} has not the index fields of documents.INDEXES")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _refuse_foreign(connection: sqlite3.Connection, path: str) -> None:
    """Raise ``BadInput`` unless the file is empty or a coordinator's; change nothing in it."""
    try:
        ours = _pragma(connection, "application_id") == APPLICATION_ID
        version = _pragma(connection, "user_version")
        objects = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise
        raise BadInput(
            f"{path} is not a SQLite file. Name the coordinator's own file, or one that does not "
            "exist yet.",
            code="foreign_file",
        ) from error
    if not ours and (version or objects):
        raise BadInput(
            f"{path} is a SQLite file of another program and was left as it is. Name the "
            "coordinator's own file, or one that does not exist yet.",
            code="foreign_file",
        )


def _connect(path: str, busy_timeout_seconds: float) -> sqlite3.Connection:
    """A connection in autocommit mode, whose transactions are begun by hand."""
    return sqlite3.connect(
        path,
        timeout=busy_timeout_seconds,
        isolation_level=None,
        check_same_thread=False,  # each is used by one thread at a time, which need not have made it
        cached_statements=256,
    )


def _connect_writer(path: str, busy_timeout_seconds: float) -> sqlite3.Connection:
    """Open, check and migrate. Raises ``BadInput``, ``Refused``, ``Unavailable``."""
    if path != MEMORY:
        _check_path(path)
    connection = None
    try:
        connection = _connect(path, busy_timeout_seconds)
        _refuse_foreign(connection, path)
        if path != MEMORY:
            _to_wal(connection, path, busy_timeout_seconds)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")  # macOS: an fsync alone is no promise
            connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages of 4 KiB
            connection.execute(f"PRAGMA journal_size_limit = {64 * 1024 * 1024}")
        connection.execute("PRAGMA cache_size = -16384")  # KiB
        _migrate(connection, path)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise Unavailable(f"The store {path} cannot be opened: {error}.") from error
    except BaseException:
        if connection is not None:
            connection.close()
        raise
    return connection


def _check_path(path: str) -> None:
    if not path:
        raise BadInput("The store needs a path, as in sqlite:var/coordinator.sqlite.")
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        raise BadInput(f"The folder {folder} of the store does not exist. Create it first.")
    if Path(path).is_dir():
        raise BadInput(f"{path} is a folder. Name a file in it.")


def _to_wal(connection: sqlite3.Connection, path: str, busy_timeout_seconds: float) -> None:
    """Switch the journal. SQLite calls no busy handler here, so wait for others by hand."""
    give_up_at = time.monotonic() + busy_timeout_seconds
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            if time.monotonic() >= give_up_at:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise Unavailable(
                f"{path} lies on a file system that cannot share memory, which the write-ahead "
                "log needs. Put it on a local disk."
            )
        return


def _connect_reader(path: str, busy_timeout_seconds: float) -> sqlite3.Connection:
    try:
        connection = _connect(path, busy_timeout_seconds)
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        raise Unavailable(f"The store {path} cannot be opened: {error}.") from error
    return connection


# --------------------------------------------------------------------------- rows

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Cell = str | int | None
Cells = tuple[Cell, ...]
"""A document's index values as SQLite keeps them, in the order of ``documents.INDEXES``."""


def _cell(value: Indexed) -> Cell:
    """An index value as SQLite keeps it. Raises ``Bug`` for an instant without a zone."""
    if value is None or type(value) is str or type(value) is int:
        return value
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise Bug(f"an indexed instant has no zone: {value.isoformat()}")
        since = value - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return str(value) if isinstance(value, str) else int(value)


_FIELDS: Final = {kind: tuple(fields.values()) for kind, fields in INDEXES.items()}


def _cells(kind: Kind, document: Document) -> Cells:
    return tuple([_cell(of(document)) for of in _FIELDS[kind]])


def _quoted(name: str) -> str:
    return f'"{name}"'


def _upsert(kind: Kind) -> str:
    names = [_quoted(name) for name in (*INDEXES[kind], "body", "id")]
    updates = ", ".join(f"{name} = excluded.{name}" for name in names[:-1])
    marks = ", ".join("?" * len(names))
    return (
        f"INSERT INTO {kind.value} ({', '.join(names)}) VALUES ({marks}) "
        f"ON CONFLICT (id) DO UPDATE SET {updates}"
    )


_UPSERT: Final = {kind: _upsert(kind) for kind in Kind}


@functools.cache
def _update(kind: Kind, changed: tuple[int, ...]) -> str:
    """SQLite rewrites the index of every column that is set, so only those that differ are."""
    names = tuple(INDEXES[kind])
    sets = ", ".join(f"{_quoted(names[n])} = ?" for n in changed)
    return f"UPDATE {kind.value} SET {sets}{', ' if sets else ''}body = ? WHERE id = ?"


_SELECT: Final = {kind: f"SELECT body FROM {kind.value} WHERE id = ?" for kind in Kind}


def _body(connection: sqlite3.Connection, key: Key) -> bytes | None:
    """The stored bytes under ``key``. Raises ``BadInput`` for an id that is no Unicode text."""
    try:
        row = connection.execute(_SELECT[key.kind], (key.id,)).fetchone()
    except UnicodeEncodeError as error:
        raise BadInput(f"{key.id!r} holds half a character and cannot be an id.") from error
    return None if row is None else row[0]


def _get(connection: sqlite3.Connection, keys: Iterable[Key]) -> dict[Key, Document | None]:
    """The documents under ``keys`` as of one instant."""
    found: dict[Key, Document | None] = {}
    connection.execute("BEGIN")
    try:
        for key in keys:
            body = _body(connection, key)
            found[key] = None if body is None else decode(key.kind, body)
    finally:
        connection.execute("ROLLBACK")
    return found


# --------------------------------------------------------------------------- queries


def _token(query: Query, value: Cell, id_: str) -> str:
    data = json.dumps([query.order, int(query.descending), value, id_], separators=(",", ":"))
    return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")


def _from_token(query: Query, token: str) -> tuple[Cell, str]:
    """Where the page before ended. Raises ``BadInput`` for anything that ``_token`` did not make."""
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        order, descending, value, id_ = json.loads(base64.b64decode(padded, b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise _bad_token() from error
    fits = [order, descending] == [query.order, int(query.descending)]
    if not fits or not isinstance(id_, str) or not isinstance(value, str | int | None):
        raise _bad_token()
    return value, id_


def _bad_token() -> BadInput:
    return BadInput(
        "The page token is not one that this listing gave out. Start again without it, with the "
        "same order.",
        code="bad_page_token",
    )


def _condition(kind: Kind, where: Where) -> tuple[str, list[Any]]:
    """One condition in SQL with its parameters. Raises ``Bug`` for a field that is not indexed."""
    column = _column(kind, where.field)
    if where.op is Op.IN:
        cells = [_cell(value) for value in where.value]
        if None in cells:
            raise Bug(f"{where.field}: null fits no list; ask for it alone, with EQ")
        return f"{column} IN (SELECT value FROM json_each(?))", [json.dumps(cells)]
    cell = _cell(where.value)
    if cell is None:
        if where.op is not Op.EQ:
            raise Bug(f"{where.field}: null is neither more nor less than anything")
        return f"{column} IS NULL", []
    return f"{column} {where.op.value} ?", [cell]


def _column(kind: Kind, field: str) -> str:
    if field != "id" and field not in INDEXES[kind]:
        raise Bug(f"{kind.value} has no indexed field {field}")
    return _quoted(field)


def _past(query: Query, value: Cell, id_: str) -> tuple[str, list[Any]]:
    """The rows after (value, id) in the query's order; null comes before everything else."""
    column = _column(query.kind, query.order)
    beyond = "<" if query.descending else ">"
    if query.order == "id":
        return f"id {beyond} ?", [id_]
    if value is not None:
        past = f"({column}, id) {beyond} (?, ?)"
        return (f"({past} OR {column} IS NULL)" if query.descending else past), [value, id_]
    past = f"({column} IS NULL AND id {beyond} ?)"
    return (past if query.descending else f"({past} OR {column} IS NOT NULL)"), [id_]


def _find(connection: sqlite3.Connection, query: Query) -> Page:
    if query.limit < 1:
        raise BadInput(f"A page holds at least one document, not {query.limit}.")
    limit = min(query.limit, PAGE_MAX)
    order = _column(query.kind, query.order)
    conditions = [_condition(query.kind, where) for where in query.where]
    if query.after is not None:
        conditions.append(_past(query, *_from_token(query, query.after)))
    direction = "DESC" if query.descending else "ASC"
    by = f"{order} {direction}" + ("" if query.order == "id" else f", id {direction}")
    where = " AND ".join(sql for sql, _ in conditions)
    sql = (
        f"SELECT id, body, {order} FROM {query.kind.value}"
        f"{' WHERE ' + where if where else ''} ORDER BY {by} LIMIT ?"
    )
    parameters = [value for _, values in conditions for value in values]
    try:
        rows = connection.execute(sql, (*parameters, limit + 1)).fetchall()
    except (OverflowError, UnicodeEncodeError) as error:
        raise BadInput(f"A value that was asked for cannot be compared: {error}.") from error
    more = len(rows) > limit
    rows = rows[:limit]
    return Page(
        items=tuple((id_, decode(query.kind, body)) for id_, body, _ in rows),
        next_page_token=_token(query, rows[-1][2], rows[-1][0]) if more else None,
    )


# --------------------------------------------------------------------------- the writer


class _Job:
    """Something that a caller waits for."""

    __slots__ = ("error", "future", "value")

    def __init__(self, future: asyncio.Future[Any] | None) -> None:
        self.future = future
        self.value: Any = None
        self.error: Exception | None = None

    def settle(self) -> None:
        """Tell the caller, on its loop; one that was cancelled hears nothing."""
        if self.future is None or self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.value)

    def answer(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


class _Transaction(_Job):
    __slots__ = ("keys", "step")

    def __init__(
        self, keys: Sequence[Key], step: Step[Any], future: asyncio.Future[Any] | None = None
    ) -> None:
        super().__init__(future)
        self.keys = keys
        self.step = step


class _Read(_Job):
    __slots__ = ("work",)

    def __init__(
        self,
        work: Callable[[sqlite3.Connection], Any],
        future: asyncio.Future[Any] | None = None,
    ) -> None:
        super().__init__(future)
        self.work = work

    def run(self, connection: sqlite3.Connection, path: str) -> None:
        try:
            self.value = self.work(connection)
        except sqlite3.Error as error:
            self.error = _from_sqlite(error, path)
        except Exception as error:  # noqa: BLE001 - it is handed to the caller
            self.error = error


class _Unwritable(Exception):
    """A document of the batch cannot be stored: the fault of one transaction, not of the store."""


def _from_sqlite(error: sqlite3.Error, path: str) -> CoordinatorError:
    ours = sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.IntegrityError
    made: CoordinatorError
    if isinstance(error, ours):
        made = Bug(f"The store {path} was misused: {error}.")
    else:
        made = Unavailable(f"The store {path} is out of reach: {error}. Nothing was changed.")
    made.__cause__ = error
    return made


class _Held(NamedTuple):
    """A document as the file has it."""

    document: Document
    size: int
    """Bytes, encoded."""
    cells: Cells | None
    """None: not worked out yet."""


class _Cache:
    """The decoded documents used last, bounded by number and by their encoded bytes."""

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
        self.read: dict[Key, _Held | None] = {}
        """As the file has it; a key that nobody asked for is absent."""
        self.puts: dict[Key, Document] = {}

    def write(self, connection: sqlite3.Connection) -> dict[Key, _Held]:
        """Write the documents; what the file has of them once committed.

        Raises ``_Unwritable`` where one cannot be stored.
        """
        rows: dict[str, list[tuple[Cell | bytes, ...]]] = {}
        written: dict[Key, _Held] = {}
        try:
            for key, document in self.puts.items():
                body = encode(document)
                cells = _cells(key.kind, document)
                written[key] = _Held(document, len(body), cells)
                sql, row = self._statement(key, cells, body)
                rows.setdefault(sql, []).append(row)
            for sql, of_sql in rows.items():
                connection.executemany(sql, of_sql)
        except sqlite3.DataError as error:
            raise _Unwritable(str(error)) from error
        except sqlite3.Error:
            raise
        except Exception as error:
            raise _Unwritable(f"{type(error).__name__}: {error}") from error
        return written

    def _statement(
        self, key: Key, cells: Cells, body: bytes
    ) -> tuple[str, tuple[Cell | bytes, ...]]:
        held = self.read.get(key)
        if held is None:
            return _UPSERT[key.kind], (*cells, body, key.id)
        before = held.cells if held.cells is not None else _cells(key.kind, held.document)
        if before == cells:
            return _update(key.kind, ()), (body, key.id)
        changed = tuple([n for n, cell in enumerate(cells) if cell != before[n]])
        return _update(key.kind, changed), (*[cells[n] for n in changed], body, key.id)


class _Writer:
    """The one connection that writes, with its cache. Synchronous: one thread at a time."""

    def __init__(self, path: str, busy_timeout_seconds: float, cache: _Cache) -> None:
        self.path = path
        self._busy_timeout_seconds = busy_timeout_seconds
        self._cache = cache
        self._connection: sqlite3.Connection | None = None
        self._data_version = -1
        self.commits = 0
        self.failed_commits = 0
        self.transactions = 0
        self.batch_max = 0
        self.cache_hits = 0
        self.cache_misses = 0

    def connection(self) -> sqlite3.Connection:
        """The connection, opened anew where it was lost."""
        if self._connection is None:
            self._connection = _connect_writer(self.path, self._busy_timeout_seconds)
            self._data_version = -1
        return self._connection

    def close(self) -> None:
        self._cache.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def commit(self, jobs: Sequence[_Transaction]) -> None:
        """Run ``jobs`` in order inside one commit, and give each its value or error.

        When the commit fails each gets ``Unavailable``, also those whose step raised: what that
        step saw may never have been.
        """
        try:
            self._attempt(jobs)
        except _Unwritable as error:
            if len(jobs) > 1:  # find the culprit; the others are not to suffer
                for job in jobs:
                    self.commit([job])
                return
            jobs[0].error = Bug(f"A document cannot be stored: {error}.")
            jobs[0].error.__cause__ = error.__cause__
        except sqlite3.Error as error:
            self._fail(jobs, _from_sqlite(error, self.path))
        except CoordinatorError as error:  # the connection was lost and cannot be had again
            self._fail(jobs, error)
        else:
            self.transactions += len(jobs)
            self.batch_max = max(self.batch_max, len(jobs))

    def _fail(self, jobs: Sequence[_Transaction], error: CoordinatorError) -> None:
        self.failed_commits += 1
        for job in jobs:
            job.value = None
            job.error = type(error)(error.detail)
            job.error.__cause__ = error.__cause__

    def _attempt(self, jobs: Sequence[_Transaction]) -> None:
        connection = self.connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = _pragma(connection, "data_version")
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
        for key, held in written.items():
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

    def _run(self, connection: sqlite3.Connection, job: _Transaction, batch: _Batch) -> None:
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

    def _settle(self, connection: sqlite3.Connection, job: _Transaction, batch: _Batch) -> Any:
        """Call the step until it decides, and take its changes into ``batch``."""
        docs: dict[Key, Document | None] = {}
        missing: Iterable[Key] = job.keys
        for _ in range(ROUNDS_MAX):
            for key in missing:
                docs[key] = self._read(connection, key, batch)
            answer: Changes[Any] | Need = job.step(docs.copy())
            if isinstance(answer, Need):
                missing = [key for key in answer.keys if key not in docs]
                if not missing:
                    raise Bug("a step needs only documents that it was given")
                continue
            missing = [key for key in answer.creates if key not in docs]
            for key in missing:
                docs[key] = self._read(connection, key, batch)
            taken = [key for key in answer.creates if docs[key] is not None]
            if not taken:
                _check(answer)
                for key, document in answer.puts.items():
                    if document is not docs.get(key):
                        batch.puts[key] = document
                return answer.result
            if not set(taken) <= set(missing):
                raise Bug(f"a step creates what it was shown to exist: {taken}")
        raise Bug(f"a step has not decided after {ROUNDS_MAX} calls")

    def _read(self, connection: sqlite3.Connection, key: Key, batch: _Batch) -> Document | None:
        document = batch.puts.get(key)
        if document is not None:
            return document
        held = self._cache.get(key)
        if held is not None:
            self.cache_hits += 1
        elif key in batch.read:
            held = batch.read[key]
        else:
            self.cache_misses += 1
            body = _body(connection, key)
            if body is not None:
                held = _Held(decode(key.kind, body), len(body), None)
                self._cache.put(key, held)
        batch.read[key] = held
        return None if held is None else held.document


def _check(changes: Changes[Any]) -> None:
    """Raise ``Bug`` for changes that no store could keep."""
    for key, document in changes.puts.items():
        if not isinstance(document, TYPES[key.kind]):
            raise Bug(f"{key.kind.value} cannot hold a {type(document).__name__}")
    if not changes.creates <= changes.puts.keys():
        raise Bug("a step creates a document that it does not put")


# --------------------------------------------------------------------------- threads


class _Lane:
    """A thread that opens a connection, takes jobs in batches, and closes when told to."""

    def __init__(
        self,
        name: str,
        jobs: queue.SimpleQueue[_Job | None],
        batch_max: int,
        handle: Callable[[list[_Job]], None],
        open_: Callable[[], object],
        close: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs = jobs
        self._batch_max = batch_max
        self._handle = handle
        self._open = open_
        self._close = close
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _main(self) -> None:
        opened = _Job(self.opened)
        try:
            self._open()
        except Exception as error:  # noqa: BLE001 - it is handed to the caller
            opened.error = error
        self._tell([opened])
        if opened.error is None:
            self._serve()
        self._close()
        self._tell([_Job(self.closed)])

    def _serve(self) -> None:
        going = True
        while going:
            batch, going = self._take()
            if batch:
                try:
                    self._handle(batch)
                except BaseException as error:  # noqa: BLE001 - else every later caller hangs
                    for job in batch:
                        job.error = Bug(f"The store failed: {error!r}.")
                self._tell(batch)

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait for a job, then take all that wait with it; and whether more may come."""
        batch: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            if job.future is None or not job.future.cancelled():
                batch.append(job)
            if len(batch) >= self._batch_max:
                return batch, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _tell(self, jobs: Sequence[_Job]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and its waiters with it
            self._loop.call_soon_threadsafe(_settle_all, jobs)


def _settle_all(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        job.settle()


# --------------------------------------------------------------------------- the store


class SqliteStore:
    """``ports.Store`` in one SQLite file, or in memory.

    ``path`` is a file in a folder that exists, or ``:memory:``. ``inline`` runs everything on the
    event loop's thread, for simulations. ``commit_max`` is how many transactions share a commit at
    most, ``waiting_max`` how many may wait before callers get ``Unavailable``. To be used from one
    event loop.

    A caller that is cancelled leaves a transaction that is committed whole or not at all; others
    are not touched. Where the disk fails in the middle of a commit, ``Unavailable`` is answered and
    the file is rolled back; only a machine that loses power right then may find it committed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        inline: bool = False,
        busy_timeout_seconds: float = 10.0,
        commit_max: int = 512,
        waiting_max: int = 50_000,
        cache_documents: int = 4096,
        cache_bytes: int = 64 * 1024 * 1024,
        readers: int = 2,
    ) -> None:
        self.path = os.fspath(path)
        self.inline = inline
        self._busy_timeout_seconds = busy_timeout_seconds
        self._commit_max = commit_max
        self._waiting_max = waiting_max
        self._readers = 0 if inline or self.path == MEMORY else readers
        self._writer = _Writer(
            self.path, busy_timeout_seconds, _Cache(cache_documents, cache_bytes)
        )
        self._lanes: list[_Lane] = []
        self._writes: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = False
        self._inode: tuple[int, int] | None = None

    # counters, for /metrics

    @property
    def commits(self) -> int:
        """Commits that wrote something, since the start."""
        return self._writer.commits

    @property
    def failed_commits(self) -> int:
        """Commits whose callers all got ``Unavailable``."""
        return self._writer.failed_commits

    @property
    def transactions(self) -> int:
        """Transactions that were decided, also those that wrote nothing."""
        return self._writer.transactions

    @property
    def batch_max(self) -> int:
        """The most transactions that shared one commit."""
        return self._writer.batch_max

    @property
    def waiting(self) -> int:
        """Transactions that wait for the writer now."""
        return self._writes.qsize()

    @property
    def cache_hits(self) -> int:
        """Documents that transactions found decoded."""
        return self._writer.cache_hits

    @property
    def cache_misses(self) -> int:
        """Documents that transactions looked for in the file."""
        return self._writer.cache_misses

    # life

    async def open(self) -> None:
        """Open or create the file, and bring its schema up to date.

        Raises ``BadInput`` for a path that cannot be a store (no such folder, a file of another
        program), ``Refused`` for one that a newer version wrote, ``Unavailable`` otherwise.
        """
        if self._open:
            raise Bug("the store is open already")
        self._loop = asyncio.get_running_loop()
        if self.inline:
            self._writer.connection()
        else:
            await self._start()
        self._open = True
        if self.path != MEMORY:
            try:
                self._inode = self._identity()
            except Unavailable:
                await self.close()
                raise

    async def _start(self) -> None:
        try:
            self._lanes.append(
                _Lane(
                    "store-writer",
                    self._writes,
                    self._commit_max,
                    self._handle_writes,
                    self._writer.connection,
                    self._writer.close,
                )
            )
            await self._lanes[0].opened
            for number in range(self._readers):
                reader = _Reader(self.path, self._busy_timeout_seconds)
                lane = _Lane(
                    f"store-reader-{number}",
                    self._reads,
                    1,
                    reader.handle,
                    reader.open,
                    reader.close,
                )
                self._lanes.append(lane)
                await lane.opened
        except BaseException:
            await self._stop()
            raise

    async def close(self) -> None:
        """Let everything that waits finish, then close. Closing twice is harmless."""
        if not self._open:
            return
        self._open = False
        if self.inline:
            self._writer.close()
        else:
            await self._stop()

    async def _stop(self) -> None:
        lanes, self._lanes = self._lanes, []
        self._writes.put(None)
        for _ in lanes[1:]:
            self._reads.put(None)
        for lane in lanes:
            if not lane.opened.done():
                lane.opened.cancel()
            await lane.closed
            lane.join()
        # A lane that never opened took no sentinel.
        self._writes, self._reads = queue.SimpleQueue(), queue.SimpleQueue()

    # the port

    async def transact(self, keys: Sequence[Key], step: Step[T]) -> T:
        """Read ``keys``, call ``step``, and commit what it returns; durable when this returns.

        Raises what ``step`` raises (then it wrote nothing), ``Unavailable`` when the store cannot
        be reached or too many wait (then nothing was changed), and ``Bug`` for a step that does
        not decide, creates what it was shown to exist, or writes what cannot be stored.
        """
        self._check_open()
        if self.inline:
            await asyncio.sleep(0)
            self._check_open()
            job = _Transaction(keys, step)
            self._writer.commit([job])
            await asyncio.sleep(0)
            return cast(T, job.answer())
        if self._writes.qsize() >= self._waiting_max:
            raise Unavailable(f"{self._waiting_max} transactions wait already. Try again later.")
        future = asyncio.get_running_loop().create_future()
        self._writes.put(_Transaction(keys, step, future))
        return cast(T, await future)

    async def get(self, keys: Sequence[Key]) -> Mapping[Key, Document | None]:
        """The committed documents under ``keys`` as of one instant, None where there is none.

        Raises ``Unavailable``, and ``Bug`` for a document that cannot be read.
        """
        wanted = tuple(keys)
        return cast(
            Mapping[Key, Document | None], await self._read(lambda sqlite: _get(sqlite, wanted))
        )

    async def find(self, query: Query) -> Page:
        """One page of committed documents, in order, null before everything else.

        A page holds at most ``PAGE_MAX`` documents, whatever ``query.limit``. Raises ``BadInput``
        for a limit below one or a page token that is not of this order, ``Bug`` for a field that
        is not indexed, ``Unavailable``.
        """
        return cast(Page, await self._read(lambda sqlite: _find(sqlite, query)))

    async def ping(self) -> None:
        """Prove that the store can be read, and that its file is still the one that was opened."""
        await self._read(self._prove)

    def _prove(self, connection: sqlite3.Connection) -> None:
        _pragma(connection, "schema_version")
        if self._inode is not None and self._identity() != self._inode:
            raise Unavailable(
                f"{self.path} was moved or replaced while it was served. Start again on the file "
                "that is meant."
            )

    async def _read(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        self._check_open()
        if self.inline:
            await asyncio.sleep(0)
            self._check_open()
            job = _Read(work)
            self._run_read(job)
            return job.answer()
        future = asyncio.get_running_loop().create_future()
        # In memory there is one connection only; its reads queue with the writes.
        (self._reads if self._readers else self._writes).put(_Read(work, future))
        return await future

    def _handle_writes(self, batch: list[_Job]) -> None:
        transactions = [job for job in batch if isinstance(job, _Transaction)]
        if transactions:
            self._writer.commit(transactions)
        for job in batch:
            if isinstance(job, _Read):
                self._run_read(job)

    def _run_read(self, job: _Read) -> None:
        try:
            connection = self._writer.connection()
        except CoordinatorError as error:
            job.error = error
        else:
            job.run(connection, self.path)

    def _check_open(self) -> None:
        if not self._open:
            raise Unavailable(f"The store {self.path} is not open.")
        if self._loop is not asyncio.get_running_loop():
            raise Bug("the store is used from another event loop than the one that opened it")

    def _identity(self) -> tuple[int, int]:
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be found any more: {error}.") from error
        return found.st_dev, found.st_ino

    # serving alone

    @contextlib.contextmanager
    def lock_for_serving(self) -> Iterator[None]:
        """Be the only coordinator that serves this file, as long as the context lasts.

        The lock lies on ``PATH.lock`` and ends with the process, however that ends. The command
        line may still write beside it. Raises ``Refused`` when another process holds it,
        ``Unavailable`` when the file cannot be locked. In memory there is nobody to exclude.
        """
        if self.path == MEMORY:
            yield
            return
        _check_path(self.path)
        import fcntl  # not on Windows, where the rest works

        name = f"{os.path.realpath(self.path)}.lock"
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise Unavailable(f"{name} cannot be opened: {error}.") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                raise Refused(
                    f"Another coordinator (process {holder or 'unknown'}) is serving {self.path}. "
                    "Stop it first, or serve another file.",
                    code="already_served",
                ) from error
            except OSError as error:
                raise Unavailable(f"{name} cannot be locked: {error}.") from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)


class _Reader:
    """A connection that only reads."""

    def __init__(self, path: str, busy_timeout_seconds: float) -> None:
        self._path = path
        self._busy_timeout_seconds = busy_timeout_seconds
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        self._connection = _connect_reader(self._path, self._busy_timeout_seconds)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def handle(self, jobs: Sequence[_Job]) -> None:
        assert self._connection is not None
        for job in jobs:
            assert isinstance(job, _Read)
            job.run(self._connection, self._path)
