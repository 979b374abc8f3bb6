"""What the Firestore store costs: calls and billed documents at the wire, and the bill of a month.

Plays nights of a season on a clock set by hand, event by event, through the real service and
store, against Google's emulator behind a proxy that counts: those of real schedules and box scores
with ``--data FOLDER``, of the sample season without. Then measures the time from an
event's answer to its launch's message id, and 32 events at once on one partition. Needs Java and
the emulator (see tests/firestore/emulator.py). Run it from the checkout:
``python benchmarks/firestore_cost.py --data FOLDER --nights 8 --firings 100``.
"""

# ruff: noqa: ASYNC110 - it prints its report, and waits by looking

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks import harness
from coordinator import outbox
from coordinator.adapters.clock import SystemClock
from coordinator.adapters.firestore import FirestoreStore
from coordinator.app import Application, build, configure_logging
from coordinator.core.choices import RunStatus
from coordinator.core.model import Run
from coordinator.core.spec import LaunchKind, LaunchTarget, ProcessorSpec
from coordinator.ports import Kind, Query
from coordinator.registry import Registry, load, parse
from coordinator.service import sweep
from coordinator.service.engine import Committed
from coordinator.service.registry_membership import REFRESH_AHEAD
from coordinator.service.sweep import BEFORE_ALL
from coordinator.settings import Settings
from processors.catalog import CATALOG
from processors.nights import NightPlayer, plan_nights
from processors.publisher import RawDataPubSubPublisher
from processors.raw.loader import RawLoader
from processors.raw.season import Season, read_folder
from processors.sample import sample_season
from processors.warehouse import DuckDBWarehouse
from tests.firestore.emulator import emulator_host, new_project
from tests.firestore.proxy import Counts, Proxy

EVENTS_PER_DAY = 2800
RUNS_PER_DAY = 1200
"""A busy day of the pipeline this was made for."""
DAYS = 30
LIFE = ("delivery recorded", "run claimed", "run completed")
"""What happens to a run after the commit that fired it."""
READ_USD, WRITE_USD = 0.03 / 100_000, 0.09 / 100_000
"""List prices of one read and one write, us-east1 (https://cloud.google.com/firestore/pricing,
seen in 2025). The free 50,000 reads and 20,000 writes a day are not taken off."""


class HandClock:
    """Time is what it was set to."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        """What goes by it, a look a minute, is billed with the idle instance."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.01)


