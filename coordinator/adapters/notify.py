"""Notices to people: the log, a signed webhook, a Slack-compatible webhook.

Owns the shape each channel wants and the signature. A notice that could not be delivered raises;
the outbox keeps it and tries again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit

import httpx
import structlog
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from coordinator.errors import Unavailable
from coordinator.outgoing import make_client, post
from coordinator.ports import Notice
from coordinator.wire import notice_message

log = structlog.get_logger("coordinator.notices")

TIMEOUT_SECONDS = 10.0
"""For one try."""
TOTAL_SECONDS = 20.0
"""For all tries of one delivery; after that the outbox tries again."""
TRIES = 3


class LogNotifier:
    """Every notice as one structured line in the log, at the level of its severity."""

    async def notify(self, notice: Notice) -> None:
        write = {"info": log.info, "warning": log.warning}.get(notice.severity, log.error)
        write(
            notice.kind,
            severity=notice.severity,
            processor=notice.processor,
            game_date=notice.game_date,
            summary=notice.summary,
            detail=notice.detail,
            link=notice.link,
        )


class WebhookNotifier:
    """POSTs notices as JSON, signed.

    ``X-Coordinator-Timestamp`` carries the Unix time in seconds and ``X-Coordinator-Signature`` is
    ``sha256=`` and the hex HMAC-SHA256 of ``{timestamp}.{body}`` under the shared secret, so a
    receiver can check both who sent it and that it is not an old one sent again.
    """

    def __init__(self, url: str, secret: str | None, now: Callable[[], datetime]) -> None:
        self._url = url
        self._secret = secret
        self._now = now
        self._client = make_client()

    async def notify(self, notice: Notice) -> None:
        """Deliver, with a few tries. Raises ``Unavailable``."""
        body = json.dumps(notice_message(notice), separators=(",", ":")).encode()
        headers = {"content-type": "application/json", "x-coordinator-notice": notice.notice_id}
        if self._secret is not None:
            timestamp = str(int(self._now().timestamp()))
            headers["x-coordinator-timestamp"] = timestamp
            headers["x-coordinator-signature"] = sign(self._secret, timestamp, body)
        await _post(self._client, self._url, body, headers)

    async def close(self) -> None:
        await self._client.aclose()


class SlackNotifier:
    """POSTs notices as Slack-compatible ``{"text": …}``."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = make_client()

    async def notify(self, notice: Notice) -> None:
        """Deliver, with a few tries. Raises ``Unavailable``."""
        mark = {"error": ":red_circle:", "warning": ":large_orange_circle:"}
        head = f"{mark.get(notice.severity, ':information_source:')} *{_plain(notice.summary)}*"
        lines = [head, _plain(notice.detail)]
        if notice.link:
            lines.append(f"<{notice.link}|why>")
        body = json.dumps({"text": "\n".join(line for line in lines if line)}).encode()
        await _post(self._client, self._url, body, {"content-type": "application/json"})

    async def close(self) -> None:
        await self._client.aclose()


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The signature of a webhook body."""
    mac = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={mac.hexdigest()}"


def _plain(text: str) -> str:
    """Text with Slack's control characters escaped, so that data cannot make links or mentions."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


async def _post(client: httpx.AsyncClient, url: str, body: bytes, headers: dict[str, str]) -> None:
    host = urlsplit(url).hostname or "the webhook"  # the path of a webhook may be its secret
    try:
        async with asyncio.timeout(TOTAL_SECONDS):
            await _post_patiently(client, url, body, headers, host)
    except TimeoutError as error:
        raise Unavailable(f"{host} did not answer within {TOTAL_SECONDS:g} s") from error


async def _post_patiently(
    client: httpx.AsyncClient, url: str, body: bytes, headers: dict[str, str], host: str
) -> None:
    async for attempt in AsyncRetrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(multiplier=0.2, max=2),
        retry=retry_if_exception_type(Unavailable),
        reraise=True,
    ):
        with attempt:
            answer = await post(client, url, body, headers, seconds=TIMEOUT_SECONDS, name=host)
            if not answer.is_success:
                raise Unavailable(f"{host} answered {answer.status}")
