"""A made-up season in the layout of the real files, for demonstrations and tests without them.

Owns: seeded, plausible and consistent games and player lines: a team's points add up to the
schedule's score, its minutes to five times the game's length, a player's points to his shots.
Refuses: being mistaken for real data; the players' names are invented. One seed gives one season.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from processors.raw.season import Game, PlayerLine, Season

TEAMS = (
    *("ATL", "BKN", "BOS", "CHA", "CHI", "CLE", "DAL", "DEN", "DET", "GSW"),
    *("HOU", "IND", "LAC", "LAL", "MEM", "MIA", "MIL", "MIN", "NOP", "NYK"),
    *("OKC", "ORL", "PHI", "PHX", "POR", "SAC", "SAS", "TOR", "UTA", "WAS"),
)
FIRST_DATE = date(2024, 10, 22)
GAMES_PER_DATE = (2, 10, 4, 12, 8, 0, 9, 5, 1, 7, 11, 3, 6, 8)
"""Games on each date of the default sample; the sixth date is an off day."""

ROTATION_WEIGHTS = (34, 33, 32, 30, 28, 22, 19, 16, 12, 8, 6)
"""Minutes, before they are drawn and scaled, of each player in a team's order."""

_EASTERN = ZoneInfo("America/New_York")
_TIPOFFS = ((19, 0), (19, 30), (20, 0), (21, 0), (22, 0), (22, 30))
_OVERTIME_SHARE = 0.06
_FIRST_NAMES = (
    "Abel",
    "Bram",
    "Cato",
    "Dario",
    "Emil",
    "Falk",
    "Gino",
    "Hugo",
    "Ivo",
    "Joss",
    "Kito",
)
_LAST_NAMES = (
    *("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Gum", "Hazel", "Ivy", "Juniper"),
    *("Kapok", "Larch", "Maple", "Nutmeg", "Oak", "Pine", "Quince", "Rowan", "Sorrel", "Teak"),
    *("Umber", "Vine", "Willow", "Yew", "Zelkova", "Ash", "Beech", "Cypress", "Ebony", "Fig"),
)


