"""Every partition change as server-sent events, with resume.

Owns a bounded memory of the latest changes and one bounded queue per listener. A listener that
falls behind is cut off and comes back with ``Last-Event-ID``; one that asks for more than is
remembered gets ``reset`` and should read the state afresh. Refuses to promise history: the memory
is this process's own.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from coordinator.core.machine import Decision
from coordinator.errors import Unavailable
from coordinator.ports import Clock
from coordinator.service.engine import Committed
from coordinator.wire import instant_text

REMEMBERED = 2000
"""Changes that a listener may resume over."""
QUEUE_MAX = 500
LISTENERS_MAX = 200
KEEPALIVE_SECONDS = 15.0
RETRY_MILLISECONDS = 2000


@dataclass(frozen=True, slots=True)
class Change:
    """One change, ready to be sent."""

    number: int
    text: str


class Stream:
    """Fans committed changes out to listeners. ``boot`` tells this process's ids from another's."""

    def __init__(self, clock: Clock, boot: str) -> None:
        self._clock = clock
        self._boot = boot
        self._number = 0
        self._memory: deque[Change] = deque(maxlen=REMEMBERED)
        self._queues: set[asyncio.Queue[Change | None]] = set()
        self.closed = False

    def heard(self, committed: Sequence[Committed]) -> None:
        """Take in what has become durable."""
        for c in committed:
            if c.decision.changed or c.before is None:
                self._add(c.decision, c.before.status.value if c.before else None)

    def _add(self, decision: Decision, before: str | None) -> None:
        partition = decision.partition
        self._number += 1
        data = {
            "processor": partition.processor,
            "game_date": partition.game_date,
            "status": partition.status.value,
            "before": before,
            "flags": [f.value for f in partition.flags],
            "generation": partition.generation,
            "run_id": partition.run_id,
            "fired_run_id": decision.fired.run_id if decision.fired else None,
            "revision": partition.revision,
            "at": instant_text(self._clock.now()),
        }
        text = (
            f"id: {self._boot}-{self._number}\nevent: partition\n"
            f"data: {json.dumps(data, separators=(',', ':'))}\n\n"
        )
        change = Change(self._number, text)
        self._memory.append(change)
        for queue in list(self._queues):
            try:
                queue.put_nowait(change)
            except asyncio.QueueFull:
                self._cut_off(queue)

    def _cut_off(self, queue: asyncio.Queue[Change | None]) -> None:
        """End a listener: it is too slow, or the service stops."""
        self._queues.discard(queue)
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(None)

    def close(self) -> None:
        """End every listener, so that a server can stop."""
        self.closed = True
        for queue in list(self._queues):
            self._cut_off(queue)

    def listen(self, last_event_id: str | None) -> AsyncIterator[str]:
        """The text of the stream for one listener, from the change after ``last_event_id`` on.

        Raises ``Unavailable`` where too many listen already.
        """
        if len(self._queues) >= LISTENERS_MAX:
            raise Unavailable(f"{LISTENERS_MAX} listeners are on the stream already; poll instead.")
        return self._lines(last_event_id)

    def _missed(self, last_event_id: str | None) -> list[Change] | None:
        """What came after an id; None where that is not remembered any more."""
        if last_event_id is None:
            return []
        boot, _, number = last_event_id.rpartition("-")
        if boot != self._boot or not number.isascii() or not number.isdigit() or len(number) > 18:
            return None
        seen = int(number)
        first = self._memory[0].number if self._memory else self._number + 1
        if seen > self._number or seen < first - 1:
            return None
        return [c for c in self._memory if c.number > seen]

    async def _lines(self, last_event_id: str | None) -> AsyncIterator[str]:
        queue: asyncio.Queue[Change | None] = asyncio.Queue(QUEUE_MAX)
        missed, number = self._missed(last_event_id), self._number
        self._queues.add(queue)
        try:
            yield f"retry: {RETRY_MILLISECONDS}\n\n"
            if missed is None:
                yield f"id: {self._boot}-{number}\nevent: reset\ndata: {{}}\n\n"
            for change in missed or ():
                yield change.text
            while not self.closed:
                try:
                    async with asyncio.timeout(KEEPALIVE_SECONDS):
                        found = await queue.get()
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if found is None:
                    return
                yield found.text
        finally:
            self._queues.discard(queue)
