"""A season's schedule and player lines, and the folder layout they are read from and written to.

Owns: the two records, the column layout of `schedule*.csv` and `player_box_scores*.csv`, and every
check of a value. Refuses: filling gaps; a value that cannot be read is a LayoutError that names
file, line, column, value and the mend.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

from processors.errors import LayoutError
from processors.raw.tables import COUNTS

T = TypeVar("T")
K = TypeVar("K")

SCHEDULE_COLUMNS = (
    *("game_id", "game_date", "tipoff_utc", "season_type", "label"),
    *("away_team", "home_team", "away_score", "home_score", "status"),
)
BOX_COLUMNS = (
    *("game_id", "game_date", "team", "opponent", "is_home", "player", "minutes"),
    *COUNTS,
)
SCHEDULE_FILES = "schedule*.csv"
BOX_FILES = "player_box_scores*.csv"
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class Game(NamedTuple):
    """One game of the schedule; scores are None until it is played."""

    game_id: str
    game_date: date
    tipoff_utc: datetime
    season_type: str
    label: str
    away_team: str
    home_team: str
    away_score: int | None
    home_score: int | None
    status: str


class PlayerLine(NamedTuple):
    """One player's box score in one game; `minutes` is decimal."""

    game_id: str
    game_date: date
    team: str
    opponent: str
    is_home: bool
    player: str
    minutes: float
    fgm: int
    fga: int
    fg3m: int
    fg3a: int
    ftm: int
    fta: int
    oreb: int
    dreb: int
    reb: int
    ast: int
    stl: int
    blk: int
    tov: int
    pf: int
    pts: int


@dataclass(frozen=True)
class Season:
    """Games and player lines, indexed by date. Dates are those of the schedule."""

    games: tuple[Game, ...]
    lines: tuple[PlayerLine, ...]

    @cached_property
    def games_on(self) -> dict[date, tuple[Game, ...]]:
        """Games by date, each date's in order of tip-off and id."""
        ordered = sorted(self.games, key=lambda game: (game.game_date, game.tipoff_utc, game[0]))
        return _grouped(ordered, lambda game: game.game_date)

    @cached_property
    def lines_of(self) -> dict[str, tuple[PlayerLine, ...]]:
        """Player lines by game id, in the order of the files."""
        return _grouped(self.lines, lambda line: line.game_id)

    @cached_property
    def average_points(self) -> dict[str, float]:
        """Mean points of each player over all the lines that are held."""
        points = _grouped(self.lines, lambda line: line.player)
        return {player: sum(x.pts for x in own) / len(own) for player, own in points.items()}

    @property
    def dates(self) -> tuple[date, ...]:
        """Dates with at least one game, ascending."""
        return tuple(self.games_on)

    def played_on(self, game_date: date) -> tuple[Game, ...]:
        """The date's games whose player lines are held, in order of tip-off."""
        return tuple(g for g in self.games_on.get(game_date, ()) if g.game_id in self.lines_of)


def read_folder(folder: Path) -> Season:
    """Read every `schedule*.csv` and `player_box_scores*.csv` of `folder`.

    Raises FileNotFoundError where a kind of file is absent, LayoutError at the first bad value.
    """
    games = [_game(row) for row in _rows(folder, SCHEDULE_FILES, SCHEDULE_COLUMNS)]
    lines: list[PlayerLine] = []
    known = {game.game_id: game for game in games}
    if len(known) != len(games):
        _refuse_repeats(folder)
    seen: set[tuple[str, str, str]] = set()
    for row in _rows(folder, BOX_FILES, BOX_COLUMNS):
        line = _line(row)
        game = known.get(line.game_id)
        if game is None:
            raise row.error("game_id", "no schedule file has this game; add it there")
        if game.game_date != line.game_date:
            raise row.error("game_date", f"the schedule says {game.game_date} for this game")
        key = (line.game_id, line.team, line.player)
        if key in seen:
            raise row.error("player", "a second line of this player in this game; keep one")
        seen.add(key)
        lines.append(line)
    return Season(tuple(games), tuple(lines))


def write_folder(season: Season, folder: Path) -> tuple[Path, Path]:
    """Write `season` in the layout that read_folder reads; returns the two paths."""
    folder.mkdir(parents=True, exist_ok=True)
    schedule, box = folder / "schedule.csv", folder / "player_box_scores.csv"
    _write(schedule, SCHEDULE_COLUMNS, season.games)
    _write(box, BOX_COLUMNS, season.lines)
    return schedule, box


