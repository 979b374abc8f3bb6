"""A world: the real service, what surrounds it, the dice, and the steps.

Owns the seed. Everything that happens is drawn from it: the registry, the faults' mix, every load,
every act and every delay. After each step the record is asked whether a law is broken; then the
world stops and its transcript says how it came to that.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from coordinator.adapters.sqlite import SqliteStore
from coordinator.core.model import Partition
from coordinator.documents import PendingWork, RegistryRecord, encode
from coordinator.errors import BadInput
from coordinator.judge.observations import Explained, Observation, Served, Stopped
from coordinator.ports import Document, Key, Kind, Query
from coordinator.registry import Registry
from coordinator.service.pages import items
from coordinator.service.queries import Queries
from coordinator.simulation import registries
from coordinator.simulation.actors import (
    EXPECTED_REFUSALS,
    FakeAnnouncer,
    FakeLauncher,
    FakeNotifier,
    Person,
    Subscription,
)
from coordinator.simulation.clock import InstanceClock, VirtualClock, rest, run_virtually
from coordinator.simulation.edits import changed
from coordinator.simulation.events import Events
from coordinator.simulation.faults import (
    STORE_PERIODS,
    TARGET_PERIODS,
    WAITING_FOR,
    Faults,
    FaultyStore,
)
from coordinator.simulation.limits import Limits
from coordinator.simulation.process import (
    DRY,
    Process,
    Unreachable,
    current_process,
    keep_tasks_by_process,
    outside,
    quiet_log,
)
from coordinator.simulation.record import LawBroken, Record
from coordinator.simulation.registries import Definition
from coordinator.simulation.stores import Shared, Stores
from coordinator.simulation.surroundings import SentMessage

FIRST_DATE = "2025-11-13"
DATES = 4
SEASON = ("2025-09-15", 64)
"""The first date of a world of many dates, and how many it has."""
STEADY_FOR = timedelta(hours=3)
"""At a quiet point nothing more happens for this long: longer than any hold but deadlines."""
EXPLAINED = 4
"""How many partitions explain themselves at each rest."""
AHEAD = timedelta(minutes=10)
"""A timestamp further ahead of the clock is quarantined (specification 3.1)."""
SKEWS = (0.0, 0.0, 0.05, -0.05, 2.0, -2.0, 90.0, -90.0)
"""Seconds by which an instance's clock may be off all the time."""
STEPS = tuple(timedelta(minutes=m) for m in (2, 20, 90, 360))
"""How far a clock may be set forward or back at once."""
DOCUMENT_BYTES = 64 * 1024
"""The largest that a document of a world may be; without bursts of wrong ids it is a tenth of it."""
ENDINGS = ("resumed", "resumed", "resumed", "paused", "edited", "time")
TAIL = 60
"""Lines of the transcript that a failure shows."""


@dataclass(slots=True)
class Report:
    """What became of one world."""

    seed: int
    steps: int = 0
    """Those that were played."""
    command: str = ""
    """Plays it again."""
    commits: int = 0
    digest: str = ""
    """Identifies the transcript: the same seed gives the same."""
    broken: str | None = None
    tail: tuple[str, ...] = ()
    faults: Counter[str] = field(default_factory=Counter)
    firings: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)
    edits: Counter[str] = field(default_factory=Counter)
    """Edits of the registry that were taken into use."""
    kinds: Counter[str] = field(default_factory=Counter)
    """What kind of world it was, how it ended, and its quiet points."""

    def text(self) -> str:
        """The law that was broken, how it came to that, and how to play it again."""
        return "\n".join(
            (
                f"seed {self.seed} after {self.steps} steps: {self.broken}",
                *self.tail,
                f"again: {self.command}",
            )
        )


def run(
    seed: int,
    *,
    steps: int = 60,
    store: SqliteStore | Stores | None = None,
    trace: Callable[[str], None] | None = None,
) -> Report:
    """Play the world of one seed to its end, or to the first broken law.

    ``store`` is opened and closed here; without one a SQLite store in memory is used.
    """
    store = store or SqliteStore(":memory:", inline=True)
    stores: Stores = Shared(store) if isinstance(store, SqliteStore) else store
    world = World(seed, stores, trace)
    with quiet_log(world.logged_an_error):
        report = run_virtually(world.play(steps), stores.turns)
    stores.discard()
    return report


