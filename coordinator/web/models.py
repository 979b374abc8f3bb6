"""The shapes of requests and answers, each field described: what ``/openapi.json`` says.

Owns validation of requests (strict types, unknown fields refused) and the promise of answers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from coordinator.core.model import Flag, Grain, LoadStatus, RunStatus, Status, Trigger
from coordinator.core.readiness import HoldKind, State
from coordinator.core.spec import (
    DeadlineAction,
    LaunchKind,
    RequirementKind,
    ScheduleWhen,
)
from coordinator.service.operate import MAX_REASON

_INSTANT = {"format": "date-time", "examples": ["2025-11-15T02:30:00Z"]}
_DATE = {"format": "date", "examples": ["2025-11-15"]}

Instant = Annotated[str, Field(json_schema_extra=_INSTANT)]
"""RFC 3339, UTC, with a ``Z``."""
GameDate = Annotated[str, Field(json_schema_extra=_DATE)]
"""A calendar date in the registry's time zone."""
BypassWord = Literal["dependencies", "freshness", "cooldown", "pause", "limits"]
ReportWord = Literal["success", "no_data", "skipped", "failed"]
OutcomeWord = Literal[
    "applied",
    "duplicate",
    "superseded",
    "ignored",
    "refused",
    "quarantined",
    "rejected",
    "would be replayed",
]

_PROCESSOR = "Name of the processor."
_GAME_DATE = "The game date, YYYY-MM-DD."
_DRY_RUN = "Only answer what it would do, and change nothing."
_REASON = "Why, for whoever reads the audit log."
_LEASE_SECONDS = (
    "How long the lease lasts from this answer on. Count it on a monotonic clock from before the "
    "request, and send a heartbeat well before it is over: clocks need not agree."
)
_NEXT = "Give it as `page_token` for the next page; null on the last one."


class Asked(BaseModel):
    """A request body: strict types, nothing unknown."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    """An answer: exactly these fields."""

    model_config = ConfigDict(extra="forbid")


# ── errors ───────────────────────────────────────────────────────────────────────────────────


class FieldError(Answer):
    """One thing that is wrong with an input."""

    field: str = Field(description="Where: the name of the field.")
    message: str = Field(description="The rule that it breaks, and the mend.")
    value: str | None = Field(description="What was there, cut short; null where nothing was.")


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="A reference that tells this kind of problem from others.")
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What went wrong here, and what to do.")
    code: str = Field(description="The kind of problem, for programs.")
    instance: str | None = Field(None, description="The path that was asked for.")
    errors: list[FieldError] | None = Field(None, description="Every mistake of the input.")
    results: list[EventResult] | None = Field(
        None, description="Of POST /v1/events, where every event is bad: what each one got."
    )
    verdict: Verdict | None = Field(
        None, description="Of an operator's act that is refused: how the partition is judged."
    )


# ── events ───────────────────────────────────────────────────────────────────────────────────


class AffectedPartition(Answer):
    """A partition that an event was delivered to, as it stood after the commit."""

    processor: str = Field(description=_PROCESSOR)
    game_date: GameDate = Field(description=_GAME_DATE)
    status: Status = Field(description="Its status.")
    fired_run_id: str | None = Field(description="The run that the event fired, if any.")


class EventResult(Answer):
    """What one event got."""

    outcome: OutcomeWord = Field(description="What became of it; a bad one is `rejected`.")
    event_id: str | None = Field(description="Its id, as given or derived.")
    affected: list[AffectedPartition] = Field(description="The partitions it was delivered to.")
    errors: list[FieldError] = Field(description="What is wrong with it.")
    warnings: list[str] = Field(description="What is odd about it, though it was taken.")


class EventResults(Answer):
    """What the events of one call got, in the order they were sent."""

    results: list[EventResult] = Field(description="One for each event, in order.")


# ── status ───────────────────────────────────────────────────────────────────────────────────


class RequirementCount(Answer):
    """How many requirements are met."""

    met: int = Field(description="Requirements that are met.")
    total: int = Field(description="Requirements there are.")


class RunRef(Answer):
    """The run of a partition's latest generation."""

    run_id: str = Field(description="Id of the run: PROCESSOR:DATE:GENERATION.")
    status: RunStatus = Field(description="Where it is, or how it ended.")
    attempt: int = Field(description="Its current or last attempt, from 1.")


