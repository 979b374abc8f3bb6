"""The reference page of the registry names every key that the code accepts, and no other."""

import re
from pathlib import Path

import pytest

from coordinator.core.spec import Policy
from coordinator.registry import KEYS, POLICY_KEYS, duration_text, parse
from coordinator.registry.reference import render

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference-registry.md").read_text("utf-8")
HEADINGS = {
    "registry": "## The registry",
    "calendar": "## The calendar",
    "table": "## A table",
    "processor": "## A processor",
    "policy": "## Policies",
    "not_before": "### Not before",
    "deadline": "### A deadline",
    "schedule": "### A schedule entry",
    "requirement": "## A requirement",
    "dates": "### Dates",
    "launch": "## A launch",
}


def rows(section: str) -> dict[str, list[str]]:
    """The table under a heading: key → its cells."""
    start = PAGE.index(f"{HEADINGS[section]}\n") + len(HEADINGS[section])
    text = re.split(r"^#", PAGE[start:], maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE)
    return {key: [cell.strip() for cell in cells.split(" | ")] for key, cells in found}


def test_the_tables_are_those_of_the_models() -> None:
    assert render(PAGE) == PAGE, "run python -m coordinator.registry.reference"


@pytest.mark.parametrize("section", [*(k for k in KEYS if k != "defaults"), "policy"])
def test_every_key_has_its_row_and_every_row_its_key(section: str) -> None:
    keys = {**KEYS, "policy": POLICY_KEYS}[section]
    if section == "processor":
        keys = tuple(k for k in keys if k not in POLICY_KEYS)
    assert set(rows(section)) == set(keys)


def test_the_page_says_what_defaults_may_hold() -> None:
    assert set(KEYS["defaults"]) == {*POLICY_KEYS, "launch"}
    assert "[policy key](#policies) and [`launch`](#a-launch)" in PAGE


def test_the_page_and_the_code_name_the_same_policy_defaults() -> None:
    policy = Policy()
    for key, (_, default, *_) in rows("policy").items():
        value = getattr(policy, key)
        shown = duration_text(value) if hasattr(value, "total_seconds") else str(value or "none")
        assert default.strip("`") == shown, key


def test_the_example_on_the_page_is_valid() -> None:
    lines = PAGE[PAGE.index("requires:\n") :].split("```")[0].splitlines()[1:]
    tables = "".join(f"  {t}:\n" for t in sorted(set(re.findall(r"nba_raw\.\w+", "".join(lines)))))
    indented = "".join(f"    {line}\n" for line in lines)
    text = f"version: 1\ntables:\n{tables}processors:\n  P:\n    phase: 1\n    output: o.p\n"
    assert len(parse(f"{text}    requires:\n{indented}").processors["P"].requirements) == 3
