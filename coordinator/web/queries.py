"""Query parameters are read strictly: one that a route does not declare is a mistake.

Owns the check, from the route's own declaration. Refuses to judge the others: their models do.
"""

from __future__ import annotations

from fastapi import Request
from fastapi.routing import APIRoute

from coordinator.errors import BadInput, Mistake
from coordinator.wire import shown

STRICT = "/v1/"
"""Probes of load balancers and scrapers may add what they like to the others."""


async def only_declared(request: Request) -> None:
    """Raise ``BadInput`` naming the known ones where a query parameter is not declared."""
    route = request.scope["route"]
    asked = request.query_params
    if not asked or not isinstance(route, APIRoute) or not route.path.startswith(STRICT):
        return
    known = sorted(field.alias for field in route.dependant.query_params)
    unknown = [name for name in asked if name not in known]
    if not unknown:
        return
    rule = (
        f"is not known here; known are {', '.join(known)}"
        if known
        else ("is not known here; this call takes no query parameters")
    )
    raise BadInput(
        f"{unknown[0][:100]}: {rule}",
        [Mistake(name[:200], rule, shown(asked[name])) for name in unknown[:50]],
    )
