"""The shapes of what is shown: frozen values of the core as JSON objects.

Owns the names and units of every field that ``status`` answers with. Refuses to read a store or to
judge. Instants are RFC 3339 in UTC with a ``Z``; lease tokens are never shown.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from coordinator.core.effects import launch_id
from coordinator.core.explain import (
    fired,
    hold_sentence,
    requirement_sentence,
    source_sentence,
    undelivered,
    upstream_sentence,
    why,
)
from coordinator.core.model import (
    Arrival,
    Attempt,
    Flag,
    OutboxEntry,
    Outcome,
    Partition,
    Pause,
    Run,
    Status,
    TableDate,
    Transition,
    Waiver,
)
from coordinator.core.readiness import (
    Hold,
    RequirementVerdict,
    SourceVerdict,
    Verdict,
)
from coordinator.core.schedule import instant
from coordinator.core.spec import (
    ClockTime,
    DeadlineAction,
    LaunchTarget,
    ProcessorSpec,
    Requirement,
    ScheduleWhen,
)
from coordinator.documents import AuditEntry, LedgerEntry, Quarantined
from coordinator.errors import BadInput
from coordinator.wire import inputs_of, instant_text, read_envelope

View = dict[str, Any]
"""A JSON object."""

PREVIEW_CHARACTERS = 2000
"""How much of a quarantined message is shown as text."""


# ── partitions ───────────────────────────────────────────────────────────────────────────────


def partition_row(
    partition: Partition,
    spec: ProcessorSpec,
    verdict: Verdict,
    upstream: Sequence[Partition] = (),
    behind: int | None = None,
) -> View:
    """One line of a date's status: what it is, how far, and why.

    ``upstream`` are partitions whose outputs it waits for; the sentence says where they stand.
    ``behind`` is how many launches are before its own where that waits for a free worker.
    """
    sentences = [why(partition, spec, verdict, behind=behind), *map(upstream_sentence, upstream)]
    return {
        "processor": partition.processor,
        "phase": spec.phase,
        "game_date": partition.game_date,
        "status": partition.status.value,
        "flags": [f.value for f in partition.flags],
        "requirements": {"met": verdict.met_count, "total": len(verdict.requirements)},
        "why": " ".join(sentences),
        "run": run_row(partition),
        "expected_at": expected_at(partition, spec, verdict),
        "generation": partition.generation,
        "wake_at": instant_text(partition.wake_at),
    }


def run_row(partition: Partition) -> View | None:
    """The run of the latest generation in three words; None before the first."""
    if partition.live is not None:
        live = partition.live
        return {"run_id": live.run_id, "status": live.status.value, "attempt": live.attempt}
    last = partition.outcome
    if last is None or partition.run_id is None or last.generation != partition.generation:
        return None
    return {"run_id": partition.run_id, "status": last.status.value, "attempt": last.attempt}


def expected_at(partition: Partition, spec: ProcessorSpec, verdict: Verdict) -> str | None:
    """When the next launch is to be expected, where time alone brings it; else None.

    It is the end of the last hold of a held partition (an ended grace may come earlier), the end
    of a back-off, or for one that waits the instant at which a deadline or schedule fires anyway;
    never an instant that is past.
    """
    if partition.live is not None:
        launch_at = partition.live.current.launch_at
        return instant_text(launch_at) if launch_at > verdict.at else None
    if Flag.PAUSED in partition.flags:
        return None
    if verdict.holds:
        ends = [h.until for h in verdict.holds]
        known = [e for e in ends if e is not None]
        return instant_text(max(known)) if len(known) == len(ends) else None
    if partition.status is not Status.WAITING:
        return None
    policy, now = spec.policy, verdict.at
    clocks: list[ClockTime] = [e.at for e in policy.schedule if e.when is ScheduleWhen.ALWAYS]
    deadline = policy.deadline
    if deadline and deadline.then is DeadlineAction.FIRE:
        clocks.append(deadline.at)
    instants = [instant(partition.game_date, c, spec.timezone) for c in clocks]
    return instant_text(min((i for i in instants if i > now), default=None))


def partition_whole(
    partition: Partition,
    spec: ProcessorSpec,
    verdict: Verdict,
    upstream: Sequence[Partition] = (),
    behind: int | None = None,
    *,
    stored: bool,
) -> View:
    """Everything a partition is decided from, judged."""
    deadline = spec.policy.deadline
    due = instant(partition.game_date, deadline.at, spec.timezone) if deadline else None
    return {
        **partition_row(partition, spec, verdict, upstream, behind),
        "partition_id": partition.id,
        "stored": stored,
        "output": spec.output,
        "revision": partition.revision,
        "created_at": instant_text(partition.created_at) if stored else None,
        "registry_hash": partition.registry_hash,
        "verdict": verdict_view(verdict),
        "games": list(partition.games[partition.game_date])
        if partition.game_date in partition.games
        else None,
        "arrivals": [table_date_view(t) for _, t in sorted(partition.arrivals.items())],
        "newer_data": newer_data(verdict),
        "refires": partition.refires,
        "max_refires": spec.policy.max_refires,
        "outcome": outcome_view(partition.outcome),
        "skip": {
            "reason": partition.skip.reason,
            "actor": partition.skip.actor,
            "at": instant_text(partition.skip.at),
        }
        if partition.skip
        else None,
        "waivers": [waiver_view(w, verdict) for w in partition.waivers],
        "pauses": [pause_view(p) for p in partition.pauses],
        "deadline": {
            "at": instant_text(due),
            "then": deadline.then.value,
            "done": partition.deadline_over(due),
        }
        if deadline and due
        else None,
        "schedule": [
            {
                "at": instant_text(instant(partition.game_date, e.at, spec.timezone)),
                "when": e.when.value,
            }
            for e in spec.policy.schedule
        ],
        "outbox": [outbox_view(e) for e in partition.outbox],
        "history": [transition_view(t) for t in partition.history],
    }


def newer_data(verdict: Verdict) -> list[View]:
    """What came in since the latest generation was fired, and it did not consume."""
    return [
        {
            "requirement": d.key,
            "table": d.table,
            "game_date": d.game_date,
            "games": list(d.games),
            "ready": d.ready,
        }
        for d in verdict.dirty
    ]


def verdict_view(verdict: Verdict) -> View:
    """The verdict tree: every requirement and source with state, evidence and sentence."""
    return {
        "at": instant_text(verdict.at),
        "ready": verdict.critical_met and not verdict.off_day,
        "critical_met": verdict.critical_met,
        "optional_met": verdict.optional_met,
        "off_day": verdict.off_day,
        "ready_since": instant_text(verdict.ready_since),
        "holds": [hold_view(h) for h in verdict.holds],
        "refires_spent": verdict.refires_spent,
        "changed_games": list(verdict.changed_games),
        "warnings": list(verdict.warnings),
        "wake_at": instant_text(verdict.wake_at),
        "requirements": [requirement_view(r) for r in verdict.requirements],
    }


def hold_view(hold: Hold) -> View:
    return {
        "kind": hold.kind.value,
        "until": instant_text(hold.until),
        "detail": hold.detail,
        "sentence": hold_sentence(hold),
    }


def requirement_view(judged: RequirementVerdict) -> View:
    """One requirement, with the rule it was judged by and its leaves."""
    requirement = judged.requirement
    return {
        "key": judged.key,
        "kind": requirement.kind.value,
        "critical": requirement.critical,
        "state": judged.state.value,
        "met": judged.met,
        "sentence": requirement_sentence(judged),
        "since": instant_text(judged.since),
        "used": list(judged.used),
        "prefer_until": instant_text(judged.prefer_until),
        "warnings": list(judged.warnings),
        "rule": rule_view(requirement),
        "sources": [source_view(s) for s in judged.sources],
        "days": [
            {
                "game_date": d.game_date,
                "met": d.met,
                "state": d.state,
                "record_count": d.record_count,
                "event_ids": list(d.event_ids),
            }
            for d in judged.days
        ],
        "days_needed": judged.days_needed,
    }


def rule_view(requirement: Requirement) -> View:
    """What the registry asks of a requirement."""
    window = requirement.window
    return {
        "tables": list(requirement.sources),
        "needed": requirement.needed,
        "expected_count_min": requirement.expected_count_min,
        "expected_count_per_game": requirement.expected_count_per_game,
        "min_coverage": requirement.min_coverage,
        "max_age_warn_seconds": seconds(requirement.max_age_warn),
        "max_age_fail_seconds": seconds(requirement.max_age_fail),
        "offset_days": requirement.offset,
        "prefer_for_seconds": requirement.prefer_for.total_seconds(),
        "last_game_dates": window.game_dates if window else None,
        "window_days": window.days if window else None,
        "min_ready": window.min_ready if window else None,
    }


def seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def source_view(source: SourceVerdict) -> View:
    """One table on one date, with its evidence."""
    return {
        "table": source.table,
        "game_date": source.game_date,
        "state": source.state.value,
        "met": source.met,
        "sentence": source_sentence(source),
        "games_expected": source.games_expected,
        "games_loaded": source.games_loaded,
        "missing_games": list(source.missing_games),
        "unexpected_games": list(source.unexpected_games),
        "record_count": source.record_count,
        "minimum": source.minimum,
        "loaded_at": instant_text(source.loaded_at),
        "oldest_at": instant_text(source.oldest),
        "stale_at": instant_text(source.stale_at),
        "since": instant_text(source.since),
        "event_ids": list(source.event_ids),
        "warnings": list(source.warnings),
        "waived_by": source.waiver.actor if source.waiver else None,
        "state_without_waiver": source.unwaived_state.value if source.unwaived_state else None,
    }


def outcome_view(outcome: Outcome | None) -> View | None:
    """How the last finished generation ended."""
    if outcome is None:
        return None
    return {
        "status": outcome.status.value,
        "generation": outcome.generation,
        "attempt": outcome.attempt,
        "at": instant_text(outcome.at),
        "record_count": outcome.record_count,
        "error": outcome.error,
    }


def waiver_view(waiver: Waiver, verdict: Verdict) -> View:
    return {
        "table": waiver.table,
        "reason": waiver.reason,
        "actor": waiver.actor,
        "at": instant_text(waiver.at),
        "until": instant_text(waiver.until),
        "open": waiver.open_at(verdict.at),
        "closed_at": instant_text(waiver.closed_at),
        "closed_because": waiver.closed_because,
    }


def under_pauses(partition: Partition, pauses: Sequence[Pause]) -> Partition:
    """A partition under the pauses there are now: one with a live run is decided without them."""
    others = [f for f in partition.flags if f is not Flag.PAUSED]
    flags = [Flag.PAUSED, *others] if pauses else others
    return replace(partition, pauses=tuple(pauses), flags=tuple(flags))


def pause_view(pause: Pause) -> View:
    return {
        "scope": pause.scope,
        "reason": pause.reason,
        "actor": pause.actor,
        "at": instant_text(pause.at),
    }


def outbox_view(entry: OutboxEntry) -> View:
    """An effect that was committed and is not delivered yet."""
    return {
        "effect_id": entry.effect_id,
        "kind": entry.kind.value,
        "subject": entry.subject,
        "created_at": instant_text(entry.created_at),
        "due_at": instant_text(entry.due_at),
        "tries": entry.tries,
        "last_error": entry.last_error,
    }


def transition_view(transition: Transition) -> View:
    return {
        "at": instant_text(transition.at),
        "what": transition.what,
        "detail": transition.detail,
        "actor": transition.actor,
    }


# ── runs ─────────────────────────────────────────────────────────────────────────────────────


def run_brief(run: Run) -> View:
    """One line of a list of runs."""
    return {
        "run_id": run.run_id,
        "processor": run.processor,
        "game_date": run.game_date,
        "generation": run.generation,
        "trigger": run.trigger.value,
        "status": run.status.value,
        "attempt": run.attempt,
        "fired_at": instant_text(run.fired_at),
        "ended_at": instant_text(run.ended_at),
        "duration_seconds": _elapsed(run.fired_at, run.ended_at),
        "record_count": run.record_count,
        "error": run.error,
        "owner": run.current.owner if run.attempts else None,
        "event_ids": sorted({e for i in run.inputs for e in i.event_ids}),
        "correlation_id": run.correlation_id,
    }


def run_whole(run: Run, target: LaunchTarget | None, partition: Partition | None) -> View:
    """A run with its attempts, timings, exact inputs and explanation (law 6).

    ``target`` is where its processor launches now; ``partition`` holds what is not delivered.
    """
    return {
        **run_brief(run),
        "registry_hash": run.registry_hash,
        "fired_by": fired(run),
        "explanation": run.explanation,
        "reason": run.reason,
        "actor": run.actor,
        "bypassed": list(run.bypassed),
        "unmet": list(run.unmet),
        "skip_downstream": run.skip_downstream,
        "changed_games": list(run.changed_games),
        "changed_tables": list(run.changed_tables),
        "warnings": list(run.warnings),
        "inputs": inputs_of(run),
        "launch": launch_view(run, target, partition),
        "lease_expires_at": instant_text(run.lease_expires_at) if run.live else None,
        "attempts": [attempt_view(a) for a in run.attempts],
        "transitions": [transition_view(t) for t in run.transitions],
    }


def launch_view(run: Run, target: LaunchTarget | None, partition: Partition | None) -> View:
    """Where a run's launches go, and what keeps the current one from being delivered."""
    launch = undelivered(partition, launch_id(run.run_id, run.attempt)) if partition else None
    return {
        "kind": target.kind.value if target else None,
        "address": target.address if target else "",
        "tries": launch.tries if launch else 0,
        "last_error": launch.last_error if launch else None,
        "next_try_at": instant_text(launch.due_at) if launch else None,
    }


