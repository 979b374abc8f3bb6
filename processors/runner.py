"""The runner: receives a launch, claims the run, keeps the lease, executes, reports.

Owns: the life of one attempt on this machine, and the small HTTP app that launches arrive at.
Refuses: deciding whether a run is due, and reporting anything about a run whose lease is lost. An
outcome that is not known is a failure, never a success.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from processors.base import RunResult, failed
from processors.errors import (
    BadLaunchError,
    CoordinatorRejectedError,
    CoordinatorUnavailableError,
    EntrypointError,
    LeaseLostError,
)
from processors.execution import Executor, ThreadExecution, execute
from processors.launch import Launch, check_claim, parse_launch, unwrap
from processors.retry import FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS, jittered
from processors.run_client import HttpRunClient, Lease, RunClient

if TYPE_CHECKING:
    from processors.warehouse import Warehouse

__all__ = [
    "HttpRunClient",
    "LaunchReport",
    "Lease",
    "RunClient",
    "Runner",
    "create_runner_app",
    "execute",
]

log = structlog.get_logger(__name__)

SHORTEST_BEAT_SECONDS = 0.05

CLAIM_SECONDS = 300.0
"""How long a claim is retried while the coordinator is out of reach."""

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Most bytes of a launch that is posted here; a larger body is not read on."""

BODY_SECONDS = 30.0
"""The longest time for reading the body of a launch."""

Outcome = Literal["reported", "refused", "lease_lost", "unreported", "not_claimed", "unreachable"]


@dataclass(frozen=True)
class LaunchReport:
    """What became of one launch here.

    `reported`: the coordinator took the result. `refused`: it did not (stale). `lease_lost`: the
    result was discarded. `unreported`: the coordinator stayed out of reach until the lease ended.
    `not_claimed`: another owner has it, or it is over. `unreachable`: it could not even be claimed.
    """

    run_id: str
    outcome: Outcome
    result: RunResult | None = None


