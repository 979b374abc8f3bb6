"""Whether a processor's requirements are met, computed from every load.

Owns sections 2.2 to 2.5 of the specification: minimums, coverage, freshness, groups, offsets, windows,
waivers, and since when something is met. If the specification leaves a count to the implementation,
the answer is None, "cannot say", and nothing is reported. These are the only such places:

- ``partial`` without a list of games, while the calendar does not know the date;
- row counts of loads by game while the calendar does not know the date, or expects no games;
- counts within half a row of a minimum.

The instant since when something is met is a span: it counts from receipt, and if the calendar, a
waiver or another registry caused it, either that instant or the one of the loads may count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil

from coordinator.judge.ledger import Ledger, RecordedLoad, newest
from coordinator.judge.rules import Line, ProcessorRules, Rules, shifted

NEVER = datetime.max.replace(tzinfo=UTC)
ALWAYS = datetime.min.replace(tzinfo=UTC)
Answer = bool | None
"""True, False, or None: the specification does not say."""


def every(answers: Iterable[Answer]) -> Answer:
    """Whether all hold."""
    found = list(answers)
    if False in found:
        return False
    return None if None in found else True


def at_least(number: int, answers: Iterable[Answer]) -> Answer:
    """Whether so many hold."""
    found = list(answers)
    if sum(a is True for a in found) >= number:
        return True
    return False if sum(a is not False for a in found) < number else None


@dataclass(frozen=True, slots=True)
class Span:
    """An instant that lies somewhere between two."""

    first: datetime
    last: datetime

    def plus(self, more: timedelta) -> Span:
        return Span(_add(self.first, more), _add(self.last, more))


def _add(at: datetime, more: timedelta) -> datetime:
    return at if at in (NEVER, ALWAYS) else at + more


def latest(spans: Sequence[Span]) -> Span:
    """The later of several; ALWAYS where there is none."""
    return Span(
        max((s.first for s in spans), default=ALWAYS), max((s.last for s in spans), default=ALWAYS)
    )


@dataclass(frozen=True, slots=True)
class WaiverSpan:
    """A waiver of a table."""

    table: str
    at: datetime
    until: datetime | None
    open: Answer = True
    """None if its data may have arrived, or its time may be over."""
    over_at: datetime | None = None
    """When its time was over, or its data came: where the table was met by then, it has been met
    without a break from ``at`` on."""


@dataclass(frozen=True, slots=True)
class Source:
    """One table on one date, evaluated for a line."""

    table: str
    game_date: str
    met: Answer
    resting: tuple[RecordedLoad, ...] = ()
    """The loads that the answer rests on."""
    count: float | None = None
    aging: Answer = False
    since: Span | None = None
    waived: Answer = False
    unexpected: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()

    @property
    def met_or_waived(self) -> Answer:
        if self.met is True or self.waived is True:
            return True
        return None if self.met is None or self.waived is None else False


@dataclass(frozen=True, slots=True)
class EvaluatedNeed:
    """One line, evaluated."""

    line: Line
    met: Answer
    by_data: Answer
    """Met by what was loaded, waivers apart."""
    sources: tuple[Source, ...] = ()
    used: tuple[str, ...] = ()
    """The tables whose data a run would read. Only where ``by_data`` is not None."""
    since: Span = field(default=Span(ALWAYS, ALWAYS))
    prefer: Span | None = None
    """When a less preferred table wins, where it has to wait."""
    dates: tuple[tuple[str, Answer], ...] = ()
    """The dates of a window."""
    not_expected: bool = False


@dataclass(frozen=True, slots=True)
class EvaluatedNeeds:
    """A partition's needs at an instant."""

    needs: tuple[EvaluatedNeed, ...]
    off_day: bool
    critical_met: Answer
    optional_met: Answer
    usable: Answer
    """Some input holds rows."""
    since: Span
    """When the critical lines were met."""

    def need(self, key: str) -> EvaluatedNeed | None:
        return next((n for n in self.needs if n.line.key == key), None)