class Launches:
    """A launcher that delivers at once and remembers."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.delivered_at: dict[str, float] = {}

    async def launch(
        self, target: LaunchTarget, spec: ProcessorSpec, run: Run, message: Mapping[str, Any]
    ) -> str:
        self.runs.append(run)
        self.delivered_at[run.run_id] = time.perf_counter()
        return f"m{len(self.runs)}"


@dataclass
class Row:
    """What a kind of thing cost."""

    times: int = 0
    calls: int = 0
    reads: int = 0
    writes: int = 0
    over: int = 0
    """How often it cost more than it should."""

    def add(self, counts: Counts) -> None:
        self.times += 1
        self.calls += counts.calls.total()
        self.reads += counts.reads
        self.writes += counts.writes

    def line(self, name: str) -> str:
        n = max(1, self.times)
        return (
            f"{name:<44}{self.times:>7}{self.calls / n:>9.2f}{self.reads / n:>9.2f}"
            f"{self.writes / n:>9.2f}"
        )


@dataclass
class Replay:
    """The service played by hand, one thing at a time, so that each can be counted."""

    app: Application
    clock: HandClock
    launches: Launches
    proxy: Proxy
    rows: dict[str, Row] = field(default_factory=dict)
    received: list[Committed] = field(default_factory=list)
    """What was decided since it was last replaced."""
    per_k: Counter[tuple[str, int, int, int, int]] = field(default_factory=Counter)
    """(kind, K, calls, reads, writes) → events."""

    def count(self, name: str, counts: Counts) -> None:
        self.rows.setdefault(name, Row()).add(counts)

    async def event(self, event: Mapping[str, Any]) -> None:
        self.proxy.take()
        outcome = await self.app.ingest.take(event)
        counts = self.proxy.take()
        assert not outcome.errors, outcome
        fired = [a for a in outcome.affected if a.fired_run_id]
        self.tally(outcome.outcome, len(outcome.affected), len(fired), counts)
        await self.deliver()

    def tally(self, outcome: str, k: int, fired: int, counts: Counts) -> None:
        name = "event that fires" if fired else f"event, {outcome}"
        self.count(name, counts)
        row = self.rows[name]
        row.over += counts.reads > 1 + k or counts.writes - fired > 1 + k
        key = (name, k, counts.calls.total(), counts.reads, counts.writes)
        self.per_k[key] += 1

    async def deliver(self) -> None:
        """Deliver what is due, and play the runs that were launched to their end."""
        while True:
            self.proxy.take()
            before = len(self.launches.runs)
            await self.relay("delivery recorded")
            new = self.launches.runs[before:]
            if not new:
                return
            for run in new:
                await self.play(run)

    async def relay(self, name: str) -> None:
        self.app.relay.start_due()
        while not self.app.relay.idle:
            await asyncio.sleep(0.001)
        counts = self.proxy.take()
        if counts.calls:
            self.count(name, counts)

    async def play(self, run: Run) -> None:
        claimed = await self.app.runs.claim(run.run_id, "bench", 1)
        self.count("run claimed", self.proxy.take())
        self.clock.at += timedelta(seconds=29)
        token = claimed.lease_token or ""
        received: list[Committed] = []
        self.received = received
        await self.app.runs.complete(run.run_id, token, RunStatus.SUCCESS, 300)
        counts = self.proxy.take()
        # In the same commit the output is recorded as an event, of 1+K documents.
        others = [c for c in received if c.decision.partition.processor != run.processor]
        fired = sum(c.decision.fired is not None for c in others)
        changed = sum(c.decision.changed or c.before is None for c in others)
        event = Counts(reads=1 + len(others), writes=1 + changed + fired)
        self.count("output announced, in that commit", event)
        counts.reads -= event.reads
        counts.writes -= event.writes
        self.count("run completed", counts)

    async def until(self, at: datetime) -> None:
        """Let time pass, with a sweep whenever one is due."""
        while True:
            wake = await self.app.sweeper.next_wake(BEFORE_ALL)
            self.proxy.take()
            if wake is None or wake > at:
                break
            self.clock.at = max(wake, self.clock.at)
            swept = await self.app.sweeper.sweep()
            counts = self.proxy.take()
            self.count("sweep that finds work", counts)
            assert swept.looked_at
            await self.deliver()
        self.clock.at = max(at, self.clock.at)


def events_of(season: Season, folder: Path, nights: int) -> list[dict[str, Any]]:
    """The events of a season's first nights, in order."""
    kept: list[dict[str, Any]] = []

    class Keep:
        def publish(self, message: Mapping[str, Any], *, seconds: float) -> str:
            kept.append(dict(message))
            return str(len(kept))

    house = DuckDBWarehouse(folder / "warehouse.duckdb", catalog=CATALOG)
    ids = iter(range(10**9))
    publisher = RawDataPubSubPublisher(
        Keep(), clock=lambda: datetime.now(UTC), new_id=lambda: f"id-{next(ids)}"
    )
    player = NightPlayer(RawLoader(season, house, publisher))
    first = date(2024, 10, 22)
    for planned in plan_nights(season, first, first + timedelta(days=nights - 1)):
        before = len(kept)
        player.perform(planned)
        for event in kept[before:]:
            event["timestamp"] = planned.at.isoformat()
    house.close()
    return kept


def wired(store: FirestoreStore, registry: Registry, clock: Any, launches: Launches) -> Application:
    return build(
        Settings(store=store.name),
        registry=registry,
        store=store,
        clock=clock,
        launchers={LaunchKind.LOCAL: launches},
        notifiers=[],
    )


