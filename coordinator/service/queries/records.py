"""Queries of what is kept for people: quarantine and audit."""

from __future__ import annotations

from coordinator.documents import Quarantined
from coordinator.errors import NotFound
from coordinator.ports import Key, Kind, Op, Query, Where
from coordinator.service.queries.reader import Reader
from coordinator.service.views.records import (
    AuditList,
    AuditRow,
    QuarantinedView,
    QuarantineList,
    quarantined_view,
)

QUARANTINE_SEARCHED = 500
"""How many of the newest quarantined messages a trace searches."""
QUARANTINE_RAW_IN_LISTS = 16 * 1024
"""Bytes; a longer raw message is shown by its own address alone, so that a list stays small."""
_SEARCHED_TOGETHER = 50


class RecordQueries:
    """Queries of quarantine and audit. Every method raises ``Unavailable``."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def quarantine(
        self, *, state: str | None = None, limit: int = 50, page_token: str | None = None
    ) -> QuarantineList:
        """Messages that could not be processed, newest first."""
        where = (Where("state", Op.EQ, state),) if state else ()
        page = await self._reader.store.find(
            Query(
                Kind.QUARANTINE,
                where,
                order="received_at",
                descending=True,
                limit=limit,
                after=page_token,
            )
        )
        return QuarantineList(
            items=tuple(quarantined_view(q, QUARANTINE_RAW_IN_LISTS) for _, q in page.items),
            next_page_token=page.next_page_token,
        )

    async def quarantined(self, quarantine_id: str) -> QuarantinedView:
        """One such message with all of its bytes. Raises ``NotFound``."""
        entry: Quarantined | None = await self._reader.one(Key(Kind.QUARANTINE, quarantine_id))
        if entry is None:
            raise NotFound(
                f"no quarantined message {quarantine_id[:100]}; see GET /v1/quarantine for them"
            )
        return quarantined_view(entry, None)

    async def quarantined_with(self, correlation_id: str) -> tuple[list[QuarantinedView], bool]:
        """Quarantined messages that name the id, newest first, and whether all were searched.

        No index leads to them: one would cost every store a column for a rare question.
        """
        found: list[QuarantinedView] = []
        after: str | None = None
        for _ in range(0, QUARANTINE_SEARCHED, _SEARCHED_TOGETHER):
            page = await self._reader.store.find(
                Query(
                    Kind.QUARANTINE,
                    order="received_at",
                    descending=True,
                    limit=_SEARCHED_TOGETHER,
                    after=after,
                )
            )
            found += [
                quarantined_view(q, QUARANTINE_RAW_IN_LISTS)
                for _, q in page.items
                if q.correlation_id == correlation_id
            ]
            after = page.next_page_token
            if after is None:
                return found, True
        return found, False

    async def audit(
        self,
        *,
        processor: str | None = None,
        game_date: str | None = None,
        actor: str | None = None,
        limit: int = 100,
        page_token: str | None = None,
    ) -> AuditList:
        """Who did what, when and why, newest first. Raises ``BadInput``, ``NotFound``."""
        where = self._reader.of_partition(None, game_date)
        if actor is not None:
            where.append(Where("actor", Op.EQ, actor))
        where += self._reader.of_partition(processor, None)
        page = await self._reader.store.find(
            Query(
                Kind.AUDIT, tuple(where), order="at", descending=True, limit=limit, after=page_token
            )
        )
        return AuditList(
            items=tuple(AuditRow.of(a) for _, a in page.items),
            next_page_token=page.next_page_token,
        )
