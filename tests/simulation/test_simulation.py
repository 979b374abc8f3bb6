"""Seeded worlds: the laws hold, and the same seed is the same world.

A failing seed is replayed with the command that its failure names. Beside the fixed seeds every run
plays fresh ones, from COORDINATOR_SEED_BASE on, which the header of the run and a failure name.
That bugs are caught is shown by ``make planted`` (``tests/planted``).
"""

import asyncio
import os
import re
import secrets
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from coordinator.adapters.sqlite import MEMORY, SqliteStore
from coordinator.core import machine
from coordinator.core.facts import Ticked
from coordinator.core.model import Control, Status
from coordinator.core.spec import ProcessorSpec, Requirement, RequirementKind
from coordinator.documents import control_key
from coordinator.errors import Bug, TooLarge, Unavailable
from coordinator.ports import Changes, CommitAttempt, Transaction
from coordinator.service.engine import Committed
from coordinator.simulation import run
from coordinator.simulation.__main__ import main
from coordinator.simulation.clock import run_virtually
from coordinator.simulation.edits import EDITS
from coordinator.simulation.faults import KINDS, OF_SQLITE, STORE_PERIODS, WAITING_FOR
from coordinator.simulation.limits import Limits
from coordinator.simulation.process import DRY, PlayedCommits, quiet_log
from coordinator.simulation.record import Record
from coordinator.simulation.stores import Shared, Trouble
from coordinator.simulation.world import ENDINGS, World

CHECKOUT = Path(__file__).resolve().parents[2]
CHUNKS = 8
WORLDS_A_CHUNK = 8
FRESH = 4
"""Worlds of a run that nobody has seen. More of them: ``make simulate FRESH=1000``."""
STEPS = 40


def _play(first: int, last: int) -> None:
    faults: Counter[str] = Counter()
    fired = 0
    for seed in range(first, last):
        report = run(seed, steps=STEPS)
        assert report.broken is None, report.text()
        faults.update(report.faults)
        fired += sum(report.firings.values())
    assert fired > 10, "worlds in which nothing is fired prove nothing"
    assert len(faults) > 10, "worlds without faults prove little"


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_laws_hold_in_every_world(chunk: int) -> None:
    first = 1 + chunk * WORLDS_A_CHUNK
    _play(first, first + WORLDS_A_CHUNK)


@pytest.mark.parametrize("number", range(FRESH))
def test_the_laws_hold_in_worlds_that_nobody_has_seen(number: int, seed_base: int) -> None:
    report = run(seed_base + number, steps=STEPS)
    assert report.broken is None, report.text()


def test_every_kind_of_fault_and_ending_happens_and_every_status_is_visited() -> None:
    wanted = {
        *(set(KINDS) - set(WAITING_FOR)),
        *(s.value for s in Status),
        *("dependencies", "late_data", "deadline", "schedule", "manual"),
        *("quiet point", "season", "firestore limits", "skewed clocks"),
        *(f"ends {ending}" for ending in ENDINGS),
    }
    seen: Counter[str] = Counter()
    for seed in range(2001, 2081):
        report = run(seed, steps=50)
        assert report.broken is None, report.text()
        for counts in (report.faults, report.statuses, report.firings, report.kinds):
            seen.update(+counts)
        if wanted <= set(seen):
            return
    pytest.fail(f"never: {sorted(wanted - set(seen))}")


def test_every_edit_of_the_registry_is_taken_into_use() -> None:
    seen: Counter[str] = Counter()
    for seed in range(4001, 4161):
        world = World(seed, Shared(SqliteStore(MEMORY, inline=True)))
        world.faults.rates["registry_swap"] = 1.0
        with quiet_log(world.logged_an_error):
            report = run_virtually(world.play(10))
        assert report.broken is None, report.text()
        seen.update(report.edits)
        if set(EDITS) <= set(seen):
            return
    pytest.fail(f"never: {sorted(set(EDITS) - set(seen))}")


