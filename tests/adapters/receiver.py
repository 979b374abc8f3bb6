"""A real HTTP receiver on a free loopback port, for launches and webhooks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[str, dict[str, str], bytes], tuple[int, Mapping[str, str]]]
"""The path, headers and body of a request → the status and the headers of its answer."""


@dataclass
class Receiver:
    """What was received, and what the next requests are answered with (then 200 for ever)."""

    port: int
    answers: list[int] = field(default_factory=list)
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/secret-path"

    def bodies(self) -> list[dict[str, object]]:
        return [json.loads(body) for _, body in self.received]


@contextmanager
def answering(answer: Answer) -> Iterator[int]:
    """Answer every POST as ``answer`` says until the block ends; gives the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {k.lower(): v for k, v in self.headers.items()}
            status, more = answer(self.path, headers, body)
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Listen until the block ends."""
    receiver = Receiver(port=0)

    def answer(path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        receiver.received.append((headers, body))
        status = receiver.answers.pop(0) if receiver.answers else 200
        return status, {"location": receiver.url} if status == 302 else {}

    with answering(answer) as receiver.port:
        yield receiver
