"""The judge: takes observations in the order they happened, and says which rules are broken.

Safety ("must not") is checked when something is shown; liveness ("must") when the world is at rest
(``at_rest``). See the package for what the judge is, and ``story`` and ``needs`` for the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from coordinator.judge import launches, runs, sentences
from coordinator.judge.ledger import OUTPUT, Ledger, Load, Said
from coordinator.judge.needs import Answer, Needs, Readiness
from coordinator.judge.observations import (
    Acted,
    Completed,
    Explained,
    Granted,
    Launched,
    Noticed,
    Observation,
    PartitionShown,
    Recorded,
    Reporting,
    RunShown,
    Sent,
    Served,
    Stopped,
)
from coordinator.judge.report import Broken
from coordinator.judge.rules import Clock, Processor, Rules, read, shifted
from coordinator.judge.story import (
    GOOD,
    Generation,
    Newer,
    Passed,
    Story,
    ready_newer,
)

AUTOMATIC = ("dependencies", "late_data", "deadline", "schedule")
LONG_UNDELIVERED = timedelta(minutes=10)
_ORDER: tuple[type, ...] = (
    Served,
    Stopped,
    Sent,
    Reporting,
    Recorded,
    Acted,
    RunShown,
    PartitionShown,
    Launched,
    Granted,
    Completed,
    Noticed,
    Explained,
)
"""Of what is seen at once, facts come before what follows from them."""


class Judge:
    """Holds what it is shown against the contract."""

    def __init__(self, *, patience: timedelta = runs.PATIENCE) -> None:
        """``patience`` is how long a sweep and a delivery may take at rest."""
        self.ledger = Ledger()
        self.stories: dict[tuple[str, str], Story] = {}
        self.registries: dict[str, Rules] = {}
        self.served: list[str] = []
        """Registries in the order they came into use; the last is the current one."""
        self.broken: list[Broken] = []
        self.runs = runs.Runs(self._break, patience=patience)
        self.notices: dict[str, int] = {}
        """Notice id → how often it was taken."""
        self._number = 0
        self._now: datetime | None = None
        self._by: str | None = None
        self._reported: set[tuple[str, str, str]] = set()
        self._instances: dict[str, str] = {}
        """Instance → the registry that it serves."""
        self._ready: dict[str, datetime] = {}
        """Registry → when an instance was first ready under it."""
        self._latest: datetime | None = None
        self._needs: dict[str, Needs] = {}
        self._acts_at_once: list[Acted] = []
        self._pauses: list[tuple[int, Acted]] = []
        self._outputs: list[tuple[Recorded, str]] = []

    # ── seeing ───────────────────────────────────────────────────────────────────────────────

    def see(self, at: datetime, *seen: Observation, registry: str | None = None) -> None:
        """Take in what became visible at one instant, such as one commit.

        ``registry`` is the hash of the one that the instance serves which did it, where that is
        known; otherwise it may have been any that is served.
        """
        self.pass_time(at)
        self._now = at
        self._by = registry if registry in self.registries else None
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
                self._served(seen, at)
            case Stopped():
                self._instances.pop(seen.instance, None)
            case Sent():
                self.ledger.note_sent(seen)
            case Recorded():
                self._recorded(seen, at)
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
            case Completed():
                self.runs.completed(seen, at)
            case Noticed():
                self._noticed(seen, at)

    def pass_time(self, at: datetime) -> None:
        """Time has come this far: note every deadline and schedule instant on the way."""
        before, self._latest = self._latest, at
        self.ledger.pass_time(at)
        if before is None or at <= before or not self.served:
            return
        served = [self.rules, *(self.registries[h] for h in self._instances.values())]
        for rules in {r.hash: r for r in served}.values():
            for processor in rules.processors.values():
                if processor.deadline or processor.schedule:
                    self._pass_instants(rules, processor, before, at)

    def _pass_instants(
        self, rules: Rules, processor: Processor, before: datetime, at: datetime
    ) -> None:
        for (name, game_date), story in self.stories.items():
            if name != processor.name:
                continue
            for kind, clock in _clocks(processor):
                instant = rules.instant(game_date, clock)
                if not before < instant <= at:
                    continue
                if (kind, instant) in story.passed:
                    story.came_again.add((kind, instant))
                else:
                    story.passed[kind, instant] = self._passing(
                        story, rules, processor, kind, clock, instant
                    )

    def _break(self, rule: str, section: str, where: str, sentence: str) -> None:
        assert self._now is not None
        if (rule, where, sentence) not in self._reported:
            self._reported.add((rule, where, sentence))
            self.broken.append(Broken(rule, section, where, self._now, sentence))

    # ── facts ────────────────────────────────────────────────────────────────────────────────

    @property
    def rules(self) -> Rules:
        """The registry that is served now."""
        return self.registries[self.served[-1]]

    def _served(self, seen: Served, at: datetime) -> None:
        started = self._instances.get(seen.instance) == seen.hash
        self._instances[seen.instance] = seen.hash
        if seen.ready:
            self._ready.setdefault(seen.hash, at)
        if started:
            return  # it was seen to start, and is ready now
        if seen.hash not in self.registries:
            self.registries[seen.hash] = read(seen.text, seen.hash, at)
        if not self.served or self.served[-1] != seen.hash:
            changed = at if self.served else None
            self.served.append(seen.hash)
            self._needs[seen.hash] = Needs(self.registries[seen.hash], self.ledger, changed)
            for other in self._needs.values():
                # Whoever serves another one beside it judges by either.
                if changed is not None:
                    other.changed_at = changed

    def story(self, processor: str, game_date: str) -> Story:
        """The story of a partition."""
        key = (processor, game_date)
        if key not in self.stories:
            self.stories[key] = Story(processor, game_date, self.ledger)
            self.stories[key].pauses = [
                (n, a) for n, a in self._pauses if a.processor in (None, processor)
            ]
        return self.stories[key]

    def _recorded(self, row: Recorded, at: datetime) -> None:
        load = self._load(row, at)
        where = f"{row.table} {row.game_date}"
        self.ledger.loads.setdefault((load.table, load.game_date), []).append(load)
        verdicts = set()
        for rules in self._possible():
            verdicts.add(self.ledger.wins_anything(load, rules) if load.speaks else None)
            if rules.calendar == load.table:
                self.ledger.note_calendar(load)
        wins = verdicts.pop() if len(verdicts) == 1 else None
        if wins is False or (wins is None and load.speaks and row.outcome == "superseded"):
            # Registries that differ in the table's grain: the ledger's own word is taken.
            self.ledger.superseded.add(load.number)
        calendar = any(r.calendar == load.table for r in self._possible())
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
        for rules in self._possible():
            for name, game_date in _partitions_of(rules, load):
                story = self.story(name, game_date)
                story.known_by.append((load.number, load.received_at, at))

    def _possible(self) -> list[Rules]:
        """The registries under which this may have been done."""
        if self._by is not None:
            return [self.registries[self._by]]
        served = dict.fromkeys([*self._instances.values(), *self.served[-1:]])
        return [self.registries[h] for h in served]

    def _load(self, row: Recorded, at: datetime) -> Load:
        """A ledger line, with what its sender said instead of what the ledger says."""
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
        timestamp = row.timestamp
        if row.event_id.startswith(OUTPUT):
            run = self.runs.shown.get(row.event_id[len(OUTPUT) :])
            if run is None:
                self._break("ledger.unknown", "3.1", where, f"{row.event_id} is no run's output")
            else:
                generation, quiet = run.generation, run.skip_downstream
                self._outputs.append((row, run.run_id))  # its end may be of the same commit
        elif said is None:
            self._break("ledger.unknown", "4 law 5", where, f"nobody sent {row.event_id}")
        else:
            quiet, mark, count, games = said.quiet, said.mark, said.count, said.games
            status = said.status or row.status
            timestamp = min(said.timestamp, row.received_at)
        as_sent = (quiet, mark, count, games, status, timestamp)
        as_kept = (
            row.quiet,
            row.content_hash,
            row.record_count,
            frozenset(row.game_ids),
            row.status,
            row.timestamp,
        )
        names = (
            "skip_downstream",
            "content_hash",
            "record_count",
            "game_ids",
            "status",
            "timestamp",
        )
        for name, sent, recorded in zip(names, as_sent, as_kept, strict=True):
            if sent != recorded:
                self._break(
                    "ledger.content",
                    "3.1",
                    where,
                    f"{row.event_id} was sent with {name} {sent!r} and is recorded with {recorded!r}",
                )
        return Load(
            number=self._number,
            table=row.table,
            game_date=row.game_date,
            event_id=row.event_id,
            status=status,
            timestamp=timestamp,
            received_at=row.received_at,
            count=count,
            games=tuple(sorted(games)),
            mark=mark,
            quiet=quiet,
            correlation_id=row.correlation_id,
            generation=generation,
        )

    def _said(self, row: Recorded) -> Said | None:
        """The sent event behind a ledger line: of several with its id, the most alike."""
        found = [s for s in self.ledger.sources_of(row) if self._means(s, row.table)]

        def alike(said: Said) -> tuple[bool, ...]:
            return (
                min(said.timestamp, row.received_at) == row.timestamp,
                said.count == row.record_count,
                said.games == frozenset(row.game_ids),
                said.status == row.status,
                said.mark == row.content_hash,
                said.quiet == row.quiet,
            )

        return max(found, key=lambda s: sum(alike(s)), default=None)

    def _means(self, said: Said, table: str) -> bool:
        for rules in self.registries.values():
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

    def needs(self, rules: Rules) -> Needs:
        """The needs under a registry."""
        return self._needs[rules.hash]

    def evaluate(
        self, story: Story, rules: Rules, now: datetime, *, freshness: bool | None = None
    ) -> tuple[Readiness, list[Newer]]:
        """A partition's needs, and what is newer, at an instant, by everything seen so far."""
        needs, processor = self.needs(rules), rules.processors[story.processor]
        fresh = not story.generations if freshness is None else freshness
        ready = needs.readiness(
            processor,
            story.game_date,
            now,
            freshness=fresh,
            waivers=story.waivers(needs, now),
        )
        return ready, story.newer(needs, ready)

    def _others(self, name: str) -> list[Processor]:
        return [r.processors[name] for r in self.registries.values() if name in r.processors]

    def _known_before(self, story: Story, at: datetime) -> Answer:
        """Whether a partition was known before an instant."""
        if any(max(received, seen) < at for _, received, seen in story.known_by):
            return True
        return None if any(min(r, s) <= at for _, r, s in story.known_by) else False

    def _passing(
        self,
        story: Story,
        rules: Rules,
        processor: Processor,
        kind: str,
        clock: Clock,
        instant: datetime,
    ) -> Passed:
        ready, newer = self.evaluate(story, rules, instant)
        state = "open"
        if story.skipped:
            state = "skipped"
        elif story.outcome is not None:
            state = "done"
        elif story.live is not None:
            state = "live"
        elif ready.off_day:
            state = "off"
        every = story.arrivals(processor.lines, 0)
        base = story.generations[-1].number if story.generations else 0
        recent = story.arrivals(processor.lines, max(base, story.reset_number))
        quiet = story.quiet(recent)
        if story.outcome is not None:
            quiet = story.quiet([x for n in newer for x in n.loads])
        would: Answer = ready.critical_met
        if state == "skipped" or ready.off_day:
            would = False
        elif quiet is not False:
            would = None if quiet is None and would is not False else False
        elif story.live is not None:
            would = None
        elif state == "done" and clock.what != "always":
            would = ready_newer(newer, ready)
        if state == "done" and story.refires >= processor.max_refires:
            would = False
        if would is False and state in ("open", "done") and not ready.off_day and story.paused():
            would = None  # it acts on resume, by what is there then
        known = self._known_before(story, instant)
        was_set = self._set_before(story, kind, instant)
        if was_set is not True and known is not False:
            known = was_set
        return Passed(
            kind=kind,
            at=instant,
            clock=clock,
            number=self._number,
            known=known,
            state=state,
            would_act=would,
            usable=ready.usable if every or ready.usable is not False else False,
            quiet=quiet,
            critical_met=ready.critical_met,
            registry=rules.hash,
        )

    def _set_before(self, story: Story, kind: str, instant: datetime) -> Answer:
        """Whether an instant was not put into the past by a change of the registry.

        The first registry of a store changes nothing; of any other that sets the instant one must
        have been served before it came. It is unknown while instances only try to start under it.
        """
        answer: Answer = False
        for number, identity in enumerate(self.served):
            rules = self.registries[identity]
            processor = rules.processors.get(story.processor)
            if processor is None or (number and rules.served_at >= instant):
                continue
            if any(
                k == kind and rules.instant(story.game_date, c) == instant
                for k, c in _clocks(processor)
            ):
                ready_at = self._ready.get(identity)
                if not number or (ready_at is not None and ready_at < instant):
                    return True
                answer = None
        return answer

    # ── runs ─────────────────────────────────────────────────────────────────────────────────

    def _run(self, run: RunShown, at: datetime) -> None:
        story = self.story(run.processor, run.game_date)
        known = self.runs.shown.get(run.run_id)
        rules = self.registries.get(run.registry_hash)
        policies = self._others(run.processor)
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

    def _fired(self, story: Story, run: RunShown, rules: Rules, at: datetime) -> None:
        """A generation was created: might it be?"""
        processor, needs = rules.processors[run.processor], self.needs(rules)
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
        ready, newer = self.evaluate(story, rules, now, freshness=freshness)
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

    def _by_person(self, story: Story, run: RunShown) -> None:
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
                "launch.bypassed", "6", run.run_id, f"bypassed {run.bypassed}; asked was {asked}"
            )
        if run.skip_downstream != bool(acts[-1].detail.get("skip_downstream")):
            self._break("launch.skip_downstream", "6", run.run_id, "is not what was asked for")

    def _by_itself(
        self,
        story: Story,
        run: RunShown,
        rules: Rules,
        processor: Processor,
        ready: Readiness,
        newer: Sequence[Newer],
    ) -> None:
        now, first = run.fired_at, story.outcome is None
        if run.trigger not in AUTOMATIC:
            self._break("run.trigger", "6", run.run_id, f"{run.trigger}, and nobody asked for it")
        if story.skipped:
            self._break("run.skipped", "4", run.run_id, f"was skipped by a {story.skipped}")
        if run.bypassed and (run.trigger != "deadline" or run.bypassed != ("dependencies",)):
            self._break(
                "launch.bypassed", "6", run.run_id, f"bypassed {run.bypassed}; nobody asked"
            )
        if run.skip_downstream:
            self._break("launch.skip_downstream", "6", run.run_id, "is quiet, and nobody asked")
        if run.trigger == "dependencies" and not first:
            self._break("run.trigger", "4", run.run_id, "dependencies, after an outcome")
        if run.trigger == "late_data":
            if first:
                self._break("run.trigger", "4", run.run_id, "late_data, before any outcome")
            elif ready_newer(newer, ready) is False:
                self._break("run.newer", "2 dirty", run.run_id, "no newer data is ready")
        if run.trigger in ("dependencies", "late_data"):
            others = self._others(run.processor)
            for hold in story.holds(self.needs(rules), processor, ready, newer, others):
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
            self._by_deadline(story, run, rules, processor, ready)
        if run.trigger == "schedule":
            self._by_schedule(story, run, rules, processor, ready, newer)

    def _by_deadline(
        self, story: Story, run: RunShown, rules: Rules, processor: Processor, ready: Readiness
    ) -> None:
        def no(sentence: str) -> None:
            self._break("deadline.fire", "2 deadlines", run.run_id, sentence)

        clock = processor.deadline
        if clock is None or clock.what != "fire":
            no("was fired by a deadline that does not fire")
            return
        at = rules.instant(run.game_date, clock)
        if run.fired_at < at:
            no(f"was fired before its deadline {at:%m-%d %H:%M}")
        if story.outcome is not None:
            no("was fired by a deadline after an outcome")
        if any(
            g.created.trigger == "deadline" and g.created.fired_at >= at for g in story.generations
        ):
            no("the deadline has acted before")
        if self._known_before(story, at) is False:
            no("was first known after its deadline")
        if not self._set_before(story, "deadline", at):
            no("a change of the registry put the deadline into the past")
        if ready.usable is False:
            no("was fired without any usable input")
        if (ready.critical_met is True) == ("dependencies" in run.bypassed) and (
            ready.critical_met is not None
        ):
            no(f"says it bypassed {run.bypassed}, and its needs are met: {ready.critical_met}")

    def _by_schedule(
        self,
        story: Story,
        run: RunShown,
        rules: Rules,
        processor: Processor,
        ready: Readiness,
        newer: Sequence[Newer],
    ) -> None:
        def no(sentence: str) -> None:
            self._break("schedule.fire", "2 schedules", run.run_id, sentence)

        acted = [g.created.fired_at for g in story.generations if g.created.trigger == "schedule"]
        reasons = []
        for clock in processor.schedule:
            at = rules.instant(run.game_date, clock)
            if at > run.fired_at:
                reasons.append(f"{at:%m-%d %H:%M} has not come")
                continue
            passed = story.passed.get(("schedule", at))
            if any(fired >= at for fired in acted):
                reasons.append(f"{at:%m-%d %H:%M} has acted")
            elif self._known_before(story, at) is False:
                reasons.append(f"first known after {at:%m-%d %H:%M}")
            elif not self._set_before(story, "schedule", at):
                reasons.append(f"a change of the registry put {at:%m-%d %H:%M} into the past")
            elif (
                passed is not None
                and ("schedule", at) not in story.came_again
                and passed.would_act is False
                and passed.state != "live"
            ):
                reasons.append(f"at {at:%m-%d %H:%M} there was nothing to do")
            elif (
                clock.what != "always"
                and story.outcome is not None
                and ready_newer(newer, ready) is False
            ):
                reasons.append("it has succeeded, and nothing newer is ready")
            else:
                return
        no("; ".join(reasons) or "it has no schedule")

    # ── what is shown ────────────────────────────────────────────────────────────────────────

    def _shown(self, seen: PartitionShown, at: datetime) -> None:
        story = self.story(seen.processor, seen.game_date)
        if not story.known_by:
            story.known_by.append((self._number, at, at))
        if seen.status == "skipped" and not story.skipped:
            self._skipped_by_deadline(story, at)
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
        rules = self.registries.get(seen.registry_hash)
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

    def _before_any_run(self, story: Story, registry: str, at: datetime) -> tuple[str, ...]:
        """What a partition may be shown as that nothing ran of."""
        rules = self.registries.get(registry)
        processor = None if rules is None else rules.processors.get(story.processor)
        if rules is None or processor is None:
            return ("waiting", "settling", "not_expected")
        ready, _ = self.evaluate(story, rules, at)
        if ready.off_day:
            return ("not_expected",)
        aging = any(line.fail for line in processor.lines) and not story.generations
        ending = any(
            w.until is not None and abs(w.until - at) < timedelta(minutes=10)
            for w in story.waivers(self.needs(rules), at - timedelta(minutes=10))
        )
        has_window = any(line.window for line in processor.lines)  # judged when next evaluated
        if ready.critical_met is None or aging or ending or has_window:
            return ("waiting", "settling")
        return ("settling",) if ready.critical_met else ("waiting",)

    def _explained(self, seen: Explained) -> None:
        story = self.story(seen.processor, seen.game_date)
        processor = self.rules.processors.get(seen.processor)
        if processor is None or len(set(self._instances.values())) > 1:
            return  # whoever answered may have judged by another registry
        ready, newer = self.evaluate(story, self.rules, seen.at)
        needs, others = self.needs(self.rules), self._others(processor.name)
        holds = story.holds(needs, processor, ready, newer, others)
        sentences.check(self._break, seen, story.id, ready, holds, self.runs.patience)

    def _skipped_by_deadline(self, story: Story, at: datetime) -> None:
        """A partition is skipped and no person said so: a deadline of some registry must have."""
        reasons = [self._why_not_skipped(story, rules, at) for rules in self._possible()]
        if None not in reasons:
            self._break("deadline.skip", "2 deadlines", story.id, "; ".join(map(str, reasons)))

    def _why_not_skipped(self, story: Story, rules: Rules, at: datetime) -> str | None:
        processor = rules.processors.get(story.processor)
        clock = None if processor is None else processor.deadline
        if clock is None or clock.what != "skip":
            return "is skipped, and neither a person nor a deadline said so"
        instant = rules.instant(story.game_date, clock)
        if at < instant:
            return f"was skipped before its deadline {instant:%m-%d %H:%M}"
        if self._known_before(story, instant) is False:
            return "was first known after its deadline, and was skipped"
        if not self._set_before(story, "deadline", instant):
            return "a change of the registry put the deadline into the past, and it was skipped"
        if self.evaluate(story, rules, at)[0].critical_met is True:
            return "was skipped though its needs are met"
        return None

    # ── what went out ────────────────────────────────────────────────────────────────────────

    def _launched(self, seen: Launched, at: datetime) -> None:
        run = self.runs.shown.get(str(seen.message.get("run_id")))
        if run is None:
            self._break("launch.unknown", "6", str(seen.message.get("run_id")), "no such run")
            return
        launches.check_message(self._break, self.registries, run, seen.message, at)
        self.runs.launched(seen, run, at)

    def _noticed(self, seen: Noticed, at: datetime) -> None:
        again = self.notices.get(seen.id, 0)
        self.notices[seen.id] = again + 1
        if again:
            return
        if seen.processor is None or seen.game_date is None:
            return
        story = self.story(seen.processor, seen.game_date)
        story.notices.append(seen)
        where = f"{story.id} notice {seen.kind}"
        if seen.kind == "deadline":
            self._check_deadline_notice(story, where, at)
        elif seen.kind in ("run_failed", "lease_lost", "unclaimed", "launch_undeliverable"):
            self.runs.noticed(seen, where)
        elif seen.kind == "refires_spent":
            spent = any(
                story.refires >= p.max_refires or _ever_spent(story, p.max_refires)
                for p in self._others(story.processor)
            )
            if not spent:
                self._break("notice.refires_spent", "6", where, "the budget is not spent")

    def _check_deadline_notice(self, story: Story, where: str, at: datetime) -> None:
        passed = [p for (kind, _), p in story.passed.items() if kind == "deadline"]
        count = sum(n.kind == "deadline" for n in story.notices)
        if not passed:
            self._break("notice.deadline", "6", where, "no deadline of it has passed")
        elif all(p.known is False for p in passed):
            self._break("notice.deadline", "2 deadlines", where, "first known after its deadline")
        elif all(p.state in ("skipped", "off") for p in passed) or (
            all(p.state == "done" for p in passed)
            and not any(a.act == "reset" for _, a in story.acts)
        ):
            self._break(
                "notice.deadline",
                "2 deadlines",
                where,
                f"at its deadline it was {passed[-1].state}",
            )
        if count > len(passed):
            self._break(
                "notice.deadline", "6", where, f"notice {count} of {len(passed)} deadline(s)"
            )

    # ── at rest ──────────────────────────────────────────────────────────────────────────────

    def at_rest(self, now: datetime) -> None:
        """Faults have stopped and sweeps have passed: whatever had to happen has happened."""
        self.pass_time(now)
        self._now = now
        rules = self.rules
        for story in self.stories.values():
            processor = rules.processors.get(story.processor)
            if processor is None:
                continue
            self._fires_when_ready(story, rules, processor, now)
            self._instants_have_acted(story, rules, processor)
        known = [self._others(run.processor)[-1:] for run in self.runs.shown.values()]
        policies = [p[0] if p else None for p in known]
        for run, policy in zip(list(self.runs.shown.values()), policies, strict=True):
            if run.processor in rules.processors and policy is not None:
                story = self.story(run.processor, run.game_date)
                self.runs.at_rest(run, rules.processors[run.processor], story, self.ledger, now)

    def _fires_when_ready(
        self, story: Story, rules: Rules, processor: Processor, now: datetime
    ) -> None:
        """What is ready and not held has been fired (law 3)."""
        ready, newer = self.evaluate(story, rules, now)
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
            self.needs(rules), processor, ready, newer, self._others(processor.name)
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
        story: Story,
        processor: Processor,
        ready: Readiness,
        newer: Sequence[Newer],
        now: datetime,
    ) -> None:
        shown = story.shown
        assert shown is not None
        if story.outcome is None:
            expected = self._before_any_run(story, self.rules.hash, now)
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

    def _instants_have_acted(self, story: Story, rules: Rules, processor: Processor) -> None:
        if story.paused() or story.shown is None:
            return
        mine = {(k, rules.instant(story.game_date, c)) for k, c in _clocks(processor)}
        for (kind, at), passed in story.passed.items():
            if passed.known is not True or (kind, at) not in mine or passed.registry != rules.hash:
                continue
            if (kind, at) in story.came_again:
                continue
            after = [g for g in story.generations if g.number > passed.number]
            disturbed = any(n > passed.number for n, _ in story.acts) or any(
                n > passed.number for n, _ in story.pauses
            )
            disturbed = disturbed or any(
                n > passed.number for n, _ in self.ledger.calendar_changes(story.game_date)
            )
            if kind == "deadline":
                self._deadline_has_acted(story, passed, after, disturbed)
            elif passed.would_act is True and not after and not disturbed:
                ready, newer = self.evaluate(story, rules, at)
                if ready.critical_met is True and (
                    passed.clock.what == "always"
                    or story.outcome is None
                    or ready_newer(newer, ready)
                ):
                    self._break(
                        "schedule.missed",
                        "2 schedules",
                        story.id,
                        f"{at:%m-%d %H:%M} ({passed.clock.what}) has passed and fired nothing",
                    )

    def _deadline_has_acted(
        self, story: Story, passed: Passed, after: Sequence[Generation], disturbed: bool
    ) -> None:
        if passed.state not in ("open", "live") or disturbed:
            return
        noticed = any(n.kind == "deadline" for n in story.notices)
        at = f"{passed.at:%m-%d %H:%M}"
        if not noticed:
            rule = "notice.deadline" if passed.state == "open" else "notice.deadline.live"
            self._break(rule, "6", story.id, f"the deadline {at} passed, and no notice went out")
        if passed.state != "open":
            return
        if passed.clock.what == "fire" and passed.usable is True and passed.quiet is False:
            if not after:
                self._break(
                    "deadline.missed", "2 deadlines", story.id, f"the deadline {at} fired nothing"
                )
        elif passed.clock.what == "skip" and passed.critical_met is False:
            came = [n for n, _, _ in story.known_by if n > passed.number]
            if story.skipped is None and not after and not came:
                self._break(
                    "deadline.missed", "2 deadlines", story.id, f"the deadline {at} skipped nothing"
                )


def _clocks(processor: Processor) -> Iterable[tuple[str, Clock]]:
    if processor.deadline is not None:
        yield "deadline", processor.deadline
    for entry in processor.schedule:
        yield "schedule", entry


def _partitions_of(rules: Rules, load: Load) -> Iterable[tuple[str, str]]:
    """The partitions that a load makes known."""
    for processor in rules.processors.values():
        offsets = {
            line.offset for line in processor.lines if not line.window and load.table in line.tables
        }
        if load.table == rules.calendar:
            offsets |= processor.offsets
        for offset in offsets:
            yield processor.name, shifted(load.game_date, -offset)


def _unmet(ready: Readiness) -> str:
    lines = [n.line.key for n in ready.needs if n.line.critical and n.met is False]
    return f"not met: {'; '.join(lines)}" if lines else "no input has arrived"


def _listed(newer: Sequence[Newer]) -> str:
    return ", ".join(
        f"{n.table} {n.game_date} ({'/'.join(x.event_id for x in n.loads) or 'the calendar'})"
        for n in newer
    )


def _ever_spent(story: Story, most: int) -> bool:
    """Whether the budget was spent at some time, perhaps before a reset."""
    return sum(g.counts for g in story.generations) >= most
