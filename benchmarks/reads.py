"""What reading many partitions costs, and what it costs an event that comes meanwhile.

Builds a store of processors × dates (one date goes through the service, the others are copies of it),
serves it, and reads it over HTTP. Each number is beside the same of a FastAPI endpoint that does
nothing, served by the same uvicorn settings and asked in turn with it.

    python benchmarks/reads.py                                  # 200 processors × 365 dates
    python benchmarks/reads.py --processors 20 --dates 30 --json reads.json
    python benchmarks/reads.py --store kept.db                  # built once, read again later
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI

from benchmarks.harness import free_port, percentile, resident_mib, server
from coordinator.adapters.sqlite import SqliteStore
from coordinator.app import Application, build
from coordinator.core.choices import RunStatus
from coordinator.core.spec import LaunchKind
from coordinator.documents import GAME_DATES, Dates, dates_key, decode, encode
from coordinator.ports import Changes, CommitAttempt, Document, Key, Kind, Query, Transaction
from coordinator.registry import parse
from coordinator.service.pages import items
from coordinator.settings import Settings

FIRST = date(2024, 10, 22)
COPIED = (Kind.PARTITION, Kind.TABLE_DATE, Kind.EVENT, Kind.CALENDAR, Kind.RUN)
PER_TABLE = 3
"""Processors that need one table."""
KEPT_SECONDS = 3.0
"""How long a connection may idle; uvicorn ends it after five."""
TICK_SECONDS = 0.02
"""Between two events whose latency is measured."""

noop = FastAPI()


@noop.get("/noop")
async def nothing() -> dict[str, str]:
    """Do nothing."""
    return {"status": "alive"}


def registry_of(processors: int) -> str:
    """Every processor needs two tables; every third one also the output of the one before."""
    tables = range(-(-processors // PER_TABLE))
    lines = ["version: 1", "timezone: America/New_York"]
    lines += ["calendar: {table: raw.games, known_from: '2024-10-22'}", "tables:"]
    lines += ["  raw.games: {}", *(f"  raw.{kind}_{n}: {{}}" for n in tables for kind in "ab")]
    lines += ["processors:"]
    for n in range(processors):
        needs = [f"raw.a_{n // PER_TABLE}", f"raw.b_{n // PER_TABLE}"]
        needs += [f"out.p_{n - 1}"] if n % PER_TABLE == PER_TABLE - 1 else []
        requires = ", ".join(f"{{table: {t}}}" for t in needs)
        lines += [f"  Processor{n}: {{phase: 3, output: out.p_{n}, requires: [{requires}]}}"]
    return "\n".join(lines)


def load(table: str, day: str, number: int = 0) -> dict[str, Any]:
    """A load of two games."""
    return {
        "event_type": "raw_data_loaded",
        "target_table": table,
        "game_date": day,
        "status": "success",
        "record_count": 450,
        "game_ids": ["0022500225", "0022500226"],
        "timestamp": datetime.now(UTC).isoformat(),
        "execution_id": f"{table}-{day}-{number}",
        "correlation_id": f"night-{day}",
    }


# ── the store ────────────────────────────────────────────────────────────────────────────────


class Launcher:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.run_ids: list[str] = []

    async def launch(self, target: object, spec: object, run: Any, message: object) -> str:
        self.run_ids.append(run.run_id)
        return f"message-{len(self.run_ids)}"


async def fill(path: str, processors: int, dates: int) -> None:
    """Most partitions of a date succeeded, one in twenty failed, one in twenty waits."""
    store, launcher = SqliteStore(path), Launcher()
    application = build(
        Settings(),
        registry=parse(registry_of(processors)),
        store=store,
        launchers={LaunchKind.LOCAL: launcher},
        notifiers=[],
    )
    async with application.running():
        await _one_date(application, launcher, processors)
        await _copies(store, dates)


async def _one_date(application: Application, launcher: Launcher, processors: int) -> None:
    day = FIRST.isoformat()
    tables = range(-(-processors // PER_TABLE))
    events = [load("raw.games", day), *(load(f"raw.a_{n}", day) for n in tables)]
    events += [load(f"raw.b_{n}", day) for n in tables if n % 20 != 1]
    for event in events:
        await application.ingest.take(event)
    done = quiet = 0
    while quiet < 50:
        quiet = 0 if len(launcher.run_ids) > done else quiet + 1
        for run_id in launcher.run_ids[done:]:
            await _end(application, run_id)
            done += 1
        await asyncio.sleep(0.02)


async def _end(application: Application, run_id: str) -> None:
    """Let a run end: one in twenty spends its attempts."""
    fails = int(run_id.split(":")[0].removeprefix("Processor")) % 20 == 7
    for attempt in (1, 2, 3):
        while True:
            try:
                run = await application.runs.claim(run_id, "bench", attempt)
                break
            except Exception as error:
                if "attempt" not in str(error) and "deliver" not in str(error):
                    raise
                return  # a later attempt waits for its back-off, or there is none
        status = RunStatus.FAILED if fails else RunStatus.SUCCESS
        assert run.lease_token is not None
        await application.runs.complete(run_id, run.lease_token, status, 450)
        if not fails:
            return


async def _copies(store: SqliteStore, dates: int) -> None:
    """Every document of the first date again, for each further date."""
    first = FIRST.isoformat()
    found: list[tuple[Kind, str, bytes]] = [
        (kind, id_, encode(document))
        for kind in COPIED
        async for id_, document in items(store, Query(kind, limit=500))
    ]
    days = [(FIRST + timedelta(days=n)).isoformat() for n in range(dates)]
    for day in days[1:]:
        puts = {
            Key(kind, id_.replace(first, day)): decode(
                kind, body.replace(first.encode(), day.encode())
            )
            for kind, id_, body in found
        }
        await _put(store, puts)
    await _put(store, {dates_key(GAME_DATES): Dates(name=GAME_DATES, dates=tuple(days))})


async def _put(store: SqliteStore, puts: dict[Key, Document]) -> None:
    (answer,) = await store.attempt(CommitAttempt([Transaction((), lambda _: Changes(None, puts))]))
    if answer.error is not None:
        raise answer.error


# ── reading ──────────────────────────────────────────────────────────────────────────────────


def cpu_ms(pid: int) -> float:
    """Processor time that a process has used, in ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


