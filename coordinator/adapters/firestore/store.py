"""``ports.Store`` over google-cloud-firestore's AsyncClient: one attempt at a commit, and finding.

How an attempt goes:

- The documents of its transactions are read by one BatchGetDocuments, and everything decided is
  written by one Commit with preconditions on what was read (``transaction``): two round trips.
  Read-write transactions of Firestore lock, and collapse where many want one document.
- A commit that was refused because another came between, or that failed on the way, may be
  attempted again by whoever handed it in. Every document remembers the operations that wrote it
  last: where the answer of a commit was lost, its operation id tells the next attempt whether it
  happened.
- Every call to Firestore has a deadline of its own (``asyncio.timeout``), and the client's own
  retries are off: they would hide a commit that happened behind a precondition that failed. Reads
  are repeated here, with jitter, a bounded number of times.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import grpc
import structlog
from google.api_core import exceptions as google
from google.auth.exceptions import GoogleAuthError
from google.cloud.firestore_v1 import SERVER_TIMESTAMP, AsyncClient
from google.cloud.firestore_v1.base_query import FieldFilter
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_exponential,
)

from coordinator.adapters.firestore.layout import (
    CHUNK_BYTES_MAX,
    DOCUMENT_BYTES_MAX,
    INDEXED_BY,
    LEDGER_BYTES_MAX,
    OPS,
    WARN_BYTES,
    WRITTEN_AT,
    Row,
    chunk_path,
    entry_of,
    escape,
    event_id_of,
    field_bytes,
    index_value,
    path,
    split_event,
    unescape,
    unpack_chunk,
)
from coordinator.adapters.firestore.queries import (
    NAME,
    STREAMED,
    Plan,
    changed_plan,
    check,
    fits,
    from_token,
    impossible,
    ledger_plan,
    narrow,
    plan,
    position,
    ranged,
    rolled_plan,
    sorts_here,
    token,
)
from coordinator.adapters.firestore.transaction import (
    ROUNDS_MAX,
    Batch,
    DocumentWrite,
    PartGone,
    Puts,
    WriteMode,
    document_of,
    extra_paths,
)
from coordinator.core.choices import ALL
from coordinator.core.model import Partition
from coordinator.documents import INDEXES, PROOF_KEY, check_grouping, control_key, proof
from coordinator.errors import CONTENDED, BadInput, Bug, CoordinatorError, TooLarge, Unavailable
from coordinator.paging import bad_page_token
from coordinator.ports import (
    PROOF_SECONDS,
    Answer,
    ChangeCursor,
    Changes,
    CommitAttempt,
    Contended,
    Document,
    DoNotFit,
    Grouping,
    Groups,
    Interrupted,
    Key,
    Kind,
    Page,
    Query,
    StoreProfile,
    Transaction,
    Unconfirmed,
)

log = structlog.get_logger(__name__)

T = TypeVar("T")

DEFAULT_DATABASE: Final = "(default)"
PAGE_MAX: Final = 1000
"""The most documents that one ``find`` returns, whatever its limit."""
READ_MAX: Final = 500
"""Documents in one BatchGetDocuments."""
COMMIT_BYTES_MAX: Final = 3_500_000
"""Firestore takes 10 MiB in one commit; its emulator 4 MiB in one message."""
WRITES_MAX: Final = 500
ROUNDS_TOGETHER: Final = 6
"""Readings after which transactions that still want more do not go on in one commit."""
SCAN_MAX: Final = 2000
"""Documents that are gathered to be sorted here, at the most."""
LEDGERS_PER_PAGE: Final = 50
CHANGED_PER_PAGE: Final = 300
GROUPED_PER_PAGE: Final = 2000
"""Partitions of which one query sends the index fields."""
OVERLAP: Final = timedelta(seconds=5)
"""How far before its mark a query of changes begins. A commit's time is that at which Firestore
received the request, so a slow one shows up behind others that are reported already."""
DRIFT: Final = 0.999
"""How much of the time that passed here surely passed at Firestore."""
CACHED_KINDS: Final = frozenset({Kind.CALENDAR, Kind.CONTROL, Kind.DATES})
CACHED_MAX: Final = 10_000

_CONFLICTS = (google.AlreadyExists, google.FailedPrecondition, google.NotFound, google.Aborted)
_UNSURE = (
    google.DeadlineExceeded,
    google.ServiceUnavailable,
    google.InternalServerError,
    google.Unknown,
    google.Cancelled,
    google.BadGateway,
    google.GatewayTimeout,
    google.RetryError,
    grpc.aio.AioRpcError,
    TimeoutError,
    OSError,
)


_TOO_LARGE: Final = ("longer than", "maximum", "too large", "too big", "exceeds the limit")
"""How Firestore words a document, a value or a commit beyond its limits."""

_deadline: contextvars.ContextVar[float] = contextvars.ContextVar("deadline", default=float("inf"))
"""When the patience with what goes on ends: no call may take longer."""
RENEW_AFTER: Final = 3
RENEW_SECONDS: Final = 5.0
"""A client that fails is replaced no more often than this."""
LEAST_TRY_SECONDS: Final = 0.25
"""With less left, nothing more is tried."""
WAIT_SECONDS_MIN: Final = 0.005
WAIT: Final = wait_exponential(multiplier=0.025, max=1.5)
"""The longest wait before a try; how much of it is waited is drawn."""


@dataclass(frozen=True, slots=True)
class Outside:
    """Where a store's time, chance and ids come from, so that a world can be played again."""

    monotonic: Callable[[], float] = time.monotonic
    """Seconds since whenever."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[float, float], float] = random.uniform
    operation_id: Callable[[], str] = lambda: secrets.token_urlsafe(9)
    """Draws an id that no other commit has."""


class Again(Exception):
    """A try failed, and another may succeed."""

    def __init__(self, why: str, *, conflict: bool) -> None:
        super().__init__(why)
        self.conflict = conflict
        """Refused for certain, since another commit came between."""


@dataclass(slots=True)
class _Memory:
    """What is remembered from one attempt at a commit to the next."""

    wants: list[dict[Key, None]]
    """The keys that each transaction is shown."""
    sent: dict[str, list[Answer]] = field(default_factory=dict)
    """Operations that may have been applied, and what their callers then get."""
    written: set[str] = field(default_factory=set)
    fresh: bool = False
    """Nothing may come from memory."""


class FirestoreStore:
    """``ports.Store`` in one Firestore database.

    ``project`` and ``database`` name it; with ``FIRESTORE_EMULATOR_HOST`` set, it is that
    emulator's. ``call_seconds`` is the deadline of one call to Firestore; ``tries`` and
    ``patience_seconds`` bound the repetitions of one read; ``remember_seconds`` is how long
    calendar and pauses are remembered (``Changes.fresh`` says what must not rest on that).
    ``read_twice`` reads several documents until two readings agree: Google's emulator, unlike
    Firestore, shows a commit to readers document by document. ``outside`` replaces clock, sleep and
    chance. To be used from one event loop: the client belongs to the one that opened it.
    """

    profile = StoreProfile(small_commits=True, shared=True)

    def __init__(
        self,
        project: str,
        database: str = DEFAULT_DATABASE,
        *,
        call_seconds: float = 4.0,
        tries: int = 24,
        patience_seconds: float = 7.5,
        remember_seconds: float = 600.0,
        ledger_bytes_max: int = LEDGER_BYTES_MAX,
        chunk_bytes_max: int = CHUNK_BYTES_MAX,
        read_twice: bool = False,
        outside: Outside | None = None,
    ) -> None:
        self.project = project
        self.database = database
        self._call_seconds = call_seconds
        self._tries = tries
        self._patience_seconds = patience_seconds
        self._remember_seconds = remember_seconds
        self._ledger_bytes_max = ledger_bytes_max
        self._chunk_bytes_max = chunk_bytes_max
        self._read_twice = read_twice
        self._outside = outside or Outside()
        self._client: AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._remembered: OrderedDict[str, tuple[float, Row]] = OrderedDict()
        self._calls_of: Counter[AsyncClient] = Counter()
        """The calls that are on their way, by client."""
        self._failures = 0
        """Calls in a row that had no answer."""
        self._renewed_at = float("-inf")
        self.transactions = 0
        """Transactions that were decided, also those that wrote nothing."""
        self.commits = 0
        """Commits that wrote something, since the start."""
        self._written_at: float | None = None
        """When a commit last wrote something; None once one failed."""
        self.conflicts = 0
        """Commits that were refused because another came between."""
        self.settled = 0
        """Commits whose answer was lost and which turned out to have happened."""
        self.batch_max = 0
        """The most transactions that shared one commit."""
        self.documents_read = 0
        self.documents_written = 0
        """Billed, as counted here."""

    @property
    def name(self) -> str:
        """How settings name it: ``firestore:PROJECT[/DATABASE]``."""
        database = "" if self.database == DEFAULT_DATABASE else f"/{self.database}"
        return f"firestore:{self.project}{database}"

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Make the client. Raises ``Unavailable`` where there are no credentials for it."""
        if self._client is not None:
            raise Bug("the store is open already")
        self._loop = asyncio.get_running_loop()
        try:
            self._client = self._new_client()
        except (GoogleAuthError, OSError) as error:
            raise Unavailable(
                f"The store {self.name} cannot be opened: {str(error).rstrip('.')}. Run where a service account is "
                "attached, set GOOGLE_APPLICATION_CREDENTIALS, or for an emulator "
                "FIRESTORE_EMULATOR_HOST."
            ) from error

    async def close(self) -> None:
        """Close. Closing twice is harmless."""
        client = self._client
        if client is None:
            return
        self._loop = None  # nothing new from here on
        self._client = None
        self._remembered.clear()
        for one in (client, *self._calls_of):
            await _close(one)
        self._calls_of.clear()

    def _new_client(self) -> AsyncClient:
        return AsyncClient(project=self.project, database=self.database)

    def _failed(self, client: AsyncClient) -> None:
        """Make a new client after several failures in a row.

        A connection that was dropped without a word is noticed late, and one that could not be made
        is tried again by gRPC after up to two minutes only: both outlast the outage itself.
        """
        self._failures += 1
        now = self._outside.monotonic()
        if (
            client is self._client
            and self._failures >= RENEW_AFTER
            and now >= self._renewed_at + RENEW_SECONDS
        ):
            self._renewed_at = now
            try:
                self._client = self._new_client()
            except (GoogleAuthError, OSError) as error:
                log.warning("no new client could be made", error=str(error))

    async def _let_go(self, client: AsyncClient) -> None:
        """A call ended; a client that was replaced is closed after its last one."""
        self._calls_of[client] -= 1
        if not self._calls_of[client]:
            del self._calls_of[client]
            if client is not self._client and self._client is not None:
                await _close(client)

    def _check_open(self) -> AsyncClient:
        if self._client is None or self._loop is None:
            raise Unavailable(f"The store {self.name} is not open.")
        if self._loop is not asyncio.get_running_loop():
            raise Bug("the store is used from another event loop than the one that opened it")
        return self._client

    # ── the port ─────────────────────────────────────────────────────────────────────────────

    async def attempt(self, attempt: CommitAttempt) -> Sequence[Answer]:
        """Read, call the steps, and commit what they return, once; durable when this returns.

        An answer's error is what its step raises, ``BadInput`` for an id that cannot be one,
        ``TooLarge`` for a document that has no room, or ``Bug`` for a step that does not decide,
        creates what it was shown to exist, or writes what cannot be stored. Raises ``Interrupted``,
        ``Contended``, ``Unconfirmed``, ``DoNotFit``, and ``Unavailable`` where another attempt is
        of no use.
        """
        self._check_open()
        if attempt.memory is None:
            wants = [dict.fromkeys(t.keys) for t in attempt.transactions]
            attempt.memory = _Memory(wants)
        given = _deadline.set(self._outside.monotonic() + attempt.seconds)
        try:
            answers = await self._try(attempt)
        except Again as error:
            if not error.conflict:
                self._written_at = None
            kind = Unconfirmed if attempt.memory.sent else Interrupted
            unavailable = self._unavailable(error)
            raise kind(unavailable.detail, code=unavailable.code) from error
        except Contended:
            raise
        except Unavailable:
            self._written_at = None
            raise
        finally:
            _deadline.reset(given)
        self.transactions += len(answers)
        self.batch_max = max(self.batch_max, len(answers))
        return answers

    async def get(self, keys: Sequence[Key]) -> Mapping[Key, Document | None]:
        """The committed documents under ``keys`` as of one instant, None where there is none.

        One BatchGetDocuments promises that: what it answered has not changed when it answers the
        next. What a document is further kept in (parts, a rolled-over ledger, a live run's
        partition) is read after it. Raises ``Unavailable``.
        """
        self._check_open()
        wanted = tuple(dict.fromkeys(keys))
        if not wanted:
            return {}

        async def read() -> dict[Key, Document | None]:
            rows = await self._read(path(k) for k in wanted)
            if self._read_twice and len(rows) > 1:
                again = await self._read(rows)
                if any(again[p].version != rows[p].version for p in rows):
                    raise Again("documents changed while they were read", conflict=True)
            await self._complete(rows, wanted)
            return {k: document_of(k, rows) for k in wanted}

        return await self._patiently(read)

    async def find(self, query: Query) -> Page:
        """One page of committed documents, in order, null before everything else.

        A page holds at most ``PAGE_MAX`` documents. Ties are broken by the other compared fields,
        then by id. Raises ``BadInput`` for a limit below one, a page token that is not of this
        order, or a look that would gather more than ``SCAN_MAX`` documents; ``Bug`` for a field
        that is not indexed; ``Unavailable``.
        """
        self._check_open()
        check(query)
        if impossible(query):
            return Page(())
        if query.kind is Kind.EVENT:
            return await self._patiently(lambda: self._find_events(query))
        if sorts_here(query):
            return await self._patiently(lambda: self._find_sorted(query))
        return await self._patiently(lambda: self._find(query))

    async def grouped(self, grouping: Grouping) -> Groups:
        """What the index fields say. A document that an older version wrote is read whole.

        Each partition that it reads is billed as one read, however little of it is sent.
        """
        self._check_open()
        check_grouping(grouping)
        query = Query(Kind.PARTITION, grouping.where)
        check(query)
        if impossible(query):
            return {}
        return await self._patiently(lambda: self._grouped(grouping, query))

    async def _grouped(self, grouping: Grouping, query: Query) -> Groups:
        asked, names = plan(query), (*grouping.by, grouping.of)
        ordered = [o for o in asked.orders if o != NAME]
        left = float("inf") if grouping.limit is None else grouping.limit
        after: tuple[list[Any], str] | None = None
        groups: dict[tuple[Any, ...], list[Any]] = {}
        while left > 0:
            want = int(min(left, GROUPED_PER_PAGE))
            rows = await self._ask(asked, want, after, only=(*names, *ordered, INDEXED_BY, OPS))
            known = [tuple(r.fields[n] for n in names) for r in rows if r.indexed(names)]
            older = [r.path for r in rows if not r.indexed(names)]
            known += await self._index_values(query, names, older)
            for *values, value in known:
                groups.setdefault(tuple(values), []).append(value)
            left -= len(rows)
            if len(rows) < want:
                break
            after = [rows[-1].fields[o] for o in ordered], rows[-1].path.rpartition("/")[2]
        return groups

    async def _index_values(
        self, query: Query, names: Sequence[str], paths: Sequence[str]
    ) -> list[tuple[Any, ...]]:
        """The index values of documents, worked out here from their bodies."""
        rows = [row for row in (await self._read(paths)).values() if row.exists]
        return [
            tuple(index_value(INDEXES[query.kind][name](document)) for name in names)
            for id_, document in await self._decoded(query, rows)
            if fits(query, id_, document)
        ]

    async def ping(self) -> None:
        """Prove that the store can be read. Raises ``Unavailable``, without trying again."""
        self._check_open()
        try:
            await self._read([path(control_key(ALL))])
        except Again as error:
            raise self._unavailable(error) from error

    async def prove_writable(self) -> None:
        """Prove that Firestore takes commits, by one write that others need not repeat for a minute.

        Raises ``Unavailable``.
        """
        self._check_open()
        written_at = self._written_at
        if written_at is not None and self._outside.monotonic() - written_at < PROOF_SECONDS:
            return
        transaction = Transaction((PROOF_KEY,), lambda _: Changes(None, {PROOF_KEY: proof()}))
        for retries_left in (2, 1, 0):
            try:
                (answer,) = await self.attempt(CommitAttempt([transaction]))
            except Contended:
                return  # another process has just written the proof
            except (Interrupted, Unconfirmed):
                if not retries_left:
                    raise
            else:
                if answer.error is not None:
                    raise answer.error
                return

    async def changed_since(
        self, mark: ChangeCursor | None
    ) -> tuple[Sequence[Partition], ChangeCursor]:
        """The partitions that any process wrote after a mark, and the next mark.

        It goes by Firestore's clock alone, so those of the processes may differ. Those written in
        the ``OVERLAP`` before the mark come again. One query, and one more per
        ``CHANGED_PER_PAGE`` partitions. Raises ``Unavailable``.
        """
        self._check_open()
        if mark is None:
            return (), await self._patiently(self._present)
        return await self._patiently(lambda: self._changed(mark))

    async def _present(self) -> ChangeCursor:
        """The present at Firestore, as of a read."""
        control = path(control_key(ALL))
        return self._mark((await self._read([control]))[control])

    def _mark(self, row: Row) -> ChangeCursor:
        """The instant of a reading that was just answered."""
        at: datetime | None = row.read_at
        if at is None:
            raise Again("Firestore did not say when it read", conflict=False)
        return ChangeCursor(at, self._outside.monotonic())

    async def _changed(self, mark: ChangeCursor) -> tuple[list[Partition], ChangeCursor]:
        begun = self._outside.monotonic()
        asked = changed_plan(mark.at - OVERLAP)
        # Where nothing is found, no answer tells the time: less than has passed for certain.
        passed = timedelta(seconds=(begun - mark.taken) * DRIFT)
        following = ChangeCursor(mark.at + passed, begun)
        found: list[Partition] = []
        after: tuple[list[Any], str] | None = None
        while True:
            rows = await self._ask(asked, CHANGED_PER_PAGE, after)
            if rows and after is None:
                following = self._mark(rows[0])
            found += [d for _, d in await self._decoded(Query(Kind.PARTITION), rows)]
            if len(rows) < CHANGED_PER_PAGE:
                return found, following
            after = [rows[-1].fields[WRITTEN_AT]], rows[-1].path.rpartition("/")[2]

    # ── retried reads ────────────────────────────────────────────────────────────────────────

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Read until it succeeds, or patience runs out. Raises ``Unavailable``."""
        until = self._outside.monotonic() + self._patience_seconds

        def over(state: RetryCallState) -> bool:
            late = self._outside.monotonic() + LEAST_TRY_SECONDS > until
            return late or state.attempt_number >= self._tries

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Again),
            stop=over,
            wait=self._wait,
            sleep=self._outside.sleep,
            reraise=True,
        )
        given = _deadline.set(until)
        try:
            async for attempt in retrying:
                with attempt:
                    return await work()
        except Again as error:
            raise self._unavailable(error) from error
        finally:
            _deadline.reset(given)
        raise Bug("a retry ended without an answer")

    def _wait(self, state: RetryCallState) -> float:
        """Seconds until the next try."""
        return self._outside.uniform(WAIT_SECONDS_MIN, max(WAIT_SECONDS_MIN, WAIT(state)))

    def _unavailable(self, error: Exception) -> Unavailable:
        if isinstance(error, Again) and error.conflict:
            return Unavailable(
                f"Too many want the same documents of {self.name} at once; try again later. The "
                f"last answer: {error}",
                code=CONTENDED,
            )
        return Unavailable(f"The store {self.name} is out of reach: {error}. Try again later.")

    # ── one attempt at a commit ──────────────────────────────────────────────────────────────

    def _sent(self, memory: _Memory, rows: Mapping[str, Row]) -> list[Answer] | None:
        """What an earlier attempt's callers get, where its operation id is in the documents."""
        for op, answers in memory.sent.items():
            if any(op in row.ops for row in rows.values()):
                self.settled += 1
                self._forget(memory.written)
                return answers
        return None

    async def _try(self, attempt: CommitAttempt) -> list[Answer]:
        """Read, call the steps, commit. Raises ``Again``, ``Contended``, ``DoNotFit``."""
        memory: _Memory = attempt.memory
        try:
            wanted = {path(k): k for wants in memory.wants for k in wants}
        except BadInput as error:
            return self._alone(attempt, error)
        rows = {} if memory.fresh else self._recall(wanted)
        cached = set(rows)
        unread = {*wanted, *memory.written} - cached
        rows |= await self._read(unread)
        self._remember(wanted, rows, cached)
        if memory.sent:
            found = self._sent(memory, rows)
            if found is not None:
                return found
        if attempt.ask_only:
            raise Again("the last commit was not carried out", conflict=False)
        try:
            batch = await self._decide(attempt, rows, cached)
            op = self._outside.operation_id()
            writes = batch.writes(op)
        except PartGone as error:
            raise Again("a document changed while it was read", conflict=True) from error
        except (Unavailable, DoNotFit):
            raise
        except CoordinatorError as error:
            return self._alone(attempt, error)
        if not writes:
            return batch.answers
        self._check_size(attempt, writes)
        memory.sent[op] = batch.answers
        memory.written |= {w.path for w in writes}
        try:
            times = await self._commit(writes, batch.decided)
        except Again as error:
            memory.fresh = True
            if error.conflict:
                self._refused(memory, op, batch, error)
            raise
        except TooLarge as error:
            del memory.sent[op]
            return self._alone(attempt, error)
        self.commits += 1
        self._written_at = self._outside.monotonic()
        self._keep(writes, times)
        return batch.answers

    def _refused(self, memory: _Memory, op: str, batch: Batch, error: Again) -> None:
        """Another commit came between. Raises ``Contended``, unless an earlier attempt may yet turn
        out to have been carried out."""
        del memory.sent[op]
        self.conflicts += 1
        for number, keys in batch.unread_creates.items():
            memory.wants[number].update(dict.fromkeys(keys))
        if not memory.sent:
            self._forget(memory.written)
            raise Contended(self._unavailable(error).detail, frozenset(batch.touched)) from error

    def _alone(self, attempt: CommitAttempt, error: CoordinatorError) -> list[Answer]:
        """The fault of one transaction must not take the others down."""
        if len(attempt.transactions) > 1:
            raise DoNotFit(error.detail) from error
        return [Answer(error=error)]

    def _check_size(self, attempt: CommitAttempt, writes: Sequence[DocumentWrite]) -> None:
        alone = len(attempt.transactions) == 1
        total = 0
        for write in writes:
            size = field_bytes(write.fields)
            total += size if write.act is not WriteMode.HOLD else write.held_bytes
            if size > WARN_BYTES:
                log.warning("a document is large", path=write.path, bytes=size)
            if size > DOCUMENT_BYTES_MAX and alone:
                raise TooLarge(f"{write.path} would have {size} bytes; Firestore takes 1 MiB.")
        if (total > COMMIT_BYTES_MAX or len(writes) > WRITES_MAX) and not alone:
            raise DoNotFit(f"{len(writes)} writes of {total} bytes are more than one commit takes")

    async def _decide(
        self, attempt: CommitAttempt, rows: dict[str, Row], cached: set[str]
    ) -> Batch:
        """Call every step, with more documents as they ask for them, until all have decided."""
        all_wants: list[dict[Key, None]] = attempt.memory.wants
        for round_ in range(2 * ROUNDS_MAX):
            await self._complete(rows, [k for wants in all_wants for k in wants])
            batch = Batch(
                rows,
                all_wants,
                cached,
                last_call=round_ >= ROUNDS_MAX - 1,
                ledger_bytes_max=self._ledger_bytes_max,
                chunk_bytes_max=self._chunk_bytes_max,
            )
            batch.run(attempt.transactions)
            if batch.missing and round_ >= ROUNDS_TOGETHER and len(all_wants) > 1:
                raise DoNotFit("each reads by what the one before it puts, and then needs more")
            if batch.missing or batch.more_paths:
                for number, keys in batch.missing.items():
                    all_wants[number].update(dict.fromkeys(keys))
                wanted = {path(k): k for wants in all_wants for k in wants}
                more = (set(wanted) | batch.more_paths) - rows.keys()
                read = await self._read(more)
                self._remember(wanted, read, set())
                rows |= read
                continue
            if not batch.prove:
                return batch
            proved = await self._read(batch.prove)
            wanted = {path(k): k for wants in all_wants for k in wants}
            self._remember(wanted, proved, set())
            cached -= batch.prove
            if all(proved[p].version == rows[p].version for p in batch.prove):
                batch.prove = set()
                return batch
            rows |= proved
        raise Bug("a transaction does not settle on what to read")

    async def _complete(self, rows: dict[str, Row], keys: Iterable[Key]) -> None:
        """Read what the documents under ``keys`` are further kept in."""
        keys = list(keys)
        for _ in range(4):
            more = sorted({p for key in keys for p in extra_paths(key, rows)})
            if not more:
                return
            rows |= await self._read(more)

    # ── memory ───────────────────────────────────────────────────────────────────────────────

    def _recall(self, wanted: Mapping[str, Key]) -> dict[str, Row]:
        oldest = self._outside.monotonic() - self._remember_seconds
        found = {}
        for p, key in wanted.items():
            if key.kind in CACHED_KINDS and p in self._remembered:
                at, row = self._remembered[p]
                if at >= oldest:
                    found[p] = row
        return found

    def _remember(
        self, wanted: Mapping[str, Key], rows: Mapping[str, Row], cached: set[str]
    ) -> None:
        now = self._outside.monotonic()
        for p, row in rows.items():
            key = wanted.get(p)
            if key is not None and key.kind in CACHED_KINDS and p not in cached:
                self._remembered[p] = (now, row)
                self._remembered.move_to_end(p)
        while len(self._remembered) > CACHED_MAX:
            self._remembered.popitem(last=False)

    def _forget(self, paths: Iterable[str]) -> None:
        for p in paths:
            self._remembered.pop(p, None)

    def _keep(self, writes: Sequence[DocumentWrite], versions: Sequence[Any]) -> None:
        """Remember what this process has just written, as if it had read it."""
        now = self._outside.monotonic()
        for write, version in zip(writes, versions, strict=True):
            kind, _, name = write.path.partition("/")
            if kind not in CACHED_KINDS or "/" in name:
                continue
            known = self._remembered.pop(write.path, None)
            if write.act not in (WriteMode.CREATE, WriteMode.UPDATE, WriteMode.SET):
                continue
            if known is not None and known[1].exists and known[1].version > version:
                self._remembered[write.path] = known  # this answer was overtaken by a later one
            else:
                row = Row(write.path, version, dict(write.fields))
                self._remembered[write.path] = (now, row)

    # ── calls ────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _call(self, *, commits: bool = False) -> AsyncIterator[AsyncClient]:
        """One call to Firestore, with its deadline; its errors come out as ours."""
        client = self._client
        if client is None:
            raise Unavailable(f"The store {self.name} is not open.")
        self._calls_of[client] += 1
        left = _deadline.get() - self._outside.monotonic()
        try:
            async with asyncio.timeout(min(self._call_seconds, max(left, LEAST_TRY_SECONDS))):
                yield client
            self._failures = 0
        except _CONFLICTS as error:
            if isinstance(error, google.NotFound) and "database" in str(error).lower():
                raise Unavailable(
                    f"{self.name} does not exist: {error.message}. Create the database first "
                    "(docs/how-to-firestore.md)."
                ) from error
            if isinstance(error, google.FailedPrecondition) and not commits:
                raise Unavailable(
                    f"{self.name} does not serve a query: {error.message}. Deploy the indexes of "
                    "deploy/firestore (docs/how-to-firestore.md)."
                ) from error
            raise Again(_words(error), conflict=commits) from error
        except google.ResourceExhausted as error:
            if "message" in str(error) and "size" in str(error):
                raise TooLarge(f"A commit is larger than Firestore takes: {error}.") from error
            raise Again(_words(error), conflict=False) from error
        except google.InvalidArgument as error:
            words = str(error)
            if any(said in words.lower() for said in _TOO_LARGE):
                raise TooLarge(f"Firestore does not take what is to be written: {words}") from error
            raise Bug(f"Firestore does not understand a call: {words}") from error
        except (google.PermissionDenied, google.Unauthenticated, GoogleAuthError) as error:
            raise Unavailable(
                f"{self.name} refuses this service's identity: {error}. Grant it roles/datastore.user."
            ) from error
        except _UNSURE as error:
            if not isinstance(error, TimeoutError) or left >= self._call_seconds:
                self._failed(client)  # not where our own patience was short
            raise Again(_words(error), conflict=False) from error
        except google.GoogleAPICallError as error:
            raise Bug(f"Firestore answered {error!r}") from error
        finally:
            await self._let_go(client)

    async def _read(self, paths: Iterable[str]) -> dict[str, Row]:
        """The documents at ``paths``, absent ones too. Raises ``Again``."""
        paths = sorted(set(paths))
        rows: dict[str, Row] = {}
        for start in range(0, len(paths), READ_MAX):
            chunk = paths[start : start + READ_MAX]
            async with self._call() as client:
                refs = [client.document(p) for p in chunk]
                async for found in client.get_all(refs, retry=None, timeout=self._call_seconds):
                    row = _row(found)
                    rows[row.path] = row
            self.documents_read += len(chunk)
        if len(rows) != len(paths):
            raise Again("Firestore answered for some documents only", conflict=False)
        return rows

    async def _commit(
        self, writes: Sequence[DocumentWrite], decided: Sequence[Puts]
    ) -> Sequence[Any]:
        """Write all or nothing; says the version that each document has now.

        ``decided`` are the decisions behind the writes, for those who observe commits. Raises
        ``Again``: where it is no conflict, it may have happened.
        """
        async with self._call(commits=True) as client:
            batch = client.batch()
            for write in writes:
                ref = client.document(write.path)
                # It travels inside the document's own write, and is billed as no other.
                stamp = {WRITTEN_AT: SERVER_TIMESTAMP} if write.stamped else {}
                fields = {**write.fields, **stamp}
                match write.act:
                    case WriteMode.CREATE:
                        batch.create(ref, fields)
                    case WriteMode.SET:
                        batch.set(ref, fields)
                    case WriteMode.DELETE:
                        batch.delete(ref)
                    case WriteMode.ABSENT:
                        batch.delete(ref, option=client.write_option(exists=False))
                    case WriteMode.UPDATE | WriteMode.HOLD:
                        option = client.write_option(last_update_time=write.version)
                        batch.update(ref, fields, option=option)
            results = await batch.commit(retry=None, timeout=self._call_seconds)
        self.documents_written += len(writes)
        return [result.update_time for result in results]

    async def _ask(
        self,
        plan_: Plan,
        limit: int,
        after: tuple[Sequence[Any], str] | None = None,
        *,
        at: bool = False,
        only: Sequence[str] = (),
    ) -> list[Row]:
        """The documents of a plan, after (or with ``at`` from) a place. Raises ``Again``.

        With ``only`` no other fields of them are sent.
        """
        async with self._call() as client:
            asked: Any = (
                client.collection_group(plan_.collection)
                if plan_.group
                else client.collection(plan_.collection)
            )
            for one in plan_.filters:
                value = one.value
                if one.field == NAME:
                    ids = value if one.op == "in" else [value]
                    refs = [client.document(f"{plan_.collection}/{escape(i)}") for i in ids]
                    value = refs if one.op == "in" else refs[0]
                elif one.op == "in":
                    value = list(value)
                asked = asked.where(filter=FieldFilter(one.field, one.op, value))
            for order in plan_.orders:
                asked = asked.order_by(
                    order, direction="DESCENDING" if plan_.descending else "ASCENDING"
                )
            if after is not None:
                values, name = after
                place = dict(zip(plan_.orders, values, strict=False))
                place[NAME] = client.document(f"{plan_.collection}/{name}")
                asked = asked.start_at(place) if at else asked.start_after(place)
            if only:
                asked = asked.select(list(dict.fromkeys(only)))
            stream = asked.limit(limit).stream(retry=None, timeout=self._call_seconds)
            rows = [_row(found) async for found in stream]
        self.documents_read += max(1, len(rows))
        return rows

    # ── finding ──────────────────────────────────────────────────────────────────────────────

    async def _find(self, query: Query) -> Page:
        limit = min(query.limit, PAGE_MAX)
        asked = plan(query)
        after = None
        if query.after is not None:
            values, id_ = from_token(query, query.after, len(asked.orders) - 1)
            after = values, escape(id_)
        found: list[tuple[str, Document]] = []
        while len(found) <= limit:
            want = limit + 1 - len(found)
            rows = await self._ask(asked, want, after)
            found += await self._decoded(query, rows)
            if len(rows) < want:
                break
            name = rows[-1].path.rpartition("/")[2]
            after = [rows[-1].fields.get(o) for o in asked.orders if o != NAME], name
        return self._page(query, asked.orders, found, limit)

    def _page(
        self,
        query: Query,
        orders: Sequence[str],
        found: Sequence[tuple[str, Document]],
        limit: int,
    ) -> Page:
        items = tuple(found[:limit])
        if len(found) <= limit:
            return Page(items)
        id_, document = items[-1]
        return Page(items, token(query, position(query, orders, document), id_))

    async def _decoded(self, query: Query, found: Sequence[Row]) -> list[tuple[str, Document]]:
        """The documents in rows; without those that, seen whole, do not fit."""
        rows = {row.path: row for row in found}
        keys = [Key(query.kind, unescape(row.path.partition("/")[2])) for row in found]
        await self._complete(rows, keys)
        decoded = []
        for key in keys:
            try:
                document = document_of(key, rows)
            except PartGone as error:
                raise Again("a document changed while it was read", conflict=True) from error
            if document is None:
                continue  # a ledger whose table's date was never folded
            if query.kind is Kind.RUN and not fits(query, key.id, document):
                continue
            decoded.append((key.id, document))
        return decoded

    async def _find_sorted(self, query: Query) -> Page:
        """By id, while other fields are compared: gathered, and sorted here."""
        asked = Plan(query.kind.value, plan(query).filters, (*ranged(query), NAME))
        rows = await self._ask(asked, SCAN_MAX + 1)
        self._check_scan(rows)
        found = await self._decoded(query, rows)
        return self._sorted_page(query, found)

    def _check_scan(self, rows: Sequence[object]) -> None:
        if len(rows) > SCAN_MAX:
            raise BadInput(
                f"More than {SCAN_MAX} documents would have to be gathered to sort them. Ask for "
                "less: a table and a date, a correlation id, a narrower range."
            )

    def _sorted_page(self, query: Query, found: list[tuple[str, Document]]) -> Page:
        limit = min(query.limit, PAGE_MAX)
        ordered = sorted(found, key=lambda f: _rank(query, *f), reverse=query.descending)
        if query.after is not None:
            values, id_ = from_token(query, query.after, 0 if query.order == "id" else 1)
            place = (*(_sortable(v) for v in values), id_.encode())
            try:
                ordered = [
                    f
                    for f in ordered
                    if (_rank(query, *f) < place if query.descending else _rank(query, *f) > place)
                ]
            except TypeError as error:
                raise bad_page_token() from error
        return self._page(query, (query.order,) if query.order != "id" else (), ordered, limit)

    # ── finding in ledgers ───────────────────────────────────────────────────────────────────

    async def _find_events(self, query: Query) -> Page:
        asked = ledger_plan(query)
        by_name = len(asked.orders) == (1 if query.order == "id" else 2)
        streamed = query.order in STREAMED and not sorts_here(query)
        if streamed and by_name and rolled_plan(query) is None:
            return await self._stream_events(query, asked)
        rows = await self._ask(replace(asked, descending=False), SCAN_MAX + 1)
        self._check_scan(rows)
        found = dict(await self._entries(query, rows, chunks=rolled_plan(query) is None))
        rolled = rolled_plan(query)
        if rolled is not None:
            for row in await self._ask(rolled, SCAN_MAX + 1):
                home = row.path.split("/")[1]
                for name, raw in unpack_chunk(row.fields).items():
                    id_ = event_id_of(unescape(home), name)
                    found.setdefault(id_, entry_of(raw))
        kept = [(i, e) for i, e in found.items() if fits(query, i, e)]
        if not narrow(query):
            self._check_scan(kept)
        return self._sorted_page(query, kept)

    async def _entries(
        self, query: Query, rows: Sequence[Row], *, chunks: bool
    ) -> list[tuple[str, Document]]:
        """Every entry of these ledgers, with those rolled over where ``chunks`` says so."""
        paths = [chunk_path(r.path, n) for r in rows for n in range(len(r.ledger.rolled))]
        rolled = await self._read(paths) if chunks and paths else {}
        found: dict[str, Document] = {}
        for row in rows:
            home = unescape(row.path.partition("/")[2])
            for number in range(len(row.ledger.rolled)):
                chunk = rolled.get(chunk_path(row.path, number))
                if chunk is not None and chunk.exists:
                    for name, raw in unpack_chunk(chunk.fields).items():
                        found[event_id_of(home, name)] = entry_of(raw)
            for name, raw in row.ledger.entries.items():
                found[event_id_of(home, name)] = entry_of(raw)
        return list(found.items())

    async def _stream_events(self, query: Query, asked: Plan) -> Page:
        """Ledger by ledger, where the entries' order follows from their documents' order."""
        limit = min(query.limit, PAGE_MAX)
        after: tuple[list[Any], str] | None = None
        place: tuple[Any, ...] | None = None
        count = len(asked.orders) - 1
        if query.after is not None:
            values, id_ = from_token(query, query.after, count)
            place = (*(_sortable(v) for v in values), id_.encode())
            after = values, escape(split_event(id_)[0])
        at = True
        found: list[tuple[str, Document]] = []
        while len(found) <= limit:
            rows = await self._ask(asked, LEDGERS_PER_PAGE, after, at=at)
            entries = [e for e in await self._entries(query, rows, chunks=True) if fits(query, *e)]
            entries.sort(key=lambda e: _rank(query, *e), reverse=query.descending)
            for entry in entries:
                rank = _rank(query, *entry)
                if place is None or (rank < place if query.descending else rank > place):
                    found.append(entry)
            if len(rows) < LEDGERS_PER_PAGE:
                break
            last = rows[-1]
            after = (
                [last.fields.get(o) for o in asked.orders if o != NAME],
                last.path.partition("/")[2],
            )
            at = False
        return self._page(query, (query.order,) if count else (), found, limit)


async def _close(client: AsyncClient) -> None:
    api = client._firestore_api_internal
    if api is not None:
        await api.transport.close()


def _row(found: Any) -> Row:
    """A document as the client answers it; an absent one has no update time."""
    if not found.exists:
        return Row(found.reference.path, read_at=found.read_time)
    fields = found.to_dict() or {}
    return Row(found.reference.path, found.update_time, fields, found.read_time)


def _rank(query: Query, id_: str, document: Document) -> tuple[Any, ...]:
    """What a document is sorted by, here."""
    if query.order == "id":
        return (id_.encode(),)
    value = index_value(INDEXES[query.kind][query.order](document))
    return (_sortable(value), id_.encode())


def _sortable(value: Any) -> tuple[int, Any]:
    """Null before everything else, strings by their bytes."""
    if value is None:
        return (0, 0)
    return (1, value.encode()) if isinstance(value, str) else (1, value)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500] if str(error) else type(error).__name__
