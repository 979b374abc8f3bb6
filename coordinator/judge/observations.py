"""What the judge is shown: frozen values in the shapes of the public API.

Each kind is one thing that is visible outside: a message as it was published, the ledger, the
audit, runs and partitions as the API shows them, launches, notices, and the answers that runners
got. ``of`` reads the JSON object of the API where there is one (specification 5).

What the coordinator derived (outcomes, statuses, flags, contents of runs) is here too, and is never
trusted: the checks compare it with the model.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


def moment(text: str | datetime) -> datetime:
    """An instant of the API as a value."""
    return text if isinstance(text, datetime) else datetime.fromisoformat(text).astimezone(UTC)


def _maybe(text: str | datetime | None) -> datetime | None:
    return None if text is None else moment(text)


@dataclass(frozen=True, slots=True)
class Served:
    """A registry that an instance serves from now on (``GET /v1/registry``)."""

    hash: str
    text: str
    instance: str = ""
    ready: bool = True
    """It accepts requests; before that the rollout of its registry may still fail."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """An instance has stopped."""

    instance: str


@dataclass(frozen=True, slots=True)
class Sent:
    """An event as its sender wrote it. Seen when it is published, before it is recorded."""

    event: Mapping[str, Any]
    message_id: str | None = None

    @classmethod
    def of_push(cls, body: bytes) -> Sent | None:
        """The event inside a push envelope; None if it cannot be read."""
        try:
            message = json.loads(body)["message"]
            event = json.loads(base64.b64decode(message["data"]))
        except (ValueError, KeyError, TypeError):
            return None
        return cls(event, message.get("messageId")) if isinstance(event, dict) else None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A line of the ledger (``GET /v1/tables/{table}/dates/{date}``), in the order of commits."""

    table: str
    game_date: str
    event_id: str
    outcome: str
    status: str
    timestamp: datetime
    received_at: datetime
    record_count: int | None
    game_ids: tuple[str, ...]
    content_hash: str | None
    quiet: bool
    correlation_id: str | None
    execution_id: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Recorded:
        return cls(
            table=row["table"],
            game_date=row["game_date"],
            event_id=row["event_id"],
            outcome=row["outcome"],
            status=row["status"],
            timestamp=moment(row["timestamp"]),
            received_at=moment(row["received_at"]),
            record_count=row["record_count"],
            game_ids=tuple(row["game_ids"]),
            content_hash=row["content_hash"],
            quiet=row["quiet"],
            correlation_id=row["correlation_id"],
            execution_id=row["execution_id"],
        )


@dataclass(frozen=True, slots=True)
class InQuarantine:
    """A message in quarantine (``GET /v1/quarantine``), whenever its entry has changed."""

    quarantine_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Acted:
    """A person's act, as in the audit log (``GET /v1/audit``)."""

    act: str
    at: datetime
    actor: str
    reason: str
    processor: str | None
    game_date: str | None
    result: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return self.result == "done"

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Acted:
        return cls(
            act=row["act"],
            at=moment(row["at"]),
            actor=row["actor"],
            reason=row["reason"],
            processor=row["processor"],
            game_date=row["game_date"],
            result=row["result"],
            detail=row["detail"],
        )


@dataclass(frozen=True, slots=True)
class AttemptShown:
    """One launch of a run, as ``GET /v1/runs/{run_id}`` shows it."""

    number: int
    launch_at: datetime
    delivered_at: datetime | None
    message_id: str | None
    claimed_at: datetime | None
    owner: str | None
    ended_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class InputShown:
    """One table and date that a run consumes (specification 6)."""

    table: str
    game_date: str
    state: str
    record_count: int | None
    game_ids: tuple[str, ...]
    event_ids: tuple[str, ...]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> InputShown:
        return cls(
            row["table"],
            row["game_date"],
            row["state"],
            row["record_count"],
            tuple(row["game_ids"]),
            tuple(row["event_ids"]),
        )


