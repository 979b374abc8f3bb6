"""The warehouse port and its DuckDB implementation.

Owns: running SQL written in BigQuery's dialect, replacing a date's rows in one transaction, and
the fence that keeps an older generation from overwriting a newer one. Refuses: knowing what any
table means, deciding anything, reading a clock.

Two traps that shape the SQL: in DuckDB a division by zero is infinite, so every division is
SAFE_DIVIDE; and TIMESTAMP_DIFF counts boundaries, so no ages are computed in SQL.
"""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import duckdb
import sqlglot
import structlog
from sqlglot import exp

from processors.errors import RowError, StaleGenerationError, WarehouseError
from processors.schema import Catalog, Table

log = structlog.get_logger(__name__)

Row = dict[str, Any]

IDLE_SECONDS = 0.05
"""How long a shared file is kept open for a next call."""
HELD_SECONDS_MOST = 1.0
"""How long a shared file is kept open from one call to the next."""
BUSY_LOG_SECONDS = 15.0
"""How often the log says that somebody waits for a shared file."""
TURN_SECONDS = 0.02
"""How often a process that waits for a shared file tries."""

LOCKED = "Could not set lock on file"
"""How DuckDB says that another process has a file open; other errors do not pass by waiting."""

FENCE_DDL = (
    "CREATE TABLE IF NOT EXISTS nba_orchestration.partition_writes "
    "(table_name STRING, game_date DATE, generation INT64, row_count INT64, written_at TIMESTAMP)"
)


@dataclass(frozen=True)
class Replaced:
    """How many rows a replacement deleted and inserted."""

    deleted: int
    inserted: int


class Warehouse(Protocol):
    """What processors and loads need of a warehouse. Safe to use from several threads."""

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> list[Row]:
        """Rows of a SELECT in BigQuery's dialect; named parameters are written `@name`."""
        ...

    def row_count(self, table: str, game_date: date) -> int:
        """How many rows `table` holds for `game_date`."""
        ...

    def replace_date(
        self,
        table: str,
        game_date: date,
        select_sql: str,
        params: Mapping[str, Any],
        *,
        generation: int,
        computed_at: datetime,
        before_commit: Callable[[], None] | None = None,
    ) -> int:
        """Replace the date's rows with those of `select_sql`, in one transaction.

        `generation` (the fencing number) and `computed_at` are added to every row. A
        `before_commit` that raises undoes everything. Returns the number of rows now there.

        Raises StaleGenerationError where a newer generation already wrote this table and date,
        RowError where the rows break a rule of the table: its key is not unique or not whole, a
        game has too many rows, a row is of another date.
        """
        ...

    def replace_rows(
        self,
        table: str,
        game_date: date,
        rows: Sequence[Sequence[Any]],
        *,
        game_ids: Sequence[str] | None = None,
    ) -> Replaced:
        """Replace the date's rows, or only those of `game_ids`, with `rows`, in one transaction.

        `rows` are in the order of the table's columns. Raises RowError, and replaces nothing, where
        the date would then break a rule of the table (see replace_date), or a row is of another
        game than `game_ids`.
        """
        ...

    def close(self) -> None:
        """Release the warehouse; using it afterwards is an error."""
        ...


