"""Words that the shell may complete: processors and tables, from the registry file at hand.

Owns cheap guesses only: a registry that is absent or invalid completes nothing, silently, since a
shell is waiting for the next key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_KEY = re.compile(r"""( *)["']?([^\s"'#:{-][^\s"':]*)["']?:(?:\s|$)""")
"""A key at the beginning of a line, and its indent."""
_OUTPUT = re.compile(r"""\boutput: *["']?([^\s"',}]+)""")


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
    """The keys of a section of the file, and for tables the outputs of processors.

    Read line by line, since to load a large registry takes longer than a person waits for a key.
    """
    file = _registry_file()
    if file is None:
        return []
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    names = set(_keys(text, kind))
    if kind == "tables":
        names.update(found[1] for found in _OUTPUT.finditer(text))
    return sorted(name for name in names if name.startswith(incomplete))


def _keys(text: str, section: str) -> Iterator[str]:
    within, indent = False, ""
    for line in text.splitlines():
        found = _KEY.match(line)
        if found is None:
            continue
        if not found[1]:
            within, indent = found[2] == section, ""
        elif within:
            indent = indent or found[1]
            if found[1] == indent:
                yield found[2]
