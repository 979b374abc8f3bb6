"""The HTTP application: every route of the contract's section 5, put together.

Owns the assembly alone. Routes live beside their kind (``doors``, ``status_routes``,
``run_routes``, ``operator_routes``); errors, headers and limits in ``problems`` and ``edge``.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

from fastapi import Depends, FastAPI
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from coordinator.ports import Watchable
from coordinator.web import doors, models, operator_routes, problems, run_routes, status_routes
from coordinator.web.application import Application
from coordinator.web.doors import PUSH_PATH, PushEndpoint
from coordinator.web.edge import Edge
from coordinator.web.health import lags, readiness
from coordinator.web.hosts import Hosts
from coordinator.web.metrics import CONTENT_TYPE, Metrics
from coordinator.web.queries import only_declared
from coordinator.web.reference import PAGE_POLICY, errors, page_of, schema_of
from coordinator.web.stream import Stream


def create_app(application: Application, *, allowed_hosts: Collection[str] = ()) -> FastAPI:
    """The ASGI application over a wired service, open to whoever reaches its loopback address.

    It answers to loopback host names and to ``allowed_hosts`` (contract 5.4).

    It neither starts nor stops the service. ``app.state.stream`` is the stream of changes; close
    it when the server is told to stop, since open streams would keep it waiting.
    """
    app = _App(
        title="Coordinator",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(only_declared)],
    )
    metrics = Metrics(application)
    store = application.engine.store
    others = store if isinstance(store, Watchable) else None
    stream = Stream(application.clock, application.engine.entropy()[:12], others)
    application.engine.listen(stream.heard)
    app.state.stream = stream
    app.state.metrics = metrics
    doors.add(app, application)
    status_routes.add(app, application, stream)
    run_routes.add(app, application)
    operator_routes.add(app, application)
    _add_service(app, application, metrics)
    problems.install(app)
    inside = _Fork(PushEndpoint(application), super(_App, app).__call__)
    app.edge = Edge(inside, metrics, Hosts(allowed_hosts))
    return app


class _App(FastAPI):
    """The application, which every request enters by the edge."""

    edge: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.edge(scope, receive, send)


class _Fork:
    """Sends a push straight to its endpoint, past the layers that every other route needs.

    Those layers cost more than the whole of the endpoint (``benchmarks/ingest.py`` measures it).
    """

    def __init__(self, push: ASGIApp, rest: ASGIApp) -> None:
        self._push = push
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PUSH_PATH and scope["method"] == "POST":
            await self._push(scope, receive, send)
        else:
            await self._rest(scope, receive, send)


def _add_service(app: FastAPI, application: Application, metrics: Metrics) -> None:
    @app.get(
        "/healthz",
        tags=["service"],
        summary="Whether the process is alive",
        response_model=models.Health,
        responses=errors(),
        operation_id="healthz",
    )
    async def healthz() -> dict[str, str]:
        """Looks at nothing but itself."""
        return {"status": "alive"}

    @app.get(
        "/readyz",
        tags=["service"],
        summary="Whether the service is ready",
        response_model=models.Readiness,
        responses={
            **errors(),
            503: {
                "description": "A part is not: the same answer, with `not_ready`.",
                "model": models.Readiness,
            },
        },
        operation_id="readyz",
    )
    async def readyz() -> Any:
        """The store can be read and written, each within two seconds; effects are being delivered;
        time is given to what is due. That it can be written is proved by a commit within the last
        minute: one of an event, or else one made for the purpose."""
        ready, parts = await readiness(application)
        answer = {"status": "ready" if ready else "not_ready", "parts": parts}
        return answer if ready else JSONResponse(answer, 503, {"Retry-After": "5"})

    @app.get(
        "/metrics",
        tags=["service"],
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={
            200: {
                "description": "Prometheus text format.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **errors(),
        },
        operation_id="metrics",
    )
    async def scrape() -> Response:
        """Counters since the start of the process, and gauges read from the store."""
        text = await metrics.text(await lags(application))
        return Response(text, media_type=CONTENT_TYPE)

    @cache
    def document() -> dict[str, Any]:
        """Drawn up when first asked for: it takes longer than the rest of a start."""
        return schema_of(app)

    @cache
    def page() -> str:
        return page_of(document())

    app.openapi = document  # type: ignore[method-assign]

    async def openapi(_: object) -> Response:
        return JSONResponse(document())

    async def docs(_: object) -> Response:
        return HTMLResponse(page(), headers={"Content-Security-Policy": PAGE_POLICY})

    app.router.add_route("/openapi.json", openapi, ["GET"], include_in_schema=False)
    app.router.add_route("/docs", docs, ["GET"], include_in_schema=False)
