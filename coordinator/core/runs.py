"""A run after it was fired: delivery, claim, heartbeats, report, and the attempts it may spend.

Owns every step of a live run, and the effects that come and go with it. Refuses to create one (see
``firing``).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from coordinator.core import effects
from coordinator.core.choices import RunStatus
from coordinator.core.draft import Draft
from coordinator.core.facts import (
    Claimed,
    Completed,
    Delivered,
    DeliveryFailed,
    Heartbeat,
    Reply,
    ReportRefused,
)
from coordinator.core.model import (
    ANNOUNCED,
    REPORTABLE_STATUSES,
    Attempt,
    EffectKind,
    OutboxEntry,
    Outcome,
    Run,
    Transition,
    run_id,
)
from coordinator.core.words import words_for

TRANSITIONS_PER_RUN_LIMIT = 100
RETRY_BACKOFF_CAP = timedelta(hours=1)
DELIVERY_BACKOFF_CAP = timedelta(minutes=1)
UNDELIVERABLE_AFTER = timedelta(minutes=10)

Answer = tuple[Draft, Reply]

_GONE = Reply(code="unchanged", detail="that effect is not in the outbox any more")
_REPORTED = Reply(code="unchanged", detail="already reported")


def noted(run: Run, now: datetime, what: str, detail: str = "", actor: str | None = None) -> Run:
    """The run with one more line in its history."""
    line = Transition(at=now, what=what, detail=detail[:1000], actor=actor)
    kept = run.transitions[-(TRANSITIONS_PER_RUN_LIMIT - 1) :]
    return replace(run, transitions=(*kept, line))


def _advance(
    draft: Draft, run: Run, what: str, detail: str = "", actor: str | None = None
) -> Draft:
    """Put a live run's new version in place, with a line in its history."""
    return _put(draft, noted(run, draft.now, what, detail, actor))


def _put(draft: Draft, run: Run) -> Draft:
    execution = replace(draft.execution, live=run if run.live else None)
    return draft._replace(execution=execution, runs={**draft.runs, run.run_id: run})


# ── delivery ─────────────────────────────────────────────────────────────────────────────────


def delivered(draft: Draft, fact: Delivered) -> Answer:
    """An effect was delivered. It leaves the outbox; of a launch the run goes on."""
    entry = _entry(draft, fact.effect_id)
    if entry is None:
        return draft, _GONE
    draft, run = _drop(draft, fact.effect_id), draft.live
    if (
        entry.kind is EffectKind.LAUNCH
        and run is not None
        and run.status is RunStatus.PENDING
        and effects.launch_id(run.run_id, run.attempt) == fact.effect_id
    ):
        attempt = replace(run.current, delivered_at=draft.now, message_id=fact.message_id)
        run = replace(run, status=RunStatus.DELIVERED, attempts=(*run.attempts[:-1], attempt))
        draft = _advance(draft, run, "delivered", fact.message_id)
    return draft, Reply()


def delivery_failed(draft: Draft, fact: DeliveryFailed) -> Answer:
    """A delivery failed. It is retried for ever, with a back-off; people are notified once."""
    entry = _entry(draft, fact.effect_id)
    if entry is None:
        return draft, _GONE
    pause = min(timedelta(seconds=2.0 ** min(entry.tries, 10)), DELIVERY_BACKOFF_CAP)
    tried = replace(
        entry, tries=entry.tries + 1, due_at=draft.now + pause, last_error=fact.error[:1000]
    )
    outbox = tuple(tried if e is entry else e for e in draft.journal.outbox)
    draft = draft._replace(journal=replace(draft.journal, outbox=outbox))
    waited = draft.now - max(entry.created_at, _first_due(draft, entry))
    if waited < UNDELIVERABLE_AFTER:
        return draft, Reply()
    if entry.kind is EffectKind.ANNOUNCE:
        draft = draft.notify(
            "announcement_undeliverable",
            entry.subject,
            "error",
            f"The output of {entry.subject} could not be announced for {words_for(waited)}; "
            "subscribers have not received it.",
            fact.error[:1000],
        )
    if entry.kind is EffectKind.LAUNCH:
        draft = draft.notify(
            "launch_undeliverable",
            f"{entry.subject}:{entry.attempt}",
            "error",
            f"The launch of {entry.subject} could not be delivered for {words_for(waited)}.",
            fact.error[:1000],
        )
    return draft, Reply()


def _first_due(draft: Draft, entry: OutboxEntry) -> datetime:
    run = draft.live
    if run is not None and run.run_id == entry.subject and run.attempt == entry.attempt:
        return run.current.launch_at
    return entry.created_at


def _entry(draft: Draft, effect_id: str) -> OutboxEntry | None:
    return next((e for e in draft.journal.outbox if e.effect_id == effect_id), None)


