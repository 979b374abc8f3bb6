"""A served process whose processors try to end or stall it, and whose queue is long."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.served.support import Served, day, hostile, registry, serving, until

pytestmark = pytest.mark.slow

ENDS = {
    "Exits": "exited with code 3",
    "ExitsAtOnce": "exited with code 3",
    "Crashes": "killed by signal 11 (SIGSEGV)",
    "Killed": "killed by signal 9 (SIGKILL)",
    "Recurses": "RecursionError",
    "ClosesEverything": "exited with code",
    "NamesNoText": "no file night-\\udcff.json",
}


def workers_of(served: Served) -> list[int]:
    """The process ids of its workers."""
    assert served.service.process is not None
    pid = served.service.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in children.split()]


def test_processors_that_end_their_process_fail_and_everything_else_goes_on(
    tmp_path: Path,
) -> None:
    processors = {name: hostile(name) for name in (*ENDS, "Floods", "LeavesThreads", "Good")}
    processors["AtImport"] = 'entrypoint: "tests.processors.exits_at_import:P"'
    with serving(tmp_path, registry(processors)) as served:
        assert workers_of(served) == [], "no worker is started before there is a run"
        served.load(0)
        for name, words in {**ENDS, "AtImport": "exited with code 5"}.items():
            served.until("failed", processor=name)
            assert words in served.error(name), name
        for name in ("Floods", "LeavesThreads", "Good"):
            served.until("succeeded", processor=name)
        status, parts = served.ready()
        assert status == 200
        assert parts["workers"]["replaced"] >= 4
        assert served.metric('coordinator_workers_replaced_total{reason="killed"}') == 2
        assert served.metric('coordinator_workers_replaced_total{reason="threads"}') == 1
        assert served.service.log.stat().st_size < 1_000_000, "a flood does not fill the log"
        # After a restart nothing of it comes again.
        served.service.kill()
        served.service.start()
        served.service.answers()
        assert served.run("ExitsAtOnce")["status"] == "failed"
        served.load(1)
        served.until("succeeded", processor="Good", number=1)
        served.until("failed", processor="Crashes", number=1)


def test_hung_runs_end_at_their_timeout_and_later_ones_go_on(tmp_path: Path) -> None:
    text = registry(
        {
            "Hangs": hostile("Hangs"),
            "Queries": hostile("Queries"),
            # A query that hangs keeps the warehouse from the others until it is interrupted.
            "Good": hostile("Good") + ", run_timeout: 90s",
        },
        defaults="{attempts: 1, run_timeout: 4s, claim_timeout: 2s}",
    )
    with serving(tmp_path, text) as served:
        served.load(*range(2))
        for number in range(2):
            for name in ("Hangs", "Queries"):
                served.until("failed", processor=name, number=number)
                assert served.error(name, number) == "ran longer than 4 s"
        for number in range(2):
            served.until("succeeded", processor="Good", number=number)
        status, parts = served.ready()
        assert status == 200
        assert 2 <= parts["workers"]["replaced"] <= 4, "some may have been hardly started"
        assert "interrupted" in parts["workers"]["detail"]
        assert len(served.service.logged("worker_replaced")) == parts["workers"]["replaced"]


def test_a_stop_is_bounded_and_the_next_start_finishes_what_was_interrupted(
    tmp_path: Path,
) -> None:
    text = registry({"Hangs": hostile("Hangs"), "Second": hostile("Second")})
    with serving(tmp_path, text, RUN_SECONDS="6", COORDINATOR_SHUTDOWN_SECONDS="1") as served:
        served.load(0)
        for name in ("Hangs", "Second"):
            served.until("running", processor=name)
        until(lambda: len(workers_of(served)) == 2)
        workers = workers_of(served)
        began = time.monotonic()
        served.service.stop()
        assert time.monotonic() - began < 8
        for pid in workers:
            assert not Path(f"/proc/{pid}").exists()
        assert served.service.logged("a local run is interrupted: the service stops")
        served.service.start()
        served.service.answers()
        served.until("succeeded", processor="Second")
        assert len(served.run("Second")["attempts"]) == 1


def test_no_worker_outlives_a_killed_service(tmp_path: Path) -> None:
    with serving(tmp_path, registry({"Hangs": hostile("Hangs")})) as served:
        served.load(0)
        served.until("running", processor="Hangs")
        until(lambda: workers_of(served))
        time.sleep(1)
        (pid,) = workers_of(served)
        served.service.kill()
        until(lambda: not Path(f"/proc/{pid}").exists() or _zombie(pid))


def _zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] == "Z"


def test_a_reset_interrupts_what_executes(tmp_path: Path) -> None:
    text = registry({"Hangs": hostile("Hangs"), "Good": hostile("Good")})
    with serving(tmp_path, text, COORDINATOR_WORKERS="1") as served:
        served.load(0)
        until(lambda: served.partition("Hangs")["status"] == "running" or None)
        answer = served.client.post(
            f"/v1/processors/Hangs/dates/{day(0)}/skip",
            json={"reason": "it hangs", "end_run": True},
        )
        assert answer.status_code == 200, answer.text
        served.until("succeeded", processor="Good")


def test_time_in_the_queue_of_the_pool_counts_against_nothing(tmp_path: Path) -> None:
    text = registry({"Second": hostile("Second")}, defaults="{attempts: 1, claim_timeout: 2s}")
    dates = range(24)
    with serving(tmp_path, text, RUN_SECONDS="0.5") as served:
        served.load(*dates)
        seen = 0
        while (counts := served.client.get("/readyz").json()["parts"]["workers"])["waiting"]:
            seen = max(seen, counts["waiting"])
            if seen and counts["waiting"] < 12:
                break
            time.sleep(0.1)
        assert seen > 12
        # A kill loses nothing of the queue.
        served.service.kill()
        served.service.start()
        served.service.answers()
        for number in dates:
            ended = served.until("succeeded", "failed", processor="Second", number=number)
            assert ended["status"] == "succeeded", ended["run"]
        runs = [served.run("Second", number) for number in dates]
        assert all(len(run["attempts"]) == 1 for run in runs)
        assert max(run["attempts"][0]["claim_seconds"] for run in runs) < 2
        assert served.metric('coordinator_deliveries_total{kind="launch",result="failed"}') == 0


def test_the_environment_of_a_worker_is_the_services(tmp_path: Path) -> None:
    assert "COORDINATOR_WAREHOUSE" not in os.environ
    entry = 'entrypoint: "processors.analytics:TeamOffenseSummaryProcessor"'
    with serving(tmp_path, registry({"Offense": entry})) as served:
        served.load(0)
        served.until("succeeded", processor="Offense")
        assert served.service.warehouse.exists()
