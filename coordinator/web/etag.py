"""ETags of what is shown, for conditional requests (RFC 9110)."""

from __future__ import annotations

import hashlib
import json

from coordinator.service.shapes import View


def etag_of(view: View) -> str:
    """A weak ETag of a partition's view: its revision, and everything shown but the instant."""
    verdict = {k: v for k, v in view["verdict"].items() if k != "at"}
    text = json.dumps({**view, "verdict": verdict}, sort_keys=True, separators=(",", ":"))
    return f'W/"{view["revision"]}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"'


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether a client holds the current one already (weak comparison)."""
    if if_none_match is None:
        return False
    known = [t.strip().removeprefix("W/") for t in if_none_match.split(",")]
    return "*" in known or etag.removeprefix("W/") in known
