"""How a query is put to Firestore: filters, orders, page tokens, needed indexes.

Pure: a ``Plan`` says what would be asked; ``store`` asks it. A plan also knows the composite index
that Firestore needs to serve it, so that a test can hold the code against the deployed list
(``deploy/firestore/firestore.indexes.json``).

Sources: https://firebase.google.com/docs/firestore/query-data/index-overview and
…/query-data/multiple-range-fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from coordinator.adapters.firestore.layout import (
    CORRELATIONS,
    LEDGER_COLLECTION,
    LEDGER_DATE,
    LEDGER_TABLE,
    WRITTEN_AT,
    index_value,
)
from coordinator.core.model import LIVE_STATUSES
from coordinator.documents import INDEXES
from coordinator.errors import BadInput, Bug
from coordinator.paging import bad_page_token, page_token, read_page_token
from coordinator.ports import Document, Kind, Op, Query, Where

NAME: Final = "__name__"
IN_MAX: Final = 30
"""Values that one ``in`` filter takes."""
LIVE: Final = tuple(sorted(s.value for s in LIVE_STATUSES))
_OPS: Final = {
    Op.EQ: "==",
    Op.LT: "<",
    Op.LE: "<=",
    Op.GT: ">",
    Op.GE: ">=",
    Op.IN: "in",
}
_RANGES: Final = frozenset({Op.LT, Op.LE, Op.GT, Op.GE})


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition, as Firestore reads it."""

    field: str
    op: str
    value: Any


@dataclass(frozen=True, slots=True)
class Index:
    """A composite index: the collection, and its fields each with ``ASCENDING`` or ``DESCENDING``."""

    collection: str
    fields: tuple[tuple[str, str], ...]
    group: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of one collection (or, with ``group``, of all collections of that name)."""

    collection: str
    filters: tuple[Filter, ...] = ()
    orders: tuple[str, ...] = (NAME,)
    """Field names; the last is ``__name__``."""
    descending: bool = False
    group: bool = False

    @property
    def equalities(self) -> list[str]:
        return [f.field for f in self.filters if f.op in ("==", "in") and f.field != NAME]

    @property
    def index(self) -> Index | None:
        """The composite index that Firestore needs; None where single-field indexes serve it."""
        ranged = [o for o in self.orders if o != NAME]
        arrays = [f.field for f in self.filters if f.op.startswith("array")]
        sorted_by = len(ranged) + len(arrays)
        if not self.group and (sorted_by == 0 or (sorted_by == 1 and not self.equalities)):
            return None
        direction = "DESCENDING" if self.descending else "ASCENDING"
        fields = [(f, "ASCENDING") for f in sorted(self.equalities) if f not in ranged]
        fields += [(f, "CONTAINS") for f in arrays]
        fields += [(f, direction) for f in ranged]
        return Index(self.collection, tuple(fields), self.group)


# --------------------------------------------------------------------------- conditions


def check(query: Query) -> None:
    """Raise ``Bug`` for a query that no store can answer, ``BadInput`` for a bad limit."""
    if query.limit < 1:
        raise BadInput(f"A page holds at least one document, not {query.limit}.")
    for name in (query.order, *(w.field for w in query.where)):
        if name != "id" and name not in INDEXES[query.kind]:
            raise Bug(f"{query.kind.value} has no indexed field {name}")
    for where in query.where:
        values = where.value if where.op is Op.IN else (where.value,)
        for value in values:
            index_value(value)
            if value is None and where.op is Op.IN:
                raise Bug(f"{where.field}: null fits no list; ask for it alone, with EQ")
            if value is None and where.op in _RANGES:
                raise Bug(f"{where.field}: null is neither more nor less than anything")
        if where.op is Op.IN and len(where.value) > IN_MAX:
            raise Bug(f"{where.field}: Firestore compares with at most {IN_MAX} values")


def impossible(query: Query) -> bool:
    """Whether nothing can fit: an empty list."""
    return any(w.op is Op.IN and not w.value for w in query.where)


def _filter(where: Where, field: str | None = None) -> Filter:
    name = NAME if where.field == "id" else (field or where.field)
    if where.op is Op.IN:
        return Filter(name, "in", tuple(index_value(v) for v in where.value))
    return Filter(name, _OPS[where.op], index_value(where.value))


def plan(query: Query) -> Plan:
    """What to ask for a query on a kind whose keys are one document each."""
    wheres = [_for_stored_runs(w) if query.kind is Kind.RUN else w for w in query.where]
    return Plan(
        query.kind.value,
        tuple(_filter(w) for w in wheres),
        _orders(query.order, wheres),
        query.descending,
    )


def changed_plan(since: datetime) -> Plan:
    """What to ask for the partitions that were written from an instant on, in that order."""
    return Plan(Kind.PARTITION.value, (Filter(WRITTEN_AT, ">=", since),), orders=(WRITTEN_AT, NAME))


def _orders(order: str, wheres: Sequence[Where]) -> tuple[str, ...]:
    """The requested order, then the other compared fields (Firestore wants them), then the name."""
    first = [] if order == "id" else [order]
    compared = sorted({w.field for w in wheres if w.op in _RANGES and w.field != "id"} - {order})
    return (*first, *compared, NAME)


def sorts_here(query: Query) -> bool:
    """Whether the order must be made here: by id, while another field is compared, or downwards.

    Firestore orders by what it compares first, and reads names upwards. Nothing in this house asks
    for either.
    """
    return query.order == "id" and (query.descending or bool(ranged(query)))


def ranged(query: Query) -> tuple[str, ...]:
    """The fields that are compared for more or less."""
    return tuple(sorted({w.field for w in query.where if w.op in _RANGES and w.field != "id"}))


def _for_stored_runs(where: Where) -> Where:
    """A run's document is written when it is created and when it ended, so every live one matches."""
    if where.field != "status" or where.op not in (Op.EQ, Op.IN):
        return where
    wanted = {str(v) for v in (where.value if where.op is Op.IN else (where.value,))}
    if not wanted & set(LIVE):
        return where
    return Where("status", Op.IN, tuple(sorted(wanted | set(LIVE))))


