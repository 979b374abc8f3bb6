"""The registries that worlds are played under, as plain data (``edits`` changes them).

Plain data, because the judge of the laws reads the same data and not what the registry's loader
made of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from coordinator.registry import Registry, parse

Definition = dict[str, Any]

SCHEDULE = "nba_raw.nbac_schedule"
BOX = "nba_raw.nbac_gamebook_player_stats"
BDL = "nba_raw.bdl_player_boxscores"
PBP = "nba_raw.nbac_play_by_play"
BIG = "nba_raw.bigdataball_play_by_play"
TEAM = "nba_raw.nbac_team_boxscore"
ODDS = "nba_raw.odds_api_game_lines"
LEAGUE = "nba_raw.league_schedule"
"""A second schedule, to which the calendar may move."""

_GAMEWISE = frozenset({BOX, TEAM, PBP})


def _frame(defaults: Definition, processors: Definition, *, known: bool = True) -> Definition:
    calendar: Definition = {"table": SCHEDULE}
    if known:
        calendar["known_from"] = "2025-11-10"
    return {
        "version": 1,
        "timezone": "America/New_York",
        "calendar": calendar,
        "defaults": defaults,
        "tables": {
            name: {
                "aliases": [name.split(".")[1]],
                "grain": "game" if name in _GAMEWISE else "date",
            }
            for name in (SCHEDULE, LEAGUE, BOX, BDL, PBP, BIG, TEAM, ODDS)
        },
        "processors": processors,
    }


def _processor(phase: int, output: str, requires: list[Definition], **policy: Any) -> Definition:
    return {"phase": phase, "output": output, "requires": requires, **policy}


def chain() -> Definition:
    """Three phases in a row, with an edge inside the first."""
    return _frame(
        {"cooldown": "10m", "debounce": "1m", "retry_backoff": "20s", "max_refires": 3},
        {
            "TeamOffense": _processor(
                3,
                "nba_analytics.team_offense",
                [{"table": TEAM, "expected_count_per_game": 2}],
            ),
            "PlayerSummary": _processor(
                3,
                "nba_analytics.player_summary",
                [
                    {"table": BOX, "expected_count_per_game": 18},
                    {"table": "nba_analytics.team_offense"},
                    {"table": BIG, "critical": False},
                ],
                grace="15m",
            ),
            "DailyCache": _processor(
                4, "nba_precompute.daily_cache", [{"table": "nba_analytics.player_summary"}]
            ),
            "Predictions": _processor(
                5,
                "nba_predictions.points",
                [
                    {"table": "nba_precompute.daily_cache"},
                    {"table": "nba_analytics.player_summary"},
                ],
                attempts=1,
            ),
        },
    )


def groups() -> Definition:
    """Ordered alternatives and k of n, with offsets."""
    return _frame(
        {"cooldown": "5m", "debounce": "30s", "max_refires": 2, "claim_timeout": "3m"},
        {
            "Shots": _processor(
                3,
                "nba_analytics.shots",
                [
                    {"any_of": [BIG, PBP], "prefer_for": "20m"},
                    {"any_of": [BOX, BDL], "critical": False, "prefer_for": "5m"},
                ],
                grace="10m",
            ),
            "Consensus": _processor(
                4,
                "nba_precompute.consensus",
                [
                    {"at_least": 2, "of": [BOX, BDL, ODDS, "nba_analytics.shots"]},
                    {"table": SCHEDULE, "dates": {"offset": -1}, "critical": False},
                ],
                attempts=2,
            ),
            "Morning": _processor(
                4,
                "nba_precompute.morning",
                [{"table": "nba_analytics.shots", "dates": {"offset": -1}}, {"table": ODDS}],
                off_day="run",
            ),
        },
    )


def windows() -> Definition:
    """History: games, days and shares of them."""
    return _frame(
        {"cooldown": "5m", "max_refires": 2, "attempts": 2},
        {
            "Summary": _processor(
                3, "nba_analytics.player_summary", [{"table": BOX, "min_coverage": 0.5}]
            ),
            "Form": _processor(
                4,
                "nba_precompute.form",
                [
                    {
                        "table": "nba_analytics.player_summary",
                        "dates": {"last_game_dates": 2, "min_ready": 0.5},
                    },
                    {"table": ODDS},
                ],
            ),
            "Zones": _processor(
                4,
                "nba_precompute.zones",
                [
                    {"table": BDL, "dates": {"window_days": 3}},
                    {"table": "nba_analytics.player_summary"},
                    {"table": "nba_precompute.form", "critical": False},
                ],
                grace="5m",
            ),
        },
    )


def clocks() -> Definition:
    """Deadlines, schedules and the earliest instants; all on the day after the game date."""
    return _frame(
        {"cooldown": "20m", "debounce": "1m", "max_refires": 2},
        {
            "Alerting": _processor(
                3,
                "nba_analytics.alerting",
                [{"table": TEAM}, {"table": BOX}],
                deadline={"at": "03:00", "day": 1, "then": "alert"},
                not_before={"at": "01:00", "day": 1},
            ),
            "Firing": _processor(
                3,
                "nba_analytics.firing",
                [{"table": BOX, "expected_count_min": 100}, {"table": BIG, "critical": False}],
                grace="30m",
                deadline={"at": "04:00", "day": 1, "then": "fire"},
            ),
            "Skipping": _processor(
                3,
                "nba_analytics.skipping",
                [{"at_least": 2, "of": [BDL, ODDS, PBP]}],
                deadline={"at": "05:00", "day": 1, "then": "skip"},
                attempts=2,
            ),
            "Hybrid": _processor(
                5,
                "nba_predictions.hybrid",
                [{"table": "nba_analytics.firing"}],
                grace="0s",
                schedule=[
                    {"at": "06:00", "day": 1, "when": "ready"},
                    {"at": "08:00", "day": 1, "when": "always"},
                ],
            ),
        },
    )


def fresh() -> Definition:
    """Old loads, short timers, optional inputs only."""
    return _frame(
        {
            "cooldown": "1m",
            "max_refires": 4,
            "run_timeout": "4m",
            "heartbeat_timeout": "1m",
            "claim_timeout": "2m",
            "retry_backoff": "5s",
        },
        {
            "Lines": _processor(
                3,
                "nba_analytics.lines",
                [{"table": ODDS, "max_age_hours_warn": 1, "max_age_hours_fail": 3}],
                debounce="2m",
                max_settle="5m",
            ),
            "Whatever": _processor(
                3,
                "nba_analytics.whatever",
                [{"table": BDL, "critical": False}, {"table": BIG, "critical": False}],
                grace="3m",
                attempts=1,
            ),
            "Both": _processor(
                4,
                "nba_precompute.both",
                [{"table": "nba_analytics.lines"}, {"table": "nba_analytics.whatever"}],
            ),
        },
        known=False,
    )


def acts() -> Definition:
    """Every act of a deadline and of a schedule, at hours that the worlds' days pass."""
    return _frame(
        {"cooldown": "5m", "max_refires": 1, "attempts": 1, "retry_backoff": "10s"},
        {
            "Alert": _processor(
                3,
                "nba_analytics.alert",
                [{"table": BOX, "min_coverage": 0.5}, {"table": ODDS}],
                deadline={"at": "22:00", "day": 0, "then": "alert"},
            ),
            "Fire": _processor(
                3,
                "nba_analytics.fire",
                [{"table": BDL}, {"any_of": [BIG, PBP], "critical": False}],
                grace="2h",
                deadline={"at": "23:30", "day": 0, "then": "fire"},
            ),
            "Skip": _processor(
                3,
                "nba_analytics.skip",
                [{"table": TEAM}],
                deadline={"at": "02:00", "day": 1, "then": "skip"},
            ),
            "Always": _processor(
                4,
                "nba_precompute.always",
                [{"table": "nba_analytics.fire"}, {"table": BIG, "critical": False}],
                off_day="run",
                schedule=[
                    {"at": "23:00", "day": 0, "when": "always"},
                    {"at": "03:00", "day": 1, "when": "always"},
                    {"at": "04:30", "day": 1, "when": "ready"},
                ],
            ),
        },
    )


