"""What a run consumes and what its launch says (specification 6).

Owns the contents: inputs, what changed, warnings, trigger, bypasses. A run is compared with the model
when it is fired, and each launch message with the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from coordinator.judge.ledger import WHOLE, Ledger
from coordinator.judge.needs import EvaluatedNeed, EvaluatedNeeds, Needs, Source
from coordinator.judge.observations import InputShown, RunShown
from coordinator.judge.rules import Rules
from coordinator.judge.story import Newer, PartitionStory

Break = Callable[[str, str, str, str], None]


def check_contents(
    broken: Break,
    ledger: Ledger,
    needs: Needs,
    story: PartitionStory,
    run: RunShown,
    ready: EvaluatedNeeds,
    newer: Sequence[Newer],
) -> None:
    """Compare what a new run says it consumes with what it does consume."""
    _inputs(broken, ledger, needs, run, ready)
    _correlation(broken, ledger, run, ready)
    _changes(broken, ledger, story, run, newer)
    _warnings(broken, ledger, needs, run, ready)
    if not run.explanation:
        broken("run.explanation", "4 law 6", run.run_id, "does not say why it was fired")


def _inputs(
    broken: Break, ledger: Ledger, needs: Needs, run: RunShown, ready: EvaluatedNeeds
) -> None:
    listed = {(i.table, i.game_date): i for i in run.inputs}
    if len(listed) != len(run.inputs):
        broken("launch.inputs", "6", run.run_id, "lists an input twice")
    allowed: set[tuple[str, str]] = set()
    for need in ready.needs:
        if need.line.window:
            table = need.line.tables[0]
            for date, met in need.dates:
                allowed.add((table, date))
                if met is True and (table, date) not in listed:
                    broken("launch.inputs", "6", run.run_id, f"does not list {table} {date}")
            continue
        for source in need.sources:
            key = (source.table, source.game_date)
            # Of a group that a waiver completes, what did come is read all the same.
            must = source.table in need.used and need.by_data is not None
            if need.line.ordered and must:
                # Of an ordered group the first that is met is read; an earlier one may be.
                must = all(s.met is False for s in need.sources[: need.sources.index(source)])
            replaced = need.line.ordered and need.by_data is True and not must
            sure = source.waived is False and all(s.met is not None for s in need.sources)
            if replaced and sure:
                continue
            allowed.add(key)
            if not must:
                continue
            if key not in listed:
                broken("launch.inputs", "6", run.run_id, f"does not list {key[0]} {key[1]}")
            else:
                _input(broken, ledger, needs, run, source, listed[key])
    for table, date in sorted(listed.keys() - allowed):
        broken("launch.inputs", "6", run.run_id, f"lists {table} {date}, which it does not read")
    for key, entry in listed.items():
        known = {x.event_id for x in ledger.loads.get(key, ())}
        strange = set(entry.event_ids) - known
        if strange:
            broken(
                "launch.inputs",
                "4 law 6",
                run.run_id,
                f"consumed {sorted(strange)}, not in the ledger",
            )


def _correlation(broken: Break, ledger: Ledger, run: RunShown, ready: EvaluatedNeeds) -> None:
    """A run carries the correlation id of a load (5.2: what one id touched)."""
    read = [
        load
        for need in ready.needs
        for source in need.sources
        for load in ledger.of(source.table, source.game_date)
    ]
    ids = {x.correlation_id for x in read}
    if run.correlation_id is None:
        wrong = bool(ids) and None not in ids
    else:
        # Which of them is the service's choice: also of a line that is not judged any more.
        known = {x.correlation_id for loads in ledger.loads.values() for x in loads}
        wrong = run.correlation_id not in known
    if wrong:
        broken(
            "launch.correlation_id",
            "5.2",
            run.run_id,
            f"has correlation id {run.correlation_id}; its loads have "
            f"{sorted(i for i in ids if i is not None)}",
        )


def _input(
    broken: Break, ledger: Ledger, needs: Needs, run: RunShown, source: Source, shown: InputShown
) -> None:
    where = f"{source.table} {source.game_date}"
    ids = {x.event_id for x in source.resting}
    if ledger.games(source.game_date) or not needs.rules.by_game(source.table):
        if set(shown.event_ids) != ids:
            broken(
                "launch.inputs",
                "6",
                run.run_id,
                f"says it consumes {sorted(shown.event_ids)} of {where}, and that is {sorted(ids)}",
            )
            return
        if not needs.rules.by_game(source.table):
            counted = source.count
        else:
            counted = None if source.count is None else round(source.count)
        if shown.record_count != counted and abs((shown.record_count or 0) - (counted or 0)) > 1:
            broken(
                "launch.inputs",
                "6",
                run.run_id,
                f"says {where} has {shown.record_count} rows, and it has {counted}",
            )
    loads = ledger.of(source.table, source.game_date)
    with_rows = [x for x in source.resting if not x.empty]
    games = {g for x in with_rows for g in x.games}
    if needs.rules.by_game(source.table):
        games = {g for g in games if ledger.winner(loads, g) in with_rows}
    # Of unexpected games only a sample is kept (specification 3.1).
    if not ledger.keeps_all(source.table, source.game_date):
        games &= {*(ledger.games(source.game_date) or ())}
    if not games <= set(shown.game_ids):
        broken(
            "launch.inputs",
            "6",
            run.run_id,
            f"leaves out the games {sorted(games - set(shown.game_ids))} of {where}",
        )
    if source.aging is True and shown.state != "aging":
        broken("launch.inputs", "6", run.run_id, f"calls {where} {shown.state}, and it is aging")


def _changes(
    broken: Break, ledger: Ledger, story: PartitionStory, run: RunShown, newer: Sequence[Newer]
) -> None:
    sure = [n for n in newer if n.sure]
    tables, games = set(run.changed_tables), set(run.changed_games)
    must = {n.table for n in sure if n.games}
    may = {n.table for n in newer}
    if not must <= tables or not tables <= may:
        broken(
            "launch.changed_tables",
            "6",
            run.run_id,
            f"says {sorted(tables)} changed, and {sorted(must)} did",
        )
    surely = {g for n in sure for g in n.games - {WHOLE} if _is_kept(ledger, n, g)}
    maybe = {g for n in newer for g in n.games}
    # A load of the whole date changes what loads of its games brought before.
    maybe |= {g for n in newer for x in ledger.of(n.table, n.game_date) for g in x.games}
    maybe |= {g for n in newer for g in ledger.games(n.game_date) or ()}
    if not surely <= games or not games <= maybe:
        broken(
            "launch.changed_games",
            "6",
            run.run_id,
            f"says {sorted(games)} changed, and {sorted(surely)} did",
        )


def _is_kept(ledger: Ledger, newer: Newer, game: str) -> bool:
    """Whether a game is certainly listed: of unexpected games only a sample is kept."""
    if game in (ledger.games(newer.game_date) or ()):
        return True
    if not ledger.keeps_all(newer.table, newer.game_date):
        return False
    return any(game in x.games for x in newer.loads)


def _warnings(
    broken: Break, ledger: Ledger, needs: Needs, run: RunShown, ready: EvaluatedNeeds
) -> None:
    said = "\n".join(run.warnings)

    def must_name(need: EvaluatedNeed, rule: str, what: str) -> None:
        if not any(table in said for table in need.line.tables):
            tables = ", ".join(need.line.tables)
            broken(rule, "6", run.run_id, f"does not warn that {tables} {what}")

    for need in ready.needs:
        if need.met is False and not need.line.critical:
            must_name(need, "launch.warnings.optional", "was not met")
        if need.met is False and need.line.critical:
            must_name(need, "launch.warnings.passed_over", "was passed over")
        if any(s.aging is True and s.table in need.used for s in need.sources):
            must_name(need, "launch.warnings.aging", "is aging")
        read = [s for s in need.sources if s.table in need.used and ledger.games(s.game_date) != ()]
        if any(x.status == "partial" and not x.games for s in read for x in s.resting):
            must_name(need, "launch.warnings.partial", "was loaded in part")
        line = need.line
        falls_back = line.ordered and need.by_data is True and bool(need.used)
        if falls_back and need.sources[0].met_or_waived is False:
            must_name(need, "launch.warnings.fallback", "is used in place of the preferred one")
        if any(
            s.unexpected and s.table in need.used and ledger.keeps_all(s.table, s.game_date)
            for s in need.sources
        ):
            must_name(need, "launch.warnings.unexpected", "has games that are not expected")
        if not line.window and need.by_data is True:
            unknown = [
                s
                for s in need.sources
                if s.table in need.used and ledger.games(s.game_date) is None
            ]
            judged = line.per_game is not None or any(needs.rules.by_game(s.table) for s in unknown)
            if unknown and judged and "calendar" not in said:
                must_name(need, "launch.warnings.calendar", "could not be judged: calendar unknown")


def check_message(
    broken: Break,
    registries: Mapping[str, Rules],
    run: RunShown,
    message: Mapping[str, Any],
    at: datetime,
) -> None:
    """Compare a launch message with its run."""
    attempt = message.get("attempt")
    expected: dict[str, Any] = {
        "event_type": "run_requested",
        "processor": run.processor,
        "game_date": run.game_date,
        "generation": run.generation,
        "trigger": run.trigger if attempt == 1 else "retry",
        "bypassed": list(run.bypassed),
        "skip_downstream": run.skip_downstream,
        "changed_games": list(run.changed_games),
        "changed_tables": list(run.changed_tables),
        "warnings": list(run.warnings),
        "correlation_id": run.correlation_id,
    }
    rules = registries.get(run.registry_hash)
    for name, value in expected.items():
        if name not in message:
            broken(f"launch.{name}", "6", run.run_id, f"its launch has no {name}")
        elif message[name] != value:
            broken(
                f"launch.{name}",
                "6",
                run.run_id,
                f"its launch says {message[name]!r}, not {value!r}",
            )
    inputs = tuple(InputShown.of(i) for i in message.get("inputs", ()))
    if inputs != run.inputs:
        broken("launch.inputs", "6", run.run_id, "its launch lists other inputs than the run")
    if rules is not None and run.processor in rules.processors:
        phases = {
            r.processors[run.processor].phase
            for r in registries.values()
            if run.processor in r.processors
        }
        if message.get("phase") not in phases:
            broken("launch.phase", "6", run.run_id, f"its launch says phase {message.get('phase')}")
