"""Runs: one generation's execution, its attempts and inputs, and what its runner is answered."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from coordinator.core.choices import RunStatus
from coordinator.core.effects import launch_id
from coordinator.core.explain import fired, undelivered
from coordinator.core.model import Attempt, Partition, Run, Trigger
from coordinator.core.spec import LaunchKind, LaunchTarget, ProcessorSpec
from coordinator.service.views.base import (
    GAME_DATE,
    PROCESSOR,
    GameDate,
    Instant,
    NextPageToken,
    View,
)

ReportStatus = Literal["success", "no_data", "skipped", "failed"]
"""How a runner may report that an attempt ended."""

_RUN = "The run."
_RUN_WARNINGS = (
    "What a careful runner should know of the inputs, a sentence each: optional ones that are not "
    "met, what was passed over, a fallback, age, the calendar."
)
_LEASE_SECONDS = (
    "How long the lease lasts from this answer on. Count it on a monotonic clock from before the "
    "request, and send a heartbeat well before it is over: clocks need not agree."
)
_LEASE_EXPIRES_AT = "When the lease ends, on the service's clock; for people and logs."


class TransitionView(View):
    """One line of a history."""

    at: Instant = Field(description="When.")
    what: str = Field(description="What happened.")
    detail: str = Field(description="More about it.")
    actor: str | None = Field(description="Who did it, where a person did.")


class InputView(View):
    """One table and date that a run consumes."""

    table: str = Field(description="The table.")
    game_date: GameDate = Field(description="The date.")
    state: str = Field(description="Its state when the run was fired.")
    record_count: int | None = Field(description="Rows loaded; null: unknown.")
    game_ids: tuple[str, ...] = Field(description="Games covered.")
    event_ids: tuple[str, ...] = Field(description="The events consumed.")
    loaded_at: Instant | None = Field(description="Timestamp of its newest load.")


class AttemptView(View):
    """One launch of a run."""

    number: int = Field(description="From 1.")
    launch_at: Instant = Field(description="When it is or was to be launched.")
    delivered_at: Instant | None = Field(description="When its delivery was proved.")
    message_id: str | None = Field(description="The proof.")
    claimed_at: Instant | None = Field(description="When a runner claimed it.")
    owner: str | None = Field(description="Who claimed it.")
    ended_at: Instant | None = Field(description="When it ended.")
    error: str | None = Field(description="What went wrong.")
    delivery_seconds: float | None = Field(description="From launch to delivery.")
    claim_seconds: float | None = Field(description="From delivery to claim.")
    run_seconds: float | None = Field(description="From claim to end.")


class RunRow(View):
    """A run in one line."""

    run_id: str = Field(description="PROCESSOR:DATE:GENERATION.")
    processor: str = Field(description=PROCESSOR)
    game_date: GameDate = Field(description=GAME_DATE)
    generation: int = Field(description="The fencing number.")
    trigger: Trigger = Field(description="Why it was fired.")
    status: RunStatus = Field(description="Where it is, or how it ended.")
    attempt: int = Field(description="The current or last attempt.")
    fired_at: Instant = Field(description="When the decision was committed.")
    ended_at: Instant | None = Field(description="When it ended.")
    duration_seconds: float | None = Field(description="From firing to end.")
    record_count: int | None = Field(description="Rows written; null: unknown.")
    error: str | None = Field(description="What went wrong.")
    owner: str | None = Field(description="Who claimed the current or last attempt.")
    event_ids: tuple[str, ...] = Field(description="Every event consumed.")
    correlation_id: str | None = Field(description="Ties together what one cause set off.")


class RunList(View):
    """Runs, the last fired first."""

    items: tuple[RunRow, ...] = Field(description="The runs.")
    next_page_token: NextPageToken


class LaunchView(View):
    """Where a run's launches go, and what keeps the current one from being delivered."""

    kind: LaunchKind | None = Field(
        description="How its processor is launched now; null where nothing says so."
    )
    address: str = Field(description="The URL or topic; empty for a local launch.")
    tries: int = Field(description="Failed deliveries of the current launch so far.")
    last_error: str | None = Field(description="Why the last one failed.")
    next_try_at: Instant | None = Field(description="When it is tried again.")


class RunView(RunRow):
    """A run with all that is known of it."""

    registry_hash: str = Field(description="The registry it was decided under.")
    fired_by: str = Field(description="One sentence: the trigger, what was newer or overridden.")
    explanation: str = Field(description="Why it was fired, as judged in that transaction.")
    reason: str | None = Field(description="The reason that a person gave for it.")
    actor: str | None = Field(description="The person who requested it.")
    bypassed: tuple[str, ...] = Field(description="What was overridden.")
    unmet: tuple[str, ...] = Field(description="Critical requirements that were not met.")
    skip_downstream: bool = Field(description="Its output is announced quiet.")
    changed_games: tuple[str, ...] = Field(description="Games that are new to it.")
    changed_tables: tuple[str, ...] = Field(description="Tables with data that is new to it.")
    warnings: tuple[str, ...] = Field(description=_RUN_WARNINGS)
    inputs: tuple[InputView, ...] = Field(description="Exactly what it consumes.")
    launch: LaunchView = Field(description="Where its launches go, and how the current one fares.")
    lease_expires_at: Instant | None = Field(description="When its lease ends, while it is live.")
    attempts: tuple[AttemptView, ...] = Field(description="Its launches.")
    transitions: tuple[TransitionView, ...] = Field(description="Its history.")


