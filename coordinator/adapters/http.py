"""The HTTP launcher: a launch is a POST whose 2xx means delivered (contract section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from coordinator.core.model import Run
from coordinator.core.spec import LaunchTarget, ProcessorSpec
from coordinator.errors import Unavailable
from coordinator.wire import launch_attributes

TIMEOUT_SECONDS = 10.0


class HttpLauncher:
    """Posts launches. One try each: the outbox tries again."""

    def __init__(self, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._client = httpx.AsyncClient(timeout=timeout_seconds, follow_redirects=False)

    async def launch(
        self, target: LaunchTarget, spec: ProcessorSpec, run: Run, message: Mapping[str, Any]
    ) -> str:
        """POST the launch object; the answer's status (and id, where it has one) is the proof.

        Raises ``Unavailable`` on any answer but a 2xx, and where there is none.
        """
        headers = {
            f"x-{name.replace('_', '-')}": value for name, value in launch_attributes(run).items()
        }
        try:
            answer = await self._client.post(target.address, json=message, headers=headers)
        except httpx.HTTPError as error:
            raise Unavailable(f"{target.address}: {str(error) or type(error).__name__}") from error
        if not answer.is_success:
            raise Unavailable(
                f"{target.address} answered {answer.status_code}: {answer.text[:200]}"
            )
        return str(answer.headers.get("x-message-id", f"http:{answer.status_code}"))

    async def close(self) -> None:
        await self._client.aclose()
