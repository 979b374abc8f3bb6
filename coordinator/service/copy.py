"""Moving all state from one store to another: from embedded to Firestore, and back.

Owns the order, the skipping of what is there already, and the proof: counts and hashes of both
sides. It can be cut short at any point and begun again: what was copied is read, found equal and
left alone. Refuses to change a document of the target that differs, unless told to. Nothing may
serve either store meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from coordinator.documents import encode
from coordinator.errors import Refused
from coordinator.ports import Changes, Document, Key, Kind, Query, Store

PAGE = 500
BATCH_DOCUMENTS = 100
BATCH_BYTES = 1024 * 1024

ORDER = (
    Kind.CALENDAR,
    Kind.DATES,
    Kind.CONTROL,
    Kind.TABLE_DATE,
    Kind.EVENT,
    Kind.RUN,
    Kind.PARTITION,
    Kind.BACKFILL,
    Kind.AUDIT,
    Kind.QUARANTINE,
    Kind.REGISTRY,
)
"""The registry comes last: a service that is started on half a copy adopts it from the beginning."""

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
    """``counting``, ``copying``, ``verifying`` or ``done``."""
    kind: Kind = ORDER[0]
    total: int = 0
    """Documents in the source; 0 while they are counted."""
    seen: int = 0
    """Documents looked at in this stage."""
    written: int = 0
    skipped: int = 0
    """Documents that the target had already, equal."""
    digests: dict[Kind, Digest] = field(default_factory=dict)


Progress = Callable[[Copied], None]


async def copy(
    source: Store, target: Store, *, overwrite: bool = False, progress: Progress | None = None
) -> Copied:
    """Copy every document, and prove that both sides are the same.

    Raises ``Refused`` where the target holds other content under the same key (unless
    ``overwrite``), or more than the source, or where the proof fails; ``Unavailable``.
    """
    done = Copied()

    def tell() -> None:
        if progress is not None:
            progress(done)

    for kind in ORDER:
        done.kind = kind
        done.digests[kind] = await _digest(source, kind, done, tell)
    done.stage, done.total, done.seen = "copying", done.seen, 0
    for kind in ORDER:
        done.kind = kind
        async for batch in _batches(source, kind):
            await _put(target, batch, overwrite, done)
            done.seen += len(batch)
            tell()
    done.stage, done.seen = "verifying", 0
    for kind in ORDER:
        done.kind = kind
        found, wanted = await _digest(target, kind, done, tell), done.digests[kind]
        if found != wanted:
            raise Refused(
                f"The copy is not the same: {kind.value} has {found.count} documents, the source "
                f"{wanted.count}{'' if found.count != wanted.count else ', and they differ'}. "
                "Was one of the stores served or written meanwhile, or was the target not empty?",
                code="copy_differs",
            )
    done.stage = "done"
    tell()
    return done


async def _documents(store: Store, kind: Kind) -> AsyncIterator[tuple[str, Document]]:
    after: str | None = None
    while True:
        page = await store.find(Query(kind, limit=PAGE, after=after))
        for item in page.items:
            yield item
        after = page.next_page_token
        if after is None:
            return


async def _digest(store: Store, kind: Kind, done: Copied, tell: Callable[[], None]) -> Digest:
    count = total = 0
    async for id_, document in _documents(store, kind):
        mark = hashlib.sha256(id_.encode() + b"\0" + encode(document)).digest()
        total = (total + int.from_bytes(mark, "big")) % _MODULUS
        count += 1
        done.seen += 1
        if count % PAGE == 0:
            tell()
    tell()
    return Digest(count, f"{total:064x}")


async def _batches(store: Store, kind: Kind) -> AsyncIterator[Mapping[Key, Document]]:
    """Documents in portions that one commit of any store takes."""
    batch: dict[Key, Document] = {}
    size = 0
    async for id_, document in _documents(store, kind):
        bytes_ = len(encode(document))
        if batch and (len(batch) >= BATCH_DOCUMENTS or size + bytes_ > BATCH_BYTES):
            yield batch
            batch, size = {}, 0
        batch[Key(kind, id_)] = document
        size += bytes_
    if batch:
        yield batch


async def _put(target: Store, batch: Mapping[Key, Document], overwrite: bool, done: Copied) -> None:
    def step(docs: Mapping[Key, Document | None]) -> Changes[int]:
        puts = {k: d for k, d in batch.items() if docs[k] != d}
        changed = [k for k in puts if docs[k] is not None]
        if changed and not overwrite:
            raise Refused(
                f"The target has another {changed[0].kind.value} document {changed[0].id!r}. Copy "
                "into an empty store, or say --overwrite to replace what differs.",
                code="target_differs",
            )
        return Changes(len(puts), puts)

    written = await target.transact(list(batch), step)
    done.written += written
    done.skipped += len(batch) - written
