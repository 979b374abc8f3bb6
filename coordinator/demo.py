"""The demonstration: nights of a season played through the whole service on a virtual clock.

Owns the clock, the order in which loads and due times happen, and the summary with its verdict on
whether everything came out as it should. Everything else is the real thing: HTTP on a loopback
port, the SQLite store, the DuckDB warehouse, local runs of the Phase 3 processors. Refuses to
print; an ``Audience`` is notified of what happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import shutil
import socket
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import uvicorn

from coordinator.app import Application, build
from coordinator.core.choices import RunStatus
from coordinator.core.model import Partition, Run, Status
from coordinator.documents import LedgerEntry, partition_key
from coordinator.errors import BadInput, CoordinatorError, Unavailable
from coordinator.ports import Kind, Notice, Op, Query, Where
from coordinator.registry import Registry, load
from coordinator.service.engine import Committed
from coordinator.service.pages import items
from coordinator.service.reading import Target
from coordinator.settings import Settings
from coordinator.web.api import create_app
from processors.catalog import CATALOG
from processors.errors import LayoutError
from processors.nights import NightPlayer, PlannedLoad, plan_nights
from processors.publisher import HttpTransport, RawDataPubSubPublisher
from processors.raw.loader import RawLoader
from processors.raw.season import Season, read_folder
from processors.sample import sample_season
from processors.warehouse import DuckDBWarehouse

PHASE = 3
"""The phase whose processors have an implementation here."""
HOST = "127.0.0.1"
STATE_FILE, WAREHOUSE_FILE = "state.db", "warehouse.duckdb"
AFTERWARDS = timedelta(hours=36)
"""Virtual time after the last load, for cooldowns and deadlines that are still to come."""
SETTLE_SECONDS = 60.0
"""Real time that the service may take to come to rest after one thing happened."""
LOOK_SECONDS = 0.001
SUCCEEDED = frozenset({Status.SUCCEEDED, Status.COOLING})


class CompressedClock:
    """A clock that only moves when it is set; sleepers wake when their instant is past.

    ``release`` lets it continue as real time, so that a person can use the service afterwards.
    """

    def __init__(self, start: datetime) -> None:
        self._start = self._now = start
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._released_at: float | None = None

    def now(self) -> datetime:
        """The virtual instant, UTC."""
        if self._released_at is None:
            return self._now
        return self._now + timedelta(seconds=time.monotonic() - self._released_at)

    def monotonic(self) -> float:
        """Virtual seconds since the start."""
        return (self.now() - self._start).total_seconds()

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Sleep for virtual ``seconds``, counted from the call and not from the first await."""
        return self._until(self.now() + timedelta(seconds=seconds))

    async def _until(self, instant: datetime) -> None:
        if self._released_at is not None:
            await asyncio.sleep((instant - self.now()).total_seconds())
            return
        if instant <= self._now:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (instant, next(self._order), woken))
        await woken

    def advance(self, instant: datetime) -> None:
        """Move on to ``instant``; an earlier one changes nothing."""
        self._now = max(self._now, instant)
        while self._sleepers and self._sleepers[0][0] <= self._now:
            self._wake()

    def release(self, instant: datetime) -> None:
        """Move on to ``instant`` and run with real time from there."""
        self.advance(instant)
        self._released_at = time.monotonic()
        while self._sleepers:  # they read the time again, and sleep in real time
            self._wake()

    def _wake(self) -> None:
        _, _, woken = heapq.heappop(self._sleepers)
        if not woken.done():
            woken.set_result(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What to play. ``data`` None is the sample season; ``keep`` None is a temporary folder."""

    registry: Path
    data: Path | None = None
    keep: Path | None = None
    first: date | None = None
    last: date | None = None
    seed: int = 7
    port: int = 0
    serve: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened, at a virtual instant."""

    at: datetime
    game_date: str
    kind: str
    """``load``, ``mishap``, ``fired``, ``ended`` or ``notice``."""
    words: str
    good: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Playing:
    """What is about to be played."""

    url: str
    first: date
    last: date
    loads: int
    games: int
    processors: tuple[str, ...]
    folder: Path
    kept: bool


class Audience(Protocol):
    """Receives what happens while the nights are played."""

    def began(self, playing: Playing) -> None: ...

    def moment(self, moment: Moment) -> None: ...

    def played(self, at: datetime, done: int) -> None:
        """``done`` of the planned loads have happened."""
        ...

    def serving(self, url: str, summary: Summary) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run of a partition. Instants are virtual."""

    run_id: str
    generation: int
    trigger: str
    status: str
    fired_at: datetime
    ended_at: datetime | None
    attempts: int
    rows: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSummary:
    """How one processor's date came out."""

    game_date: str
    processor: str
    games: int
    arrivals: int
    """Applied loads of the processor's inputs for the date."""
    status: str
    generation: int
    rows: int | None
    why: str
    runs: tuple[RunSummary, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How the replay ended. ``failures`` is empty when everything came out as it should."""

    first: str
    last: str
    url: str
    folder: str | None
    dates: int
    games: int
    events_sent: int
    events: dict[str, int]
    """What the sent events got: outcome → how many."""
    announced: int
    """Loads of outputs that runs announced."""
    runs: int
    refires: int
    rows: int
    notices: dict[str, int]
    mishaps: tuple[str, ...]
    partitions: tuple[PartitionSummary, ...]
    virtual_seconds: float
    wall_seconds: float
    failures: tuple[str, ...]


class _DemoServer(uvicorn.Server):
    """A server inside a program that keeps its own signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: ctrl-c ends the demonstration, which ends the server."""
        yield


@dataclass(slots=True)
class _Notices:
    """A notifier that keeps the notices."""

    audience: Audience
    kinds: Counter[str] = field(default_factory=Counter)

    async def notify(self, notice: Notice) -> None:
        self.kinds[notice.kind] += 1
        moment = Moment(
            at=notice.at or datetime.now(UTC),
            game_date=notice.game_date or "",
            kind="notice",
            words=notice.summary,
            good=notice.severity == "info",
        )
        self.audience.moment(moment)


class DemoStage:
    """The running service and its clock: lets one thing happen at a time."""

    def __init__(
        self, application: Application, clock: CompressedClock, audience: Audience
    ) -> None:
        self._application = application
        self._clock = clock
        self._audience = audience
        self._wakes: dict[Target, datetime] = {}
        application.engine.listen(self._on_commit)

    def _on_commit(self, committed: Sequence[Committed]) -> None:
        for each in committed:
            partition = each.decision.partition
            target = (partition.processor, partition.game_date)
            if partition.wake_at is None:
                self._wakes.pop(target, None)
            else:
                self._wakes[target] = partition.wake_at
            if each.decision.fired is not None:
                self._show_fired(each.decision.fired)
            for run in each.decision.runs:
                if not run.live and run.ended_at is not None:
                    self._show_ended(run)

    def _show_fired(self, run: Run) -> None:
        words = f"{run.processor} fires, generation {run.generation} ({run.trigger.value})"
        self._audience.moment(
            Moment(at=run.fired_at, game_date=run.game_date, kind="fired", words=words)
        )

    def _show_ended(self, run: Run) -> None:
        good = run.status in (RunStatus.SUCCESS, RunStatus.NO_DATA, RunStatus.SKIPPED)
        rows = "" if run.record_count is None else f", {run.record_count} rows"
        words = f"{run.processor} {run.status.value}{rows}{f': {run.error}' if run.error else ''}"
        at = run.ended_at or self._clock.now()
        self._audience.moment(
            Moment(at=at, game_date=run.game_date, kind="ended", words=words, good=good)
        )

    def _next(self) -> datetime | None:
        """When the service next has something to do by itself."""
        due = [*self._wakes.values()]
        if (outbox := self._application.relay.next_due) is not None:
            due.append(outbox)
        return min(due, default=None)

    def _at_rest(self) -> bool:
        now = self._clock.now()
        application = self._application
        return (
            application.relay.idle
            and (application.local is None or application.local.idle)
            and not any(wake <= now for wake in self._wakes.values())
        )

    async def settle(self) -> None:
        """Wait, in real time, until the service has done all that is due at this instant.

        Raises ``Unavailable`` where it does not come to rest.
        """
        gives_up_at = time.monotonic() + SETTLE_SECONDS
        await asyncio.sleep(0)
        while not self._at_rest():
            if time.monotonic() > gives_up_at:
                busy = [
                    f"{p} {d}" for (p, d), wake in self._wakes.items() if wake <= self._clock.now()
                ]
                raise Unavailable(
                    f"the service did not come to rest within {SETTLE_SECONDS:.0f} s at "
                    f"{self._clock.now().isoformat()}; still due: {', '.join(busy) or 'deliveries'}"
                )
            await asyncio.sleep(LOOK_SECONDS)

    async def until(self, instant: datetime) -> None:
        """Move the clock to ``instant``, stopping wherever the service has something to do."""
        await self.settle()
        while (due := self._next()) is not None and due <= instant:
            self._clock.advance(due)
            await self.settle()
        self._clock.advance(instant)
        await self.settle()


async def play(options: DemoOptions, audience: Audience) -> Summary:
    """Play the nights. With ``serve`` it goes on serving until cancelled.

    Raises ``BadInput`` for data or a range that cannot be played, ``RegistryError`` for an invalid
    registry, ``Unavailable`` where the port is taken or the service comes to no rest.
    """
    season = _season(options)
    first, last = _range(options, season)
    plan = plan_nights(season, first, last, seed=options.seed)
    registry = load(options.registry)
    with _folder(options.keep) as folder, contextlib.ExitStack() as resources:
        clock = CompressedClock(plan[0].at - timedelta(minutes=1))
        warehouse = DuckDBWarehouse(folder / WAREHOUSE_FILE, catalog=CATALOG)
        resources.callback(warehouse.close)
        notices = _Notices(audience)
        listening = _listen(options)
        resources.callback(listening.close)
        port = int(listening.getsockname()[1])
        settings = Settings.model_construct(
            registry=options.registry,
            store=f"sqlite:{folder / STATE_FILE}",
            warehouse=f"duckdb:{folder / WAREHOUSE_FILE}",
            host=HOST,
            port=port,
        )
        application = build(
            settings, registry=registry, clock=clock, warehouse=warehouse, notifiers=[notices]
        )
        stage = DemoStage(application, clock, audience)
        url = f"http://{HOST}:{port}"
        expected = _processors(registry)
        async with application.running(), _http(application, listening):
            playing = Playing(
                url=url,
                first=first,
                last=last,
                loads=len(plan),
                games=sum(len(season.played_on(day)) for day in _days(first, last)),
                processors=expected,
                folder=folder,
                kept=options.keep is not None,
            )
            audience.began(playing)
            began_at = time.monotonic()
            loader = _Loads(season, warehouse, url, clock, options.seed)
            try:
                await _perform(plan, loader, stage, audience)
            finally:
                loader.close()
            await stage.until(plan[-1].at + AFTERWARDS)
            summary = await _summary(
                application, season, plan, playing, loader.publisher, notices, clock, began_at
            )
            if options.serve:
                clock.release(max(clock.now(), datetime.now(UTC)))
                audience.serving(url, summary)
                await asyncio.Event().wait()
    return summary


class _Loads:
    """Does planned loads in a thread of its own, and tells the service over HTTP."""

    def __init__(
        self,
        season: Season,
        warehouse: DuckDBWarehouse,
        url: str,
        clock: CompressedClock,
        seed: int,
    ) -> None:
        numbers = itertools.count(1)

        def new_id() -> str:
            return f"demo-{seed}-{next(numbers)}"

        self._transport = HttpTransport(url, clock=clock.now, new_id=new_id)
        self.publisher = RawDataPubSubPublisher(self._transport, clock=clock.now, new_id=new_id)
        self._player = NightPlayer(RawLoader(season, warehouse, self.publisher, seed=seed))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loads")

    async def perform(self, planned: PlannedLoad) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._player.perform, planned)

    def close(self) -> None:
        self._thread.shutdown(wait=True)
        self._transport.close()


async def _perform(
    plan: Sequence[PlannedLoad], loads: _Loads, stage: DemoStage, audience: Audience
) -> None:
    for done, planned in enumerate(plan, start=1):
        await stage.until(planned.at)
        audience.moment(_load_moment(planned))
        await loads.perform(planned)
        await stage.settle()
        audience.played(planned.at, done)


def _load_moment(planned: PlannedLoad) -> Moment:
    games = f", game {planned.game_ids[0]}" if len(planned.game_ids) == 1 else ""
    if planned.kind == "no_data":
        games = ", no games"
    return Moment(
        at=planned.at,
        game_date=planned.game_date.isoformat(),
        kind="mishap" if planned.note else "load",
        words=f"{planned.table}{games}" + (f": {planned.note}" if planned.note else ""),
        good=planned.kind != "failed",
    )


def _season(options: DemoOptions) -> Season:
    if options.data is None:
        return sample_season(seed=options.seed)
    try:
        return read_folder(options.data)
    except (LayoutError, OSError) as error:
        raise BadInput(f"{options.data}: {error}") from error


def _range(options: DemoOptions, season: Season) -> tuple[date, date]:
    played = [day for day in season.dates if season.played_on(day)]
    if not played:
        raise BadInput("the data holds no player lines, so there is nothing to play")
    first, last = options.first or played[0], options.last or played[-1]
    inside = [day for day in played if first <= day <= last]
    if not inside:
        raise BadInput(
            f"no games with player lines from {first} to {last}; the data has them from "
            f"{played[0]} to {played[-1]}"
        )
    return first, last


def _days(first: date, last: date) -> Iterator[date]:
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)


def _processors(registry: Registry) -> tuple[str, ...]:
    """The processors that must have run: those of the phase that have an implementation."""
    return tuple(p.name for p in registry.processors.values() if p.phase == PHASE and p.entrypoint)


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        folder = Path(tempfile.mkdtemp(prefix="coordinator-demo-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    for name in (STATE_FILE, WAREHOUSE_FILE):
        if (keep / name).exists():
            raise BadInput(
                f"{keep} already holds a {name}; a replay starts from nothing, so give another "
                "folder or remove it"
            )
    keep.mkdir(parents=True, exist_ok=True)
    yield keep


def _listen(options: DemoOptions) -> socket.socket:
    """A listening socket, so that the port is known and held before the service starts."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, options.port))
    except OSError as error:
        listening.close()
        raise Unavailable(
            f"cannot listen on {HOST}:{options.port} ({error.strerror}); choose another with --port"
        ) from error
    return listening


@contextlib.asynccontextmanager
async def _http(application: Application, listening: socket.socket) -> AsyncIterator[None]:
    app = create_app(application)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        lifespan="off",
    )
    server = _DemoServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="http")
    try:
        while not server.started:
            if serving.done():
                await serving
                raise Unavailable("the HTTP server did not start")
            await asyncio.sleep(LOOK_SECONDS)
        yield
    finally:
        app.state.stream.close()  # an open stream would keep the server waiting
        server.should_exit = True
        await serving


