"""Partitions: one line each for a date, and the whole of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from coordinator.core.choices import RunStatus
from coordinator.core.explain import upstream_sentence, why
from coordinator.core.model import EffectKind, Flag, Partition, Pause, Status
from coordinator.core.schedule import instant
from coordinator.core.spec import (
    ClockTime,
    DeadlineAction,
    ProcessorSpec,
    ScheduleWhen,
)
from coordinator.core.verdict import Verdict
from coordinator.service.views.base import (
    GAME_DATE,
    PROCESSOR,
    GameDate,
    Instant,
    NextPageToken,
    View,
)
from coordinator.service.views.load import TableFacts, table_facts
from coordinator.service.views.run import RunView, TransitionView
from coordinator.service.views.verdict import VerdictView, verdict_view


class RequirementCount(View):
    """How many requirements are met."""

    met: int = Field(description="Requirements that are met.")
    total: int = Field(description="Requirements there are.")


class RunRef(View):
    """The run of a partition's latest generation."""

    run_id: str = Field(description="Id of the run: PROCESSOR:DATE:GENERATION.")
    status: RunStatus = Field(description="Where it is, or how it ended.")
    attempt: int = Field(description="Its current or last attempt, from 1.")


class PauseView(View):
    """A person's order that no new generation may start."""

    scope: str = Field(description="The processor, or `_all`.")
    reason: str = Field(description="Why.")
    actor: str = Field(description="Who paused it.")
    at: Instant = Field(description="Since when.")


class PartitionRow(View):
    """A partition in one line."""

    processor: str = Field(description=PROCESSOR)
    phase: int = Field(description="The processor's phase: a label, never a barrier.")
    game_date: GameDate = Field(description=GAME_DATE)
    status: Status = Field(description="The derived status.")
    flags: tuple[Flag, ...] = Field(description="What holds beside the status.")
    requirements: RequirementCount = Field(description="Requirements met, of all.")
    why: str = Field(description="One sentence: why it is where it is.")
    run: RunRef | None = Field(description="The run of the latest generation, if any.")
    expected_at: Instant | None = Field(
        description="When the next launch is due, where time alone brings it (at the latest)."
    )
    generation: int = Field(description="How many times it has been fired.")
    wake_at: Instant | None = Field(description="When time alone next changes something.")


class DateStatus(View):
    """Every processor's partition on one date."""

    game_date: GameDate = Field(description=GAME_DATE)
    games: tuple[str, ...] | None = Field(description="Games the calendar expects; null: unknown.")
    loads_known: bool = Field(
        description="Whether any load is recorded for the date, failed ones too; those of the "
        "calendar's table do not count."
    )
    registry_hash: str = Field(description="The registry in use.")
    pauses: tuple[PauseView, ...] = Field(description="Every active pause.")
    quarantine_open: int = Field(
        description="Open messages in quarantine, of any date; 100 means that many or more."
    )
    items: tuple[PartitionRow, ...] = Field(description="One for each processor, upstream first.")
    next_page_token: NextPageToken


class NewerData(View):
    """Data that the latest generation did not consume."""

    requirement: str = Field(description="The requirement that it is new to.")
    table: str = Field(description="The table.")
    game_date: GameDate = Field(description="The date.")
    games: tuple[str, ...] = Field(description="The games that changed.")
    ready: bool = Field(description="Whether a generation could consume it now.")


class OutcomeView(View):
    """How the last finished generation ended."""

    status: RunStatus = Field(description="How it ended.")
    generation: int = Field(description="Which generation.")
    attempt: int = Field(description="Its last attempt.")
    at: Instant = Field(description="When.")
    record_count: int | None = Field(description="Rows written; null: unknown.")
    error: str | None = Field(description="What went wrong.")


class SkipView(View):
    """A decision, a person's or a deadline's, that the partition need not run."""

    reason: str = Field(description="Why.")
    actor: str = Field(description="Who.")
    at: Instant = Field(description="When.")


class WaiverView(View):
    """A person's decision that a table's requirements need not be met."""

    table: str = Field(description="The table.")
    reason: str = Field(description="Why.")
    actor: str = Field(description="Who.")
    at: Instant = Field(description="When.")
    until: Instant | None = Field(description="Until when; null: until its data comes.")
    open: bool = Field(description="Whether it holds now.")
    closed_at: Instant | None = Field(description="When it ended.")
    closed_because: str | None = Field(description="Why it ended.")


class DeadlineView(View):
    """The partition's deadline."""

    at: Instant = Field(description="Its instant.")
    then: DeadlineAction = Field(description="What it does.")
    done: bool = Field(description="Whether it has acted, or had nothing to do.")


class ScheduleView(View):
    """An instant at which the partition may also fire."""

    at: Instant = Field(description="The instant.")
    when: ScheduleWhen = Field(description="Only when ready, or always.")


class OutboxView(View):
    """An effect that was committed and is not delivered yet."""

    effect_id: str = Field(description="Derived from what it is for.")
    kind: EffectKind = Field(description="What it is: a launch, an announcement or a notice.")
    subject: str = Field(description="The run, or the kind of notice.")
    created_at: Instant = Field(description="When it was committed.")
    due_at: Instant = Field(description="When it is to be delivered next.")
    tries: int = Field(description="Failed deliveries so far.")
    last_error: str | None = Field(description="Why the last one failed.")


