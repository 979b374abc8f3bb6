"""The values that messages are made of: dates, instants, ids and words, and their limits.

Owns each rule once; the models and everybody else who reads such a value use these.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from coordinator.core.choices import RunStatus
from coordinator.errors import BadInput, Mistake
from coordinator.game_dates import NO_GAME_DATE, is_game_date
from coordinator.validation import shown

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
MAX_EVENTS_PER_CALL: Final = 1000
MAX_TEXT: Final = 1000
"""Characters of a name or an id."""
MAX_EVENT_ID: Final = 256
MAX_GAME_IDS: Final = 1000
MAX_GAME_ID: Final = 100
MAX_RECORD_COUNT: Final = 10**12
MAX_ERROR: Final = 4000
"""Characters of a run's error that are kept."""
MAX_AHEAD: Final = timedelta(minutes=10)
"""A timestamp further ahead of the clock than this is quarantined (specification 3.1)."""

REPORT_STATUSES = {
    s.value: s for s in (RunStatus.SUCCESS, RunStatus.NO_DATA, RunStatus.SKIPPED, RunStatus.FAILED)
}
"""The words that a runner may end a run with (specification 3.2)."""
GAME_DATE_RULE = "must be a calendar date YYYY-MM-DD"

_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def check_date(name: str, value: str) -> None:
    """Raise ``BadInput`` where ``value`` is not a game date; ``name`` is the field it came in."""
    if not is_game_date(value):
        raise BadInput(
            f"{name}: {shown(value)} {NO_GAME_DATE}", [Mistake(name, GAME_DATE_RULE, shown(value))]
        )


def read_timestamp(value: object) -> datetime | None:
    """An RFC 3339 instant in UTC, or None where it is not one."""
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value.upper().replace(" ", "T")).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def instant_text(at: datetime | None) -> str | None:
    """An instant as RFC 3339 in UTC with a ``Z``."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def report_status(value: object) -> RunStatus | None:
    """The status that a runner may end a run with, or None where it is no such word."""
    return REPORT_STATUSES.get(value) if isinstance(value, str) else None


def parse_run_id(run_id: str) -> tuple[str, str, int] | None:
    """(processor, game date, generation) of a run id, or None where it is not one."""
    parts = run_id.rsplit(":", 2)
    if len(parts) != 3 or not parts[0] or not is_game_date(parts[1]):
        return None
    if not parts[2].isascii() or not parts[2].isdigit() or len(parts[2]) > 9:
        return None
    return parts[0], parts[1], int(parts[2])
