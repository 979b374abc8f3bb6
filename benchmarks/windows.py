"""A season under a long history window on SQLite: what an event costs, and what it writes.

    python benchmarks/windows.py --dates 170 --order ascending

Sends a season's loads one after the other to a served application (its sweeper runs beside), for a
processor that looks back 366 days and for one without a window, and prints the ratios. ``descending``
is the worst order: every partition waits for its window until the last load comes.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from coordinator.adapters.sqlite import SqliteStore
from coordinator.app import build
from coordinator.core.spec import LaunchKind
from coordinator.documents import encode
from coordinator.ports import CommitAttempt, Kind, Query, Transaction
from coordinator.registry import parse
from coordinator.settings import Settings

REGISTRY = """
version: 1
timezone: America/New_York
calendar: {{table: raw.games, known_from: "2024-10-22"}}
tables: {{raw.games: {{}}, raw.a: {{}}, raw.t: {{}}}}
processors:
  Form: {{phase: 4, output: out.form, requires: [{{table: raw.a}}{window}]}}
"""
WINDOW = ", {table: raw.t, dates: {window_days: 366}}"
FIRST = date(2024, 10, 22)


class Launcher:
    async def launch(self, *_: Any) -> str:
        return "message"


class Counted(SqliteStore):
    """A store that counts what is written, by kind, and the largest commit."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.written: Counter[str] = Counter()
        self.bytes_most = 0

    async def attempt(self, attempt: CommitAttempt) -> Any:
        (transaction,) = attempt.transactions
        last: list[Any] = []

        def kept(docs: Any) -> Any:
            answer = transaction.step(docs)
            last[:] = [getattr(answer, "puts", None) or {}]
            return answer

        result = await super().attempt(CommitAttempt([Transaction(transaction.keys, kept)]))
        self.written.update(key.kind.value for puts in last for key in puts)
        size = sum(len(encode(d)) for puts in last for d in puts.values())
        self.bytes_most = max(self.bytes_most, size)
        return result


def load(table: str, day: str, **said: Any) -> dict[str, Any]:
    return {
        "event_type": "raw_data_loaded",
        "target_table": table,
        "game_date": day,
        "status": "success",
        "record_count": 10,
        "timestamp": datetime(2025, 11, 15, tzinfo=UTC).isoformat(),
        "event_id": f"{table}-{day}",
        **said,
    }


async def season(folder: Path, dates: int, order: str, window: bool) -> float:
    """Milliseconds an event of the season takes, until everything that follows is done."""
    days = [(FIRST + timedelta(days=n)).isoformat() for n in range(dates)]
    store = Counted(str(folder / f"{order}-{window}.db"))
    application = build(
        Settings(),
        registry=parse(REGISTRY.format(window=WINDOW if window else "")),
        store=store,
        launchers={LaunchKind.LOCAL: Launcher()},
        notifiers=[],
    )
    events = [load("raw.games", d, game_ids=["g"], record_count=1) for d in days]
    if order == "ascending":
        events += [load(t, d) for d in days for t in ("raw.a", "raw.t")]
    else:
        events += [load("raw.a", d) for d in days] + [load("raw.t", d) for d in reversed(days)]
    slowest = 0.0
    async with application.running():
        began = time.perf_counter()
        for event in events:
            sent = time.perf_counter()
            await application.ingest.take(event)
            slowest = max(slowest, time.perf_counter() - sent)
        taken = time.perf_counter() - began
        for _ in range(60_000):
            if len((await store.find(Query(Kind.RUN, limit=1000))).items) >= dates:
                break
            await asyncio.sleep(0.02)
        done = time.perf_counter() - began
    written = store.written
    print(
        f"{order:>10} {'366 days' if window else 'no window':>9}: {len(events)} events, "
        f"{1000 * taken / len(events):6.1f} ms each until answered (slowest "
        f"{1000 * slowest:.0f} ms), {1000 * done / len(events):6.1f} ms until all has fired; "
        f"{sum(written.values()) / len(events):.2f} documents written an event "
        f"({written['partitions'] / len(events):.2f} partitions, "
        f"{written['pending'] / len(events):.2f} pending); largest commit "
        f"{store.bytes_most / 1000:.0f} kB"
    )
    return done / len(events)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dates", type=int, default=170)
    parser.add_argument("--order", choices=["ascending", "descending", "both"], default="both")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    orders = ["ascending", "descending"] if options.order == "both" else [options.order]
    with tempfile.TemporaryDirectory() as folder:
        for order in orders:
            plain = await season(Path(folder), options.dates, order, window=False)
            long = await season(Path(folder), options.dates, order, window=True)
            print(f"{order:>10} ratio: {long / plain:.1f}")


if __name__ == "__main__":
    asyncio.run(main())
