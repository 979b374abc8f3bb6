"""Requests to a service over HTTP, with the standard library.

Owns headers, time-outs and the reading of JSON. Importing httpx takes about as long as
everything else that a verb does, and no verb needs more than one request at a time.
"""

from __future__ import annotations

import json
from email.message import Message
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener


class NoReply(Exception):
    """Nothing answered, or not over HTTP; the text says why."""


class HttpReply(NamedTuple):
    """What came back, whatever its status is."""

    status: int
    headers: Message
    document: Any
    """The JSON of the body: an empty mapping for an empty body, None for what is no JSON."""


class _NoRedirects(HTTPRedirectHandler):
    """A token is for the service that was named, so nothing is followed to another place."""

    def redirect_request(self, *_: Any) -> None:
        return None


class HttpClient:
    """Sends requests with a bearer ``token``, if there is one; each has a connection of its own."""

    def __init__(self, token: str | None, timeout_seconds: float) -> None:
        self._headers = {"Accept": "application/json", "User-Agent": "coordinator"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout_seconds = timeout_seconds
        self._opener = build_opener(_NoRedirects)

    def close(self) -> None:
        """Let go of what it holds."""
        self._opener.close()

    def send(self, method: str, url: str, body: Any = None) -> HttpReply:
        """The answer to a request, with ``body`` as JSON unless it is None.

        Raises ``TimeoutError`` if a connection was made and nothing came for too long, and
        ``NoReply`` for everything else that is no answer.
        """
        headers, data = self._headers, None
        if body is not None:
            headers = {**headers, "Content-Type": "application/json"}
            data = json.dumps(body).encode()
        try:
            request = Request(url, data, headers, method=method)
            try:
                response = self._opener.open(request, timeout=self._timeout_seconds)
            except HTTPError as refused:
                response = refused
            with response:
                content = response.read()
        except TimeoutError:
            raise
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise NoReply(str(reason) or type(reason).__name__) from error
        try:
            document = json.loads(content) if content else {}
        except ValueError:
            document = None
        return HttpReply(response.status, response.headers, document)
