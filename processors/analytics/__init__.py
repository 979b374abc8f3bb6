"""The analytics processors (phase 3): thin classes, each over one SQL file beside it.

Owns: what each of them needs and writes. Refuses: the arithmetic, which lives in the `.sql` files.
"""

from __future__ import annotations

from processors.analytics.processors import (
    PlayerGameSummaryProcessor,
    TeamDefenseSummaryProcessor,
    TeamOffenseSummaryProcessor,
)

ENTRYPOINTS = {
    "PlayerGameSummaryProcessor": "processors.analytics:PlayerGameSummaryProcessor",
    "TeamOffenseSummaryProcessor": "processors.analytics:TeamOffenseSummaryProcessor",
    "TeamDefenseSummaryProcessor": "processors.analytics:TeamDefenseSummaryProcessor",
}
"""Entrypoint by the processor's name, for a runner without a registry."""

__all__ = [
    "ENTRYPOINTS",
    "PlayerGameSummaryProcessor",
    "TeamDefenseSummaryProcessor",
    "TeamOffenseSummaryProcessor",
]
