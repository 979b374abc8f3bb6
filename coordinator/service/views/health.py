"""Whether the service is alive and ready, part by part."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from coordinator.service.views.base import Instant, View


class HealthPart(View):
    """One part of the service."""

    ok: bool = Field(description="Whether it works.")
    detail: str = Field(description="A sentence about it.")
    lag_seconds: float | None = Field(None, description="How far it is behind.")
    age_seconds: float | None = Field(None, description="Since when this process did it last.")
    last_at: Instant | None = Field(None, description="When this process did it last.")
    others: tuple[str, ...] | None = Field(
        None, description="Other registries that count as served over the same store, by hash."
    )
    failing: int | None = Field(None, description="Receivers whose last delivery failed.")
    busy: int | None = Field(None, description="Local runs that execute now.")
    waiting: int | None = Field(None, description="Launches that wait for a local worker.")
    replaced: int | None = Field(None, description="Worker processes replaced since the start.")


class Health(View):
    """Whether the process is alive."""

    status: Literal["alive"] = Field(description="It answers, so it is.")


class Readiness(View):
    """Whether the service is ready, part by part."""

    status: Literal["ready", "not_ready"] = Field(description="All parts together.")
    parts: dict[str, HealthPart] = Field(
        description="`registry`, `store`, `outbox`, `sweep`; `receivers` while one of them accepts "
        "nothing; `workers` where local runs execute here."
    )

    @property
    def ready(self) -> bool:
        """Whether every part is."""
        return self.status == "ready"
