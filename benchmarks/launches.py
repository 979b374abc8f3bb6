"""Six events of a new date, one run: how many events a second, and how soon the run is launched.

A processor needs six tables; its runs are launched by HTTP, to an endpoint of this script. Each
client takes a date that no other has, and pushes its six events one after the other. The events of
a date fire exactly one launch, or the script fails. A no-op gets the same requests, in turn.

    python benchmarks/launches.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import cast

from benchmarks.harness import (
    PAUSE,
    Row,
    Sample,
    Sender,
    Served,
    Subject,
    arguments,
    compared,
    coordinator,
    event,
    free_port,
    noop,
    percentile,
    push,
    report,
    rounds,
    run,
    say,
    send,
)

TABLES = 6
CLIENTS = 16
REGISTRY = """
version: 1
timezone: America/New_York
tables: {{{tables}}}
processors:
  Bench: {{phase: 3, output: bench.out, launch: {{http: "{url}"}}, requires: [{needs}]}}
"""


class Endpoint(asyncio.Protocol):
    """Receives launches: notes when each date's came, and answers 200."""

    def __init__(self, received: dict[str, list[float]], launched: Callable[[], None]) -> None:
        self._received = received
        self._launched = launched
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        at = time.perf_counter()
        self._read += data
        head, ended, rest = self._read.partition(b"\r\n\r\n")
        if not ended:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(rest) < length:
            return
        self._read = rest[length:]
        game_date = json.loads(rest[:length])["game_date"]
        self._received.setdefault(game_date, []).append(at)
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        self._launched()


@asynccontextmanager
async def endpoint(
    port: int, launched: Callable[[], None]
) -> AsyncIterator[dict[str, list[float]]]:
    """The endpoint while it listens: when the launches of each date came."""
    received: dict[str, list[float]] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Endpoint(received, launched), "127.0.0.1", port)
    try:
        yield received
    finally:
        server.close()


def registry(port: int) -> str:
    names = [f"bench.t{n}" for n in range(TABLES)]
    return REGISTRY.format(
        tables=", ".join(f"{name}: {{}}" for name in names),
        needs=", ".join(f"{{table: {name}}}" for name in names),
        url=f"http://127.0.0.1:{port}/launch",
    )


def day(number: int) -> str:
    return (date(1990, 1, 1) + timedelta(days=number)).isoformat()


def requests_of(number: int) -> list[bytes]:
    """The six pushes of the ``number``-th date."""
    return [push(event(f"bench.t{n}", day(number), number * TABLES + n)) for n in range(TABLES)]


@dataclass
class Dates(Subject):
    """Clients that each go from one new date to the next."""

    port: int = 0
    """Where the launches go; 0 where there are none."""
    waits: bool = False
    """Whether the client, which is then the only one, goes on once its date was launched."""

    def round(self, count: int) -> Sample:
        number_of_dates = max(1, round(count / TABLES / self.senders)) * self.senders
        first, self._sent = self._sent, self._sent + number_of_dates
        prepared = {n: requests_of(n) for n in range(first, first + number_of_dates)}
        sample: Sample = run(partial(self._round, prepared))
        return sample

    async def _round(self, prepared: dict[int, list[bytes]]) -> Sample:
        senders: list[Sender] = []
        sent: dict[int, float] = {}
        numbers = iter(prepared)

        def stream(received: dict[str, list[float]]) -> Iterator[bytes]:
            for number in numbers:
                *others, last = prepared[number]
                yield from others
                sent[number] = time.perf_counter()
                yield last
                if self.waits and day(number) not in received:
                    yield PAUSE

        def launched() -> None:
            if self.waits:
                senders[0].resume()

        if not self.port:
            return await send(self.served, [stream({}) for _ in range(self.senders)])
        async with endpoint(self.port, launched) as received:
            streams = [stream(received) for _ in range(self.senders)]
            sample = await send(self.served, streams, senders)
            for _ in range(6000):
                if len(received) == len(prepared):
                    break
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)  # a second launch of a date would be received by now
        for number in prepared:
            count = len(received.get(day(number), ()))
            if count != 1:
                raise SystemExit(f"{day(number)} was launched {count} times")
        return replace(sample, waits=tuple(received[day(n)][0] - sent[n] for n in prepared))


def dates(served: Served, senders: int, port: int = 0, waits: bool = False) -> Dates:
    return Dates(served, senders, lambda number: requests_of(number)[0], port=port, waits=waits)


def launch_row(what: str, subject: Dates, base: Dates) -> Row:
    """Last event → launch, beside the latency of a no-op request under the same load."""
    waits = [seconds for sample in subject.samples for seconds in sample.waits]
    p50, p99 = (percentile(waits, share) * 1000 for share in (0.50, 0.99))
    idle = [seconds for sample in base.samples for seconds in sample.latencies]
    plain = statistics.median(idle) * 1000
    return Row(
        what=what,
        value=round(p50, 2),
        unit="ms p50",
        baseline=f"no-op request {plain:.2f} ms",
        ratio=round(p50 / plain, 2),
        detail={
            "p50_ms": round(p50, 2),
            "p99_ms": round(p99, 2),
            "noop_p50_ms": round(plain, 3),
            "launches": len(waits),
        },
    )


def measured(home: Path, options: argparse.Namespace, base: Served, clients: int) -> list[Row]:
    port = free_port()
    with coordinator(home, registry(port)) as served:
        subject = dates(served, clients, port, waits=clients == 1)
        other = dates(base, clients)
        rounds([subject, other], options.rounds, options.seconds)
    if clients == 1:
        return [launch_row("last event to launch, one client", subject, other)]
    return [
        compared(f"six events of a new date, {clients} clients", subject, other),
        launch_row(f"last event to launch, {clients} clients", subject, other),
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, help="of each subject (default: 15)")
    parser.add_argument("--seconds", type=float, help="a round of a subject (default: 1)")
    options = parser.parse_args()
    options.rounds = options.rounds or (5 if options.quick else 15)
    options.seconds = options.seconds or (0.4 if options.quick else 1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, noop(Path(folder)) as base:
        for clients in (CLIENTS, 1):
            say(f"launches: {clients} clients …" if clients > 1 else "launches: one client …")
            rows += measured(Path(folder) / str(clients), options, base, clients)
    report("launches", rows, options.json)


if __name__ == "__main__":
    main()
