"""Run every benchmark, print one table, and write the page with its plots.

python -m benchmarks                       # about ten minutes; writes docs/benchmarks.md
python -m benchmarks --quick               # under two minutes; writes nothing
python -m benchmarks --of v1.0 --json FILE # the same scripts on the code of another commit
python -m benchmarks --from FILE           # the page again, from kept results
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from benchmarks import machine, page, profiling
from benchmarks.harness import say

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results.json"
BEFORE = FOLDER / "before.json"


class Script(NamedTuple):
    """A benchmark: its file, and its options for a whole and for a rough measurement."""

    file: str
    options: tuple[str, ...] = ()
    quick: tuple[str, ...] | None = ("--quick",)
    """None where ``--quick`` leaves it out."""


SCRIPTS = {
    "ingest": Script("ingest.py"),
    "launches": Script("launches.py"),
    "reads": Script(
        "reads.py", (), ("--processors", "40", "--dates", "60", "--events", "30", "--rounds", "1")
    ),
    "start": Script("start.py"),
    "firestore": Script("firestore_cost.py", ("--nights", "4", "--firings", "40"), None),
    "profile": Script("ingest.py", ("--profile",), None),
}
LONGEST_SECONDS = 1800


def measure(names: list[str], quick: bool, of: str | None) -> dict[str, Any]:
    """Run the scripts one after the other; gives what they report, with machine and commit."""
    results: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": machine.commit(of or "HEAD"),
        "quick": quick,
        "machine": machine.described(),
        "load_before": machine.load(),
        "scripts": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ)
        if of is not None:
            extract(results["commit"], Path(folder))
            environment["PYTHONPATH"] = folder
        for number, name in enumerate(names, start=1):
            say(f"[{number}/{len(names)}] {name}")
            started = time.perf_counter()
            found = script(name, quick, Path(folder) if of else Path.cwd(), environment)
            found["seconds"] = round(time.perf_counter() - started)
            results["scripts"][name] = found
    return results


def script(name: str, quick: bool, folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """The report of one script, or why there is none."""
    chosen = SCRIPTS[name]
    if not (FOLDER / chosen.file).exists():
        return {"rows": [], "skipped": f"there is no benchmarks/{chosen.file}"}
    if name == "profile" and profiling.py_spy() is None:
        return {"rows": [], "skipped": "py-spy is not installed"}
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "rows.json"
        options = chosen.quick if quick and chosen.quick is not None else chosen.options
        command = [sys.executable, str(FOLDER / chosen.file), *options, "--json", str(report)]
        done = subprocess.run(
            command, cwd=folder, env=environment, timeout=LONGEST_SECONDS, check=False
        )
        if done.returncode or not report.exists():
            why = f"{' '.join(command[1:-2])} ended with exit code {done.returncode}"
            return {"rows": [], "skipped": why, "failed": True}
        found: dict[str, Any] = json.loads(report.read_text())
    return found


def extract(commit: str, folder: Path) -> None:
    """The code of a commit, in a folder from which it is imported before that of the checkout."""
    packed = subprocess.run(
        ["git", "archive", commit, "coordinator", "processors", "registry.yaml"],
        cwd=machine.ROOT,
        capture_output=True,
        check=True,
    )
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="rough numbers; write no page")
    parser.add_argument("--only", nargs="+", choices=list(SCRIPTS), help="some of the scripts")
    parser.add_argument("--of", metavar="COMMIT", help="measure the code of another commit")
    parser.add_argument("--json", type=Path, help="write the results there, and no page")
    parser.add_argument("--from", type=Path, dest="kept", help="results that were kept")
    parser.add_argument(
        "--compare", type=Path, default=BEFORE, help="earlier results (default: before.json)"
    )
    parser.add_argument("--page", type=Path, help="write the page there, its plots beside it")
    options = parser.parse_args()
    if options.kept:
        results = json.loads(options.kept.read_text())
    else:
        names = options.only or [
            name for name, each in SCRIPTS.items() if not options.quick or each.quick is not None
        ]
        results = measure(names, options.quick, options.of)
    before = json.loads(options.compare.read_text()) if options.compare.exists() else None
    console = Console(width=80)
    console.print(page.table(results, before))
    if before is not None:
        say(f"Beside {before['commit'][:7]} of {before['date']}:")
        console.print(page.comparison(results, before))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    failed = [found for found in results["scripts"].values() if found.get("failed")]
    partial = options.quick or options.only or options.of or options.json
    target = options.page or (None if partial or failed else page.PAGE)
    if target is not None:
        if not options.kept and target.resolve() == page.PAGE:
            RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        page.write(target, results, before)
        say(f"wrote {target}")
    for found in failed:
        say(found["skipped"])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