class Needs:
    """Evaluates lines under one registry."""

    def __init__(self, rules: Rules, ledger: Ledger, changed_at: datetime | None = None) -> None:
        self.rules = rules
        self.ledger = ledger
        self.changed_at = changed_at
        """When the registry came into use, if another was served before."""
        self.changed_after = 0
        """The last load before that, by number."""

    def readiness(
        self,
        processor: ProcessorRules,
        game_date: str,
        now: datetime,
        *,
        freshness: bool,
        waivers: Sequence[WaiverSpan] = (),
        until: int | None = None,
    ) -> EvaluatedNeeds:
        """Evaluate everything. ``until`` is the last load that counts, by number."""
        needs = tuple(
            self.need(line, game_date, now, freshness, waivers, until) for line in processor.lines
        )
        critical = [n for n in needs if n.line.critical]
        games = self.ledger.games(game_date, until)
        own = [n for n in needs if not n.line.window]
        rows = self._rows(own, game_date, until)
        if critical:
            met = every(n.met for n in critical)
            since = latest([n.since for n in critical])
        else:
            met, since = self._anything(needs, own, rows, until)
        window_rows = at_least(1, [a for n in needs for _, a in n.dates] or [False])
        return EvaluatedNeeds(
            needs=needs,
            off_day=games == () and not processor.runs_on_off_days,
            critical_met=met,
            optional_met=every(n.met for n in needs if not n.line.critical),
            usable=at_least(1, [rows, window_rows]),
            since=self._registry_span(since),
        )

    def _registry_span(self, since: Span) -> Span:
        if self.changed_at is None or since.last >= self.changed_at:
            return since
        return Span(since.first, self.changed_at)

    def _rows(self, own: Sequence[EvaluatedNeed], game_date: str, until: int | None) -> Answer:
        """Whether some table of the lines holds rows."""
        answers: list[Answer] = [False]
        for need in own:
            on = shifted(game_date, need.line.offset)
            for table in need.line.tables:
                loads = self.ledger.of(table, on, until)
                if self.rules.by_game(table):
                    loads = self._current(loads)
                if not loads:
                    continue
                if all(x.empty for x in loads):
                    answers.append(False)
                elif self.rules.by_game(table):
                    answers.append(True if not any(x.empty for x in loads) else None)
                else:
                    last = newest(loads)
                    answers.append(last is not None and not last.empty)
        return at_least(1, answers)

    def _anything(
        self,
        needs: Sequence[EvaluatedNeed],
        own: Sequence[EvaluatedNeed],
        rows: Answer,
        until: int | None,
    ) -> tuple[Answer, Span]:
        """Without critical lines one arrival is needed (specification 2.3)."""
        by_data = [n.by_data for n in (own or needs) if not n.not_expected]
        waived = [None for n in own if n.by_data is not True and n.met is not False]
        met = at_least(1, [rows, *by_data, *waived])
        first, last = NEVER, ALWAYS
        for need in own:
            for source in need.sources:
                for load in self.ledger.of(source.table, source.game_date, until):
                    first, last = min(first, load.received_at), max(last, load.received_at)
            if need.met is not False:
                last = max(last, need.since.last)
        return met, Span(first if first is not NEVER else ALWAYS, last)

    # ── one line ─────────────────────────────────────────────────────────────────────────────

    def need(
        self,
        line: Line,
        game_date: str,
        now: datetime,
        freshness: bool,
        waivers: Sequence[WaiverSpan] = (),
        until: int | None = None,
    ) -> EvaluatedNeed:
        """Evaluate one line."""
        if line.window:
            return self._window(line, game_date, now, waivers, until)
        on = shifted(game_date, line.offset)
        if line.offset and self.ledger.games(on, until) == ():
            return EvaluatedNeed(line=line, met=True, by_data=True, not_expected=True)
        sources = tuple(
            self.source(line, t, on, now, freshness, waivers, until) for t in line.tables
        )
        met = at_least(line.needed, [s.met_or_waived for s in sources])
        by_data = at_least(line.needed, [s.met for s in sources])
        have = [s for s in sources if s.met is True]
        used = tuple(s.table for s in have)
        if line.ordered:
            used = used[:1]
        return EvaluatedNeed(
            line=line,
            met=met,
            by_data=by_data,
            sources=sources,
            used=used,
            since=_since_of(line, sources),
            prefer=_prefer_of(line, sources),
        )

    def source(
        self,
        line: Line,
        table: str,
        on: str,
        now: datetime,
        freshness: bool,
        waivers: Sequence[WaiverSpan] = (),
        until: int | None = None,
    ) -> Source:
        """Evaluate one table on one date, and since when it has been met without a break."""
        found = self._at(line, table, on, now, freshness, until)
        waiver = next((w for w in waivers if w.table == table and w.open is not False), None)
        since = (
            self._since(line, table, on, now, freshness, until) if found.met is not False else None
        )
        waived: Answer = False
        if waiver is not None:
            waived = waiver.open
            if since is None:
                since = Span(waiver.at, waiver.at)
            else:
                since = Span(min(since.first, waiver.at), max(since.last, waiver.at))
        if since is not None:
            for closed in waivers:
                over_at = closed.over_at
                if closed.table == table and over_at is not None and since.first <= over_at:
                    since = Span(min(since.first, closed.at), since.last)
        return Source(
            table=table,
            game_date=on,
            met=found.met,
            resting=found.resting,
            count=found.count,
            aging=found.aging,
            since=since,
            waived=waived,
            unexpected=found.unexpected,
            missing=found.missing,
        )

    def _since(
        self,
        line: Line,
        table: str,
        on: str,
        now: datetime,
        freshness: bool,
        until: int | None,
    ) -> Span:
        """Since when it has been met: evaluated again after every load."""
        changes = [
            (x.number, x.received_at, min(x.received_at, x.seen_at))
            for x in self.ledger.loads.get((table, on), ())
            if until is None or x.number <= until
        ]
        changes += [
            (number, at, at)
            for number, at in self.ledger.calendar_changes(on)
            if until is None or number <= until
        ]
        began: Span | None = None
        began_with, highest = 0, ALWAYS
        for number, at, came_at in sorted(changes):
            highest = max(highest, at)
            if (
                began is not None
                and self._at(line, table, on, came_at, freshness, number - 1).met is False
            ):
                began = None  # it grew too old meanwhile
            seen = self._at(line, table, on, at, freshness, number)
            if seen.met is False:
                began = None
            elif began is None or (seen.met is True and began.last is NEVER):
                loaded = max((x.received_at for x in seen.resting), default=at)
                began_with = number if began is None else began_with
                first = loaded if began is None else began.first
                began = Span(min(first, at), NEVER if seen.met is None else highest)
        if began is None:
            return Span(ALWAYS, max(now, highest))
        if began_with <= self.changed_after:
            # Under the registry before it may have been met all along.
            received = [x.received_at for x in self.ledger.of(table, on, until)]
            began = Span(min(began.first, *received), began.last)
        return began

    def _at(
        self, line: Line, table: str, on: str, now: datetime, freshness: bool, until: int | None
    ) -> Source:
        loads = self.ledger.of(table, on, until)
        games = self.ledger.games(on, until)
        if not loads:
            return Source(table, on, False, missing=frozenset(games or ()))
        minimum: float | None = line.minimum
        if line.per_game is not None and games is not None:
            minimum = max(minimum or 0, ceil(line.per_game * len(games) - 1e-9))
        if not self.rules.by_game(table):
            found = self._whole_date(table, on, loads, games, minimum)
        elif games:
            found = self._by_game(line, table, on, loads, games, minimum)
        else:
            found = self._no_games(line, table, on, loads, games)
        return self._aged(line, found, now) if freshness and found.met is not False else found

    def _whole_date(
        self,
        table: str,
        on: str,
        loads: Sequence[RecordedLoad],
        games: tuple[str, ...] | None,
        minimum: float | None,
    ) -> Source:
        last = newest(loads)
        assert last is not None
        met: Answer = True
        if last.empty:
            met = games == ()
        elif last.status == "partial" and minimum is None:
            # It counts for what it covers (decision 13): the games that it names.
            met = games is not None and set(games) <= set(last.games)
        if met is not False and minimum is not None and not last.empty:
            enough = last.count is not None and last.count >= minimum
            met = met if enough else False
        return Source(table, on, met, (last,), 0 if last.empty else last.count)

    def _by_game(
        self,
        line: Line,
        table: str,
        on: str,
        loads: Sequence[RecordedLoad],
        games: tuple[str, ...],
        minimum: float | None,
    ) -> Source:
        resting: list[RecordedLoad] = []
        missing: set[str] = set()
        total: float | None = 0.0
        for game in games:
            winner = self.ledger.winner(loads, game)
            in_part = winner is not None and winner.status == "partial" and not winner.games
            if winner is None or winner.empty or (in_part and minimum is None):
                missing.add(game)
                continue
            if winner not in resting:
                resting.append(winner)
            if winner.count is None or total is None:
                total = None
            else:
                total += winner.count / (len(winner.games) or len(games))
        covered = len(games) - len(missing)
        needed = max(1, ceil(line.coverage * len(games) - 1e-9))
        met: Answer = covered >= needed
        if met is not False and minimum is not None:
            if total is None or total <= minimum - 1:
                met = False
            elif total < minimum:
                met = None
        return Source(
            table,
            on,
            met,
            tuple(resting),
            total,
            unexpected=self._named(loads) - set(games),
            missing=frozenset(missing),
        )

    def _no_games(
        self,
        line: Line,
        table: str,
        on: str,
        loads: Sequence[RecordedLoad],
        games: tuple[str, ...] | None,
    ) -> Source:
        """The calendar does not know the date, or expects no games: nothing to cover."""
        named = self._named(loads)
        loads = self._current(loads)
        if games is not None:
            met: Answer = True if line.minimum is None else None
            return Source(table, on, met, tuple(loads), None, unexpected=named)
        with_rows = [x for x in loads if not x.empty]
        if not with_rows:
            return Source(table, on, False, tuple(loads), None)
        sure = line.minimum is None and len(with_rows) == len(loads)
        sure = sure and all(x.status != "partial" or x.games for x in loads)
        return Source(table, on, True if sure else None, tuple(with_rows), None)

    def _named(self, loads: Sequence[RecordedLoad]) -> frozenset[str]:
        """The games that a load names and wins."""
        named = {g for x in loads for g in x.games}
        won = {g: self.ledger.winner(loads, g) for g in named}
        return frozenset(g for g, x in won.items() if x is not None and x.games)

    def _current(self, loads: Sequence[RecordedLoad]) -> list[RecordedLoad]:
        """The loads that win for some game, named or not."""
        winners = [self.ledger.winner(loads, g) for x in loads for g in x.games]
        winners.append(newest(x for x in loads if not x.games))
        return [x for x in loads if x in winners]

    def _aged(self, line: Line, found: Source, now: datetime) -> Source:
        if line.fail is None and line.warn is None:
            return found
        ages = sorted(now - x.timestamp for x in found.resting) or [timedelta(0)]
        met, aging = found.met, found.aging
        if line.fail is not None and ages[-1] >= line.fail:
            # Of loads that the calendar does not distinguish any may be the oldest that counts.
            met = False if ages[0] >= line.fail or self.ledger.games(found.game_date) else None
        elif line.fail is not None and any(
            self.ledger.was_seen_at(x, x.timestamp + line.fail) for x in found.resting
        ):
            met = None  # once too old it need not count as fresh again
        if line.warn is not None and ages[-1] >= line.warn:
            aging = True if ages[0] >= line.warn else None
        return Source(
            found.table,
            found.game_date,
            met,
            found.resting,
            found.count,
            aging,
            unexpected=found.unexpected,
            missing=found.missing,
        )

    # ── windows ──────────────────────────────────────────────────────────────────────────────

    def window_dates(self, line: Line, game_date: str, until: int | None = None) -> list[str]:
        """The dates of a window: those with games, and unknown ones with loads."""
        ledger, table = self.ledger, line.tables[0]
        found = {d for d in ledger.calendars if ledger.games(d, until)}
        found |= {
            d
            for (t, d), loads in ledger.loads.items()
            if t == table
            and ledger.games(d, until) is None
            and any(until is None or x.number <= until for x in loads)
        }
        floor = self.rules.known_from or ""
        if line.window_days is not None:
            floor = max(floor, shifted(game_date, -line.window_days))
        dates = sorted(d for d in found if floor <= d < game_date)
        return dates[-line.last_game_dates :] if line.last_game_dates is not None else dates

    def _window(
        self,
        line: Line,
        game_date: str,
        now: datetime,
        waivers: Sequence[WaiverSpan],
        until: int | None,
    ) -> EvaluatedNeed:
        table = line.tables[0]
        dates = self.window_dates(line, game_date, until)
        answers = [(d, self._at(line, table, d, now, False, until).met) for d in dates]
        needed = ceil(line.min_ready * len(dates) - 1e-9)
        by_data = at_least(needed, [a for _, a in answers])
        if not dates:
            by_data = self.rules.known_from is not None
        waived: Answer = False
        for waiver in waivers:
            if waiver.table == table and waiver.open is not False:
                waived = waiver.open
        met = by_data if waived is False else (True if waived or by_data else None)
        received = [x.received_at for d in dates for x in self.ledger.loads.get((table, d), ())]
        received += [at for d in self.ledger.calendars for _, at in self.ledger.calendar_changes(d)]
        received += [w.at for w in waivers if w.table == table and w.open is not False]
        return EvaluatedNeed(
            line=line,
            met=met,
            by_data=by_data,
            used=(table,) if by_data and dates else (),
            since=Span(ALWAYS, max(received, default=ALWAYS)),
            dates=tuple(answers),
        )


