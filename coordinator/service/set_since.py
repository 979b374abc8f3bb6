"""Since when a registry's deadlines and schedules are set, so that a change replays no past.

Owns the comparison of a registry with those that were served before it. An instant that the
previously served registry did not set for a partition, and that precedes the first service of the
new one, does nothing (specification 2.8). One that it did set acts, also where the service was
down.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from coordinator.core.spec import ClockTime, OffDay, ProcessorSpec, ScheduleEntry, ScheduleWhen
from coordinator.registry import Registry

SetSince = Mapping[str, Mapping[str, datetime]]
"""Processor → rule → since when served registries have set it without a break.

What is absent has been set since the first registry that the store was served with.
"""

OFF_DAY_RUN = "off_day run"


def compare(
    registry: Registry, before: Iterable[tuple[Registry | None, SetSince]], now: datetime
) -> SetSince:
    """Since when the rules of ``registry``, which is served from ``now`` on, are set.

    ``before`` are the registries served until now, each with what this gave for it; None is
    one that cannot be read any more, which then set nothing. Where several are served side by
    side (a rolling deployment), a rule is set if one of them sets it.
    """
    served = [(other, set_since) for other, set_since in before if other is not None]
    found: dict[str, dict[str, datetime]] = {}
    for name, spec in registry.processors.items():
        own: dict[str, datetime] = {}
        for rule, implied_by in _rules(spec).items():
            since = _since(name, implied_by, served, now)
            if since is not None:
                own[rule] = since
        if own:
            found[name] = own
    return found


def dated(spec: ProcessorSpec, since: Mapping[str, datetime]) -> ProcessorSpec:
    """A processor whose deadline and schedule say since when they are set."""
    policy, zone = spec.policy, spec.timezone
    deadline = policy.deadline
    if deadline is not None:
        deadline = replace(deadline, set_since=since.get(_deadline(deadline.at, zone)))
    schedule = tuple(replace(e, set_since=since.get(_entry(e, zone))) for e in policy.schedule)
    off_day_since = since.get(OFF_DAY_RUN) if policy.off_day is OffDay.RUN else None
    return replace(
        spec,
        policy=replace(policy, deadline=deadline, schedule=schedule, off_day_since=off_day_since),
    )


def _since(
    name: str,
    rules: Collection[str],
    served: Iterable[tuple[Registry, SetSince]],
    now: datetime,
) -> datetime | None:
    """The earliest instant since which any of these rules is set; None: since the first registry."""
    earliest = now
    for other, set_since in served:
        spec = other.processors.get(name)
        for rule in rules if spec is not None else ():
            if spec is not None and rule in _rules(spec):
                since = set_since.get(name, {}).get(rule)
                if since is None:
                    return None
                earliest = min(earliest, since)
    return earliest


def _rules(spec: ProcessorSpec) -> Mapping[str, Collection[str]]:
    """What of a processor acts at instants, each with the rules that would have set it before.

    What a deadline does is no part of it: its instant is the same, and it acts once. A schedule of
    ``always`` acts where one of ``ready`` had nothing to do, so it is set again after that.
    """
    policy, zone = spec.policy, spec.timezone
    found: dict[str, Collection[str]] = {}
    if policy.deadline is not None:
        rule = _deadline(policy.deadline.at, zone)
        found[rule] = (rule,)
    for entry in policy.schedule:
        always = _entry(replace(entry, when=ScheduleWhen.ALWAYS), zone)
        rule = _entry(entry, zone)
        found[rule] = (rule, always)
    if policy.off_day is OffDay.RUN:
        found[OFF_DAY_RUN] = (OFF_DAY_RUN,)
    return found


def _deadline(at: ClockTime, zone: str) -> str:
    return f"deadline {_clock(at)} {zone}"


def _entry(entry: ScheduleEntry, zone: str) -> str:
    return f"schedule {entry.when.value} {_clock(entry.at)} {zone}"


def _clock(at: ClockTime) -> str:
    return f"{at.hour:02}:{at.minute:02}:{at.second:02}{at.day:+d}"
