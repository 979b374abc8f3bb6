"""The shipped registry played over nights: what is enough for a real one, and the notices of a bad one."""

import json
from collections import Counter
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from coordinator.registry import load
from coordinator.scenario import play
from processors.raw.season import read_folder

ROOT = Path(__file__).parents[2]
PLAYER = "PlayerGameSummaryProcessor"
BOX = "nba_raw.bdl_player_boxscores"
GAMEBOOK = "nba_raw.nbac_gamebook_player_stats"
SCORES = "nba_raw.nbac_scoreboard_v2"
EIGHT_IN_THE_MORNING = "2025-11-16T13:00:00Z"


def night(*steps: dict[str, Any]) -> list[str]:
    """Play a night of one game by the shipped registry; returns what differs."""
    registry = indent((ROOT / "registry.yaml").read_text(encoding="utf-8"), "  ")
    written = json.dumps([{"calendar": {"games": ["g1"]}}, *steps])
    story = f"""\
story: A night
registry:
{registry}
start: "2025-11-16T04:00:00Z"
game_date: "2025-11-15"
runners: {{status: success}}
steps: {written}
"""
    result = play(story)
    assert result.checks > 0
    return [str(each) for each in result.mismatches]


def lines(count: int) -> list[dict[str, Any]]:
    return [
        {"event": {"table": table, "game_ids": ["g1"], "record_count": count}}
        for table in (GAMEBOOK, BOX)
    ] + [{"event": {"table": SCORES, "game_ids": ["g1"], "record_count": 1}}]


@pytest.mark.parametrize("count", [16, 17])
def test_a_game_with_eight_players_a_team_is_enough(count: int) -> None:
    fired = [
        {"run_id": f"{name}:2025-11-15:1"}
        for name in ("TeamDefenseSummaryProcessor", PLAYER, "TeamOffenseSummaryProcessor")
    ]
    assert not night(
        *lines(count),
        {"at": "+1h", "expect": {"launches": fired, "notices": []}},
        {"at": EIGHT_IN_THE_MORNING, "expect": {"notices": []}},
    )


def test_a_night_with_lines_missing_alerts_people_at_eight_in_the_morning() -> None:
    waiting = {"status": "waiting", "flags": ["overdue"]}
    assert not night(
        *lines(15),
        {"at": "2025-11-16T12:59:59Z", "expect": {"launches": [], "notices": []}},
        {
            "at": EIGHT_IN_THE_MORNING,
            "expect": {"notices": ["deadline"] * 3, "partitions": {PLAYER: waiting}},
        },
        *lines(16),
        {"at": "+1h", "expect": {"partitions": {PLAYER: {"status": "succeeded"}}}},
    )


@pytest.mark.data
def test_every_real_game_has_the_lines_that_the_shipped_registry_asks_for(test_data: Path) -> None:
    held = Counter(line.game_id for line in read_folder(test_data).lines)
    asked = [
        r.expected_count_per_game
        for spec in load(ROOT / "registry.yaml").processors.values()
        for r in spec.requirements
        if set(r.sources) & {BOX, GAMEBOOK}
    ]
    assert asked == [16] * 4
    assert min(held.values()) >= 16
