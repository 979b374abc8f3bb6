"""Deadlines and schedules: each instant acts, once, and not otherwise (specification 2.6).

Owns the record of every instant that has passed, and what may and must follow from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from coordinator.judge.ledger import Ledger
from coordinator.judge.needs import Answer, EvaluatedNeeds
from coordinator.judge.observations import RunShown
from coordinator.judge.rules import ProcessorRules, Rules, TimeOfDay
from coordinator.judge.serving import Serving
from coordinator.judge.story import Generation, Newer, PartitionStory, Passed, ready_newer

Break = Callable[[str, str, str, str], None]


@dataclass(slots=True)
class Instants:
    """Checks deadlines and schedules."""

    broken: Break
    serving: Serving
    ledger: Ledger

    def pass_time(
        self,
        stories: Mapping[tuple[str, str], PartitionStory],
        rules: Rules,
        processor: ProcessorRules,
        before: datetime,
        at: datetime,
        number: int,
    ) -> None:
        """Record each instant of a processor up to now; ``number`` is what was seen last."""
        for (name, game_date), story in stories.items():
            if name != processor.name:
                continue
            for kind, clock in processor.clocks:
                instant = rules.instant(game_date, clock)
                if not before < instant <= at:
                    continue
                if (kind, instant) in story.passed:
                    story.came_again.add((kind, instant))
                else:
                    story.passed[kind, instant] = self._passing(
                        story, rules, processor, kind, clock, instant, number
                    )

    def _passing(
        self,
        story: PartitionStory,
        rules: Rules,
        processor: ProcessorRules,
        kind: str,
        clock: TimeOfDay,
        instant: datetime,
        number: int,
    ) -> Passed:
        ready, newer = self.serving.evaluate(story, rules, instant)
        state = "open"
        if story.skipped:
            state = "skipped"
        elif story.outcome is not None:
            state = "done"
        elif ready.off_day:
            state = "off"  # also over a live run: nothing is expected of that date any more
        elif story.live is not None:
            state = "live"
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
        known = story.known_before(instant)
        was_set = self.serving.set_before(story, kind, instant)
        if was_set is not True and known is not False:
            known = was_set
        return Passed(
            kind=kind,
            at=instant,
            clock=clock,
            number=number,
            known=known,
            state=state,
            would_act=would,
            usable=ready.usable if every or ready.usable is not False else False,
            quiet=quiet,
            critical_met=ready.critical_met,
            registry=rules.hash,
        )

    def by_deadline(
        self,
        story: PartitionStory,
        run: RunShown,
        rules: Rules,
        processor: ProcessorRules,
        ready: EvaluatedNeeds,
    ) -> None:
        """A run was fired by a deadline, as it says: was that allowed?"""

        def no(sentence: str) -> None:
            self.broken("deadline.fire", "2 deadlines", run.run_id, sentence)

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
        if story.known_before(at) is False:
            no("was first known after its deadline")
        if self.serving.set_before(story, "deadline", at) is False:
            no("a change of the registry put the deadline into the past")
        if ready.usable is False:
            no("was fired without any usable input")
        if (ready.critical_met is True) == ("dependencies" in run.bypassed) and (
            ready.critical_met is not None
        ):
            no(f"says it bypassed {run.bypassed}, and its needs are met: {ready.critical_met}")

    def by_schedule(
        self,
        story: PartitionStory,
        run: RunShown,
        rules: Rules,
        processor: ProcessorRules,
        ready: EvaluatedNeeds,
        newer: Sequence[Newer],
    ) -> None:
        """A run was fired by a schedule, as it says: was that allowed?"""

        def no(sentence: str) -> None:
            self.broken("schedule.fire", "2 schedules", run.run_id, sentence)

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
            elif story.known_before(at) is False:
                reasons.append(f"first known after {at:%m-%d %H:%M}")
            elif self.serving.set_before(story, "schedule", at) is False:
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

    def skipped(self, story: PartitionStory, at: datetime) -> None:
        """A partition is skipped, but not by a person: a deadline of some registry must have."""
        reasons = [self._why_not_skipped(story, rules, at) for rules in self.serving.possible()]
        if None not in reasons:
            self.broken("deadline.skip", "2 deadlines", story.id, "; ".join(map(str, reasons)))

    def _why_not_skipped(self, story: PartitionStory, rules: Rules, at: datetime) -> str | None:
        processor = rules.processors.get(story.processor)
        clock = None if processor is None else processor.deadline
        if clock is None or clock.what != "skip":
            return "is skipped, and neither a person nor a deadline said so"
        instant = rules.instant(story.game_date, clock)
        if at < instant:
            return f"was skipped before its deadline {instant:%m-%d %H:%M}"
        if story.known_before(instant) is False:
            return "was first known after its deadline, and was skipped"
        if self.serving.set_before(story, "deadline", instant) is False:
            return "a change of the registry put the deadline into the past, and it was skipped"
        if self.serving.evaluate(story, rules, at)[0].critical_met is True:
            return "was skipped though its needs are met"
        return None

    def noticed(self, story: PartitionStory, where: str, at: datetime) -> None:
        """A notice of a passed deadline: is there a cause?"""
        passed = [p for (kind, _), p in story.passed.items() if kind == "deadline"]
        count = sum(n.kind == "deadline" for n in story.notices)
        if not passed:
            self.broken("notice.deadline", "6", where, "no deadline of it has passed")
        elif all(p.known is False for p in passed):
            self.broken("notice.deadline", "2 deadlines", where, "first known after its deadline")
        elif all(p.state in ("skipped", "off") for p in passed) or (
            all(p.state == "done" for p in passed)
            and not any(a.act == "reset" for _, a in story.acts)
        ):
            self.broken(
                "notice.deadline",
                "2 deadlines",
                where,
                f"at its deadline it was {passed[-1].state}",
            )
        if count > len(passed):
            self.broken(
                "notice.deadline", "6", where, f"notice {count} of {len(passed)} deadline(s)"
            )

    def at_rest(self, story: PartitionStory, rules: Rules, processor: ProcessorRules) -> None:
        """Everything that had to act at an instant has acted."""
        if story.paused() or story.shown is None:
            return
        mine = {(k, rules.instant(story.game_date, c)) for k, c in processor.clocks}
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
                self._deadline_has_acted(story, processor, passed, after, disturbed)
            elif passed.would_act is True and not after and not disturbed:
                ready, newer = self.serving.evaluate(story, rules, at)
                if ready.critical_met is True and (
                    passed.clock.what == "always"
                    or story.outcome is None
                    or ready_newer(newer, ready)
                ):
                    self.broken(
                        "schedule.missed",
                        "2 schedules",
                        story.id,
                        f"{at:%m-%d %H:%M} ({passed.clock.what}) has passed and fired nothing",
                    )

    def _deadline_has_acted(
        self,
        story: PartitionStory,
        processor: ProcessorRules,
        passed: Passed,
        after: Sequence[Generation],
        disturbed: bool,
    ) -> None:
        if passed.state not in ("open", "live") or disturbed:
            return
        noticed = max((n.at for n in story.notices if n.kind == "deadline"), default=None)
        at = f"{passed.at:%m-%d %H:%M}"
        if noticed is None:
            rule = "notice.deadline" if passed.state == "open" else "notice.deadline.live"
            self.broken(rule, "6", story.id, f"the deadline {at} passed, and no notice went out")
        if passed.state != "open":
            return
        if passed.clock.what == "fire" and passed.usable is True and passed.quiet is False:
            # Where it acted late, it acted by what was there then.
            since = story.arrivals(processor.lines, passed.number)
            by_then = [x for x in since if noticed is None or x.received_at <= noticed]
            if not after and not any(x.quiet or x.empty for x in by_then):
                self.broken(
                    "deadline.missed", "2 deadlines", story.id, f"the deadline {at} fired nothing"
                )
        elif passed.clock.what == "skip" and passed.critical_met is False:
            came = [n for n, _, _ in story.known_by if n > passed.number]
            if story.skipped is None and not after and not came:
                self.broken(
                    "deadline.missed", "2 deadlines", story.id, f"the deadline {at} skipped nothing"
                )