class Grant(View):
    """A claim that was granted, with all that its runner needs."""

    run_id: str = Field(description=_RUN)
    lease_token: str = Field(description="Proves the lease; send it with every report.")
    lease_seconds: float = Field(ge=0, description=_LEASE_SECONDS)
    lease_expires_at: Instant = Field(description=_LEASE_EXPIRES_AT)
    heartbeat_timeout_seconds: float = Field(description="How long each heartbeat lasts.")
    processor: str = Field(description=PROCESSOR)
    phase: int = Field(description="Its phase.")
    game_date: GameDate = Field(description=GAME_DATE)
    generation: int = Field(description="The fencing number: write it beside the rows.")
    attempt: int = Field(description="The attempt that was granted.")
    trigger: Trigger = Field(description="Why it was fired; `retry` from the second attempt on.")
    bypassed: tuple[str, ...] = Field(description="What was overridden.")
    skip_downstream: bool = Field(description="Its output is announced quiet.")
    inputs: tuple[InputView, ...] = Field(description="Exactly what to consume.")
    changed_games: tuple[str, ...] = Field(
        description="Games that are new since the last generation."
    )
    changed_tables: tuple[str, ...] = Field(description="Tables with newer data than it consumed.")
    warnings: tuple[str, ...] = Field(description=_RUN_WARNINGS)
    output: str = Field(description="The table to write.")
    entrypoint: str | None = Field(description="What to execute, as the registry says.")
    correlation_id: str | None = Field(description="Hand it on to what the run sets off.")


class Extension(View):
    """A lease, extended by a heartbeat."""

    run_id: str = Field(description=_RUN)
    lease_seconds: float = Field(ge=0, description=_LEASE_SECONDS)
    lease_expires_at: Instant = Field(description=_LEASE_EXPIRES_AT)


class Receipt(View):
    """An accepted report. Repeated with the same token and status it is answered like this again."""

    run_id: str = Field(description=_RUN)
    status: ReportStatus = Field(description="The status that was reported.")


def run_row(run: Run) -> RunRow:
    """One line of a list of runs."""
    return RunRow.of(
        run,
        duration_seconds=_elapsed(run.fired_at, run.ended_at),
        owner=run.current.owner if run.attempts else None,
        event_ids=tuple(sorted({e for i in run.inputs for e in i.event_ids})),
    )


def run_view(run: Run, target: LaunchTarget | None, partition: Partition | None) -> RunView:
    """A run with its attempts, timings, exact inputs and explanation (law 6).

    ``target`` is where its processor launches now; ``partition`` holds what is not delivered.
    """
    return RunView.of(
        run,
        **vars(run_row(run)),
        fired_by=fired(run),
        launch=_launch_view(run, target, partition),
        lease_expires_at=run.lease_expires_at if run.live else None,
        attempts=tuple(map(_attempt_view, run.attempts)),
    )


def grant(run: Run, spec: ProcessorSpec, lease_seconds: float) -> Grant:
    """What a claim is answered."""
    return Grant.of(
        run,
        lease_seconds=lease_seconds,
        heartbeat_timeout_seconds=spec.policy.heartbeat_timeout.total_seconds(),
        phase=spec.phase,
        trigger=Trigger.RETRY if run.attempt > 1 else run.trigger,
        output=spec.output,
        entrypoint=spec.entrypoint,
    )


def _launch_view(run: Run, target: LaunchTarget | None, partition: Partition | None) -> LaunchView:
    launch = undelivered(partition, launch_id(run.run_id, run.attempt)) if partition else None
    return LaunchView(
        kind=target.kind if target else None,
        address=target.address if target else "",
        tries=launch.tries if launch else 0,
        last_error=launch.last_error if launch else None,
        next_try_at=launch.due_at if launch else None,
    )


def _attempt_view(attempt: Attempt) -> AttemptView:
    return AttemptView.of(
        attempt,
        delivery_seconds=_elapsed(attempt.launch_at, attempt.delivered_at),
        claim_seconds=_elapsed(attempt.delivered_at, attempt.claimed_at),
        run_seconds=_elapsed(attempt.claimed_at, attempt.ended_at),
    )


def _elapsed(since: datetime | None, until: datetime | None) -> float | None:
    """Seconds between two instants, none where a clock stepped back between them."""
    if since is None or until is None:
        return None
    return max(0.0, (until - since).total_seconds())
