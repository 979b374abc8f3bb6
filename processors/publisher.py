"""Reports to the coordinator that raw data was loaded.

Owns: the `raw_data_loaded` event (specification 3.1), the transports that carry it, and the
guarantee that a publishing failure never fails or delays the load. Refuses: deciding what a load
means.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import httpx
import structlog
from tenacity import AsyncRetrying, retry_if_exception

from processors.errors import SpoolError
from processors.retry import (
    FIRST_WAIT_SECONDS,
    MAX_WAIT_SECONDS,
    is_rejected,
    is_transient,
    jittered,
)
from processors.spool import Spool

log = structlog.get_logger(__name__)

Event = dict[str, Any]
T = TypeVar("T")

BUDGET_SECONDS = 10.0
"""The longest time for publishing one event."""

OUTAGE_SECONDS = 2.0
"""The same while the last attempt failed, so that an outage does not slow down every load."""


class Transport(Protocol):
    """Carries one message to the coordinator."""

    def publish(self, message: Mapping[str, Any], *, seconds: float) -> str:
        """Deliver `message` within `seconds` in all, retries included, and return its id.

        Any exception means that it was perhaps not delivered.
        """
        ...


@dataclass(frozen=True)
class Flushed:
    """The result of sending a spool: events sent, events still kept, events set aside for good.

    `kept` is None if the spool cannot be read.
    """

    sent: int
    kept: int | None
    set_aside: int
    error: str | None = None


class RawDataPubSubPublisher:
    """Builds and publishes `raw_data_loaded` events. Safe to use from several threads.

    With a spool an event is on the disk before it is sent and until it was, so neither an outage of
    the coordinator nor the end of this process loses it; all events are sent in the order in which
    they were published. Without one, an event that is not delivered within the budget is only
    logged and counted.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        spool: Spool | None = None,
        budget_seconds: float = BUDGET_SECONDS,
        outage_seconds: float = OUTAGE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives the time of events that carry none; `new_id` draws missing ids.

        `budget_seconds` bounds each call of publish() in all, `outage_seconds` while the last try
        failed.
        """
        self._transport = transport
        self._clock = clock
        self._new_id = new_id
        self._spool = spool
        self._budget_seconds = budget_seconds
        self._outage_seconds = min(outage_seconds, budget_seconds)
        self._monotonic = monotonic
        self._counting = threading.Lock()
        self._failing = False
        self._sent_ids: dict[str, str | None] = {}
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
        """The event of one load (specification 3.1); nothing is sent.

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
        """Send `event`; the message id, or None where it was not delivered now.

        With a spool, an undelivered event stays there and is sent at the next publish() or flush(),
        before any later one. Never raises for a failed delivery and never takes longer than the
        budget: the load is done and must stay done. An event that is lost, or rejected for good, is
        logged and counted in `failed_count`. Raises TypeError where `event` is no mapping, which is
        a mistake of the caller and not of the delivery.
        """
        if not isinstance(event, Mapping):
            raise TypeError(
                f"an event must be a mapping, as raw_data_loaded() makes it, not {event!r:.100}"
            )
        seconds = self._outage_seconds if self._failing else self._budget_seconds
        began = self._monotonic()
        if self._spool is None:
            return self._send_unspooled(event, seconds)
        try:
            name = self._spool.append(event)
        except SpoolError as error:
            log.error("event_not_spooled", error=str(error), **_of(event))  # noqa: TRY400
            left = began + self._budget_seconds - self._monotonic()
            return self._send_unspooled(event, min(seconds, left))
        with self._counting:
            self._sent_ids[name] = None
        try:
            flushed = self._flush(self._spool, began + seconds, began + self._budget_seconds)
        finally:
            with self._counting:
                message_id = self._sent_ids.pop(name)
        if message_id is None and flushed.kept != 0:
            log.warning(
                "raw_data_loaded_kept", kept=flushed.kept, error=flushed.error, **_of(event)
            )
        return message_id

    def flush(self, seconds: float = BUDGET_SECONDS) -> Flushed:
        """Send what the spool keeps, oldest first, for at most `seconds`. Raises nothing."""
        if self._spool is None:
            return Flushed(0, 0, 0)
        until = self._monotonic() + seconds
        return self._flush(self._spool, until, until)

    def _flush(self, spool: Spool, give_up_at: float, once_sent_until: float) -> Flushed:
        """Send until `give_up_at`, or until the later instant once a first event got through."""
        sent, aside, failure = 0, 0, None
        try:
            with spool.sending(give_up_at - self._monotonic()) as mine:
                failure = None if mine else "another process is sending"
                while failure is None and (names := spool.names()):
                    for name in names:
                        if self._monotonic() >= give_up_at:
                            failure = "the time is over"
                            break
                        event = spool.read(name)
                        if event is None:
                            aside += 1
                            continue
                        try:
                            message_id = self._send(event, give_up_at - self._monotonic())
                        except Exception as error:  # noqa: BLE001 - whatever a transport raises
                            if not is_rejected(error):
                                failure = f"{type(error).__name__}: {error}"
                                break
                            self._count_failed(event, error)
                            spool.set_aside(name, f"it was rejected: {error}")
                            aside += 1
                            continue
                        sent += 1
                        give_up_at = once_sent_until
                        with self._counting:
                            if name in self._sent_ids:
                                self._sent_ids[name] = message_id
                        spool.remove(name)
        except SpoolError as error:
            log.error("spool_unusable", error=str(error))  # noqa: TRY400 - one line says it
            failure = str(error)
        kept = None
        with suppress(SpoolError):  # logged above: what cannot be listed cannot be sent either
            kept = len(spool.names())
        return Flushed(sent, kept, aside, failure)

    def _send_unspooled(self, event: Mapping[str, Any], seconds: float) -> str | None:
        try:
            return self._send(event, seconds)
        except Exception as error:  # noqa: BLE001 - no load fails for what a transport raises
            self._count_failed(event, error)
            return None

    def _send(self, event: Mapping[str, Any], seconds: float) -> str:
        try:
            message_id = self._transport.publish(event, seconds=seconds)
        except Exception:
            self._failing = True
            raise
        with self._counting:
            self._failing = False
            self.published_count += 1
        return message_id

    def _count_failed(self, event: Mapping[str, Any], error: Exception) -> None:
        with self._counting:
            self.failed_count += 1
        log.error(
            "raw_data_loaded_not_published", error=f"{type(error).__name__}: {error}", **_of(event)
        )


