"""Which failed calls to the coordinator to retry, and how long to wait before that.

Owns: reading an HTTP failure, and the waits between attempts. Refuses: deciding how often to retry;
each caller has its own limit.
"""

from __future__ import annotations

import httpx
from tenacity import wait_random_exponential
from tenacity.wait import wait_base

FIRST_WAIT_SECONDS = 0.2
MAX_WAIT_SECONDS = 5.0

REJECTED_STATUSES = frozenset({400, 413, 415, 422})
"""HTTP statuses that blame what was sent: the same request is never accepted later."""

TRANSIENT_STATUSES = frozenset({408, 425, 429})


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well succeed within seconds: no connection, 429, 5xx."""
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return status in TRANSIENT_STATUSES or status >= 500
    return isinstance(error, (httpx.TransportError, TimeoutError))


def is_rejected(error: BaseException) -> bool:
    """Whether the request itself is at fault, so that it must not be sent again."""
    return (
        isinstance(error, httpx.HTTPStatusError) and error.response.status_code in REJECTED_STATUSES
    )


def jittered(
    first_wait_seconds: float = FIRST_WAIT_SECONDS, max_wait_seconds: float = MAX_WAIT_SECONDS
) -> wait_base:
    """Random waits whose upper end doubles from the first to the longest."""
    return wait_random_exponential(multiplier=first_wait_seconds, max=max_wait_seconds)
