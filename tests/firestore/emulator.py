"""Google's own Firestore emulator: found in an installed gcloud SDK, or named by the environment.

``FIRESTORE_EMULATOR_HOST`` names one that runs already. Otherwise one is started, once per process
that asks, and ends with it. Where there is neither, what needs it is skipped with the reason, or
fails where ``CI`` is set.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

CLASS = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
FOLDER = Path("platform") / "cloud-firestore-emulator"
START_SECONDS = 60
IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def sdk_roots() -> list[Path]:
    """Where a gcloud SDK may be, the one that ``gcloud`` names first."""
    found: list[Path] = []
    gcloud = shutil.which("gcloud")
    if gcloud:
        asked = subprocess.run(
            [gcloud, "info", "--format=value(installation.sdk_root)"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if asked.stdout.strip():
            found.append(Path(asked.stdout.strip()))
        found.append(Path(gcloud).resolve().parent.parent)
    return [*found, Path("/usr/lib/google-cloud-sdk"), Path.home() / "google-cloud-sdk"]


@functools.cache
def jar() -> Path | None:
    """The emulator's program, or None."""
    usual = Path("/usr/lib/google-cloud-sdk") / FOLDER
    for folder in [usual, *(root / FOLDER for root in ([] if usual.is_dir() else sdk_roots()))]:
        for found in sorted(folder.glob("*.jar")):
            return found
    return None


class Emulator:
    """A running emulator that ends when it is stopped, or when this process ends in any way."""

    def __init__(self, program: Path) -> None:
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            [
                *("java", "-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
                *("-cp", str(program), CLASS, "start"),
                *("--host=127.0.0.1", f"--port={self.port}"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
        give_up_at = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > give_up_at:
                    self.stop()
                    raise RuntimeError(f"{program} does not start") from None
                time.sleep(0.05)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@functools.cache
def _started() -> str:
    program = jar()
    assert program is not None
    emulator = Emulator(program)
    atexit.register(emulator.stop)
    return emulator.host


def emulator_host() -> str:
    """Where an emulator listens. Skips (in CI: fails) the test that asks where there is none."""
    named = os.environ.get("COORDINATOR_TEST_EMULATOR") or _NAMED
    if named:
        return named
    reason = None
    if not shutil.which("java"):
        reason = "no Java, which the Firestore emulator needs"
    elif jar() is None:
        reason = (
            "no Firestore emulator: install it with "
            "`gcloud components install cloud-firestore-emulator`, or name a running one in "
            "FIRESTORE_EMULATOR_HOST"
        )
    if reason is None:
        return _started()
    if IN_CI:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


_NAMED = os.environ.get("FIRESTORE_EMULATOR_HOST")
"""As it was when the tests began: they set it themselves, to a proxy in front of the emulator."""


def new_project() -> str:
    """A project id that nobody used: an empty database."""
    return f"test-{uuid.uuid4().hex[:20]}"
