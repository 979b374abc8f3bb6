"""Which work shares a commit, in which order, and what becomes of work that is refused."""

from __future__ import annotations

import asyncio
import string
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from coordinator.core.model import Control
from coordinator.errors import BadInput, TooLarge, Unavailable
from coordinator.ports import (
    Answer,
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
    Step,
    StoreProfile,
    Unconfirmed,
)
from coordinator.service import commits as module
from coordinator.service.commits import (
    CONTENDED_SECONDS,
    REFUSALS_TOGETHER,
    Commits,
    Item,
    Queue,
    _Group,
    _Piece,
)

LIST = Key(Kind.DATES, "games")


def key(name: str) -> Key:
    return Key(Kind.CONTROL, name)


# ── grouping ─────────────────────────────────────────────────────────────────────────────────


def piece(*ids: str, reads: Sequence[Key] = (), deadline: float | None = None) -> _Piece:
    """Work on some documents; one with a deadline is that of a caller whose patience has begun."""
    keys = [key(id_) for id_ in ids]
    return _Piece(
        item=None,
        make_step=lambda _: None,  # type: ignore[arg-type, return-value]
        keys=[*keys, *reads],
        documents={*keys},
        then=lambda _: None,
        future=asyncio.get_running_loop().create_future(),
        waits_until=60.0 if deadline is None else deadline,
        deadline=deadline,
    )


def queued(*pieces: _Piece) -> Queue:
    queue = Queue()
    queue.add(pieces)
    return queue


async def test_joined_work_runs_in_the_order_in_which_it_came() -> None:
    pieces = [piece(letter) for letter in reversed(string.ascii_letters)]
    pieces.append(piece(*string.ascii_letters))
    (group,) = queued(*pieces).take(64, 0.0)
    assert group.pieces == pieces


async def test_what_waits_for_a_busy_document_is_joined_into_its_next_commit() -> None:
    first, second, third, apart = piece("a"), piece("a"), piece("a", "b"), piece("c")
    queue = queued(first)
    (busy,) = queue.take(32, 0.0)
    queue.add([second, third, apart])
    (free,) = queue.take(32, 0.0)
    assert free.pieces == [apart]
    assert not queue.take(32, 0.0)
    queue.finished(busy)
    (following,) = queue.take(32, 0.0)
    assert following.pieces == [second, third]


async def test_a_commit_takes_no_more_than_it_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECES_MAX", 2)
    pieces = [piece("a"), piece("a"), piece("a"), piece("x", "y"), piece("y", "z", "w")]
    groups = queued(*pieces).take(32, 0.0, 3)
    assert [g.pieces for g in groups] == [pieces[:2], pieces[3:4]]


@pytest.mark.parametrize("document", ["a", "b"], ids=["of the burst", "of its own"])
async def test_whose_patience_has_begun_does_not_wait_for_a_burst(
    monkeypatch: pytest.MonkeyPatch, document: str
) -> None:
    monkeypatch.setattr(module, "PIECES_MAX", 2)
    monkeypatch.setattr(module, "CONSIDERED_MAX", 5)
    queue = queued(*(piece("a") for _ in range(20)))
    heartbeat = piece(document, deadline=7.5)
    queue.add([heartbeat])
    assert heartbeat in [p for g in queue.take(32, 0.0) for p in g.pieces]
    assert len(queue) == (19 if document == "a" else 18)


@pytest.mark.parametrize("deadline", [7.5, None])
async def test_who_has_waited_for_too_long_is_answered(deadline: float | None) -> None:
    late = piece("a", deadline=deadline)
    queue = queued(late, piece("a", deadline=90.0))
    (group,) = queue.take(32, 60.5)
    assert len(group.pieces) == 1
    assert not queue
    with pytest.raises(Unavailable, match="Too many changes wait"):
        late.future.result()


def widened(queue: Queue, group: _Group, now: float) -> None:
    """A group wrote the list too, and another came between."""
    for one in group.pieces:
        one.documents.add(LIST)
    queue.contended([LIST], now + CONTENDED_SECONDS)
    queue.put_back(group)
    queue.finished(group)


async def test_what_is_only_read_keeps_nobody_apart() -> None:
    queue = queued(piece("a", reads=[LIST]), piece("b", reads=[LIST]))
    assert [len(g.pieces) for g in queue.take(32, 0.0)] == [1, 1]


async def test_what_was_refused_is_joined_with_all_that_read_what_it_wrote() -> None:
    first, second, third = (piece(name, reads=[LIST]) for name in "abc")
    queue = queued(first, second)
    groups = queue.take(32, 0.0)
    queue.add([third])
    for group in reversed(groups):
        widened(queue, group, 1.0)
    (joined,) = queue.take(32, 1.0)
    assert joined.pieces == [first, second, third]


async def test_after_a_while_only_those_that_did_write_it_are_kept_together() -> None:
    first, second = piece("a", reads=[LIST]), piece("b", reads=[LIST])
    queue = queued(first)
    (group,) = queue.take(32, 0.0)
    widened(queue, group, 0.0)
    queue.add([second])
    later = CONTENDED_SECONDS + 0.1
    assert [g.pieces for g in queue.take(32, later)] == [[first], [second]]


