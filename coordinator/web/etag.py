"""ETags of what is shown, for conditional requests (RFC 9110)."""

from __future__ import annotations

import hashlib

from fastapi import Response

from coordinator.service.views.base import View
from coordinator.service.views.partition import PartitionView


def etag_of(view: PartitionView) -> str:
    """A weak ETag of a partition's view: its revision, and everything shown but the instant."""
    text = view.model_dump_json(exclude={"verdict": {"at"}})
    return f'W/"{view.revision}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"'


def answer(view: View, if_none_match: str | None) -> Response:
    """A view whose ETag is that of its bytes; 304 where the client has them."""
    body = view.model_dump_json(by_alias=True).encode()
    headers = {
        "ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        "Cache-Control": "private, no-cache",
    }
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether a client holds the current one already (weak comparison)."""
    if if_none_match is None:
        return False
    known = [t.strip().removeprefix("W/") for t in if_none_match.split(",")]
    return "*" in known or etag.removeprefix("W/") in known
