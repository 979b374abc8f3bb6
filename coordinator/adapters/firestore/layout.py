"""Which Firestore document holds what: names, fields, the ledger inside a table's date, its
roll-over.

Pure: no client, no clock. A row is one Firestore document as it was read. Most keys are one document
each. Ledger entries (``Kind.EVENT``) are not: those of one table and date live inside its
``table_dates`` document, so that an event costs one write for its ledger and its fold together.
When that document grows, the oldest entries move to ``table_dates/…/ledger/NNNNNN`` and a four-byte
fingerprint of each stays behind, so that an id that comes again is still known.

Limits are those of https://firebase.google.com/docs/firestore/quotas.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from coordinator.documents import INDEXES, Indexed, LedgerEntry, decode
from coordinator.errors import BadInput, Bug, TooLarge
from coordinator.ports import Document, Key, Kind

Fields = dict[str, Any]
"""The fields of one Firestore document."""

ID_BYTES_MAX: Final = 1500
INDEXED_BYTES_MAX: Final = 1400
"""Of longer strings Firestore indexes only the first 1,500 bytes; they are indexed by digest."""
WARN_BYTES: Final = 512 * 1024
DOCUMENT_BYTES_MAX: Final = 1_000_000
"""Below Firestore's 1 MiB, with room for names and index fields."""
PACK_FROM_BYTES: Final = 64 * 1024
"""Longer bodies are compressed."""
LEDGER_BYTES_MAX: Final = 256 * 1024
"""A ledger that would grow beyond this rolls over."""
CHUNK_BYTES_MAX: Final = 192 * 1024
"""Entries of one rolled-over part of a ledger, before compression."""
ROLLED_MAX: Final = 60_000
"""Rolled-over events of one table and date. Four bytes each, so the document stays bounded."""
OPS_KEPT: Final = 16
"""Operation ids that a document remembers: a commit whose answer was lost is distinguished from one
that never happened as long as fewer later commits than this wrote all of its documents."""

AUDIT_KEPT: Final = timedelta(days=400)
SETTLED_KEPT: Final = timedelta(days=90)
"""How long a quarantined message that was replayed or discarded is kept. Open ones are kept."""

BODY, PACKED, OPS, PARTS = "body", "packed", "ops", "parts"
LEDGER, ROLLED = "ledger", "rolled"
LEDGER_TABLE, LEDGER_DATE, CORRELATIONS = "ledger_table", "ledger_date", "correlations"
EXPIRE_AT = "expire_at"
WRITTEN_AT = "written_at"
"""When Firestore took a partition's last write, by its own clock. For ``store.changed_since``."""
INDEXED_BY = "indexed_by"
"""Which operation wrote a partition's index fields. Where it is not the last of ``ops``, a version
that does not know all of them wrote the document since."""
PARTS_COLLECTION, LEDGER_COLLECTION = "parts", "ledger"
PART_BYTES_MAX: Final = 700_000

_EVENT_ID = re.compile(r"(.+?__\d{4}-\d{2}-\d{2})__(.+)", re.DOTALL)
_RESERVED = re.compile(r"__.*__", re.DOTALL)
_ESCAPED = re.compile("%(25|2F|2E|5F)")

# --------------------------------------------------------------------------- names


def escape(id_: str) -> str:
    """A document id that Firestore takes. Raises ``BadInput`` for one that it cannot have.

    Only ``/`` and ``%`` and the reserved forms change, so that the order of names is that of ids.
    """
    try:
        raw = id_.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"{id_!r} holds half a character and cannot be an id.") from error
    if not id_:
        raise BadInput("An id has at least one character.")
    if "/" in id_ or "%" in id_:
        id_ = id_.replace("%", "%25").replace("/", "%2F")
        raw = id_.encode()
    if id_ in (".", ".."):
        id_ = "%2E" + id_[1:]
    elif _RESERVED.fullmatch(id_):
        id_ = "%5F" + id_[1:]
    if len(raw) > ID_BYTES_MAX - 4:
        raise BadInput(f"An id has at most {ID_BYTES_MAX - 4} bytes; {id_[:60]!r}… has {len(raw)}.")
    return id_


def unescape(name: str) -> str:
    """The id that ``escape`` gave this name for."""
    return _ESCAPED.sub(lambda m: chr(int(m[1], 16)), name) if "%" in name else name


def split_event(id_: str) -> tuple[str, str]:
    """(id of the table's date, name within its ledger) for the id of an event.

    An id of another shape than ``documents.event_key`` makes is a ledger of its own.
    """
    match = _EVENT_ID.fullmatch(id_)
    return (match[1], match[2]) if match else (id_, "")


def event_id_of(home: str, name: str) -> str:
    """The id of an event: the inverse of ``split_event``."""
    return f"{home}__{name}" if name else home


