"""Protocols that the outside must fit: the store, launchers, announcers, notifiers, the clock.

Owns the shapes only. A store holds documents (see ``documents``) under keys and changes any number
of them at once, all or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from coordinator.core.arrivals import Arrival
from coordinator.core.model import Partition, Run
from coordinator.core.spec import LaunchTarget, ProcessorSpec
from coordinator.errors import CONTENDED, CoordinatorError, Unavailable

T = TypeVar("T")


class Kind(StrEnum):
    """The collections of a store."""

    PARTITION = "partitions"
    TABLE_DATE = "table_dates"
    EVENT = "events"
    CALENDAR = "calendar"
    DATES = "dates"
    RUN = "runs"
    CONTROL = "controls"
    QUARANTINE = "quarantine"
    AUDIT = "audit"
    BACKFILL = "backfills"
    REGISTRY = "registries"
    PENDING = "pending"


class Key(NamedTuple):
    """The place of one document."""

    kind: Kind
    id: str


Document = Any
"""A frozen value of the type that ``documents.TYPES`` names for its kind."""


@dataclass(frozen=True, slots=True)
class NeedDocuments:
    """A step's answer that it must read more documents before it can decide."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Changes(Generic[T]):
    """What a step wants written, all or nothing, and what its caller gets once that is durable.

    What was read and is put must still be as it was read when it is committed; ``guards`` says which
    further documents must be, and ``fresh`` which must not have come from what a process remembers.
    Whoever decides declares both, since a store does not know what a decision rests on. Left out,
    each means everything that was read.
    """

    result: T
    puts: Mapping[Key, Document] = field(default_factory=dict)
    """With no entries nothing is committed."""
    creates: frozenset[Key] = frozenset()
    """Those of ``puts`` that must not exist yet; where one does, the step is called again on what is
    there now."""
    guards: frozenset[Key] | None = None
    """Documents that were read, are not put, and must be unchanged when the rest is committed."""
    fresh: frozenset[Key] | None = None
    """Documents that were read and must have been read from the store itself."""


Step = Callable[[Mapping[Key, Document | None]], Changes[T] | NeedDocuments]
"""A pure function of the documents read; it may be called again on newer ones."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """What reads ``keys`` and is decided by ``step``: all of it is written, or nothing."""

    keys: tuple[Key, ...]
    step: Step[Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a transaction: its step's result, or the error that kept it from being written."""

    value: Any = None
    error: Exception | None = None


@dataclass(slots=True, eq=False)
class CommitAttempt:
    """Transactions to be committed together, in order, each deciding on what those before it put.

    It may be handed to a store again, which remembers in ``memory`` what it needs for that.
    """

    transactions: Sequence[Transaction]
    seconds: float = float("inf")
    """How long this attempt may take."""
    ask_only: bool = False
    """Only find out whether an earlier, unconfirmed attempt was carried out."""
    memory: Any = None


class Interrupted(Unavailable):
    """Nothing was written. Another attempt may succeed."""


class Contended(Interrupted):
    """Nothing was written, since another commit came between."""

    code = CONTENDED

    def __init__(self, detail: str, written: frozenset[Key] = frozenset()) -> None:
        super().__init__(detail)
        self.written = written
        """The documents that it read and meant to write, or whose change it guards against."""


class Unconfirmed(Unavailable):
    """It may or may not have been written. Another attempt finds out, and makes up for it."""


class DoNotFit(CoordinatorError):
    """Nothing was written, since the transactions do not fit one commit together."""


class Op(StrEnum):
    EQ = "="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    IN = "in"


@dataclass(frozen=True, slots=True)
class Where:
    """One condition on an indexed field (``documents.INDEXES``). Null never fits LT, LE, GT, GE."""

    field: str
    op: Op
    value: Any


@dataclass(frozen=True, slots=True)
class Query:
    """A bounded, ordered read of one collection. ``after`` is a ``next_page_token``."""

    kind: Kind
    where: tuple[Where, ...] = ()
    order: str = "id"
    descending: bool = False
    limit: int = 100
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Documents with their ids, in order."""

    items: tuple[tuple[str, Document], ...]
    next_page_token: str | None = None


@dataclass(frozen=True, slots=True)
class Grouping:
    """The partitions' values of one indexed field, grouped by others: no document is decoded.

    The fields hold texts or integers. ``limit`` is how many partitions are read.
    """

    by: tuple[str, ...]
    of: str
    where: tuple[Where, ...] = ()
    limit: int | None = None


Groups = Mapping[tuple[Any, ...], Sequence[Any]]
"""The values of ``Grouping.by`` → those of ``of``, in no order, one for each partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreProfile:
    """What a store says of itself, so that its callers use it well."""

    small_commits: bool
    """A commit should hold few documents: work that shares none is committed apart. Otherwise
    everything that waits is best committed together."""
    shared: bool
    """Other processes change it at the same time, and each of its calls may cost money."""


