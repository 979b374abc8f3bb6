"""The routes that only look (contract 5.2). What they answer is ``service.status``'s to say."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Response
from starlette.responses import StreamingResponse

from coordinator.service.shapes import View
from coordinator.web import models
from coordinator.web.application import Application
from coordinator.web.etag import etag_of, matches
from coordinator.web.reference import errors
from coordinator.web.stream import Listening, Stream

Limit = Annotated[int, Query(ge=1, le=1000, description="Items of a page at the most.")]
PageToken = Annotated[
    str | None,
    Query(max_length=2000, description="`next_page_token` of the page before."),
]
From = Annotated[str, Query(alias="from", description="The first game date, YYYY-MM-DD.")]
To = Annotated[str, Query(description="The last game date, YYYY-MM-DD; included.")]
Processor = Annotated[
    str | None, Query(max_length=300, description="Only of this processor; name or alias.")
]
Date = Annotated[str | None, Query(description="Only of this game date, YYYY-MM-DD.")]


def add(app: FastAPI, application: Application, stream: Stream) -> None:
    """Put the routes on an app."""
    views = application.status

    @app.get(
        "/v1/status/{game_date}",
        tags=["status"],
        summary="Every processor on a date",
        response_model=models.DateStatus,
        responses=errors(422),
        operation_id="date_status",
    )
    async def date_status(game_date: str) -> View:
        """Every processor of the registry, whether anything was heard for it yet or not."""
        return await views.date(game_date)

    @app.get(
        "/v1/status/{game_date}/{processor}",
        tags=["status"],
        summary="One partition, whole",
        response_model=models.PartitionWhole,
        responses={
            304: {"description": "Nothing changed since the ETag that was given."},
            **errors(404, 422),
        },
        operation_id="partition_status",
    )
    async def partition_status(
        game_date: str,
        processor: str,
        response: Response,
        if_none_match: Annotated[
            str | None, Header(description="ETags that are known; 304 where one is current.")
        ] = None,
    ) -> Any:
        """The verdict as a tree, what arrived, the runs with the events they consumed, history
        and waivers. `processor` is a name or an alias. The `ETag` changes with whatever is shown,
        but for the instant of the judgement."""
        view = await views.partition(processor, game_date)
        headers = {"ETag": etag_of(view), "Cache-Control": "private, no-cache"}
        if matches(if_none_match, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        response.headers.update(headers)
        return view

    @app.get(
        "/v1/grid",
        tags=["status"],
        summary="Processors by dates",
        response_model=models.Grid,
        responses=errors(422),
        operation_id="grid",
    )
    async def grid(first: From, to: To) -> View:
        """Status and flags of each partition, for at most 400 dates."""
        return await views.grid(first, to)

    @app.get(
        "/v1/gaps",
        tags=["status"],
        summary="What is missing, at any age",
        response_model=models.Gaps,
        responses=errors(422),
        operation_id="gaps",
    )
    async def gaps(
        first: Annotated[
            str | None,
            Query(alias="from", description="First date; left out: where the calendar begins."),
        ] = None,
        to: Annotated[
            str | None,
            Query(description="Last date; left out: today on the registry's clock."),
        ] = None,
        limit: Limit = 500,
        page_token: PageToken = None,
    ) -> View:
        """Dates on which the calendar has games, with each processor of which no run succeeded
        and why. One that somebody skipped is listed too, and says so. On dates that the calendar
        does not know nothing is expected; what was heard of there and has not succeeded is listed
        all the same, and `unknown_dates` says how many such dates there are."""
        return await views.gaps(first, to, limit=limit, page_token=page_token)

    @app.get(
        "/v1/tables/{table}/dates/{game_date}",
        tags=["status"],
        summary="The ledger of a table and date",
        response_model=models.Ledger,
        responses=errors(404, 422),
        operation_id="ledger",
    )
    async def ledger(
        table: str, game_date: str, limit: Limit = 1000, page_token: PageToken = None
    ) -> View:
        """Its events in order of receipt, and what they add up to. `table` may be an alias."""
        return await views.ledger(table, game_date, limit=limit, page_token=page_token)

    @app.get(
        "/v1/runs",
        tags=["status"],
        summary="Runs",
        response_model=models.RunList,
        responses=errors(404, 422),
        operation_id="runs",
    )
    async def runs(
        processor: Processor = None,
        game_date: Date = None,
        status: Annotated[
            str | None,
            Query(
                description="Only in this status: pending, delivered, running, success, no_data, "
                "skipped, failed or cancelled."
            ),
        ] = None,
        limit: Limit = 100,
        page_token: PageToken = None,
    ) -> View:
        """The last fired first."""
        return await views.runs(
            processor=processor,
            game_date=game_date,
            status=status,
            limit=limit,
            page_token=page_token,
        )

    @app.get(
        "/v1/runs/{run_id}",
        tags=["status"],
        summary="One run, whole",
        response_model=models.RunWhole,
        responses=errors(404, 422),
        operation_id="run",
    )
    async def run(run_id: str) -> View:
        """Its attempts and timings, exactly what it consumes, and why it was fired."""
        return await views.run(run_id)

    @app.get(
        "/v1/registry",
        tags=["status"],
        summary="The registry in use",
        response_model=models.RegistryOut,
        responses=errors(422),
        operation_id="registry",
    )
    async def registry() -> View:
        """Normalised: defaults are written out, aliases are listed."""
        return views.registry()

    @app.get(
        "/v1/graph",
        tags=["status"],
        summary="The dependencies as a graph",
        response_model=models.Graph,
        responses=errors(422),
        operation_id="graph",
    )
    async def graph() -> View:
        """Tables and processors as nodes; who needs what and who writes what as edges."""
        return views.graph()

    @app.get(
        "/v1/trace/{correlation_id:path}",
        tags=["status"],
        summary="What one correlation id touched",
        response_model=models.Trace,
        responses=errors(422),
        operation_id="trace",
    )
    async def trace(correlation_id: str) -> View:
        """Events, partitions, runs, and messages in quarantine; empty lists where nothing carries
        the id."""
        return await views.trace(correlation_id)

    @app.get(
        "/v1/stream",
        tags=["status"],
        summary="Every partition change, as it happens",
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "Server-sent events: `partition` with the change as JSON; `reset` "
                "where the changes since `Last-Event-ID` are not remembered, so that the state "
                "must be read afresh.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **errors(422),
        },
        operation_id="stream",
    )
    async def listen(
        last_event_id: Annotated[
            str | None,
            Header(max_length=200, description="The last id received; what came after is resent."),
        ] = None,
    ) -> StreamingResponse:
        """Resumable with `Last-Event-ID`. A listener that falls behind, or reads nothing, is cut
        off, and resumes. So many may listen at once; one more is answered 503."""
        return Listening(stream, last_event_id)

    @app.get(
        "/v1/quarantine",
        tags=["operators"],
        summary="Messages that could not be taken in",
        response_model=models.QuarantineList,
        responses=errors(422),
        operation_id="quarantine",
    )
    async def quarantine(
        state: Annotated[
            str | None,
            Query(pattern="^(open|replayed|discarded)$", description="Only those in this state."),
        ] = None,
        limit: Limit = 50,
        page_token: PageToken = None,
    ) -> View:
        """Newest first, each with its reason. A long one is shown whole by its own address."""
        return await views.quarantine(state=state, limit=limit, page_token=page_token)

    @app.get(
        "/v1/quarantine/{quarantine_id}",
        tags=["operators"],
        summary="One such message, whole",
        response_model=models.QuarantinedOut,
        responses=errors(404, 422),
        operation_id="quarantined",
    )
    async def quarantined(quarantine_id: str) -> View:
        """With all of its bytes."""
        return await views.quarantined(quarantine_id)

    @app.get(
        "/v1/audit",
        tags=["operators"],
        summary="Who did what, when and why",
        response_model=models.AuditList,
        responses=errors(404, 422),
        operation_id="audit",
    )
    async def audit(
        processor: Processor = None,
        game_date: Date = None,
        actor: Annotated[str | None, Query(max_length=300, description="Only by this one.")] = None,
        limit: Limit = 100,
        page_token: PageToken = None,
    ) -> View:
        """Newest first."""
        return await views.audit(
            processor=processor,
            game_date=game_date,
            actor=actor,
            limit=limit,
            page_token=page_token,
        )
