"""The service over Firestore stores, wired by hand: no loops of its own, launches kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from coordinator.app import Application, build
from coordinator.core.model import Run
from coordinator.core.spec import LaunchKind, LaunchTarget, ProcessorSpec
from coordinator.registry import Registry, parse
from coordinator.settings import Settings
from tests.contract.transacting import TransactingFirestore

DAY = "2025-11-15"


class Launches:
    """A launcher that delivers at once and remembers."""

    def __init__(self) -> None:
        self.runs: list[str] = []

    async def launch(
        self, target: LaunchTarget, spec: ProcessorSpec, run: Run, message: Mapping[str, Any]
    ) -> str:
        self.runs.append(run.run_id)
        return f"m{len(self.runs)}"


def registry(tables: int, processors: int = 1, **policy: str) -> Registry:
    """``processors`` that each require every one of ``tables`` tables."""
    names = [f"raw.t{n}" for n in range(tables)]
    outputs = [f"out.p{n}" for n in range(processors)]
    lines = ["version: 1", "timezone: America/New_York", "tables:"]
    lines += [f"  {name}: {{grain: date}}" for name in (*names, *outputs)]
    lines.append("processors:")
    said = {"grace": "0s", "debounce": "0s", **policy}
    rules = ", ".join(f"{key}: {value}" for key, value in said.items())
    requires = ", ".join(f"{{table: {name}}}" for name in names)
    for n, output in enumerate(outputs):
        lines.append(f"  P{n}: {{phase: 3, output: {output}, {rules}, requires: [{requires}]}}")
    return parse("\n".join(lines) + "\n")


def wired(
    store: TransactingFirestore, registry: Registry, launches: Launches | None = None
) -> Application:
    return build(
        Settings(store=store.name),
        registry=registry,
        store=store,
        launchers={LaunchKind.LOCAL: launches or Launches()},
        notifiers=[],
    )


def event(table: str, number: int, **changes: Any) -> dict[str, Any]:
    return {
        "event_type": "raw_data_loaded",
        "target_table": table,
        "game_date": DAY,
        "execution_id": f"x{number}",
        "record_count": 10,
        "status": "success",
        "timestamp": datetime.now(UTC).isoformat(),
        **changes,
    }
