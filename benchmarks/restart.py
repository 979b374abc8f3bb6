"""A large state file, filled quickly, and how a service starts over it.

One date is ingested by a real service in memory; its documents are then written for every other
date, through the store's own port. By default that makes 200 processors on 500 dates (100,000
partitions) and 1,000,000 ledger entries.

    python benchmarks/restart.py --fill state.db --registry registry.yaml   # takes minutes
    python benchmarks/restart.py --serve state.db --registry registry.yaml  # start and memory
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.harness import free_port, resident_mib, server
from coordinator.adapters.sqlite import SqliteStore
from coordinator.app import build, configure_logging
from coordinator.documents import decode, encode
from coordinator.ports import Changes, CommitAttempt, Document, Key, Kind, Query, Transaction
from coordinator.registry import parse
from coordinator.service.pages import items
from coordinator.settings import Settings

FIRST = date(2020, 1, 1)
GAMES = 15
PER_TRANSACTION = 500
READY_SECONDS_MAX = 120.0
CLONED = (Kind.PARTITION, Kind.TABLE_DATE, Kind.EVENT)


def registry_text(processors: int = 200, tables: int = 100) -> str:
    """Each processor needs three tables that are loaded, and one that never is."""
    lines = ["version: 1", "timezone: America/New_York", "tables:", "  bench.never: {}"]
    lines += [f"  bench.loads_{n}: {{grain: game}}" for n in range(tables)]
    lines.append("processors:")
    for n in range(processors):
        needs = [f"{{table: bench.loads_{(n + k) % tables}}}" for k in range(3)]
        needs.append("{table: bench.never}")
        lines.append(
            f"  Summary{n}: {{phase: 3, output: bench.summary_{n}, requires: [{', '.join(needs)}]}}"
        )
    return "\n".join(lines) + "\n"


def events(game_date: str, tables: int, loads: int) -> Iterator[dict[str, object]]:
    """``loads`` loads of each table on a date, game after game."""
    for table in range(tables):
        for number in range(loads):
            yield {
                "event_type": "raw_data_loaded",
                "target_table": f"bench.loads_{table}",
                "processor_name": "BenchLoader",
                "execution_id": f"bench-{table}-{number}",
                "correlation_id": f"night-{game_date}",
                "game_date": game_date,
                "game_ids": [f"00224{number % GAMES:05d}"],
                "record_count": 25,
                "status": "success",
                "timestamp": (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
            }


async def one_date(text: str, tables: int, loads: int) -> list[tuple[Key, bytes]]:
    """The documents of ``FIRST``, as a service leaves them."""
    store = SqliteStore(":memory:")
    settings = Settings(registry=Path("unread.yaml"), store="sqlite::memory:", log_level="warning")
    configure_logging(settings)
    application = build(
        settings, registry=parse(text), store=store, launchers={}, notifiers=[], alone=True
    )
    async with application.running():
        for event in events(FIRST.isoformat(), tables, loads):
            await application.ingest.take(event)
        await application.sweeper.sweep()
        return [
            (Key(kind, id_), encode(document))
            for kind in CLONED
            async for id_, document in items(store, Query(kind, limit=500))
        ]


async def fill(path: str, text: str, *, dates: int, tables: int, loads: int) -> None:
    """Write the documents of so many dates into a new file."""
    documents = await one_date(text, tables, loads)
    store = SqliteStore(path, cache_documents=1)
    await store.open()
    try:
        for day in range(dates):
            game_date = (FIRST + timedelta(days=day)).isoformat()
            for start in range(0, len(documents), PER_TRANSACTION):
                part = documents[start : start + PER_TRANSACTION]
                await write(store, dict(moved(part, game_date)))
    finally:
        await store.close()


def moved(documents: Sequence[tuple[Key, bytes]], game_date: str) -> Iterator[tuple[Key, Document]]:
    """The same documents on another date."""
    first = FIRST.isoformat()
    for key, body in documents:
        kind, id_ = key
        copy = body.replace(first.encode(), game_date.encode())
        yield Key(kind, id_.replace(first, game_date)), decode(kind, copy)


async def write(store: SqliteStore, puts: dict[Key, Document]) -> None:
    changes = Changes(None, puts)
    (answer,) = await store.attempt(CommitAttempt([Transaction((), lambda _: changes)]))
    if answer.error is not None:
        raise answer.error


def ready_after(port: int) -> None:
    """Wait until the service says that it is ready. Raises ``TimeoutError``."""
    until = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < until:
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            time.sleep(0.02)
    raise TimeoutError(f"the service was not ready after {READY_SECONDS_MAX:g} s")


def serve(path: str, registry: Path, *, settle_seconds: float = 20.0) -> dict[str, float]:
    """Start a service over a file: seconds until it is ready, CPU seconds, and its memory."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "coordinator", "serve", "--registry", str(registry)),
        *("--store", f"sqlite:{path}", "--port", str(port)),
    ]
    os.environ["COORDINATOR_LOG_LEVEL"] = "info"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COORDINATOR_WAREHOUSE"] = f"duckdb:{folder}/warehouse.duckdb"
        log = Path(folder) / "serve.log"
        began = time.perf_counter()
        with server(command, port, log) as pid:
            ready_after(port)
            found = {
                "ready_seconds": time.perf_counter() - began,
                "ready_cpu_seconds": cpu_seconds(pid),
                "ready_mib": resident_mib(pid),
            }
            time.sleep(settle_seconds)
            found |= {"settled_mib": resident_mib(pid), "settled_cpu_seconds": cpu_seconds(pid)}
        return {name: round(value, 2) for name, value in found.items()}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    parts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--fill", metavar="FILE", help="make this state file")
    parser.add_argument("--serve", metavar="FILE", help="start a service over this state file")
    parser.add_argument("--registry", type=Path, default=Path("restart-registry.yaml"))
    parser.add_argument("--processors", type=int, default=200)
    parser.add_argument("--tables", type=int, default=100)
    parser.add_argument("--dates", type=int, default=500)
    parser.add_argument("--loads", type=int, default=20, help="of each table and date")
    arguments = parser.parse_args()
    if arguments.fill:
        text = registry_text(arguments.processors, arguments.tables)
        arguments.registry.write_text(text)
        asyncio.run(
            fill(
                arguments.fill,
                text,
                dates=arguments.dates,
                tables=arguments.tables,
                loads=arguments.loads,
            )
        )
    if arguments.serve:
        print(json.dumps(serve(arguments.serve, arguments.registry), indent=2))


if __name__ == "__main__":
    main()