def season() -> Definition:
    """Long windows: one load is watched by every later date."""
    return _frame(
        {"cooldown": "5m", "max_refires": 2, "attempts": 2},
        {
            "Summary": _processor(
                3, "nba_analytics.player_summary", [{"table": BOX, "min_coverage": 0.5}]
            ),
            "Form": _processor(
                4,
                "nba_precompute.form",
                [
                    {"table": BOX, "dates": {"last_game_dates": 20, "min_ready": 0.2}},
                    {"table": ODDS},
                ],
            ),
            "Trend": _processor(
                4,
                "nba_precompute.trend",
                [
                    {"table": BDL, "dates": {"window_days": 90, "min_ready": 0.1}},
                    {"table": ODDS, "critical": False},
                ],
                grace="5m",
            ),
        },
    )


ALL: tuple[Callable[[], Definition], ...] = (chain, groups, windows, clocks, fresh, acts)
"""``season`` beside them is for worlds of many dates."""


def text(definition: Definition) -> str:
    """A definition as registry text (JSON is YAML)."""
    return json.dumps(definition, indent=1)


@lru_cache(maxsize=64)
def _parsed(written: str) -> Registry:
    return parse(written)


async def parse_once(written: str) -> Registry:
    """Parse a registry's text here, each text once. Raises ``RegistryError``."""
    return _parsed(written)


def registry(definition: Definition) -> Registry:
    """The registry of a definition. Raises ``BadInput`` for one that is not valid."""
    return _parsed(text(definition))
