"""The client of the routes for runs: claim, heartbeat and complete, and its HTTP implementation.

Owns: the RunClient port, the Lease, and their HTTP form (specification 5.3), one bounded request per
call. Refuses: retrying, which the runner does, and executing anything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

import httpx

from processors.base import RunStatus
from processors.errors import CoordinatorRejectedError, CoordinatorUnavailableError, LeaseLostError
from processors.retry import is_rejected

REFUSALS = (404, 409, 410)
"""Statuses of a refusal, which is final for this attempt."""

CALL_SECONDS = 10.0
"""The longest time for one call, from connecting to the last byte of the answer."""

MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_LEASE_SECONDS = 366 * 86_400.0


@dataclass(frozen=True)
class Lease:
    """The time-bounded right to a run. `answer` is the full answer of the coordinator.

    `lease_seconds` is how long the lease still lasted when the coordinator answered. It is a
    duration, so that clocks need not agree: measure it on a monotonic clock, read before the
    request. None only after a heartbeat whose answer has none: the lease then lasts as long as it
    did at first.
    """

    lease_token: str
    lease_seconds: float | None
    answer: Mapping[str, Any] = field(default_factory=dict)


class RunClient(Protocol):
    """Claims, renews and completes runs, one request per call.

    All raise CoordinatorUnavailableError if a retry may succeed, and CoordinatorRejectedError if
    not.
    """

    async def claim(self, run_id: str, *, owner: str, attempt: int) -> Lease | None:
        """Claim one attempt; None if it is refused (409: taken, stale or over)."""
        ...

    async def heartbeat(self, run_id: str, lease_token: str) -> Lease:
        """Extend the lease; raises LeaseLostError if it is lost."""
        ...

    async def complete(
        self,
        run_id: str,
        lease_token: str,
        *,
        status: RunStatus,
        record_count: int | None,
        error: str | None,
    ) -> bool:
        """Report how the run ended; False if the report is refused (409).

        May be repeated: the same report with the same token is accepted again.
        """
        ...


class HttpRunClient:
    """RunClient over HTTP. Every call is limited in time and size, however the server answers."""

    def __init__(self, client: httpx.AsyncClient, *, call_seconds: float = CALL_SECONDS) -> None:
        """`client` has the coordinator's base URL and credentials; its owner closes it."""
        self._client = client
        self._call_seconds = call_seconds

    async def claim(self, run_id: str, *, owner: str, attempt: int) -> Lease | None:
        """See RunClient.claim."""
        answer = await self._post(run_id, "claim", {"owner": owner, "attempt": attempt})
        if answer is None:
            return None
        token = answer.get("lease_token")
        seconds = _seconds(answer, "lease_seconds", "heartbeat_timeout_seconds")
        if not isinstance(token, str) or not token or seconds is None:
            raise CoordinatorUnavailableError(
                f"claim of {run_id}: the answer carries no readable lease"
            )
        return Lease(token, seconds, answer)

    async def heartbeat(self, run_id: str, lease_token: str) -> Lease:
        """See RunClient.heartbeat."""
        answer = await self._post(run_id, "heartbeat", {"lease_token": lease_token})
        if answer is None:
            raise LeaseLostError(f"{run_id}: the lease is no longer this runner's")
        return Lease(lease_token, _seconds(answer, "lease_seconds"), answer)

    async def complete(
        self,
        run_id: str,
        lease_token: str,
        *,
        status: RunStatus,
        record_count: int | None,
        error: str | None,
    ) -> bool:
        """See RunClient.complete."""
        body = {
            "lease_token": lease_token,
            "status": status,
            "record_count": record_count,
            "error": error,
        }
        return await self._post(run_id, "complete", body) is not None

    async def _post(
        self, run_id: str, verb: str, body: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """The answer of a 2xx, None for 404, 409 and 410."""
        what = f"{verb} of {run_id}"
        path = f"/v1/runs/{quote(run_id, safe=':')}/{verb}"
        try:
            async with (
                asyncio.timeout(self._call_seconds),
                self._client.stream("POST", path, json=body) as response,
            ):
                if response.status_code in REFUSALS:
                    return None
                response.raise_for_status()
                return _object(await _read(response, what), what)
        except TimeoutError as error:
            raise CoordinatorUnavailableError(
                f"{what}: no whole answer within {self._call_seconds:g} s"
            ) from error
        except httpx.HTTPError as error:
            kind = CoordinatorRejectedError if is_rejected(error) else CoordinatorUnavailableError
            raise kind(f"{what}: {error!r}") from error


async def _read(response: httpx.Response, what: str) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise CoordinatorUnavailableError(
                f"{what}: the answer is longer than {MAX_ANSWER_BYTES:,} B"
            )
    return bytes(body)


def _object(content: bytes, what: str) -> Mapping[str, Any]:
    if not content:
        return {}
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CoordinatorUnavailableError(f"{what}: the answer is not JSON") from error
    if not isinstance(body, dict):
        raise CoordinatorUnavailableError(f"{what}: the answer is not a JSON object")
    return body


def _seconds(answer: Mapping[str, Any], *names: str) -> float | None:
    """The first of these fields that holds a duration, in seconds."""
    for name in names:
        value = answer.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if 0 <= value <= MAX_LEASE_SECONDS:
            return float(value)
    return None
