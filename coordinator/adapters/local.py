"""The local launcher: runs execute on this machine, in a bounded pool.

A launch is delivered when a worker takes it; until then it waits in the outbox, so no claim timeout
counts its time in the queue, and a restart loses nothing (specification 4.2). It knows nothing of
what executes: a handler is given, and goes through the same claim, heartbeat and complete calls as
a runner far away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from coordinator.core.model import Run
from coordinator.core.spec import LaunchTarget, ProcessorSpec
from coordinator.errors import Unavailable

log = structlog.get_logger(__name__)

END_SECONDS = 1.0
"""How long a handler whose attempt is over may take to notice by itself."""

Handler = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Sees one launch message through to its report. Cancelling it must end what it executes."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    run_id: str
    number: int


class LocalLauncher:
    """Hands launches to ``handler``, at most ``workers`` at a time."""

    def __init__(self, handler: Handler, *, workers: int = 2) -> None:
        self._handler = handler
        self._workers = workers
        self._tasks: dict[_Attempt, asyncio.Task[None]] = {}
        self._taken_up: deque[tuple[_Attempt, Mapping[str, Any]]] = deque()
        """What an earlier process had taken, and waits for a worker here."""
        self._stopping = False
        self._room_listeners: list[Callable[[], None]] = []

    def call_on_room(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever there may be room again."""
        self._room_listeners.append(listener)

    @property
    def workers(self) -> int:
        """How many launches it executes at a time."""
        return self._workers

    @property
    def busy(self) -> int:
        """How many it executes now."""
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        """How many of an earlier process's launches wait for a worker."""
        return len(self._taken_up)

    @property
    def room(self) -> int:
        """How many launches it would take at once now."""
        if self._stopping:
            return 0
        return max(0, self._workers - len(self._tasks) - len(self._taken_up))

    @property
    def idle(self) -> bool:
        """Whether nothing is executing or waiting here."""
        return not self._tasks and not self._taken_up

    async def launch(
        self, target: LaunchTarget, spec: ProcessorSpec, run: Run, message: Mapping[str, Any]
    ) -> str:
        """Give a launch to a worker; an attempt that is here already is not started twice.

        Raises ``Unavailable`` where no worker is free.
        """
        attempt = _Attempt(run.run_id, run.attempt)
        if not self._has(attempt):
            if self.room <= 0:
                raise Unavailable("no local worker is free; the launch is delivered once one is")
            self._begin(attempt, message)
        return f"local:{run.run_id}:{run.attempt}"

    def take_up(self, run_id: str, attempt: int, message: Mapping[str, Any]) -> None:
        """Execute a launch that an earlier process had taken, before any other."""
        taken = _Attempt(run_id, attempt)
        if not self._has(taken):
            self._taken_up.append((taken, message))
            self._begin_taken_up()

    def end(self, run_id: str, attempt: int | None) -> None:
        """Interrupt what executes for a run, unless it is the given attempt.

        For runs that are over or have another attempt: after a timeout, a reset, a skip. A handler
        that is about to end by itself gets the time to.
        """
        for each in self._tasks:
            if each.run_id == run_id and each.number != attempt:
                asyncio.get_running_loop().call_later(END_SECONDS, self._interrupt, each)

    def _interrupt(self, attempt: _Attempt) -> None:
        task = self._tasks.get(attempt)
        if task is not None:
            log.warning(
                "a local run is interrupted: its attempt is over",
                run_id=attempt.run_id,
                attempt=attempt.number,
            )
            task.cancel()

    def _has(self, attempt: _Attempt) -> bool:
        return attempt in self._tasks or any(attempt == each for each, _ in self._taken_up)

    def _begin(self, attempt: _Attempt, message: Mapping[str, Any]) -> None:
        task = asyncio.create_task(self._work(message))
        self._tasks[attempt] = task
        task.add_done_callback(lambda _: self._ended(attempt))

    def _begin_taken_up(self) -> None:
        while self._taken_up and len(self._tasks) < self._workers:
            self._begin(*self._taken_up.popleft())

    def _ended(self, attempt: _Attempt) -> None:
        del self._tasks[attempt]
        if not self._stopping:
            self._begin_taken_up()
            for listener in self._room_listeners:
                listener()

    async def _work(self, message: Mapping[str, Any]) -> None:
        try:
            await self._handler(message)
        except Exception:
            # The lease expires, which spends the attempt and sends a notice.
            log.exception("a local run broke off", run_id=message.get("run_id"))

    async def stop(self, wait_seconds: float = 0.0) -> None:
        """Take no more, wait for what is executing, then interrupt it.

        Its launches and leases stay in the store: the next process takes them up again.
        """
        self._stopping = True
        self._taken_up.clear()
        if self._tasks and wait_seconds > 0:
            log.info("waiting for local runs to end", runs=len(self._tasks), seconds=wait_seconds)
            await asyncio.wait(list(self._tasks.values()), timeout=wait_seconds)
        tasks = list(self._tasks.values())
        for task in tasks:
            log.warning("a local run is interrupted: the service stops")
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
