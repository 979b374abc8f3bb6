"""What one correlation id touched."""

from __future__ import annotations

from pydantic import Field

from coordinator.service.views.base import View
from coordinator.service.views.load import LedgerRow
from coordinator.service.views.partition import PartitionRow
from coordinator.service.views.records import QuarantinedView
from coordinator.service.views.run import RunRow


class Trace(View):
    """Everything that one correlation id touched."""

    correlation_id: str = Field(description="The id.")
    events: tuple[LedgerRow, ...] = Field(description="Its events, by receipt.")
    partitions: tuple[PartitionRow, ...] = Field(description="The partitions they went to.")
    runs: tuple[RunRow, ...] = Field(description="The runs that carry it, the first fired first.")
    quarantined: tuple[QuarantinedView, ...] = Field(
        description="Messages that name it and could not be processed, newest first."
    )
    truncated: bool = Field(description="There is, or may be, more than is shown.")
