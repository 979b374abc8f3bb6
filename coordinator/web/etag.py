"""ETags of what is shown, for conditional requests (RFC 9110)."""

from __future__ import annotations

import hashlib

from coordinator.service.views.partition import PartitionView


def etag_of(view: PartitionView) -> str:
    """A weak ETag of a partition's view: its revision, and everything shown but the instant."""
    text = view.model_dump_json(exclude={"verdict": {"at"}})
    return f'W/"{view.revision}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"'


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether a client holds the current one already (weak comparison)."""
    if if_none_match is None:
        return False
    known = [t.strip().removeprefix("W/") for t in if_none_match.split(",")]
    return "*" in known or etag.removeprefix("W/") in known
