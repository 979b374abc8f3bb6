"""Launchers: over real HTTP, and in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from coordinator.adapters.http import HttpLauncher
from coordinator.adapters.local import LocalLauncher
from coordinator.core.model import Attempt, Run, RunStatus, Trigger
from coordinator.core.spec import LaunchKind, LaunchTarget, ProcessorSpec
from coordinator.errors import Unavailable
from coordinator.wire import launch_message
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


async def test_the_local_pool_is_bounded_and_takes_one_attempt_once() -> None:
    running = most = 0
    seen: list[str] = []
    free = asyncio.Event()

    async def handle(message: Mapping[str, Any]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        seen.append(message["run_id"])
        await free.wait()
        running -= 1

    launcher = LocalLauncher(handle, workers=2, most=3)
    for number in (1, 2, 3):
        launcher.submit(f"r{number}", 1, {"run_id": f"r{number}"})
    launcher.submit("r1", 1, {"run_id": "r1"})
    with pytest.raises(Unavailable):
        launcher.submit("r4", 1, {"run_id": "r4"})
    await asyncio.sleep(0.01)
    assert most == 2
    free.set()
    await idle(launcher)
    assert sorted(seen) == ["r1", "r2", "r3"]
    assert await launcher.launch(LOCAL, SPEC, RUN, MESSAGE) == "local:P:2024-10-22:1:1"
    await launcher.stop()


async def test_a_handler_that_raises_breaks_only_its_own_run() -> None:
    done: list[str] = []

    async def handle(message: Mapping[str, Any]) -> None:
        if message["run_id"] == "bad":
            raise RuntimeError("broken")
        done.append(message["run_id"])

    launcher = LocalLauncher(handle)
    launcher.submit("bad", 1, {"run_id": "bad"})
    launcher.submit("good", 1, {"run_id": "good"})
    await idle(launcher)
    assert done == ["good"]