def shifted(game_date: str, days: int) -> str:
    """The date some days later."""
    return (date.fromisoformat(game_date) + timedelta(days=days)).isoformat()


class World:
    """Everything in one simulated world."""

    def __init__(
        self, seed: int, stores: Stores, trace: Callable[[str], None] | None = None
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.faults = Faults(random.Random(f"{seed}:faults"))
        if random.Random(f"{seed}:deployments").random() < 0.1:
            self.faults.rates["registry_swap"] = 0.3
        self.record = Record()
        self.acts: Counter[str] = Counter()
        self.notices: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.edits: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self._readers = random.Random(f"{seed}:readers")
        self._stores = stores
        self._trace = trace
        self._digest = hashlib.sha256()
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._problems: list[str] = []
        self._names: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._steps = 0
        start = datetime(2025, 11, 14, 20, tzinfo=UTC) + timedelta(
            seconds=self.rng.randrange(36_000)
        )
        self.clock = VirtualClock(start)
        self._latest = start
        """The latest instant at which anybody committed, by its own clock."""
        kind = random.Random(f"{seed}:kind")
        self.season = kind.random() < 0.04
        """Whether it has many dates inside long windows."""
        first, dates = SEASON if self.season else (FIRST_DATE, DATES)
        self.dates = [shifted(first, n) for n in range(dates)]
        self.games = {
            d: tuple(f"00225{d[5:7]}{d[8:]}{n}" for n in range(self.rng.choice((0, 1, 2, 2, 3))))
            for d in self.dates
        }
        self.limits = Limits() if kind.random() < 0.3 else None
        """Whether the store refuses what Firestore would."""
        self.skewed = kind.random() < 0.3
        """Whether each instance's clock is off by something of its own."""
        self.ending = kind.choice(ENDINGS)
        self.quiet_points = frozenset(
            kind.randrange(10, 40) for _ in range(kind.choice((0, 1, 1, 2)))
        )
        """The steps after which faults stop for a while."""
        self.spans = (timedelta(minutes=2), timedelta(minutes=30), timedelta(hours=6))
        chosen = registries.season if self.season else self.rng.choice(registries.ALL)
        self.definition: Definition = chosen()
        self.kinds[chosen.__name__] += 1
        self.kinds["firestore limits"] += self.limits is not None
        self.kinds["skewed clocks"] += self.skewed
        self.definitions: list[Definition] = [self.definition]
        self.registry: Registry = registries.registry(self.definition)
        self.by_loops = self.rng.random() < 0.6
        """Whether the service's own loops run, or a scheduler calls the sweep and the relay."""
        self.announced_outside = self.rng.random() < 0.5
        """Whether announcements go to the world outside, which only the relay can prove."""
        self.slots: list[Process | None] = [None] * self.rng.choice(stores.processes)
        self.launcher = FakeLauncher(self)
        self.subscription = Subscription(self)
        self.events = Events(self)
        self.notifier_down_until = timedelta(0)
        """In even time; before it no notice is taken."""

    # ── telling ──────────────────────────────────────────────────────────────────────────────

    def say(self, line: str) -> None:
        """One line of the transcript."""
        for commit in self.record.flush():
            self._line(f"  = {commit}")
        self._line(line)

    def _line(self, line: str) -> None:
        text = f"{self.clock.now().strftime('%m-%d %H:%M:%S.%f')[:-3]} {line}"
        self._digest.update(text.encode() + b"\n")
        self._tail.append(text)
        if self._trace is not None:
            self._trace(text)

    def saw(self, *seen: Observation) -> None:
        """Show the judge what somebody outside saw."""
        for commit in self.record.flush():
            self._line(f"  = {commit}")
        self.record.judge.see(self.clock.now(), *seen)

    def broken(self, sentence: str) -> None:
        """A law does not hold."""
        self._problems.append(sentence)

    def logged_an_error(self, event: str) -> None:
        """The service logged an error, which no fault of ours should make it do."""
        self._problems.append(f"the service logged: {event}")

    def name(self, kind: str) -> str:
        """A name that was not used before."""
        self._names[kind] += 1
        return f"{kind}{self._names[kind]}"

    def check(self) -> None:
        """Raise ``LawBroken`` if a law is broken."""
        for commit in self.record.flush():
            self._line(f"  = {commit}")
        problems = self._problems + self.record.broken + [str(b) for b in self.record.judge.broken]
        if problems:
            raise LawBroken("; ".join(problems[:5]))

    # ── processes ────────────────────────────────────────────────────────────────────────────

    def process(self) -> Process:
        """A process that serves, as a load balancer picks one. Raises ``Unreachable``."""
        alive = [p for p in self.slots if p is not None and p.serves and not p.dead]
        if not alive:
            raise Unreachable("no process is there")
        return self.rng.choice(alive)

    def current_process(self) -> Process | None:
        """The process whose task is running now."""
        return current_process()

    async def die_here(self, process: Process | None, kind: str) -> None:
        """Perhaps kill the process at this await."""
        if process is not None and self.faults.strikes(kind):
            process.kill(kind)
            await asyncio.get_running_loop().create_future()

    async def _start(self, slot: int) -> None:
        """Start a process in a slot, over the state that the others left, and let it live."""
        name = self.name("process")
        reports = self._stores.reports_commits
        clock = InstanceClock(self.clock)

        def on_commit(puts: Mapping[Key, Document]) -> None:
            self._latest = max(self._latest, clock.now())
            self._weigh(puts)
            for line in self.record.committed(process, puts, clock.now()):
                self._line(f"  = {line}")

        def observe(number: int, store: FaultyStore, puts: Mapping[Key, Document]) -> None:
            self._latest = max(self._latest, clock.now())
            self._weigh(puts)
            for line in self.record.observe((name, number), process, puts, clock.now()):
                self._line(f"  = {line}")

        def forget(number: int) -> None:
            self.record.forget((name, number))

        store = FaultyStore(
            await self._stores.of_process(self.clock, self.faults, on_commit),
            self.faults,
            self.rng,
            None if reports else observe,
            None if reports else forget,
            None if reports else self.limits,
        )
        if self.skewed and self.faults.on:
            self._skew(name, clock)
        process = Process(
            name,
            store,
            self.registry,
            clock,
            lambda: self.name("token"),
            self.launcher,
            notifiers=(FakeNotifier(self),),
            announcers=(FakeAnnouncer(self),) if self.announced_outside else (),
        )
        process.definition = self.definition
        process.definitions = self.definitions
        store.process = process
        process.engine.listen(self.record.decided)
        self.saw(Served(self.registry.registry_hash, self.registry.text, name, ready=False))

        def died(why: str) -> None:
            self.say(f"{name} died: {why}")
            self.saw(Stopped(name))

        process.on_death = died
        self.slots[slot] = process
        await self._serve(slot, process)

    def _weigh(self, puts: Mapping[Key, Document]) -> None:
        """Law 7: whatever is sent, no document grows beyond what so small a world needs."""
        if self.limits is None or "document_grows" in WAITING_FOR:
            return
        for key, document in puts.items():
            if key.kind in (Kind.EVENT, Kind.QUARANTINE):
                continue  # as large as the message was, once
            size = len(encode(document))
            if size > DOCUMENT_BYTES:
                self.broken(f"law 7: {key.kind.value}/{key.id} has grown to {size} bytes")

    def _skew(self, name: str, clock: InstanceClock) -> None:
        """Set the clock of a process that starts as the clock of its machine is."""
        seconds = 0.0 if "instance_skew" in WAITING_FOR else self.rng.choice(SKEWS)
        if seconds:
            self.faults.counts["instance_skew"] += 1
            self.say(f"the clock of {name} is {seconds:+} s off")
            clock.offset = timedelta(seconds=seconds)

    async def _serve(self, slot: int, process: Process) -> None:
        """A process's life: take the registry into use, run, and be started again if it dies."""
        try:
            await process.roll_out()
        except Unreachable:
            pass
        except EXPECTED_REFUSALS as error:
            process.kill(f"its start failed: {error.code}")
        else:
            process.serves = True  # as the service listens once the registry is in use
            served = process.registry
            self.saw(Served(served.registry_hash, served.text, process.name))
            self.say(f"{process.name} serves")
            if self.by_loops:
                loops = process.loops()
                await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
                if not process.dead:
                    self.broken("law 4: a loop of the service ended")
        while not process.dead:
            await self.clock.sleep(5.0)
        await self.clock.sleep(self.rng.choice((0.1, 2.0, 20.0)) if self.faults.on else 0.1)
        self.outside(self._start(slot))

    def outside(self, coro: Coroutine[Any, Any, None]) -> None:
        """Start something that lives outside every process."""
        task = outside(coro)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Unreachable):
            self.broken(f"an actor of the world failed: {error!r}")

    async def ask(self, work: Callable[[Process], Awaitable[Any]], *, dry: bool = False) -> str:
        """A request to some process; what it was answered, in a word."""
        token = DRY.set(dry)
        try:
            await self.process().call(work)
        except Unreachable:
            return "no answer"
        except EXPECTED_REFUSALS as error:
            return error.code
        except Exception as error:  # noqa: BLE001 - it would be a 500
            self.broken(f"law 5: a request was answered with {error!r}")
            return "bug"
        finally:
            DRY.reset(token)
        return "done"

    # ── what is sent ─────────────────────────────────────────────────────────────────────────

    def tables_of(self, processor: str) -> list[str]:
        """The tables that a processor names."""
        found: list[str] = []
        for r in self.definition["processors"][processor]["requires"]:
            found += r.get("any_of") or r.get("of") or [r["table"]]
        return found

    @property
    def calendar_table(self) -> str:
        """The table whose loads say which games there are."""
        table: str = self.definition["calendar"]["table"]
        return table

    def check_kept(self, sent: SentMessage, outcome: str, earliest: datetime) -> None:
        """Law 5: what was acknowledged is in the ledger or in quarantine.

        ``earliest`` is the earliest time on the clock of the instance that recorded it.
        """
        self.record.flush()
        self.outcomes[outcome] += 1
        if sent.event is None or outcome == "quarantined":
            if outcome != "quarantined":
                self.broken(f"law 5: a message that cannot be read was {outcome}: {sent.body!r}")
            elif not self.record.has_quarantined(sent.body):
                self.broken(f"law 5: {sent.what} is said to be in quarantine and is not")
            elif sent.event is not None and not self._may_be_refused(sent, earliest):
                self.broken(f"law 5: a good message was quarantined: {sent.what}")
            return
        event = sent.event
        for entry in self.record.ledger_entries(event["target_table"], event["game_date"]):
            if entry.event_id == event.get("event_id") or (
                "event_id" not in event and entry.execution_id == event["execution_id"]
            ):
                a = entry.arrival
                same = (
                    a.status.value == event["status"]
                    and a.record_count == event["record_count"]
                    and set(a.game_ids) == set(event["game_ids"])
                )
                if not same:
                    self.broken(f"law 5: the ledger has {a} for {sent.what}")
                return
        self.broken(f"law 5: {sent.what} was acknowledged as {outcome} and is nowhere")

    def _may_be_refused(self, sent: SentMessage, earliest: datetime) -> bool:
        """Whether a message that can be read may be quarantined all the same."""
        assert sent.event is not None
        ahead = datetime.fromisoformat(sent.event["timestamp"]) > earliest + AHEAD
        return sent.given_id_used_before or sent.reserved_id or ahead

    # ── the steps ────────────────────────────────────────────────────────────────────────────

    async def play(self, steps: int) -> Report:
        """Play to the end, or to the first broken law."""
        keep_tasks_by_process()
        asyncio.get_running_loop().set_exception_handler(self._stray)
        await self._stores.open()
        place = "" if isinstance(self._stores, Shared) else " --store firestore"
        report = Report(
            seed=self.seed,
            command=f"python -m coordinator.simulation --seed {self.seed} --steps {steps}{place} "
            "--trace",
        )
        try:
            for slot in range(len(self.slots)):
                self.outside(self._start(slot))
            await rest()
            if self.season:
                self.events.send_season()
            for _ in range(steps):
                self._steps += 1
                await self._step()
                self.check()
                if self._steps in self.quiet_points:
                    await self._quiet_point()
            await self._finish()
        except LawBroken as error:
            report.broken = str(error)
        finally:
            await self._stop()
        report.steps = self._steps
        report.commits = self.record.commits
        report.digest = self._digest.hexdigest()
        report.tail = tuple(self._tail)
        report.faults = self.faults.counts
        report.firings = self.record.firings
        report.statuses = self.record.statuses
        report.outcomes = self.outcomes
        report.acts = self.acts
        report.notices = self.notices
        report.edits = self.edits
        report.kinds = self.kinds
        return report

    def _stray(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Unreachable | asyncio.CancelledError | EXPECTED_REFUSALS):
            return
        self.broken(f"an error reached nobody: {context.get('message')} {error!r}")

    async def _stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        for process in self.slots:
            if process is not None:
                process.on_death = None
                process.kill("the end")
        for _ in range(20):
            await asyncio.sleep(0)
        await self._stores.close()

    async def _step(self) -> None:
        rng, faults = self.rng, self.faults
        self._strike()
        if faults.strikes("registry_swap", 0.5):
            self.swap()
            if rng.random() < 0.3:  # and again before it is in use everywhere
                await self._pass(timedelta(seconds=rng.choice((0.0, 1.0, 3.0))))
                self.swap()
        draw = rng.random()
        if draw < 0.5:
            for _ in range(rng.choice((1, 1, 2, 4))):
                self.events.send()
        elif draw < 0.56:
            self.events.send_poison()
        elif draw < 0.74:
            self.outside(Person(self).act())
        elif draw < 0.84:
            await self._leap()
            return
        await self._pass(
            timedelta(seconds=rng.choice((0.0, 1.0, 10.0, 60.0, 240.0)) * rng.random())
        )

    def _strike(self) -> None:
        """Let the faults of the world itself strike: clocks, the store, targets, processes."""
        rng, faults = self.rng, self.faults
        if faults.strikes("clock_forward"):
            by = timedelta(minutes=rng.choice((10, 90, 600)))
            self.say(f"the clock jumps {by} forward")
            self.clock.jump(by)
        if faults.strikes("clock_back"):
            self._jump_back(timedelta(seconds=rng.choice((1, 5, 30))))
        if faults.strikes("clock_step_back", 0.5):
            self._jump_back(rng.choice(STEPS))
        if faults.begins("instance_step", 0.5):
            self._step_of_an_instance()
        for kind in TARGET_PERIODS:
            if faults.begins(kind, 0.3):
                name = rng.choice(sorted(self.definition["processors"]))
                until = self.clock.elapsed + rng.choice(self.spans) / 2
                self.launcher.trouble[name] = (kind, until)
                self.say(f"{kind} of {name} begins")
        if faults.begins("notifier_down", 0.5):
            self.notifier_down_until = self.clock.elapsed + rng.choice(self.spans) / 2
            self.say("the notifier is down")
        for kind in STORE_PERIODS:
            trouble = self._stores.trouble
            if trouble is not None and trouble.kind is None and faults.begins(kind, 0.5):
                trouble.begin(kind)
                self.say(f"{kind} begins")
                self.outside(self._heal(rng.choice((0.5, 5.0, 40.0, 300.0))))
        if faults.strikes("process_killed"):
            self.kill("killed from outside")

    def _jump_back(self, by: timedelta) -> None:
        self.say(f"the clock jumps {by} back")
        self.clock.jump(-by)

    def _step_of_an_instance(self) -> None:
        """Somebody sets the clock of one machine."""
        alive = [p for p in self.slots if p is not None and not p.dead]
        if not alive:
            return
        process = self.rng.choice(alive)
        by = self.rng.choice(STEPS) * self.rng.choice((1, -1))
        clock = process.engine.clock
        assert isinstance(clock, InstanceClock)
        clock.offset += by
        self.faults.counts["instance_step"] += 1
        self.say(f"the clock of {process.name} steps by {by.total_seconds():+} s")

    async def _heal(self, after: float) -> None:
        await self.clock.sleep(after)
        self._end_faults()

    def _end_faults(self) -> None:
        """Let what befell the store end."""
        trouble = self._stores.trouble
        if trouble is not None and trouble.kind is not None:
            self.say(f"{trouble.kind} ends")
            trouble.heal()

    def kill(self, why: str) -> None:
        """Kill one process."""
        alive = [p for p in self.slots if p is not None and not p.dead]
        if alive:
            self.rng.choice(alive).kill(why)

    def swap(self) -> None:
        """Every process is started again under another registry, at once or one after the other."""
        if not self._edit():
            return
        rolling = self.rng.random() < 0.5
        for process in self.slots:
            if process is not None:
                if rolling and self.rng.random() < 0.7:
                    self.outside(self._replace(process, self.rng.choice((2.0, 20.0, 90.0, 400.0))))
                else:
                    process.kill("a new registry")

    def _edit(self) -> bool:
        """Edit the registry; says whether the outcome is one that can be served."""
        turn = self.seed + 5 * len(self.definitions)
        new, edit = changed(self.definition, self.definitions[:-1], self.rng, turn)
        try:
            self.registry = registries.registry(new)
        except BadInput:
            self.say(f"another registry is refused ({edit})")
            return False
        self.definition = new
        self.definitions.append(copy.deepcopy(new))
        self.edits[edit] += 1
        self.say(f"another registry is taken into use ({edit})")
        return True

    async def _replace(self, process: Process, after: float) -> None:
        """Let a process go on serving the registry it has for a while."""
        await self.clock.sleep(after)
        if not process.dead:
            process.kill("a new registry, at last")

    async def _pass(self, by: timedelta) -> None:
        """Let time pass, evenly."""
        await rest()
        self.check()
        await self.clock.advance(by, self.check)
        if not self.by_loops:
            await self._tend()

    async def _leap(self) -> None:
        """Let much time pass at once: to the next wake_at, or hours."""
        wakes = [
            d.wake_at
            for d in self.record.docs.values()
            if isinstance(d, Partition) and d.wake_at is not None
        ]
        now = self.clock.now()
        ahead = sorted(w - now for w in wakes if w > now)
        by = ahead[0] if ahead and self.rng.random() < 0.7 else self.rng.choice(self.spans)
        self.say(f"{by} pass")
        self.clock.jump(by)
        await self._pass(timedelta(seconds=31))

    async def _tend(self) -> None:
        """What the loops would do, as a scheduler asks for it."""
        for process in list(self.slots):
            if process is None or process.dead:
                continue
            self.outside(self._quietly(process, lambda p: p.sweeper.sweep()))
            self.outside(self._quietly(process, lambda p: p.relay.drain()))
        await rest()
        self.check()

    async def _quietly(self, process: Process, work: Callable[[Process], Awaitable[Any]]) -> None:
        try:
            await process.call(work)
        except (Unreachable, *EXPECTED_REFUSALS):
            return

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    async def _quiet_point(self) -> None:
        """Faults stop for a while: what is due happens, and what is ready and not held has run."""
        self.say("faults stop for a while")
        self.kinds["quiet point"] += 1
        self._calm()
        await self._settle(STEADY_FOR)
        self.record.final(self.definition, self.clock.now())
        await self._explain()
        self.check()
        self.say("faults go on")
        self.faults.on = True

    def _calm(self) -> None:
        """Let faults stop: the store heals, clocks are set right, one registry is served."""
        self.faults.on = False
        self._end_faults()
        for process in self.slots:
            if process is None:
                continue
            clock = process.engine.clock
            if isinstance(clock, InstanceClock):
                clock.offset = timedelta(0)
            if process.definition is not self.definition:
                process.kill("a new registry, at last")

    async def _finish(self) -> None:
        """Faults stop, runners behave, time passes: now everything must come to rest."""
        self.say("faults stop")
        self._calm()
        await self._settle()
        self.record.final(self.definition, self.clock.now())
        await self._explain()
        self.check()
        self.kinds[f"ends {self.ending}"] += 1
        self.say(f"the end: {self.ending}")
        if self.ending == "resumed":
            await self._resume_everything()
        elif self.ending == "paused":
            await self._pause_something()
        elif self.ending == "edited":
            self._edit_at_last()
        else:
            self.clock.jump(timedelta(hours=self.rng.choice((3, 12, 30))))
        await self._settle()
        self.record.final(self.definition, self.clock.now())
        await self._explain()
        await self._compare()
        self.check()

    async def _resume_everything(self) -> None:
        for scope in [None, *sorted(self.definition["processors"])]:
            answer = await self.asked(_resumption(scope))
            if answer != "done":
                self.broken(f"law 8: resuming {scope} is answered {answer}")

    async def _pause_something(self) -> None:
        """Pause one processor or all, and let loads come: they are kept, and nothing fires."""
        names = sorted(self.definition["processors"])
        for scope in self.rng.choice(([None], [self.rng.choice(names)], names)):
            answer = await self.asked(_pause(scope))
            if answer != "done":
                self.broken(f"law 8: pausing {scope} is answered {answer}")
        for _ in range(4):
            self.events.send()

    def _edit_at_last(self) -> None:
        """Edit the registry once more, and start every process under it."""
        while not self._edit():
            pass
        for process in self.slots:
            if process is not None:
                process.kill("a new registry")

    async def asked(self, work: Callable[[Process], Awaitable[Any]]) -> str:
        """``ask`` from the world itself, letting everything run until the answer is there."""
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await self.ask(work))

        self.outside(ask())
        while not answers:
            await rest()
            if not answers:
                await self.clock.advance(timedelta(seconds=1), self.check)
        return answers[0]

    async def _settle(self, horizon: timedelta | None = None) -> None:
        """Let time pass until nothing is open, or say that it never ends.

        With a ``horizon``, until nothing is due for that long, whatever comes later and whatever
        message is still on its way.
        """
        for _ in range(400):
            await self._pass(timedelta(seconds=31))
            due, now = self._next_due(), self.clock.now()
            working = any(p.live or p.outbox for p in self.partitions())
            # Where clocks were set back, holds end by what they had shown before.
            until = None if horizon is None else max(now, self._latest) + horizon
            steady = due is None or (until is not None and due > until and not working)
            steady = steady and self._one_registry() and not self._pending()
            if steady and (horizon or not self.subscription.open):
                return
            if self.launcher.runners:  # their sleep must not be cut short
                await self._pass(timedelta(seconds=60))
            elif not steady and due is not None and due > now + timedelta(seconds=31):
                self.clock.jump(due - self.clock.now())
        self.broken("law 3: the world does not come to rest")
        self.check()

    def _next_due(self) -> datetime | None:
        """When time alone next changes something."""
        instants: list[datetime] = []
        for partition in self.partitions():
            if partition.wake_at is not None:
                instants.append(partition.wake_at)
            if partition.outbox_due is not None:
                instants.append(partition.outbox_due)
        return min(instants, default=None)

    def _one_registry(self) -> bool:
        """Whether every registry but the last is known to be served no more."""
        records = [d for d in self.record.docs.values() if isinstance(d, RegistryRecord)]
        return all(r.current == (r.registry_hash == self.registry.registry_hash) for r in records)

    def _pending(self) -> bool:
        """Whether a load left work that a sweep has yet to do."""
        return any(isinstance(d, PendingWork) and d.work for d in self.record.docs.values())

    def partitions(self) -> list[Partition]:
        """Every partition of a processor that the registry has."""
        known = self.definition["processors"]
        found = (d for d in self.record.docs.values() if isinstance(d, Partition))
        return [p for p in found if p.processor in known]

    async def _explain(self) -> None:
        """Show the judge what some partitions at rest say of themselves."""
        alive = [p for p in self.slots if p is not None and p.serves and not p.dead]
        if not alive:
            return
        engine = alive[0].engine
        queries = Queries(
            type(engine)(self._stores.truth, self.registry, self.clock, engine.entropy)
        )
        found = sorted(self.partitions(), key=lambda p: p.id)
        for p in self._readers.sample(found, min(EXPLAINED, len(found))):
            whole = await queries.partitions.partition(p.processor, p.game_date)
            self.saw(Explained.of(whole.model_dump(mode="json")))

    async def _compare(self) -> None:
        """The store holds what the record saw committed, and nothing else."""
        for kind in Kind:
            found = items(self._stores.truth, Query(kind, limit=500))
            stored = {id_: document async for id_, document in found}
            known = {k.id: d for k, d in self.record.docs.items() if k.kind is kind}
            if known.keys() != stored.keys():
                strange = sorted(known.keys() ^ stored.keys())[:3]
                self.broken(f"law 5: the store and the record differ in {kind.value}: {strange}")
            for name, document in known.items():
                if stored.get(name) != document:
                    self.broken(f"law 5: the store has another {kind.value}/{name}")


def _resumption(scope: str | None) -> Callable[[Process], Awaitable[Any]]:
    return lambda p: p.operate.resume(scope, reason="the end", actor="ana")


def _pause(scope: str | None) -> Callable[[Process], Awaitable[Any]]:
    return lambda p: p.operate.pause(scope, reason="the end", actor="ana")