class PartitionView(PartitionRow):
    """Everything a partition is decided from, judged now."""

    partition_id: str = Field(description="PROCESSOR__DATE.")
    stored: bool = Field(
        description="False: nothing is recorded yet; shown as it would be created."
    )
    output: str = Field(description="The table that the processor writes.")
    revision: int = Field(description="How many times its document changed.")
    created_at: Instant | None = Field(description="When it was first stored.")
    registry_hash: str = Field(description="The registry it was last decided under.")
    verdict: VerdictView = Field(description="The judgement, as a tree.")
    games: tuple[str, ...] | None = Field(description="Games the calendar expects; null: unknown.")
    arrivals: tuple[TableFacts, ...] = Field(description="What arrived, by table and date.")
    newer_data: tuple[NewerData, ...] = Field(
        description="What the latest generation has not consumed."
    )
    refires: int = Field(description="Generations counted against the budget.")
    max_refires: int = Field(description="The budget.")
    outcome: OutcomeView | None = Field(description="How the last finished generation ended.")
    skip: SkipView | None = Field(description="Set where it was decided that it need not run.")
    waivers: tuple[WaiverView, ...] = Field(description="Waivers, open and closed.")
    pauses: tuple[PauseView, ...] = Field(description="Pauses that hold it.")
    deadline: DeadlineView | None = Field(description="Its deadline, if any.")
    schedule: tuple[ScheduleView, ...] = Field(description="Instants at which it may also fire.")
    outbox: tuple[OutboxView, ...] = Field(description="Effects that are not delivered yet.")
    history: tuple[TransitionView, ...] = Field(description="What happened to it, oldest first.")
    runs: tuple[RunView, ...] = Field(description="Its runs, the last fired first.")


def partition_row(
    partition: Partition,
    spec: ProcessorSpec,
    verdict: Verdict,
    upstream: Sequence[Partition] = (),
    behind: int | None = None,
) -> PartitionRow:
    """One line of a date's status: its status, how far it is, and why.

    ``upstream`` are partitions whose outputs it waits for; the sentence says what their status is.
    ``behind`` is how many launches are before its own where that waits for a free worker.
    """
    sentences = [why(partition, spec, verdict, behind=behind), *map(upstream_sentence, upstream)]
    return PartitionRow.of(
        partition,
        phase=spec.phase,
        requirements=RequirementCount(met=verdict.met_count, total=len(verdict.requirements)),
        why=" ".join(sentences),
        run=_run_ref(partition),
        expected_at=_expected_at(partition, spec, verdict),
    )


def partition_view(
    row: PartitionRow,
    partition: Partition,
    spec: ProcessorSpec,
    verdict: Verdict,
    runs: Sequence[RunView],
    *,
    stored: bool,
) -> PartitionView:
    """Everything that a partition is decided from; ``row`` is its one line."""
    return PartitionView.of(
        partition,
        **vars(row),
        partition_id=partition.id,
        stored=stored,
        output=spec.output,
        created_at=partition.created_at if stored else None,
        verdict=verdict_view(verdict),
        games=partition.games.get(partition.game_date),
        arrivals=[table_facts(t) for _, t in sorted(partition.arrivals.items())],
        newer_data=[NewerData.of(d, requirement=d.key) for d in verdict.dirty],
        refires=partition.execution.refires,
        max_refires=spec.policy.max_refires,
        waivers=[WaiverView.of(w, open=w.open_at(verdict.at)) for w in partition.waivers],
        deadline=_deadline_view(partition, spec),
        schedule=[
            ScheduleView(at=instant(partition.game_date, e.at, spec.timezone), when=e.when)
            for e in spec.policy.schedule
        ],
        runs=runs,
    )


def under_pauses(partition: Partition, pauses: Sequence[Pause]) -> Partition:
    """A partition under the pauses there are now: one with a live run is decided without them."""
    if not pauses and not partition.pauses and Flag.PAUSED not in partition.flags:
        return partition
    others = [f for f in partition.flags if f is not Flag.PAUSED]
    flags = [Flag.PAUSED, *others] if pauses else others
    return replace(
        partition, inputs=replace(partition.inputs, pauses=tuple(pauses)), flags=tuple(flags)
    )


def _run_ref(partition: Partition) -> RunRef | None:
    """The run of the latest generation; None before the first."""
    if partition.live is not None:
        return RunRef.of(partition.live)
    last = partition.outcome
    if last is None or partition.run_id is None or last.generation != partition.generation:
        return None
    return RunRef(run_id=partition.run_id, status=last.status, attempt=last.attempt)


def _deadline_view(partition: Partition, spec: ProcessorSpec) -> DeadlineView | None:
    deadline = spec.policy.deadline
    if deadline is None:
        return None
    due = instant(partition.game_date, deadline.at, spec.timezone)
    return DeadlineView(at=due, then=deadline.then, done=partition.timers.deadline_over(due))


def _expected_at(partition: Partition, spec: ProcessorSpec, verdict: Verdict) -> Instant | None:
    """When the next launch is to be expected, where time alone brings it; else None.

    It is the end of the last hold of a held partition (an ended grace may come earlier), the end
    of a back-off, or for one that waits the instant at which a deadline or schedule fires anyway;
    never an instant that is past.
    """
    if partition.live is not None:
        launch_at = partition.live.current.launch_at
        return launch_at if launch_at > verdict.at else None
    if Flag.PAUSED in partition.flags:
        return None
    if verdict.holds:
        ends = [h.until for h in verdict.holds]
        known = [e for e in ends if e is not None]
        return max(known) if len(known) == len(ends) else None
    if partition.status is not Status.WAITING:
        return None
    policy, now = spec.policy, verdict.at
    clocks: list[ClockTime] = [e.at for e in policy.schedule if e.when is ScheduleWhen.ALWAYS]
    if policy.deadline and policy.deadline.then is DeadlineAction.FIRE:
        clocks.append(policy.deadline.at)
    instants = [instant(partition.game_date, c, spec.timezone) for c in clocks]
    return min((i for i in instants if i > now), default=None)