async def replay(proxy: Proxy, season: Season, nights: int) -> tuple[Replay, Counter[str]]:
    """Play the nights; what everything cost, and how the idle sweep and page views did."""
    with tempfile.TemporaryDirectory() as folder:
        events = events_of(season, Path(folder), nights)
    registry = load(Path("registry.yaml"))
    clock = HandClock(datetime.fromisoformat(events[0]["timestamp"]))
    launches = Launches()
    store = FirestoreStore(new_project())
    app = wired(store, registry, clock, launches)
    await store.open()
    await app.sweeper.rollout.start()
    played = Replay(app, clock, launches, proxy)
    app.engine.listen(lambda committed: played.received.extend(committed))
    started = time.perf_counter()
    for event in events:
        await played.until(datetime.fromisoformat(event["timestamp"]))
        await played.event(event)
    await played.until(clock.at + timedelta(hours=12))
    seconds = time.perf_counter() - started
    await app.sweeper.sweep()  # the first of an hour looks for silent sources too
    proxy.take()
    await app.sweeper.sweep()
    idle = proxy.take()
    assert not idle.writes
    looks: Counter[str] = Counter(idle.calls)
    looks["reads"] = idle.reads
    looks["seconds"] = round(seconds)
    looks["events"] = len(events)
    runs = await store.find(Query(Kind.RUN, limit=1000))
    looks["runs"] = len(runs.items)
    looks["unfinished"] = sum(r.live for _, r in runs.items)
    await store.close()
    return played, looks


HOT = """
version: 1
timezone: America/New_York
tables: {{{tables}}}
processors:
  Hot: {{phase: 3, output: out.hot, grace: 0s, debounce: 0s, requires: [{requires}]}}
"""


def hot_registry(count: int) -> Registry:
    names = [f"raw.t{n}" for n in range(count)]
    text = HOT.format(
        tables=", ".join(f"{n}: {{grain: date}}" for n in [*names, "out.hot"]),
        requires=", ".join(f"{{table: {n}}}" for n in names),
    )
    return parse(text)


def hot_event(table: str, day: str, number: int) -> dict[str, Any]:
    return {
        "event_type": "raw_data_loaded",
        "target_table": table,
        "game_date": day,
        "execution_id": f"x{number}",
        "record_count": 10,
        "status": "success",
        "timestamp": datetime.now(UTC).isoformat(),
    }


async def latency(firings: int) -> list[float]:
    """Seconds from the last needed event's answer to its launch's message id."""
    registry = hot_registry(2)
    launches = Launches()
    store = FirestoreStore(new_project())
    app = wired(store, registry, SystemClock(), launches)
    await store.open()
    await app.sweeper.rollout.start()
    relay = asyncio.create_task(app.relay.run())
    taken = []
    for n in range(firings):
        day = (date(2025, 1, 1) + timedelta(days=n)).isoformat()
        await app.ingest.take(hot_event("raw.t0", day, 2 * n))
        outcome = await app.ingest.take(hot_event("raw.t1", day, 2 * n + 1))
        answered = time.perf_counter()
        (run_id,) = [a.fired_run_id for a in outcome.affected if a.fired_run_id]
        while run_id not in launches.delivered_at:
            await asyncio.sleep(0.0005)
        taken.append(max(0.0, launches.delivered_at[run_id] - answered))
        while not app.relay.idle:
            await asyncio.sleep(0.001)
    relay.cancel()
    await asyncio.gather(relay, return_exceptions=True)
    await store.close()
    return taken


