"""The documents a store keeps: their types, their bytes, and the fields that can be queried.

Owns the codec (JSON by msgspec, straight from the frozen values of the core) and the list of index
fields. Every store uses this one list, so that what is indexed cannot differ between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from operator import attrgetter
from typing import Any, get_type_hints

import msgspec

from coordinator.core.arrivals import Arrival, CalendarDate, TableDate
from coordinator.core.choices import QuarantineState
from coordinator.core.memo import by_identity
from coordinator.core.model import (
    GOOD_OUTCOMES,
    Control,
    Execution,
    Flag,
    Inputs,
    Journal,
    Partition,
    Run,
    Timers,
    partition_id,
)
from coordinator.errors import Bug
from coordinator.ports import Changes, Document, Grouping, Key, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One event in the ledger of its table and date."""

    event_id: str
    table: str
    game_date: str
    outcome: str
    digest: str
    """Identifies the content, so that a known id with other content is noticed."""
    received_at: datetime
    arrival: Arrival
    execution_id: str | None = None
    processor_name: str | None = None
    source_scraper_execution_id: str | None = None
    message_id: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dates:
    """A list of dates, ascending: those with games, those without, or those a table has loads on.

    A window is a question about many dates; these lists let a transaction ask it of documents that
    it reads, so that no date can come up unseen between the question and the commit.
    """

    name: str
    """``games``, ``off``, or a table."""
    dates: tuple[str, ...] = ()

    def having(self, date: str, there: bool) -> Dates:
        """The list with a date put in or taken out; itself where nothing changes."""
        if (date in self.dates) is there:
            return self
        kept = {*self.dates, date} if there else {*self.dates} - {date}
        return Dates(name=self.name, dates=tuple(sorted(kept)))


GAME_DATES = "games"
OFF_DATES = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A message that could not be processed, whole, with the reason."""

    quarantine_id: str
    received_at: datetime
    source: str
    reason: str
    mistakes: tuple[str, ...]
    raw: bytes
    """The message's bytes exactly as they came."""
    message_id: str | None = None
    truncated: bool = False
    state: QuarantineState = QuarantineState.OPEN
    settled_at: datetime | None = None
    settled_by: str | None = None
    settled_reason: str | None = None
    times_seen: int = 1
    correlation_id: str | None = None
    """As the message says, where that could be read; so is ``game_date``."""
    game_date: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what, when, to what, why, and what came of it."""

    audit_id: str
    at: datetime
    actor: str
    act: str
    reason: str
    processor: str | None = None
    game_date: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    result: str = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryRecord:
    """A registry that this store was served with."""

    registry_hash: str
    first_used_at: datetime
    text: str
    current: bool = True
    """It counts as served."""
    since: datetime | None = None
    """Since when it counts as served; None in records from before this was kept."""
    leaving_at: datetime | None = None
    """Since when another registry's instances have been asking whether it is served at all."""
    set_since: Mapping[str, Mapping[str, datetime]] = field(default_factory=dict)
    """Processor → rule → since when its instants act; see ``service.set_since``."""


