"""Seeded stand-ins for sources that no file provides: betting lines and play-by-play.

Owns: making rows up from box scores so that they agree with them (a player's plays add up to his
line). Refuses: passing them off as real; every row says `synthetic`. The same seed and game give
the same rows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from processors.raw.season import Game, PlayerLine, Season
from processors.raw.tables import BETTINGPROS_PROPS, BIGDATABALL_PBP, NBAC_PBP, ODDS_API_PROPS

RawRow = tuple[Any, ...]

PROP_COVERAGE = {ODDS_API_PROPS: 0.40, BETTINGPROS_PROPS: 0.997}
"""Share of players with a line, as observed at the two real sources."""

BOOKMAKERS = {ODDS_API_PROPS: ("book_a", "book_b"), BETTINGPROS_PROPS: ("consensus",)}
_REGULATION_SECONDS = 2880
_PERIOD_SECONDS = 720
_OVERTIME_SECONDS = 300


def prop_rows(
    season: Season, table: str, game: Game, loaded_at: datetime, seed: int
) -> list[RawRow]:
    """Points lines for one game in the column order of `table`.

    A line is the player's mean points over the held box scores, nudged, to the nearest half.
    """
    draw = random.Random(f"{seed}:{table}:{game.game_id}")
    rows: list[RawRow] = []
    for line in season.lines_of[game.game_id]:
        covered = draw.random() < PROP_COVERAGE[table]
        who = (game.game_id, game.game_date, line.team, line.player)
        average = season.average_points[line.player]
        for book in BOOKMAKERS[table]:
            points_line = max(0.5, round(average + draw.uniform(-1.5, 1.5)) + 0.5)
            over = -110 + 5 * draw.randrange(-3, 4)
            if covered:
                rows.append((*who, book, points_line, over, -220 - over, True, loaded_at))
    return rows


def play_rows(
    season: Season, table: str, game: Game, loaded_at: datetime, seed: int
) -> list[RawRow]:
    """Plays of one game in the column order of `table`, in order of time.

    Shots, free throws, rebounds and turnovers of each player add up to his box score. The two
    play-by-play sources have the same plays.
    """
    if table not in (BIGDATABALL_PBP, NBAC_PBP):
        raise ValueError(f"{table} is not a play-by-play table")
    draw = random.Random(f"{seed}:plays:{game.game_id}")
    length = _game_seconds(season.lines_of[game.game_id])
    timed = [
        (int(draw.random() * length), number, play)
        for number, play in enumerate(
            play for line in season.lines_of[game.game_id] for play in _plays(line)
        )
    ]
    timed.sort()
    return [
        (game.game_id, game.game_date, number, *_clock(at), *play, True, loaded_at)
        for number, (at, _, play) in enumerate(timed, start=1)
    ]


def _plays(line: PlayerLine) -> Iterator[tuple[str, str, str, int]]:
    twos, threes_missed = line.fgm - line.fg3m, line.fg3a - line.fg3m
    for kind, points, times in (
        ("2pt_made", 2, twos),
        ("3pt_made", 3, line.fg3m),
        ("ft_made", 1, line.ftm),
        ("2pt_missed", 0, line.fga - line.fg3a - twos),
        ("3pt_missed", 0, threes_missed),
        ("ft_missed", 0, line.fta - line.ftm),
        ("offensive_rebound", 0, line.oreb),
        ("defensive_rebound", 0, line.dreb),
        ("turnover", 0, line.tov),
    ):
        for _ in range(times):
            yield line.team, line.player, kind, points


def _game_seconds(lines: tuple[PlayerLine, ...]) -> int:
    # Five players are on the floor, so a team's minutes are five times the game's length.
    minutes = sum(line.minutes for line in lines) / 10
    overtimes = max(0, round((minutes * 60 - _REGULATION_SECONDS) / _OVERTIME_SECONDS))
    return _REGULATION_SECONDS + overtimes * _OVERTIME_SECONDS


def _clock(elapsed: int) -> tuple[int, int]:
    """Period and seconds left in it, after `elapsed` seconds of play."""
    if elapsed < _REGULATION_SECONDS:
        period, within = divmod(elapsed, _PERIOD_SECONDS)
        return period + 1, _PERIOD_SECONDS - within
    overtime, within = divmod(elapsed - _REGULATION_SECONDS, _OVERTIME_SECONDS)
    return overtime + 5, _OVERTIME_SECONDS - within