async def test_more_than_there_is_room_for_waits_and_can_still_be_joined() -> None:
    first, second, third = piece("a"), piece("b"), piece("c")
    queue = queued(first, second, third)
    (busy,) = queue.take(1, 0.0)
    assert busy.pieces == [first]
    bridge = piece("b", "c")
    queue.add([bridge])
    queue.finished(busy)
    (following,) = queue.take(2, 0.0)
    assert following.pieces == [second, third, bridge]


# ── attempts ─────────────────────────────────────────────────────────────────────────────────


class Scripted:
    """A store without memory, that answers each attempt as scripted."""

    def __init__(self, *answers: Exception | None, small: bool = True) -> None:
        self.profile = StoreProfile(small_commits=small, shared=small)
        self.answers = list(answers)
        self.attempts: list[tuple[int, bool]] = []
        """How many transactions each had, and whether it only asked."""
        self.refuse: Any = lambda attempt: None

    async def attempt(self, attempt: CommitAttempt) -> Sequence[Answer]:
        self.attempts.append((len(attempt.transactions), attempt.ask_only))
        await asyncio.sleep(0)
        error = self.answers.pop(0) if self.answers else self.refuse(attempt)
        if error is not None:
            raise error
        return [self._answer(t.step({})) for t in attempt.transactions]

    def _answer(self, changes: Any) -> Answer:
        if any(isinstance(d, BaseException) for d in changes.puts.values()):
            return Answer(error=TooLarge("it has no room"))
        return Answer(changes.result)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def get(self, keys: Sequence[Key]) -> Mapping[Key, Document | None]:
        raise NotImplementedError

    async def find(self, query: Query) -> Page:
        raise NotImplementedError

    async def grouped(self, grouping: Grouping) -> Groups:
        raise NotImplementedError

    async def ping(self) -> None: ...

    async def prove_writable(self) -> None: ...


