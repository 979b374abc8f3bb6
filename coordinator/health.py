"""Whether the service is ready: its store for reading and writing, its outbox, its sweep.

Owns the thresholds. Lags are read from the store, so they are true in every deployment: however
many processes serve, and whoever sweeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from coordinator.assembly import Coordinator
from coordinator.core.model import Status
from coordinator.core.words import counted, words_for
from coordinator.errors import CoordinatorError, Unavailable
from coordinator.ports import Grouping, Kind, Op, Query, Where
from coordinator.service.engine import Engine
from coordinator.service.sweep import LATE_AFTER
from coordinator.service.views.health import HealthPart, Readiness
from coordinator.wire import instant_text

STORE_SECONDS = 2.0
"""How long the store may take to answer."""
OUTBOX_LATE_SECONDS = 120.0
"""An effect that nobody has tried to deliver for this long: the relay does not run."""
_DUE_READ = 100
"""Partitions with due effects that are read, beside those that this process is delivering."""
_DUE_READ_MOST = 1000
_RECEIVERS_NAMED = 5
_RETRY_WITHIN = timedelta(seconds=61)
"""Failed deliveries are due again within a minute, so this finds those that are being retried."""


PARTITIONS_COUNTED = 1000
"""Partitions of a status are counted up to here: 1000 means 1000 or more."""
COUNTED = (
    Status.SETTLING,
    Status.FIRING,
    Status.FIRED,
    Status.RUNNING,
    Status.COOLING,
    Status.FAILED,
)
"""The statuses that are few while all is well; the others are counted by their transitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lags:
    """How far delivery and time are behind, in seconds."""

    outbox_seconds: float = 0.0
    """Since when the oldest effect that is due, or that has failed before, waits for delivery."""
    untried_seconds: float = 0.0
    """The same among those that are due and that nobody has tried yet or is delivering."""
    sweep_seconds: float = 0.0
    """How long ago the earliest ``wake_at`` was."""
    sweep_age_seconds: float | None = None
    """Since this process last swept; None where it has not."""


async def lags(application: Coordinator) -> Lags:
    """How far behind things are. Raises ``Unavailable``, also where the store is too slow."""
    now = application.clock.now()
    engine, stuck = application.engine, application.sweeper.stuck
    try:
        async with asyncio.timeout(STORE_SECONDS):
            await engine.store.ping()
            due, _ = await engine.first(
                Query(
                    Kind.PARTITION,
                    (Where("outbox_due", Op.LE, now + _RETRY_WITHIN),),
                    order="outbox_due",
                    limit=min(_DUE_READ + application.relay.taken_up, _DUE_READ_MOST),
                )
            )
            awake, _ = await engine.first(
                Query(
                    Kind.PARTITION,
                    (Where("wake_at", Op.LE, now),),
                    order="wake_at",
                    limit=len(stuck) + 1,
                )
            )
    except TimeoutError as error:
        raise Unavailable(
            f"The store did not answer within {STORE_SECONDS:g} s; try again later."
        ) from error
    waiting = [0.0]
    untried = [0.0]
    for partition in due:
        for entry in partition.outbox:
            if application.relay.queued(partition, entry):
                continue  # it waits for a free worker, which no fault delays
            if entry.tries or application.relay.in_hand(partition, entry):
                waiting.append((now - entry.created_at).total_seconds())
            elif entry.due_at <= now:
                untried.append((now - entry.due_at).total_seconds())
    wakes = [
        p.wake_at
        for p in awake
        if p.wake_at is not None and (p.processor, p.game_date) not in stuck
    ]
    swept_at = application.sweeper.last_at
    return Lags(
        outbox_seconds=max(*waiting, *untried),
        untried_seconds=max(untried),
        sweep_seconds=(now - min(wakes)).total_seconds() if wakes else 0.0,
        sweep_age_seconds=(now - swept_at).total_seconds() if swept_at else None,
    )


async def partitions_by_status(application: Coordinator) -> dict[str, int]:
    """Partitions of the registry's processors by status, as far as they are counted.

    Raises ``Unavailable``.
    """
    return {status.value: await _counted(application.engine, status) for status in COUNTED}


async def _counted(engine: Engine, status: Status) -> int:
    """The partitions in a status, up to the limit. Those of removed processors crowd out none."""

    async def of(mine: Sequence[Where]) -> tuple[int, int]:
        fits = (Where("status", Op.EQ, status.value), *mine)
        found = await engine.store.grouped(
            Grouping(("processor",), "game_date", fits, PARTITIONS_COUNTED)
        )
        known = engine.registry.processors
        numbers = {name: len(dates) for (name,), dates in found.items()}
        return sum(n for name, n in numbers.items() if name in known), sum(numbers.values())

    mine, all_ = await of(engine.mine)
    if all_ < PARTITIONS_COUNTED or mine == all_:
        return mine
    several = await asyncio.gather(*map(of, engine.portions))
    return min(sum(number for number, _ in several), PARTITIONS_COUNTED)


