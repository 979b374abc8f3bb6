"""Durable events per second through HTTP, beside a FastAPI no-op in the same run.

Starts two servers as processes of their own: the coordinator (embedded store, three dependent
partitions per event) and a FastAPI app whose endpoint has the same body model and does nothing.
Senders hold keep-alive connections and post Pub/Sub envelopes to each in turn, round by round, so
that the ratio holds where the machine's speed drifts. An event counts once its 204 is there, which
is after it is durable.

    python benchmarks/ingest.py                     # rates, latencies and their ratio
    python benchmarks/ingest.py --memory 100000     # memory of the service while events go in
    python benchmarks/ingest.py --spread            # every event of a batch on another date
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from pydantic import BaseModel

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


class Message(BaseModel):
    """The inner part of a Pub/Sub push envelope."""

    data: str
    messageId: str
    publishTime: str
    attributes: dict[str, str] = {}


class Envelope(BaseModel):
    """The body model of the no-op endpoint."""

    message: Message
    subscription: str


noop = FastAPI()


@noop.post("/pubsub/push")
async def push(envelope: Envelope) -> Response:
    """Validate the body and do nothing."""
    return Response(status_code=204)


def body(number: int, spread: bool) -> bytes:
    """The ``number``-th distinct load: of one night after the other, or each of another date."""
    per_date = GAMES_PER_DATE * LOADS_PER_GAME
    day = number % 365 if spread else number // per_date
    game = (number // 365 if spread else number) % GAMES_PER_DATE
    game_date = date(2000, 1, 1) + timedelta(days=day)
    event = {
        "event_type": "raw_data_loaded",
        "source_table": "loads",
        "target_table": "bench.loads",
        "processor_name": "BenchLoader",
        "execution_id": f"bench-{number}",
        "correlation_id": f"night-{game_date}",
        "game_date": game_date.isoformat(),
        "game_ids": [f"00224{game:05d}"],
        "record_count": 25,
        "status": "success",
        "timestamp": datetime.now(UTC).isoformat(),
        "metadata": {"rows_inserted": 25, "rows_updated": 0},
    }
    envelope = {
        "message": {
            "data": base64.b64encode(json.dumps(event).encode()).decode(),
            "messageId": str(number),
            "publishTime": "2024-10-22T00:00:00Z",
            "attributes": {},
        },
        "subscription": "projects/p/subscriptions/bench",
    }
    return json.dumps(envelope).encode()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def server(command: list[str], port: int, log: Path) -> Iterator[int]:
    """A server process; gives its pid once it listens."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            for _ in range(200):
                if process.poll() is not None:
                    raise SystemExit(f"{command} ended:\n{log.read_text()[-2000:]}")
                with socket.socket() as s:
                    if s.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield process.pid
        finally:
            process.terminate()
            process.wait(timeout=20)


async def send(port: int, bodies: list[bytes], senders: int) -> tuple[float, list[float]]:
    """Post every body over ``senders`` connections; gives seconds in all and per request."""
    waiting = iter(bodies)
    latencies: list[float] = []

    async def sender() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for data in waiting:
            started = time.perf_counter()
            writer.write(
                b"POST /pubsub/push HTTP/1.1\r\nhost: localhost\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(data), data)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 204"):
                raise SystemExit(f"answered {head[:200]!r}")
            latencies.append(time.perf_counter() - started)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(senders)))
    return time.perf_counter() - started, latencies


def resident_mib(pid: int) -> float:
    """Resident memory of a process, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--senders", type=int, default=32)
    parser.add_argument("--events", type=int, default=6000, help="events per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--spread", action="store_true", help="every event on another date")
    parser.add_argument("--memory", type=int, metavar="EVENTS", help="watch memory instead")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "registry.yaml").write_text(REGISTRY)
        port, noop_port = free_port(), free_port()
        service = [
            *(sys.executable, "-m", "coordinator", "serve"),
            *("--registry", str(home / "registry.yaml")),
            *("--store", f"sqlite:{home / 'state.db'}", "--port", str(port)),
        ]
        plain = [
            *(sys.executable, "-m", "uvicorn", "--app-dir", str(Path(__file__).parent)),
            *("ingest:noop", "--port", str(noop_port), "--log-level", "warning"),
            *("--no-access-log",),
        ]
        os.environ["COORDINATOR_WAREHOUSE"] = f"duckdb:{home / 'warehouse.duckdb'}"
        os.environ["COORDINATOR_LOG_LEVEL"] = "warning"
        with server(service, port, home / "service.log") as pid:
            if arguments.memory:
                report = watch_memory(pid, port, arguments)
            else:
                with server(plain, noop_port, home / "noop.log"):
                    report = compare(port, noop_port, arguments)
    if arguments.json:
        print(json.dumps(report, indent=2))


def compare(port: int, noop_port: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Rounds of both in turn; prints rates, latencies and the ratio pair by pair."""
    rates: list[float] = []
    bases: list[float] = []
    latencies: list[float] = []
    number = 0
    for round_number in range(arguments.rounds + 1):
        bodies = [body(number + i, arguments.spread) for i in range(arguments.events)]
        number += arguments.events
        base, _ = asyncio.run(send(noop_port, bodies, arguments.senders))
        taken, times = asyncio.run(send(port, bodies, arguments.senders))
        if round_number == 0:
            continue  # warm-up
        bases.append(len(bodies) / base)
        rates.append(len(bodies) / taken)
        latencies += times
        if not arguments.json:
            print(
                f"round {round_number}: durable {rates[-1]:.0f}/s, no-op {bases[-1]:.0f}/s, "
                f"ratio {rates[-1] / bases[-1]:.2f}"
            )
    ratios = [a / b for a, b in zip(rates, bases, strict=True)]
    report = {
        "senders": arguments.senders,
        "events_per_round": arguments.events,
        "spread": arguments.spread,
        "durable_per_second_median": round(statistics.median(rates)),
        "noop_per_second_median": round(statistics.median(bases)),
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
        "p50_ms": round(percentile(latencies, 0.50) * 1000, 2),
        "p99_ms": round(percentile(latencies, 0.99) * 1000, 2),
    }
    if not arguments.json:
        print(
            f"median: durable {report['durable_per_second_median']}/s, "
            f"no-op {report['noop_per_second_median']}/s, ratio {report['ratio_median']} "
            f"({report['ratio_min']} to {report['ratio_max']}); "
            f"p50 {report['p50_ms']} ms, p99 {report['p99_ms']} ms"
        )
    return report


def watch_memory(pid: int, port: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Resident memory after every tenth of the events."""
    tenth = max(1, arguments.memory // 10)
    sizes = []
    for part in range(10):
        bodies = [body(part * tenth + i, arguments.spread) for i in range(tenth)]
        asyncio.run(send(port, bodies, arguments.senders))
        sizes.append(round(resident_mib(pid), 1))
        if not arguments.json:
            print(f"{(part + 1) * tenth:>8} events: {sizes[-1]} MiB")
    return {"events": tenth * 10, "resident_mib": sizes}


if __name__ == "__main__":
    main()
