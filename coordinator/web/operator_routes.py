"""The routes for people (specification 5.4). What an act does is ``service.operate``'s to say."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter

from coordinator.assembly import Coordinator
from coordinator.errors import BadInput, Mistake
from coordinator.service.operate import Act
from coordinator.service.views.act import ActView, SweepView, act_view, sweep_view
from coordinator.service.views.event import event_result
from coordinator.service.views.records import QuarantineAct
from coordinator.web.bodies import (
    LiftRequest,
    ReasonRequest,
    SkipRequest,
    SweepRequest,
    TriggerRequest,
    WaiverRequest,
)
from coordinator.web.dependencies import Actor, DryRunParameter, ReasonParameter, Wired
from coordinator.web.reference import errors
from coordinator.wire import read_timestamp, shown

router = APIRouter(tags=["operators"])

_PARTITION = "/v1/processors/{processor}/dates/{game_date}"
_ON_PARTITION = errors(400, 403, 404, 409, 413, 422)
_ON_PROCESSOR = errors(400, 403, 404, 413, 422)
_ON_ALL = errors(400, 403, 413, 422)


@router.post(f"{_PARTITION}/trigger", summary="Fire now", responses=_ON_PARTITION)
async def trigger(
    processor: str, game_date: str, body: TriggerRequest, wired: Wired, actor: Actor
) -> ActView:
    """With no bypass it fires only if ready; grace, debounce, `not_before` and schedules are
    always overridden. 409 while a run is live, and 409 with the verdict where it is not
    ready."""
    act = await wired.operate.trigger(
        processor,
        game_date,
        reason=body.reason,
        actor=actor,
        bypass=body.bypass,
        skip_downstream=body.skip_downstream,
        dry_run=body.dry_run,
    )
    return _answer(wired, act)


@router.post(f"{_PARTITION}/skip", summary="Decide that it need not run", responses=_ON_PARTITION)
async def skip(
    processor: str, game_date: str, body: SkipRequest, wired: Wired, actor: Actor
) -> ActView:
    """Data does not change that; a trigger or a reset does. 409 while a run is live, unless
    `end_run` is given."""
    act = await wired.operate.skip(
        processor,
        game_date,
        reason=body.reason,
        actor=actor,
        end_run=body.end_run,
        dry_run=body.dry_run,
    )
    return _answer(wired, act)


@router.post(f"{_PARTITION}/reset", summary="Back to a fresh judgement", responses=_ON_PARTITION)
async def reset(
    processor: str, game_date: str, body: ReasonRequest, wired: Wired, actor: Actor
) -> ActView:
    """Ends a live run's lease, clears the re-fire budget and judges again, without cooldown:
    what is ready fires at once."""
    act = await wired.operate.reset(
        processor, game_date, reason=body.reason, actor=actor, dry_run=body.dry_run
    )
    return _answer(wired, act)


@router.post(f"{_PARTITION}/waivers", summary="Waive a requirement", responses=_ON_PARTITION)
async def waive(
    processor: str, game_date: str, body: WaiverRequest, wired: Wired, actor: Actor
) -> ActView:
    """Holds in every line of the processor that names the table; without `until` until its
    data comes."""
    act = await wired.operate.waive(
        processor,
        game_date,
        table=body.table,
        reason=body.reason,
        actor=actor,
        until=_until(body.until),
        dry_run=body.dry_run,
    )
    return _answer(wired, act)


@router.delete(f"{_PARTITION}/waivers/{{table}}", summary="Lift a waiver", responses=_ON_PARTITION)
async def unwaive(
    processor: str,
    game_date: str,
    table: str,
    wired: Wired,
    actor: Actor,
    body: LiftRequest | None = None,
    reason: ReasonParameter = None,
    dry_run: DryRunParameter = False,
) -> ActView:
    """404 where there is no open waiver of that table."""
    act = await wired.operate.unwaive(
        processor,
        game_date,
        table=table,
        reason=(body.reason if body else None) or reason or "",
        actor=actor,
        dry_run=dry_run or (body is not None and body.dry_run),
    )
    return _answer(wired, act)


@router.post(
    "/v1/processors/{processor}/pause", summary="Pause a processor", responses=_ON_PROCESSOR
)
async def pause_processor(
    processor: str, body: ReasonRequest, wired: Wired, actor: Actor
) -> ActView:
    """No new generation starts; what is fired already goes on, and events are recorded."""
    act = await wired.operate.pause(
        processor, reason=body.reason, actor=actor, dry_run=body.dry_run
    )
    return _answer(wired, act)


@router.post(
    "/v1/processors/{processor}/resume", summary="Resume a processor", responses=_ON_PROCESSOR
)
async def resume_processor(
    processor: str, body: ReasonRequest, wired: Wired, actor: Actor
) -> ActView:
    """What is ready fires at once."""
    act = await wired.operate.resume(
        processor, reason=body.reason, actor=actor, dry_run=body.dry_run
    )
    return _answer(wired, act)


@router.post("/v1/pause", summary="Pause every processor", responses=_ON_ALL)
async def pause(body: ReasonRequest, wired: Wired, actor: Actor) -> ActView:
    """No new generation starts; what is fired already goes on, and events are recorded."""
    act = await wired.operate.pause(None, reason=body.reason, actor=actor, dry_run=body.dry_run)
    return _answer(wired, act)


@router.post("/v1/resume", summary="Resume every processor", responses=_ON_ALL)
async def resume(body: ReasonRequest, wired: Wired, actor: Actor) -> ActView:
    """What is ready fires at once. A processor that was paused by itself stays paused."""
    act = await wired.operate.resume(None, reason=body.reason, actor=actor, dry_run=body.dry_run)
    return _answer(wired, act)


@router.post("/v1/sweep", summary="One sweep now", responses=_ON_ALL)
async def sweep(wired: Wired, body: SweepRequest | None = None) -> SweepView:
    """Gives time to every partition that is due: a scheduler's target. Needs no reason."""
    if body is not None and body.dry_run:
        return await wired.queries.partitions.due()
    return sweep_view(await wired.operate.sweep())


