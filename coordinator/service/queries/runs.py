"""Queries of runs."""

from __future__ import annotations

from coordinator.core.choices import RunStatus
from coordinator.core.model import Partition, Run
from coordinator.core.spec import LaunchTarget, ProcessorSpec
from coordinator.documents import partition_key, run_key
from coordinator.errors import BadInput, Mistake, NotFound
from coordinator.ports import Kind, Op, Query, Where
from coordinator.service.queries.reader import Reader
from coordinator.service.views.run import RunList, RunView, run_row, run_view
from coordinator.wire import shown

RUNS_PER_PARTITION = 50


class RunQueries:
    """Queries of runs. Every method raises ``Unavailable``.

    ``default_target`` is where launches go whose processor does not say so.
    """

    def __init__(self, reader: Reader, default_target: LaunchTarget | None) -> None:
        self._reader = reader
        self._default_target = default_target

    async def runs(
        self,
        *,
        processor: str | None = None,
        game_date: str | None = None,
        status: str | None = None,
        limit: int = 100,
        page_token: str | None = None,
    ) -> RunList:
        """Runs, the last fired first. Raises ``BadInput`` for a bad filter, ``NotFound``."""
        where = self._reader.of_partition(None, game_date)
        if status is not None:
            words = ", ".join(RunStatus)
            if status not in list(RunStatus):
                raise BadInput(
                    f"status: {shown(status)} is no status of a run; give one of {words}",
                    [Mistake("status", f"must be one of {words}", shown(status))],
                )
            where.append(Where("status", Op.EQ, status))
        where += self._reader.of_partition(processor, None)
        page = await self._reader.store.find(
            Query(
                Kind.RUN,
                tuple(where),
                order="fired_at",
                descending=True,
                limit=limit,
                after=page_token,
            )
        )
        return RunList(
            items=tuple(run_row(r) for _, r in page.items), next_page_token=page.next_page_token
        )

    async def run(self, run_id: str) -> RunView:
        """One run: attempts, timings, transitions, inputs, explanation. Raises ``NotFound``."""
        run: Run | None = await self._reader.one(run_key(run_id))
        if run is None:
            raise NotFound(f"there is no run {run_id[:200]}; ids read PROCESSOR:YYYY-MM-DD:N")
        spec = self._reader.engine.registry.processors.get(run.processor)
        partition: Partition | None = None
        if run.status is RunStatus.PENDING:
            partition = await self._reader.one(partition_key(run.processor, run.game_date))
        return run_view(run, self._target(spec) if spec else None, partition)

    async def of_partition(self, spec: ProcessorSpec, partition: Partition) -> list[RunView]:
        """The runs of a partition, the last fired first."""
        page = await self._reader.store.find(
            Query(
                Kind.RUN,
                (
                    Where("processor", Op.EQ, spec.name),
                    Where("game_date", Op.EQ, partition.game_date),
                ),
                order="fired_at",
                descending=True,
                limit=RUNS_PER_PARTITION,
            )
        )
        return [run_view(r, self._target(spec), partition) for _, r in page.items]

    def _target(self, spec: ProcessorSpec) -> LaunchTarget | None:
        """Where a processor's launches go."""
        return spec.launch or self._default_target
