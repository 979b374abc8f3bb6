"""The judge: an independent model of the specification (docs/specification.md).

It is a second implementation of the rules: small, slow and obvious, written from the specification
alone. It imports nothing of the coordinator (an import rule enforces that) and trusts nothing that the
coordinator derived. So a wrong rule is not checked by the same wrong rule, and a rule that two people
read differently is found.

What it sees (``observations``)
    What is visible outside, in the shapes of the public API: events as their senders wrote them, the
    ledger, the audit log, runs and partitions as they are shown, launches, claims and reports with
    their answers, notices, and the text of the registry.

What it takes as given
    That an event was recorded, when it was received, and the order of the commits; which registry an
    instance serves; that a person's act was done; what a target or a runner answered. The content of an
    event is what its sender wrote, not what the ledger says.

What it computes
    Everything else. Whether a load was superseded (``ledger``). Whether each requirement is met, and
    since when (``needs``). What is newer than the last generation consumed, every hold, the budget,
    waivers and pauses (``story``). Every change of a run: deliveries, claims, leases, attempts,
    back-offs, ends, outputs (``runs``). What a run consumes and what its launch says (``launches``).
    Deadlines and schedules (``instants``), under every registry that is served (``serving``).
    Statuses, flags and notices (``judge``).

When it checks
    *Must not* is checked when something is shown: a run that was fired is compared with the state of
    its partition at that instant. *Must* is checked at rest (``at_rest``): faults have stopped and
    sweeps have passed, so everything that is ready and not held has been fired, each deadline and
    schedule instant has acted, and each notice was sent once.

When it does not know
    Answers are True, False or None; instants are spans. None, or the whole span, means that the
    specification leaves a choice or that it is not visible outside. Each such place is named where it
    occurs (``needs`` lists those about data). A rule is reported only if it is certainly violated.

How it computes
    From scratch, each time: all loads of a date, in the order of the commits, for every question.
    Nothing is aggregated or cached, except the state of a generation's needs when it was fired, since
    that is what the generation consumed.

``Judge.see`` takes observations, ``Judge.at_rest`` says that nothing is due, and ``Judge.broken`` lists
the violations: the rule, the section of the specification, the partition, the instant and why.
"""

from coordinator.judge.judge import Judge
from coordinator.judge.report import Broken

__all__ = ["Broken", "Judge"]
