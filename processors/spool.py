"""Events that could not be delivered yet, kept in a folder until they are.

Owns: the folder's layout, its bounds, its order, and that only one process sends from it at a time.
Refuses: sending. One event is one file, written beside its name, flushed to the disk and renamed,
so a process or machine that dies leaves whole files alone. Other files in the folder are left alone.
What is made here is readable by its owner only (0700, 0600): events may hold what is not public.

- `0000000000000001-3f2a9c01.json` and so on: events, in the order in which they were kept.
- `append.lock`, `send.lock`: held while a file is added, and while files are sent.
- `set-aside/`: what cannot be read or was rejected for good, for people to check.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from processors.errors import SpoolError

if sys.platform != "win32":  # there threads are kept apart, and processes are not
    import fcntl

log = structlog.get_logger(__name__)

MAX_BYTES = 64 * 1024 * 1024
MAX_FILES = 10_000
MAX_SET_ASIDE = 1_000
LOCK_POLL_SECONDS = 0.02
APPEND_SECONDS = 5.0
"""Longest wait for another process that adds an event, which takes it milliseconds."""

_ENTRY = re.compile(r"(\d{16})-[0-9a-f]{8}\.json", re.ASCII)
_OF_THIS_FILE = frozenset({errno.EACCES, errno.EPERM, errno.EIO})
"""Errors of reading that other files of the folder need not have."""
_UNFINISHED = re.compile(rf"{_ENTRY.pattern}\.unfinished", re.ASCII)


@dataclass(frozen=True)
class SpoolState:
    """How much a spool holds: events to send and their bytes, and files set aside."""

    events: int
    bytes: int
    set_aside: int


class Spool:
    """A folder of events to be sent in order. Safe for several threads and processes.

    An event is at most once in the folder and leaves it only when it was sent or set aside. Where a
    process dies between sending and removing, it is sent again: the coordinator recognizes a
    repeated event by its id (specification 3.1).
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        max_bytes: int = MAX_BYTES,
        max_files: int = MAX_FILES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use `folder`, which is made where it is missing.

        At most `max_files` events of `max_bytes` in all are kept; beyond that `append` refuses.
        Raises SpoolError where the folder cannot be made or written, ValueError for a bound below 1.
        """
        if max_bytes < 1 or max_files < 1:
            raise ValueError("max_bytes and max_files must be 1 or more")
        self.folder = Path(folder)
        self._aside = self.folder / "set-aside"
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._monotonic = monotonic
        self._threads = {"append": threading.Lock(), "send": threading.Lock()}
        self._make()

    def _make(self) -> None:
        """Make the folders, also where somebody deleted them while the spool was in use."""
        with self._disk("make"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._aside.mkdir(mode=0o700, exist_ok=True)

    def append(self, event: Mapping[str, Any]) -> str:
        """Keep an event behind all others; returns its name. It is on the disk then.

        Raises SpoolError where the spool is full, the event is no JSON, or the disk refuses.
        """
        try:
            content = json.dumps(event, separators=(",", ":")).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise SpoolError(f"the event cannot be written as JSON: {error}") from error
        with self._disk("write"), self._locked("append", APPEND_SECONDS) as locked:
            if not locked:
                raise SpoolError(f"another process has been adding to {self.folder} for too long")
            files, size = self._sizes()
            if len(files) >= self._max_files or size + len(content) > self._max_bytes:
                raise SpoolError(
                    f"the spool {self.folder} is full: {len(files):,} of {self._max_files:,} "
                    f"events, {size + len(content):,} of {self._max_bytes:,} bytes; send them with "
                    "`coordinator events flush`, or raise its bounds"
                )
            for torn in self.folder.iterdir():
                if _UNFINISHED.fullmatch(torn.name) and not torn.is_dir():
                    torn.unlink()
            last = max((int(name[:16]) for name in files), default=0)
            name = f"{last + 1:016d}-{secrets.token_hex(4)}.json"
            unfinished = self.folder / f"{name}.unfinished"
            with open(unfinished, "xb", opener=_open_private) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(self.folder / name)
            _sync_folder(self.folder)
        return name

    @contextmanager
    def sending(self, seconds: float) -> Iterator[bool]:
        """Hold the right to send, waiting `seconds` for it; yields whether it was got."""
        with self._locked("send", seconds) as locked:
            yield locked

    def names(self) -> list[str]:
        """The events to send, oldest first."""
        with self._disk("read"), os.scandir(self.folder) as found:
            return sorted(entry.name for entry in found if _ENTRY.fullmatch(entry.name))

    def read(self, name: str) -> dict[str, Any] | None:
        """The event; None where it is gone, or could not be read and was set aside.

        Raises SpoolError where the disk refuses for reasons that may pass.
        """
        path = self.folder / name
        try:
            if not stat.S_ISREG(path.lstat().st_mode):  # reading a pipe would wait for ever
                self.set_aside(name, "it is not a regular file")
                return None
            event = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _OF_THIS_FILE:
                raise SpoolError(f"{path} cannot be read: {error}") from error
            self.set_aside(name, f"it cannot be read: {error}")
            return None
        if not isinstance(event, dict):
            self.set_aside(name, "it holds no JSON object")
            return None
        return event

    def remove(self, name: str) -> None:
        """Remove an event that was sent."""
        with self._disk("write"):
            (self.folder / name).unlink(missing_ok=True)

    def set_aside(self, name: str, reason: str) -> None:
        """Take an event that can never be sent out of the way, and log why."""
        self._make()
        with self._disk("write"):
            (self.folder / name).replace(self._aside / name)
            _sync_folder(self._aside)
            _sync_folder(self.folder)
            log.error("spooled_event_set_aside", file=str(self._aside / name), reason=reason)
            kept = [p for p in self._aside.iterdir() if _ENTRY.fullmatch(p.name) and p.is_file()]
            kept.sort(key=lambda path: path.stat().st_mtime_ns)
            for oldest in kept[: max(0, len(kept) - MAX_SET_ASIDE)]:
                log.error("set_aside_event_deleted", file=str(oldest), most=MAX_SET_ASIDE)
                oldest.unlink(missing_ok=True)

    def state(self) -> SpoolState:
        """How much is kept."""
        with self._disk("read"):
            files, size = self._sizes()
            return SpoolState(len(files), size, sum(1 for _ in self._aside.iterdir()))

    def _sizes(self) -> tuple[list[str], int]:
        files: list[str] = []
        size = 0
        with os.scandir(self.folder) as found:
            for entry in found:
                if _ENTRY.fullmatch(entry.name):
                    try:
                        size += entry.stat().st_size
                    except FileNotFoundError:  # sent by another process meanwhile
                        continue
                    files.append(entry.name)
        return files, size

    @contextmanager
    def _disk(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SpoolError(f"cannot {verb} the spool {self.folder}: {error}") from error

    @contextmanager
    def _locked(self, what: str, seconds: float) -> Iterator[bool]:
        """A lock among threads and processes; the system releases that of a process that dies."""
        give_up_at = self._monotonic() + seconds
        self._make()
        if not self._threads[what].acquire(timeout=max(0.0, seconds)):
            yield False
            return
        try:
            with self._disk("lock"):
                path = str(self.folder / f"{what}.lock")
                descriptor = _open_private(path, os.O_RDWR | os.O_CREAT)
            try:
                with self._disk("lock"):
                    locked = self._lock_file(descriptor, give_up_at)
                yield locked
            finally:
                os.close(descriptor)
        finally:
            self._threads[what].release()

    def _lock_file(self, descriptor: int, give_up_at: float) -> bool:
        if sys.platform == "win32":
            return True
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._monotonic() >= give_up_at:
                    return False
                time.sleep(LOCK_POLL_SECONDS)
            else:
                return True


def _open_private(path: str, flags: int) -> int:
    """Open a file that its owner alone can read, where it is made."""
    return os.open(path, flags, 0o600)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a power cut, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
