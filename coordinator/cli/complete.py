"""Words that the shell may complete: processors and tables, from the registry file at hand.

Owns cheap guesses only: a registry that is absent or invalid completes nothing, silently, since a
shell is waiting for the next key.
"""

from __future__ import annotations

import os
from pathlib import Path


def _registry_file() -> Path | None:
    path = Path(os.environ.get("COORDINATOR_REGISTRY") or "registry.yaml")
    return path if path.is_file() else None


def processors(incomplete: str) -> list[str]:
    """Names of processors that begin with ``incomplete``."""
    return _names("processors", incomplete)


def tables(incomplete: str) -> list[str]:
    """Names of tables that begin with ``incomplete``, outputs included."""
    return _names("tables", incomplete)


def _names(kind: str, incomplete: str) -> list[str]:
    file = _registry_file()
    if file is None:
        return []
    from coordinator.errors import CoordinatorError
    from coordinator.registry import load

    try:
        registry = load(file)
    except (CoordinatorError, OSError):
        return []
    names = registry.processors if kind == "processors" else registry.tables
    return sorted(name for name in names if name.startswith(incomplete))
