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
from datetime import UTC, datetime, timedelta
from typing import Any

from coordinator.adapters.sqlite import SqliteStore
from coordinator.core.model import Partition
from coordinator.documents import RegistryRecord
from coordinator.errors import BadInput
from coordinator.ports import Document, Key, Kind, Query
from coordinator.registry import Registry, parse
from coordinator.simulation import registries
from coordinator.simulation.actors import (
    EXPECTED_REFUSALS,
    FakeAnnouncer,
    FakeLauncher,
    FakeNotifier,
    Person,
    Sent,
    Subscription,
    envelope,
)
from coordinator.simulation.clock import VirtualClock, rest, run_virtually
from coordinator.simulation.faults import DRY, Faults, FaultyStore
from coordinator.simulation.judge import shifted
from coordinator.simulation.process import (
    Process,
    Unreachable,
    current_process,
    keep_tasks_by_process,
    outside,
    quiet_log,
)
from coordinator.simulation.record import LawBroken, Record
from coordinator.simulation.registries import SCHEDULE, Definition
from coordinator.simulation.stores import Shared, Stores

FIRST_DATE = "2025-11-13"
DATES = 4
TAIL = 60
"""Lines of the transcript that a failure shows."""


@dataclass(slots=True)
class Report:
    """What became of one world."""

    seed: int
    steps: int = 0
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

    def told(self) -> str:
        """The law that was broken, and how it came to that."""
        return "\n".join((f"seed {self.seed} after {self.steps} steps: {self.broken}", *self.tail))


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
        self.dates = [shifted(FIRST_DATE, n) for n in range(DATES)]
        self.games = {
            d: tuple(f"00225{d[8:]}{n:02}" for n in range(self.rng.choice((0, 1, 2, 2, 3))))
            for d in self.dates
        }
        self.spans = (timedelta(minutes=2), timedelta(minutes=30), timedelta(hours=6))
        self.definition: Definition = self.rng.choice(registries.ALL)()
        self.definitions: list[Definition] = [self.definition]
        self.registry: Registry = parse(registries.text(self.definition))
        self.by_loops = self.rng.random() < 0.6
        """Whether the service's own loops run, or a scheduler calls the sweep and the relay."""
        self.told_outside = self.rng.random() < 0.5
        """Whether announcements go to the world outside, which only the relay can prove."""
        self.slots: list[Process | None] = [None] * self.rng.choice(stores.processes)
        self.launcher = FakeLauncher(self)
        self.subscription = Subscription(self)
        self._sent: list[Sent] = []
        self._given_ids: list[Mapping[str, Any]] = []

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
        problems = self._problems + self.record.broken
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
        tells = self._stores.tells

        def told(puts: Mapping[Key, Document]) -> None:
            for line in self.record.committed(process, puts, self.clock.now()):
                self._line(f"  = {line}")

        def observe(number: int, store: FaultyStore, puts: Mapping[Key, Document]) -> None:
            for line in self.record.observe((name, number), process, puts, self.clock.now()):
                self._line(f"  = {line}")

        def forget(number: int) -> None:
            self.record.forget((name, number))

        store = FaultyStore(
            await self._stores.of_process(self.clock, self.faults, told),
            self.faults,
            self.rng,
            None if tells else observe,
            None if tells else forget,
        )
        process = Process(
            name,
            store,
            self.registry,
            self.clock,
            lambda: self.name("token"),
            self.launcher,
            notifiers=(FakeNotifier(self),),
            announcers=(FakeAnnouncer(self),) if self.told_outside else (),
        )
        process.definition = self.definition
        process.definitions = self.definitions
        store.process = process
        process.on_death = lambda why: self.say(f"{process.name} died: {why}")
        self.slots[slot] = process
        await self._serve(slot, process)

    async def _serve(self, slot: int, process: Process) -> None:
        """A process's life: take the registry into use, run, and be started again if it dies."""
        try:
            await process.adopt()
        except Unreachable:
            pass
        except EXPECTED_REFUSALS as error:
            process.kill(f"its start failed: {error}")
        else:
            process.serves = True  # as the service listens once the registry is in use
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

    def _load(self) -> dict[str, Any]:
        """Some load of some table that matters."""
        rng = self.rng
        wanted = [t for p in sorted(self.definition["processors"]) for t in self.tables_of(p)]
        raw = [t for t in wanted if t in self.definition["tables"]]
        table = rng.choice(raw or sorted(self.definition["tables"]))
        if rng.random() < 0.15:
            table = SCHEDULE
        game_date = rng.choice(self.dates)
        games = self.games[game_date]
        now = self.clock.now()
        status = rng.choice(["success"] * 8 + ["partial", "no_data", "failed", "skipped"])
        count: int | None = rng.choice((450, 450, 450, 120, 40, 0, None))
        ids: list[str] = []
        if table == SCHEDULE:
            if rng.random() < 0.15:  # the calendar is revised
                self.games[game_date] = games = games[:-1] or (f"00225{game_date[8:]}07",)
            status, count, ids = "success", len(games), list(games)
            if not games:
                status = rng.choice(("success", "no_data"))
        elif self.definition["tables"][table]["grain"] == "game" and rng.random() < 0.7:
            ids = rng.sample(games, rng.randint(1, len(games))) if games else []
            if rng.random() < 0.05:
                ids.append("20251115_MIL_ORL")
        age = rng.choice((0, 5, 60, 3600, 4 * 3600)) * rng.random()
        at = now - timedelta(seconds=age) + timedelta(seconds=rng.choice((0, 0, 0, 200)))
        event: dict[str, Any] = {
            "event_type": "raw_data_loaded",
            "target_table": table,
            "game_date": game_date,
            "status": status,
            "record_count": count,
            "game_ids": ids,
            "timestamp": at.isoformat(),
            "execution_id": self.name("execution"),
            "correlation_id": f"c{game_date}",
        }
        if rng.random() < 0.5:
            event["event_id"] = self.name("event")
        if rng.random() < 0.3:
            event["metadata"] = {"content_hash": rng.choice(("a", "b"))}
        if rng.random() < 0.06:
            event["skip_downstream"] = True
        return event

    def _spelled(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The same event as one of its many senders writes it."""
        spelled, rng = dict(event), self.rng
        table = spelled.pop("target_table")
        way = rng.randrange(4)
        if way == 0:
            spelled["target_table"] = table
        elif way == 1:
            spelled["source_table"] = table.split(".")[1]
        elif way == 2:
            spelled["output_dataset"], spelled["output_table"] = table.split(".")
        else:
            spelled["processor_name"] = table.split(".")[1]
        if rng.random() < 0.2:
            spelled[rng.choice(("analysis_date", "data_date"))] = spelled.pop("game_date")
        if spelled["status"] in ("success", "failed") and rng.random() < 0.1:
            spelled["success"] = spelled.pop("status") == "success"
        return spelled

    def send(self) -> None:
        """Publish one load."""
        event = self._load()
        what = (
            f"{event['target_table']} {event['game_date']} {event['status']} "
            f"{event['record_count']} {'/'.join(event['game_ids'])}"
        )
        spelled = self._spelled(event)
        sent = Sent(self._next_number(), b"", event, what)
        sent.body = envelope(spelled, f"message{sent.number}")
        if "event_id" in event:
            if self.rng.random() < 0.03 and self._given_ids:
                known = self.rng.choice(self._given_ids)
                for other in self._sent:  # any of them may come first
                    if other.event and other.event.get("event_id") == known["event_id"]:
                        other.given_id_used_before = True
                event["event_id"] = spelled["event_id"] = known["event_id"]
                event["target_table"], event["game_date"] = (
                    known["target_table"],
                    known["game_date"],
                )
                for name in ("analysis_date", "data_date", "source_table", "output_dataset"):
                    spelled.pop(name, None)
                spelled["target_table"] = event["target_table"]
                spelled["game_date"] = event["game_date"]
                sent.given_id_used_before = True
                sent.body = envelope(spelled, f"message{sent.number}")
                sent.what = f"{known['event_id']} again with other content"
            self._given_ids.append(event)
        self._publish(sent)

    def send_poison(self) -> None:
        """Publish something that cannot be taken in."""
        good = self._spelled(self._load())
        ahead = (self.clock.now() + timedelta(days=400)).isoformat()
        number = self._next_number()
        poison: list[bytes | dict[str, Any]] = [
            b"\xff\xfe not text",
            b"{",
            b"[]",
            {**good, "status": "wonderful"},
            {**good, "game_date": "TODAY", "analysis_date": "TODAY", "data_date": "TODAY"},
            {**good, "timestamp": ahead},
            {
                "event_type": "raw_data_loaded",
                "target_table": "nba_raw.nobody_knows",
                **{k: good[k] for k in ("timestamp",)},
                "game_date": self.dates[0],
                "status": "success",
            },
            {"event_type": "unheard_of"},
        ]
        body = envelope(self.rng.choice(poison), f"message{number}")
        if self.rng.random() < 0.2:
            body = self.rng.choice((b"", b"{}", b'{"message": {"data": "%%%"}}')) + b" " * number
        self._publish(Sent(number, body, None, "poison"))

    def _next_number(self) -> int:
        return len(self._sent)

    def _publish(self, sent: Sent) -> None:
        self._sent.append(sent)
        self.subscription.publish(sent)

    def check_kept(self, sent: Sent, outcome: str) -> None:
        """Law 5: what was acknowledged is in the ledger or in quarantine."""
        self.record.flush()
        self.outcomes[outcome] += 1
        if sent.event is None or outcome == "quarantined":
            if outcome != "quarantined":
                self.broken(f"law 5: a message that cannot be read was {outcome}: {sent.body!r}")
            elif not self.record.has_quarantined(sent.body):
                self.broken(f"law 5: {sent.what} is said to be in quarantine and is not")
            elif sent.event is not None and not sent.given_id_used_before:
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

    # ── the steps ────────────────────────────────────────────────────────────────────────────

    async def play(self, steps: int) -> Report:
        """Play to the end, or to the first broken law."""
        keep_tasks_by_process()
        asyncio.get_running_loop().set_exception_handler(self._stray)
        await self._stores.open()
        report = Report(seed=self.seed)
        try:
            for slot in range(len(self.slots)):
                self.outside(self._start(slot))
            await rest()
            for _ in range(steps):
                self._steps += 1
                await self._step()
                self.check()
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
        if faults.strikes("clock_forward"):
            by = timedelta(minutes=rng.choice((10, 90, 600)))
            self.say(f"the clock jumps {by} forward")
            self.clock.jump(by)
        if faults.strikes("clock_back"):
            by = timedelta(seconds=rng.choice((1, 5, 30)))
            self.say(f"the clock jumps {by} back")
            self.clock.jump(-by)
        if faults.strikes("process_killed"):
            self.kill("killed from outside")
        if faults.strikes("registry_swap", 0.5):
            self.swap()
            if rng.random() < 0.3:  # and again before it is in use everywhere
                await self._pass(timedelta(seconds=rng.choice((0.0, 1.0, 3.0))))
                self.swap()
        draw = rng.random()
        if draw < 0.5:
            for _ in range(rng.choice((1, 1, 2, 5))):
                self.send()
        elif draw < 0.56:
            self.send_poison()
        elif draw < 0.74:
            self.outside(Person(self).act())
        elif draw < 0.84:
            await self._leap()
            return
        await self._pass(
            timedelta(seconds=rng.choice((0.0, 1.0, 10.0, 60.0, 240.0)) * rng.random())
        )

    def kill(self, why: str) -> None:
        """Kill one process."""
        alive = [p for p in self.slots if p is not None and not p.dead]
        if alive:
            self.rng.choice(alive).kill(why)

    def swap(self) -> None:
        """Every process is started again under another registry, at once or one after the other."""
        new = registries.changed(self.definition, self.rng)
        if len(self.definitions) > 1 and self.rng.random() < 0.4:
            new = copy.deepcopy(self.definitions[-2])  # taken back
        try:
            self.registry = parse(registries.text(new))
        except BadInput:
            self.say("another registry is refused")
            return
        self.definition = new
        self.definitions.append(copy.deepcopy(new))
        self.say("another registry is taken into use")
        rolling = self.rng.random() < 0.5
        for process in self.slots:
            if process is not None:
                if rolling and self.rng.random() < 0.7:
                    self.outside(self._replace(process, self.rng.choice((2.0, 20.0, 90.0, 400.0))))
                else:
                    process.kill("a new registry")

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

    async def _finish(self) -> None:
        """Faults stop, runners behave, time passes: now everything must come to rest."""
        self.say("faults stop")
        self.faults.on = False
        for process in self.slots:
            if process is not None and process.definition is not self.definition:
                process.kill("a new registry, at last")
        await self._settle()
        self.record.final(self.definitions, self.clock.now())
        self.check()
        self.say("everything is resumed")
        for scope in [None, *sorted(self.definition["processors"])]:
            answer = await self.asked(_resumption(scope))
            if answer != "done":
                self.broken(f"law 8: resuming {scope} is answered {answer}")
        await self._settle()
        self.record.final(self.definitions, self.clock.now())
        await self._compare()
        self.check()

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

    async def _settle(self) -> None:
        """Let time pass until nothing is open, or say that it never ends."""
        for _ in range(400):
            await self._pass(timedelta(seconds=31))
            due = self._next_due()
            if due is None and not self.subscription.open and self._one_registry():
                return
            running = any(p.live for p in self._partitions())
            if running:  # a runner's sleep must not be cut short
                await self._pass(timedelta(seconds=60))
            elif due is not None and due > self.clock.now() + timedelta(seconds=31):
                self.clock.jump(due - self.clock.now())
        self.broken("law 3: the world does not come to rest")
        self.check()

    def _next_due(self) -> datetime | None:
        """When time alone next changes something."""
        instants: list[datetime] = []
        for partition in self._partitions():
            if partition.wake_at is not None:
                instants.append(partition.wake_at)
            if partition.outbox_due is not None:
                instants.append(partition.outbox_due)
        return min(instants, default=None)

    def _one_registry(self) -> bool:
        """Whether every registry but the last is known to be served no more."""
        records = [d for d in self.record.docs.values() if isinstance(d, RegistryRecord)]
        return all(r.current == (r.registry_hash == self.registry.registry_hash) for r in records)

    def _partitions(self) -> list[Partition]:
        """Every partition of a processor that the registry has."""
        known = self.definition["processors"]
        found = (d for d in self.record.docs.values() if isinstance(d, Partition))
        return [p for p in found if p.processor in known]

    async def _compare(self) -> None:
        """The store holds what the record saw committed, and nothing else."""
        for kind in Kind:
            after: str | None = None
            stored: dict[str, Document] = {}
            while True:
                page = await self._stores.truth.find(Query(kind, limit=500, after=after))
                stored.update(page.items)
                after = page.next_page_token
                if after is None:
                    break
            known = {k.id: d for k, d in self.record.docs.items() if k.kind is kind}
            if known.keys() != stored.keys():
                strange = sorted(known.keys() ^ stored.keys())[:3]
                self.broken(f"law 5: the store and the record differ in {kind.value}: {strange}")
            for name, document in known.items():
                if stored.get(name) != document:
                    self.broken(f"law 5: the store has another {kind.value}/{name}")


def _resumption(scope: str | None) -> Callable[[Process], Awaitable[Any]]:
    return lambda p: p.operate.resume(scope, reason="the end", actor="ana")
