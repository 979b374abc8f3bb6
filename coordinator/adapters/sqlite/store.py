"""``SqliteStore``: the port, over one writer and a few readers.

Owns opening, closing and serving alone. Refuses to write by itself (see ``writer``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, cast

from coordinator.adapters.sqlite.jobs import Job, JobThread, Read, Write
from coordinator.adapters.sqlite.queries import find_page, get_documents, grouped
from coordinator.adapters.sqlite.schema import MEMORY, check_path, connect_reader, pragma
from coordinator.adapters.sqlite.writer import Cache, Writer
from coordinator.documents import PROOF_KEY, decode, proof
from coordinator.errors import Bug, CoordinatorError, Refused, Unavailable
from coordinator.ports import (
    PROOF_SECONDS,
    Answer,
    Changes,
    CommitAttempt,
    Document,
    Grouping,
    Groups,
    Key,
    Kind,
    Page,
    Query,
    StoreProfile,
    Transaction,
)

DECODED_KEPT = 512
"""Partitions that are kept as they were read last: a date or two, which people watch."""
DECODED_BYTES_MAX = 16 * 1024
"""A longer body is decoded each time."""
PROOF_BYTES = 16 * 1024
"""Several pages of a file, as an event takes."""


class SqliteStore:
    """``ports.Store`` in one SQLite file, or in memory.

    ``path`` is a file in a folder that exists, or ``:memory:``. ``inline`` runs everything on the
    event loop's thread, for simulations. ``commit_max`` is how many transactions share a commit at
    most, ``waiting_max`` how many may wait before callers get ``Unavailable``. To be used from one
    event loop.

    A caller that is cancelled leaves a transaction that is committed whole or not at all; others
    are not touched. Where the disk fails in the middle of a commit, ``Unavailable`` is answered and
    the file is rolled back; only a machine that loses power right then may find it committed.
    """

    profile = StoreProfile(small_commits=False, shared=False)

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        inline: bool = False,
        busy_timeout_seconds: float = 10.0,
        commit_max: int = 512,
        waiting_max: int = 50_000,
        cache_documents: int = 8192,
        cache_bytes: int = 32 * 1024 * 1024,
        readers: int = 2,
    ) -> None:
        self.path = os.fspath(path)
        self.inline = inline
        self._busy_timeout_seconds = busy_timeout_seconds
        self._commit_max = commit_max
        self._waiting_max = waiting_max
        self._readers = 0 if inline or self.path == MEMORY else readers
        self._writer = Writer(self.path, busy_timeout_seconds, Cache(cache_documents, cache_bytes))
        self._decode_partition = lru_cache(DECODED_KEPT)(partial(decode, Kind.PARTITION))
        self._lanes: list[JobThread] = []
        self._writes: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = False
        self._inode: tuple[int, int] | None = None

    # counters, for /metrics

    @property
    def commits(self) -> int:
        """Commits that wrote something, since the start."""
        return self._writer.commits

    @property
    def failed_commits(self) -> int:
        """Commits whose callers all got ``Unavailable``."""
        return self._writer.failed_commits

    @property
    def transactions(self) -> int:
        """Transactions that were decided, also those that wrote nothing."""
        return self._writer.transactions

    @property
    def batch_max(self) -> int:
        """The most transactions that shared one commit."""
        return self._writer.batch_max

    @property
    def waiting(self) -> int:
        """Transactions that wait for the writer now."""
        return self._writes.qsize()

    @property
    def cache_hits(self) -> int:
        """Documents that transactions found decoded."""
        return self._writer.cache_hits

    @property
    def cache_misses(self) -> int:
        """Documents that transactions looked for in the file."""
        return self._writer.cache_misses

    # life

    async def open(self) -> None:
        """Open or create the file, and bring its schema up to date.

        Raises ``BadInput`` for a path that cannot be a store (no such folder, a file of another
        program), ``Refused`` for one that a newer version wrote, ``Unavailable`` otherwise.
        """
        if self._open:
            raise Bug("the store is open already")
        self._loop = asyncio.get_running_loop()
        if self.inline:
            self._writer.connection()
        else:
            await self._start()
        self._open = True
        if self.path != MEMORY:
            try:
                self._inode = self._identity()
            except Unavailable:
                await self.close()
                raise

    async def _start(self) -> None:
        try:
            self._lanes.append(
                JobThread(
                    "store-writer",
                    self._writes,
                    self._commit_max,
                    self._handle_writes,
                    self._writer.connection,
                    self._writer.close,
                )
            )
            await self._lanes[0].opened
            for number in range(self._readers):
                reader = ReadConnection(self.path, self._busy_timeout_seconds)
                lane = JobThread(
                    f"store-reader-{number}",
                    self._reads,
                    1,
                    reader.handle,
                    reader.open,
                    reader.close,
                )
                self._lanes.append(lane)
                await lane.opened
        except BaseException:
            await self._stop()
            raise

    async def close(self) -> None:
        """Let everything that waits finish, then close. Closing twice is harmless."""
        if not self._open:
            return
        self._open = False
        if self.inline:
            self._writer.close()
        else:
            await self._stop()

    async def _stop(self) -> None:
        lanes, self._lanes = self._lanes, []
        self._writes.put(None)
        for _ in lanes[1:]:
            self._reads.put(None)
        for lane in lanes:
            if not lane.opened.done():
                lane.opened.cancel()
            await lane.closed
            lane.join()
        # A lane that never opened took no sentinel.
        self._writes, self._reads = queue.SimpleQueue(), queue.SimpleQueue()

    # the port

    async def attempt(self, attempt: CommitAttempt) -> Sequence[Answer]:
        """Commit transactions, in order; those that come at the same time share a commit.

        Every answer is durable or an error; one is ``Unavailable`` where its commit failed or too
        many wait, and ``Bug`` for a step that does not decide, creates what it was shown to exist,
        or writes what cannot be stored.
        """
        self._check_open()
        if self.inline:
            await asyncio.sleep(0)
            self._check_open()
            jobs = [Write(transaction) for transaction in attempt.transactions]
            for job in jobs:
                self._writer.commit([job])
            if all(job.error is None for job in jobs):
                await asyncio.sleep(0)  # whoever watches knows of a failure before anything else
            return [Answer(job.value, job.error) for job in jobs]
        if self._writes.qsize() >= self._waiting_max:
            raise Unavailable(f"{self._waiting_max} transactions wait already. Try again later.")
        answers = []
        for transaction in attempt.transactions:
            answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._writes.put(Write(transaction, answer))
            answers.append(answer)
        return [await answer for answer in answers]

    async def get(self, keys: Sequence[Key]) -> Mapping[Key, Document | None]:
        """The committed documents under ``keys`` as of one instant, None where there is none.

        Raises ``Unavailable``, and ``Bug`` for a document that cannot be read.
        """
        wanted = tuple(keys)
        return cast(
            Mapping[Key, Document | None],
            await self._read(lambda sqlite: get_documents(sqlite, wanted, self._decode)),
        )

    def _decode(self, kind: Kind, body: bytes) -> Document:
        """A document; a partition that is shown again is not decoded again."""
        if kind is Kind.PARTITION and len(body) <= DECODED_BYTES_MAX:
            return self._decode_partition(body)
        return decode(kind, body)

    async def find(self, query: Query) -> Page:
        """One page of committed documents, in order, null before everything else.

        A page holds at most ``PAGE_MAX`` documents, whatever ``query.limit``. Raises ``BadInput``
        for a limit below one or a page token that is not of this order, ``Bug`` for a field that
        is not indexed, ``Unavailable``.
        """
        return cast(Page, await self._read(lambda sqlite: find_page(sqlite, query)))

    async def grouped(self, grouping: Grouping) -> Groups:
        """What the index says, as of one instant. Raises ``Bug`` and ``Unavailable``."""
        return cast(Groups, await self._read(lambda sqlite: grouped(sqlite, grouping)))

    async def ping(self) -> None:
        """Prove that the store can be read, and that its file is still the one that was opened."""
        await self._read(self._prove)

    async def prove_writable(self) -> None:
        """Prove that the store takes commits, by a commit that others need not repeat for a minute.

        It takes new pages of the file and gives them back: one that can only be overwritten is
        full. Raises ``Unavailable``.
        """
        written_at = self._writer.written_at
        if written_at is not None and time.monotonic() - written_at < PROOF_SECONDS:
            self._check_open()
            return
        for size in (PROOF_BYTES, 0):
            changes = Changes(None, {PROOF_KEY: proof(size)})
            transaction = Transaction((PROOF_KEY,), partial(_always, changes))
            (answer,) = await self.attempt(CommitAttempt([transaction]))
            if answer.error is not None:
                raise answer.error

    def _prove(self, connection: sqlite3.Connection) -> None:
        pragma(connection, "schema_version")
        if self._inode is not None and self._identity() != self._inode:
            raise Unavailable(
                f"{self.path} was moved or replaced while it was served. Start again on the file "
                "that is meant."
            )

    async def _read(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        self._check_open()
        if self.inline:
            await asyncio.sleep(0)
            self._check_open()
            job = Read(work)
            self._run_read(job)
            return job.answer()
        future = asyncio.get_running_loop().create_future()
        # In memory there is one connection only; its reads queue with the writes.
        (self._reads if self._readers else self._writes).put(Read(work, future))
        return await future

    def _handle_writes(self, batch: list[Job]) -> None:
        writes = [job for job in batch if isinstance(job, Write)]
        if writes:
            self._writer.commit(writes)
        for job in batch:
            if isinstance(job, Read):
                self._run_read(job)

    def _run_read(self, job: Read) -> None:
        try:
            connection = self._writer.connection()
        except CoordinatorError as error:
            job.error = error
        else:
            job.run(connection, self.path)

    def _check_open(self) -> None:
        if not self._open:
            raise Unavailable(f"The store {self.path} is not open.")
        if self._loop is not asyncio.get_running_loop():
            raise Bug("the store is used from another event loop than the one that opened it")

    def _identity(self) -> tuple[int, int]:
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be found any more: {error}.") from error
        return found.st_dev, found.st_ino

    # serving alone

    @contextlib.contextmanager
    def lock_for_serving(self) -> Iterator[None]:
        """Be the only coordinator that serves this file, as long as the context lasts.

        The lock lies on ``PATH.lock`` and ends with the process, however that ends. The command
        line may still write beside it. Raises ``Refused`` when another process holds it,
        ``Unavailable`` when the file cannot be locked. In memory there is nobody to exclude.
        """
        if self.path == MEMORY:
            yield
            return
        check_path(self.path)
        import fcntl  # not on Windows, where the rest works

        name = f"{os.path.realpath(self.path)}.lock"
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise Unavailable(f"{name} cannot be opened: {error}.") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                raise Refused(
                    f"Another coordinator (process {holder or 'unknown'}) is serving {self.path}. "
                    "Stop it first, or serve another file.",
                    code="already_served",
                ) from error
            except OSError as error:
                raise Unavailable(f"{name} cannot be locked: {error}.") from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)


def _always(changes: Changes[None], _: Mapping[Key, Document | None]) -> Changes[None]:
    return changes


class ReadConnection:
    """A connection that only reads."""

    def __init__(self, path: str, busy_timeout_seconds: float) -> None:
        self._path = path
        self._busy_timeout_seconds = busy_timeout_seconds
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        self._connection = connect_reader(self._path, self._busy_timeout_seconds)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def handle(self, jobs: Sequence[Job]) -> None:
        assert self._connection is not None
        for job in jobs:
            assert isinstance(job, Read)
            job.run(self._connection, self._path)
