"""Playing a story: its steps one after the other, and what differs from what it expects.

Owns the acts of a story and the comparison. It compares what the service shows in its
status views, so a story also tests that these views match the decisions.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from coordinator.documents import Quarantined, event_key
from coordinator.judge import Broken
from coordinator.judge.observations import Reporting, Sent
from coordinator.ports import Kind, Query
from coordinator.scenario.stage import CRASHES, ActAnswer, Stage
from coordinator.scenario.story import (
    ACTS,
    Story,
    StoryError,
    known,
    place_of,
    read_duration,
    read_instant,
    read_story,
    registry_inside,
)
from coordinator.service.engine import Engine
from coordinator.service.pages import items
from coordinator.simulation.clock import run_virtually
from coordinator.simulation.process import Process, quiet_log
from coordinator.wire import instant_text, report_status

CONTAINS = frozenset(
    {"why", "detail", "error", "reason", "summary", "explanation", "message", "mistakes"}
)
"""Keys whose text is compared as a substring."""
MAPPINGS = frozenset({"partitions", "runs", "ledger", "documents", "outcomes"})
VERBS = ("trigger", "skip", "reset", "waive", "unwaive", "pause", "resume", "replay", "discard")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing that is not as the story expects."""

    path: str
    line: int
    column: int
    what: str
    expected: Any
    got: Any

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}:{self.column}"
        return f"{where}: {self.what}\n    expected  {_word(self.expected)}\n    got       {_word(self.got)}"


@dataclass(slots=True)
class Result:
    """The result of a story."""

    name: str
    path: str
    steps: int = 0
    checks: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    """The rules that were violated, if the story was judged."""
    text: str = ""
    """The story with the actual results as expectations, if an update was requested."""

    @property
    def ok(self) -> bool:
        """Whether everything was as expected, and no rule was violated."""
        return not self.mismatches and not self.broken


def play_file(path: str | Path, *, update: bool = False, judged: bool = False) -> Result:
    """Play the story in a file, as ``play``. Raises ``StoryError``; the file is not written."""
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoryError(f"{path}:1:1: cannot be read: {error}") from error
    return play(text, str(path), update=update, judged=judged)


def play(
    text: str, path: str = "story.yaml", *, update: bool = False, judged: bool = False
) -> Result:
    """Play a story given as text.

    Args:
        text: The story, YAML.
        path: What mistakes and mismatches call it.
        update: Write the story with the actual results into ``Result.text``.
        judged: Check everything that happens against the specification, into ``Result.broken``.

    Raises:
        StoryError: it cannot be played; the message says where.
    """
    story = read_story(text, path)
    with quiet_log():
        return run_virtually(_Player(story, text, update, judged).play())


