"""What keeps a partition with met requirements from firing, and until when.

Owns grace, preference, debounce, cooldown and the other holds (specification 2.5). Every
wait counts from receipt times, so the order in which loads come does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from coordinator.core.model import Judgeable, Latest
from coordinator.core.schedule import instant
from coordinator.core.spec import ProcessorSpec
from coordinator.core.verdict import MET, Hold, HoldKind, RequirementVerdict
from coordinator.core.words import counted


def ready_since(partition: Judgeable, requirements: Sequence[RequirementVerdict]) -> datetime:
    """The moment the critical requirements were met, by receipt times alone."""
    critical = [r for r in requirements if r.requirement.critical]
    if critical:
        return max((r.since for r in critical if r.since is not None), default=partition.created_at)
    # Neither a waiver begins anything, nor a load without rows where rows are due.
    arrivals = partition.inputs.arrivals.values()
    receipts = [a.received_at for t in arrivals for a in t.arrivals.values() if not a.empty]
    sources = [s for r in requirements for s in r.sources if s.by_data]
    receipts += [a.received_at for s in sources for a in s.loads]
    receipts += [r.since for r in requirements if r.window is not None and r.since is not None]
    return min(receipts, default=partition.created_at)


def first_holds(
    partition: Judgeable,
    spec: ProcessorSpec,
    requirements: Sequence[RequirementVerdict],
    since: datetime,
    now: datetime,
    *,
    optional_met: bool,
) -> tuple[Hold, ...]:
    """What holds the first firing, or the first after a reset, of what is ready ``since``."""
    policy = spec.policy
    grace_end = since + policy.grace
    holds: list[Hold] = []
    if not optional_met and policy.grace and grace_end > now:
        unmet = ", ".join(r.key for r in requirements if not r.met)
        holds.append(Hold(kind=HoldKind.GRACE, until=grace_end, detail=unmet))
    for r in requirements:
        if r.prefer_until is None:
            continue
        until = r.prefer_until if r.requirement.critical else min(r.prefer_until, grace_end)
        if until > now:
            holds.append(Hold(kind=HoldKind.PREFER, until=until, detail=r.requirement.sources[0]))
    latest = partition.inputs.latest
    if latest is not None and policy.debounce:
        until = min(latest.received_at + policy.debounce, since + policy.max_settle)
        if until > now:
            holds.append(Hold(kind=HoldKind.DEBOUNCE, until=until))
    return (*holds, *_common_holds(partition, spec, latest, now))


def late_holds(
    partition: Judgeable,
    spec: ProcessorSpec,
    latest: Latest | None,
    now: datetime,
    *,
    spent: bool,
) -> tuple[Hold, ...]:
    """What holds the next generation, for newer data; ``spent``: no re-fires are left."""
    execution, policy = partition.execution, spec.policy
    assert execution.outcome is not None
    holds: list[Hold] = []
    if spent:
        holds.append(Hold(kind=HoldKind.BUDGET, detail=counted(policy.max_refires, "re-fire")))
    cool = execution.outcome.at + policy.cooldown
    if cool > now:
        holds.append(Hold(kind=HoldKind.COOLDOWN, until=cool))
    if latest is not None and policy.debounce:
        since = execution.dirty_since or latest.received_at
        until = min(latest.received_at + policy.debounce, since + policy.max_settle)
        if until > now:
            holds.append(Hold(kind=HoldKind.DEBOUNCE, until=until))
    return (*holds, *_common_holds(partition, spec, latest, now))


def _common_holds(
    partition: Judgeable, spec: ProcessorSpec, latest: Latest | None, now: datetime
) -> Iterable[Hold]:
    if spec.policy.not_before is not None:
        earliest = instant(partition.game_date, spec.policy.not_before, spec.timezone)
        if earliest > now:
            yield Hold(kind=HoldKind.NOT_BEFORE, until=earliest)
    if latest is not None and latest.quiet:
        yield Hold(kind=HoldKind.QUIET, detail=latest.event_id)
    for pause in partition.inputs.pauses:
        yield Hold(kind=HoldKind.PAUSE, detail=f"{pause.actor}: {pause.reason}")


def wake_at(
    partition: Judgeable,
    requirements: Sequence[RequirementVerdict],
    holds: Sequence[Hold],
    now: datetime,
    *,
    freshness: bool,
) -> datetime | None:
    """When time alone could change this judgement; None where it cannot."""
    waivers = partition.inputs.waivers
    instants = [h.until for h in holds if h.until is not None]
    instants += [w.until for w in waivers if w.until is not None and w.open_at(now)]
    if freshness and partition.execution.live is None:
        instants += [
            s.stale_at
            for r in requirements
            for s in r.sources
            if s.stale_at is not None and s.state in MET
        ]
    return min((i for i in instants if i > now), default=None)