class PauseOut(Answer):
    """Somebody's word that no new generation may start."""

    scope: str = Field(description="The processor, or `_all`.")
    reason: str = Field(description="Why.")
    actor: str = Field(description="Who paused it.")
    at: Instant = Field(description="Since when.")


class PartitionRow(Answer):
    """A partition in one line."""

    processor: str = Field(description=_PROCESSOR)
    phase: int = Field(description="The processor's phase: a label, never a barrier.")
    game_date: GameDate = Field(description=_GAME_DATE)
    status: Status = Field(description="The derived status.")
    flags: list[Flag] = Field(description="What stands beside the status.")
    requirements: RequirementCount = Field(description="Requirements met, of all.")
    why: str = Field(description="One sentence: why it is where it is.")
    run: RunRef | None = Field(description="The run of the latest generation, if any.")
    expected_at: Instant | None = Field(
        description="When the next launch is due, where time alone brings it (at the latest)."
    )
    generation: int = Field(description="How many times it has been fired.")
    wake_at: Instant | None = Field(description="When time alone next changes something.")


class DateStatus(Answer):
    """Every processor's partition on one date."""

    game_date: GameDate = Field(description=_GAME_DATE)
    games: list[str] | None = Field(description="Games the calendar expects; null: unknown.")
    loads_known: bool = Field(
        description="Whether any load is recorded for the date, failed ones too; those of the "
        "calendar's table do not count."
    )
    registry_hash: str = Field(description="The registry in use.")
    pauses: list[PauseOut] = Field(description="Every pause in force.")
    quarantine_open: int = Field(
        description="Open messages in quarantine, of any date; 100 stands for that many or more."
    )
    items: list[PartitionRow] = Field(description="One for each processor, upstream first.")
    next_page_token: str | None = Field(description=_NEXT)


class HoldOut(Answer):
    """One thing that keeps a partition with met requirements from firing."""

    kind: HoldKind = Field(description="What holds it.")
    until: Instant | None = Field(description="When it ends; null where time alone does not.")
    detail: str = Field(description="What it is about.")
    sentence: str = Field(description="The same for people.")


class Rule(Answer):
    """What the registry asks of a requirement."""

    tables: list[str] = Field(description="The enabled tables, in order of preference.")
    needed: int = Field(description="How many of them must be met.")
    expected_count_min: int | None = Field(description="Rows needed at least.")
    expected_count_per_game: float | None = Field(description="Rows needed for each game.")
    min_coverage: float = Field(description="Share of the expected games that must be loaded.")
    max_age_warn_seconds: float | None = Field(description="Age from which a load is aging.")
    max_age_fail_seconds: float | None = Field(description="Age from which a load is stale.")
    offset_days: int = Field(description="Days from the game date to the date looked at.")
    prefer_for_seconds: float = Field(description="How long a preferred source is waited for.")
    last_game_dates: int | None = Field(description="Of a window: game dates it looks back.")
    window_days: int | None = Field(description="Of a window: days it looks back.")
    min_ready: float | None = Field(description="Of a window: share of dates that must be ready.")


class SourceOut(Answer):
    """One table on one date, judged."""

    table: str = Field(description="The table.")
    game_date: GameDate = Field(description="The date looked at.")
    state: State = Field(description="How it stands.")
    met: bool = Field(description="Whether that is good enough.")
    sentence: str = Field(description="The same for people.")
    games_expected: int | None = Field(description="Games the calendar expects; null: unknown.")
    games_loaded: int = Field(description="Expected games that a load covers.")
    missing_games: list[str] = Field(description="Expected games that no load covers.")
    unexpected_games: list[str] = Field(description="Loaded games that are not expected.")
    record_count: int | None = Field(description="Rows loaded; null: unknown.")
    minimum: int | None = Field(description="Rows needed; null where any number will do.")
    loaded_at: Instant | None = Field(description="Timestamp of the newest load it rests on.")
    oldest_at: Instant | None = Field(description="Timestamp of the oldest load it rests on.")
    stale_at: Instant | None = Field(description="When it becomes too old for a first run.")
    since: Instant | None = Field(description="Received: since when it is met without a break.")
    event_ids: list[str] = Field(description="The events it rests on.")
    warnings: list[str] = Field(description="What is odd about it.")
    waived_by: str | None = Field(description="Who waived it, if anybody did.")
    state_without_waiver: State | None = Field(description="How it stands without the waiver.")


