"""What the command line shows of the service's answers: the views' fields that it prints, typed.

Owns no meaning: ``ShownRunRow`` is the view ``RunRow`` of ``service.views`` with fewer fields, and so
is each of them; a test holds the two together. The views themselves are pydantic models, and to build
those takes longer than everything else that a verb does. Words such as a status stay text, since they
are printed as they are. Fields that are not listed here are ignored, so a service may be newer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct, field

Instant = Annotated[datetime, Meta(tz=True)]


class ShownRequirementCount(Struct, frozen=True):
    met: int
    total: int


class ShownRunRef(Struct, frozen=True):
    status: str
    attempt: int


class ShownPauseView(Struct, frozen=True):
    scope: str
    reason: str
    actor: str


class ShownPartitionRow(Struct, frozen=True):
    processor: str
    game_date: str
    status: str
    flags: tuple[str, ...]
    requirements: ShownRequirementCount
    why: str
    run: ShownRunRef | None
    expected_at: Instant | None
    generation: int


class ShownDateStatus(Struct, frozen=True):
    game_date: str
    games: tuple[str, ...] | None
    loads_known: bool
    pauses: tuple[ShownPauseView, ...]
    quarantine_open: int
    items: tuple[ShownPartitionRow, ...]


class ShownSourceView(Struct, frozen=True):
    table: str
    state: str
    met: bool
    sentence: str
    warnings: tuple[str, ...]


class ShownWindowDateView(Struct, frozen=True):
    game_date: str
    met: bool
    state: str


class ShownRequirementView(Struct, frozen=True):
    kind: str
    critical: bool
    state: str
    met: bool
    sentence: str
    used: tuple[str, ...]
    sources: tuple[ShownSourceView, ...]
    days: tuple[ShownWindowDateView, ...]


class ShownHoldView(Struct, frozen=True):
    kind: str
    until: Instant | None
    sentence: str


class ShownVerdictView(Struct, frozen=True):
    holds: tuple[ShownHoldView, ...]
    warnings: tuple[str, ...]
    requirements: tuple[ShownRequirementView, ...]


class ShownWaiverView(Struct, frozen=True):
    table: str
    reason: str
    actor: str
    until: Instant | None
    open: bool


class ShownTransitionView(Struct, frozen=True):
    at: Instant
    what: str
    detail: str
    actor: str | None


class ShownRunRow(Struct, frozen=True):
    run_id: str
    generation: int
    trigger: str
    status: str
    attempt: int
    fired_at: Instant
    ended_at: Instant | None
    record_count: int | None
    error: str | None


class ShownRunList(Struct, frozen=True):
    items: tuple[ShownRunRow, ...]


class ShownInputView(Struct, frozen=True):
    table: str
    game_date: str
    state: str
    record_count: int | None
    game_ids: tuple[str, ...]


class ShownAttemptView(Struct, frozen=True):
    number: int
    launch_at: Instant
    delivered_at: Instant | None
    claimed_at: Instant | None
    owner: str | None
    ended_at: Instant | None
    error: str | None


class ShownLaunchView(Struct, frozen=True):
    kind: str | None
    address: str
    tries: int
    last_error: str | None
    next_try_at: Instant | None


class ShownRunView(ShownRunRow, frozen=True):
    fired_by: str
    explanation: str
    reason: str | None
    actor: str | None
    unmet: tuple[str, ...]
    warnings: tuple[str, ...]
    correlation_id: str | None
    inputs: tuple[ShownInputView, ...]
    launch: ShownLaunchView
    attempts: tuple[ShownAttemptView, ...]
    transitions: tuple[ShownTransitionView, ...]


class ShownPartitionView(ShownPartitionRow, frozen=True):
    wake_at: Instant | None
    verdict: ShownVerdictView
    waivers: tuple[ShownWaiverView, ...]
    history: tuple[ShownTransitionView, ...]
    runs: tuple[ShownRunRow, ...]


class ShownGridDate(Struct, frozen=True):
    game_date: str
    games: int | None


class ShownGridCell(Struct, frozen=True):
    status: str
    flags: tuple[str, ...]


class ShownGridRow(Struct, frozen=True):
    processor: str
    cells: tuple[int | None, ...]


class ShownGrid(Struct, frozen=True):
    dates: tuple[ShownGridDate, ...]
    legend: tuple[ShownGridCell, ...]
    items: tuple[ShownGridRow, ...]


class ShownUnknownDates(Struct, frozen=True):
    count: int
    first: str | None
    last: str | None


class ShownGaps(Struct, frozen=True):
    from_: str = field(name="from")
    to: str
    game_dates: int | None
    unknown_dates: ShownUnknownDates | None
    items: tuple[ShownPartitionRow, ...]


class ShownLedgerRow(Struct, frozen=True):
    event_id: str
    table: str
    game_date: str
    status: str
    record_count: int | None
    game_ids: tuple[str, ...]
    timestamp: Instant
    received_at: Instant
    outcome: str


class ShownLedgerView(Struct, frozen=True):
    sentence: str
    warnings: tuple[str, ...]
    items: tuple[ShownLedgerRow, ...]


class ShownTrace(Struct, frozen=True):
    events: tuple[ShownLedgerRow, ...]
    partitions: tuple[ShownPartitionRow, ...]
    runs: tuple[ShownRunRow, ...]
    truncated: bool


class ShownAuditRow(Struct, frozen=True):
    at: Instant
    actor: str
    act: str
    reason: str
    processor: str | None
    game_date: str | None
    detail: dict[str, Any]
    result: str


class ShownActView(Struct, frozen=True):
    dry_run: bool
    fired_run_ids: tuple[str, ...]
    partition: ShownPartitionRow | None
    detail: dict[str, Any]


class ShownSweepView(Struct, frozen=True):
    dry_run: bool
    looked_at: int
    fired_run_ids: tuple[str, ...]
    more: bool


class ShownFieldError(Struct, frozen=True):
    field: str
    message: str


class ShownAffectedPartition(Struct, frozen=True):
    processor: str
    status: str
    fired_run_id: str | None


class ShownEventResult(Struct, frozen=True):
    outcome: str
    affected: tuple[ShownAffectedPartition, ...]
    errors: tuple[ShownFieldError, ...]
    warnings: tuple[str, ...]


class ShownQuarantinedView(Struct, frozen=True):
    quarantine_id: str
    received_at: Instant
    source: str
    state: str
    reason: str
    mistakes: tuple[str, ...]
    message_id: str | None
    times_seen: int
    raw_bytes: int
    text: str | None
    data_text: str | None
    settled_at: Instant | None
    settled_by: str | None
    settled_reason: str | None


class ShownQuarantineList(Struct, frozen=True):
    items: tuple[ShownQuarantinedView, ...]
    next_page_token: str | None


class ShownQuarantineAct(Struct, frozen=True):
    result: ShownEventResult | None


class ShownHealthPart(Struct, frozen=True):
    ok: bool
    detail: str
    lag_seconds: float | None = None
    others: tuple[str, ...] | None = None


class ShownReadiness(Struct, frozen=True):
    parts: dict[str, ShownHealthPart]
