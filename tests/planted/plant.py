"""Plant a bug in a copy of the tree, and see whether what must catch it does.

A bug is planted as text: each edit replaces a snippet that must occur exactly once, or appends code
that may use only names which the module has. So a bug whose place was refactored away fails loudly
instead of testing nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

CHECKOUT = Path(__file__).resolve().parents[2]
WORLDS_MAX = 200
"""Worlds that the simulation may need for one bug, at most."""
STEPS = 40
SUITE_SECONDS = 300.0
WORLDS_SECONDS = 1200.0
CRASHES = ("NameError", "AttributeError", "TypeError", "UnboundLocalError", "ImportError")
"""A world that ends with one of these was broken by the edit, not judged."""
_UNDEFINED = (
    *(sys.executable, "-m", "ruff", "check", "--isolated", "--quiet"),
    *("--select", "F821,F823"),
)
_COPIED = ("coordinator", "processors", "tests", "docs", "deploy", "benchmarks")
_COPIED_FILES = ("pyproject.toml", "registry.yaml", "README.md", "CHANGELOG.md", "Makefile")


class CannotPlant(Exception):
    """The place of a bug is not in the tree any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change of a source file."""

    file: str
    before: str = ""
    """Must occur exactly once. Empty: ``after`` is appended to the file."""
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """A bug that somebody could make, and what must catch it."""

    name: str
    breaks: str
    """What goes wrong for a user, in one sentence."""
    rule: str
    """The rule of the specification that it breaks."""
    edits: tuple[Edit, ...]
    worlds: int = 0
    """The simulation must catch it within so many worlds; 0: the simulation is not asked."""
    tests: tuple[str, ...] = ()
    """Tests of which at least one must fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Whether a bug was caught."""

    bug: Bug
    caught: bool
    by: str
    """What caught it, or why nothing did."""
    seconds: float
    world: int = 0
    """The world that caught it."""


def planted(text: str, edits: Sequence[Edit]) -> str:
    """The text of one file with the edits made. Raises ``CannotPlant``."""
    for edit in edits:
        if not edit.before:
            text = f"{text}\n\n{edit.after}\n"
            continue
        found = text.count(edit.before)
        if found != 1:
            raise CannotPlant(f"{edit.file}: found {found} times instead of once: {edit.before!r}")
        text = text.replace(edit.before, edit.after)
    return text


def plant(bug: Bug, tree: Path) -> None:
    """Make the edits of a bug in a tree. Raises ``CannotPlant``."""
    for file in dict.fromkeys(e.file for e in bug.edits):
        path = tree / file
        if not path.is_file():
            raise CannotPlant(f"{file} is not in the tree")
        text = planted(path.read_text(), [e for e in bug.edits if e.file == file])
        path.write_text(text)
    undefined = subprocess.run(
        [*_UNDEFINED, *sorted({e.file for e in bug.edits})],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    if undefined.returncode:
        raise CannotPlant(f"{bug.name} does not compile: {undefined.stdout or undefined.stderr}")


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the tree, as long as the context lasts."""
    with TemporaryDirectory(prefix="planted-") as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        for name in _COPIED:
            if (CHECKOUT / name).is_dir():
                # With the compiled files and their times: only what is edited is compiled again.
                shutil.copytree(CHECKOUT / name, tree / name)
        for name in _COPIED_FILES:
            if (CHECKOUT / name).is_file():
                shutil.copy2(CHECKOUT / name, tree / name)
        yield tree


def try_bug(bug: Bug) -> Result:
    """Plant one bug in a copy of the tree and run what must catch it."""
    began = time.monotonic()

    def result(caught: bool, by: str, world: int = 0) -> Result:
        return Result(bug=bug, caught=caught, by=by, seconds=time.monotonic() - began, world=world)

    with copied() as tree:
        try:
            plant(bug, tree)
        except CannotPlant as error:
            return result(False, f"cannot be planted: {error}")
        if bug.tests:
            caught, by = failing_test(tree, bug.tests)
            if not caught:
                return result(False, by)
            if not bug.worlds:
                return result(True, by)
        caught, by, world = failing_world(tree, bug.worlds)
        return result(caught, by, world)


def failing_test(tree: Path, tests: Sequence[str]) -> tuple[bool, str]:
    """Run tests until one fails; says whether one did, and which."""
    try:
        ran = _run(
            tree,
            [
                "-m",
                "pytest",
                "-x",
                "-q",
                "-p",
                "no:cacheprovider",
                "-p",
                "no:xdist",
                "-rfE",
                *tests,
            ],
            SUITE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False, f"the tests took longer than {SUITE_SECONDS:.0f} s"
    failed = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    if ran.returncode == 1 and failed and failed[0].startswith("FAILED "):
        return True, failed[0].removeprefix("FAILED ").partition(" - ")[0]
    if ran.returncode == 0:
        return False, "every named test passed"
    return False, f"pytest ended with {ran.returncode}: {(failed or [ran.stdout[-300:]])[0]}"


def failing_world(tree: Path, worlds: int) -> tuple[bool, str, int]:
    """Play worlds until one is judged broken; says whether one was, why, and which."""
    try:
        ran = _run(tree, ["-m", "tests.planted.worlds", str(worlds), str(STEPS)], WORLDS_SECONDS)
    except subprocess.TimeoutExpired:
        return False, f"{worlds} worlds took longer than {WORLDS_SECONDS:.0f} s", 0
    if ran.returncode:
        return False, f"the simulation failed: {ran.stderr.strip()[-300:]}", 0
    found = json.loads(ran.stdout.splitlines()[-1])
    seed, broken = found["seed"], found["broken"]
    if broken is None:
        return False, f"unnoticed in {worlds} worlds", 0
    crash = next((c for c in CRASHES if c in broken), None)
    if crash is not None:
        return False, f"world {seed} crashed instead of being judged: {broken[:200]}", seed
    return True, " ".join(broken.split()), seed


def _run(tree: Path, arguments: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run Python in a tree, with that tree's modules before the installed ones."""
    env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"}
    env.pop("PYTEST_ADDOPTS", None)
    env = {k: v for k, v in env.items() if not k.startswith(("COV_", "PYTEST_"))}
    # A checkout finds the data folder beside itself; the copy lies elsewhere.
    data = CHECKOUT.parent / "shared" / "data"
    if data.is_dir():
        env.setdefault("COORDINATOR_TEST_DATA", str(data.resolve()))
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=tree,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
