"""A real service for the tests over HTTP: uvicorn, a SQLite file, a clock that can be moved."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import structlog
import uvicorn

from coordinator.app import Application, build
from coordinator.core.model import Run
from coordinator.core.spec import LaunchKind, LaunchTarget, ProcessorSpec
from coordinator.errors import Unavailable
from coordinator.registry import load
from coordinator.settings import Settings
from coordinator.web.api import create_app

T = TypeVar("T")
REGISTRY = Path(__file__).parent / "registry.yaml"
DATE = "2025-11-15"


class MovableClock:
    """The system's time, moved forward by what a test says."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead.total_seconds()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Recorder:
    """A launcher that keeps what it was given; while ``down`` it delivers nothing."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.down = False

    async def launch(
        self, target: LaunchTarget, spec: ProcessorSpec, run: Run, message: Mapping[str, Any]
    ) -> str:
        if self.down:
            raise Unavailable("the launcher is down")
        self.messages.append(dict(message))
        return f"message-{len(self.messages)}"


class Service:
    """A running service and a client of it."""

    def __init__(
        self,
        application: Application,
        clock: MovableClock,
        launcher: Recorder,
        loop: asyncio.AbstractEventLoop,
        url: str,
    ) -> None:
        self.application = application
        self.clock = clock
        self.launcher = launcher
        self.url = url
        self._loop = loop
        self.client = httpx.Client(base_url=url, timeout=20)
        self.answers: list[httpx.Response] = []
        self.client.event_hooks = {"response": [self.answers.append]}

    def on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the service's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    # in

    def event(self, **fields: Any) -> dict[str, Any]:
        return load_event(at=self.clock.now(), **fields)

    def send(self, **fields: Any) -> dict[str, Any]:
        """Send one event over REST; returns its result."""
        answer = self.client.post("/v1/events", json=self.event(**fields))
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()["results"][0]
        return result

    def push(self, body: bytes) -> httpx.Response:
        return self.client.post("/pubsub/push", content=body)

    # looking

    def get(self, path: str, status: int = 200, /, **query: Any) -> Any:
        answer = self.client.get(path, params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.client.post(path, json={} if body is None else body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def partition(self, processor: str = "Summary", game_date: str = DATE) -> Any:
        return self.get(f"/v1/status/{game_date}/{processor}")

    def grid(self, first: str = DATE, last: str | None = None) -> dict[str, dict[str, Any]]:
        """Processor → date → what the grid shows of it; a date without a cell is left out."""
        found = self.get("/v1/grid", **{"from": first, "to": last or first})
        dates = [d["game_date"] for d in found["dates"]]
        return {
            row["processor"]: {
                day: found["legend"][place]
                for day, place in zip(dates, row["cells"], strict=True)
                if place is not None
            }
            for row in found["items"]
        }

    def until(self, promise: Callable[[], T]) -> T:
        """Wait until something holds, at most ten seconds."""
        give_up_at = time.monotonic() + 10
        while not (found := promise()):
            assert time.monotonic() < give_up_at, "it did not come to hold within ten seconds"
            time.sleep(0.02)
        return found

    # runs

    def claim(self, run_id: str, attempt: int = 1, owner: str = "runner-1") -> dict[str, Any]:
        granted: dict[str, Any] = self.post(
            f"/v1/runs/{run_id}/claim", {"owner": owner, "attempt": attempt}
        )
        return granted

    def succeed(self, run_id: str, record_count: int = 100, attempt: int = 1) -> None:
        token = self.claim(run_id, attempt)["lease_token"]
        body = {"lease_token": token, "status": "success", "record_count": record_count}
        self.post(f"/v1/runs/{run_id}/complete", body)

    def fire(self, game_date: str = DATE, **fields: Any) -> str:
        """Load what Summary needs; returns the run that it fires."""
        result = self.send(game_date=game_date, **fields)
        fired = [a["fired_run_id"] for a in result["affected"] if a["processor"] == "Summary"]
        assert fired[0] is not None, result
        return str(fired[0])


def load_event(*, at: datetime | None = None, **fields: Any) -> dict[str, Any]:
    """A good ``raw_data_loaded``; a field given as None is left out."""
    timestamp = (at or datetime.now(UTC)).isoformat().replace("+00:00", "Z")
    event = {
        "event_type": "raw_data_loaded",
        "target_table": "raw.box",
        "game_date": DATE,
        "status": "success",
        "timestamp": timestamp,
        "record_count": 100,
        "execution_id": f"execution-{time.monotonic_ns()}",
        **fields,
    }
    return {k: v for k, v in event.items() if v is not None}


def envelope(data: bytes | Mapping[str, Any], message_id: str = "1") -> bytes:
    """A Pub/Sub push body around an event."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    message = {"data": base64.b64encode(raw).decode(), "messageId": message_id, "attributes": {}}
    return json.dumps({"message": message, "subscription": "projects/p/subscriptions/s"}).encode()


@contextmanager
def serving(
    folder: Path,
    registry: Path = REGISTRY,
    *,
    allowed_hosts: Sequence[str] = (),
    send_buffer: int | None = None,
) -> Iterator[Service]:
    """Serve a fresh store in ``folder`` as long as the context lasts.

    ``send_buffer`` is how many bytes the kernel holds for a client that does not read.
    """
    with quiet():
        yield from _serving(folder, registry, allowed_hosts, send_buffer)


@contextmanager
def quiet() -> Iterator[None]:
    """Log lines are made and thrown away: pretty ones with tracebacks take seconds."""
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def _serving(
    folder: Path, registry: Path, allowed_hosts: Sequence[str], send_buffer: int | None
) -> Iterator[Service]:
    clock, launcher = MovableClock(), Recorder()
    settings = Settings(
        registry=registry,
        store=f"sqlite:{folder / 'state.db'}",
        warehouse=f"duckdb:{folder / 'warehouse.duckdb'}",
    )
    application = build(
        settings,
        registry=load(registry),
        clock=clock,
        launchers={LaunchKind.LOCAL: launcher},
        notifiers=[],
    )
    # With the protocol named, asyncio switches Nagle's delay off, as it does when it binds itself.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if send_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = listener.getsockname()[1]
    started = threading.Event()
    stopping: list[Callable[[], None]] = []
    loops: list[asyncio.AbstractEventLoop] = []
    errors: list[BaseException] = []

    async def serve() -> None:
        async with application.running():
            app = create_app(application, allowed_hosts=allowed_hosts)
            config = uvicorn.Config(
                app, log_level="critical", access_log=False, lifespan="off", ws="none",
                timeout_graceful_shutdown=2,
            )  # fmt: skip
            server = uvicorn.Server(config)

            def stop() -> None:
                app.state.stream.close()
                server.should_exit = True

            loop = asyncio.get_running_loop()
            stopping.append(lambda: loop.call_soon_threadsafe(stop))
            loops.append(loop)
            started.set()
            await server.serve(sockets=[listener])

    def main() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - raised by the test
            errors.append(error)
            started.set()

    thread = threading.Thread(target=main, name="service", daemon=True)
    thread.start()
    assert started.wait(20)
    if errors:
        raise errors[0]
    service = Service(application, clock, launcher, loops[0], f"http://127.0.0.1:{port}")
    try:
        yield service
    finally:
        service.client.close()
        stopping[0]()
        thread.join(20)
        listener.close()
        if errors:
            raise errors[0]
