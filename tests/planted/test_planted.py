"""Every planted bug still has its place, and a sample of them is caught (``make planted`` runs all)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.planted.__main__ import main
from tests.planted.bugs import BUGS
from tests.planted.plant import (
    CHECKOUT,
    WORLDS_MAX,
    Bug,
    CannotPlant,
    Edit,
    copied,
    plant,
    planted,
    try_bug,
)

QUICK = (
    "outbox-emptied-on-failure",
    "leases-never-end",
    "settling-forgotten",
    "never-held-cooldown",
    "never-held-pause",
    "loads-of-one-size-lost",
    "neighbours-fail-together",
)
"""Caught in a few seconds each; the others take minutes, and are a command of their own."""


@pytest.mark.parametrize("bug", BUGS, ids=[b.name for b in BUGS])
def test_a_bug_still_has_its_place(bug: Bug) -> None:
    for file in {e.file for e in bug.edits}:
        text = (CHECKOUT / file).read_text()
        changed = planted(text, [e for e in bug.edits if e.file == file])
        assert changed != text
        compile(changed, file, "exec")


def test_the_list_can_be_read() -> None:
    assert max(Counter(b.name for b in BUGS).values()) == 1
    for bug in BUGS:
        assert bug.edits
        assert bug.breaks
        assert bug.rule
        assert bug.worlds or bug.tests, f"nothing must catch {bug.name}"
        assert bug.worlds <= WORLDS_MAX
        for test in bug.tests:
            file, _, name = test.partition("::")
            text = (CHECKOUT / file).read_text()
            assert not name or f"def {name}(" in text, f"{bug.name}: there is no test {test}"


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught(name: str) -> None:
    result = try_bug(next(b for b in BUGS if b.name == name))
    assert result.caught, f"{name}: {result.by}"


def test_a_bug_that_nothing_sees_is_said_to_be_missed(capsys: pytest.CaptureFixture[str]) -> None:
    harmless = Edit(file="coordinator/core/machine.py", after="HARMLESS = True")
    bug = Bug(name="harmless", breaks="nothing", rule="none", edits=(harmless,), worlds=1)
    result = try_bug(bug)
    assert not result.caught
    assert result.by == "unnoticed in 1 worlds"
    unseen = replace(bug, worlds=0, tests=("tests/core/test_words.py",))
    assert try_bug(unseen).by == "every named test passed"
    with pytest.raises(SystemExit):
        main(["no-such-bug"])
    assert "no planted bug is named no-such-bug" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (Edit(file="coordinator/gone.py", before="x", after="y"), "is not in the tree"),
        (Edit(file="coordinator/core/words.py", before="no such", after=""), "found 0 times"),
        (Edit(file="coordinator/core/words.py", before="return", after=""), "instead of once"),
        (Edit(file="coordinator/core/words.py", after="x = gone"), "does not compile"),
    ],
)
def test_a_bug_without_its_place_fails_loudly(edit: Edit, problem: str) -> None:
    bug = Bug(name="lost", breaks="nothing", rule="none", edits=(edit,), worlds=1)
    with copied() as tree, pytest.raises(CannotPlant, match=problem):
        plant(bug, tree)
    result = try_bug(bug)
    assert not result.caught
    assert "cannot be planted" in result.by
