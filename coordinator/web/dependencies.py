"""What routes are given: the wired service, the caller, and the parameters that several share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request

from coordinator.assembly import Coordinator
from coordinator.service.operate import MAX_REASON

LOCAL_ACTOR = "local"
"""Who acts while no identity provider is configured (the service is on loopback only)."""
ACTOR = "coordinator.actor"
"""Where in a request's scope an identity layer puts the name of the caller."""


async def application_of(request: Request) -> Coordinator:
    """The service that the app was made for."""
    application: Coordinator = request.app.state.application
    return application


async def actor_of(request: Request) -> str:
    """The name of the caller."""
    return str(request.scope.get(ACTOR, LOCAL_ACTOR))


Wired = Annotated[Coordinator, Depends(application_of)]
Actor = Annotated[str, Depends(actor_of)]

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
ReasonParameter = Annotated[
    str | None, Query(max_length=MAX_REASON, description="The reason, where the body has none.")
]
DryRunParameter = Annotated[
    bool, Query(description="Only answer what it would do, and change nothing.")
]