def home_of(key: Key) -> Key:
    """The key of the document that holds ``key``: an event is stored in its table's date."""
    return Key(Kind.TABLE_DATE, split_event(key.id)[0]) if key.kind is Kind.EVENT else key


def path(key: Key) -> str:
    """The path of the document that holds ``key``, relative to the database. Raises ``BadInput``."""
    kind, id_ = home_of(key)
    return f"{kind.value}/{escape(id_)}"


def chunk_path(home: str, number: int) -> str:
    """The path of a rolled-over part of a ledger; ``home`` is the table date's path."""
    return f"{home}/{LEDGER_COLLECTION}/{number:06}"


# --------------------------------------------------------------------------- values


def index_value(value: Indexed) -> Any:
    """A value as it is indexed and compared. Raises ``Bug`` for an instant without a zone."""
    if value is None:
        return None
    if isinstance(value, str):
        text = str.__str__(value)
        if len(text) * 4 > INDEXED_BYTES_MAX:
            raw = text.encode("utf-8", "surrogatepass")
            if len(raw) > INDEXED_BYTES_MAX:
                return f"{text[:200]}…{hashlib.sha256(raw).hexdigest()}"
        return text
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise Bug(f"an indexed instant has no zone: {value.isoformat()}")
        return value
    return int(value)


def index_fields(kind: Kind, document: Document) -> Fields:
    """The index fields of a document (``documents.INDEXES``)."""
    return {name: index_value(of(document)) for name, of in INDEXES[kind].items()}


def expires(kind: Kind, document: Document) -> datetime | None:
    """When Firestore may delete a document by its TTL policy; None: never."""
    if kind is Kind.AUDIT:
        at: datetime = document.at
        return at + AUDIT_KEPT
    if kind is Kind.QUARANTINE and document.settled_at is not None:
        settled: datetime = document.settled_at
        return settled + SETTLED_KEPT
    return None


TTL_KINDS: Final = frozenset({Kind.AUDIT, Kind.QUARANTINE})


# --------------------------------------------------------------------------- rows


def _json(body: bytes) -> str:
    return body.decode()


@dataclass(slots=True)
class Row:
    """One Firestore document as it was read; ``version`` is its update time, None: it is absent."""

    path: str
    version: Any = None
    fields: Fields = field(default_factory=dict)
    read_at: datetime | None = None
    """When it was read, by Firestore's clock."""
    _document: Document = None
    _ledger: DateLedger | None = None

    @property
    def exists(self) -> bool:
        return self.version is not None

    @property
    def ops(self) -> list[str]:
        """The operations that wrote it last, in order."""
        return self.fields.get(OPS) or []

    def indexed(self, names: Iterable[str]) -> bool:
        """Whether these index fields are those of its body."""
        written = self.ops and self.fields.get(INDEXED_BY) == self.ops[-1]
        return bool(written) and all(name in self.fields for name in names)

    @property
    def parts(self) -> list[str]:
        """The paths of the further documents that its body is kept in."""
        return [f"{self.path}/{PARTS_COLLECTION}/{name}" for name in self.fields.get(PARTS) or ()]

    def document(self, kind: Kind, rows: Mapping[str, Row]) -> Document | None:
        """The decoded body, always the same object. ``rows`` must hold its parts."""
        if self._document is None and self.exists:
            body = self._body(rows)
            if body is not None:
                self._document = decode(kind, body)
        return self._document

    def _body(self, rows: Mapping[str, Row]) -> bytes | None:
        body: str | None = self.fields.get(BODY)
        if body is not None:
            return body.encode()
        packed: bytes | None = self.fields.get(PACKED)
        if self.parts:
            packed = b"".join(rows[p].fields.get(PACKED, b"") for p in self.parts)
        return None if packed is None else zlib.decompress(packed)

    @property
    def ledger(self) -> DateLedger:
        """The ledger entries in it, for a ``table_dates`` document."""
        if self._ledger is None:
            self._ledger = DateLedger.of(self.fields)
        return self._ledger


def body_fields(path_: str, body: bytes, op: str) -> tuple[Fields, dict[str, Fields]]:
    """The fields that keep a body, and further documents for what has no room in one.

    A short body is a string of JSON, which people can read in the console.
    """
    if len(body) <= PACK_FROM_BYTES:
        return {BODY: _json(body), PACKED: None, PARTS: None}, {}
    packed = zlib.compress(body, 1)
    if len(packed) <= PART_BYTES_MAX:
        return {BODY: None, PACKED: packed, PARTS: None}, {}
    names = []
    further: dict[str, Fields] = {}
    for number, start in enumerate(range(0, len(packed), PART_BYTES_MAX)):
        name = f"{op}-{number}"
        names.append(name)
        further[f"{path_}/{PARTS_COLLECTION}/{name}"] = {
            PACKED: packed[start : start + PART_BYTES_MAX]
        }
    return {BODY: None, PACKED: None, PARTS: names}, further


# --------------------------------------------------------------------------- the ledger

