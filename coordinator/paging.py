"""Page tokens: where a page of a listing ended.

Owns their one form, base64 of JSON, for stores and queries alike. What the values mean is the
listing's to say; a token that it did not give out is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from coordinator.errors import BadInput

Value = str | int | datetime | None

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INT_BITS = 64
"""Whole numbers as a store keeps them."""


def page_token(position: Sequence[Value]) -> str:
    """The token of a page that ended at ``position``."""
    packed = [
        {"t": (value - _EPOCH) // _MICROSECOND} if isinstance(value, datetime) else value
        for value in position
    ]
    text = json.dumps(packed, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_page_token(token: str) -> list[Value]:
    """The position in a token. Raises ``BadInput`` for what ``page_token`` cannot have made."""
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        packed = json.loads(base64.b64decode(padded, b"-_", validate=True))
        if not isinstance(packed, list):
            raise TypeError(type(packed))
        return [_unpacked(value) for value in packed]
    except (
        binascii.Error,
        ValueError,
        TypeError,
        KeyError,
        RecursionError,
        OverflowError,
    ) as error:
        raise bad_page_token() from error


def _unpacked(value: Any) -> Value:
    if isinstance(value, dict):
        return _EPOCH + timedelta(microseconds=value["t"])
    if isinstance(value, str):
        value.encode()  # an unpaired surrogate is no text
        return value
    if value is None or (type(value) is int and value.bit_length() < _INT_BITS):
        return value
    raise TypeError(type(value))


def bad_page_token() -> BadInput:
    """The error for a token that a listing did not give out."""
    return BadInput(
        "The page token is not one that this listing gave out. Start again without it.",
        code="bad_page_token",
    )
