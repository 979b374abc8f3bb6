"""The routes that read (specification 5.2). What they answer is ``service.queries``'s to say."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse

from coordinator.service.views.dates import Gaps, Grid
from coordinator.service.views.load import LedgerView
from coordinator.service.views.partition import DateStatus, PartitionView
from coordinator.service.views.records import AuditList, QuarantinedView, QuarantineList
from coordinator.service.views.registry import GraphView, RegistryView
from coordinator.service.views.run import RunList, RunView
from coordinator.service.views.trace import Trace
from coordinator.web.dependencies import Date, From, Limit, PageToken, Processor, To, Wired
from coordinator.web.etag import answer, etag_of, matches
from coordinator.web.reference import errors
from coordinator.web.stream import Listening

router = APIRouter()

UNCHANGED: dict[str, Any] = {"description": "Nothing changed since the ETag that was given."}
IfNoneMatch = Annotated[
    str | None, Header(description="ETags that are known; 304 where one is current.")
]


@router.get(
    "/v1/status/{game_date}",
    tags=["status"],
    summary="Every processor on a date",
    responses=errors(422),
)
async def date_status(game_date: str, wired: Wired) -> DateStatus:
    """Every processor of the registry, whether anything is recorded for it yet or not."""
    return await wired.queries.partitions.date(game_date)


@router.get(
    "/v1/status/{game_date}/{processor}",
    tags=["status"],
    summary="One partition, whole",
    response_model=PartitionView,
    responses={304: UNCHANGED, **errors(404, 422)},
)
async def partition_status(
    game_date: str,
    processor: str,
    wired: Wired,
    response: Response,
    if_none_match: IfNoneMatch = None,
) -> Any:
    """The verdict as a tree, what arrived, the runs with the events they consumed, history
    and waivers. `processor` is a name or an alias. The `ETag` changes with whatever is shown,
    but for the instant of the judgement."""
    view = await wired.queries.partitions.partition(processor, game_date)
    headers = {"ETag": etag_of(view), "Cache-Control": "private, no-cache"}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return view


@router.get(
    "/v1/grid",
    tags=["status"],
    summary="Processors by dates",
    response_model=Grid,
    responses={304: UNCHANGED, **errors(422)},
)
async def grid(first: From, to: To, wired: Wired, if_none_match: IfNoneMatch = None) -> Response:
    """Status and flags of each partition, for at most 400 dates. Each different pair of them is in
    `legend` once, and a row's `cells` are places in it."""
    found = await wired.queries.dates.grid(first, to)
    await asyncio.sleep(0)  # events go between
    return answer(found, if_none_match)


@router.get(
    "/v1/gaps",
    tags=["status"],
    summary="What is missing, at any age",
    responses=errors(422),
)
async def gaps(
    wired: Wired,
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
) -> Gaps:
    """Dates on which the calendar has games, with each processor of which no run succeeded
    and why. One that a person skipped is listed too, and says so. On dates that the calendar
    does not know nothing is expected; what is recorded there and has not succeeded is listed
    all the same, and `unknown_dates` says how many such dates there are."""
    return await wired.queries.dates.gaps(first, to, limit=limit, page_token=page_token)


@router.get(
    "/v1/tables/{table}/dates/{game_date}",
    tags=["status"],
    summary="The ledger of a table and date",
    responses=errors(404, 422),
)
async def ledger(
    table: str, game_date: str, wired: Wired, limit: Limit = 1000, page_token: PageToken = None
) -> LedgerView:
    """Its events in order of receipt, and what they add up to. `table` may be an alias."""
    return await wired.queries.loads.ledger(table, game_date, limit=limit, page_token=page_token)


@router.get(
    "/v1/runs",
    tags=["status"],
    summary="Runs",
    responses=errors(404, 422),
)
async def runs(
    wired: Wired,
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
) -> RunList:
    """The last fired first."""
    return await wired.queries.runs.runs(
        processor=processor,
        game_date=game_date,
        status=status,
        limit=limit,
        page_token=page_token,
    )


@router.get(
    "/v1/runs/{run_id}",
    tags=["status"],
    summary="One run, whole",
    responses=errors(404, 422),
)
async def run(run_id: str, wired: Wired) -> RunView:
    """Its attempts and timings, exactly what it consumes, and why it was fired."""
    return await wired.queries.runs.run(run_id)


@router.get(
    "/v1/registry",
    tags=["status"],
    summary="The registry in use",
    responses=errors(422),
)
async def registry(wired: Wired) -> RegistryView:
    """Normalised: defaults are written out, aliases are listed."""
    return wired.queries.registry()


@router.get(
    "/v1/graph",
    tags=["status"],
    summary="The dependencies as a graph",
    responses=errors(422),
)
async def graph(wired: Wired) -> GraphView:
    """Tables and processors as nodes; who needs what and who writes what as edges."""
    return wired.queries.graph()


@router.get(
    "/v1/trace/{correlation_id:path}",
    tags=["status"],
    summary="What one correlation id touched",
    responses=errors(422),
)
async def trace(correlation_id: str, wired: Wired) -> Trace:
    """Events, partitions, runs, and messages in quarantine; empty lists where nothing carries
    the id."""
    return await wired.queries.loads.trace(correlation_id)


@router.get(
    "/v1/stream",
    tags=["status"],
    summary="Every partition change, as it happens",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events: `partition` with the change as JSON; `reset` "
            "where the changes since `Last-Event-ID` are not remembered, so that the state "
            "must be read again.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **errors(422),
    },
)
async def stream(
    request: Request,
    last_event_id: Annotated[
        str | None,
        Header(max_length=200, description="The last id received; what came after is resent."),
    ] = None,
) -> StreamingResponse:
    """Resumable with `Last-Event-ID`. A listener that falls behind, or reads nothing, is cut
    off, and resumes. So many may listen at once; one more is answered 503."""
    return Listening(request.app.state.stream, last_event_id)


@router.get(
    "/v1/quarantine",
    tags=["operators"],
    summary="Messages that could not be processed",
    responses=errors(422),
)
async def quarantine(
    wired: Wired,
    state: Annotated[
        str | None,
        Query(pattern="^(open|replayed|discarded)$", description="Only those in this state."),
    ] = None,
    limit: Limit = 50,
    page_token: PageToken = None,
) -> QuarantineList:
    """Newest first, each with its reason. A long one is shown whole by its own address."""
    return await wired.queries.records.quarantine(state=state, limit=limit, page_token=page_token)


@router.get(
    "/v1/quarantine/{quarantine_id}",
    tags=["operators"],
    summary="One such message, whole",
    responses=errors(404, 422),
)
async def quarantined(quarantine_id: str, wired: Wired) -> QuarantinedView:
    """With all of its bytes."""
    return await wired.queries.records.quarantined(quarantine_id)


@router.get(
    "/v1/audit",
    tags=["operators"],
    summary="Who did what, when and why",
    responses=errors(404, 422),
)
async def audit(
    wired: Wired,
    processor: Processor = None,
    game_date: Date = None,
    actor: Annotated[str | None, Query(max_length=300, description="Only by this one.")] = None,
    limit: Limit = 100,
    page_token: PageToken = None,
) -> AuditList:
    """Newest first."""
    return await wired.queries.records.audit(
        processor=processor,
        game_date=game_date,
        actor=actor,
        limit=limit,
        page_token=page_token,
    )
