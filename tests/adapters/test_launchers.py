"""Launchers: over real HTTP, and in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from coordinator.adapters import local
from coordinator.adapters.http import HttpLauncher
from coordinator.adapters.local import LocalLauncher
from coordinator.core.choices import RunStatus
from coordinator.core.model import Attempt, Run, Trigger
from coordinator.core.spec import LaunchKind, LaunchTarget, ProcessorSpec
from coordinator.errors import Unavailable
from coordinator.wire import launch_message
from tests.adapters.misbehaving import misbehaving
from tests.adapters.receiver import receiving

NOW = datetime(2024, 10, 23, 10, 0, tzinfo=UTC)
SPEC = ProcessorSpec(name="P", phase=3, output="out.p", requirements=())
RUN = Run(
    run_id="P:2024-10-22:1",
    processor="P",
    game_date="2024-10-22",
    generation=1,
    trigger=Trigger.DEPENDENCIES,
    status=RunStatus.PENDING,
    registry_hash="h",
    fired_at=NOW,
    attempts=(Attempt(number=1, launch_at=NOW),),
)
MESSAGE = launch_message(RUN, SPEC, NOW)
LOCAL = LaunchTarget(kind=LaunchKind.LOCAL)


async def idle(launcher: LocalLauncher) -> None:
    for _ in range(5000):
        if launcher.idle:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("still busy after five seconds")


async def test_a_2xx_is_proof_and_the_body_is_the_launch_object() -> None:
    with receiving() as receiver:
        launcher = HttpLauncher()
        target = LaunchTarget(kind=LaunchKind.HTTP, address=receiver.url)
        assert await launcher.launch(target, SPEC, RUN, MESSAGE)
        await launcher.close()
    headers, _ = receiver.received[0]
    assert receiver.bodies()[0]["run_id"] == "P:2024-10-22:1"
    assert receiver.bodies()[0]["event_type"] == "run_requested"
    assert headers["x-generation"] == "1"


@pytest.mark.parametrize("status", [302, 400, 404, 500, 503])
async def test_anything_but_a_2xx_is_not_delivered(status: int) -> None:
    with receiving() as receiver:
        receiver.answers = [status]
        launcher = HttpLauncher()
        target = LaunchTarget(kind=LaunchKind.HTTP, address=receiver.url)
        with pytest.raises(Unavailable, match=str(status)):
            await launcher.launch(target, SPEC, RUN, MESSAGE)
        await launcher.close()
    assert len(receiver.received) == 1


async def test_nobody_listening_is_not_delivered() -> None:
    with receiving() as receiver:
        address = receiver.url
    launcher = HttpLauncher(timeout_seconds=1)
    with pytest.raises(Unavailable):
        await launcher.launch(
            LaunchTarget(kind=LaunchKind.HTTP, address=address), SPEC, RUN, MESSAGE
        )
    await launcher.close()


def run(number: int, attempt: int = 1) -> Run:
    attempts = tuple(Attempt(number=n, launch_at=NOW) for n in range(1, attempt + 1))
    run_id = f"P:2024-10-22:{number}"
    return replace(RUN, run_id=run_id, generation=number, attempt=attempt, attempts=attempts)


class Pool:
    """A local launcher whose runs last until they are let go."""

    def __init__(self, workers: int) -> None:
        self.free = asyncio.Event()
        self.running: list[str] = []
        self.seen: list[str] = []
        self.launcher = LocalLauncher(self.handle, workers=workers)

    async def handle(self, message: Mapping[str, Any]) -> None:
        self.running.append(message["run_id"])
        self.seen.append(message["run_id"])
        try:
            await self.free.wait()
        finally:
            self.running.remove(message["run_id"])

    async def launch(self, number: int, attempt: int = 1) -> str:
        one = run(number, attempt)
        return await self.launcher.launch(LOCAL, SPEC, one, launch_message(one, SPEC, NOW))


async def test_a_launch_is_delivered_only_to_a_worker_that_is_free() -> None:
    pool, rooms = Pool(2), []
    pool.launcher.call_on_room(lambda: rooms.append(pool.launcher.room))
    assert pool.launcher.room == 2
    assert await pool.launch(1) == "local:P:2024-10-22:1:1"
    await pool.launch(2)
    assert await pool.launch(2) == "local:P:2024-10-22:2:1", "the same attempt is there already"
    assert (pool.launcher.room, pool.launcher.busy) == (0, 2)
    with pytest.raises(Unavailable):
        await pool.launch(3)
    await asyncio.sleep(0.01)
    pool.free.set()
    await idle(pool.launcher)
    assert sorted(pool.seen) == ["P:2024-10-22:1", "P:2024-10-22:2"]
    assert rooms == [1, 2]
    await pool.launcher.stop()
    assert pool.launcher.room == 0


async def test_what_an_earlier_process_had_taken_comes_first() -> None:
    pool = Pool(1)
    for number in (1, 2):
        pool.launcher.take_up(f"P:2024-10-22:{number}", 1, {"run_id": f"P:2024-10-22:{number}"})
    assert (pool.launcher.room, pool.launcher.waiting) == (0, 1)
    pool.free.set()
    await idle(pool.launcher)
    assert pool.seen == ["P:2024-10-22:1", "P:2024-10-22:2"]


async def test_a_run_whose_attempt_is_over_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "END_SECONDS", 0.01)
    pool = Pool(2)
    await pool.launch(1)
    await pool.launch(2, attempt=2)
    await asyncio.sleep(0.01)
    pool.launcher.end("P:2024-10-22:1", None)
    pool.launcher.end("P:2024-10-22:2", 2)
    await asyncio.sleep(0.1)
    assert pool.running == ["P:2024-10-22:2"]
    await pool.launcher.stop()


async def test_a_stop_waits_so_long_and_no_longer() -> None:
    pool = Pool(2)
    await pool.launch(1)
    await asyncio.sleep(0.01)
    asyncio.get_running_loop().call_later(0.05, pool.free.set)
    began = time.monotonic()
    await pool.launcher.stop(30)
    assert time.monotonic() - began < 10
    pool = Pool(2)
    await pool.launch(1)
    await pool.launcher.stop(0.05)
    assert pool.launcher.idle


async def test_a_handler_that_raises_breaks_only_its_own_run() -> None:
    done: list[str] = []

    async def handle(message: Mapping[str, Any]) -> None:
        if message["run_id"] == "bad":
            raise RuntimeError("broken")
        done.append(message["run_id"])

    launcher = LocalLauncher(handle)
    launcher.take_up("bad", 1, {"run_id": "bad"})
    launcher.take_up("good", 1, {"run_id": "good"})
    await idle(launcher)
    assert done == ["good"]


@pytest.mark.parametrize("manner", ["endless_body", "endless_chunks", "huge_length"])
async def test_a_2xx_is_proof_whatever_its_body_does(manner: str) -> None:
    with misbehaving(manner) as url:
        launcher = HttpLauncher(timeout_seconds=5)
        began = time.monotonic()
        target = LaunchTarget(kind=LaunchKind.HTTP, address=url)
        assert await launcher.launch(target, SPEC, RUN, MESSAGE) == "http:200"
        assert time.monotonic() - began < 4
        await launcher.close()


@pytest.mark.parametrize("manner", ["silent", "dripping_headers", "endless_headers", "rubbish"])
async def test_a_call_without_a_status_is_bounded_as_a_whole(manner: str) -> None:
    with misbehaving(manner) as url:
        launcher = HttpLauncher(timeout_seconds=1)
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await launcher.launch(
                LaunchTarget(kind=LaunchKind.HTTP, address=url), SPEC, RUN, MESSAGE
            )
        assert time.monotonic() - began < 4
        await launcher.close()