async def at_once(processes: int) -> tuple[float, int]:
    """32 events at once on one partition, from ``processes`` services: seconds, and firings."""
    registry = hot_registry(32)
    project = new_project()
    launches = Launches()
    stores = [FirestoreStore(project) for _ in range(processes)]
    apps = [wired(s, registry, SystemClock(), launches) for s in stores]
    for app in apps:
        await app.store.open()
        await app.sweeper.rollout.start()
    started = time.perf_counter()
    outcomes = await asyncio.gather(
        *(
            apps[n % processes].ingest.take(hot_event(f"raw.t{n}", "2025-01-01", n))
            for n in range(32)
        )
    )
    seconds = time.perf_counter() - started
    assert all(o.outcome == "applied" for o in outcomes)
    fired = sum(a.fired_run_id is not None for o in outcomes for a in o.affected)
    found = await stores[0].find(Query(Kind.RUN))
    assert len(found.items) == 1, found
    for store in stores:
        await store.close()
    return seconds, min(1, fired) * len(found.items)


def report(played: Replay, looks: Counter[str]) -> None:
    print(f"{looks['events']} events, {looks['runs']} runs ({looks['unfinished']} unfinished)")
    print(f"\n{'at the wire, per':<44}{'times':>7}{'calls':>9}{'reads':>9}{'writes':>9}")
    for name, row in sorted(played.rows.items()):
        print(row.line(name))
    print("\nevents by K (partitions they are delivered to):")
    print(f"{'':<30}{'K':>3}{'calls':>7}{'reads':>7}{'1+K':>5}{'writes':>8}{'1+K':>5}{'events':>8}")
    for (name, k, calls, reads, writes), n in sorted(played.per_k.items()):
        print(f"{name:<30}{k:>3}{calls:>7}{reads:>7}{1 + k:>5}{writes:>8}{1 + k:>5}{n:>8}")
    events = [row for name, row in played.rows.items() if name.startswith("event")]
    over, fire = sum(r.over for r in events), played.rows["event that fires"].over
    print(
        f"over 1+K reads or writes (the creation of runs aside): {over} of "
        f"{sum(r.times for r in events)} events; {fire} of them fire, {over - fire} others"
    )
    queries = looks["RunQuery"]
    print(f"\nidle sweep: {queries} queries, {looks['reads']} reads, 0 writes")


def bill(played: Replay) -> None:
    """A month at list prices, beside a design that queries every dependency on every event."""
    events = [r for n, r in played.rows.items() if n.startswith("event")]
    n = sum(r.times for r in events)
    reads = sum(r.reads for r in events) / n * EVENTS_PER_DAY
    writes = sum(r.writes for r in events) / n * EVENTS_PER_DAY
    life = [r for name, r in played.rows.items() if name in LIFE]
    outputs = played.rows["output announced, in that commit"]
    runs = outputs.times
    reads += outputs.reads / runs * RUNS_PER_DAY
    writes += outputs.writes / runs * RUNS_PER_DAY
    reads += sum(r.reads for r in life) / runs * RUNS_PER_DAY
    writes += sum(r.writes for r in life) / runs * RUNS_PER_DAY
    day = 24 * 60 * 60
    # Of each look of an idle instance: the sweep asks 3 queries, the outbox 1; and once a minute
    # which registries are served.
    idle = int(
        3 * day / sweep.IDLE_LOOK.total_seconds()
        + day / outbox.DISCOVER_EVERY.total_seconds()
        + day / REFRESH_AHEAD.total_seconds()
    )
    ours = ((reads + idle) * READ_USD + writes * WRITE_USD) * DAYS
    specs = list(played.app.registry.processors.values())
    k = statistics.mean(kk for (_, kk, *_), m in played.per_k.items() for _ in range(m))
    needs = statistics.mean(len(s.named_tables()) for s in specs)
    found = 6  # documents that a query for one dependency's events of the date finds, on average
    naive_reads = EVENTS_PER_DAY * k * needs * found + RUNS_PER_DAY * 8 + idle
    naive_writes = EVENTS_PER_DAY * (1 + k) + RUNS_PER_DAY * 12
    naive = (naive_reads * READ_USD + naive_writes * WRITE_USD) * DAYS
    per_run = sum(r.writes for r in life) / runs
    print(
        f"\na run's life beyond the commit that fired it: {per_run:.2f} writes "
        f"({', '.join(f'{r.writes / runs:.2f} {n}' for n, r in played.rows.items() if n in LIFE)})"
    )
    print(f"\na month of {EVENTS_PER_DAY} events and {RUNS_PER_DAY} runs a day, list prices:")
    print(
        f"  this design   {(reads + idle) / 1e3:>8.1f} k reads {writes / 1e3:>7.1f} k writes a day   {ours:>7.2f} USD"
    )
    print(
        f"  naive design  {naive_reads / 1e3:>8.1f} k reads {naive_writes / 1e3:>7.1f} k writes a day"
        f"   {naive:>7.2f} USD   (an event queries each of {needs:.1f} dependencies of {k:.1f} partitions,\n"
        f"{'':>16}{found} documents each; a run is written at each step)"
    )


