"""A judge of the coordinator that owes it nothing.

The judge is a second reading of the contract: a small, slow, obvious model, written from the
contract alone. It imports nothing of the coordinator (an import rule holds it to that) and believes
nothing that the coordinator derived. So a rule that is built wrong cannot be judged by the same
wrong rule, and a rule that two people read differently shows.

What it sees (``observations``)
    What anybody outside could see, in the shapes of the public API: events as their senders wrote
    them, the ledger, the audit of people's acts, runs and partitions as they are shown, launches,
    claims and reports with their answers, notices, and the registry's text.

What it believes
    That an event was recorded, when it was received, and in which order commits came; which
    registry an instance serves; that a person's act was done; what a target or a runner answered.
    The content of an event is what its sender wrote, not what the ledger says of it.

What it holds against its model
    Everything else. Whether a load was superseded (``ledger``). Whether each requirement is met,
    and since when (``needs``). What is newer than the last generation consumed, every hold, the
    budget, waivers and pauses (``story``). Every change of a run: deliveries, claims, leases,
    attempts, back-offs, ends, outputs (``runs``). What a run consumes and what its launch says
    (``launches``). Deadlines and schedules (``instants``), under whichever registries are served
    (``serving``). Statuses, flags and notices (``judge``).

When it judges
    *Must not* is checked when something is shown: a run that was fired is held against the
    state of its partition at that instant. *Must* is checked when the world is at rest (``at_rest``):
    faults have stopped and sweeps have passed, so whatever is ready and not held has been fired,
    each deadline and schedule instant has acted, and each notice was sent once.

Where it does not say
    Answers are True, False or None; instants are spans. None, or the whole span, stands where the
    contract leaves a choice or it is not visible outside. Each such place is named where it is made
    (``needs`` lists those about data); a rule is called broken only beyond doubt.

How it works things out
    From scratch, each time: all loads of a date, in the order of the commits, for every question.
    Nothing is folded, cached or kept up to date, but for one note per generation of the state of
    its needs when it was fired, since that is what it consumed.

``Judge.see`` takes observations, ``Judge.at_rest`` says that the world rests, ``Judge.broken`` lists
what does not hold: the rule, the section of the contract, the partition, the instant and why.
"""

from coordinator.judge.judge import Judge
from coordinator.judge.report import Broken

__all__ = ["Broken", "Judge"]
