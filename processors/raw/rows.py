"""Rows of every raw table for some games of a season.

Owns: which builder makes which table's rows, and the mark of their content. Refuses: storing them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any

from processors.errors import WarehouseError
from processors.raw import tables as raw
from processors.raw.season import Game, PlayerLine, Season
from processors.raw.synthetic import RawRow, play_rows, prop_rows
from processors.schema import Catalog

_TABLES = Catalog(*raw.RAW_TABLES)

Builder = Callable[[Season, Game, datetime, int], Sequence[RawRow]]


def rows_of(
    season: Season, table: str, games: Sequence[Game], loaded_at: datetime, seed: int
) -> list[RawRow]:
    """The rows of `table` for `games`, in the table's column order.

    `loaded_at` is written into every row; `seed` matters to synthetic tables only.
    Raises WarehouseError where `table` is not a raw table.
    """
    builder = _BUILDERS.get(table)
    if builder is None:
        raise WarehouseError(f"{table!r} is not a raw table; known: {', '.join(_BUILDERS)}")
    return [row for game in games for row in builder(season, game, loaded_at, seed)]


def content_hash(table: str, rows: Sequence[RawRow]) -> str:
    """`sha256:` mark of the rows' content: order and `loaded_at` do not matter to it."""
    declared = _TABLES.get(table)
    if declared is None:
        raise WarehouseError(f"table {table!r} is not a raw table")
    columns = list(declared.columns)
    key = [columns.index(name) for name in declared.key]
    stamp = columns.index("loaded_at")
    ordered = sorted(rows, key=lambda row: tuple(row[at] for at in key))
    content = [row[:stamp] + row[stamp + 1 :] for row in ordered]
    text = json.dumps([table, columns, content], default=_plain, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"no canonical form for {type(value).__name__}")


def _schedule(season: Season, game: Game, loaded_at: datetime, seed: int) -> list[RawRow]:
    return [(*game, loaded_at)]


def _scoreboard(season: Season, game: Game, loaded_at: datetime, seed: int) -> list[RawRow]:
    teams = (game.away_team, game.home_team, game.away_score, game.home_score)
    return [(game.game_id, game.game_date, *teams, game.status, loaded_at)]


def _player_lines(season: Season, game: Game, loaded_at: datetime, seed: int) -> list[RawRow]:
    return [(*line, loaded_at) for line in season.lines_of[game.game_id]]


def _team_stats(season: Season, game: Game, loaded_at: datetime, seed: int) -> list[RawRow]:
    lines = sorted(season.lines_of[game.game_id], key=lambda line: line.team)
    rows: list[RawRow] = []
    for _, group in groupby(lines, key=lambda line: line.team):
        members: list[PlayerLine] = list(group)
        first = members[0]
        minutes = round(sum(line.minutes for line in members), 2)
        counts: list[Any] = [sum(getattr(x, name) for x in members) for name in raw.COUNTS]
        head = (game.game_id, game.game_date, first.team, first.opponent, first.is_home)
        rows.append((*head, minutes, *counts, loaded_at))
    return rows


def _props(table: str) -> Builder:
    return lambda season, game, at, seed: prop_rows(season, table, game, at, seed)


def _plays(table: str) -> Builder:
    return lambda season, game, at, seed: play_rows(season, table, game, at, seed)


_BUILDERS: dict[str, Builder] = {
    raw.SCHEDULE: _schedule,
    raw.GAMEBOOK: _player_lines,
    raw.BDL_BOXSCORES: _player_lines,
    raw.SCOREBOARD: _scoreboard,
    raw.TEAM_STATS: _team_stats,
    raw.ODDS_API_PROPS: _props(raw.ODDS_API_PROPS),
    raw.BETTINGPROS_PROPS: _props(raw.BETTINGPROS_PROPS),
    raw.BIGDATABALL_PBP: _plays(raw.BIGDATABALL_PBP),
    raw.NBAC_PBP: _plays(raw.NBAC_PBP),
}
