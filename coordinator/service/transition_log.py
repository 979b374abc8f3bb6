"""The log of decisions: one line for each change of a partition's status.

Owns what such a line carries: where the partition was and is, the run and its trigger, why in a few
words, and the correlation id to search by. Refuses to decide, and to keep anything: the history of
a partition is in its document.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from coordinator.core.explain import why
from coordinator.service.engine import Committed, Engine

log = structlog.get_logger(__name__)

WHY_MAX = 200
"""Characters of the sentence; the whole is at ``GET /v1/status/{game_date}/{processor}``."""


def log_transitions(engine: Engine) -> None:
    """Log every committed change of status from now on, at the level ``info``."""

    def on_commit(committed: Sequence[Committed]) -> None:
        for each in committed:
            before, after = each.before, each.decision.partition
            if before is None or before.status is not after.status:
                _log_transition(engine, each)

    engine.listen(on_commit)


def _log_transition(engine: Engine, committed: Committed) -> None:
    before, decision = committed.before, committed.decision
    partition = decision.partition
    run = next((r for r in decision.runs if r.run_id == partition.run_id), partition.live)
    sentence = why(partition, engine.registry.processors[partition.processor], decision.verdict)
    log.info(
        "partition",
        processor=partition.processor,
        game_date=partition.game_date,
        **{"from": None if before is None else before.status.value},
        to=partition.status.value,
        run_id=partition.run_id,
        trigger=None if run is None else run.trigger.value,
        why=sentence if len(sentence) <= WHY_MAX else f"{sentence[: WHY_MAX - 1]}…",
        correlation_id=None if run is None else run.correlation_id,
    )
