"""``python -m tests.planted``: plant every bug, or those named, and print what caught it.

Ends with 1 where a bug was not caught, or where what must catch it fails without any bug.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tests.planted.bugs import BUGS
from tests.planted.plant import Result, copied, failing_test, failing_world, try_bug

WIDTH = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant the requested bugs; 0 if all were caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="these bugs (default: all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="bugs at once")
    parser.add_argument("--worlds", type=int, help="play at most so many worlds for each bug")
    parser.add_argument("--list", action="store_true", help="list the bugs and what they break")
    asked = parser.parse_args(arguments)
    known = {b.name: b for b in BUGS}
    unknown = [n for n in asked.names if n not in known]
    if unknown:
        parser.error(f"no planted bug is named {', '.join(unknown)}; see --list")
    bugs = [known[n] for n in asked.names] or list(BUGS)
    if asked.worlds is not None:
        bugs = [replace(b, worlds=min(b.worlds, asked.worlds)) for b in bugs]
    if asked.list:
        for bug in bugs:
            _say(f"{bug.name}: {bug.breaks} ({bug.rule})")
        return 0
    began = time.monotonic()
    results: list[Result] = []
    with ThreadPoolExecutor(asked.jobs) as pool:
        for result in pool.map(try_bug, bugs):
            results.append(result)
            _say(row(result))
        clean = list(pool.map(lambda check: check(), _without_bugs(results)))
    missed = [r.bug.name for r in results if not r.caught]
    for problem in filter(None, clean):
        _say(problem)
    took = time.monotonic() - began
    _say(f"{len(results)} planted bugs, {len(missed)} not caught, {took:.0f} s")
    if missed:
        _say(f"not caught: {', '.join(missed)}")
    return 1 if missed or any(clean) else 0


def row(result: Result) -> str:
    """One line of the table."""
    mark = "caught" if result.caught else "MISSED"
    where = f"world {result.world}: " if result.world else ""
    line = f"{mark}  {result.bug.name:<38} {result.seconds:6.1f} s  {where}{result.by}"
    return line if not result.caught or len(line) <= 2 * WIDTH else f"{line[: 2 * WIDTH - 1]}…"


def _without_bugs(results: Sequence[Result]) -> list:  # type: ignore[type-arg]
    """The same worlds and tests on the tree as it is: what fails there catches nothing."""
    worlds = max((r.world for r in results), default=0)
    tests = sorted({t for r in results for t in r.bug.tests})

    def play() -> str:
        with copied() as tree:
            broken, why, seed = failing_world(tree, worlds)
        return f"without any bug world {seed} fails: {why}" if broken else ""

    def test() -> str:
        with copied() as tree:
            failed, which = failing_test(tree, tests)
        if failed or which != "every named test passed":
            return f"without any bug a named test fails: {which}"
        return ""

    return [*([play] if worlds else []), *([test] if tests else [])]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
