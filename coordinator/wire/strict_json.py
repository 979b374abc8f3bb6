"""JSON, read strictly: what two readers could understand differently is refused.

Owns the rules that JSON's grammar leaves open: UTF-8 alone, no key twice, no NaN, no NUL, no
unpaired surrogate, bounded depth. Refuses to know what any field means.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from coordinator.errors import BadInput, Mistake
from coordinator.validation import shown

MAX_DEPTH: Final = 32
"""Levels of nesting."""

_SUSPECT = re.compile(r"\\u(0000|[dD][89a-fA-F])")
"""Escapes that may be a NUL or an unpaired surrogate: worth a walk through the whole value."""


class BadMessage(BadInput):
    """A message that cannot be read; ``mistakes`` says why, each with its fix."""


def bad(field: str, rule: str, value: object = None) -> BadMessage:
    """The error of one mistake."""
    return BadMessage(f"{field}: {rule}", (Mistake(field, rule, shown(value)),))


def read_json(data: bytes, name: str = "body") -> Any:
    """Parse JSON; mistakes call it ``name``. Raises ``BadMessage``."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise bad(name, f"is not UTF-8 (byte {error.start}); send UTF-8 JSON") from None
    try:
        value = _STRICT.decode(text.removeprefix("\ufeff"))
    except RecursionError:
        raise bad(name, f"is nested deeper than {MAX_DEPTH} levels; flatten it") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise bad(name, f"is not JSON: {error.msg} at {where}") from None
    except ValueError:
        raise bad(name, "contains a number that is too long; shorten it") from None
    if _SUSPECT.search(text) or text.count("{") + text.count("[") > MAX_DEPTH:
        _check(value, name, 0)
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise bad(key[:100] or "(empty)", "is given twice; give each key once")
            seen.add(key)
    return found


def _refuse_constant(name: str) -> None:
    raise bad("body", f"contains {name}, which JSON does not have; send a number or null")


_STRICT = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)


def _check(value: Any, name: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise bad(name, f"is nested deeper than {MAX_DEPTH} levels; flatten it")
    if isinstance(value, str):
        _check_text(value, name)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, name)
            _check(item, key, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, name, depth + 1)


def _check_text(value: str, name: str) -> None:
    if "\x00" in value:
        raise bad(name, "contains a NUL character; remove it", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise bad(name, "contains an unpaired surrogate; send whole characters", value) from None
