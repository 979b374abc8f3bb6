"""The routes for runners (specification 5.3). What a report does is ``service.runs``'s to say."""

from __future__ import annotations

from fastapi import APIRouter

from coordinator.core.choices import RunStatus
from coordinator.service.views.run import Extension, Grant, Receipt, grant
from coordinator.web.bodies import ClaimRequest, CompleteRequest, HeartbeatRequest
from coordinator.web.dependencies import Wired
from coordinator.web.reference import errors

router = APIRouter(tags=["runs"], responses=errors(400, 403, 404, 409, 413, 422))


@router.post("/v1/runs/{run_id}/claim", summary="Claim a run")
async def claim(run_id: str, body: ClaimRequest, wired: Wired) -> Grant:
    """One owner gets one attempt. The same owner asking again for the same attempt gets the
    same token. 409 where it is taken, stale or over: then leave the run alone."""
    run = await wired.runs.claim(run_id, body.owner, body.attempt)
    spec = wired.registry.processors[run.processor]
    return grant(run, spec, wired.runs.lease_seconds(run))


@router.post("/v1/runs/{run_id}/heartbeat", summary="Keep a lease")
async def heartbeat(run_id: str, body: HeartbeatRequest, wired: Wired) -> Extension:
    """409 where the lease is no longer this runner's: then stop, and discard the result."""
    run = await wired.runs.heartbeat(run_id, body.lease_token)
    return Extension.of(run, lease_seconds=wired.runs.lease_seconds(run))


@router.post("/v1/runs/{run_id}/complete", summary="Report how an attempt ended")
async def complete(run_id: str, body: CompleteRequest, wired: Wired) -> Receipt:
    """`success` announces the processor's output as loaded, `no_data` announces a `no_data`
    load, `skipped` announces nothing; `failed` spends the attempt. Repeated with the same
    token and status it is accepted again."""
    status = RunStatus(body.status)
    await wired.runs.complete(run_id, body.lease_token, status, body.record_count, body.error)
    return Receipt(run_id=run_id, status=body.status)
