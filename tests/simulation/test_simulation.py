"""Seeded worlds: the laws hold, the same seed is the same world, and planted bugs are caught.

A failing seed is replayed with the command that its failure names. Beside the fixed seeds every run
plays fresh ones, from COORDINATOR_SEED_BASE on, which the header of the run and a failure name.
"""

import asyncio
import os
import re
import secrets
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from coordinator import outbox
from coordinator.adapters.sqlite import MEMORY, SqliteStore
from coordinator.core import machine, readiness
from coordinator.core.model import Control, Status
from coordinator.documents import control_key
from coordinator.errors import TooLarge, Unavailable
from coordinator.ports import Changes
from coordinator.service import ingest, runs, sweep
from coordinator.service.loads import Folded
from coordinator.simulation import run
from coordinator.simulation.__main__ import main
from coordinator.simulation.clock import run_virtually
from coordinator.simulation.edits import EDITS
from coordinator.simulation.faults import KINDS, OF_SQLITE, STORE_PERIODS, WAITING_FOR
from coordinator.simulation.process import quiet_log
from coordinator.simulation.stores import Limits, Shared, Trouble
from coordinator.simulation.world import ENDINGS, World

CHECKOUT = Path(__file__).resolve().parents[2]
CHUNKS = 8
WORLDS_A_CHUNK = 8
STEPS = 40


def _play(first: int, last: int) -> None:
    faults: Counter[str] = Counter()
    fired = 0
    for seed in range(first, last):
        report = run(seed, steps=STEPS)
        assert report.broken is None, report.told()
        faults.update(report.faults)
        fired += sum(report.firings.values())
    assert fired > 10, "worlds in which nothing is fired prove nothing"
    assert len(faults) > 10, "worlds without faults prove little"


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_laws_hold_in_every_world(chunk: int) -> None:
    first = 1 + chunk * WORLDS_A_CHUNK
    _play(first, first + WORLDS_A_CHUNK)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_laws_hold_in_worlds_that_nobody_has_seen(chunk: int, seed_base: int) -> None:
    first = seed_base + chunk * WORLDS_A_CHUNK
    _play(first, first + WORLDS_A_CHUNK)


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
        assert report.broken is None, report.told()
        for counts in (report.faults, report.statuses, report.firings, report.kinds):
            seen.update(+counts)
        if wanted <= set(seen):
            return
    pytest.fail(f"never: {sorted(wanted - set(seen))}")


def test_every_edit_of_the_registry_is_taken_into_use() -> None:
    seen: Counter[str] = Counter()
    for seed in range(4001, 4061):
        world = World(seed, Shared(SqliteStore(MEMORY, inline=True)))
        world.faults.rates["registry_swap"] = 1.0
        with quiet_log(world.logged_an_error):
            report = run_virtually(world.play(10))
        assert report.broken is None, report.told()
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
            await store.transact([], lambda _, put=put: Changes(None, put))  # type: ignore[misc]

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


def test_the_state_may_lie_in_a_file(tmp_path: Path) -> None:
    in_memory = run(5, steps=30)
    in_file = run(5, steps=30, store=SqliteStore(tmp_path / "world.sqlite", inline=True))
    assert in_file.broken is None, in_file.told()
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


# ── planted bugs ─────────────────────────────────────────────────────────────────────────────


def _status_forgets_settling(patch: pytest.MonkeyPatch) -> None:
    real = machine.status_of

    def wrong(*args: Any) -> Status:
        status = real(*args)
        return Status.WAITING if status is Status.SETTLING else status

    patch.setattr(machine, "status_of", wrong)


def _relay_counts_launches_without_launching(patch: pytest.MonkeyPatch) -> None:
    async def wrong(self: Any, *args: Any, **options: Any) -> str:
        return "made up"

    patch.setattr(outbox.Relay, "_launch", wrong)


def _any_token_is_good(patch: pytest.MonkeyPatch) -> None:
    real = machine._Work._completed

    def wrong(self: Any, fact: Any) -> Any:
        run = self.live
        if run is not None and run.lease_token and run.generation == fact.generation:
            fact = replace(fact, token=run.lease_token)
        return real(self, fact)

    patch.setattr(machine._Work, "_completed", wrong)


def _a_pause_holds_nothing(patch: pytest.MonkeyPatch) -> None:
    real = readiness._common_holds

    def wrong(*args: Any, **options: Any) -> Any:
        holds = real(*args, **options)
        return [h for h in holds if h.kind is not readiness.HoldKind.PAUSE]

    patch.setattr(readiness, "_common_holds", wrong)