class HttpTransport:
    """Posts messages as Pub/Sub push envelopes to `{base_url}/pubsub/push`.

    Retries, after jittered waits, if the service is out of reach, overloaded (429) or broken (5xx),
    for as long as the caller waits; the message id stays the same over the tries, as Pub/Sub's does
    over redeliveries. A 2xx is a delivery as soon as its status is read; a call ends in time, however
    slowly or endlessly a server answers. Usable from any thread; it works in one of its own.
    """

    def __init__(
        self,
        base_url: str,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        subscription: str = "projects/local/subscriptions/coordinator",
        auth: httpx.Auth | None = None,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
        try_seconds: float = 5.0,
    ) -> None:
        """Prepare a connection pool to `base_url`; close() releases it.

        `try_seconds` is the longest that one try may take of the time that a call has.
        """
        self._base_url = base_url
        self._auth = auth
        self._clock = clock
        self._new_id = new_id
        self._subscription = subscription
        self._try_seconds = try_seconds
        self._waits = jittered(first_wait_seconds, max_wait_seconds)
        self._opening = threading.Lock()
        self._closed = False
        self._open()

    def publish(self, message: Mapping[str, Any], *, seconds: float = BUDGET_SECONDS) -> str:
        """Deliver one message within `seconds` in all.

        Raises httpx.HTTPStatusError for a refusal, httpx.TransportError or TimeoutError where the
        service stays out of reach or does not answer in time.
        """
        message_id = self._new_id()
        envelope = push_envelope(message, message_id, self._clock(), self._subscription)
        body = json.dumps(envelope).encode()
        with self._opening:
            if self._closed:
                raise RuntimeError("this transport is closed")
            if self._pid != os.getpid():  # a forked process has none of its parent's threads
                self._open()
        self._loop.run(self._deliver(body, seconds), seconds + RETURN_SECONDS)
        return message_id

    def _open(self) -> None:
        self._pid = os.getpid()
        self._client = httpx.AsyncClient(
            base_url=self._base_url, auth=self._auth, timeout=self._try_seconds
        )
        self._loop = _LoopThread()

    async def _deliver(self, body: bytes, seconds: float) -> None:
        give_up_at = time.monotonic() + seconds
        retrying = AsyncRetrying(
            retry=retry_if_exception(is_transient),
            stop=lambda state: time.monotonic() + state.upcoming_sleep >= give_up_at,
            wait=self._waits,
            reraise=True,
        )

        async def once() -> None:
            left = min(max(0.0, give_up_at - time.monotonic()), self._try_seconds)
            try:
                async with asyncio.timeout(left):
                    await self._post(body)
            except TimeoutError as error:
                raise TimeoutError(f"no answer within {left:.1f} s") from error

        await retrying(once)

    async def _post(self, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        request = self._client.stream("POST", "/pubsub/push", content=body, headers=headers)
        async with request as response:
            response.raise_for_status()
            # Only a short rest, read to its end, leaves the connection for the next message.
            with suppress(TimeoutError, httpx.HTTPError):
                async with asyncio.timeout(REST_SECONDS):
                    rest = 0
                    async for chunk in response.aiter_raw():
                        rest += len(chunk)
                        if rest > REST_BYTES:
                            break

    def close(self) -> None:
        """Close the connections. A second time it does nothing."""
        with self._opening:
            if self._closed:
                return
            self._closed = True
        if self._pid == os.getpid():
            self._loop.close(self._client.aclose())

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


REST_SECONDS = 0.2
REST_BYTES = 16 * 1024
"""How long, and how much, the body of an answer is read whose status said all."""

RETURN_SECONDS = 2.0
"""How much later than its end a call may come back from the thread that does it."""


class _LoopThread:
    """An event loop in a thread of its own.

    Only there can a call be limited as a whole: a blocking socket limits each read, and a server that
    sends slowly keeps every read short.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="http-transport", daemon=True
        )
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run `work` there and wait `seconds` for it; raises what it raises, and TimeoutError."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(seconds)
        except BaseException:
            future.cancel()
            raise

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Run `last`, then end the thread."""
        with suppress(TimeoutError):
            self.run(last, RETURN_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class PubSubTransport:
    """Publishes to a Google Cloud Pub/Sub topic, without ordering keys.

    The client library is imported when the transport is made, so that nothing else needs it.
    """

    def __init__(self, project: str, topic: str) -> None:
        """Open a publisher for `projects/{project}/topics/{topic}`.

        Raises RuntimeError where google-cloud-pubsub is not installed.
        """
        try:
            pubsub = import_module("google.cloud.pubsub_v1")
        except ImportError as error:
            raise RuntimeError("install google-cloud-pubsub to publish to Pub/Sub") from error
        self._client: Any = pubsub.PublisherClient()
        self._topic = f"projects/{project}/topics/{topic}"

    def publish(self, message: Mapping[str, Any], *, seconds: float = BUDGET_SECONDS) -> str:
        """Deliver one message; raises the client's errors, TimeoutError among them."""
        data = json.dumps(message).encode()
        future = self._client.publish(self._topic, data, timeout=seconds, **attributes(message))
        return str(future.result(timeout=seconds))


def rfc3339(at: datetime) -> str:
    """`at` as RFC 3339 in UTC; a naive datetime is a ValueError."""
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


def _of(event: Mapping[str, Any]) -> dict[str, Any]:
    """What a log line says of an event."""
    names = ("target_table", "game_date", "correlation_id")
    return {name: event.get(name) for name in names}
