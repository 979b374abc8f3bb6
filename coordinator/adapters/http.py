"""The HTTP launcher: a launch is a POST whose 2xx means delivered (specification 6)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from coordinator.core.model import Run
from coordinator.core.spec import LaunchTarget, ProcessorSpec
from coordinator.errors import Unavailable
from coordinator.outgoing import make_client, post
from coordinator.wire import launch_attributes

TIMEOUT_SECONDS = 10.0


class HttpLauncher:
    """Posts launches. One try each, bounded as a whole: the outbox tries again."""

    def __init__(self, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._seconds = timeout_seconds
        self._client = make_client()

    async def launch(
        self, target: LaunchTarget, spec: ProcessorSpec, run: Run, message: Mapping[str, Any]
    ) -> str:
        """POST the launch object; the answer's status (and id, where it has one) is the proof.

        Raises ``Unavailable`` on any answer but a 2xx, and where there is none in time.
        """
        headers = {
            f"x-{name.replace('_', '-')}": value for name, value in launch_attributes(run).items()
        }
        body = json.dumps(message).encode()
        answer = await post(
            self._client,
            target.address,
            body,
            {"content-type": "application/json", **headers},
            seconds=self._seconds,
            name=target.address,
        )
        if not answer.is_success:
            raise Unavailable(f"{target.address} answered {answer.status}: {answer.detail}")
        return str(answer.headers.get("x-message-id", f"http:{answer.status}"))[:200]

    async def close(self) -> None:
        await self._client.aclose()
