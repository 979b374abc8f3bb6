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


class Rule:
    """Reads one value, or raises with the sentence of the rule that it breaks."""

    words: str
    """What the reference page calls such a value."""

    def read(self, value: Any) -> Any:
        """The value as the specs hold it. Raises ``ValueError`` or ``PydanticCustomError``."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)


@dataclass(frozen=True, slots=True)
class Whole(Rule):
    """A whole number within bounds."""

    least: int
    most: int
    words: str = ""

    def __post_init__(self) -> None:
        if not self.words:
            object.__setattr__(self, "words", f"{self.least} to {self.most}")

    def read(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("must be a whole number")
        if not self.least <= value <= self.most:
            raise ValueError(f"is outside {self.least:,} to {self.most:,}")
        return value


@dataclass(frozen=True, slots=True)
class AboveZero(Rule):
    """A number in (0, most]."""

    most: float
    words: str = "number above 0"

    def read(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("must be a number")
        if not (math.isfinite(value) and 0 < value <= self.most):
            raise ValueError(f"must be more than 0 and at most {self.most:,}")
        return float(value)


@dataclass(frozen=True, slots=True)
class Duration(Rule):
    """A whole number with a unit, from ``least_seconds`` to 30 days."""

    least_seconds: int = 0
    words: str = "duration"

    def read(self, value: Any) -> timedelta:
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise ValueError("is not a duration; write a whole number and a unit: 30s, 15m, 1h, 2d")
        duration = timedelta(seconds=int(found[1]) * SECONDS[found[2]])
        if duration > MAX_DURATION:
            raise ValueError("is longer than the most, 30d")
        if duration < timedelta(seconds=self.least_seconds):
            raise ValueError(f"leaves no time at all; the least is {self.least_seconds}s")
        return duration


class ClockText(Rule):
    """A time of day."""

    words = "clock time"

    def read(self, value: Any) -> time:
        found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise ValueError('is not a time of day; write "HH:MM" or "HH:MM:SS", 00:00 to 23:59:59')
        hour, minute, second = (int(part or 0) for part in found.groups())
        return time(hour, minute, second)


@dataclass(frozen=True, slots=True)
class Text(Rule):
    """Text that passes a check, which answers with the rule that it breaks, or with nothing."""

    what: str
    check: Callable[[str], str | None]
    words: str

    def read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise PydanticCustomError(TEXT, "must be {what}", {"what": self.what})
        broken = self.check(value)
        if broken is not None:
            raise ValueError(broken)
        return value


class Choice(Rule):
    """One word of an enum, in the order in which a mistake names them."""

    def __init__(self, *members: StrEnum) -> None:
        self._members = {m.value: m for m in members}
        self.words = ", ".join(f"`{word}`" for word in self._members)

    def read(self, value: Any) -> Any:
        if isinstance(value, str) and value in self._members:
            return self._members[value]
        raise ValueError(f"must be {' or '.join(self._members)}")


class Flag(Rule):
    """True or false."""

    words = "boolean"

    def read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value


class OnlyTrue(Flag):
    """True: false would say what leaving the key out says already."""

    words = "`true`"

    def read(self, value: Any) -> bool:
        if not super().read(value):
            raise ValueError("must be true; leave launch out for the deployment's default")
        return True


@dataclass(frozen=True, slots=True)
class ListOf:
    """Bounds a list; ``what`` are its entries, ``empty`` the rule where it needs one."""

    what: str
    most: int
    empty: str | None = None

    @property
    def words(self) -> str:
        return f"list of {self.what}"

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self.check, handler(source))

    def check(self, value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"must be a list of {self.what}")
        if len(value) > self.most:
            raise ValueError(
                f"has {len(value):,} {self.what}, the most is {self.most:,}; shorten it"
            )
        if not value and self.empty is not None:
            raise ValueError(self.empty)
        return value


@dataclass(frozen=True, slots=True)
class Named:
    """Bounds a mapping from names to entries; nothing at all is an empty one."""

    most: int
    words: str = "mapping by name"

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self.check, handler(source))

    def check(self, value: Any) -> Any:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ValueError("must be a mapping from names")
        if len(value) > self.most:
            raise ValueError(f"has {len(value):,} entries, the most is {self.most:,}; split it")
        return value


class Given:
    """Of a mapping that may be left out: an empty value (``null``) is a mistake all the same."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        schema = handler(source)
        assert schema["type"] == "nullable"
        inner: core_schema.CoreSchema = schema["schema"]
        return inner


# ── checks of text ───────────────────────────────────────────────────────────────────────────


def any_text(value: str) -> None:
    """Whatever it is, it is looked up later."""


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
