"""Running the command line: in this process through typer's runner, or as a real one."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = ROOT / "registry.yaml"
PLAYER = "PlayerGameSummaryProcessor"
OFFENSE = "TeamOffenseSummaryProcessor"
DEFENSE = "TeamDefenseSummaryProcessor"
NOBODY = "http://127.0.0.1:9"
"""An address at which nothing listens."""


@dataclass(frozen=True)
class Ran:
    """How one call ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would steer the command line."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("COORDINATOR_")}
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "PYTHONWARNINGS"):
        kept.pop(name, None)
    return {**kept, **more}


def invoke(*args: str, stdin: str | None = None, **env: str) -> Ran:
    """Call the command line inside this process."""
    cleared: Mapping[str, str | None] = {
        name: None for name in os.environ if name.startswith("COORDINATOR_") or name == "COLUMNS"
    }
    from coordinator.cli import app

    result = CliRunner().invoke(app, list(args), input=stdin, env={**cleared, **env})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


def run(
    *args: str, stdin: str | None = None, cwd: Path | None = None, timeout: float = 90, **env: str
) -> Ran:
    """Call the command line as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "coordinator", *args],
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd or ROOT,
        env=environment(PYTHONPATH=str(ROOT), **env),
        timeout=timeout,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serving(
    folder: Path, registry: Path = REGISTRY, store: str | None = None, **env: str
) -> Iterator[str]:
    """A real service in a process of its own; yields its address.

    Its state is in ``folder``, or in the ``store`` that is named.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = (folder / "serve.log").open("wb")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "coordinator", "serve", "--registry", str(registry)),
            *("--store", store or f"sqlite:{folder / 'state.db'}", "--port", str(port)),
            *("--warehouse", f"duckdb:{folder / 'warehouse.duckdb'}"),
        ],
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT), **env),
        stdout=log,
        stderr=log,
    )
    try:
        wait_for(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)
        log.close()
    assert process.returncode == 0, (folder / "serve.log").read_text()


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, "the service ended before it could be reached"
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the service did not come up")


def event(table: str, game_date: str, **more: Any) -> dict[str, Any]:
    """A load, with what an event must have."""
    return {
        "event_type": "raw_data_loaded",
        "target_table": f"nba_raw.{table}",
        "game_date": game_date,
        "status": "success",
        "record_count": 100,
        "timestamp": "2024-10-23T05:00:00Z",
        "execution_id": f"{table}-{game_date}",
        **more,
    }