class Time:
    """Seconds that only waiting lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def unit(store: Scripted, time: Time | None = None, **options: Any) -> Commits:
    time = time or Time()
    return Commits(
        store,
        monotonic=lambda: time.now,
        sleep=time.sleep,
        uniform=lambda _, longest: longest,
        **options,
    )


def answering(value: str) -> Step[str]:
    return lambda _: Changes(value, {key(value): Control(scope=value)})


@pytest.mark.parametrize("error", [Contended("again"), Interrupted("again"), Unconfirmed("again")])
async def test_what_may_succeed_is_attempted_again(error: Exception) -> None:
    store = Scripted(error, error)
    commits = unit(store)
    assert await commits.transact([key("a")], answering("a")) == "a"
    assert len(store.attempts) == 3
    assert commits.retries == 2


async def test_what_cannot_succeed_is_not_attempted_again() -> None:
    store = Scripted(Unavailable("no credentials"))
    commits = unit(store)
    with pytest.raises(Unavailable, match="no credentials"):
        await commits.transact([key("a")], answering("a"))
    assert len(store.attempts) == 1
    assert commits.failed_commits == 1


async def test_attempts_end_with_the_callers_patience() -> None:
    store, time = Scripted(), Time()
    store.refuse = lambda _: Contended("somebody else was quicker")
    with pytest.raises(Unavailable) as raised:
        await unit(store, time).transact([key("a")], answering("a"))
    assert raised.value.code == "contended"
    assert time.now <= module.PATIENCE_SECONDS
    assert 5 < len(store.attempts) <= module.ATTEMPTS_MAX


async def test_who_comes_too_late_for_an_attempt_shortens_nobodys_time() -> None:
    store, time = Scripted(), Time()
    commits = unit(store, time)
    deadlines: list[float] = []

    def refuse(attempt: CommitAttempt) -> Exception | None:
        if len(store.attempts) == 1:
            time.now += module.PATIENCE_SECONDS  # the late one waits meanwhile
            return None
        deadlines.append(time.now + attempt.seconds)
        return None

    store.refuse = refuse
    shared = key("a")
    first = asyncio.ensure_future(commits.transact([shared], answering("first")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    late = asyncio.ensure_future(commits.transact([shared], answering("late")))
    item = Item("event", [shared], [shared])
    event = asyncio.ensure_future(
        commits.merged(lambda _: lambda _: Changes(["event"]), item, lambda _: None)
    )
    assert await asyncio.gather(first, late, event) == ["first", "late", "event"]
    assert deadlines == [2 * module.PATIENCE_SECONDS]


async def test_an_unconfirmed_commit_is_asked_for_once_more_when_time_is_over() -> None:
    store, time = Scripted(), Time()
    store.refuse = lambda attempt: None if attempt.ask_only else Unconfirmed("no answer")
    assert await unit(store, time).transact([key("a")], answering("a")) == "a"
    assert store.attempts[-1] == (1, True)
    assert [asked for _, asked in store.attempts].count(True) == 1


async def test_work_that_keeps_being_refused_is_halved() -> None:
    store = Scripted()
    store.refuse = lambda a: Contended("again") if len(a.transactions) > 2 else None
    work = list("abcdefgh")
    commits = unit(store)
    shared = key("shared")
    answers = await asyncio.gather(*(commits.transact([shared], answering(name)) for name in work))
    assert answers == work
    sizes = [size for size, _ in store.attempts]
    assert sizes == [8] * REFUSALS_TOGETHER + [4] * REFUSALS_TOGETHER + [2, 2] + [
        4
    ] * REFUSALS_TOGETHER + [2, 2]


async def test_what_does_not_fit_is_halved_at_once() -> None:
    store = Scripted()
    store.refuse = lambda a: DoNotFit("too many") if len(a.transactions) > 1 else None
    commits = unit(store)
    answers = await asyncio.gather(*(commits.transact([key("s")], answering(n)) for n in "abc"))
    assert answers == ["a", "b", "c"]
    assert [size for size, _ in store.attempts] == [3, 1, 2, 1, 1]


def together(names: Sequence[str]) -> Step[Sequence[str]]:
    """Decides on several at once; with ``bad`` among them on none."""

    def step(_: Mapping[Key, Document | None]) -> Changes[Sequence[str]]:
        bad: dict[Key, Any] = {key("bad"): ValueError()} if "bad" in names else {}
        return Changes([f"{name}/{len(names)}" for name in names], bad)

    return step


@pytest.mark.parametrize("small", [True, False])
async def test_items_of_one_kind_are_decided_on_by_one_step(small: bool) -> None:
    store, received = Scripted(small=small), []
    commits = unit(store)
    item = [Item(name, [key("s")], [key("s")]) for name in "abc"]
    answers = await asyncio.gather(*(commits.merged(together, i, received.append) for i in item))
    assert answers == ["a/3", "b/3", "c/3"]
    assert store.attempts == [(1, False)]
    assert received == [["a/3", "b/3", "c/3"]]


async def test_an_item_that_fails_takes_no_other_with_it() -> None:
    store, received = Scripted(), []
    items = [Item(name, [key(name)], [key(name)]) for name in ("a", "b", "bad", "c")]
    answers = await unit(store).together(together, items, received.append)
    assert [str(a) for a in answers] == ["a/2", "b/2", "it has no room", "c/1"]
    assert received == [["a/2", "b/2"], ["c/1"]]


async def test_what_is_durable_is_passed_on_though_its_caller_has_gone() -> None:
    store, received = Scripted(), []
    commits = unit(store)
    waiting = asyncio.ensure_future(
        commits.merged(together, Item("a", [key("s")], [key("s")]), received.append)
    )
    for _ in range(4):
        await asyncio.sleep(0)
    assert store.attempts
    waiting.cancel()
    await commits.finish()
    assert received == [["a/1"]]


async def test_what_fails_after_a_commit_does_not_undo_or_repeat_it() -> None:
    def fails(_: Sequence[str]) -> None:
        raise ValueError("a bug")

    store = Scripted()
    item = Item("a", [key("s")], [key("s")])
    assert await unit(store).merged(together, item, fails) == "a/1"
    assert len(store.attempts) == 1


async def test_documents_that_a_refused_group_wrote_unexpectedly_join_it_with_their_readers() -> (
    None
):
    store = Scripted()
    refused = []

    def refuse(attempt: CommitAttempt) -> Exception | None:
        if len(attempt.transactions) == 1 and len(refused) < 2:
            refused.append(attempt)
            return Contended("again", frozenset({LIST}))
        return None

    store.refuse = refuse
    commits = unit(store)
    answers = await asyncio.gather(
        *(commits.transact([key(n), LIST], answering(n), writes=[key(n)]) for n in "ab")
    )
    assert answers == ["a", "b"]
    assert [size for size, _ in store.attempts] == [1, 1, 2]


async def test_errors_are_the_callers_own() -> None:
    def refuses(_: Mapping[Key, Document | None]) -> Changes[None]:
        raise BadInput("no")

    class Raising(Scripted):
        async def attempt(self, attempt: CommitAttempt) -> Sequence[Answer]:
            found = []
            for transaction in attempt.transactions:
                try:
                    found.append(self._answer(transaction.step({})))
                except BadInput as error:
                    found.append(Answer(error=error))
            return found

    commits = unit(Raising())
    answers = await asyncio.gather(
        commits.transact([key("s")], answering("a")),
        commits.transact([key("s")], refuses),
        return_exceptions=True,
    )
    assert answers[0] == "a"
    assert isinstance(answers[1], BadInput)


async def test_a_store_of_large_commits_gets_each_change_at_once() -> None:
    store = Scripted(small=False)
    commits = unit(store)
    await asyncio.gather(*(commits.transact([key("s")], answering(n)) for n in "abc"))
    assert store.attempts == [(1, False)] * 3


async def test_too_much_waiting_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 2)
    commits = unit(Scripted())
    answers = await asyncio.gather(
        *(commits.transact([key("s")], answering(n)) for n in "abc"), return_exceptions=True
    )
    assert answers[:2] == ["a", "b"]
    assert isinstance(answers[2], Unavailable)
