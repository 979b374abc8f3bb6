"""Faults: what goes wrong, how often, and a store whose every call may be where it does.

Owns the dice. ``Faults`` draws; ``FaultyStore`` wraps any store for one process and refuses before
the commit, loses the answer after it, kills the process on either side, or lets others go first.
It also reports every change to the record in the order of the commits.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from coordinator.core.effects import OUTPUT
from coordinator.errors import TooLarge, Unavailable
from coordinator.ports import (
    Answer,
    Changes,
    CommitAttempt,
    Document,
    Grouping,
    Groups,
    Key,
    Kind,
    NeedDocuments,
    Page,
    Query,
    Store,
    Transaction,
)
from coordinator.simulation.limits import Limits

if TYPE_CHECKING:
    from coordinator.simulation.process import Process

KINDS = (
    "store_refuses",
    "answer_lost",
    "crash_before_commit",
    "crash_after_commit",
    "crash_at_read",
    "store_slow",
    "read_refused",
    "no_room",
    "duplicate",
    "delay",
    "no_ack",
    "ack_lost",
    "launch_refused",
    "proof_lost",
    "crash_before_launch",
    "crash_after_launch",
    "launch_slow",
    "launch_vanishes",
    "launch_twice",
    "launch_hangs",
    "launch_late",
    "launch_flood",
    "notice_refused",
    "notice_slow",
    "notice_hangs",
    "notice_lost",
    "notice_denied",
    "runner_dies",
    "runner_hangs",
    "zombie_report",
    "reports_twice",
    "bad_token",
    "clock_forward",
    "clock_back",
    "clock_step_back",
    "instance_skew",
    "instance_step",
    "target_down",
    "target_hangs",
    "target_floods",
    "target_loses",
    "target_denies",
    "notifier_down",
    "store_full",
    "store_locked",
    "store_read_only",
    "wrong_ids",
    "reserved_id",
    "registry_swap",
    "process_killed",
)
"""Every kind of fault of a world in memory."""

STORE_PERIODS = ("store_full", "store_locked", "store_read_only")
"""What befalls a SQLite store for a while. Counted for each call that it refuses."""
TARGET_PERIODS = ("target_down", "target_hangs", "target_floods", "target_loses", "target_denies")
"""What befalls one processor's launch target for a while. Counted for each launch it strikes."""

WAITING_FOR: dict[str, str] = {}
"""Kinds of fault, and checks, that no world has yet: each with the defect that must be fixed first.

Empty it, kind by kind, as the defects are fixed.
"""

CALL_KINDS = ("call_refused", "call_aborted", "commit_unheard", "call_slow", "crash_in_commit")
"""What goes wrong with one call of a store that is a server of its own."""


