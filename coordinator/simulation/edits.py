"""Edits of a registry, one for each thing that a person changes in the file.

Owns what each edit does to the plain data of a definition. Refuses to say whether the outcome is a
valid registry: the loader does, and the world then keeps the one it has.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from coordinator.simulation.registries import (
    BDL,
    BIG,
    BOX,
    LEAGUE,
    ODDS,
    PBP,
    SCHEDULE,
    TEAM,
    Definition,
)

RAW: Final = (BOX, BDL, PBP, BIG, TEAM, ODDS)

Edit = Callable[[Definition, Sequence[Definition], random.Random], bool]
"""Edits a definition in place, given those before it; says whether there was something to edit."""


def changed(
    definition: Definition, former: Sequence[Definition], rng: random.Random, turn: int
) -> tuple[Definition, str]:
    """Another definition, and the name of the edit (of ``EDITS``) that led to it.

    Every second edit is the one whose ``turn`` it is, so that a row of worlds comes to all of them.
    """
    names = sorted(EDITS)
    known = {name for d in former for name in d["processors"]}
    gone = known - definition["processors"].keys()
    tries = [names[turn % len(names)]] if rng.random() < 0.5 else []
    if gone and rng.random() < 0.3:
        tries.append("processor.return")
    while True:
        name = tries.pop() if tries else rng.choice(names)
        new = copy.deepcopy(definition)
        if EDITS[name](new, former, rng) and new != definition:
            return new, name


# ── requirements ─────────────────────────────────────────────────────────────────────────────


def _some(new: Definition, rng: random.Random) -> Definition:
    """Some processor's entry."""
    name = rng.choice(sorted(new["processors"]))
    entry: Definition = new["processors"][name]
    return entry


def _line(new: Definition, rng: random.Random, fits: Callable[[Definition], bool]) -> Any:
    """Some requirement that fits, or None."""
    lines = [r for p in sorted(new["processors"]) for r in new["processors"][p]["requires"]]
    found = [r for r in lines if fits(r)]
    return rng.choice(found) if found else None


def _remove_line(new: Definition, _: Any, rng: random.Random) -> bool:
    requires = _some(new, rng)["requires"]
    if len(requires) < 2:
        return False
    requires.pop(rng.randrange(len(requires)))
    return True


def _add_line(new: Definition, _: Any, rng: random.Random) -> bool:
    requires = _some(new, rng)["requires"]
    free = [t for t in RAW if not any(r.get("table") == t for r in requires)]
    requires.append({"table": rng.choice(free), "critical": rng.random() < 0.5})
    return True


def _set_line(
    key: str, values: Sequence[Any], fits: Callable[[Definition], bool] = lambda _: True
) -> Edit:
    """Set a key of some requirement, or take it away where the value is None."""

    def edit(new: Definition, _: Any, rng: random.Random) -> bool:
        line = _line(new, rng, fits)
        if line is None:
            return False
        _set(line, key, rng.choice(values))
        return True

    return edit


def _set(mapping: Definition, key: str, value: Any) -> None:
    if value is None:
        mapping.pop(key, None)
    else:
        mapping[key] = value


def _critical(new: Definition, _: Any, rng: random.Random) -> bool:
    line = _line(new, rng, lambda _: True)
    line["critical"] = not line.get("critical", True)
    return True


def _max_age(new: Definition, _: Any, rng: random.Random) -> bool:
    line = _line(new, rng, lambda r: "table" in r and not r.get("dates"))
    if line is None:
        return False
    _set(line, "max_age_hours_warn", None)
    _set(line, "max_age_hours_fail", None)
    if rng.random() < 0.7:
        line["max_age_hours_fail"] = rng.choice((1, 3, 12))
        line["max_age_hours_warn"] = 0.5
    return True


def _order(new: Definition, _: Any, rng: random.Random) -> bool:
    line = _line(new, rng, lambda r: "any_of" in r)
    if line is None:
        return False
    line["any_of"].reverse()
    return True


def _at_least(new: Definition, _: Any, rng: random.Random) -> bool:
    line = _line(new, rng, lambda r: "at_least" in r)
    if line is None:
        return False
    line["at_least"] = rng.randint(1, len(line["of"]))
    return True


