"""Runs: their attempts, claims, leases, ends and outputs, and the notices about them.

Owns section 4.2 of the specification, and 3.2. Every change of a run is compared with the run as it
was shown before: whether the change is allowed, and not too early.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from coordinator.judge.ledger import Ledger
from coordinator.judge.observations import (
    Acted,
    AttemptShown,
    Granted,
    Launched,
    Noticed,
    Recorded,
    ReportAccepted,
    Reporting,
    RunShown,
)
from coordinator.judge.rules import ProcessorRules
from coordinator.judge.story import GOOD, PartitionStory

Break = Callable[[str, str, str, str], None]
ANNOUNCED = ("success", "no_data")
LONGEST_BACKOFF = timedelta(hours=1)
UNDELIVERABLE_AFTER = timedelta(minutes=10)
_NEXT = {
    "pending": ("pending", "delivered", "running", "cancelled"),
    "delivered": ("delivered", "running", "pending", "failed", "cancelled"),
    "running": ("running", "pending", "success", "no_data", "skipped", "failed", "cancelled"),
}
PATIENCE = timedelta(minutes=2)
"""Longer than a sweep and a delivery take."""


@dataclass(slots=True)
class RunRecords:
    """Every run that was shown."""

    broken: Break
    shown: dict[str, RunShown] = field(default_factory=dict)
    launches: dict[tuple[str, int], list[tuple[datetime, Launched]]] = field(default_factory=dict)
    grants: dict[tuple[str, int], Granted] = field(default_factory=dict)
    reports: list[tuple[datetime, Reporting]] = field(default_factory=list)
    ends: dict[tuple[str, str], str] = field(default_factory=dict)
    """(run, token) → how the attempt that it held ended."""
    lost: dict[str, list[tuple[str, bool]]] = field(default_factory=dict)
    """Run → ``lease_lost`` or ``unclaimed`` for each attempt that ended so, and whether that is
    certain: if a failed report was in transit when the lease ended, either may have ended it."""
    notices: dict[tuple[str, str], list[Noticed]] = field(default_factory=dict)
    """(run, kind) → the notices about it."""
    backoffs: dict[tuple[str, int], tuple[timedelta, timedelta]] = field(default_factory=dict)
    """(run, attempt) → ``elapsed`` when it was decided on, and how long it is to wait."""
    outputs: set[str] = field(default_factory=set)
    elapsed: timedelta = timedelta(0)
    """How much time has passed, however clocks were set back meanwhile."""
    patience: timedelta = PATIENCE

    # ── a run as it is shown ─────────────────────────────────────────────────────────────────

    def show(
        self, run: RunShown, at: datetime, policies: Sequence[ProcessorRules], acts: Sequence[Acted]
    ) -> None:
        """A run has changed: was that allowed?"""
        before = self.shown.get(run.run_id)
        self.shown[run.run_id] = run
        if before is None:
            if run.status != "pending" or len(run.attempts) != 1:
                self.broken("run.begins", "4", run.run_id, f"begins as {run.status}")
            return
        self._unchanged(before, run)
        if not before.live:
            if (before.status, before.ended_at) != (run.status, run.ended_at):
                self.broken(
                    "run.over", "4 law 2", run.run_id, f"ended as {before.status}, is {run.status}"
                )
            return
        if run.status not in _NEXT[before.status]:
            self.broken("run.status", "4", run.run_id, f"went from {before.status} to {run.status}")
        rose = run.attempt.number - before.attempt.number
        if rose not in (0, 1):
            self.broken("run.attempts", "4", run.run_id, f"went on by {rose} attempts")
        if rose == 1:
            self._attempt_over(before, run, run.attempts[-2], policies)
            self._next_attempt(run, policies)
        elif run.status == "failed":
            self._attempt_over(before, run, run.attempt, policies)
            if run.attempt.number < min((p.attempts for p in policies), default=1):
                self.broken(
                    "run.attempts", "4", run.run_id, f"failed after attempt {run.attempt.number}"
                )
        elif run.status == "cancelled":
            if not any(
                a.done
                and (a.processor, a.game_date) == run.partition
                and (a.act == "reset" or (a.act == "skip" and a.detail.get("end_run")))
                for a in acts
            ):
                self.broken("run.cancelled", "4", run.run_id, "was cancelled, and nobody did")
        elif run.status in GOOD:
            self._reported(run, run.status)
        elif run.status == "delivered" and before.status == "pending":
            self._delivered(run)
        elif run.status == "running":
            self._running(before, run, policies)

    def _unchanged(self, before: RunShown, run: RunShown) -> None:
        names = (
            "trigger",
            "fired_at",
            "generation",
            "bypassed",
            "inputs",
            "changed_games",
            "reason",
        )
        for name in names:
            if getattr(before, name) != getattr(run, name):
                self.broken(
                    "run.rewritten", "4 law 6", run.run_id, f"has another {name} than before"
                )

    def _attempt_over(
        self,
        before: RunShown,
        run: RunShown,
        attempt: AttemptShown,
        policies: Sequence[ProcessorRules],
    ) -> None:
        """An attempt was spent: a failed report, a lost lease or a missed claim."""
        ended = attempt.ended_at
        if ended is None:
            self.broken("run.attempts", "4", run.run_id, f"attempt {attempt.number} has no end")
            return
        if before.status == "running":
            held = before.attempt.claimed_at
            ends = [before.lease_expires_at] if before.lease_expires_at else []
            ends += [held + p.run_timeout for p in policies if held is not None]
            reported = self._was_reported(run.run_id, "failed", before.attempt)
            if ends and ended < min(ends):
                if reported:
                    return
                self.broken(
                    "run.lease",
                    "4",
                    run.run_id,
                    f"attempt {attempt.number} was ended at {ended:%H:%M:%S}, "
                    f"its lease was active until {min(ends):%H:%M:%S}",
                )
            self.lost.setdefault(run.run_id, []).append(("lease_lost", not reported))
        elif before.status == "delivered":
            since = before.attempt.delivered_at
            wait = min((p.claim_timeout for p in policies), default=timedelta(0))
            if since is not None and ended < since + wait:
                self.broken(
                    "run.claim_timeout",
                    "4",
                    run.run_id,
                    f"attempt {attempt.number} counted as unclaimed after {ended - since}",
                )
            self.lost.setdefault(run.run_id, []).append(("unclaimed", True))
        else:
            self.broken("run.attempts", "4", run.run_id, "an attempt was spent before its delivery")

    def _was_reported(self, run_id: str, status: str, attempt: AttemptShown) -> bool:
        grant = self.grants.get((run_id, attempt.number))
        return any(
            r.run_id == run_id and r.status == status and (grant is None or r.token == grant.token)
            for _, r in self.reports
        )

    def _next_attempt(self, run: RunShown, policies: Sequence[ProcessorRules]) -> None:
        spent, following = run.attempts[-2:]
        if following.number > max((p.attempts for p in policies), default=1):
            self.broken("run.attempts", "4", run.run_id, f"has an attempt {following.number}")
        if spent.ended_at is None or not policies:
            return
        wait = following.launch_at - spent.ended_at
        self.backoffs[run.run_id, following.number] = self.elapsed, wait
        least = min(p.retry_backoff for p in policies)
        most = max(max(LONGEST_BACKOFF, p.retry_backoff) for p in policies)
        # How it grows is the service's; the first wait is what the registry says.
        first = spent.number == 1
        if not least <= wait <= most or (first and wait not in {p.retry_backoff for p in policies}):
            self.broken(
                "run.backoff",
                "2 retry_backoff",
                run.run_id,
                f"attempt {following.number} is to be launched {wait} after the last",
            )

    def _reported(self, run: RunShown, status: str) -> None:
        mine = [r for _, r in self.reports if r.run_id == run.run_id and r.status == status]
        if not mine:
            self.broken("run.reported", "3.2", run.run_id, f"is {status}, and nobody reported that")
        elif all(r.record_count != run.record_count for r in mine):
            self.broken("run.reported", "3.2", run.run_id, f"has {run.record_count} rows")

    def _delivered(self, run: RunShown) -> None:
        launched = self.launches.get((run.run_id, run.attempt.number), [])
        if all(x.proof != run.attempt.message_id for _, x in launched):
            self.broken("run.delivered", "4", run.run_id, "counts as delivered without proof")

    def _running(self, before: RunShown, run: RunShown, policies: Sequence[ProcessorRules]) -> None:
        attempt = run.attempt
        if before.status == "running":
            if before.attempt.owner != attempt.owner:
                self.broken("run.owner", "4 law 2", run.run_id, "changed hands")
            return
        launched = self.launches.get((run.run_id, attempt.number), [])
        if not any(x.taken for _, x in launched):
            self.broken("run.claimed", "4", run.run_id, "was claimed and never launched")
        most = max((p.heartbeat_timeout for p in policies), default=timedelta(0))
        if attempt.claimed_at is None or run.lease_expires_at is None:
            self.broken("run.lease", "4", run.run_id, "runs without a lease")
        elif run.lease_expires_at > attempt.claimed_at + most:
            self.broken("run.lease", "4", run.run_id, "has a longer lease than heartbeat_timeout")

    # ── what runners and targets saw ─────────────────────────────────────────────────────────

    def launched(self, seen: Launched, run: RunShown, at: datetime) -> None:
        """A launch reached its target."""
        number = int(seen.message["attempt"])
        self.launches.setdefault((run.run_id, number), []).append((at, seen))
        attempt = next((a for a in run.attempts if a.number == number), None)
        if attempt is None:
            self.broken("launch.attempt", "6", run.run_id, f"attempt {number} was never decided on")
            return
        decided_at, wait = self.backoffs.get((run.run_id, number), (self.elapsed, timedelta(0)))
        # Clocks may have been set back since, or differ: then the time that passed counts.
        if (seen.clock or at) < attempt.launch_at and self.elapsed - decided_at < wait:
            self.broken(
                "run.backoff",
                "2 retry_backoff",
                run.run_id,
                f"attempt {number} was launched at {seen.clock or at:%H:%M:%S}, "
                f"before {attempt.launch_at:%H:%M:%S}",
            )

    def granted(self, seen: Granted, at: datetime) -> None:
        """A claim was granted."""
        key = (seen.run_id, seen.attempt)
        known = self.grants.setdefault(key, seen)
        if known.owner != seen.owner:
            self.broken(
                "run.owner",
                "4 law 2",
                seen.run_id,
                f"attempt {seen.attempt} went to {known.owner} and to {seen.owner}",
            )
        elif known.token != seen.token:
            self.broken("run.token", "4", seen.run_id, f"has two tokens for {seen.owner}")
        run = self.shown.get(seen.run_id)
        if run is None or all(
            a.number != seen.attempt or a.owner != seen.owner for a in run.attempts
        ):
            self.broken(
                "run.claimed", "5.3", seen.run_id, f"was granted to {seen.owner}, not shown"
            )

    def completed(self, seen: ReportAccepted, at: datetime) -> None:
        """A report was answered as accepted: it must be how the attempt ended."""
        run = self.shown.get(seen.run_id)
        if run is None:
            self.broken("run.reported", "5.3", seen.run_id, "a report of no run was accepted")
            return
        attempts = [
            n for (r, n), g in self.grants.items() if r == seen.run_id and g.token == seen.token
        ]
        if not attempts:
            self.broken(
                "run.reported", "4 law 2", seen.run_id, "a report with no lease was accepted"
            )
            return
        number = attempts[0]
        attempt = next((a for a in run.attempts if a.number == number), None)
        last = attempt is run.attempt
        ended_so = (last and run.status == seen.status) or (
            seen.status == "failed" and attempt is not None and attempt.ended_at is not None
        )
        if not ended_so:
            self.broken(
                "run.reported",
                "4 law 2",
                seen.run_id,
                f"a {seen.status} report of attempt {number} was accepted; the run is {run.status}",
            )

    def announced(self, row: Recorded, run: RunShown) -> None:
        """A run's output is in the ledger: is it what the run reported?"""
        self.outputs.add(run.run_id)
        if run.status not in ANNOUNCED:
            self.broken("output", "3.2", run.run_id, f"is {run.status} and is announced")
            return
        if row.game_date != run.game_date:
            self.broken("output", "3.2", run.run_id, f"is announced for {row.game_date}")
        if (row.status, row.record_count) != (run.status, run.record_count):
            self.broken(
                "output",
                "3.2",
                run.run_id,
                f"is announced as {row.status} of {row.record_count}, "
                f"and was {run.status} of {run.record_count}",
            )
        if row.quiet != run.skip_downstream:
            self.broken("output.quiet", "3.2", run.run_id, f"is announced with quiet {row.quiet}")

    def noticed(self, seen: Noticed, where: str) -> None:
        """A notice about a run."""
        found = [r for r in self.shown if re.search(rf"{re.escape(r)}(?![0-9])", seen.summary)]
        if not found:
            self.broken("notice.run", "6", where, f"names no run: {seen.summary}")
            return
        run = self.shown[found[0]]
        received = self.notices.setdefault((run.run_id, seen.kind), [])
        received.append(seen)
        if seen.kind == "run_failed":
            causes = int(run.status == "failed")
        elif seen.kind == "launch_undeliverable":
            causes = self._undeliverable(run, [x.at for x in received])
        else:
            causes = sum(kind == seen.kind for kind, _ in self.lost.get(run.run_id, ()))
        if len(received) > causes:
            self.broken(
                f"notice.{seen.kind}",
                "6",
                where,
                f"notice {len(received)} for {causes} cause(s): {seen.summary}",
            )

    def _undeliverable(self, run: RunShown, decided: Sequence[datetime]) -> int:
        """How many attempts were refused and due for ten minutes, one for each of these notices.

        Clocks may differ, or jump between a refusal and its notice: the time of the notice counts,
        since the clock that showed it decided.
        """
        due = [
            a.launch_at
            for a in run.attempts
            if any(x.proof is None for _, x in self.launches.get((run.run_id, a.number), ()))
        ]
        # Notices may come in another order than they were decided on.
        pairs = zip(sorted(decided), sorted(due), strict=False)
        return sum(at >= since + UNDELIVERABLE_AFTER for at, since in pairs)

    # ── at rest ──────────────────────────────────────────────────────────────────────────────

    def at_rest(
        self,
        run: RunShown,
        processor: ProcessorRules,
        story: PartitionStory,
        ledger: Ledger,
        now: datetime,
    ) -> None:
        """Time has passed and faults have stopped."""
        attempt = run.attempt
        if run.status == "pending" and now > attempt.launch_at + self.patience:
            self.broken("run.stuck", "4 law 3", run.run_id, "its launch is due, and not delivered")
        if run.status == "delivered" and attempt.delivered_at is not None:
            waited = now - attempt.delivered_at - self.patience
            if waited > processor.claim_timeout:
                self.broken("run.claim_timeout", "4 law 4", run.run_id, "nobody has claimed it")
        if run.status == "running" and run.lease_expires_at is not None:
            assert attempt.claimed_at is not None
            end = min(run.lease_expires_at, attempt.claimed_at + processor.run_timeout)
            if now > end + self.patience:
                self.broken(
                    "run.lease", "4 law 4", run.run_id, f"its lease ended {end:%m-%d %H:%M}"
                )
        if run.status in ANNOUNCED and run.run_id not in self.outputs:
            self.broken(
                "output", "3.2", run.run_id, f"is {run.status}, its output is not announced"
            )
        if run.status == "failed" and not self.notices.get((run.run_id, "run_failed")):
            self.broken("notice.run_failed", "6", run.run_id, "failed, and no notice went out")
        for kind in ("lease_lost", "unclaimed"):
            causes = self.lost.get(run.run_id, []).count((kind, True))
            received = len(self.notices.get((run.run_id, kind), ()))
            if received < causes:
                self.broken(
                    f"notice.{kind}", "6", run.run_id, f"{causes} cause(s), {received} notice(s)"
                )
