"""The machine's clock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

_EVEN: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class SystemClock:
    """Wall-clock time, as every deployment uses it."""

    def now(self) -> datetime:
        """The current instant, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some instant. Where the system can tell, they count while it sleeps too."""
        return time.clock_gettime(_EVEN) if _EVEN is not None else time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds`` of real time."""
        await asyncio.sleep(seconds)
