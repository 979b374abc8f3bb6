"""All pages of what a query finds, for whoever needs everything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from coordinator.ports import Document, Grouping, Page, Query, Store, Where
from coordinator.service.reading import Target


async def pages(store: Store, query: Query) -> AsyncIterator[Page]:
    """Every page of a query, each read when it is needed. Raises ``Unavailable``."""
    while True:
        page = await store.find(query)
        yield page
        if page.next_page_token is None:
            return
        query = replace(query, after=page.next_page_token)


async def items(store: Store, query: Query) -> AsyncIterator[tuple[str, Document]]:
    """Every document that a query finds, with its id. Raises ``Unavailable``."""
    async for page in pages(store, query):
        for item in page.items:
            yield item


async def targets(store: Store, *where: Where) -> list[Target]:
    """Every partition that fits, by processor and date; none is decoded. Raises ``Unavailable``."""
    found = await store.grouped(Grouping(("processor",), "game_date", where))
    return sorted((name, day) for (name,), days in found.items() for day in days)
