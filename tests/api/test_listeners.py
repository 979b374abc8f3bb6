"""How many may listen to the stream: each counts from its request to the end of its connection."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn

from coordinator import app as root
from coordinator.adapters.clock import SystemClock
from coordinator.web import stream as streams
from coordinator.web.stream import Stream
from tests.api.support import Service, serving

BUFFER = 4096


@pytest.fixture
def service(tmp_path: Any) -> Iterator[Service]:
    """A service whose answers soon fill the buffers of a client that does not read."""
    with serving(tmp_path, send_buffer=BUFFER) as running:
        yield running


@contextmanager
def deaf(url: str, path: str = "/v1/stream") -> Iterator[socket.socket]:
    """A client that asks, reads the first bytes of the answer, and nothing more."""
    address = urlsplit(url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        client.settimeout(10)
        client.connect((address.hostname, address.port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert client.recv(12) == b"HTTP/1.1 200"
        yield client


def listen(service: Service) -> int:
    """The status of one more listener's answer; it goes at once."""
    with service.client.stream("GET", "/v1/stream") as answer:
        if answer.status_code == 503:
            answer.read()
            assert answer.headers["retry-after"]
            assert "listeners are on the stream already" in answer.json()["detail"]
        return answer.status_code


def many_changes(service: Service) -> None:
    """More than a listener's queue and every buffer between hold."""

    async def change() -> None:
        days = [f"2025-{n // 28 + 1:02}-{n % 28 + 1:02}" for n in range(300)]
        for number in range(4):
            fields = {"target_table": "raw.box", "event_id": f"e{number}", "status": "success"}
            events = [
                service.event(game_date=day, game_ids=[f"{number}"], **fields) for day in days
            ]
            await asyncio.gather(*(service.application.ingest.take(e) for e in events))

    service.on_loop(change())


def test_listeners_that_cannot_be_sent_to_count(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LISTENERS_MAX", 2)
    with deaf(service.url), deaf(service.url):
        assert listen(service) == 503
        many_changes(service)
        assert listen(service) == 503, "cut off or not, their connections and buffers are there"
    service.until(lambda: listen(service) == 200)


def test_a_burst_of_listeners_stays_within_the_limit(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LISTENERS_MAX", 5)
    address = urlsplit(service.url)
    clients = [
        socket.create_connection((address.hostname or "", address.port or 0), 10) for _ in range(40)
    ]
    try:
        for client in clients:
            client.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        statuses = [client.recv(12).split()[1] for client in clients]
    finally:
        for client in clients:
            client.close()
    assert sorted(statuses) == [b"200"] * 5 + [b"503"] * 35
    service.until(lambda: listen(service) == 200)


def test_a_listener_that_reads_nothing_is_cut_off(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LISTENERS_MAX", 1)
    monkeypatch.setattr(streams, "SEND_SECONDS", 0.5)
    with deaf(service.url):
        many_changes(service)
        service.until(lambda: listen(service) == 200)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
def test_a_connection_whose_client_reads_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only its request: what waits to be sent would keep the connection for ever."""
    monkeypatch.setattr(root, "UNREAD_SECONDS", 1)
    ended = threading.Event()
    ports: list[int] = []

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        sending = asyncio.create_task(flood(send))
        while (await receive())["type"] != "http.disconnect":
            pass
        sending.cancel()
        ended.set()

    async def flood(send: Any) -> None:
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await asyncio.sleep(0)

    config = uvicorn.Config(endless, port=0, lifespan="off", log_level="critical")
    server = root._Server(config, Stream(SystemClock(), "boot"), ports.append)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    give_up_at = time.monotonic() + 20
    while not ports and time.monotonic() < give_up_at:
        time.sleep(0.02)
    try:
        with deaf(f"http://127.0.0.1:{ports[0]}", "/"):
            assert ended.wait(15)
    finally:
        server.should_exit = True
        thread.join(20)


def test_a_reader_may_take_his_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SEND_SECONDS", 1.0)
    monkeypatch.setattr(streams, "KEEPALIVE_SECONDS", 0.2)
    with httpx.stream("GET", f"{service.url}/v1/stream", timeout=10) as answer:
        lines = answer.iter_lines()
        started = time.monotonic()
        while time.monotonic() < started + 2:
            next(lines)
