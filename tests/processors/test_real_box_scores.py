"""The analytics tables against real box scores and the league's final scores."""

from typing import Any

import pytest

from processors.analytics import PlayerGameSummaryProcessor
from processors.base import RunContext
from tests.processors.support import NOW, Bench

pytestmark = pytest.mark.data


def test_one_row_per_real_player_line(real_bench: Bench) -> None:
    stored = real_bench.rows("SELECT game_id, team, player FROM nba_analytics.player_game_summary")
    keys = sorted((row["game_id"], row["team"], row["player"]) for row in stored)
    lines = real_bench.season.lines
    assert keys == sorted((line.game_id, line.team, line.player) for line in lines)


def test_points_per_team_and_game_are_the_final_score(real_bench: Bench) -> None:
    expected: dict[tuple[str, str], int | None] = {}
    for game in real_bench.season.games:
        if game.game_id in real_bench.season.lines_of:
            expected[game.game_id, game.home_team] = game.home_score
            expected[game.game_id, game.away_team] = game.away_score
    players = real_bench.rows(
        "SELECT game_id, team, SUM(points) AS points FROM nba_analytics.player_game_summary"
        " GROUP BY game_id, team"
    )
    offense = real_bench.rows("SELECT * FROM nba_analytics.team_offense_game_summary")
    defense = real_bench.rows("SELECT * FROM nba_analytics.team_defense_game_summary")
    assert {(row["game_id"], row["team"]): row["points"] for row in players} == expected
    assert {(row["game_id"], row["team"]): row["points"] for row in offense} == expected
    allowed = {(row["game_id"], row["opponent"]): row["points_allowed"] for row in defense}
    assert allowed == expected


def test_ratings_and_four_factors_are_sane(real_bench: Bench) -> None:
    for row in real_bench.rows("SELECT * FROM nba_analytics.team_offense_game_summary"):
        assert 60 <= row["offensive_rating"] <= 165
        assert 60 <= row["defensive_rating"] <= 165
        assert 80 <= row["pace"] <= 120
        assert 0.3 <= row["effective_fg_pct"] <= 0.8
        assert 0 <= row["turnover_pct"] <= 35
        assert 0 <= row["offensive_rebound_pct"] <= 60
        assert 0 <= row["free_throw_rate"] <= 1
        assert row["won"] == (row["points"] > row["opponent_points"])


def test_what_one_team_scores_per_possession_the_other_allows(real_bench: Bench) -> None:
    offense = real_bench.rows("SELECT * FROM nba_analytics.team_offense_game_summary")
    defense = real_bench.rows("SELECT * FROM nba_analytics.team_defense_game_summary")
    allowed = {(row["game_id"], row["opponent"]): row for row in defense}
    for row in offense:
        against = allowed[row["game_id"], row["team"]]
        assert against["defensive_rating"] == pytest.approx(row["offensive_rating"], abs=0.02)
        assert against["opponent_turnovers"] == row["turnovers"]


def test_usage_is_a_share_of_the_teams_plays(real_bench: Bench) -> None:
    for row in real_bench.rows("SELECT * FROM nba_analytics.player_game_summary"):
        assert row["usage_rate"] is None or 0 <= row["usage_rate"] <= 100
        if row["minutes"] > 10:
            assert 0 <= row["usage_rate"] <= 60
            assert row["team_totals_source"] == "nba_analytics.team_offense_game_summary"


def test_formulas_agree_with_plain_arithmetic(real_bench: Bench) -> None:
    stored = {
        (row["game_id"], row["player"]): row
        for row in real_bench.rows("SELECT * FROM nba_analytics.player_game_summary")
    }
    for game_id, lines in real_bench.season.lines_of.items():
        for line in lines:
            team = [mate for mate in lines if mate.team == line.team]
            plays = sum(mate.fga + 0.44 * mate.fta + mate.tov for mate in team)
            minutes = sum(mate.minutes for mate in team) / 5
            row = stored[game_id, line.player]
            if line.minutes > 0:
                own = line.fga + 0.44 * line.fta + line.tov
                usage = min(100, 100 * own * minutes / (line.minutes * plays))
                assert row["usage_rate"] == pytest.approx(usage, abs=0.02)
            if line.fga + line.fta:
                shooting = line.pts / (2 * (line.fga + 0.44 * line.fta))
                assert row["true_shooting_pct"] == pytest.approx(shooting, abs=1e-3)
            else:
                assert row["true_shooting_pct"] is None


def test_a_rerun_gives_the_same_rows(real_bench: Bench) -> None:
    sql = (
        "SELECT * FROM nba_analytics.player_game_summary"
        " WHERE game_date = @game_date ORDER BY game_id, team, player"
    )
    game_date = real_bench.season.lines[0].game_date
    before = real_bench.rows(sql, game_date=game_date)
    result = PlayerGameSummaryProcessor().run(real_bench.warehouse, RunContext(game_date, 1, NOW))
    after: list[dict[str, Any]] = real_bench.rows(sql, game_date=game_date)
    assert result.record_count == len(before)
    assert after == before
