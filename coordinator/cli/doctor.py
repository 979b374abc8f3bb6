"""The checks of ``coordinator doctor``.

Each check ends in a finding, never in an exception, and within a bounded time. It repairs nothing
and writes to no store.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from coordinator.cli import verbs
from coordinator.cli.answers import ShownQuarantineList, ShownReadiness, ShownRunList, ShownRunView
from coordinator.cli.client import OutOfReach, Refusal, Service, read
from coordinator.errors import CoordinatorError, Unavailable

if TYPE_CHECKING:
    from coordinator.ports import Query, Store
    from coordinator.registry import Registry
    from coordinator.settings import Settings

CLOCKS_DIFFER_SECONDS = 60.0
PACKAGES = ("fastapi", "uvicorn", "pydantic", "duckdb", "sqlglot")
FIRESTORE_PACKAGE = "google-cloud-firestore"
DATABASE_SECONDS = 10.0
"""The longest time that all checks of a database take together."""
LETTING_GO = 0.1
"""The part of it that is kept for closing."""
FREE_BYTES_LOW = 256 * 2**20
"""Less room for the state file is a warning: its write-ahead log alone may take 64 MiB."""
FREE_BYTES_LEAST = 2**20
OUTBOX_OLD_SECONDS = 600.0
"""An effect that waits longer for its delivery is a warning."""
RUNS_LOOKED_AT = 5
"""Of the runs that wait for delivery: how many are asked what keeps them."""
EMULATOR = "FIRESTORE_EMULATOR_HOST"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. ``state``: ``ok``, ``warning``, ``bad`` or ``out of reach``."""

    check: str
    state: str
    words: str

    @property
    def well(self) -> bool:
        """Whether nothing need be done."""
        return self.state in ("ok", "warning")


def examine(settings: Settings, url: str) -> list[Finding]:
    """Every finding, from what is here to the service."""
    registry, found = _registry(settings.registry)
    findings = [_versions(settings), found, *_store(settings), _folder(settings.duckdb_path)]
    if registry is not None:
        findings.append(_zone(registry))
    try:
        with verbs.service(url) as running:
            findings += _service(running, registry)
    except OutOfReach as error:
        findings.append(Finding("service", "out of reach", error.detail))
    except Refusal as error:
        findings.append(Finding("service", "bad", error.detail))
    return findings


def _versions(settings: Settings) -> Finding:
    words = [f"Python {platform.python_version()}"]
    for name in ("coordinator", *PACKAGES):
        try:
            words.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            return Finding("versions", "bad", f"{name} is not installed; install the package again")
    if settings.sqlite_path:
        words.append(f"SQLite {sqlite3.sqlite_version}")
    else:
        try:
            words.append(f"{FIRESTORE_PACKAGE} {version(FIRESTORE_PACKAGE)}")
        except PackageNotFoundError:
            lacks = f"{FIRESTORE_PACKAGE} is not installed, which {settings.store} needs"
            return Finding(
                "versions", "bad", f"{lacks}: pip install '.[gcp]' in a checkout, or make install"
            )
    return Finding("versions", "ok", ", ".join(words))


def _registry(path: Path) -> tuple[Registry | None, Finding]:
    from coordinator.registry import load

    try:
        registry = load(path)
    except CoordinatorError as error:
        return None, Finding("registry", "bad", error.detail)
    words = (
        f"{path}: {len(registry.processors)} processors, {len(registry.tables)} tables, "
        f"hash {registry.registry_hash[:12]}"
    )
    if registry.warnings:
        first = str(registry.warnings[0])
        return registry, Finding("registry", "warning", f"{words}; {first}")
    return registry, Finding("registry", "ok", words)


def _store(settings: Settings) -> list[Finding]:
    if settings.sqlite_path:
        return [_state_file(settings.sqlite_path)]
    from coordinator.app import make_store

    try:
        store = make_store(settings.store)
    except CoordinatorError as error:
        return [Finding("database", "bad", error.detail)]
    return _database(settings.store, store)


