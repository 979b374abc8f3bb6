"""Messages in and out: the only place that knows their many spellings.

Owns the reading of push envelopes and events (contract 3) and the writing of launch, announce and
notify messages (contract 6). Refuses to look anything up: which table a name means is the
registry's to say. Every rule broken is a ``Mistake`` that names the field, the value and the mend.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec

from coordinator.core.model import Arrival, LoadStatus, Run, RunStatus, Trigger
from coordinator.core.spec import ProcessorSpec
from coordinator.errors import BadInput, Mistake
from coordinator.ports import Notice

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_EVENTS_PER_CALL = 1000
MAX_DEPTH = 32
MAX_TEXT = 1000
MAX_GAME_IDS = 1000
MAX_GAME_ID = 100
MAX_EVENT_ID = 256
MAX_RECORD_COUNT = 10**12
FIRST_YEAR, LAST_YEAR = 1900, 2199
"""Game dates lie in these years, so that every deadline and window beside them is a date too."""
MAX_AHEAD = timedelta(minutes=10)
"""A timestamp further ahead of the clock than this is quarantined (contract 3.1)."""

LOADED = "raw_data_loaded"
RUN_EVENTS = frozenset({"run_started", "run_heartbeat", "run_completed"})
_DATE_FIELDS = ("game_date", "analysis_date", "target_date", "data_date")
_LOAD_STATUSES = {s.value: s for s in LoadStatus}
_SUSPECT = re.compile(r"\\u(0000|[dD][89a-fA-F])")
"""Escapes that may be a NUL or half a surrogate pair: worth a walk through the whole value."""
_UNUSUAL = re.compile(rb'\\u(0000|[dD][89a-fA-F])|"\s+:')
"""The same, or a colon apart from its key: left to the slow reader."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


class PushMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What a Pub/Sub push envelope wraps."""

    data: bytes
    message_id: str | None = None
    attributes: Mapping[str, str] = {}
    subscription: str | None = None


class LoadMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A ``raw_data_loaded`` event, read. ``names`` are the table names it gave, best first."""

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


class RunMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A runner's report, read."""

    kind: str
    run_id: str
    lease_token: str
    status: RunStatus | None = None
    record_count: int | None = None
    error: str | None = None


class BadMessage(BadInput):
    """A message that cannot be read; ``mistakes`` says why, each with its mend."""


def _bad(field_name: str, message: str, value: object = None) -> BadMessage:
    return BadMessage(f"{field_name}: {message}", (Mistake(field_name, message, shown(value)),))


def shown(value: object) -> str | None:
    """A value as an error may show it: one line, bounded."""
    if value is None:
        return None
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


# ── reading ──────────────────────────────────────────────────────────────────────────────────


