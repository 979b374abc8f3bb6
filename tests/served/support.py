"""A served process with a registry of the test's own, and what a user asks of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.kill.serving import Service

T = TypeVar("T")
FIRST_DATE = date(2024, 10, 22)
WAIT_SECONDS = 60.0

HEAD = "version: 1\ntimezone: America/New_York\ndefaults: {defaults}\ntables: {{raw.a: {{}}}}\nprocessors:\n"


def registry(processors: Mapping[str, str], defaults: str = "{attempts: 1}") -> str:
    """A registry of processors that need one table; each has the given keys beside."""
    lines = [
        f"  {name}: {{phase: 3, output: out.{name.lower()}, requires: [{{table: raw.a}}], {keys}}}"
        for name, keys in processors.items()
    ]
    return HEAD.format(defaults=defaults) + "\n".join(lines) + "\n"


def hostile(name: str) -> str:
    """The key that names a processor of ``tests.processors.hostile``."""
    return f'entrypoint: "tests.processors.hostile:{name}"'


class Served:
    """A served process and a client of it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.client = httpx.Client(base_url=service.url, timeout=20)

    @contextmanager
    def client_open(self) -> Iterator[Served]:
        """Close the client afterwards."""
        with self.client:
            yield self

    def load(self, *days: int) -> None:
        """Report a load of ``raw.a`` for the n-th dates."""
        events = [
            {
                "event_type": "raw_data_loaded",
                "target_table": "raw.a",
                "game_date": day(number),
                "status": "success",
                "record_count": 10,
                "timestamp": datetime.now(UTC).isoformat(),
            }
            for number in days
        ]
        answer = self.client.post("/v1/events", json=events)
        assert answer.status_code == 200, answer.text

    def get(self, path: str) -> Any:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def partition(self, processor: str, number: int = 0) -> Any:
        return self.get(f"/v1/status/{day(number)}/{processor}")

    def until(self, *statuses: str, processor: str, number: int = 0) -> Any:
        """A partition, once it has one of the statuses."""

        def held() -> Any:
            found = self.partition(processor, number)
            return found if found["status"] in statuses else None

        return until(held, lambda: self.partition(processor, number)["why"])

    def run(self, processor: str, number: int = 0) -> Any:
        return self.get(f"/v1/runs/{processor}:{day(number)}:1")

    def error(self, processor: str, number: int = 0) -> str:
        """Why the last attempt of a run ended badly."""
        return str(self.run(processor, number)["attempts"][-1]["error"])

    def ready(self) -> tuple[int, Any]:
        answer = self.client.get("/readyz")
        return answer.status_code, answer.json()["parts"]

    def metric(self, name: str) -> float:
        for line in self.client.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0


def day(number: int) -> str:
    return (FIRST_DATE + timedelta(days=number)).isoformat()


def until(promise: Callable[[], T | None], why: Callable[[], object] = lambda: "") -> T:
    """Wait until something holds, and give it."""
    give_up_at = time.monotonic() + WAIT_SECONDS
    while not (found := promise()):
        assert time.monotonic() < give_up_at, f"it did not come to hold: {why()}"
        time.sleep(0.05)
    return found


@contextmanager
def serving(folder: Path, text: str, **environment: str) -> Iterator[Served]:
    """Serve a registry over a fresh store, in a process of its own."""
    service = Service(folder, f"sqlite:{folder / 'state.db'}", environment=environment)
    service.registry.write_text(text, encoding="utf-8")
    service.start()
    try:
        service.answers()
        with Served(service).client_open() as served:
            yield served
    finally:
        service.stop()
