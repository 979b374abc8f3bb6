"""Writing messages: launches, announcements and notices (specification 6)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from coordinator.core.arrivals import Arrival
from coordinator.core.model import Run, Trigger
from coordinator.core.spec import ProcessorSpec
from coordinator.ports import Notice
from coordinator.wire.incoming import LOADED
from coordinator.wire.values import instant_text


def launch_message(run: Run, spec: ProcessorSpec, requested_at: datetime) -> dict[str, Any]:
    """The launch of a run's current attempt (specification 6)."""
    return {
        "event_type": "run_requested",
        "run_id": run.run_id,
        "processor": run.processor,
        "phase": spec.phase,
        "game_date": run.game_date,
        "generation": run.generation,
        "attempt": run.attempt,
        "trigger": (Trigger.RETRY if run.attempt > 1 else run.trigger).value,
        "bypassed": list(run.bypassed),
        "skip_downstream": run.skip_downstream,
        "inputs": inputs_of(run),
        "changed_games": list(run.changed_games),
        "changed_tables": list(run.changed_tables),
        "warnings": list(run.warnings),
        "correlation_id": run.correlation_id,
        "requested_at": instant_text(requested_at),
        "output": spec.output,
        "entrypoint": spec.entrypoint,
    }


def inputs_of(run: Run) -> list[dict[str, Any]]:
    """A run's inputs as messages and the API list them."""
    return [
        {
            "table": i.table,
            "game_date": i.game_date,
            "state": i.state,
            "record_count": i.record_count,
            "game_ids": list(i.game_ids),
            "event_ids": list(i.event_ids),
            "loaded_at": instant_text(i.loaded_at),
        }
        for i in run.inputs
    ]


def launch_attributes(run: Run) -> dict[str, str]:
    """What a launch message carries as attributes too."""
    return {
        "run_id": run.run_id,
        "processor": run.processor,
        "game_date": run.game_date,
        "generation": str(run.generation),
        "attempt": str(run.attempt),
    }


def announce_message(arrival: Arrival, processor: str) -> dict[str, Any]:
    """A processor's output, announced in the shape of ``raw_data_loaded``."""
    message: dict[str, Any] = {
        "event_type": LOADED,
        "event_id": arrival.event_id,
        "source_table": arrival.table.split(".")[-1],
        "target_table": arrival.table,
        "processor_name": processor,
        "game_date": arrival.game_date,
        "status": arrival.status.value,
        "timestamp": instant_text(arrival.timestamp),
        "record_count": arrival.record_count,
        "game_ids": list(arrival.game_ids),
        "correlation_id": arrival.correlation_id,
    }
    if arrival.quiet:
        message["skip_downstream"] = True
    return message


def notice_message(notice: Notice) -> dict[str, Any]:
    """A notice as webhooks get it (specification 6)."""
    return {
        "severity": notice.severity,
        "kind": notice.kind,
        "processor": notice.processor,
        "game_date": notice.game_date,
        "summary": notice.summary,
        "detail": notice.detail,
        "link": notice.link,
        "id": notice.notice_id,
        "at": instant_text(notice.at),
    }
