"""Frozen values: arrivals, the calendar, partitions and their runs.

Owns the shape of the state and the folding of arrivals into it. Refuses to judge (see
``readiness``) or to decide (see ``machine``). Game dates are ISO ``YYYY-MM-DD`` strings; they
sort as dates do. Instants are timezone-aware UTC ``datetime`` values.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

RUN_OUTPUT = "run:"
"""What the event ids of runs' outputs begin with."""
WHOLE = "*"
"""The name under which a load that covers a whole date is kept beside per-game loads."""
SMALLEST_STEP = timedelta(microseconds=1)
"""The finest difference between two instants."""

UNEXPECTED_GAMES_KEPT = 20
"""Games of one table and date that are kept although the calendar does not expect them."""
UNKNOWN_GAMES_KEPT = 200
"""Games of one table and date that are kept while the calendar does not know the date."""


class LoadStatus(StrEnum):
    """The status that a load reports (contract 3.1)."""

    SUCCESS = "success"
    PARTIAL = "partial"
    """Counts for what it covers."""
    NO_DATA = "no_data"
    FAILED = "failed"
    """Never satisfies, never undoes a success, takes no part in ordering."""
    SKIPPED = "skipped"
    """As failed."""


class Grain(StrEnum):
    """How the loads of a table add up: by game (a union), or by date (the last replaces)."""

    DATE = "date"
    GAME = "game"


class Status(StrEnum):
    """The derived status of a partition (contract section 4)."""

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


class Bypass(StrEnum):
    """What a person may override when triggering (contract 5.4)."""

    DEPENDENCIES = "dependencies"
    FRESHNESS = "freshness"
    COOLDOWN = "cooldown"
    PAUSE = "pause"
    LIMITS = "limits"


class RunStatus(StrEnum):
    """Where a run is, or how it ended."""

    PENDING = "pending"
    """Its launch is in the outbox, or waits for the back-off before the next attempt."""
    DELIVERED = "delivered"
    """The launcher holds a message id or a 2xx; nobody has claimed it yet."""
    RUNNING = "running"
    """One owner holds the lease of its attempt."""
    SUCCESS = "success"
    """Its output is announced as loaded."""
    NO_DATA = "no_data"
    """It found nothing to write; that is announced too."""
    SKIPPED = "skipped"
    """It had nothing to do; nothing is announced."""
    FAILED = "failed"
    """Its attempts are spent."""
    CANCELLED = "cancelled"
    """Ended by a person: reset, or skip with ``end_run``."""


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
"""The ends of a run whose output is announced as loaded (contract 3.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One load that an event reported for (table, game date).

    ``timestamp`` is the load's own, read as no later than ``received_at`` (contract 3.1), so a
    fast clock elsewhere cannot win for ever.
    """

    event_id: str
    table: str
    game_date: str
    status: LoadStatus
    timestamp: datetime
    received_at: datetime
    record_count: int | None = None
    game_ids: tuple[str, ...] = ()
    content_hash: str | None = None
    quiet: bool = False
    correlation_id: str | None = None
    games_named: int | None = None
    """How many games it names, where ``game_ids`` keeps only some of them."""

    @property
    def informs(self) -> bool:
        """Whether it carries information about the data: failed and skipped loads do not."""
        return self.status not in (LoadStatus.FAILED, LoadStatus.SKIPPED)

    def covers(self, game_id: str) -> bool:
        """Whether its rows are all there are of a game that it wins.

        Part of a game, or of a date, is all that a partial load without game ids is known to hold.
        """
        return self.status is not LoadStatus.PARTIAL or game_id in self.game_ids

    def covers_all(self, games: Sequence[str] | None) -> bool:
        """Whether its rows are all there are of a date; ``games`` are the expected ones."""
        if self.status is not LoadStatus.PARTIAL:
            return True
        return games is not None and all(g in self.game_ids for g in games)

    @property
    def empty(self) -> bool:
        """Whether it reports that there are no rows (``no_data``, or zero of them)."""
        return self.status is LoadStatus.NO_DATA or self.record_count == 0

    def outranks(self, other: Arrival) -> bool:
        """Whether it wins over ``other``: the newer timestamp, of equal ones the later received.

        Where both are equal neither outranks, and the one recorded last wins. Outputs of one
        processor are ordered by generation: the clock may have stepped back between two of them.
        """
        mine, theirs = _generation(self.event_id), _generation(other.event_id)
        if mine is not None and theirs is not None and mine[0] == theirs[0]:
            return mine[1] > theirs[1]
        if self.timestamp != other.timestamp:
            return self.timestamp > other.timestamp
        return self.received_at > other.received_at

    @property
    def share(self) -> float | None:
        """Rows per game it covers: the record count shared evenly (contract 3.1)."""
        if self.record_count is None:
            return None
        return self.record_count / max(1, self.game_count)

    @property
    def game_count(self) -> int:
        """How many games it names."""
        return len(self.game_ids) if self.games_named is None else self.games_named

    def bounded(self, expected: Sequence[str] | None) -> Arrival:
        """The arrival with no more game ids than are kept (contract 3.1)."""
        kept = games_kept(self.game_ids, expected)
        if len(kept) == len(self.game_ids):
            return self
        ids = tuple(g for g in self.game_ids if g in kept)
        return replace(self, game_ids=ids, games_named=self.game_count)


