"""The raw tables: names, columns, grain.

Owns: the one list of raw tables. Refuses: loading them. Tables whose rows no real source feeds
here say so in every row: `synthetic` is true.
"""

from __future__ import annotations

from collections.abc import Mapping

from processors.schema import BigQueryType, Table

SCHEDULE = "nba_raw.nbac_schedule"
GAMEBOOK = "nba_raw.nbac_gamebook_player_stats"
BDL_BOXSCORES = "nba_raw.bdl_player_boxscores"
SCOREBOARD = "nba_raw.nbac_scoreboard_v2"
TEAM_STATS = "nba_raw.nbac_team_stats"
ODDS_API_PROPS = "nba_raw.odds_api_player_points_props"
BETTINGPROS_PROPS = "nba_raw.bettingpros_player_points_props"
BIGDATABALL_PBP = "nba_raw.bigdataball_play_by_play"
NBAC_PBP = "nba_raw.nbac_play_by_play"

COUNTS = (
    *("fgm", "fga", "fg3m", "fg3a", "ftm", "fta", "oreb", "dreb", "reb"),
    *("ast", "stl", "blk", "tov", "pf", "pts"),
)
"""The whole-number columns of a box-score line, in the order of the files."""

_COUNT_COLUMNS: Mapping[str, BigQueryType] = dict.fromkeys(COUNTS, "INT64")

_SCHEDULE_COLUMNS: Mapping[str, BigQueryType] = {
    "game_id": "STRING",
    "game_date": "DATE",
    "tipoff_utc": "TIMESTAMP",
    "season_type": "STRING",
    "label": "STRING",
    "away_team": "STRING",
    "home_team": "STRING",
    "away_score": "INT64",
    "home_score": "INT64",
    "status": "STRING",
    "loaded_at": "TIMESTAMP",
}

_PLAYER_COLUMNS: Mapping[str, BigQueryType] = {
    "game_id": "STRING",
    "game_date": "DATE",
    "team": "STRING",
    "opponent": "STRING",
    "is_home": "BOOL",
    "player": "STRING",
    "minutes": "FLOAT64",
    **_COUNT_COLUMNS,
    "loaded_at": "TIMESTAMP",
}

_SCOREBOARD_COLUMNS: Mapping[str, BigQueryType] = {
    "game_id": "STRING",
    "game_date": "DATE",
    "away_team": "STRING",
    "home_team": "STRING",
    "away_score": "INT64",
    "home_score": "INT64",
    "status": "STRING",
    "loaded_at": "TIMESTAMP",
}

_TEAM_COLUMNS: Mapping[str, BigQueryType] = {
    "game_id": "STRING",
    "game_date": "DATE",
    "team": "STRING",
    "opponent": "STRING",
    "is_home": "BOOL",
    "minutes": "FLOAT64",
    **_COUNT_COLUMNS,
    "loaded_at": "TIMESTAMP",
}

_PROP_COLUMNS: Mapping[str, BigQueryType] = {
    "game_id": "STRING",
    "game_date": "DATE",
    "team": "STRING",
    "player": "STRING",
    "bookmaker": "STRING",
    "points_line": "FLOAT64",
    "over_price": "INT64",
    "under_price": "INT64",
    "synthetic": "BOOL",
    "loaded_at": "TIMESTAMP",
}

_PLAY_COLUMNS: Mapping[str, BigQueryType] = {
    "game_id": "STRING",
    "game_date": "DATE",
    "event_num": "INT64",
    "period": "INT64",
    "seconds_left": "INT64",
    "team": "STRING",
    "player": "STRING",
    "event_type": "STRING",
    "points": "INT64",
    "synthetic": "BOOL",
    "loaded_at": "TIMESTAMP",
}

_PLAYER_KEY = ("game_id", "team", "player")
_PROP_KEY = ("game_id", "team", "player", "bookmaker")

RAW_TABLES = (
    Table(SCHEDULE, _SCHEDULE_COLUMNS, ("game_id",)),
    Table(GAMEBOOK, _PLAYER_COLUMNS, _PLAYER_KEY, grain="game"),
    Table(BDL_BOXSCORES, _PLAYER_COLUMNS, _PLAYER_KEY),
    Table(SCOREBOARD, _SCOREBOARD_COLUMNS, ("game_id",)),
    Table(TEAM_STATS, _TEAM_COLUMNS, ("game_id", "team"), max_rows_per_game=2),
    Table(ODDS_API_PROPS, _PROP_COLUMNS, _PROP_KEY),
    Table(BETTINGPROS_PROPS, _PROP_COLUMNS, _PROP_KEY),
    Table(BIGDATABALL_PBP, _PLAY_COLUMNS, ("game_id", "event_num")),
    Table(NBAC_PBP, _PLAY_COLUMNS, ("game_id", "event_num")),
)

SYNTHETIC_TABLES = frozenset({ODDS_API_PROPS, BETTINGPROS_PROPS, BIGDATABALL_PBP, NBAC_PBP})
"""Tables whose rows the seeded generator of this package makes up."""
