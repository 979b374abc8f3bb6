"""The creation of a generation: the one place where a run begins.

Owns what a new run carries: the inputs it consumes, the judgement it rests on, its warnings.
Refuses to decide whether one may begin (see ``machine``, ``timers`` and ``people``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from coordinator.core import effects, runs
from coordinator.core.arrivals import TableDate, arrivals_key
from coordinator.core.choices import RunStatus
from coordinator.core.draft import Draft
from coordinator.core.explain import launch_warnings, requirement_sentence
from coordinator.core.model import Attempt, Execution, Input, Run, Trigger, run_id
from coordinator.core.newer import consume
from coordinator.core.verdict import RequirementVerdict, SourceVerdict, Verdict

WINDOW_INPUTS_MAX = 400
"""Dates of one window that a run names as its inputs, the newest ones."""


def fire(
    draft: Draft,
    verdict: Verdict,
    trigger: Trigger,
    *,
    forced: bool = False,
    bypassed: tuple[str, ...] = (),
    unmet: tuple[str, ...] = (),
    reason: str | None = None,
    actor: str | None = None,
    skip_downstream: bool = False,
    ruled: Verdict | None = None,
) -> Draft:
    """Create the next generation with its launch in the outbox. The only place that does.

    ``ruled`` is the judgement by every rule, where ``verdict`` leaves one out.
    """
    before, arrivals = draft.before, draft.inputs.arrivals
    generation = draft.execution.generation + 1
    run = Run(
        run_id=run_id(before.processor, before.game_date, generation),
        processor=before.processor,
        game_date=before.game_date,
        generation=generation,
        trigger=trigger,
        status=RunStatus.PENDING,
        registry_hash=draft.spec.registry_hash,
        fired_at=draft.now,
        attempts=(Attempt(number=1, launch_at=draft.now),),
        inputs=tuple(_inputs(verdict, arrivals)),
        explanation=" ".join(f"{requirement_sentence(r)}." for r in verdict.requirements),
        bypassed=bypassed,
        unmet=unmet,
        reason=reason,
        actor=actor,
        skip_downstream=skip_downstream,
        changed_games=verdict.changed_games,
        changed_tables=verdict.changed_tables,
        warnings=launch_warnings(
            ruled or verdict, draft.spec, before.game_date, draft.inputs.games
        ),
        correlation_id=_correlation_id(arrivals),
    )
    run = runs.noted(run, draft.now, "fired", trigger.value, actor)
    draft = draft._replace(
        inputs=replace(draft.inputs, latest=None, committed=()),
        execution=_fired(draft, run, verdict, forced=forced),
        runs={**draft.runs, run.run_id: run},
        fired=run,
    )
    draft = draft.ask(effects.launch(run, draft.now))
    return draft.remember("fired", f"generation {generation}: {trigger.value}", actor)


def _fired(draft: Draft, run: Run, verdict: Verdict, *, forced: bool) -> Execution:
    """The execution with this run live, and with what its generation consumes."""
    execution = draft.execution
    by_itself = execution.outcome is not None and run.actor is None
    return replace(
        execution,
        generation=run.generation,
        refires=execution.refires + by_itself,
        live=run,
        consumed=consume(draft.inputs.arrivals, draft.spec.grains, verdict),
        consumed_at=draft.now,
        consumed_games=draft.inputs.games,
        newer_after={},
        dirty_since=None,
        skip=None,
        forced=forced,
    )


def _inputs(verdict: Verdict, arrivals: Mapping[str, TableDate]) -> Iterable[Input]:
    """What the run reads, each table and date once."""
    found: dict[tuple[str, str], Input] = {}
    for r in verdict.requirements:
        read = _dates(r) if r.requirement.window is not None else _tables(r, arrivals)
        for one in read:
            found.setdefault((one.table, one.game_date), one)
    return found.values()


def _dates(r: RequirementVerdict) -> Iterable[Input]:
    """The dates of a window that are ready."""
    for day in r.days[-WINDOW_INPUTS_MAX:]:
        if day.met:
            yield Input(
                table=r.requirement.sources[0],
                game_date=day.game_date,
                state=day.state,
                record_count=day.record_count,
                game_ids=(),
                event_ids=day.event_ids,
                loaded_at=day.since,
            )


def _tables(r: RequirementVerdict, arrivals: Mapping[str, TableDate]) -> Iterable[Input]:
    """The sources that are used, and where it was forced, whatever holds rows."""
    for source in r.sources:
        replaced = r.met and source.waiver is None  # another source is read instead
        if source.table in r.used or (source.event_ids and not replaced):
            yield _table(source, arrivals[arrivals_key(source.table, source.game_date)])


def _table(source: SourceVerdict, known: TableDate) -> Input:
    games = {g for g, e in known.games.items() if not known.arrivals[e].empty}
    whole = known.whole_arrival
    if whole is not None and not whole.empty:
        games.update(whole.game_ids)
    return Input(
        table=source.table,
        game_date=source.game_date,
        state=(source.unwaived_state or source.state).value,
        record_count=source.record_count,
        game_ids=tuple(sorted(games)),
        event_ids=source.event_ids,
        loaded_at=source.loaded_at,
    )


def _correlation_id(arrivals: Mapping[str, TableDate]) -> str | None:
    """That of the newest load that carries one."""
    loads = [a for t in arrivals.values() for a in t.arrivals.values() if a.correlation_id]
    newest = max(loads, key=lambda a: a.received_at, default=None)
    return newest.correlation_id if newest else None
