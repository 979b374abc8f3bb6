"""The coordinator's door for runs, as the runner sees it, and the way to it over HTTP.

Owns: the RunDoor port, the Lease, and their HTTP spelling (contract section 5.3). Refuses:
executing anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import quote

import httpx
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from processors.base import RunStatus
from processors.errors import DoorUnavailableError, LeaseLostError
from processors.publisher import worth_retrying

REFUSALS = (404, 409, 410)
"""Answers that are a rule's no, final for this attempt."""


@dataclass(frozen=True)
class Lease:
    """The time-bounded right to a run. `answer` is all that the coordinator said with it.

    `lease_expires_at` is None only after a heartbeat whose answer names no instant: the lease then
    lasts as long again as it did at first.
    """

    lease_token: str
    lease_expires_at: datetime | None
    answer: Mapping[str, Any] = field(default_factory=dict)


class RunDoor(Protocol):
    """Claiming, keeping and completing runs. All raise DoorUnavailableError when out of reach."""

    async def claim(self, run_id: str, *, owner: str, attempt: int) -> Lease | None:
        """Claim one attempt; None where it is refused (409: taken, stale or over)."""
        ...

    async def heartbeat(self, run_id: str, lease_token: str) -> Lease:
        """Prolong the lease; raises LeaseLostError where it is gone."""
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
        """Report how the run ended; False where the report is refused (409)."""
        ...


class HttpDoor:
    """The door over HTTP. Retries what is worth retrying, jittered and bounded."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        attempts: int = 5,
        first_wait_seconds: float = 0.2,
        max_wait_seconds: float = 5.0,
    ) -> None:
        """`client` has the coordinator's base URL and credentials; its owner closes it."""
        self._client = client
        self._attempts = attempts
        self._first_wait_seconds = first_wait_seconds
        self._max_wait_seconds = max_wait_seconds

    async def claim(self, run_id: str, *, owner: str, attempt: int) -> Lease | None:
        """See RunDoor.claim."""
        answer = await self._post(run_id, "claim", {"owner": owner, "attempt": attempt})
        if answer is None:
            return None
        token, expires_at = answer.get("lease_token"), _expiry(answer)
        if not isinstance(token, str) or expires_at is None:
            raise DoorUnavailableError(f"claim of {run_id}: the answer carries no readable lease")
        return Lease(token, expires_at, answer)

    async def heartbeat(self, run_id: str, lease_token: str) -> Lease:
        """See RunDoor.heartbeat; one request only, since the next beat is the retry."""
        body = {"lease_token": lease_token}
        answer = await self._post(run_id, "heartbeat", body, attempts=1)
        if answer is None:
            raise LeaseLostError(f"{run_id}: the lease is no longer this runner's")
        return Lease(lease_token, _expiry(answer), answer)

    async def complete(
        self,
        run_id: str,
        lease_token: str,
        *,
        status: RunStatus,
        record_count: int | None,
        error: str | None,
    ) -> bool:
        """See RunDoor.complete."""
        body = {
            "lease_token": lease_token,
            "status": status,
            "record_count": record_count,
            "error": error,
        }
        return await self._post(run_id, "complete", body) is not None

    async def _post(
        self, run_id: str, verb: str, body: Mapping[str, Any], *, attempts: int | None = None
    ) -> Mapping[str, Any] | None:
        """The answer of a 2xx, None for 404, 409 and 410."""
        path = f"/v1/runs/{quote(run_id, safe=':')}/{verb}"
        retrying = AsyncRetrying(
            retry=retry_if_exception(worth_retrying),
            stop=stop_after_attempt(attempts or self._attempts),
            wait=wait_random_exponential(
                multiplier=self._first_wait_seconds, max=self._max_wait_seconds
            ),
            reraise=True,
        )
        try:
            response: httpx.Response = await retrying(self._send, path, body)
        except httpx.HTTPError as error:
            raise DoorUnavailableError(f"{verb} of {run_id}: {error!r}") from error
        if response.status_code in REFUSALS:
            return None
        return _object(response, f"{verb} of {run_id}")

    async def _send(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        response = await self._client.post(path, json=body)
        if response.status_code not in REFUSALS:
            response.raise_for_status()
        return response


def _object(response: httpx.Response, what: str) -> Mapping[str, Any]:
    if not response.content:
        return {}
    try:
        body = response.json()
    except ValueError as error:
        raise DoorUnavailableError(f"{what}: the answer is not JSON") from error
    if not isinstance(body, dict):
        raise DoorUnavailableError(f"{what}: the answer is not a JSON object")
    return body


def _expiry(answer: Mapping[str, Any]) -> datetime | None:
    try:
        expires_at = datetime.fromisoformat(answer["lease_expires_at"])
    except (KeyError, TypeError, ValueError):
        return None
    return expires_at if expires_at.tzinfo is not None else None
