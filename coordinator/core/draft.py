"""A partition in the middle of a decision, and what every step of one may note in it.

Owns the draft that ``inputs``, ``runs``, ``firing``, ``timers`` and ``people`` work on. Each of their
functions takes a draft and returns the next one; none changes what it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from coordinator.core import effects
from coordinator.core.model import (
    Execution,
    Flag,
    Inputs,
    Journal,
    OutboxEntry,
    Partition,
    Run,
    Status,
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
    def game_date(self) -> str:
        return self.before.game_date

    @property
    def created_at(self) -> datetime:
        return self.before.created_at

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

    def finished(
        self,
        *,
        status: Status,
        flags: tuple[Flag, ...],
        wake_at: datetime | None,
        watching: bool,
    ) -> Partition:
        """The partition after the decision, with what is derived: the one before if it is the same."""
        before, registry_hash = self.before, self.spec.registry_hash
        # What nothing has touched is the same object, and not compared any further.
        if (
            (before.status, before.flags, before.wake_at, before.watching)
            == (status, flags, wake_at, watching)
            and before.registry_hash == registry_hash
            and before.inputs == self.inputs
            and before.execution == self.execution
            and before.timers == self.timers
            and before.journal == self.journal
        ):
            return before
        return Partition(
            processor=before.processor,
            game_date=before.game_date,
            created_at=before.created_at,
            registry_hash=registry_hash,
            revision=before.revision + 1,
            inputs=self.inputs,
            execution=self.execution,
            timers=self.timers,
            journal=self.journal,
            status=status,
            flags=flags,
            wake_at=wake_at,
            watching=watching,
        )

    def judged(self, *, freshness: bool | None = None) -> Verdict:
        """The verdict on the partition so far."""
        return judge(self, self.spec, self.now, freshness=freshness, days=self.days)

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
