"""The routes for runners (contract 5.3). What a report does is ``service.runs``'s to say."""

from __future__ import annotations

from fastapi import FastAPI

from coordinator.core.model import Run, Trigger
from coordinator.core.spec import ProcessorSpec
from coordinator.errors import Bug
from coordinator.service.shapes import View
from coordinator.web import models
from coordinator.web.application import Application
from coordinator.web.reference import errors
from coordinator.wire import inputs_of, instant_text, report_status


def add(app: FastAPI, application: Application) -> None:
    """Put the routes on an app."""
    runs = application.runs

    @app.post(
        "/v1/runs/{run_id}/claim",
        tags=["runs"],
        summary="Claim a run",
        response_model=models.Claim,
        responses=errors(400, 403, 404, 409, 413, 422),
        operation_id="claim",
    )
    async def claim(run_id: str, body: models.ClaimRequest) -> View:
        """One owner gets one attempt. The same owner asking again for the same attempt gets the
        same token. 409 where it is taken, stale or over: then leave the run alone."""
        run = await runs.claim(run_id, body.owner, body.attempt)
        spec = application.engine.registry.processors[run.processor]
        return claim_view(run, spec, runs.lease_seconds(run))

    @app.post(
        "/v1/runs/{run_id}/heartbeat",
        tags=["runs"],
        summary="Keep a lease",
        response_model=models.Heartbeat,
        responses=errors(400, 403, 404, 409, 413, 422),
        operation_id="heartbeat",
    )
    async def heartbeat(run_id: str, body: models.HeartbeatRequest) -> View:
        """409 where the lease is no longer this runner's: then stop, and discard the result."""
        run = await runs.heartbeat(run_id, body.lease_token)
        return {
            "run_id": run.run_id,
            "lease_seconds": runs.lease_seconds(run),
            "lease_expires_at": instant_text(run.lease_expires_at),
        }

    @app.post(
        "/v1/runs/{run_id}/complete",
        tags=["runs"],
        summary="Report how an attempt ended",
        response_model=models.Completed,
        responses=errors(400, 403, 404, 409, 413, 422),
        operation_id="complete",
    )
    async def complete(run_id: str, body: models.CompleteRequest) -> View:
        """`success` announces the processor's output as loaded, `no_data` announces a `no_data`
        load, `skipped` announces nothing; `failed` spends the attempt. Repeated with the same
        token and status it is taken again."""
        status = report_status(body.status)
        if status is None:
            raise Bug(f"the model lets {body.status} through")
        await runs.complete(run_id, body.lease_token, status, body.record_count, body.error)
        return {"run_id": run_id, "status": body.status}


def claim_view(run: Run, spec: ProcessorSpec, lease_seconds: float) -> View:
    """A granted run, with all that its runner needs."""
    return {
        "run_id": run.run_id,
        "lease_token": run.lease_token,
        "lease_seconds": lease_seconds,
        "lease_expires_at": instant_text(run.lease_expires_at),
        "heartbeat_timeout_seconds": spec.policy.heartbeat_timeout.total_seconds(),
        "processor": run.processor,
        "phase": spec.phase,
        "game_date": run.game_date,
        "generation": run.generation,
        "attempt": run.attempt,
        "trigger": (Trigger.RETRY if run.attempt > 1 else run.trigger).value,
        "bypassed": list(run.bypassed),
        "skip_downstream": run.skip_downstream,
        "inputs": inputs_of(run),
        "changed_games": list(run.changed_games),
        "changed_tables": list(run.changed_tables),
        "warnings": list(run.warnings),
        "output": spec.output,
        "entrypoint": spec.entrypoint,
        "correlation_id": run.correlation_id,
    }
