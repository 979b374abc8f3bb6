"""What can happen to a partition, and the reply to it.

Each fact is data; ``machine.decide`` says what it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from coordinator.core.arrivals import Arrival, TableDate
from coordinator.core.choices import Bypass, RunStatus
from coordinator.core.model import Pause, Run, Trigger, WindowDay


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """What surrounds the partition, read in the same transaction: calendar, windows, pauses.

    ``games`` holds the dates the calendar knows; a date that is absent is unknown. ``arrivals``,
    where given, replaces every input the partition knows (a new partition, or a new registry).
    """

    games: Mapping[str, tuple[str, ...]]
    windows: Mapping[str, tuple[WindowDay, ...]] | None = None
    """Requirement → the dates of its window, judged; None where they were not read."""
    windows_later: bool = False
    """They matter, and are too many to be read in this transaction."""
    pauses: tuple[Pause, ...] = ()
    arrivals: Mapping[str, TableDate] | None = None
    registry_since: datetime | None = None
    """Since when the registry is in use: to its new lines what came before is no newer data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An arrival was applied to a table's date that a non-window requirement names."""

    table_date: TableDate
    arrival: Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time passed, or an evaluation is due (a duplicate, a sweep, a new registry)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The relay holds proof that an outbox entry was delivered."""

    effect_id: str
    message_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFailed:
    """The delivery of an outbox entry failed; it will be retried."""

    effect_id: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A runner claims a run. ``token`` is the lease token to grant, drawn outside."""

    generation: int
    attempt: int
    owner: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A runner reports that it is alive."""

    generation: int
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A runner reports how its attempt ended."""

    generation: int
    token: str
    status: RunStatus
    record_count: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRefused:
    """A claim, a heartbeat or a report was refused, which the history of its run records."""

    run: Run
    """The run that it named, as its own document has it."""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """A person (or a backfill they started) triggers a run now."""

    reason: str
    actor: str
    bypass: frozenset[Bypass] = frozenset()
    skip_downstream: bool = False
    trigger: Trigger = Trigger.MANUAL


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipRequested:
    """A person skips the partition; with ``end_run`` a live run is ended."""

    reason: str
    actor: str
    end_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetRequested:
    """A person wants the partition evaluated as if nothing had run."""

    reason: str
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverGranted:
    """A person waives the requirements that name a table."""

    table: str
    reason: str
    actor: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverLifted:
    """A person lifts a waiver."""

    table: str
    reason: str
    actor: str


Fact = (
    Surveyed
    | Loaded
    | Ticked
    | Delivered
    | DeliveryFailed
    | Claimed
    | Heartbeat
    | Completed
    | ReportRefused
    | Requested
    | SkipRequested
    | ResetRequested
    | WaiverGranted
    | WaiverLifted
)

BY_PERSON = (Requested, SkipRequested, ResetRequested, WaiverGranted, WaiverLifted)
"""Facts whose answer shows a person the state of every requirement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to a fact. ``code`` is machine-readable, ``detail`` for people."""

    ok: bool = True
    code: str = "ok"
    detail: str = ""
    run: Run | None = None