class Connection:
    """A keep-alive connection that reads whole answers, and nothing else."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used_at = 0.0

    async def ask(self, path: str, body: bytes | None = None) -> tuple[float, bytes]:
        """One request; gives milliseconds until its answer is whole, and the answer's body."""
        if self._streams is None or time.perf_counter() - self._used_at > KEPT_SECONDS:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        began = time.perf_counter()
        head = "GET" if body is None else "POST"
        length = "" if body is None else f"content-length: {len(body)}\r\n"
        writer.write(
            f"{head} {path} HTTP/1.1\r\nhost: localhost\r\n"
            f"content-type: application/json\r\n{length}\r\n".encode()
            + (body or b"")
        )
        lines = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not lines.startswith(b"http/1.1 2"):
            raise SystemExit(f"{path} was answered {lines[:300]!r}")
        size = int(lines.partition(b"content-length:")[2].split()[0])
        answer = await reader.readexactly(size)
        self._used_at = time.perf_counter()
        return (self._used_at - began) * 1000, answer


Row = dict[str, Any]


def row(what: str, value: float, unit: str, baseline: float | None = None) -> Row:
    ratio = None if not baseline else round(value / baseline, 2)
    rounded = None if baseline is None else round(baseline, 2)
    return {
        "what": what, "value": round(value, 2), "unit": unit, "baseline": rounded, "ratio": ratio,
    }  # fmt: skip


