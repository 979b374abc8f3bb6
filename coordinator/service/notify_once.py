"""A notice that belongs to no partition is sent once, however many instances find its cause."""

from __future__ import annotations

from coordinator.documents import Dates, dates_key
from coordinator.ports import Changes
from coordinator.service.engine import Engine
from coordinator.service.reading import Docs

KEPT = 7
"""How many of the last causes are remembered, of each kind."""


async def first_time(engine: Engine, kind: str, what: str) -> bool:
    """Whether ``what`` was never notified before; from now on it was. Raises ``Unavailable``."""
    key = dates_key(kind)

    def step(docs: Docs) -> Changes[bool]:
        known: Dates = docs[key] or Dates(name=key.id)
        if what in known.dates:
            return Changes(False)
        return Changes(True, {key: Dates(name=key.id, dates=(*known.dates, what)[-KEPT:])})

    return await engine.commits.transact([key], step)
