"""How quickly things start and what they hold, each beside a baseline of the same run.

The command line beside ``python -c "import fastapi"``; an idle service beside
a FastAPI app that does nothing; the check of a registry as large as the limits allow beside one of
ten processors; a restart over a large state file (made here, or given as ``--state``) beside one over
an empty file. Times are CPU time (user and system), which other work on the machine changes
least, and elapsed time where somebody waits for it.

    python benchmarks/start.py --json start.json
    python benchmarks/start.py --state state.db --registry registry.yaml
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import free_port, resident_mib, server
from benchmarks.restart import FIRST, fill, ready_after, registry_text, serve

ROUNDS = 7
LARGE_PROCESSORS, LARGE_TABLES = 2000, 5000


def row(what: str, value: float, unit: str, baseline: float) -> dict[str, Any]:
    return {
        "what": what,
        "value": round(value, 3),
        "unit": unit,
        "baseline": round(baseline, 3),
        "ratio": round(value / baseline, 3),
    }


def spent(*command: str) -> tuple[float, float]:
    """Elapsed and CPU seconds of a command that ends by itself."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    elapsed = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return elapsed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compared(commands: dict[str, tuple[str, ...]], rounds: int) -> dict[str, tuple[float, float]]:
    """The medians of elapsed and CPU seconds of each command, run in turn."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            found[name].append(spent(*command))
    return {
        name: (statistics.median(e for e, _ in times), statistics.median(c for _, c in times))
        for name, times in found.items()
    }


def command_line(home: Path, rounds: int) -> list[dict[str, Any]]:
    """The verbs that people wait for, against a service that is up."""
    python, coordinator = sys.executable, (sys.executable, "-m", "coordinator")
    registry = home / "registry.yaml"
    registry.write_text(registry_text(20, 10))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with server(service(registry, home / "cli.db", port), port, home / "cli.log"):
        ready_after(port)
        times = compared(
            {
                "fastapi": (python, "-c", "import fastapi"),
                "coordinator --help": (*coordinator, "--help"),
                "coordinator status": (*coordinator, "status", str(FIRST), "--url", url),
                "completion of a name": completion(registry),
            },
            rounds,
        )
    rows = []
    for name in ("coordinator --help", "coordinator status", "completion of a name"):
        elapsed, cpu = times[name]
        rows.append(row(name, elapsed, "s", times["fastapi"][0]))
        rows.append(row(f"{name}: processor time", cpu, "s", times["fastapi"][1]))
    return rows


def completion(registry: Path) -> tuple[str, ...]:
    code = (
        "import os, sys; from coordinator.cli import main; sys.argv = ['coordinator']; "
        f"os.environ.update(_COORDINATOR_COMPLETE='complete_bash', COMP_CWORD='2', "
        f"COMP_WORDS='coordinator why Sum', COORDINATOR_REGISTRY={str(registry)!r}); main()"
    )
    return (sys.executable, "-c", code)


def service(registry: Path, state: Path, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "coordinator", "serve", "--registry", str(registry)),
        *("--store", f"sqlite:{state}", "--port", str(port)),
        *("--warehouse", f"duckdb:{state}.duckdb"),
    ]


def idle(home: Path) -> list[dict[str, Any]]:
    """Resident memory of a service without work, beside a FastAPI no-op."""
    registry = home / "idle.yaml"
    registry.write_text(registry_text(20, 10))
    port, noop_port = free_port(), free_port()
    noop = [
        *(sys.executable, "-m", "uvicorn", "--app-dir", str(Path(__file__).parent)),
        *("noop:app", "--port", str(noop_port), "--log-level", "warning"),
    ]
    with (
        server(service(registry, home / "idle.db", port), port, home / "idle.log") as pid,
        server(noop, noop_port, home / "noop.log") as noop_pid,
    ):
        ready_after(port)
        time.sleep(3)
        return [row("idle memory", resident_mib(pid), "MiB", resident_mib(noop_pid))]


def registries(home: Path, rounds: int) -> list[dict[str, Any]]:
    """The check of the largest registry, beside that of a small one; and a start under it."""
    large, small = home / "large.yaml", home / "small.yaml"
    loaded = LARGE_TABLES - LARGE_PROCESSORS - 1
    large.write_text(registry_text(LARGE_PROCESSORS, loaded))
    small.write_text(registry_text(10, 10))
    check = (sys.executable, "-m", "coordinator", "registry", "check")
    try:
        times = compared({"large": (*check, str(large)), "small": (*check, str(small))}, rounds)
    except subprocess.CalledProcessError:
        print("this version refuses a registry of that size", file=sys.stderr)
        return []
    few = serve(str(home / "small.db"), small, settle_seconds=0)
    many = serve(str(home / "large.db"), large, settle_seconds=0)
    what = f"{LARGE_PROCESSORS:,} processors"
    return [
        row(f"check of {what}", times["large"][0], "s", times["small"][0]),
        row(f"check of {what}: processor time", times["large"][1], "s", times["small"][1]),
        row(f"start with {what}", many["ready_seconds"], "s", few["ready_seconds"]),
        row(
            f"start with {what}: processor time",
            many["ready_cpu_seconds"],
            "s",
            few["ready_cpu_seconds"],
        ),
    ]


def restarts(home: Path, state: Path, registry: Path) -> list[dict[str, Any]]:
    """A restart over a large state file, beside one over an empty file."""
    empty = serve(str(home / "empty.db"), registry, settle_seconds=5)
    full = serve(str(state), registry, settle_seconds=20)
    return [
        row("restart with 100,000 partitions", full["ready_seconds"], "s", empty["ready_seconds"]),
        row(
            "restart with 100,000 partitions: processor time",
            full["ready_cpu_seconds"],
            "s",
            empty["ready_cpu_seconds"],
        ),
        row("memory with 100,000 partitions", full["settled_mib"], "MiB", empty["settled_mib"]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="few rounds, and no large state file")
    parser.add_argument("--state", type=Path, help="a state file, as restart.py --fill makes it")
    parser.add_argument("--registry", type=Path, help="the registry of that file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here too")
    arguments = parser.parse_args()
    os.environ["COORDINATOR_LOG_LEVEL"] = "warning"
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        rounds = 2 if arguments.quick else arguments.rounds
        rows = command_line(home, rounds)
        rows += idle(home)
        rows += registries(home, max(1, rounds // 2))
        state, registry = arguments.state, arguments.registry
        if state is None and not arguments.quick:
            state, registry = home / "state.db", home / "state.yaml"
            print("filling a state file, which takes minutes", file=sys.stderr)
            text = registry_text()
            registry.write_text(text)
            asyncio.run(fill(str(state), text, dates=500, tables=100, loads=20))
        if state is not None and registry is not None:
            rows += restarts(home, state.resolve(), registry.resolve())
    for each in rows:
        print(
            f"{each['what']:75} {each['value']:8.3f} {each['unit']}, baseline "
            f"{each['baseline']:.3f}, ratio {each['ratio']:.2f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"name": "start", "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