class _Player:
    def __init__(self, story: Story, text: str, update: bool, judged: bool) -> None:
        self.judged = judged
        self.story = story
        self.text = text
        self.update = update
        self.result = Result(name=story.name, path=story.path)
        self.stage = Stage(story.registry, story.start, _runners(story))
        self.answers: list[ActAnswer] = []
        self.writes = 0

    async def play(self) -> Result:
        """Play every step."""
        await self.stage.open()
        try:
            for step in self.story.steps:
                await self._step(step)
                self.result.steps += 1
        finally:
            await self.stage.close()
        if self.judged:
            self.result.broken = list(self.stage.witness.judge.broken)
        if self.update:
            self.result.text = self.story.text()
        return self.result

    async def _step(self, step: CommentedMap) -> None:
        if "at" in step:
            target = read_instant(step["at"], self.stage.clock.now())
            if target is None or target < self.stage.clock.now():
                self.story.fail(
                    step, "at", "must be a duration (+15m) or an instant that has not passed"
                )
            await self.stage.advance_to(target)
        before = self.stage.commits
        act = next((key for key in step if key in ACTS), None)
        self.answers = []
        if act is not None:
            times = step.get("times", 1)
            if not isinstance(times, int) or not 1 <= times <= 1000:
                self.story.fail(step, "times", "must be a whole number from 1 to 1000")
            try:
                work = self._act(act, step)
            except (TypeError, ValueError, AttributeError) as error:
                self.story.fail(step, act, f"cannot be understood: {error}")
            self.answers = list(await asyncio.gather(*[work() for _ in range(times)]))
        self.writes = self.stage.commits - before
        await self.stage.tend()
        if self.stage.undisturbed:
            self.stage.witness.rests(self.stage.clock.now())
            if self.judged:
                await self.stage.explain()
        if "expect" in step and step["expect"] is not None:
            await self._expect(step["expect"])

    # ── acts ─────────────────────────────────────────────────────────────────────────────────

    def _act(self, act: str, step: CommentedMap) -> Callable[[], Awaitable[ActAnswer]]:
        """What a step does, ready to be done."""
        value = step[act]
        made = getattr(self, f"_do_{act}")(step, value)

        async def done() -> ActAnswer:
            answer: ActAnswer = await made() if callable(made) else made
            return answer

        return done

    def _fields(self, step: CommentedMap, act: str, keys: tuple[str, ...]) -> CommentedMap:
        value = step[act]
        if not isinstance(value, CommentedMap):
            self.story.fail(step, act, f"must be a mapping of {', '.join(keys)}")
        known(self.story.path, value, keys, act)
        return value

    def _date(self, fields: CommentedMap) -> str:
        found = fields.get("game_date", fields.get("date", self.story.game_date))
        if found is None:
            self.story.fail(fields, "game_date", "game_date is missing, here and in the story")
        return str(found)

    def _event(self, fields: CommentedMap) -> dict[str, Any]:
        """An event, with defaults for what the story leaves out."""
        event = {str(k): _plain(v) for k, v in fields.items()}
        names = ("target_table", "source_table", "output_table", "processor_name")
        if "table" in event:
            event["target_table"] = event.pop("table")
        elif not any(n in event for n in names):
            self.story.fail(fields, "table", "table is missing: which table was loaded?")
        if not any(k in event for k in ("game_date", "analysis_date", "target_date", "data_date")):
            event["game_date"] = self._date(fields)
        event.setdefault("event_type", "raw_data_loaded")
        if "success" not in event:
            event.setdefault("status", "success")
        at = read_instant(event.get("timestamp", "+0s"), self.stage.clock.now())
        if at is not None:
            event["timestamp"] = instant_text(at)
        event.setdefault("event_id", self.stage.name("e"))
        return event

    def _do_event(self, step: CommentedMap, value: Any) -> Callable[[], Awaitable[ActAnswer]]:
        if not isinstance(value, CommentedMap):
            self.story.fail(step, "event", "must be a mapping, as in {table: …, record_count: 450}")
        event = self._event(value)
        self.stage.saw(Sent(event))

        async def take(process: Process) -> ActAnswer:
            return _outcome(await process.ingest.take(event))

        return lambda: self.stage.ask(take)

    def _do_push(self, step: CommentedMap, value: Any) -> Callable[[], Awaitable[ActAnswer]]:
        body = self._push_body(step, value)
        said = Sent.of_push(body)
        if said is not None:
            self.stage.saw(said, *_reporting(said.event))

        async def push(process: Process) -> ActAnswer:
            return _outcome(await process.ingest.push(body))

        return lambda: self.stage.ask(push)

    def _push_body(self, step: CommentedMap, value: Any) -> bytes:
        """A push body: raw text as it is, an event wrapped, or a mapping with ``data``."""
        if isinstance(value, str):
            return value.encode()
        if not isinstance(value, CommentedMap):
            self.story.fail(step, "push", "must be text (the whole body) or a mapping")
        if "data" in value or "message_id" in value:
            known(self.story.path, value, ("data", "event", "message_id"), "push")
        message_id = value.get("message_id") or self.stage.name("message")
        if "data" in value:
            data = str(value["data"]).encode()
        else:
            inner = value.get("event", value)
            if not isinstance(inner, CommentedMap):
                self.story.fail(value, "event", "must be a mapping")
            given = "event_id" in inner
            event = (
                {str(k): _plain(v) for k, v in inner.items()}
                if "event_type" in inner
                else self._event(inner)
            )
            if not given:
                event.pop("event_id", None)
            data = json.dumps(event).encode()
        message = {"data": base64.b64encode(data).decode(), "messageId": str(message_id)}
        return json.dumps({"message": message, "subscription": "story"}).encode()

    def _do_calendar(self, step: CommentedMap, value: Any) -> Callable[[], Awaitable[ActAnswer]]:
        fields = self._fields(step, "calendar", ("date", "game_date", "games", "timestamp"))
        table = self.stage.registry.calendar_table
        if table is None:
            self.story.fail(step, "calendar", "the registry has no calendar table")
        game_date, games = self._date(fields), fields.get("games", 0)
        if isinstance(games, int):
            games = [f"{game_date.replace('-', '')}{n:02}" for n in range(1, games + 1)]
        event = {
            "event_type": "raw_data_loaded",
            "target_table": table,
            "game_date": game_date,
            "game_ids": [str(g) for g in games],
            "record_count": len(games),
            "status": "success" if games else "no_data",
            "timestamp": instant_text(
                read_instant(fields.get("timestamp", "+0s"), self.stage.clock.now())
            ),
            "event_id": self.stage.name("calendar"),
        }
        self.stage.saw(Sent(event))

        async def take(process: Process) -> ActAnswer:
            return _outcome(await process.ingest.take(event))

        return lambda: self.stage.ask(take)

    def _run_of(self, fields: CommentedMap, act: str) -> str:
        run = fields.get("run")
        if run is None:
            self.story.fail(fields, "run", f"run is missing: which run is this {act} of?")
        text = str(run)
        return text if text.count(":") == 2 else f"{text}:{self._date(fields)}:1"

    def _do_claim(self, step: CommentedMap, value: Any) -> Callable[[], Awaitable[ActAnswer]]:
        fields = self._fields(step, "claim", ("run", "owner", "attempt", "game_date"))
        run, owner = self._run_of(fields, "claim"), str(fields.get("owner", "runner"))
        attempt = int(fields.get("attempt", 1))
        return lambda: self.stage.ask(lambda p: self.stage.claim(p, run, owner, attempt))

    def _token(self, fields: CommentedMap, run: str) -> str:
        if "token" in fields:
            return str(fields["token"])
        owner = str(fields.get("owner", "runner"))
        return self.stage.tokens.get((run, owner), f"no token of {owner}")

    def _do_heartbeat(self, step: CommentedMap, value: Any) -> Callable[[], Awaitable[ActAnswer]]:
        fields = self._fields(step, "heartbeat", ("run", "owner", "token", "game_date"))
        run = self._run_of(fields, "heartbeat")
        token = self._token(fields, run)
        return lambda: self.stage.ask(lambda p: p.runs.heartbeat(run, token), "accepted")

    def _do_complete(self, step: CommentedMap, value: Any) -> Callable[[], Awaitable[ActAnswer]]:
        fields = self._fields(
            step,
            "complete",
            ("run", "owner", "token", "status", "record_count", "error", "game_date"),
        )
        run = self._run_of(fields, "report")
        token = self._token(fields, run)
        status = report_status(fields.get("status", "success"))
        if status is None:
            self.story.fail(fields, "status", "must be success, no_data, skipped or failed")
        count, error = fields.get("record_count"), fields.get("error")
        return lambda: self.stage.ask(
            lambda p: self.stage.complete(p, run, token, status, count, error)
        )

    def _do_run(self, step: CommentedMap, value: Any) -> Callable[[], Awaitable[ActAnswer]]:
        """A runner that claims and reports at once."""
        keys = ("run", "owner", "attempt", "status", "record_count", "error", "game_date")
        fields = self._fields(step, "run", keys)
        run, owner = self._run_of(fields, "run"), str(fields.get("owner", "runner"))
        status = report_status(fields.get("status", "success"))
        if status is None:
            self.story.fail(fields, "status", "must be success, no_data, skipped or failed")
        count, error = fields.get("record_count"), fields.get("error")
        attempt = int(fields.get("attempt", 1))

        async def whole() -> ActAnswer:
            answer = await self.stage.ask(lambda p: self.stage.claim(p, run, owner, attempt))
            if answer.outcome != "granted":
                return answer
            token = self.stage.tokens[run, owner]
            return await self.stage.ask(
                lambda p: self.stage.complete(p, run, token, status, count, error)
            )

        return whole

    def _do_operate(self, step: CommentedMap, value: Any) -> Callable[[], Awaitable[ActAnswer]]:
        verbs = self._fields(step, "operate", VERBS)
        if len(verbs) != 1:
            self.story.fail(step, "operate", f"must hold one verb of {', '.join(VERBS)}")
        verb = next(iter(verbs))
        keys = (
            *("processor", "game_date", "reason", "actor", "bypass", "skip_downstream"),
            *("end_run", "table", "until", "dry_run", "quarantine_id"),
        )
        fields = self._fields(verbs, verb, keys) if verbs[verb] is not None else CommentedMap()
        given = {str(k): _plain(v) for k, v in fields.items()}
        words: dict[str, Any] = {"reason": "the story says so", "actor": "ana", **given}
        if "until" in words:
            words["until"] = read_instant(words["until"], self.stage.clock.now())
        processor = words.pop("processor", None)
        game_date = words.pop("game_date", self.story.game_date)

        async def act(process: Process) -> ActAnswer:
            operate = process.operate
            if verb in ("pause", "resume"):
                await getattr(operate, verb)(processor, **words)
            elif verb in ("replay", "discard"):
                identity = words.pop("quarantine_id", None) or await self._first_quarantined()
                await getattr(operate, verb)(identity, **words)
            else:
                await getattr(operate, verb)(str(processor), str(game_date), **words)
            return ActAnswer("done")

        return lambda: self.stage.ask(act)

    async def _first_quarantined(self) -> str:
        page = await self.stage.store.find(Query(Kind.QUARANTINE, order="received_at"))
        found = [i for i, q in page.items if q.state == "open"]
        return found[0] if found else "none"

    def _do_sweep(self, step: CommentedMap, value: Any) -> Callable[[], Awaitable[ActAnswer]]:
        return lambda: self.stage.ask(lambda p: p.operate.sweep())

    def _do_crash(self, step: CommentedMap, value: Any) -> Callable[[], Awaitable[ActAnswer]]:
        async def crash() -> ActAnswer:
            if value == "now":
                self.stage.kill()
            else:
                self.stage.faults.armed[CRASHES[value]] += 1
            return ActAnswer("done")

        if value != "now" and value not in CRASHES:
            self.story.fail(step, "crash", f"must be now, {', '.join(CRASHES)}")
        return crash

    def _do_restart(self, step: CommentedMap, value: Any) -> Callable[[], Awaitable[ActAnswer]]:
        new = None
        if isinstance(value, CommentedMap):
            fields = self._fields(step, "restart", ("registry",))
            new = registry_inside(self.text, self.story.path, fields, "registry")
        return lambda: self.stage.start(new)

    def _do_fail_launch(self, step: CommentedMap, value: Any) -> Callable[[], Awaitable[ActAnswer]]:
        return self._arm(step, "fail_launch", "launch_refused", value)

    def _do_lose_proof(self, step: CommentedMap, value: Any) -> Callable[[], Awaitable[ActAnswer]]:
        return self._arm(step, "lose_proof", "proof_lost", value)

    def _arm(
        self, step: CommentedMap, act: str, kind: str, value: Any
    ) -> Callable[[], Awaitable[ActAnswer]]:
        if not isinstance(value, bool | int):
            self.story.fail(step, act, "must be true, false or how often")

        async def arm() -> ActAnswer:
            faults = self.stage.faults
            faults.armed[kind] = 0
            faults.always.discard(kind)
            if value is True:
                faults.always.add(kind)
            elif value:
                faults.armed[kind] = int(value)
            return ActAnswer("done")

        return arm

    def _do_store(self, step: CommentedMap, value: Any) -> Callable[[], Awaitable[ActAnswer]]:
        if value not in ("up", "down"):
            self.story.fail(step, "store", "must be up or down")

        async def reach() -> ActAnswer:
            kinds = {"store_refuses", "read_refused"}
            if value == "down":
                self.stage.faults.always |= kinds
            else:
                self.stage.faults.always -= kinds
            return ActAnswer("done")

        return reach

    # ── expectations ─────────────────────────────────────────────────────────────────────────

    async def _expect(self, expect: CommentedMap) -> None:
        for key in list(expect):
            if key in MAPPINGS and not isinstance(expect[key], CommentedMap):
                self.story.fail(expect, key, "must be a mapping from a name to what is expected")
            got = await getattr(self, f"_got_{key}")(expect, expect[key])
            self._compare(expect, key, got, key)

    async def _got_outcome(self, expect: CommentedMap, value: Any) -> Any:
        return self.answers[0].outcome if self.answers else None

    async def _got_outcomes(self, expect: CommentedMap, value: Any) -> Any:
        return dict(sorted(Counter(a.outcome for a in self.answers).items()))

    async def _got_detail(self, expect: CommentedMap, value: Any) -> Any:
        return self.answers[0].detail if self.answers else ""

    async def _got_affected(self, expect: CommentedMap, value: Any) -> Any:
        return self.answers[0].affected if self.answers else []

    async def _got_partitions(self, expect: CommentedMap, value: Any) -> Any:
        found: dict[str, Any] = {}
        for name in value:
            processor, _, game_date = str(name).partition(" ")
            spec = self.stage.registry.processor_for(processor)
            if spec is None:
                self.story.fail(value, name, f"the registry has no processor {processor}")
            game_date = game_date or str(self.story.game_date)
            view = await self.stage.queries.partitions.partition(spec.name, game_date)
            decided = await self._decided(spec.name, game_date)
            found[name] = {**view.model_dump(mode="json"), **decided}
        return found

    async def _decided(self, processor: str, game_date: str) -> dict[str, Any]:
        """Shorthand that a story may use in place of the view's own fields."""
        engine: Engine = self.stage.process.engine  # type: ignore[union-attr]
        view = type(engine)(self.stage.store, self.stage.registry, self.stage.clock, engine.entropy)
        spec = self.stage.registry.processors[processor]
        partition, verdict = await view.view(spec, game_date)
        return {
            "met": f"{verdict.met_count}/{len(verdict.requirements)}",
            "states": {r.key: r.state.value for r in verdict.requirements},
            "holds": [h.kind.value for h in verdict.holds],
            "newer_data": sorted({d.table for d in verdict.dirty}),
            "outbox": len(partition.outbox),
            "runs": len([r for r in await self._documents(Kind.RUN) if r.processor == processor
                         and r.game_date == game_date]),
        }  # fmt: skip

    async def _got_launches(self, expect: CommentedMap, value: Any) -> Any:
        found, self.stage.launches[:] = list(self.stage.launches), []
        return found

    async def _got_notices(self, expect: CommentedMap, value: Any) -> Any:
        found, self.stage.notices[:] = list(self.stage.notices), []
        words = isinstance(value, CommentedSeq) and all(isinstance(v, str) for v in value)
        return [n["kind"] for n in found] if words else found

    async def _got_announced(self, expect: CommentedMap, value: Any) -> Any:
        found, self.stage.announced[:] = list(self.stage.announced), []
        return found

    async def _got_runs(self, expect: CommentedMap, value: Any) -> Any:
        found: dict[str, Any] = {}
        runs = {r.run_id: r for r in await self._documents(Kind.RUN)}
        for run_id in value:
            if run_id not in runs:
                found[run_id] = None
                continue
            view = await self.stage.queries.runs.run(str(run_id))
            found[run_id] = {
                **view.model_dump(mode="json"),
                "attempts": len(view.attempts),
                "transitions": [t.what for t in view.transitions],
                "tables": sorted({i.table for i in view.inputs}),
            }
        return found

    async def _got_ledger(self, expect: CommentedMap, value: Any) -> Any:
        found: dict[str, Any] = {}
        for name in value:
            table, _, game_date = str(name).partition(" ")
            spec = self.stage.registry.table_for(table)
            if spec is None:
                self.story.fail(value, name, f"the registry has no table {table}")
            game_date = game_date or str(self.story.game_date)
            entries = [
                e
                for e in await self._documents(Kind.EVENT)
                if (e.table, e.game_date) == (spec.name, game_date)
            ]
            assert all(event_key(e.table, e.game_date, e.event_id) for e in entries)
            entries.sort(key=lambda e: (e.received_at, e.event_id))
            found[name] = {e.event_id: e.outcome for e in entries}
        return found

    async def _got_quarantine(self, expect: CommentedMap, value: Any) -> Any:
        page = await self.stage.store.find(Query(Kind.QUARANTINE, order="received_at", limit=1000))
        entries: list[Quarantined] = [q for _, q in page.items]
        return [{"reason": q.reason, "state": q.state, "times_seen": q.times_seen} for q in entries]

    async def _got_writes(self, expect: CommentedMap, value: Any) -> Any:
        return self.writes

    async def _got_documents(self, expect: CommentedMap, value: Any) -> Any:
        kinds = {k.value: k for k in Kind}
        known(self.story.path, value, tuple(kinds), "documents")
        return {name: len(await self._documents(kinds[name])) for name in value}

    async def _got_gaps(self, expect: CommentedMap, value: Any) -> Any:
        found = await self.stage.queries.dates.gaps()
        return [f"{i.processor} {i.game_date}" for i in found.items]

    async def _got_audit(self, expect: CommentedMap, value: Any) -> Any:
        entries = await self._documents(Kind.AUDIT)
        entries.sort(key=lambda a: (a.at, a.audit_id))
        return [
            {
                "act": a.act,
                "actor": a.actor,
                "reason": a.reason,
                "processor": a.processor,
                "game_date": a.game_date,
                "result": a.result,
            }
            for a in entries
        ]

    async def _documents(self, kind: Kind) -> list[Any]:
        return [d async for _, d in items(self.stage.store, Query(kind, limit=1000))]

    # ── comparing ────────────────────────────────────────────────────────────────────────────

    def _compare(self, holder: Any, key: Any, got: Any, what: str) -> None:
        """Compare one expected value with what was got; mappings need only be contained."""
        expected = holder[key]
        if isinstance(expected, CommentedMap) and isinstance(got, Mapping):
            for name in list(expected):
                if name not in got and what not in ("ledger",):
                    known_keys = ", ".join(str(k) for k in got)
                    if not what.startswith(("ledger", "outcomes")):
                        self.story.fail(
                            expected, name, f"means nothing here; known are {known_keys}"
                        )
                self._compare(expected, name, got.get(name), f"{what}, {name}")
            if what == "outcomes" and set(expected) != set(got):
                self._differs(holder, key, got, what)
            return
        if isinstance(expected, CommentedSeq) and isinstance(got, list | tuple):
            if len(expected) != len(got):
                self._differs(holder, key, got, what)
                return
            for number, value in enumerate(got):
                self._compare(expected, number, value, f"{what}, item {number + 1}")
            return
        self.result.checks += 1
        plain = _plain(expected)
        contained = str(key) in CONTAINS and isinstance(plain, str) and isinstance(got, str)
        if contained and " ".join(plain.split()) in " ".join(got.split()):
            return
        if not contained and plain == got and isinstance(plain, bool) == isinstance(got, bool):
            return
        self._differs(holder, key, got, what)

    def _differs(self, holder: Any, key: Any, got: Any, what: str) -> None:
        line, column = place_of(holder, key)
        expected = _plain(holder[key])
        shown = _like(expected, got, what)
        self.result.mismatches.append(
            Mismatch(self.story.path, line, column, what, expected, shown)
        )
        if self.update:
            holder[key] = shown