@dataclass(frozen=True, slots=True)
class RunShown:
    """A run as ``GET /v1/runs/{run_id}`` shows it, whenever it has changed."""

    run_id: str
    processor: str
    game_date: str
    generation: int
    trigger: str
    status: str
    registry_hash: str
    fired_at: datetime
    ended_at: datetime | None
    actor: str | None
    reason: str | None
    bypassed: tuple[str, ...]
    skip_downstream: bool
    record_count: int | None
    error: str | None
    explanation: str
    changed_games: tuple[str, ...]
    changed_tables: tuple[str, ...]
    warnings: tuple[str, ...]
    inputs: tuple[InputShown, ...]
    attempts: tuple[AttemptShown, ...]
    lease_expires_at: datetime | None
    correlation_id: str | None = None

    @property
    def live(self) -> bool:
        return self.status in ("pending", "delivered", "running")

    @property
    def partition(self) -> tuple[str, str]:
        return self.processor, self.game_date

    @property
    def attempt(self) -> AttemptShown:
        return self.attempts[-1]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> RunShown:
        return cls(
            run_id=row["run_id"],
            processor=row["processor"],
            game_date=row["game_date"],
            generation=row["generation"],
            trigger=row["trigger"],
            status=row["status"],
            registry_hash=row["registry_hash"],
            fired_at=moment(row["fired_at"]),
            ended_at=_maybe(row["ended_at"]),
            actor=row["actor"],
            reason=row["reason"],
            bypassed=tuple(row["bypassed"]),
            skip_downstream=row["skip_downstream"],
            record_count=row["record_count"],
            error=row["error"],
            explanation=row["explanation"],
            changed_games=tuple(row["changed_games"]),
            changed_tables=tuple(row["changed_tables"]),
            warnings=tuple(row["warnings"]),
            inputs=tuple(InputShown.of(i) for i in row["inputs"]),
            attempts=tuple(
                AttemptShown(
                    a["number"],
                    moment(a["launch_at"]),
                    _maybe(a["delivered_at"]),
                    a["message_id"],
                    _maybe(a["claimed_at"]),
                    a["owner"],
                    _maybe(a["ended_at"]),
                    a["error"],
                )
                for a in row["attempts"]
            ),
            lease_expires_at=_maybe(row["lease_expires_at"]),
            correlation_id=row["correlation_id"],
        )


@dataclass(frozen=True, slots=True)
class PartitionShown:
    """A partition of ``GET /v1/status/{date}/{processor}``, whenever it has changed."""

    processor: str
    game_date: str
    status: str
    flags: tuple[str, ...]
    generation: int
    registry_hash: str
    refires: int | None = None
    """How many re-fires it says are spent; None if it was not read."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What ``GET /v1/status/{date}/{processor}`` says of a partition that is at rest."""

    processor: str
    game_date: str
    at: datetime
    """When the service evaluated it."""
    status: str
    why: str
    met: int
    total: int
    holds: tuple[tuple[str, datetime | None], ...]
    """Each kind of hold, and its end."""
    expected_at: datetime | None
    wake_at: datetime | None

    @classmethod
    def of(cls, whole: Mapping[str, Any]) -> Explained:
        verdict = whole["verdict"]
        return cls(
            processor=whole["processor"],
            game_date=whole["game_date"],
            at=moment(verdict["at"]),
            status=whole["status"],
            why=whole["why"],
            met=whole["requirements"]["met"],
            total=whole["requirements"]["total"],
            holds=tuple((h["kind"], _maybe(h["until"])) for h in verdict["holds"]),
            expected_at=_maybe(whole["expected_at"]),
            wake_at=_maybe(whole["wake_at"]),
        )


@dataclass(frozen=True, slots=True)
class Launched:
    """A launch message that reached its target, or did not."""

    message: Mapping[str, Any]
    proof: str | None
    """The message id from the target; None if it refused, or its answer was lost."""
    taken: bool = True
    """Whether the target received it, whatever it answered."""
    clock: datetime | None = None
    """The clock of the instance that launched it; None if it is the judge's own."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A runner's claim, answered 200."""

    run_id: str
    attempt: int
    owner: str
    token: str


@dataclass(frozen=True, slots=True)
class Reporting:
    """A runner sends its report. Seen before it is recorded; there may never be an answer."""

    run_id: str
    token: str
    status: str
    record_count: int | None


@dataclass(frozen=True, slots=True)
class ReportAccepted:
    """A runner's report, answered 200."""

    run_id: str
    token: str
    status: str


@dataclass(frozen=True, slots=True)
class Noticed:
    """A notice that a webhook received (specification 6)."""

    id: str
    kind: str
    severity: str
    processor: str | None
    game_date: str | None
    summary: str
    detail: str
    at: datetime
    """When it was decided on, by the clock of the instance that did."""


Observation = (
    Served
    | Stopped
    | Sent
    | Recorded
    | InQuarantine
    | Acted
    | RunShown
    | PartitionShown
    | Explained
    | Launched
    | Granted
    | Reporting
    | ReportAccepted
    | Noticed
)
