"""The routes for people (contract 5.4). What an act does is ``service.operate``'s to say."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request

from coordinator.errors import BadInput, Mistake
from coordinator.service.operate import MAX_REASON, Act
from coordinator.service.shapes import View, partition_row, verdict_view
from coordinator.web import models
from coordinator.web.application import Application
from coordinator.web.doors import result_view
from coordinator.web.reference import errors
from coordinator.wire import instant_text, read_timestamp, shown

LOCAL_ACTOR = "local"
"""Who acts while no identity provider is configured (the service is on loopback only)."""
ACTOR = "coordinator.actor"
"""Where in a request's scope an identity layer puts the name of the caller."""
_PARTITION = "/v1/processors/{processor}/dates/{game_date}"


def actor_of(request: Request) -> str:
    """Who asks."""
    return str(request.scope.get(ACTOR, LOCAL_ACTOR))


def add(app: FastAPI, application: Application) -> None:
    """Put the routes on an app."""
    _add_partition_acts(app, application)
    _add_waivers(app, application)
    _add_pauses(app, application)
    _add_quarantine(app, application)

    @app.post(
        "/v1/sweep",
        tags=["operators"],
        summary="One sweep now",
        response_model=models.SweepAnswer,
        responses=errors(400, 403, 413, 422),
        operation_id="sweep",
    )
    async def sweep(body: models.SweepRequest | None = None) -> View:
        """Gives time to every partition that is due: a scheduler's target. Needs no reason."""
        if body is not None and body.dry_run:
            return await application.status.due()
        swept = await application.operate.sweep()
        return {
            "at": instant_text(swept.at),
            "dry_run": False,
            "looked_at": swept.looked_at,
            "changed": swept.changed,
            "fired_run_ids": list(swept.fired),
            "late_seconds": swept.late_seconds,
            "more": swept.more,
        }


def _add_partition_acts(app: FastAPI, application: Application) -> None:
    operate = application.operate

    @app.post(
        f"{_PARTITION}/trigger",
        tags=["operators"],
        summary="Fire now",
        response_model=models.ActAnswer,
        responses=errors(400, 403, 404, 409, 413, 422),
        operation_id="trigger",
    )
    async def trigger(
        processor: str, game_date: str, body: models.TriggerRequest, request: Request
    ) -> View:
        """With no bypass it fires only if ready; grace, debounce, `not_before` and schedules are
        always overridden. 409 while a run is live, and 409 with the verdict where it is not
        ready."""
        act = await operate.trigger(
            processor,
            game_date,
            reason=body.reason,
            actor=actor_of(request),
            bypass=body.bypass,
            skip_downstream=body.skip_downstream,
            dry_run=body.dry_run,
        )
        return _answer(application, act)

    @app.post(
        f"{_PARTITION}/skip",
        tags=["operators"],
        summary="Say that it need not run",
        response_model=models.ActAnswer,
        responses=errors(400, 403, 404, 409, 413, 422),
        operation_id="skip",
    )
    async def skip(
        processor: str, game_date: str, body: models.SkipRequest, request: Request
    ) -> View:
        """Data does not change that; a trigger or a reset does. 409 while a run is live, unless
        `end_run` is said."""
        act = await operate.skip(
            processor,
            game_date,
            reason=body.reason,
            actor=actor_of(request),
            end_run=body.end_run,
            dry_run=body.dry_run,
        )
        return _answer(application, act)

    @app.post(
        f"{_PARTITION}/reset",
        tags=["operators"],
        summary="Back to a fresh judgement",
        response_model=models.ActAnswer,
        responses=errors(400, 403, 404, 409, 413, 422),
        operation_id="reset",
    )
    async def reset(
        processor: str, game_date: str, body: models.ReasonRequest, request: Request
    ) -> View:
        """Ends a live run's lease, clears the re-fire budget and judges afresh, without cooldown:
        what is ready fires at once."""
        act = await operate.reset(
            processor,
            game_date,
            reason=body.reason,
            actor=actor_of(request),
            dry_run=body.dry_run,
        )
        return _answer(application, act)


def _add_waivers(app: FastAPI, application: Application) -> None:
    operate = application.operate

    @app.post(
        f"{_PARTITION}/waivers",
        tags=["operators"],
        summary="Waive a requirement",
        response_model=models.ActAnswer,
        responses=errors(400, 403, 404, 409, 413, 422),
        operation_id="waive",
    )
    async def waive(
        processor: str, game_date: str, body: models.WaiverRequest, request: Request
    ) -> View:
        """Holds in every line of the processor that names the table; without `until` until its
        data comes."""
        act = await operate.waive(
            processor,
            game_date,
            table=body.table,
            reason=body.reason,
            actor=actor_of(request),
            until=_until(body.until),
            dry_run=body.dry_run,
        )
        return _answer(application, act)

    @app.delete(
        f"{_PARTITION}/waivers/{{table}}",
        tags=["operators"],
        summary="Lift a waiver",
        response_model=models.ActAnswer,
        responses=errors(400, 403, 404, 409, 413, 422),
        operation_id="unwaive",
    )
    async def unwaive(
        processor: str,
        game_date: str,
        table: str,
        request: Request,
        body: models.LiftRequest | None = None,
        reason: Annotated[
            str | None,
            Query(max_length=MAX_REASON, description="The reason, where the body has none."),
        ] = None,
        dry_run: Annotated[
            bool, Query(description="Only answer what it would do, and change nothing.")
        ] = False,
    ) -> View:
        """404 where there is no open waiver of that table."""
        act = await operate.unwaive(
            processor,
            game_date,
            table=table,
            reason=(body.reason if body else None) or reason or "",
            actor=actor_of(request),
            dry_run=dry_run or (body is not None and body.dry_run),
        )
        return _answer(application, act)


