"""A replay whose service is killed with SIGKILL again and again loses nothing and repeats nothing."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from coordinator.core.model import RunStatus
from coordinator.documents import decode
from coordinator.ports import Kind
from processors.catalog import CATALOG
from processors.nights import NightPlayer, plan_nights
from processors.publisher import RawDataPubSubPublisher
from processors.raw.loader import RawLoader
from processors.sample import sample_season
from processors.warehouse import DuckDBWarehouse

CHECKOUT = Path(__file__).resolve().parents[2]
KILLS = 20
SEED = 20241022


class Collected:
    """A transport that keeps events instead of delivering them."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def publish(self, message: Mapping[str, Any]) -> str:
        self.events.append(dict(message))
        return str(len(self.events))


class Service:
    """``coordinator serve`` as a process that can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = int(s.getsockname()[1])
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.starts += 1
        log = (self.home / "service.log").open("ab")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "coordinator", "serve"),
                *("--registry", str(self.home / "registry.yaml")),
                *("--store", f"sqlite:{self.home / 'state.db'}", "--port", str(self.port)),
            ],
            cwd=self.home,
            env={
                **os.environ,
                "COORDINATOR_WAREHOUSE": f"duckdb:{self.home / 'warehouse.duckdb'}",
                "PYTHONPATH": str(CHECKOUT),
            },
            stdout=log,
            stderr=log,
        )
        log.close()

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a registry whose cooldown is short, and a warehouse that holds every load."""
    text = (CHECKOUT / "registry.yaml").read_text(encoding="utf-8")
    (tmp_path / "registry.yaml").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def events(home: Path) -> list[dict[str, Any]]:
    """The events of a sample fortnight, in the order of their nights; the rows are loaded."""
    season = sample_season()
    house = DuckDBWarehouse(home / "warehouse.duckdb", catalog=CATALOG)
    collected = Collected()
    ids = iter(range(10**9))
    publisher = RawDataPubSubPublisher(
        collected, clock=lambda: datetime.now(UTC), new_id=lambda: f"id-{next(ids)}"
    )
    player = NightPlayer(RawLoader(season, house, publisher))
    for planned in plan_nights(season, date(2024, 10, 22), date(2024, 10, 29)):
        player.perform(planned)
    house.close()
    return collected.events


@pytest.fixture
def service(home: Path) -> Iterator[Service]:
    served = Service(home)
    yield served
    served.stop()


def envelope(event: Mapping[str, Any], number: int) -> bytes:
    data = base64.b64encode(json.dumps(event).encode()).decode()
    return json.dumps({"message": {"data": data, "messageId": str(number)}}).encode()


def send_all(service: Service, events: list[dict[str, Any]], done: threading.Event) -> None:
    """Push every event until it is acknowledged, as Pub/Sub would."""
    started = datetime.now(UTC)
    with httpx.Client(timeout=5) as client:
        for number, event in enumerate(events):
            # Ages are judged against the clock, so the nights are told as having just been.
            at = started - timedelta(minutes=5) + timedelta(milliseconds=number)
            body = envelope({**event, "timestamp": at.isoformat()}, number)
            while not done.is_set():
                try:
                    if client.post(f"{service.url}/pubsub/push", content=body).status_code == 204:
                        break
                except httpx.HTTPError:
                    pass
                time.sleep(0.05)
            time.sleep(0.02)


def documents(path: Path, kind: Kind) -> list[Any]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute(f"SELECT body FROM {kind.value}").fetchall()
    connection.close()
    return [decode(kind, body) for (body,) in rows]


def test_nothing_is_lost_and_nothing_succeeds_twice(
    service: Service, events: list[dict[str, Any]], home: Path
) -> None:
    chance = random.Random(SEED)
    done = threading.Event()
    service.start()
    sender = threading.Thread(target=send_all, args=(service, events, done))
    sender.start()
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.3, 2.5))
            service.kill()
            service.start()
        sender.join(timeout=120)
        assert not sender.is_alive(), "events were not acknowledged"
        settle(service, {e["game_date"] for e in events})
    finally:
        done.set()
        sender.join(timeout=10)
        service.stop()
    check(home, events)


def settle(service: Service, dates: set[str]) -> None:
    """Wait until no partition is on its way any more."""
    moving = {"firing", "fired", "running"}
    deadline = time.monotonic() + 90
    with httpx.Client(timeout=10) as client:
        while time.monotonic() < deadline:
            try:
                statuses = {
                    p["status"]
                    for d in dates
                    for p in client.get(f"{service.url}/v1/status/{d}").json()["items"]
                }
            except (httpx.HTTPError, KeyError, ValueError):
                statuses = moving
            if not statuses & moving:
                return
            time.sleep(0.5)
    raise AssertionError(f"still moving after 90 s: {statuses}")


def check(home: Path, events: list[dict[str, Any]]) -> None:
    path = home / "state.db"
    ledger = documents(path, Kind.EVENT)
    quarantined = documents(path, Kind.QUARANTINE)
    assert not quarantined, [q.reason for q in quarantined]
    known = {(e.table, e.game_date, e.execution_id, e.arrival.status.value) for e in ledger}
    for event in events:
        name = (event["target_table"], event["game_date"], event["execution_id"], event["status"])
        assert name in known, f"acknowledged and not in the ledger: {name}"
    runs = documents(path, Kind.RUN)
    by_generation = Counter((r.processor, r.game_date, r.generation) for r in runs)
    assert set(by_generation.values()) == {1}
    for run in runs:
        ends = [t for t in run.transitions if t.what in ("success", "failed", "no_data")]
        assert len(ends) <= 1, f"{run.run_id} ended twice"
        assert run.status is not RunStatus.FAILED, run.error
    with_games = {e["game_date"] for e in events if e["status"] == "success" and e["game_ids"]}
    finished = {(r.processor, r.game_date) for r in runs if r.status is RunStatus.SUCCESS}
    for partition in documents(path, Kind.PARTITION):
        assert partition.live is None, partition
        assert not partition.outbox, partition.outbox
        if partition.game_date in with_games:
            assert (partition.processor, partition.game_date) in finished, partition.status
