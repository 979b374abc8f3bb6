"""Every partition change as server-sent events, with resume.

What this process commits is sent at once. Where other processes change the same store, one task
asks it what else changed, as long as anybody listens (``Watchable``).

Owns a bounded memory of the latest changes, one bounded queue per listener, and how many may
listen. A listener that falls behind is cut off and comes back with ``Last-Event-ID``; one that asks
for more than is remembered gets ``reset`` and should read the state again. Refuses to promise
history: the memory is this process's own.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from coordinator.core.model import Flag, Partition, Status
from coordinator.errors import CoordinatorError, Unavailable
from coordinator.ports import ChangeCursor, Clock, Watchable
from coordinator.service.engine import Committed
from coordinator.web.problems import of_error
from coordinator.wire import instant_text

log = structlog.get_logger(__name__)

REMEMBERED = 2000
"""Changes that a listener may resume over."""
QUEUE_MAX = 500
LISTENERS_MAX = 200
SEND_SECONDS = 30.0
"""A listener that reads nothing for so long is cut off."""
KEEPALIVE_SECONDS = 15.0
RETRY_MILLISECONDS = 2000

ASK_SECONDS = 1.0
"""Pause before the store is queried again after a change; it doubles while there is none."""
ASK_SECONDS_MAX = 5.0
UNWATCHED_SECONDS_MAX = 60.0
"""After longer without listeners, what others changed meanwhile is not looked up."""
KNOWN_MAX = 20_000
"""Partitions of which the last revision sent is remembered."""
SENT_AT_ONCE = 100
"""Changes of others between which listeners get to read."""


class Change(NamedTuple):
    """One change. Its text is made for listeners alone: most of the time there are none."""

    number: int
    event_id: str
    processor: str
    game_date: str
    status: Status
    before: str | None
    flags: tuple[Flag, ...]
    generation: int
    run_id: str | None
    fired_run_id: str | None
    revision: int
    at: datetime

    def text(self) -> str:
        data = self._asdict() | {"at": instant_text(self.at)}
        del data["number"], data["event_id"]
        words = json.dumps(data, separators=(",", ":"))
        return f"id: {self.event_id}\nevent: partition\ndata: {words}\n\n"


@dataclass(frozen=True, slots=True)
class _Known:
    """What was last sent of a partition."""

    revision: int
    status: Status
    generation: int
    fetched: int
    """The last revision that was learnt from the store."""


class Stream:
    """Fans committed changes out to listeners. ``boot`` tells this process's ids from another's.

    ``others`` is the store, where other processes change it too.
    """

    def __init__(self, clock: Clock, boot: str, others: Watchable | None = None) -> None:
        self._clock = clock
        self._boot = boot
        self._others = others
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._mark: ChangeCursor | None = None
        self._asking: asyncio.Task[None] | None = None
        self._number = 0
        self._memory: deque[Change] = deque(maxlen=REMEMBERED)
        self._queues: set[asyncio.Queue[Change | None]] = set()
        self._listeners = 0
        self.closed = False

    def committed(self, committed: Sequence[Committed]) -> None:
        """Send what has become durable."""
        for c in committed:
            if not c.decision.changed and c.before is not None:
                continue
            partition, fired = c.decision.partition, c.decision.fired
            known = self._known.get(partition.id)
            if known is not None and partition.revision <= known.fetched:
                continue  # the store showed it before the commit's caller did
            self._learn(partition, known, fetched=False)
            before = c.before.status.value if c.before else None
            self._add(partition, before, fired.run_id if fired else None)

    def _learn(self, partition: Partition, known: _Known | None, *, fetched: bool) -> None:
        """Remember what is sent of a partition, where it can come again from the store."""
        if self._others is None:
            return
        if known is None or partition.revision > known.revision:
            last = partition.revision if fetched else known.fetched if known else -1
            self._known[partition.id] = _Known(
                partition.revision, partition.status, partition.generation, last
            )
        self._known.move_to_end(partition.id)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    # ── what other processes changed ─────────────────────────────────────────────────────────

    def _watch(self) -> None:
        """Ask the store for changes from now on, or from where it was left a short while ago."""
        if self._others is None or self.closed or self._asking is not None:
            return
        mark = self._mark
        if mark is None or time.monotonic() - mark.taken > UNWATCHED_SECONDS_MAX:
            # Nobody looked meanwhile: no id from before can be resumed from.
            self._mark = None
            self._number += 1
            self._memory.clear()
        self._asking = asyncio.create_task(self._ask(self._others), name="stream")

    def _unwatch(self) -> None:
        """Stop asking: nobody listens."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    async def _ask(self, others: Watchable) -> None:
        pause, failed = ASK_SECONDS, False
        while True:
            changes, first = 0, self._mark is None
            try:
                partitions, mark = await others.changed_since(self._mark)
                for number, partition in enumerate(partitions, 1):
                    changes += self._fetched(partition)
                    if number % SENT_AT_ONCE == 0:
                        await asyncio.sleep(0)
                self._mark, failed = mark, False
            except Exception as error:  # listeners still hear of this process
                if not failed:
                    bug = not isinstance(error, CoordinatorError)
                    log.warning(
                        "the stream cannot read the changes of other processes",
                        why=str(error),
                        exc_info=bug,
                    )
                failed = True
            pause = ASK_SECONDS if changes or first else min(2 * pause, ASK_SECONDS_MAX)
            await self._clock.sleep(pause)

    def _fetched(self, partition: Partition) -> bool:
        """Send what the store has of a partition; whether it was new."""
        known = self._known.get(partition.id)
        if known is not None and partition.revision <= known.revision:
            return False
        if known is None:
            before, fired = None, partition.status is Status.FIRING
        else:
            before, fired = known.status.value, partition.generation > known.generation
        self._learn(partition, known, fetched=True)
        self._add(partition, before, partition.run_id if fired else None)
        return True

    # ── sending ──────────────────────────────────────────────────────────────────────────────

    def _add(self, partition: Partition, before: str | None, fired_run_id: str | None) -> None:
        self._number += 1
        change = Change(
            number=self._number,
            event_id=f"{self._boot}-{self._number}",
            processor=partition.processor,
            game_date=partition.game_date,
            status=partition.status,
            before=before,
            flags=partition.flags,
            generation=partition.generation,
            run_id=partition.run_id,
            fired_run_id=fired_run_id,
            revision=partition.revision,
            at=self._clock.now(),
        )
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
        self._unwatch()
        for queue in list(self._queues):
            self._cut_off(queue)

    @contextmanager
    def place(self) -> Iterator[None]:
        """A listener's place, from its request to the end of its connection.

        It is taken also while nothing can be sent to him. Raises ``Unavailable`` where too many
        have one.
        """
        if self._listeners >= LISTENERS_MAX:
            raise Unavailable(f"{LISTENERS_MAX} listeners are on the stream already; poll instead.")
        self._listeners += 1
        try:
            yield
        finally:
            self._listeners -= 1

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

    async def listen(self, last_event_id: str | None) -> AsyncGenerator[str]:
        """The text of the stream for one listener, from the change after ``last_event_id`` on."""
        queue: asyncio.Queue[Change | None] = asyncio.Queue(QUEUE_MAX)
        self._watch()
        missed, number = self._missed(last_event_id), self._number
        self._queues.add(queue)
        try:
            yield f"retry: {RETRY_MILLISECONDS}\n\n"
            if missed is None:
                yield f"id: {self._boot}-{number}\nevent: reset\ndata: {{}}\n\n"
            for change in missed or ():
                yield change.text()
            while not self.closed:
                try:
                    async with asyncio.timeout(KEEPALIVE_SECONDS):
                        found = await queue.get()
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if found is None:
                    return
                yield found.text()
        finally:
            self._queues.discard(queue)
            if not self._queues:
                self._unwatch()


class Listening(StreamingResponse):
    """The stream for one listener, as an answer; 503 where too many listen already."""

    def __init__(self, stream: Stream, last_event_id: str | None) -> None:
        self._stream = stream
        self._lines = stream.listen(last_event_id)
        super().__init__(self._lines, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def promptly(message: Message) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        try:
            with self._stream.place():
                async with aclosing(self._lines):
                    await super().__call__(scope, receive, promptly)
        except Unavailable as error:
            await of_error(error, scope["path"])(scope, receive, send)
        except TimeoutError:
            log.warning("a listener of the stream reads nothing, and is cut off")
