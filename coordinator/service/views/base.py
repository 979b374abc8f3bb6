"""The base of every view, and the types of fields that all of them share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _in_utc(at: datetime) -> datetime:
    return at if at.tzinfo is UTC else at.astimezone(UTC)


Instant = Annotated[
    datetime,
    AfterValidator(_in_utc),
    Field(json_schema_extra={"examples": ["2025-11-15T02:30:00Z"]}),
]
"""An instant; in JSON RFC 3339, UTC, with a ``Z``."""
GameDate = Annotated[str, Field(json_schema_extra={"format": "date", "examples": ["2025-11-15"]})]
"""A calendar date in the registry's time zone."""

NextPageToken = Annotated[
    str | None,
    Field(description="Give it as `page_token` for the next page; null on the last one."),
]

PROCESSOR = "Name of the processor."
GAME_DATE = "The game date, YYYY-MM-DD."
DRY_RUN = "Whether nothing was changed."


class View(BaseModel):
    """Exactly these fields, frozen; in JSON every one is there, null where nothing is known."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        from_attributes=True,
        validate_by_name=True,
        validate_by_alias=True,
        defer_build=True,  # the command line builds the few that it shows
    )

    @classmethod
    def of(cls, source: object, **differing: Any) -> Self:
        """The view of a value: its attributes of the same names, but for those that differ.

        Raises ``AttributeError`` for a field that is neither an attribute nor given.
        """
        values = {n: getattr(source, n) for n in cls.model_fields if n not in differing}
        return cls.model_validate({**values, **differing})
