"""What an operator's act did, or with ``dry_run`` would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from coordinator.core.spec import ProcessorSpec
from coordinator.service.views.base import DRY_RUN, Instant, View
from coordinator.service.views.partition import PartitionRow, partition_row
from coordinator.service.views.verdict import VerdictView, verdict_view

if TYPE_CHECKING:
    from coordinator.service.operate import Act
    from coordinator.service.sweep import Swept


class ActView(View):
    """What an act did, or with `dry_run` would do."""

    act: str = Field(description="The act.")
    dry_run: bool = Field(description=DRY_RUN)
    fired_run_ids: tuple[str, ...] = Field(description="Runs that it fired.")
    run_id: str | None = Field(description="The first of them.")
    partition: PartitionRow | None = Field(description="The partition afterwards, if it is on one.")
    verdict: VerdictView | None = Field(description="The judgement it was decided on.")
    detail: dict[str, Any] = Field(description="The parameters, and what was found.")


class SweepView(View):
    """What a sweep did, or would evaluate."""

    at: Instant = Field(description="Its instant.")
    dry_run: bool = Field(description=DRY_RUN)
    looked_at: int = Field(description="Partitions that were due.")
    changed: int = Field(description="Partitions that changed.")
    fired_run_ids: tuple[str, ...] = Field(description="Runs that it fired.")
    late_seconds: float = Field(description="How long the longest of them had been due.")
    more: bool = Field(description="The limit was reached; what is left comes with the next one.")


def act_view(act: Act, spec: ProcessorSpec | None) -> ActView:
    """What an act did; ``spec`` is of the partition's processor, if it is on one."""
    row = verdict = None
    if act.decision is not None and spec is not None:
        row = partition_row(act.decision.partition, spec, act.decision.verdict)
        if act.dry_run and act.fired_run_ids:
            row = row.model_copy(update={"why": f"Run {act.fired_run_ids[0]} would fire."})
        verdict = verdict_view(act.decision.verdict)
    run_id = act.fired_run_ids[0] if act.fired_run_ids else None
    return ActView.of(act, run_id=run_id, partition=row, verdict=verdict, detail=dict(act.detail))


def sweep_view(swept: Swept) -> SweepView:
    """What a sweep did."""
    return SweepView.of(swept, dry_run=False, fired_run_ids=swept.fired)
