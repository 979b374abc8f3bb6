"""Playing files for the command line: what differs, with the line of each expectation."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from coordinator.scenario.player import Result, play_file
from coordinator.scenario.story import StoryError
from coordinator.terminal import safe_lines
from coordinator.wire import instant_text

OK, DIFFERS, USAGE = 0, 1, 2


def run_files(
    paths: Iterable[str | Path], *, update: bool = False, json: bool = False, judged: bool = False
) -> int:
    """Play the stories in files and folders, and report what differs.

    Args:
        paths: Files, or folders whose ``*.yaml`` files are played.
        update: Write the actual results into the files where they differ.
        json: Print one JSON object on standard output.
        judged: Also check everything that happens against the specification.

    Returns:
        0 if everything was as expected (or was updated), 1 if something differs or a rule is
        violated, 2 if a story cannot be played.
    """
    results: list[Result] = []
    errors: list[str] = []
    files = _files(paths)
    if not files:
        errors.append("no story was found; name files or folders of *.yaml")
    for path in files:
        try:
            result = play_file(path, update=update, judged=judged)
        except StoryError as error:
            errors.append(error.detail)
            continue
        if update and result.mismatches:
            path.write_text(result.text, "utf-8")
        results.append(result)
    if json:
        _say(json_module.dumps(_as_data(results, errors, update), indent=2, default=str))
    else:
        _show_results(results, errors, update)
    if errors:
        return USAGE
    if any(r.broken for r in results):
        return DIFFERS
    return DIFFERS if any(not r.ok for r in results) and not update else OK


def _files(paths: Iterable[str | Path]) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, paths):
        found += sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    return found


def _show_results(results: Sequence[Result], errors: Sequence[str], update: bool) -> None:
    for result in results:
        if result.ok:
            _say(f"ok       {result.path}: {result.name} ({result.checks} expectations)")
            continue
        word = "updated" if update and not result.broken else "differs"
        _say(f"{word}  {result.path}: {result.name}")
        for mismatch in result.mismatches:
            _say(f"  {mismatch}")
        for broken in result.broken:
            _say(f"  {broken}")
    for error in errors:
        sys.stderr.write(f"{safe_lines(error)}\n")
    good = sum(r.ok for r in results)
    _say(f"{good} of {len(results) + len(errors)} stories went as expected")


def _as_data(results: Sequence[Result], errors: Sequence[str], update: bool) -> dict[str, Any]:
    return {
        "items": [
            {
                "path": r.path,
                "story": r.name,
                "ok": r.ok,
                "updated": update and not r.ok,
                "steps": r.steps,
                "expectations": r.checks,
                "mismatches": [
                    {
                        "line": m.line,
                        "column": m.column,
                        "what": m.what,
                        "expected": m.expected,
                        "got": m.got,
                    }
                    for m in r.mismatches
                ],
                "broken": [
                    {
                        "rule": b.rule,
                        "section": b.section,
                        "where": b.where,
                        "at": instant_text(b.at),
                        "sentence": b.sentence,
                    }
                    for b in r.broken
                ],
            }
            for r in results
        ],
        "errors": list(errors),
    }


def _say(line: str) -> None:
    sys.stdout.write(f"{safe_lines(line)}\n")
