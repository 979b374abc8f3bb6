"""History windows: a load is committed alone, and whose windows cover it is evaluated afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from coordinator.adapters.sqlite import SqliteStore
from coordinator.app import Application
from coordinator.core.choices import RunStatus
from coordinator.core.model import Partition, Status
from coordinator.core.schedule import shift
from coordinator.documents import encode, partition_key, pending_key
from coordinator.errors import Unavailable
from coordinator.ports import (
    CommitAttempt,
    Document,
    Key,
    Kind,
    Op,
    Query,
    Transaction,
    Where,
)
from coordinator.service.engine import WINDOWED_TOGETHER
from tests.contract.conftest import FACTORIES, StoreFactory
from tests.service.support import wired

pytestmark = pytest.mark.anyio

FIRST = "2024-10-22"
REGISTRY = """
version: 1
timezone: America/New_York
calendar: {{table: raw.games, known_from: "2024-10-22"}}
defaults: {{cooldown: 0s}}
tables: {{raw.games: {{}}, raw.a: {{}}, raw.t: {{}}}}
processors:
  Form:
    phase: 4
    output: out.form
    requires:
      - {{table: raw.a}}
      - {{table: raw.t, dates: {{{dates}}}}}
"""
LONG = REGISTRY.format(dates="window_days: 366")
LAST = REGISTRY.format(dates="last_game_dates: 1")


def load(table: str, game_date: str, number: int = 1, **said: Any) -> dict[str, Any]:
    return {
        "event_type": "raw_data_loaded",
        "target_table": table,
        "game_date": game_date,
        "status": "success",
        "record_count": 10,
        "timestamp": datetime(2025, 11, 15, tzinfo=UTC).isoformat(),
        "event_id": f"{table}-{game_date}-{number}",
        **said,
    }


def games(game_date: str) -> dict[str, Any]:
    return load("raw.games", game_date, game_ids=["g"], record_count=1)


def days(number: int, first: str = FIRST) -> list[str]:
    return [shift(first, n) for n in range(number)]


@asynccontextmanager
async def quiet(registry: str, path: str = ":memory:") -> AsyncIterator[Application]:
    store = SqliteStore(path)
    await store.open()
    try:
        yield wired(store, registry)
    finally:
        await store.close()


async def take(app: Application, *events: Mapping[str, Any]) -> list[Any]:
    return list(await asyncio.gather(*(app.ingest.take(dict(e)) for e in events)))


async def insist(app: Application, *events: Mapping[str, Any]) -> list[Any]:
    """Send again what is answered 503, as a pusher does: an emulator may be slow."""

    async def send(event: Mapping[str, Any]) -> Any:
        for _ in range(20):
            try:
                return await app.ingest.take(dict(event))
            except Unavailable:
                await asyncio.sleep(0.2)
        raise AssertionError("the store stays out of reach")

    return list(await asyncio.gather(*map(send, events)))


async def partition(app: Application, date: str) -> Partition:
    key = partition_key("Form", date)
    found: Partition | None = (await app.store.get([key]))[key]
    assert found is not None
    return found


async def found(app: Application, kind: Kind, *where: Where) -> list[Document]:
    documents: list[Document] = []
    after: str | None = None
    while True:
        page = await app.store.find(Query(kind, where, limit=500, after=after))
        documents += [d for _, d in page.items]
        after = page.next_page_token
        if after is None:
            return documents


class Commits:
    """What the transactions of a store put."""

    def __init__(self, app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
        self.puts: list[Mapping[Key, Document]] = []
        once = app.store.attempt

        async def observed(attempt: CommitAttempt) -> Any:
            last: dict[int, Any] = {}

            def kept(number: int, transaction: Transaction) -> Transaction:
                def step(docs: Any) -> Any:
                    answer = transaction.step(docs)
                    last[number] = getattr(answer, "puts", None)
                    return answer

                return Transaction(transaction.keys, step)

            inner = replace(attempt, transactions=[*map(kept, range(999), attempt.transactions)])
            answers = await once(inner)
            attempt.memory = inner.memory
            self.puts += [p for p in last.values() if p]
            return answers

        monkeypatch.setattr(app.store, "attempt", observed)

    def bytes_most(self) -> int:
        return max(sum(len(encode(d)) for d in puts.values()) for puts in self.puts)


@pytest.fixture(params=["sqlite-file", "firestore"])
def factory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreFactory]:
    yield from FACTORIES[request.param](tmp_path)


async def test_a_load_that_a_thousand_partitions_look_back_at_fires_them_all(
    factory: StoreFactory,
) -> None:
    store = factory()
    await store.open()
    try:
        crashed, other = wired(store, LAST), wired(store, LAST)
        await insist(crashed, games(FIRST))
        dates = days(1000, shift(FIRST, 1))
        for start in range(0, 1000, 50):
            await insist(crashed, *(load("raw.a", d) for d in dates[start : start + 50]))
        watching = await found(crashed, Kind.PARTITION, Where("watching", Op.EQ, 1))
        assert len(watching) == 1000
        (outcome,) = await insist(crashed, load("raw.t", FIRST))
        assert outcome.affected == ()
        assert await found(crashed, Kind.RUN) == []  # and here the process dies
        swept = await other.operate.sweep()
        assert len(swept.fired) == 1000
        assert await found(other, Kind.PENDING, Where("open", Op.EQ, 1)) == []
        why = (await other.queries.partitions.partition("Form", dates[-1])).why
        assert why.startswith("Run ")
    finally:
        await store.close()


async def test_a_crash_between_batches_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with quiet(LAST) as app:
        await take(app, games(FIRST), *(load("raw.a", d) for d in days(60, shift(FIRST, 1))))
        await take(app, load("raw.t", FIRST))
        real, batches = app.engine._apply_together, iter(range(3))

        async def dies(*args: Any, **said: Any) -> Any:
            if next(batches, None) is None:
                raise asyncio.CancelledError
            return await real(*args, **said)

        monkeypatch.setattr(app.engine, "_apply_together", dies)
        with pytest.raises(asyncio.CancelledError):
            await app.sweeper.sweep()
        fired = len(await found(app, Kind.RUN))
        assert 0 < fired < 60
        swept = await wired(app.store, LAST).sweeper.sweep()
        assert fired + len(swept.fired) == 60


async def test_a_load_that_comes_while_its_date_is_evaluated_is_evaluated_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with quiet(REGISTRY.format(dates="last_game_dates: 2")) as app:
        second, own = shift(FIRST, 1), shift(FIRST, 2)
        await take(app, games(FIRST), games(second), load("raw.a", own))
        await take(app, load("raw.t", FIRST), load("raw.t", second, status="no_data"))
        real = app.engine.evaluate

        async def between(targets: Any) -> Any:
            found = await real(targets)
            monkeypatch.setattr(app.engine, "evaluate", real)
            later = datetime(2025, 11, 15, 1, tzinfo=UTC).isoformat()
            await take(app, load("raw.t", second, 2, timestamp=later))
            return found

        monkeypatch.setattr(app.engine, "evaluate", between)
        await app.sweeper._pending.finish(app.notices.send)
        assert (await partition(app, own)).status is Status.WAITING
        assert len(await found(app, Kind.PENDING, Where("open", Op.EQ, 1))) == 1
        await app.sweeper._pending.finish(app.notices.send)
        assert (await partition(app, own)).generation == 1


async def test_a_load_inside_long_windows_writes_no_partition_that_still_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dates = days(170)
    async with quiet(LONG) as app:
        await take(app, *map(games, dates))
        await take(app, *(load("raw.a", d) for d in dates))
        await app.sweeper.sweep()
        commits = Commits(app, monkeypatch)
        await take(app, load("raw.t", dates[3]))
        (event,) = commits.puts
        assert {k.kind for k in event} == {Kind.EVENT, Kind.TABLE_DATE, Kind.DATES, Kind.PENDING}
        await app.sweeper.sweep()
        batches = [k.kind for puts in commits.puts[1:] for k in puts]
        assert batches == [Kind.PENDING]  # 166 have windows over it, and each lacks other dates


async def test_no_commit_grows_with_the_length_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """170 dates are loaded last to first, so that all fire when the first one comes."""
    dates = days(170)
    async with quiet(LONG) as app:
        await take(app, *map(games, dates))
        await take(app, *(load("raw.a", d) for d in dates))
        await app.sweeper.sweep()
        commits = Commits(app, monkeypatch)
        for date in reversed(dates):
            await take(app, load("raw.t", date))
        await app.sweeper.sweep()
        runs = await found(app, Kind.RUN)
        assert len(runs) == 170
        assert commits.bytes_most() < 2_000_000
        longest = next(r for r in runs if r.game_date == dates[-1])
        assert len([i for i in longest.inputs if i.table == "raw.t"]) == 169


async def test_a_partition_keeps_no_list_of_its_windows_dates() -> None:
    dates = days(170)
    async with quiet(LONG) as app:
        await take(app, *map(games, dates), *(load("raw.t", d) for d in dates[1:]))
        await take(app, load("raw.a", dates[-1]))
        await app.sweeper.sweep()
        waiting = await partition(app, dates[-1])
        assert waiting.status is Status.WAITING
        assert len(encode(waiting)) < 3000
        whole = await app.queries.partitions.partition("Form", dates[-1])
        assert whole.why.startswith(f"Waiting for raw.t on {FIRST}: ready on 168 of the 169")
        assert len(whole.verdict.requirements[1].days) == 169


async def test_a_run_needs_its_whole_window_in_the_transaction_that_fires_it() -> None:
    """The date was met when the partition was last evaluated, and is not any more."""
    async with quiet(LONG.replace("cooldown: 0s", "debounce: 1h, max_settle: 2h")) as app:
        second = shift(FIRST, 1)
        await take(app, games(FIRST), load("raw.t", FIRST), load("raw.a", second))
        assert (await partition(app, second)).status is Status.SETTLING
        later = datetime(2025, 11, 15, 1, tzinfo=UTC).isoformat()
        await take(app, load("raw.t", FIRST, 2, status="no_data", timestamp=later))
        assert (await app.queries.partitions.partition("Form", second)).status == "waiting"
        (decision,) = await app.engine.apply_each({("Form", second): ()})
        assert decision.fired is None
        # As if the hold were over: what is remembered says that nothing is lacking.
        spec = app.registry.processors["Form"]
        object.__setattr__(spec.policy, "debounce", spec.policy.cooldown * 0)
        (decision,) = await app.engine.apply_each({("Form", second): ()})
        assert decision.fired is None
        assert (await partition(app, second)).status is Status.WAITING


async def test_windows_too_long_for_a_load_are_evaluated_at_once_by_the_sweep() -> None:
    dates = days(100)
    async with quiet(LONG) as app:
        await take(app, *map(games, dates), *(load("raw.t", d) for d in dates))
        (outcome,) = await take(app, load("raw.a", dates[-1]))
        (affected,) = outcome.affected
        assert (affected.status, affected.fired_run_id) == ("waiting", None)
        waiting = await partition(app, dates[-1])
        assert waiting.inputs.windows_due
        assert waiting.wake_at is not None
        swept = await app.sweeper.sweep()
        assert swept.fired == (f"Form:{dates[-1]}:1",)
        assert not (await partition(app, dates[-1])).inputs.windows_due


async def test_a_sweep_fires_long_windows_in_small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    dates = days(100)
    async with quiet(LONG) as app:
        await take(app, *map(games, dates), *(load("raw.t", d) for d in dates))
        await take(app, *(load("raw.a", d) for d in dates[-20:]))
        commits = Commits(app, monkeypatch)
        assert len((await app.sweeper.sweep()).fired) == 20
        fired = [sum(k.kind is Kind.RUN for k in puts) for puts in commits.puts]
        assert max(fired) == WINDOWED_TOGETHER


async def test_short_windows_are_read_with_the_load_that_completes_the_rest() -> None:
    async with quiet(LAST) as app:
        second = shift(FIRST, 1)
        await take(app, games(FIRST), load("raw.t", FIRST))
        (outcome,) = await take(app, load("raw.a", second))
        assert outcome.affected[0].fired_run_id == f"Form:{second}:1"


async def test_why_of_what_succeeded_judges_its_windows_as_they_are() -> None:
    async with quiet(LAST) as app:
        second = shift(FIRST, 1)
        await take(app, games(FIRST), load("raw.t", FIRST), load("raw.a", second))
        run_id = f"Form:{second}:1"
        run = await app.runs.claim(run_id, "me", 1)
        assert run.lease_token is not None
        await app.runs.complete(run_id, run.lease_token, RunStatus.SUCCESS, 1)
        later = datetime(2025, 11, 15, 1, tzinfo=UTC).isoformat()
        await take(app, load("raw.t", FIRST, 2, status="no_data", timestamp=later))
        whole = await app.queries.partitions.partition("Form", second)
        assert whole.status == "succeeded"
        window = whole.verdict.requirements[1]
        assert (window.state, window.days[0].state) == ("missing", "empty")


async def test_a_calendar_that_takes_a_date_away_fires_who_waited_for_it() -> None:
    async with quiet(REGISTRY.format(dates="window_days: 3")) as app:
        second, own = shift(FIRST, 1), shift(FIRST, 2)
        await take(app, games(FIRST), games(second), load("raw.t", second), load("raw.a", own))
        assert (await partition(app, own)).watching
        none = load("raw.games", FIRST, 2, status="no_data", record_count=0)
        await take(app, {**none, "timestamp": datetime(2025, 11, 15, 1, tzinfo=UTC).isoformat()})
        await app.sweeper.sweep()
        assert (await partition(app, own)).generation == 1


async def test_newer_data_on_a_date_that_lost_its_games_still_waits_for_its_window() -> None:
    async with quiet(LAST) as app:
        second = shift(FIRST, 1)
        await take(app, games(FIRST), load("raw.t", FIRST), load("raw.a", second))
        run = await app.runs.claim(f"Form:{second}:1", "me", 1)
        assert run.lease_token is not None
        await app.runs.complete(run.run_id, run.lease_token, RunStatus.SUCCESS, 1)
        times = [datetime(2025, 11, 15, hour, tzinfo=UTC).isoformat() for hour in (1, 2, 3)]
        await take(app, load("raw.t", FIRST, 2, status="no_data", timestamp=times[0]))
        await take(app, load("raw.games", second, status="no_data", record_count=0))
        await take(app, load("raw.a", second, 2, timestamp=times[1]))
        await app.sweeper.sweep()
        assert (await partition(app, second)).generation == 1
        await take(app, load("raw.t", FIRST, 3, timestamp=times[2]))
        await app.sweeper.sweep()
        assert (await partition(app, second)).generation == 2


async def test_a_schedule_that_comes_again_leaves_nothing_to_be_done() -> None:
    async with quiet(LAST) as app:
        await take(app, games(FIRST))
        await app.sweeper.sweep()
        later = datetime(2025, 11, 15, 1, tzinfo=UTC).isoformat()
        await take(app, {**games(FIRST), "event_id": "again", "timestamp": later})
        assert await found(app, Kind.PENDING, Where("open", Op.EQ, 1)) == []


async def test_dependents_beyond_a_commit_are_delivered_by_the_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = LAST[: LAST.index("processors:")]
    many = [
        f"  P{n}: {{phase: 3, output: out.p{n}, requires: [{{table: raw.a}}]}}" for n in range(150)
    ]
    registry = head + "processors:\n" + "\n".join(many) + "\n"
    monkeypatch.setattr("coordinator.service.loads.DEPENDENTS_PER_COMMIT", 40)
    async with quiet(registry) as app:
        commits = Commits(app, monkeypatch)
        (outcome,) = await take(app, load("raw.a", FIRST))
        assert len(outcome.affected) == 40
        assert len([k for k in commits.puts[0] if k.kind is Kind.PARTITION]) == 40
        await app.sweeper.sweep()
        assert len(await found(app, Kind.RUN)) == 150
        key = pending_key("raw.a", FIRST)
        assert (await app.store.get([key]))[key].work == ()


async def test_work_that_cannot_be_done_keeps_neither_other_work_nor_time_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("coordinator.service.loads.DEPENDENTS_PER_COMMIT", 0)
    async with quiet(LONG) as app:
        second, dates = shift(FIRST, 1), days(100)
        await take(app, *map(games, dates), *(load("raw.t", d) for d in dates[1:]))
        monkeypatch.setattr("coordinator.service.loads.DEPENDENTS_PER_COMMIT", 400)
        await take(app, load("raw.a", second), load("raw.a", dates[-1]))
        monkeypatch.setattr("coordinator.service.loads.DEPENDENTS_PER_COMMIT", 0)
        await take(app, load("raw.a", dates[-2]), load("raw.t", FIRST))
        real, broken = app.sweeper._pending._deliver, True

        async def deliver(*args: Any) -> Any:
            if broken:
                raise RuntimeError("a bug")
            return await real(*args)

        monkeypatch.setattr(app.sweeper._pending, "_deliver", deliver)
        fired = (await app.sweeper.sweep()).fired
        assert set(fired) == {f"Form:{second}:1", f"Form:{dates[-1]}:1"}
        broken = False
        assert (await app.sweeper.sweep()).fired == (f"Form:{dates[-2]}:1",)
        assert await found(app, Kind.PENDING, Where("open", Op.EQ, 1)) == []


async def test_served_they_fire_without_a_sweep_of_all(tmp_path: Path) -> None:
    app = wired(SqliteStore(str(tmp_path / "s.db")), LAST)
    async with app.running():
        second = shift(FIRST, 1)
        await take(app, games(FIRST), load("raw.a", second))
        await take(app, load("raw.t", FIRST))
        for _ in range(200):
            if (await partition(app, second)).generation:
                break
            await asyncio.sleep(0.02)
        assert (await partition(app, second)).generation == 1
    assert WINDOWED_TOGETHER <= 50
