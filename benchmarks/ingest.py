"""Durable events per second through HTTP, beside a FastAPI no-op in the same run.

Starts the coordinator (embedded store) and a no-op app with the same body model, as processes of
their own. Senders hold keep-alive connections and push to both in turn, round by round. An event
counts once its 204 is there, which is after it is durable.

    python benchmarks/ingest.py                     # all rows
    python benchmarks/ingest.py --only spread       # some of them
    python benchmarks/ingest.py --memory 100000     # memory of the service while events go in
    python benchmarks/ingest.py --profile           # where the interpreter lock goes (needs py-spy)
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from benchmarks import profiling
from benchmarks.harness import (
    Row,
    Sample,
    Served,
    Subject,
    arguments,
    compared,
    coordinator,
    event,
    noop,
    percentile,
    push,
    report,
    resident_mib,
    rounds,
    say,
)

REGISTRY = """
version: 1
timezone: America/New_York
tables:
  bench.loads: {grain: game}
  bench.never: {}
processors:
  First:  {phase: 3, output: bench.first, requires: [{table: bench.loads}, {table: bench.never}]}
  Second: {phase: 3, output: bench.second, requires: [{table: bench.loads}, {table: bench.never}]}
  Third:  {phase: 3, output: bench.third, requires: [{table: bench.loads}, {table: bench.never}]}
