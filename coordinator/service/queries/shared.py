"""Answers that several viewers of one process share, where each reading costs money.

Owns how long an answer is kept, and that it is worked out once for all who ask meanwhile. Refuses
to know what it is.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from coordinator.ports import Clock

T = TypeVar("T")


@dataclass(slots=True)
class _Kept(Generic[T]):
    work: asyncio.Task[T]
    done_at: float | None = None
    """On the monotonic clock; None: it goes on, or failed."""


class SharedAnswers(Generic[T]):
    """Answers by key, each kept for ``seconds`` after it was there; the ``most`` that were requested last."""

    def __init__(self, clock: Clock, seconds: float, most: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._kept: OrderedDict[Hashable, _Kept[T]] = OrderedDict()

    async def get(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The kept answer, or the one that is being worked out, or else a new one.

        Who is cancelled cancels no other. An error goes to all who wait for it, and is not kept.
        """
        kept = self._kept.get(key)
        if kept is None or not self._is_good(kept):
            kept = self._kept[key] = _Kept(asyncio.create_task(self._make(key, make)))
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return await asyncio.shield(kept.work)

    async def _make(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        answer = await make()
        kept = self._kept.get(key)
        if kept is not None and kept.work is asyncio.current_task():
            kept.done_at = self._clock.monotonic()
        return answer

    def _is_good(self, kept: _Kept[T]) -> bool:
        if not kept.work.done():
            return True
        return kept.done_at is not None and self._clock.monotonic() < kept.done_at + self._seconds