_BRIEF = ("run_id", "attempt", "trigger", "kind", "processor", "table", "game_date", "status",
          "reason", "state", "act", "result")  # fmt: skip


def _like(expected: Any, got: Any, what: str) -> Any:
    """What was got, in the shape of what was expected: long views are cut to what matters."""
    if not isinstance(got, list | tuple):
        return got
    if not all(isinstance(item, Mapping) for item in got):
        return list(got)
    names: list[str] = []
    for item in expected if isinstance(expected, list) else []:
        names += [k for k in item if k not in names] if isinstance(item, dict) else []
    if not names and what.split(",")[0] == "launches":
        names = ["run_id", "attempt", "trigger"]
    names = names or [k for k in _BRIEF if all(k in item for item in got)]
    return [{k: item[k] for k in names if k in item} for item in got]


def _plain(value: Any) -> Any:
    """A value of the story as plain data; dates as text."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, datetime):
        return instant_text(value if value.tzinfo else read_instant(value, value))
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return str(value)


def _outcome(outcome: Any) -> ActAnswer:
    return ActAnswer(
        outcome=outcome.outcome,
        detail="; ".join([*(str(m) for m in outcome.errors), *outcome.warnings]),
        affected=[
            {
                "processor": a.processor,
                "game_date": a.game_date,
                "status": a.status,
                "fired_run_id": a.fired_run_id,
            }
            for a in outcome.affected
        ],
    )


def _runners(story: Story) -> Mapping[str, Any] | None:
    if story.runners is None:
        return None
    words = story.runners
    status = str(words.get("status", "success"))
    if report_status(status) is None:
        story.fail(words, "status", "must be success, no_data, skipped or failed")
    spans: dict[str, timedelta] = {}
    for name, default in (("after", "5s"), ("take", "1m")):
        span = read_duration(words.get(name, default))
        if span is None:
            story.fail(words, name, "must be a duration, as in 30s")
        spans[name] = span
    return {**spans, "status": status, "record_count": words.get("record_count", 100)}


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _reporting(event: Mapping[str, Any]) -> list[Reporting]:
    """A runner's report that comes as a message."""
    if event.get("event_type") != "run_completed" or not event.get("run_id"):
        return []
    status, token = event.get("status"), event.get("lease_token")
    return [Reporting(str(event["run_id"]), str(token), str(status), event.get("record_count"))]
