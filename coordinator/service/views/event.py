"""Events: what became of each, and what is wrong with a bad one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from coordinator.core.model import Status
from coordinator.errors import Mistake
from coordinator.service.views.base import GAME_DATE, PROCESSOR, GameDate, View

if TYPE_CHECKING:
    from coordinator.service.ingest import Ingested

EventOutcome = Literal[
    "applied",
    "duplicate",
    "superseded",
    "ignored",
    "refused",
    "quarantined",
    "rejected",
    "would be replayed",
]


class FieldError(View):
    """One thing that is wrong with an input."""

    field: str = Field(description="Where: the name of the field.")
    message: str = Field(description="The rule that it breaks, and the fix.")
    value: str | None = Field(description="What was there, cut short; null where nothing was.")


class AffectedPartition(View):
    """A partition that an event was delivered to, as it was after the commit."""

    processor: str = Field(description=PROCESSOR)
    game_date: GameDate = Field(description=GAME_DATE)
    status: Status = Field(description="Its status.")
    fired_run_id: str | None = Field(description="The run that the event fired, if any.")


class EventResult(View):
    """What became of one event."""

    outcome: EventOutcome = Field(description="What became of it; a bad one is `rejected`.")
    event_id: str | None = Field(description="Its id, as given or derived.")
    affected: tuple[AffectedPartition, ...] = Field(
        description="The partitions it was delivered to."
    )
    errors: tuple[FieldError, ...] = Field(description="What is wrong with it.")
    warnings: tuple[str, ...] = Field(description="What is unusual about it, though it was taken.")


class EventResults(View):
    """What became of the events of one call, in the order they were sent."""

    results: tuple[EventResult, ...] = Field(description="One for each event, in order.")


def event_result(outcome: Ingested) -> EventResult:
    """What became of an event."""
    return EventResult.of(outcome, errors=tuple(map(field_error, outcome.errors)))


def field_error(mistake: Mistake) -> FieldError:
    """One thing that is wrong, in text that can be sent."""
    return FieldError(
        field=sendable(mistake.field),
        message=sendable(mistake.message),
        value=None if mistake.value is None else sendable(mistake.value),
    )


def sendable(text: str) -> str:
    """Text that UTF-8 can carry: an unpaired surrogate shows as an escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