def _state_file(path: str) -> Finding:
    file = Path(path)
    if not file.exists():
        folder = _writable_folder(file)
        return (
            Finding("state file", "bad", folder)
            if folder
            else Finding("state file", "ok", f"{path} is not there yet; serving will make it")
        )
    try:
        connection = sqlite3.connect(f"file:{file.resolve()}?mode=ro", uri=True, timeout=2)
        try:
            result = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        return Finding("state file", "bad", f"{path} cannot be opened as a SQLite file: {error}")
    if result != "ok":
        return Finding("state file", "bad", f"{path} is damaged: {result}")
    if not os.access(file, os.W_OK):
        return Finding("state file", "bad", f"{path} cannot be written to; change its permissions")
    free = shutil.disk_usage(file.resolve().parent).free
    if free < FREE_BYTES_LOW:
        words = f"{path} is sound, but its disk has {free // 2**20} MiB left; make room"
        return Finding("state file", "warning" if free >= FREE_BYTES_LEAST else "bad", words)
    return Finding("state file", "ok", f"{path} can be opened and is sound")


def _database(name: str, store: Store) -> list[Finding]:
    """What can be found out about a database within ``DATABASE_SECONDS``."""
    answer: Future[list[Finding]] = Future()

    def look() -> None:
        try:
            answer.set_result(asyncio.run(_look(name, store)))
        except Exception as error:  # noqa: BLE001 - a finding, whatever it is
            words = f"{name} cannot be checked: {type(error).__name__}: {error}{_emulated('.')}"
            answer.set_result([Finding("database", "bad", words)])

    # A thread that can be left behind: Google's search for credentials cannot be interrupted, and
    # takes a quarter of a minute where the address of the metadata server swallows everything.
    Thread(target=look, name="doctor", daemon=True).start()
    try:
        return answer.result(DATABASE_SECONDS)
    except TimeoutError:
        return [Finding("database", "bad", _silent(name))]


async def _look(name: str, store: Store) -> list[Finding]:
    found: list[Finding] = []
    try:
        async with asyncio.timeout(DATABASE_SECONDS * (1 - LETTING_GO)):
            await store.open()
            await store.ping()
            found.append(_readable(name))
            found.append(await _indexes(store))
    except TimeoutError:
        found.append(Finding("indexes" if found else "database", "bad", _silent(name)))
    except CoordinatorError as error:
        words = f"{error.detail}{_emulated()}"
        found.append(Finding("indexes" if found else "database", "bad", words))
    finally:
        await store.close()
    return found


def _readable(name: str) -> Finding:
    host = os.environ.get(EMULATOR)
    if host is None:
        return Finding("database", "ok", f"{name} can be read")
    words = f"{name} can be read, but at the emulator {host} and not at Google: {EMULATOR} is set"
    return Finding("database", "warning", words)


def _silent(name: str) -> str:
    to_do = "" if EMULATOR in os.environ else "; see that this machine reaches googleapis.com"
    return f"{name} did not answer within {DATABASE_SECONDS:g} s{to_do}{_emulated('.')}"


def _emulated(stop: str = "") -> str:
    """What to say of an emulator beside what is wrong; nothing where none is named."""
    host = os.environ.get(EMULATOR)
    if host is None:
        return ""
    return (
        f"{stop} {EMULATOR} is set, so an emulator at {host or 'no address'} was asked, not Google: "
        "unset it, or see that one runs there"
    )


async def _indexes(store: Store) -> Finding:
    """Whether every listing is served. An index may be missing whose listing others serve."""
    asked = list(_listings())
    answers = await asyncio.gather(*map(store.find, asked), return_exceptions=True)
    refused: list[tuple[str, str]] = []
    for query, answer in zip(asked, answers, strict=True):
        if isinstance(answer, Unavailable):
            refused.append((_shape(query), answer.detail))
        elif isinstance(answer, BaseException):
            raise answer
    if refused:
        shapes = "; ".join(shape for shape, _ in refused)
        words = f"{len(refused)} of {len(asked)} listings are not served ({shapes}). The first: "
        return Finding("indexes", "bad", words + refused[0][1])
    if EMULATOR in os.environ:
        words = "an emulator needs none; those of Google's database were not checked"
        return Finding("indexes", "ok", words)
    return Finding("indexes", "ok", f"all {len(asked)} listings that need one are served")