class _Row:
    """One CSV row with its place, and typed access to its cells."""

    def __init__(self, file: str, line: int, cells: dict[str, str]) -> None:
        self.file = file
        self.line = line
        self.cells = cells

    def error(self, column: str, mend: str) -> LayoutError:
        return LayoutError(self.file, self.line, column, self.cells[column], mend)

    def read(self, column: str, parse: Callable[[str], T], mend: str) -> T:
        try:
            return parse(self.cells[column])
        except ValueError:
            raise self.error(column, mend) from None

    def text(self, column: str) -> str:
        return self.read(column, _text, "must not be empty")

    def count(self, column: str) -> int:
        return self.read(column, _count, "write a whole number of 0 or more")

    def score(self, column: str) -> int | None:
        if not self.cells[column]:
            return None
        return self.count(column)

    def day(self, column: str) -> date:
        return self.read(column, _day, "write a calendar date as YYYY-MM-DD")


def _game(row: _Row) -> Game:
    return Game(
        game_id=row.text("game_id"),
        game_date=row.day("game_date"),
        tipoff_utc=row.read("tipoff_utc", _instant, "write it as 2024-10-22T23:30:00Z"),
        season_type=row.text("season_type"),
        label=row.cells["label"],
        away_team=row.text("away_team"),
        home_team=row.text("home_team"),
        away_score=row.score("away_score"),
        home_score=row.score("home_score"),
        status=row.text("status"),
    )


def _line(row: _Row) -> PlayerLine:
    line = PlayerLine(
        row.text("game_id"),
        row.day("game_date"),
        row.text("team"),
        row.text("opponent"),
        row.read("is_home", _flag, "write 1 for the home team, 0 for the visitors"),
        row.text("player"),
        row.read("minutes", _minutes, "write decimal minutes of 0 or more, such as 26.08"),
        *(row.count(column) for column in COUNTS),
    )
    if line.pts != 2 * line.fgm + line.fg3m + line.ftm:
        raise row.error("pts", "must be 2 * (fgm - fg3m) + 3 * fg3m + ftm; mend whichever is off")
    if line.reb != line.oreb + line.dreb:
        raise row.error("reb", "must be oreb + dreb; mend whichever is off")
    return line


def _rows(folder: Path, pattern: str, columns: tuple[str, ...]) -> Iterator[_Row]:
    files = sorted(folder.glob(pattern))
    if not files:
        raise FileNotFoundError(f"no file {pattern} in {folder}; the folder needs at least one")
    for path in files:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            yield from _rows_of(path.name, stream, columns)


def _rows_of(file: str, stream: Iterable[str], columns: tuple[str, ...]) -> Iterator[_Row]:
    reader = csv.reader(stream)
    header = next(reader, [])
    for column in columns:
        if header.count(column) != 1:
            mend = f"the header must name {column!r} once; it needs {', '.join(columns)}"
            raise LayoutError(file, 1, column, ",".join(header), mend)
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(header):
            mend = f"this line has {len(cells)} cells, the header {len(header)}"
            raise LayoutError(file, reader.line_num, header[-1], ",".join(cells), mend)
        yield _Row(file, reader.line_num, dict(zip(header, cells, strict=True)))


def _refuse_repeats(folder: Path) -> None:
    seen: set[str] = set()
    for row in _rows(folder, SCHEDULE_FILES, SCHEDULE_COLUMNS):
        if row.cells["game_id"] in seen:
            raise row.error("game_id", "this game stands in the schedule twice; keep one")
        seen.add(row.cells["game_id"])


def _write(path: Path, columns: tuple[str, ...], records: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(value) for value in record] for record in records)


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return "" if value is None else value


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError
    return value


def _count(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError
    return int(value)


def _day(value: str) -> date:
    if not _ISO_DATE.fullmatch(value):
        raise ValueError
    return date.fromisoformat(value)


def _instant(value: str) -> datetime:
    instant = datetime.fromisoformat(value)
    if instant.tzinfo is None:
        raise ValueError
    return instant.astimezone(UTC)


def _flag(value: str) -> bool:
    if value not in ("0", "1"):
        raise ValueError
    return value == "1"


def _minutes(value: str) -> float:
    minutes = float(value)
    if not 0 <= minutes <= 100:
        raise ValueError
    return minutes


def _grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, tuple[T, ...]]:
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return {group: tuple(members) for group, members in groups.items()}
