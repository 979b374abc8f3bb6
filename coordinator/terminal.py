"""Text that came from outside, made harmless for a terminal.

Owns the escaping of what is printed or logged for people: no event may move the reader's cursor,
paint his terminal, reverse the order of what he reads, or begin a line that looks like another.
"""

from __future__ import annotations

import re
import unicodedata

_UNSHOWN = re.compile(r"[^\x20-\x7e]")


def safe(value: object) -> str:
    """``value`` as one line that cannot steer a terminal.

    Control, format, surrogate and separator characters are written as escapes, so that what was
    there can still be read.
    """
    return _UNSHOWN.sub(lambda found: _escaped(found[0]), str(value))


def safe_lines(text: str) -> str:
    """As ``safe``, line by line: for what may have several, such as a traceback."""
    return "\n".join(safe(line.expandtabs(8)) for line in text.split("\n"))


def safe_json(text: str) -> str:
    """JSON text of the same value, in which every character that is not printable is escaped."""
    return _UNSHOWN.sub(lambda found: _json_escaped(found[0]), text)


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    if named is not None:
        return named
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escaped(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n : n + 2].hex()}" for n in range(0, len(units), 2))
