"""The routes about the service itself: alive, ready, metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from coordinator.health import lags, readiness
from coordinator.service.views.health import Health, Readiness
from coordinator.web.dependencies import Wired
from coordinator.web.metrics import CONTENT_TYPE
from coordinator.web.reference import errors

router = APIRouter(tags=["service"])


@router.get("/healthz", summary="Whether the process is alive", responses=errors())
async def healthz() -> Health:
    """Checks nothing but itself."""
    return Health(status="alive")


@router.get(
    "/readyz",
    summary="Whether the service is ready",
    response_model=Readiness,
    responses={
        **errors(),
        503: {
            "description": "A part is not: the same answer, with `not_ready`.",
            "model": Readiness,
        },
    },
)
async def readyz(wired: Wired) -> Any:
    """The store can be read and written, each within two seconds; effects are being delivered;
    time is given to what is due. That it can be written is proved by a commit within the last
    minute: one of an event, or else one made for the purpose."""
    found = await readiness(wired)
    if found.ready:
        return found
    return JSONResponse(
        found.model_dump(mode="json", exclude_unset=True), 503, {"Retry-After": "5"}
    )


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus text format.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **errors(),
    },
)
async def metrics(request: Request, wired: Wired) -> Response:
    """Counters since the start of the process, and gauges read from the store."""
    text = await request.app.state.metrics.text(await lags(wired))
    return Response(text, media_type=CONTENT_TYPE)
