"""Processors that try to end or stall whoever executes them, for the tests of workers."""

import ctypes
import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import structlog

from processors.base import Processor, RunContext, RunResult
from processors.warehouse import Warehouse


class Good(Processor):
    """Writes nothing and succeeds."""

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        rows = warehouse.query("SELECT 1 AS one")
        return RunResult("success", len(rows))


class Second(Processor):
    """Takes a second."""

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        time.sleep(float(os.environ.get("RUN_SECONDS", "1")))
        return RunResult("success", 1)


class Exits(Processor):
    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        sys.exit(3)


class ExitsAtOnce(Processor):
    """Ends the process with no way to catch it, and says something before."""

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        print("about to go \x1b[31m", flush=True)  # noqa: T201
        os._exit(3)


class Crashes(Processor):
    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        ctypes.string_at(0)
        raise AssertionError("unreachable")


class Killed(Processor):
    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        os.kill(os.getpid(), 9)
        raise AssertionError("unreachable")


class Recurses(Processor):
    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        return self.run(warehouse, context)


class Hangs(Processor):
    """Hangs in one C call that never lets another thread run, and ignores SIGTERM."""

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        warehouse.query("SELECT 1 AS one")
        re.match(r"(a+)+$", "a" * 60 + "b")
        return RunResult("success", 1)


class Queries(Processor):
    """Runs a query that never ends, which holds the warehouse."""

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        warehouse.query(
            "SELECT count(*) AS n FROM UNNEST(GENERATE_ARRAY(1, 1000000)) AS a "
            "CROSS JOIN UNNEST(GENERATE_ARRAY(1, 1000000)) AS b WHERE MOD(a * b, 7) = 3"
        )
        return RunResult("success", 1)


class Floods(Processor):
    """Prints 50 MB."""

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        line = b"x" * 9_999 + b"\n"
        for _ in range(5_000):
            os.write(1, line)
        return RunResult("success", 1)


class LeavesThreads(Processor):
    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        threading.Thread(target=time.sleep, args=(600,)).start()
        return RunResult("success", 1)


class LeavesChildren(Processor):
    """Forks a process that holds on to everything, and ends badly itself."""

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        if os.fork() == 0:
            time.sleep(600)
        child = subprocess.Popen(["sleep", "600"])
        Path(os.environ["CHILD_PID"]).write_text(str(child.pid), encoding="ascii")
        os._exit(4)


class LogsMuch(Processor):
    """Logs a line that is far longer once it is escaped."""

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        fields = {f"field_{number}": "\N{BASKETBALL AND HOOP}" * 10_000 for number in range(20)}
        structlog.get_logger().info("much", **fields)
        return RunResult("success", 1)


class LogsOften(Processor):
    """Logs 600 lines."""

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        for number in range(600):
            structlog.get_logger().info("again", number=number)
        return RunResult("success", 1)


class SpeaksForItsWorker(Processor):
    """Writes to everything that is open, so also to the worker's channel."""

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        for number in range(3, 30):
            with suppress(OSError), socket.socket(fileno=os.dup(number)) as other:
                other.sendall(b'{"status": "success"}\n[1]\n{"log": 1}\n')
        return RunResult("success", 2)


class ClosesEverything(Processor):
    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        os.closerange(0, 100)
        return RunResult("success", 1)


class NamesNoText(Processor):
    """Raises an error about a file whose name is no text."""

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        raise FileNotFoundError(os.fsdecode(b"no file night-\xff.json"))


class CountsBelowNothing(Processor):
    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        return RunResult("success", -1)


class ReturnsRubbish(Processor):
    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        return RunResult("success", "many")  # type: ignore[arg-type]
