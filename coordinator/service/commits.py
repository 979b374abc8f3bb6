"""The unit of work: every change of the store goes through here, and is grouped, retried and split.

A use case hands in which documents it needs, which of them it expects to write, and a step that
decides. Work that expects to write the same documents shares a commit: what waits while such a
commit is on its way is joined into the next one, so a burst on one date costs as many commits as
round trips have passed, and cannot livelock. A store makes one attempt. What it refused because
another commit came between is attempted again, and halved when that keeps happening; what cannot be
committed together is halved at once; and nobody waits for longer than its own deadline.

A store whose profile asks for small commits gets those; any other gets one group of mergeable work
at a time, as large as what waits, and everything else at once.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar, cast

import structlog

from coordinator.errors import Bug, CoordinatorError, Unavailable
from coordinator.ports import (
    Answer,
    Changes,
    CommitAttempt,
    Contended,
    Document,
    DoNotFit,
    Interrupted,
    Key,
    NeedDocuments,
    Step,
    Store,
    Transaction,
    Unconfirmed,
)

log = structlog.get_logger(__name__)

I = TypeVar("I")  # noqa: E741 - an item
T = TypeVar("T")

MakeStep = Callable[[Sequence[I]], Step[Sequence[T]]]
"""Makes one step of several items of work, which decides on all of them and answers in their order."""

Then = Callable[[Sequence[Any]], None]
"""Gets the answers of one step as soon as they are durable, whether or not their callers still wait."""

PATIENCE_SECONDS: Final = 7.5
"""For how long a commit is attempted: Pub/Sub wants an answer within ten seconds."""
ATTEMPTS_MAX: Final = 24
LEAST_SECONDS: Final = 0.25
"""With less left until a deadline, nothing more is attempted."""
LAST_LOOK_SECONDS: Final = 1.0
"""For the question whether an unconfirmed commit was carried out, once the deadline has passed."""
REFUSALS_TOGETHER: Final = 3
"""Refusals after which work does not go on in one commit."""
WAIT_SECONDS_MIN: Final = 0.005
WAIT_SECONDS: Final = 0.025
WAIT_SECONDS_MAX: Final = 1.5
"""Before attempt n the wait is drawn, from the least up to ``WAIT_SECONDS`` times 2 to the power n."""
CONTENDED_SECONDS: Final = 5.0
"""How long documents that a refused group wrote unexpectedly keep together all that reads them."""
GROUPS_AT_ONCE: Final = 32
PIECES_MAX: Final = 256
"""Pieces of work in one commit."""
DOCUMENTS_MAX: Final = 150
"""Documents that the pieces of one small commit may expect to write; each may add a run to its own."""
CONSIDERED_MAX: Final = 2000
"""Waiting pieces that are considered for the next commits."""
WAITING_MAX: Final = 50_000
QUEUED_SECONDS_MAX: Final = 45.0
"""For how long merged work waits for its first attempt. What a caller checked before it handed the
work in, such as which registries are served, must not be older when it is committed."""


@dataclass(frozen=True, slots=True)
class Item(Generic[I]):
    """Something to decide on: the documents that this reads, and those that it expects to write."""

    item: I
    keys: Sequence[Key]
    writes: Iterable[Key]


@dataclass(slots=True, eq=False)
class _Piece:
    """What cannot be divided further, and who waits for it."""

    item: Any
    make_step: MakeStep[Any, Any]
    keys: Sequence[Key]
    documents: set[Hashable]
    """It must not be on its way beside another piece that has one of these."""
    then: Then
    future: asyncio.Future[Any]
    waits_until: float
    """Until when it may wait in the queue."""
    deadline: float | None = None
    """Until when its caller waits; None until its first attempt begins."""


@dataclass(slots=True, eq=False)
class _Group:
    """Pieces that share a commit, in the order in which they came."""

    pieces: list[_Piece] = field(default_factory=list)
    documents: set[Hashable] = field(default_factory=set)


def _nothing(_: Sequence[Any]) -> None:
    """Nothing follows from a commit but its callers' answers."""


class _Widened(Exception):
    """A group wrote what others may mean to write beside it: it begins again, with these."""


class _Divided(Exception):
    """A group cannot be committed whole."""


