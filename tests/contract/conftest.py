"""The stores that the suite of the Store port runs over.

To add a store: write a factory and put it into ``FACTORIES``. A factory represents one state, empty
at first; each call gives a new, unopened store over that same state.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from coordinator.adapters.sqlite import MEMORY
from tests.contract.transacting import TransactingSqlite, TransactingStore
from tests.firestore.stores import firestore


class StoreFactory(Protocol):
    """Makes stores over one state."""

    contenders: int
    """How many callers may fight for one document at once within a test's patience."""

    def __call__(self) -> TransactingStore: ...


class SqliteFactory:
    contenders = 1000

    def __init__(self, path: str, *, inline: bool = False) -> None:
        self.path = path
        self.inline = inline

    def __call__(self) -> TransactingSqlite:
        return TransactingSqlite(self.path, inline=self.inline)


FACTORIES: dict[str, Callable[[Path], Iterator[StoreFactory]]] = {
    "sqlite-memory": lambda folder: iter([SqliteFactory(MEMORY)]),
    "sqlite-file": lambda folder: iter([SqliteFactory(str(folder / "store.sqlite"))]),
    "sqlite-inline": lambda folder: iter([SqliteFactory(str(folder / "s.sqlite"), inline=True)]),
    "sqlite-inline-memory": lambda folder: iter([SqliteFactory(MEMORY, inline=True)]),
    "firestore": firestore,
}
"""By name; each is called with the test's own folder and may clean up after its one yield."""

OUTLIVING = ("sqlite-file", "sqlite-inline", "firestore")


@pytest.fixture(params=FACTORIES)
def store_factory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreFactory]:
    """Every store."""
    yield from FACTORIES[request.param](tmp_path)


@pytest.fixture(params=OUTLIVING)
def outliving_factory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreFactory]:
    """Every store whose state outlives it."""
    yield from FACTORIES[request.param](tmp_path)


@pytest.fixture
async def store(store_factory: StoreFactory) -> AsyncIterator[TransactingStore]:
    """Every store, open and empty."""
    made = store_factory()
    await made.open()
    yield made
    await made.close()
