"""State moves between stores whole: embedded to Firestore and back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from coordinator.cli import app
from coordinator.core.choices import RunStatus
from coordinator.core.model import Control
from coordinator.documents import event_key
from coordinator.errors import Refused, Unavailable
from coordinator.ports import Changes, Document, Key, Kind, Query, Store
from coordinator.service.copy import Copied, copy
from tests.contract.samples import DATE, NOON, SAMPLES, TABLE
from tests.contract.transacting import TransactingFirestore, TransactingSqlite
from tests.firestore.proxy import UNAVAILABLE, Proxy
from tests.firestore.stores import FirestoreFactory
from tests.firestore.test_layout import entry

pytestmark = [pytest.mark.anyio, pytest.mark.emulator]


async def fill(store: Store) -> int:
    """One document of each kind, a long ledger, and runs in several states."""
    docs: dict[Key, Document] = {
        Key(k, "x/%é") if k is not Kind.EVENT else event_key(TABLE, "2025-01-01", "a/b"): d
        for k, d in SAMPLES.items()
    }
    docs |= {event_key(TABLE, DATE, f"e{n}"): entry(n) for n in range(300)}
    for n, status in enumerate(RunStatus):
        run = replace(
            SAMPLES[Kind.RUN], run_id=f"r{n}", status=status, fired_at=NOON + timedelta(n)
        )
        docs[Key(Kind.RUN, run.run_id)] = run
    await store.transact([], lambda _: Changes(None, docs))
    return len(docs)


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[TransactingSqlite]:
    made = TransactingSqlite(tmp_path / "state.db")
    await made.open()
    yield made
    await made.close()


async def test_there_and_back_again(
    file: TransactingSqlite, factory: FirestoreFactory, tmp_path: Path
) -> None:
    total = await fill(file)
    cloud = factory(ledger_bytes_max=40_000, chunk_bytes_max=10_000)
    await cloud.open()
    stages: list[str] = []
    done = await copy(file, cloud, progress=lambda c: stages.append(c.stage))
    assert (done.total, done.written, done.skipped) == (total, total, 0)
    assert list(dict.fromkeys(stages)) == [
        *("counting", "comparing", "copying", "verifying", "done")
    ]
    other = TransactingSqlite(tmp_path / "other.db")
    await other.open()
    back = await copy(cloud, other)
    assert back.digests == done.digests
    again = await copy(file, cloud)
    assert (again.written, again.skipped) == (0, total)
    await other.close()
    await cloud.close()


async def test_a_copy_cut_short_goes_on_where_it_was(
    file: TransactingSqlite, factory: FirestoreFactory, proxy: Proxy
) -> None:
    total = await fill(file)
    cloud = factory(tries=2)
    await cloud.open()
    commits = iter(range(1000))
    proxy.fault = lambda m: UNAVAILABLE if m == "Commit" and next(commits) > 3 else None
    seen: list[int] = []

    def note(done: Copied) -> None:
        seen.append(done.written)

    with pytest.raises(Unavailable):
        await copy(file, cloud, progress=note)
    proxy.fault = None
    assert 0 < seen[-1] < total
    done = await copy(file, cloud)
    assert done.skipped >= seen[-1]
    assert done.written + done.skipped == total
    await cloud.close()


async def test_what_differs_is_replaced_only_on_request(
    file: TransactingSqlite, store: TransactingFirestore
) -> None:
    key = Key(Kind.CONTROL, "_all")
    await file.transact([], lambda _: Changes(None, {key: Control(scope="_all")}))
    await store.transact([], lambda _: Changes(None, {key: Control(scope="other")}))
    with pytest.raises(Refused):
        await copy(file, store)
    await copy(file, store, overwrite=True)
    assert (await store.get([key]))[key] == Control(scope="_all")


async def test_a_target_that_has_more_is_found_out(
    file: TransactingSqlite, store: TransactingFirestore
) -> None:
    await fill(file)
    await store.transact(
        [], lambda _: Changes(None, {Key(Kind.CONTROL, "more"): Control(scope="m")})
    )
    for overwrite in (False, True):
        with pytest.raises(Refused, match=r"the source has not .first: controls 'more'"):
            await copy(file, store, overwrite=overwrite)
    assert not (await store.find(Query(Kind.CALENDAR))).items, "nothing was written"


async def test_an_empty_database_is_no_source(
    file: TransactingSqlite, store: TransactingFirestore
) -> None:
    with pytest.raises(Refused, match=f"The source {store.name} holds no documents"):
        await copy(store, file, source_name=store.name)


async def test_the_command_copies(file: TransactingSqlite, store: TransactingFirestore) -> None:
    total = await fill(file)
    await file.close()

    result = await asyncio.to_thread(
        CliRunner().invoke,
        app,
        ["store", "copy", "--from", f"sqlite:{file.path}", "--to", store.name, "--json"],
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["documents"], answer["written"]) == (total, total)
    assert answer["kinds"]["events"]["documents"] == 301
    assert len((await store.find(Query(Kind.RUN))).items) == 1 + len(RunStatus)
    gone = await asyncio.to_thread(
        CliRunner().invoke, app, ["store", "copy", "--from", "sqlite:/no/file", "--to", store.name]
    )
    assert gone.exit_code == 2