class Commits:
    """Commits work to one store. To be used from one event loop.

    ``uniform`` draws the waits between attempts.
    """

    def __init__(
        self,
        store: Store,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
        patience_seconds: float = PATIENCE_SECONDS,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._sleep = sleep
        self._uniform = uniform
        self._patience_seconds = patience_seconds
        self._attempts_max = attempts_max
        self._small = store.profile.small_commits
        self._queue = Queue()
        self._starting = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.retries = 0
        """Attempts that were made again, since the start."""
        self.failed_commits = 0
        """Groups whose callers all got an error, since the start."""

    @property
    def waiting(self) -> int:
        """Pieces of work whose commit has not begun."""
        return len(self._queue)

    # ── what callers ask for ─────────────────────────────────────────────────────────────────

    async def transact(
        self, keys: Sequence[Key], step: Step[T], *, writes: Iterable[Key] | None = None
    ) -> T:
        """Read ``keys``, call ``step``, and commit what it returns; durable when this returns.

        Patience begins with the call. ``writes`` are the documents that it is expected to write;
        left out, all that it reads.
        Raises what ``step`` raises (then it wrote nothing), ``BadInput`` for an id that cannot be
        one, ``TooLarge`` for a document that has no room, ``Unavailable`` when the store cannot be
        reached or too much waits, and ``Bug`` for a step that no store could commit.
        """
        make_step = _alone(step)
        if not self._small:  # such a store groups what comes to it at the same time
            piece = self._piece(Item(None, keys, ()), make_step)
            await self._settle([piece], set())
        else:
            piece = self._piece(Item(None, keys, keys if writes is None else writes), make_step)
            piece.deadline = piece.waits_until = self._monotonic() + self._patience_seconds
            self._submit([piece])
        return cast(T, await piece.future)

    async def merged(
        self, make_step: MakeStep[I, T], item: Item[I], then: Callable[[Sequence[T]], None]
    ) -> T:
        """Commit an item; those that wait with the same ``make_step`` are decided on by one step.

        Where that step fails, they are divided until the error is the item's own. Patience begins
        with the first attempt, so that a burst is worked off and not sent again, which it waits for
        no longer than ``QUEUED_SECONDS_MAX``. Raises as ``transact``.
        """
        piece = self._piece(item, make_step, then)
        self._submit([piece])
        return cast(T, await piece.future)

    async def together(
        self,
        make_step: MakeStep[I, T],
        items: Sequence[Item[I]],
        then: Callable[[Sequence[T]], None],
    ) -> list[T | Exception]:
        """Commit items in one commit, or in as many as it takes, and give each its own answer.

        Raises nothing but what ends the caller.
        """
        if not items:
            return []
        shared = object()
        pieces = [self._piece(item, make_step, then) for item in items]
        for piece in pieces:
            piece.documents.add(shared)
        self._submit(pieces)
        answers = await asyncio.gather(*(p.future for p in pieces), return_exceptions=True)
        return cast(list[T | Exception], answers)

    async def finish(self) -> None:
        """Let everything that waits be committed or fail."""
        while self._tasks or self._starting:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)

    # ── grouping ─────────────────────────────────────────────────────────────────────────────

    def _piece(
        self, item: Item[Any], make_step: MakeStep[Any, Any], then: Then = _nothing
    ) -> _Piece:
        documents: set[Hashable] = {*item.writes} if self._small else {make_step}
        return _Piece(
            item=item.item,
            make_step=make_step,
            keys=item.keys,
            then=then,
            documents=documents,
            future=asyncio.get_running_loop().create_future(),
            waits_until=self._monotonic() + QUEUED_SECONDS_MAX,
        )

    def _submit(self, pieces: Sequence[_Piece]) -> None:
        if len(self._queue) + len(pieces) > max(WAITING_MAX, len(pieces)):
            raise Unavailable(f"{WAITING_MAX} changes wait for the store already. Try again later.")
        self._queue.add(pieces)
        if not self._starting:
            self._starting = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        self._starting = False
        room = GROUPS_AT_ONCE - len(self._tasks)
        documents_max = DOCUMENTS_MAX if self._small else None
        for group in self._queue.take(room, self._monotonic(), documents_max):
            task = asyncio.ensure_future(self._serve(group))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._queue:
            self._start()

    async def _serve(self, group: _Group) -> None:
        try:
            await self._settle(group.pieces, group.documents)
        except _Widened:
            self._queue.put_back(group)
        finally:
            self._queue.finished(group)

    # ── attempts ─────────────────────────────────────────────────────────────────────────────

    async def _settle(self, pieces: Sequence[_Piece], documents: set[Hashable]) -> None:
        """Commit pieces together, or where that cannot be, in halves; every caller gets its answer.

        ``documents`` are those that nothing else in this process writes meanwhile. Raises
        ``_Widened`` where the pieces are to begin again.
        """
        pieces = [p for p in pieces if not p.future.done()]
        if not pieces:
            return
        try:
            failed = await self._commit(pieces, documents)
        except _Widened:
            raise
        except _Divided:
            failed = [pieces]
        except Exception as error:
            if not isinstance(error, CoordinatorError):
                log.exception("a commit failed unexpectedly")
                error = Bug(f"a commit failed unexpectedly: {error!r}")
            if len(pieces) == 1 or isinstance(error, Unavailable):
                self.failed_commits += 1
                for piece in pieces:
                    _answer(piece, error=error)
                return
            failed = [pieces]
        for some in failed:
            half = len(some) // 2
            await self._settle(some[:half], documents)
            await self._settle(some[half:], documents)

    async def _commit(
        self, pieces: Sequence[_Piece], documents: set[Hashable]
    ) -> list[Sequence[_Piece]]:
        """Commit pieces together and answer their callers.

        Gives those back that one step decided on and that failed together. Raises ``_Divided``,
        ``_Widened``, and what the store raises.
        """
        runs = _runs(pieces)
        attempt = CommitAttempt([_transaction(run) for run in runs])
        latest = self._monotonic() + self._patience_seconds
        for piece in pieces:
            piece.deadline = latest if piece.deadline is None else piece.deadline
        deadlines = [p.deadline or latest for p in pieces]
        # Who came too late for an attempt of its own must not shorten that of the others.
        deadline = min([d for d in deadlines if self._time_until(d)] or deadlines)
        refused = 0
        over: Interrupted | Unconfirmed
        answers: Sequence[Answer]
        for number in itertools.count(1):
            attempt.seconds = max(deadline - self._monotonic(), LEAST_SECONDS)
            try:
                answers = await self._store.attempt(attempt)
                break
            except DoNotFit as error:
                raise _Divided from error
            except Contended as error:
                if self._small and error.written - documents:
                    self._widen(pieces, error)
                    raise _Widened from error
                refused += 1
                # Another process writes some of it all the time. Less of it may get through.
                if refused >= REFUSALS_TOGETHER and len(pieces) > 1:
                    raise _Divided from error
                over = error
            except (Interrupted, Unconfirmed) as error:
                over = error
            if number >= self._attempts_max or not self._time_until(deadline):
                answers = await self._at_last(pieces, attempt, over)
                break
            self.retries += 1
            left = deadline - LEAST_SECONDS - self._monotonic()
            await self._sleep(min(self._wait(number), left))
        failed: list[Sequence[_Piece]] = []
        for run, answer in zip(runs, answers, strict=True):
            if answer.error is None:
                try:
                    run[0].then(answer.value)
                except Exception:  # what is committed is committed, and must not be attempted again
                    log.exception("what follows from a commit failed")
                for piece, value in zip(run, answer.value, strict=True):
                    _answer(piece, value=value)
            elif len(run) == 1 or isinstance(answer.error, Unavailable):
                self.failed_commits += isinstance(answer.error, Unavailable)
                for piece in run:
                    _answer(piece, error=answer.error)
            else:
                failed.append(run)
        return failed

    async def _at_last(
        self, pieces: Sequence[_Piece], attempt: CommitAttempt, error: Unavailable
    ) -> Sequence[Answer]:
        """What a commit came to whose time is over. Raises ``error``, or ``_Divided`` where only
        some callers can wait no longer: those have been answered then."""
        if isinstance(error, Unconfirmed):
            attempt.seconds, attempt.ask_only = LAST_LOOK_SECONDS, True
            return await self._store.attempt(attempt)
        late = [p for p in pieces if not self._time_until(p.deadline or 0.0)]
        if late and len(late) < len(pieces):
            for piece in late:
                _answer(piece, error=error)
            raise _Divided from error
        raise error

    def _widen(self, pieces: Sequence[_Piece], error: Contended) -> None:
        for piece in pieces:
            piece.documents |= error.written
        self._queue.contended(error.written, self._monotonic() + CONTENDED_SECONDS)

    def _time_until(self, deadline: float) -> bool:
        """Whether there is time for another attempt."""
        return self._monotonic() + LEAST_SECONDS <= deadline

    def _wait(self, number: int) -> float:
        """Seconds until the attempt after this one."""
        longest = min(WAIT_SECONDS * 2.0**number, WAIT_SECONDS_MAX)
        return self._uniform(WAIT_SECONDS_MIN, longest)


