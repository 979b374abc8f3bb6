"""Processors that end badly or slowly, for the runner's tests."""

import asyncio
import os
import threading
import time
from typing import ClassVar

from processors.analytics import TeamOffenseSummaryProcessor
from processors.base import Need, RunContext, RunResult
from processors.warehouse import Warehouse

NOT_A_PROCESSOR = 3
PEAK = {"now": 0, "most": 0}
_COUNTING = threading.Lock()


class Failing(TeamOffenseSummaryProcessor):
    """Raises a very long error."""

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        raise RuntimeError("no such luck " * 500)


class NotText(TeamOffenseSummaryProcessor):
    """Raises an error about a file whose name is no text."""

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        raise FileNotFoundError(os.fsdecode(b"no file night-\xff.json"))


class Interrupts(TeamOffenseSummaryProcessor):
    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        raise KeyboardInterrupt


class Cancels(TeamOffenseSummaryProcessor):
    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        raise asyncio.CancelledError


class Mute(TeamOffenseSummaryProcessor):
    """Ends without saying how."""

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        return None  # type: ignore[return-value]


class Slow(TeamOffenseSummaryProcessor):
    """Takes half a second, and then writes as usual."""

    requires: ClassVar[tuple[Need, ...]] = ()

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        with _COUNTING:
            PEAK["now"] += 1
            PEAK["most"] = max(PEAK["most"], PEAK["now"])
        time.sleep(0.5)
        with _COUNTING:
            PEAK["now"] -= 1
        return super().run(warehouse, context)
