"""A small world around ``decide``: one partition, its ledger, its calendar and a clock.

Every step is held to what must always be true: the transition table, a ``wake_at`` in the future,
generations that rise by one, and a second evaluation at the same instant that changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from coordinator.core.arrivals import Arrival, Fold, Grain, LoadStatus, TableDate, arrivals_key
from coordinator.core.choices import Bypass, RunStatus
from coordinator.core.explain import why
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
from coordinator.core.model import (
    EffectKind,
    Flag,
    OutboxEntry,
    Partition,
    Pause,
    Run,
    Status,
    Trigger,
    WindowDay,
)
from coordinator.core.readiness import judge
from coordinator.core.spec import (
    ClockTime,
    Deadline,
    DeadlineAction,
    Policy,
    ProcessorSpec,
    Requirement,
    RequirementKind,
    ScheduleEntry,
    ScheduleWhen,
    Window,
)
from coordinator.core.transitions import TRANSITIONS, may_follow
from coordinator.core.verdict import RequirementVerdict, State, Verdict

DATE = "2024-10-23"
BEFORE = "2024-10-22"
GAMES = tuple(f"00224000{n}" for n in range(61, 71))
START = datetime(2024, 10, 24, 2, 0, tzinfo=UTC)
"""22:00 on the game date in New York: the first box scores land."""
A, B, C, D = "nba_raw.a", "nba_raw.b", "nba_raw.c", "nba_raw.d"
OUTPUT = "nba_analytics.out"


def minutes(n: float) -> timedelta:
    return timedelta(minutes=n)


def at(n: float) -> datetime:
    """``n`` minutes after the start."""
    return START + minutes(n)


def table(name: str, **settings: Any) -> Requirement:
    return Requirement(key=name, kind=RequirementKind.TABLE, sources=(name,), **settings)


def any_of(*names: str, **settings: Any) -> Requirement:
    key = "any of " + ", ".join(names)
    return Requirement(key=key, kind=RequirementKind.ANY_OF, sources=names, **settings)


def at_least(needed: int, *names: str, **settings: Any) -> Requirement:
    key = f"{needed} of " + ", ".join(names)
    return Requirement(
        key=key, kind=RequirementKind.AT_LEAST, sources=names, needed=needed, **settings
    )


def window(name: str, *, min_ready: float = 1.0, **settings: Any) -> Requirement:
    span = {k: settings.pop(k) for k in ("game_dates", "days") if k in settings}
    return Requirement(
        key=f"window {name}",
        kind=RequirementKind.WINDOW,
        sources=(name,),
        window=Window(min_ready=min_ready, **span),
        **settings,
    )


def arrival(
    name: str = A,
    games: Sequence[str] = (),
    *,
    rows: int | None = 200,
    status: LoadStatus = LoadStatus.SUCCESS,
    stamp: datetime = START,
    received: datetime | None = None,
    event_id: str = "e",
    date: str = DATE,
    mark: str | None = None,
    quiet: bool = False,
    correlation_id: str | None = None,
) -> Arrival:
    return Arrival(
        event_id=event_id,
        table=name,
        game_date=date,
        status=status,
        timestamp=stamp,
        received_at=received or stamp,
        record_count=rows,
        game_ids=tuple(games),
        content_hash=mark,
        quiet=quiet,
        correlation_id=correlation_id,
    )


def day(date: str, *, met: bool = True, since: datetime | None = None) -> WindowDay:
    state = State.READY if met else State.MISSING
    return WindowDay(
        game_date=date, met=met, state=state.value, since=since, record_count=5 if met else None
    )


def processor(
    *requirements: Requirement,
    grains: Mapping[str, Grain] | None = None,
    known_from: str | None = None,
    calendar_table: str | None = None,
    **policy: Any,
) -> ProcessorSpec:
    return ProcessorSpec(
        name="P",
        phase=3,
        output=OUTPUT,
        requirements=requirements or (table(A),),
        policy=Policy(**policy),
        grains=grains or {},
        known_from=known_from,
        calendar_table=calendar_table,
        registry_hash="r1",
    )


def clock_time(instant: datetime) -> ClockTime:
    """The clock time (New York) of an instant, relative to the game date."""
    from zoneinfo import ZoneInfo

    local = instant.astimezone(ZoneInfo("America/New_York"))
    days = (local.date() - datetime.fromisoformat(DATE).date()).days
    return ClockTime(hour=local.hour, minute=local.minute, second=local.second, day=days)


def deadline(n: float, then: DeadlineAction = DeadlineAction.ALERT) -> Deadline:
    """A deadline ``n`` minutes after the start."""
    return Deadline(at=clock_time(at(n)), then=then)


def schedule(*ns: float, when: ScheduleWhen = ScheduleWhen.READY) -> tuple[ScheduleEntry, ...]:
    return tuple(ScheduleEntry(at=clock_time(at(n)), when=when) for n in ns)


class World:
    """One partition, driven by facts."""

    def __init__(
        self,
        *requirements: Requirement,
        games: Sequence[str] | None = GAMES,
        first_known: float = 0,
        **settings: Any,
    ) -> None:
        self.spec = processor(*requirements, **settings)
        self.now = at(first_known)
        self.games: dict[str, tuple[str, ...]] = {} if games is None else {DATE: tuple(games)}
        self.windows: dict[str, tuple[WindowDay, ...]] = {}
        self.pauses: tuple[Pause, ...] = ()
        self.ledger: dict[str, TableDate] = {}
        self.partition: Partition = blank(self.spec, DATE, self.now)
        self.decision: Decision = self.survey()
        self.events = 0

    # ── time and facts ───────────────────────────────────────────────────────────────────────

    def at(self, n: float) -> World:
        """Move the clock to ``n`` minutes after the start; nothing looks yet."""
        assert at(n) >= self.now
        self.now = at(n)
        return self

    def step(self, *facts: Fact) -> Decision:
        before = self.partition
        known: tuple[Fact, ...] = ()
        if self.spec.windows:  # a decision that rests on windows is given their dates
            known = (Surveyed(games=self.games, windows=self.windows, pauses=self.pauses),)
        decision = decide(before, (*known, *facts), self.spec, self.now)
        after = decision.partition
        if len(facts) == 1:
            name = type(facts[0]).__name__
            assert after.status in TRANSITIONS[before.status, name], (
                f"{before.status} + {name} -> {after.status}"
            )
        assert after.status in may_follow(before.status, decision.facts)
        assert after.wake_at is None or after.wake_at > self.now
        fired = decision.fired is not None
        assert after.generation == before.generation + fired
        assert after.revision == before.revision + (after != before)
        again = decide(after, (Ticked(),), self.spec, self.now)
        assert again.partition == after, "a second evaluation at the same instant changed something"
        assert not again.changed
        self.partition, self.decision = after, decision
        return decision

    def tick(self, n: float | None = None) -> Decision:
        if n is not None:
            self.at(n)
        return self.step(Ticked())

    def survey(self) -> Decision:
        return self.step(Surveyed(games=self.games, windows=self.windows, pauses=self.pauses))

    def expect(self, games: Sequence[str] | None, date: str = DATE) -> Decision:
        """The calendar says which games there are (None: it does not know the date)."""
        self.games = {d: g for d, g in self.games.items() if d != date}
        if games is not None:
            self.games[date] = tuple(games)
        return self.survey()

    def look_back(self, *days: WindowDay, name: str = C) -> Decision:
        self.windows = {**self.windows, f"window {name}": days}
        return self.survey()

    def pause(self) -> Decision:
        self.pauses = (Pause(scope="_all", reason="maintenance", actor="ann", at=self.now),)
        return self.survey()

    def resume(self) -> Decision:
        self.pauses = ()
        return self.survey()

    def arriving(
        self,
        name: str = A,
        games: Sequence[str] = (),
        *,
        stamp: datetime | None = None,
        date: str = DATE,
        event_id: str | None = None,
        **said: Any,
    ) -> Loaded | Ticked:
        """A load that is received now, as a fact. A superseded one asks for a fresh look."""
        self.events += 1
        load = arrival(
            name,
            games,
            stamp=stamp or self.now,
            received=self.now,
            date=date,
            event_id=event_id or f"e{self.events}",
            **said,
        )
        key = arrivals_key(name, date)
        known = self.ledger.get(key, TableDate(table=name, game_date=date))
        grain = self.spec.grains.get(name, Grain.DATE)
        self.ledger[key], fold = known.fold(load, grain, self.games.get(date))
        if fold is Fold.SUPERSEDED:
            return Ticked()
        return Loaded(table_date=self.ledger[key], arrival=load)

    def load(self, name: str = A, games: Sequence[str] = (), **said: Any) -> Decision:
        return self.step(self.arriving(name, games, **said))

    # ── runs ─────────────────────────────────────────────────────────────────────────────────

    def deliver(self, message_id: str = "m1") -> Decision:
        launches = [e for e in self.partition.outbox if e.kind is EffectKind.LAUNCH]
        return self.step(Delivered(effect_id=launches[0].effect_id, message_id=message_id))

    def fail_delivery(self, error: str = "503") -> Decision:
        launches = [e for e in self.partition.outbox if e.kind is EffectKind.LAUNCH]
        return self.step(DeliveryFailed(effect_id=launches[0].effect_id, error=error))

    def claim(self, owner: str = "w1", token: str = "t1", **other: int) -> Decision:
        run = self.run
        return self.step(
            Claimed(
                generation=other.get("generation", run.generation),
                attempt=other.get("attempt", run.attempt),
                owner=owner,
                token=token,
            )
        )

    def heartbeat(self, token: str = "t1") -> Decision:
        return self.step(Heartbeat(generation=self.partition.generation, token=token))

    def complete(
        self,
        status: RunStatus = RunStatus.SUCCESS,
        token: str = "t1",
        *,
        generation: int | None = None,
        rows: int | None = 300,
        error: str | None = None,
    ) -> Decision:
        return self.step(
            Completed(
                generation=generation or self.partition.generation,
                token=token,
                status=status,
                record_count=rows,
                error=error,
            )
        )

    def run_through(self, status: RunStatus = RunStatus.SUCCESS) -> World:
        """Claim the live run and report it now. A failure spends every attempt."""
        while self.partition.live is not None:
            self.now = max(self.now, self.run.current.launch_at)
            token = f"t{self.run.generation}.{self.run.attempt}"
            generation = self.run.generation
            assert self.claim(token=token).replies[-1].ok
            assert self.complete(status, token, error="boom").replies[-1].ok
            if self.partition.generation != generation:
                break
        return self

    # ── people ───────────────────────────────────────────────────────────────────────────────

    def trigger(self, *bypass: Bypass, **other: Any) -> Decision:
        return self.step(Requested(reason="wanted", actor="ann", bypass=frozenset(bypass), **other))

    def backfill(self) -> Decision:
        return self.trigger(trigger=Trigger.BACKFILL)

    def skip(self, *, end_run: bool = False) -> Decision:
        return self.step(SkipRequested(reason="not needed", actor="ann", end_run=end_run))

    def reset(self) -> Decision:
        return self.step(ResetRequested(reason="again", actor="ann"))

    def waive(self, name: str = A, until: float | None = None) -> Decision:
        end = None if until is None else at(until)
        return self.step(WaiverGranted(table=name, reason="lost", actor="ann", until=end))

    def lift(self, name: str = A) -> Decision:
        return self.step(WaiverLifted(table=name, reason="found", actor="ann"))

    # ── looking ──────────────────────────────────────────────────────────────────────────────

    @property
    def status(self) -> Status:
        return self.partition.status

    @property
    def flags(self) -> set[Flag]:
        return set(self.partition.flags)

    @property
    def run(self) -> Run:
        """The live run."""
        assert self.partition.live is not None
        return self.partition.live

    @property
    def verdict(self) -> Verdict:
        """As it is shown: with the dates of its windows, which the partition does not keep."""
        return judge(self.partition, self.spec, self.now, days=self.windows)

    def state(self, index: int = 0) -> State:
        """The state of one requirement."""
        return self.requirement(index).state

    def requirement(self, index: int = 0) -> RequirementVerdict:
        return self.verdict.requirements[index]

    @property
    def why(self) -> str:
        return why(self.partition, self.spec, self.verdict)

    @property
    def holds(self) -> set[str]:
        return {h.kind.value for h in self.verdict.holds}

    def notices(self) -> list[str]:
        return [e.subject for e in self.partition.outbox if e.kind is EffectKind.NOTIFY]

    def entries(self, kind: EffectKind) -> list[OutboxEntry]:
        return [e for e in self.partition.outbox if e.kind is kind]

    def respec(self, **policy: Any) -> None:
        """The registry changed."""
        self.spec = replace(
            self.spec, policy=replace(self.spec.policy, **policy), registry_hash="r2"
        )