class WindowDate(Answer):
    """One date inside a history window, judged."""

    game_date: GameDate = Field(description="The date.")
    met: bool = Field(description="Whether it counts as ready.")
    state: str = Field(description="How it stands.")
    record_count: int | None = Field(description="Rows loaded; null: unknown.")
    event_ids: list[str] = Field(description="The events it rests on.")


class RequirementOut(Answer):
    """One requirement, judged."""

    key: str = Field(description="Names the requirement within its processor.")
    kind: RequirementKind = Field(description="One table, a group, or a window.")
    critical: bool = Field(description="Whether nothing fires without it.")
    state: State = Field(description="How it stands; a group shows the nearest of its sources.")
    met: bool = Field(description="Whether that is good enough.")
    sentence: str = Field(description="The same for people.")
    since: Instant | None = Field(description="Received: since when it is met without a break.")
    used: list[str] = Field(description="The sources that meet it, in order of preference.")
    prefer_until: Instant | None = Field(description="Till when a preferred source is waited for.")
    warnings: list[str] = Field(description="What is odd about it.")
    rule: Rule = Field(description="What the registry asks.")
    sources: list[SourceOut] = Field(
        description="Its tables, judged; of a window none, but for one that is waived."
    )
    days: list[WindowDate] = Field(description="Of a window: its dates, judged.")
    days_needed: int = Field(description="Of a window: how many of them must be ready.")


class Verdict(Answer):
    """The explained judgement of a partition at an instant."""

    at: Instant = Field(description="The instant of the judgement.")
    ready: bool = Field(description="Whether the needs are met (holds may still delay it).")
    critical_met: bool = Field(description="Whether every critical requirement is met.")
    optional_met: bool = Field(description="Whether every optional requirement is met.")
    off_day: bool = Field(description="No games that date, and the processor skips such days.")
    ready_since: Instant | None = Field(description="Since when the critical ones are met.")
    holds: list[HoldOut] = Field(description="What keeps it from firing.")
    refires_spent: bool = Field(description="Newer data is ready and the budget is used up.")
    changed_games: list[str] = Field(description="Games with newer data than was consumed.")
    warnings: list[str] = Field(description="Every warning of the tree.")
    wake_at: Instant | None = Field(description="When time alone could change the judgement.")
    requirements: list[RequirementOut] = Field(description="The tree.")


class Load(Answer):
    """One load as an event reported it."""

    event_id: str = Field(description="Unique within table and date.")
    status: LoadStatus = Field(description="How the load ended.")
    record_count: int | None = Field(description="Rows loaded; null: unknown.")
    game_ids: list[str] = Field(description="Games covered; none: the whole date.")
    timestamp: Instant = Field(description="When it was made; never later than its receipt.")
    received_at: Instant = Field(description="When the event was received.")
    content_hash: str | None = Field(description="Marks equal content, where given.")
    quiet: bool = Field(description="It meets requirements and fires nothing by itself.")
    correlation_id: str | None = Field(description="Ties together what one cause set off.")


class TableFacts(Answer):
    """The loads of one table on one date, folded: the newest facts."""

    table: str = Field(description="The table.")
    game_date: GameDate = Field(description="The date.")
    whole: str | None = Field(description="The event that covers the whole date, if any.")
    games: dict[str, str] = Field(description="Game → the newest event that covers it.")
    loads: list[Load] = Field(description="The loads that count, by receipt.")
    last_failure: Load | None = Field(description="The last failed or skipped load, if any.")


class NewerData(Answer):
    """Data that the latest generation did not consume."""

    requirement: str = Field(description="The requirement that it is news to.")
    table: str = Field(description="The table.")
    game_date: GameDate = Field(description="The date.")
    games: list[str] = Field(description="The games that changed.")
    ready: bool = Field(description="Whether a generation could consume it now.")


