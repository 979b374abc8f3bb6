"""Which statuses may follow which, and why: the transition table.

Owns what a decision may lead to, by status and fact. ``docs/states.md`` is written from it. The code
does not run by this table: ``machine.status_of`` derives each status. It is checked instead, at every
decision: by the tests of the core (``tests/core/world.py``), by the stateful laws
(``tests/properties``) and by the simulation (``simulation.record``). ``tests/core/test_transitions.py``
further shows that every line of it does happen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from coordinator.core.facts import (
    Claimed,
    Completed,
    Delivered,
    Fact,
    Loaded,
    Requested,
    ResetRequested,
    SkipRequested,
    Surveyed,
    Ticked,
    WaiverGranted,
)
from coordinator.core.model import Status

FACTS: tuple[type[Fact], ...] = get_args(Fact)
"""Every kind of fact there is."""

BY_TIME: Mapping[Status, tuple[Status, ...]] = {
    Status.WAITING: (Status.WAITING, Status.FIRING, Status.SKIPPED),
    Status.SETTLING: (Status.WAITING, Status.SETTLING, Status.FIRING, Status.SKIPPED),
    Status.FIRING: (Status.FIRING,),
    Status.FIRED: (Status.FIRING, Status.FIRED, Status.FAILED),
    Status.RUNNING: (Status.FIRING, Status.RUNNING, Status.FAILED),
    Status.SUCCEEDED: (Status.FIRING, Status.SUCCEEDED),
    Status.COOLING: (Status.FIRING, Status.SUCCEEDED, Status.COOLING),
    Status.FAILED: (Status.FIRING, Status.FAILED),
    Status.SKIPPED: (Status.SKIPPED,),
    Status.NOT_EXPECTED: (Status.NOT_EXPECTED,),
}
"""Where time alone may take a status. Time acts with every fact, so each may lead to these."""

WHY_BY_TIME: Mapping[Status, str] = {
    Status.WAITING: "a deadline fires with what is there, or skips",
    Status.SETTLING: "a hold ends, or a deadline cuts it short; a waiver or freshness runs out "
    "first, and then a deadline may skip it",
    Status.FIRING: "delivery and the back-off before an attempt go on for as long as they take",
    Status.FIRED: "nobody claimed it: the next attempt, or the attempts are spent",
    Status.RUNNING: "the lease or the run's time is over: the next attempt, or they are spent",
    Status.SUCCEEDED: "a schedule instant that always fires",
    Status.COOLING: "the hold ends; or a waiver does, and what is newer is not ready any more",
    Status.FAILED: "newer data that is ready, after the cooldown; or a schedule instant",
    Status.SKIPPED: "neither time nor data changes it",
    Status.NOT_EXPECTED: "time does not change the calendar",
}

_AFRESH = (Status.WAITING, Status.SETTLING, Status.FIRING, Status.NOT_EXPECTED)
_ENDED = "the run's lease is ended and the partition judged as if nothing had run"
_JUDGED = "judged as if nothing had run"
_NEWER = "newer data that is ready and held; without a hold it fires"

BY_FACT: Mapping[tuple[Status, type[Fact]], tuple[tuple[Status, ...], str]] = {
    (Status.WAITING, Loaded): ((Status.SETTLING,), "the load that was missing; unheld it fires"),
    (Status.WAITING, Surveyed): (
        (Status.SETTLING, Status.NOT_EXPECTED),
        "the calendar expects fewer games, or none; a window has filled; a resume lets time act",
    ),
    (Status.WAITING, WaiverGranted): ((Status.SETTLING,), "what was missing need not be met"),
    (Status.SETTLING, Surveyed): ((Status.NOT_EXPECTED,), "the calendar has no games any more"),
    (Status.FIRING, Delivered): ((Status.FIRED,), "the launcher holds a message id or a 2xx"),
    (Status.FIRING, Claimed): ((Status.RUNNING,), "a claim proves delivery"),
    (Status.FIRING, SkipRequested): ((Status.SKIPPED,), "with end_run; refused without"),
    (Status.FIRED, Claimed): ((Status.RUNNING,), "one owner gets the attempt"),
    (Status.FIRED, SkipRequested): ((Status.SKIPPED,), "with end_run; refused without"),
    (Status.RUNNING, Completed): (
        (Status.SUCCEEDED, Status.COOLING),
        "an outcome; newer data may have come meanwhile. A failure spends the attempt",
    ),
    (Status.RUNNING, SkipRequested): ((Status.SKIPPED,), "with end_run; refused without"),
    (Status.SUCCEEDED, Loaded): ((Status.COOLING,), _NEWER),
    (Status.SUCCEEDED, Surveyed): ((Status.COOLING,), "the calendar makes newer data complete"),
    (Status.SUCCEEDED, WaiverGranted): ((Status.COOLING,), "what kept newer data from being ready"),
    (Status.SKIPPED, Requested): ((Status.FIRING,), "a person triggers it after all"),
    (Status.NOT_EXPECTED, Surveyed): (
        (Status.WAITING, Status.SETTLING, Status.FIRING),
        "the calendar has games now",
    ),
    (Status.NOT_EXPECTED, Requested): ((Status.FIRING,), "a person, past the calendar"),
}
"""What a fact may lead to beyond time, and why."""

BY_FACT_ALONE: Mapping[tuple[Status, type[Fact]], tuple[tuple[Status, ...], str]] = {
    (Status.WAITING, SkipRequested): ((Status.SKIPPED,), "skipped by a person"),
    (Status.SETTLING, SkipRequested): ((Status.SKIPPED,), "skipped by a person"),
    (Status.SUCCEEDED, SkipRequested): ((Status.SKIPPED,), "newer data will not run it again"),
    (Status.COOLING, SkipRequested): ((Status.SKIPPED,), "newer data will not run it again"),
    (Status.FAILED, SkipRequested): ((Status.SKIPPED,), "a person gives it up"),
    (Status.NOT_EXPECTED, SkipRequested): ((Status.SKIPPED,), "whatever the calendar becomes"),
    (Status.FIRING, ResetRequested): (_AFRESH, _ENDED),
    (Status.FIRED, ResetRequested): (_AFRESH, _ENDED),
    (Status.RUNNING, ResetRequested): (_AFRESH, _ENDED),
    (Status.SUCCEEDED, ResetRequested): (_AFRESH, _JUDGED),
    (Status.COOLING, ResetRequested): (_AFRESH, _JUDGED),
    (Status.FAILED, ResetRequested): (_AFRESH, _JUDGED),
    (Status.SKIPPED, ResetRequested): (_AFRESH, _JUDGED),
}
"""What a fact leads to instead of what time would: a person's decision comes first."""


def _following(status: Status, fact: type[Fact]) -> tuple[Status, ...]:
    if (status, fact) in BY_FACT_ALONE:
        return BY_FACT_ALONE[status, fact][0]
    more = BY_FACT[status, fact][0] if (status, fact) in BY_FACT else ()
    return tuple(s for s in Status if s in BY_TIME[status] or s in more)


TRANSITIONS: Mapping[tuple[Status, str], tuple[Status, ...]] = {
    (status, fact.__name__): _following(status, fact) for status in Status for fact in FACTS
}
"""(status, fact) → the statuses that may follow one decision on that fact alone.

A decision may take several steps: a failed report can end the run and, with newer data that
nothing holds, fire the next generation at once.
"""


def may_follow(status: Status, facts: Sequence[Fact]) -> frozenset[Status]:
    """The statuses that may follow one decision on these facts, in this order."""
    reached = frozenset({status})
    for fact in facts or (Ticked(),):
        name = type(fact).__name__
        reached = frozenset(s for before in reached for s in TRANSITIONS[before, name])
    return reached
