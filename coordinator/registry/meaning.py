"""What a registry means, as plain data: hashed, shown over the API, and compared.

Owns the one spelling of every value, so that how a file is written makes no difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Literal

from coordinator.core.spec import (
    ClockTime,
    Deadline,
    LaunchTarget,
    OffDay,
    Policy,
    ProcessorSpec,
    Requirement,
    TableSpec,
    Window,
)
from coordinator.registry.models import POLICY_KEYS
from coordinator.registry.rules import SECONDS


def duration_text(duration: timedelta) -> str:
    """A duration as the registry writes it, in the largest unit that divides it: 15m, 90s, 1h."""
    seconds = round(duration.total_seconds())
    for unit in ("d", "h", "m"):
        if seconds and seconds % SECONDS[unit] == 0:
            return f"{seconds // SECONDS[unit]}{unit}"
    return f"{seconds}s"


def _duration_dict(duration: timedelta) -> dict[str, Any]:
    return {"seconds": round(duration.total_seconds()), "text": duration_text(duration)}


def _clock_dict(clock: ClockTime) -> dict[str, Any]:
    return {"at": f"{clock.hour:02}:{clock.minute:02}:{clock.second:02}", "day": clock.day}


def window_dict(window: Window | None) -> dict[str, Any] | None:
    """A window as the registry writes it."""
    if window is None:
        return None
    key: Literal["last_game_dates", "window_days"]
    key = "last_game_dates" if window.game_dates is not None else "window_days"
    return {key: window.game_dates or window.days, "min_ready": window.min_ready}


def _policy_dict(policy: Policy) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in POLICY_KEYS:
        value = getattr(policy, key)
        if isinstance(value, timedelta):
            value = _duration_dict(value)
        elif isinstance(value, ClockTime):
            value = _clock_dict(value)
        elif isinstance(value, Deadline):
            value = {**_clock_dict(value.at), "then": value.then.value}
        elif isinstance(value, OffDay):
            value = value.value
        elif isinstance(value, tuple):
            value = [{**_clock_dict(e.at), "when": e.when.value} for e in value]
        found[key] = value
    return found


def _requirement_dict(r: Requirement) -> dict[str, Any]:
    return {
        "key": r.key,
        "kind": r.kind.value,
        "sources": list(r.sources),
        "critical": r.critical,
        "needed": r.needed,
        "expected_count_min": r.expected_count_min,
        "expected_count_per_game": r.expected_count_per_game,
        "min_coverage": r.min_coverage,
        "max_age_warn": None if r.max_age_warn is None else _duration_dict(r.max_age_warn),
        "max_age_fail": None if r.max_age_fail is None else _duration_dict(r.max_age_fail),
        "offset": r.offset if r.window is None else None,
        "window": window_dict(r.window),
        "prefer_for": _duration_dict(r.prefer_for),
    }


def _launch_dict(launch: LaunchTarget | None) -> dict[str, Any] | None:
    return None if launch is None else {"kind": launch.kind.value, "address": launch.address}


def table_dict(table: TableSpec) -> dict[str, Any]:
    """What a table's entry says."""
    return {
        "grain": table.grain.value,
        "enabled": table.enabled,
        "aliases": sorted(table.aliases),
        "producer": table.producer,
    }


def processor_dict(spec: ProcessorSpec) -> dict[str, Any]:
    """What a processor's entry says, with the defaults that it has."""
    return {
        "phase": spec.phase,
        "output": spec.output,
        "aliases": sorted(spec.aliases),
        "requires": [_requirement_dict(r) for r in spec.requirements],
        "disabled": list(spec.disabled),
        "policy": _policy_dict(spec.policy),
        "entrypoint": spec.entrypoint,
        "launch": _launch_dict(spec.launch),
    }


def diff_meanings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """``diff`` of two registries as ``Registry.as_dict`` gives them, such as one that is served."""
    beside = ("registry_hash", "warnings")
    before, after = ({k: v for k, v in one.items() if k not in beside} for one in (old, new))
    return list(_differences("", _comparable(before), _comparable(after)))


def _comparable(value: Any) -> Any:
    """Durations by their text, and requirements by their key."""
    if isinstance(value, dict):
        if value.keys() == {"seconds", "text"}:
            return value["text"]
        return {k: _comparable(v) for k, v in value.items()}
    if isinstance(value, list) and value and all(isinstance(v, dict) and "key" in v for v in value):
        return {v["key"]: _comparable({k: x for k, x in v.items() if k != "key"}) for v in value}
    return value


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:
    if old == new:
        return
    if not isinstance(old, dict) or not isinstance(new, dict):
        yield f"{path}: {_text(old)} -> {_text(new)}"
        return
    for key in dict.fromkeys((*old, *new)):
        here = f"{path}[{key}]" if path.endswith(".requires") else f"{path}.{key}".lstrip(".")
        if key not in new:
            yield f"{here}: removed"
        elif key not in old:
            yield f"{here}: added"
        else:
            yield from _differences(here, old[key], new[key])


def _text(value: Any) -> str:
    if value is None or value == []:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