class OutcomeOut(Answer):
    """How the last finished generation ended."""

    status: RunStatus = Field(description="How it ended.")
    generation: int = Field(description="Which generation.")
    attempt: int = Field(description="Its last attempt.")
    at: Instant = Field(description="When.")
    record_count: int | None = Field(description="Rows written; null: unknown.")
    error: str | None = Field(description="What went wrong.")


class SkipOut(Answer):
    """Somebody's or a deadline's word that the partition need not run."""

    reason: str = Field(description="Why.")
    actor: str = Field(description="Who.")
    at: Instant = Field(description="When.")


class WaiverOut(Answer):
    """A person's word that a table's requirements need not be met."""

    table: str = Field(description="The table.")
    reason: str = Field(description="Why.")
    actor: str = Field(description="Who.")
    at: Instant = Field(description="When.")
    until: Instant | None = Field(description="Till when; null: until its data comes.")
    open: bool = Field(description="Whether it holds now.")
    closed_at: Instant | None = Field(description="When it ended.")
    closed_because: str | None = Field(description="Why it ended.")


class DeadlineOut(Answer):
    """The partition's deadline."""

    at: Instant = Field(description="Its instant.")
    then: DeadlineAction = Field(description="What it does.")
    done: bool = Field(description="Whether it has acted, or had nothing to do.")


class ScheduleOut(Answer):
    """An instant at which the partition may also fire."""

    at: Instant = Field(description="The instant.")
    when: ScheduleWhen = Field(description="Only when ready, or always.")


class OutboxOut(Answer):
    """An effect that was committed and is not delivered yet."""

    effect_id: str = Field(description="Derived from what it is for.")
    kind: Literal["launch", "announce", "notify"] = Field(description="What it asks for.")
    subject: str = Field(description="The run, or the kind of notice.")
    created_at: Instant = Field(description="When it was committed.")
    due_at: Instant = Field(description="When it is to be delivered next.")
    tries: int = Field(description="Failed deliveries so far.")
    last_error: str | None = Field(description="Why the last one failed.")


class TransitionOut(Answer):
    """One line of a history."""

    at: Instant = Field(description="When.")
    what: str = Field(description="What happened.")
    detail: str = Field(description="More about it.")
    actor: str | None = Field(description="Who did it, where a person did.")


class InputOut(Answer):
    """One table and date that a run consumes."""

    table: str = Field(description="The table.")
    game_date: GameDate = Field(description="The date.")
    state: str = Field(description="How it stood when the run was fired.")
    record_count: int | None = Field(description="Rows loaded; null: unknown.")
    game_ids: list[str] = Field(description="Games covered.")
    event_ids: list[str] = Field(description="The events consumed.")
    loaded_at: Instant | None = Field(description="Timestamp of its newest load.")


class AttemptOut(Answer):
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


class RunRow(Answer):
    """A run in one line."""

    run_id: str = Field(description="PROCESSOR:DATE:GENERATION.")
    processor: str = Field(description=_PROCESSOR)
    game_date: GameDate = Field(description=_GAME_DATE)
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
    event_ids: list[str] = Field(description="Every event consumed.")
    correlation_id: str | None = Field(description="Ties together what one cause set off.")


class LaunchOut(Answer):
    """Where a run's launches go, and what keeps the current one from being delivered."""

    kind: LaunchKind | None = Field(
        description="How its processor is launched now; null where nothing says so."
    )
    address: str = Field(description="The URL or topic; empty for a local launch.")
    tries: int = Field(description="Failed deliveries of the current launch so far.")
    last_error: str | None = Field(description="Why the last one failed.")
    next_try_at: Instant | None = Field(description="When it is tried again.")


