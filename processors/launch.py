"""The launch message (specification 6) as the runner reads it, and finding what to execute.

Owns: reading a launch from a body or a Pub/Sub push envelope, and loading `module:attr`. Refuses:
taking an entrypoint from a message; code is named by configuration only.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from typing import Any

from processors.base import Processor
from processors.errors import BadLaunchError, EntrypointError

SHOWN_CHARS = 120
"""Longest part of a value that an error shows."""

_RUN_ID = re.compile(r"(.+):(\d{4}-\d{2}-\d{2}):([1-9]\d{0,17})", re.ASCII)


@dataclass(frozen=True)
class Launch:
    """One attempt of one run. `generation` is the fencing number, `attempt` counts from 1."""

    run_id: str
    processor: str
    game_date: date
    generation: int
    attempt: int
    correlation_id: str | None
    raw: Mapping[str, Any]


def parse_launch(body: Mapping[str, Any]) -> Launch:
    """Read a launch object.

    Raises BadLaunchError that names the field and what it should hold: one that is absent or
    misspelt, and one that differs from what `run_id` says, since rows would be written under the
    wrong date or fencing number (specification 1 and 6).
    """
    kind = body.get("event_type", "run_requested")
    if kind != "run_requested":
        raise BadLaunchError(f"event_type is {shown(kind)}; a launch says 'run_requested'")
    correlation_id = body.get("correlation_id")
    launch = Launch(
        run_id=_text(body, "run_id"),
        processor=_text(body, "processor"),
        game_date=_date(body, "game_date"),
        generation=_positive(body, "generation"),
        attempt=_positive(body, "attempt"),
        correlation_id=correlation_id if isinstance(correlation_id, str) else None,
        raw=body,
    )
    named = _RUN_ID.fullmatch(launch.run_id)
    if named is None:
        raise BadLaunchError(
            f"run_id is {shown(launch.run_id)}; it must read PROCESSOR:YYYY-MM-DD:GENERATION"
        )
    for field, of_run, own in (
        ("processor", named[1], launch.processor),
        ("game_date", named[2], launch.game_date.isoformat()),
        ("generation", named[3], str(launch.generation)),
    ):
        if of_run != own:
            raise BadLaunchError(
                f"{field} is {shown(own)}, and run_id {shown(launch.run_id)} says "
                f"{shown(of_run)}; a launch must agree with its run"
            )
    return launch


def check_claim(launch: Launch, answer: Mapping[str, Any]) -> None:
    """Compare a launch with what the coordinator granted, which is authoritative.

    Fields that the answer leaves out are not compared. Raises BadLaunchError for one that differs.
    """
    for field, own in (
        ("run_id", launch.run_id),
        ("processor", launch.processor),
        ("game_date", launch.game_date.isoformat()),
        ("generation", launch.generation),
        ("attempt", launch.attempt),
    ):
        granted = answer.get(field, own)
        if type(granted) is not type(own) or granted != own:
            raise BadLaunchError(
                f"{field} is {shown(own)} in the launch and {shown(granted)} in the run that was "
                f"claimed; nothing is executed"
            )


def unwrap(body: Any) -> Mapping[str, Any]:
    """The launch object in `body`, which is that object or a Pub/Sub push envelope around it.

    Raises BadLaunchError where there is none.
    """
    if not isinstance(body, Mapping):
        raise BadLaunchError("the body must be a JSON object")
    message = body.get("message")
    if not isinstance(message, Mapping):
        return body
    data = message.get("data")
    if not isinstance(data, str):
        raise BadLaunchError("message.data must be base64 of a JSON object")
    try:
        inner = json.loads(base64.b64decode(data, validate=True))
    except RecursionError as error:
        raise BadLaunchError("message.data holds JSON that is nested too deeply") from error
    except ValueError as error:
        raise BadLaunchError(f"message.data must be base64 of a JSON object: {error}") from error
    if not isinstance(inner, Mapping):
        raise BadLaunchError("message.data must hold a JSON object")
    return inner


def shown(value: object) -> str:
    """A value as an error shows it: quoted, control characters escaped, bounded in length."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = ascii(value)
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"


def load_entrypoint(entrypoint: str) -> Processor:
    """Make the processor that `module:attr` names.

    Raises EntrypointError that says which half of it does not exist.
    """
    if not entrypoint:
        raise EntrypointError(
            "the registry gives it no `entrypoint`, so there is nothing to run here: name one as "
            "module:attr, or say with `launch` who runs it"
        )
    module_name, colon, attribute = entrypoint.partition(":")
    if not (module_name and colon and attribute):
        raise EntrypointError(f"{entrypoint!r} is not of the form 'module:attr'")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise EntrypointError(f"{entrypoint!r}: cannot import {module_name!r}: {error}") from error
    made = getattr(module, attribute, None)
    if isinstance(made, type) and issubclass(made, Processor):
        made = made()
    if not isinstance(made, Processor):
        raise EntrypointError(f"{entrypoint!r}: {module_name!r} has no processor {attribute!r}")
    return made


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise BadLaunchError(f"{name} is {shown(value)}; it must be a text that is not empty")
    return value


def _date(body: Mapping[str, Any], name: str) -> date:
    value = _text(body, name)
    try:
        parsed = date.fromisoformat(value)
    except ValueError:
        parsed = None
    if parsed is None or parsed.isoformat() != value:
        raise BadLaunchError(f"{name} is {shown(value)}; it must be a date as YYYY-MM-DD")
    return parsed


def _positive(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 10**18:
        raise BadLaunchError(f"{name} is {shown(value)}; it must be a whole number from 1")
    return value