PROOF_SECONDS = 60.0
"""For how long a commit proves that a store can be written."""


class Store(Protocol):
    """State with atomic, serialisable changes over any number of documents.

    Every method raises ``Unavailable`` when the store cannot be reached; then nothing was changed.
    """

    @property
    def profile(self) -> StoreProfile:
        """How it wants to be used; the same from before it is opened."""
        ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def attempt(self, attempt: CommitAttempt) -> Sequence[Answer]:
        """Read, call the steps, and commit what they return, once; durable when this returns.

        A step that raises gives its error as its answer and harms no other. Raises ``Interrupted``,
        ``Contended``, ``Unconfirmed`` and ``DoNotFit``. Commits go through ``service.commits``,
        which does what those ask for.
        """
        ...

    async def get(self, keys: Sequence[Key]) -> Mapping[Key, Document | None]: ...

    async def find(self, query: Query) -> Page: ...

    async def grouped(self, grouping: Grouping) -> Groups:
        """What an index says of many partitions. Raises ``Bug`` for fields that are not indexed."""
        ...

    async def ping(self) -> None:
        """Prove that the store can be read."""
        ...

    async def prove_writable(self) -> None:
        """Prove that the store takes commits.

        A commit within the last ``PROOF_SECONDS`` is proof, unless a later one failed; otherwise a
        small document is committed.
        """
        ...


@dataclass(frozen=True, slots=True)
class ChangeCursor:
    """How far the changes of a store were looked through; for the process that made it alone."""

    at: datetime
    """By the store's own clock."""
    taken: float
    """By this process's monotonic clock."""


@runtime_checkable
class Watchable(Protocol):
    """A store that other processes change too, and that can be asked what changed."""

    async def changed_since(
        self, mark: ChangeCursor | None
    ) -> tuple[Sequence[Partition], ChangeCursor]:
        """The partitions that changed after a mark, as they are now, and the next mark.

        Some that changed shortly before it come again: tell them apart by id and revision. Without
        a mark it finds nothing and marks the present. Raises ``Unavailable``.
        """
        ...


class Clock(Protocol):
    """Time, from outside."""

    def now(self) -> datetime:
        """The current instant, UTC, timezone-aware."""
        ...

    def monotonic(self) -> float:
        """Seconds on a scale that nobody sets: only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None: ...


Entropy = Callable[[], str]
"""Draws an unguessable token (at least 128 bits, URL-safe)."""


class Launcher(Protocol):
    """Hands launch messages to whatever runs processors."""

    async def launch(
        self, target: LaunchTarget, spec: ProcessorSpec, run: Run, message: Mapping[str, Any]
    ) -> str:
        """Deliver, and return proof: a message id. Raises ``Unavailable`` when not delivered."""
        ...


@runtime_checkable
class PooledLauncher(Protocol):
    """A launcher that executes launches itself, so many at a time.

    A launch that finds no room waits in the outbox: it is delivered when a worker takes it
    (specification 4.2).
    """

    def call_on_room(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever there may be room again."""
        ...

    @property
    def room(self) -> int:
        """How many launches it would take at once now."""
        ...

    async def launch(
        self, target: LaunchTarget, spec: ProcessorSpec, run: Run, message: Mapping[str, Any]
    ) -> str:
        """As ``Launcher.launch``; a worker takes it at once. Raises ``Unavailable``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPool:
    """How the pool of local workers does."""

    workers: int
    busy: int
    waiting: int
    """Launches that wait for a worker."""
    replaced: Mapping[str, int]
    """Why workers were replaced since the start → how often."""
    last_replaced_at: datetime | None = None
    last_replaced: str = ""
    """During which run a worker was last replaced, and why."""


class Announcer(Protocol):
    """Tells the world outside that an output was loaded."""

    async def announce(self, arrival: Arrival) -> str: ...


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to people (specification 6)."""

    severity: str
    kind: str
    processor: str | None
    game_date: str | None
    summary: str
    detail: str
    link: str | None = None
    notice_id: str = ""
    at: datetime | None = None


class Notifier(Protocol):
    async def notify(self, notice: Notice) -> None:
        """Deliver to people. Raises ``Unavailable`` when it could not be delivered."""
        ...
