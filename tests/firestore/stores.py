"""Firestore stores for tests: each factory is a database of its own on the emulator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.contract.transacting import TransactingFirestore
from tests.firestore.emulator import emulator_host, new_project


class FirestoreFactory:
    """Makes stores over one empty database."""

    contenders = 1000

    def __init__(self, host: str, **options: Any) -> None:
        self.host = host
        self.project = new_project()
        self.options = options

    def __call__(self, **options: Any) -> TransactingFirestore:
        # The client reads it when it is made, which is when the store is opened.
        os.environ["FIRESTORE_EMULATOR_HOST"] = self.host
        return TransactingFirestore(self.project, **{**self.options, **options})


def firestore(folder: Path) -> Iterator[FirestoreFactory]:
    """A factory over the emulator itself, for the suite of the Store port."""
    # The emulator shows about one commit in a hundred to readers document by document.
    yield FirestoreFactory(emulator_host(), read_twice=True)