def _window(new: Definition, _: Any, rng: random.Random) -> bool:
    line = _line(new, rng, lambda r: "table" in r and _looks_back(r))
    if line is None:
        return False
    span = {rng.choice(("last_game_dates", "window_days")): rng.choice((1, 2, 4))}
    line["dates"] = {**span, "min_ready": rng.choice((0.3, 0.5, 1.0))}
    return True


def _offset(new: Definition, _: Any, rng: random.Random) -> bool:
    line = _line(new, rng, lambda r: "table" in r and not _looks_back(r))
    if line is None:
        return False
    _set(line, "dates", rng.choice((None, {"offset": -1}, {"offset": -2})))
    return True


def _looks_back(line: Definition) -> bool:
    dates = line.get("dates") or {}
    return "last_game_dates" in dates or "window_days" in dates


def _by_game(new: Definition) -> Callable[[Definition], bool]:
    return lambda r: new["tables"].get(r.get("table"), {}).get("grain") == "game"


def _coverage(new: Definition, _: Any, rng: random.Random) -> bool:
    line = _line(new, rng, _by_game(new))
    if line is None:
        return False
    _set(line, "min_coverage", rng.choice((None, 0.3, 0.5, 1.0)))
    return True


# ── processors ───────────────────────────────────────────────────────────────────────────────


def _add_processor(new: Definition, former: Sequence[Definition], rng: random.Random) -> bool:
    names = {name for d in (*former, new) for name in d["processors"]}
    name = f"Added{len(names)}"
    new["processors"][name] = {
        "phase": 3,
        "output": f"nba_analytics.added_{len(names)}",
        "requires": [{"table": rng.choice(RAW)}],
    }
    return True


def _remove_processor(new: Definition, _: Any, rng: random.Random) -> bool:
    """Remove one, and the lines that name its output."""
    processors = new["processors"]
    if len(processors) < 2:
        return False
    output = processors.pop(rng.choice(sorted(processors)))["output"]
    for entry in processors.values():
        entry["requires"] = [
            r for r in entry["requires"] if output not in (r.get("any_of") or r.get("of") or ())
        ]
        entry["requires"] = [r for r in entry["requires"] if r.get("table") != output]
        if not entry["requires"]:
            entry["requires"] = [{"table": rng.choice(RAW)}]
    return True


def _return_processor(new: Definition, former: Sequence[Definition], rng: random.Random) -> bool:
    """Bring one back that an earlier definition had."""
    gone = [
        (name, entry)
        for d in former
        for name, entry in sorted(d["processors"].items())
        if name not in new["processors"]
    ]
    if not gone:
        return False
    name, entry = rng.choice(gone)
    new["processors"][name] = copy.deepcopy(entry)
    return True


def _set_processor(key: str, value: Callable[[random.Random], Any]) -> Edit:
    """Set a key of some processor, or take it away where the value is None."""

    def edit(new: Definition, _: Any, rng: random.Random) -> bool:
        _set(_some(new, rng), key, value(rng))
        return True

    return edit


def _set_default(new: Definition, _: Any, rng: random.Random) -> bool:
    key = rng.choice(sorted(_POLICIES))
    _set(new["defaults"], key, _POLICIES[key](rng))
    return True


def _output(new: Definition, former: Sequence[Definition], rng: random.Random) -> bool:
    """Let a processor write another table, in its own entry and in the lines that name it."""
    entry = _some(new, rng)
    old, fresh = entry["output"], f"{entry['output']}_v{len(former)}"
    entry["output"] = fresh
    for other in new["processors"].values():
        for r in other["requires"]:
            if r.get("table") == old:
                r["table"] = fresh
            for group in ("any_of", "of"):
                if group in r:
                    r[group] = [fresh if t == old else t for t in r[group]]
    return True


def _clock_time(rng: random.Random) -> Definition:
    at = f"{rng.choice((0, 1, 2, 4, 7, 16, 18, 20, 21, 22, 23)):02}:{rng.choice((0, 30)):02}"
    return {"at": at, "day": rng.choice((0, 0, 1))}


def _of(*values: Any) -> Callable[[random.Random], Any]:
    return lambda rng: rng.choice(values)


def _deadline(rng: random.Random) -> Definition | None:
    if rng.random() < 0.2:
        return None
    return {**_clock_time(rng), "then": rng.choice(("alert", "fire", "skip"))}


