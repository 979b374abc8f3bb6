"""A replay whose service is killed with SIGKILL again and again loses nothing and repeats nothing.

The play and its checks are the same over every store; ``states`` holds what differs.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from coordinator.core.choices import RunStatus
from coordinator.ports import Kind
from coordinator.registry import Registry, load
from processors.catalog import CATALOG
from processors.nights import NightPlayer, plan_nights
from processors.publisher import RawDataPubSubPublisher
from processors.raw.loader import RawLoader
from processors.sample import sample_season
from processors.warehouse import DuckDBWarehouse
from tests.kill.serving import CHECKOUT, Service
from tests.kill.states import Firestore, Sqlite, State

pytestmark = pytest.mark.slow

SEED = 20241022


class Collected:
    """A transport that keeps events instead of delivering them."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def publish(self, message: Mapping[str, Any], *, seconds: float) -> str:
        self.events.append(dict(message))
        return str(len(self.events))


@pytest.fixture(
    params=[
        pytest.param(Sqlite, id="sqlite"),
        pytest.param(Firestore, id="firestore", marks=pytest.mark.emulator),
    ]
)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> State:
    """Every store, empty."""
    make: Callable[[Path], State] = request.param
    return make(tmp_path)


@pytest.fixture
def service(state: State, tmp_path: Path) -> Iterator[Service]:
    """Not started yet, with the registry that is shipped but for the state's own defaults."""
    yaml = YAML()
    rules = yaml.load(CHECKOUT / "registry.yaml")
    rules["defaults"].update(state.defaults)
    # One worker: the launches behind it are delivered and not claimed when a kill comes.
    environment = {"COORDINATOR_WORKERS": "1", **state.environment}
    served = Service(tmp_path, state.store, environment=environment)
    yaml.dump(rules, served.registry)
    yield served
    served.stop()


@pytest.fixture
def events(service: Service) -> list[dict[str, Any]]:
    """The events of a sample week, in the order of their nights; the rows are loaded."""
    season = sample_season()
    house = DuckDBWarehouse(service.warehouse, catalog=CATALOG)
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


def envelope(event: Mapping[str, Any], number: int) -> bytes:
    data = base64.b64encode(json.dumps(event).encode()).decode()
    return json.dumps({"message": {"data": data, "messageId": str(number)}}).encode()


def send_all(
    service: Service, events: list[dict[str, Any]], share: int, done: threading.Event
) -> None:
    """Push every event until it is acknowledged, as Pub/Sub would.

    Each start of the service allows ``share`` more, so that every kill has work to fall among.
    """
    started = datetime.now(UTC)
    with httpx.Client(timeout=5) as client:
        for number, event in enumerate(events):
            # Ages are compared with the clock, so the nights are reported as recent.
            at = started - timedelta(minutes=5) + timedelta(milliseconds=number)
            while number >= share * service.starts and not done.is_set():
                time.sleep(0.02)
            body = envelope({**event, "timestamp": at.isoformat()}, number)
            while not done.is_set():
                try:
                    if client.post(f"{service.url}/pubsub/push", content=body).status_code == 204:
                        break
                except httpx.HTTPError:
                    pass
                time.sleep(0.05)
            time.sleep(0.02)


def test_nothing_is_lost_and_nothing_succeeds_twice(
    state: State, service: Service, events: list[dict[str, Any]]
) -> None:
    chance = random.Random(SEED)
    done = threading.Event()
    share = -(-len(events) // (state.kills + 1))
    service.start()
    sender = threading.Thread(target=send_all, args=(service, events, share, done))
    sender.start()
    try:
        for number in range(state.kills):
            # Every other one is killed while it works, however long its start took; the rest while
            # they start, or soon after.
            if number % 2:
                service.answers()
                time.sleep(chance.uniform(0.0, 0.8))
            else:
                time.sleep(chance.uniform(0.3, 1.6))
            service.kill()
            service.start()
        sender.join(timeout=120)
        assert not sender.is_alive(), "events were not acknowledged"
        settle(service, {e["game_date"] for e in events})
    finally:
        done.set()
        sender.join(timeout=10)
        service.stop()
    check(state, load(service.registry), events)


def settle(service: Service, dates: set[str]) -> None:
    """Wait until no partition is on its way any more, and everything is delivered."""
    moving = {"firing", "fired", "running"}
    statuses = moving
    lag = None
    deadline = time.monotonic() + 90
    with httpx.Client(timeout=10) as client:
        while time.monotonic() < deadline:
            try:
                statuses = {
                    p["status"]
                    for d in dates
                    for p in client.get(f"{service.url}/v1/status/{d}").json()["items"]
                }
                lag = client.get(f"{service.url}/readyz").json()["parts"]["outbox"]["lag_seconds"]
            except (httpx.HTTPError, KeyError, ValueError):
                statuses = moving
            if not statuses & moving and lag == 0:
                return
            time.sleep(0.5)
    raise AssertionError(f"still moving after 90 s: {statuses}, outbox behind by {lag} s")


def check(state: State, registry: Registry, events: list[dict[str, Any]]) -> None:
    found = state.read(Kind.EVENT, Kind.QUARANTINE, Kind.RUN, Kind.PARTITION)
    ledger, quarantined = found[Kind.EVENT], found[Kind.QUARANTINE]
    assert not quarantined, [q.reason for q in quarantined]
    known = {(e.table, e.game_date, e.execution_id, e.arrival.status.value) for e in ledger}
    for event in events:
        name = (event["target_table"], event["game_date"], event["execution_id"], event["status"])
        assert name in known, f"acknowledged and not in the ledger: {name}"
    runs = found[Kind.RUN]
    by_generation = Counter((r.processor, r.game_date, r.generation) for r in runs)
    assert set(by_generation.values()) == {1}
    # Its cooldown is longer than the play, so nothing may have succeeded and run again.
    assert {r.generation for r in runs} == {1}
    for run in runs:
        ends = [t for t in run.transitions if t.what in ("success", "failed", "no_data")]
        assert len(ends) <= 1, f"{run.run_id} ended twice"
        assert run.status is not RunStatus.FAILED, run.error
    with_games = {e["game_date"] for e in events if e["status"] == "success" and e["game_ids"]}
    finished = {(r.processor, r.game_date) for r in runs if r.status is RunStatus.SUCCESS}
    assert with_games
    assert not set(itertools.product(registry.processors, with_games)) - finished
    for partition in found[Kind.PARTITION]:
        assert partition.live is None, partition
        assert not partition.outbox, partition.outbox
