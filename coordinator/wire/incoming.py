"""Reading messages: push envelopes and events (specification 3).

Owns which model reads an event, and the ids that are derived from it. Refuses to look anything up:
which table a name means is the registry's to say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from pydantic import ValidationError

from coordinator.core.arrivals import LoadStatus
from coordinator.errors import BadInput, Mistake
from coordinator.game_dates import is_game_date
from coordinator.validation import mistakes_of
from coordinator.wire.models import (
    DATE_FIELDS,
    NAMING_FIELDS,
    RECEIVED_AT,
    LoadEvent,
    Message,
    PushEnvelope,
    PushMessage,
    RunReport,
)
from coordinator.wire.strict_json import BadMessage, bad, read_json
from coordinator.wire.values import MAX_TEXT, REPORT_STATUSES

M = TypeVar("M", bound=Message)

LOADED = "raw_data_loaded"
COMPLETED = "run_completed"
RUN_EVENTS = frozenset({"run_started", "run_heartbeat", COMPLETED})
EXAMPLES = {n: f.examples[0] for n, f in LoadEvent.model_fields.items() if f.examples}


class LoadMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A load in one spelling, with its id. ``names`` are the table names it gave, best first."""

    names: tuple[str, ...]
    game_date: str
    status: LoadStatus
    timestamp: datetime
    event_id: str
    given_id: bool
    """Whether the sender named the id; a derived one may not come again with other content."""
    digest: str
    record_count: int | None = None
    game_ids: tuple[str, ...] = ()
    content_hash: str | None = None
    quiet: bool = False
    correlation_id: str | None = None
    execution_id: str | None = None
    processor_name: str | None = None
    source_scraper_execution_id: str | None = None
    message_id: str | None = None


def read_envelope(body: bytes) -> PushMessage:
    """Unwrap a Pub/Sub push body. Raises ``BadMessage`` where it is not one."""
    envelope = read_json(body, "envelope")
    if not isinstance(envelope, dict):
        raise bad("envelope", "must be a JSON object with a `message`", envelope)
    if not isinstance(envelope.get("message"), dict):
        rule = "is missing; send a wrapped Pub/Sub push envelope"
        raise bad("message", rule, envelope.get("message"))
    return _validated(PushEnvelope, envelope).message


def read_event(
    event: Any, received_at: datetime, message_id: str | None = None
) -> LoadMessage | RunReport:
    """Read one event in any of the spellings of specification 3.1 and 3.2.

    ``received_at`` bounds the timestamp; ``message_id`` is used if there is no execution id.
    Raises ``BadMessage`` with every mistake found.
    """
    if not isinstance(event, dict):
        raise bad("event", "must be a JSON object", event)
    kind = event.get("event_type")
    if kind == LOADED or (kind == COMPLETED and not event.get("run_id")):
        return _read_load(event, received_at, message_id)
    if kind in (None, ""):
        raise bad("event_type", "is missing")
    if not isinstance(kind, str):
        raise bad("event_type", "must be a string", kind)
    if kind not in RUN_EVENTS:
        known = ", ".join(sorted({LOADED, *RUN_EVENTS}))
        raise bad("event_type", f"is not known; known are {known}", kind)
    return _read_report(kind, event)


def _read_load(
    event: Mapping[str, Any], received_at: datetime, message_id: str | None
) -> LoadMessage:
    mistakes = []
    if not any(event.get(name) for name in NAMING_FIELDS):
        rule = (
            "is missing; name a table in target_table, source_table, output_table or processor_name"
        )
        mistakes.append(Mistake("target_table", rule))
    load = _validated(LoadEvent, event, mistakes, {RECEIVED_AT: received_at})
    source = load.execution_id or message_id or load.timestamp.isoformat()
    derived = load.event_id is None
    content_hash = load.metadata.content_hash if load.metadata is not None else None
    return LoadMessage(
        names=load.names,
        game_date=load.game_date,
        status=load.status,
        timestamp=load.timestamp,
        event_id=load.event_id
        or derived_id(load.event_type, source, load.game_ids, load.status, load.record_count),
        given_id=not derived,
        digest=content_digest(load.status, load.record_count, load.game_ids, content_hash),
        record_count=load.record_count,
        game_ids=load.game_ids,
        content_hash=content_hash,
        quiet=load.quiet,
        correlation_id=load.correlation_id,
        execution_id=load.execution_id,
        processor_name=load.processor_name,
        source_scraper_execution_id=load.source_scraper_execution_id,
        message_id=message_id,
    )


def _read_report(kind: str, event: Mapping[str, Any]) -> RunReport:
    mistakes = []
    said = {k: v for k, v in event.items() if v is not None and (v != "" or k == "record_count")}
    if kind != COMPLETED:
        said.pop("status", None)  # of a run that goes on it says nothing
    elif "status" not in said:
        mistakes.append(Mistake("status", f"is missing; give one of {', '.join(REPORT_STATUSES)}"))
    return _validated(RunReport, said, mistakes)


def _validated(
    model: type[M],
    value: Mapping[str, Any],
    mistakes: Sequence[Mistake] = (),
    context: Mapping[str, Any] | None = None,
) -> M:
    """Raises ``BadMessage`` with the mistakes that are known already and those of the model."""
    try:
        valid = model.model_validate(value, context=context)
    except ValidationError as error:
        mistakes = [*mistakes, *mistakes_of(error.errors(), examples=EXAMPLES)]
    else:
        if not mistakes:
            return valid
    raise BadMessage("; ".join(str(m) for m in mistakes), mistakes)


def marks_of(body: bytes, *, wrapped: bool) -> tuple[str | None, str | None]:
    """The correlation id and game date that a message names, where they can be read at all.

    For messages that are quarantined: it raises nothing, and trusts nothing else of them.
    """
    try:
        event = read_json(read_envelope(body).data if wrapped else body)
    except (BadInput, RecursionError):
        return None, None
    if not isinstance(event, dict):
        return None, None
    correlation_id = event.get("correlation_id")
    if not isinstance(correlation_id, str) or not 0 < len(correlation_id) <= MAX_TEXT:
        correlation_id = None
    dates = (event.get(name) for name in DATE_FIELDS)
    return correlation_id, next((d for d in dates if is_game_date(d)), None)


def same_message(body: bytes) -> bytes:
    """A push body without what differs from one delivery of a message to the next.

    A subscription with a dead-letter topic counts them in ``deliveryAttempt``. What is not a JSON
    object is returned as it is.
    """
    try:
        envelope = read_json(body, "envelope")
    except (BadInput, RecursionError):
        return body
    if not isinstance(envelope, dict) or "deliveryAttempt" not in envelope:
        return body
    kept = {k: v for k, v in envelope.items() if k != "deliveryAttempt"}
    return json.dumps(kept, sort_keys=True).encode()


def derived_id(
    event_type: str,
    source: str,
    game_ids: Sequence[str],
    status: LoadStatus,
    record_count: int | None,
) -> str:
    """The id of an event that carries none (specification 3.1, ``event_id``)."""
    return _digest([event_type, source, sorted(game_ids), status.value, record_count])


def content_digest(
    status: LoadStatus,
    record_count: int | None,
    game_ids: Sequence[str],
    content_hash: str | None,
) -> str:
    """What distinguishes a load that comes again from another one under the same id."""
    return _digest([status.value, record_count, list(game_ids), content_hash])


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]
