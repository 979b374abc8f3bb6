"""``python -m tests.planted.worlds WORLDS STEPS``: play seeds in order until one is judged broken."""

from __future__ import annotations

import json
import sys

from coordinator.simulation import run


def main(worlds: int, steps: int) -> None:
    """Print the first broken world as JSON: its seed and what was said, both null if there is none."""
    for seed in range(1, worlds + 1):
        report = run(seed, steps=steps)
        if report.broken is not None:
            found = {"seed": seed, "broken": report.broken}
            break
    else:
        found = {"seed": None, "broken": None}
    sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