@router.post(
    "/v1/quarantine/{quarantine_id}/replay",
    summary="Process a quarantined message again",
    responses=_ON_PARTITION,
)
async def replay(
    quarantine_id: str, body: ReasonRequest, wired: Wired, actor: Actor
) -> QuarantineAct:
    """Once what was wrong has been fixed, such as a table that was not declared. 422 where
    the message is still bad, 409 where it was settled before."""
    outcome = await wired.operate.replay(
        quarantine_id, reason=body.reason, actor=actor, dry_run=body.dry_run
    )
    return QuarantineAct(
        quarantine_id=quarantine_id,
        act="replay",
        dry_run=body.dry_run,
        result=event_result(outcome),
    )


@router.post(
    "/v1/quarantine/{quarantine_id}/discard",
    summary="Set a quarantined message aside for good",
    responses=_ON_PARTITION,
)
async def discard(
    quarantine_id: str, body: ReasonRequest, wired: Wired, actor: Actor
) -> QuarantineAct:
    """It stays readable. 409 where it was settled before."""
    await wired.operate.discard(
        quarantine_id, reason=body.reason, actor=actor, dry_run=body.dry_run
    )
    return QuarantineAct(
        quarantine_id=quarantine_id, act="discard", dry_run=body.dry_run, result=None
    )


def _answer(wired: Coordinator, act: Act) -> ActView:
    """What an act did."""
    decision = act.decision
    return act_view(
        act, wired.registry.processors[decision.partition.processor] if decision else None
    )


def _until(text: str | None) -> datetime | None:
    """The instant of ``until``. Raises ``BadInput``."""
    if text is None:
        return None
    at = read_timestamp(text)
    if at is None:
        rule = "must be RFC 3339 with a zone (2025-11-15T02:30:00Z)"
        raise BadInput(f"until: {rule}", [Mistake("until", rule, shown(text))])
    return at
