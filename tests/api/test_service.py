"""Whether the service says how it is: health, readiness, metrics, and the stream of changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from coordinator.health import OUTBOX_LATE_SECONDS
from coordinator.web.stream import QUEUE_MAX
from tests.api.support import Service


def test_health_is_about_the_process_alone(service: Service) -> None:
    assert service.get("/healthz") == {"status": "alive"}
    service.on_loop(service.application.store.close())
    assert service.get("/healthz") == {"status": "alive"}


def test_ready_says_so_for_each_part(service: Service) -> None:
    found = service.get("/readyz")
    assert found["status"] == "ready"
    assert {name: part["ok"] for name, part in found["parts"].items()} == {
        "registry": True,
        "store": True,
        "outbox": True,
        "sweep": True,
    }
    assert found["parts"]["sweep"]["age_seconds"] >= 0


def test_not_ready_when_the_store_is_gone(service: Service) -> None:
    service.on_loop(service.application.store.close())
    found = service.get("/readyz", 503)
    assert found["status"] == "not_ready"
    assert found["parts"]["store"]["ok"] is False
    assert "not open" in found["parts"]["store"]["detail"]


def test_not_ready_when_the_file_is_gone(service: Service) -> None:
    store = service.application.store
    path = getattr(store, "path", "")
    import os

    os.rename(path, f"{path}.elsewhere")
    found = service.get("/readyz", 503)
    assert "cannot be found" in found["parts"]["store"]["detail"]


def test_a_store_that_hangs_is_not_waited_for(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> None:
        import asyncio

        await asyncio.sleep(60)

    monkeypatch.setattr(service.application.store, "ping", hang)
    found = service.get("/readyz", 503)
    assert "did not answer within 2 s" in found["parts"]["store"]["detail"]
    assert service.answers[-1].elapsed < timedelta(seconds=5)


def test_a_failing_launcher_shows_as_lag_and_not_as_unready(service: Service) -> None:
    service.launcher.down = True
    service.fire()
    service.until(lambda: service.partition()["outbox"][0]["tries"])
    assert "the launcher is down" in service.partition()["outbox"][0]["last_error"]
    found = service.get("/readyz")
    assert found["parts"]["outbox"]["lag_seconds"] > 0
    assert 'coordinator_deliveries_total{kind="launch",result="failed"}' in metrics(service)


def test_not_ready_when_nobody_delivers(service: Service) -> None:
    async def stop() -> None:
        for task in service.application._tasks:
            task.cancel()

    service.on_loop(stop())
    service.fire()
    service.clock.ahead += timedelta(seconds=OUTBOX_LATE_SECONDS + 10)
    found = service.get("/readyz", 503)
    assert found["parts"]["outbox"]["ok"] is False
    assert found["parts"]["sweep"]["ok"] is True


def test_not_ready_when_nobody_sweeps(service: Service) -> None:
    async def stop() -> None:
        for task in service.application._tasks:
            task.cancel()

    service.on_loop(stop())
    ahead = (service.clock.now()).date().isoformat()
    service.send(target_table="analytics.summary", game_date=ahead)
    service.clock.ahead += timedelta(days=3)
    found = service.get("/readyz", 503)
    assert found["parts"]["sweep"]["ok"] is False
    service.post("/v1/sweep")
    assert service.get("/readyz")["parts"]["sweep"]["ok"] is True


# ── metrics ──────────────────────────────────────────────────────────────────────────────────


def metrics(service: Service) -> str:
    answer = service.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return answer.text


def value(text: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    assert found, f"{series} is not in\n{text}"
    return float(found[1])


def test_metrics_count_what_really_happened(service: Service) -> None:
    run_id = service.fire(event_id="a")
    service.send(event_id="a")
    service.push(b"poison")
    service.client.post("/v1/events", json={})
    service.until(lambda: service.launcher.messages)
    service.claim(run_id)
    text = metrics(service)
    assert value(text, 'coordinator_events_total{outcome="applied",table="raw.box"}') == 1
    assert value(text, 'coordinator_events_total{outcome="duplicate",table="raw.box"}') == 1
    assert value(text, 'coordinator_events_total{outcome="quarantined",table="?"}') == 1
    assert value(text, 'coordinator_events_total{outcome="rejected",table="?"}') == 1
    assert value(text, 'coordinator_deliveries_total{kind="launch",result="delivered"}') == 1
    assert value(text, 'coordinator_generations_fired_total{trigger="dependencies"}') == 1
    assert value(text, 'coordinator_partitions{status="running"}') == 1
    assert value(text, "coordinator_store_commits_total") >= 3
    assert value(text, "coordinator_outbox_lag_seconds") == 0
    assert value(text, "coordinator_sweep_lag_seconds") == 0
    count = 'coordinator_http_request_duration_seconds_count{method="POST",route="%s",status="%s"}'
    assert value(text, count % ("/pubsub/push", "204")) == 1
    assert value(text, count % ("/v1/runs/{run_id}/claim", "200")) == 1
    assert value(text, count % ("/v1/events", "422")) == 1


def test_labels_stay_few_whatever_is_asked_for(service: Service) -> None:
    for n in range(20):
        service.client.get(f"/nothing/{n}")
        service.client.request(f"VERB{n}", "/healthz")
        service.get(f"/v1/status/2025-11-{n + 1:02}")
    series = [s for s in metrics(service).splitlines() if s.startswith("coordinator_http")]
    counts = [s for s in series if "_count{" in s]
    assert len(counts) <= 4


# ── the stream ───────────────────────────────────────────────────────────────────────────────


@contextmanager
def listening(
    service: Service, last_event_id: str | None = None
) -> Iterator[Iterator[dict[str, str]]]:
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    with service.client.stream("GET", "/v1/stream", headers=headers, timeout=10) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        messages = read(answer)
        assert next(messages) == {"retry": "2000"}
        yield messages


def read(answer: httpx.Response) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, rest = line.partition(": ")
            fields[name] = rest
        elif fields:
            yield fields
            fields = {}


def change(message: dict[str, str]) -> dict[str, Any]:
    assert message["event"] == "partition"
    return dict(json.loads(message["data"]))


def test_the_stream_sends_every_change_and_resumes(service: Service) -> None:
    with listening(service) as messages:
        run_id = service.fire()
        seen = []
        while True:
            message = next(messages)
            seen.append((message["id"], change(message)))
            if seen[-1][1]["status"] == "fired":
                break
    summary = [c for _, c in seen if c["processor"] == "Summary"]
    assert [c["status"] for c in summary] == ["firing", "fired"]
    assert summary[0]["fired_run_id"] == run_id
    assert summary[0]["game_date"] == "2025-11-15"
    service.claim(run_id)
    with listening(service, seen[0][0]) as messages:
        resumed = [next(messages)["id"] for _ in range(len(seen))]
    assert resumed[: len(seen) - 1] == [i for i, _ in seen[1:]]


@pytest.mark.parametrize("last_id", ["another-process-7", "nonsense", "-", "9" * 100])
def test_a_listener_that_cannot_resume_gets_a_reset(shared: Service, last_id: str) -> None:
    with listening(shared, last_id) as messages:
        first = next(messages)
    assert first["event"] == "reset"


def test_a_listener_that_is_too_slow_is_cut_off(service: Service) -> None:
    from coordinator.web.stream import Stream

    async def slow() -> int:
        stream = Stream(service.clock, "boot")
        service.application.engine.listen(stream.committed)
        lines = stream.listen(None)
        await anext(lines)
        for n in range(QUEUE_MAX + 10):
            event = service.event(event_id=f"e{n}", game_date=f"2025-{n % 9 + 1:02}-01")
            await service.application.ingest.take({**event, "game_ids": [f"g{n}"]})
        return len([line async for line in lines])

    assert service.on_loop(slow()) <= QUEUE_MAX