async def _summary(
    application: Application,
    season: Season,
    plan: Sequence[PlannedLoad],
    playing: Playing,
    publisher: RawDataPubSubPublisher,
    notices: _Notices,
    clock: CompressedClock,
    began_at: float,
) -> Summary:
    first, last = playing.first.isoformat(), playing.last.isoformat()
    between = (Where("game_date", Op.GE, first), Where("game_date", Op.LE, last))
    runs: list[Run] = await _all(application, Query(Kind.RUN, between, "game_date", limit=500))
    entries: list[LedgerEntry] = await _all(
        application, Query(Kind.EVENT, between, "game_date", limit=500)
    )
    partitions = [
        await _partition(application, season, name, day, runs, entries)
        for day in _days(playing.first, playing.last)
        for name in playing.processors
    ]
    outputs = {p.output for p in application.registry.processors.values()}
    sent = Counter(entry.outcome for entry in entries if entry.table not in outputs)
    # A duplicate leaves no entry in the ledger: it is what was sent beyond the entries.
    if again := publisher.published_count - sent.total():
        sent["duplicate"] = again
    refires = sum(max(0, p.generation - 1) for p in partitions)
    dates = [day for day in _days(playing.first, playing.last) if season.played_on(day)]
    failures = [f"{p.processor} {p.game_date}: {p.why}" for p in partitions if not _as_expected(p)]
    if publisher.failed_count:
        failures.append(f"{publisher.failed_count} events could not be published")
    return Summary(
        first=first,
        last=last,
        url=playing.url,
        folder=str(playing.folder) if playing.kept else None,
        dates=len(dates),
        games=playing.games,
        events_sent=publisher.published_count,
        events=dict(sent),
        announced=sum(entry.table in outputs for entry in entries),
        runs=sum(len(p.runs) for p in partitions),
        refires=refires,
        rows=sum(p.rows or 0 for p in partitions),
        notices=dict(notices.kinds),
        mishaps=tuple(f"{p.game_date} {p.table}: {p.note}" for p in plan if p.note),
        partitions=tuple(partitions),
        virtual_seconds=(clock.now() - plan[0].at).total_seconds(),
        wall_seconds=round(time.monotonic() - began_at, 3),
        failures=tuple(failures),
    )


