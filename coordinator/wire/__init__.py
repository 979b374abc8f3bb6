"""Messages in and out: the only place that knows their many spellings.

``models`` declares what comes in, ``incoming`` reads it, ``outgoing`` writes what leaves.
"""

from coordinator.game_dates import NO_GAME_DATE, is_game_date
from coordinator.validation import shown
from coordinator.wire.incoming import (
    LOADED,
    LoadMessage,
    content_digest,
    derived_id,
    marks_of,
    read_envelope,
    read_event,
    same_message,
)
from coordinator.wire.models import LoadEvent, PushEnvelope, PushMessage, RunReport
from coordinator.wire.outgoing import (
    announce_message,
    inputs_of,
    launch_attributes,
    launch_message,
    notice_message,
)
from coordinator.wire.strict_json import BadMessage, read_json
from coordinator.wire.values import (
    MAX_BODY_BYTES,
    MAX_EVENTS_PER_CALL,
    MAX_TEXT,
    check_date,
    instant_text,
    parse_run_id,
    read_timestamp,
    report_status,
)

__all__ = [
    "LOADED",
    "MAX_BODY_BYTES",
    "MAX_EVENTS_PER_CALL",
    "MAX_TEXT",
    "NO_GAME_DATE",
    "BadMessage",
    "LoadEvent",
    "LoadMessage",
    "PushEnvelope",
    "PushMessage",
    "RunReport",
    "announce_message",
    "check_date",
    "content_digest",
    "derived_id",
    "inputs_of",
    "instant_text",
    "is_game_date",
    "launch_attributes",
    "launch_message",
    "marks_of",
    "notice_message",
    "parse_run_id",
    "read_envelope",
    "read_event",
    "read_json",
    "read_timestamp",
    "report_status",
    "same_message",
    "shown",
]
