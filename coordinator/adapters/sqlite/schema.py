"""The schema of the file, its migrations, and connections to it.

Owns what lies on disk and who may open it. Refuses a file of another program, untouched, and one
that a newer version wrote.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from coordinator.documents import INDEXES
from coordinator.errors import BadInput, Bug, Refused, Unavailable

APPLICATION_ID: Final = 0x434F4F52
"""``COOR`` in the file's header: what tells a coordinator's store from any other SQLite file."""

MEMORY: Final = ":memory:"

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
    "CREATE TABLE dates (id TEXT NOT NULL PRIMARY KEY, body BLOB NOT NULL)",
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


_VERSION_2: Final = (
    "ALTER TABLE partitions ADD COLUMN watching INTEGER",
    # Which of these only wait for their windows is found out when they are evaluated.
    """UPDATE partitions SET watching =
        status IN ('waiting', 'settling', 'succeeded', 'cooling', 'failed')""",
    """CREATE INDEX partitions_watching ON partitions (processor, game_date, id)
        WHERE watching <> 0""",
    'CREATE TABLE pending (id TEXT NOT NULL PRIMARY KEY, "open" INTEGER, body BLOB NOT NULL)',
    'CREATE INDEX pending_open ON pending ("open", id) WHERE "open" <> 0',
)


def _version_2(connection: sqlite3.Connection) -> None:
    for statement in _VERSION_2:
        connection.execute(statement)


class _Outcome(msgspec.Struct):
    status: str


class _Arrived(msgspec.Struct):
    arrivals: dict[str, msgspec.Raw] = {}


class _Version3(msgspec.Struct):
    """What of a partition's body version 3 keeps in columns."""

    flags: tuple[str, ...] = ()
    generation: int = 0
    live: msgspec.Raw = msgspec.Raw(b"null")
    outcome: _Outcome | None = None
    arrivals: dict[str, _Arrived] = {}

    @property
    def progress(self) -> int:
        outcome = self.outcome and self.outcome.status
        if outcome in ("success", "no_data", "skipped"):
            return 3
        if self.generation == 1 and (outcome or bytes(self.live) != b"null"):
            return 1
        if self.generation:
            return 2
        return int(any(table.arrivals for table in self.arrivals.values()))


def _version_3(connection: sqlite3.Connection) -> None:
    """Flags and progress as columns, and one index that says all that a grid shows."""
    decoder = msgspec.json.Decoder(_Version3)
    connection.execute("ALTER TABLE partitions ADD COLUMN flags TEXT")
    connection.execute("ALTER TABLE partitions ADD COLUMN progress INTEGER")
    ids = [id_ for (id_,) in connection.execute("SELECT id FROM partitions")]
    for id_ in ids:
        (body,) = connection.execute("SELECT body FROM partitions WHERE id = ?", (id_,)).fetchone()
        found = decoder.decode(body)
        flags = ",".join(f for f in found.flags if f != "paused")
        connection.execute(
            "UPDATE partitions SET flags = ?, progress = ? WHERE id = ?",
            (flags, found.progress, id_),
        )
    # It serves what the index that it replaces did.
    connection.execute("DROP INDEX partitions_game_date")
    connection.execute(
        "CREATE INDEX partitions_game_date "
        "ON partitions (game_date, progress, status, flags, processor)"
    )


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _version_1,
    _version_2,
    _version_3,
)
"""In order; the file's ``user_version`` is how many of them it has had. Never change one that was
released: append. All that are missing run in one transaction with the version."""


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the schema up to date, all or nothing. Raises ``Refused`` for one from the future."""
    if pragma(connection, "user_version") != len(MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = pragma(connection, "user_version")
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


def pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _refuse_foreign(connection: sqlite3.Connection, path: str) -> None:
    """Raise ``BadInput`` unless the file is empty or a coordinator's; change nothing in it."""
    try:
        ours = pragma(connection, "application_id") == APPLICATION_ID
        version = pragma(connection, "user_version")
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


def connect_writer(path: str, busy_timeout_seconds: float) -> sqlite3.Connection:
    """Open, check and migrate. Raises ``BadInput``, ``Refused``, ``Unavailable``."""
    if path != MEMORY:
        check_path(path)
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


def check_path(path: str) -> None:
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


def connect_reader(path: str, busy_timeout_seconds: float) -> sqlite3.Connection:
    try:
        connection = _connect(path, busy_timeout_seconds)
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        raise Unavailable(f"The store {path} cannot be opened: {error}.") from error
    return connection
