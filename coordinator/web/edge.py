"""What every request passes first: host and origin, body limit, headers, durations, last catch.

Owns one pure ASGI layer, kept thin because the push endpoint is behind it. Refuses to route.
"""

from __future__ import annotations

import time

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coordinator.web.hosts import Hosts
from coordinator.web.metrics import Metrics
from coordinator.web.problems import internal, problem
from coordinator.wire import MAX_BODY_BYTES

log = structlog.get_logger(__name__)

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
"""Added where a route did not set its own."""

DRAIN_BYTES = 32 * 1024 * 1024
"""How much of a body over the limit is read and thrown away, so that its sender gets the answer."""
_QUIET_PATHS = ("/pubsub/push", "/healthz", "/readyz", "/metrics")
_PLAIN_PATHS = ("/pubsub/push", "/openapi.json", "/docs")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Edge:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, metrics: Metrics, hosts: Hosts) -> None:
        self._app = app
        self._metrics = metrics
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_at = time.perf_counter()
        status = 0
        read = 0
        ended = False

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                if read > MAX_BODY_BYTES:
                    await _drain(message, receive)
                    raise HTTPException(413, _too_large())
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.get("headers") or ()
                have = {name for name, _ in headers}
                message["headers"] = [*headers, *(h for h in SECURITY_HEADERS if h[0] not in have)]
            elif message["type"] == "http.response.body":
                ended = not message.get("more_body")
            await send(message)

        try:
            answer = self._refuse(scope)
            if answer is not None:
                await answer(scope, limited, send_with_headers)
            else:
                await self._app(scope, limited, send_with_headers)
        except HTTPException as error:
            await problem(error.status_code, error.detail, instance=scope["path"])(
                scope, receive, send_with_headers
            )
        except Exception:
            log.exception("a request failed unexpectedly", path=scope["path"])
            if not status:
                await internal(scope["path"])(scope, receive, send_with_headers)
            elif not ended:
                raise  # the answer has begun: all that is left is to break the connection
        finally:
            self._note(scope, status or 499, time.perf_counter() - started_at)

    def _refuse(self, scope: Scope) -> ASGIApp | None:
        """The answer to a request that must not be routed at all."""
        named: list[bytes] = []
        origins: list[bytes] = []
        length = b""
        for name, value in scope["headers"]:
            if name == b"host":
                named.append(value)
            elif name == b"content-length":
                length = value
            elif name == b"origin":
                origins.append(value)
        if len(named) != 1 or not self._hosts.answers_to(named[0]):
            return problem(
                421,
                _wrong_host(named),
                code="wrong_host",
                instance=scope["path"],
            )
        if len(length) > 6 and length.isdigit() and int(length) > MAX_BODY_BYTES:
            return _TooLarge()
        if scope["method"] not in _SAFE_METHODS and not all(
            self._hosts.same_origin(origin, named[0]) for origin in origins
        ):
            return problem(
                403,
                "A page of another origin may not change anything here.",
                code="cross_origin",
                instance=scope["path"],
            )
        return None

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None)
        if route is None:  # a plain route, or none at all: no more labels than there are routes
            route = scope["path"] if scope["path"] in _PLAIN_PATHS else "(none)"
        method = scope["method"]
        self._metrics.http(method, route, status, seconds)
        write = log.debug if route in _QUIET_PATHS else log.info
        write(
            "request",
            method=method,
            path=scope["path"],
            status=status,
            milliseconds=round(seconds * 1000, 1),
        )


class _TooLarge:
    """Reads on for a while, then answers 413: a sender that is cut off may not see the answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    break
        except HTTPException:
            pass  # `limited` has drained the rest
        answer = problem(413, _too_large(), code="too_large", instance=scope["path"])
        await answer(scope, receive, send)


def _wrong_host(named: list[bytes]) -> str:
    given = " and ".join(repr(name.decode("latin-1")[:100]) for name in named) or "no host"
    return (
        f"The request names {given}, and this open service answers only to loopback names: call it "
        "as 127.0.0.1 or localhost. Where a reverse proxy forwards another name, list that in the "
        "setting allowed_hosts (COORDINATOR_ALLOWED_HOSTS)."
    )


async def _drain(message: Message, receive: Receive) -> None:
    drained = 0
    while message["type"] == "http.request" and message.get("more_body") and drained < DRAIN_BYTES:
        message = await receive()
        drained += len(message.get("body", b""))


def _too_large() -> str:
    return f"The body is over the limit of {MAX_BODY_BYTES // (1024 * 1024)} MiB; send less."
