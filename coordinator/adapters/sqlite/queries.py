"""Documents as rows, and the queries over them.

Owns the SQL of single documents and of ``find``. Refuses to begin or end what is written (see
``writer``).
"""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from coordinator.documents import INDEXES, Indexed, check_grouping, decode
from coordinator.errors import BadInput, Bug
from coordinator.paging import bad_page_token, page_token, read_page_token
from coordinator.ports import Document, Grouping, Groups, Key, Kind, Op, Page, Query, Where

PAGE_MAX: Final = 1000
"""The most documents that one ``find`` returns, whatever its limit."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Cell = str | int | None
Cells = tuple[Cell, ...]
"""A document's index values as SQLite keeps them, in the order of ``documents.INDEXES``."""


def cell_of(value: Indexed) -> Cell:
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


def cells_of(kind: Kind, document: Document) -> Cells:
    return tuple([cell_of(of(document)) for of in _FIELDS[kind]])


def quoted(name: str) -> str:
    return f'"{name}"'


def _upsert(kind: Kind) -> str:
    names = [quoted(name) for name in (*INDEXES[kind], "body", "id")]
    updates = ", ".join(f"{name} = excluded.{name}" for name in names[:-1])
    marks = ", ".join("?" * len(names))
    return (
        f"INSERT INTO {kind.value} ({', '.join(names)}) VALUES ({marks}) "
        f"ON CONFLICT (id) DO UPDATE SET {updates}"
    )


UPSERT: Final = {kind: _upsert(kind) for kind in Kind}


@functools.cache
def update(kind: Kind, changed: tuple[int, ...]) -> str:
    """SQLite rewrites the index of every column that is set, so only those that differ are."""
    names = tuple(INDEXES[kind])
    sets = ", ".join(f"{quoted(names[n])} = ?" for n in changed)
    return f"UPDATE {kind.value} SET {sets}{', ' if sets else ''}body = ? WHERE id = ?"


_SELECT: Final = {kind: f"SELECT body FROM {kind.value} WHERE id = ?" for kind in Kind}


def body_of(connection: sqlite3.Connection, key: Key) -> bytes | None:
    """The stored bytes under ``key``. Raises ``BadInput`` for an id that is no Unicode text."""
    try:
        row = connection.execute(_SELECT[key.kind], (key.id,)).fetchone()
    except UnicodeEncodeError as error:
        raise BadInput(f"{key.id!r} holds half a character and cannot be an id.") from error
    return None if row is None else row[0]


Decode = Callable[[Kind, bytes], Document]


def get_documents(
    connection: sqlite3.Connection, keys: Iterable[Key], decode: Decode
) -> dict[Key, Document | None]:
    """The documents under ``keys`` as of one instant."""
    found: dict[Key, Document | None] = {}
    connection.execute("BEGIN")
    try:
        for key in keys:
            body = body_of(connection, key)
            found[key] = None if body is None else decode(key.kind, body)
    finally:
        connection.execute("ROLLBACK")
    return found


def _token(query: Query, value: Cell, id_: str) -> str:
    return page_token([query.order, int(query.descending), value, id_])


def _from_token(query: Query, token: str) -> tuple[Cell, str]:
    """Where the page before ended. Raises ``BadInput`` for anything that ``_token`` did not make."""
    match read_page_token(token):
        case [query.order, descending, str() | int() | None as value, str() as id_] if (
            descending == int(query.descending)
        ):
            return value, id_
    raise bad_page_token()


WITHOUT_ZEROS: Final = frozenset({"open", "paused", "watching"})
"""Fields whose index leaves out zeros. SQLite uses such an index only for a query that says so."""


def _condition(kind: Kind, where: Where) -> tuple[str, list[Any]]:
    """One condition in SQL with its parameters. Raises ``Bug`` for a field that is not indexed."""
    column = _column(kind, where.field)
    if where.op is Op.IN:
        cells = [cell_of(value) for value in where.value]
        if None in cells:
            raise Bug(f"{where.field}: null fits no list; ask for it alone, with EQ")
        return f"{column} IN (SELECT value FROM json_each(?))", [json.dumps(cells)]
    cell = cell_of(where.value)
    if cell is None:
        if where.op is not Op.EQ:
            raise Bug(f"{where.field}: null is neither more nor less than anything")
        return f"{column} IS NULL", []
    if where.op is Op.EQ and cell and where.field in WITHOUT_ZEROS:
        return f"{column} = ? AND {column} <> 0", [cell]
    return f"{column} {where.op.value} ?", [cell]


NARROW: Final = frozenset({"id", "processor", "game_date", "correlation_id"})
"""Fields one of whose values has few documents; of a status there may be as many as there are."""


def _conditions(kind: Kind, wheres: Sequence[Where]) -> list[tuple[str, list[Any]]]:
    """Conditions in SQL with their parameters. A plus keeps SQLite from choosing an index by it."""
    narrow = any(w.op is Op.EQ and w.field in NARROW for w in wheres)
    found = []
    for where in wheres:
        sql, parameters = _condition(kind, where)
        found.append((f"+{sql}" if narrow and where.field == "status" else sql, parameters))
    return found


def _column(kind: Kind, field: str) -> str:
    if field != "id" and field not in INDEXES[kind]:
        raise Bug(f"{kind.value} has no indexed field {field}")
    return quoted(field)


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


def find_page(connection: sqlite3.Connection, query: Query) -> Page:
    if query.limit < 1:
        raise BadInput(f"A page holds at least one document, not {query.limit}.")
    limit = min(query.limit, PAGE_MAX)
    order = _column(query.kind, query.order)
    conditions = _conditions(query.kind, query.where)
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
        raise BadInput(f"A value of the query cannot be compared: {error}.") from error
    more = len(rows) > limit
    rows = rows[:limit]
    return Page(
        items=tuple((id_, decode(query.kind, body)) for id_, body, _ in rows),
        next_page_token=_token(query, rows[-1][2], rows[-1][0]) if more else None,
    )


def grouped(connection: sqlite3.Connection, grouping: Grouping) -> Groups:
    """What ``grouping`` asks for, in one row of JSON.

    A thread that steps through rows takes the interpreter's lock for each; SQLite puts this
    together without it.
    """
    check_grouping(grouping)
    conditions = _conditions(Kind.PARTITION, grouping.where)
    parameters = [value for _, values in conditions for value in values]
    by = ", ".join(quoted(name) for name in grouping.by)
    of = quoted(grouping.of)
    where = " AND ".join(sql for sql, _ in conditions)
    rows = f"{Kind.PARTITION.value}{' WHERE ' + where if where else ''}"
    if grouping.limit is not None:
        rows = f"(SELECT {by}, {of} FROM {rows} LIMIT ?)"
        parameters.append(grouping.limit)
    sql = (
        f"SELECT '[' || group_concat(json_array({by}) || ',' || members) || ']' "
        f"FROM (SELECT {by}, json_group_array({of}) AS members FROM {rows} GROUP BY {by})"
    )
    (text,) = connection.execute(sql, parameters).fetchone()
    found = [] if text is None else msgspec.json.decode(text)
    return {tuple(values): members for values, members in zip(*[iter(found)] * 2, strict=True)}