def read_json(data: bytes, name: str = "body") -> Any:
    """Parse JSON strictly: UTF-8, no duplicate keys, no NaN, no NUL characters, bounded depth.

    Raises ``BadMessage``.
    """
    value = _read_usual(data)
    if value is not None:
        return value
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad(name, f"is not UTF-8 (byte {error.start}); send UTF-8 JSON") from None
    if text.startswith("\ufeff"):
        text = text[1:]
    try:
        value = _STRICT.decode(text)
    except RecursionError:
        raise _bad(name, f"is nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise _bad(name, f"is not JSON: {error.msg} at {where}") from None
    except ValueError:
        raise _bad(name, "holds a number that is too long") from None
    if _SUSPECT.search(text) or text.count("{") + text.count("[") > MAX_DEPTH:
        _check_tree(value, name, 0)
    return value


def _read_usual(data: bytes) -> dict[str, Any] | None:
    """Parse a plain JSON object fast; None for whatever needs the slow reader's strictness.

    A key that is given twice is lost without a word here, so the keys that came out are held
    against the keys that stand in the text.
    """
    if _UNUSUAL.search(data) or data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        return None
    try:
        value = msgspec.json.decode(data)
    except (ValueError, msgspec.MsgspecError):
        return None
    if not isinstance(value, dict) or _keys_in(value) != data.count(b'":'):
        return None
    return value


def _keys_in(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(_keys_in(v) for v in value.values() if type(v) in (dict, list))
    return sum(_keys_in(v) for v in value if type(v) in (dict, list))


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _bad(key[:100] or "(empty)", "is given twice; give each key once")
            seen.add(key)
    return found


def _no_constants(name: str) -> None:
    raise _bad("body", f"holds {name}, which JSON does not have")


_STRICT = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constants)


def _check_tree(value: Any, name: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _bad(name, f"is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        _check_text(value, name)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, name)
            _check_tree(item, key, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_tree(item, name, depth + 1)


def _check_text(value: str, name: str) -> None:
    if "\x00" in value:
        raise _bad(name, "holds a NUL character; remove it", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _bad(name, "holds half a surrogate pair; send whole characters", value) from None


class _Inner(msgspec.Struct):
    """The usual inside of an envelope."""

    data: str
    messageId: str | None = None
    attributes: dict[str, str] | None = None


class _Envelope(msgspec.Struct):
    message: _Inner
    subscription: str | None = None


_USUAL_ENVELOPE = msgspec.json.Decoder(_Envelope)


def read_envelope(body: bytes) -> PushMessage:
    """Unwrap a Pub/Sub push body.

    Raises ``BadMessage`` when it is not one.
    """
    try:  # the usual shape, fast; anything else is read slowly, for its mistakes to be named
        usual = _USUAL_ENVELOPE.decode(body)
        return PushMessage(
            data=base64.b64decode(usual.message.data, validate=True),
            message_id=usual.message.messageId and usual.message.messageId[:MAX_TEXT],
            attributes=usual.message.attributes or {},
            subscription=usual.subscription,
        )
    except (ValueError, msgspec.MsgspecError, RecursionError):
        pass
    envelope = read_json(body, "envelope")
    if not isinstance(envelope, dict):
        raise _bad("envelope", "must be a JSON object with a `message`", envelope)
    message = envelope.get("message")
    if not isinstance(message, dict):
        raise _bad("message", "is missing; send a wrapped Pub/Sub push envelope", message)
    attributes = message.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise _bad("message.attributes", "must be an object", attributes)
    raw = message.get("data")
    if raw is None:
        raise _bad("message.data", "is missing: the message has no data")
    if not isinstance(raw, str):
        raise _bad("message.data", "must be a base64 string", raw)
    try:
        data = base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError):
        raise _bad("message.data", "is not base64 (perhaps cut short)", raw[:40]) from None
    message_id = message.get("messageId") or message.get("message_id")
    subscription = envelope.get("subscription")
    return PushMessage(
        data=data,
        message_id=str(message_id)[:MAX_TEXT] if message_id is not None else None,
        attributes={str(k): str(v) for k, v in attributes.items()},
        subscription=subscription if isinstance(subscription, str) else None,
    )


def read_event(
    event: Any, received_at: datetime, message_id: str | None = None
) -> LoadMessage | RunMessage:
    """Read one event in any of the spellings of contract 3.1 and 3.2.

    ``received_at`` bounds the timestamp; ``message_id`` stands in where there is no execution id.
    Raises ``BadMessage`` with every mistake found.
    """
    if not isinstance(event, dict):
        raise _bad("event", "must be a JSON object", event)
    usual = _usual_load(event, received_at, message_id)
    if usual is not None:
        return usual
    reader = _Reader(event)
    kind = reader.text("event_type", required=True)
    if kind == LOADED:
        return _read_load(reader, received_at, message_id)
    if kind == "run_completed" and not event.get("run_id"):
        return _read_load(reader, received_at, message_id, event_type=kind)
    if kind in RUN_EVENTS:
        return _read_run(reader, str(kind))
    if kind is not None:
        known = ", ".join(sorted({LOADED, *RUN_EVENTS}))
        reader.mistake("event_type", f"is not known; known are {known}", kind)
    reader.done()
    raise AssertionError("an event without a kind has mistakes")


_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
_GameId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_GAME_ID)]


def marks_of(body: bytes, *, wrapped: bool) -> tuple[str | None, str | None]:
    """The correlation id and game date that a message names, where they can be read at all.

    For messages that cannot be taken in: it raises nothing, and believes nothing else of them.
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
    dates = (event.get(name) for name in _DATE_FIELDS)
    return correlation_id, next((d for d in dates if is_game_date(d)), None)


def same_message(body: bytes) -> bytes:
    """A push body without what differs from one delivery of a message to the next.

    A subscription with a dead-letter topic counts them in ``deliveryAttempt``. What is no JSON
    object is given back as it is.
    """
    try:
        envelope = read_json(body, "envelope")
    except (BadInput, RecursionError):
        return body
    if not isinstance(envelope, dict) or "deliveryAttempt" not in envelope:
        return body
    kept = {k: v for k, v in envelope.items() if k != "deliveryAttempt"}
    return json.dumps(kept, sort_keys=True).encode()


class _UsualLoad(msgspec.Struct):
    """A load as the contract writes it, in its first spelling and without mistakes."""

    event_type: Literal["raw_data_loaded"]
    game_date: str
    status: str
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    target_table: _Text | None = None
    source_table: _Text | None = None
    processor_name: _Text | None = None
    event_id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_EVENT_ID)] | None = None
    execution_id: _Text | None = None
    correlation_id: _Text | None = None
    source_scraper_execution_id: _Text | None = None
    record_count: Annotated[int, msgspec.Meta(ge=0, le=MAX_RECORD_COUNT)] | None = None
    game_ids: Annotated[list[_GameId], msgspec.Meta(max_length=MAX_GAME_IDS)] | None = None
    metadata: dict[str, Any] | None = None


_USUAL_FIELDS = frozenset(_UsualLoad.__struct_fields__)


def _usual_load(
    event: Mapping[str, Any], received_at: datetime, message_id: str | None
) -> LoadMessage | None:
    """Read the usual load fast; None for other spellings, and for mistakes to be named slowly."""
    if not event.keys() <= _USUAL_FIELDS:
        return None
    try:
        load = msgspec.convert(event, _UsualLoad)
        timestamp = load.timestamp.astimezone(UTC)
    except (ValueError, OverflowError, msgspec.MsgspecError):
        return None
    names = [n for n in (load.target_table, load.source_table, load.processor_name) if n]
    status = _LOAD_STATUSES.get(load.status)
    if (
        not names
        or status is None
        or timestamp > received_at + MAX_AHEAD
        or not is_game_date(load.game_date)
        or not _RFC3339.fullmatch(event["timestamp"])
    ):
        return None
    content_hash = None
    if load.metadata:
        content_hash = load.metadata.get("content_hash")
        if not _UNUSUAL_MARKS.isdisjoint(load.metadata) or not (
            content_hash is None
            or (isinstance(content_hash, str) and 0 < len(content_hash) <= MAX_TEXT)
        ):
            return None
    game_ids = tuple(sorted(set(load.game_ids))) if load.game_ids else ()
    return _load_message(
        names=tuple(names),
        event_type=LOADED,
        event_id=load.event_id,
        game_date=load.game_date,
        status=status,
        timestamp=timestamp,
        record_count=load.record_count,
        game_ids=game_ids,
        content_hash=content_hash,
        quiet=False,
        correlation_id=load.correlation_id,
        execution_id=load.execution_id,
        processor_name=load.processor_name,
        source_scraper_execution_id=load.source_scraper_execution_id,
        message_id=message_id,
    )


_UNUSUAL_MARKS = frozenset({"skip_downstream", "skip_downstream_trigger"})


class _Reader:
    """Reads typed fields out of one event and collects what is wrong with them."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        self.event = event
        self.mistakes: list[Mistake] = []

    def mistake(self, name: str, message: str, value: object = None) -> None:
        self.mistakes.append(Mistake(name, message, shown(value)))

    def done(self) -> None:
        if self.mistakes:
            raise BadMessage("; ".join(str(m) for m in self.mistakes), self.mistakes)

    def text(self, name: str, *, required: bool = False, most: int = MAX_TEXT) -> str | None:
        value = self.event.get(name)
        if value is None or value == "":
            if required:
                self.mistake(name, "is missing")
            return None
        if not isinstance(value, str):
            self.mistake(name, "must be a string", value)
            return None
        if len(value) > most:
            self.mistake(name, f"is longer than {most} characters", value)
            return None
        if "\x00" in value:
            self.mistake(name, "holds a NUL character; remove it", value)
            return None
        return value

    def count(self, name: str) -> int | None:
        value = self.event.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.mistake(name, "must be a whole number, or left out where unknown", value)
            return None
        if not 0 <= value <= MAX_RECORD_COUNT:
            self.mistake(name, f"must lie between 0 and {MAX_RECORD_COUNT}", value)
            return None
        return value

    def game_date(self) -> str | None:
        name = next((f for f in _DATE_FIELDS if self.event.get(f) not in (None, "")), None)
        if name is None:
            self.mistake("game_date", "is missing; give YYYY-MM-DD")
            return None
        value = self.event[name]
        if not is_game_date(value):
            self.mistake(name, "must be a calendar date YYYY-MM-DD", value)
            return None
        return str(value)

    def timestamp(self, received_at: datetime) -> datetime | None:
        value = self.event.get("timestamp")
        if value in (None, ""):
            self.mistake("timestamp", "is missing; give RFC 3339 with a zone")
            return None
        at = read_timestamp(value)
        if at is None:
            self.mistake("timestamp", "must be RFC 3339 with a zone (2025-11-15T02:30:00Z)", value)
            return None
        if at > received_at + MAX_AHEAD:
            minutes = int(MAX_AHEAD.total_seconds() // 60)
            self.mistake(
                "timestamp",
                f"is more than {minutes} minutes ahead of the clock; mend the sender's clock",
                value,
            )
            return None
        return at

    def game_ids(self) -> tuple[str, ...]:
        value = self.event.get("game_ids")
        if value is None and self.event.get("game_id") not in (None, ""):
            value = [self.event["game_id"]]
        if value is None:
            return ()
        if not isinstance(value, list):
            self.mistake("game_ids", "must be a list of game ids", value)
            return ()
        if len(value) > MAX_GAME_IDS:
            self.mistake("game_ids", f"holds more than {MAX_GAME_IDS} ids")
            return ()
        ids = set()
        for item in value:
            if isinstance(item, bool) or not isinstance(item, str | int):
                self.mistake("game_ids", "each id must be a string", item)
                return ()
            text = str(item)
            if not text or len(text) > MAX_GAME_ID or "\x00" in text:
                self.mistake("game_ids", f"each id has 1 to {MAX_GAME_ID} characters", item)
                return ()
            ids.add(text)
        return tuple(sorted(ids))

    def load_status(self) -> LoadStatus | None:
        value = self.event.get("status")
        if value is None and isinstance(self.event.get("success"), bool):
            return LoadStatus.SUCCESS if self.event["success"] else LoadStatus.FAILED
        if value is None:
            self.mistake("status", "is missing")
            return None
        if isinstance(value, str) and value in _LOAD_STATUSES:
            return _LOAD_STATUSES[value]
        known = ", ".join(s.value for s in LoadStatus)
        self.mistake("status", f"must be one of {known}", value)
        return None

    def flag(self, name: str, inside: Mapping[str, Any]) -> bool:
        value = self.event.get(name, inside.get(name))
        if value is None:
            return False
        if not isinstance(value, bool):
            self.mistake(name, "must be true or false", value)
            return False
        return value


def is_game_date(value: object) -> bool:
    """Whether a value is an ISO calendar date; nothing else is a game date (contract section 1).

    Years outside 1900 to 2199 are nobody's game dates, and are refused as well.
    """
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return False
    try:
        day = date.fromisoformat(value)
    except ValueError:
        return False
    return FIRST_YEAR <= day.year <= LAST_YEAR


NO_GAME_DATE = "is no game date; give a calendar date as YYYY-MM-DD"


def check_date(name: str, value: str) -> None:
    """Raise ``BadInput`` naming the rule where ``value`` is no game date (contract section 1)."""
    if not is_game_date(value):
        raise BadInput(
            f"{name}: {shown(value)} {NO_GAME_DATE}",
            [Mistake(name, "must be a calendar date YYYY-MM-DD", shown(value))],
        )


def read_timestamp(value: object) -> datetime | None:
    """An RFC 3339 instant in UTC, or None where it is not one."""
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value.upper().replace(" ", "T")).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _read_load(
    reader: _Reader, received_at: datetime, message_id: str | None, *, event_type: str = LOADED
) -> LoadMessage:
    event = reader.event
    dataset, output = reader.text("output_dataset"), reader.text("output_table")
    joined = f"{dataset}.{output}" if dataset and output and "." not in output else output
    names = [
        reader.text("target_table"),
        reader.text("source_table"),
        joined,
        reader.text("processor_name"),
        reader.text("processor"),
    ]
    if not any(names) and not reader.mistakes:
        reader.mistake(
            "target_table",
            "is missing; name a table in target_table, source_table, output_table "
            "or processor_name",
        )
    metadata = event.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        reader.mistake("metadata", "must be an object", metadata)
    metadata = metadata if isinstance(metadata, dict) else {}
    content_hash = metadata.get("content_hash")
    if content_hash is not None and not (
        isinstance(content_hash, str) and 0 < len(content_hash) <= MAX_TEXT
    ):
        reader.mistake("metadata.content_hash", "must be a non-empty string", content_hash)
        content_hash = None
    game_date = reader.game_date()
    status = reader.load_status()
    timestamp = reader.timestamp(received_at)
    record_count = reader.count("record_count")
    game_ids = reader.game_ids()
    quiet = reader.flag("skip_downstream", metadata) or reader.flag(
        "skip_downstream_trigger", metadata
    )
    event_id = reader.text("event_id", most=MAX_EVENT_ID)
    execution_id = reader.text("execution_id")
    correlation_id = reader.text("correlation_id")
    scraper_id = reader.text("source_scraper_execution_id")
    reader.done()
    assert game_date is not None
    assert status is not None
    assert timestamp is not None
    return _load_message(
        names=tuple(n for n in names if n),
        event_type=event_type,
        event_id=event_id,
        game_date=game_date,
        status=status,
        timestamp=timestamp,
        record_count=record_count,
        game_ids=game_ids,
        content_hash=content_hash,
        quiet=quiet,
        correlation_id=correlation_id,
        execution_id=execution_id,
        processor_name=names[3],
        source_scraper_execution_id=scraper_id,
        message_id=message_id,
    )


def _load_message(*, event_type: str, event_id: str | None, **read: Any) -> LoadMessage:
    """The message of what was read, with its id and its digest."""
    status, count, games = read["status"], read["record_count"], read["game_ids"]
    source = read["execution_id"] or read["message_id"] or read["timestamp"].isoformat()
    return LoadMessage(
        event_id=event_id or derived_id(event_type, source, games, status, count),
        given_id=event_id is not None,
        digest=content_digest(status, count, games, read["content_hash"]),
        **read,
    )


def derived_id(
    event_type: str,
    source: str,
    game_ids: Sequence[str],
    status: LoadStatus,
    record_count: int | None,
) -> str:
    """The id of an event that carries none (contract 3.1, ``event_id``)."""
    return _digest([event_type, source, sorted(game_ids), status.value, record_count])


def content_digest(
    status: LoadStatus,
    record_count: int | None,
    game_ids: Sequence[str],
    content_hash: str | None,
) -> str:
    """What tells a load that comes again from another one under the same id."""
    return _digest([status.value, record_count, list(game_ids), content_hash])


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def _read_run(reader: _Reader, kind: str) -> RunMessage:
    run_id = reader.text("run_id", required=True)
    token = reader.text("lease_token", required=True)
    status = None
    if kind == "run_completed":
        status = report_status(reader.event.get("status"))
        if status is None:
            words = "success, no_data, skipped, failed"
            reader.mistake("status", f"must be one of {words}", reader.event.get("status"))
    count = reader.count("record_count")
    error = reader.event.get("error")
    if error is not None and not isinstance(error, str):
        error = json.dumps(error)
    reader.done()
    assert run_id is not None
    assert token is not None
    return RunMessage(
        kind=kind,
        run_id=run_id,
        lease_token=token,
        status=status,
        record_count=count,
        error=error[:4000] if error else None,
    )


def report_status(value: object) -> RunStatus | None:
    """The status a runner may end a run with, or None where it is no such word."""
    words = {s.value: s for s in (
        RunStatus.SUCCESS, RunStatus.NO_DATA, RunStatus.SKIPPED, RunStatus.FAILED
    )}  # fmt: skip
    return words.get(value) if isinstance(value, str) else None


def parse_run_id(run_id: str) -> tuple[str, str, int] | None:
    """(processor, game date, generation) of a run id, or None where it is none."""
    parts = run_id.rsplit(":", 2)
    if len(parts) != 3 or not parts[0] or not is_game_date(parts[1]):
        return None
    if not parts[2].isascii() or not parts[2].isdigit() or len(parts[2]) > 9:
        return None
    return parts[0], parts[1], int(parts[2])


# ── writing ──────────────────────────────────────────────────────────────────────────────────


def instant_text(at: datetime | None) -> str | None:
    """An instant as RFC 3339 in UTC with a ``Z``."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def launch_message(run: Run, spec: ProcessorSpec, requested_at: datetime) -> dict[str, Any]:
    """The launch of a run's current attempt (contract section 6)."""
    return {
        "event_type": "run_requested",
        "run_id": run.run_id,
        "processor": run.processor,
        "phase": spec.phase,
        "game_date": run.game_date,
        "generation": run.generation,
        "attempt": run.attempt,
        "trigger": (Trigger.RETRY if run.attempt > 1 else run.trigger).value,
        "bypassed": list(run.bypassed),
        "skip_downstream": run.skip_downstream,
        "inputs": inputs_of(run),
        "changed_games": list(run.changed_games),
        "changed_tables": list(run.changed_tables),
        "warnings": list(run.warnings),
        "correlation_id": run.correlation_id,
        "requested_at": instant_text(requested_at),
        "output": spec.output,
        "entrypoint": spec.entrypoint,
    }


def inputs_of(run: Run) -> list[dict[str, Any]]:
    """A run's inputs as messages and the API list them."""
    return [
        {
            "table": i.table,
            "game_date": i.game_date,
            "state": i.state,
            "record_count": i.record_count,
            "game_ids": list(i.game_ids),
            "event_ids": list(i.event_ids),
            "loaded_at": instant_text(i.loaded_at),
        }
        for i in run.inputs
    ]


def launch_attributes(run: Run) -> dict[str, str]:
    """What a launch message carries as attributes too."""
    return {
        "run_id": run.run_id,
        "processor": run.processor,
        "game_date": run.game_date,
        "generation": str(run.generation),
        "attempt": str(run.attempt),
    }


def announce_message(arrival: Arrival, processor: str) -> dict[str, Any]:
    """A processor's output, announced in the shape of ``raw_data_loaded``."""
    message: dict[str, Any] = {
        "event_type": LOADED,
        "event_id": arrival.event_id,
        "source_table": arrival.table.split(".")[-1],
        "target_table": arrival.table,
        "processor_name": processor,
        "game_date": arrival.game_date,
        "status": arrival.status.value,
        "timestamp": instant_text(arrival.timestamp),
        "record_count": arrival.record_count,
        "game_ids": list(arrival.game_ids),
        "correlation_id": arrival.correlation_id,
    }
    if arrival.quiet:
        message["skip_downstream"] = True
    return message


def notice_message(notice: Notice) -> dict[str, Any]:
    """A notice as webhooks get it (contract section 6)."""
    return {
        "severity": notice.severity,
        "kind": notice.kind,
        "processor": notice.processor,
        "game_date": notice.game_date,
        "summary": notice.summary,
        "detail": notice.detail,
        "link": notice.link,
        "id": notice.notice_id,
        "at": instant_text(notice.at),
    }
