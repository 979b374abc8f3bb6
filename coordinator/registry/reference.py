"""The tables of docs/reference-registry.md, written from the models.

Owns every table of keys; the text around them is written by hand. ``--write`` renews the tables,
``--check`` fails where they differ from the models (a test does the same).
"""

from __future__ import annotations

import argparse
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from coordinator.core.spec import Policy
from coordinator.registry.meaning import duration_text
from coordinator.registry.models import POLICY_KEYS, SECTIONS, DefaultsEntry, PolicyEntry

PAGE = Path(__file__).parents[2] / "docs" / "reference-registry.md"
_TABLE = re.compile(r"(?<=<!-- keys of )(\w+)( -->\n\n)(?:\|.*\n)*")
_BUILT_IN = Policy()


def render(page: str) -> str:
    """The page with its tables renewed: each follows a comment ``<!-- keys of SECTION -->``."""
    return _TABLE.sub(lambda found: f"{found[1]}{found[2]}{table(found[1])}", page)


def table(section: str) -> str:
    """The table of a section's keys."""
    entry = PolicyEntry if section == "policy" else SECTIONS[section]
    fields = entry.model_fields
    if section == "processor":
        inherited = DefaultsEntry.model_fields.keys() - set(POLICY_KEYS)  # after its own
        own = sorted(
            fields.keys() - set(POLICY_KEYS), key=lambda k: (k in inherited, list(fields).index(k))
        )
        fields = {k: fields[k] for k in own}
    lines = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{key}` | {_type(field)} | {_default(key, field)} | {field.description} |"
        for key, field in fields.items()
    ]
    return "\n".join([*lines, ""])


def _type(field: FieldInfo) -> str:
    """What a value is called: the words of its rule."""
    for rule in reversed(field.metadata):
        if hasattr(rule, "words"):
            return str(rule.words)
    for part in get_args(field.annotation):
        for rule in reversed(getattr(part, "__metadata__", ())):
            if hasattr(rule, "words"):
                return str(rule.words)
    return "mapping"


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


def main(arguments: list[str] | None = None) -> int:
    """Write or check the page; 1 where it differs from the models."""
    parser = argparse.ArgumentParser(prog="python -m coordinator.registry.reference")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="renew the tables")
    what.add_argument("--check", action="store_true", help="fail where they differ")
    options = parser.parse_args(arguments)
    page = PAGE.read_text(encoding="utf-8")
    if options.write:
        PAGE.write_text(render(page), encoding="utf-8")
        return 0
    if render(page) == page:
        return 0
    sys.stderr.write(f"{PAGE.name} differs; run python -m coordinator.registry.reference --write\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
