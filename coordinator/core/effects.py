"""The effects of a decision, as data: launch, announce, notify.

Owns the making of outbox entries with derived ids. Refuses to deliver (see ``outbox``).
"""

from __future__ import annotations

from datetime import datetime

from coordinator.core.arrivals import RUN_OUTPUT, Arrival, LoadStatus
from coordinator.core.choices import RunStatus
from coordinator.core.model import EffectKind, OutboxEntry, Run

OUTPUT = RUN_OUTPUT
"""What the event ids of runs' outputs begin with."""


def launch(run: Run, now: datetime) -> OutboxEntry:
    """Ask that the run's current attempt be launched, not before its back-off is over."""
    return OutboxEntry(
        effect_id=launch_id(run.run_id, run.attempt),
        kind=EffectKind.LAUNCH,
        subject=run.run_id,
        attempt=run.attempt,
        due_at=run.current.launch_at,
        created_at=now,
    )


def launch_id(run_id: str, attempt: int) -> str:
    return f"launch:{run_id}:{attempt}"


def announce(run: Run, output: str, now: datetime) -> OutboxEntry:
    """Ask that a finished run's output be announced."""
    return OutboxEntry(
        effect_id=announce_id(run.run_id),
        kind=EffectKind.ANNOUNCE,
        subject=run.run_id,
        due_at=now,
        created_at=now,
        announcement=announcement(run, output, now),
    )


def announce_id(run_id: str) -> str:
    return f"announce:{run_id}"


def load_id(run_id: str) -> str:
    """The event id of a run's output as a load."""
    return f"{OUTPUT}{run_id}"


def announcement(run: Run, output: str, now: datetime) -> Arrival:
    """A finished run's output as a load; quiet where the run skips downstream."""
    status = LoadStatus.NO_DATA if run.status is RunStatus.NO_DATA else LoadStatus.SUCCESS
    return Arrival(
        event_id=load_id(run.run_id),
        table=output,
        game_date=run.game_date,
        status=status,
        record_count=run.record_count,
        timestamp=now,
        received_at=now,
        quiet=run.skip_downstream,
        correlation_id=run.correlation_id,
    )


def notify(
    kind: str, cause: str, severity: str, summary: str, detail: str, now: datetime
) -> OutboxEntry:
    """Notify people, once per cause. ``cause`` makes the id, so a repeat changes nothing."""
    return OutboxEntry(
        effect_id=f"notify:{kind}:{cause}",
        kind=EffectKind.NOTIFY,
        subject=kind,
        due_at=now,
        created_at=now,
        severity=severity,
        summary=summary,
        detail=detail,
    )
