"""Stores that commit one change when asked: each through a unit of work of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from coordinator.adapters.firestore import FirestoreStore
from coordinator.adapters.sqlite import SqliteStore
from coordinator.ports import CommitAttempt, Key, Step, Store, Transaction
from coordinator.service.commits import Commits

T = TypeVar("T")


class TransactingSqlite(SqliteStore):
    """A SQLite store, to which one attempt is enough."""

    async def transact(self, keys: Sequence[Key], step: Step[T]) -> Any:
        """Commit what ``step`` decides on these documents."""
        (answer,) = await self.attempt(CommitAttempt([Transaction(tuple(keys), step)]))
        if answer.error is not None:
            raise answer.error
        return answer.value


class TransactingFirestore(FirestoreStore):
    """A Firestore store with the unit of work of one process, which waits as a read does."""

    def __init__(self, project: str, **options: Any) -> None:
        super().__init__(project, **options)
        self.unit = Commits(
            self,
            monotonic=self._outside.monotonic,
            sleep=self._outside.sleep,
            uniform=self._outside.uniform,
            patience_seconds=self._patience_seconds,
            attempts_max=self._tries,
        )

    async def transact(self, keys: Sequence[Key], step: Step[T]) -> T:
        """Commit what ``step`` decides on these documents."""
        return await self.unit.transact(keys, step)

    async def close(self) -> None:
        await self.unit.finish()
        await super().close()


class TransactingStore(Store):
    """What both are."""

    async def transact(self, keys: Sequence[Key], step: Step[T]) -> T:
        """Commit what ``step`` decides on these documents."""
        raise NotImplementedError
