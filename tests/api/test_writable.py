"""Readiness where the store can be read but not written: said at once, and over by itself."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from coordinator.adapters.sqlite import SqliteStore
from coordinator.adapters.sqlite import store as sqlite_store
from coordinator.cli import doctor
from tests.api.support import REGISTRY, load_event
from tests.api.support import Service as InProcess
from tests.kill.serving import Service

READABLE = "The store can be read, but not written"


def readiness(url: str) -> tuple[int, dict[str, Any]]:
    answer = httpx.get(f"{url}/readyz", timeout=20)
    return answer.status_code, answer.json()["parts"]


@contextmanager
def served(home: Path, state: Path) -> Iterator[Service]:
    service = Service(home, f"sqlite:{state}")
    service.registry.write_text(REGISTRY.read_text(encoding="utf-8"), encoding="utf-8")
    service.start()
    try:
        service.answers()
        yield service
    finally:
        service.stop()


def fills_and_recovers(
    service: Service, fill: Callable[[], None], free: Callable[[], None]
) -> None:
    def send() -> int:
        answer = httpx.post(f"{service.url}/v1/events", json=load_event(), timeout=20)
        return answer.status_code

    assert send() == 200
    assert readiness(service.url)[0] == 200
    fill()
    assert send() == 503
    status, parts = readiness(service.url)
    assert status == 503
    assert READABLE in parts["store"]["detail"]
    assert {name: part["ok"] for name, part in parts.items()} == {
        "registry": True,
        "store": False,
        "outbox": True,
        "sweep": True,
        "workers": True,
    }
    assert httpx.get(f"{service.url}/v1/status/2025-11-15", timeout=20).status_code == 200
    free()
    status, parts = readiness(service.url)
    assert (status, parts["store"]["detail"]) == (200, "The store can be read and written.")
    assert send() == 200


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    with served(tmp_path, state) as service:
        assert service.process is not None
        pid = service.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)

        def fill() -> None:
            size = os.stat(f"{state}-wal").st_size
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))

        fills_and_recovers(
            service, fill, lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        )


@contextmanager
def small_disk(at: Path) -> Iterator[Path]:
    """A file system of its own. Skips the test where none may be mounted."""
    at.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(at)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk, served(tmp_path, disk / "state.db") as service:
        ballast = disk / "ballast"

        def fill() -> None:
            with ballast.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(b"x" * 4096)

        fills_and_recovers(service, fill, ballast.unlink)


# ── one process, whose store is taken hold of ────────────────────────────────────────────────


def on_the_writer(service: InProcess, statement: str) -> None:
    """Execute a statement on the connection that writes."""
    store = service.application.store
    assert isinstance(store, SqliteStore)
    store._writer.connection().execute(statement)


def test_a_database_that_is_read_only(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "PROOF_SECONDS", 0.0)
    on_the_writer(service, "PRAGMA query_only = ON")
    _, parts = readiness(service.url)
    assert "attempt to write a readonly database" in parts["store"]["detail"]
    on_the_writer(service, "PRAGMA query_only = OFF")
    assert readiness(service.url)[0] == 200


def test_a_full_database_is_found_out_although_nobody_writes(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert readiness(service.url)[0] == 200
    path = str(getattr(service.application.store, "path", ""))
    on_the_writer(service, "VACUUM")  # a page that is free would do for a small document
    pages = sqlite3.connect(path).execute("PRAGMA page_count").fetchone()[0]
    on_the_writer(service, f"PRAGMA max_page_count = {pages}")
    assert readiness(service.url)[0] == 200, "the last commit is proof for a minute"
    monkeypatch.setattr(sqlite_store, "PROOF_SECONDS", 0.0)
    status, parts = readiness(service.url)
    assert (status, parts["store"]["ok"]) == (503, False)
    assert "full" in parts["store"]["detail"]
    on_the_writer(service, "PRAGMA max_page_count = 1000000")
    assert readiness(service.url)[0] == 200


def test_a_writer_that_is_held_by_another_is_not_waited_for(service: InProcess) -> None:
    store = service.application.store
    assert isinstance(store, SqliteStore)
    store._writer.written_at = None
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    status, parts = readiness(service.url)
    assert (status, parts["store"]["detail"]) == (
        503,
        "The store can be read, but took no write within 2 s.",
    )
    other.execute("ROLLBACK")
    other.close()
    service.until(lambda: readiness(service.url)[0] == 200)


def test_probes_write_at_most_once_a_minute_and_not_where_events_do(service: InProcess) -> None:
    store = service.application.store
    assert isinstance(store, SqliteStore)
    service.send()
    before = store.commits
    for _ in range(20):
        assert readiness(service.url)[0] == 200
    assert store.commits <= before + 2, "what the event fired may be delivered meanwhile"
    service.until(lambda: service.application.relay.idle)
    store._writer.written_at = None
    before = store.commits
    for _ in range(20):
        assert readiness(service.url)[0] == 200
    assert store.commits == before + 2, "one proof: pages taken, pages given back"


def test_doctor_says_that_the_disk_of_the_state_file_is_nearly_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        sqlite3.connect(disk / "state.db").execute("CREATE TABLE t (x)").connection.close()
        found = doctor._state_file(str(disk / "state.db"))
        assert found.state == "warning"
        assert "its disk has 7 MiB left" in found.words
        with (disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        assert doctor._state_file(str(disk / "state.db")).state == "bad"
