"""The tables of docs/reference-registry.md, written from the models.

Owns every table of keys; the text around them is written by hand.
``python -m coordinator.registry.reference`` renews the tables, and a test compares them.
"""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from coordinator.core.spec import Policy
from coordinator.registry.meaning import duration_text
from coordinator.registry.models import POLICY_KEYS, SECTIONS, PolicyEntry
from coordinator.registry.rules import ValueRule

PAGE = Path(__file__).parents[2] / "docs" / "reference-registry.md"
_TABLE = re.compile(r"(?<=<!-- keys of )(\w+)( -->\n\n)(?:\|.*\n)*")
_BUILT_IN = Policy()


def render(page: str) -> str:
    """The page with its tables renewed: each follows a comment ``<!-- keys of SECTION -->``."""
    return _TABLE.sub(lambda found: f"{found[1]}{found[2]}{table(found[1])}", page)


def table(section: str) -> str:
    """The table of a section's keys."""
    entry = PolicyEntry if section == "policy" else SECTIONS[section]
    fields = dict(entry.model_fields)
    if section == "processor":  # its own keys before the one that it shares with `defaults`
        fields = {k: f for k, f in fields.items() if k not in POLICY_KEYS}
        fields["launch"] = fields.pop("launch")
    lines = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{key}` | {_type(field)} | {_default(key, field)} | {field.description} |"
        for key, field in fields.items()
    ]
    return "\n".join([*lines, ""])


def _type(field: FieldInfo) -> str:
    """What a value is called: the words of its rule."""
    inside = (getattr(part, "__metadata__", ()) for part in get_args(field.annotation))
    rules = [*chain.from_iterable(inside), *field.metadata]
    return next((str(r.words) for r in reversed(rules) if isinstance(r, ValueRule)), "mapping")


def _default(key: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    extra = field.json_schema_extra
    if isinstance(extra, dict):
        return str(extra["left_out"])
    value: Any = getattr(_BUILT_IN, key) if key in POLICY_KEYS else field.default
    if value is None or value in ((), [], {}):
        return "none"
    if isinstance(value, timedelta):
        return f"`{duration_text(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
