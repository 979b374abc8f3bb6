"""Where a served process holds the interpreter lock, as py-spy samples it from outside.

The stacks are kept in ``benchmarks/profiles``, which git ignores: one line a stack, outermost frame
first, in the format that flame graph viewers read.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "profiles"
SAMPLES_PER_SECOND = 200
SHOWN_FROM, SHOWN_TO = 0.03, 0.60
"""Functions with a share between these are listed: less is noise, more is the program's frame."""

_FRAME = re.compile(r"(?P<function>.+) \((?P<file>[^()]+?)(?::\d+)?\)$")
_OURS = re.compile(r"(?:.*/)?(coordinator/(?:adapters/)?\w+)(?:/.*|\.py)$")
_FRAME_OF_ALL = {"coordinator/app", "coordinator/cli", "coordinator/__main__"}
_SERVER = re.compile(r"(?:.*/)?(uvicorn|starlette|fastapi)/")


@dataclass(frozen=True, slots=True)
class Profile:
    """Shares of the samples in which the process held the interpreter lock."""

    held: float
    """The share of the time in which some thread held the lock."""
    threads: dict[str, float]
    packages: dict[str, float]
    """By the package of the innermost frame that is the coordinator's or the server's."""
    functions: dict[str, float]
    """Functions of the coordinator with all that they call."""


def py_spy() -> str | None:
    """The profiler of this environment, or of the system; None where there is none."""
    beside = Path(sys.executable).parent / "py-spy"
    return str(beside) if beside.exists() else shutil.which("py-spy")


def start(pid: int, seconds: float, file: Path) -> subprocess.Popen[bytes]:
    """Sample a process for a while, from now on."""
    program = py_spy()
    assert program is not None
    file.parent.mkdir(exist_ok=True)
    command = [
        *(program, "record", "--gil", "--threads", "--nonblocking", "--format", "raw"),
        *("--rate", str(SAMPLES_PER_SECOND), "--duration", str(max(1, round(seconds)))),
        *("--output", str(file), "--pid", str(pid)),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def summary(stacks: Iterable[str], seconds: float) -> Profile:
    """What ``seconds`` of recorded stacks say."""
    threads: Counter[str] = Counter()
    packages: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in stacks:
        stack, _, number = line.rpartition(" ")
        count = int(number)
        thread, *frames = stack.split(";")
        named = re.sub(r"^thread \(\d+\): |^thread \(\w+\)$", "", thread) or "other"
        threads[re.sub(r"-\d+$", "", named)] += count
        places = [found for frame in frames if (found := _FRAME.match(frame))]
        packages[_package([place["file"] for place in places])] += count
        for name in {
            f"{place['function']} ({_short(place['file'])})"
            for place in places
            if _OURS.match(place["file"]) and "<" not in place["function"]
        }:
            functions[name] += count
    total = max(1, threads.total())
    return Profile(
        round(total / (max(1, round(seconds)) * SAMPLES_PER_SECOND), 3),
        _shares(threads, total, 0.005, 1),
        _shares(packages, total, 0.005, 1),
        _shares(functions, total, SHOWN_FROM, SHOWN_TO),
    )


def _package(files: list[str]) -> str:
    for file in reversed(files):
        if (ours := _OURS.match(file)) and ours[1] not in _FRAME_OF_ALL:
            return ours[1]
        if server := _SERVER.match(file):
            return server[1]
    return "event loop, threads"


def _short(file: str) -> str:
    return file[file.rindex("coordinator/") :]


def _shares(counts: Counter[str], total: int, least: float, most: float) -> dict[str, float]:
    return {
        name: round(count / total, 3)
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if least <= count / total <= most
    }


def text(profile: Profile, title: str) -> str:
    """The summary for a terminal."""
    lines = [f"{title}: the interpreter lock is held for {profile.held:.0%} of the time"]
    for heading, shares in (
        ("by thread", profile.threads),
        ("by package of the innermost frame", profile.packages),
        ("by function, with what it calls", profile.functions),
    ):
        lines.append(f"  {heading}")
        lines += [f"    {share:6.1%}  {name}" for name, share in shares.items()]
    return "\n".join(lines) + "\n"
