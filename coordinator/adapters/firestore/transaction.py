"""One commit in the making: what its transactions read, what they decided, what is written.

Pure: ``store`` reads the rows and sends the writes. Everything that is written carries a
precondition on the version that was read, so the commit is refused where another came between.

What is read and not written carries one where its step says so (``Changes.guards``): each is a
billed write, and makes a document contended that everything reads. What comes from this process's
memory is read again before the commit where its step says so (``Changes.fresh``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from coordinator.adapters.firestore.layout import (
    BODY,
    CHUNK_BYTES_MAX,
    CORRELATIONS,
    EXPIRE_AT,
    INDEXED_BY,
    LEDGER_BYTES_MAX,
    LEDGER_DATE,
    LEDGER_TABLE,
    OPS,
    OPS_KEPT,
    PACKED,
    PARTS,
    TTL_KINDS,
    Fields,
    Row,
    body_fields,
    chunk_path,
    correlations_of,
    entry_of,
    expires,
    field_bytes,
    home_of,
    index_fields,
    index_value,
    ledger_fields,
    pack_chunk,
    path,
    split_event,
    unpack_chunk,
)
from coordinator.core.model import Run
from coordinator.documents import (
    INDEXES,
    LedgerEntry,
    carried_run,
    check_changes,
    encode,
    partition_key,
)
from coordinator.errors import Bug, CoordinatorError
from coordinator.ports import Answer, Changes, Document, Key, Kind, NeedDocuments, Transaction

ROUNDS_MAX: Final = 16
"""How often one transaction's step may be called: more is a step that never decides."""


Puts = Mapping[Key, Document]
"""The documents that one transaction puts."""


class WriteMode(Enum):
    """How a document is written."""

    CREATE = "create"
    """It must not exist."""
    UPDATE = "update"
    """Its version must be the one that was read; all fields are replaced."""
    SET = "set"
    """Whatever was there is replaced."""
    DELETE = "delete"
    """Whatever was there goes."""
    HOLD = "hold"
    """It stays as it is, and its version must be the one that was read."""
    ABSENT = "absent"
    """It must not exist, and is not created."""


@dataclass(frozen=True, slots=True)
class DocumentWrite:
    """One document of a commit."""

    act: WriteMode
    path: str
    fields: Fields = field(default_factory=dict)
    version: Any = None
    held_bytes: int = 0
    """How large the document is that stays as it is: a commit's size may count it whole."""
    stamped: bool = False
    """Firestore writes the time into it (``layout.WRITTEN_AT``)."""


class PartGone(Exception):
    """A document was overwritten between the reading of its parts."""


def document_of(key: Key, rows: Mapping[str, Row]) -> Document | None:
    """The document under ``key``; ``extra_paths`` says which rows are needed."""
    row = rows[path(key)]
    if key.kind is Kind.EVENT:
        raw = event_of(key, rows)
        return None if raw is None else entry_of(raw)
    for part in row.parts:
        if not rows[part].exists:
            raise PartGone(part)
    document = row.document(key.kind, rows)
    if key.kind is Kind.RUN and document is not None and document.live:
        return live_run(document, rows)
    return document


def live_run(run: Run, rows: Mapping[str, Row]) -> Run:
    """A live run as its partition carries it; its own document is written again when it ended."""
    row = rows.get(path(partition_key(run.processor, run.game_date)))
    live = carried_run(None if row is None else row.document(Kind.PARTITION, rows))
    if live is None or live.run_id != run.run_id:
        return run
    same = replace(live, transitions=run.transitions) == run
    if same and set(run.transitions) > set(live.transitions):
        return run  # written by itself since, with a further line in its history
    return live


def event_of(key: Key, rows: Mapping[str, Row]) -> bytes | None:
    """The encoded ledger entry under ``key``."""
    row = rows[path(key)]
    name = split_event(key.id)[1]
    raw = row.ledger.entries.get(name)
    if raw is None:
        for number in row.ledger.chunks_of(name):
            chunk = rows[chunk_path(row.path, number)]
            if chunk.exists:
                raw = unpack_chunk(chunk.fields).get(name, raw)
    return raw


def extra_paths(key: Key, rows: Mapping[str, Row]) -> list[str]:
    """The further documents that ``document_of`` needs and that are not in ``rows``."""
    row = rows[path(key)]
    found = [p for p in row.parts if p not in rows]
    if found:
        return found
    if key.kind is Kind.EVENT:
        numbers = row.ledger.chunks_of(split_event(key.id)[1])
        return [p for n in numbers if (p := chunk_path(row.path, n)) not in rows]
    if key.kind is Kind.RUN and row.exists:
        run: Run | None = row.document(Kind.RUN, rows)
        if run is not None and run.live:
            home = partition_key(run.processor, run.game_date)
            if path(home) not in rows:
                return [path(home)]
            return extra_paths(home, rows)
    return []


