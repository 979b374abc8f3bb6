"""``python -m tests.mutants PART``: change one small thing at a time, and count what no test minds.

Runs mutmut over a sample of the mutants of ``coordinator/core`` or ``coordinator/service``, in a
copy of the tree, judged by the fast tests of that part. What survives those is played in a few
simulated worlds. Prints each survivor with its change, and the share that survived. The tool lives
in an environment of its own (``.mutants``), made when it is first needed.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import random
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.planted.plant import CHECKOUT, copied

MUTMUT = "mutmut==3.8.1"
TOOL = CHECKOUT / ".mutants"
SURVIVED = (0, 5, 33)
"""Exit codes of mutmut: the tests passed, or none was there."""
WORLDS = 4
STEPS = 40
CONFIG = """

[tool.mutmut]
source_paths = [{source}]
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
also_copy = ["coordinator", "processors", "tests", "docs", "registry.yaml", "README.md"]
"""


@dataclass(frozen=True, slots=True)
class Part:
    """What is mutated, and the tests that judge it."""

    source: str
    tests: tuple[str, ...]
    at_import: tuple[str, ...] = ()
    """Functions that run only while a module is imported, before any mutant is chosen."""


PARTS = {
    "core": Part("coordinator/core", ("tests/core",), ("_following",)),
    "service": Part(
        "coordinator/service",
        (
            "tests/service",
            "tests/api/test_events.py",
            "tests/api/test_operators.py",
            "tests/api/test_runs.py",
            "tests/api/test_status.py",
            "tests/simulation/test_races.py",
        ),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge a sample; 1 where more survives than is allowed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--sample", type=int, default=200, help="mutants to judge; 0: all")
    parser.add_argument(
        "--seed", type=int, default=None, help="draws the sample (default: the time)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at once")
    parser.add_argument("--only", default="", help="only mutants whose name has this text")
    parser.add_argument("--allow", type=float, default=5.0, help="percent that may survive")
    asked = parser.parse_args(arguments)
    part = PARTS[asked.part]
    seed = int(time.time()) if asked.seed is None else asked.seed
    mutmut = _tool()
    with copied() as tree:
        tests = json.dumps(list(part.tests))
        with (tree / "pyproject.toml").open("a") as file:
            file.write(CONFIG.format(source=json.dumps(part.source), tests=tests))
        _mutmut(mutmut, tree, asked.jobs, ["no mutant has this name"], check=False)
        names = [
            name
            for name in sorted(_verdicts(tree, part))
            if asked.only in name and not any(f"x_{f}__mutmut" in name for f in part.at_import)
        ]
        if not names:
            parser.error(f"no mutant of {asked.part} has {asked.only!r} in its name")
        sample = names
        if asked.sample and asked.sample < len(names):
            sample = sorted(random.Random(seed).sample(names, asked.sample))
        _say(f"{len(sample)} of {len(names)} mutants of {asked.part}, seed {seed}")
        _mutmut(mutmut, tree, asked.jobs, sample, check=True)
        verdicts = _verdicts(tree, part)
        left = [name for name in sample if verdicts[name] in SURVIVED]
        unjudged = [name for name in sample if verdicts[name] is None]
        survivors = [name for name in left if not _noticed_in_worlds(mutmut, tree, name)]
        for name in survivors:
            _say(f"survived: {name}")
            for line in _change(tree, part, name):
                _say(f"    {line}")
    judged = len(sample) - len(unjudged)
    share = 100 * len(survivors) / max(1, judged)
    if unjudged:
        _say(f"{len(unjudged)} could not be judged")
    _say(
        f"{len(survivors)} of {judged} survived: {share:.1f} % "
        f"({len(left)} the tests, {len(left) - len(survivors)} of them caught in {WORLDS} worlds)"
    )
    return 1 if share > asked.allow or not judged else 0


def _tool() -> Path:
    """The interpreter that has mutmut beside everything that the project has."""
    python = TOOL / "bin" / "python"
    if not (TOOL / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(TOOL)], check=True)
        inside = subprocess.run(
            [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        own = {sysconfig.get_path("purelib"), *(p for p in sys.path if "site-packages" in p)}
        (Path(inside) / "project.pth").write_text("\n".join(sorted(own)) + "\n")
        command = [str(python), "-m", "pip", "install", "--quiet", "--no-input", MUTMUT]
        subprocess.run(command, check=True)
        (TOOL / ".ready").touch()
    return python


def _mutmut(python: Path, tree: Path, jobs: int, names: Sequence[str], *, check: bool) -> None:
    command = [str(python), "-m", "mutmut", "run", "--max-children", str(jobs), *names]
    ran = subprocess.run(command, cwd=tree, env=_env(), capture_output=True, text=True, check=False)
    if check and ran.returncode:
        sys.stdout.write(ran.stdout[-2000:] + ran.stderr[-2000:])
        sys.exit(f"mutmut ended with {ran.returncode}")


def _env(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONHASHSEED": "0", "CI": "true", **more}


def _verdicts(tree: Path, part: Part) -> dict[str, int | None]:
    """Every mutant, and how its tests ended; None: not judged."""
    found: dict[str, int | None] = {}
    for meta in sorted((tree / "mutants" / part.source).rglob("*.meta")):
        found.update(json.loads(meta.read_text())["exit_code_by_key"])
    return found


def _noticed_in_worlds(python: Path, tree: Path, name: str) -> bool:
    """Whether the simulation minds a mutant that the tests did not."""
    folder = tree / "mutants"
    command = [str(python), "-m", "tests.planted.worlds", str(WORLDS), str(STEPS)]
    try:
        ran = subprocess.run(
            command,
            cwd=folder,
            env=_env(MUTANT_UNDER_TEST=name, PYTHONPATH=str(folder)),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True
    if ran.returncode:
        return True  # the service could not even start
    return json.loads(ran.stdout.splitlines()[-1])["broken"] is not None


def _change(tree: Path, part: Part, name: str) -> list[str]:
    """The lines that a mutant changes."""
    module, _, function = name.rpartition(".")
    path = tree / "mutants" / f"{module.replace('.', '/')}.py"
    text = path.read_text()
    lines = text.splitlines()
    bodies = {
        node.name: [line.strip() for line in lines[node.lineno : node.end_lineno]]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    original = bodies.get(f"{function.partition('__mutmut_')[0]}__mutmut_orig", [])
    diff = difflib.unified_diff(original, bodies.get(function, []), lineterm="", n=0)
    return [line for line in diff if not line.startswith(("---", "+++", "@@"))][:8]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
