"""docs/states.md is what the state machine says."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator import statesdoc
from coordinator.core.choices import RunStatus
from coordinator.core.model import Flag, Status


def test_the_page_in_the_repository_is_current() -> None:
    assert statesdoc.main(["--check"]) == 0


def test_every_status_flag_and_run_has_its_words() -> None:
    for enum in (Status, Flag, RunStatus):
        assert set(statesdoc.member_words(enum)) == {member.value for member in enum}


def test_a_page_that_differs_is_refused_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "states.md"
    monkeypatch.setattr(statesdoc, "PAGE", page)
    assert statesdoc.main(["--check"]) == 1
    assert "statesdoc --write" in capsys.readouterr().err
    assert statesdoc.main(["--write"]) == 0
    assert statesdoc.main(["--check"]) == 0
    assert "stateDiagram-v2" in page.read_text(encoding="utf-8")
