"""The words that people choose from, and that the command line shows.

Owns them apart from the values that hold them: a command line that imports those is slow to start.
"""

from __future__ import annotations

from enum import StrEnum

ALL = "_all"
"""The scope of a pause of every processor."""


class Bypass(StrEnum):
    """What a person may override when triggering (specification 5.4)."""

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


class QuarantineState(StrEnum):
    """What became of a quarantined message."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"
