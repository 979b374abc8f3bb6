"""Virtual time: a clock that only its owner moves, and an event loop that never waits.

Owns the order in which things happen: one loop, one thread, first come first served, so the same
calls give the same run. Refuses wall clocks: a timer of the loop itself is an error. Calls to a
real server go one at a time (``Turns``); for their answers alone the loop waits, and no virtual
time passes meanwhile.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

from coordinator.errors import Bug

T = TypeVar("T")

ROUNDS_WITHOUT_REST = 200_000
"""Rounds of the loop without a rest at one instant: more is a loop that will never end."""


ANSWER_SECONDS = 60.0
"""How long a real server may take to answer one call."""


class Turns:
    """Calls to a real server: one at a time, in an order that is drawn.

    A server that takes one call after the other answers the same calls in the same way, so a world
    can be played again though its store is another process.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._waiting: list[asyncio.Future[None]] = []
        self.away = False
        """Whether a call is on its way."""

    async def turn(self) -> None:
        """Wait until everything rests and the draw falls on the caller."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    @contextmanager
    def call(self) -> Iterator[None]:
        """The call itself, once it is one's turn."""
        if self.away:
            raise Bug("two calls are on their way at once")
        self.away = True
        try:
            yield
        finally:
            self.away = False

    def next(self) -> bool:
        """Give somebody the turn; says whether anybody waits for it."""
        self._waiting = [turn for turn in self._waiting if not turn.done()]
        if not self._waiting:
            return False
        self._waiting.pop(self._rng.randrange(len(self._waiting))).set_result(None)
        return True


class _Restless(selectors.SelectSelector):
    """A selector that never waits, but for the answer of a call.

    When the loop would wait, it gives the next call its turn, and where none wants one it wakes
    whoever waits for the rest.
    """

    def __init__(self, turns: Turns | None) -> None:
        super().__init__()
        self._turns = turns
        self.resting: asyncio.Future[None] | None = None
        self.rounds = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            self.rounds += 1
            if self.rounds > ROUNDS_WITHOUT_REST:
                raise Bug("something spins: the loop finds no rest at one virtual instant")
            return []
        self.rounds = 0
        if self._turns is not None:
            if self._turns.away:
                found = super().select(ANSWER_SECONDS)
                if not found:
                    raise Bug(f"the server has not answered a call for {ANSWER_SECONDS:.0f} s")
                return found
            if self._turns.next():
                return []
        waiting, self.resting = self.resting, None
        if timeout is not None:
            raise Bug("a timer of the event loop was used where only the virtual clock is known")
        if waiting is None:
            raise Bug("nothing will ever happen: every task waits and nobody moves the clock")
        if not waiting.done():
            waiting.set_result(None)
        return []


def run_virtually(main: Coroutine[Any, Any, T], turns: Turns | None = None) -> T:
    """Run a coroutine to its end on a loop of its own that never waits.

    ``turns`` are taken by the calls that it makes to a real server.
    """
    selector = _Restless(turns)

    def make() -> asyncio.AbstractEventLoop:
        loop = asyncio.SelectorEventLoop(selector)
        loop.slow_callback_duration = 60.0
        return loop

    with asyncio.Runner(loop_factory=make) as runner:
        _selectors[id(runner.get_loop())] = selector
        try:
            return runner.run(main)
        finally:
            del _selectors[id(runner.get_loop())]


_selectors: dict[int, _Restless] = {}


async def rest() -> None:
    """Return once every other task waits for something that only time or the caller can bring."""
    loop = asyncio.get_running_loop()
    selector = _selectors[id(loop)]
    if selector.resting is not None:
        raise Bug("two callers wait for the loop to rest")
    selector.resting = loop.create_future()
    await selector.resting


class VirtualClock:
    """``ports.Clock``. Sleeps are counted on an even scale; the wall clock may jump beside it."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._elapsed = timedelta(0)
        self._jumped = timedelta(0)
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now(self) -> datetime:
        """The wall clock, which may jump."""
        return self._start + self._elapsed + self._jumped

    @property
    def elapsed(self) -> timedelta:
        """Even time since the start, which sleeps are counted in."""
        return self._elapsed

    def monotonic(self) -> float:
        """``elapsed`` in seconds, as the service knows it."""
        return self._elapsed.total_seconds()

    def jump(self, by: timedelta) -> None:
        """Set the wall clock forward or back; nobody who sleeps notices."""
        self._jumped += by

    async def sleep(self, seconds: float) -> None:
        """Sleep on the virtual clock."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        due = self._elapsed + max(timedelta(seconds=seconds), timedelta.resolution)
        heapq.heappush(self._sleepers, (due, next(self._numbers), future))
        await future

    @property
    def next_sleeper(self) -> timedelta | None:
        """How far ahead the next sleeper wakes; None where nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] - self._elapsed if self._sleepers else None

    async def advance(self, by: timedelta, after_each: Callable[[], None] | None = None) -> None:
        """Let time pass: wake every sleeper at its instant, in order, each to a rest."""
        target = self._elapsed + by
        while True:
            ahead = self.next_sleeper
            if ahead is None or self._elapsed + ahead > target:
                break
            due, _, future = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, due)
            future.set_result(None)
            await rest()
            if after_each is not None:
                after_each()
        self._elapsed = target
        await rest()
        if after_each is not None:
            after_each()


class InstanceClock:
    """``ports.Clock`` of one instance: the world's time, read off a wall clock of its own."""

    def __init__(self, world: VirtualClock, offset: timedelta = timedelta(0)) -> None:
        self._world = world
        self.offset = offset
        """How far its wall clock is ahead of the world's; negative: behind."""

    def now(self) -> datetime:
        """This instance's wall clock."""
        return self._world.now() + self.offset

    def monotonic(self) -> float:
        """Even time in seconds, which every instance measures alike."""
        return self._world.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the virtual clock."""
        await self._world.sleep(seconds)
