"""A partition in the middle of a decision, and what every step of one may note in it.

Owns the draft that ``inputs``, ``runs``, ``firing``, ``timers`` and ``people`` work on. Each of their
functions takes a draft and returns the next one; none changes what it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from coordinator.core import effects
from coordinator.core.model import (
    Execution,
    Inputs,
    Journal,
    OutboxEntry,
    Partition,
    Run,
    Timers,
    Transition,
    WindowDay,
)
from coordinator.core.readiness import judge
from coordinator.core.spec import Policy, ProcessorSpec
from coordinator.core.verdict import Verdict

HISTORY_LIMIT = 100
NOTIFIED_LIMIT = 100


class Draft(NamedTuple):
    """A partition while facts and time act on it, inside one call of ``machine.decide``.

    A tuple, for every step of a decision makes a new one, and a tuple is made four times as fast as
    a frozen dataclass.
    """

    before: Partition
    spec: ProcessorSpec
    now: datetime
    inputs: Inputs
    execution: Execution
    timers: Timers
    journal: Journal
    days: Mapping[str, tuple[WindowDay, ...]] | None = None
    """The dates of its windows, where they were read for this decision."""
    runs: Mapping[str, Run] = MappingProxyType({})
    """Runs to be written: created, advanced, or ended."""
    fired: Run | None = None
    """The run of the generation that this decision created."""

    @classmethod
    def of(cls, partition: Partition, spec: ProcessorSpec, now: datetime) -> Draft:
        """A draft in which nothing has happened yet."""
        return cls(
            before=partition,
            spec=spec,
            now=now,
            inputs=partition.inputs,
            execution=partition.execution,
            timers=partition.timers,
            journal=partition.journal,
        )

    @property
    def policy(self) -> Policy:
        return self.spec.policy

    @property
    def live(self) -> Run | None:
        return self.execution.live

    @property
    def no_games(self) -> bool:
        """Whether the calendar says that there are no games on its date."""
        return self.inputs.games.get(self.before.game_date) == ()

    def partition(self, **derived: Any) -> Partition:
        """The partition so far. Derived fields that are not given are those of before."""
        return replace(
            self.before,
            registry_hash=self.spec.registry_hash,
            inputs=self.inputs,
            execution=self.execution,
            timers=self.timers,
            journal=self.journal,
            **derived,
        )

    def judged(self, *, freshness: bool | None = None) -> Verdict:
        """The verdict on the partition so far."""
        return judge(self.partition(), self.spec, self.now, freshness=freshness, days=self.days)

    def remember(self, what: str, detail: str, actor: str | None = None) -> Draft:
        """Add a line to the partition's history."""
        line = Transition(at=self.now, what=what, detail=detail[:1000], actor=actor)
        history = (*self.journal.history[-(HISTORY_LIMIT - 1) :], line)
        return self._replace(journal=replace(self.journal, history=history))

    def ask(self, entry: OutboxEntry) -> Draft:
        """Put an effect into the outbox."""
        return self._replace(journal=replace(self.journal, outbox=(*self.journal.outbox, entry)))

    def notify(self, kind: str, cause: str, severity: str, summary: str, detail: str) -> Draft:
        """Put a notice into the outbox, once per kind and cause."""
        name = f"{kind}:{cause}"
        journal = self.journal
        if name in journal.notified:
            return self
        notified = (*journal.notified[-(NOTIFIED_LIMIT - 1) :], name)
        entry = effects.notify(kind, cause, severity, summary, detail, self.now)
        outbox = (*journal.outbox, entry)
        return self._replace(journal=replace(journal, outbox=outbox, notified=notified))
