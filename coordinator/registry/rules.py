"""The kinds of values that a registry has: how each is read, and what its mistakes say.

Owns the rule of every single value, once: its check, its sentence, and the words by which the
reference page calls it. A sentence that begins with "must be" is about the kind of a
value, one that begins with "is" about the value itself; ``reading`` adds what was there.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

MAX_DURATION: Final = timedelta(days=30)
SECONDS: Mapping[str, int] = {"s": 1, "m": 60, "h": 3600, "d": 86400}
TEXT = "text"
"""The type of an error where text was needed: a number or a word may be meant as one."""

_DURATION = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_PROCESSOR_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}", re.ASCII)
_TABLE_NAME = re.compile(r"(?=.{3,100}\Z)[A-Za-z][A-Za-z0-9_-]*\.[A-Za-z0-9_-]+", re.ASCII)
_ENTRYPOINT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_TOPIC = re.compile(
    r"(projects/[a-z][a-z0-9.:-]{1,62}/topics/)?(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}", re.ASCII
)


@dataclass(frozen=True, slots=True)
class ValueRule:
    """Reads one value, or raises ``ValueError`` with the sentence of the rule that it breaks."""

    words: str
    """What the reference page calls such a value."""
    read: Callable[[Any], Any]
    """The value as the specs hold it."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)


class Bound(ValueRule):
    """Checks a list or a mapping as a whole; its entries are checked by their own types."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self.read, handler(source))


class Given:
    """Of a mapping that may be left out: an empty value (``null``) is a mistake all the same."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        schema = handler(source)
        assert schema["type"] == "nullable"
        inner: core_schema.CoreSchema = schema["schema"]
        return inner


def whole(least: int, most: int, words: str = "", at_zero: str | None = None) -> ValueRule:
    """A whole number within bounds; ``at_zero`` says what is wrong with 0 in particular."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("must be a whole number")
        if value == 0 and at_zero is not None:
            raise ValueError(at_zero)
        if not least <= value <= most:
            raise ValueError(f"is outside {least:,} to {most:,}")
        return value

    return ValueRule(words or f"{least} to {most}", read)


def above_zero(most: float, words: str = "number above 0") -> ValueRule:
    """A number in (0, most]."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("must be a number")
        if not (math.isfinite(value) and 0 < value <= most):
            raise ValueError(f"must be more than 0 and at most {most:,}")
        return float(value)

    return ValueRule(words, read)


def duration(least_seconds: int = 0, words: str = "duration") -> ValueRule:
    """A whole number with a unit, from ``least_seconds`` to 30 days."""

    def read(value: Any) -> timedelta:
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise ValueError("is not a duration; write a whole number and a unit: 30s, 15m, 1h, 2d")
        read = timedelta(seconds=int(found[1]) * SECONDS[found[2]])
        if read > MAX_DURATION:
            raise ValueError("is longer than the most, 30d")
        if read.total_seconds() < least_seconds:
            raise ValueError(f"leaves no time at all; the least is {least_seconds}s")
        return read

    return ValueRule(words, read)


def text(what: str, words: str, check: Callable[[str], str | None] = lambda _: None) -> ValueRule:
    """Text that passes a check, which answers with the rule that it breaks, or with nothing."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise PydanticCustomError(TEXT, "must be {what}", {"what": what})
        if (broken := check(value)) is not None:
            raise ValueError(broken)
        return value

    return ValueRule(words, read)


def choice(*members: StrEnum) -> ValueRule:
    """One word of an enum, in the order in which a mistake names them."""
    by_word = {m.value: m for m in members}

    def read(value: Any) -> StrEnum:
        if isinstance(value, str) and value in by_word:
            return by_word[value]
        raise ValueError(f"must be {' or '.join(by_word)}")

    return ValueRule(", ".join(f"`{word}`" for word in by_word), read)


def list_of(what: str, most: int, empty: str | None = None) -> Bound:
    """A list of at most so many entries; ``empty`` is the rule where it needs one."""

    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"must be a list of {what}")
        if len(value) > most:
            raise ValueError(f"has {len(value):,} {what}, the most is {most:,}; shorten it")
        if not value and empty is not None:
            raise ValueError(empty)
        return value

    return Bound(f"list of {what}", read)


def by_name(most: int) -> Bound:
    """A mapping from names to at most so many entries; nothing at all is an empty one."""

    def read(value: Any) -> Any:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ValueError("must be a mapping from names")
        if len(value) > most:
            raise ValueError(f"has {len(value):,} entries, the most is {most:,}; split it")
        return value

    return Bound("mapping by name", read)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _only_true(value: Any) -> bool:
    if not _boolean(value):
        raise ValueError("must be true; leave launch out for the deployment's default")
    return True


def _version(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value != 1:
        raise ValueError("must be 1, the only version there is")
    return value


def _clock(value: Any) -> time:
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('is not a time of day; write "HH:MM" or "HH:MM:SS", 00:00 to 23:59:59')
    hour, minute, second = (int(part or 0) for part in found.groups())
    return time(hour, minute, second)


BOOLEAN = ValueRule("boolean", _boolean)
ONLY_TRUE = ValueRule("`true`", _only_true)
VERSION = ValueRule("`1`", _version)
CLOCK = ValueRule("clock time", _clock)


# ── checks of text ───────────────────────────────────────────────────────────────────────────


def table_name(value: str) -> str | None:
    if _TABLE_NAME.fullmatch(value) and "__" not in value:
        return None
    return (
        "is not a valid table name; write dataset.table, at most 100 letters, digits, _ and -, "
        "starting with a letter, without __ (ids are joined by it)"
    )


def processor_name(value: str) -> str | None:
    if _PROCESSOR_NAME.fullmatch(value) and "__" not in value:
        return None
    return (
        "is not a valid processor name; write at most 100 letters, digits, _ . -, starting with a "
        "letter, without __ (ids are joined by it)"
    )


def alias(value: str) -> str | None:
    if 0 < len(value) <= 200 and value == value.strip() and value.isprintable():
        return None
    return "is not a valid alias; write 1 to 200 visible characters, without spaces at its ends"


def time_zone(value: str) -> str | None:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        near = difflib.get_close_matches(value, sorted(_zones()), n=1, cutoff=0.5)
        fix = f"did you mean {near[0]!r}?" if near else 'write one such as "America/New_York"'
        return f"unknown time zone {value[:60]!r}; {fix}"
    return None


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def iso_date(value: str) -> str | None:
    if _DATE.fullmatch(value):
        try:
            date.fromisoformat(value)
        except ValueError:
            pass
        else:
            return None
    return "is not a date; write it as YYYY-MM-DD"


def entry_point(value: str) -> str | None:
    if _ENTRYPOINT.fullmatch(value):
        return None
    return 'is not an entry point; write "package.module:Name"'


def topic(value: str) -> str | None:
    if _TOPIC.fullmatch(value):
        return None
    return (
        "is not a valid topic; write its id (a letter, then 2 to 254 of letters, digits and "
        "._~+%-, not starting with goog), or projects/PROJECT/topics/ID"
    )


def url(value: str) -> str | None:
    fix = "write http:// or https://, a host and a path"
    if len(value) > 2048 or not value.isascii() or not value.isprintable() or " " in value:
        return f"is not a valid URL (too long, with spaces, or not ASCII); {fix}"
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"is not a valid URL ({error}); {fix}"
    if parts.scheme not in ("http", "https") or not host:
        return f"is not an http or https URL; {fix}"
    if parts.username is not None or parts.password is not None:
        return (
            "contains a user name or password, which everybody who sees the registry would read; "
            "remove it"
        )
    return None
