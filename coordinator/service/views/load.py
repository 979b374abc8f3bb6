"""Loads: one arrival, the facts of a table and date, and the ledger of its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from coordinator.core.arrivals import Arrival, Grain, LoadStatus, TableDate
from coordinator.core.explain import source_sentence
from coordinator.core.spec import TableSpec
from coordinator.core.verdict import SourceVerdict, State
from coordinator.documents import LedgerEntry
from coordinator.service.views.base import GAME_DATE, GameDate, Instant, NextPageToken, View


class ArrivalView(View):
    """One load as an event reported it."""

    event_id: str = Field(description="Unique within table and date.")
    status: LoadStatus = Field(description="How the load ended.")
    record_count: int | None = Field(description="Rows loaded; null: unknown.")
    game_ids: tuple[str, ...] = Field(description="Games covered; none: the whole date.")
    timestamp: Instant = Field(description="When it was made; never later than its receipt.")
    received_at: Instant = Field(description="When the event was received.")
    content_hash: str | None = Field(description="Marks equal content, where given.")
    quiet: bool = Field(description="It meets requirements and fires nothing by itself.")
    correlation_id: str | None = Field(description="Ties together what one cause set off.")


class TableFacts(View):
    """The loads of one table on one date, folded: the newest facts."""

    table: str = Field(description="The table.")
    game_date: GameDate = Field(description="The date.")
    whole: str | None = Field(description="The event that covers the whole date, if any.")
    games: Mapping[str, str] = Field(description="Game → the newest event that covers it.")
    loads: tuple[ArrivalView, ...] = Field(description="The loads that count, by receipt.")
    last_failure: ArrivalView | None = Field(description="The last failed or skipped load, if any.")


class LedgerRow(ArrivalView):
    """One event of the ledger."""

    table: str = Field(description="The table.")
    game_date: GameDate = Field(description="The date.")
    outcome: Literal["applied", "superseded", "ignored"] = Field(description="What became of it.")
    execution_id: str | None = Field(description="The execution that loaded it.")
    processor_name: str | None = Field(description="The processor it named.")
    source_scraper_execution_id: str | None = Field(description="The scrape behind it.")
    message_id: str | None = Field(description="The message that carried it.")
    warnings: tuple[str, ...] = Field(
        description="What deserves attention, such as why it was superseded."
    )


class LedgerView(View):
    """The ledger of one table and date."""

    table: str = Field(description="The table's full name.")
    game_date: GameDate = Field(description=GAME_DATE)
    grain: Grain = Field(description="How its loads add up.")
    enabled: bool = Field(description="Whether anything waits for it.")
    producer: str | None = Field(description="The processor that writes it; null for a raw table.")
    facts: TableFacts = Field(description="What the events add up to.")
    games_expected: tuple[str, ...] | None = Field(description="By the calendar; null: unknown.")
    games_covered: tuple[str, ...] = Field(description="Games that a load with rows covers.")
    games_missing: tuple[str, ...] | None = Field(
        description="Expected and not covered; null: unknown."
    )
    state: State = Field(description="The state of a plain requirement of this table.")
    sentence: str = Field(description="The same for people.")
    record_count: int | None = Field(description="Rows over the newest loads; null: unknown.")
    warnings: tuple[str, ...] = Field(description="What is unusual about it.")
    items: tuple[LedgerRow, ...] = Field(description="Its events, by receipt.")
    next_page_token: NextPageToken


def table_facts(folded: TableDate) -> TableFacts:
    """The loads of one table on one date, folded."""
    loads = sorted(folded.arrivals.values(), key=lambda a: (a.received_at, a.event_id))
    return TableFacts.of(folded, games=dict(sorted(folded.games.items())), loads=loads)


def ledger_row(entry: LedgerEntry) -> LedgerRow:
    """One event of the ledger."""
    arrival = {name: getattr(entry.arrival, name) for name in ArrivalView.model_fields}
    return LedgerRow.of(entry, **arrival)


def ledger_view(
    spec: TableSpec,
    folded: TableDate,
    expected: Sequence[str] | None,
    judged: SourceVerdict,
    entries: Sequence[LedgerEntry],
    next_page_token: str | None,
) -> LedgerView:
    """The ledger of one table and date; ``judged`` is a plain requirement of it."""
    covered = _covered(folded, expected)
    return LedgerView.of(
        judged,
        game_date=folded.game_date,
        grain=spec.grain,
        enabled=spec.enabled,
        producer=spec.producer,
        facts=table_facts(folded),
        games_expected=expected,
        games_covered=covered,
        games_missing=None if expected is None else [g for g in expected if g not in covered],
        sentence=source_sentence(judged),
        items=tuple(map(ledger_row, entries)),
        next_page_token=next_page_token,
    )


def _covered(folded: TableDate, expected: Sequence[str] | None) -> list[str]:
    """The games that a load with rows covers."""
    games = {*(expected or ()), *folded.games}
    for arrival in folded.arrivals.values():
        games.update(arrival.game_ids)
    winners: dict[str, Arrival | None] = {g: folded.winner(g) for g in games}
    return sorted(g for g, a in winners.items() if a is not None and not a.empty)