class RunWhole(RunRow):
    """A run with all that is known of it."""

    registry_hash: str = Field(description="The registry it was decided under.")
    fired_by: str = Field(description="One sentence: the trigger, what was newer or overridden.")
    explanation: str = Field(description="Why it was fired, as judged in that transaction.")
    reason: str | None = Field(description="What the person who asked for it said.")
    actor: str | None = Field(description="Who asked for it.")
    bypassed: list[str] = Field(description="What was overridden.")
    unmet: list[str] = Field(description="Critical requirements that were not met.")
    skip_downstream: bool = Field(description="Its output is announced quiet.")
    changed_games: list[str] = Field(description="Games that are new to it.")
    changed_tables: list[str] = Field(description="Tables with data that is new to it.")
    warnings: list[str] = Field(
        description="What a careful runner should know of its inputs, a sentence each."
    )
    inputs: list[InputOut] = Field(description="Exactly what it consumes.")
    launch: LaunchOut = Field(description="Where its launches go, and how the current one fares.")
    lease_expires_at: Instant | None = Field(description="When its lease ends, while it is live.")
    attempts: list[AttemptOut] = Field(description="Its launches.")
    transitions: list[TransitionOut] = Field(description="Its history.")


class PartitionWhole(PartitionRow):
    """Everything a partition is decided from, judged now."""

    partition_id: str = Field(description="PROCESSOR__DATE.")
    stored: bool = Field(description="False: nothing was heard yet; shown as it would be made.")
    output: str = Field(description="The table that the processor writes.")
    revision: int = Field(description="How many times its document changed.")
    created_at: Instant | None = Field(description="When it was first stored.")
    registry_hash: str = Field(description="The registry it was last decided under.")
    verdict: Verdict = Field(description="The judgement, as a tree.")
    games: list[str] | None = Field(description="Games the calendar expects; null: unknown.")
    arrivals: list[TableFacts] = Field(description="What arrived, by table and date.")
    newer_data: list[NewerData] = Field(description="What the latest generation has not consumed.")
    refires: int = Field(description="Generations counted against the budget.")
    max_refires: int = Field(description="The budget.")
    outcome: OutcomeOut | None = Field(description="How the last finished generation ended.")
    skip: SkipOut | None = Field(description="Set where somebody said it need not run.")
    waivers: list[WaiverOut] = Field(description="Waivers, open and closed.")
    pauses: list[PauseOut] = Field(description="Pauses that hold it.")
    deadline: DeadlineOut | None = Field(description="Its deadline, if any.")
    schedule: list[ScheduleOut] = Field(description="Instants at which it may also fire.")
    outbox: list[OutboxOut] = Field(description="Effects that are not delivered yet.")
    history: list[TransitionOut] = Field(description="What happened to it, oldest first.")
    runs: list[RunWhole] = Field(description="Its runs, the last fired first.")


class GridDate(Answer):
    """A date of the grid."""

    game_date: GameDate = Field(description="The date.")
    games: int | None = Field(description="Games the calendar expects; null: unknown.")


class Cell(Answer):
    """One partition of the grid."""

    status: Status = Field(description="The derived status.")
    flags: list[Flag] = Field(description="What stands beside it.")
    stored: bool = Field(description="False: the calendar knows the date, nothing was heard yet.")


class GridRow(Answer):
    """One processor of the grid."""

    processor: str = Field(description=_PROCESSOR)
    phase: int = Field(description="Its phase.")
    cells: dict[str, Cell] = Field(description="Date → partition; dates without any are left out.")


class Grid(Answer):
    """Processors × dates."""

    from_: GameDate = Field(alias="from", description="The first date.")
    to: GameDate = Field(description="The last date.")
    dates: list[GridDate] = Field(description="Every date of the range, ascending.")
    items: list[GridRow] = Field(description="One row for each processor, upstream first.")
    next_page_token: str | None = Field(description=_NEXT)


class UnknownDates(Answer):
    """Dates that the calendar does not know."""

    count: int = Field(description="How many there are.")
    first: GameDate | None = Field(description="The first; null where there is none.")
    last: GameDate | None = Field(description="The last; null where there is none.")


class Gaps(Answer):
    """Dates on which the calendar expects an output and no run succeeded.

    Of a date that the calendar does not know, what was heard of and has not succeeded.
    """

    from_: GameDate = Field(alias="from", description="The first date looked at.")
    to: GameDate = Field(description="The last date looked at.")
    game_dates: int | None = Field(
        description="Dates of the range that the calendar has games on; null after page one."
    )
    unknown_dates: UnknownDates | None = Field(
        description="Dates of the range that the calendar does not know; null after page one."
    )
    calendar_until: GameDate | None = Field(
        description="The last date that the calendar knows; null where it knows none."
    )
    items: list[PartitionRow] = Field(description="One for each gap, by date, upstream first.")
    next_page_token: str | None = Field(description=_NEXT)


