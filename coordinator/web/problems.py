"""Errors as problem details (RFC 9457): one shape for everything that goes wrong over HTTP.

Owns the words and the codes. ``detail`` says what to do; ``code`` is for programs; internals are
never shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from coordinator.errors import BadInput, CoordinatorError, Mistake
from coordinator.service.operate import NotReady
from coordinator.service.views.event import field_error, sendable
from coordinator.service.views.verdict import verdict_view
from coordinator.validation import mistakes_of

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5

CODES: Mapping[str, tuple[str, str]] = {
    "bad_input": ("Bad input", "Fix what `errors` names, and send it again."),
    "malformed_json": ("Not JSON", "The body cannot be read as JSON; the detail says where."),
    "bad_page_token": ("Bad page token", "Start the list again without the token."),
    "not_found": ("Not found", "Nothing has that name or path; the detail says what is known."),
    "method_not_allowed": ("Method not allowed", "See the `Allow` header for what the path takes."),
    "too_large": ("Too large", "Send less at a time."),
    "too_many": ("Too many events", "Send at most 1,000 events in one call."),
    "all_rejected": ("Every event is bad", "`results` says for each event what is wrong with it."),
    "refused": ("Refused", "A rule said no; the detail names it."),
    "not_ready": ("Not ready", "`verdict` says what is missing; name a bypass, or wait."),
    "live_run": ("A run is live", "Wait for its end, or reset the partition to end its lease."),
    "taken": ("Run is taken", "Another owner holds the attempt; leave the run alone."),
    "stale": ("Stale report", "The lease or attempt is not the current one; stop and discard."),
    "over": ("Run is over", "Nothing more can be reported of it."),
    "wrong_host": (
        "Wrong host name",
        "Call the service by a loopback name, or list the name in `allowed_hosts`.",
    ),
    "cross_origin": ("Cross-origin request", "Call the API from the page's own origin."),
    "unavailable": ("Unavailable", "A part is out of reach; try again after `Retry-After`."),
    "contended": ("Contended", "Too many want the same state at once; try after `Retry-After`."),
    "queue_full": ("Queue full", "Too many events wait for the store; try after `Retry-After`."),
    "bug": ("Internal error", "Not the caller's fault; it was logged."),
}
"""code → (title, what to do). The reference page lists them; ``type`` points there."""

_BY_STATUS = {
    400: "bad_input",
    403: "refused",
    404: "not_found",
    405: "method_not_allowed",
    409: "refused",
    413: "too_large",
    421: "wrong_host",
    422: "bad_input",
    503: "unavailable",
}


def problem(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    instance: str | None = None,
    errors: Iterable[Mistake] = (),
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    """A problem response. ``errors`` are the mistakes of an input; ``more`` are extra members."""
    code = code or _BY_STATUS.get(status, "bug" if status >= 500 else "refused")
    title = CODES[code][0] if code in CODES else HTTPStatus(status).phrase
    body: dict[str, Any] = {
        "type": f"/docs#problem-{code}",
        "title": title,
        "status": status,
        "detail": sendable(detail),
        "code": code,
    }
    if instance is not None:
        body["instance"] = sendable(instance)
    listed = [field_error(m).model_dump() for m in errors]
    if listed:
        body["errors"] = listed
    body.update(more)
    found = dict(headers or {})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        found.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    return JSONResponse(body, status, found, MEDIA_TYPE)


def of_error(error: CoordinatorError, instance: str | None = None) -> JSONResponse:
    """The problem of one of this project's errors."""
    if error.status >= 500 and error.status != HTTPStatus.SERVICE_UNAVAILABLE:
        log.error("a request failed", instance=instance, error=error.detail, exc_info=error)
        return internal(instance)
    mistakes = error.mistakes if isinstance(error, BadInput) else ()
    more: dict[str, Any] = {}
    if isinstance(error, NotReady):
        more["verdict"] = verdict_view(error.decision.verdict).model_dump(mode="json")
    return problem(
        error.status, error.detail, code=error.code, instance=instance, errors=mistakes, **more
    )


def internal(instance: str | None = None) -> JSONResponse:
    """A 500 that shows nothing of the inside."""
    return problem(
        500,
        "Something went wrong inside. It was logged; try again, and report it if it stays.",
        code="bug",
        instance=instance,
    )


def of_http(error: HTTPException, scope_path: str, method: str) -> JSONResponse:
    """The problem of what routing refused: no such path, wrong method, body too large."""
    headers = error.headers or None
    match error.status_code:
        case 404:
            detail = f"There is nothing at {scope_path[:200]}; /docs lists what there is."
        case 405:
            allowed = (headers or {}).get("Allow") or (headers or {}).get("allow")
            takes = f"; it takes {allowed}" if allowed else ""
            detail = f"{scope_path[:200]} does not take {method}{takes}. /docs lists what there is."
        case 400:
            return problem(
                400,
                "The body cannot be read as JSON (perhaps nested too deeply, or not UTF-8); send "
                "UTF-8 JSON.",
                code="malformed_json",
                instance=scope_path,
            )
        case _:
            detail = str(error.detail)
    return problem(error.status_code, detail, instance=scope_path, headers=headers)


def of_validation(error: RequestValidationError, instance: str) -> JSONResponse:
    """The problem of a request that does not fit its model."""
    found = error.errors()
    for each in found:
        if each["type"] == "json_invalid":
            why = each.get("ctx", {}).get("error", "not JSON")
            at = each["loc"][-1] if isinstance(each["loc"][-1], int) else "?"
            return problem(
                400,
                f"The body is not JSON: {why} (at character {at}); send UTF-8 JSON.",
                code="malformed_json",
                instance=instance,
            )
    mistakes = mistakes_of(found, parts=("body", "query", "path", "header"))
    detail = "; ".join(f"{m.field}: {m.message}" for m in mistakes[:5])
    return problem(422, detail, instance=instance, errors=mistakes)


def install(app: FastAPI) -> None:
    """Make every error of an app a problem."""

    async def coordinator_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, CoordinatorError)
        return of_error(error, request.url.path)

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return of_http(error, request.url.path, request.method)

    async def validation_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return of_validation(error, request.url.path)

    async def unexpected(request: Request, _: Exception) -> JSONResponse:
        return internal(request.url.path)  # the edge logs it

    app.add_exception_handler(Exception, unexpected)
    app.add_exception_handler(CoordinatorError, coordinator_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, validation_error)
