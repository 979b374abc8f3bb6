"""The story of one partition: what happened to it, and what follows.

Owns what sections 2 and 4 of the specification derive from a partition's past: the last outcome,
waivers, pauses, what a generation consumed, what is newer (dirty), and every hold. Each question is
answered from the whole past; only the state of its needs when each generation was fired is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from coordinator.judge.ledger import WHOLE, Ledger, RecordedLoad, newest
from coordinator.judge.needs import (
    ALWAYS,
    NEVER,
    Answer,
    EvaluatedNeed,
    EvaluatedNeeds,
    Needs,
    Span,
    WaiverSpan,
    at_least,
)
from coordinator.judge.observations import Acted, Noticed, PartitionShown, RunShown
from coordinator.judge.rules import Line, ProcessorRules, Rules, TimeOfDay, shifted

GOOD = ("success", "no_data", "skipped")


@dataclass(slots=True)
class Generation:
    """One run, and the state of its needs when it was fired."""

    created: RunShown
    run: RunShown
    """As it was last shown."""
    number: int
    """Loads up to this number were known."""
    ready: EvaluatedNeeds
    counts: bool
    """It counts against the budget of re-fires."""
    rules: Rules


@dataclass(frozen=True, slots=True)
class Passed:
    """An instant of a deadline or a schedule that has passed, and the state of the partition then."""

    kind: str
    at: datetime
    clock: TimeOfDay
    number: int
    known: Answer
    """Whether the partition was known before."""
    state: str
    """``open`` (nothing ran), ``live``, ``done``, ``skipped`` or ``off``."""
    would_act: Answer
    """Of a schedule: whether its conditions held."""
    usable: Answer
    quiet: Answer
    critical_met: Answer
    registry: str


@dataclass(frozen=True, slots=True)
class HoldSpan:
    """Something that keeps a partition from firing, until some instant."""

    kind: str
    until: Span
    sure: bool = True

    def surely_at(self, at: datetime) -> bool:
        """Whether it certainly holds."""
        return self.sure and at < self.until.first

    def over_at(self, at: datetime) -> bool:
        """Whether it is certainly over."""
        return at >= self.until.last


@dataclass(frozen=True, slots=True)
class Newer:
    """Newer data than the latest generation consumed, for one line and table."""

    line: Line
    table: str
    game_date: str
    games: frozenset[str]
    loads: tuple[RecordedLoad, ...]
    """The loads behind it. None where the calendar alone made an optional line met."""
    ready: Answer
    sure: bool


@dataclass(slots=True)
class PartitionStory:
    """Everything that happened to one partition."""

    processor: str
    game_date: str
    ledger: Ledger
    known_by: list[tuple[int, datetime, datetime]] = field(default_factory=list)
    """What made it known: number, receipt, and when that was seen committed."""
    generations: list[Generation] = field(default_factory=list)
    acts: list[tuple[int, Acted]] = field(default_factory=list)
    pauses: list[tuple[int, Acted]] = field(default_factory=list)
    """Pauses and resumes of its processor and of all."""
    skipped: str | None = None
    """``person`` or ``deadline``: who skipped it, while it is skipped."""
    shown: PartitionShown | None = None
    notices: list[Noticed] = field(default_factory=list)
    passed: dict[tuple[str, datetime], Passed] = field(default_factory=dict)
    came_again: set[tuple[str, datetime]] = field(default_factory=set)
    """Instants that came more than once, since clocks differ or were set back: which time the
    service took them for its own is not visible outside."""

    @property
    def id(self) -> str:
        return f"{self.processor}__{self.game_date}"

    def known_before(self, at: datetime) -> Answer:
        """Whether it was first known before an instant; it may have been where clocks were set back."""
        if any(max(received, seen) < at for _, received, seen in self.known_by[:1]):
            return True
        return None if any(min(r, s) <= at for _, r, s in self.known_by) else False

    # ── runs and people ──────────────────────────────────────────────────────────────────────

    @property
    def reset_number(self) -> int:
        """When it was last reset; 0: never."""
        return max((n for n, a in self.acts if a.act == "reset" and a.done), default=0)

    @property
    def since_reset(self) -> list[Generation]:
        return [g for g in self.generations if g.number > self.reset_number]

    @property
    def live(self) -> RunShown | None:
        last = self.generations[-1] if self.generations else None
        return last.run if last is not None and last.run.live else None

    @property
    def outcome(self) -> RunShown | None:
        """The last run that ended and was not cancelled, since the last reset."""
        for g in reversed(self.since_reset):
            if not g.run.live and g.run.status != "cancelled":
                return g.run
        return None

    @property
    def refires(self) -> int:
        """Generations beyond the first that no person requested, since the last reset."""
        return sum(g.counts for g in self.since_reset)

    def paused(self) -> list[Acted]:
        """The active pauses, by the order of the audit."""
        state: dict[str | None, Acted | None] = {}
        for _, act in self.pauses:
            if not act.done:
                continue
            if act.act == "pause":
                state[act.processor] = state.get(act.processor) or act
            else:
                state[act.processor] = None
        return [a for a in state.values() if a is not None]

    def waivers(self, needs: Needs, now: datetime, until: int | None = None) -> list[WaiverSpan]:
        """The waivers that are open or may be, and those that are over."""
        given: dict[str, tuple[int, Acted]] = {}
        for number, act in self.acts:
            if not act.done or (until is not None and number > until):
                continue
            if act.act == "waive":
                given[act.detail["table"]] = (number, act)
            elif act.act == "unwaive":
                given.pop(act.detail["table"], None)
        found: list[WaiverSpan] = []
        for table, (number, act) in given.items():
            end = act.detail.get("until")
            limit = None if end is None else datetime.fromisoformat(end)
            if limit is not None:
                answer: Answer = now < limit
                over_at = None if answer else limit
                if answer and self.ledger.came_and_went(limit):
                    answer = None  # once over it need not open again
            else:
                answer, over_at = self._until_data(needs, table, number, now, until)
            if over_at is not None:
                found.append(WaiverSpan(table, act.at, limit, False, over_at))
            if answer is not False:
                found.append(WaiverSpan(table, act.at, limit, answer))
        return found

    def _until_data(
        self, needs: Needs, table: str, since: int, now: datetime, until: int | None
    ) -> tuple[Answer, datetime | None]:
        """Whether a waiver without an end is still open; and if not, when its data came."""
        processor = needs.rules.processors.get(self.processor)
        lines = [] if processor is None else [x for x in processor.lines if table in x.tables]
        if not lines:
            return True, None  # no data of a table that nobody asks for ends it
        moments: dict[int, datetime] = {since: now}
        for line in lines:
            if line.window:
                moments |= {
                    x.number: x.received_at
                    for (t, _), xs in self.ledger.loads.items()
                    if t == table
                    for x in xs
                }
                for d in self.ledger.calendars:
                    moments |= dict(self.ledger.calendar_changes(d))
            else:
                on = shifted(self.game_date, line.offset)
                loads = self.ledger.loads.get((table, on), ())
                moments |= {x.number: x.received_at for x in loads}
                moments |= dict(self.ledger.calendar_changes(on))
        answer: Answer = True
        for moment in sorted(m for m in moments if m >= since and (until is None or m <= until)):
            met: list[Answer] = []
            for line in lines:
                if line.window:
                    window = needs.need(line, self.game_date, now, False, (), moment)
                    met.append(None if window.by_data is not False else False)
                else:
                    on = shifted(self.game_date, line.offset)
                    source = needs.source(line, table, on, now, False, (), moment)
                    met.append(None if source.met and line.fail is not None else source.met)
            if all(m is True for m in met):
                return False, moments[moment]
            if all(m is not False for m in met):
                answer = None
        return answer, None

    # ── arrivals ─────────────────────────────────────────────────────────────────────────────

    def arrivals(
        self, lines: Iterable[Line], since: int, until: int | None = None
    ) -> list[RecordedLoad]:
        """The applied loads of non-window lines that came after something."""
        found: dict[int, RecordedLoad] = {}
        for line in lines:
            if line.window:
                continue
            for table in line.tables:
                for x in self.ledger.of(table, shifted(self.game_date, line.offset), until):
                    if x.number > since:
                        found[x.number] = x
        return [found[n] for n in sorted(found)]

    def quiet(self, loads: Sequence[RecordedLoad]) -> Answer:
        """Whether the latest of these was announced quiet."""
        if not loads:
            return False
        last = max(loads, key=lambda x: x.number)
        if not last.quiet:
            return False  # an ordinary load releases a quiet one, whatever their clocks said
        return True if last.received_at >= max(x.received_at for x in loads) else None

    # ── newer data ───────────────────────────────────────────────────────────────────────────

    def newer(self, needs: Needs, ready: EvaluatedNeeds, until: int | None = None) -> list[Newer]:
        """What the latest generation has not consumed (specification 2.7)."""
        base = self.since_reset[-1] if self.since_reset else None
        if base is None or self.outcome is None:
            return []
        found: list[Newer] = []
        for need in ready.needs:
            if need.line.window:
                continue
            before = base.ready.need(need.line.key)
            on = shifted(self.game_date, need.line.offset)
            tables, sure = self._tables_that_count(need, before)
            for table in tables:
                if table == needs.rules.calendar:
                    continue
                # What an optional line lacked was not consumed: no mark is equal to it.
                consumed = before is not None and (
                    need.line.critical or before.by_data is not False
                )
                games, loads, kept = self._changed(
                    needs, table, on, base, until, line_is_new=before is None, marks=consumed
                )
                certain = sure
                if before is None:
                    # A line that a later registry brought: what came before it is not newer data.
                    served = needs.changed_at or needs.rules.served_at
                    before_it = max(base.number, needs.changed_after)
                    certain = all(x.number > before_it and x.received_at > served for x in loads)
                made_met = (
                    before is not None
                    and not need.line.critical
                    and before.by_data is False
                    and need.by_data is True
                    and table in need.used
                )
                if not games and not made_met:
                    continue
                source = next((s for s in need.sources if s.table == table), None)
                is_met: Answer = source.met if source is not None else False
                if need.met is False:
                    is_met = False  # a group that is short of sources is not ready
                elif need.met is None and is_met is True:
                    is_met = None
                if is_met is True and table not in need.used:
                    is_met = False if need.by_data is not None else None
                # A game that the calendar no longer expects was not missing in the run.
                if not loads:
                    games_now = set(self.ledger.games(on, until) or ())
                    changed = games_now != set(self.ledger.games(on, base.number) or ())
                    certain = certain and changed and bool(games_now)
                elif not kept:
                    certain = False
                found.append(
                    Newer(need.line, table, on, frozenset(games), tuple(loads), is_met, certain)
                )
        return found

    def _tables_that_count(
        self, need: EvaluatedNeed, before: EvaluatedNeed | None
    ) -> tuple[Sequence[str], bool]:
        """The tables of a line whose newer loads count as newer data, and whether that is certain."""
        line = need.line
        if before is None:
            return line.tables, False
        if before.by_data is None:
            return line.tables, False
        if before.by_data is False:
            if line.critical or need.met is True:
                return line.tables, True
            return ((), True) if need.met is False else (line.tables, False)
        if before.not_expected:
            return line.tables, True
        unsure = any(s.met is None for s in before.sources)
        if line.ordered:
            used = before.used[0] if before.used else line.tables[-1]
            if used not in line.tables:
                return line.tables, False
            return line.tables[: line.tables.index(used) + 1], not unsure
        return [t for t in line.tables if t in before.used or unsure], not unsure

    def _changed(
        self,
        needs: Needs,
        table: str,
        on: str,
        base: Generation,
        until: int | None,
        *,
        line_is_new: bool,
        marks: bool,
    ) -> tuple[set[str], list[RecordedLoad], bool]:
        """The games whose content is not what was consumed, and the loads that changed them.

        Then, whether any of them is surely known: of unexpected games a sample is kept.

        Of a line that is new, nothing was consumed, and only receipts tell what came later. Without
        ``marks`` nothing was consumed that an equal mark could speak of.

        What was consumed follows from the table's grain when the generation was fired.
        """
        now = self.ledger.of(table, on, until)
        then = [x for x in now if x.number <= base.number]
        by_game = needs.rules.by_game(table)
        names = {WHOLE}
        if by_game:
            names |= {g for x in now for g in x.games}
        games: set[str] = set()
        loads: list[RecordedLoad] = []
        kept = False
        expected = self.ledger.games(on, until) or ()
        for name in sorted(names):
            new = self._counting(now, name) if by_game else newest(now)
            if new is None:
                continue
            if not (
                new.received_at > base.run.fired_at if line_is_new else new.number > base.number
            ):
                continue
            if not base.rules.by_game(table):
                consumed = {newest(then)}
            elif by_game:
                consumed = {self._counting(then, name)}
            else:  # one content now for what were several
                parts = {WHOLE, *(g for x in then for g in x.games)}
                consumed = {self._counting(then, part) for part in parts} - {None}
            if marks and new.mark is not None and {x and x.mark for x in consumed} == {new.mark}:
                continue
            if new not in loads[-1:]:
                loads.append(new)
            if name != WHOLE:
                games.add(name)
                kept = kept or name in expected or self.ledger.keeps_all(table, on)
            else:
                games |= set(new.games or expected or (WHOLE,))
                kept = kept or self._is_kept(new)
        return games, loads, kept

    def _counting(self, loads: Sequence[RecordedLoad], name: str) -> RecordedLoad | None:
        """The load that counts for a game, or of those that cover the whole date."""
        if name == WHOLE:
            return newest(x for x in loads if not x.games)
        return self.ledger.winner(loads, name)

    # ── holds ────────────────────────────────────────────────────────────────────────────────

    def holds(
        self,
        needs: Needs,
        processor: ProcessorRules,
        ready: EvaluatedNeeds,
        newer: Sequence[Newer],
        others: Sequence[ProcessorRules] = (),
        until: int | None = None,
    ) -> list[HoldSpan]:
        """What keeps a partition with met needs from firing.

        ``others`` are this processor's rules in other registries that may still be served.
        """
        if self.outcome is None:
            found = self._first_holds(needs, processor, ready, others, until)
        else:
            found = self._late_holds(processor, newer, until)
        if processor.not_before is not None:
            at = needs.rules.instant(self.game_date, processor.not_before)
            found.append(HoldSpan("not_before", Span(at, at)))
        if self.paused():
            found.append(HoldSpan("pause", Span(NEVER, NEVER)))
        return found

    def _first_holds(
        self,
        needs: Needs,
        processor: ProcessorRules,
        ready: EvaluatedNeeds,
        others: Sequence[ProcessorRules],
        until: int | None,
    ) -> list[HoldSpan]:
        found: list[HoldSpan] = []
        grace_end = ready.since.plus(processor.grace)
        if processor.grace and ready.optional_met is not True:
            found.append(HoldSpan("grace", grace_end, ready.optional_met is False))
        for need in ready.needs:
            if need.prefer is None or need.met is False:
                continue
            end = need.prefer
            if not need.line.critical:
                end = Span(min(end.first, grace_end.first), min(end.last, grace_end.last))
            found.append(HoldSpan("prefer", end))
        base = self.generations[-1].number if self.generations else 0
        base = max(base, self.reset_number)
        recent = self.arrivals(processor.lines, base, until)
        lines = [*processor.lines, *(line for p in others for line in p.lines)]
        every = self.arrivals(lines, 0, until)
        if processor.debounce and every:
            cap = ready.since.plus(processor.max_settle)
            last = max(x.received_at for x in every) + processor.debounce
            # Where clocks differ, the last to come may not be the last by its receipt.
            first = recent[-1].received_at if recent else None
            start = ALWAYS if first is None else min(first + processor.debounce, cap.first)
            found.append(HoldSpan("debounce", Span(start, min(last, cap.last))))
        said = self.quiet(recent)
        maybe = self.quiet(self.arrivals(lines, base, until))
        if said is not False or maybe is not False:
            found.append(HoldSpan("quiet", Span(NEVER, NEVER), said is True and maybe is True))
        return found

    def _is_kept(self, load: RecordedLoad) -> bool:
        """Whether a load is surely known by a game of it: of unexpected ones a sample is kept."""
        expected = self.ledger.games(load.game_date) or ()
        return (
            not load.games
            or any(g in expected for g in load.games)
            or self.ledger.keeps_all(load.table, load.game_date)
        )

    def _late_holds(
        self, processor: ProcessorRules, newer: Sequence[Newer], until: int | None
    ) -> list[HoldSpan]:
        found: list[HoldSpan] = []
        outcome = self.outcome
        assert outcome is not None
        assert outcome.ended_at is not None
        if self.refires >= processor.max_refires:
            found.append(HoldSpan("budget", Span(NEVER, NEVER)))
        cool = outcome.ended_at + processor.cooldown
        found.append(HoldSpan("cooldown", Span(cool, cool)))
        sure = [x for n in newer for x in n.loads if n.sure and self._is_kept(x)]
        every = [x for n in newer for x in n.loads]
        since = self.arrivals(processor.lines, self.generations[-1].number, until)
        if processor.debounce and (every or since):
            first = ALWAYS
            if sure:
                # Newer data, or what may be that, restarts it in the order of commits.
                last_sure = max(sure, key=lambda x: x.number)
                later = (x for x in every if x.number > last_sure.number)
                receipts = (x.received_at for x in (last_sure, *later))
                first = min(receipts) + processor.debounce
                earliest = min(x.received_at for x in [*sure, *since])
                first = min(first, earliest + processor.max_settle)
            last = max(x.received_at for x in [*every, *since]) + processor.debounce
            found.append(HoldSpan("debounce", Span(first, last)))
        said, maybe = self.quiet(sure), self.quiet(every)
        if said is not False or maybe is not False:
            found.append(HoldSpan("quiet", Span(NEVER, NEVER), said is True and maybe is True))
        return found


def ready_newer(newer: Sequence[Newer], ready: EvaluatedNeeds) -> Answer:
    """Whether there is newer data that could be consumed now."""
    if ready.critical_met is False:
        return False
    answers: list[Answer] = []
    for n in newer:
        answer = n.ready
        if answer is True and (not n.sure or ready.critical_met is None):
            answer = None
        answers.append(answer)
    return at_least(1, [*answers, False])
