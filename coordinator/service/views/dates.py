"""Many dates at once: the grid, and the gaps."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from coordinator.core.model import Flag, Status
from coordinator.service.views.base import PROCESSOR, GameDate, NextPageToken, View
from coordinator.service.views.partition import PartitionRow


class GridDate(View):
    """A date of the grid."""

    game_date: GameDate = Field(description="The date.")
    games: int | None = Field(description="Games the calendar expects; null: unknown.")


class GridCell(View):
    """What a partition of the grid shows."""

    status: Status = Field(description="The derived status.")
    flags: tuple[Flag, ...] = Field(description="What holds beside it.")
    stored: bool = Field(
        description="False: the calendar knows the date, and nothing is recorded yet."
    )


class GridRow(View):
    """One processor of the grid."""

    processor: str = Field(description=PROCESSOR)
    phase: int = Field(description="Its phase.")
    cells: tuple[int | None, ...] = Field(
        description="For each of `dates` its partition's place in `legend`, from 0; null where "
        "nothing is known."
    )


class Grid(View):
    """Processors × dates."""

    from_: GameDate = Field(alias="from", description="The first date.")
    to: GameDate = Field(description="The last date.")
    dates: tuple[GridDate, ...] = Field(description="Every date of the range, ascending.")
    legend: tuple[GridCell, ...] = Field(description="What partitions show, each once.")
    items: tuple[GridRow, ...] = Field(description="One row for each processor, upstream first.")
    next_page_token: NextPageToken


class UnknownDates(View):
    """Dates that the calendar does not know."""

    count: int = Field(description="How many there are.")
    first: GameDate | None = Field(description="The first; null where there is none.")
    last: GameDate | None = Field(description="The last; null where there is none.")


class Gaps(View):
    """Dates on which the calendar expects an output and no run succeeded.

    Of a date that the calendar does not know: what is recorded and has not succeeded.
    """

    from_: GameDate = Field(alias="from", description="The first date of the range.")
    to: GameDate = Field(description="The last date of the range.")
    game_dates: int | None = Field(
        description="Dates of the range that the calendar has games on; null after page one."
    )
    unknown_dates: UnknownDates | None = Field(
        description="Dates of the range that the calendar does not know; null after page one."
    )
    calendar_until: GameDate | None = Field(
        description="The last date that the calendar knows; null where it knows none."
    )
    items: tuple[PartitionRow, ...] = Field(
        description="One for each gap, by date, upstream first."
    )
    next_page_token: NextPageToken


def unknown_dates(dates: Sequence[str]) -> UnknownDates:
    """Dates that the calendar does not know, ascending, summarised."""
    ends = (dates[0], dates[-1]) if dates else (None, None)
    return UnknownDates(count=len(dates), first=ends[0], last=ends[1])