async def read_all(port: int, noop_port: int, pid: int, noop_pid: int, dates: int) -> list[Row]:
    """Time, processor time and bytes of every read, each beside a no-op's."""
    last = (FIRST + timedelta(days=dates - 1)).isoformat()
    middle = (FIRST + timedelta(days=dates // 2)).isoformat()
    month = (FIRST + timedelta(days=min(dates, 30) - 1)).isoformat()
    paths = {
        "grid, all dates": f"/v1/grid?from={FIRST}&to={last}",
        "grid, 30 dates": f"/v1/grid?from={FIRST}&to={month}",
        "gaps, all dates": f"/v1/gaps?from={FIRST}&to={last}",
        "status of a date": f"/v1/status/{middle}",
        "status of an empty date": f"/v1/status/{FIRST - timedelta(days=400)}",
        "one partition": f"/v1/status/{middle}/Processor0",
        "runs": "/v1/runs",
        "runs of a date": f"/v1/runs?game_date={middle}",
        "loads of a table and date": f"/v1/tables/raw.a_0/dates/{middle}",
        "trace": f"/v1/trace/night-{middle}",
        "metrics": "/metrics",
        "readyz": "/readyz",
    }
    ours, others = Connection(port), Connection(noop_port)
    rows: list[Row] = []
    for what, path in paths.items():
        body = b""
        for _ in range(2):
            _, body = await ours.ask(path)
            await others.ask("/noop")
        took: list[float] = []
        base: list[float] = []
        begun, cpu, noop_cpu = time.perf_counter(), cpu_ms(pid), cpu_ms(noop_pid)
        while len(took) < 3 or (len(took) < 200 and time.perf_counter() - begun < 2):
            took.append((await ours.ask(path))[0])
            base.append((await others.ask("/noop"))[0])
        cpu, noop_cpu = cpu_ms(pid) - cpu, cpu_ms(noop_pid) - noop_cpu
        rows.append(row(what, statistics.median(took), "ms", statistics.median(base)))
        rows.append(row(f"{what}: processor time", cpu / len(took), "ms", noop_cpu / len(base)))
        rows.append(row(f"{what}: body", len(body) / 1000, "kB"))
    return rows


async def events(port: int, count: int, numbers: Iterator[int]) -> list[float]:
    """Latencies of events that come one after the other, each on a date of its own."""
    connection, took = Connection(port), []
    for _, number in zip(range(count), numbers, strict=False):
        day = (FIRST + timedelta(days=2000 + number)).isoformat()
        took.append(
            (await connection.ask("/v1/events", json.dumps(load("raw.a_0", day)).encode()))[0]
        )
        await asyncio.sleep(TICK_SECONDS)
    return took


async def while_reading(port: int, path: str, work: Callable[[], Any]) -> tuple[Any, int]:
    """Do something while somebody reads a path all the time; gives also how often that was."""
    reads = 0

    async def read() -> None:
        nonlocal reads
        connection = Connection(port)
        while True:
            await connection.ask(path)
            reads += 1

    reader = asyncio.create_task(read())
    try:
        return await work(), reads
    finally:
        reader.cancel()


async def beside(port: int, dates: int, count: int, rounds: int) -> list[Row]:
    """An event's latency, alone and while somebody reads the whole grid, in turns."""
    last = (FIRST + timedelta(days=dates - 1)).isoformat()
    path = f"/v1/grid?from={FIRST}&to={last}"
    numbers = iter(range(10**6))
    await events(port, 20, numbers)
    alone: list[float] = []
    read: list[float] = []
    reads = 0
    for _ in range(rounds):
        alone += await events(port, count, numbers)
        took, more = await while_reading(port, path, lambda: events(port, count, numbers))
        read += took
        reads += more
    rows = [
        row(f"event while the grid is read, {name}", percentile(read, share), "ms",
            percentile(alone, share))
        for name, share in (("p50", 0.5), ("p99", 0.99), ("most", 1.0))
    ]  # fmt: skip
    return [*rows, row("grids read meanwhile", reads, "")]


def table(rows: Sequence[Row]) -> None:
    print(f"{'':<44}{'value':>10}{'':>5}{'baseline':>10}{'ratio':>8}")
    for r in rows:
        base, ratio = ("" if r[k] is None else r[k] for k in ("baseline", "ratio"))
        print(f"{r['what']:<44}{r['value']:>10}{r['unit']:>5}{base:>10}{ratio:>8}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--processors", type=int, default=200)
    parser.add_argument("--dates", type=int, default=365)
    parser.add_argument("--events", type=int, default=100, help="events per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", type=Path, help="where the store is kept; built if absent")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    os.environ["COORDINATOR_LOG_LEVEL"] = "warning"
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        path = home / "state.db"
        os.environ["COORDINATOR_WAREHOUSE"] = f"duckdb:{home / 'warehouse.duckdb'}"
        if arguments.store is None or not arguments.store.exists():
            began = time.perf_counter()
            asyncio.run(fill(str(path), arguments.processors, arguments.dates))
            print(f"built in {time.perf_counter() - began:.0f} s", file=sys.stderr)
            if arguments.store is not None:
                shutil.copy(path, arguments.store)
        else:
            shutil.copy(arguments.store, path)
        (home / "registry.yaml").write_text(registry_of(arguments.processors))
        rows = run(home, path, arguments)
    table(rows)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"name": "reads", "rows": rows}, indent=2) + "\n")


def run(home: Path, path: Path, arguments: argparse.Namespace) -> list[Row]:
    """Serve the store and the no-op, and measure."""
    port, noop_port = free_port(), free_port()
    service = [
        *(sys.executable, "-m", "coordinator", "serve"),
        *("--registry", str(home / "registry.yaml")),
        *("--store", f"sqlite:{path}", "--port", str(port)),
    ]
    plain = [
        *(sys.executable, "-m", "uvicorn", "--app-dir", str(Path(__file__).parent)),
        *("reads:noop", "--port", str(noop_port), "--log-level", "warning"),
        *("--no-access-log", "--lifespan", "off"),
    ]
    began = time.perf_counter()
    with (
        server(service, port, home / "service.log") as pid,
        server(plain, noop_port, home / "noop.log") as noop_pid,
    ):
        started = time.perf_counter() - began
        rows = asyncio.run(read_all(port, noop_port, pid, noop_pid, arguments.dates))
        rows += asyncio.run(beside(port, arguments.dates, arguments.events, arguments.rounds))
        rows.append(row("start of both", started, "s"))
        rows.append(row("memory", resident_mib(pid), "MiB", resident_mib(noop_pid)))
    return rows


if __name__ == "__main__":
    main()