"""
GAMES_PER_DATE = 15
LOADS_PER_GAME = 20
SENDERS = 32
YEAR = 365
FEW = 3
"""Dependants of a table, as many as are usual."""


def load(number: int, *, spread: int = 0, table: str = "bench.loads") -> bytes:
    """The ``number``-th distinct load: of one night after the other, or over ``spread`` dates."""
    day = number % spread if spread else number // (GAMES_PER_DATE * LOADS_PER_GAME)
    game = (number // spread if spread else number) % GAMES_PER_DATE
    game_date = date(2000, 1, 1) + timedelta(days=day)
    return push(event(table, game_date.isoformat(), number, game_ids=[f"00224{game:05d}"]))


def wide_registry(dependants: int) -> str:
    """Two tables of which one has few dependants and the other many, some of them in common."""
    lines = [
        *("version: 1", "timezone: America/New_York", "tables:"),
        *("  bench.few: {grain: game}", "  bench.many: {grain: game}", "  bench.never: {}"),
        "processors:",
    ]
    for number in range(dependants):
        tables = ["bench.many", "bench.never", *(["bench.few"] if number < FEW else [])]
        needs = ", ".join(f"{{table: {table}}}" for table in tables)
        lines.append(f"  P{number}: {{phase: 3, output: bench.p{number}, requires: [{needs}]}}")
    return "\n".join(lines) + "\n"


def measured(
    what: str, home: Path, base: Served, options: argparse.Namespace, senders: int, spread: int = 0
) -> list[Row]:
    """One way of sending, beside the no-op."""
    build = partial(load, spread=spread)
    with coordinator(home, REGISTRY) as served:
        subject, other = Subject(served, senders, build), Subject(base, senders, build)
        rounds([subject, other], options.rounds, options.seconds)
    return [compared(what, subject, other)]


def one_date(home: Path, base: Served, options: argparse.Namespace) -> list[Row]:
    return measured("32 senders, one date, K = 3", home, base, options, SENDERS)


def every_date(home: Path, base: Served, options: argparse.Namespace) -> list[Row]:
    return measured("32 senders, every event on another date", home, base, options, SENDERS, YEAR)


def one_sender(home: Path, base: Served, options: argparse.Namespace) -> list[Row]:
    return measured("one sender", home, base, options, 1)


def dependants(home: Path, base: Served, options: argparse.Namespace) -> list[Row]:
    """What each dependant of a table adds to an event, beside the time of a no-op request.

    The events at once are of different dates, so none shares a partition with another; the warm-up
    has created all partitions.
    """
    with coordinator(home, wide_registry(options.dependants)) as served:
        few = Subject(served, SENDERS, partial(load, spread=SENDERS, table="bench.few"))
        many = Subject(served, SENDERS, partial(load, spread=SENDERS, table="bench.many"))
        other = Subject(base, SENDERS, partial(load, spread=SENDERS))
        rounds([few, many, other], options.rounds, options.seconds)
    slopes = [
        (1 / b.rate - 1 / a.rate) / (options.dependants - FEW) * 1000
        for a, b in zip(few.samples, many.samples, strict=True)
    ]
    bases = [1000 / sample.rate for sample in other.samples]
    ratios = [slope / base for slope, base in zip(slopes, bases, strict=True)]
    return [
        Row(
            what="each dependant of K",
            value=round(statistics.median(slopes), 4),
            unit="ms",
            baseline=f"no-op {statistics.median(bases):.3f} ms",
            ratio=round(statistics.median(ratios), 3),
            ratios=(round(min(ratios), 3), round(max(ratios), 3)),
            detail={
                f"ms_at_k_{FEW}": round(statistics.median(1000 / s.rate for s in few.samples), 3),
                f"ms_at_k_{options.dependants}": round(
                    statistics.median(1000 / s.rate for s in many.samples), 3
                ),
            },
        )
    ]


Case = Callable[[Path, Served, argparse.Namespace], list[Row]]
CASES: dict[str, Case] = {
    "one-date": one_date,
    "spread": every_date,
    "one-sender": one_sender,
    "dependants": dependants,
}


def paced(subject: Subject, events: int, rate: int) -> Sample:
    """Send events at a rate; gives the last second of them."""
    while True:
        began = time.monotonic()
        sample = subject.round(rate)
        events -= rate
        if events <= 0:
            return sample
        time.sleep(max(0.0, began + 1 - time.monotonic()))


def watch_memory(home: Path, events: int, spread: int, rate: int | None) -> None:
    """Resident memory after every tenth of the events, sent as fast as can be or at a rate."""
    tenth = max(1, events // 10)
    with coordinator(home, REGISTRY) as served:
        subject = Subject(served, SENDERS, partial(load, spread=spread))
        for part in range(10):
            sample = paced(subject, tenth, rate) if rate else subject.round(tenth)
            say(
                f"{(part + 1) * tenth:>8} events: {resident_mib(served.pid):.1f} MiB; "
                f"{sample.rate:.0f}/s, p99 {percentile(sample.latencies, 0.99) * 1000:.1f} ms"
            )


def profiled(home: Path, options: argparse.Namespace) -> dict[str, profiling.Profile]:
    """The profile of the served process for each way of sending."""
    profiles: dict[str, profiling.Profile] = {}
    ways = {"one-date": (SENDERS, 0), "spread": (SENDERS, YEAR), "one-sender": (1, 0)}
    for name, (senders, spread) in ways.items():
        file = profiling.FOLDER / f"{name}.stacks"
        with coordinator(home / name, REGISTRY) as served:
            subject = Subject(served, senders, partial(load, spread=spread))
            warm = subject.round(300)
            seconds = 20 * options.seconds
            profiler = profiling.start(served.pid, seconds, file)
            while profiler.poll() is None:
                subject.round(max(senders, int(warm.rate)))
            if profiler.returncode:
                assert profiler.stdout is not None
                raise SystemExit(f"py-spy failed: {profiler.stdout.read().decode()}")
        profiles[name] = profiling.summary(file.read_text().splitlines(), seconds)
        shown = profiling.text(profiles[name], name)
        file.with_suffix(".txt").write_text(shown)
        say(shown)
    return profiles


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rounds", type=int, help="of each subject (default: 15)")
    parser.add_argument("--seconds", type=float, help="a round of a subject (default: 1)")
    parser.add_argument("--dependants", type=int, default=200, help="of the table with many")
    parser.add_argument("--profile", action="store_true", help="profile the service instead")
    parser.add_argument("--memory", type=int, metavar="EVENTS", help="watch memory instead")
    parser.add_argument("--spread", action="store_true", help="with --memory: over many dates")
    parser.add_argument("--rate", type=int, metavar="N", help="with --memory: events a second")
    options = parser.parse_args()
    options.rounds = options.rounds or (5 if options.quick else 15)
    options.seconds = options.seconds or (0.4 if options.quick else 1)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if options.memory:
            spread = YEAR if options.spread else 0
            watch_memory(home / "memory", options.memory, spread, options.rate)
            return
        if options.profile:
            if profiling.py_spy() is None:
                raise SystemExit("There is no py-spy: pip install py-spy")
            report("profile", [], options.json, profiles=profiled(home, options))
            return
        rows: list[Row] = []
        with noop(home) as base:
            for name in options.only:
                say(f"ingest: {name} …")
                rows += CASES[name](home / name, base, options)
    report("ingest", rows, options.json)


if __name__ == "__main__":
    main()