def attempt_view(attempt: Attempt) -> View:
    """One launch of a run, with how long each leg of it took."""
    delivered, claimed, ended = attempt.delivered_at, attempt.claimed_at, attempt.ended_at
    return {
        "number": attempt.number,
        "launch_at": instant_text(attempt.launch_at),
        "delivered_at": instant_text(delivered),
        "message_id": attempt.message_id,
        "claimed_at": instant_text(claimed),
        "owner": attempt.owner,
        "ended_at": instant_text(ended),
        "error": attempt.error,
        "delivery_seconds": _elapsed(attempt.launch_at, delivered),
        "claim_seconds": _elapsed(delivered, claimed),
        "run_seconds": _elapsed(claimed, ended),
    }


def _elapsed(since: datetime | None, until: datetime | None) -> float | None:
    """Seconds between two instants, none where a clock stepped back between them."""
    if since is None or until is None:
        return None
    return max(0.0, (until - since).total_seconds())


# ── loads ────────────────────────────────────────────────────────────────────────────────────


def arrival_view(arrival: Arrival) -> View:
    """One load as an event reported it."""
    return {
        "event_id": arrival.event_id,
        "status": arrival.status.value,
        "record_count": arrival.record_count,
        "game_ids": list(arrival.game_ids),
        "timestamp": instant_text(arrival.timestamp),
        "received_at": instant_text(arrival.received_at),
        "content_hash": arrival.content_hash,
        "quiet": arrival.quiet,
        "correlation_id": arrival.correlation_id,
    }


