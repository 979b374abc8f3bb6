"""What a generation consumed, and which later loads are newer data to it.

Owns the marks of consumed content and the comparison with them (specification 2.7). Windows
never make a partition dirty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from coordinator.core.arrivals import WHOLE, Arrival, Grain, TableDate, arrivals_key, load_key
from coordinator.core.model import ConsumedRequirement, Judgeable, Latest, Mark
from coordinator.core.schedule import shift
from coordinator.core.spec import ProcessorSpec, RequirementKind
from coordinator.core.verdict import Dirt, RequirementVerdict, SourceVerdict, State, Verdict


def marks_of(known: TableDate | None, grain: Grain) -> Mapping[str, Mark]:
    """What identifies a table's content on a date: per game, and ``*`` for the whole date."""
    if known is None:
        return {}
    if grain is Grain.DATE:
        return {} if known.newest is None else {WHOLE: _mark(known.newest)}
    marks = {g: _mark(known.arrivals[e]) for g, e in known.games.items()}
    whole = known.whole_arrival
    if whole is not None:
        marks[WHOLE] = _mark(whole)
    return marks


def _mark(arrival: Arrival) -> Mark:
    return Mark(event_id=arrival.event_id, content_hash=arrival.content_hash)


def consume(
    arrivals: Mapping[str, TableDate], grains: Mapping[str, Grain], verdict: Verdict
) -> Mapping[str, ConsumedRequirement]:
    """What a generation fired now consumes, per requirement."""
    return {
        r.key: _consumed(r, {s.table: _loads(arrivals, s) for s in r.sources}, grains)
        for r in verdict.requirements
        if r.requirement.window is None
    }


def _consumed(
    r: RequirementVerdict, loads: Mapping[str, TableDate | None], grains: Mapping[str, Grain]
) -> ConsumedRequirement:
    newest = {t: known.latest for t, known in loads.items() if known is not None}
    return ConsumedRequirement(
        met=r.met and (bool(r.used) or r.state is State.NOT_EXPECTED),
        used=r.used,
        marks={t: marks_of(known, grains.get(t, Grain.DATE)) for t, known in loads.items()},
        received={t: load.received_at for t, load in newest.items() if load is not None},
    )


def _loads(arrivals: Mapping[str, TableDate], source: SourceVerdict) -> TableDate | None:
    return arrivals.get(arrivals_key(source.table, source.game_date))


def newer_after(
    partition: Judgeable, spec: ProcessorSpec, since: datetime | None
) -> Mapping[str, datetime]:
    """From when on loads are newer data to requirements that the latest generation did not know.

    That is once the registry that brought the requirement is in use, at ``since``: to require more,
    or the same in another order, is no newer data. One that an earlier registry brought keeps what
    was noted then.
    """
    execution = partition.execution
    if execution.consumed is None or execution.consumed_at is None:
        return {}
    found: dict[str, datetime] = {}
    for r in spec.requirements:
        if r.window is not None or r.key in execution.consumed:
            continue
        date = shift(partition.game_date, r.offset)
        for table in r.sources:
            name = f"{r.key}/{table}"
            known = partition.inputs.arrivals.get(arrivals_key(table, date))
            noted = execution.newer_after.get(name)
            found[name] = noted or _known_until(
                known, execution.consumed, execution.consumed_at, since
            )
    return found


def _known_until(
    known: TableDate | None,
    consumed: Mapping[str, ConsumedRequirement],
    consumed_at: datetime,
    since: datetime | None,
) -> datetime:
    """The receipt up to which loads of a table are no newer data to a requirement that is new."""
    if known is None or known.latest is None:
        return consumed_at
    newest = known.latest.received_at
    before = newest if since is None else min(newest, since)
    # Under a clock that was set back, what a run read may have been received after it was fired.
    marks = [m for c in consumed.values() for m in c.marks.get(known.table, {}).values()]
    read = [known.arrivals[m.event_id] for m in marks if m.event_id in known.arrivals]
    return max([consumed_at, before, *(a.received_at for a in read)])


def newer_than_consumed(
    partition: Judgeable, spec: ProcessorSpec, requirements: Sequence[RequirementVerdict]
) -> tuple[Dirt, ...]:
    """Newer data than the latest generation consumed; none before there is an outcome."""
    execution, found = partition.execution, []
    if execution.outcome is None:
        return ()
    for r in requirements:
        if r.requirement.window is not None:
            continue
        consumed = None if execution.consumed is None else execution.consumed.get(r.key)
        for source in _sources_that_count(r, consumed):
            if source.table == spec.calendar_table:
                continue
            dirt = _dirt(partition, spec, r, source, consumed)
            if dirt is not None:
                found.append(dirt)
    return tuple(found)


def latest_unconsumed(partition: Judgeable, dirty: Sequence[Dirt]) -> Latest | None:
    """The latest load that no generation has consumed.

    Of newer data it is the load that was committed last, whatever clocks say.
    """
    inputs, last = partition.inputs, partition.inputs.latest
    if partition.execution.outcome is None:
        return last
    places = {key: place for place, key in enumerate(inputs.committed)}
    found: list[tuple[int, datetime, Latest]] = []
    for d in dirty:
        date = arrivals_key(d.table, d.game_date)
        place = places.get(load_key(date, d.latest.event_id), -1)
        found.append((place, d.latest.received_at, d.latest))
        if last is not None and last.event_id not in inputs.arrivals[date].counting:
            place = places.get(load_key(date, last.event_id), -1)
            if place >= 0:  # of games that nobody expects only a sample is kept
                found.append((place, last.received_at, last))
    return max(found, key=lambda f: f[:2])[2] if found else None