def games_kept(games: Collection[str], expected: Sequence[str] | None) -> Collection[str]:
    """Which games of one table and date are kept: all expected ones, and a bounded number of others.

    Of the others the first in order of their ids are kept, so that it does not matter in which order
    they came.
    """
    most = UNKNOWN_GAMES_KEPT if expected is None else UNEXPECTED_GAMES_KEPT
    if len(games) <= most:
        return games
    wanted = frozenset(expected or ())
    others = sorted(g for g in games if g not in wanted)
    if len(others) <= most:
        return games
    return wanted.intersection(games).union(others[:most])


def _generation(event_id: str) -> tuple[str, int] | None:
    """Of the event id of a run's output: its processor and date, and its generation."""
    if not event_id.startswith(RUN_OUTPUT):
        return None
    subject, _, generation = event_id.rpartition(":")
    return (subject, int(generation)) if generation.isdecimal() else None


class Fold(StrEnum):
    """What folding an arrival into a table's date did."""

    APPLIED = "applied"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDate:
    """The loads of one table on one game date, folded: the newest facts and nothing else.

    ``arrivals`` holds the winning arrivals by event id; ``whole`` the id of the newest that covers
    the whole date; ``games`` the ids of the newest per game that are newer than ``whole``.
    """

    table: str
    game_date: str
    arrivals: Mapping[str, Arrival] = field(default_factory=dict)
    whole: str | None = None
    games: Mapping[str, str] = field(default_factory=dict)
    last_failure: Arrival | None = None
    not_kept: int = 0
    """How often loads named games that were not kept because there were too many of them. While it
    is 0 nothing is missing; otherwise a change of the calendar folds the date again from its
    ledger."""

    @property
    def whole_arrival(self) -> Arrival | None:
        return self.arrivals[self.whole] if self.whole is not None else None

    @property
    def newest(self) -> Arrival | None:
        """The arrival that represents the whole date where loads replace each other.

        Normally there is no other; after a table's grain was changed from game to date, per-game
        loads are known beside it, and the newest of all counts.
        """
        return max(self.arrivals.values(), key=lambda a: (a.timestamp, a.received_at), default=None)

    def winner(self, game_id: str) -> Arrival | None:
        """The newest arrival that covers ``game_id``, or None."""
        event_id = self.games.get(game_id, self.whole)
        return self.arrivals[event_id] if event_id is not None else None

    @property
    def latest(self) -> Arrival | None:
        """The winning arrival that was received last."""
        return max(self.arrivals.values(), key=lambda a: a.received_at, default=None)

    def in_order(self, arrival: Arrival, reported_at: datetime) -> Arrival:
        """The arrival as received after everything that is known here, whatever the clock showed.

        A clock that stepped back, or that of an instance that is behind, would order it before
        loads that were committed earlier, and it would be lost (a hybrid logical clock).
        ``reported_at`` is its own timestamp, before that was read as no later than its receipt; the
        output of a run that has just ended carries the coordinator's time, which moves with it.
        """
        known = [*self.arrivals.values()]
        if self.last_failure is not None:
            known.append(self.last_failure)
        newest = max((a.received_at for a in known), default=arrival.received_at)
        if newest <= arrival.received_at:
            return arrival
        received_at = newest + SMALLEST_STEP
        now = arrival.event_id.startswith(RUN_OUTPUT) and arrival.timestamp == arrival.received_at
        timestamp = received_at if now else min(reported_at, received_at)
        return replace(arrival, received_at=received_at, timestamp=timestamp)

    def fold(
        self, arrival: Arrival, grain: Grain, expected: Sequence[str] | None = None
    ) -> tuple[TableDate, Fold]:
        """Take one arrival in; the newest timestamp wins, of equal ones the later received.

        ``expected`` are the games the calendar expects (None: unknown); they decide whether an old
        load of the whole date still wins for any game, and which games are kept.
        """
        named = len(arrival.game_ids)
        arrival = arrival.bounded(expected)
        not_kept = self.not_kept
        if grain is Grain.GAME:
            not_kept += named - len(arrival.game_ids)
        if not arrival.informs:
            if self.last_failure is not None and self.last_failure.outranks(arrival):
                return self, Fold.SUPERSEDED
            return replace(self, last_failure=arrival), Fold.APPLIED
        whole = self.whole_arrival
        covers_date = grain is Grain.DATE or not arrival.game_ids
        if whole is not None and whole.outranks(arrival):
            return self, Fold.SUPERSEDED
        games = dict(self.games)
        new_whole = self.whole
        if covers_date:
            newer = {g: e for g, e in games.items() if self.arrivals[e].outranks(arrival)}
            if grain is Grain.DATE:
                wins = not newer  # left from when the table's grain was game
            else:
                wins = not expected or any(g not in newer for g in expected)
            if not wins:
                return self, Fold.SUPERSEDED
            games, new_whole = newer, arrival.event_id
        else:
            won = [
                g
                for g in arrival.game_ids
                if g not in games or not self.arrivals[games[g]].outranks(arrival)
            ]
            if not won:
                return self, Fold.SUPERSEDED
            games.update((g, arrival.event_id) for g in won)
            keep = games_kept(games, expected)
            not_kept += len(games) - len(keep)
            games = {g: e for g, e in games.items() if g in keep}
        kept = set(games.values())
        if new_whole is not None:
            kept.add(new_whole)
        known_arrivals = {**self.arrivals, arrival.event_id: arrival}
        arrivals = {e: a for e, a in known_arrivals.items() if e in kept}
        folded = replace(self, arrivals=arrivals, games=games, whole=new_whole, not_kept=not_kept)
        return folded, Fold.APPLIED

    def to_fold_again(self, expected: Sequence[str] | None) -> bool:
        """Whether the ledger may give another answer now that the calendar expects these games."""
        return self.not_kept > 0 or len(games_kept(self.games, expected)) < len(self.games)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarDate:
    """The games expected on one date; an empty tuple means that there are none."""

    game_date: str
    games: tuple[str, ...]
    event_id: str
    timestamp: datetime
    received_at: datetime


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
    """One table and date that a run consumes, as its launch message lists it (contract 6)."""

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
        return min((e.due_at for e in self.outbox), default=None)

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


def arrivals_key(table: str, game_date: str) -> str:
    """The key of a table's date inside a partition."""
    return f"{table}@{game_date}"


def load_key(date_key: str, event_id: str) -> str:
    """The key of a load inside a partition; event ids are unique within a table's date only."""
    return f"{date_key} {event_id}"
