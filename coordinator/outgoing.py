"""One bounded HTTP call to a receiver that may be slow, hostile or broken.

Owns the bounds: on the time of the whole call, headers and body included, and on what is read of
an answer. A receiver decides by its status; its body is at most read for an error message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import httpx

from coordinator.errors import Unavailable

BODY_BYTES_MOST = 65_536
"""A body up to this size is read, so that its connection can be used again."""
BODY_SECONDS = 1.0
"""How long a body may take once the status is known."""
DETAIL_CHARS = 200


class HttpAnswer(NamedTuple):
    """What is known of an answer: its status, its headers and the beginning of its body."""

    status: int
    headers: Mapping[str, str]
    detail: str

    @property
    def is_success(self) -> bool:
        return 200 <= self.status <= 299


def make_client() -> httpx.AsyncClient:
    """A client without limits of its own: each call is bounded, and the relay bounds their number
    per receiver, so one receiver cannot use up the connections of the others."""
    return httpx.AsyncClient(
        timeout=None,
        follow_redirects=False,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        headers={"accept-encoding": "identity"},
    )


async def post(
    client: httpx.AsyncClient,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    seconds: float,
    name: str,
) -> HttpAnswer:
    """POST ``body``, and return once the status is known; ``name`` is what errors call the place.

    It takes at most ``seconds`` until the status, then ``BODY_SECONDS`` each for the body and for
    closing. Raises ``Unavailable`` where there is no answer in time.
    """
    try:
        async with asyncio.timeout(seconds):
            request = client.build_request("POST", url, content=body, headers=dict(headers))
            answer = await client.send(request, stream=True)
    except TimeoutError as error:
        raise Unavailable(f"{name} did not answer within {seconds:g} s") from error
    except httpx.InvalidURL as error:
        raise Unavailable(f"{name}: its address is no URL") from error
    except httpx.HTTPError as error:
        words = f"{type(error).__name__} {error}".strip()
        raise Unavailable(f"{name} cannot be reached: {words}") from error
    beginning = await _beginning(answer)
    text = beginning[:DETAIL_CHARS].decode(errors="replace")
    return HttpAnswer(answer.status_code, answer.headers, text)


async def _beginning(answer: httpx.Response) -> bytes:
    """The body, or what comes of it within its bounds; then the connection is let go."""
    read = bytearray()
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in answer.aiter_raw():
                read += chunk
                if len(read) > BODY_BYTES_MOST:
                    break
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(BODY_SECONDS):
            await answer.aclose()
    return bytes(read)