_ENTRIES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


def fingerprint(name: str) -> bytes:
    """Four bytes that tell most event ids apart; equal ones cost a read, never an error."""
    return hashlib.blake2b(name.encode(), digest_size=4).digest()


@dataclass(slots=True)
class DateLedger:
    """The entries of one table's date: those in its document, and marks of those rolled over."""

    entries: dict[str, bytes] = field(default_factory=dict)
    """name → encoded entry, oldest first."""
    rolled: list[bytes] = field(default_factory=list)
    """One string of fingerprints for each rolled-over part."""

    @classmethod
    def of(cls, fields: Fields) -> DateLedger:
        """The ledger that a document's fields hold."""
        text: str | None = fields.get(LEDGER)
        entries = _ENTRIES.decode(text) if text else {}
        rolled = fields.get(ROLLED) or []
        return cls({n: bytes(raw) for n, raw in entries.items()}, list(rolled))

    def chunks_of(self, name: str) -> list[int]:
        """The rolled-over parts that may hold ``name``."""
        if not self.rolled or name in self.entries:
            return []
        mark = array("I", fingerprint(name))[0]
        return [n for n, marks in enumerate(self.rolled) if mark in array("I", marks)]

    def encoded(self) -> str:
        return _json(_ENCODER.encode({n: msgspec.Raw(raw) for n, raw in self.entries.items()}))

    @property
    def size(self) -> int:
        """Bytes, encoded."""
        return sum(len(n) + len(raw) + 4 for n, raw in self.entries.items())

    def roll(self, bytes_max: int, chunk_bytes_max: int) -> dict[int, dict[str, bytes]]:
        """Move the oldest entries out until a quarter of the room is used; says what went where.

        Raises ``TooLarge`` where the table's date has had more events than can be marked.
        """
        moved: dict[int, dict[str, bytes]] = {}
        left = self.size
        if left <= bytes_max:
            return moved
        names = list(self.entries)
        chunk: dict[str, bytes] = {}
        size = 0
        for name in names[:-1]:
            if left <= bytes_max // 4:
                break
            raw = self.entries.pop(name)
            left -= len(name) + len(raw) + 4
            if chunk and size + len(raw) > chunk_bytes_max:
                moved[self._mark(chunk)] = chunk
                chunk, size = {}, 0
            chunk[name] = raw
            size += len(raw)
        if chunk:
            moved[self._mark(chunk)] = chunk
        if sum(map(len, self.rolled)) // 4 > ROLLED_MAX:
            raise TooLarge(
                f"One table and date had more than {ROLLED_MAX} events; no more are taken. "
                "Look for a producer that sends the same load under new ids."
            )
        return moved

    def _mark(self, chunk: Iterable[str]) -> int:
        self.rolled.append(b"".join(map(fingerprint, chunk)))
        return len(self.rolled) - 1


def entry_of(raw: bytes) -> LedgerEntry:
    """A decoded ledger entry."""
    entry: LedgerEntry = decode(Kind.EVENT, raw)
    return entry


def ledger_fields(
    ledger: DateLedger, table: str | None, game_date: str | None, correlations: Iterable[str]
) -> Fields:
    """The fields of a ledger inside its table's date."""
    return {
        LEDGER: ledger.encoded(),
        ROLLED: ledger.rolled or None,
        LEDGER_TABLE: table,
        LEDGER_DATE: game_date,
        CORRELATIONS: list(correlations),
    }


def correlations_of(entries: Iterable[bytes]) -> list[str]:
    """The correlation ids of encoded entries, each once."""
    found: dict[str, None] = {}
    for raw in entries:
        correlation = entry_of(raw).arrival.correlation_id
        if correlation is not None:
            found[index_value(correlation)] = None
    return list(found)


def pack_chunk(entries: Mapping[str, bytes], table: str, game_date: str) -> Fields:
    """The fields of a rolled-over part of a ledger."""
    encoded = _ENCODER.encode({n: msgspec.Raw(raw) for n, raw in entries.items()})
    return {
        PACKED: zlib.compress(encoded, 6),
        LEDGER_TABLE: table,
        LEDGER_DATE: game_date,
        CORRELATIONS: correlations_of(entries.values()),
    }


def unpack_chunk(fields: Fields) -> dict[str, bytes]:
    """The entries of a rolled-over part of a ledger."""
    entries = _ENTRIES.decode(zlib.decompress(fields[PACKED]))
    return {n: bytes(raw) for n, raw in entries.items()}


def field_bytes(fields: Fields) -> int:
    """About what Firestore counts as a document's size, in bytes."""
    total = 64
    for name, value in fields.items():
        total += len(name) + 1
        if isinstance(value, str):
            total += len(value.encode()) + 1
        elif isinstance(value, bytes):
            total += len(value)
        elif isinstance(value, list):
            total += sum(len(v) + 1 for v in value)
        else:
            total += 8
    return total