def sample_season(
    *,
    seed: int = 7,
    first_date: date = FIRST_DATE,
    games_per_date: Sequence[int] = GAMES_PER_DATE,
) -> Season:
    """A season with `games_per_date[i]` games on the i-th date from `first_date` on.

    Raises ValueError for more than 15 games on a date, since 30 teams play one game each.
    """
    if not all(0 <= games <= len(TEAMS) // 2 for games in games_per_date):
        raise ValueError("a date has 0 to 15 games")
    games: list[Game] = []
    lines: list[PlayerLine] = []
    for offset, count in enumerate(games_per_date):
        game_date = first_date + timedelta(days=offset)
        draw = random.Random(f"{seed}:{game_date.isoformat()}")
        teams = draw.sample(TEAMS, 2 * count)
        for away, home in zip(teams[::2], teams[1::2], strict=True):
            game_id = f"00224{len(games) + 1:05d}"
            game, played = _game(draw, game_id, game_date, away, home)
            games.append(game)
            lines.extend(played)
    return Season(tuple(games), tuple(lines))


def roster(team: str) -> tuple[str, ...]:
    """The invented players of one of TEAMS, in the order of their weight in the rotation."""
    last = _LAST_NAMES[TEAMS.index(team)]
    return tuple(f"{first} {last}" for first in _FIRST_NAMES)


@dataclass(frozen=True)
class _Shooting:
    """What one player did with the ball; the rest of his line depends on the opponent."""

    player: str
    minutes: float
    fgm: int
    fga: int
    fg3m: int
    fg3a: int
    ftm: int
    fta: int

    @property
    def points(self) -> int:
        return 2 * self.fgm + self.fg3m + self.ftm


def _game(
    draw: random.Random, game_id: str, game_date: date, away: str, home: str
) -> tuple[Game, list[PlayerLine]]:
    overtime = draw.random() < _OVERTIME_SHARE
    length = 53 if overtime else 48
    sides = {team: _shooting(draw, team, length) for team in (away, home)}
    if _points(sides[away]) == _points(sides[home]):
        sides[home][0] = _with_a_basket_more(sides[home][0])
    hour, minute = draw.choice(_TIPOFFS)
    tipoff = datetime(game_date.year, game_date.month, game_date.day, hour, minute, tzinfo=_EASTERN)
    game = Game(
        game_id=game_id,
        game_date=game_date,
        tipoff_utc=tipoff.astimezone(UTC),
        season_type="regular",
        label="Sample",
        away_team=away,
        home_team=home,
        away_score=_points(sides[away]),
        home_score=_points(sides[home]),
        status="Final/OT" if overtime else "Final",
    )
    return game, [
        *_lines(draw, game, home, sides[home], sides[away]),
        *_lines(draw, game, away, sides[away], sides[home]),
    ]


def _shooting(draw: random.Random, team: str, length: int) -> list[_Shooting]:
    playing = [
        (player, weight * draw.uniform(0.85, 1.15))
        for player, weight in zip(roster(team), ROTATION_WEIGHTS, strict=True)
    ]
    minutes = _minutes([weight for _, weight in playing], 5 * length)
    side = []
    for (player, _), played in zip(playing, minutes, strict=True):
        fga = _times(draw, played * 0.367 * draw.uniform(0.6, 1.4))
        fg3a = _successes(draw, fga, 0.4)
        fg3m = _successes(draw, fg3a, 0.36)
        fgm = fg3m + _successes(draw, fga - fg3a, 0.54)
        fta = _times(draw, played * 0.09 * draw.uniform(0.3, 1.7))
        ftm = _successes(draw, fta, 0.78)
        side.append(_Shooting(player, played, fgm, fga, fg3m, fg3a, ftm, fta))
    return side


def _lines(
    draw: random.Random,
    game: Game,
    team: str,
    own: list[_Shooting],
    other: list[_Shooting],
) -> list[PlayerLine]:
    weights = [player.minutes for player in own]
    own_made = sum(player.fgm for player in own)
    own_missed = sum(player.fga - player.fgm for player in own)
    other_missed = sum(player.fga - player.fgm for player in other)
    offensive = _shared(draw, _successes(draw, own_missed, 0.24), weights)
    defensive = _shared(draw, _successes(draw, other_missed, 0.72), weights)
    assists = _shared(draw, _successes(draw, own_made, 0.62), weights)
    steals = _shared(draw, draw.randrange(4, 11), weights)
    blocks = _shared(draw, draw.randrange(2, 8), weights)
    turnovers = _shared(draw, draw.randrange(10, 19), weights)
    fouls = _shared(draw, draw.randrange(15, 25), weights)
    home = team == game.home_team
    return [
        PlayerLine(
            game_id=game.game_id,
            game_date=game.game_date,
            team=team,
            opponent=game.away_team if home else game.home_team,
            is_home=home,
            player=player.player,
            minutes=player.minutes,
            fgm=player.fgm,
            fga=player.fga,
            fg3m=player.fg3m,
            fg3a=player.fg3a,
            ftm=player.ftm,
            fta=player.fta,
            oreb=offensive[at],
            dreb=defensive[at],
            reb=offensive[at] + defensive[at],
            ast=assists[at],
            stl=steals[at],
            blk=blocks[at],
            tov=turnovers[at],
            pf=min(6, fouls[at]),
            pts=player.points,
        )
        for at, player in enumerate(own)
    ]


def _minutes(weights: list[float], total: int) -> list[float]:
    """Minutes in hundredths in proportion to `weights` that add up to `total`."""
    hundredths = [int(100 * total * weight / sum(weights)) for weight in weights]
    hundredths[-1] += 100 * total - sum(hundredths)
    return [each / 100 for each in hundredths]


def _points(side: list[_Shooting]) -> int:
    return sum(player.points for player in side)


def _with_a_basket_more(player: _Shooting) -> _Shooting:
    return replace(player, fgm=player.fgm + 1, fga=player.fga + 1)


def _successes(draw: random.Random, tries: int, share: float) -> int:
    return sum(draw.random() < share for _ in range(tries))


def _times(draw: random.Random, mean: float) -> int:
    """`mean` rounded up or down at random, so that it is kept on average."""
    whole = int(mean)
    return whole + (draw.random() < mean - whole)


def _shared(draw: random.Random, total: int, weights: list[float]) -> list[int]:
    """`total` handed out one by one at random, in proportion to `weights`."""
    shares = [0] * len(weights)
    for winner in draw.choices(range(len(weights)), weights, k=total):
        shares[winner] += 1
    return shares
