"""What HTTP alone knows: the bodies of requests, and problems. Answers are views of the service.

Owns validation of requests: strict types, unknown fields refused. Refuses to read events, whose
rules are ``wire``'s; their shapes here are documentation.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from coordinator.core.choices import Bypass
from coordinator.service.operate import MAX_REASON
from coordinator.service.views.event import EventResult, FieldError
from coordinator.service.views.run import ReportStatus
from coordinator.service.views.verdict import VerdictView

_DRY_RUN = "Only answer what it would do, and change nothing."
_REASON = "Why, for whoever reads the audit log."


class Body(BaseModel):
    """A request body: strict types, nothing unknown."""

    model_config = ConfigDict(extra="forbid", strict=True)


# ── errors ───────────────────────────────────────────────────────────────────────────────────


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="A reference that tells this kind of problem from others.")
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What went wrong here, and what to do.")
    code: str = Field(description="The kind of problem, for programs.")
    instance: str | None = Field(None, description="The path of the request.")
    errors: tuple[FieldError, ...] | None = Field(None, description="Every mistake of the input.")
    results: tuple[EventResult, ...] | None = Field(
        None, description="Of POST /v1/events, where every event is bad: what became of each."
    )
    verdict: VerdictView | None = Field(
        None, description="Of a refused act of an operator: how the partition is judged."
    )


# ── events ───────────────────────────────────────────────────────────────────────────────────


class ClaimRequest(Body):
    """A runner asks for one attempt of a run."""

    owner: str = Field(min_length=1, max_length=200, description="Who asks; the same gets it back.")
    attempt: int = Field(ge=1, le=10**6, description="The attempt that the launch named.")


class HeartbeatRequest(Body):
    """A runner is still at work."""

    lease_token: str = Field(min_length=1, max_length=1000, description="From the claim.")


class CompleteRequest(Body):
    """A runner reports how its attempt ended."""

    lease_token: str = Field(min_length=1, max_length=1000, description="From the claim.")
    status: ReportStatus = Field(description="How it ended.")
    record_count: int | None = Field(None, ge=0, le=10**12, description="Rows written.")
    error: str | None = Field(None, max_length=100_000, description="What went wrong.")


# ── operators ────────────────────────────────────────────────────────────────────────────────


class ReasonRequest(Body):
    """An operator's act that needs no more than its reason."""

    reason: str = Field(min_length=1, max_length=MAX_REASON, description=_REASON)
    dry_run: bool = Field(False, description=_DRY_RUN)


class TriggerRequest(ReasonRequest):
    """Fire now."""

    bypass: list[Annotated[Bypass, Field(strict=False)]] = Field(
        default_factory=list, max_length=20, description="What to override; nothing: only if ready."
    )
    skip_downstream: bool = Field(False, description="Announce its output quiet.")


class SkipRequest(ReasonRequest):
    """Decide that a partition need not run."""

    end_run: bool = Field(False, description="End a live run's lease too; else that is 409.")


class WaiverRequest(ReasonRequest):
    """Waive a table's requirements."""

    table: str = Field(min_length=1, max_length=1000, description="The table, or an alias of it.")
    until: str | None = Field(
        None,
        json_schema_extra={"format": "date-time", "examples": ["2025-11-15T02:30:00Z"]},
        description="Until when, with a zone; left out: until its data comes.",
    )


class LiftRequest(Body):
    """Lift a waiver. The reason may be in the query instead."""

    reason: str | None = Field(None, min_length=1, max_length=MAX_REASON, description=_REASON)
    dry_run: bool = Field(False, description=_DRY_RUN)


class SweepRequest(Body):
    """One sweep. Nothing is required."""

    reason: str | None = Field(None, max_length=MAX_REASON, description=_REASON)
    dry_run: bool = Field(False, description=_DRY_RUN)