async def _all(application: Application, query: Query) -> list[Any]:
    return [document async for _, document in items(application.store, query)]


async def _partition(
    application: Application,
    season: Season,
    name: str,
    day: date,
    runs: Sequence[Run],
    entries: Sequence[LedgerEntry],
) -> PartitionSummary:
    from coordinator.core.explain import why

    game_date = day.isoformat()
    spec = application.registry.processors[name]
    key = partition_key(name, game_date)
    stored: Partition | None = (await application.store.get([key]))[key]
    partition, verdict = await application.engine.view(spec, game_date)
    own = sorted(
        (r for r in runs if r.processor == name and r.game_date == game_date),
        key=lambda run: run.generation,
    )
    inputs = spec.named_tables()
    return PartitionSummary(
        game_date=game_date,
        processor=name,
        games=len(season.played_on(day)),
        arrivals=sum(
            e.outcome == "applied" and e.table in inputs and e.game_date == game_date
            for e in entries
        ),
        status=(stored or partition).status.value,
        generation=partition.generation,
        rows=own[-1].record_count if own else None,
        why=why(partition, spec, verdict),
        runs=tuple(
            RunSummary(
                run_id=run.run_id,
                generation=run.generation,
                trigger=run.trigger.value,
                status=run.status.value,
                fired_at=run.fired_at,
                ended_at=run.ended_at,
                attempts=run.attempt,
                rows=run.record_count,
            )
            for run in own
        ),
    )


def _as_expected(partition: PartitionSummary) -> bool:
    """A date with games succeeded, every generation at its first attempt; one without did not run."""
    if not partition.games:
        return not partition.runs
    return (
        partition.status in SUCCEEDED
        and bool(partition.runs)
        and all(run.status == "success" and run.attempts == 1 for run in partition.runs)
        and bool(partition.rows)
    )


def local_time(at: datetime, zone: str = "America/New_York") -> str:
    """An instant on the registry's clock, as people read it: ``Oct 23 00:41``."""
    return at.astimezone(ZoneInfo(zone)).strftime("%b %d %H:%M")


__all__ = [
    "Audience",
    "CompressedClock",
    "CoordinatorError",
    "DemoOptions",
    "DemoStage",
    "Moment",
    "PartitionSummary",
    "Playing",
    "RunSummary",
    "Summary",
    "local_time",
    "play",
]