@dataclass(slots=True)
class Batch:
    """The transactions of one commit, run in order over one set of rows."""

    rows: dict[str, Row]
    wants: Sequence[dict[Key, None]]
    """The keys that each transaction is shown, in the order in which it asked."""
    cached: set[str]
    """Rows that come from memory and were not proved."""
    last_call: bool = False
    """No step may ask for more."""
    ledger_bytes_max: int = LEDGER_BYTES_MAX
    chunk_bytes_max: int = CHUNK_BYTES_MAX

    answers: list[Answer] = field(default_factory=list)
    missing: dict[int, list[Key]] = field(default_factory=dict)
    """Transaction, by its number → what it asks for."""
    more_paths: set[str] = field(default_factory=set)
    prove: set[str] = field(default_factory=set)
    """Rows from memory that are to be read before the commit."""
    unread_creates: dict[int, list[Key]] = field(default_factory=dict)
    touched: set[Key] = field(default_factory=set)
    """The documents that were read and are written or guarded, by the key of the one that holds
    them."""
    decided: list[Puts] = field(default_factory=list)
    """What each transaction puts, in their order; without those that put nothing."""
    _puts: dict[Key, Document] = field(default_factory=dict)
    _bodies: dict[Key, bytes] = field(default_factory=dict)
    _creates: set[Key] = field(default_factory=set)
    _views: dict[Key, Document | None] = field(default_factory=dict)
    _hold: set[str] = field(default_factory=set)

    def run(self, transactions: Sequence[Transaction]) -> None:
        """Call every step; afterwards either something is missing, or all is decided."""
        for number, transaction in enumerate(transactions):
            self.answers.append(self._answer(number, transaction))

    def _answer(self, number: int, transaction: Transaction) -> Answer:
        try:
            return Answer(self._run(number, transaction))
        except PartGone:
            raise
        except StopIteration as error:  # no future can carry it
            bug = Bug("a transaction's step raised StopIteration")
            bug.__cause__ = error
            return Answer(error=bug)
        except Exception as error:  # noqa: BLE001 - it is handed to the caller
            self.prove |= {path(key) for key in self.wants[number]} & self.cached
            return Answer(error=error)

    def _view(self, key: Key) -> Document | None:
        if key not in self._views:
            self._views[key] = document_of(key, self.rows)
        return self._views[key]

    def _run(self, number: int, transaction: Transaction) -> Any:
        docs = {key: self._view(key) for key in self.wants[number]}
        answer: Changes[Any] | NeedDocuments = transaction.step(dict(docs))
        if isinstance(answer, NeedDocuments):
            missing = [key for key in answer.keys if key not in docs]
            if not missing:
                raise Bug("a step needs only documents that it was given")
            return self._ask(number, missing)
        check_changes(answer, docs)
        known = [k for k in answer.creates if k not in docs and self._exists(k)]
        if known:
            return self._ask(number, known)
        taken = [key for key in answer.creates if docs.get(key) is not None]
        if taken:
            raise Bug(f"a step creates what it was shown to exist: {taken}")
        homes = {path(k) for k in answer.puts if k.kind in (Kind.EVENT, Kind.TABLE_DATE)}
        unread = {p for p in homes if p not in self.rows}
        if unread:
            self.more_paths |= unread
            return None
        self._take(number, docs, answer)
        return answer.result

    def _ask(self, number: int, keys: list[Key]) -> None:
        if self.last_call:
            raise Bug(f"a step has not decided after {ROUNDS_MAX} calls")
        self.missing[number] = keys

    def _exists(self, key: Key) -> bool:
        """Whether it is known already that ``key`` exists, to a step that did not ask."""
        if key in self._views:
            return self._views[key] is not None
        if path(key) not in self.rows or extra_paths(key, self.rows):
            return False
        return self._view(key) is not None

    def _take(
        self, number: int, docs: Mapping[Key, Document | None], changes: Changes[Any]
    ) -> None:
        puts = {k: d for k, d in changes.puts.items() if d is not docs.get(k)}
        bodies: dict[Key, bytes] = {}
        for key, document in puts.items():
            path(key)
            try:
                bodies[key] = encode(document)
                index_fields(key.kind, document)
            except CoordinatorError:
                raise
            except Exception as error:
                raise Bug(f"a document cannot be stored: {error!r}") from error
        if puts:
            guards = docs.keys() if changes.guards is None else changes.guards
            self._hold |= {path(k) for k in guards}
            self.touched |= {home_of(k) for k in {*puts, *guards} & docs.keys()}
            self.decided.append(puts)
        fresh = docs.keys() if changes.fresh is None else changes.fresh
        self.prove |= {path(k) for k in fresh} & self.cached
        for key, document in puts.items():
            self._puts[key] = document
            self._views[key] = document
            if key in changes.creates and key not in docs:
                self._creates.add(key)
                self.unread_creates.setdefault(number, []).append(key)
        self._bodies.update(bodies)

    # ── what is written ──────────────────────────────────────────────────────────────────────

    def writes(self, op: str) -> list[DocumentWrite]:
        """Every write of the commit, each path once. Raises ``TooLarge``."""
        found: dict[str, DocumentWrite] = {}
        tables: dict[str, list[Key]] = {}
        for key in self._puts:
            if key.kind in (Kind.EVENT, Kind.TABLE_DATE):
                tables.setdefault(path(key), []).append(key)
            elif not self._is_carried(key):
                for write in self._document_writes(key, op):
                    found[write.path] = write
        for home, keys in tables.items():
            for write in self._table_writes(home, keys, op):
                found[write.path] = write
        if not found:
            return []
        for held in sorted(self._hold):
            if held not in found and held in self.rows:
                row = self.rows[held]
                act = WriteMode.HOLD if row.exists else WriteMode.ABSENT
                size = field_bytes(row.fields)
                found[held] = DocumentWrite(act, held, {OPS: row.ops}, row.version, held_bytes=size)
        return list(found.values())

    def _is_carried(self, key: Key) -> bool:
        """Whether a run is live and its partition, written with it, carries it whole.

        Such a run's own document is written when it is created and when it ended.
        """
        run: Run = self._puts[key]
        if key.kind is not Kind.RUN or not run.live or key in self._creates:
            return False
        row = self.rows.get(path(key))
        if row is not None and not row.exists:
            return False
        return carried_run(self._puts.get(partition_key(run.processor, run.game_date))) == run

    def _document_writes(self, key: Key, op: str) -> Iterable[DocumentWrite]:
        document, target = self._puts[key], path(key)
        row = self.rows.get(target)
        fields, further = body_fields(target, self._bodies[key], op)
        fields |= index_fields(key.kind, document)
        if key.kind in TTL_KINDS:  # Firestore deletes no sub-document with its document
            for one in (fields, *further.values()):
                one[EXPIRE_AT] = expires(key.kind, document)
        if key.kind is Kind.PARTITION:
            fields[INDEXED_BY] = op
        write = self._write(target, fields, row, key in self._creates, op)
        yield replace(write, stamped=key.kind is Kind.PARTITION)
        for part, part_fields in further.items():
            yield DocumentWrite(WriteMode.SET, part, part_fields)
        if row is not None:
            for part in row.parts:
                if part not in further:
                    yield DocumentWrite(WriteMode.DELETE, part)

    def _write(
        self, target: str, fields: Fields, row: Row | None, create: bool, op: str
    ) -> DocumentWrite:
        if row is None:
            fields[OPS] = [op]
            return DocumentWrite(WriteMode.CREATE if create else WriteMode.SET, target, fields)
        fields[OPS] = [*row.ops, op][-OPS_KEPT:]
        if row.exists:
            return DocumentWrite(WriteMode.UPDATE, target, fields, row.version)
        return DocumentWrite(WriteMode.CREATE, target, fields)

    def _table_writes(self, home: str, keys: Sequence[Key], op: str) -> Iterable[DocumentWrite]:
        """The one write of a table's date and the new entries of its ledger, and any roll-over."""
        row = self.rows[home]
        folded = next((k for k in keys if k.kind is Kind.TABLE_DATE), None)
        entries = [k for k in keys if k.kind is Kind.EVENT]
        fields: Fields = {}
        if folded is not None:
            fields, further = body_fields(home, self._bodies[folded], op)
            fields |= index_fields(Kind.TABLE_DATE, self._puts[folded])
            for part, part_fields in further.items():
                yield DocumentWrite(WriteMode.SET, part, part_fields)
        elif not row.exists:
            fields = {BODY: None, PACKED: None, PARTS: None}
            fields |= dict.fromkeys(INDEXES[Kind.TABLE_DATE])
        if entries:
            more, chunks = self._ledger(row, entries)
            fields |= more
            for number, chunk in chunks.items():
                yield DocumentWrite(WriteMode.CREATE, chunk_path(home, number), chunk)
        elif not row.exists:
            fields |= ledger_fields(row.ledger, None, None, ())
        yield self._write(home, fields, row, False, op)

    def _ledger(self, row: Row, keys: Sequence[Key]) -> tuple[Fields, dict[int, Fields]]:
        ledger = type(row.ledger).of(row.fields)  # its own, since a commit may be refused
        correlations = dict.fromkeys(row.fields.get(CORRELATIONS) or ())
        table, date = row.fields.get(LEDGER_TABLE), row.fields.get(LEDGER_DATE)
        for key in keys:
            entry: LedgerEntry = self._puts[key]
            ledger.entries[split_event(key.id)[1]] = self._bodies[key]
            table, date = index_value(entry.table), index_value(entry.game_date)
            if entry.arrival.correlation_id is not None:
                correlations[index_value(entry.arrival.correlation_id)] = None
        moved = ledger.roll(self.ledger_bytes_max, self.chunk_bytes_max)
        if moved:
            correlations = dict.fromkeys(correlations_of(ledger.entries.values()))
        fields = ledger_fields(ledger, table, date, correlations)
        return fields, {n: pack_chunk(c, str(table), str(date)) for n, c in moved.items()}
