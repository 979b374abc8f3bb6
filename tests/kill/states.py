"""Where the killed service keeps its state: what differs from one store to the other, and no more.

Owns the store's name, what a process needs to find it, the rules that fit its faults, how many kills
fit into half a minute, and how documents are read when all is over.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from coordinator.documents import decode
from coordinator.ports import Kind, Query, Store
from tests.firestore.emulator import emulator_host
from tests.firestore.stores import FirestoreFactory

PAGE = 200
"""Small enough that reading a play's ledger takes several pages."""


class State(Protocol):
    """The state of one play."""

    store: str
    """As ``coordinator serve --store`` reads it."""
    environment: Mapping[str, str]
    """What the service needs to find it."""
    defaults: Mapping[str, Any]
    """Rules of the registry's defaults that are not as shipped."""
    kills: int

    def read(self, *kinds: Kind) -> dict[Kind, list[Any]]:
        """Every document of these kinds."""
        ...


class Sqlite:
    """A state file. What a killed process had claimed is finished by the next one, at no cost.

    So the rules are those that are shipped: a run that had to wait for its lease would still be
    running when the test gives up.
    """

    environment: Mapping[str, str] = {}
    defaults: Mapping[str, Any] = {}
    kills = 20

    def __init__(self, folder: Path) -> None:
        self._path = folder / "state.db"
        self.store = f"sqlite:{self._path}"

    def read(self, *kinds: Kind) -> dict[Kind, list[Any]]:
        with sqlite3.connect(self._path) as connection:
            rows = {k: connection.execute(f"SELECT body FROM {k.value}").fetchall() for k in kinds}
        connection.close()
        return {kind: [decode(kind, body) for (body,) in found] for kind, found in rows.items()}


class Firestore:
    """An empty database on Google's emulator. What a killed process had claimed loses its lease.

    Each process is an owner of its own there, so a lease is short, and no run can be killed as often
    as it has attempts. A launch that was delivered and not claimed is resumed at the next start:
    ``claim_timeout`` is as shipped, longer than the test's patience. Starts and commits are slower
    than those of a file, so there are fewer kills.
    """

    kills = 14

    def __init__(self, folder: Path) -> None:
        self._factory = FirestoreFactory(emulator_host())
        self.store = f"firestore:{self._factory.project}"
        self.environment = {"FIRESTORE_EMULATOR_HOST": self._factory.host}
        self.defaults = {"heartbeat_timeout": "2s", "retry_backoff": "0s", "attempts": 20}

    def read(self, *kinds: Kind) -> dict[Kind, list[Any]]:
        return asyncio.run(self._read(kinds))

    async def _read(self, kinds: tuple[Kind, ...]) -> dict[Kind, list[Any]]:
        store = self._factory()
        await store.open()
        try:
            return {kind: await all_of(store, kind) for kind in kinds}
        finally:
            await store.close()


async def all_of(store: Store, kind: Kind) -> list[Any]:
    """Every document of a kind, page by page."""
    found: list[Any] = []
    after: str | None = None
    while True:
        page = await store.find(Query(kind, limit=PAGE, after=after))
        found += [document for _, document in page.items]
        after = page.next_page_token
        if after is None:
            return found
