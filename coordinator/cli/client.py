"""The way to a running service: its HTTP API, and what its refusals mean for an exit code.

Owns requests, and turning every answer that is not a 2xx into one of three errors. Refuses to
print; ``verbs`` does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from coordinator.errors import CoordinatorError, Unusable
from coordinator.terminal import safe

if TYPE_CHECKING:
    import msgspec

    from coordinator.cli.http import HttpReply

    A = TypeVar("A", bound=msgspec.Struct)

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT_SECONDS = 30.0
GATEWAY_STATUSES = frozenset({502, 503, 504})
"""Answers that mean that the service, or its store, cannot be reached now."""
UNPROCESSABLE = 422
ITEMS_PER_PAGE = 100
PAGES_AT_MOST = 10_000


class OutOfReach(CoordinatorError):
    """No coordinator answered: exit code 3."""

    code = "out_of_reach"

    def problem(self) -> dict[str, Any]:
        """The error as an object for programs."""
        return {"title": "Service out of reach", "status": None, "detail": self.detail}


class Busy(OutOfReach):
    """The service or its store cannot accept this now; a retry may succeed."""


class Refusal(CoordinatorError):
    """The service said no. ``document`` is its whole answer."""

    code = "refused"

    def __init__(self, status: int, detail: str, document: Mapping[str, Any]) -> None:
        super().__init__(detail)
        self.status = status
        self.document = document
        self.usage = status == UNPROCESSABLE
        """Whether the request itself is invalid: exit code 2, otherwise 1."""

    def problem(self) -> dict[str, Any]:
        """The error as an object for programs."""
        return dict(self.document) or {"status": self.status, "detail": self.detail}

    @property
    def mistakes(self) -> list[str]:
        """What is wrong, one line each, where the answer lists it."""
        return [f"{e['field']}: {e['message']}" for e in self.document.get("errors") or []]


def read(shape: type[A], answer: Any) -> A:
    """An answer of the service as what is shown of it; other fields of it are ignored.

    Raises ``OutOfReach`` for an answer that is no such thing.
    """
    import msgspec

    try:
        return msgspec.convert(answer, shape)
    except msgspec.ValidationError as error:
        raise OutOfReach(
            f"the service's answer cannot be read ({safe(error)}); see that it is a coordinator of "
            "the same version as this command line"
        ) from error


class Service:
    """A running coordinator at ``url``. Use as a context manager."""

    def __init__(
        self, url: str, token: str | None = None, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self.url = url.rstrip("/")
        if "@" in self.url:  # what precedes it may be a password, and is not shown
            raise Unusable(
                "an address of a service names no user and no password; leave out what precedes the @ "
                "in --url or COORDINATOR_URL, and give a token with COORDINATOR_TOKEN"
            )
        if not _is_address(self.url):
            raise Unusable(
                f"{safe(url)!r} is no address of a service; give one such as {DEFAULT_URL} "
                "with --url or COORDINATOR_URL"
            )
        from coordinator.cli.http import HttpClient

        self._http = HttpClient(token, timeout_seconds)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, *path: str, **query: Any) -> Any:
        """The answer to a GET of ``/path/…``; parts are quoted, null query values left out."""
        return self._ask("GET", path, query=query)

    def post(self, *path: str, body: Any = None) -> Any:
        """The answer to a POST of ``body`` as JSON."""
        return self._ask("POST", path, body={} if body is None else body)

    def delete(self, *path: str, body: Any = None) -> Any:
        """The answer to a DELETE with ``body`` as JSON."""
        return self._ask("DELETE", path, body=body)

    def whole(self, *path: str, **query: Any) -> Any:
        """The answer to a GET of a paged list, with the items of every page."""
        answer = page = self.get(*path, **query)
        items = list(answer["items"])
        while page["next_page_token"]:
            page = self.get(*path, page_token=page["next_page_token"], **query)
            items += page["items"]
        return {**answer, "items": items, "next_page_token": None}

    def items(self, *path: str, most: int, **query: Any) -> Iterator[Any]:
        """The items of a paged list, at most ``most`` of them."""
        token: str | None = None
        given = 0
        for _ in range(PAGES_AT_MOST):
            limit = min(ITEMS_PER_PAGE, most - given)
            page = self.get(*path, page_token=token, limit=limit, **query)
            for item in page.get("items", []):
                given += 1
                yield item
                if given >= most:
                    return
            token = page.get("next_page_token")
            if not token:
                return

    def probe(self, path: str) -> tuple[int, str | None, dict[str, Any]]:
        """Status, ``Date`` header and object of a health answer, whatever the status is."""
        reply = self._send("GET", f"{self.url}/{path}")
        document = reply.document
        return (
            reply.status,
            reply.headers.get("date"),
            document if isinstance(document, dict) else {},
        )

    def _ask(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
    ) -> Any:
        url = "/".join([self.url, *(quote(part, safe=":") for part in path)])
        asked = urlencode({k: v for k, v in (query or {}).items() if v is not None})
        return self._read(self._send(method, f"{url}?{asked}" if asked else url, body))

    def _send(self, method: str, url: str, body: Any = None) -> HttpReply:
        from coordinator.cli.http import NoReply

        try:
            return self._http.send(method, url, body)
        except TimeoutError as error:
            raise OutOfReach(
                f"the coordinator at {self.url} did not answer in time; its store may be out of "
                "reach: `coordinator doctor` says"
            ) from error
        except NoReply as error:
            raise OutOfReach(self._unreachable(error)) from error

    def _unreachable(self, error: Exception) -> str:
        return (
            f"no coordinator answers at {self.url} ({safe(error)}). Start one with `coordinator serve`, "
            "or name another with --url or COORDINATOR_URL"
        )

    def _read(self, reply: HttpReply) -> Any:
        status, document = reply.status, reply.document
        if status < 300 and document is not None:
            return document
        if status in GATEWAY_STATUSES or document is None:
            detail = document.get("detail") if isinstance(document, dict) else None
            unreached = Busy if status == 503 else OutOfReach
            raise unreached(
                f"{self.url} answered {status}"
                + (f": {detail}" if detail else ", which is no answer of a coordinator")
            )
        problem = document if isinstance(document, dict) else {}
        detail = str(problem.get("detail") or problem.get("title") or "refused")
        if status in (401, 403):
            detail += " (give a token with COORDINATOR_TOKEN)"
        raise Refusal(status, detail, problem)


def _is_address(url: str) -> bool:
    """Whether it names a host, by HTTP or HTTPS, and a port at the most."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, or a port that is none
        return False
