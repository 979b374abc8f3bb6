"""The messages that come in, each declared once: read by ``incoming``, published by OpenAPI.

Owns the fields, their types, limits and descriptions. Unknown fields are ignored, because senders
are other teams' programs and grow fields of their own.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from coordinator.core.arrivals import LoadStatus
from coordinator.core.choices import RunStatus
from coordinator.game_dates import is_game_date
from coordinator.wire.values import (
    GAME_DATE_RULE,
    MAX_AHEAD,
    MAX_ERROR,
    MAX_EVENT_ID,
    MAX_GAME_ID,
    MAX_GAME_IDS,
    MAX_RECORD_COUNT,
    MAX_TEXT,
    REPORT_STATUSES,
    read_timestamp,
    report_status,
)

RECEIVED_AT = "received_at"
"""Key of the validation context: the instant that bounds a load's timestamp."""
DATE_FIELDS = ("game_date", "analysis_date", "target_date", "data_date")
"""The names that a load's date may have; the first one that is given counts (specification 3.1)."""
NAMING_FIELDS = ("target_table", "source_table", "output_table", "processor_name", "processor")
"""The fields of which a load needs at least one."""
_NEVER_BLANK = frozenset(
    {"record_count", "game_ids", "metadata", "skip_downstream", "skip_downstream_trigger"}
)
"""Fields in which an empty text is a mistake; in every other one it means that there is none."""


# ── values ───────────────────────────────────────────────────────────────────────────────────


