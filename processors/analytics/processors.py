"""The three analytics processors.

Owns: name, output, needs and SQL file of each. Refuses: everything else (see `processors.base`).
"""

from __future__ import annotations

from typing import ClassVar

from processors.analytics.tables import PLAYER_GAME_SUMMARY, TEAM_DEFENSE, TEAM_OFFENSE
from processors.base import Need, Processor
from processors.raw import tables as raw


class PlayerGameSummaryProcessor(Processor):
    """One row for every player's line of a date; the gamebook is preferred game by game."""

    name: ClassVar[str] = "PlayerGameSummaryProcessor"
    output: ClassVar[str] = PLAYER_GAME_SUMMARY
    requires: ClassVar[tuple[Need, ...]] = (
        Need((raw.GAMEBOOK, raw.BDL_BOXSCORES)),
        Need((TEAM_OFFENSE,), critical=False),
        Need((raw.ODDS_API_PROPS, raw.BETTINGPROS_PROPS), critical=False),
        Need((raw.BIGDATABALL_PBP, raw.NBAC_PBP), critical=False),
    )
    sql_file: ClassVar[str] = "player_game_summary.sql"


class TeamOffenseSummaryProcessor(Processor):
    """Two rows a game: what each team did with the ball."""

    name: ClassVar[str] = "TeamOffenseSummaryProcessor"
    output: ClassVar[str] = TEAM_OFFENSE
    requires: ClassVar[tuple[Need, ...]] = (
        Need((raw.TEAM_STATS, raw.BDL_BOXSCORES)),
        Need((raw.SCOREBOARD,), critical=False),
    )
    sql_file: ClassVar[str] = "team_offense_game_summary.sql"


class TeamDefenseSummaryProcessor(Processor):
    """Two rows a game: what each team let its opponent do."""

    name: ClassVar[str] = "TeamDefenseSummaryProcessor"
    output: ClassVar[str] = TEAM_DEFENSE
    requires: ClassVar[tuple[Need, ...]] = (
        Need((raw.BDL_BOXSCORES,)),
        Need((raw.SCOREBOARD,), critical=False),
    )
    sql_file: ClassVar[str] = "team_defense_game_summary.sql"