class LedgerRow(Load):
    """One event of the ledger."""

    table: str = Field(description="The table.")
    game_date: GameDate = Field(description="The date.")
    outcome: Literal["applied", "superseded", "ignored"] = Field(description="What it got.")
    execution_id: str | None = Field(description="The execution that loaded it.")
    processor_name: str | None = Field(description="The processor it named.")
    source_scraper_execution_id: str | None = Field(description="The scrape behind it.")
    message_id: str | None = Field(description="The message that carried it.")
    warnings: list[str] = Field(description="What is worth a look, as why it was superseded.")


class Ledger(Answer):
    """The ledger of one table and date."""

    table: str = Field(description="The table's full name.")
    game_date: GameDate = Field(description=_GAME_DATE)
    grain: Grain = Field(description="How its loads add up.")
    enabled: bool = Field(description="Whether anything waits for it.")
    producer: str | None = Field(description="The processor that writes it; null for a raw table.")
    facts: TableFacts = Field(description="What the events add up to.")
    games_expected: list[str] | None = Field(description="By the calendar; null: unknown.")
    games_covered: list[str] = Field(description="Games that a load with rows covers.")
    games_missing: list[str] | None = Field(description="Expected and not covered; null: unknown.")
    state: State = Field(description="How a plain requirement of this table would stand.")
    sentence: str = Field(description="The same for people.")
    record_count: int | None = Field(description="Rows over the newest loads; null: unknown.")
    warnings: list[str] = Field(description="What is odd about it.")
    items: list[LedgerRow] = Field(description="Its events, by receipt.")
    next_page_token: str | None = Field(description=_NEXT)


class RunList(Answer):
    """Runs, the last fired first."""

    items: list[RunRow] = Field(description="The runs.")
    next_page_token: str | None = Field(description=_NEXT)


class Trace(Answer):
    """Everything that one correlation id touched."""

    correlation_id: str = Field(description="The id.")
    events: list[LedgerRow] = Field(description="Its events, by receipt.")
    partitions: list[PartitionRow] = Field(description="The partitions they went to.")
    runs: list[RunRow] = Field(description="The runs that carry it, the first fired first.")
    quarantined: list[QuarantinedOut] = Field(
        description="Messages that name it and could not be taken in, newest first."
    )
    truncated: bool = Field(description="There is, or may be, more than is shown.")


class RegistryOut(BaseModel):
    """The registry in use, normalised."""

    model_config = ConfigDict(extra="allow")

    registry_hash: str = Field(description="SHA-256 of its meaning.")
    tables: Any = Field(description="Declared tables, with the outputs of processors.")
    processors: Any = Field(description="Processors with their requirements and policies.")


class Graph(BaseModel):
    """The dependencies as nodes and edges."""

    model_config = ConfigDict(extra="allow")

    registry_hash: str = Field(description="The registry they come from.")
    nodes: list[dict[str, Any]] = Field(description="Tables and processors.")
    edges: list[dict[str, Any]] = Field(description="Who needs what, and who writes what.")


class HealthPart(BaseModel):
    """One part of the service."""

    model_config = ConfigDict(extra="allow")

    ok: bool = Field(description="Whether it works.")
    detail: str = Field(description="A sentence about it.")
    lag_seconds: float | None = Field(None, description="How far it is behind.")
    age_seconds: float | None = Field(None, description="Since when this process did it last.")
    last_at: Instant | None = Field(None, description="When this process did it last.")
    others: list[str] | None = Field(
        None, description="Other registries that count as served over the same store, by hash."
    )
    failing: int | None = Field(None, description="Receivers whose last delivery failed.")
    busy: int | None = Field(None, description="Local runs that execute now.")
    waiting: int | None = Field(None, description="Launches that wait for a local worker.")
    replaced: int | None = Field(None, description="Worker processes replaced since the start.")