def _dirt(
    partition: Judgeable,
    spec: ProcessorSpec,
    r: RequirementVerdict,
    source: SourceVerdict,
    consumed: ConsumedRequirement | None,
) -> Dirt | None:
    """The newer data of one source of a requirement; None where there is none."""
    known = _loads(partition.inputs.arrivals, source)
    if known is None:
        return None
    grain = spec.grains.get(source.table, Grain.DATE)
    if consumed is None:
        execution = partition.execution
        name = f"{r.key}/{source.table}"
        games = _received_after(known, execution.newer_after.get(name, execution.consumed_at))
    else:
        # What an optional requirement lacked was not consumed: no mark is equal to it.
        marked = consumed.met or r.requirement.critical
        games = _changed(known, consumed, source.table, grain, marked=marked)
    ready = source.by_data and source.table in r.used
    if games:
        latest = _latest_of(games, known, grain)
    elif ready and _met_by_calendar(partition, r, consumed, source.game_date):
        # Its loads were there before: none of them is a quiet one that still waits.
        latest = replace(_latest_of((*known.games, WHOLE), known, grain), quiet=False)
    else:
        return None
    return Dirt(
        key=r.key,
        table=source.table,
        game_date=source.game_date,
        games=_game_names(games, known, partition.inputs.games.get(source.game_date)),
        ready=ready,
        latest=latest,
    )


def _met_by_calendar(
    partition: Judgeable,
    r: RequirementVerdict,
    consumed: ConsumedRequirement | None,
    game_date: str,
) -> bool:
    """Whether an optional requirement is met since the calendar changed, by what was there
    before."""
    before = partition.execution.consumed_games
    if r.requirement.critical or consumed is None or consumed.met or before is None:
        return False
    games = partition.inputs.games.get(game_date)
    return bool(games) and games != before.get(game_date)


def _sources_that_count(
    r: RequirementVerdict, consumed: ConsumedRequirement | None
) -> Iterable[SourceVerdict]:
    """The sources whose later loads are newer data to what was consumed."""
    if consumed is None:
        return r.sources
    if not consumed.met:
        # Unmet when fired. A critical one was forced: any later load counts. An optional one counts
        # once it is met.
        return r.sources if r.requirement.critical or r.met else ()
    if r.requirement.kind is RequirementKind.AT_LEAST:
        if len(consumed.used) < r.requirement.needed:
            return r.sources  # a waiver replaced the rest, so their data counts
        return tuple(s for s in r.sources if s.table in consumed.used)
    if not consumed.used:
        return r.sources
    names = r.requirement.sources
    used = consumed.used[0]
    return r.sources[: names.index(used) + 1] if used in names else r.sources


def _changed(
    known: TableDate, consumed: ConsumedRequirement, table: str, grain: Grain, *, marked: bool
) -> tuple[str, ...]:
    """The games (or ``*``) that a later load gave other content than was consumed.

    Only where it is ``marked`` does an equal content mark say that nothing changed.
    A game without a mark of its own is read from the load of the whole date, then and now: a whole
    load that replaces per-game ones changes those games, even where an equal one was consumed.
    A load of a table that was read by game and is now read by date has one content for all of that:
    it changes nothing only where everything that was consumed is equal to it.
    Which games are kept of those that nobody expects may change with the calendar, so a game that
    is kept now and was not then, or the other way round, changes only by a load that came since.
    """
    before, seen = consumed.marks.get(table, {}), consumed.received.get(table)
    read = {mark.event_id for mark in before.values()}
    changed = []
    by_date = grain is Grain.DATE  # games that are known are from when it was loaded by game
    for name in (WHOLE,) if by_date else dict.fromkeys((*known.games, WHOLE, *before)):
        arrival = _counting(known, name, grain)
        if arrival is None or arrival.event_id in read:
            continue
        if seen is not None and arrival.received_at < seen:
            continue
        old = before.get(name) or before.get(WHOLE)
        replaced = tuple(before.values()) if by_date else () if old is None else (old,)
        mark = _mark(arrival)
        if not (marked and replaced and all(mark.same_content(m) for m in replaced)):
            changed.append(name)
    return tuple(changed)


def _counting(known: TableDate, name: str, grain: Grain) -> Arrival | None:
    """The load that counts for a game, or for the whole date."""
    return known.newest if grain is Grain.DATE else known.winner(name)


def _received_after(known: TableDate, since: datetime | None) -> tuple[str, ...]:
    """For a requirement that was added later: what came after the generation was fired."""
    if since is None:
        return ()
    names = [g for g, e in known.games.items() if known.arrivals[e].received_at > since]
    whole = known.whole_arrival
    if whole is not None and whole.received_at > since:
        names.append(WHOLE)
    return tuple(names)


def _latest_of(changed: Sequence[str], known: TableDate, grain: Grain) -> Latest:
    """The newest load behind changed marks, by receipt."""
    names = [WHOLE] if grain is Grain.DATE else changed
    found = [a for name in names if (a := _counting(known, name, grain)) is not None]
    newest = max(found, key=lambda a: a.received_at)
    return Latest.of(newest)


def _game_names(
    changed: Sequence[str], known: TableDate, expected: Sequence[str] | None
) -> tuple[str, ...]:
    """The games behind changed marks: a whole load changes the games it names, or all expected."""
    games = {g for g in changed if g != WHOLE}
    whole = known.whole_arrival
    if WHOLE in changed and whole is not None:
        games.update(whole.game_ids or expected or ())
    return tuple(sorted(games))
