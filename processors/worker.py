"""A worker: a process of its own that executes one run at a time for a `worker_pool`.

Owns: the child's side of the channel, and that it ends when its parent does. Its standard output
and error belong to the processor; the channel is a socket of its own, one JSON object a line.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from processors.base import RunResult
from processors.catalog import CATALOG
from processors.errors import LeaseLostError
from processors.execution import execute
from processors.warehouse import SharedDuckDBWarehouse

PARENT_GONE = 70
_PR_SET_PDEATHSIG = 1
_OOM_SCORE = "600"
LOG_FIELDS_MOST = 20
LOG_CHARS_MOST = 50_000
"""Of one log line: each may take 12 bytes, and a line must stay one that the parent reads."""


class Channel:
    """The channel to the parent. A thread reads it, and ends this process with the parent."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._asking = threading.Lock()
        self._answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.jobs: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self.reader = threading.Thread(target=self._read, name="channel", daemon=True)
        self.reader.start()

    def _read(self) -> None:
        with suppress(OSError, ValueError), self._connection.makefile("rb") as lines:
            for line in lines:
                message = json.loads(line)
                if "live" in message:
                    self._answers.put(message["live"])
                else:
                    self.jobs.put(message)
        os._exit(PARENT_GONE)

    def send(self, **message: Any) -> None:
        """Say something to the parent."""
        line = json.dumps(message, default=repr).encode() + b"\n"
        with self._sending:
            self._connection.sendall(line)

    def ensure_live(self) -> None:
        """Ask the parent whether the lease is still held. Raises LeaseLostError."""
        with self._asking:
            self.send(ask="live")
            live = self._answers.get()
        if not live:
            raise LeaseLostError("the lease was lost before the commit")

    def log(self, _: Any, level: str, event: MutableMapping[str, Any]) -> str:
        """A structlog processor: lines are written by the parent, in its format."""
        words = str(event.pop("event", ""))
        event.pop("exc_info", None)
        self.send(log={"level": level, "event": words[:1000], "fields": _short(event)})
        raise structlog.DropEvent


def _short(event: Mapping[str, Any]) -> dict[str, str]:
    """Some fields of a log line as text, bounded together."""
    short: dict[str, str] = {}
    left = LOG_CHARS_MOST
    for name, value in list(event.items())[:LOG_FIELDS_MOST]:
        short[str(name)[:100]] = text = str(value)[: min(10_000, left)]
        left -= len(text)
    return short


def main() -> None:
    """Execute what the parent sends, until it is gone. Called with the socket's number and the
    warehouse's path."""
    number, path = int(sys.argv[1]), sys.argv[2]
    os.set_inheritable(number, False)
    faulthandler.enable()
    _end_with_the_parent()
    _be_the_first_to_go()
    channel = Channel(socket.socket(fileno=number))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            channel.log,
        ]
    )
    warehouse = SharedDuckDBWarehouse(path, catalog=CATALOG)
    channel.send(ready=True)
    while True:
        job = channel.jobs.get()
        channel.send(started=True)
        before = set(threading.enumerate())
        lost = False
        result = RunResult("failed", None, "it did not run")
        try:
            result = execute(
                job["entrypoint"],
                job["launch"],
                warehouse,
                datetime.fromisoformat(job["now"]),
                ensure_live=channel.ensure_live,
            )
        except LeaseLostError:
            lost = True
        warehouse.release()
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        left = [t.name for t in threading.enumerate() if t not in before and t.is_alive()]
        channel.send(
            lost=lost,
            status=result.status,
            record_count=result.record_count,
            error=result.error,
            threads_left=len(left),
        )


def _end_with_the_parent() -> None:
    """Have the kernel end this process with its parent, where it can (Linux): even a processor that
    never lets the channel's thread run then outlives no killed service."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _be_the_first_to_go() -> None:
    """Where memory runs out, the kernel takes this process rather than the service."""
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
