"""What ``coordinator doctor`` looks at.

Owns the checks; each ends in a finding, never in an exception. Refuses to mend anything.
"""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from coordinator.cli import verbs
from coordinator.cli.client import OutOfReach, Refusal, Service
from coordinator.errors import CoordinatorError

if TYPE_CHECKING:
    from coordinator.registry import Registry
    from coordinator.settings import Settings

CLOCKS_DIFFER_SECONDS = 60.0
PACKAGES = ("fastapi", "uvicorn", "pydantic", "duckdb", "sqlglot")


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
    findings = [_versions(), found, _store(settings.sqlite_path), _folder(settings.duckdb_path)]
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


def _versions() -> Finding:
    words = [f"Python {platform.python_version()}"]
    for name in ("coordinator", *PACKAGES):
        try:
            words.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            return Finding("versions", "bad", f"{name} is not installed; install the package again")
    words.append(f"SQLite {sqlite3.sqlite_version}")
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


def _store(path: str) -> Finding:
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
    return Finding("state file", "ok", f"{path} can be opened and is sound")


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
    status, _, ready = running.probe("readyz")
    parts = ready.get("parts") or {}
    for name in parts:
        yield Finding(name, "ok" if parts[name]["ok"] else "bad", str(parts[name]["detail"]))
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
