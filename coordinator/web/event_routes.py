"""The routes for events: the Pub/Sub push endpoint and ``POST /v1/events``.

Owns the reading of their bodies by ``wire``, which is stricter and faster than a model. The push
endpoint is plain ASGI inside the same app (decision 0003): everything a request costs there is
paid a thousand times a second.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from coordinator.assembly import Coordinator
from coordinator.errors import BadInput, CoordinatorError, Unavailable
from coordinator.service.ingest import Ingested
from coordinator.service.views.event import EventResults, event_result
from coordinator.web.dependencies import Wired
from coordinator.web.problems import of_error, problem
from coordinator.web.reference import EVENTS_BODY, errors
from coordinator.wire import MAX_EVENTS_PER_CALL, read_json

log = structlog.get_logger(__name__)

router = APIRouter(tags=["events"])

PUSH_PATH = "/pubsub/push"
_ACKNOWLEDGED = {"type": "http.response.start", "status": 204, "headers": []}


class PushEndpoint:
    """Receives push messages. Every outcome is acknowledged (204): a negative answer only brings
    the same message again. The one exception is a store out of reach (503)."""

    def __init__(self, application: Coordinator) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(receive)
        except ClientDisconnect:
            return  # an unfinished message was never received, and comes again
        try:
            await self._take(body)
        except CoordinatorError as error:
            await of_error(error, scope["path"])(scope, receive, send)
            return
        await send({**_ACKNOWLEDGED})
        await send({"type": "http.response.body", "body": b""})

    async def _take(self, body: bytes) -> None:
        """Raises ``Unavailable``."""
        try:
            outcome = await self._application.ingest.push(body)
        except Unavailable:
            raise
        except Exception as error:
            # A message that runs into a bug of ours would come again for ever: keep it whole.
            log.exception("a message could not be decided; it is in quarantine")
            reason = BadInput(
                f"it could not be decided, because of an internal error ({type(error).__name__}); "
                "replay it once that is fixed"
            )
            now = self._application.clock.now()
            await self._application.quarantine.add(body, "push", reason, None, now)
        else:
            if outcome.errors or outcome.quarantine_id:  # a good load has its own line
                log.info(
                    "message",
                    outcome=outcome.outcome,
                    quarantine_id=outcome.quarantine_id,
                    errors=[str(m) for m in outcome.errors[:5]],
                )


async def read_body(receive: Receive) -> bytes:
    """A request's whole body. Raises ``ClientDisconnect``; the edge limits its size."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


@router.post(
    "/v1/events",
    summary="Send events",
    response_model=EventResults,
    responses=errors(400, 403, 413, 422),
    openapi_extra=dict(EVENTS_BODY),
)
async def events(request: Request, wired: Wired) -> Any:
    """Events that came in one call are processed at once and answered in order. A bad event is
    answered with its mistakes and not stored; if every one is bad the answer is 422, with the
    same `results` inside. A 503 says that some may not be recorded: send the call again, what
    was recorded already answers `duplicate`."""
    body = read_json(await request.body())
    listed = body if isinstance(body, list) else [body]
    if len(listed) > MAX_EVENTS_PER_CALL:
        raise BadInput(
            f"{len(listed)} events are too many for one call; send at most {MAX_EVENTS_PER_CALL:,}",
            code="too_many",
        )
    results = [event_result(o) for o in await _take_all(wired, listed)]
    if results and all(r.outcome == "rejected" for r in results):
        first = results[0].errors[0]
        more = f" (and {len(results) - 1} more are bad)" if len(results) > 1 else ""
        return problem(
            422,
            f"{first.field}: {first.message}{more}",
            code="all_rejected",
            instance=request.url.path,
            results=[r.model_dump(mode="json") for r in results],
        )
    return EventResults(results=tuple(results))


async def _take_all(wired: Coordinator, events: list[Any]) -> list[Ingested]:
    """Process events at once, so that they share transactions. Raises what a store raises."""
    if len(events) == 1:
        return [await wired.ingest.take(events[0])]
    taken = await asyncio.gather(*(wired.ingest.take(e) for e in events), return_exceptions=True)
    failed = [t for t in taken if isinstance(t, BaseException)]
    if failed:
        raise next((f for f in failed if isinstance(f, Unavailable)), failed[0])
    return [t for t in taken if isinstance(t, Ingested)]
