"""The benchmarks run, and the page says what they measured. Nothing here is timed."""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import page, profiling
from benchmarks.aims import AIMS
from benchmarks.harness import Served, send

ROOT = Path(__file__).resolve().parent.parent
TINY = ("--rounds", "1", "--seconds", "0.05")
CASES: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "rates": (
        ("ingest.py", "--only", "one-date", "spread", "one-sender", *TINY),
        {
            "32 senders, one date, K = 3",
            "32 senders, every event on another date",
            "one sender",
        },
    ),
    "dependants": (
        ("ingest.py", "--only", "dependants", "--dependants", "10", *TINY),
        {"each dependant of K"},
    ),
    "launches": (
        ("launches.py", *TINY),
        {
            "six events of a new date, 16 clients",
            "last event to launch, 16 clients",
            "last event to launch, one client",
        },
    ),
}


def run(*command: str) -> str:
    """What a script of ``benchmarks`` prints."""
    script, *options = command
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_script_reports_its_rows_beside_their_baselines(case: str, tmp_path: Path) -> None:
    command, expected = CASES[case]
    run(*command, "--json", str(tmp_path / "rows.json"))
    rows = {row["what"]: row for row in json.loads((tmp_path / "rows.json").read_text())["rows"]}
    assert rows.keys() == expected
    for row in rows.values():
        assert row["value"] != 0
        assert row["ratio"] is not None
        assert row["baseline"].startswith("no-op ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("store.py", "--callers", "2", "--seconds", "0.1", "--dates", "3"),
        ("windows.py", "--dates", "3"),
        ("messages.py", "--rounds", "1"),
        ("ingest.py", "--memory", "100"),
        pytest.param(
            ("firestore_cost.py", "--nights", "1", "--firings", "2"), marks=pytest.mark.emulator
        ),
    ],
    ids=lambda command: command[0],
)
def test_a_script_runs(command: tuple[str, ...]) -> None:
    assert run(*command)


async def test_an_answer_other_than_204_ends_the_measurement() -> None:
    closed = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        closed.set()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(RuntimeError, match="503"):
            await send(Served(0, port), [iter([b"GET / HTTP/1.1\r\n\r\n"])])
        await closed.wait()


# ── the page ─────────────────────────────────────────────────────────────────────────────────


def result(what: str, value: float, unit: str, ratio: float | None = None) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "baseline": "no-op 1", "ratio": ratio}


def results(one_sender: float, six_events: float, grid: float) -> dict[str, Any]:
    rows = [
        result("one sender", 2000 * one_sender, "events/s", one_sender),
        result("six events of a new date, 16 clients", 2000 * six_events, "events/s", six_events),
        result("grid, all dates", grid, "ms"),
        result("something else", 5, "ms"),
    ]
    return {
        "date": "2026-01-02",
        "commit": "0123456789abcdef",
        "quick": False,
        "machine": {"processor": "a processor", "cores": "2"},
        "load_before": 0.1,
        "scripts": {
            "ingest": {"rows": rows, "seconds": 3},
            "reads": {"rows": [], "skipped": "because"},
        },
    }


NOW, BEFORE = results(0.4, 0.5, 120), results(0.1, 0.1, 9000)


def test_the_page_puts_ratios_first_and_says_what_was_not_reached(tmp_path: Path) -> None:
    target = tmp_path / "benchmarks.md"
    page.write(target, NOW, BEFORE)
    text = target.read_text()
    assert text.index("## Ratios") < text.index("## Absolute numbers")
    assert "| one sender | ratio ≥ 0.35 | 0.100 | 0.400 | 4 × | yes | no-op 1 |" in text
    assert (
        "| six events of a new date, 16 clients | ≥ 4 × before | 0.100 | 0.500 | 5 × | yes |"
        in text
    )
    assert "| grid, all dates | < 100 ms | 9,000 ms | 120 ms | 75 × | **no** |" in text
    assert "- grid, all dates: 120 (aim: < 100 ms)." in text
    assert "- reads: because" in text
    assert "a processor" in text


def test_the_page_is_the_same_when_nothing_changed(tmp_path: Path) -> None:
    def written() -> dict[str, bytes]:
        page.write(tmp_path / "benchmarks.md", NOW, BEFORE)
        return {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    first = written()
    assert first.keys() == {"benchmarks.md", "aims.svg", "ratios.svg"}
    assert written() == first


def test_what_is_written_by_hand_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "benchmarks.md"
    page.write(target, NOW, BEFORE)
    target.write_text(target.read_text().replace("Nobody has written about this run yet.", "Why."))
    page.write(target, BEFORE, None)
    kept = target.read_text().partition(page.BEGIN)[2].partition(page.END)[0]
    assert kept.strip() == "Why."


def test_the_table_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=80).print(page.table(NOW, BEFORE))
    Console(width=80).print(page.comparison(NOW, BEFORE))
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 80
    said = [line.split() for line in shown]
    assert ["one", "sender", "ratio", "≥", "0.35", "✓", "800", "events/s"] in [s[:8] for s in said]
    assert ["grid,", "all", "dates", "9,000", "ms", "120", "ms", "75", "×"] in said


def test_an_aim_on_a_factor_needs_earlier_results() -> None:
    aim = AIMS["six events of a new date, 16 clients"]
    now, before = (
        next(line for line in page.lines(found, None) if line.aim is aim).row
        for found in (NOW, BEFORE)
    )
    assert aim.reached(now, before) is True
    assert aim.reached(before, before) is False
    assert aim.reached(now, None) is None


def kept_results() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted((ROOT / "benchmarks").glob("*.json")):
        yield file.name, json.loads(file.read_text())


def test_the_committed_page_is_made_of_the_committed_results(tmp_path: Path) -> None:
    found = dict(kept_results())
    target = tmp_path / "benchmarks.md"
    target.write_bytes(page.PAGE.read_bytes())  # with what is written by hand
    page.write(target, copy.deepcopy(found["results.json"]), found["before.json"])
    assert target.read_text() == page.PAGE.read_text()
    for image in (tmp_path / "benchmarks").iterdir():
        assert (page.PAGE.with_suffix("") / image.name).exists()


# ── profiles ─────────────────────────────────────────────────────────────────────────────────


def test_a_profile_sums_up_threads_packages_and_functions() -> None:
    main = "thread (1): MainThread;serve (coordinator/app.py:10)"
    stacks = [
        f"{main};decide (coordinator/core/machine.py:5);replace (dataclasses.py:1) 30",
        f"{main};run_asgi (uvicorn/protocols/http/httptools_impl.py:3) 50",
        "thread (2): store-writer;commit (coordinator/adapters/sqlite/writer.py:9) 20",
    ]
    found = profiling.summary(stacks, seconds=1)
    assert found.held == 0.5
    assert found.threads == {"MainThread": 0.8, "store-writer": 0.2}
    assert found.packages == {
        "uvicorn": 0.5,
        "coordinator/core": 0.3,
        "coordinator/adapters/sqlite": 0.2,
    }
    assert found.functions == {
        "decide (coordinator/core/machine.py)": 0.3,
        "commit (coordinator/adapters/sqlite/writer.py)": 0.2,
    }
