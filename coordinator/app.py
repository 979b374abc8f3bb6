"""The composition root: the only place that knows which adapter implements which port.

``build`` wires the service; ``Application.start`` and ``stop`` are its life; ``serve`` is the whole
process behind ``coordinator serve``.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import platform
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn
from structlog.dev import plain_traceback

from coordinator.adapters.clock import SystemClock
from coordinator.adapters.http import HttpLauncher
from coordinator.adapters.local import LocalLauncher
from coordinator.adapters.notify import LogNotifier, SlackNotifier, WebhookNotifier
from coordinator.adapters.sqlite import SqliteStore
from coordinator.assembly import Coordinator, assemble
from coordinator.core.choices import RunStatus
from coordinator.core.model import LIVE_STATUSES
from coordinator.core.spec import LaunchKind, LaunchTarget
from coordinator.errors import BadInput, NotFound, Refused, Unavailable
from coordinator.ports import (
    Announcer,
    Clock,
    Entropy,
    Kind,
    Launcher,
    LocalPool,
    Notice,
    Notifier,
    Op,
    Query,
    Store,
    Where,
)
from coordinator.registry import Registry, load, refuse_launches
from coordinator.service.engine import Committed, Engine
from coordinator.service.pages import items
from coordinator.service.runs import Runs
from coordinator.service.transition_log import log_transitions
from coordinator.settings import SEVERITIES, STORE_RULE, Settings, Severity
from coordinator.terminal import safe, safe_lines
from coordinator.web.api import create_app
from coordinator.web.stream import Stream
from coordinator.wire import instant_text, launch_message, report_status
from processors.errors import CoordinatorUnavailableError, LeaseLostError
from processors.launch import parse_launch
from processors.run_client import Lease
from processors.runner import Runner
from processors.worker_pool import WorkerPool

if TYPE_CHECKING:
    from processors.warehouse import Warehouse  # brings DuckDB, which worker processes alone need

log = structlog.get_logger(__name__)

LOCAL_OWNER = "local"
"""Who local runs are claimed by. It outlives the process, and only one process serves a state file
(it holds the file's lock), so a restarted one gets the same lease back and finishes the attempt."""
DELIVERY_SECONDS = 60.0
"""The longest that one delivery may take. The adapters' own limits are shorter."""
ASKED_SECONDS = 8.0
"""How long a requested sweep waits for its deliveries."""
LATE_SECONDS = 5.0
"""How long after its ``run_timeout`` a local run is interrupted where no sweep has said so."""


@dataclass(slots=True, kw_only=True)
class Application(Coordinator):
    """The wired service with its adapters, and its life."""

    settings: Settings
    local: LocalLauncher | None = None
    workers: WorkerPool | None = None
    resources: AsyncExitStack = field(default_factory=AsyncExitStack)
    rolled_out: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once every partition was evaluated under the registry of this start."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Open the store, take the registry into use, find what was going on, and go."""
        await self.store.open()
        self.resources.push_async_callback(self.store.close)
        self.resources.push_async_callback(self.engine.commits.finish)
        changed = await self.sweeper.rollout.begin()
        await self._resume_local()
        self._tasks = [
            asyncio.create_task(self.sweeper.run(), name="sweeper"),
            asyncio.create_task(self.relay.run(), name="relay"),
            asyncio.create_task(self._finish_rollout(changed), name="rollout"),
        ]
        for task in self._tasks:
            task.add_done_callback(_died)

    async def _finish_rollout(self, changed: bool) -> None:
        if changed:
            await self.sweeper.rollout.finish_behind()
        self.rolled_out.set()

    async def stop(self) -> None:
        """Stop in order: no new work, then what is going on, then the store."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.relay.stop()
        if self.local is not None:
            await self.local.stop(self.settings.shutdown_seconds)
        await self.resources.aclose()

    @property
    def local_pool(self) -> LocalPool | None:
        """The pool of local workers; None where this process has none."""
        local, workers = self.local, self.workers
        if local is None:
            return None
        last = workers.last_replaced if workers else None
        return LocalPool(
            workers=local.workers,
            busy=local.busy,
            waiting=local.waiting + self.relay.waiting_for_workers,
            replaced=dict(workers.replaced) if workers else {},
            last_replaced_at=last.at if last else None,
            last_replaced=f"{last.run_id}: {last.reason}" if last else "",
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Application]:
        """Start, and stop whatever happens."""
        try:
            await self.start()
            yield self
        finally:
            await self.stop()

    async def _resume_local(self) -> None:
        """Start the local runs again that a killed process had delivered or claimed."""
        if self.local is None:
            return
        live = (RunStatus.DELIVERED.value, RunStatus.RUNNING.value)
        query = Query(Kind.RUN, (Where("status", Op.IN, live),), limit=500)
        async for _, run in items(self.store, query):
            spec = self.registry.processors.get(run.processor)
            if spec is None or run.status not in LIVE_STATUSES:
                continue
            if (spec.launch or default_target(self.settings)).kind is not LaunchKind.LOCAL:
                continue
            log.info("restarting a local run", run_id=run.run_id, attempt=run.attempt)
            message = launch_message(run, spec, self.clock.now())
            self.local.take_up(run.run_id, run.attempt, message)


def _died(task: asyncio.Task[None]) -> None:
    """A loop that ends by itself is a bug, and must not go unseen."""
    if not task.cancelled() and task.exception() is not None:
        log.critical("a loop of the service ended", loop=task.get_name(), exc_info=task.exception())


def make_store(name: str) -> Store:
    """The store that ``sqlite:PATH`` or ``firestore:PROJECT[/DATABASE]`` names, not yet open.

    Raises ``BadInput`` for another name, and where the Firestore client is not installed.
    """
    kind, _, rest = name.partition(":")
    if kind == "sqlite" and rest:
        return SqliteStore(rest)
    if kind != "firestore" or not rest:
        raise BadInput(f"the store {name!r} {STORE_RULE}")
    try:
        from coordinator.adapters.firestore import FirestoreStore
    except ImportError as error:
        raise BadInput(
            f"{name} needs Google's client ({error}). Install it from a checkout: "
            "pip install '.[gcp]'; make install brings it already"
        ) from error
    project, _, database = rest.partition("/")
    return FirestoreStore(project, database or "(default)")


def local_owner(settings: Settings) -> str:
    """Who local runs are claimed by.

    One process alone serves a state file, so a restarted one claims as the same owner and goes on.
    Many may serve one Firestore database, so there each is an owner of its own.
    """
    if settings.store.startswith("sqlite:"):
        return LOCAL_OWNER
    return f"{LOCAL_OWNER}-{platform.node()}-{secrets.token_hex(4)}"


def default_target(settings: Settings) -> LaunchTarget:
    """Where launches go when the registry does not say."""
    if settings.launch == "local":
        return LaunchTarget(kind=LaunchKind.LOCAL)
    return LaunchTarget(kind=LaunchKind.HTTP, address=settings.launch)


def build(
    settings: Settings,
    *,
    registry: Registry | None = None,
    store: Store | None = None,
    clock: Clock | None = None,
    entropy: Entropy = lambda: secrets.token_urlsafe(24),
    warehouse: Warehouse | None = None,
    launchers: Mapping[LaunchKind, Launcher] | None = None,
    notifiers: Sequence[Notifier] | None = None,
    announcers: Sequence[Announcer] = (),
    alone: bool | None = None,
) -> Application:
    """Wire the service. What is given replaces what the settings would choose.

    With ``alone`` no other process can serve the store; left out, that is so for a state file,
    whose lock the one process holds.

    Raises ``RegistryError`` on an invalid registry, or on one that launches by Pub/Sub: nothing
    here delivers to it.
    """
    registry = registry or load(settings.registry)
    if launchers is None:
        refuse_launches(registry, (LaunchKind.LOCAL, LaunchKind.HTTP), str(settings.registry))
    clock = clock or SystemClock()
    store = store or make_store(settings.store)
    resources = AsyncExitStack()
    engine = Engine(store, registry, clock, entropy)
    local: LocalLauncher | None = None
    workers: WorkerPool | None = None
    if launchers is None and warehouse is None:
        workers = _worker_pool(settings, registry, clock)
        resources.push_async_callback(workers.closed)

    def own_launchers(runs: Runs) -> Mapping[LaunchKind, Launcher]:
        nonlocal local
        local = _local_launcher(settings, registry, runs, clock, warehouse, workers, resources)
        engine.listen(partial(_end_local, local))
        http = HttpLauncher(timeout_seconds=settings.launch_timeout_seconds)
        resources.push_async_callback(http.close)
        return {LaunchKind.LOCAL: local, LaunchKind.HTTP: http}

    wired = assemble(
        engine,
        own_launchers if launchers is None else lambda _: launchers,
        default_target(settings),
        announcers=announcers,
        notifiers=_notifiers(settings, clock, resources) if notifiers is None else notifiers,
        alone=isinstance(store, SqliteStore) if alone is None else alone,
        link_base=settings.public_url,
        launches_per_target=settings.launches_per_target,
        delivery_seconds=DELIVERY_SECONDS,
        asked_seconds=ASKED_SECONDS,
    )
    return Application(
        **{part.name: getattr(wired, part.name) for part in fields(wired)},
        settings=settings,
        local=local,
        workers=workers,
        resources=resources,
    )


def _local_launcher(
    settings: Settings,
    registry: Registry,
    runs: Runs,
    clock: Clock,
    warehouse: Warehouse | None,
    workers: WorkerPool | None,
    resources: AsyncExitStack,
) -> LocalLauncher:
    """Local runs go through the same runner and the same client protocol as remote ones.

    They execute in worker processes, or where a warehouse is given in threads over it.
    """
    entrypoints = {p.name: p.entrypoint for p in registry.processors.values() if p.entrypoint}
    nothing = [
        p.name
        for p in registry.processors.values()
        if not p.entrypoint and (p.launch or default_target(settings)).kind is LaunchKind.LOCAL
    ]
    if nothing:
        log.warning(
            "these are launched here and have no `entrypoint`, so their runs will fail",
            processors=nothing,
        )
    runner: Runner | None = None

    def get_runner() -> Runner:
        nonlocal runner
        if runner is None:
            runner = Runner(
                InProcessRunClient(runs),
                warehouse,
                entrypoints,
                owner=local_owner(settings),
                clock=clock.now,
                monotonic=clock.monotonic,
                max_parallel=settings.workers,
                execution=workers,
            )
            resources.callback(runner.close)
        return runner

    async def handle(message: Mapping[str, Any]) -> None:
        await get_runner().handle(parse_launch(message))

    return LocalLauncher(handle, workers=settings.workers)


def _worker_pool(settings: Settings, registry: Registry, clock: Clock) -> WorkerPool:
    """Worker processes for local runs; none is started before there is a run."""

    def limit(processor: str) -> float | None:
        spec = registry.processors.get(processor)
        return spec.policy.run_timeout.total_seconds() + LATE_SECONDS if spec else None

    return WorkerPool(settings.duckdb_path, clock=clock.now, limits=limit)


def _end_local(local: LocalLauncher, committed: Sequence[Committed]) -> None:
    """Interrupt local runs whose attempt is over: timed out, reset, skipped."""
    for each in committed:
        for run in each.decision.runs:
            local.end(run.run_id, run.attempt if run.live else None)


class InProcessRunClient:
    """Claim, heartbeat and complete for runs in this process."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def claim(self, run_id: str, *, owner: str, attempt: int) -> Lease | None:
        """Claim one attempt; None where it is refused."""
        try:
            run = await self._runs.claim(run_id, owner, attempt)
        except (Refused, NotFound):
            return None
        except Unavailable as error:
            raise CoordinatorUnavailableError(error.detail) from error
        granted = {
            "run_id": run.run_id,
            "processor": run.processor,
            "game_date": run.game_date,
            "generation": run.generation,
            "attempt": run.attempt,
            "lease_expires_at": instant_text(run.lease_expires_at),
        }
        return Lease(run.lease_token or "", self._runs.lease_seconds(run), granted)

    async def heartbeat(self, run_id: str, lease_token: str) -> Lease:
        """Prolong the lease."""
        try:
            run = await self._runs.heartbeat(run_id, lease_token)
        except (Refused, NotFound) as error:
            raise LeaseLostError(error.detail) from error
        except Unavailable as error:
            raise CoordinatorUnavailableError(error.detail) from error
        return Lease(lease_token, self._runs.lease_seconds(run))

    async def complete(
        self,
        run_id: str,
        lease_token: str,
        *,
        status: str,
        record_count: int | None,
        error: str | None,
    ) -> bool:
        """Report how the run ended; False where the report is refused."""
        word = report_status(status) or RunStatus.FAILED
        try:
            await self._runs.complete(run_id, lease_token, word, record_count, error)
        except (Refused, NotFound):
            return False
        except Unavailable as refusal:
            raise CoordinatorUnavailableError(refusal.detail) from refusal
        return True


class _Routed:
    """A notifier that takes notices from a least severity upwards."""

    def __init__(self, name: str, notifier: Notifier, least: Severity) -> None:
        self.name = name
        self._notifier = notifier
        self._least = SEVERITIES.index(least)

    async def notify(self, notice: Notice) -> None:
        known = notice.severity if notice.severity in SEVERITIES else "error"
        if SEVERITIES.index(known) >= self._least:
            await self._notifier.notify(notice)


def _notifiers(settings: Settings, clock: Clock, resources: AsyncExitStack) -> list[Notifier]:
    found: list[Notifier] = [_Routed("log", LogNotifier(), settings.log_severity)]
    if settings.webhook_url is not None:
        secret = settings.webhook_secret.get_secret_value() if settings.webhook_secret else None
        webhook = WebhookNotifier(settings.webhook_url.get_secret_value(), secret, clock.now)
        resources.push_async_callback(webhook.close)
        found.append(_Routed("webhook", webhook, settings.webhook_severity))
    if settings.slack_url is not None:
        slack = SlackNotifier(settings.slack_url.get_secret_value())
        resources.push_async_callback(slack.close)
        found.append(_Routed("slack", slack, settings.slack_severity))
    return found


class _ToStructlog(logging.Handler):
    """Makes lines of libraries (uvicorn, asyncio, Google's clients) lines of this log."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )


def _printable(_: Any, __: str, event_dict: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Make a line harmless for the terminal on which it is read."""
    line: dict[str, Any] = {}
    for key, value in event_dict.items():
        if key in ("exception", "stack"):
            line[key] = indent(safe_lines(str(value)), "  ")  # no line of it begins like a log line
        elif value is None or isinstance(value, bool | int | float):
            line[safe(key)] = value
        else:
            line[safe(key)] = safe(value if isinstance(value, str) else repr(value))
    return line


def configure_logging(settings: Settings) -> None:
    """Structured log lines on standard error: this project's, and what libraries warn of."""
    level = getattr(logging, settings.log_level.upper())
    console = settings.log_format == "console" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    rendering: list[Any] = (
        [_printable, structlog.dev.ConsoleRenderer(exception_formatter=plain_traceback)]
        if console
        else [structlog.processors.JSONRenderer()]  # ASCII: whatever may steer is escaped
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=logging.WARNING, force=True)


def serve(settings: Settings) -> None:
    """Serve until interrupted.

    Raises ``RegistryError`` on an invalid registry, ``BadInput`` and ``Unavailable`` where the
    store or the address cannot be used.
    """
    configure_logging(settings)
    registry = load(settings.registry)
    paths = [settings.duckdb_path, *([settings.sqlite_path] if settings.sqlite_path else [])]
    for path in paths:
        if not Path(path).resolve().parent.is_dir():
            raise BadInput(f"{path}: its folder does not exist; create it first")
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings, registry))
    except KeyboardInterrupt:
        log.info("stopped")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed (everywhere but Windows): sockets cost half of the time."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


