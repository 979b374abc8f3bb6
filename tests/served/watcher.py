"""Watches a served process from outside, and holds a judge against what was seen.

Everything comes from the public API, or from what reached a launch target and a webhook. Nobody
outside sees commits, so they are put in order afterwards, by the service's own instants: receipts,
acts, and the instants that a run shows of its attempts. One machine, so one clock. Where two could
have been either way round, the order that a run's inputs show is taken.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from coordinator.judge import Judge
from coordinator.judge.observations import (
    Acted,
    AttemptShown,
    Explained,
    Granted,
    Launched,
    Noticed,
    Observation,
    PartitionShown,
    Recorded,
    ReportAccepted,
    Reporting,
    RunShown,
    Served,
    Stopped,
    moment,
)
from tests.adapters.receiver import answering

COMMIT = timedelta(seconds=0.5)
"""Longer than it takes from the instant of a decision to its commit."""


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Watcher:
    """What was seen of one service, and when."""

    text: str = ""
    """The registry that it serves."""
    seen: list[tuple[datetime, Observation]] = field(default_factory=list)
    sent: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    """Event id → when it was sent and when that was answered."""
    leases: dict[tuple[str, int], list[tuple[datetime, datetime]]] = field(default_factory=dict)
    """(run, attempt) → each answer to its runner, and the end of the lease that it gave."""

    def saw(self, *observations: Observation, at: datetime | None = None) -> None:
        """Something happened, now if not said otherwise."""
        instant = at or now()
        self.seen.extend((instant, o) for o in observations)

    # ── requests ─────────────────────────────────────────────────────────────────────────────

    def serves(self, client: httpx.Client) -> None:
        """The service has started."""
        found = _get(client, "/v1/registry")
        self.saw(Served(found["registry_hash"], self.text, "served"))

    def died(self) -> None:
        """The service was killed."""
        self.saw(Stopped("served"))

    def read(self, client: httpx.Client, processor: str, game_date: str) -> Mapping[str, Any]:
        """A partition as it is shown, noted where it did not change meanwhile."""
        path = f"/v1/status/{game_date}/{processor}"
        first, second = _get(client, path), _get(client, path)
        if first["stored"] and first["revision"] == second["revision"]:
            self.saw(partition_shown(first), at=moment(first["verdict"]["at"]))
        return second

    def judge(
        self,
        client: httpx.Client,
        processors: Iterable[str],
        tables: Iterable[str],
        dates: Iterable[str],
    ) -> Judge:
        """Ask for everything that is kept, and judge it all. The service must be at rest."""
        days = list(dates)
        wholes = [_get(client, f"/v1/status/{day}/{name}") for name in processors for day in days]
        runs = [
            RunShown.of(_get(client, f"/v1/runs/{row['run_id']}"))
            for row in reversed(_items(client, "/v1/runs"))
        ]
        acts = [Acted.of(row) for row in _items(client, "/v1/audit")]
        rows = [
            Recorded.of(row)
            for table, day in itertools.product(tables, days)
            for row in _items(client, f"/v1/tables/{table}/dates/{day}")
        ]
        changes = [(at, shown) for run in runs for at, shown in self._changes(run)]
        found: list[tuple[datetime, Observation]] = [
            (at, o)
            for at, o in self.seen
            if not isinstance(o, PartitionShown) or not _in_flight(at, o, changes)
        ]
        found += changes
        found += [(self._act_at(act, runs), act) for act in reversed(acts)]
        found += [(self._row_at(row, runs), row) for row in rows]
        judge = Judge(patience=timedelta(seconds=10))
        for at, group in itertools.groupby(sorted(found, key=lambda x: x[0]), key=lambda x: x[0]):
            judge.see(at, *(o for _, o in group))
        judge.at_rest(now())
        for whole in wholes:
            judge.see(now(), Explained.of(whole))
        return judge

    # ── the order of what happened ───────────────────────────────────────────────────────────

    def _changes(self, run: RunShown) -> Iterator[tuple[datetime, RunShown]]:
        """A run as it was shown at each of its instants."""
        started = replace(run, status="pending", ended_at=None, record_count=None, error=None)
        started = replace(started, lease_expires_at=None)
        past: tuple[AttemptShown, ...] = ()
        at = run.fired_at
        for attempt in run.attempts:
            blank = AttemptShown(
                attempt.number, attempt.launch_at, None, None, None, None, None, None
            )
            yield at, replace(started, attempts=(*past, blank))
            if attempt.delivered_at is not None:
                blank = replace(
                    blank, delivered_at=attempt.delivered_at, message_id=attempt.message_id
                )
                yield (
                    attempt.delivered_at,
                    replace(started, status="delivered", attempts=(*past, blank)),
                )
            if attempt.claimed_at is not None:
                blank = replace(blank, claimed_at=attempt.claimed_at, owner=attempt.owner)
                running = replace(started, status="running", attempts=(*past, blank))
                leases = self.leases.get((run.run_id, attempt.number), [])
                over = attempt.ended_at or datetime.max.replace(tzinfo=UTC)
                for n, (answered, ends) in enumerate(leases):
                    if n == 0 or answered < over:
                        yield (
                            attempt.claimed_at if n == 0 else answered,
                            replace(running, lease_expires_at=ends),
                        )
            past = (*past, attempt)
            at = attempt.ended_at or at
        if not run.live:
            yield run.ended_at or at, run

    def _act_at(self, act: Acted, runs: Iterable[RunShown]) -> datetime:
        """When an act was done: with the run that it ended or fired, whose clock was read apart."""
        mine = [r for r in runs if (r.processor, r.game_date) == (act.processor, act.game_date)]
        instants: list[datetime] = []
        if act.done and act.act == "trigger":
            instants = [r.fired_at for r in mine if (r.actor, r.reason) == (act.actor, act.reason)]
        elif act.done and act.act in ("reset", "skip"):
            ended = [r.ended_at for r in mine if r.status == "cancelled" and r.ended_at]
            fired = [r.fired_at for r in mine if r.trigger == "dependencies" and r.generation > 1]
            for found in (ended, fired if act.act == "reset" else []):
                instants = instants or [i for i in found if abs(i - act.at) < COMMIT]
        return min(instants, key=lambda i: abs(i - act.at), default=act.at)

    def _row_at(self, row: Recorded, runs: Iterable[RunShown]) -> datetime:
        """When a line of the ledger was written: at its receipt, or within its request later."""
        at = row.received_at
        known = {r.run_id: r for r in runs}
        output = known.get(row.event_id.removeprefix("run:"))
        if output is not None:
            return max(at, output.ended_at or at)
        _, answered = self.sent.get(row.event_id, (at, at))
        for run in known.values():
            consumed = {e for i in run.inputs for e in i.event_ids}
            if row.received_at < run.fired_at < answered and row.event_id not in consumed:
                reads = any(
                    (i.table, i.game_date) == (row.table, row.game_date) for i in run.inputs
                )
                if reads:
                    at = max(at, run.fired_at + timedelta(microseconds=1))
        return at


def _in_flight(
    at: datetime, shown: PartitionShown, changes: Iterable[tuple[datetime, RunShown]]
) -> bool:
    """Whether a run of the date changed so shortly before that it may not have been committed."""
    return any(
        run.game_date == shown.game_date and at - COMMIT <= changed <= at
        for changed, run in changes
    )


def partition_shown(whole: Mapping[str, Any]) -> PartitionShown:
    """A partition of ``GET /v1/status/{date}/{processor}``."""
    return PartitionShown(
        whole["processor"],
        whole["game_date"],
        whole["status"],
        tuple(whole["flags"]),
        whole["generation"],
        whole["registry_hash"],
    )


def _get(client: httpx.Client, path: str, **query: Any) -> Any:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, f"{path}: {answer.text}"
    return answer.json()


def _items(client: httpx.Client, path: str) -> list[Mapping[str, Any]]:
    """All pages of a list."""
    found: list[Mapping[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        page = _get(client, path, limit=100, **token)
        found += page["items"]
        if page["next_page_token"] is None:
            return found
        token = {"page_token": page["next_page_token"]}


# ── who takes launches and notices ───────────────────────────────────────────────────────────


@dataclass
class Outside:
    """A launch target with its runners, and a webhook."""

    watcher: Watcher
    service_url: str
    rng: random.Random
    port: int = 0
    refused: set[tuple[str, int]] = field(default_factory=set)
    taken: set[tuple[str, int]] = field(default_factory=set)
    runners: list[threading.Thread] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def launch(self, message: Mapping[str, Any]) -> tuple[int, str | None]:
        """Take a launch, or refuse its first delivery now and then."""
        key = (message["run_id"], message["attempt"])
        with self.lock:
            if key not in self.refused | self.taken and self.rng.random() < 0.1:
                self.refused.add(key)
                self.watcher.saw(Launched(message, None, taken=False))
                return 503, None
            proof = f"m{len(self.watcher.seen)}"
            self.watcher.saw(Launched(message, proof))
            if key not in self.taken:
                self.taken.add(key)
                plan = self.rng.choices(("success", "failed", "silent"), (8, 2, 1))[0]
                pauses = [self.rng.uniform(0.02, 0.3) for _ in range(3)]
                thread = threading.Thread(target=self._run, args=(message, plan, pauses))
                self.runners.append(thread)
                thread.start()
        return 200, proof

    def notice(self, body: Mapping[str, Any]) -> tuple[int, str | None]:
        names = ("id", "kind", "severity", "processor", "game_date", "summary", "detail")
        self.watcher.saw(Noticed(*(body[n] for n in names), at=moment(body["at"])))
        return 200, None

    def _run(self, message: Mapping[str, Any], plan: str, pauses: list[float]) -> None:
        run_id, attempt = message["run_id"], message["attempt"]
        time.sleep(pauses[0])
        claim = self._ask(f"/v1/runs/{run_id}/claim", owner="runner", attempt=attempt)
        if claim is None:
            return
        token = claim["lease_token"]
        key = (run_id, attempt)
        self._leased(key, claim)
        self.watcher.saw(Granted(run_id, attempt, "runner", token))
        for pause in pauses[1:]:
            time.sleep(pause)
            beat = self._ask(f"/v1/runs/{run_id}/heartbeat", lease_token=token)
            if beat is None:
                return
            self._leased(key, beat)
        if plan == "silent":
            return
        count = 7 if plan == "success" else None
        self.watcher.saw(Reporting(run_id, token, plan, count))
        error = "it did not work" if plan == "failed" else None
        path = f"/v1/runs/{run_id}/complete"
        body = {"lease_token": token, "status": plan, "record_count": count, "error": error}
        if self._ask(path, **{k: v for k, v in body.items() if v is not None}) is not None:
            self.watcher.saw(ReportAccepted(run_id, token, plan))

    def _leased(self, key: tuple[str, int], answer: Mapping[str, Any]) -> None:
        lease = (now(), moment(answer["lease_expires_at"]))
        self.watcher.leases.setdefault(key, []).append(lease)

    def _ask(self, path: str, **body: Any) -> Any:
        """An answer, however often the service is away; None where it says no."""
        give_up_at = time.monotonic() + 15
        while time.monotonic() < give_up_at:
            try:
                answer = httpx.post(f"{self.service_url}{path}", json=body, timeout=5)
            except httpx.HTTPError:
                time.sleep(0.2)
                continue
            if answer.status_code < 500:
                return answer.json() if answer.status_code == 200 else None
            time.sleep(0.2)
        return None


@contextmanager
def outside(watcher: Watcher, service_url: str, rng: random.Random) -> Iterator[Outside]:
    """Listen at ``/launch`` and ``/notice`` until the block ends."""
    found = Outside(watcher, service_url, rng)
    routes: dict[str, Callable[[Mapping[str, Any]], tuple[int, str | None]]] = {
        "/launch": found.launch,
        "/notice": found.notice,
    }

    def answer(path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        status, proof = routes[path](json.loads(body))
        return status, {} if proof is None else {"x-message-id": proof}

    with answering(answer) as found.port:
        try:
            yield found
        finally:
            for runner in found.runners:
                runner.join(timeout=20)
