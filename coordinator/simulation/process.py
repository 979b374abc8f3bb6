"""One process of the service on virtual time, which can be killed at any await.

Owns the wiring of the real service for worlds and stories, and sudden death: every task that the
process started is cancelled, every caller sees its connection break, and nothing reaches the store
any more. What was only in memory is lost with it.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog

from coordinator.assembly import assemble
from coordinator.core.spec import LaunchKind, LaunchTarget
from coordinator.errors import Bug
from coordinator.ports import Announcer, Clock, Entropy, Launcher, Notifier, Store
from coordinator.registry import Registry
from coordinator.service.commits import Commits
from coordinator.service.engine import Engine
from coordinator.simulation.registries import parse_once

T = TypeVar("T")


class Unreachable(Exception):
    """The process died or is not there: the caller does not know the result of its call."""


_PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


def current_process() -> Process | None:
    """The process whose task is running now."""
    return _PROCESS.get()


def keep_tasks_by_process() -> None:
    """Make the running loop note which process each task belongs to."""

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, /, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=loop, **options)
        context = options.get("context")
        process = context.get(_PROCESS) if context is not None else _PROCESS.get()
        if process is not None:
            process.tasks[task] = None
            task.add_done_callback(process.forget)
        return task

    asyncio.get_running_loop().set_task_factory(factory)


def outside(coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task that belongs to no process, whoever asks for it."""
    context = contextvars.copy_context()
    context.run(_PROCESS.set, None)
    return asyncio.get_running_loop().create_task(coro, context=context)


DRY: contextvars.ContextVar[bool] = contextvars.ContextVar("dry", default=False)
"""Set inside a dry run: nothing may be written."""


class PlayedCommits(Commits):
    """The unit of work of one process, from which a dry run may ask for nothing."""

    def _piece(self, *what: Any) -> Any:
        if DRY.get():
            raise Bug("a dry run writes")
        return super()._piece(*what)


class Process:
    """The service over one store, in a process that can die."""

    def __init__(
        self,
        name: str,
        store: Store,
        registry: Registry,
        clock: Clock,
        entropy: Entropy,
        launcher: Launcher,
        notifiers: Sequence[Notifier] = (),
        announcers: Sequence[Announcer] = (),
    ) -> None:
        self.name = name
        self.dead = False
        self.serves = False
        self.definition: Any = None
        """The registry as plain data, for the laws of a world."""
        self.definitions: Sequence[Any] = ()
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self._answers: dict[asyncio.Future[Any], None] = {}
        self.on_death: Callable[[str], None] | None = None
        self.registry = registry
        commits = PlayedCommits(
            store,
            monotonic=clock.monotonic,
            sleep=clock.sleep,
            uniform=random.Random(name).uniform,
        )
        wired = assemble(
            Engine(store, registry, clock, entropy, parse=parse_once, commits=commits),
            lambda _: dict.fromkeys(LaunchKind, launcher),
            LaunchTarget(kind=LaunchKind.LOCAL),
            announcers=announcers,
            notifiers=notifiers,
        )
        self.engine, self.relay, self.sweeper = wired.engine, wired.relay, wired.sweeper
        self.ingest, self.runs = wired.ingest, wired.runs
        self.operate, self.quarantine = wired.operate, wired.quarantine

    def forget(self, task: asyncio.Task[Any]) -> None:
        """Let go of a task that has ended."""
        self.tasks.pop(task, None)

    async def roll_out(self) -> None:
        """Take the registry into use; what it changed is evaluated while the process serves."""

        async def begin(process: Process) -> bool:
            return await process.sweeper.rollout.begin()

        if await self.call(begin):
            self.spawn(self.sweeper.rollout.finish_behind())

    async def roll_out_inside(self) -> int:
        """The same for a story, where all of it is evaluated before the next step."""
        return await self.sweeper.rollout.start()

    def loops(self) -> list[asyncio.Task[None]]:
        """Start the loops that run for ever: the sweeper's and the relay's."""
        return [self.spawn(self.sweeper.run()), self.spawn(self.relay.run())]

    def spawn(self, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that dies with this process."""
        context = contextvars.copy_context()
        context.run(_PROCESS.set, self)
        return asyncio.get_running_loop().create_task(coro, context=context)

    async def call(self, work: Callable[[Process], Awaitable[T]]) -> T:
        """Do something inside the process, as a request from outside does.

        Raises ``Unreachable`` when the process dies before it has answered.
        """
        if self.dead:
            raise Unreachable(f"{self.name} is not there")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._answers[answer] = None

        async def serve() -> None:
            try:
                result = await work(self)
            except Exception as error:  # noqa: BLE001 - it is the caller's answer
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(result)

        self.spawn(serve())
        try:
            return await answer
        finally:
            self._answers.pop(answer, None)

    def kill(self, why: str) -> None:
        """Die at once."""
        if self.dead:
            return
        self.dead = True
        for task in list(self.tasks):
            task.cancel()
        for answer in list(self._answers):
            if not answer.done():
                answer.set_exception(Unreachable(f"{self.name} died: {why}"))
        if self.on_death is not None:
            self.on_death(why)


@contextmanager
def quiet_log(on_error: Callable[[str], None] | None = None) -> Iterator[None]:
    """Keep the service's log off the terminal; hand what it calls an error to ``on_error``."""

    def take(_: Any, level: str, event: Mapping[str, Any]) -> Any:
        if on_error is not None and level in ("error", "exception", "critical"):
            on_error(", ".join(f"{k}={v}" for k, v in sorted(event.items(), key=lambda i: i[0])))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.format_exc_info, take],
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)
