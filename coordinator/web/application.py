"""What the web needs of the application that the composition root builds."""

from __future__ import annotations

from typing import Protocol

from coordinator.outbox import Relay
from coordinator.ports import Clock, LocalPool
from coordinator.registry import Registry
from coordinator.service.engine import Engine
from coordinator.service.ingest import Ingest
from coordinator.service.operate import Operate
from coordinator.service.quarantine import Quarantine
from coordinator.service.queries import Queries
from coordinator.service.runs import Runs
from coordinator.service.sweep import Sweeper


class Application(Protocol):
    """The service, wired."""

    @property
    def clock(self) -> Clock: ...

    @property
    def engine(self) -> Engine: ...

    @property
    def ingest(self) -> Ingest: ...

    @property
    def runs(self) -> Runs: ...

    @property
    def operate(self) -> Operate: ...

    @property
    def quarantine(self) -> Quarantine: ...

    @property
    def sweeper(self) -> Sweeper: ...

    @property
    def relay(self) -> Relay: ...

    @property
    def queries(self) -> Queries: ...

    @property
    def registry(self) -> Registry: ...

    @property
    def local_pool(self) -> LocalPool | None:
        """The pool of local workers; None where this process has none."""
        ...