class Queue:
    """Pieces that wait, and the documents of the groups that are on their way."""

    def __init__(self) -> None:
        self._urgent: list[_Piece] = []
        """Of callers whose patience has begun."""
        self._pieces: list[_Piece] = []
        self._busy: set[Hashable] = set()
        self._contended: dict[Hashable, float] = {}
        """Documents that refused groups wrote unexpectedly, and until when that is considered."""

    def __len__(self) -> int:
        return len(self._urgent) + len(self._pieces)

    def add(self, pieces: Iterable[_Piece]) -> None:
        for piece in pieces:
            (self._pieces if piece.deadline is None else self._urgent).append(piece)

    def put_back(self, group: _Group) -> None:
        """Let the pieces of a group begin again, before those that came later."""
        self._urgent[:0] = group.pieces

    def contended(self, documents: Iterable[Hashable], until: float) -> None:
        """For a while, count everything that reads these documents as writing them too."""
        self._contended |= dict.fromkeys(documents, until)

    def finished(self, group: _Group) -> None:
        """The documents of a group are free again."""
        self._busy -= group.documents

    def take(self, room: int, now: float, documents_max: int | None = None) -> list[_Group]:
        """The groups that can begin now, ``room`` at the most.

        First come, first served for each document, but those whose patience has begun pass the
        others: a heartbeat does not wait for a burst of events. What has to wait can still be
        joined. Who has waited for too long is answered.
        """
        self._contended = {d: until for d, until in self._contended.items() if until > now}
        blocked = set(self._busy)
        owner: dict[Hashable, _Group] = {}
        groups: dict[_Group, None] = {}
        waiting = [*self._urgent, *self._pieces[: max(0, CONSIDERED_MAX - len(self._urgent))]]
        self._pieces = self._pieces[len(waiting) - len(self._urgent) :]
        considered = [p for p in waiting if not _expired(p, now)]
        rest: list[_Piece] = []
        for piece in considered:
            if self._contended:
                piece.documents |= self._contended.keys() & set(piece.keys)
            joined = list({owner[d]: None for d in piece.documents if d in owner})
            if (
                blocked.isdisjoint(piece.documents)
                and (joined or len(groups) < room)
                and _fits(piece, joined, documents_max)
            ):
                group = _join(joined)
                group.pieces.append(piece)
                group.documents |= piece.documents
                for other in joined:
                    groups.pop(other, None)
                groups[group] = None
                for d in group.documents if len(joined) > 1 else piece.documents:
                    owner[d] = group
            else:
                blocked |= piece.documents
                rest.append(piece)
        order = {piece: number for number, piece in enumerate(considered)}
        self._urgent = [p for p in rest if p.deadline is not None]
        self._pieces[:0] = [p for p in rest if p.deadline is None]
        for group in groups:
            group.pieces.sort(key=order.__getitem__)  # joined ones are out of it
            self._busy |= group.documents
        return list(groups)


