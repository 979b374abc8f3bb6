"""Which text is a game date. The command line asks this too, so that it imports next to nothing."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2199
"""Game dates are in these years, so that every deadline and window beside them is a date too."""
NO_GAME_DATE: Final = "is not a game date; give a calendar date as YYYY-MM-DD"

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def is_game_date(value: object) -> bool:
    """Whether a value is an ISO calendar date; nothing else is a game date (specification 1).

    Years outside 1900 to 2199 are refused as well.
    """
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return False
    try:
        day = date.fromisoformat(value)
    except ValueError:
        return False
    return FIRST_YEAR <= day.year <= LAST_YEAR