class Health(Answer):
    """Whether the process is alive."""

    status: Literal["alive"] = Field(description="It answers, so it is.")


class Readiness(Answer):
    """Whether the service is ready, part by part."""

    status: Literal["ready", "not_ready"] = Field(description="All parts together.")
    parts: dict[str, HealthPart] = Field(
        description="`registry`, `store`, `outbox`, `sweep`; `receivers` while one of them takes "
        "nothing; `workers` where local runs execute here."
    )


# ── runs ─────────────────────────────────────────────────────────────────────────────────────


class ClaimRequest(Asked):
    """A runner asks for one attempt of a run."""

    owner: str = Field(min_length=1, max_length=200, description="Who asks; the same gets it back.")
    attempt: int = Field(ge=1, le=10**6, description="The attempt that the launch named.")


class Claim(Answer):
    """A granted run."""

    run_id: str = Field(description="The run.")
    lease_token: str = Field(description="Proves the lease; send it with every report.")
    lease_seconds: float = Field(ge=0, description=_LEASE_SECONDS)
    lease_expires_at: Instant = Field(
        description="When the lease ends, on the service's clock; for people and logs."
    )
    heartbeat_timeout_seconds: float = Field(description="How long each heartbeat lasts.")
    processor: str = Field(description=_PROCESSOR)
    phase: int = Field(description="Its phase.")
    game_date: GameDate = Field(description=_GAME_DATE)
    generation: int = Field(description="The fencing number: write it beside the rows.")
    attempt: int = Field(description="The attempt that was granted.")
    trigger: Trigger = Field(description="Why it was fired; `retry` from the second attempt on.")
    bypassed: list[str] = Field(description="What was overridden.")
    skip_downstream: bool = Field(description="Its output is announced quiet.")
    inputs: list[InputOut] = Field(description="Exactly what to consume.")
    changed_games: list[str] = Field(description="Games that are new since the last generation.")
    changed_tables: list[str] = Field(description="Tables with newer data than it consumed.")
    warnings: list[str] = Field(
        description="What a careful runner should know of the inputs, a sentence each: "
        "optional ones that are not met, what was passed over, a fallback, age, the calendar."
    )
    output: str = Field(description="The table to write.")
    entrypoint: str | None = Field(description="What to execute, as the registry says.")
    correlation_id: str | None = Field(description="Hand it on to what the run sets off.")


class HeartbeatRequest(Asked):
    """A runner is still at work."""

    lease_token: str = Field(min_length=1, max_length=1000, description="From the claim.")


class Heartbeat(Answer):
    """A lease, extended."""

    run_id: str = Field(description="The run.")
    lease_seconds: float = Field(ge=0, description=_LEASE_SECONDS)
    lease_expires_at: Instant = Field(
        description="When the lease ends, on the service's clock; for people and logs."
    )


class CompleteRequest(Asked):
    """A runner reports how its attempt ended."""

    lease_token: str = Field(min_length=1, max_length=1000, description="From the claim.")
    status: ReportWord = Field(description="How it ended.")
    record_count: int | None = Field(None, ge=0, le=10**12, description="Rows written.")
    error: str | None = Field(None, max_length=100_000, description="What went wrong.")


class Completed(Answer):
    """A report, taken. Repeated with the same token and status it is answered like this again."""

    run_id: str = Field(description="The run.")
    status: ReportWord = Field(description="The status that was reported.")


# ── operators ────────────────────────────────────────────────────────────────────────────────


class ReasonRequest(Asked):
    """An operator's act that needs no more than its reason."""

    reason: str = Field(min_length=1, max_length=MAX_REASON, description=_REASON)
    dry_run: bool = Field(False, description=_DRY_RUN)


class TriggerRequest(ReasonRequest):
    """Fire now."""

    bypass: list[BypassWord] = Field(
        default_factory=list, max_length=20, description="What to override; nothing: only if ready."
    )
    skip_downstream: bool = Field(False, description="Announce its output quiet.")


class SkipRequest(ReasonRequest):
    """Say that a partition need not run."""

    end_run: bool = Field(False, description="End a live run's lease too; else that is 409.")


