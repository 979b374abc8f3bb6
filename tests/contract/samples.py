"""One document of every kind, with as many fields set as make sense together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from coordinator.core.arrivals import Arrival, CalendarDate, LoadStatus, TableDate
from coordinator.core.choices import RunStatus
from coordinator.core.model import (
    Attempt,
    ConsumedRequirement,
    Control,
    EffectKind,
    Execution,
    Flag,
    Input,
    Inputs,
    Journal,
    Latest,
    Mark,
    OutboxEntry,
    Outcome,
    Partition,
    Pause,
    Run,
    Skip,
    Status,
    Timers,
    Transition,
    Trigger,
    Waiver,
    WindowState,
)
from coordinator.documents import (
    AuditEntry,
    Backfill,
    Dates,
    LedgerEntry,
    PendingWork,
    Quarantined,
    RegistryRecord,
    Work,
)
from coordinator.ports import Document, Kind

NOON = datetime(2025, 11, 15, 12, 0, 0, 123456, tzinfo=UTC)
DATE = "2025-11-15"
TABLE = "nba_raw.nbac_gamebook_player_stats"

ARRIVAL = Arrival(
    event_id="e1",
    table=TABLE,
    game_date=DATE,
    status=LoadStatus.PARTIAL,
    timestamp=NOON - timedelta(minutes=1),
    received_at=NOON,
    record_count=450,
    game_ids=("0022500225", "0022500226"),
    content_hash="abc",
    quiet=True,
    correlation_id="night-1",
)
TABLE_DATE = TableDate(
    table=TABLE,
    game_date=DATE,
    arrivals={"e1": ARRIVAL},
    whole="e1",
    games={"0022500225": "e1"},
    last_failure=ARRIVAL,
)
RUN = Run(
    run_id=f"Summary:{DATE}:1",
    processor="Summary",
    game_date=DATE,
    generation=1,
    trigger=Trigger.DEPENDENCIES,
    status=RunStatus.RUNNING,
    registry_hash="f00",
    fired_at=NOON,
    attempt=2,
    attempts=(
        Attempt(number=1, launch_at=NOON, ended_at=NOON, error="lost its lease"),
        Attempt(number=2, launch_at=NOON, delivered_at=NOON, message_id="7", owner="pod-1"),
    ),
    inputs=(
        Input(
            table=TABLE,
            game_date=DATE,
            state="ready",
            record_count=450,
            game_ids=("0022500225",),
            event_ids=("e1",),
            loaded_at=NOON,
        ),
    ),
    explanation="Every requirement is met.",
    bypassed=("cooldown",),
    unmet=("nothing from é🏀",),
    reason="a look",
    actor="ann@example.com",
    skip_downstream=True,
    changed_games=("0022500225",),
    warnings=("old",),
    correlation_id="night-1",
    lease_token="secret",
    lease_expires_at=NOON + timedelta(minutes=5),
    record_count=12,
    transitions=(Transition(at=NOON, what="fired", detail="now", actor="ann"),),
)
PARTITION = Partition(
    processor="Summary",
    game_date=DATE,
    created_at=NOON,
    registry_hash="f00",
    revision=7,
    inputs=Inputs(
        arrivals={f"{TABLE}@{DATE}": TABLE_DATE},
        games={DATE: ("0022500225", "0022500226"), "2025-11-14": ()},
        window_states={
            "3": WindowState(dates=9, ready=8, met=True, since=NOON, unmet=("2025-11-14",)),
        },
        met_since={f"0/{TABLE}": NOON},
        latest=Latest(event_id="e1", received_at=NOON, quiet=False),
        pauses=(Pause(scope="_all", reason="storm", actor="ann", at=NOON),),
        waivers=(Waiver(table=TABLE, reason="known", actor="ann", at=NOON, until=NOON),),
        windows_due=True,
    ),
    execution=Execution(
        generation=1,
        refires=1,
        live=RUN,
        outcome=Outcome(status=RunStatus.FAILED, generation=1, attempt=1, at=NOON, error="x"),
        skip=Skip(reason="off", actor="ann", at=NOON),
        forced=True,
        consumed={
            "0": ConsumedRequirement(
                met=True, used=(TABLE,), marks={TABLE: {"*": Mark(event_id="e1", content_hash="h")}}
            )
        },
        consumed_at=NOON,
        consumed_games={DATE: ("0022500225",)},
        newer_after={f"1/{TABLE}": NOON},
        dirty_since=NOON,
    ),
    timers=Timers(
        deadline_done=True,
        deadline_done_at=NOON,
        overdue=True,
        schedule_done_at=NOON,
    ),
    journal=Journal(
        outbox=(
            OutboxEntry(
                effect_id="launch:1",
                kind=EffectKind.ANNOUNCE,
                subject=RUN.run_id,
                due_at=NOON,
                created_at=NOON,
                announcement=ARRIVAL,
            ),
        ),
        notified=("deadline",),
        history=(Transition(at=NOON, what="arrived"),),
    ),
    status=Status.RUNNING,
    flags=(Flag.PAUSED, Flag.OVERDUE),
    wake_at=NOON + timedelta(minutes=5),
    watching=True,
)

SAMPLES: Mapping[Kind, Document] = {
    Kind.PARTITION: PARTITION,
    Kind.TABLE_DATE: TABLE_DATE,
    Kind.EVENT: LedgerEntry(
        event_id="e1",
        table=TABLE,
        game_date=DATE,
        outcome="applied",
        digest="d",
        received_at=NOON,
        arrival=ARRIVAL,
        execution_id="xyz789",
        message_id="1",
        warnings=("a", "b"),
    ),
    Kind.DATES: Dates(name=TABLE, dates=(DATE, "2025-11-16")),
    Kind.CALENDAR: CalendarDate(
        game_date=DATE, games=("0022500225",), event_id="e2", timestamp=NOON, received_at=NOON
    ),
    Kind.RUN: RUN,
    Kind.CONTROL: Control(
        scope="_all",
        pause=Pause(scope="_all", reason="storm", actor="ann", at=NOON),
        resume_pending=True,
    ),
    Kind.QUARANTINE: Quarantined(
        quarantine_id="q1",
        received_at=NOON,
        source="push",
        reason="not UTF-8",
        mistakes=("data: not UTF-8",),
        raw=bytes(range(256)),
        message_id="2",
        truncated=True,
    ),
    Kind.AUDIT: AuditEntry(
        audit_id="a1",
        at=NOON,
        actor="ann@example.com",
        act="trigger",
        reason="a look",
        processor="Summary",
        game_date=DATE,
        detail={"bypass": ["cooldown"], "deep": {"n": 1, "x": None, "f": 1.5}},
    ),
    Kind.BACKFILL: Backfill(
        backfill_id="b1",
        created_at=NOON,
        actor="ann",
        reason="season",
        state="running",
        first="2025-10-21",
        last=DATE,
        processors=("Summary",),
        only="missing",
        max_concurrent=3,
        bypass=("freshness",),
        detail={"done": 3},
    ),
    Kind.REGISTRY: RegistryRecord(
        registry_hash="f00",
        first_used_at=NOON,
        text="version: 1\n",
        set_since={"P": {"deadline 01:00:00+1 UTC": NOON}},
    ),
    Kind.PENDING: PendingWork(
        table=TABLE, game_date=DATE, work=(Work.WINDOWS, Work.REFOLD), serial=3
    ),
}