def fits(query: Query, id_: str, document: Document) -> bool:
    """Whether a document meets every condition, worked out here."""
    for where in query.where:
        value = id_ if where.field == "id" else INDEXES[query.kind][where.field](document)
        if not _meets(where, index_value(value)):
            return False
    return True


def _meets(where: Where, value: Any) -> bool:
    if where.op is Op.IN:
        return value in [index_value(v) for v in where.value]
    wanted = index_value(where.value)
    if where.op is Op.EQ:
        return bool(value == wanted)
    if value is None:
        return False
    match where.op:
        case Op.LT:
            return bool(value < wanted)
        case Op.LE:
            return bool(value <= wanted)
        case Op.GT:
            return bool(value > wanted)
        case _:
            return bool(value >= wanted)


# --------------------------------------------------------------------------- the ledger

STREAMED: Final = frozenset({"id", "table", "game_date"})
"""Orders of ledger entries that follow from the order of their documents."""
_LEDGER_FIELDS: Final = {"table": LEDGER_TABLE, "game_date": LEDGER_DATE}


def ledger_plan(query: Query) -> Plan:
    """The documents that may hold the requested entries; ``fits`` picks the entries."""
    filters: list[Filter] = []
    compared: list[str] = []
    for where in query.where:
        if where.field in _LEDGER_FIELDS:
            filters.append(_filter(where, _LEDGER_FIELDS[where.field]))
            if where.op in _RANGES:
                compared.append(_LEDGER_FIELDS[where.field])
        elif where.field == "correlation_id" and where.op is Op.EQ and where.value is not None:
            filters.append(Filter(CORRELATIONS, "array_contains", index_value(where.value)))
    order = _LEDGER_FIELDS.get(query.order)
    others = sorted(set(compared) - {order})
    orders = (*([order] if order else []), *others, NAME)
    descending = query.descending if query.order in STREAMED else False
    return Plan(Kind.TABLE_DATE.value, tuple(filters), orders, descending)


def narrow(query: Query) -> bool:
    """Whether entries are asked of one table and date, or of one correlation id.

    A ledger is bounded, so all of its entries may be gathered.
    """
    equal = {w.field for w in query.where if w.op is Op.EQ}
    return "correlation_id" in equal or {"table", "game_date"} <= equal


def rolled_plan(query: Query) -> Plan | None:
    """The rolled-over parts with entries of a correlation id; None where the query names none."""
    for where in query.where:
        if where.field == "correlation_id" and where.op is Op.EQ and where.value is not None:
            contains = Filter(CORRELATIONS, "array_contains", index_value(where.value))
            return Plan(LEDGER_COLLECTION, (contains,), group=True)
    return None


# --------------------------------------------------------------------------- page tokens


def token(query: Query, values: Sequence[Any], id_: str) -> str:
    """Where a page ended: the values it is ordered by, and the id."""
    return page_token([query.order, int(query.descending), id_, *values])


def from_token(query: Query, text: str, count: int) -> tuple[list[Any], str]:
    """The ``count`` values and the id in a token. Raises ``BadInput`` for one not given out here."""
    match read_page_token(text):
        case [query.order, descending, str() as id_, *values] if (
            id_ and descending == int(query.descending) and len(values) == count
        ):
            return list(values), id_
    raise bad_page_token()


def position(query: Query, orders: Sequence[str], document: Document) -> list[Any]:
    """The values of a document that ``orders`` sort by, without the name."""
    return [index_value(INDEXES[query.kind][o](document)) for o in orders if o != NAME]
