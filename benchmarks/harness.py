"""What the benchmarks share: served processes, a load generator, rounds in turn, and rows.

A served process is measured from outside: requests over keep-alive connections, and its CPU time as
the system counts it. The load generator is one process with callbacks on uvloop; each sample says
what share of its time it was busy, so that a report shows whether it was the bottleneck.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import uvloop

from benchmarks.profiling import Profile

PUSH = "/pubsub/push"
PAUSE = b""
"""In place of a request: send nothing until ``Sender.resume``."""
FOLDER = Path(__file__).resolve().parent
LONGEST_ROUND_SECONDS = 120
"""A round that takes longer ends the measurement: an answer is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured line."""

    what: str
    value: float
    unit: str
    baseline: str = ""
    """What it is compared with, with its own value and unit."""
    ratio: float | None = None
    ratios: tuple[float, float] | None = None
    """The least and greatest ratio of the rounds."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Further numbers, for whoever reads the JSON."""


@dataclass(frozen=True, slots=True)
class Served:
    """A process that listens."""

    pid: int
    port: int

    def cpu_seconds(self) -> float:
        """CPU time of all its threads so far, in seconds; NaN where the system does not say."""
        stat = Path(f"/proc/{self.pid}/stat")
        if not stat.exists():
            return float("nan")
        after_name = stat.read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round of one subject took."""

    seconds: float
    latencies: tuple[float, ...]
    client_cpu: float
    """CPU seconds of the load generator."""
    server_cpu: float
    """CPU seconds of the served process."""
    waits: tuple[float, ...] = ()
    """Seconds until what followed from a request was there, where a benchmark watches that."""

    @property
    def requests(self) -> int:
        return len(self.latencies)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def resident_mib(pid: int) -> float:
    """Resident memory of a process, in MiB; NaN where the system does not say."""
    status = Path(f"/proc/{pid}/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def server(command: Sequence[str], port: int, log: Path, **environment: str) -> Iterator[int]:
    """A server process from the moment it listens until it has ended; gives its id."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **environment}
        )
        try:
            for _ in range(600):
                if process.poll() is not None:
                    raise SystemExit(f"{command} ended:\n{log.read_text()[-2000:]}")
                with socket.socket() as s:
                    if s.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            else:
                raise SystemExit(f"{command} does not listen:\n{log.read_text()[-2000:]}")
            yield process.pid
        except BaseException:
            say(f"The log of {command[2]} ends:\n{log.read_text()[-2000:]}")
            raise
        finally:
            process.terminate()
            process.wait(timeout=30)


@contextmanager
def coordinator(home: Path, registry: str, **settings: str) -> Iterator[Served]:
    """A coordinator with an empty embedded store in a new folder ``home``."""
    home.mkdir()
    (home / "registry.yaml").write_text(registry)
    port = free_port()
    command = [
        *(sys.executable, "-m", "coordinator", "serve"),
        *("--registry", str(home / "registry.yaml")),
        *("--store", f"sqlite:{home / 'state.db'}", "--port", str(port)),
    ]
    environment = {
        "COORDINATOR_WAREHOUSE": f"duckdb:{home / 'warehouse.duckdb'}",
        "COORDINATOR_LOG_LEVEL": "warning",
        **settings,
    }
    with server(command, port, home / "service.log", **environment) as pid:
        yield Served(pid, port)


@contextmanager
def noop(home: Path) -> Iterator[Served]:
    """The baseline of ``benchmarks/noop.py``, on the server that the coordinator uses."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "uvicorn", "--app-dir", str(FOLDER), "noop:app"),
        *("--port", str(port), "--log-level", "warning", "--no-access-log"),
    ]
    with server(command, port, home / "noop.log") as pid:
        yield Served(pid, port)


def envelope(event: Mapping[str, Any]) -> bytes:
    """The body in which Pub/Sub pushes an event."""
    content = {
        "message": {
            "data": base64.b64encode(json.dumps(event).encode()).decode(),
            "messageId": str(event["execution_id"]),
            "publishTime": "2024-10-22T00:00:00Z",
            "attributes": {},
        },
        "subscription": "projects/p/subscriptions/bench",
    }
    return json.dumps(content).encode()


def push(event: Mapping[str, Any]) -> bytes:
    """The whole request that pushes an event."""
    return request("POST", PUSH, envelope(event))


def event(table: str, game_date: str, number: int, **said: Any) -> dict[str, Any]:
    """The ``number``-th event of a benchmark: a load of one table and date."""
    return {
        "event_type": "raw_data_loaded",
        "source_table": table.partition(".")[2],
        "target_table": table,
        "processor_name": "BenchLoader",
        "execution_id": f"bench-{number}",
        "correlation_id": f"night-{game_date}",
        "game_date": game_date,
        "record_count": 25,
        "status": "success",
        "timestamp": datetime.now(UTC).isoformat(),
        "metadata": {"rows_inserted": 25, "rows_updated": 0},
        **said,
    }


def request(method: str, path: str, data: bytes = b"") -> bytes:
    """An HTTP/1.1 request on a kept connection."""
    return (
        f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n"
        f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    ).encode() + data


class Sender(asyncio.Protocol):
    """Sends requests one after the other over one connection, each once the last is answered.

    Every answer has to be a 204, which has no body, so it ends with its head.
    """

    def __init__(self, requests: Iterator[bytes], latencies: list[float]) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._latencies = latencies
        self._answer = b""
        self._sent_at = 0.0
        self._paused = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._next()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._answer.endswith(b"\r\n\r\n"):
            return
        self._latencies.append(time.perf_counter() - self._sent_at)
        if not self._answer.startswith(b"HTTP/1.1 204"):
            self._end(RuntimeError(f"answered {self._answer[:300]!r}"))
            return
        self._answer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(RuntimeError(f"the connection broke: {exc}"))

    def resume(self) -> None:
        """Go on after a pause; nothing where there is none."""
        if self._paused:
            self._next()

    def _next(self) -> None:
        following = next(self._requests, None)
        if following is None:
            self._end(None)
            return
        self._paused = following is PAUSE
        if not self._paused:
            self._sent_at = time.perf_counter()
            self._transport.write(following)

    def _end(self, error: Exception | None) -> None:
        self._transport.close()
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


async def send(
    served: Served, streams: Sequence[Iterator[bytes]], senders: list[Sender] | None = None
) -> Sample:
    """Send every stream over a connection of its own, all at once; ``senders`` gets those."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    cpu, server_cpu, started = time.process_time(), served.cpu_seconds(), time.perf_counter()
    senders = [] if senders is None else senders
    for stream in streams:
        senders.append(Sender(stream, latencies))
        await loop.create_connection(lambda: senders[-1], "127.0.0.1", served.port)
    async with asyncio.timeout(LONGEST_ROUND_SECONDS):
        await asyncio.gather(*(sender.ended for sender in senders))
    return Sample(
        time.perf_counter() - started,
        tuple(latencies),
        time.process_time() - cpu,
        served.cpu_seconds() - server_cpu,
    )


