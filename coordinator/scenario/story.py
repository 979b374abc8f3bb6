"""Reading a story: YAML whose every value knows its line and column.

Owns the words a story may use and every mistake with its place. Comments and layout are kept, so
that expectations can be rewritten in place.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from coordinator.errors import BadInput
from coordinator.registry import Registry, parse
from coordinator.wire import is_game_date, read_timestamp

TOP_KEYS = ("story", "about", "registry", "start", "game_date", "runners", "steps")
ACTS = (
    *("event", "push", "calendar", "claim", "heartbeat", "complete", "run", "operate", "sweep"),
    *("crash", "restart", "fail_launch", "lose_proof", "store"),
)
STEP_KEYS = ("at", "times", "expect", *ACTS)
EXPECT_KEYS = (
    *("outcome", "outcomes", "detail", "affected", "partitions", "launches", "notices", "runs"),
    *("ledger", "quarantine", "announced", "writes", "documents", "gaps", "audit"),
)
_DURATION = re.compile(r"([+-]?)(\d+)(s|m|h|d)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class StoryError(BadInput):
    """A story that cannot be played. The message begins with file:line:column."""

    code = "bad_story"


@dataclass(slots=True)
class Story:
    """A story, read."""

    name: str
    path: str
    root: CommentedMap
    registry: Registry
    start: datetime
    game_date: str | None
    runners: Mapping[str, Any] | None
    steps: CommentedSeq
    _yaml: YAML = field(repr=False)

    def text(self) -> str:
        """The story as YAML, with its comments."""
        stream = io.StringIO()
        self._yaml.dump(self.root, stream)
        return stream.getvalue()

    def fail(self, holder: Any, key: Any, sentence: str) -> NoReturn:
        """Raise ``StoryError`` at the place of a key."""
        _fail(self.path, holder, key, sentence)


def read_story(text: str, path: str = "story.yaml") -> Story:
    """Read a story. Raises ``StoryError``."""
    yaml = YAML(typ="rt")
    yaml.width = 4096  # lines stay as they are broken
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        root = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise StoryError(f"{path}:{line}:{column}: {error.problem or error}") from error
    except (YAMLError, ValueError) as error:
        raise StoryError(f"{path}:1:1: {error}") from error
    if not isinstance(root, CommentedMap):
        raise StoryError(f"{path}:1:1: a story is a mapping with {', '.join(TOP_KEYS)}")
    known(path, root, TOP_KEYS, "a story")
    for key in ("registry", "start", "steps"):
        if key not in root:
            raise StoryError(f"{path}:1:1: {key} is missing")
    start = read_timestamp(str(root["start"]))
    if start is None:
        _fail(path, root, "start", "must be an instant with a zone, as in 2025-11-15T02:00:00Z")
    game_date = root.get("game_date")
    if game_date is not None and not is_game_date(str(game_date)):
        _fail(path, root, "game_date", "must be YYYY-MM-DD")
    steps = root["steps"]
    if not isinstance(steps, CommentedSeq) or not steps:
        _fail(path, root, "steps", "must be a list of steps")
    for number, step in enumerate(steps):
        _check_step(path, steps, number, step)
    runners = root.get("runners")
    if runners is not None:
        if not isinstance(runners, CommentedMap):
            _fail(path, root, "runners", "must be a mapping with status, after, take, record_count")
        known(path, runners, ("status", "after", "take", "record_count"), "runners")
    return Story(
        name=str(root.get("story") or path),
        path=path,
        root=root,
        registry=_registry(text, path, root, "registry"),
        start=start,
        game_date=None if game_date is None else str(game_date),
        runners=runners,
        steps=steps,
        _yaml=yaml,
    )


def _check_step(path: str, steps: CommentedSeq, number: int, step: Any) -> None:
    if not isinstance(step, CommentedMap):
        _fail(path, steps, number, "a step is a mapping, as in {event: …, expect: …}")
    known(path, step, STEP_KEYS, "a step")
    acts = [key for key in step if key in ACTS]
    if len(acts) > 1:
        _fail(path, step, acts[1], f"a step does one thing; it already has {acts[0]}")
    expect = step.get("expect")
    if expect is not None:
        if not isinstance(expect, CommentedMap):
            _fail(path, step, "expect", f"must be a mapping of {', '.join(EXPECT_KEYS)}")
        known(path, expect, EXPECT_KEYS, "expect")


def _registry(text: str, path: str, root: CommentedMap, key: str) -> Registry:
    """The registry of a story, with the line numbers that it has there."""
    value = root[key]
    if not isinstance(value, CommentedMap):
        _fail(path, root, key, "must be a registry, as in registry.yaml")
    if value.fa.flow_style():
        _fail(path, root, key, "write the registry as a block, one key a line")
    first = value.lc.line
    last = min(
        (root.lc.key(k)[0] for k in root if root.lc.key(k)[0] > first), default=len(text) + 1
    )
    lines = text.splitlines()
    kept = [""] * first + [x if x.strip() else "" for x in lines[first:last]]
    while kept and kept[-1].lstrip().startswith("#") and not kept[-1].startswith(" "):
        kept.pop()  # a comment that belongs to what follows
    try:
        return parse("\n".join(kept) + "\n", path)
    except BadInput as error:
        raise StoryError(error.detail, error.mistakes) from error


def registry_inside(text: str, path: str, holder: CommentedMap, key: str) -> Registry:
    """A further registry, as a restart may bring one."""
    value = holder[key]
    if not isinstance(value, CommentedMap):
        _fail(path, holder, key, "must be a registry, as in registry.yaml")
    stream = io.StringIO()
    yaml = YAML(typ="rt")
    yaml.dump(value, stream)
    try:
        return parse(stream.getvalue(), f"{path}:{value.lc.line + 1}")
    except BadInput as error:
        raise StoryError(error.detail, error.mistakes) from error


def known(path: str, holder: CommentedMap, keys: Iterable[str], what: str) -> None:
    """Raise ``StoryError`` for a key that means nothing here."""
    names = tuple(keys)
    for key in holder:
        if key not in names:
            _fail(path, holder, key, f"{key!r} means nothing in {what}; known are "
                  f"{', '.join(names)}")  # fmt: skip


def _fail(path: str, holder: Any, key: Any, sentence: str) -> NoReturn:
    line, column = place_of(holder, key)
    raise StoryError(f"{path}:{line}:{column}: {sentence}")


def place_of(holder: Any, key: Any) -> tuple[int, int]:
    """Line and column, from 1, of a key of a mapping or an item of a list."""
    try:
        line, column = (
            holder.lc.key(key) if isinstance(holder, CommentedMap) else holder.lc.item(key)
        )
    except (KeyError, TypeError, IndexError, AttributeError):
        lc = getattr(holder, "lc", None)
        line, column = (lc.line, lc.col) if lc is not None and lc.line is not None else (0, 0)
    return line + 1, column + 1


def read_duration(text: object) -> timedelta | None:
    """A signed duration such as ``+15m``, or None where it is none."""
    found = _DURATION.fullmatch(str(text))
    if found is None:
        return None
    span = timedelta(seconds=int(found[2]) * _UNITS[found[3]])
    return -span if found[1] == "-" else span


def read_instant(value: object, now: datetime) -> datetime | None:
    """An instant, absolute or as a duration from ``now``; None where it is neither."""
    span = read_duration(value)
    if span is not None:
        return now + span
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return read_timestamp(str(value))
