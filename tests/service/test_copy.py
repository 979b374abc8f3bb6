"""A copy that is refused has written nothing, and says what prevents it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.core.arrivals import CalendarDate
from coordinator.core.model import Control
from coordinator.errors import Refused
from coordinator.ports import Changes, Document, Key, Kind, Query, Store
from coordinator.service.copy import copy
from tests.contract.samples import SAMPLES
from tests.contract.transacting import TransactingSqlite


def night(date: str, *games: str) -> dict[Key, Document]:
    sample = SAMPLES[Kind.CALENDAR]
    assert isinstance(sample, CalendarDate)
    return {Key(Kind.CALENDAR, date): replace(sample, game_date=date, games=games)}


async def put(store: Store, documents: dict[Key, Document]) -> None:
    await store.transact([], lambda _: Changes(None, documents))


async def held(store: Store) -> dict[Key, Document]:
    return {Key(k, i): d for k in Kind for i, d in (await store.find(Query(k))).items}


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[TransactingSqlite, TransactingSqlite]]:
    stores = TransactingSqlite(tmp_path / "from.db"), TransactingSqlite(tmp_path / "to.db")
    for store in stores:
        await store.open()
    yield stores
    for store in stores:
        await store.close()


Pair = tuple[TransactingSqlite, TransactingSqlite]


@pytest.mark.parametrize(
    ("there", "overwrite", "says"),
    [
        (
            night("2024-10-22", "g9"),
            False,
            "The target holds 1 document that differs (first: calendar '2024-10-22'). "
            "Nothing was written. Copy into an empty store, or say --overwrite.",
        ),
        (
            night("2024-10-22", "g9") | night("2024-10-30", "g1") | night("2024-10-31", "g1"),
            False,
            "The target holds 1 document that differs and 2 that the source has not (first: "
            "calendar '2024-10-22'). Nothing was written. Copy into an empty store.",
        ),
        (
            night("2024-10-22", "g9") | night("2024-10-30", "g1"),
            True,
            "--overwrite replaces, it does not remove: the target holds 1 document that the "
            "source has not (first: calendar '2024-10-30'). Name an empty database. "
            "Nothing was written.",
        ),
    ],
    ids=["differs", "differs and more", "more, to overwrite"],
)
async def test_a_refused_copy_has_written_nothing(
    pair: Pair, there: dict[Key, Document], overwrite: bool, says: str
) -> None:
    source, target = pair
    # What differs comes after what could have been written.
    await put(source, night("2024-10-21", "g0") | night("2024-10-22", "g1", "g2"))
    await put(target, there)
    with pytest.raises(Refused) as refused:
        await copy(source, target, overwrite=overwrite)
    assert refused.value.detail == says
    assert await held(target) == there


async def test_overwriting_replaces_what_differs(pair: Pair) -> None:
    source, target = pair
    await put(source, night("2024-10-21", "g0") | night("2024-10-22", "g1", "g2"))
    await put(target, night("2024-10-22", "g9"))
    done = await copy(source, target, overwrite=True)
    assert (done.written, done.skipped) == (2, 0)
    assert await held(target) == await held(source)


async def test_a_started_copy_is_taken_up(pair: Pair) -> None:
    source, target = pair
    await put(source, night("2024-10-21", "g0") | night("2024-10-22", "g1", "g2"))
    await put(target, night("2024-10-21", "g0"))
    done = await copy(source, target)
    assert (done.written, done.skipped) == (1, 1)


async def test_a_source_without_documents_is_refused(pair: Pair) -> None:
    source, target = pair
    await put(target, {Key(Kind.CONTROL, "_all"): Control(scope="_all")})
    with pytest.raises(Refused) as refused:
        await copy(source, target, overwrite=True, source_name="firestore:emptyproj")
    assert refused.value.detail == (
        "The source firestore:emptyproj holds no documents. Is the project and database name "
        "right? Nothing was written."
    )