class Work(StrEnum):
    """What a load's commit may leave to be done."""

    WINDOWS = "windows"
    """Evaluate the partitions whose windows cover its date."""
    DEPENDENTS = "dependents"
    """Deliver it to dependent partitions beyond those in its commit."""
    REFOLD = "refold"
    """Fold its date again from the ledger: the calendar expects other games now."""
    GAMES_NOT_KEPT = "games_not_kept"
    """Notify that more unexpected games came than are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingWork:
    """What the loads of one table and date left to be done, committed with them.

    It is done once ``work`` is empty. ``serial`` rises with each load that adds some, so whoever
    finishes it can tell whether more was added meanwhile.
    """

    table: str
    game_date: str
    work: tuple[Work, ...] = ()
    serial: int = 0

    def adding(self, more: Iterable[Work]) -> PendingWork:
        work = tuple(w for w in Work if w in {*self.work, *more})
        return replace(self, work=work, serial=self.serial + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """A range of partitions that a person asked to run, and how far it has come."""

    backfill_id: str
    created_at: datetime
    actor: str
    reason: str
    state: str
    first: str
    last: str
    processors: tuple[str, ...]
    only: str
    max_concurrent: int
    bypass: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


TYPES: Mapping[Kind, type] = {
    Kind.PARTITION: Partition,
    Kind.TABLE_DATE: TableDate,
    Kind.EVENT: LedgerEntry,
    Kind.CALENDAR: CalendarDate,
    Kind.DATES: Dates,
    Kind.RUN: Run,
    Kind.CONTROL: Control,
    Kind.QUARANTINE: Quarantined,
    Kind.AUDIT: AuditEntry,
    Kind.BACKFILL: Backfill,
    Kind.REGISTRY: RegistryRecord,
    Kind.PENDING: PendingWork,
}

Indexed = str | int | datetime | None


class Progress(IntEnum):
    """How far the runs of a partition have come, so that what is missing is found by an index."""

    NOTHING = 0
    """No load arrived, and no run was fired."""
    RECORDED = 1
    """Something is recorded, and no run of it succeeded."""
    UNCERTAIN = 2
    """The latest run has not succeeded; whether one before did, its runs say."""
    SUCCEEDED = 3
    """The last run that ended succeeded."""

    @classmethod
    def of(cls, partition: Partition) -> Progress:
        """That of a partition."""
        execution = partition.execution
        outcome, generation = execution.outcome, execution.generation
        if outcome is not None and outcome.status in GOOD_OUTCOMES:
            return cls.SUCCEEDED
        if generation:
            first = generation == 1 and (outcome is not None or execution.live is not None)
            return cls.RECORDED if first else cls.UNCERTAIN
        for table in partition.inputs.arrivals.values():
            if table.arrivals:
                return cls.RECORDED
        return cls.NOTHING


def flags_text(flags: Iterable[Flag]) -> str:
    """Flags as they are indexed, but for that of a pause, which its own document says."""
    return ",".join([flag for flag in flags if flag is not Flag.PAUSED])


def flags_of(text: str) -> tuple[Flag, ...]:
    """The flags that ``flags_text`` gave this text for."""
    return tuple(map(Flag, text.split(","))) if text else ()


INDEXES: Mapping[Kind, Mapping[str, Callable[[Any], Indexed]]] = {
    Kind.PARTITION: {
        "processor": lambda p: p.processor,
        "game_date": lambda p: p.game_date,
        "status": lambda p: p.status.value,
        "wake_at": lambda p: p.wake_at,
        "outbox_due": lambda p: p.outbox_due,
        "paused": lambda p: int(bool(p.pauses)),
        "registry_hash": lambda p: p.registry_hash,
        "watching": lambda p: int(p.watching),
        "flags": lambda p: flags_text(p.flags),
        "progress": lambda p: Progress.of(p).value,
    },
    Kind.TABLE_DATE: {"table": lambda t: t.table, "game_date": lambda t: t.game_date},
    Kind.EVENT: {
        "table": lambda e: e.table,
        "game_date": lambda e: e.game_date,
        "received_at": lambda e: e.received_at,
        "correlation_id": lambda e: e.arrival.correlation_id,
    },
    Kind.CALENDAR: {"game_date": lambda c: c.game_date, "games_count": lambda c: len(c.games)},
    Kind.DATES: {},
    Kind.RUN: {
        "processor": lambda r: r.processor,
        "game_date": lambda r: r.game_date,
        "status": lambda r: r.status.value,
        "fired_at": lambda r: r.fired_at,
        "correlation_id": lambda r: r.correlation_id,
    },
    Kind.CONTROL: {"resume_pending": lambda c: int(c.resume_pending)},
    Kind.QUARANTINE: {"received_at": lambda q: q.received_at, "state": lambda q: q.state.value},
    Kind.AUDIT: {
        "at": lambda a: a.at,
        "actor": lambda a: a.actor,
        "processor": lambda a: a.processor,
        "game_date": lambda a: a.game_date,
    },
    Kind.BACKFILL: {"created_at": lambda b: b.created_at, "state": lambda b: b.state},
    Kind.REGISTRY: {
        "first_used_at": lambda r: r.first_used_at,
        "current": lambda r: int(r.current),
    },
    Kind.PENDING: {"open": lambda w: int(bool(w.work))},
}


def check_changes(changes: Changes[Any], docs: Mapping[Key, Document | None]) -> None:
    """Raise ``Bug`` for changes, made on these documents, that no store could commit."""
    for key, document in changes.puts.items():
        if not isinstance(document, TYPES[key.kind]):
            raise Bug(f"{key.kind.value} cannot hold a {type(document).__name__}")
    if not changes.creates <= changes.puts.keys():
        raise Bug("a step creates a document that it does not put")
    if not (changes.guards or frozenset()) | (changes.fresh or frozenset()) <= docs.keys():
        raise Bug("a step rests on a document that it did not read")


def check_grouping(grouping: Grouping) -> None:
    """Raise ``Bug`` for fields that are not indexed, or that hold instants."""
    for name in (*grouping.by, grouping.of):
        if name not in INDEXES[Kind.PARTITION] or name in ("wake_at", "outbox_due"):
            raise Bug(f"partitions cannot be grouped by {name}")


_GROUPS: Mapping[str, type] = {
    "inputs": Inputs,
    "execution": Execution,
    "timers": Timers,
    "journal": Journal,
}


def _fields(of: type) -> list[Field[Any]]:
    return [f for f in fields(of) if f.name not in _GROUPS]


def _flat_type() -> type[msgspec.Struct]:
    """A partition's document: the fields of ``Partition`` and of its groups, side by side."""
    found: list[tuple[str, Any, Any]] = []
    for owner in (Partition, *_GROUPS.values()):
        types = get_type_hints(owner)
        for f in _fields(owner):
            default: Any = msgspec.NODEFAULT if f.default is MISSING else f.default
            if f.default_factory is not MISSING:
                default = msgspec.field(default_factory=f.default_factory)
            found.append((f.name, types[f.name], default))
    return msgspec.defstruct("PartitionDocument", found)