def _listings() -> Iterator[Query]:
    """A query for every index in ``deploy/firestore``; a test holds the two together.

    None finds anything, so each is billed as one document.
    """
    from coordinator.ports import Kind, Op, Query, Where

    def equal(*fields: str) -> tuple[Where, ...]:
        return tuple(Where(field, Op.EQ, "doctor") for field in fields)

    for kind, fields, order in (
        (Kind.AUDIT, ("actor", "game_date", "processor"), "at"),
        (Kind.RUN, ("game_date", "processor", "status"), "fired_at"),
    ):
        for size in range(1, len(fields) + 1):
            for some in combinations(fields, size):
                yield Query(kind, equal(*some), order, descending=True, limit=1)
    yield Query(Kind.RUN, equal("correlation_id"), "fired_at", limit=1)
    yield Query(Kind.QUARANTINE, equal("state"), "received_at", descending=True, limit=1)
    yield Query(Kind.PARTITION, equal("processor", "watching"), "game_date", limit=1)
    never = datetime(1970, 1, 1, tzinfo=UTC)
    for field in ("wake_at", "outbox_due"):
        where = (*equal("processor"), Where(field, Op.LT, never))
        yield Query(Kind.PARTITION, where, field, limit=1)
    games = (Where("games_count", Op.LT, 0),)
    for descending in (False, True):
        yield Query(Kind.CALENDAR, games, "game_date", descending, limit=1)
    yield Query(Kind.EVENT, equal("correlation_id"), "received_at", limit=1)


def _shape(query: Query) -> str:
    fields = ", ".join(where.field for where in query.where)
    return f"{query.kind.value} by {fields}, ordered by {query.order}"


def _folder(path: str) -> Finding:
    wrong = _writable_folder(Path(path))
    if wrong:
        return Finding("warehouse", "bad", wrong)
    state = "is there" if Path(path).exists() else "is not there yet; the first local run makes it"
    return Finding("warehouse", "ok", f"{path} {state}")


def _writable_folder(file: Path) -> str | None:
    folder = file.resolve().parent
    if not folder.is_dir():
        return f"{folder} does not exist; create it, since {file.name} is to lie there"
    if not os.access(folder, os.W_OK):
        return f"{folder} cannot be written to; {file.name} is to lie there"
    return None


def _zone(registry: Registry) -> Finding:
    from zoneinfo import ZoneInfo

    now = datetime.now(UTC)
    here = now.astimezone(ZoneInfo(registry.timezone))
    words = f"{now:%Y-%m-%d %H:%M:%S}Z is {here:%Y-%m-%d %H:%M} in {registry.timezone}"
    return Finding("clock", "ok", words)


def _service(running: Service, registry: Registry | None) -> Iterator[Finding]:
    _, date_header, _ = running.probe("healthz")
    yield Finding("service", "ok", f"{running.url} answers")
    if date_header:
        apart = abs((parsedate_to_datetime(date_header) - datetime.now(UTC)).total_seconds())
        well = apart <= CLOCKS_DIFFER_SECONDS
        yield Finding(
            "service clock",
            "ok" if well else "bad",
            "agrees with this machine's"
            if well
            else f"differs from this machine's by {apart:.0f} s; set both by NTP",
        )
    yield from _quarantine(running)
    status, _, ready = running.probe("readyz")
    parts = read(ShownReadiness, ready).parts if "parts" in ready else {}
    for name, part in parts.items():
        state, words = "ok" if part.ok else "bad", part.detail
        if part.others:
            state = "warning"
        if name == "outbox" and (part.lag_seconds or 0.0) > OUTBOX_OLD_SECONDS:
            state = "warning" if state == "ok" else state
            words += _undelivered(running)
        yield Finding(name, state, words)
    if status != 200 and not parts:
        yield Finding("ready", "bad", f"the service answered {status} when asked if it is ready")
    served = running.get("v1", "registry").get("registry_hash")
    if registry is not None:
        same = served == registry.registry_hash
        yield Finding(
            "served registry",
            "ok" if same else "warning",
            "is the one here"
            if same
            else "differs from the one here; see `coordinator registry diff`, restart to take it",
        )


def _quarantine(running: Service) -> Iterator[Finding]:
    """Whether messages wait in quarantine for a person."""
    page = read(ShownQuarantineList, running.get("v1", "quarantine", state="open", limit=100))
    if page.items:
        number = f"{len(page.items)}{' or more' if page.next_page_token else ''}"
        messages = "message" if len(page.items) == 1 else "messages"
        words = f"{number} open {messages}; see `coordinator quarantine list`"
        yield Finding("quarantine", "warning", words)


def _undelivered(running: Service) -> str:
    """What keeps the outbox waiting, where a run says so; the oldest that does."""
    pending = read(ShownRunList, running.get("v1", "runs", status="pending", limit=100)).items
    for row in reversed(pending[-RUNS_LOOKED_AT:]):
        run = read(ShownRunView, running.get("v1", "runs", row.run_id))
        if run.launch.tries:
            return f" The launch of {run.run_id} could not be delivered: {run.launch.last_error}"
    return ""
