"""Jobs that callers wait for, and the threads that do them.

Owns the hand-over between the event loop and threads. Refuses to know what a job is about.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any

from coordinator.errors import Bug, CoordinatorError, Unavailable
from coordinator.ports import Answer, Transaction


class Job:
    """Something that a caller waits for."""

    __slots__ = ("error", "future", "value")

    def __init__(self, future: asyncio.Future[Any] | None) -> None:
        self.future = future
        self.value: Any = None
        self.error: Exception | None = None

    def settle(self) -> None:
        """Answer the caller, on its loop; one that was cancelled gets nothing."""
        if self.future is None or self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.value)

    def answer(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


class Write(Job):
    """A transaction. Its caller gets an ``Answer``."""

    __slots__ = ("transaction",)

    def __init__(
        self, transaction: Transaction, future: asyncio.Future[Answer] | None = None
    ) -> None:
        super().__init__(future)
        self.transaction = transaction

    def settle(self) -> None:
        if self.future is not None and not self.future.done():
            self.future.set_result(Answer(self.value, self.error))


class Read(Job):
    __slots__ = ("work",)

    def __init__(
        self,
        work: Callable[[sqlite3.Connection], Any],
        future: asyncio.Future[Any] | None = None,
    ) -> None:
        super().__init__(future)
        self.work = work

    def run(self, connection: sqlite3.Connection, path: str) -> None:
        try:
            self.value = self.work(connection)
        except sqlite3.Error as error:
            self.error = from_sqlite(error, path)
        except Exception as error:  # noqa: BLE001 - it is handed to the caller
            self.error = error


def from_sqlite(error: sqlite3.Error, path: str) -> CoordinatorError:
    ours = sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.IntegrityError
    made: CoordinatorError
    if isinstance(error, ours):
        made = Bug(f"The store {path} was misused: {error}.")
    else:
        made = Unavailable(f"The store {path} is out of reach: {error}. Nothing was changed.")
    made.__cause__ = error
    return made


class JobThread:
    """A thread that opens a connection, takes jobs in batches, and closes on request."""

    def __init__(
        self,
        name: str,
        jobs: queue.SimpleQueue[Job | None],
        batch_max: int,
        handle: Callable[[list[Job]], None],
        open_: Callable[[], object],
        close: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs = jobs
        self._batch_max = batch_max
        self._handle = handle
        self._open = open_
        self._close = close
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _main(self) -> None:
        opened = Job(self.opened)
        try:
            self._open()
        except Exception as error:  # noqa: BLE001 - it is handed to the caller
            opened.error = error
        self._notify([opened])
        if opened.error is None:
            self._serve()
        self._close()
        self._notify([Job(self.closed)])

    def _serve(self) -> None:
        going = True
        while going:
            batch, going = self._take()
            if batch:
                try:
                    self._handle(batch)
                except BaseException as error:  # noqa: BLE001 - else every later caller hangs
                    for job in batch:
                        job.error = Bug(f"The store failed: {error!r}.")
                self._notify(batch)

    def _take(self) -> tuple[list[Job], bool]:
        """Wait for a job, then take all that wait with it; and whether more may come."""
        batch: list[Job] = []
        job = self._jobs.get()
        while job is not None:
            if job.future is None or not job.future.cancelled():
                batch.append(job)
            if len(batch) >= self._batch_max:
                return batch, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _notify(self, jobs: Sequence[Job]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and its waiters with it
            self._loop.call_soon_threadsafe(_settle_all, jobs)


def _settle_all(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.settle()