def _schedule(rng: random.Random) -> list[Definition] | None:
    if rng.random() < 0.2:
        return None
    return [
        {**_clock_time(rng), "when": rng.choice(("ready", "always"))}
        for _ in range(rng.choice((1, 1, 2)))
    ]


_POLICIES: Mapping[str, Callable[[random.Random], Any]] = {
    "grace": _of("0s", "2m", "30m"),
    "debounce": _of("0s", "45s", "3m"),
    "max_settle": _of("2m", "20m", None),
    "not_before": lambda rng: rng.choice((None, _clock_time(rng))),
    "cooldown": _of("30s", "5m", "90m"),
    "max_refires": _of(0, 1, 4),
    "deadline": _deadline,
    "schedule": _schedule,
    "run_timeout": _of("4m", "10m", None),
    "heartbeat_timeout": _of("1m", "3m", None),
    "claim_timeout": _of("2m", "5m", None),
    "attempts": _of(1, 2, 3),
    "retry_backoff": _of("5s", "1m", "10m"),
    "off_day": _of("skip", "run"),
}


# ── tables, the calendar, the file ───────────────────────────────────────────────────────────


def _set_table(key: str, value: Callable[[random.Random], Any], tables: Sequence[str]) -> Edit:
    def edit(new: Definition, _: Any, rng: random.Random) -> bool:
        _set(new["tables"][rng.choice(tables)], key, value(rng))
        return True

    return edit


def _table_aliases(new: Definition, _: Any, rng: random.Random) -> bool:
    name = rng.choice(RAW)
    short = name.split(".")[1]
    new["tables"][name]["aliases"] = rng.choice(([short], [short, f"{short}_feed"]))
    return True


def _known_from(new: Definition, _: Any, rng: random.Random) -> bool:
    _set(new["calendar"], "known_from", rng.choice((None, "2025-11-10", "2025-11-14")))
    return True


def _calendar_table(new: Definition, _: Any, rng: random.Random) -> bool:
    now = new["calendar"]["table"]
    new["calendar"]["table"] = LEAGUE if now == SCHEDULE else SCHEDULE
    return True


def _timezone(new: Definition, _: Any, rng: random.Random) -> bool:
    new["timezone"] = rng.choice(("America/New_York", "America/Los_Angeles", "UTC"))
    return True


def _rollback(new: Definition, former: Sequence[Definition], rng: random.Random) -> bool:
    """Back to a definition that was served before."""
    if not former:
        return False
    old = copy.deepcopy(former[-1] if rng.random() < 0.5 else rng.choice(former))
    new.clear()
    new.update(old)
    return True


EDITS: Final[Mapping[str, Edit]] = {
    "requires.remove": _remove_line,
    "requires.add": _add_line,
    "requires.critical": _critical,
    "requires.expected_count_min": _set_line("expected_count_min", (None, 1, 50, 200)),
    "requires.expected_count_per_game": _set_line("expected_count_per_game", (None, 2, 18)),
    "requires.min_coverage": _coverage,
    "requires.max_age": _max_age,
    "requires.prefer_for": _set_line("prefer_for", ("0s", "5m", "30m"), lambda r: "any_of" in r),
    "requires.any_of": _order,
    "requires.at_least": _at_least,
    "requires.window": _window,
    "requires.offset": _offset,
    "processor.add": _add_processor,
    "processor.remove": _remove_processor,
    "processor.return": _return_processor,
    "processor.phase": _set_processor("phase", _of(3, 4, 5)),
    "processor.aliases": _set_processor("aliases", lambda rng: [f"alias_{rng.randrange(1000)}"]),
    "processor.output": _output,
    "processor.entrypoint": _set_processor("entrypoint", _of("processors.analytics:Some", None)),
    "processor.launch": _set_processor(
        "launch", _of(None, {"local": True}, {"pubsub": "runs"}, {"http": "http://runner.test/"})
    ),
    **{f"policy.{key}": _set_processor(key, value) for key, value in _POLICIES.items()},
    "defaults": _set_default,
    "table.aliases": _table_aliases,
    "table.grain": _set_table("grain", _of("game", "date"), (BOX, TEAM, PBP, BDL)),
    "table.enabled": _set_table("enabled", _of(False, None), RAW),
    "calendar.known_from": _known_from,
    "calendar.table": _calendar_table,
    "timezone": _timezone,
    "rollback": _rollback,
}
"""Every edit by name."""
