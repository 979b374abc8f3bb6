"""Frozen values: partitions and their runs. What they know of loads is in ``arrivals``.

Owns the shape of the state. Refuses to judge (see ``readiness``) or to decide (see ``machine``). Game dates are ISO ``YYYY-MM-DD`` strings; they
sort as dates do. Instants are timezone-aware UTC ``datetime`` values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from coordinator.core.arrivals import Arrival, TableDate
from coordinator.core.choices import RunStatus


class Status(StrEnum):
    """The derived status of a partition (specification 4.1)."""

    WAITING = "waiting"
    """No live run, no outcome yet, a critical requirement is not met."""
    SETTLING = "settling"
    """The critical requirements are met; something still holds the first firing."""
    FIRING = "firing"
    """Decision and launch are committed; delivery or a back-off is going on."""
    FIRED = "fired"
    """The launcher holds proof of delivery; nobody has claimed yet."""
    RUNNING = "running"
    """Claimed, with an active lease."""
    SUCCEEDED = "succeeded"
    """Last outcome success, no_data or skipped; nothing newer that is ready."""
    COOLING = "cooling"
    """As succeeded, with newer data that is ready and held by cooldown or debounce."""
    FAILED = "failed"
    """The attempts are spent."""
    SKIPPED = "skipped"
    """Skipped by a person or a deadline: it need not run."""
    NOT_EXPECTED = "not_expected"
    """The calendar has no games on that date and nothing ran."""


class Flag(StrEnum):
    """A condition that is shown beside a status."""

    PAUSED = "paused"
    """Somebody paused the processor, or all: new generations wait, runs go on."""
    OVERDUE = "overdue"
    """The deadline has passed and nothing has succeeded yet."""
    FORCED = "forced"
    """The latest generation was fired although a rule would have refused it."""
    QUIET = "quiet"
    """The latest unconsumed arrival was announced quiet; an ordinary one or a person releases it."""
    NEWER_DATA = "newer_data"
    """Something arrived that the latest generation did not consume."""
    REFIRES_SPENT = "refires_spent"
    """Newer data is ready and the budget of re-fires is used up."""


class Trigger(StrEnum):
    """Why a generation was created."""

    DEPENDENCIES = "dependencies"
    LATE_DATA = "late_data"
    DEADLINE = "deadline"
    SCHEDULE = "schedule"
    MANUAL = "manual"
    BACKFILL = "backfill"
    RETRY = "retry"
    """Only on launches of attempts after the first; the run keeps its own trigger."""


LIVE_STATUSES: Mapping[RunStatus, Status] = {
    RunStatus.PENDING: Status.FIRING,
    RunStatus.DELIVERED: Status.FIRED,
    RunStatus.RUNNING: Status.RUNNING,
}
"""Where a live run is → the status of its partition."""
REPORTABLE_STATUSES = frozenset(
    {RunStatus.SUCCESS, RunStatus.NO_DATA, RunStatus.SKIPPED, RunStatus.FAILED}
)
GOOD_OUTCOMES = frozenset({RunStatus.SUCCESS, RunStatus.NO_DATA, RunStatus.SKIPPED})
ANNOUNCED = frozenset({RunStatus.SUCCESS, RunStatus.NO_DATA})
"""The ends of a run whose output is announced as loaded (specification 3.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowDay:
    """One game date inside a history window, judged."""

    game_date: str
    met: bool
    state: str
    since: datetime | None = None
    record_count: int | None = None
    event_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowState:
    """A history window when it was last evaluated: what a decision needs of it.

    The dates themselves are not kept: a window may hold hundreds of them.
    """

    dates: int
    """Game dates it has."""
    ready: int
    """Those of them that are met."""
    met: bool
    since: datetime | None = None
    """Receipt time since when enough dates have been ready; None while they are not."""
    unmet: tuple[str, ...] = ()
    """The first few dates that are not met, for its sentence."""
    newest_unmet: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """While it lasts, no new generation may start."""

    scope: str
    reason: str
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Pause state of one processor, or of all (``_all``)."""

    scope: str
    pause: Pause | None = None
    resume_pending: bool = False
    """A resume was committed, and held partitions may still have to be re-evaluated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A person's audited decision that a table's requirements need not be met.

    Without ``until`` it closes by itself when the data comes.
    """

    table: str
    reason: str
    actor: str
    at: datetime
    until: datetime | None = None
    closed_at: datetime | None = None
    closed_because: str | None = None

    def open_at(self, now: datetime) -> bool:
        return self.closed_at is None and (self.until is None or now < self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What identifies consumed content: the event, and its content hash where it carried one."""

    event_id: str
    content_hash: str | None = None

    def same_content(self, other: Mark) -> bool:
        if self.event_id == other.event_id:
            return True
        return self.content_hash is not None and self.content_hash == other.content_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumedRequirement:
    """The state of one requirement when the generation was fired."""

    met: bool
    used: tuple[str, ...]
    """The sources whose data the generation used, in order."""
    marks: Mapping[str, Mapping[str, Mark]]
    """table → game id (or ``*``) → mark, for every source of the requirement."""
    received: Mapping[str, datetime] = field(default_factory=dict)
    """table → receipt of the newest load that was known: only a later one can be newer data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One table and date that a run consumes, as its launch message lists it (specification 6)."""

    table: str
    game_date: str
    state: str
    record_count: int | None
    game_ids: tuple[str, ...]
    event_ids: tuple[str, ...]
    loaded_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One line of a run's or a partition's history."""

    at: datetime
    what: str
    detail: str = ""
    actor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One launch of a run."""

    number: int
    launch_at: datetime
    delivered_at: datetime | None = None
    message_id: str | None = None
    claimed_at: datetime | None = None
    owner: str | None = None
    ended_at: datetime | None = None
    error: str | None = None
    reported_token: str | None = None
    """The ended lease whose holder reported how it ended; it makes a repeated report harmless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One generation's execution: one record for its whole life."""

    run_id: str
    processor: str
    game_date: str
    generation: int
    trigger: Trigger
    status: RunStatus
    registry_hash: str
    fired_at: datetime
    attempt: int = 1
    attempts: tuple[Attempt, ...] = ()
    inputs: tuple[Input, ...] = ()
    explanation: str = ""
    """Why it was fired, in sentences, as judged in the committing transaction (law 6)."""
    bypassed: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()
    """Sentences of the critical requirements that were not met when it was fired by force."""
    reason: str | None = None
    actor: str | None = None
    skip_downstream: bool = False
    changed_games: tuple[str, ...] = ()
    changed_tables: tuple[str, ...] = ()
    """Tables with newer data than the generation before consumed."""
    warnings: tuple[str, ...] = ()
    correlation_id: str | None = None
    lease_token: str | None = None
    lease_expires_at: datetime | None = None
    ended_at: datetime | None = None
    record_count: int | None = None
    error: str | None = None
    transitions: tuple[Transition, ...] = ()

    @property
    def current(self) -> Attempt:
        """The attempt that is going on (or was the last)."""
        return self.attempts[-1]

    @property
    def live(self) -> bool:
        return self.status in LIVE_STATUSES

    def reported(self, token: str) -> RunStatus | None:
        """How the holder of a lease reported the end of its attempt; None where it did not."""
        for attempt in self.attempts:
            if attempt.reported_token == token:
                last = attempt.number == self.attempt and not self.live
                return self.status if last else RunStatus.FAILED
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the last finished generation ended; ``lease_token`` makes a repeated report harmless."""

    status: RunStatus
    generation: int
    attempt: int
    at: datetime
    record_count: int | None = None
    error: str | None = None
    lease_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A decision, by a person or a deadline, that the partition need not run."""

    reason: str
    actor: str
    at: datetime


class EffectKind(StrEnum):
    LAUNCH = "launch"
    ANNOUNCE = "announce"
    NOTIFY = "notify"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEntry:
    """An effect committed with a decision and not yet delivered.

    ``effect_id`` is derived from what it is for, so the same intent is never queued twice.
    ``subject`` names the run for launches and announcements and the kind of notice for notices.
    """

    effect_id: str
    kind: EffectKind
    subject: str
    due_at: datetime
    created_at: datetime
    tries: int = 0
    attempt: int = 0
    severity: str = "info"
    summary: str = ""
    detail: str = ""
    last_error: str | None = None
    announcement: Arrival | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """The latest arrival that no generation has consumed."""

    event_id: str
    received_at: datetime
    quiet: bool

    @classmethod
    def of(cls, arrival: Arrival) -> Latest:
        """The arrival, as the latest one."""
        return cls(event_id=arrival.event_id, received_at=arrival.received_at, quiet=arrival.quiet)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What is known of a partition's inputs, and what people decided about them."""

    arrivals: Mapping[str, TableDate] = field(default_factory=dict)
    """``table@date`` → the folded loads, for every table that a non-window requirement names."""
    games: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """date → games expected; a date that is absent is unknown to the calendar."""
    window_states: Mapping[str, WindowState] = field(default_factory=dict)
    """Requirement → its window when it was last evaluated. One that is absent was not, or may have
    changed while nothing depended on it."""
    windows_due: bool = False
    """Its windows matter and were too long for the transaction that found so; the sweep evaluates
    them at once, and nothing is decided before."""
    met_since: Mapping[str, datetime] = field(default_factory=dict)
    """``requirement/table`` → receipt time since when that source has been met without a break."""
    latest: Latest | None = None
    committed: tuple[str, ...] = ()
    """``load_key`` of each load that came since the latest generation was fired, or since a reset,
    in the order of their commits: clocks of two instances may contradict it."""
    pauses: tuple[Pause, ...] = ()
    waivers: tuple[Waiver, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """The live run, the last outcome, and what the latest generation consumed."""

    generation: int = 0
    refires: int = 0
    live: Run | None = None
    outcome: Outcome | None = None
    skip: Skip | None = None
    forced: bool = False
    consumed: Mapping[str, ConsumedRequirement] | None = None
    consumed_at: datetime | None = None
    consumed_games: Mapping[str, tuple[str, ...]] | None = None
    """The calendar of its dates when the latest generation was fired."""
    newer_after: Mapping[str, datetime] = field(default_factory=dict)
    """``requirement/table``, of requirements that a registry brought after the latest generation was
    fired → the receipt up to which loads are no newer data to it."""
    dirty_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """Which instants of the deadline and the schedule are over."""

    deadline_done: bool = False
    """The deadline acted, or was not for this partition."""
    deadline_done_at: datetime | None = None
    """Deadlines up to here did; None: whichever there is."""
    overdue: bool = False
    schedule_done_at: datetime | None = None
    """Schedule instants up to here have acted or were not for this partition."""

    def deadline_over(self, at: datetime) -> bool:
        """Whether a deadline at this instant has acted, or will not act on this partition."""
        done_at = self.deadline_done_at
        return self.deadline_done and (done_at is None or at <= done_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Effects that are to be delivered, and what is remembered of past ones."""

    outbox: tuple[OutboxEntry, ...] = ()
    notified: tuple[str, ...] = ()
    """Kind and cause of the notices that were sent, so that each is sent once."""
    history: tuple[Transition, ...] = ()


class Judgeable(Protocol):
    """What a judgement reads of a partition, be it stored or in the middle of a decision."""

    @property
    def game_date(self) -> str: ...

    @property
    def created_at(self) -> datetime: ...

    @property
    def inputs(self) -> Inputs: ...

    @property
    def execution(self) -> Execution: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One (processor, game date): the unit of decision, one state document each.

    Four groups are stored as facts; status, flags, ``wake_at`` and ``watching`` are derived from
    them. Only ``machine.decide`` makes a changed one.
    """

    processor: str
    game_date: str
    created_at: datetime
    registry_hash: str = ""
    revision: int = 0
    inputs: Inputs = field(default_factory=Inputs)
    execution: Execution = field(default_factory=Execution)
    timers: Timers = field(default_factory=Timers)
    journal: Journal = field(default_factory=Journal)
    status: Status = Status.WAITING
    flags: tuple[Flag, ...] = ()
    wake_at: datetime | None = None
    watching: bool = False
    """Only its windows keep it from firing, so it is evaluated when a date inside them changes."""

    @property
    def id(self) -> str:
        return partition_id(self.processor, self.game_date)

    @property
    def arrivals(self) -> Mapping[str, TableDate]:
        return self.inputs.arrivals

    @property
    def games(self) -> Mapping[str, tuple[str, ...]]:
        return self.inputs.games

    @property
    def pauses(self) -> tuple[Pause, ...]:
        return self.inputs.pauses

    @property
    def waivers(self) -> tuple[Waiver, ...]:
        return self.inputs.waivers

    @property
    def generation(self) -> int:
        return self.execution.generation

    @property
    def live(self) -> Run | None:
        return self.execution.live

    @property
    def outcome(self) -> Outcome | None:
        return self.execution.outcome

    @property
    def skip(self) -> Skip | None:
        return self.execution.skip

    @property
    def outbox(self) -> tuple[OutboxEntry, ...]:
        return self.journal.outbox

    @property
    def outbox_due(self) -> datetime | None:
        """When the outbox next needs the relay; None when it is empty."""
        outbox = self.journal.outbox
        return min([e.due_at for e in outbox]) if outbox else None

    @property
    def history(self) -> tuple[Transition, ...]:
        return self.journal.history

    @property
    def run_id(self) -> str | None:
        """The run of the latest generation, live or ended; None before the first."""
        return run_id(self.processor, self.game_date, self.generation) if self.generation else None


def partition_id(processor: str, game_date: str) -> str:
    """The id of a partition's document: ``{processor}__{game_date}``."""
    return f"{processor}__{game_date}"


def run_id(processor: str, game_date: str, generation: int) -> str:
    """The id of a run, derived and never drawn: ``{processor}:{game_date}:{generation}``."""
    return f"{processor}:{game_date}:{generation}"
