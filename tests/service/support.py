"""A service without loops of its own, a clock that is moved by hand, and a launcher that remembers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from coordinator.app import Application, build
from coordinator.core.model import Run
from coordinator.core.spec import LaunchKind, LaunchTarget, ProcessorSpec
from coordinator.ports import Clock, Store
from coordinator.registry import parse
from coordinator.settings import Settings


class ManualClock:
    """A clock that is moved by hand; nobody sleeps on it."""

    def __init__(self, at: datetime = datetime(2024, 10, 23, 6, tzinfo=UTC)) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps here")


class Launches:
    """A launcher that keeps what it was given."""

    def __init__(self) -> None:
        self.run_ids: list[str] = []

    async def launch(
        self, target: LaunchTarget, spec: ProcessorSpec, run: Run, message: Mapping[str, Any]
    ) -> str:
        self.run_ids.append(run.run_id)
        return f"m-{len(self.run_ids)}"


def wired(store: Store, registry: str, clock: Clock | None = None) -> Application:
    """A process whose loops do not run: what it commits is all that it does."""
    return build(
        Settings(),
        registry=parse(registry),
        store=store,
        clock=clock,
        launchers={LaunchKind.LOCAL: Launches()},
        notifiers=[],
    )


def event(table: str, at: datetime, **said: Any) -> dict[str, Any]:
    """A load of two rows, sent at an instant."""
    return {
        "event_type": "raw_data_loaded",
        "target_table": table,
        "game_date": "2024-10-22",
        "status": "success",
        "timestamp": at.isoformat(),
        "record_count": 2,
        "execution_id": table,
        **said,
    }
