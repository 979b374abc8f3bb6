"""The grid and the gaps of many partitions: what they read, and how little they send."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from coordinator import health
from coordinator.adapters.sqlite import MEMORY, SqliteStore, queries, store
from coordinator.app import Application
from coordinator.core.arrivals import CalendarDate
from coordinator.core.choices import RunStatus
from coordinator.core.model import Execution, Flag, Outcome, Partition, Run, Status
from coordinator.documents import calendar_key, partition_key, run_key
from coordinator.ports import Changes, CommitAttempt, Document, Key, Kind, Transaction
from tests.contract.samples import NOON, RUN
from tests.service.support import wired

pytestmark = pytest.mark.anyio

PROCESSORS, DATES = 40, 50
REGISTRY = "\n".join(
    [
        "version: 1",
        "timezone: UTC",
        "calendar: {table: raw.games}",
        "tables: {raw.games: {}, raw.a: {}}",
        "processors:",
        *(
            f"  P{n}: {{phase: 3, output: out.p{n}, requires: [{{table: raw.a}}]}}"
            for n in range(PROCESSORS)
        ),
    ]
)
DAYS = [(date(2024, 10, 1) + timedelta(days=n)).isoformat() for n in range(DATES)]
SUCCESS = Outcome(status=RunStatus.SUCCESS, generation=1, attempt=1, at=NOON)
FAILURE = replace(SUCCESS, status=RunStatus.FAILED)
DONE = {"status": Status.SUCCEEDED, "execution": Execution(generation=1, outcome=SUCCESS)}


def partition(place: int, day: str, **said: Any) -> Partition:
    return replace(
        Partition(processor=f"P{place}", game_date=day, created_at=NOON), **{**DONE, **said}
    )


def game_day(day: str) -> CalendarDate:
    return CalendarDate(game_date=day, games=("g",), event_id="e", timestamp=NOON, received_at=NOON)


def failed(day: str) -> Partition:
    return partition(
        3, day, status=Status.FAILED, execution=Execution(generation=1, outcome=FAILURE)
    )


def good_run(day: str, generation: int) -> Run:
    return replace(
        RUN,
        run_id=f"P3:{day}:{generation}",
        processor="P3",
        game_date=day,
        generation=generation,
        status=RunStatus.SUCCESS,
    )


@asynccontextmanager
async def season(*others: Partition | Run) -> AsyncIterator[Application]:
    """Every partition of a season succeeded, but for ``others``."""
    made = SqliteStore(MEMORY, inline=True)
    await made.open()
    puts: dict[Key, Document] = {calendar_key(d): game_day(d) for d in DAYS}
    puts |= {partition_key(f"P{n}", d): partition(n, d) for n in range(PROCESSORS) for d in DAYS}
    for other in others:
        if isinstance(other, Run):
            puts[run_key(other.run_id)] = other
        else:
            puts[partition_key(other.processor, other.game_date)] = other
    transaction = Transaction((), lambda _: Changes(None, puts))
    (answer,) = await made.attempt(CommitAttempt([transaction]))
    assert answer.error is None
    yield wired(made, REGISTRY)
    await made.close()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[Kind]:
    """How many documents of each kind were decoded."""
    counts: Counter[Kind] = Counter()
    decode = queries.decode

    def counting(kind: Kind, body: bytes) -> Document:
        counts[kind] += 1
        return decode(kind, body)

    for module in (queries, store):
        monkeypatch.setattr(module, "decode", counting)
    return counts


async def test_a_grid_decodes_no_partition_and_is_small(decoded: Counter[Kind]) -> None:
    odd = partition(7, DAYS[9], status=Status.COOLING, flags=(Flag.NEWER_DATA, Flag.OVERDUE))
    async with season(odd, failed(DAYS[4])) as app:
        grid = await app.queries.dates.grid(DAYS[0], DAYS[-1])
    assert not decoded[Kind.PARTITION]
    shown = [(c.status, c.flags, c.stored) for c in grid.legend]
    assert sorted(shown) == [
        (Status.COOLING, (Flag.NEWER_DATA, Flag.OVERDUE), True),
        (Status.FAILED, (), True),
        (Status.SUCCEEDED, (), True),
    ]
    usual = shown.index((Status.SUCCEEDED, (), True))
    unusual = {
        (row.processor, day, shown[place][0])
        for row in grid.items
        for day, place in zip(DAYS, row.cells, strict=True)
        if place is not None and place != usual
    }
    assert unusual == {("P7", DAYS[9], Status.COOLING), ("P3", DAYS[4], Status.FAILED)}
    assert len(grid.model_dump_json()) < 4 * PROCESSORS * DATES + 100 * (PROCESSORS + DATES)


@pytest.mark.parametrize(("shared", "shown"), [(False, 2), (True, 1)])
async def test_a_grid_is_kept_a_short_while_where_reading_costs_money(
    shared: bool, shown: int
) -> None:
    async with season() as app:
        made = app.engine.store
        made.profile = replace(made.profile, shared=shared)  # type: ignore[misc]
        grids = [await app.queries.dates.grid(DAYS[0], DAYS[1]) for _ in range(2)]
        assert len({id(grid) for grid in grids}) == shown
        assert (await app.queries.dates.grid(DAYS[0], DAYS[2])).to == DAYS[2]


async def test_gaps_decode_what_they_list_and_nothing_else(decoded: Counter[Kind]) -> None:
    holes = [failed(day) for day in DAYS[10:20]]
    async with season(*holes) as app:
        page = await app.queries.dates.gaps(DAYS[0], DAYS[-1], limit=4)
        assert [(i.processor, i.game_date) for i in page.items] == [
            ("P3", day) for day in DAYS[10:14]
        ]
        assert decoded[Kind.PARTITION] == 4
        rest = await app.queries.dates.gaps(
            DAYS[0], DAYS[-1], limit=6, page_token=page.next_page_token
        )
        assert [i.game_date for i in rest.items] == DAYS[14:20]
        assert rest.next_page_token is None


async def test_a_partition_that_succeeded_before_is_no_gap() -> None:
    again = [
        replace(
            failed(day), execution=Execution(generation=2, outcome=replace(FAILURE, generation=2))
        )
        for day in DAYS[:2]
    ]
    reset = replace(failed(DAYS[2]), execution=Execution(generation=1))
    fresh = replace(
        failed(DAYS[3]),
        execution=Execution(
            generation=1, live=replace(good_run(DAYS[3], 1), status=RunStatus.RUNNING)
        ),
    )
    runs = [good_run(DAYS[1], 1), good_run(DAYS[2], 1)]
    async with season(*again, reset, fresh, *runs) as app:
        gaps = await app.queries.dates.gaps(DAYS[0], DAYS[-1])
    assert [i.game_date for i in gaps.items] == [DAYS[0], DAYS[3]]


@pytest.mark.parametrize(("limit", "counted"), [(1000, 12), (12, 12), (5, 5)])
async def test_partitions_are_counted_without_decoding_one(
    decoded: Counter[Kind], monkeypatch: pytest.MonkeyPatch, limit: int, counted: int
) -> None:
    monkeypatch.setattr(health, "PARTITIONS_COUNTED", limit)
    gone = [replace(failed(day), processor="Gone") for day in DAYS]
    async with season(*gone, *(failed(day) for day in DAYS[:12])) as app:
        numbers = await health.partitions_by_status(app)
    assert numbers == {**dict.fromkeys((s.value for s in health.COUNTED), 0), "failed": counted}
    assert not decoded
