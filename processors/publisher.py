"""Telling the coordinator that raw data was loaded.

Owns: the `raw_data_loaded` event (contract section 3.1), the transports that carry it, and the
promise that a publishing failure never fails the load. Refuses: deciding what a load means.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol, Self

import httpx
import structlog
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from processors.errors import DoorUnavailableError

log = structlog.get_logger(__name__)

Event = dict[str, Any]


class Transport(Protocol):
    """Carries one message to the coordinator."""

    def publish(self, message: Mapping[str, Any]) -> str:
        """Deliver `message` and return its id; any exception means it was not delivered."""
        ...


class RawDataPubSubPublisher:
    """Builds and publishes `raw_data_loaded` events. Safe to use from several threads."""

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        """`clock` gives the time of events that carry none; `new_id` draws missing ids."""
        self._transport = transport
        self._clock = clock
        self._new_id = new_id
        self._counting = threading.Lock()
        self.published_count = 0
        self.failed_count = 0

    def raw_data_loaded(
        self,
        *,
        table: str,
        processor_name: str,
        game_date: date,
        game_ids: Sequence[str],
        record_count: int,
        status: str,
        timestamp: datetime | None = None,
        execution_id: str | None = None,
        correlation_id: str | None = None,
        source_scraper_execution_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Event:
        """The event of one load, as the contract spells it; nothing is sent.

        `correlation_id` is carried through; without one the load starts a new one.
        """
        at = timestamp if timestamp is not None else self._clock()
        return {
            "event_type": "raw_data_loaded",
            "source_table": table.rsplit(".", 1)[-1],
            "target_table": table,
            "processor_name": processor_name,
            "execution_id": execution_id or self._new_id(),
            "correlation_id": correlation_id or self._new_id(),
            "game_date": game_date.isoformat(),
            "game_ids": list(game_ids),
            "record_count": record_count,
            "status": status,
            "timestamp": rfc3339(at),
            "source_scraper_execution_id": source_scraper_execution_id or self._new_id(),
            "metadata": dict(metadata or {}),
        }

    def publish(self, event: Mapping[str, Any]) -> str | None:
        """Send `event`; the message id, or None where it could not be delivered.

        Never raises for a failed delivery: the load is done and must stand. The failure is logged
        and counted in `failed_count`.
        """
        try:
            message_id = self._transport.publish(event)
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, the load stands
            with self._counting:
                self.failed_count += 1
            log.error(  # noqa: TRY400 - one line, not a traceback per load of an outage
                "raw_data_loaded_not_published",
                target_table=event.get("target_table"),
                game_date=event.get("game_date"),
                correlation_id=event.get("correlation_id"),
                error=f"{type(error).__name__}: {error}",
            )
            return None
        with self._counting:
            self.published_count += 1
        return message_id


class HttpTransport:
    """Posts messages as Pub/Sub push envelopes to `{base_url}/pubsub/push`.

    Retries an unreachable service, 429 and 5xx with a jittered, bounded back-off; the message id
    stays the same over the retries, as Pub/Sub's does over redeliveries.
    """

    def __init__(
        self,
        base_url: str,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        subscription: str = "projects/local/subscriptions/coordinator",
        auth: httpx.Auth | None = None,
        attempts: int = 4,
        first_wait_seconds: float = 0.2,
        max_wait_seconds: float = 5.0,
        timeout_seconds: float = 10.0,
    ) -> None:
        """Open a connection pool to `base_url`; close() releases it."""
        self._client = httpx.Client(base_url=base_url, auth=auth, timeout=timeout_seconds)
        self._clock = clock
        self._new_id = new_id
        self._subscription = subscription
        self._attempts = attempts
        self._first_wait_seconds = first_wait_seconds
        self._max_wait_seconds = max_wait_seconds

    def publish(self, message: Mapping[str, Any]) -> str:
        """Deliver one message.

        Raises httpx.HTTPStatusError for a refusal, httpx.TransportError where the service stays
        out of reach after the last attempt.
        """
        message_id = self._new_id()
        envelope = push_envelope(message, message_id, self._clock(), self._subscription)
        for attempt in retrying(self._attempts, self._first_wait_seconds, self._max_wait_seconds):
            with attempt:
                self._client.post("/pubsub/push", json=envelope).raise_for_status()
        return message_id

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        """Return the transport itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()


class PubSubTransport:
    """Publishes to a Google Cloud Pub/Sub topic, without ordering keys.

    The client library is imported when the transport is made, so that nothing else needs it.
    """

    def __init__(self, project: str, topic: str, *, timeout_seconds: float = 30.0) -> None:
        """Open a publisher for `projects/{project}/topics/{topic}`.

        Raises RuntimeError where google-cloud-pubsub is not installed.
        """
        try:
            pubsub = import_module("google.cloud.pubsub_v1")
        except ImportError as error:
            raise RuntimeError("install google-cloud-pubsub to publish to Pub/Sub") from error
        self._client: Any = pubsub.PublisherClient()
        self._topic = f"projects/{project}/topics/{topic}"
        self._timeout_seconds = timeout_seconds

    def publish(self, message: Mapping[str, Any]) -> str:
        """Deliver one message; raises the client's errors, TimeoutError among them."""
        data = json.dumps(message).encode()
        future = self._client.publish(self._topic, data, **attributes(message))
        return str(future.result(timeout=self._timeout_seconds))


def rfc3339(at: datetime) -> str:
    """`at` in UTC as the contract writes instants; a naive datetime is a ValueError."""
    if at.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def attributes(message: Mapping[str, Any]) -> dict[str, str]:
    """The fields of `message` that also travel as message attributes."""
    names = ("event_type", "target_table", "game_date", "status", "correlation_id")
    return {name: str(message[name]) for name in names if message.get(name) is not None}


def push_envelope(
    message: Mapping[str, Any], message_id: str, published_at: datetime, subscription: str
) -> dict[str, Any]:
    """What a Pub/Sub push subscription posts for `message` (the wrapped form)."""
    return {
        "message": {
            "data": base64.b64encode(json.dumps(message).encode()).decode(),
            "messageId": message_id,
            "publishTime": rfc3339(published_at),
            "attributes": attributes(message),
        },
        "subscription": subscription,
    }


def worth_retrying(error: BaseException) -> bool:
    """Whether the same request may succeed later: no connection, 429, 5xx, or the like."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, (httpx.TransportError, DoorUnavailableError))


def retrying(attempts: int, first_wait_seconds: float, max_wait_seconds: float) -> Retrying:
    """A bounded retry with jittered exponential waits, for what is worth retrying."""
    return Retrying(
        retry=retry_if_exception(worth_retrying),
        stop=stop_after_attempt(attempts),
        wait=wait_random_exponential(multiplier=first_wait_seconds, max=max_wait_seconds),
        reraise=True,
    )
