"""The runner: receives a launch, claims the run, keeps the lease, executes, reports.

Owns: the life of one attempt on this machine, and the small HTTP app that launches arrive at.
Refuses: deciding whether a run is due, and reporting anything about a run whose lease is lost. An
outcome that is not known is a failure, never a success.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from processors.base import RunResult
from processors.door import HttpDoor, Lease, RunDoor
from processors.errors import (
    BadLaunchError,
    DoorUnavailableError,
    EntrypointError,
    LeaseLostError,
)
from processors.execution import Execution, ThreadExecution, execute
from processors.launch import Launch, parse_launch, unwrap
from processors.warehouse import Warehouse

__all__ = [
    "HttpDoor",
    "Lease",
    "RunDoor",
    "RunReport",
    "Runner",
    "create_runner_app",
    "execute",
]

log = structlog.get_logger(__name__)

SHORTEST_BEAT_SECONDS = 0.05

Outcome = Literal["reported", "refused", "lease_lost", "unreported", "not_claimed", "unreachable"]


@dataclass(frozen=True)
class RunReport:
    """What became of one launch here.

    `reported`: the coordinator took the result. `refused`: it did not (stale). `lease_lost`: the
    result was discarded. `unreported`: the coordinator stayed out of reach, so the lease runs out.
    `not_claimed`: another owner has it, or it is over. `unreachable`: it could not even be claimed.
    """

    run_id: str
    outcome: Outcome
    result: RunResult | None = None


class Runner:
    """Takes launches and sees each through. `handle` may run many times at once.

    At most `max_parallel` processors execute at a time; further launches are claimed only once
    there is room, so that no lease runs while nothing happens.
    """

    def __init__(
        self,
        door: RunDoor,
        warehouse: Warehouse | None,
        entrypoints: Mapping[str, str],
        *,
        owner: str,
        clock: Callable[[], datetime],
        max_parallel: int = 2,
        execution: Execution | None = None,
    ) -> None:
        """`entrypoints` maps a processor's name to `module:attr`; `owner` names this runner.

        It executes in threads over `warehouse`, unless `execution` says otherwise.
        """
        if execution is None:
            if warehouse is None:
                raise TypeError("a runner needs a warehouse or an execution")
            execution = ThreadExecution(warehouse, threads=max_parallel)
        self._door = door
        self._execution = execution
        self._entrypoints = entrypoints
        self._owner = owner
        self._clock = clock
        self._room = asyncio.Semaphore(max_parallel)

    def accept(self, body: Any) -> Launch:
        """Read a launch, bare or in a push envelope.

        Raises BadLaunchError for one that cannot be read, EntrypointError for a processor that
        this runner does not know.
        """
        launch = parse_launch(unwrap(body))
        if launch.processor not in self._entrypoints:
            known = ", ".join(sorted(self._entrypoints)) or "none"
            raise EntrypointError(f"no entrypoint for {launch.processor!r}; known: {known}")
        return launch

    async def handle(self, launch: Launch) -> RunReport:
        """Claim, execute and report one attempt; problems end in the report, never raised."""
        async with self._room:
            try:
                lease = await self._door.claim(
                    launch.run_id, owner=self._owner, attempt=launch.attempt
                )
            except DoorUnavailableError as error:
                return self._told(launch, "unreachable", error=str(error))
            if lease is None:
                return self._told(launch, "not_claimed")
            return await self._run(launch, lease)

    def close(self) -> None:
        """Release what executing takes; see `Execution.close`."""
        self._execution.close()

    async def _run(self, launch: Launch, lease: Lease) -> RunReport:
        held = _HeldLease(self._door, launch.run_id, lease, self._clock)
        beating = asyncio.create_task(held.keep())
        entrypoint = self._entrypoints.get(launch.processor, "")
        executing = asyncio.create_task(
            self._execution.run(entrypoint, launch, self._clock(), held.ensure_live)
        )
        try:
            await asyncio.wait({executing, beating}, return_when=asyncio.FIRST_COMPLETED)
            if held.lost and self._execution.interrupts:
                executing.cancel()
                await asyncio.wait({executing})
            result = None if executing.cancelled() else await executing
        finally:
            for task in (executing, beating):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        if result is None or held.lost:
            return self._told(launch, "lease_lost")
        return await self._report(launch, held.token, result)

    async def _report(self, launch: Launch, token: str, result: RunResult) -> RunReport:
        try:
            taken = await self._door.complete(
                launch.run_id,
                token,
                status=result.status,
                record_count=result.record_count,
                error=result.error,
            )
        except DoorUnavailableError as error:
            return self._told(launch, "unreported", result, error=str(error))
        return self._told(launch, "reported" if taken else "refused", result)

    def _told(
        self, launch: Launch, outcome: Outcome, result: RunResult | None = None, **more: str
    ) -> RunReport:
        tell = log.info if outcome in ("reported", "not_claimed") else log.warning
        tell(
            "run_ended_here",
            run_id=launch.run_id,
            attempt=launch.attempt,
            outcome=outcome,
            status=result.status if result else None,
            correlation_id=launch.correlation_id,
            **more,
        )
        return RunReport(launch.run_id, outcome, result)


class _HeldLease:
    """A lease that is kept alive by heartbeats at a third of its time, until it is lost."""

    def __init__(
        self, door: RunDoor, run_id: str, lease: Lease, clock: Callable[[], datetime]
    ) -> None:
        self._door = door
        self._run_id = run_id
        self._token = lease.lease_token
        self._clock = clock
        self._expires_at = lease.lease_expires_at or clock()
        self._length = self._expires_at - clock()
        self._lost = threading.Event()

    @property
    def token(self) -> str:
        return self._token

    @property
    def lost(self) -> bool:
        return self._lost.is_set() or self._seconds_left() <= 0

    def ensure_live(self) -> None:
        """Raise LeaseLostError where the lease is lost; called from the executing thread."""
        if self.lost:
            raise LeaseLostError(f"{self._run_id}: the lease was lost before the commit")

    async def keep(self) -> None:
        """Beat until cancelled or lost. An unanswered beat is tried again while time is left."""
        while not self.lost:
            await asyncio.sleep(max(SHORTEST_BEAT_SECONDS, self._seconds_left() / 3))
            try:
                kept = await self._door.heartbeat(self._run_id, self.token)
                self._expires_at = kept.lease_expires_at or self._clock() + self._length
            except LeaseLostError:
                self._lost.set()
            except DoorUnavailableError as error:
                log.warning("heartbeat_unanswered", run_id=self._run_id, error=str(error))
        self._lost.set()

    def _seconds_left(self) -> float:
        return (self._expires_at - self._clock()).total_seconds()


def create_runner_app(runner: Runner, *, max_pending: int = 64) -> Starlette:
    """An app that launches are POSTed to (at `/` or `/launch`), for `http` and push targets.

    202 once accepted; the run then goes on in the background. The same attempt of a run that is
    still here is accepted and not started twice. A bare body that cannot be read is 422; one in a
    push envelope is acknowledged (204) and logged, since redelivery would not mend it: the
    coordinator's claim timeout makes it news. 503 while `max_pending` launches are here. Shutting
    down waits for what is executing. `GET /healthz` says how many launches are here.
    """
    pending: dict[tuple[str, int], asyncio.Task[RunReport]] = {}

    def _ended(key: tuple[str, int], task: asyncio.Task[RunReport]) -> None:
        pending.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("run_crashed_here", run_id=key[0], attempt=key[1], exc_info=error)

    async def receive(request: Request) -> Response:
        try:
            body = await request.json()
        except ValueError:
            return _problem(422, "The body is not JSON; post a launch object.")
        try:
            launch = runner.accept(body)
        except (BadLaunchError, EntrypointError) as error:
            log.warning("launch_unreadable", error=str(error))
            wrapped = isinstance(body, dict) and "message" in body
            return Response(status_code=204) if wrapped else _problem(422, str(error))
        key = (launch.run_id, launch.attempt)
        if key not in pending:
            if len(pending) >= max_pending:
                return _problem(503, "This runner is full; deliver the launch again later.")
            task = asyncio.create_task(runner.handle(launch))
            pending[key] = task
            task.add_done_callback(partial(_ended, key))
        return JSONResponse({"run_id": launch.run_id, "accepted": True}, status_code=202)

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok", "pending": len(pending)})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.gather(*pending.values(), return_exceptions=True)
        runner.close()

    return Starlette(
        routes=[
            Route("/", receive, methods=["POST"]),
            Route("/launch", receive, methods=["POST"]),
            Route("/healthz", healthz, methods=["GET"]),
        ],
        lifespan=lifespan,
    )


def _problem(status: int, detail: str) -> JSONResponse:
    titles = {422: "Unprocessable launch", 503: "Runner full"}
    return JSONResponse(
        {"type": "about:blank", "title": titles[status], "status": status, "detail": detail},
        status_code=status,
        media_type="application/problem+json",
    )
