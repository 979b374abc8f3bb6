"""How a partition was judged: the verdict tree, with evidence and sentences."""

from __future__ import annotations

from pydantic import Field

from coordinator.core.explain import hold_sentence, requirement_sentence, source_sentence
from coordinator.core.spec import Requirement, RequirementKind
from coordinator.core.verdict import (
    HoldKind,
    RequirementVerdict,
    SourceVerdict,
    State,
    Verdict,
)
from coordinator.service.views.base import GameDate, Instant, View

_SENTENCE = "The same for people."
_WARNINGS = "What is unusual about it."
_SINCE = "Received: since when it is met without a break."
_EVENT_IDS = "The events it rests on."
_ROWS = "Rows loaded; null: unknown."
_MET = "Whether that is good enough."


class HoldView(View):
    """One thing that keeps a partition with met requirements from firing."""

    kind: HoldKind = Field(description="What holds it.")
    until: Instant | None = Field(description="When it ends; null where time alone does not.")
    detail: str = Field(description="What it is about.")
    sentence: str = Field(description=_SENTENCE)


class RuleView(View):
    """The rule that a requirement is judged by, as the registry states it."""

    tables: tuple[str, ...] = Field(description="The enabled tables, in order of preference.")
    needed: int = Field(description="How many of them must be met.")
    expected_count_min: int | None = Field(description="Rows needed at least.")
    expected_count_per_game: float | None = Field(description="Rows needed for each game.")
    min_coverage: float = Field(description="Share of the expected games that must be loaded.")
    max_age_warn_seconds: float | None = Field(description="Age from which a load is aging.")
    max_age_fail_seconds: float | None = Field(description="Age from which a load is stale.")
    offset_days: int = Field(description="Days from the game date to the date that is required.")
    prefer_for_seconds: float = Field(description="How long to wait for a preferred source.")
    last_game_dates: int | None = Field(description="Of a window: game dates it looks back.")
    window_days: int | None = Field(description="Of a window: days it looks back.")
    min_ready: float | None = Field(description="Of a window: share of dates that must be ready.")


class SourceView(View):
    """One table on one date, judged."""

    table: str = Field(description="The table.")
    game_date: GameDate = Field(description="The date that is required.")
    state: State = Field(description="Its state.")
    met: bool = Field(description=_MET)
    sentence: str = Field(description=_SENTENCE)
    games_expected: int | None = Field(description="Games the calendar expects; null: unknown.")
    games_loaded: int = Field(description="Expected games that a load covers.")
    missing_games: tuple[str, ...] = Field(description="Expected games that no load covers.")
    unexpected_games: tuple[str, ...] = Field(description="Loaded games that are not expected.")
    record_count: int | None = Field(description=_ROWS)
    minimum: int | None = Field(description="Rows needed; null where any number is enough.")
    loaded_at: Instant | None = Field(description="Timestamp of the newest load it rests on.")
    oldest_at: Instant | None = Field(description="Timestamp of the oldest load it rests on.")
    stale_at: Instant | None = Field(description="When it becomes too old for a first run.")
    since: Instant | None = Field(description=_SINCE)
    event_ids: tuple[str, ...] = Field(description=_EVENT_IDS)
    warnings: tuple[str, ...] = Field(description=_WARNINGS)
    waived_by: str | None = Field(description="Who waived it, if anybody did.")
    state_without_waiver: State | None = Field(description="What its state is without the waiver.")


class WindowDateView(View):
    """One date inside a history window, judged."""

    game_date: GameDate = Field(description="The date.")
    met: bool = Field(description="Whether it counts as ready.")
    state: str = Field(description="Its state.")
    record_count: int | None = Field(description=_ROWS)
    event_ids: tuple[str, ...] = Field(description=_EVENT_IDS)


class RequirementView(View):
    """One requirement, judged."""

    key: str = Field(description="Names the requirement within its processor.")
    kind: RequirementKind = Field(description="One table, a group, or a window.")
    critical: bool = Field(description="Whether nothing fires without it.")
    state: State = Field(description="Its state; a group shows the nearest of its sources.")
    met: bool = Field(description=_MET)
    sentence: str = Field(description=_SENTENCE)
    since: Instant | None = Field(description=_SINCE)
    used: tuple[str, ...] = Field(description="The sources that meet it, in order of preference.")
    prefer_until: Instant | None = Field(description="Until when a preferred source is preferred.")
    warnings: tuple[str, ...] = Field(description=_WARNINGS)
    rule: RuleView = Field(description="What the registry requires.")
    sources: tuple[SourceView, ...] = Field(
        description="Its tables, judged; of a window none, but for one that is waived."
    )
    days: tuple[WindowDateView, ...] = Field(description="Of a window: its dates, judged.")
    days_needed: int = Field(description="Of a window: how many of them must be ready.")


class VerdictView(View):
    """The explained judgement of a partition at an instant."""

    at: Instant = Field(description="The instant of the judgement.")
    ready: bool = Field(description="Whether the needs are met (holds may still delay it).")
    critical_met: bool = Field(description="Whether every critical requirement is met.")
    optional_met: bool = Field(description="Whether every optional requirement is met.")
    off_day: bool = Field(description="No games that date, and the processor skips such days.")
    ready_since: Instant | None = Field(description="Since when the critical ones are met.")
    holds: tuple[HoldView, ...] = Field(description="What keeps it from firing.")
    refires_spent: bool = Field(description="Newer data is ready and the budget is used up.")
    changed_games: tuple[str, ...] = Field(description="Games with newer data than was consumed.")
    warnings: tuple[str, ...] = Field(description="Every warning of the tree.")
    wake_at: Instant | None = Field(description="When time alone could change the judgement.")
    requirements: tuple[RequirementView, ...] = Field(description="The tree.")


def verdict_view(verdict: Verdict) -> VerdictView:
    """The verdict tree: every requirement and source with state, evidence and sentence."""
    return VerdictView.of(
        verdict,
        ready=verdict.critical_met and not verdict.off_day,
        holds=tuple(HoldView.of(h, sentence=hold_sentence(h)) for h in verdict.holds),
        requirements=tuple(map(requirement_view, verdict.requirements)),
    )


def requirement_view(judged: RequirementVerdict) -> RequirementView:
    """One requirement, with the rule it was judged by and its leaves."""
    return RequirementView.of(
        judged,
        kind=judged.requirement.kind,
        critical=judged.requirement.critical,
        sentence=requirement_sentence(judged),
        rule=_rule_view(judged.requirement),
        sources=tuple(map(_source_view, judged.sources)),
    )


def _rule_view(requirement: Requirement) -> RuleView:
    window, warn, fail = requirement.window, requirement.max_age_warn, requirement.max_age_fail
    return RuleView.of(
        requirement,
        tables=requirement.sources,
        max_age_warn_seconds=warn.total_seconds() if warn else None,
        max_age_fail_seconds=fail.total_seconds() if fail else None,
        offset_days=requirement.offset,
        prefer_for_seconds=requirement.prefer_for.total_seconds(),
        last_game_dates=window.game_dates if window else None,
        window_days=window.days if window else None,
        min_ready=window.min_ready if window else None,
    )


def _source_view(source: SourceVerdict) -> SourceView:
    return SourceView.of(
        source,
        sentence=source_sentence(source),
        oldest_at=source.oldest,
        waived_by=source.waiver.actor if source.waiver else None,
        state_without_waiver=source.unwaived_state,
    )