def _drop(draft: Draft, effect_id: str) -> Draft:
    outbox = tuple(e for e in draft.journal.outbox if e.effect_id != effect_id)
    return draft._replace(journal=replace(draft.journal, outbox=outbox))


def _drop_launch(draft: Draft, run: Run) -> Draft:
    return _drop(draft, effects.launch_id(run.run_id, run.attempt))


# ── what runners report ────────────────────────────────────────────────────────────────────────


def claimed(draft: Draft, fact: Claimed) -> Answer:
    """A runner claims an attempt: one owner gets it, with a lease (law 2)."""
    if draft.live is not None and draft.live.status is RunStatus.RUNNING:
        draft = expire_attempt(draft)  # no token of a lease that ended is handed out again
    run = draft.live
    if run is None or run.generation != fact.generation:
        return draft, _not_live(draft, fact.generation)
    if run.attempt != fact.attempt:
        return draft, _other_attempt(run, fact.attempt)
    if run.status is RunStatus.RUNNING:
        if run.current.owner == fact.owner:
            return draft, Reply(code="unchanged", run=run)
        return draft, Reply(
            ok=False,
            code="taken",
            detail=f"{run.run_id} attempt {run.attempt} is claimed by {run.current.owner} "
            "and its lease is alive.",
        )
    attempt = replace(
        run.current,
        claimed_at=draft.now,
        owner=fact.owner,
        delivered_at=run.current.delivered_at or draft.now,
    )
    held = replace(
        run,
        status=RunStatus.RUNNING,
        attempts=(*run.attempts[:-1], attempt),
        lease_token=fact.token,
        lease_expires_at=draft.now + draft.policy.heartbeat_timeout,
    )
    draft = _advance(_drop_launch(draft, run), held, "claimed", fact.owner)
    return draft, Reply(run=draft.live)


def heartbeat(draft: Draft, fact: Heartbeat) -> Answer:
    """The owner is alive: its lease is extended, within the time a run may take."""
    run = draft.live
    if run is None or run.generation != fact.generation:
        return draft, _not_live(draft, fact.generation)
    if run.lease_token != fact.token or run.status is not RunStatus.RUNNING:
        return draft, _bad_token(run)
    assert run.current.claimed_at is not None
    if draft.now >= run.current.claimed_at + draft.policy.run_timeout:
        detail = f"{run.run_id} has used up its run_timeout."
        return draft, Reply(ok=False, code="over", detail=detail)
    assert run.lease_expires_at is not None
    until = max(run.lease_expires_at, draft.now + draft.policy.heartbeat_timeout)
    extended = replace(run, lease_expires_at=until)
    return _put(draft, extended), Reply(run=extended)


def completed(draft: Draft, fact: Completed) -> Answer:
    """The owner reports how its attempt ended."""
    run = draft.live
    if run is None or run.generation != fact.generation:
        last = draft.execution.outcome
        if (
            last is not None
            and last.generation == fact.generation
            and last.lease_token == fact.token
            and last.status is fact.status
        ):
            return draft, _REPORTED
        return draft, _not_live(draft, fact.generation)
    if run.lease_token != fact.token or run.status is not RunStatus.RUNNING:
        failed = fact.status is RunStatus.FAILED
        if failed and any(a.reported_token == fact.token for a in run.attempts):
            return draft, _REPORTED
        return draft, _bad_token(run)
    if fact.status not in REPORTABLE_STATUSES:
        return draft, Reply(ok=False, code="bad_status", detail=f"{fact.status} ends no run.")
    error = (fact.error or "")[:4000] or None
    if fact.status is RunStatus.FAILED:
        error = error or "the runner reported a failure"
        return _spend_attempt(draft, run, error, "failed", fact.token), Reply()
    draft = _end(draft, run, fact.status, fact.record_count, error, token=fact.token)
    return draft._replace(timers=replace(draft.timers, overdue=False)), Reply()


def report_refused(draft: Draft, fact: ReportRefused) -> Draft:
    """Record a refusal in the history of its run, live or ended; not twice in a row.

    Of a live run the partition knows more than the run's own document may.
    """
    live = draft.live
    is_live = live is not None and live.run_id == fact.run.run_id
    run = live if live is not None and is_live else draft.runs.get(fact.run.run_id, fact.run)
    refused = noted(run, draft.now, "refused", fact.detail)
    if run.transitions and _says_the_same(run.transitions[-1], refused.transitions[-1]):
        return draft
    if is_live:
        return _put(draft, refused)
    return draft._replace(runs={**draft.runs, run.run_id: refused})


def _says_the_same(line: Transition, other: Transition) -> bool:
    return (line.what, line.detail) == (other.what, other.detail)


def _not_live(draft: Draft, generation: int) -> Reply:
    subject = run_id(draft.before.processor, draft.before.game_date, generation)
    if generation > draft.execution.generation or generation < 1:
        return Reply(ok=False, code="unknown", detail=f"There is no run {subject}.")
    return Reply(ok=False, code="over", detail=f"Run {subject} is over.")


