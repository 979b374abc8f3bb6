"""What the judge is shown of a running service: stored documents in the shapes of the public API.

Owns the translation, and the order: what a step wants written is shown once it is committed. The
judge itself knows no document of the service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from coordinator.core.choices import ALL
from coordinator.documents import control_key
from coordinator.judge import Judge
from coordinator.judge.observations import (
    Acted,
    InQuarantine,
    Noticed,
    Observation,
    PartitionShown,
    Recorded,
    RunShown,
)
from coordinator.ports import Document, Key, Kind, Notice
from coordinator.service.views.base import View
from coordinator.service.views.load import ledger_row
from coordinator.service.views.partition import under_pauses
from coordinator.service.views.records import AuditRow
from coordinator.service.views.run import run_view


def public(key: Key, document: Document, docs: Mapping[Key, Document]) -> Iterable[Observation]:
    """A document as the API shows it, beside every other one."""
    match key.kind:
        case Kind.EVENT:
            yield Recorded.of(_in_json(ledger_row(document)))
        case Kind.QUARANTINE:
            yield InQuarantine(document.quarantine_id, document.reason)
        case Kind.AUDIT:
            yield Acted.of(_in_json(AuditRow.of(document)))
        case Kind.RUN:
            yield RunShown.of(_in_json(run_view(document, None, None)))
        case Kind.PARTITION:
            controls = [docs.get(control_key(name)) for name in (ALL, document.processor)]
            shown = under_pauses(document, [c.pause for c in controls if c and c.pause])
            yield PartitionShown(
                document.processor,
                document.game_date,
                document.status.value,
                tuple(f.value for f in shown.flags),
                document.generation,
                document.registry_hash,
                document.execution.refires,
            )
        case _:
            pass


def _in_json(view: View) -> Mapping[str, Any]:
    """A view as the API answers it."""
    return view.model_dump(mode="json", by_alias=True)


def noticed(notice: Notice) -> Noticed:
    """A notice as a webhook gets it."""
    assert notice.at is not None
    return Noticed(
        notice.notice_id,
        notice.kind,
        notice.severity,
        notice.processor,
        notice.game_date,
        notice.summary,
        notice.detail,
        notice.at,
    )


class Witness:
    """Shows a judge the commits of one process after the other."""

    def __init__(self) -> None:
        self.judge = Judge()
        self._docs: dict[Key, Document] = {}
        self._pending: tuple[int, str, Mapping[Key, Document], datetime] | None = None

    def wants(
        self, number: int, registry: str, puts: Mapping[Key, Document], now: datetime
    ) -> None:
        """A step wants this written; a retried one says so again under its number."""
        if self._pending is not None and self._pending[0] == number:
            self._pending = None
        self._flush()
        self._pending = (number, registry, puts, now)

    def forget(self, number: int) -> None:
        """That step came to nothing."""
        if self._pending is not None and self._pending[0] == number:
            self._pending = None

    def saw(self, now: datetime, *seen: Observation) -> None:
        """Show what somebody outside saw, after what was committed before."""
        self._flush()
        self.judge.see(now, *seen)

    def rests(self, now: datetime) -> None:
        """Everything that was due has been done."""
        self._flush()
        self.judge.at_rest(now)

    def _flush(self) -> None:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        _, registry, puts, now = pending
        changed = {k: d for k, d in puts.items() if self._docs.get(k) is not d}
        self._docs.update(changed)
        shown = (o for k, d in changed.items() for o in public(k, d, self._docs))
        self.judge.see(now, *shown, registry=registry)
