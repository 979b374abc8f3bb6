"""The HTTP application: every route of specification 5, put together.

Owns putting them together alone. Routes are in modules by their kind (``event_routes``,
``status_routes``, ``run_routes``, ``operator_routes``, ``service_routes``); errors, headers and
limits in ``problems`` and ``edge``.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

from fastapi import Depends, FastAPI
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from coordinator.assembly import Coordinator
from coordinator.web import (
    event_routes,
    operator_routes,
    problems,
    run_routes,
    service_routes,
    status_routes,
)
from coordinator.web.edge import Edge
from coordinator.web.event_routes import PUSH_PATH, PushEndpoint
from coordinator.web.hosts import Hosts
from coordinator.web.metrics import Metrics
from coordinator.web.queries import only_declared
from coordinator.web.reference import PAGE_POLICY, page_of, schema_of
from coordinator.web.stream import Stream


def create_app(application: Coordinator, *, allowed_hosts: Collection[str] = ()) -> FastAPI:
    """The ASGI application over a wired service, open to whoever reaches its loopback address.

    It answers to loopback host names and to ``allowed_hosts`` (specification 5.4).

    It neither starts nor stops the service. ``app.state.stream`` is the stream of changes; close
    it when the server is to stop, since open streams would keep it waiting.
    """
    app = _App(
        title="Coordinator",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(only_declared)],
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.application = application
    metrics = Metrics(application)
    stream = Stream(application.clock, application.engine.entropy()[:12], application.shared_store)
    application.engine.listen(stream.committed)
    app.state.stream = stream
    app.state.metrics = metrics
    push = PushEndpoint(application)
    app.router.routes.append(Route(PUSH_PATH, push, methods=["POST"]))
    for routes in (event_routes, status_routes, run_routes, operator_routes, service_routes):
        app.include_router(routes.router)
    _add_reference(app)
    problems.install(app)
    inside = _Fork(push, super(_App, app).__call__)
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


def _add_reference(app: FastAPI) -> None:
    """Serve the reference, which is drawn up when first needed: it takes longer than a start."""

    @cache
    def document() -> dict[str, Any]:
        return schema_of(app)

    @cache
    def page() -> str:
        return page_of(document())

    async def openapi(_: object) -> Response:
        return JSONResponse(document())

    async def docs(_: object) -> Response:
        return HTMLResponse(page(), headers={"Content-Security-Policy": PAGE_POLICY})

    app.openapi = document  # type: ignore[method-assign]
    app.router.add_route("/openapi.json", openapi, ["GET"], include_in_schema=False)
    app.router.add_route("/docs", docs, ["GET"], include_in_schema=False)
