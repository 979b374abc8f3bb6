"""What reading one push message costs, step by step, without a server or a store.

A fast path beside the models of ``coordinator.wire`` would state their rules a second time. It has
to save more than 20 µs an event here to be worth that.

    python benchmarks/messages.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness import envelope, event
from coordinator.registry import load
from coordinator.wire import read_envelope, read_event, read_json

CALLS = 2000


def microseconds(call: Callable[[], Any], rounds: int, calls: int = CALLS) -> float:
    """CPU time of one call in the best of many rounds, in µs."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(calls):
            call()
        best = min(best, (time.process_time() - start) / calls)
    return best * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    load_event = event("bench.loads", "2000-01-01", 7, game_ids=["0022400007"])
    pushed, now = envelope(load_event), datetime.now(UTC)
    message = read_envelope(pushed)
    said = read_json(message.data)
    steps: dict[str, Callable[[], Any]] = {
        "the envelope": lambda: read_envelope(pushed),
        "the event's JSON": lambda: read_json(message.data),
        "the event": lambda: read_event(said, now, message.message_id),
    }
    total = 0.0
    for name, call in steps.items():
        took = microseconds(call, rounds)
        total += took
        print(f"{name:<20} {took:6.1f} µs")
    print(f"{'a whole message':<20} {total:6.1f} µs")
    file = Path(__file__).parents[1] / "registry.yaml"
    print(f"{'the registry':<20} {microseconds(lambda: load(file), rounds, 1) / 1000:6.1f} ms")


if __name__ == "__main__":
    main()