def rows(played: Replay, looks: Counter[str], p50: float, p99: float) -> list[harness.Row]:
    """What belongs on the page: documents at the wire, which do not depend on the machine."""
    ordinary: Counter[tuple[int, int, int]] = Counter()
    for (name, k, calls, reads, writes), n in played.per_k.items():
        if name == "event, applied":
            ordinary[calls, reads - k, writes - k] += n
    (calls, reads, writes), count = ordinary.most_common(1)[0]
    share = f"{count} of {ordinary.total()} events"
    life = [row for name, row in played.rows.items() if name in LIFE]
    runs = played.rows["output announced, in that commit"].times
    return [
        harness.Row(
            what="Firestore: calls of an ordinary event", value=calls, unit="calls", baseline=share
        ),
        harness.Row(what="Firestore: reads beyond K", value=reads, unit="reads", baseline=share),
        harness.Row(what="Firestore: writes beyond K", value=writes, unit="writes", baseline=share),
        harness.Row(
            what="Firestore: a run's life",
            value=round(sum(row.writes for row in life) / runs, 2),
            unit="writes",
            baseline=f"mean of {runs} runs",
        ),
        harness.Row(
            what="Firestore: an idle sweep",
            value=looks["reads"],
            unit="reads",
            baseline="an empty query is one read",
        ),
        harness.Row(
            what="Firestore: last event to launch",
            value=round(p50, 1),
            unit="ms p50",
            baseline="emulator",
            detail={"p99_ms": round(p99, 1)},
        ),
    ]


async def main(season: Season, nights: int, firings: int) -> list[harness.Row]:
    """Play, measure, print."""
    configure_logging(Settings(log_level="warning"))
    direct = emulator_host()
    proxy = Proxy(direct)
    os.environ["FIRESTORE_EMULATOR_HOST"] = proxy.host
    played, looks = await replay(proxy, season, nights)
    os.environ["FIRESTORE_EMULATOR_HOST"] = direct
    taken = sorted(await latency(firings))
    report(played, looks)
    p50, p99 = taken[len(taken) // 2] * 1000, taken[int(len(taken) * 0.99)] * 1000
    print(
        f"\nlast needed event's answer to the launch's message id, {len(taken)} firings: "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    )
    for processes in (1, 2):
        seconds, fired = await at_once(processes)
        print(
            f"32 events at once on one partition, {processes} service(s): all applied, "
            f"{fired} firing, {seconds:.2f} s"
        )
    bill(played)
    proxy.stop()
    return rows(played, looks, p50, p99)


if __name__ == "__main__":
    parser = harness.arguments(__doc__)
    parser.add_argument("--nights", type=int, help="default: 8")
    parser.add_argument("--firings", type=int, help="default: 100")
    parser.add_argument("--data", type=Path, help="a folder of real schedules and box scores")
    given = parser.parse_args()
    nights = given.nights or (2 if given.quick else 8)
    firings = given.firings or (20 if given.quick else 100)
    try:
        emulator_host()
    except pytest.skip.Exception as reason:
        print(f"skipped: {reason}")
        harness.report("firestore_cost", [], given.json, skipped=str(reason))
    else:
        season = read_folder(given.data) if given.data else sample_season()
        measured = asyncio.run(main(season, nights, firings))
        harness.report("firestore_cost", measured, given.json)