COLLECTOR_THRESHOLDS = (20_000, 10, 50)
"""New objects before Python looks for cycles among them, and how often it then looks among older ones.
Hardly anything here is in a cycle, and with Python's own thresholds thousands of cached documents are
looked through again and again, in vain."""


def _tune_collector() -> None:
    """Leave what lives as long as the process out of the search for cycles, and search rarely.

    Nothing else happens during a full search, which takes some 50 ms else.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


async def _serve(settings: Settings, registry: Registry) -> None:
    store = make_store(settings.store)
    alone = store.lock_for_serving() if isinstance(store, SqliteStore) else nullcontext()
    with alone:
        application = build(settings, registry=registry, store=store)
        if settings.log_level in ("debug", "info"):
            log_transitions(application.engine)
        async with application.running():
            _tune_collector()
            await serve_http(application)


UNREAD_SECONDS = 20
"""A client that reads nothing of its answer for so long loses its connection (on Linux)."""


def _give_up_unread(listening: int) -> None:
    """Let the kernel end connections whose clients read nothing: closing them would wait for ever.

    What is set on a listening socket holds for every connection that it accepts.
    """
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        with socket.socket(fileno=os.dup(listening)) as same:
            same.setsockopt(socket.IPPROTO_TCP, option, UNREAD_SECONDS * 1000)


class _Server(uvicorn.Server):
    """A server that says when it listens, and ends its event streams before it waits for requests
    to end."""

    def __init__(
        self, config: uvicorn.Config, stream: Stream, listening: Callable[[int], None]
    ) -> None:
        super().__init__(config)
        self._stream = stream
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            for server in self.servers:
                for listener in server.sockets:
                    _give_up_unread(listener.fileno())
            self._listening(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stream.close()
        await super().shutdown(sockets)


async def serve_http(application: Application) -> None:
    """Listen until the process is to stop."""
    settings = application.settings
    app = create_app(application, allowed_hosts=settings.allowed_hosts)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
        lifespan="off",
    )

    def listening(port: int) -> None:
        log.info(
            "serving",
            url=f"http://{settings.host}:{port}",
            registry=str(settings.registry),
            hash=application.registry.registry_hash[:12],
            store=settings.store,
        )

    server = _Server(config, app.state.stream, listening)
    await server.serve()
    if not server.started:
        raise Unavailable(f"cannot listen on {settings.host}:{settings.port}; is the port taken?")
