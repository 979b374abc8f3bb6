"""Messages that cannot be processed: kept whole, shown, replayed or discarded.

A redelivery of the same bytes finds the same entry (its id is derived from them), so a poison
message that comes again is counted rather than kept twice.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime

from coordinator.core.choices import QuarantineState
from coordinator.documents import Quarantined
from coordinator.errors import BadInput, NotFound, Refused
from coordinator.ports import Changes, Document, Key, Kind, Notice, Op, Page, Query, Where
from coordinator.service.engine import Engine
from coordinator.service.notices import Notices
from coordinator.service.reading import Docs
from coordinator.wire import marks_of, same_message


class Quarantine:
    """Keeps bad messages and what became of them."""

    def __init__(self, engine: Engine, notices: Notices) -> None:
        self._engine = engine
        self._notices = notices

    async def add(
        self,
        raw: bytes,
        source: str,
        error: BadInput,
        message_id: str | None,
        received_at: datetime,
    ) -> Quarantined:
        """Keep a message with the reason. Raises ``Unavailable``; then nothing was kept."""
        same = same_message(raw) if source == "push" else raw
        identity = hashlib.sha256(source.encode() + b"\0" + same).hexdigest()[:32]
        key = Key(Kind.QUARANTINE, identity)
        correlation_id, game_date = marks_of(raw, wrapped=source == "push")
        entry = Quarantined(
            quarantine_id=identity,
            received_at=received_at,
            source=source,
            reason=error.detail[:2000],
            mistakes=tuple(str(m)[:500] for m in error.mistakes[:50]),
            raw=raw,
            message_id=message_id,
            correlation_id=correlation_id,
            game_date=game_date,
        )

        def step(docs: Docs) -> Changes[Quarantined]:
            known: Quarantined | None = docs[key]
            if known is None:
                kept = entry
            elif (
                known.state is QuarantineState.DISCARDED
            ):  # a person's decision on these bytes holds
                kept = replace(known, times_seen=known.times_seen + 1)
            else:
                kept = replace(entry, times_seen=known.times_seen + 1)
            return Changes(kept, {key: kept})

        kept = await self._engine.commits.transact([key], step)
        if kept.times_seen == 1:
            self._notices.send(
                Notice(
                    severity="warning",
                    kind="quarantined",
                    processor=None,
                    game_date=game_date,
                    summary=f"A message was quarantined: {kept.reason[:200]}",
                    detail=f"see coordinator quarantine show {identity}",
                    notice_id=f"quarantined:{identity}",
                    at=received_at,
                )
            )
        return kept

    async def page(
        self, *, state: str | None = None, limit: int = 100, after: str | None = None
    ) -> Page:
        """Quarantined messages, newest first."""
        where = (Where("state", Op.EQ, state),) if state else ()
        return await self._engine.store.find(
            Query(Kind.QUARANTINE, where, "received_at", descending=True, limit=limit, after=after)
        )

    async def get(self, quarantine_id: str) -> Quarantined:
        """One entry. Raises ``NotFound``."""
        key = Key(Kind.QUARANTINE, quarantine_id)
        entry: Quarantined | None = (await self._engine.store.get([key]))[key]
        if entry is None:
            raise NotFound(f"no quarantined message {quarantine_id}; see GET /v1/quarantine")
        return entry

    async def settle(
        self, quarantine_id: str, state: QuarantineState, actor: str, reason: str
    ) -> Quarantined:
        """Mark an open entry as ``replayed`` or ``discarded``. Raises ``NotFound``, ``Refused``."""
        key = Key(Kind.QUARANTINE, quarantine_id)
        now = self._engine.clock.now()

        def step(docs: Docs) -> Changes[Document]:
            known: Quarantined | None = docs[key]
            if known is None:
                raise NotFound(f"no quarantined message {quarantine_id}; see GET /v1/quarantine")
            if known.state is not QuarantineState.OPEN:
                raise Refused(
                    f"quarantined message {quarantine_id} is already {known.state}"
                    f" (by {known.settled_by})"
                )
            done = replace(
                known, state=state, settled_at=now, settled_by=actor, settled_reason=reason
            )
            return Changes(done, {key: done})

        settled: Quarantined = await self._engine.commits.transact([key], step)
        return settled
