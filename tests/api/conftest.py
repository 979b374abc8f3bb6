"""Every test here talks to a real server over a real socket, on a real SQLite file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.support import Service, serving


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of the test's own."""
    with serving(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that the tests of a file share: for those that need no state of their own."""
    with serving(tmp_path_factory.mktemp("shared")) as running:
        yield running
