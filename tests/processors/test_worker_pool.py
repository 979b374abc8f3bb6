"""Workers: whatever a processor does to its process, its run ends with a reason and others go on."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import structlog

from processors.base import RunResult
from processors.errors import LeaseLostError
from processors.launch import Launch
from processors.worker_pool import LOG_LINES_MOST, WorkerPool

HERE = "tests.processors.hostile"
NOW = datetime(2024, 12, 1, 12, tzinfo=UTC)


def launch(number: int = 1) -> Launch:
    day = date(2024, 10, 22)
    raw = {
        "run_id": f"P:{day}:{number}",
        "processor": "P",
        "game_date": day.isoformat(),
        "generation": number,
        "attempt": 1,
    }
    return Launch(f"P:{day}:{number}", "P", day, number, 1, None, raw)


@asynccontextmanager
async def pool(folder: Path, seconds: float | None = 60.0) -> AsyncIterator[WorkerPool]:
    workers = WorkerPool(
        str(folder / "w.duckdb"), clock=lambda: datetime.now(UTC), limits=lambda _: seconds
    )
    try:
        yield workers
    finally:
        await workers.closed()


async def run(workers: WorkerPool, name: str, number: int = 1) -> RunResult:
    entrypoint = name if ":" in name else f"{HERE}:{name}"
    result = await workers.run(entrypoint, launch(number), NOW, lambda: None)
    assert result is not None
    return result


def ended(pid: int) -> bool:
    """Whether a process is over, be it that nobody has reaped it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] == "Z"
    except FileNotFoundError:
        return True


async def test_a_run_succeeds_and_its_worker_is_used_again(tmp_path: Path) -> None:
    async with pool(tmp_path) as workers:
        assert await run(workers, "Good") == RunResult("success", 1)
        began = time.monotonic()
        assert await run(workers, "Good") == RunResult("success", 1)
        assert time.monotonic() - began < 0.5, "no process is started for a second run"
        assert not workers.replaced


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Exits", "exited with code 3"),
        ("tests.processors.exits_at_import:P", "exited with code 5"),
        ("ExitsAtOnce", "exited with code 3. It printed last: about to go \ufffd[31m"),
        ("Crashes", "killed by signal 11 (SIGSEGV)"),
        ("Killed", "killed by signal 9 (SIGKILL)"),
        ("Recurses", "RecursionError"),
        ("ClosesEverything", "exited with code"),
        ("ReturnsRubbish", "TypeError"),
        ("CountsBelowNothing", "record_count is -1; it must be from 0 to"),
        ("NamesNoText", "no file night-\\udcff.json"),
        ("Missing", "has no processor 'Missing'"),
    ],
)
async def test_a_bad_end_is_a_failed_run_that_says_how(
    tmp_path: Path, name: str, words: str
) -> None:
    async with pool(tmp_path) as workers:
        result = await run(workers, name)
        assert (result.status, result.record_count) == ("failed", None)
        assert words in (result.error or "")
        assert await run(workers, "Good") == RunResult("success", 1)


@pytest.mark.parametrize("name", ["Hangs", "Queries"])
async def test_a_run_that_hangs_is_interrupted_and_its_worker_replaced(
    tmp_path: Path, name: str
) -> None:
    async with pool(tmp_path, seconds=4.0) as workers:
        began = time.monotonic()
        result = await run(workers, name)
        assert result == RunResult("failed", None, "interrupted: it ran longer than 4 s")
        assert time.monotonic() - began < 8
        assert workers.replaced == {"interrupted": 1}
        assert workers.last_replaced is not None
        assert workers.last_replaced.run_id == "P:2024-10-22:1"
        assert await run(workers, "Good") == RunResult("success", 1), "the warehouse is free again"


