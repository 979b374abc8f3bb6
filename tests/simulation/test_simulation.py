"""Seeded worlds: the laws hold, and the same seed is the same world.

That bugs are caught is shown by ``make planted`` (``tests/planted``). A failing seed is replayed with ``python -m coordinator.simulation --seed N --trace``.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from coordinator.adapters.sqlite import SqliteStore
from coordinator.core import machine
from coordinator.core.model import Status
from coordinator.simulation import run
from coordinator.simulation.__main__ import main
from coordinator.simulation.faults import KINDS

CHECKOUT = Path(__file__).resolve().parents[2]
CHUNKS = 16
WORLDS_A_CHUNK = 10


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_laws_hold_in_every_world(chunk: int) -> None:
    first = 1 + chunk * WORLDS_A_CHUNK
    faults: Counter[str] = Counter()
    fired = 0
    for seed in range(first, first + WORLDS_A_CHUNK):
        report = run(seed, steps=40)
        assert report.broken is None, report.told()
        faults.update(report.faults)
        fired += sum(report.firings.values())
    assert fired > 10, "worlds in which nothing is fired prove nothing"
    assert len(faults) > 10, "worlds without faults prove little"


def test_every_kind_of_fault_happens_and_every_status_is_visited() -> None:
    faults: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    triggers: Counter[str] = Counter()
    for seed in range(2001, 2041):
        report = run(seed, steps=50)
        assert report.broken is None, report.told()
        faults.update(report.faults)
        statuses.update(report.statuses)
        triggers.update(report.firings)
    assert set(faults) == set(KINDS)
    assert set(statuses) == {s.value for s in Status}
    assert {"dependencies", "late_data", "manual"} <= set(triggers)


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
    monkeypatch.setattr(machine._Work, "_expire_attempt", lambda self: None)  # a planted bug
    assert main(["--seeds", "1-6", "--steps", "40"]) == 1
    out = capsys.readouterr().out
    assert "python -m coordinator.simulation --seed" in out
    assert "law" in out


@pytest.mark.parametrize("seeds", ["", "a-b", "9-3"])
def test_a_range_that_is_none_is_a_usage_error(seeds: str) -> None:
    with pytest.raises(SystemExit) as error:
        main(["--seeds", seeds])
    assert error.value.code == 2
