"""The analytics tables: names, columns, units.

Owns: the declared shape of what the processors write. Refuses: computing it (see the `.sql`
files). Shares named `…_pct` are fractions of 1, as `…_rate`s are per field-goal attempt or possession,
except `usage_rate`, `turnover_pct`, `offensive_rebound_pct` and `defensive_rebound_pct`, which are
on the customary scale of 0 to 100. Ratings are points per 100 possessions, pace is possessions per
48 minutes, minutes are decimal.
"""

from __future__ import annotations

from collections.abc import Mapping

from processors.schema import BigQueryType, Table

PLAYER_GAME_SUMMARY = "nba_analytics.player_game_summary"
TEAM_OFFENSE = "nba_analytics.team_offense_game_summary"
TEAM_DEFENSE = "nba_analytics.team_defense_game_summary"

_RUN_COLUMNS: Mapping[str, BigQueryType] = {"generation": "INT64", "computed_at": "TIMESTAMP"}

_PLAYER_COLUMNS: Mapping[str, BigQueryType] = {
    "game_id": "STRING",
    "game_date": "DATE",
    "team": "STRING",
    "opponent": "STRING",
    "is_home": "BOOL",
    "player": "STRING",
    "minutes": "FLOAT64",
    "points": "INT64",
    "rebounds": "INT64",
    "offensive_rebounds": "INT64",
    "defensive_rebounds": "INT64",
    "assists": "INT64",
    "steals": "INT64",
    "blocks": "INT64",
    "turnovers": "INT64",
    "personal_fouls": "INT64",
    "fg_made": "INT64",
    "fg_attempts": "INT64",
    "three_pt_made": "INT64",
    "three_pt_attempts": "INT64",
    "ft_made": "INT64",
    "ft_attempts": "INT64",
    "true_shooting_pct": "FLOAT64",
    "effective_fg_pct": "FLOAT64",
    "usage_rate": "FLOAT64",
    "stats_source": "STRING",
    "team_totals_source": "STRING",
    "points_line": "FLOAT64",
    "points_over_line": "FLOAT64",
    "points_line_source": "STRING",
    "points_line_synthetic": "BOOL",
    "late_points": "INT64",
    "play_by_play_source": "STRING",
    "play_by_play_synthetic": "BOOL",
    **_RUN_COLUMNS,
}

_TEAM_HEAD: Mapping[str, BigQueryType] = {
    "game_id": "STRING",
    "game_date": "DATE",
    "team": "STRING",
    "opponent": "STRING",
    "is_home": "BOOL",
    "minutes": "FLOAT64",
}

_OFFENSE_COLUMNS: Mapping[str, BigQueryType] = {
    **_TEAM_HEAD,
    "points": "INT64",
    "opponent_points": "INT64",
    "won": "BOOL",
    "fg_made": "INT64",
    "fg_attempts": "INT64",
    "three_pt_made": "INT64",
    "three_pt_attempts": "INT64",
    "ft_made": "INT64",
    "ft_attempts": "INT64",
    "offensive_rebounds": "INT64",
    "defensive_rebounds": "INT64",
    "rebounds": "INT64",
    "assists": "INT64",
    "turnovers": "INT64",
    "personal_fouls": "INT64",
    "possessions": "FLOAT64",
    "pace": "FLOAT64",
    "offensive_rating": "FLOAT64",
    "defensive_rating": "FLOAT64",
    "net_rating": "FLOAT64",
    "effective_fg_pct": "FLOAT64",
    "turnover_pct": "FLOAT64",
    "offensive_rebound_pct": "FLOAT64",
    "free_throw_rate": "FLOAT64",
    "true_shooting_pct": "FLOAT64",
    "box_source": "STRING",
    "score_source": "STRING",
    **_RUN_COLUMNS,
}

_DEFENSE_COLUMNS: Mapping[str, BigQueryType] = {
    **_TEAM_HEAD,
    "points_allowed": "INT64",
    "points_scored": "INT64",
    "steals": "INT64",
    "blocks": "INT64",
    "defensive_rebounds": "INT64",
    "personal_fouls": "INT64",
    "opponent_fg_made": "INT64",
    "opponent_fg_attempts": "INT64",
    "opponent_three_pt_made": "INT64",
    "opponent_three_pt_attempts": "INT64",
    "opponent_ft_made": "INT64",
    "opponent_ft_attempts": "INT64",
    "opponent_offensive_rebounds": "INT64",
    "opponent_assists": "INT64",
    "opponent_turnovers": "INT64",
    "opponent_possessions": "FLOAT64",
    "pace": "FLOAT64",
    "defensive_rating": "FLOAT64",
    "opponent_effective_fg_pct": "FLOAT64",
    "opponent_turnover_pct": "FLOAT64",
    "defensive_rebound_pct": "FLOAT64",
    "opponent_free_throw_rate": "FLOAT64",
    "score_source": "STRING",
    **_RUN_COLUMNS,
}

ANALYTICS_TABLES = (
    Table(PLAYER_GAME_SUMMARY, _PLAYER_COLUMNS, ("game_id", "team", "player")),
    Table(TEAM_OFFENSE, _OFFENSE_COLUMNS, ("game_id", "team"), max_rows_per_game=2),
    Table(TEAM_DEFENSE, _DEFENSE_COLUMNS, ("game_id", "team"), max_rows_per_game=2),
)