class Faults:
    """Draws faults. Each world has its own mix: some kinds are off, some frequent."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.on = True
        self.counts: Counter[str] = Counter()
        calm = rng.random() < 0.1
        self.rates = {
            kind: 0.0 if calm or rng.random() < 0.35 else rng.choice((0.01, 0.03, 0.1))
            for kind in (*KINDS, *CALL_KINDS)
        }
        self.rates.update(dict.fromkeys(WAITING_FOR, 0.0))

    def strikes(self, kind: str, weight: float = 1.0) -> bool:
        """Whether this fault happens now; counted where it does."""
        if not self.begins(kind, weight):
            return False
        self.counts[kind] += 1
        return True

    def begins(self, kind: str, weight: float = 1.0) -> bool:
        """Whether a fault that lasts begins now; whoever it strikes counts it."""
        rate = self.rates[kind]
        return self.on and rate > 0.0 and self._rng.random() < rate * weight


class FaultyStore:
    """``ports.Store`` as one process sees it. Opening and closing is the world's business.

    ``record`` gets every decision in the order of the commits, and ``forget`` where one came
    to nothing. A store that reports its commits itself needs neither.
    """

    def __init__(
        self,
        inner: Store,
        faults: Faults,
        rng: random.Random,
        record: Callable[[int, FaultyStore, Mapping[Key, Document]], None] | None = None,
        forget: Callable[[int], None] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._inner = inner
        self.profile = inner.profile
        self._faults = faults
        self._rng = rng
        self._record = record
        self._forget = forget
        self._limits = limits
        self.process: Process | None = None
        self._numbers = 0

    async def open(self) -> None:
        """Nothing: the store outlives the process."""

    async def close(self) -> None:
        """Nothing: the store outlives the process."""

    async def attempt(self, attempt: CommitAttempt) -> Sequence[Answer]:
        """As the inner store, unless a fault strikes."""
        self._alive()
        await self._linger()
        if self._faults.strikes("store_refuses"):
            raise Unavailable("the store cannot be reached (a fault)")
        await self._maybe_die("crash_before_commit")
        numbers = range(self._numbers + 1, self._numbers + 1 + len(attempt.transactions))
        self._numbers += len(attempt.transactions)
        observed = [
            self._observed(n, t) for n, t in zip(numbers, attempt.transactions, strict=True)
        ]
        inner = replace(attempt, transactions=observed)
        try:
            answers = await self._inner.attempt(inner)
        except Exception as error:
            self._came_to_nothing(numbers, error)
            raise
        finally:
            attempt.memory = inner.memory
        for number, answer in zip(numbers, answers, strict=True):
            if answer.error is not None:
                self._came_to_nothing([number], answer.error)
        if any(answer.error is None for answer in answers):
            await self._maybe_die("crash_after_commit")
            if self._faults.strikes("answer_lost"):
                raise Unavailable("the answer of the store was lost (a fault)")
            await self._linger()
        return answers

    def _observed(self, number: int, transaction: Transaction) -> Transaction:
        """A transaction whose decisions are recorded, and are refused where they are too large."""

        def step(docs: Mapping[Key, Document | None]) -> Changes[Any] | NeedDocuments:
            self._alive()
            answer = transaction.step(docs)
            if isinstance(answer, Changes):
                if _ends_and_announces(answer.puts) and self._faults.strikes("no_room", 3.0):
                    raise TooLarge("a run's end and its output do not fit one commit (a fault)")
                if self._limits is not None:
                    self._check_size(self._limits, answer.puts)
                if self._record is not None:
                    self._record(number, self, answer.puts)
            return answer

        return Transaction(transaction.keys, step)

    def _came_to_nothing(self, numbers: Iterable[int], error: Exception) -> None:
        if self._forget is not None:
            for number in numbers:
                self._forget(number)
        self._count(error)

    async def get(self, keys: Sequence[Key]) -> Mapping[Key, Document | None]:
        """As the inner store, unless a fault strikes."""
        await self._before_read()
        return await self._inner.get(keys)

    async def find(self, query: Query) -> Page:
        """As the inner store, unless a fault strikes."""
        await self._before_read()
        return await self._inner.find(query)

    async def grouped(self, grouping: Grouping) -> Groups:
        """As the inner store, unless a fault strikes."""
        await self._before_read()
        return await self._inner.grouped(grouping)

    async def ping(self) -> None:
        """As the inner store, unless a fault strikes."""
        await self._before_read()
        await self._inner.ping()

    async def prove_writable(self) -> None:
        """As the inner store."""
        self._alive()
        await self._inner.prove_writable()

    async def _before_read(self) -> None:
        self._alive()
        if self._faults.strikes("read_refused", 0.3):
            raise Unavailable("the store cannot be read (a fault)")
        await self._maybe_die("crash_at_read", 0.2)
        await self._linger()

    def _check_size(self, limits: Limits, puts: Mapping[Key, Document]) -> None:
        try:
            limits.check(puts)
        except TooLarge:
            self._faults.counts["firestore_limit"] += 1
            raise

    def _count(self, error: Exception) -> None:
        """Count what SQLite itself refused."""
        cause = error.__cause__
        if isinstance(cause, sqlite3.Error):
            kind = OF_SQLITE.get(cause.sqlite_errorcode & 0xFF)
            if kind is not None:
                self._faults.counts[kind] += 1

    def _alive(self) -> None:
        if self.process is not None and self.process.dead:
            raise asyncio.CancelledError

    async def _maybe_die(self, kind: str, weight: float = 1.0) -> None:
        if self.process is not None and self._faults.strikes(kind, weight):
            self.process.kill(kind)
            await never()

    async def _linger(self) -> None:
        """Let others go first, or let time pass."""
        if self._faults.strikes("store_slow") and self.process is not None:
            await self.process.engine.clock.sleep(self._rng.choice((0.05, 0.5, 3.0)))
        elif self._faults.on:
            for _ in range(self._rng.choice((0, 0, 1, 3))):
                await asyncio.sleep(0)


OF_SQLITE = {
    sqlite3.SQLITE_FULL: "store_full",
    sqlite3.SQLITE_BUSY: "store_locked",
    sqlite3.SQLITE_READONLY: "store_read_only",
}


def _ends_and_announces(puts: Mapping[Key, Document]) -> bool:
    ended = any(k.kind is Kind.RUN and not d.live for k, d in puts.items())
    return ended and any(
        k.kind is Kind.EVENT and d.event_id.startswith(OUTPUT) for k, d in puts.items()
    )


async def never() -> None:
    """What a dead process waits for."""
    await asyncio.get_running_loop().create_future()