class WaiverRequest(ReasonRequest):
    """Waive a table's requirements."""

    table: str = Field(min_length=1, max_length=1000, description="The table, or an alias of it.")
    until: Instant | None = Field(
        None, description="Till when, with a zone; left out: until its data comes."
    )


class LiftRequest(Asked):
    """Lift a waiver. The reason may stand in the query instead."""

    reason: str | None = Field(None, min_length=1, max_length=MAX_REASON, description=_REASON)
    dry_run: bool = Field(False, description=_DRY_RUN)


class SweepRequest(Asked):
    """One sweep. Nothing is required."""

    reason: str | None = Field(None, max_length=MAX_REASON, description=_REASON)
    dry_run: bool = Field(False, description=_DRY_RUN)


class ActAnswer(Answer):
    """What an act did, or with `dry_run` would do."""

    act: str = Field(description="The act.")
    dry_run: bool = Field(description="Whether nothing was changed.")
    fired_run_ids: list[str] = Field(description="Runs that it fired.")
    run_id: str | None = Field(description="The first of them.")
    partition: PartitionRow | None = Field(description="The partition afterwards, if it is on one.")
    verdict: Verdict | None = Field(description="The judgement it was decided on.")
    detail: dict[str, Any] = Field(description="What was asked, and what was found.")


class SweepAnswer(Answer):
    """What a sweep did, or would look at."""

    at: Instant = Field(description="Its instant.")
    dry_run: bool = Field(description="Whether nothing was changed.")
    looked_at: int = Field(description="Partitions that were due.")
    changed: int = Field(description="Partitions that changed.")
    fired_run_ids: list[str] = Field(description="Runs that it fired.")
    late_seconds: float = Field(description="How long the longest of them had been due.")
    more: bool = Field(description="The limit was reached; what is left comes with the next one.")


class QuarantinedOut(Answer):
    """A message that could not be taken in."""

    quarantine_id: str = Field(description="Derived from its bytes.")
    received_at: Instant = Field(description="When it last came.")
    source: str = Field(description="The door it came through.")
    state: Literal["open", "replayed", "discarded"] = Field(description="What became of it.")
    reason: str = Field(description="Why it could not be taken in.")
    mistakes: list[str] = Field(description="Everything that is wrong with it.")
    message_id: str | None = Field(description="The message's id, where it could be read.")
    correlation_id: str | None = Field(description="Its correlation id, where it could be read.")
    game_date: GameDate | None = Field(description="Its game date, where it could be read.")
    times_seen: int = Field(description="How often the same bytes came.")
    raw_bytes: int = Field(description="Its length.")
    raw: str | None = Field(
        description="Its bytes in base64; null in lists where it is long (ask for it alone)."
    )
    text: str | None = Field(description="Its beginning as text; null where it is not UTF-8.")
    data_text: str | None = Field(description="The same of what a push envelope wraps.")
    settled_at: Instant | None = Field(description="When it was replayed or discarded.")
    settled_by: str | None = Field(description="By whom.")
    settled_reason: str | None = Field(description="Why.")


class QuarantineList(Answer):
    """Quarantined messages, newest first."""

    items: list[QuarantinedOut] = Field(description="The messages.")
    next_page_token: str | None = Field(description=_NEXT)


class QuarantineAct(Answer):
    """What came of a replay or discard."""

    quarantine_id: str = Field(description="The message.")
    act: Literal["replay", "discard"] = Field(description="The act.")
    dry_run: bool = Field(description="Whether nothing was changed.")
    result: EventResult | None = Field(description="Of a replay: what the event got.")


class AuditRow(Answer):
    """Who did what."""

    audit_id: str = Field(description="Its id.")
    at: Instant = Field(description="When.")
    actor: str = Field(description="Who.")
    act: str = Field(description="What.")
    reason: str = Field(description="Why.")
    processor: str | None = Field(description="To which processor.")
    game_date: GameDate | None = Field(description="On which date.")
    detail: dict[str, Any] = Field(description="What was asked.")
    result: str = Field(description="`done`, or why not.")


class AuditList(Answer):
    """Audit entries, newest first."""

    items: list[AuditRow] = Field(description="The entries.")
    next_page_token: str | None = Field(description=_NEXT)


Problem.model_rebuild()
Trace.model_rebuild()