def _other_attempt(run: Run, attempt: int) -> Reply:
    words = "over" if attempt < run.attempt else "not launched yet"
    return Reply(
        ok=False,
        code="stale",
        detail=f"Attempt {attempt} of {run.run_id} is {words}; "
        f"the current attempt is {run.attempt}.",
    )


def _bad_token(run: Run) -> Reply:
    return Reply(
        ok=False,
        code="stale",
        detail=f"That lease token does not hold {run.run_id}: the lease ended, or another "
        f"attempt (now {run.attempt}) took over. Stop, and discard the result.",
    )


# ── the end of an attempt, and of a run ──────────────────────────────────────────────────────


def expire_attempt(draft: Draft) -> Draft:
    """Spend the current attempt where nobody claimed it in time, or its owner lost the lease."""
    run, policy = draft.live, draft.policy
    if run is None:
        return draft
    attempt = run.current
    if run.status is RunStatus.DELIVERED:
        assert attempt.delivered_at is not None
        if draft.now >= attempt.delivered_at + policy.claim_timeout:
            within = words_for(policy.claim_timeout)
            error = f"nobody claimed it within {within}: is a runner reading there?"
            return _lost(draft, run, "unclaimed", error)
    elif run.status is RunStatus.RUNNING:
        assert attempt.claimed_at is not None
        assert run.lease_expires_at is not None
        if draft.now >= attempt.claimed_at + policy.run_timeout:
            error = f"ran longer than {words_for(policy.run_timeout)}"
            return _lost(draft, run, "lease_lost", error)
        if draft.now >= run.lease_expires_at:
            error = f"no heartbeat within {words_for(policy.heartbeat_timeout)}"
            return _lost(draft, run, "lease_lost", error)
    return draft


def _lost(draft: Draft, run: Run, kind: str, error: str) -> Draft:
    summary = f"Attempt {run.attempt} of {run.run_id}: {kind.replace('_', ' ')}."
    draft = draft.notify(kind, f"{run.run_id}:{run.attempt}", "warning", summary, error)
    return _spend_attempt(draft, run, error, kind)


def _spend_attempt(
    draft: Draft, run: Run, error: str, what: str, token: str | None = None
) -> Draft:
    """The current attempt is over: back off to the next one, or fail the run."""
    draft = _drop_launch(draft, run)
    if run.attempt >= draft.policy.attempts:
        draft = _end(draft, run, RunStatus.FAILED, error=error, token=token)
        summary = f"Run {run.run_id} failed; attempts spent: {run.attempt}."
        return draft.notify("run_failed", run.run_id, "error", summary, error)
    base = draft.policy.retry_backoff
    wait = min(base * 2 ** min(run.attempt - 1, 10), max(base, RETRY_BACKOFF_CAP))
    spent = replace(run.current, ended_at=draft.now, error=error, reported_token=token)
    following = Attempt(number=run.attempt + 1, launch_at=draft.now + wait)
    retry = replace(
        run,
        status=RunStatus.PENDING,
        attempt=run.attempt + 1,
        attempts=(*run.attempts[:-1], spent, following),
        lease_token=None,
        lease_expires_at=None,
    )
    return _advance(draft, retry, what, error).ask(effects.launch(retry, draft.now))


def cancel(draft: Draft, run: Run, actor: str, why: str) -> Draft:
    """End a live run because a person decided so. It leaves no outcome."""
    return _end(draft, run, RunStatus.CANCELLED, error=why, actor=actor)


def _end(
    draft: Draft,
    run: Run,
    status: RunStatus,
    record_count: int | None = None,
    error: str | None = None,
    actor: str | None = None,
    token: str | None = None,
) -> Draft:
    """End the live run; ``token`` is that of the lease whose holder reported it."""
    attempt = replace(run.current, ended_at=draft.now, error=error, reported_token=token)
    ended = replace(
        run,
        status=status,
        attempts=(*run.attempts[:-1], attempt),
        lease_token=None,
        lease_expires_at=None,
        ended_at=draft.now,
        record_count=record_count,
        error=error,
    )
    draft = _advance(_drop_launch(draft, run), ended, status.value, error or "", actor)
    if status is RunStatus.CANCELLED:
        return draft
    outcome = Outcome(
        status=status,
        generation=run.generation,
        attempt=run.attempt,
        at=draft.now,
        record_count=record_count,
        error=error,
        lease_token=run.lease_token,
    )
    draft = draft._replace(execution=replace(draft.execution, outcome=outcome))
    if status in ANNOUNCED:
        draft = draft.ask(effects.announce(ended, draft.spec.output, draft.now))
    return draft.remember(status.value, error or f"generation {run.generation}")
