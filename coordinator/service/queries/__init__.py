"""What every GET of the specification (5.2) answers, read from the store and given as views.

Owns the queries and their bounds. What is shown is what is decided from: the stored documents, and
the same ``judge`` at this instant, so no page can disagree with the machine. Nothing here writes,
and nothing here uses the store's writer.
"""

from __future__ import annotations

from collections.abc import Callable

from coordinator.core.model import Partition
from coordinator.core.spec import LaunchTarget
from coordinator.service.engine import Engine
from coordinator.service.queries.dates import DateQueries
from coordinator.service.queries.loads import LoadQueries
from coordinator.service.queries.partitions import PartitionQueries
from coordinator.service.queries.reader import Reader
from coordinator.service.queries.records import RecordQueries
from coordinator.service.queries.runs import RunQueries
from coordinator.service.views.registry import GraphView, RegistryView

__all__ = ["Queries"]


class Queries:
    """All queries, by noun. Each method raises ``Unavailable`` where the store is out of reach.

    ``default_target`` is where launches go whose processor does not say so. ``behind`` says how
    many launches are before a partition's where that waits for a worker of this process.
    """

    def __init__(
        self,
        engine: Engine,
        default_target: LaunchTarget | None = None,
        behind: Callable[[Partition], int | None] = lambda _: None,
    ) -> None:
        self._registry = engine.registry
        reader = Reader(engine, behind)
        self.runs = RunQueries(reader, default_target)
        self.partitions = PartitionQueries(reader, self.runs)
        self.dates = DateQueries(reader)
        self.records = RecordQueries(reader)
        self.loads = LoadQueries(reader, self.records)

    def registry(self) -> RegistryView:
        """The registry in use, with its hash."""
        return RegistryView.model_validate(self._registry.as_dict())

    def graph(self) -> GraphView:
        """Nodes and edges of the dependencies."""
        graph = self._registry.graph()
        return GraphView.model_validate({**graph, "registry_hash": self._registry.registry_hash})
