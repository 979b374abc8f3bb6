"""``coordinator serve`` as a process that can be killed with SIGKILL and started again.

Owns how the process is started, how long it may take to answer, and its end. Its registry, its log
and its warehouse are in one folder; the caller says where its state is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.firestore.emulator import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
ANSWER_SECONDS = 60.0


class Service:
    """One served registry. Every start has the same port, store and warehouse.

    ``name`` tells services of one folder apart. ``environment`` is added to that of the tests.
    """

    def __init__(
        self,
        home: Path,
        store: str,
        *,
        name: str = "service",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.home, self.store, self.name = home, store, name
        self.environment = environment or {}
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def registry(self) -> Path:
        return self.home / "registry.yaml"

    @property
    def log(self) -> Path:
        return self.home / f"{self.name}.log"

    @property
    def warehouse(self) -> Path:
        return self.home / f"{self.name}.duckdb"

    def start(self) -> None:
        self.starts += 1
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "coordinator", "serve"),
                    *("--registry", str(self.registry)),
                    *("--store", self.store, "--port", str(self.port)),
                ],
                cwd=self.home,
                env={
                    **os.environ,
                    "COORDINATOR_WAREHOUSE": f"duckdb:{self.warehouse}",
                    "PYTHONPATH": str(CHECKOUT),
                    **self.environment,
                },
                stdout=log,
                stderr=log,
            )

    def answers(self) -> None:
        """Wait until it serves."""
        assert self.process is not None
        give_up_at = time.monotonic() + ANSWER_SECONDS
        with httpx.Client(timeout=5) as client:
            while time.monotonic() < give_up_at and self.process.poll() is None:
                try:
                    if client.get(f"{self.url}/healthz").status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                time.sleep(0.02)
        raise AssertionError(f"{self.name} does not serve:\n{self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """End it at once, wherever it is, and wait until it is gone."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of one event."""
        lines = self.log.read_text(errors="replace").splitlines()
        read = (json.loads(line) for line in lines if line.startswith("{"))
        return [line for line in read if line.get("event") == event]

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)