def _add_pauses(app: FastAPI, application: Application) -> None:
    operate = application.operate
    known: dict[str, Any] = {
        "tags": ["operators"],
        "response_model": models.ActAnswer,
    }

    @app.post(
        "/v1/processors/{processor}/pause",
        summary="Pause a processor",
        responses=errors(400, 403, 404, 413, 422),
        operation_id="pause_processor",
        **known,
    )
    async def pause_processor(processor: str, body: models.ReasonRequest, request: Request) -> View:
        """No new generation starts; what is fired already goes on, and events are recorded."""
        actor = actor_of(request)
        act = await operate.pause(processor, reason=body.reason, actor=actor, dry_run=body.dry_run)
        return _answer(application, act)

    @app.post(
        "/v1/processors/{processor}/resume",
        summary="Resume a processor",
        responses=errors(400, 403, 404, 413, 422),
        operation_id="resume_processor",
        **known,
    )
    async def resume_processor(
        processor: str, body: models.ReasonRequest, request: Request
    ) -> View:
        """What is ready fires at once."""
        actor = actor_of(request)
        act = await operate.resume(processor, reason=body.reason, actor=actor, dry_run=body.dry_run)
        return _answer(application, act)

    @app.post(
        "/v1/pause",
        summary="Pause every processor",
        responses=errors(400, 403, 413, 422),
        operation_id="pause",
        **known,
    )
    async def pause(body: models.ReasonRequest, request: Request) -> View:
        """No new generation starts; what is fired already goes on, and events are recorded."""
        actor = actor_of(request)
        act = await operate.pause(None, reason=body.reason, actor=actor, dry_run=body.dry_run)
        return _answer(application, act)

    @app.post(
        "/v1/resume",
        summary="Resume every processor",
        responses=errors(400, 403, 413, 422),
        operation_id="resume",
        **known,
    )
    async def resume(body: models.ReasonRequest, request: Request) -> View:
        """What is ready fires at once. A processor that was paused by itself stays paused."""
        actor = actor_of(request)
        act = await operate.resume(None, reason=body.reason, actor=actor, dry_run=body.dry_run)
        return _answer(application, act)


def _add_quarantine(app: FastAPI, application: Application) -> None:
    operate = application.operate

    @app.post(
        "/v1/quarantine/{quarantine_id}/replay",
        tags=["operators"],
        summary="Take a quarantined message in again",
        response_model=models.QuarantineAct,
        responses=errors(400, 403, 404, 409, 413, 422),
        operation_id="replay",
    )
    async def replay(quarantine_id: str, body: models.ReasonRequest, request: Request) -> View:
        """Once what was wrong has been mended, such as a table that was not declared. 422 where
        the message is still bad, 409 where it was settled before."""
        outcome = await operate.replay(
            quarantine_id, reason=body.reason, actor=actor_of(request), dry_run=body.dry_run
        )
        return {
            "quarantine_id": quarantine_id,
            "act": "replay",
            "dry_run": body.dry_run,
            "result": result_view(outcome),
        }

    @app.post(
        "/v1/quarantine/{quarantine_id}/discard",
        tags=["operators"],
        summary="Set a quarantined message aside for good",
        response_model=models.QuarantineAct,
        responses=errors(400, 403, 404, 409, 413, 422),
        operation_id="discard",
    )
    async def discard(quarantine_id: str, body: models.ReasonRequest, request: Request) -> View:
        """It stays readable. 409 where it was settled before."""
        await operate.discard(
            quarantine_id, reason=body.reason, actor=actor_of(request), dry_run=body.dry_run
        )
        return {
            "quarantine_id": quarantine_id,
            "act": "discard",
            "dry_run": body.dry_run,
            "result": None,
        }


def _answer(application: Application, act: Act) -> View:
    """What an act did, as JSON."""
    row = verdict = None
    if act.decision is not None:
        partition = act.decision.partition
        spec = application.engine.registry.processors[partition.processor]
        row = partition_row(partition, spec, act.decision.verdict)
        if act.dry_run and act.fired_run_ids:
            row["why"] = f"Run {act.fired_run_ids[0]} would fire."
        verdict = verdict_view(act.decision.verdict)
    return {
        "act": act.act,
        "dry_run": act.dry_run,
        "fired_run_ids": list(act.fired_run_ids),
        "run_id": act.fired_run_ids[0] if act.fired_run_ids else None,
        "partition": row,
        "verdict": verdict,
        "detail": dict(act.detail),
    }


def _until(text: str | None) -> datetime | None:
    """The instant of ``until``. Raises ``BadInput``."""
    if text is None:
        return None
    at = read_timestamp(text)
    if at is None:
        rule = "must be RFC 3339 with a zone (2025-11-15T02:30:00Z)"
        raise BadInput(f"until: {rule}", [Mistake("until", rule, shown(text))])
    return at
