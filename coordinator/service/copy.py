"""Moving all state from one store to another: from embedded to Firestore, and back.

Owns the order, the skipping of what is there already, and the proof: counts and hashes of both
sides. It can be cut short at any point and begun again: what was copied is read, found equal and
left alone. Refuses, before the first write, a target that holds what the source has not, and one
that differs, unless the caller asks to replace that. Nothing may serve either store meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from coordinator.documents import encode
from coordinator.errors import Refused
from coordinator.ports import Changes, Document, Key, Kind, Query, Store
from coordinator.service.commits import Commits
from coordinator.service.pages import items

PAGE = 500
BATCH_DOCUMENTS = 100
BATCH_BYTES = 1024 * 1024

ORDER = (
    Kind.CALENDAR,
    Kind.DATES,
    Kind.CONTROL,
    Kind.TABLE_DATE,
    Kind.EVENT,
    Kind.PENDING,
    Kind.RUN,
    Kind.PARTITION,
    Kind.BACKFILL,
    Kind.AUDIT,
    Kind.QUARANTINE,
    Kind.REGISTRY,
)
"""The registry comes last: a service that is started on half a copy rolls it out from the
beginning."""

_MODULUS = 2**256


@dataclass(frozen=True, slots=True)
class Digest:
    """The documents of one kind: how many, and a hash that does not depend on their order."""

    count: int = 0
    hash: str = ""


@dataclass(slots=True)
class Copied:
    """What a copy has done so far."""

    stage: str = "counting"
    """``counting``, ``comparing``, ``copying``, ``verifying`` or ``done``."""
    kind: Kind = ORDER[0]
    total: int = 0
    """Documents in the source; 0 while they are counted."""
    seen: int = 0
    """Documents read in this stage."""
    written: int = 0
    skipped: int = 0
    """Documents that the target had already, equal."""
    digests: dict[Kind, Digest] = field(default_factory=dict)


Progress = Callable[[Copied], None]


async def copy(
    source: Store,
    target: Store,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    source_name: str = "store",
) -> Copied:
    """Copy every document, and prove that both sides are the same.

    Raises ``Refused``, before anything is written, where the source is empty, where the target
    holds what the source has not, or holds other content under the same key (unless
    ``overwrite``); and at the end where the proof fails. Raises ``Unavailable``.
    """
    done = Copied()

    def report() -> None:
        if progress is not None:
            progress(done)

    for kind in ORDER:
        done.kind = kind
        done.digests[kind] = await _digest(source, kind, done, report)
    done.stage, done.total, done.seen = "comparing", done.seen, 0
    if not done.total:
        what = "path" if source_name.startswith("sqlite:") else "project and database name"
        raise Refused(
            f"The source {source_name} holds no documents. Is the {what} right? "
            "Nothing was written.",
            code="source_empty",
        )
    found = await _compare(source, target, done, report)
    if found.more or (found.differ and not overwrite):
        raise Refused(found.words(overwrite), code="target_differs")
    done.stage, done.seen = "copying", 0
    commits = Commits(target)
    for kind in ORDER:
        done.kind = kind
        async for batch in _batches(source, kind):
            await _put(commits, batch, overwrite, done)
            done.seen += len(batch)
            report()
    done.stage, done.seen = "verifying", 0
    for kind in ORDER:
        done.kind = kind
        copied, wanted = await _digest(target, kind, done, report), done.digests[kind]
        if copied != wanted:
            raise Refused(
                f"The copy is not the same: {kind.value} has {copied.count} documents, the source "
                f"{wanted.count}{'' if copied.count != wanted.count else ', and they differ'}. "
                "Was one of the stores served or written meanwhile?",
                code="copy_differs",
            )
    done.stage = "done"
    report()
    return done


@dataclass(slots=True)
class _Differences:
    """What a target holds that is not the source's."""

    differ: int = 0
    """Documents that the source has too, with other content."""
    more: int = 0
    """Documents that the source has not."""
    first: Key | None = None
    first_more: Key | None = None

    def words(self, overwrite: bool) -> str:
        """Why nothing is copied, and what to do."""
        more = f"{_documents_words(self.more)} that the source has not"
        if overwrite:
            return (
                f"--overwrite replaces, it does not remove: the target holds {more} (first: "
                f"{_place(self.first_more)}). Name an empty database. Nothing was written."
            )
        parts = []
        if self.differ:
            verb = "differs" if self.differ == 1 else "differ"
            parts.append(f"{_documents_words(self.differ)} that {verb}")
        if self.more:
            parts.append(f"{self.more} that the source has not" if self.differ else more)
        fix = "Copy into an empty store" + ("." if self.more else ", or say --overwrite.")
        return (
            f"The target holds {' and '.join(parts)} (first: {_place(self.first)}). "
            f"Nothing was written. {fix}"
        )


def _documents_words(number: int) -> str:
    return f"{number} document" if number == 1 else f"{number} documents"


def _place(key: Key | None) -> str:
    return f"{key.kind.value} {key.id!r}" if key is not None else ""


async def _compare(
    source: Store, target: Store, done: Copied, report: Callable[[], None]
) -> _Differences:
    """Hold every document of the target against the source's. An empty target costs nothing."""
    found = _Differences()
    for kind in ORDER:
        done.kind = kind
        report()
        async for batch in _batches(target, kind):
            wanted = await source.get(list(batch))
            for key, document in batch.items():
                if wanted[key] == document:
                    continue
                found.first = found.first or key
                if wanted[key] is None:
                    found.more += 1
                    found.first_more = found.first_more or key
                else:
                    found.differ += 1
            done.seen += len(batch)
            report()
    return found


async def _digest(store: Store, kind: Kind, done: Copied, report: Callable[[], None]) -> Digest:
    count = total = 0
    async for id_, document in items(store, Query(kind, limit=PAGE)):
        mark = hashlib.sha256(id_.encode() + b"\0" + encode(document)).digest()
        total = (total + int.from_bytes(mark, "big")) % _MODULUS
        count += 1
        done.seen += 1
        if count % PAGE == 0:
            report()
    report()
    return Digest(count, f"{total:064x}")


async def _batches(store: Store, kind: Kind) -> AsyncIterator[Mapping[Key, Document]]:
    """Documents in portions that one commit of any store takes."""
    batch: dict[Key, Document] = {}
    size = 0
    async for id_, document in items(store, Query(kind, limit=PAGE)):
        bytes_ = len(encode(document))
        if batch and (len(batch) >= BATCH_DOCUMENTS or size + bytes_ > BATCH_BYTES):
            yield batch
            batch, size = {}, 0
        batch[Key(kind, id_)] = document
        size += bytes_
    if batch:
        yield batch


async def _put(
    commits: Commits, batch: Mapping[Key, Document], overwrite: bool, done: Copied
) -> None:
    def step(docs: Mapping[Key, Document | None]) -> Changes[int]:
        puts = {k: d for k, d in batch.items() if docs[k] != d}
        changed = [k for k in puts if docs[k] is not None]
        if changed and not overwrite:
            raise Refused(
                f"The target was written meanwhile: it has another {_place(changed[0])} now. Stop "
                "what writes there, and copy again.",
                code="target_differs",
            )
        return Changes(len(puts), puts)

    written = await commits.transact(list(batch), step)
    done.written += written
    done.skipped += len(batch) - written
