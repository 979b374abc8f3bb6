"""The package and its lock files say the same, and carry what an installation needs."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT = tomllib.loads(PYPROJECT)["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
EVERY_REQUIREMENT = [
    *PROJECT["dependencies"],
    *(requirement for extra in EXTRAS.values() for requirement in extra),
]
FULL_LOCK = "requirements.lock"
RUNTIME_LOCK = "requirements-runtime.lock"


def locked_versions(lock: str) -> dict[str, str]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


@pytest.mark.parametrize("requirement", EVERY_REQUIREMENT)
def test_every_dependency_gives_its_reason(requirement: str) -> None:
    line = rf'^    "{re.escape(requirement)}",\s+# \S+ \S+'
    assert re.search(line, PYPROJECT, re.MULTILINE), f"say beside {requirement} why it is needed"


@pytest.mark.parametrize("requirement", EVERY_REQUIREMENT)
def test_the_lock_holds_every_dependency_at_an_allowed_version(requirement: str) -> None:
    wanted = Requirement(requirement)
    version = locked_versions(FULL_LOCK).get(canonicalize_name(wanted.name))
    assert version is not None, f"{wanted.name} is not in {FULL_LOCK}: run `make lock`"
    assert wanted.specifier.contains(version), f"{wanted} but {version} is locked: run `make lock`"


def test_the_runtime_lock_is_the_full_lock_without_the_tools() -> None:
    full, runtime = locked_versions(FULL_LOCK), locked_versions(RUNTIME_LOCK)
    needed = {
        canonicalize_name(Requirement(requirement).name)
        for requirement in [*PROJECT["dependencies"], *EXTRAS["gcp"]]
    }
    assert needed <= runtime.keys(), "run `make lock`"
    assert runtime.items() <= full.items(), "run `make lock`"
    assert not runtime.keys() & {"pytest", "mypy", "ruff", "hypothesis"}


@pytest.mark.parametrize("lock", [FULL_LOCK, RUNTIME_LOCK])
def test_a_lock_pins_by_hash_and_names_no_host_or_path(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text):
        if "==" in entry.splitlines()[0]:
            assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert not re.findall(
        r"^.*(?:://|--(?:extra-)?index-url|--find-links|/).*$", text, re.MULTILINE
    )


@pytest.mark.parametrize(
    ("page", "lock"), [("Makefile", FULL_LOCK), ("deploy/README.md", RUNTIME_LOCK)]
)
def test_a_later_release_of_a_locked_package_breaks_no_installation(page: str, lock: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert f"--require-hashes -r {lock} -c {lock}\n" in text, "see docs/decisions, 5"


def test_no_step_of_the_gate_can_be_ended_by_a_pipe_that_is_closed_early() -> None:
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "set -euo pipefail" in gate
    early = r"\|\s*(?:head\b|grep\s+-[a-zA-Z]*[qm]|sed\b[^|\n]*\bq\b)"
    assert not re.findall(early, gate), "the writer may die of SIGPIPE, which pipefail reports"


def test_a_built_wheel_carries_every_file_of_the_packages(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    done = subprocess.run(
        [*build, "--directory", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        carried = set(archive.namelist())
        (metadata,) = (name for name in carried if name.endswith("entry_points.txt"))
        entry_points = archive.read(metadata).decode()
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in ("coordinator", "processors")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "coordinator/py.typed" in ours
    assert ours <= carried, f"not in the wheel: {sorted(ours - carried)}"
    assert "coordinator = coordinator.cli:main" in entry_points
