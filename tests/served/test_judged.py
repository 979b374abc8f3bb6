"""A served process is played to over HTTP, killed in the middle, and judged by what anybody saw."""

from __future__ import annotations

import base64
import json
import random
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from coordinator.judge.observations import Launched, Noticed, Sent
from tests.kill.serving import Service
from tests.served.watcher import Outside, Watcher, now, outside

pytestmark = pytest.mark.slow

SEED = 3
ACTS = 38
REST_SECONDS = 25.0
ZONE = ZoneInfo("America/New_York")
TABLES = ("raw.box", "raw.lines", "raw.spare", "raw.odds", "raw.schedule")
OUTPUTS = ("out.box", "out.lines", "out.late", "out.down")
PROCESSORS = ("Box", "Lines", "Late", "Down")
REGISTRY = """
version: 1
timezone: America/New_York
calendar: {{table: raw.schedule}}
defaults:
  launch: {{http: "http://127.0.0.1:{port}/launch"}}
  attempts: 2
  retry_backoff: 1s
  claim_timeout: 3s
  heartbeat_timeout: 2s
  run_timeout: 5s
  cooldown: 1s
  max_refires: 2
tables:
  raw.box: {{grain: game}}
  raw.lines: {{}}
  raw.spare: {{}}
  raw.odds: {{}}
processors:
  Box:
    phase: 3
    output: out.box
    requires: [{{table: raw.box}}]
    debounce: 1s
    max_settle: 2s
  Lines:
    phase: 3
    output: out.lines
    requires:
      - {{any_of: [raw.lines, raw.spare], prefer_for: 2s}}
      - {{table: raw.odds, critical: false}}
    grace: 3s
  Late:
    phase: 3
    output: out.late
    requires: [{{table: raw.box}}, {{table: raw.odds, expected_count_min: 1000}}]
    deadline: {{at: "{at}", day: {day}, then: fire}}
  Down:
    phase: 4
    output: out.down
    requires: [{{table: out.box}}, {{table: out.lines}}]
    not_before: {{at: "{early}", day: {early_day}}}
"""


class Play:
    """What is done to the service, from one seed."""

    def __init__(self, service: Service, watcher: Watcher, dates: list[str]) -> None:
        self.rng = random.Random(SEED)
        self.client = httpx.Client(base_url=service.url, timeout=10)
        self.watcher, self.dates = watcher, dates
        self.events: list[dict[str, Any]] = []

    def load(self, table: str, date: str, **said: Any) -> None:
        """A load, of a moment ago or out of order."""
        age = self.rng.choice((0, 0, 0, 0, 1, 20))
        event = {
            "event_type": "raw_data_loaded",
            "target_table": table,
            "game_date": date,
            "status": "success",
            "record_count": self.rng.randrange(50, 200),
            "timestamp": (now() - timedelta(seconds=age)).isoformat(),
            "event_id": f"e{len(self.events)}",
            **said,
        }
        self.events.append(event)
        self.send(event)

    def send(self, event: dict[str, Any]) -> None:
        """Send it, by either way in."""
        self.watcher.saw(Sent(event))
        began = now()
        if self.rng.random() < 0.4:
            data = base64.b64encode(json.dumps(event).encode()).decode()
            body = {"message": {"data": data, "messageId": f"p{self.rng.random()}"}}
            answer = self.client.post(
                "/pubsub/push", json={**body, "subscription": "projects/p/subscriptions/s"}
            )
        else:
            answer = self.client.post("/v1/events", json=event)
        assert answer.status_code in (200, 204), answer.text
        self.watcher.sent.setdefault(event["event_id"], (began, now()))

    def event(self) -> None:
        date = self.rng.choice(self.dates)
        if self.events and self.rng.random() < 0.15:
            self.send(self.rng.choice(self.events))  # a duplicate
            return
        table = self.rng.choice(("raw.box", "raw.box", "raw.lines", "raw.spare", "raw.odds"))
        said: dict[str, Any] = {}
        kind = self.rng.random()
        if kind < 0.1:
            said = {"status": "failed", "record_count": None}
        elif kind < 0.18 and table != "raw.box":
            said = {"status": "no_data", "record_count": 0}
        elif kind < 0.25 and table in ("raw.lines", "raw.spare"):
            said = {"skip_downstream": True}
        elif kind < 0.35:
            said = {"metadata": {"content_hash": "sha-1"}}
        if table == "raw.box" and self.rng.random() < 0.6:
            said["game_ids"] = [self.rng.choice(games(date))]
        self.load(table, date, **said)

    def act(self) -> None:
        """An operator's act; whatever is refused changes nothing."""
        processor, date = self.rng.choice(("Box", "Lines", "Down")), self.rng.choice(self.dates)
        of = f"/v1/processors/{processor}/dates/{date}"
        path, body = self.rng.choice(
            [
                (f"/v1/processors/{processor}/pause", {}),
                ("/v1/resume", {}),
                (f"/v1/processors/{processor}/resume", {}),
                (f"{of}/reset", {}),
                (f"{of}/skip", {}),
                (f"{of}/trigger", {"bypass": ["dependencies"]}),
                (f"{of}/trigger", {}),
                (f"/v1/processors/Lines/dates/{date}/waivers", {"table": "raw.odds"}),
            ]
        )
        reason = f"reason {self.rng.random()}"
        answer = self.client.post(path, json={"reason": reason, **body})
        assert answer.status_code in (200, 409), answer.text


