"""The judge: takes observations in the order they happened, and reports violated rules.

Safety ("must not") is checked when something is shown; liveness ("must") at rest (``at_rest``). See
the package for what the judge is, and ``story`` and ``needs`` for the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from coordinator.judge import launches, runs, sentences
from coordinator.judge.instants import Instants
from coordinator.judge.ledger import OUTPUT, Ledger, RecordedLoad, Said
from coordinator.judge.needs import EvaluatedNeeds
from coordinator.judge.observations import (
    Acted,
    Explained,
    Granted,
    InQuarantine,
    Launched,
    Noticed,
    Observation,
    PartitionShown,
    Recorded,
    ReportAccepted,
    Reporting,
    RunShown,
    Sent,
    Served,
    Stopped,
)
from coordinator.judge.report import Broken
from coordinator.judge.rules import ProcessorRules, Rules, shifted
from coordinator.judge.serving import Serving
from coordinator.judge.story import (
    GOOD,
    Generation,
    Newer,
    PartitionStory,
    ready_newer,
)

AUTOMATIC = ("dependencies", "late_data", "deadline", "schedule")
_ORDER: tuple[type, ...] = (
    Served,
    Stopped,
    Sent,
    Reporting,
    Recorded,
    InQuarantine,
    Acted,
    RunShown,
    PartitionShown,
    Launched,
    Granted,
    ReportAccepted,
    Noticed,
    Explained,
)
"""Order of simultaneous observations: facts come before what follows from them."""


class Judge:
    """Checks what it is shown against the specification."""

    def __init__(self, *, patience: timedelta = runs.PATIENCE) -> None:
        """``patience`` is the longest time for a sweep and a delivery at rest."""
        self.ledger = Ledger()
        self.stories: dict[tuple[str, str], PartitionStory] = {}
        self.broken: list[Broken] = []
        self.serving = Serving(self.ledger)
        self.instants = Instants(self._break, self.serving, self.ledger)
        self.runs = runs.RunRecords(self._break, patience=patience)
        self.notices: dict[str, int] = {}
        """Notice id → how often it was received."""
        self.quarantined: dict[str, str] = {}
        """Quarantine id → the reason."""
        self._of_service: set[tuple[str, str]] = set()
        """(kind, cause) of each notice that belongs to no partition."""
        self._number = 0
        self._now: datetime | None = None
        self._reported: set[tuple[str, str, str]] = set()
        self._latest: datetime | None = None
        self._acts_at_once: list[Acted] = []
        self._pauses: list[tuple[int, Acted]] = []
        self._outputs: list[tuple[Recorded, str]] = []

    # ── seeing ───────────────────────────────────────────────────────────────────────────────

    def see(self, at: datetime, *seen: Observation, registry: str | None = None) -> None:
        """Process what became visible at one instant, such as one commit.

        ``registry`` is the hash of the registry of the instance that did it, if known; otherwise it
        may have been any that is served.
        """
        self.pass_time(at)
        self._now = at
        self.serving.by = registry if registry in self.serving.registries else None
        self._acts_at_once = [o for o in seen if isinstance(o, Acted)]
        for kind in _ORDER:
            for observation in seen:
                if type(observation) is kind:
                    self._number += 1
                    self._take(observation, at)
        for row, run_id in self._outputs:
            self.runs.announced(row, self.runs.shown[run_id])
        self._outputs.clear()

    def _take(self, seen: Observation, at: datetime) -> None:
        match seen:
            case Served():
                self.serving.serve(seen, at)
            case Stopped():
                self.serving.stop(seen)
            case Sent():
                self.ledger.note_sent(seen)
            case Recorded():
                self._recorded(seen, at)
            case InQuarantine():
                self.quarantined.setdefault(seen.quarantine_id, seen.reason)
            case Acted():
                self._acted(seen, at)
            case RunShown():
                self._run(seen, at)
            case PartitionShown():
                self._shown(seen, at)
            case Explained():
                self._explained(seen)
            case Launched():
                self._launched(seen, at)
            case Granted():
                self.runs.granted(seen, at)
            case Reporting():
                self.runs.reports.append((at, seen))
            case ReportAccepted():
                self.runs.completed(seen, at)
            case Noticed():
                self._noticed(seen, at)

    def pass_time(self, at: datetime) -> None:
        """Advance to this time: record every deadline and schedule instant up to it."""
        before, self._latest = self._latest, at
        self.ledger.pass_time(at, self._number)
        if before is None or at <= before:
            return
        self.runs.elapsed += at - before
        if not self.serving.served:
            return
        for rules in self.serving.all_served():
            for processor in rules.processors.values():
                if processor.clocks:
                    self.instants.pass_time(
                        self.stories, rules, processor, before, at, self._number
                    )

    def _break(self, rule: str, section: str, where: str, sentence: str) -> None:
        assert self._now is not None
        if (rule, where, sentence) not in self._reported:
            self._reported.add((rule, where, sentence))
            self.broken.append(Broken(rule, section, where, self._now, sentence))

    # ── facts ────────────────────────────────────────────────────────────────────────────────

    def story(self, processor: str, game_date: str) -> PartitionStory:
        """The story of a partition."""
        key = (processor, game_date)
        if key not in self.stories:
            self.stories[key] = PartitionStory(processor, game_date, self.ledger)
            self.stories[key].pauses = [
                (n, a) for n, a in self._pauses if a.processor in (None, processor)
            ]
        return self.stories[key]

    def _recorded(self, row: Recorded, at: datetime) -> None:
        load = self._load(row, at)
        where = f"{row.table} {row.game_date}"
        self.ledger.loads.setdefault((load.table, load.game_date), []).append(load)
        verdicts = set()
        for rules in self.serving.possible():
            verdicts.add(self.ledger.wins_anything(load, rules) if load.speaks else None)
            if rules.calendar == load.table:
                self.ledger.note_calendar(load)
        wins = verdicts.pop() if len(verdicts) == 1 else None
        if wins is False or (wins is None and load.speaks and row.outcome == "superseded"):
            # Registries differ in the table's grain, so the ledger's outcome is accepted.
            self.ledger.superseded.add(load.number)
        calendar = any(r.calendar == load.table for r in self.serving.possible())
        if wins is True and row.outcome == "superseded":
            self._break(
                "ledger.superseded",
                "3.1",
                where,
                f"{row.event_id} is the newest of its date and is called superseded",
            )
        if wins is False and row.outcome == "applied" and not calendar:
            self._break(
                "ledger.superseded",
                "3.1",
                where,
                f"{row.event_id} is older than what is known and is called applied",
            )
        for rules in self.serving.possible():
            for name, game_date in _partitions_of(rules, load):
                story = self.story(name, game_date)
                first = not story.known_by
                story.known_by.append((load.number, load.received_at, at))
                processor = rules.processors[name]
                if first and processor.clocks:
                    # It may have been decided on when the load was received, and committed later.
                    self.instants.pass_time(
                        {(name, game_date): story},
                        rules,
                        processor,
                        load.received_at,
                        at,
                        self._number,
                    )

    def _load(self, row: Recorded, at: datetime) -> RecordedLoad:
        """A ledger line, with the content that its sender sent instead of the recorded one."""
        where = f"{row.table} {row.game_date}"
        said = self._said(row)
        generation = 0
        quiet, mark, count, games, status = (
            row.quiet,
            row.content_hash,
            row.record_count,
            frozenset(row.game_ids),
            row.status,
        )
        timestamp, correlation_id = row.timestamp, row.correlation_id
        if row.event_id.startswith(OUTPUT):
            run = self.runs.shown.get(row.event_id[len(OUTPUT) :])
            if run is None:
                self._break("ledger.unknown", "3.1", where, f"{row.event_id} is no run's output")
            else:
                generation, quiet = run.generation, run.skip_downstream
                correlation_id = run.correlation_id
                self._outputs.append((row, run.run_id))  # its end may be of the same commit
        elif said is None:
            self._break("ledger.unknown", "4 law 5", where, f"nobody sent {row.event_id}")
        else:
            quiet, mark, count, games = said.quiet, said.mark, said.count, said.games
            status = said.status or row.status
            timestamp = min(said.timestamp, row.received_at)
            correlation_id = said.correlation_id
        as_sent = (quiet, mark, count, games, status, timestamp, correlation_id)
        as_kept = (
            row.quiet,
            row.content_hash,
            row.record_count,
            frozenset(row.game_ids),
            row.status,
            row.timestamp,
            row.correlation_id,
        )
        names = (
            "skip_downstream",
            "content_hash",
            "record_count",
            "game_ids",
            "status",
            "timestamp",
            "correlation_id",
        )
        for name, sent, recorded in zip(names, as_sent, as_kept, strict=True):
            if sent != recorded:
                self._break(
                    "ledger.content",
                    "3.1",
                    where,
                    f"{row.event_id} was sent with {name} {sent!r} and is recorded with {recorded!r}",
                )
        return RecordedLoad(
            number=self._number,
            table=row.table,
            game_date=row.game_date,
            event_id=row.event_id,
            status=status,
            timestamp=timestamp,
            received_at=row.received_at,
            seen_at=at,
            count=count,
            games=tuple(sorted(games)),
            mark=mark,
            quiet=quiet,
            correlation_id=row.correlation_id,
            generation=generation,
        )

    def _said(self, row: Recorded) -> Said | None:
        """The sent event of a ledger line; of several with its id, the most similar one."""
        found = [s for s in self.ledger.sources_of(row) if self._means(s, row.table)]

        def alike(said: Said) -> tuple[bool, ...]:
            return (
                min(said.timestamp, row.received_at) == row.timestamp,
                said.count == row.record_count,
                said.games == frozenset(row.game_ids),
                said.status == row.status,
                said.mark == row.content_hash,
                said.quiet == row.quiet,
                said.correlation_id == row.correlation_id,
            )

        return max(found, key=lambda s: sum(alike(s)), default=None)

    def _means(self, said: Said, table: str) -> bool:
        for rules in self.serving.registries.values():
            named = (rules.table_of(n) for n in said.names)
            if next((t for t in named if t is not None), None) == table:
                return True
        return False

    def _acted(self, act: Acted, at: datetime) -> None:
        if act.act in ("pause", "resume") and act.done:
            self._pauses.append((self._number, act))
            for story in self.stories.values():
                if act.processor in (None, story.processor):
                    story.pauses.append((self._number, act))
            return
        if act.processor is None or act.game_date is None:
            return
        story = self.story(act.processor, act.game_date)
        if act.done:
            story.acts.append((self._number, act))
            story.known_by.append((self._number, act.at, at))
            if act.act == "skip":
                story.skipped = "person"
            elif act.act in ("reset", "trigger"):
                story.skipped = None

    # ── judging ──────────────────────────────────────────────────────────────────────────────

    # ── runs ─────────────────────────────────────────────────────────────────────────────────

    def _run(self, run: RunShown, at: datetime) -> None:
        story = self.story(run.processor, run.game_date)
        known = self.runs.shown.get(run.run_id)
        rules = self.serving.registries.get(run.registry_hash)
        policies = self.serving.versions(run.processor)
        if known is None:
            if rules is None or run.processor not in rules.processors:
                self._break(
                    "run.registry", "4 law 6", run.run_id, "names no registry that was served"
                )
                return
            self._fired(story, run, rules, at)
        else:
            story.generations[run.generation - 1].run = run
        self.runs.show(run, at, policies, self._acts_at_once)

    def _fired(self, story: PartitionStory, run: RunShown, rules: Rules, at: datetime) -> None:
        """A generation was created: was that allowed?"""
        processor, needs = rules.processors[run.processor], self.serving.needs(rules)
        now, person = run.fired_at, run.actor is not None
        last = story.generations[-1] if story.generations else None
        expected = 1 if last is None else last.run.generation + 1
        if run.generation != expected:
            self._break(
                "run.generation", "4 law 2", run.run_id, f"follows generation {expected - 1}"
            )
        if last is not None and last.run.live:
            self._break(
                "run.live", "4 law 2", run.run_id, f"was fired beside the live {last.run.run_id}"
            )
        freshness = not story.generations and "freshness" not in run.bypassed
        ready, newer = self.serving.evaluate(story, rules, now, freshness=freshness)
        forced = "dependencies" in run.bypassed
        if ready.critical_met is False and not forced:
            self._break(
                "run.needs", "4 law 1", run.run_id, f"was fired ({run.trigger}); {_unmet(ready)}"
            )
        if ready.off_day and story.outcome is None and not forced:
            self._break("run.off_day", "4", run.run_id, "was fired on a day without games")
        if person:
            self._by_person(story, run)
        else:
            self._by_itself(story, run, rules, processor, ready, newer)
        counts = story.outcome is not None and not person
        if counts and story.refires >= processor.max_refires:
            self._break(
                "hold.budget",
                "2",
                run.run_id,
                f"is re-fire {story.refires + 1} of at most {processor.max_refires}",
            )
        for pause in story.paused():
            if not (person and "pause" in run.bypassed):
                scope = pause.processor or "everything"
                self._break(
                    "hold.pause", "4 law 8", run.run_id, f"was fired while {scope} is paused"
                )
        launches.check_contents(self._break, self.ledger, needs, story, run, ready, newer)
        story.generations.append(Generation(run, run, self._number, ready, counts, rules))
        story.skipped = None

    def _by_person(self, story: PartitionStory, run: RunShown) -> None:
        acts = [
            a
            for a in self._acts_at_once
            if a.act == "trigger"
            and a.done
            and (a.processor, a.game_date) == run.partition
            and (a.actor, a.reason) == (run.actor, run.reason)
        ]
        if run.trigger != "manual" or not acts:
            self._break(
                "run.manual", "4 law 6", run.run_id, "names an actor, and nobody triggered it"
            )
            return
        asked = sorted(acts[-1].detail.get("bypass", ()))
        if sorted(run.bypassed) != asked:
            self._break(
                "launch.bypassed",
                "6",
                run.run_id,
                f"bypassed {run.bypassed}; requested was {asked}",
            )
        if run.skip_downstream != bool(acts[-1].detail.get("skip_downstream")):
            self._break("launch.skip_downstream", "6", run.run_id, "is not what was requested")

    def _by_itself(
        self,
        story: PartitionStory,
        run: RunShown,
        rules: Rules,
        processor: ProcessorRules,
        ready: EvaluatedNeeds,
        newer: Sequence[Newer],
    ) -> None:
        now, first = run.fired_at, story.outcome is None
        if run.trigger not in AUTOMATIC:
            self._break("run.trigger", "6", run.run_id, f"{run.trigger}, and nobody requested it")
        if story.skipped:
            self._break("run.skipped", "4", run.run_id, f"was skipped by a {story.skipped}")
        if run.bypassed and (run.trigger != "deadline" or run.bypassed != ("dependencies",)):
            self._break(
                "launch.bypassed", "6", run.run_id, f"bypassed {run.bypassed}; nobody requested it"
            )
        if run.skip_downstream:
            self._break(
                "launch.skip_downstream", "6", run.run_id, "is quiet, and nobody requested it"
            )
        if run.trigger == "dependencies" and not first:
            self._break("run.trigger", "4", run.run_id, "dependencies, after an outcome")
        if run.trigger == "late_data":
            if first:
                self._break("run.trigger", "4", run.run_id, "late_data, before any outcome")
            elif ready_newer(newer, ready) is False:
                self._break("run.newer", "2 dirty", run.run_id, "no newer data is ready")
        if run.trigger in ("dependencies", "late_data"):
            others = self.serving.versions(run.processor)
            for hold in story.holds(self.serving.needs(rules), processor, ready, newer, others):
                if hold.surely_at(now) and hold.kind not in ("pause", "budget"):
                    until = hold.until.first
                    words = "" if until.year > 9000 else f" until {until:%m-%d %H:%M:%S.%f}"
                    self._break(
                        f"hold.{hold.kind}",
                        "2",
                        run.run_id,
                        f"was fired ({run.trigger}) at {now:%H:%M:%S.%f}, held{words}",
                    )
        if run.trigger == "deadline":
            self.instants.by_deadline(story, run, rules, processor, ready)
        if run.trigger == "schedule":
            self.instants.by_schedule(story, run, rules, processor, ready, newer)

    # ── what is shown ────────────────────────────────────────────────────────────────────────

    def _shown(self, seen: PartitionShown, at: datetime) -> None:
        story = self.story(seen.processor, seen.game_date)
        if not story.known_by:
            story.known_by.append((self._number, at, at))
        if seen.status == "skipped" and not story.skipped:
            self.instants.skipped(story, at)
            story.skipped = "deadline"
        story.shown = seen
        paused = bool(story.paused())
        if ("paused" in seen.flags) != paused:
            self._break(
                "status.paused",
                "4",
                story.id,
                f"is shown {'' if 'paused' in seen.flags else 'not '}paused",
            )
        if seen.refires not in (None, story.refires):
            self._break(
                "status.refires",
                "4 reset",
                story.id,
                f"says that {seen.refires} re-fires are spent, and {story.refires} are",
            )
        live = story.live
        rules = self.serving.registries.get(seen.registry_hash)
        processor = None if rules is None else rules.processors.get(seen.processor)
        if (
            "refires_spent" in seen.flags
            and processor is not None
            and story.refires < processor.max_refires
        ):
            self._break(
                "status.refires_spent",
                "2 max_refires",
                story.id,
                f"is shown as spent after {story.refires} of {processor.max_refires} re-fires",
            )
        if live is not None:
            expected: tuple[str, ...] = (
                {"pending": "firing", "delivered": "fired", "running": "running"}[live.status],
            )
        elif story.skipped:
            expected = ("skipped",)
        elif story.outcome is not None:
            expected = ("succeeded", "cooling") if story.outcome.status in GOOD else ("failed",)
        else:
            expected = self._before_any_run(story, seen.registry_hash, at)
        if seen.status not in expected:
            self._break(
                "status",
                "4",
                story.id,
                f"is shown as {seen.status}, and is {' or '.join(expected)}",
            )

    def _before_any_run(
        self, story: PartitionStory, registry: str, at: datetime
    ) -> tuple[str, ...]:
        """The statuses that a partition may have before anything ran."""
        rules = self.serving.registries.get(registry)
        processor = None if rules is None else rules.processors.get(story.processor)
        if rules is None or processor is None:
            return ("waiting", "settling", "not_expected")
        ready, _ = self.serving.evaluate(story, rules, at)
        if ready.off_day:
            return ("not_expected",)
        aging = any(line.fail for line in processor.lines) and not story.generations
        ending = any(
            w.until is not None and abs(w.until - at) < timedelta(minutes=10)
            for w in story.waivers(self.serving.needs(rules), at - timedelta(minutes=10))
        )
        has_window = any(line.window for line in processor.lines)  # shown at its next evaluation
        if ready.critical_met is None or aging or ending or has_window:
            return ("waiting", "settling")
        return ("settling",) if ready.critical_met else ("waiting",)

    def _explained(self, seen: Explained) -> None:
        story = self.story(seen.processor, seen.game_date)
        processor = self.serving.current.processors.get(seen.processor)
        if processor is None or len(set(self.serving.instances.values())) > 1:
            return  # the instance that answered may have another registry
        ready, newer = self.serving.evaluate(story, self.serving.current, seen.at)
        needs, others = (
            self.serving.needs(self.serving.current),
            self.serving.versions(processor.name),
        )
        holds = story.holds(needs, processor, ready, newer, others)
        sentences.check(self._break, seen, story.id, ready, holds, self.runs.patience)

    # ── what was sent ────────────────────────────────────────────────────────────────────────

    def _launched(self, seen: Launched, at: datetime) -> None:
        run = self.runs.shown.get(str(seen.message.get("run_id")))
        if run is None:
            self._break("launch.unknown", "6", str(seen.message.get("run_id")), "no such run")
            return
        launches.check_message(self._break, self.serving.registries, run, seen.message, at)
        self.runs.launched(seen, run, at)

    def _noticed(self, seen: Noticed, at: datetime) -> None:
        again = self.notices.get(seen.id, 0)
        self.notices[seen.id] = again + 1
        if again:
            return
        if seen.processor is None or seen.game_date is None:
            self._of_no_partition(seen)
            return
        story = self.story(seen.processor, seen.game_date)
        story.notices.append(seen)
        where = f"{story.id} notice {seen.kind}"
        if seen.kind == "deadline":
            self.instants.noticed(story, where, at)
        elif seen.kind in ("run_failed", "lease_lost", "unclaimed", "launch_undeliverable"):
            self.runs.noticed(seen, where)
        elif seen.kind == "refires_spent":
            spent = any(
                story.refires >= p.max_refires or _ever_spent(story, p.max_refires)
                for p in self.serving.versions(story.processor)
            )
            if not spent:
                self._break("notice.refires_spent", "6", where, "the budget is not spent")

    def _of_no_partition(self, seen: Noticed) -> None:
        """A notice that belongs to no partition: is there a cause, and is it the first of it?"""
        where = f"notice {seen.kind}"
        if seen.kind == "quarantined":
            cause = next((i for i in self.quarantined if i in seen.detail), None)
            if cause is None:
                self._break("notice.quarantined", "6", where, f"nothing is kept: {seen.detail}")
                return
            if self.quarantined[cause][:100] not in seen.summary:
                self._break("notice.quarantined", "6", where, f"has no reason: {seen.summary}")
        elif seen.kind == "silent_source":
            dates = self.ledger.calendars.get(seen.game_date or "", ())
            served = self.serving.registries.values()
            tables = {t for r in served for t in r.tables}
            tables |= {p.output for r in served for p in r.processors.values()}
            named = [t for t in tables if re.search(rf"(?<![\w.-]){re.escape(t)}\s", seen.summary)]
            if not named or not any(games for _, _, _, games in dates):
                self._break(
                    "notice.silent_source", "6", where, f"names no table and games: {seen.summary}"
                )
                return
            cause = f"{named[0]} {seen.game_date}"
        elif seen.kind == "registries_differ":
            if len(self.serving.registries) < 2:
                self._break("notice.registries_differ", "6", where, "one registry was ever served")
            return
        else:
            return
        if (seen.kind, cause) in self._of_service:
            self._break(f"notice.{seen.kind}", "6", where, f"was sent twice for {cause}")
        self._of_service.add((seen.kind, cause))

    # ── at rest ──────────────────────────────────────────────────────────────────────────────

    def at_rest(self, now: datetime) -> None:
        """Faults have stopped and sweeps have passed: everything that had to happen has happened."""
        self.pass_time(now)
        self._now = now
        rules = self.serving.current
        for story in self.stories.values():
            processor = rules.processors.get(story.processor)
            if processor is None:
                continue
            self._fires_when_ready(story, rules, processor, now)
            self.instants.at_rest(story, rules, processor)
        known = [self.serving.versions(run.processor)[-1:] for run in self.runs.shown.values()]
        policies = [p[0] if p else None for p in known]
        for run, policy in zip(list(self.runs.shown.values()), policies, strict=True):
            if run.processor in rules.processors and policy is not None:
                story = self.story(run.processor, run.game_date)
                self.runs.at_rest(run, rules.processors[run.processor], story, self.ledger, now)

    def _fires_when_ready(
        self, story: PartitionStory, rules: Rules, processor: ProcessorRules, now: datetime
    ) -> None:
        """What is ready and not held has been fired (law 3)."""
        ready, newer = self.serving.evaluate(story, rules, now)
        if story.shown is None:
            if any(not line.window for line in processor.lines) and story.arrivals(
                processor.lines, 0
            ):
                self._break("partition.missing", "4 law 3", story.id, "has loads, and is not there")
            return
        if story.live is not None or story.skipped:
            return
        first = story.outcome is None
        if first:
            due = ready.critical_met is True and not ready.off_day
        else:
            due = ready_newer(newer, ready) is True
        self._flags_at_rest(story, processor, ready, newer, now)
        if not due:
            return
        holds = story.holds(
            self.serving.needs(rules),
            processor,
            ready,
            newer,
            self.serving.versions(processor.name),
        )
        held = [h for h in holds if not h.over_at(now)]
        if not held:
            what = "ready" if first else "ready with newer data: " + _listed(newer)
            self._break(
                "unfired" if first else "unfired.newer",
                "4 law 3",
                story.id,
                f"is {what}, nothing holds it, and it has not been fired",
            )
        spent = [h.kind for h in held] == ["budget"]
        if spent and not any(n.kind == "refires_spent" for n in story.notices):
            self._break(
                "notice.refires_spent", "6", story.id, "the budget is spent, and no notice went out"
            )

    def _flags_at_rest(
        self,
        story: PartitionStory,
        processor: ProcessorRules,
        ready: EvaluatedNeeds,
        newer: Sequence[Newer],
        now: datetime,
    ) -> None:
        shown = story.shown
        assert shown is not None
        if story.outcome is None:
            expected = self._before_any_run(story, self.serving.current.hash, now)
            if shown.status not in expected:
                self._break(
                    "status",
                    "4",
                    story.id,
                    f"is shown as {shown.status}, and is {' or '.join(expected)}",
                )
            return
        sure = [n for n in newer if n.sure and n.loads]
        if sure and "newer_data" not in shown.flags:
            self._break(
                "status.newer_data", "4", story.id, f"does not show its newer data: {_listed(sure)}"
            )
        if not newer and "newer_data" in shown.flags:
            self._break("status.newer_data", "4", story.id, "shows newer data, and there is none")


def _partitions_of(rules: Rules, load: RecordedLoad) -> Iterable[tuple[str, str]]:
    """The partitions that a load makes known."""
    for processor in rules.processors.values():
        offsets = {
            line.offset for line in processor.lines if not line.window and load.table in line.tables
        }
        if load.table == rules.calendar:
            offsets |= processor.offsets
        for offset in offsets:
            yield processor.name, shifted(load.game_date, -offset)


def _unmet(ready: EvaluatedNeeds) -> str:
    lines = [n.line.key for n in ready.needs if n.line.critical and n.met is False]
    return f"not met: {'; '.join(lines)}" if lines else "no input has arrived"


def _listed(newer: Sequence[Newer]) -> str:
    return ", ".join(
        f"{n.table} {n.game_date} ({'/'.join(x.event_id for x in n.loads) or 'the calendar'})"
        for n in newer
    )


def _ever_spent(story: PartitionStory, most: int) -> bool:
    """Whether the budget was spent at some time, perhaps before a reset."""
    return sum(g.counts for g in story.generations) >= most
