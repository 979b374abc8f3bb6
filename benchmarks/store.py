"""Transactions per second of the embedded store.

Each transaction is an event's: it reads one table's date and three partitions, changes all four,
and creates a ledger entry on top with ``--events``. Documents are about 2 KB. Run it from the
checkout: ``python benchmarks/store.py --callers 1 32 --seconds 3``.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from coordinator.adapters.sqlite import SqliteStore
from coordinator.core.arrivals import Arrival, LoadStatus, TableDate, arrivals_key
from coordinator.core.model import Inputs, Journal, Partition, Transition
from coordinator.documents import (
    LedgerEntry,
    encode,
    event_key,
    partition_key,
    table_date_key,
)
from coordinator.ports import Changes, CommitAttempt, Document, Key, Transaction

NOON = datetime(2025, 11, 15, 12, tzinfo=UTC)
TABLES = ("nba_raw.nbac_gamebook_player_stats", "nba_raw.bigdataball_play_by_play")


def arrival(table: str, game_date: str, number: int) -> Arrival:
    return Arrival(
        event_id=f"{number:032x}",
        table=table,
        game_date=game_date,
        status=LoadStatus.SUCCESS,
        timestamp=NOON,
        received_at=NOON,
        record_count=450,
        game_ids=("0022500225", "0022500226"),
        correlation_id=f"night-{game_date}",
    )


def table_date(table: str, game_date: str) -> TableDate:
    arrivals = {a.event_id: a for a in (arrival(table, game_date, n) for n in range(5))}
    games = {f"00225002{n:02}": event_id for n, event_id in enumerate(arrivals)}
    return TableDate(table=table, game_date=game_date, arrivals=arrivals, games=games)


def partition(processor: str, game_date: str) -> Partition:
    loaded = arrival(TABLES[0], game_date, 0)
    return Partition(
        processor=processor,
        game_date=game_date,
        created_at=NOON,
        registry_hash="f" * 16,
        inputs=Inputs(
            arrivals={
                arrivals_key(table, game_date): TableDate(
                    table=table, game_date=game_date, arrivals={"a": loaded}, whole="a"
                )
                for table in TABLES
            },
            games={game_date: tuple(f"00225002{n:02}" for n in range(8))},
            met_since={f"{n}/{table}": NOON for n, table in enumerate(TABLES)},
        ),
        journal=Journal(
            history=tuple(
                Transition(at=NOON, what="arrived", detail=f"{TABLES[0]} loaded 450 rows")
                for _ in range(5)
            )
        ),
        wake_at=NOON,
    )


class Load:
    """Callers that send events for the dates of a season in turn."""

    def __init__(self, store: SqliteStore, dates: int, with_events: bool) -> None:
        self.store = store
        self.with_events = with_events
        self.dates = [str((NOON + timedelta(days=n)).date()) for n in range(dates)]
        self.states = [self._states(game_date) for game_date in self.dates]
        self.sent = 0
        self.seconds: list[float] = []

    @staticmethod
    def _states(game_date: str) -> list[dict[Key, Document]]:
        """Two states of a date's documents to go back and forth between: deciding is not timed."""
        processors = [f"Processor{n}" for n in range(3)]
        table_key = table_date_key(TABLES[0], game_date)
        before: dict[Key, Document] = {
            table_key: table_date(TABLES[0], game_date),
            **{partition_key(p, game_date): partition(p, game_date) for p in processors},
        }
        after = {
            key: replace(document, revision=1, wake_at=NOON + timedelta(minutes=15))
            for key, document in before.items()
            if isinstance(document, Partition)
        }
        return [before, {table_key: replace(before[table_key], whole=f"{1:032x}"), **after}]

    async def event(self) -> None:
        number, self.sent = self.sent, self.sent + 1
        game_date = self.dates[number % len(self.dates)]
        before, after = self.states[number % len(self.dates)]
        keys = list(before)
        ledger_key = event_key(TABLES[0], game_date, f"{number:032x}")
        if self.with_events:
            keys.append(ledger_key)

        def step(docs: Mapping[Key, Document | None]) -> Changes[None]:
            known = docs[keys[1]]
            puts = dict(after if known is not None and known.revision == 0 else before)
            if not self.with_events:
                return Changes(None, puts)
            puts[ledger_key] = LedgerEntry(
                event_id=ledger_key.id,
                table=TABLES[0],
                game_date=game_date,
                outcome="applied",
                digest="d" * 16,
                received_at=NOON,
                arrival=arrival(TABLES[0], game_date, number),
            )
            return Changes(None, puts, frozenset({ledger_key}))

        began = time.perf_counter()
        (answer,) = await self.store.attempt(CommitAttempt([Transaction(tuple(keys), step)]))
        assert answer.error is None
        self.seconds.append(time.perf_counter() - began)

    async def caller(self, until: float) -> None:
        while time.perf_counter() < until:
            await self.event()


async def measure(path: str, callers: int, options: argparse.Namespace) -> str:
    store = SqliteStore(path, inline=options.inline)
    await store.open()
    try:
        load = Load(store, options.dates, options.events)
        for _ in load.dates:  # warm: every document is there
            await load.event()
        load.seconds.clear()
        commits, began = store.commits, time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(callers):
                tasks.create_task(load.caller(began + options.seconds))
        took = time.perf_counter() - began
        done = len(load.seconds)
        marks = statistics.quantiles(load.seconds, n=100)
        return (
            f"{callers:>5} callers: {done / took:>8,.0f} transactions/s, "
            f"{done / (store.commits - commits):>6.1f} a commit, "
            f"p50 {marks[49] * 1000:.1f} ms, p99 {marks[98] * 1000:.1f} ms"
        )
    finally:
        await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--seconds", type=float, default=3.0, help="per number of callers")
    parser.add_argument("--dates", type=int, default=200, help="four documents each")
    parser.add_argument("--events", action="store_true", help="create a ledger entry each time")
    parser.add_argument("--inline", action="store_true", help="no threads, one commit each")
    parser.add_argument("--memory", action="store_true", help="no file")
    parser.add_argument(
        "--folder", type=Path, help="where the file lies (default: a temporary one)"
    )
    options = parser.parse_args()
    sizes = [
        len(encode(partition("P", "2025-11-15"))),
        len(encode(table_date(TABLES[0], "2025-11-15"))),
    ]
    sys.stdout.write(f"a partition has {sizes[0]:,} bytes, a table's date {sizes[1]:,}\n")
    for callers in options.callers:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = ":memory:" if options.memory else str(Path(folder) / "store.sqlite")
            sys.stdout.write(asyncio.run(measure(path, callers, options)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