@pytest.mark.parametrize("kind", STORE_PERIODS)
@pytest.mark.parametrize("place", ["memory", "file"])
def test_a_store_in_trouble_refuses_and_heals(kind: str, place: str, tmp_path: Path) -> None:
    path = MEMORY if place == "memory" else tmp_path / "world.sqlite"
    store = SqliteStore(path, inline=True)

    async def write(letters: str) -> None:
        for letter in letters:
            put = {control_key(letter): Control(scope=letter * 3000)}
            transaction = Transaction((), lambda _, put=put: Changes(None, put))  # type: ignore[misc]
            (answer,) = await store.attempt(CommitAttempt([transaction]))
            if answer.error is not None:
                raise answer.error

    async def play() -> None:
        await store.open()
        await write("a")
        trouble = Trouble(store)
        trouble.begin(kind)
        with pytest.raises(Unavailable) as refused:
            await write("bcdefghij")
        assert isinstance(refused.value.__cause__, sqlite3.Error)
        assert OF_SQLITE[refused.value.__cause__.sqlite_errorcode & 0xFF] == kind
        assert (await store.get([control_key("a")]))[control_key("a")] is not None
        trouble.heal()
        await write("bcdefghij")
        await store.close()

    asyncio.run(play())


def test_what_firestore_would_refuse_is_refused() -> None:
    limits = Limits()
    limits.check({control_key(f"c{n}"): Control(scope="x") for n in range(500)})
    with pytest.raises(TooLarge, match="501 writes"):
        limits.check({control_key(f"c{n}"): Control(scope="x") for n in range(501)})
    noise = [secrets.token_hex(550_000) for _ in range(20)]
    limits.check({control_key("c"): Control(scope=noise[0])})
    with pytest.raises(TooLarge, match="10 MiB"):
        limits.check({control_key(f"c{n}"): Control(scope=text) for n, text in enumerate(noise)})


def test_a_decision_that_the_table_of_transitions_does_not_list_is_reported() -> None:
    now = datetime(2024, 10, 24, 2, tzinfo=UTC)
    need = Requirement(key="a", kind=RequirementKind.TABLE, sources=("raw.a",))
    spec = ProcessorSpec(name="P", phase=3, output="out", requirements=(need,))
    known = machine.blank(spec, "2024-10-23", now)
    decision = machine.decide(known, (Ticked(),), spec, now)
    record = Record()
    record.decided([Committed(None, decision), Committed(known, decision)])
    assert record.broken == []
    record.decided([Committed(replace(known, status=Status.SKIPPED), decision)])
    assert record.broken == ["transitions: P__2024-10-23 skipped -> waiting on Ticked"]


def test_the_state_may_lie_in_a_file(tmp_path: Path) -> None:
    in_memory = run(5, steps=30)
    in_file = run(5, steps=30, store=SqliteStore(tmp_path / "world.sqlite", inline=True))
    assert in_file.broken is None, in_file.text()
    assert in_file.digest == in_memory.digest


def test_the_same_seed_is_the_same_world() -> None:
    for seed in (3, 11):
        assert run(seed, steps=30) == run(seed, steps=30)
    assert run(3, steps=30).digest != run(4, steps=30).digest


def test_the_same_seed_is_the_same_world_in_another_process() -> None:
    code = (
        "from coordinator.simulation import run; print(*(run(s, steps=30).digest for s in (3, 12)))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "4242")
    }
    assert len(digests) == 1


# ── the command ──────────────────────────────────────────────────────────────────────────────


def test_the_command_prints_totals_and_replays_a_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "1-3", "--steps", "10"]) == 0
    assert "3 worlds, 30 steps" in capsys.readouterr().out
    assert main(["--seed", "2", "--steps", "10", "--trace"]) == 0
    trace = capsys.readouterr().out
    assert re.search(r"process\d+ serves", trace)
    assert "transcript" in trace


def test_a_failing_seed_prints_its_transcript_and_how_to_replay_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine.runs, "expire_attempt", lambda draft: draft)  # a planted bug
    assert main(["--seeds", "1-6", "--steps", "40"]) == 1
    out = capsys.readouterr().out
    assert "python -m coordinator.simulation --seed" in out
    assert "law" in out


@pytest.mark.parametrize("seeds", ["", "a-b", "9-3"])
def test_a_range_that_is_none_is_a_usage_error(seeds: str) -> None:
    with pytest.raises(SystemExit) as error:
        main(["--seeds", seeds])
    assert error.value.code == 2


async def test_a_dry_run_that_writes_is_seen_and_nobody_else_is() -> None:
    store = SqliteStore(MEMORY, inline=True)
    await store.open()
    commits = PlayedCommits(store)

    async def write(*, dry: bool) -> str:
        DRY.set(dry)  # of this task alone
        change = Changes("done", {control_key("_all"): Control(scope="_all")})
        return await commits.transact([], lambda _: change)

    others, dry = await asyncio.gather(write(dry=False), write(dry=True), return_exceptions=True)
    assert others == "done"
    assert isinstance(dry, Bug)
    await store.close()
