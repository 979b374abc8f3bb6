"""The wiring of the service: the same for the served process, demo, scenarios and simulation.

Owns what is built from what, in which order; nothing is set on a part afterwards. Knows ports and
no adapter: ``app`` and the simulation choose those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from coordinator.core.spec import LaunchKind, LaunchTarget
from coordinator.outbox import LAUNCHES_PER_TARGET, Relay
from coordinator.ports import Announcer, Clock, Launcher, LocalPool, Notifier, Store, Watchable
from coordinator.registry import Registry
from coordinator.service.engine import Engine
from coordinator.service.ingest import Ingest
from coordinator.service.loads import Loads
from coordinator.service.notices import Notices
from coordinator.service.operate import Operate
from coordinator.service.quarantine import Quarantine
from coordinator.service.queries import Queries
from coordinator.service.runs import Runs
from coordinator.service.sweep import Sweeper


@dataclass(slots=True, kw_only=True)
class Coordinator:
    """The wired service."""

    engine: Engine
    ingest: Ingest
    runs: Runs
    operate: Operate
    quarantine: Quarantine
    sweeper: Sweeper
    relay: Relay
    queries: Queries
    notices: Notices

    @property
    def store(self) -> Store:
        return self.engine.store

    @property
    def registry(self) -> Registry:
        return self.engine.registry

    @property
    def clock(self) -> Clock:
        return self.engine.clock

    @property
    def shared_store(self) -> Watchable | None:
        """The store, where other processes change it too; else None."""
        store = self.engine.store
        return store if isinstance(store, Watchable) else None

    @property
    def local_pool(self) -> LocalPool | None:
        """The pool of local workers; None where this process has none."""
        return None


def assemble(
    engine: Engine,
    launchers: Callable[[Runs], Mapping[LaunchKind, Launcher]],
    default_target: LaunchTarget,
    *,
    announcers: Sequence[Announcer] = (),
    notifiers: Sequence[Notifier] = (),
    alone: bool = False,
    link_base: str | None = None,
    launches_per_target: int = LAUNCHES_PER_TARGET,
    delivery_seconds: float | None = None,
    asked_seconds: float | None = None,
) -> Coordinator:
    """Wire the service around an engine.

    ``launchers`` makes the launchers; a local one executes runs, so it is given them.
    ``default_target`` is where launches go whose processor does not say so. With ``alone`` no other
    process can serve the store. The rest is as ``Relay`` says.
    """
    notices = Notices()
    sweeper = Sweeper(engine, notices, alone=alone)
    loads = Loads(engine, sweeper.left_pending)
    runs = Runs(engine, loads, announced_outside=bool(announcers))
    quarantine = Quarantine(engine, notices)
    ingest = Ingest(engine, loads, runs, quarantine)
    relay = Relay(
        engine,
        ingest,
        notices,
        launchers(runs),
        default_target,
        announcers=announcers,
        notifiers=notifiers,
        link_base=link_base,
        launches_per_target=launches_per_target,
        delivery_seconds=delivery_seconds,
        asked_seconds=asked_seconds,
    )
    return Coordinator(
        engine=engine,
        ingest=ingest,
        runs=runs,
        operate=Operate(engine, sweeper, ingest, quarantine, relay.deliver_for_others),
        quarantine=quarantine,
        sweeper=sweeper,
        relay=relay,
        queries=Queries(engine, default_target, relay.behind),
        notices=notices,
    )
