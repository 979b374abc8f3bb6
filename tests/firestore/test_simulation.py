"""Worlds over Firestore: several processes with a client each, whose calls cross and fail.

A failing seed is replayed with ``FIRESTORE_EMULATOR_HOST=… python -m coordinator.simulation
--store firestore --steps 40 --seed N --trace``. Some are fresh in every run, as those in memory are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coordinator.adapters.firestore.layout import DateLedger
from coordinator.adapters.firestore.transaction import Batch, WriteMode
from coordinator.ports import Kind
from coordinator.simulation import Report, run
from coordinator.simulation.__main__ import main
from coordinator.simulation.faults import CALL_KINDS
from coordinator.simulation.firestore import OverFirestore
from tests.firestore.emulator import emulator_host

pytestmark = [pytest.mark.emulator, pytest.mark.slow]

CHECKOUT = Path(__file__).resolve().parents[2]
CHUNKS = 5
WORLDS_A_CHUNK = 2
FRESH = 1
STEPS = 40


@pytest.fixture(autouse=True)
def _emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator_host())


def played(seed: int, steps: int = STEPS) -> Report:
    return run(seed, steps=steps, store=OverFirestore(seed))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_laws_hold_in_every_world(chunk: int) -> None:
    first = 1 + chunk * WORLDS_A_CHUNK
    faults: Counter[str] = Counter()
    for seed in range(first, first + WORLDS_A_CHUNK):
        report = played(seed)
        assert report.broken is None, report.text()
        assert report.commits
        faults.update(report.faults)
    assert set(faults) & set(CALL_KINDS), "worlds whose calls never fail prove little"


@pytest.mark.parametrize("number", range(FRESH))
def test_the_laws_hold_in_worlds_that_nobody_has_seen(number: int, seed_base: int) -> None:
    report = played(seed_base + number)
    assert report.broken is None, report.text()


def test_every_fault_of_a_call_happens() -> None:
    faults: Counter[str] = Counter()
    for seed in range(531, 571):
        faults.update(played(seed, steps=10).faults)
        if set(CALL_KINDS) <= set(faults):
            return
    pytest.fail(f"never: {set(CALL_KINDS) - set(faults)}")


def test_the_same_seed_is_the_same_world_in_another_process() -> None:
    code = (
        "from coordinator.simulation import run\n"
        "from coordinator.simulation.firestore import OverFirestore\n"
        f"print(run(2, steps={STEPS}, store=OverFirestore(2)).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("1", "4242")
    }
    assert digests == {played(2).digest}
    assert played(3).digest not in digests


def test_without_an_emulator_nothing_is_played(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST")
    with pytest.raises(SystemExit) as error:
        main(["--seed", "1", "--store", "firestore"])
    assert error.value.code == 2
    assert "FIRESTORE_EMULATOR_HOST" in capsys.readouterr().err


# ── planted bugs ─────────────────────────────────────────────────────────────────────────────


def _no_preconditions(patch: pytest.MonkeyPatch) -> None:
    real = Batch.writes

    def wrong(self: Batch, op: str) -> Any:
        anything = (WriteMode.UPDATE, WriteMode.CREATE)
        return [replace(w, act=WriteMode.SET) if w.act in anything else w for w in real(self, op)]

    patch.setattr(Batch, "writes", wrong)


def _half_a_commit(patch: pytest.MonkeyPatch) -> None:
    real = Batch.writes

    def wrong(self: Batch, op: str) -> Any:
        writes = real(self, op)
        return writes[:-1] if len(writes) > 2 else writes

    patch.setattr(Batch, "writes", wrong)


def _rolled_over_events_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DateLedger, "chunks_of", lambda *_: [])


def _the_end_of_a_run_is_not_written(patch: pytest.MonkeyPatch) -> None:
    def wrong(self: Batch, key: Any) -> bool:
        return key.kind is Kind.RUN and key not in self._creates

    patch.setattr(Batch, "_is_carried", wrong)


def _memory_is_believed(patch: pytest.MonkeyPatch) -> None:
    real = Batch._take

    def wrong(self: Batch, *args: Any) -> None:
        real(self, *args)
        self.prove = set()

    patch.setattr(Batch, "_take", wrong)


BUGS: list[tuple[Callable[[pytest.MonkeyPatch], None], int]] = [
    (_no_preconditions, 1),
    (_half_a_commit, 1),
    (_rolled_over_events_are_forgotten, 59),
    (_the_end_of_a_run_is_not_written, 1),
    (_memory_is_believed, 27),
]
"""Each with the world to begin at."""


@pytest.mark.parametrize(("plant", "first"), BUGS, ids=[b[0].__name__.strip("_") for b in BUGS])
def test_a_planted_bug_is_caught(
    plant: Callable[[pytest.MonkeyPatch], None], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    for seed in range(first, first + 30):
        if played(seed).broken is not None:
            return
    pytest.fail(f"{plant.__name__} went unnoticed in 30 worlds")