def _coverage_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    real = readiness.judge_source

    def wrong(*args: Any, **options: Any) -> Any:
        source = real(*args, **options)
        if source.state in (readiness.State.INCOMPLETE, readiness.State.SHORT):
            return replace(source, state=readiness.State.READY, since=args[6])
        return source

    patch.setattr(readiness, "judge_source", wrong)


def _leases_never_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(machine._Work, "_expire_attempt", lambda self: None)


def _a_taken_run_is_given_to_the_next(patch: pytest.MonkeyPatch) -> None:
    real = machine._Work._claimed

    def wrong(self: Any, fact: Any) -> Any:
        run = self.live
        if run is not None and run.status.value == "running":
            self.live = replace(run, status=machine.RunStatus.DELIVERED)
        return real(self, fact)

    patch.setattr(machine._Work, "_claimed", wrong)


def _events_are_acknowledged_before_they_are_kept(patch: pytest.MonkeyPatch) -> None:
    real = ingest.Ingest.push

    async def wrong(self: Any, body: bytes) -> Any:
        try:
            return await real(self, body)
        except ingest.CoordinatorError:
            return ingest.Outcome(outcome="applied")

    patch.setattr(ingest.Ingest, "push", wrong)


def _the_sweep_looks_a_day_late(patch: pytest.MonkeyPatch) -> None:
    real = sweep.Sweeper.sweep

    async def wrong(self: Any, **options: Any) -> Any:
        clock = self._engine.clock
        patch.setattr(self, "_now", lambda: clock.now() - timedelta(days=1))
        return replace(await real(self, **options), next_wake=None)

    patch.setattr(sweep.Sweeper, "sweep", wrong)


def _the_outbox_is_emptied_on_failure(patch: pytest.MonkeyPatch) -> None:
    real = machine._Work._delivery_failed

    def wrong(self: Any, fact: Any) -> Any:
        reply = real(self, fact)
        self.outbox = tuple(e for e in self.outbox if e.effect_id != fact.effect_id)
        return reply

    patch.setattr(machine._Work, "_delivery_failed", wrong)


def _re_fires_have_no_budget(patch: pytest.MonkeyPatch) -> None:
    real = machine._Work._fire

    def wrong(self: Any, *args: Any, **options: Any) -> None:
        real(self, *args, **options)
        self.refires = 0

    patch.setattr(machine._Work, "_fire", wrong)


def _an_output_is_lost_with_its_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runs.Runs, "_announce", lambda *_: (Folded("applied"), []))


BUGS: list[tuple[Callable[[pytest.MonkeyPatch], None], str]] = [
    (_status_forgets_settling, "law 6"),
    (_relay_counts_launches_without_launching, "law 3"),
    (_any_token_is_good, "law 2"),
    (_a_pause_holds_nothing, "law 8"),
    (_coverage_is_not_looked_at, "law"),
    (_leases_never_end, "law"),
    (_a_taken_run_is_given_to_the_next, "law 2"),
    (_events_are_acknowledged_before_they_are_kept, "law"),
    (_the_sweep_looks_a_day_late, "law"),
    (_the_outbox_is_emptied_on_failure, "law"),
    (_re_fires_have_no_budget, "law 7"),
    (_an_output_is_lost_with_its_run, "law 3"),
]


@pytest.mark.parametrize(("plant", "law"), BUGS, ids=[b[0].__name__.strip("_") for b in BUGS])
def test_a_planted_bug_is_caught(
    plant: Callable[[pytest.MonkeyPatch], None], law: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    for seed in range(1, 41):
        report = run(seed, steps=40)
        if report.broken is not None:
            assert law in report.broken, report.told()
            return
    pytest.fail(f"{plant.__name__} went unnoticed in 40 worlds")


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
    _leases_never_end(monkeypatch)
    assert main(["--seeds", "1-6", "--steps", "40"]) == 1
    out = capsys.readouterr().out
    assert "python -m coordinator.simulation --seed" in out
    assert "law" in out


@pytest.mark.parametrize("seeds", ["", "a-b", "9-3"])
def test_a_range_that_is_none_is_a_usage_error(seeds: str) -> None:
    with pytest.raises(SystemExit) as error:
        main(["--seeds", seeds])
    assert error.value.code == 2
