"""Runs in processes of their own, which can neither end nor stall the service.

Owns: starting workers when they are needed, giving each one run at a time, saying how one ended,
interrupting and replacing it, and what becomes of its output. Refuses: claims, leases and reports
(see `runner`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

import structlog

from processors.base import ERROR_LIMIT_CHARS, RunResult, RunStatus
from processors.errors import LeaseLostError, WorkerLostError
from processors.launch import Launch

log = structlog.get_logger(__name__)

START_SECONDS = 60.0
"""How long a worker may take until it is ready."""
CHECK_SECONDS = 0.25
"""How often a worker that says nothing is checked for its end."""
TERMINATE_SECONDS = 1.0
"""Between asking a worker to end (SIGTERM) and ending it (SIGKILL)."""
EXIT_SECONDS = 5.0
"""How long a worker that closed its channel may take to exit."""
LINE_BYTES_MOST = 1_000_000
OUTPUT_BYTES_LOGGED = 65_536
"""What a run prints is logged up to here; the rest is counted."""
OUTPUT_LINE_CHARS = 2000
OUTPUT_TAIL_BYTES = 1000
"""What a run printed last is said with the reason when its worker ends."""
FLOOD_PAUSE_SECONDS = 0.005
LOG_LINES_MOST = 500
"""Log lines of one run; further ones are counted."""

_START = (
    "import sys; sys.path[:] = __import__('json').loads(sys.argv.pop()); "
    "from processors.worker import main; main()"
)


@dataclass(frozen=True, slots=True)
class Replacement:
    """That a worker was replaced: when, during which run, and why."""

    at: datetime
    run_id: str
    reason: str


class WorkerPool:
    """Executes each run in a worker process. As `execution.Execution`.

    Workers are started when they are needed and used again. One that exits, is killed, leaves
    threads behind, or whose run is cancelled or takes too long, is replaced.
    """

    interrupts = True

    def __init__(
        self,
        warehouse_path: str,
        *,
        clock: Callable[[], datetime],
        limits: Callable[[str], float | None] = lambda processor: None,
    ) -> None:
        """`limits` gives the seconds that a processor's run may take; None where there is none."""
        self._warehouse_path = warehouse_path
        self._clock = clock
        self._limits = limits
        self._idle: list[_Worker] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        self.replaced: Counter[str] = Counter()
        """Why workers were replaced (`exited`, `killed`, `interrupted`, `threads`) → how often."""
        self.last_replaced: Replacement | None = None

    async def run(
        self,
        entrypoint: str,
        launch: Launch,
        now: datetime,
        ensure_live: Callable[[], None],
    ) -> RunResult | None:
        """See Execution.run. A worker that ends meanwhile is a failed run that says how."""
        job = {"entrypoint": entrypoint, "launch": dict(launch.raw), "now": now.isoformat()}
        limit = self._limits(launch.processor)
        for last_try in (False, True):
            try:
                worker = await self._get()
            except (OSError, WorkerLostError) as error:
                return RunResult("failed", None, f"no worker process could be started: {error}")
            try:
                async with asyncio.timeout(limit):
                    ended = await worker.run(job, launch.run_id, ensure_live)
            except TimeoutError:
                words = f"interrupted: it ran longer than {limit:g} s"
                self._replace(worker, launch.run_id, "interrupted", words)
                return RunResult("failed", None, words)
            except asyncio.CancelledError:
                self._replace(worker, launch.run_id, "interrupted", "interrupted: its run is over")
                raise
            except WorkerLostError as error:
                if not worker.started and not last_try:
                    self._end(worker)  # it died while it was idle: no fault of this run
                    continue
                self._replace(worker, launch.run_id, error.kind, str(error))
                return RunResult("failed", None, worker.with_output(str(error)))
            if ended["threads_left"]:
                words = f"{ended['threads_left']} threads of the processor go on after its end"
                self._replace(worker, launch.run_id, "threads", words)
            elif self._closed:
                self._end(worker)
            else:
                self._idle.append(worker)
            return _result(ended)
        raise AssertionError("the second try returns")

    async def _get(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.exited() is None:
                return worker
            self._end(worker)
        return await _Worker.start(self._warehouse_path)

    def _replace(self, worker: _Worker, run_id: str, kind: str, reason: str) -> None:
        self.replaced[kind] += 1
        self.last_replaced = Replacement(self._clock(), run_id, reason)
        log.warning("worker_replaced", run_id=run_id, reason=reason)
        self._end(worker)

    def _end(self, worker: _Worker) -> None:
        """Let a worker end in the background, and see that it does."""
        worker.terminate()
        task = asyncio.get_running_loop().create_task(worker.gone())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def close(self) -> None:
        """End the workers that are idle; what executes is ended by cancelling it."""
        self._closed = True
        for worker in self._idle:
            self._end(worker)
        self._idle.clear()

    async def closed(self) -> None:
        """As `close`, and wait until every worker is gone: a few seconds at most."""
        self.close()
        await asyncio.gather(*self._ending, return_exceptions=True)


class _Worker:
    """One worker process, as its parent sees it."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        output: asyncio.StreamReader,
        output_transport: asyncio.ReadTransport,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._output_transport = output_transport
        self._line: asyncio.Task[bytes] | None = None
        self._run_id = ""
        self._log_lines = 0
        self._printed = 0
        self._tail = b""
        self.started = False
        self._draining = asyncio.get_running_loop().create_task(self._drain(output))

    @classmethod
    async def start(cls, warehouse_path: str) -> _Worker:
        """Start a worker and wait until it is ready. Raises OSError, WorkerLostError."""
        ours, theirs = socket.socketpair()
        from_output, to_parent = os.pipe()
        try:
            process = _spawn(theirs.fileno(), to_parent, warehouse_path)
        except BaseException:
            ours.close()
            os.close(from_output)
            raise
        finally:
            theirs.close()
            os.close(to_parent)
        try:
            worker = await cls._connect(process, ours, from_output)
        except BaseException:
            process.kill()
            process.wait()
            ours.close()
            raise
        try:
            async with asyncio.timeout(START_SECONDS):
                await worker._next()
        except TimeoutError as error:
            await worker.end()
            words = f"it was not ready within {START_SECONDS:g} s"
            raise WorkerLostError("exited", words) from error
        except WorkerLostError as error:
            await worker.end()
            raise WorkerLostError(error.kind, worker.with_output(str(error))) from error
        except BaseException:
            await worker.end()
            raise
        return worker

    @classmethod
    async def _connect(
        cls, process: subprocess.Popen[bytes], channel: socket.socket, output: int
    ) -> _Worker:
        printed = asyncio.StreamReader(limit=OUTPUT_BYTES_LOGGED)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(printed), os.fdopen(output, "rb", 0)
        )
        try:
            reader, writer = await asyncio.open_unix_connection(sock=channel, limit=LINE_BYTES_MOST)
        except BaseException:
            transport.close()
            raise
        return cls(process, reader, writer, printed, transport)

    async def end(self) -> None:
        """End it, whatever becomes of the task that asks for it."""
        self.terminate()
        await asyncio.shield(self.gone())

    async def run(
        self, job: Mapping[str, Any], run_id: str, ensure_live: Callable[[], None]
    ) -> Mapping[str, Any]:
        """Have it execute one job; its last word. Raises WorkerLostError where it ends before."""
        self._run_id, self._log_lines, self._printed, self._tail = run_id, 0, 0, b""
        self.started = False
        self._send(job)
        while True:
            message = await self._next()
            if "log" in message:
                self._log(message["log"])
            elif "ask" in message:
                self._send({"live": _holds(ensure_live)})
            elif "started" in message:
                self.started = True
            elif "status" in message and isinstance(message.get("threads_left"), int):
                await asyncio.sleep(0)  # what it printed last
                if self._printed > OUTPUT_BYTES_LOGGED:
                    log.warning("run_output_cut", run_id=run_id, bytes=self._printed)
                if self._log_lines > LOG_LINES_MOST:
                    log.warning("run_log_cut", run_id=run_id, lines=self._log_lines)
                self._run_id = ""
                return message

    def _send(self, message: Mapping[str, Any]) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def _next(self) -> dict[str, Any]:
        """The next message. Raises WorkerLostError where there is none any more."""
        while True:
            if self._line is None:
                self._line = asyncio.get_running_loop().create_task(self._reader.readline())
            done, _ = await asyncio.wait({self._line}, timeout=CHECK_SECONDS)
            if not done:
                # A process that it forked may hold its channel open after its end.
                if self.exited() is not None:
                    raise await self._lost()
                continue
            line, self._line = self._line, None
            try:
                message = json.loads(line.result())
            except (ValueError, OSError):
                raise await self._lost() from None
            if isinstance(message, dict):
                return message

    async def _lost(self) -> WorkerLostError:
        """How it ended; it is ended where it goes on without a channel."""
        await _within(EXIT_SECONDS, lambda: self.exited() is not None)
        code = self.exited()
        if code is None:
            return WorkerLostError("exited", "its worker process closed or garbled its channel")
        if code >= 0:
            return WorkerLostError("exited", f"its worker process exited with code {code}")
        try:
            name = f" ({signal.Signals(-code).name})"
        except ValueError:
            name = ""
        hint = "; was memory short?" if -code == signal.SIGKILL else ""
        return WorkerLostError(
            "killed", f"its worker process was killed by signal {-code}{name}{hint}"
        )

    def with_output(self, words: str) -> str:
        """A reason, and what was printed last."""
        text = self._tail.decode(errors="replace").strip()
        if not text:
            return words[:ERROR_LIMIT_CHARS]
        clean = "".join(
            c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text
        )
        return f"{words}. It printed last: {clean}"[:ERROR_LIMIT_CHARS]

    def exited(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs.

        It is not reaped here where that can be helped, so that its group can still be ended.
        """
        if self._process.returncode is not None or not hasattr(os, "waitid"):
            return self._process.poll()
        try:
            found = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return self._process.poll()
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def terminate(self) -> None:
        """Ask it, and all that it started, to end; it can commit nothing any more."""
        self._writer.close()
        self._signal(signal.SIGTERM)

    async def gone(self) -> None:
        """End it for good, and release what it took."""
        if self._line is not None:
            self._line.cancel()
        await _within(TERMINATE_SECONDS, lambda: self.exited() is not None)
        self._signal(signal.SIGKILL)
        if not await _within(EXIT_SECONDS, lambda: self._process.poll() is not None):
            log.error("worker_not_gone", pid=self._process.pid)
        self._draining.cancel()
        self._output_transport.close()
        with suppress(OSError, asyncio.CancelledError):
            await self._draining

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:  # reaped, its number may be another's
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    async def _drain(self, output: asyncio.StreamReader) -> None:
        """Log what it prints, up to a limit; a flood is slowed down and thrown away."""
        rest = b""
        while chunk := await output.read(OUTPUT_BYTES_LOGGED):
            self._tail = (self._tail + chunk)[-OUTPUT_TAIL_BYTES:]
            logged = max(0, OUTPUT_BYTES_LOGGED - self._printed)
            self._printed += len(chunk)
            *lines, rest = (rest + chunk[:logged]).split(b"\n")
            if len(rest) > OUTPUT_LINE_CHARS or not logged:
                lines, rest = [*lines, rest], b""
            for line in lines:
                if text := line.decode(errors="replace").rstrip()[:OUTPUT_LINE_CHARS]:
                    log.info("run_output", run_id=self._run_id or None, line=text)
            if not logged:
                await asyncio.sleep(FLOOD_PAUSE_SECONDS)

    def _log(self, line: Any) -> None:
        """Write a log line of the worker's as one of this process's."""
        self._log_lines += 1
        if self._log_lines > LOG_LINES_MOST or not isinstance(line, dict):
            return
        write = {
            "debug": log.debug,
            "info": log.info,
            "warning": log.warning,
        }.get(str(line.get("level")), log.error)
        fields = line.get("fields")
        more = {k: v for k, v in fields.items() if k != "event"} if isinstance(fields, dict) else {}
        write(str(line.get("event")), **{**more, "run_id": self._run_id or None})


def _spawn(channel: int, output: int, warehouse_path: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _START, str(channel), warehouse_path, json.dumps(sys.path)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=(channel,),
        start_new_session=True,  # it is ended with all that it starts; ctrl-c is the service's
    )


async def _within(seconds: float, promise: Callable[[], bool]) -> bool:
    """Wait until something holds, so long at most; whether it does."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + seconds
    while not (held := promise()):
        if loop.time() >= give_up_at:
            break
        await asyncio.sleep(0.01)
    return held


def _holds(ensure_live: Callable[[], None]) -> bool:
    try:
        ensure_live()
    except LeaseLostError:
        return False
    return True


def _result(ended: Mapping[str, Any]) -> RunResult | None:
    if ended.get("lost"):
        return None
    status, count, error = ended.get("status"), ended.get("record_count"), ended.get("error")
    known = next((each for each in get_args(RunStatus) if each == status), None)
    if known is None or not isinstance(count, int | None):
        return RunResult("failed", None, "its worker process reported no known outcome")
    return RunResult(known, count, None if error is None else str(error))
