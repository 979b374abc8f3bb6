"""An emulator with a counting, faulty proxy in front of it, and empty databases behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.contract.transacting import TransactingFirestore
from tests.firestore.emulator import emulator_host
from tests.firestore.proxy import Proxy
from tests.firestore.stores import FirestoreFactory


@pytest.fixture(scope="session")
def _proxy() -> Iterator[Proxy]:
    made = Proxy(emulator_host())
    yield made
    made.stop()


@pytest.fixture
def proxy(_proxy: Proxy) -> Iterator[Proxy]:
    """The proxy, without faults and with its counts at zero."""
    _proxy.take()
    yield _proxy
    _proxy.fault = None


@pytest.fixture
def factory(proxy: Proxy) -> FirestoreFactory:
    """Makes stores over one empty database, behind the proxy."""
    return FirestoreFactory(proxy.host)


@pytest.fixture
async def store(factory: FirestoreFactory) -> AsyncIterator[TransactingFirestore]:
    """A store, open and empty, behind the proxy."""
    made = factory()
    await made.open()
    yield made
    await made.close()
