"""What is bounded however much comes in: games that nobody expects, events that wait."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from coordinator.core.arrivals import UNEXPECTED_GAMES_KEPT
from coordinator.documents import encode, partition_key, table_date_key
from coordinator.ports import Key
from coordinator.service import ingest
from tests.api.support import DATE, Service

GAMES = ["0022500225", "0022500226"]


def size(service: Service, key: Key) -> int:
    found = service.on_loop(service.application.store.get([key]))  # type: ignore[arg-type]
    return len(encode(found[key]))


def wrong(service: Service, number: int) -> list[dict[str, Any]]:
    return [
        service.event(game_ids=[f"wrong-{n:05}"], event_id=f"w{n}", record_count=1)
        for n in range(number)
    ]


def send_all(service: Service, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for start in range(0, len(events), 500):
        answer = service.post("/v1/events", events[start : start + 500])
        results += answer["results"]
    return results


def expect_games(service: Service) -> None:
    service.send(target_table="raw.schedule", game_ids=GAMES, record_count=2, event_id="calendar")


@pytest.mark.parametrize("calendar_first", [True, False])
def test_three_thousand_wrong_games_keep_no_good_load_out(
    service: Service, calendar_first: bool
) -> None:
    if calendar_first:
        expect_games(service)
    results = send_all(service, wrong(service, 3000))
    assert {r["outcome"] for r in results} == {"applied"}
    for game in GAMES:
        later = (service.clock.now() + timedelta(seconds=1)).isoformat()
        sent = service.send(game_ids=[game], event_id=game, timestamp=later, record_count=20)
        assert sent["outcome"] == "applied"
    if not calendar_first:
        expect_games(service)
    source = service.until(
        lambda: next(
            (
                s
                for s in service.partition()["verdict"]["requirements"][0]["sources"]
                if (s["state"], s["games_loaded"]) == ("ready", 2)
                and len(s["unexpected_games"]) == UNEXPECTED_GAMES_KEPT
            ),
            None,
        )
    )
    assert source["unexpected_games"][0] == "wrong-00000"
    assert any("beyond those kept" in w for w in source["warnings"])
    assert service.partition()["generation"] >= 1
    assert size(service, table_date_key("raw.box", DATE)) < 20_000
    assert size(service, partition_key("Summary", DATE)) < 60_000
    assert service.get("/v1/quarantine")["items"] == []


def test_a_store_that_stalls_fills_no_memory(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "WAITING_MAX", 5)
    store = service.application.store
    released = asyncio.Event()
    attempt = store.attempt

    async def stalls(*args: Any) -> Any:
        await released.wait()
        return await attempt(*args)

    monkeypatch.setattr(store, "attempt", stalls)
    events = [service.event(event_id=f"e{n}", game_ids=None) for n in range(12)]
    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(service.client.post, "/v1/events", json=one) for one in events]
        service.until(lambda: sum(a.done() for a in answers) >= 7)
        metrics = service.client.get("/metrics").text
        assert "coordinator_events_waiting 5.0" in metrics
        assert "coordinator_events_turned_away_total 7.0" in metrics
        service.on_loop(_set(released))
        codes = sorted(a.result().status_code for a in answers)
    assert codes == [200] * 5 + [503] * 7
    refused = next(a.result() for a in answers if a.result().status_code == 503)
    assert refused.json()["code"] == "queue_full"
    assert "Send it again later" in refused.json()["detail"]
    assert int(refused.headers["retry-after"]) > 0
    assert service.send(event_id="later", game_ids=None)["outcome"] in ("applied", "superseded")


async def _set(event: asyncio.Event) -> None:
    event.set()
