"""What is kept for people: messages in quarantine, and the audit log."""

from __future__ import annotations

import base64
from typing import Any, Literal

from pydantic import Field

from coordinator.core.choices import QuarantineState
from coordinator.documents import Quarantined
from coordinator.errors import BadInput
from coordinator.service.views.base import DRY_RUN, GameDate, Instant, NextPageToken, View
from coordinator.service.views.event import EventResult
from coordinator.wire import read_envelope

PREVIEW_CHARACTERS = 2000
"""How much of a quarantined message is shown as text."""


class QuarantinedView(View):
    """A message that could not be processed."""

    quarantine_id: str = Field(description="Derived from its bytes.")
    received_at: Instant = Field(description="When it last came.")
    source: str = Field(description="The endpoint it came through.")
    state: QuarantineState = Field(description="What became of it.")
    reason: str = Field(description="Why it could not be processed.")
    mistakes: tuple[str, ...] = Field(description="Everything that is wrong with it.")
    message_id: str | None = Field(description="The message's id, where it could be read.")
    correlation_id: str | None = Field(description="Its correlation id, where it could be read.")
    game_date: GameDate | None = Field(description="Its game date, where it could be read.")
    times_seen: int = Field(description="How often the same bytes came.")
    raw_bytes: int = Field(description="Its length.")
    raw: str | None = Field(
        description="Its bytes in base64; null in lists where it is long (get it by its id)."
    )
    text: str | None = Field(description="Its beginning as text; null where it is not UTF-8.")
    data_text: str | None = Field(description="The same of what a push envelope wraps.")
    settled_at: Instant | None = Field(description="When it was replayed or discarded.")
    settled_by: str | None = Field(description="By whom.")
    settled_reason: str | None = Field(description="Why.")


class QuarantineList(View):
    """Quarantined messages, newest first."""

    items: tuple[QuarantinedView, ...] = Field(description="The messages.")
    next_page_token: NextPageToken


class QuarantineAct(View):
    """What came of a replay or discard."""

    quarantine_id: str = Field(description="The message.")
    act: Literal["replay", "discard"] = Field(description="The act.")
    dry_run: bool = Field(description=DRY_RUN)
    result: EventResult | None = Field(description="Of a replay: what became of the event.")


class AuditRow(View):
    """Who did what, when, to what, why, and what came of it."""

    audit_id: str = Field(description="Its id.")
    at: Instant = Field(description="When.")
    actor: str = Field(description="Who.")
    act: str = Field(description="What.")
    reason: str = Field(description="Why.")
    processor: str | None = Field(description="To which processor.")
    game_date: GameDate | None = Field(description="On which date.")
    detail: dict[str, Any] = Field(description="The parameters of the act.")
    result: str = Field(description="`done`, or why not.")


class AuditList(View):
    """Audit entries, newest first."""

    items: tuple[AuditRow, ...] = Field(description="The entries.")
    next_page_token: NextPageToken


def quarantined_view(entry: Quarantined, most_bytes: int | None) -> QuarantinedView:
    """A quarantined message. ``raw`` is left out (None) where it is longer than ``most_bytes``."""
    shown = most_bytes is None or len(entry.raw) <= most_bytes
    return QuarantinedView.of(
        entry,
        raw_bytes=len(entry.raw),
        raw=base64.b64encode(entry.raw).decode() if shown else None,
        text=_preview(entry.raw),
        data_text=_data_preview(entry.raw) if entry.source == "push" else None,
    )


def _preview(raw: bytes) -> str | None:
    """The beginning of a message as text, or None where it is not UTF-8."""
    try:
        return raw.decode("utf-8")[:PREVIEW_CHARACTERS]
    except UnicodeDecodeError:
        return None


def _data_preview(raw: bytes) -> str | None:
    """What a push envelope wraps, as text, or None where that cannot be shown."""
    try:
        return _preview(read_envelope(raw).data)
    except BadInput:
        return None
