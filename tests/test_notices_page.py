"""The page of notices names every kind that the code can issue, with its severity, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.adapters.notify import sign
from coordinator.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "notices.md").read_text(encoding="utf-8")


def issued() -> Iterator[tuple[str, str]]:
    """Every kind that is written in the code, with its severity."""
    for file in sorted((ROOT / "coordinator").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            said = {k.arg: k.value for k in node.keywords}
            if name == "Notice" and isinstance(kind := said.get("kind"), ast.Constant):
                yield kind.value, ast.literal_eval(said["severity"])
            elif name == "notify" and isinstance(kind := [*node.args, None][0], ast.Constant):
                yield kind.value, ast.literal_eval(node.args[2])
            elif name == "_lost":  # passes its kind on to notify
                yield ast.literal_eval(node.args[2]), "warning"


def test_every_kind_has_its_row_and_every_row_its_kind() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert len(rows) == len(dict(rows))
    assert dict(rows) == dict(issued())
    assert {"registries_differ", "announcement_undeliverable", "unclaimed"} <= dict(rows).keys()


def test_every_setting_of_a_way_is_there() -> None:
    ways = [k for k in Settings.model_fields if k.endswith(("_severity", "_url", "_secret"))]
    assert [k for k in ways if f"`{k}`" not in PAGE] == []


@pytest.mark.parametrize("body", [b"{}", b"\xff"])
def test_the_receiver_on_the_page_checks_a_signature(body: bytes) -> None:
    fence = re.search(r"```python\n(.*?)```", PAGE, re.S)
    assert fence is not None
    there: dict[str, object] = {}
    exec(fence[1], there)
    is_genuine = there["is_genuine"]
    assert callable(is_genuine)
    assert is_genuine("s3cret", "1700000000", body, sign("s3cret", "1700000000", body))
    assert not is_genuine("s3cret", "1700000001", body, sign("s3cret", "1700000000", body))
