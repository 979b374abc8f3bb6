"""Two service processes over one database, killed at random: nothing is lost, nothing runs twice."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from coordinator.core.choices import RunStatus
from coordinator.core.model import Status
from coordinator.ports import Kind
from tests.firestore.emulator import emulator_host
from tests.firestore.stores import FirestoreFactory
from tests.kill.serving import Service
from tests.kill.states import all_of

pytestmark = [pytest.mark.anyio, pytest.mark.emulator, pytest.mark.slow]

SENDERS = 64
KILLS = 6
TABLES = 6
DATES = 12
SEED = 20251115
PAUSE_SECONDS = 12.0
"""Each sender waits up to this long before each of its messages, so that kills fall among them."""

REGISTRY = """
version: 1
timezone: America/New_York
defaults: {{grace: 0s, debounce: 0s, cooldown: 1h, claim_timeout: 30s}}
tables:
{tables}
processors:
  First: {{phase: 3, output: out.first, requires: [{all}]}}
  Second: {{phase: 3, output: out.second, requires: [{some}]}}
  Third: {{phase: 4, output: out.third, requires: [{{table: out.first}}, {{table: out.second}}]}}
"""


class Runner:
    """Takes launches, claims each run and completes it, through whichever service answers."""

    def __init__(self) -> None:
        runner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                runner.launched.put(json.loads(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.launched: queue.Queue[dict[str, Any]] = queue.Queue()
        self.services: list[Service] = []
        self.over = threading.Event()
        self.owned: Counter[str] = Counter()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/launch"
        self._threads = [threading.Thread(target=self._server.serve_forever)]
        self._threads += [threading.Thread(target=self._work) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        with httpx.Client(timeout=5) as client:
            while not self.over.is_set():
                try:
                    message = self.launched.get(timeout=0.2)
                except queue.Empty:
                    continue
                self._run(client, message)

    def _run(self, client: httpx.Client, message: dict[str, Any]) -> None:
        run = message["run_id"]
        claim = {"owner": f"runner of {run}", "attempt": message["attempt"]}
        claimed = self._call(client, f"/v1/runs/{run}/claim", claim)
        if claimed is None or claimed.status_code != 200:
            return
        self.owned[run] += 1
        token = claimed.json()["lease_token"]
        done = {"lease_token": token, "status": "success", "record_count": 7, "error": None}
        self._call(client, f"/v1/runs/{run}/complete", done)

    def _call(self, client: httpx.Client, path: str, body: dict[str, Any]) -> httpx.Response | None:
        for service in itertools.cycle(self.services):
            if self.over.is_set():
                return None
            try:
                answer = client.post(f"{service.url}{path}", json=body)
            except httpx.HTTPError:
                time.sleep(0.05)
                continue
            if answer.status_code < 500:
                return answer
        return None


@pytest.fixture
def runner() -> Iterator[Runner]:
    made = Runner()
    yield made
    made.stop()


@pytest.fixture
def database() -> FirestoreFactory:
    """An empty database on the emulator itself."""
    return FirestoreFactory(emulator_host())


@pytest.fixture
def services(tmp_path: Path, database: FirestoreFactory, runner: Runner) -> Iterator[list[Service]]:
    names = [f"raw.t{n}" for n in range(TABLES)]
    listed = [f"{{table: {name}}}" for name in names]
    text = REGISTRY.format(
        tables="\n".join(
            f"  {n}: {{grain: date}}" for n in (*names, "out.first", "out.second", "out.third")
        ),
        all=", ".join(listed),
        some=", ".join(listed[::2]),
    )
    (tmp_path / "registry.yaml").write_text(text, encoding="utf-8")
    made = [
        Service(
            tmp_path,
            f"firestore:{database.project}",
            name=name,
            environment={
                "FIRESTORE_EMULATOR_HOST": database.host,
                "COORDINATOR_LAUNCH": runner.url,
            },
        )
        for name in ("a", "b")
    ]
    runner.services = made
    for service in made:
        service.start()
    yield made
    for service in made:
        service.stop()


def envelopes(days: list[str]) -> list[bytes]:
    """Every event twice, as two messages, shuffled."""
    at = datetime.now(UTC) - timedelta(minutes=5)
    bodies = []
    for number, (day, table) in enumerate(itertools.product(days, range(TABLES))):
        event = {
            "event_type": "raw_data_loaded",
            "target_table": f"raw.t{table}",
            "game_date": day,
            "execution_id": f"x{number}",
            "record_count": 10,
            "status": "success",
            "timestamp": at.isoformat(),
        }
        data = base64.b64encode(json.dumps(event).encode()).decode()
        bodies += [
            json.dumps({"message": {"data": data, "messageId": f"{number}-{n}"}}).encode()
            for n in range(2)
        ]
    random.Random(SEED).shuffle(bodies)
    return bodies


def send(services: list[Service], work: queue.Queue[bytes], over: threading.Event, n: int) -> None:
    """Push each until a service acknowledges it, as Pub/Sub would."""
    turn = itertools.cycle(services[n % 2 :] + services[: n % 2])
    chance = random.Random(SEED + n)
    with httpx.Client(timeout=10) as client:
        while not over.is_set():
            try:
                body = work.get_nowait()
            except queue.Empty:
                return
            over.wait(chance.uniform(0, PAUSE_SECONDS))
            while not over.is_set():
                try:
                    if (
                        client.post(f"{next(turn).url}/pubsub/push", content=body).status_code
                        == 204
                    ):
                        break
                except httpx.HTTPError:
                    pass
                time.sleep(0.05)


async def test_two_processes_killed_at_random_run_everything_once(
    database: FirestoreFactory, services: list[Service], runner: Runner
) -> None:
    chance = random.Random(SEED)
    first = date(2025, 11, 1)
    days = [(first + timedelta(days=n)).isoformat() for n in range(DATES)]
    work: queue.Queue[bytes] = queue.Queue()
    for body in envelopes(days):
        work.put(body)
    over = threading.Event()
    senders = [
        threading.Thread(target=send, args=(services, work, over, n)) for n in range(SENDERS)
    ]
    try:
        for sender in senders:
            sender.start()
        for _ in range(KILLS):
            victim = chance.choice(services)
            await asyncio.to_thread(victim.answers)
            await asyncio.sleep(chance.uniform(0.0, 1.0))
            victim.kill()
            victim.start()
        for sender in senders:
            await asyncio.to_thread(sender.join, 60)
        assert work.empty()
        assert not any(s.is_alive() for s in senders), "events were not acknowledged"
    finally:
        over.set()
        for sender in senders:
            sender.join()
    store = database()
    await store.open()
    wanted = {(p, d) for p in ("First", "Second", "Third") for d in days}
    deadline = time.monotonic() + 90
    while True:
        partitions = await all_of(store, Kind.PARTITION)
        done = {(p.processor, p.game_date) for p in partitions if p.status is Status.SUCCEEDED}
        if done == wanted and not any(p.outbox for p in partitions):
            break
        assert time.monotonic() < deadline, [
            (p.processor, p.game_date, p.status, p.live and p.live.transitions, p.outbox)
            for p in partitions
            if p.status is not Status.SUCCEEDED or p.outbox
        ]
        await asyncio.sleep(0.5)
    runs = await all_of(store, Kind.RUN)
    assert Counter((r.processor, r.game_date) for r in runs) == dict.fromkeys(wanted, 1)
    assert {r.status for r in runs} == {RunStatus.SUCCESS}
    assert {r.generation for r in runs} == {1}
    ends = [sum(t.what == "success" for t in r.transitions) for r in runs]
    assert set(ends) <= {0, 1}
    ledger = [e for e in await all_of(store, Kind.EVENT) if e.table.startswith("raw.")]
    assert len(ledger) == DATES * TABLES
    assert not await all_of(store, Kind.QUARANTINE)
    await store.close()