def table_date_view(folded: TableDate) -> View:
    """The loads of one table on one date, folded: the newest facts."""
    loads = sorted(folded.arrivals.values(), key=lambda a: (a.received_at, a.event_id))
    return {
        "table": folded.table,
        "game_date": folded.game_date,
        "whole": folded.whole,
        "games": dict(sorted(folded.games.items())),
        "loads": [arrival_view(a) for a in loads],
        "last_failure": arrival_view(folded.last_failure) if folded.last_failure else None,
    }


def ledger_row(entry: LedgerEntry) -> View:
    """One event of the ledger."""
    return {
        **arrival_view(entry.arrival),
        "table": entry.table,
        "game_date": entry.game_date,
        "outcome": entry.outcome,
        "execution_id": entry.execution_id,
        "processor_name": entry.processor_name,
        "source_scraper_execution_id": entry.source_scraper_execution_id,
        "message_id": entry.message_id,
        "warnings": list(entry.warnings),
    }


# ── quarantine and audit ─────────────────────────────────────────────────────────────────────


def quarantine_view(entry: Quarantined, most_bytes: int | None) -> View:
    """A quarantined message. ``raw`` is left out (None) where it is longer than ``most_bytes``."""
    shown = most_bytes is None or len(entry.raw) <= most_bytes
    return {
        "quarantine_id": entry.quarantine_id,
        "received_at": instant_text(entry.received_at),
        "source": entry.source,
        "state": entry.state,
        "reason": entry.reason,
        "mistakes": list(entry.mistakes),
        "message_id": entry.message_id,
        "correlation_id": entry.correlation_id,
        "game_date": entry.game_date,
        "times_seen": entry.times_seen,
        "raw_bytes": len(entry.raw),
        "raw": base64.b64encode(entry.raw).decode() if shown else None,
        "text": _preview(entry.raw),
        "data_text": _data_preview(entry.raw) if entry.source == "push" else None,
        "settled_at": instant_text(entry.settled_at),
        "settled_by": entry.settled_by,
        "settled_reason": entry.settled_reason,
    }


def _preview(raw: bytes) -> str | None:
    """The beginning of a message as text, or None where it is not UTF-8."""
    try:
        return raw.decode("utf-8")[:PREVIEW_CHARACTERS]
    except UnicodeDecodeError:
        return None


def _data_preview(raw: bytes) -> str | None:
    """What a push envelope wraps, as text, or None where that cannot be shown."""
    try:
        return _preview(read_envelope(raw).data)
    except BadInput:
        return None


def audit_view(entry: AuditEntry) -> View:
    """Who did what, when, to what, why, and what came of it."""
    detail: Mapping[str, Any] = entry.detail
    return {
        "audit_id": entry.audit_id,
        "at": instant_text(entry.at),
        "actor": entry.actor,
        "act": entry.act,
        "reason": entry.reason,
        "processor": entry.processor,
        "game_date": entry.game_date,
        "detail": dict(detail),
        "result": entry.result,
    }
