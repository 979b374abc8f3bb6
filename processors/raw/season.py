"""A season's schedule and player lines, and the folder layout they are read from and written to.

Owns: the two records, the column layout of `schedule*.csv` and `player_box_scores*.csv`, and every
check of a value. Refuses: filling gaps; a value that cannot be read is a LayoutError that names
file, line, column, value and the fix.
"""

from __future__ import annotations

import csv
import io
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
MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_COUNT = 999
"""Most that a count or score may be; no game comes near it."""
MAX_TEXT_CHARS = 200

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DECIMAL = re.compile(r"\d{1,3}(\.\d{1,6})?", re.ASCII)
_COUNT_RULE = f"write a whole number of 0 or more, at most {MAX_COUNT}"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TEXT_RULE = f"must not be empty; write 1 to {MAX_TEXT_CHARS} characters without control characters"


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

    Raises FileNotFoundError where a kind of file is absent, LayoutError at the first bad value or
    broken rule, and where a file is no UTF-8 or no CSV.
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
        if (broken := broken_rule(line, game)) is not None:
            raise row.error(*broken)
        key = (line.game_id, line.team, line.player)
        if key in seen:
            raise row.error("player", "a second line of this player in this game; keep one")
        seen.add(key)
        lines.append(line)
    return Season(tuple(games), tuple(lines))


def broken_rule(line: PlayerLine, game: Game) -> tuple[str, str] | None:
    """The column of a player's line that breaks a rule, and what to do; None where none does.

    `game` is the line's game in the schedule: it alone says who played, and where.
    """
    home, away = game.home_team, game.away_team
    played = f"the schedule has {away} at {home} for this game"
    if line.game_date != game.game_date:
        return "game_date", f"the schedule says {game.game_date} for this game"
    if line.team not in (home, away):
        return "team", f"{played}; write one of the two"
    other = away if line.team == home else home
    if line.opponent != other:
        return "opponent", f"{played}; write {other} for a player of {line.team}"
    if line.is_home != (line.team == home):
        return "is_home", f"{played}; write 1 for the home team, 0 for the visitors"
    for made, attempted in (("fgm", "fga"), ("fg3m", "fg3a"), ("ftm", "fta")):
        if getattr(line, made) > getattr(line, attempted):
            most = getattr(line, attempted)
            return made, f"must be at most {attempted}, {most}; correct whichever is off"
    for part, whole in (("fg3m", "fgm"), ("fg3a", "fga")):
        if getattr(line, part) > getattr(line, whole):
            most = getattr(line, whole)
            return part, f"three-pointers are part of {whole}, {most}; correct whichever is off"
    if line.pts != 2 * line.fgm + line.fg3m + line.ftm:
        return "pts", "must be 2 * (fgm - fg3m) + 3 * fg3m + ftm; correct whichever is off"
    if line.reb != line.oreb + line.dreb:
        return "reb", "must be oreb + dreb; correct whichever is off"
    for column in COUNTS:
        if not 0 <= getattr(line, column) <= MAX_COUNT:
            return column, _COUNT_RULE
    return None


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

    def error(self, column: str, fix: str) -> LayoutError:
        return LayoutError(self.file, self.line, column, self.cells[column], fix)

    def read(self, column: str, parse: Callable[[str], T], fix: str) -> T:
        try:
            return parse(self.cells[column])
        except ValueError:
            raise self.error(column, fix) from None

    def text(self, column: str) -> str:
        return self.read(column, _text, _TEXT_RULE)

    def count(self, column: str) -> int:
        return self.read(column, _count, _COUNT_RULE)

    def score(self, column: str) -> int | None:
        if not self.cells[column]:
            return None
        return self.count(column)

    def day(self, column: str) -> date:
        return self.read(column, _day, "write a calendar date as YYYY-MM-DD")


def _game(row: _Row) -> Game:
    game = Game(
        game_id=row.text("game_id"),
        game_date=row.day("game_date"),
        tipoff_utc=row.read("tipoff_utc", _instant, "write it as 2024-10-22T23:30:00Z"),
        season_type=row.text("season_type"),
        label=row.text("label") if row.cells["label"] else "",
        away_team=row.text("away_team"),
        home_team=row.text("home_team"),
        away_score=row.score("away_score"),
        home_score=row.score("home_score"),
        status=row.text("status"),
    )
    if game.away_team == game.home_team:
        raise row.error("away_team", "a team does not play itself; write the visitors")
    if (game.away_score is None) != (game.home_score is None):
        column = "away_score" if game.away_score is None else "home_score"
        raise row.error(column, "a game has both scores or none; add this one")
    return game


def _line(row: _Row) -> PlayerLine:
    return PlayerLine(
        row.text("game_id"),
        row.day("game_date"),
        row.text("team"),
        row.text("opponent"),
        row.read("is_home", _flag, "write 1 for the home team, 0 for the visitors"),
        row.text("player"),
        row.read("minutes", _minutes, "write decimal minutes of 0 to 100, such as 26.08"),
        *(row.count(column) for column in COUNTS),
    )


def _rows(folder: Path, pattern: str, columns: tuple[str, ...]) -> Iterator[_Row]:
    files = sorted(folder.glob(pattern))
    if not files:
        raise FileNotFoundError(f"no file {pattern} in {folder}; the folder needs at least one")
    for path in files:
        yield from _rows_of(path.name, _read_text(path), columns)


def _read_text(path: Path) -> str:
    with path.open("rb") as stream:
        content = stream.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise LayoutError(
            path.name, 1, "", "", f"is longer than {MAX_FILE_BYTES:,} bytes; split the file"
        )
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        bad = repr(content[error.start : error.start + 1])[1:]
        raise LayoutError(
            path.name, line, "", bad, "is no UTF-8 from this byte on; save the file as UTF-8"
        ) from error


def _rows_of(file: str, text: str, columns: tuple[str, ...]) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        for column in columns:
            if header.count(column) != 1:
                fix = f"the header must name {column!r} once; it needs {', '.join(columns)}"
                raise LayoutError(file, 1, column, ",".join(header), fix)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                fix = f"this line has {len(cells)} cells, the header {len(header)}"
                raise LayoutError(file, reader.line_num, header[-1], ",".join(cells), fix)
            yield _Row(file, reader.line_num, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        line = max(1, reader.line_num)
        fix = f"is no CSV ({error}); look for a quotation mark that is not closed"
        raise LayoutError(file, line, "", "", fix) from error


def _refuse_repeats(folder: Path) -> None:
    seen: set[str] = set()
    for row in _rows(folder, SCHEDULE_FILES, SCHEDULE_COLUMNS):
        if row.cells["game_id"] in seen:
            raise row.error("game_id", "this game is in the schedule twice; keep one")
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
    if not value.strip() or len(value) > MAX_TEXT_CHARS or _CONTROL.search(value):
        raise ValueError
    return value


def _count(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= len(str(MAX_COUNT))):
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
    if not _DECIMAL.fullmatch(value) or float(value) > 100:
        raise ValueError
    return float(value)


def _grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, tuple[T, ...]]:
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return {group: tuple(members) for group, members in groups.items()}
