"""The local launcher: runs execute in this process, in a bounded pool.

Owns the queue in front of the pool. It knows nothing of what executes: a handler is given, and goes
through the same claim, heartbeat and complete door as a runner far away. A launch is delivered once
it is in the queue; what a killed process had queued or running is found again at the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from coordinator.core.model import Run
from coordinator.core.spec import LaunchTarget, ProcessorSpec
from coordinator.errors import Unavailable

log = structlog.get_logger(__name__)

Handler = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Sees one launch message through to its report."""


class LocalLauncher:
    """Hands launches to ``handler``, at most ``workers`` at a time and ``most`` in all."""

    def __init__(self, handler: Handler, *, workers: int = 2, most: int = 1000) -> None:
        self._handler = handler
        self._workers = asyncio.Semaphore(workers)
        self._most = most
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}

    async def launch(
        self, target: LaunchTarget, spec: ProcessorSpec, run: Run, message: Mapping[str, Any]
    ) -> str:
        """Queue a launch; the same attempt twice is queued once.

        Raises ``Unavailable`` when the queue is full.
        """
        return self.submit(run.run_id, run.attempt, message)

    def submit(self, run_id: str, attempt: int, message: Mapping[str, Any]) -> str:
        """Queue a launch message. Raises ``Unavailable`` when the queue is full."""
        key = (run_id, attempt)
        if key not in self._tasks:
            if len(self._tasks) >= self._most:
                raise Unavailable(f"the local pool holds {self._most} launches already")
            task = asyncio.create_task(self._work(message))
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
        return f"local:{run_id}:{attempt}"

    async def _work(self, message: Mapping[str, Any]) -> None:
        async with self._workers:
            try:
                await self._handler(message)
            except Exception:
                # The lease runs out, which spends the attempt and is news.
                log.exception("a local run broke off", run_id=message.get("run_id"))

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or running."""
        return not self._tasks

    async def stop(self) -> None:
        """Cancel what is queued or running here; its launches and leases stay in the store."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