class _DuckDBTables(ABC):
    """Tables in DuckDB, wherever the connection to them comes from.

    Writes take turns behind one lock, since two transactions that touch one table can conflict
    there; reads use their own cursor and see the last commit.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._writing = threading.Lock()

    @abstractmethod
    def _cursor(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A cursor of one's own, closed afterwards."""

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> list[Row]:
        """See Warehouse.query."""
        with self._cursor() as cursor:
            _run(cursor, sql, params or {})
            names = [column[0] for column in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def row_count(self, table: str, game_date: date) -> int:
        """See Warehouse.row_count."""
        name = self._table(table).name
        with self._cursor() as cursor:
            return _count(cursor, name, game_date)

    def replace_date(
        self,
        table: str,
        game_date: date,
        select_sql: str,
        params: Mapping[str, Any],
        *,
        generation: int,
        computed_at: datetime,
        before_commit: Callable[[], None] | None = None,
    ) -> int:
        """See Warehouse.replace_date."""
        declared = self._table(table)
        computed = [name for name in declared.columns if name not in ("generation", "computed_at")]
        names = ", ".join(computed)
        insert = (
            f"INSERT INTO {table} ({names}, generation, computed_at) "
            f"SELECT {names}, @generation, @computed_at FROM (\n{select_sql}\n) AS computed"
        )
        stamped = {
            **params,
            "game_date": game_date,
            "generation": generation,
            "computed_at": computed_at,
        }
        with self._transaction() as cursor:
            self._check_fence(cursor, table, game_date, generation)
            cursor.execute(f"DELETE FROM {table} WHERE game_date = ?", [game_date])
            inserted = int(_run(cursor, insert, stamped).fetchall()[0][0])
            rows = _count(cursor, table, game_date)
            if rows != inserted:
                raise RowError(
                    table,
                    f"{inserted - rows} rows",
                    "game_date",
                    "another date",
                    f"the rows of a run for {game_date} must be of that date",
                )
            _check_rows(cursor, declared, game_date)
            _raise_fence(cursor, table, game_date, generation, rows, computed_at)
            if before_commit is not None:
                before_commit()
        return rows

    def replace_rows(
        self,
        table: str,
        game_date: date,
        rows: Sequence[Sequence[Any]],
        *,
        game_ids: Sequence[str] | None = None,
    ) -> Replaced:
        """See Warehouse.replace_rows."""
        declared = self._table(table)
        _check_scope(declared, game_date, rows, game_ids)
        where = "game_date = ?"
        args: list[Any] = [game_date]
        if game_ids is not None:
            where += " AND list_contains(?, game_id)"
            args.append(list(game_ids))
        with self._transaction() as cursor:
            deleted = cursor.execute(f"DELETE FROM {table} WHERE {where}", args).fetchall()[0][0]
            if rows:
                _bulk_insert(cursor, declared, rows)
            _check_rows(cursor, declared, game_date)
        return Replaced(deleted=int(deleted), inserted=len(rows))

    def _table(self, name: str) -> Table:
        table = self._catalog.get(name)
        if table is None:
            raise WarehouseError(f"table {name!r} is not in the catalog of this warehouse")
        return table

    def _check_fence(
        self, cursor: duckdb.DuckDBPyConnection, table: str, game_date: date, generation: int
    ) -> None:
        # The rows themselves count beside the fence, so that rows from elsewhere are fenced too.
        held = cursor.execute(
            "SELECT greatest((SELECT max(generation) FROM nba_orchestration.partition_writes"
            f" WHERE table_name = ? AND game_date = ?), (SELECT max(generation) FROM {table}"
            " WHERE game_date = ?))",
            [table, game_date, game_date],
        ).fetchall()[0][0]
        if held is not None and held > generation:
            raise StaleGenerationError(table, game_date, generation, int(held))

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._writing, self._cursor() as cursor:
            cursor.begin()
            try:
                yield cursor
            except BaseException:
                cursor.rollback()
                raise
            cursor.commit()


class DuckDBWarehouse(_DuckDBTables):
    """A warehouse in one DuckDB file (or in memory), for one process with many threads.

    DuckDB gives a file to one process at a time.
    """

    def __init__(
        self, path: str | Path = ":memory:", *, catalog: Catalog, threads: int = 1
    ) -> None:
        """Open `path` and create every table of `catalog` that is missing.

        `threads` is what one query may use; one is fastest for rows counted in thousands.
        """
        super().__init__(catalog)
        self._root = _connect(str(path), catalog, threads)

    def close(self) -> None:
        """See Warehouse.close."""
        with self._writing:
            self._root.close()

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with closing(self._root.cursor()) as cursor:
            yield cursor


class SharedDuckDBWarehouse(_DuckDBTables):
    """A warehouse in one DuckDB file that several processes take turns with.

    DuckDB gives a file to one process at a time, so it is open only while it is used: it is let go
    when a call is not followed by another at once, and after a second in any case. Other processes
    get their turn then, also those that only load or read. Every call raises WarehouseError where
    the file does not become free.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        catalog: Catalog,
        threads: int = 1,
        wait_seconds: float = math.inf,
    ) -> None:
        """Nothing is opened yet. `wait_seconds` is how long a call waits for its turn.

        By default it waits as long as its run may take, and the log says who holds the file.
        """
        super().__init__(catalog)
        self._path = str(path)
        self._threads = threads
        self._wait_seconds = wait_seconds
        self._lock = threading.RLock()
        self._root: duckdb.DuckDBPyConnection | None = None
        self._opened_at = 0.0
        self._users = 0
        self._timer: threading.Timer | None = None

    def release(self) -> None:
        """Let go of the file now, unless it is in use."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._root is not None and not self._users:
                self._root.close()
                self._root = None

    def close(self) -> None:
        """See Warehouse.close."""
        self.release()

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._root is None:
                self._root = self._open()
                self._opened_at = time.monotonic()
            root = self._root
            self._users += 1
        try:
            with closing(root.cursor()) as cursor:
                yield cursor
        finally:
            self._used()

    def _used(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users or self._path == ":memory:":
                return
            if time.monotonic() - self._opened_at < HELD_SECONDS_MOST:
                self._timer = threading.Timer(IDLE_SECONDS, self.release)
                self._timer.daemon = True
                self._timer.start()
                return
            self.release()
        time.sleep(TURN_SECONDS)  # who waits for the file tries this often

    def _open(self) -> duckdb.DuckDBPyConnection:
        began_at = logged_at = time.monotonic()
        while True:
            try:
                return _connect(self._path, self._catalog, self._threads)
            except duckdb.IOException as error:
                if LOCKED not in str(error):
                    raise
                now = time.monotonic()
                if now - logged_at > BUSY_LOG_SECONDS:
                    logged_at = now
                    log.warning("warehouse_busy", seconds=round(now - began_at), error=str(error))
                if now - began_at > self._wait_seconds:
                    raise WarehouseError(
                        f"{self._path} did not become free within {self._wait_seconds:g} s; "
                        f"end what holds it open: {error}"
                    ) from error
            time.sleep(TURN_SECONDS)


def _connect(path: str, catalog: Catalog, threads: int) -> duckdb.DuckDBPyConnection:
    """Open a file and create every table that is missing."""
    root = duckdb.connect(path, config={"threads": threads})
    root.execute("SET GLOBAL TimeZone = 'UTC'")
    for dataset in sorted({"nba_orchestration", *(table.dataset for table in catalog)}):
        root.execute(f"CREATE SCHEMA IF NOT EXISTS {dataset}")
    for ddl in (FENCE_DDL, *(table.ddl() for table in catalog)):
        root.execute(to_duckdb(ddl).sql)
    return root


@dataclass(frozen=True)
class Statement:
    """A statement in DuckDB's dialect and the names of the parameters it uses."""

    sql: str
    params: frozenset[str]


@lru_cache(maxsize=256)
def to_duckdb(sql: str) -> Statement:
    """Transpile one statement from BigQuery's dialect to DuckDB's; results are cached.

    Raises WarehouseError where the text is not exactly one statement that can be read.
    """
    try:
        trees = sqlglot.parse(sql, read="bigquery")
    except sqlglot.ParseError as error:
        raise WarehouseError(f"cannot read this SQL as BigQuery's: {error}") from error
    if len(trees) != 1 or trees[0] is None:
        raise WarehouseError(f"expected one SQL statement, found {len(trees)}")
    names = frozenset(parameter.name for parameter in trees[0].find_all(exp.Parameter))
    return Statement(trees[0].sql(dialect="duckdb", comments=False), names)


def _run(
    cursor: duckdb.DuckDBPyConnection, sql: str, params: Mapping[str, Any]
) -> duckdb.DuckDBPyConnection:
    statement = to_duckdb(sql)
    missing = statement.params - params.keys()
    if missing:
        raise WarehouseError(f"SQL parameters without a value: {', '.join(sorted(missing))}")
    return cursor.execute(statement.sql, {name: params[name] for name in statement.params})


def _count(cursor: duckdb.DuckDBPyConnection, table: str, game_date: date) -> int:
    counted = cursor.execute(f"SELECT count(*) FROM {table} WHERE game_date = ?", [game_date])
    return int(counted.fetchall()[0][0])


def _check_scope(
    table: Table,
    game_date: date,
    rows: Sequence[Sequence[Any]],
    game_ids: Sequence[str] | None,
) -> None:
    """Refuse rows that a later replacement of the same date and games would not replace."""
    names = list(table.columns)
    day, game = names.index("game_date"), names.index("game_id")
    for number, row in enumerate(rows, start=1):
        if row[day] != game_date:
            rule = f"these rows replace those of {game_date}; load each date by itself"
            raise RowError(table.name, f"row {number}", "game_date", str(row[day]), rule)
        if game_ids is not None and row[game] not in game_ids:
            rule = f"these rows replace those of {', '.join(game_ids)[:200]}; name this game too"
            raise RowError(table.name, f"row {number}", "game_id", row[game], rule)


def _check_rows(cursor: duckdb.DuckDBPyConnection, table: Table, game_date: date) -> None:
    """Refuse a date whose rows break a declared rule of the table, before it is committed."""
    day = game_date.isoformat()
    key = ", ".join(table.key)
    absent = " OR ".join(f"{column} IS NULL" for column in table.key)
    broken = cursor.execute(
        f"SELECT {key}, count(*) FROM {table.name} WHERE game_date = ? GROUP BY {key} "
        f"HAVING count(*) > 1 OR {absent} ORDER BY ALL LIMIT 1",
        [game_date],
    ).fetchall()
    if broken:
        *values, times = broken[0]
        found = ", ".join(
            f"{name} {value!r}" for name, value in zip(table.key, values, strict=True)
        )
        fix = f"{times} rows have this key; it must be unique within a date, so keep one of them"
        if None in values:
            fix = "no column of a row's key may be empty; fill it in, or leave the row out"
        raise RowError(table.name, day, key, found, fix)
    if table.max_rows_per_game is None:
        return
    crowded = cursor.execute(
        f"SELECT game_id, count(*) FROM {table.name} WHERE game_date = ? GROUP BY game_id "
        "HAVING count(*) > ? ORDER BY ALL LIMIT 1",
        [game_date, table.max_rows_per_game],
    ).fetchall()
    if crowded:
        game_id, times = crowded[0]
        rule = f"a game has at most {table.max_rows_per_game} rows here, this one {times}"
        fix = "look for wrong teams among its inputs, and load them again"
        raise RowError(table.name, day, "game_id", game_id, f"{rule}; {fix}")


def _raise_fence(
    cursor: duckdb.DuckDBPyConnection,
    table: str,
    game_date: date,
    generation: int,
    rows: int,
    written_at: datetime,
) -> None:
    fence = "nba_orchestration.partition_writes"
    cursor.execute(
        f"DELETE FROM {fence} WHERE table_name = ? AND game_date = ?", [table, game_date]
    )
    cursor.execute(
        f"INSERT INTO {fence} VALUES (?, ?, ?, ?, ?)",
        [table, game_date, generation, rows, written_at],
    )


def _bulk_insert(
    cursor: duckdb.DuckDBPyConnection, table: Table, rows: Sequence[Sequence[Any]]
) -> None:
    # One list per column, unnested side by side, and one scalar for a column that is the same all
    # over: some fifty times faster than executemany.
    columns = list(zip(*rows, strict=True))
    alike = [all(value is column[0] for value in column) for column in columns]
    kinds = [_DUCKDB_TYPES[kind] for kind in table.columns.values()]
    if all(alike):
        alike[0] = False
    parts = ", ".join(
        f"CAST(? AS {kind})" if same else f"unnest(CAST(? AS {kind}[]))"
        for kind, same in zip(kinds, alike, strict=True)
    )
    values = [
        column[0] if same else list(column) for column, same in zip(columns, alike, strict=True)
    ]
    cursor.execute(f"INSERT INTO {table.name} SELECT {parts}", values)


_DUCKDB_TYPES = {
    "STRING": "VARCHAR",
    "INT64": "BIGINT",
    "FLOAT64": "DOUBLE",
    "BOOL": "BOOLEAN",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMPTZ",
}
