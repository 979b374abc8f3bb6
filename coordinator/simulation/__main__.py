"""``python -m coordinator.simulation``: run seeds, print totals, and what led to a violated law.

The exit code is 0 if every law held, 1 if one was violated, 2 for an invalid option.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from coordinator.adapters.sqlite import SqliteStore
from coordinator.simulation.faults import WAITING_FOR
from coordinator.simulation.world import Report, run

PROGRESS_EVERY = 100
SEED_BASE = "COORDINATOR_SEED_BASE"
"""The variable that names the first fresh seed."""
FRESH_MAX = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the requested seeds; 0 if every law held, 1 if one was violated."""
    parser = argparse.ArgumentParser(
        prog="python -m coordinator.simulation",
        description="Play seeded worlds: the real service on a virtual clock, with faults, checked "
        "against the laws of the specification. Exit code: 0 if every law held, 1 if not, 2 for a "
        "bad option.",
        epilog="A world is its seed and its steps: the same pair plays the same world again, on any "
        "machine, as long as the code is the same. Examples: --seeds 1-200 --jobs 4; --fresh 100; "
        "--seed 17 --steps 40 --trace",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="play this world")
    what.add_argument("--seeds", metavar="FIRST-LAST", help="play these worlds, as in 1-200")
    what.add_argument(
        "--fresh",
        type=int,
        metavar="NUMBER",
        help=f"play this many worlds that nobody has played: their seeds begin at {SEED_BASE}, or "
        "at a drawn number, which is printed",
    )
    parser.add_argument("--steps", type=int, default=60, help="steps of each world (default: 60)")
    parser.add_argument("--jobs", type=int, default=1, help="worlds at once (default: 1)")
    parser.add_argument("--trace", action="store_true", help="print the transcript as it happens")
    parser.add_argument(
        "--store",
        choices=("memory", "sqlite-file", "firestore"),
        default="memory",
        help="keep each world's state in memory (default), in a file of its own, or on the "
        "Firestore emulator that FIRESTORE_EMULATOR_HOST names",
    )
    asked = parser.parse_args(arguments)
    try:
        seeds = _asked_for(asked)
    except ValueError as error:
        parser.error(str(error))
    if asked.store == "firestore" and not os.environ.get("FIRESTORE_EMULATOR_HOST"):
        parser.error("--store firestore: start the emulator, and set FIRESTORE_EMULATOR_HOST")
    work = [(seed, asked.steps, asked.store, asked.trace) for seed in seeds]
    if asked.fresh is not None:
        _say(f"seeds {seeds[0]}-{seeds[-1]}")
    for kind, defect in WAITING_FOR.items():
        _say(f"without {kind}: {defect}")
    began = time.monotonic()
    failed = 0
    totals = {name: Counter[str]() for name in _TOTALS}
    steps = commits = 0
    for played, report in enumerate(_played(work, asked.jobs), 1):
        if played % PROGRESS_EVERY == 0:
            sys.stderr.write(f"{played} of {len(work)} worlds\n")
        steps += report.steps
        commits += report.commits
        for name, counter in totals.items():
            counter.update(getattr(report, name))
        if report.broken is not None:
            failed += 1
            _show_report(report, asked.store, show_tail=not asked.trace)
    took = time.monotonic() - began
    _say(
        f"{len(seeds)} worlds, {steps} steps, {commits} commits, {took:.1f} s "
        f"({len(seeds) / took:.2f} worlds/s); {failed} failed"
    )
    for name, counter in totals.items():
        _say(f"{name}: {sum(counter.values())}" + _listed(counter))
    if asked.seed is not None and not failed:
        _say(f"transcript {report.digest[:16]}")
    return 1 if failed else 0


_TOTALS = ("kinds", "faults", "edits", "firings", "statuses", "outcomes", "acts", "notices")


def _asked_for(asked: argparse.Namespace) -> list[int]:
    """The seeds to play. Raises ``ValueError``."""
    if asked.fresh is not None:
        if not 1 <= asked.fresh <= FRESH_MAX:
            raise ValueError(f"--fresh: must lie between 1 and {FRESH_MAX}, not {asked.fresh}")
        first = seed_base()
        return list(range(first, first + asked.fresh))
    return [asked.seed] if asked.seeds is None else list(_seeds(asked.seeds))


def seed_base() -> int:
    """The first fresh seed: ``COORDINATOR_SEED_BASE``, or a drawn one. Raises ``ValueError``."""
    named = os.environ.get(SEED_BASE)
    if not named:
        return secrets.randbelow(10**9) + 10**6
    if not named.isdecimal():
        raise ValueError(f"{SEED_BASE}: {named!r} is no seed; write a whole number, as in 4711")
    return int(named)


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    try:
        found = range(int(first), int(last or first) + 1)
    except ValueError:
        raise ValueError(f"--seeds: {text!r} is no range; write FIRST-LAST, as in 1-200") from None
    if not found:
        raise ValueError(f"--seeds: {text} holds no seed")
    return found


def _played(work: Sequence[tuple[int, int, str, bool]], jobs: int) -> Iterator[Report]:
    if jobs <= 1:
        yield from map(_play, work)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_play, work)


def _play(job: tuple[int, int, str, bool]) -> Report:
    seed, steps, store, trace = job
    say = _say if trace else None
    if store == "memory":
        return run(seed, steps=steps, trace=say)
    if store == "firestore":
        from coordinator.simulation.firestore import OverFirestore

        return run(seed, steps=steps, trace=say, store=OverFirestore(seed))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "world.sqlite"
        return run(seed, steps=steps, trace=say, store=SqliteStore(path, inline=True))


def _show_report(report: Report, store: str, *, show_tail: bool) -> None:
    _say(f"seed {report.seed} after {report.steps} steps: {report.broken}")
    if show_tail:
        for line in report.tail:
            _say(f"    {line}")
    where = " --store sqlite-file" if store == "sqlite-file" else ""
    _say(f"  again: {report.command}{where}")
    sys.stdout.flush()


def _listed(counter: Counter[str]) -> str:
    return "".join(f"\n    {count:7} {name}" for name, count in sorted(counter.items()))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