_Flat: Any = _flat_type()
_OWN = [f.name for f in _fields(Partition)]
_NAMES = {name: [f.name for f in fields(group)] for name, group in _GROUPS.items()}
_values = attrgetter(*_OWN, *(f"{group}.{n}" for group, names in _NAMES.items() for n in names))


def _grouped(flat: Any) -> Partition:
    groups = {
        group: _GROUPS[group](**{n: getattr(flat, n) for n in names})
        for group, names in _NAMES.items()
    }
    return Partition(**{n: getattr(flat, n) for n in _OWN}, **groups)


_ENCODER = msgspec.json.Encoder()
_DECODERS: Mapping[Kind, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(_Flat if type_ is Partition else type_)
    for kind, type_ in TYPES.items()
}


@by_identity
def _raw(known: TableDate) -> msgspec.Raw:
    """A table's date, encoded once for its own document and that of every dependent partition."""
    return msgspec.Raw(_ENCODER.encode(known))


def encode(document: Document) -> bytes:
    """A document's bytes. A partition's are flat, however its fields are grouped in memory."""
    if isinstance(document, TableDate):
        return bytes(_raw(document))
    if not isinstance(document, Partition):
        return _ENCODER.encode(document)
    flat = _Flat(*_values(document))
    flat.arrivals = {key: _raw(known) for key, known in flat.arrivals.items()}
    return _ENCODER.encode(flat)


def decode(kind: Kind, data: bytes) -> Document:
    """The document that ``encode`` gave these bytes for.

    Raises ``Bug`` when they are not of this kind: a store that was written by something else.
    """
    try:
        found = _DECODERS[kind].decode(data)
    except msgspec.MsgspecError as error:
        raise Bug(f"a stored {kind.value} document cannot be read: {error}") from error
    return _grouped(found) if kind is Kind.PARTITION else found


def partition_key(processor: str, game_date: str) -> Key:
    return Key(Kind.PARTITION, partition_id(processor, game_date))


def carried_run(partition: Partition | None) -> Run | None:
    """The run that a partition's document carries whole: the live one."""
    return None if partition is None else partition.live


def table_date_key(table: str, game_date: str) -> Key:
    return Key(Kind.TABLE_DATE, f"{table}__{game_date}")


def event_key(table: str, game_date: str, event_id: str) -> Key:
    return Key(Kind.EVENT, f"{table}__{game_date}__{event_id}")


def calendar_key(game_date: str) -> Key:
    return Key(Kind.CALENDAR, game_date)


def dates_key(name: str) -> Key:
    """The list of dates with games, without, or with loads of a table."""
    return Key(Kind.DATES, name)


PROOF_KEY = dates_key("proof")
"""What is written only to prove that a store can be written."""


def proof(size: int = 0) -> Dates:
    """A document for ``PROOF_KEY``, about ``size`` bytes long."""
    return Dates(name=PROOF_KEY.id, dates=("x" * size,))


def pending_key(table: str, game_date: str) -> Key:
    return Key(Kind.PENDING, f"{table}__{game_date}")


def control_key(scope: str) -> Key:
    """The pause of one processor, or of ``ALL``."""
    return Key(Kind.CONTROL, scope)


def run_key(run_id: str) -> Key:
    return Key(Kind.RUN, run_id)