def _expired(piece: _Piece, now: float) -> bool:
    """Whether nobody waits for it any more; who has waited for too long is answered."""
    if now > piece.waits_until:
        _answer(piece, error=Unavailable("Too many changes wait for the store. Try again later."))
    return piece.future.done()


def _fits(piece: _Piece, groups: Sequence[_Group], documents_max: int | None) -> bool:
    if not groups:
        return True
    if sum(len(g.pieces) for g in groups) >= PIECES_MAX:
        return False
    if documents_max is None:
        return True
    return len(piece.documents.union(*(g.documents for g in groups))) <= documents_max


def _join(groups: Sequence[_Group]) -> _Group:
    if not groups:
        return _Group()
    first = groups[0]
    for other in groups[1:]:
        first.pieces += other.pieces
        first.documents |= other.documents
    return first


def _alone(step: Step[T]) -> MakeStep[None, T]:
    """A decision of its own, that is merged with nothing."""

    def only(docs: Mapping[Key, Document | None]) -> Changes[Sequence[T]] | NeedDocuments:
        answer: Any = step(docs)
        if not isinstance(answer, NeedDocuments):
            answer = replace(answer, result=(answer.result,))
        return cast(Changes[Sequence[T]] | NeedDocuments, answer)

    return lambda _: only


def _runs(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    """Pieces by who decides on them, in order: each run is one transaction."""
    return [list(run) for _, run in itertools.groupby(pieces, lambda piece: piece.make_step)]


def _transaction(run: Sequence[_Piece]) -> Transaction:
    keys = tuple(dict.fromkeys(key for piece in run for key in piece.keys))
    return Transaction(keys, run[0].make_step([piece.item for piece in run]))


def _answer(piece: _Piece, value: Any = None, error: Exception | None = None) -> None:
    """Answer a caller; one that was cancelled waits for nothing."""
    if piece.future.done():
        return
    if error is None:
        piece.future.set_result(value)
    else:
        piece.future.set_exception(_own(error))


def _own(error: Exception) -> Exception:
    """An error that no other caller gets: tracebacks are not to be shared."""
    if not isinstance(error, Unavailable):
        return error
    made = Unavailable(error.detail, code=error.code)
    made.__cause__ = error.__cause__
    return made