def run(main: Callable[[], Any]) -> Any:
    """Run a coroutine function on the loop of the load generator."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


@dataclass
class Subject:
    """Something that is measured in turn with others."""

    served: Served
    senders: int
    build: Callable[[int], bytes]
    """Gives the request of a number; numbers are not used twice."""
    samples: list[Sample] = field(default_factory=list)
    _sent: int = 0
    _size: int = 0

    def round(self, count: int) -> Sample:
        """Send ``count`` new requests, built before the clock starts, and keep the sample."""
        requests = iter([self.build(self._sent + n) for n in range(count)])
        self._sent += count
        sample: Sample = run(lambda: send(self.served, [requests] * self.senders))
        return sample


def rounds(subjects: Sequence[Subject], count: int, seconds: float) -> None:
    """Measure each subject for about ``seconds``, in turn, ``count`` times, after a warm-up.

    The order is reversed from round to round, so that neither a drift of the machine's speed nor
    what the one before left behind falls on the same subject always.
    """
    for subject in subjects:
        least = max(10, subject.senders)
        first = subject.round(least)
        second = subject.round(max(least, int(first.rate * seconds / 3)))
        subject._size = max(least, int(second.rate * seconds))
    for number in range(count):
        for subject in subjects if number % 2 == 0 else reversed(subjects):
            subject.samples.append(subject.round(subject._size))


def compared(what: str, subject: Subject, base: Subject, unit: str = "events/s") -> Row:
    """A rate beside the no-op's, as the median of the ratios round by round."""
    pairs = list(zip(subject.samples, base.samples, strict=True))
    ratios = [a.rate / b.rate for a, b in pairs]
    latencies = [seconds for sample in subject.samples for seconds in sample.latencies]
    rate = statistics.median(sample.rate for sample in subject.samples)
    base_rate = statistics.median(sample.rate for sample in base.samples)
    return Row(
        what=what,
        value=round(rate, 1),
        unit=unit,
        baseline=f"no-op {base_rate:,.0f}/s",
        ratio=round(statistics.median(ratios), 3),
        ratios=(round(min(ratios), 3), round(max(ratios), 3)),
        detail={
            "p50_ms": round(percentile(latencies, 0.50) * 1000, 2),
            "p99_ms": round(percentile(latencies, 0.99) * 1000, 2),
            "server_cpu_ms": round(cpu_ms(subject.samples), 3),
            "noop_cpu_ms": round(cpu_ms(base.samples), 3),
            "client_busy": round(busy(subject.samples), 3),
            "client_busy_noop": round(busy(base.samples), 3),
            "client_cpu_ms": round(
                sum(s.client_cpu for s in base.samples)
                / sum(s.requests for s in base.samples)
                * 1000,
                4,
            ),
        },
    )


def cpu_ms(samples: Sequence[Sample]) -> float:
    """CPU time of the served process for one request, in ms."""
    return sum(s.server_cpu for s in samples) / sum(s.requests for s in samples) * 1000


def busy(samples: Sequence[Sample]) -> float:
    """The share of its time in which the load generator computed."""
    return sum(s.client_cpu for s in samples) / sum(s.seconds for s in samples)


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """The options that every script has."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a rough measurement in less time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    return parser


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def report(
    name: str,
    rows: Sequence[Row],
    file: Path | None,
    *,
    skipped: str = "",
    profiles: Mapping[str, Profile] | None = None,
) -> None:
    """Print the rows, and write them where a file is given."""
    for row in rows:
        ratio = f"ratio {row.ratio:g}" if row.ratio is not None else ""
        if row.ratios is not None:
            ratio += f" ({row.ratios[0]:g} to {row.ratios[1]:g})"
        parts = [f"{row.value:,g} {row.unit}", ratio, row.baseline]
        say(f"{row.what}: {'; '.join(part for part in parts if part)}")
    if file is not None:
        content: dict[str, Any] = {"name": name, "rows": [asdict(row) for row in rows]}
        if skipped:
            content["skipped"] = skipped
        if profiles:
            content["profiles"] = {title: asdict(profile) for title, profile in profiles.items()}
        file.write_text(json.dumps(content, indent=2) + "\n")