def games(date: str) -> list[str]:
    return [f"{date}-g{n}" for n in (1, 2)]


def test_what_anybody_sees_of_a_served_process_holds_against_the_contract(tmp_path: Path) -> None:
    service = Service(tmp_path, f"sqlite:{tmp_path / 'state.db'}")
    watcher = Watcher()
    with outside(watcher, service.url, random.Random(SEED + 1)) as around:
        first = (datetime.now(ZONE) - timedelta(days=3)).date()
        dates = [(first + timedelta(days=n)).isoformat() for n in range(3)]
        # The deadline of the second date comes in the middle of the play.
        at, early = (datetime.now(ZONE) + timedelta(seconds=s) for s in (11, 7))
        watcher.text = REGISTRY.format(
            port=around.port,
            at=f"{at:%H:%M:%S}",
            day=(at.date() - first).days - 1,
            early=f"{early:%H:%M:%S}",
            early_day=(early.date() - first).days - 1,
        )
        service.registry.write_text(watcher.text, encoding="utf-8")
        service.environment = {
            "COORDINATOR_WEBHOOK_URL": f"http://127.0.0.1:{around.port}/notice",
        }
        service.start()
        try:
            service.answers()
            play = Play(service, watcher, dates)
            with play.client:
                _played(play, service, watcher)
                _rests(play, around)
                judge = watcher.judge(play.client, PROCESSORS, (*TABLES, *OUTPUTS), dates)
        finally:
            service.stop()
    problems = "\n".join(map(str, judge.broken))
    assert not judge.broken, problems
    # It was worth judging.
    runs = judge.runs.shown.values()
    triggers = Counter(r.trigger for r in runs)
    assert "dependencies" in triggers, triggers
    assert len(triggers) > 1, triggers
    assert any(len(r.attempts) > 1 for r in runs)
    kinds = {type(o) for _, o in watcher.seen}
    assert {Launched, Noticed} <= kinds
    assert len(judge.notices) >= 2
    assert len(runs) >= 6


def _played(play: Play, service: Service, watcher: Watcher) -> None:
    watcher.serves(play.client)
    for date in play.dates:
        play.load("raw.schedule", date, game_ids=games(date), record_count=2)
        play.load("raw.box", date)
    for number in range(ACTS):
        if number == ACTS // 2:
            service.kill()
            watcher.died()
            service.start()
            service.answers()
            watcher.serves(play.client)
        if play.rng.random() < 0.8:
            play.event()
        else:
            play.act()
        if number % 5 == 0:
            watcher.read(play.client, play.rng.choice(PROCESSORS), play.rng.choice(play.dates))
        time.sleep(play.rng.uniform(0.03, 0.25))
    answer = play.client.post("/v1/resume", json={"reason": "the play is over"})
    assert answer.status_code in (200, 409), answer.text


def _rests(play: Play, around: Outside) -> None:
    """Wait until no timer is left, nothing runs and nothing is to be delivered."""
    give_up_at = time.monotonic() + REST_SECONDS
    still = 0
    while still < 2:
        assert time.monotonic() < give_up_at, "the service does not come to rest"
        time.sleep(0.3)
        soon = now() + timedelta(hours=1)
        shown = [play.watcher.read(play.client, p, d) for p in PROCESSORS for d in play.dates]
        busy = [
            s
            for s in shown
            if s["outbox"]
            or s["status"] in ("firing", "fired", "running")
            or (s["wake_at"] is not None and datetime.fromisoformat(s["wake_at"]) < soon)
        ]
        alive = any(r.is_alive() for r in around.runners)
        still = 0 if busy or alive else still + 1