def _words(seconds: float) -> str:
    return words_for(timedelta(seconds=seconds))


async def _writable(application: Coordinator) -> tuple[bool, str]:
    """Whether the store takes commits, and a sentence about it."""
    try:
        async with asyncio.timeout(STORE_SECONDS):
            await application.engine.store.prove_writable()
    except TimeoutError:
        return False, f"The store can be read, but took no write within {STORE_SECONDS:g} s."
    except CoordinatorError as error:
        return False, f"The store can be read, but not written: {error.detail}"
    return True, "The store can be read and written."


async def readiness(application: Coordinator) -> Readiness:
    """Whether the service is ready, and each part with its state and sentence."""
    try:
        found = await lags(application)
    except CoordinatorError as error:
        part = HealthPart(ok=False, detail=error.detail)
        unknown = HealthPart(ok=False, detail="Not known while the store is out of reach.")
        parts = {"store": part, "outbox": unknown, "sweep": unknown}
        return Readiness(status="not_ready", parts=parts)
    writable, store = await _writable(application)
    relay_ok = found.untried_seconds <= OUTBOX_LATE_SECONDS
    sweep_ok = found.sweep_seconds <= LATE_AFTER.total_seconds()
    outbox = f"The oldest undelivered effect has waited {_words(found.outbox_seconds)}."
    if not found.outbox_seconds:
        outbox = "Nothing waits for delivery."
    if not relay_ok:
        outbox += " Nobody tries to deliver it: is the relay running?"
    sweep = f"The partition due longest has waited {_words(found.sweep_seconds)} for a sweep."
    if not found.sweep_seconds:
        sweep = "No partition waits for a sweep."
    if not sweep_ok:
        sweep += " POST /v1/sweep, and see why nobody does."
    stuck = application.sweeper.stuck
    if stuck:
        names = ", ".join(sorted(f"{p} {d}" for p, d in stuck)[:5])
        sweep += f" {len(stuck)} cannot be judged, which the log explains: {names}."
    others = sorted(name[:12] for name in application.engine.membership.others)
    own = application.engine.registry.registry_hash[:12]
    registry = f"{own} is served."
    if others:
        registry = (
            f"{own} is served here, and {', '.join(others)} counts as served beside it: a "
            "deployment on its way, or instances with different registry files."
        )
    parts = {
        "registry": HealthPart(ok=True, others=tuple(others), detail=registry),
        "store": HealthPart(ok=writable, detail=store),
        "outbox": HealthPart(ok=relay_ok, lag_seconds=found.outbox_seconds, detail=outbox),
        "sweep": HealthPart(
            ok=sweep_ok,
            lag_seconds=found.sweep_seconds,
            age_seconds=found.sweep_age_seconds,
            last_at=application.sweeper.last_at,
            detail=sweep,
        ),
        **_receivers(application),
        **_workers(application),
    }
    ready = writable and relay_ok and sweep_ok
    return Readiness(status="ready" if ready else "not_ready", parts=parts)


def _receivers(application: Coordinator) -> dict[str, HealthPart]:
    """Which receivers accept nothing. A person must fix that; it is no fault of this service."""
    failing = [lane for lane in application.relay.lanes if lane.failures]
    dropped = sum(lane.dropped for lane in application.relay.lanes)
    if not failing and not dropped:
        return {}
    failing.sort(key=lambda lane: -lane.failures)
    words = "; ".join(
        f"{lane.name.kind.value} to {lane.name.receiver}: the last "
        f"{counted(lane.failures, 'delivery', 'deliveries')} failed, {len(lane.waiting)} more wait; "
        f"{lane.last_error}"
        for lane in failing[:_RECEIVERS_NAMED]
    )
    if dropped:
        lost = f"{counted(dropped, 'notice was', 'notices were')} dropped since the start"
        words = f"{words}; {lost}" if words else f"{lost}."
    return {"receivers": HealthPart(ok=True, failing=len(failing), detail=words)}


def _workers(application: Coordinator) -> dict[str, HealthPart]:
    """The state of the local workers. A long queue is work, and no fault."""
    pool = application.local_pool
    if pool is None:
        return {}
    waiting = counted(pool.waiting, "launch", "launches")
    words = f"{pool.busy} of {counted(pool.workers, 'worker')} busy, {waiting} waiting."
    replaced = sum(pool.replaced.values())
    if replaced:
        words += (
            f" Workers were replaced {counted(replaced, 'time')} since the start, the last at "
            f"{instant_text(pool.last_replaced_at)}: {pool.last_replaced}"
        )
    return {
        "workers": HealthPart(
            ok=True, busy=pool.busy, waiting=pool.waiting, replaced=replaced, detail=words
        )
    }
