"""A small stage for the judge: facts in, and what a coordinator would show, kept short."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from coordinator.judge import Judge
from coordinator.judge.observations import (
    Acted,
    AttemptShown,
    Granted,
    InputShown,
    Launched,
    Noticed,
    PartitionShown,
    Recorded,
    Reporting,
    RunShown,
    Sent,
    Served,
)

DATE = "2025-11-15"
START = datetime(2025, 11, 16, 4, tzinfo=UTC)
CALENDAR = "nba_raw.schedule"
BOX, ODDS, PBP = "nba_raw.box", "nba_raw.odds", "nba_raw.pbp"


def registry(requires: list[Any] | None = None, **policy: Any) -> str:
    """A registry of one processor ``P`` that needs the box scores."""
    return json.dumps(
        {
            "version": 1,
            "timezone": "America/New_York",
            "calendar": {"table": CALENDAR, "known_from": "2025-11-01"},
            "tables": {CALENDAR: {}, BOX: {"grain": "game"}, ODDS: {}, PBP: {}},
            "processors": {
                "P": {
                    "phase": 3,
                    "output": "nba_analytics.p",
                    "requires": requires or [{"table": ODDS}],
                    **policy,
                }
            },
        }
    )


class Stage:
    """Shows a judge one thing after the other."""

    def __init__(self, requires: list[Any] | None = None, **policy: Any) -> None:
        self.judge = Judge()
        self.now = START
        self.hash = "one"
        self.runs: dict[int, RunShown] = {}
        self._ids = 0
        self.serve(registry(requires, **policy), "one")

    def serve(self, text: str, identity: str, *, ready: bool = True) -> None:
        self.hash = identity
        self.judge.see(self.now, Served(identity, text, "instance", ready=ready))

    @property
    def rules(self) -> list[str]:
        """The rules that were broken so far."""
        return [b.rule for b in self.judge.broken]

    def after(self, **passed: float) -> Stage:
        self.now += timedelta(**passed)
        return self

    def rests(self) -> list[str]:
        self.judge.at_rest(self.now)
        return self.rules

    # ── facts ────────────────────────────────────────────────────────────────────────────────

    def load(self, table: str = ODDS, **said: Any) -> str:
        """A load is sent and recorded at once."""
        self._ids += 1
        event: dict[str, Any] = {
            "event_type": "raw_data_loaded",
            "target_table": table,
            "game_date": DATE,
            "status": "success",
            "record_count": 100,
            "game_ids": [],
            "timestamp": self.now.isoformat(),
            "event_id": f"e{self._ids}",
            **{k: v for k, v in said.items() if k not in ("outcome", "recorded")},
        }
        recorded = said.get("recorded", {})
        self.judge.see(self.now, Sent(event))
        row = Recorded(
            table=table,
            game_date=event["game_date"],
            event_id=event["event_id"],
            outcome=said.get("outcome", "applied"),
            status=event["status"],
            timestamp=datetime.fromisoformat(event["timestamp"]),
            received_at=self.now,
            record_count=event["record_count"],
            game_ids=tuple(event["game_ids"]),
            content_hash=(event.get("metadata") or {}).get("content_hash"),
            quiet=event.get("skip_downstream", False),
            correlation_id=event.get("correlation_id"),
            execution_id=None,
        )
        self.judge.see(self.now, replace(row, **recorded), registry=self.hash)
        return str(event["event_id"])

    def calendar(self, *games: str) -> None:
        self.load(CALENDAR, game_ids=list(games), record_count=len(games))

    def act(self, act: str, result: str = "done", **detail: Any) -> Acted:
        whole = act in ("pause", "resume")
        return Acted(
            act,
            self.now,
            "ana",
            "because",
            None if whole else "P",
            None if whole else DATE,
            result,
            detail,
        )

    def acts(self, act: str, **detail: Any) -> None:
        self.judge.see(self.now, self.act(act, **detail))

    # ── what a coordinator shows ─────────────────────────────────────────────────────────────

    def show(self, status: str, *flags: str) -> None:
        generation = max(self.runs, default=0)
        shown = PartitionShown("P", DATE, status, flags, generation, self.hash)
        self.judge.see(self.now, shown, registry=self.hash)

    def fire(
        self,
        *inputs: tuple[str, str],
        trigger: str = "dependencies",
        act: Acted | None = None,
        **shown: Any,
    ) -> list[str]:
        """Generation n is fired now; ``inputs`` are (table, event id)."""
        generation = len(self.runs) + 1
        run = RunShown(
            run_id=f"P:{DATE}:{generation}",
            processor="P",
            game_date=DATE,
            generation=generation,
            trigger=trigger,
            status="pending",
            registry_hash=self.hash,
            fired_at=self.now,
            ended_at=None,
            actor=act.actor if act else None,
            reason=act.reason if act else None,
            bypassed=(),
            skip_downstream=False,
            record_count=None,
            error=None,
            explanation="so",
            changed_games=(),
            changed_tables=(),
            warnings=(),
            inputs=tuple(InputShown(t, DATE, "ready", 100, (), (e,)) for t, e in inputs),
            attempts=(AttemptShown(1, self.now, None, None, None, None, None, None),),
            lease_expires_at=None,
        )
        run = replace(run, **shown)
        self.runs[generation] = run
        seen = [run] if act is None else [act, run]
        self.judge.see(self.now, *seen, registry=self.hash)
        return self.rules

    def change(self, **shown: Any) -> list[str]:
        """The latest run is shown again, otherwise."""
        generation = max(self.runs)
        self.runs[generation] = replace(self.runs[generation], **shown)
        self.judge.see(self.now, self.runs[generation], registry=self.hash)
        return self.rules

    def deliver(self) -> AttemptShown:
        """The latest run's first attempt is launched, and shown as delivered."""
        run = self.runs[max(self.runs)]
        self.judge.see(self.now, Launched(self.message(run), "m1"))
        delivered = replace(run.attempts[0], delivered_at=self.now, message_id="m1")
        self.change(status="delivered", attempts=(delivered,))
        return delivered

    def succeed(self) -> None:
        """The latest run is delivered, claimed and reported; its output is recorded."""
        generation = max(self.runs)
        run = self.runs[generation]
        delivered = self.deliver()
        claimed = replace(delivered, claimed_at=self.now, owner="r")
        self.change(
            status="running", attempts=(claimed,), lease_expires_at=self.now + timedelta(minutes=5)
        )
        self.judge.see(self.now, Granted(run.run_id, 1, "r", "token"))
        self.judge.see(self.now, Reporting(run.run_id, "token", "success", 5))
        ended = replace(claimed, ended_at=self.now)
        self.runs[generation] = replace(
            self.runs[generation],
            status="success",
            ended_at=self.now,
            record_count=5,
            attempts=(ended,),
            lease_expires_at=None,
        )
        output = Recorded(
            table="nba_analytics.p",
            game_date=DATE,
            event_id=f"run:{run.run_id}",
            outcome="ignored",
            status="success",
            timestamp=self.now,
            received_at=self.now,
            record_count=5,
            game_ids=(),
            content_hash=None,
            quiet=run.skip_downstream,
            correlation_id=None,
            execution_id=None,
        )
        self.judge.see(self.now, self.runs[generation], output, registry=self.hash)

    def message(self, run: RunShown) -> Mapping[str, Any]:
        return {
            "event_type": "run_requested",
            "run_id": run.run_id,
            "processor": "P",
            "phase": 3,
            "game_date": DATE,
            "generation": run.generation,
            "attempt": 1,
            "trigger": run.trigger,
            "bypassed": list(run.bypassed),
            "skip_downstream": run.skip_downstream,
            "changed_games": list(run.changed_games),
            "changed_tables": list(run.changed_tables),
            "warnings": list(run.warnings),
            "correlation_id": run.correlation_id,
            "inputs": [
                {
                    "table": i.table,
                    "game_date": i.game_date,
                    "state": i.state,
                    "record_count": i.record_count,
                    "game_ids": list(i.game_ids),
                    "event_ids": list(i.event_ids),
                }
                for i in run.inputs
            ],
        }

    def notice(
        self, kind: str, summary: str = "", identity: str = "n1", at: datetime | None = None
    ) -> list[str]:
        notice = Noticed(identity, kind, "warning", "P", DATE, summary, "", at or self.now)
        self.judge.see(self.now, notice)
        return self.rules