def _decode(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("must be a base64 string")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64 (perhaps cut short); send the event in base64") from None


def _game_date(value: object) -> str:
    if not is_game_date(value):
        raise ValueError(GAME_DATE_RULE)
    return str(value)


def _timestamp(value: object, info: ValidationInfo) -> datetime:
    at = read_timestamp(value)
    if at is None:
        raise ValueError("must be RFC 3339 with a zone (2025-11-15T02:30:00Z)")
    if info.context is not None and at > info.context[RECEIVED_AT] + MAX_AHEAD:
        minutes = int(MAX_AHEAD.total_seconds() // 60)
        raise ValueError(
            f"is more than {minutes} minutes ahead of the clock; fix the sender's clock"
        )
    return at


def _game_ids(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ValueError("must be a list of game ids")
    if len(value) > MAX_GAME_IDS:
        raise ValueError(
            f"has {len(value):,} ids, the most is {MAX_GAME_IDS:,}; send several loads"
        )
    ids = set()
    for item in value:
        if isinstance(item, bool) or not isinstance(item, str | int):
            raise ValueError("must be a list of strings")
        text = str(item)
        if not 0 < len(text) <= MAX_GAME_ID:
            raise ValueError(f"must be a list of ids of 1 to {MAX_GAME_ID} characters")
        ids.add(text)
    return tuple(sorted(ids))


def _report_status(value: object) -> RunStatus:
    status = report_status(value)
    if status is None:
        raise ValueError(f"must be one of {', '.join(REPORT_STATUSES)}")
    return status


def _message_id(value: object) -> str | None:
    return None if value is None else str(value)[:MAX_TEXT]


def _error(value: object) -> str | None:
    if value is None or value == "":
        return None
    return (value if isinstance(value, str) else json.dumps(value))[:MAX_ERROR]


_INSTANT = {"type": "string", "format": "date-time"}
_DATE = {"type": "string", "format": "date"}
_GAMES = {
    "type": "array",
    "items": {"type": "string", "minLength": 1, "maxLength": MAX_GAME_ID},
    "maxItems": MAX_GAME_IDS,
}

Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Count = Annotated[int, Field(ge=0, le=MAX_RECORD_COUNT)]
Base64 = Annotated[
    bytes, PlainValidator(_decode), WithJsonSchema({"type": "string", "contentEncoding": "base64"})
]
GameDate = Annotated[str, PlainValidator(_game_date), WithJsonSchema(_DATE)]
Timestamp = Annotated[datetime, PlainValidator(_timestamp), WithJsonSchema(_INSTANT)]
GameIds = Annotated[tuple[str, ...], PlainValidator(_game_ids), WithJsonSchema(_GAMES)]
LoadWord = Annotated[LoadStatus, Field(strict=False)]
ReportStatus = Annotated[
    RunStatus,
    PlainValidator(_report_status),
    WithJsonSchema({"type": "string", "enum": list(REPORT_STATUSES)}),
]
ErrorText = Annotated[
    str | None, PlainValidator(_error), WithJsonSchema({"type": "string", "maxLength": MAX_ERROR})
]


# ── messages ─────────────────────────────────────────────────────────────────────────────────


class Message(BaseModel):
    """What all messages share: strict types, and unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, populate_by_name=True)


class PushMessage(Message):
    """The message inside a push envelope."""

    data: Base64 = Field(description="The event as JSON, in base64.")
    message_id: Annotated[
        str | None, BeforeValidator(_message_id), WithJsonSchema({"type": "string"})
    ] = Field(
        None,
        validation_alias="messageId",
        description="Used if the event has neither an id nor an execution.",
    )
    attributes: dict[str, Any] | None = Field(None, description="Not read.")


class PushEnvelope(Message):
    """A wrapped Pub/Sub push message."""

    message: PushMessage = Field(description="The message.")
    subscription: Annotated[Any, WithJsonSchema({"type": "string"})] = Field(
        None, description="Not read."
    )


class Metadata(Message):
    """What a loader says beside the load. Anything; these are read."""

    content_hash: Text | None = Field(
        None, description="Marks equal content: a reload with the same mark is no new data."
    )
    skip_downstream: bool | None = Field(None, description="As in the event itself.")
    skip_downstream_trigger: bool | None = Field(None, description="As `skip_downstream`.")


class LoadEvent(Message):
    """A load of a table, reported. Unknown fields are allowed and ignored."""

    event_type: Literal["raw_data_loaded", "run_completed"] = Field(
        description="What kind of event it is. A completion that names no run counts as a load."
    )
    target_table: Text | None = Field(None, description="The table, by full name or alias.")
    source_table: Text | None = Field(None, description="Names the table where the above does not.")
    output_dataset: Text | None = Field(None, description="With `output_table`: the table's name.")
    output_table: Text | None = Field(None, description="With `output_dataset`: the table's name.")
    processor_name: Text | None = Field(
        None, description="Names the table where nothing else does."
    )
    processor: Text | None = Field(None, description="As `processor_name`.")
    game_date: GameDate = Field(
        validation_alias=AliasChoices(*DATE_FIELDS),
        examples=["2025-11-15"],
        description="The date loaded; also read from analysis_date, target_date, data_date.",
    )
    status: LoadWord = Field(
        examples=["success"], description="How the load ended; a boolean `success` is read too."
    )
    success: bool | None = Field(
        None, description="Read where there is no `status`: success or failed."
    )
    timestamp: Timestamp = Field(
        examples=["2025-11-15T02:30:00Z"], description="When the load was made, with a zone."
    )
    record_count: Count | None = Field(None, description="Rows loaded; leave out if unknown.")
    game_ids: GameIds = Field((), description="Games covered; none: the whole date.")
    game_id: Annotated[Any, WithJsonSchema({"type": "string"})] = Field(
        None, description="The one game covered; read where there is no `game_ids`."
    )
    event_id: Annotated[str, Field(max_length=MAX_EVENT_ID)] | None = Field(
        None,
        description="Unique within table and date; left out, it is derived. It must not begin with "
        "`run:`, which marks the announced output of a run.",
    )
    execution_id: Text | None = Field(None, description="The execution that loaded it.")
    correlation_id: Text | None = Field(None, description="Ties together what one cause set off.")
    source_scraper_execution_id: Text | None = Field(None, description="The scrape behind it.")
    skip_downstream: bool | None = Field(
        None, description="Announce it quiet: it meets requirements and fires nothing by itself."
    )
    skip_downstream_trigger: bool | None = Field(None, description="As `skip_downstream`.")
    metadata: Metadata | None = Field(
        None, description="Anything; `content_hash` marks equal content."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, event: Mapping[str, Any]) -> dict[str, Any]:
        """The event without empty fields, and with the older spellings as the newer ones."""
        said = {k: v for k, v in event.items() if v is not None and (v != "" or k in _NEVER_BLANK)}
        if "status" in said:
            said.pop("success", None)
        elif isinstance(said.get("success"), bool):
            said["status"] = LoadStatus.SUCCESS if said["success"] else LoadStatus.FAILED
        if "game_ids" not in said and "game_id" in said:
            said["game_ids"] = [said["game_id"]]
        return said

    @property
    def names(self) -> tuple[str, ...]:
        """The table's names, best first."""
        output = self.output_table
        if output and self.output_dataset and "." not in output:
            output = f"{self.output_dataset}.{output}"
        listed = (self.target_table, self.source_table, output, self.processor_name, self.processor)
        return tuple(name for name in listed if name)

    @property
    def quiet(self) -> bool:
        """Whether it fires nothing by itself."""
        inside = self.metadata
        for name in ("skip_downstream", "skip_downstream_trigger"):
            said = getattr(self, name)
            if said is None and inside is not None:
                said = getattr(inside, name)
            if said:
                return True
        return False


class RunReport(Message):
    """A runner's report as an event. Unknown fields are allowed and ignored."""

    event_type: Literal["run_started", "run_heartbeat", "run_completed"] = Field(
        description="What is reported."
    )
    run_id: Text = Field(description="The run.")
    lease_token: Text = Field(description="The token that the claim gave.")
    status: ReportStatus | None = Field(
        None, description="How it ended; `run_completed` needs it, the others do not read it."
    )
    record_count: Count | None = Field(None, description="Rows written.")
    error: ErrorText = Field(None, description="What went wrong.")
