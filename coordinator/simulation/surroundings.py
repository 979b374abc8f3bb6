"""What actors and events may ask of the world that they are in.

Owns that interface alone, so that the world can be built from actors which do not import it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from coordinator.core.model import Partition
from coordinator.judge.observations import Observation
from coordinator.simulation.clock import VirtualClock
from coordinator.simulation.faults import Faults
from coordinator.simulation.process import Process
from coordinator.simulation.record import Record
from coordinator.simulation.registries import Definition


@dataclass(slots=True)
class SentMessage:
    """A message that was published, and what is known of it."""

    number: int
    body: bytes
    event: Mapping[str, Any] | None
    """The event inside, canonical: table, game_date, …; None for one that cannot be read."""
    what: str
    acknowledged: bool = False
    given_id_used_before: bool = False
    reserved_id: bool = False
    """Its id begins as those of runs' outputs do."""


class Launches(Protocol):
    """The launcher, as runners see it."""

    runners: int


class Topic(Protocol):
    """The subscription, as publishers see it."""

    def publish(self, sent: SentMessage) -> None:
        """Take a message in; it is delivered at least once."""


class Surroundings(Protocol):
    """The world, as those inside it see it."""

    rng: random.Random
    faults: Faults
    record: Record
    clock: VirtualClock
    acts: Counter[str]
    notices: Counter[str]
    games: dict[str, tuple[str, ...]]
    definition: Definition
    notifier_down_until: timedelta

    @property
    def dates(self) -> Sequence[str]:
        """The game dates of the world."""

    @property
    def spans(self) -> Sequence[timedelta]:
        """How long trouble may last."""

    @property
    def launcher(self) -> Launches:
        """Who hands launches to runners."""

    @property
    def subscription(self) -> Topic:
        """Where events are published."""

    @property
    def calendar_table(self) -> str:
        """The table whose loads say which games there are."""

    def say(self, line: str) -> None:
        """Write one line of the transcript."""

    def saw(self, *seen: Observation) -> None:
        """Show the judge what somebody outside saw."""

    def broken(self, sentence: str) -> None:
        """Report that a law does not hold."""

    def name(self, kind: str) -> str:
        """A name that was not used before."""

    def process(self) -> Process:
        """A process that serves. Raises ``Unreachable``."""

    def current_process(self) -> Process | None:
        """The process whose task is running now."""

    async def die_here(self, process: Process | None, kind: str) -> None:
        """Perhaps kill the process at this await."""

    def outside(self, coro: Coroutine[Any, Any, None]) -> None:
        """Run a task that belongs to no process."""

    async def ask(self, work: Callable[[Process], Awaitable[Any]], *, dry: bool = False) -> str:
        """Send a request to some process; the answer in a word."""

    def tables_of(self, processor: str) -> list[str]:
        """The tables that a processor names."""

    def check_kept(self, sent: SentMessage, outcome: str, earliest: datetime) -> None:
        """Check law 5 for an acknowledged message."""

    def partitions(self) -> list[Partition]:
        """Every partition of a processor that the registry has."""
