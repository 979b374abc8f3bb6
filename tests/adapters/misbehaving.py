"""Servers that speak HTTP badly, on a free loopback port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

OK = b"HTTP/1.1 200 OK\r\n"
STEP_SECONDS = 0.2


def _silent(connection: socket.socket, over: threading.Event) -> None:
    over.wait()


def _dripping_headers(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(OK)
    number = 0
    while not over.wait(STEP_SECONDS):
        number += 1
        connection.sendall(f"x-{number}: y\r\n".encode())


def _endless_headers(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(OK)
    while not over.is_set():
        connection.sendall(b"x-header: " + b"y" * 1000 + b"\r\n")


def _endless_body(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(OK + b"\r\n")
    while not over.is_set():
        connection.sendall(b"x" * 65_536)


def _endless_chunks(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(OK + b"transfer-encoding: chunked\r\n\r\n")
    while not over.wait(STEP_SECONDS):
        connection.sendall(b"1\r\nx\r\n")


def _huge_length(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(OK + b"content-length: 999999999999\r\n\r\nx")
    over.wait()


def _rubbish(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"\x00\x01 this is no HTTP\r\n\r\n")


def _not_found(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")


MANNERS: dict[str, Callable[[socket.socket, threading.Event], None]] = {
    "silent": _silent,
    "dripping_headers": _dripping_headers,
    "endless_headers": _endless_headers,
    "endless_body": _endless_body,
    "endless_chunks": _endless_chunks,
    "huge_length": _huge_length,
    "rubbish": _rubbish,
    "not_found": _not_found,
}


@contextmanager
def misbehaving(manner: str) -> Iterator[str]:
    """Serve in one of ``MANNERS`` until the block ends; gives the URL."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.settimeout(0.1)
    act = MANNERS[manner]

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(2)
            connection.recv(65_536)
            act(connection, over)

    threads: list[threading.Thread] = []

    def accept() -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
                threads[-1].start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/launch"
    finally:
        over.set()
        thread.join()
        listener.close()
        for each in threads:
            each.join(5)