async def test_a_cancelled_run_ends_its_worker_at_once(tmp_path: Path) -> None:
    async with pool(tmp_path) as workers:
        await run(workers, "Good")  # its process is up
        task = asyncio.create_task(run(workers, "Hangs"))
        await asyncio.sleep(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await run(workers, "Good") == RunResult("success", 1)
        assert workers.replaced == {"interrupted": 1}


async def test_a_flood_of_output_is_cut_and_stalls_nothing(tmp_path: Path) -> None:
    async with pool(tmp_path) as workers:
        await run(workers, "Good")
        slowest = 0.0
        with structlog.testing.capture_logs() as lines:
            task = asyncio.create_task(run(workers, "Floods"))
            while not task.done():
                began = time.monotonic()
                await asyncio.sleep(0.01)
                slowest = max(slowest, time.monotonic() - began)
        assert await task == RunResult("success", 1)
        assert slowest < 1.0
        printed = [line for line in lines if line["event"] == "run_output"]
        assert sum(len(line["line"]) for line in printed) <= 70_000
        assert any(line["event"] == "run_output_cut" for line in lines)


async def test_a_long_log_line_ends_no_run(tmp_path: Path) -> None:
    async with pool(tmp_path) as workers:
        with structlog.testing.capture_logs() as lines:
            assert await run(workers, "LogsMuch") == RunResult("success", 1)
        assert not workers.replaced
        assert any(line["event"] == "much" for line in lines)


async def test_log_lines_beyond_the_bound_are_counted(tmp_path: Path) -> None:
    async with pool(tmp_path) as workers:
        with structlog.testing.capture_logs() as lines:
            assert await run(workers, "LogsOften") == RunResult("success", 1)
    assert sum(line["event"] == "again" for line in lines) == LOG_LINES_MOST
    (cut,) = (line for line in lines if line["event"] == "run_log_cut")
    assert cut["lines"] == 600


async def test_what_a_processor_says_in_its_workers_name_counts_for_nothing(
    tmp_path: Path,
) -> None:
    async with pool(tmp_path) as workers:
        assert await run(workers, "SpeaksForItsWorker") == RunResult("success", 2)
        assert await run(workers, "Good") == RunResult("success", 1)


async def test_threads_that_go_on_cost_their_worker(tmp_path: Path) -> None:
    async with pool(tmp_path) as workers:
        assert await run(workers, "LeavesThreads") == RunResult("success", 1)
        assert workers.replaced == {"threads": 1}
        assert await run(workers, "Good") == RunResult("success", 1)


async def test_what_a_worker_started_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = tmp_path / "pid"
    monkeypatch.setenv("CHILD_PID", str(pid_file))
    async with pool(tmp_path) as workers:
        result = await run(workers, "LeavesChildren")
        assert "exited with code 4" in (result.error or "")
    for _ in range(200):
        if ended(int(pid_file.read_text())):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("what the worker started goes on")


async def test_a_worker_that_died_while_it_was_idle_costs_no_run(tmp_path: Path) -> None:
    async with pool(tmp_path) as workers:
        await run(workers, "Good")
        os.kill(workers._idle[0]._process.pid, 9)
        assert await run(workers, "Good") == RunResult("success", 1)


async def test_a_lost_lease_reaches_the_worker_before_its_commit(tmp_path: Path) -> None:
    def lost() -> None:
        raise LeaseLostError("gone")

    async with pool(tmp_path) as workers:
        entrypoint = "processors.analytics:TeamOffenseSummaryProcessor"
        assert await workers.run(entrypoint, launch(), NOW, lost) is None
        result = await workers.run(entrypoint, launch(), NOW, lambda: None)
        assert result is not None
        assert result.status == "no_data"


async def test_workers_share_one_warehouse_file(tmp_path: Path) -> None:
    async with pool(tmp_path) as workers:
        results = await asyncio.gather(*(run(workers, "Good", n) for n in range(1, 5)))
        assert results == [RunResult("success", 1)] * 4
        entrypoint = "processors.analytics:TeamOffenseSummaryProcessor"
        ended = await asyncio.gather(
            *(workers.run(entrypoint, launch(n), NOW, lambda: None) for n in (1, 1, 1))
        )
        assert [r.status for r in ended if r is not None] == ["no_data"] * 3


async def test_closing_is_bounded_and_leaves_no_process(tmp_path: Path) -> None:
    async with pool(tmp_path) as workers:
        await run(workers, "Good")
        pid = workers._idle[0]._process.pid
    assert ended(pid)
