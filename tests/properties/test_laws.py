"""The laws (specification, section 4) over ``decide`` alone, whatever is thrown at it.

A machine of random facts: loads of every kind, a calendar and windows that change, pauses, people,
runners that are right, late, repeated or not who they say, and a clock that jumps. After every step
the laws are checked on the partition and on everything that was ever decided before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coordinator.core.arrivals import Fold, Grain, LoadStatus, TableDate, arrivals_key
from coordinator.core.choices import Bypass, RunStatus
from coordinator.core.draft import HISTORY_LIMIT, NOTIFIED_LIMIT
from coordinator.core.explain import (
    fired,
    hold_sentence,
    requirement_sentence,
    source_sentence,
    upstream_sentence,
    why,
)
from coordinator.core.facts import (
    Claimed,
    Completed,
    Delivered,
    DeliveryFailed,
    Fact,
    Heartbeat,
    Loaded,
    Requested,
    ResetRequested,
    SkipRequested,
    Surveyed,
    Ticked,
    WaiverGranted,
    WaiverLifted,
)
from coordinator.core.machine import Decision, blank, decide
from coordinator.core.model import EffectKind, Partition, Pause, Run, Status, Trigger
from coordinator.core.people import WAIVERS_LIMIT
from coordinator.core.readiness import judge
from coordinator.core.runs import TRANSITIONS_PER_RUN_LIMIT
from coordinator.core.spec import (
    DeadlineAction,
    OffDay,
    ProcessorSpec,
    ScheduleWhen,
)
from coordinator.core.transitions import TRANSITIONS
from coordinator.core.verdict import MET, Verdict
from tests.core.world import (
    BEFORE,
    DATE,
    START,
    A,
    B,
    C,
    any_of,
    arrival,
    at_least,
    clock_time,
    day,
    deadline,
    minutes,
    processor,
    schedule,
    table,
    window,
)

GAMES = ("g1", "g2", "g3")
D = "nba_raw.d"
TABLES = (A, B, C)
BYPASSES = st.frozensets(st.sampled_from(Bypass), max_size=3)
REPORTS = st.sampled_from([RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.NO_DATA, *RunStatus])

durations = st.sampled_from([minutes(0), minutes(3), minutes(20)])


@st.composite
def registries(draw: st.DrawFn) -> ProcessorSpec:
    lines = draw(
        st.sampled_from(
            [
                (table(A), table(B, critical=False)),
                (table(A, expected_count_per_game=30.0), any_of(B, C, prefer_for=minutes(10))),
                (at_least(2, A, B, C), table(A, offset=-1)),
                (table(A, critical=False), table(B, critical=False)),
                (
                    table(A, max_age_warn=minutes(30), max_age_fail=minutes(60)),
                    window(D, game_dates=3, min_ready=0.6),
                ),
            ]
        )
    )
    return processor(
        *lines,
        grains={A: draw(st.sampled_from(Grain))},
        calendar_table=draw(st.sampled_from([None, C])),
        known_from=draw(st.sampled_from([None, BEFORE])),
        grace=draw(durations),
        debounce=draw(durations),
        max_settle=minutes(15),
        cooldown=draw(durations),
        max_refires=draw(st.integers(0, 2)),
        attempts=draw(st.integers(1, 3)),
        off_day=draw(st.sampled_from(OffDay)),
        not_before=draw(st.sampled_from([None, clock_time(START + minutes(25))])),
        deadline=draw(st.sampled_from([None, *(deadline(45, then) for then in DeadlineAction)])),
        schedule=draw(
            st.sampled_from([(), *(schedule(35, 80, when=when) for when in ScheduleWhen)])
        ),
    )


class Laws(RuleBasedStateMachine):
    """One partition under fire."""

    @initialize(spec=registries(), games=st.sampled_from([None, GAMES, ()]))
    def begin(self, spec: ProcessorSpec, games: tuple[str, ...] | None) -> None:
        self.spec = spec
        self.now: datetime = START
        self.games: dict[str, tuple[str, ...]] = {} if games is None else {DATE: games}
        self.windows: dict[str, tuple[Any, ...]] = {}
        self.pauses: tuple[Pause, ...] = ()
        self.ledger: dict[str, TableDate] = {}
        self.count = 0
        self.runs: dict[str, Run] = {}
        self.owners: dict[tuple[str, int], str] = {}
        self.tokens: list[str] = ["garbage"]
        self.notices: set[str] = set()
        self.partition: Partition = blank(spec, DATE, START)
        self.step(self.survey())

    # ── what happens ─────────────────────────────────────────────────────────────────────────

    def survey(self) -> Surveyed:
        return Surveyed(games=self.games, windows=self.windows, pauses=self.pauses)

    @rule(n=st.sampled_from([0.5, 3, 10, 30, 120]))
    def time_passes(self, n: float) -> None:
        self.now += minutes(n)

    @rule()
    def tick(self) -> None:
        self.step(Ticked())

    @rule()
    def sweep_when_due(self) -> None:
        if self.partition.wake_at is not None:
            self.now = max(self.now, self.partition.wake_at)
            self.step(Ticked())

    @rule(
        name=st.sampled_from(TABLES),
        date=st.sampled_from([DATE, DATE, DATE, BEFORE]),
        status=st.sampled_from([LoadStatus.SUCCESS] * 4 + list(LoadStatus)),
        games=st.sampled_from([(), (), GAMES, GAMES[:1], GAMES[1:], ("other",)]),
        rows=st.sampled_from([None, 0, 90, 90, 300]),
        back=st.sampled_from([0, 0, 5, 90]),
        quiet=st.sampled_from([False, False, False, True]),
        mark=st.sampled_from([None, None, "h1"]),
    )
    def load(
        self,
        name: str,
        date: str,
        status: LoadStatus,
        games: Sequence[str],
        rows: int | None,
        back: int,
        *,
        quiet: bool,
        mark: str | None,
    ) -> None:
        self.count += 1
        stamp = self.now - minutes(back)
        said = arrival(
            name, games, rows=rows, status=status, stamp=stamp, received=self.now,
            event_id=f"e{self.count}", date=date, mark=mark, quiet=quiet,
        )  # fmt: skip
        key = arrivals_key(name, date)
        known = self.ledger.get(key, TableDate(table=name, game_date=date))
        grain = self.spec.grains.get(name, Grain.DATE)
        self.ledger[key], fold = known.fold(said, grain, self.games.get(date))
        if fold is Fold.APPLIED:
            self.step(Loaded(table_date=self.ledger[key], arrival=said))

    @rule(
        games=st.sampled_from([GAMES, GAMES, GAMES[:2], ()]), date=st.sampled_from([DATE, BEFORE])
    )
    def calendar(self, games: tuple[str, ...], date: str) -> None:
        self.games = {**self.games, date: games}
        self.step(self.survey())

    @rule(ready=st.integers(0, 3))
    def history_fills(self, ready: int) -> None:
        days = (day(f"2024-10-1{n}", met=n < ready, since=START - minutes(9)) for n in range(3))
        self.windows = {f"window {D}": tuple(days)}
        self.step(self.survey())

    @rule()
    def pause(self) -> None:
        self.pauses = (Pause(scope="_all", reason="r", actor="ann", at=self.now),)
        self.step(self.survey())

    @rule()
    def resume(self) -> None:
        self.pauses = ()
        self.step(self.survey())

    @rule(pick=st.integers(0, 20), lost=st.booleans())
    def deliver(self, pick: int, *, lost: bool) -> None:
        ids = [e.effect_id for e in self.partition.outbox] or ["launch:nobody:1"]
        effect_id = ids[pick % len(ids)]
        if lost:
            self.step(DeliveryFailed(effect_id=effect_id, error="503"))
        else:
            self.step(Delivered(effect_id=effect_id, message_id="m"))

    @rule(owner=st.sampled_from(["w1", "w2"]), attempt=st.integers(-1, 1), back=st.integers(-1, 1))
    def claim(self, owner: str, attempt: int, back: int) -> None:
        live = self.partition.live
        number = (live.attempt if live else 1) + attempt
        generation = self.partition.generation + back
        token = f"t{self.count}.{len(self.tokens)}"
        self.tokens.append(token)
        fact = Claimed(generation=generation, attempt=number, owner=owner, token=token)
        reply = self.step(fact).replies[0]
        if not reply.ok:
            return
        run = self.partition.live
        assert run is not None
        assert (run.generation, run.attempt, run.current.owner) == (generation, number, owner)
        assert run.lease_expires_at is not None
        assert run.lease_expires_at > self.now or self.spec.policy.heartbeat_timeout == timedelta(0)
        holder = self.owners.setdefault((run.run_id, run.attempt), owner)
        assert holder == owner, "two owners held one attempt"

    @rule(pick=st.integers(0, 99), status=REPORTS, beat=st.booleans(), back=st.integers(0, 1))
    def report(self, pick: int, status: RunStatus, *, beat: bool, back: int) -> None:
        live = self.partition.live
        known = [live.lease_token] if live is not None and live.lease_token else []
        tokens = [*known * 3, *self.tokens[-4:]]
        token = tokens[pick % len(tokens)]
        generation = self.partition.generation - back
        before = self.partition
        fact: Fact = (
            Heartbeat(generation=generation, token=token)
            if beat
            else Completed(generation=generation, token=token, status=status, record_count=5)
        )
        reply = self.step(fact).replies[0]
        current = before.live is not None and (
            before.live.lease_token == token and before.live.generation == generation
        )
        if not current and not reply.ok:
            # The report itself did nothing: only what the time does happened.
            alone = decide(before, (Ticked(),), self.spec, self.now).partition
            assert alone == self.partition, "a stale report changed something"

    @rule(
        bypass=BYPASSES,
        trigger=st.sampled_from([Trigger.MANUAL, Trigger.BACKFILL]),
        quiet=st.booleans(),
    )
    def request(self, bypass: frozenset[Bypass], trigger: Trigger, *, quiet: bool) -> None:
        before = self.partition
        fact = Requested(
            reason="r", actor="ann", bypass=bypass, trigger=trigger, skip_downstream=quiet
        )
        decision = self.step(fact)
        reply = decision.replies[0]
        if before.live is not None:
            assert (reply.ok, reply.code) == (False, "live_run")
        if reply.ok:
            assert decision.fired is not None
            assert decision.fired.actor == "ann"
            assert decision.fired.bypassed == tuple(sorted(b.value for b in bypass))

    @rule(end_run=st.booleans())
    def skip(self, *, end_run: bool) -> None:
        self.step(SkipRequested(reason="r", actor="ann", end_run=end_run))

    @rule()
    def reset(self) -> None:
        self.step(ResetRequested(reason="r", actor="ann"))
        assert self.partition.execution.refires == 0

    @rule(name=st.sampled_from([*TABLES, D, "nba_raw.nobody"]), n=st.sampled_from([None, -1, 20]))
    def waive(self, name: str, n: int | None) -> None:
        until = None if n is None else self.now + minutes(n)
        self.step(WaiverGranted(table=name, reason="r", actor="ann", until=until))

    @rule(name=st.sampled_from(TABLES))
    def lift(self, name: str) -> None:
        self.step(WaiverLifted(table=name, reason="r", actor="ann"))

    # ── what must hold ───────────────────────────────────────────────────────────────────────

    def step(self, fact: Fact) -> Decision:
        before = self.partition
        decision = decide(before, (fact,), self.spec, self.now)
        after = decision.partition
        name = type(fact).__name__
        assert after.status in TRANSITIONS[before.status, name], (before.status, name, after.status)
        assert decision.facts == (fact,)
        assert len(decision.replies) == 1
        assert decision.changed == (after != before)
        self._one_run_per_generation(before, decision)
        if decision.fired is not None:
            self._no_run_without_its_needs(before, fact, decision, decision.fired)
        for run in decision.runs:
            self.runs[run.run_id] = run
        queued = {e.effect_id for e in after.outbox if e.kind is EffectKind.NOTIFY}
        fresh = queued - {e.effect_id for e in before.outbox}
        assert not fresh & self.notices, "the same cause was notified twice"
        self.notices |= fresh
        again = decide(after, (Ticked(),), self.spec, self.now)
        assert again.partition == after, "a second evaluation at the same instant changed something"
        self.partition = after
        return decision

    def _one_run_per_generation(self, before: Partition, decision: Decision) -> None:
        """Law 2."""
        after = decision.partition
        assert after.generation - before.generation == int(decision.fired is not None)
        if decision.fired is not None:
            assert decision.fired.run_id not in self.runs
            assert after.live == decision.fired
            assert before.live is None or self._ended(before.live, decision)
        if before.live is not None and after.live is None:
            assert self._ended(before.live, decision)
        if before.live is not None and after.live is not None:
            same = after.live.run_id == before.live.run_id
            assert same or self._ended(before.live, decision)
            assert not same or after.live.attempt - before.live.attempt in (0, 1)

    @staticmethod
    def _ended(run: Run, decision: Decision) -> bool:
        return any(r.run_id == run.run_id and not r.live for r in decision.runs)

    def _no_run_without_its_needs(
        self, before: Partition, fact: Fact, decision: Decision, run: Run
    ) -> None:
        """Laws 1, 6 and 8."""
        first = before.generation == 0 and run.trigger is not Trigger.BACKFILL
        verdict = judge(decision.partition, self.spec, self.now, freshness=first)
        unmet = [r for r in verdict.requirements if r.requirement.critical and r.state not in MET]
        if unmet or verdict.off_day:
            assert {"dependencies", "freshness"} & set(run.bypassed), (unmet, run)
        if unmet:
            assert run.unmet
        assert bool(run.unmet) == bool(unmet)
        assert run.explanation
        assert run.registry_hash == self.spec.registry_hash
        if self.pauses:
            assert "pause" in run.bypassed, "fired while paused"
        if isinstance(fact, Requested) and decision.replies[0].ok:
            assert run.actor == "ann"
        elif run.actor is None and before.outcome is not None:
            reset = isinstance(fact, ResetRequested)
            assert reset or decision.partition.execution.refires <= self.spec.policy.max_refires

    @invariant()
    def no_trigger_is_lost(self) -> None:
        """Law 3, and 4: what holds has an end in time, or somebody to end it."""
        if not hasattr(self, "partition"):
            return
        partition = self.partition
        looked = decide(partition, (Ticked(),), self.spec, self.now).partition
        assert looked.wake_at is None or looked.wake_at > self.now
        if looked.live is not None or looked.skip is not None:
            return
        verdict = judge(looked, self.spec, self.now)
        ready = verdict.critical_met and (
            verdict.newer_ready if looked.outcome is not None else not verdict.off_day
        )
        if ready:
            assert verdict.holds, "ready, not held and not fired"
            for hold in verdict.holds:
                if hold.until is None:
                    assert hold.kind.value in ("pause", "quiet", "budget")
                else:
                    assert looked.wake_at is not None
                    assert self.now < looked.wake_at <= hold.until

    @invariant()
    def everything_is_bounded(self) -> None:
        """Law 7."""
        if not hasattr(self, "partition"):
            return
        partition = self.partition
        assert len(partition.history) <= HISTORY_LIMIT
        assert len(partition.journal.notified) <= NOTIFIED_LIMIT
        assert len(partition.waivers) <= WAIVERS_LIMIT
        assert len({e.effect_id for e in partition.outbox}) == len(partition.outbox)
        for run in self.runs.values():
            assert len(run.attempts) <= self.spec.policy.attempts
            assert len(run.transitions) <= TRANSITIONS_PER_RUN_LIMIT
        launches = [e for e in partition.outbox if e.kind is EffectKind.LAUNCH]
        pending = partition.status is Status.FIRING
        assert len(launches) == int(pending), (
            "a launch is in the outbox exactly while one is pending"
        )

    @invariant()
    def it_explains_itself(self) -> None:
        """Law 6."""
        if not hasattr(self, "partition"):
            return
        verdict = judge(self.partition, self.spec, self.now)
        words = why(self.partition, self.spec, verdict)
        assert words.endswith((".", "?"))
        for sentence in [words, *self.sentences(verdict)]:
            assert not re.search(r"\bNone\b|\bmissing[ .]*$", sentence), sentence
            assert not re.search(r"(?<!\d)\d+:\d\d:\d\d(?!Z)", sentence), f"raw: {sentence}"

    def sentences(self, verdict: Verdict) -> Iterator[str]:
        """Everything else that is said of the partition."""
        for r in verdict.requirements:
            yield requirement_sentence(r)
            yield requirement_sentence(r, opening=True)
            for s in r.sources:
                yield source_sentence(s)
                yield source_sentence(s, opening=True)
        yield from (hold_sentence(h) for h in verdict.holds)
        yield from verdict.warnings
        yield from (f"{e.summary} {e.detail}" for e in self.partition.outbox)
        yield from (f"{t.what} {t.detail}" for t in self.partition.history)
        yield upstream_sentence(self.partition)
        if self.partition.live is not None:
            yield fired(self.partition.live)
            yield self.partition.live.explanation


Laws.TestCase.settings = settings(
    deadline=None,
    max_examples=100,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLaws = Laws.TestCase