def _since_of(line: Line, sources: Sequence[Source]) -> Span:
    """When the line was met: when the last of the sources it needs was."""
    spans = [s.since for s in sources if s.since is not None]
    sure = [s.since for s in sources if s.since is not None and s.met_or_waived is True]
    if len(spans) < line.needed:
        return Span(ALWAYS, NEVER)
    first = sorted(s.first for s in spans)[line.needed - 1]
    lasts = sorted(s.last for s in (sure if len(sure) >= line.needed else spans))
    return Span(first, lasts[line.needed - 1])


def _prefer_of(line: Line, sources: Sequence[Source]) -> Span | None:
    """When a less preferred table wins: ``prefer_for`` after its receipt."""
    if not line.ordered or not line.prefer_for:
        return None
    if sources[0].met_or_waived is True:
        return None
    if any(s.waived is True for s in sources):
        return None
    later = [s.since for s in sources[1:] if s.since is not None]
    if not later:
        return None
    soonest = min(s.first for s in later)
    certain = [s.since for s in sources[1:] if s.since is not None and s.met is True]
    last = min((s.last for s in certain), default=NEVER)
    unsure = sources[0].met_or_waived is None or any(s.waived is None for s in sources)
    return Span(ALWAYS if unsure else soonest, last).plus(line.prefer_for)