class Runner:
    """Executes launches. `handle` may run many times at once.

    At most `max_parallel` processors execute at a time; further launches are claimed only once
    there is room, so that no lease runs while nothing happens.
    """

    def __init__(
        self,
        client: RunClient,
        warehouse: Warehouse | None,
        entrypoints: Mapping[str, str],
        *,
        owner: str,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        max_parallel: int = 2,
        execution: Executor | None = None,
        claim_seconds: float = CLAIM_SECONDS,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
    ) -> None:
        """Build a runner; `entrypoints` maps a processor's name to `module:attr`.

        `owner` names this runner. It executes in threads over `warehouse`, unless `execution` says
        otherwise. `clock` gives `computed_at`; leases are counted on `monotonic`, in seconds. While
        the coordinator is out of reach a claim is retried for `claim_seconds` and a report until the
        lease expires, after jittered waits from `first_wait_seconds` up to
        `max_wait_seconds`.
        """
        if execution is None:
            if warehouse is None:
                raise TypeError("a runner needs a warehouse or an execution")
            execution = ThreadExecution(warehouse, threads=max_parallel)
        self._client = client
        self._execution = execution
        self._entrypoints = entrypoints
        self._owner = owner
        self._clock = clock
        self._monotonic = monotonic
        self._claim_seconds = claim_seconds
        self._waits = jittered(first_wait_seconds, max_wait_seconds)
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

    async def handle(self, launch: Launch) -> LaunchReport:
        """Claim, execute and report one attempt; problems end in the report, never raised."""
        async with self._room:
            try:
                held = await self._claim(launch)
            except (CoordinatorUnavailableError, CoordinatorRejectedError) as error:
                return self._outcome(launch, "unreachable", error=str(error))
            if held is None:
                return self._outcome(launch, "not_claimed")
            return await self._run(launch, held)

    def close(self) -> None:
        """Release the resources for executing; see `Execution.close`."""
        self._execution.close()

    async def _claim(self, launch: Launch) -> _HeldLease | None:
        """Claim the attempt; a claim that went through unanswered is granted again."""

        async def once() -> _HeldLease | None:
            asked_at = self._monotonic()
            lease = await self._client.claim(
                launch.run_id, owner=self._owner, attempt=launch.attempt
            )
            if lease is None:
                return None
            return _HeldLease(self._client, launch.run_id, lease, asked_at, self._monotonic)

        give_up_at = self._monotonic() + self._claim_seconds
        retrying = self._retrying("claim", launch, lambda _: self._monotonic() >= give_up_at)
        return await retrying(once)

    async def _run(self, launch: Launch, held: _HeldLease) -> LaunchReport:
        """Execute and report. The lease is kept until the report is through."""
        beating = asyncio.create_task(held.keep())
        try:
            try:
                check_claim(launch, held.answer)
            except BadLaunchError as error:
                return await self._report(launch, held, failed(error))
            result = await self._execute(launch, held, beating)
            if result is None or held.lost:
                return self._outcome(launch, "lease_lost")
            return await self._report(launch, held, result)
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating

    async def _execute(
        self, launch: Launch, held: _HeldLease, beating: asyncio.Task[None]
    ) -> RunResult | None:
        """Execute while the lease is kept; None where it was lost."""
        entrypoint = self._entrypoints.get(launch.processor, "")
        executing = asyncio.create_task(
            self._execution.run(entrypoint, launch, self._clock(), held.ensure_live)
        )
        try:
            await asyncio.wait({executing, beating}, return_when=asyncio.FIRST_COMPLETED)
            if held.lost and self._execution.interrupts:
                executing.cancel()
                await asyncio.wait({executing})
            return None if executing.cancelled() else await executing
        finally:
            executing.cancel()
            with suppress(asyncio.CancelledError):
                await executing

    async def _report(self, launch: Launch, held: _HeldLease, result: RunResult) -> LaunchReport:
        """Report the result; retry until the lease expires, since reports may be repeated."""

        async def once() -> bool:
            return await self._client.complete(
                launch.run_id,
                held.token,
                status=result.status,
                record_count=result.record_count,
                error=result.error,
            )

        # Only time ends it. A beat may be refused because an unanswered report went through, and
        # the next report then learns that.
        retrying = self._retrying("complete", launch, lambda _: held.seconds_left <= 0)
        try:
            taken: bool = await retrying(once)
        except (CoordinatorUnavailableError, CoordinatorRejectedError) as error:
            return self._outcome(launch, "unreported", result, error=str(error))
        return self._outcome(launch, "reported" if taken else "refused", result)

    def _retrying(
        self, what: str, launch: Launch, stop: Callable[[RetryCallState], bool]
    ) -> AsyncRetrying:
        def note(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            log.warning(
                "coordinator_unreachable",
                call=what,
                run_id=launch.run_id,
                attempt=launch.attempt,
                tries=state.attempt_number,
                error=str(error),
            )

        return AsyncRetrying(
            retry=retry_if_exception_type(CoordinatorUnavailableError),
            stop=stop,
            wait=self._waits,
            before_sleep=note,
            reraise=True,
        )

    def _outcome(
        self, launch: Launch, outcome: Outcome, result: RunResult | None = None, **more: str
    ) -> LaunchReport:
        write = log.info if outcome in ("reported", "not_claimed") else log.warning
        write(
            "run_ended_here",
            run_id=launch.run_id,
            attempt=launch.attempt,
            outcome=outcome,
            status=result.status if result else None,
            correlation_id=launch.correlation_id,
            **more,
        )
        return LaunchReport(launch.run_id, outcome, result)


class _HeldLease:
    """A lease that is kept alive by heartbeats at a third of its time, until it is lost.

    Its end is counted in seconds from just before the request that was answered, so it never
    outlasts the coordinator's, whatever the clocks of the two machines show.
    """

    def __init__(
        self,
        client: RunClient,
        run_id: str,
        lease: Lease,
        asked_at: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._client = client
        self._run_id = run_id
        self.token = lease.lease_token
        self.answer = lease.answer
        self._monotonic = monotonic
        self._length = lease.lease_seconds or 0.0
        self._ends_at = asked_at + self._length
        self._lost = threading.Event()

    @property
    def lost(self) -> bool:
        return self._lost.is_set() or self.seconds_left <= 0

    @property
    def seconds_left(self) -> float:
        return self._ends_at - self._monotonic()

    def ensure_live(self) -> None:
        """Raise LeaseLostError where the lease is lost; called from the executing thread."""
        if self.lost:
            raise LeaseLostError(f"{self._run_id}: the lease was lost before the commit")

    async def keep(self) -> None:
        """Send heartbeats until cancelled or lost. An unanswered one is retried while time is left."""
        while not self.lost:
            pause = max(SHORTEST_BEAT_SECONDS, self.seconds_left / 3)
            await asyncio.sleep(pause)
            asked_at = self._monotonic()
            try:
                async with asyncio.timeout(pause):
                    kept = await self._client.heartbeat(self._run_id, self.token)
            except LeaseLostError:
                self._lost.set()
            except (CoordinatorUnavailableError, CoordinatorRejectedError, TimeoutError) as error:
                log.warning("heartbeat_unanswered", run_id=self._run_id, error=repr(error))
            except Exception:  # one beat that breaks must not end the others
                log.exception("heartbeat_failed", run_id=self._run_id)
            else:
                seconds = self._length if kept.lease_seconds is None else kept.lease_seconds
                self._ends_at = asked_at + seconds
        self._lost.set()


def create_runner_app(
    runner: Runner,
    *,
    max_pending: int = 64,
    max_body_bytes: int = MAX_BODY_BYTES,
    body_seconds: float = BODY_SECONDS,
) -> Starlette:
    """An app that launches are POSTed to (at `/` or `/launch`), for `http` and push targets.

    202 once accepted; the run then goes on in the background. The same attempt of a run that is
    still here is accepted and not started twice. A bare body that cannot be read is 422, one that
    is not JSON or nested too deeply 400; an unusable launch in a push envelope is acknowledged
    (204) and logged, since redelivery changes nothing about it: the coordinator's claim timeout
    reports it. 413 for a body over `max_body_bytes`, 408 for one that is not there after
    `body_seconds`. 503 while `max_pending` launches are here. Shutting down waits for what is
    executing. `GET /healthz` says how many launches are here.
    """
    pending: dict[tuple[str, int], asyncio.Task[LaunchReport]] = {}

    def _ended(key: tuple[str, int], task: asyncio.Task[LaunchReport]) -> None:
        pending.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("run_crashed_here", run_id=key[0], attempt=key[1], exc_info=error)

    async def receive(request: Request) -> Response:
        try:
            async with asyncio.timeout(body_seconds):
                content = await _read_body(request, max_body_bytes)
        except TimeoutError:
            return _problem(408, f"The body did not arrive within {body_seconds:g} seconds.")
        except ClientDisconnect:
            return _problem(400, "The connection closed before the body was there.")
        if content is None:
            return _problem(
                413, f"The body is longer than {max_body_bytes:,} bytes; a launch is far shorter."
            )
        try:
            body = json.loads(content)
        except RecursionError:
            return _problem(
                400, "The body is JSON that is nested too deeply; post a launch object."
            )
        except ValueError:
            return _problem(400, "The body is not JSON; post a launch object.")
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


async def _read_body(request: Request, most: int) -> bytes | None:
    """The body; None, without reading on, where it is longer than `most` bytes."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 18 or int(declared) > most):
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            return None
    return bytes(body)


def _problem(status: int, detail: str) -> JSONResponse:
    titles = {
        400: "Unreadable body",
        408: "Body too slow",
        413: "Body too large",
        422: "Unprocessable launch",
        503: "Runner full",
    }
    # What is left of a body that was not read is not worth reading for the connection's sake.
    headers = {"Connection": "close"} if status in (408, 413) else None
    return JSONResponse(
        {"type": "about:blank", "title": titles[status], "status": status, "detail": detail},
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )
