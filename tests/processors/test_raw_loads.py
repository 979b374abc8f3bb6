"""Reading folders, loading raw tables, and what is published about it."""

import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

from processors.errors import LayoutError, ProcessorError, RowError
from processors.raw import season as season_module
from processors.raw import tables as raw
from processors.raw.loader import PROCESSOR_NAMES
from processors.raw.season import Season, read_folder, write_folder
from processors.sample import sample_season
from tests.processors.support import NOW, Bench

DAY = date(2024, 10, 22)
OFF_DAY = date(2024, 10, 27)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small = sample_season(games_per_date=(2, 1))
    write_folder(small, tmp_path / "season")
    return tmp_path / "season"


def edit(path: Path, line: int, old: str, new: str) -> None:
    lines = path.read_text().splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path.write_text("\n".join(lines) + "\n")


def test_a_written_season_reads_back_the_same(tmp_path: Path, season: Season) -> None:
    write_folder(season, tmp_path)
    assert read_folder(tmp_path) == season


@pytest.mark.data
def test_the_real_folder_reads_whole(real_season: Season) -> None:
    assert len(real_season.games) >= 293
    assert all(game.tipoff_utc.tzinfo is not None for game in real_season.games)


def test_several_files_of_a_kind_are_one_season(folder: Path) -> None:
    box = folder / "player_box_scores.csv"
    header, *lines = box.read_text().splitlines()
    for name, part in (("a", lines[:30]), ("b", lines[30:])):
        (folder / f"player_box_scores_{name}.csv").write_text("\n".join([header, *part]) + "\n")
    box.unlink()
    assert len(read_folder(folder).lines) == len(lines)


@pytest.mark.parametrize(
    ("file", "line", "old", "new", "said"),
    [
        ("schedule.csv", 1, "home_score", "home_points", "must name 'home_score' once"),
        ("schedule.csv", 2, "2024-10-22,", "20241022,", "write a calendar date as YYYY-MM-DD"),
        ("schedule.csv", 2, "Z,", ",", "write it as 2024-10-22T23:30:00Z"),
        ("player_box_scores.csv", 3, "0022400001", "0022499999", "no schedule file has this game"),
        ("player_box_scores.csv", 3, ",1,", ",yes,", "write 1 for the home team"),
    ],
)
def test_a_bad_value_is_named_with_its_place_and_fix(
    folder: Path, file: str, line: int, old: str, new: str, said: str
) -> None:
    edit(folder / file, line, old, new)
    with pytest.raises(LayoutError) as caught:
        read_folder(folder)
    assert (caught.value.file, caught.value.line) == (file, line)
    assert said in str(caught.value)
    assert f"{file}, line {line}, column" in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("fgm", "many", "write a whole number of 0 or more"),
        ("minutes", "-3", "write decimal minutes"),
        ("minutes", "nan", "write decimal minutes"),
        ("pts", "199", "must be 2 * (fgm - fg3m) + 3 * fg3m + ftm"),
        ("player", "", "must not be empty"),
        ("game_date", "2024-10-23", "the schedule says 2024-10-22"),
    ],
)
def test_a_bad_cell_of_a_line_is_named(folder: Path, column: str, value: str, said: str) -> None:
    box = folder / "player_box_scores.csv"
    lines = box.read_text().splitlines()
    cells = lines[4].split(",")
    cells[lines[0].split(",").index(column)] = value
    lines[4] = ",".join(cells)
    box.write_text("\n".join(lines) + "\n")
    with pytest.raises(LayoutError) as caught:
        read_folder(folder)
    assert (caught.value.line, caught.value.column) == (5, column)
    assert caught.value.value == value
    assert said in str(caught.value)


def test_a_line_that_contradicts_the_schedule_is_named(folder: Path) -> None:
    game = next(g for g in read_folder(folder).games if g.game_id == "0022400001")
    home, away = game.home_team, game.away_team
    for column, value, said in [
        ("team", "XXX", f"the schedule has {away} at {home} for this game; write one of the two"),
        ("team", away, f"write {home} for a player of {away}"),
        ("opponent", "XXX", f"write {away} for a player of {home}"),
        ("opponent", home, f"write {away} for a player of {home}"),
        ("is_home", "0", "write 1 for the home team, 0 for the visitors"),
    ]:
        found = refusal_of(folder, column, value)
        assert said in str(found), (column, value)
        assert (found.file, found.line) == ("player_box_scores.csv", 5)
        assert found.column == ("opponent" if (column, value) == ("team", away) else column)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("fgm", "99", "must be at most fga"),
        ("fg3m", "98", "must be at most fg3a"),
        ("ftm", "97", "must be at most fta"),
        ("fg3a", "96", "three-pointers are part of fga"),
        ("reb", "95", "must be oreb + dreb"),
        ("ast", "1000", "at most 999"),
        ("ast", "9" * 30, "at most 999"),
        ("ast", "9" * 5000, "at most 999"),
        ("ast", "\u0663", "write a whole number"),
        ("minutes", "1e1", "write decimal minutes"),
        ("minutes", "1_0", "write decimal minutes"),
        ("minutes", "100.1", "write decimal minutes of 0 to 100"),
        ("minutes", "\u0663", "write decimal minutes"),
        ("player", "Ivo\x1b[31m Ash", "without control characters"),
        ("player", "x" * 201, "1 to 200 characters"),
        ("game_date", "\u0662\u0660\u0662\u0664-10-22", "write a calendar date"),
    ],
)
def test_a_value_that_no_game_has_is_named(
    folder: Path, column: str, value: str, said: str
) -> None:
    found = refusal_of(folder, column, value)
    assert found.line == 5
    assert found.column == column
    assert said in str(found)
    assert len(str(found)) < 600


def refusal_of(folder: Path, column: str, value: str) -> LayoutError:
    """What reading says with one cell of the fourth player line changed; then it is as before."""
    box = folder / "player_box_scores.csv"
    before = box.read_text()
    lines = before.splitlines()
    cells = lines[4].split(",")
    cells[lines[0].split(",").index(column)] = value
    lines[4] = ",".join(cells)
    box.write_text("\n".join(lines) + "\n")
    try:
        with pytest.raises(LayoutError) as caught:
            read_folder(folder)
    finally:
        box.write_text(before)
    return caught.value


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("away_team", "HOME", "a team does not play itself"),
        ("away_score", "", "a game has both scores or none"),
        ("home_score", "1000", "at most 999"),
    ],
)
def test_a_game_that_cannot_be_is_named(folder: Path, column: str, value: str, said: str) -> None:
    schedule = folder / "schedule.csv"
    header, line, *rest = schedule.read_text().splitlines()
    names, cells = header.split(","), line.split(",")
    cells[names.index(column)] = cells[names.index("home_team")] if value == "HOME" else value
    schedule.write_text("\n".join([header, ",".join(cells), *rest]) + "\n")
    with pytest.raises(LayoutError, match=said) as caught:
        read_folder(folder)
    assert (caught.value.file, caught.value.line, caught.value.column) == (
        "schedule.csv",
        2,
        column,
    )


@pytest.mark.parametrize(
    ("line", "content", "said"),
    [
        (3, b"\xff", "is no UTF-8 from this byte on; save the file as UTF-8"),
        (4, "caf\u00e9".encode("latin-1"), "is no UTF-8"),
        (3, b'"not closed', "is no CSV"),
        (3, b'"a"b,c', "is no CSV"),
        (3, b"x" * 200_000, "is no CSV (field larger than field limit"),
    ],
)
@pytest.mark.parametrize("file", ["schedule.csv", "player_box_scores.csv"])
def test_what_cannot_be_decoded_or_is_no_csv_names_file_and_line(
    folder: Path, file: str, line: int, content: bytes, said: str
) -> None:
    path = folder / file
    lines = path.read_bytes().splitlines()
    lines[line - 1] = content
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(LayoutError) as caught:
        read_folder(folder)
    assert caught.value.file == file
    assert caught.value.line >= line
    assert str(caught.value).startswith(f"{file}, line ")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_file_in_utf16_or_of_endless_length_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = folder / "player_box_scores.csv"
    text = box.read_text()
    box.write_text(text, encoding="utf-16")
    with pytest.raises(LayoutError, match=r"line 1: .* is no UTF-8"):
        read_folder(folder)
    box.write_text(text, encoding="utf-8-sig")
    assert read_folder(folder).lines
    monkeypatch.setattr(season_module, "MAX_FILE_BYTES", 1000)
    with pytest.raises(LayoutError, match="is longer than 1,000 bytes"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("column", "value"),
    [("is_home", None), ("team", "XXX"), ("opponent", "XXX"), ("fgm", 999), ("pts", 1)],
)
@pytest.mark.parametrize("table", [raw.GAMEBOOK, raw.BDL_BOXSCORES, raw.TEAM_STATS])
def test_a_load_of_bad_rows_fails_publishes_that_and_replaces_nothing(
    bench: Bench, season: Season, table: str, column: str, value: object
) -> None:
    bench.loader.load(table, DAY, loaded_at=NOW)
    before = bench.rows(f"SELECT * FROM {table} ORDER BY game_id, team, pts, minutes")
    first = season.lines[0]
    bad = first._replace(**{column: not first.is_home if value is None else value})
    other = Bench(Season(season.games, (bad, *season.lines[1:])), bench.warehouse)
    with pytest.raises(RowError) as caught:
        other.loader.load(table, DAY, loaded_at=NOW, game_ids=[first.game_id])
    assert caught.value.column == column
    for part in (table, first.game_id, first.player, column, repr(getattr(bad, column))):
        assert part in str(caught.value)
    assert bench.rows(f"SELECT * FROM {table} ORDER BY game_id, team, pts, minutes") == before
    (sent,) = other.transport.messages
    assert (sent["status"], sent["game_ids"]) == ("failed", [first.game_id])
    assert sent["metadata"]["error"] == str(caught.value)


def test_repeats_and_short_lines_are_refused(folder: Path) -> None:
    box, schedule = folder / "player_box_scores.csv", folder / "schedule.csv"
    whole = box.read_text()
    box.write_text(whole + whole.splitlines()[1] + "\n")
    with pytest.raises(LayoutError, match="a second line of this player"):
        read_folder(folder)
    box.write_text(whole + "0022400001,2024-10-22\n")
    with pytest.raises(LayoutError, match="this line has 2 cells"):
        read_folder(folder)
    box.write_text(whole)
    schedule.write_text(schedule.read_text() + schedule.read_text().splitlines()[1] + "\n")
    with pytest.raises(LayoutError, match="is in the schedule twice"):
        read_folder(folder)


def test_a_folder_without_a_kind_of_file_says_which(folder: Path) -> None:
    (folder / "schedule.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"schedule\*\.csv"):
        read_folder(folder)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        read_folder(folder)


def test_a_load_publishes_what_the_specification_requires(bench: Bench) -> None:
    report = bench.loader.load(raw.BDL_BOXSCORES, DAY, loaded_at=NOW)
    event = report.event
    games = bench.season.played_on(DAY)
    assert bench.transport.messages == [event]
    assert report.message_id == "m1"
    assert event["event_type"] == "raw_data_loaded"
    assert event["source_table"] == "bdl_player_boxscores"
    assert event["target_table"] == raw.BDL_BOXSCORES
    assert event["processor_name"] == PROCESSOR_NAMES[raw.BDL_BOXSCORES]
    assert event["game_date"] == "2024-10-22"
    assert event["game_ids"] == [game.game_id for game in games]
    assert event["record_count"] == report.replaced.inserted > 0
    assert (event["status"], event["timestamp"]) == ("success", "2024-12-01T12:00:00Z")
    assert {"execution_id", "correlation_id", "source_scraper_execution_id"} <= event.keys()
    assert event["metadata"]["rows_inserted"] == event["record_count"]


def test_a_reload_keeps_rows_and_content_mark(bench: Bench) -> None:
    for table in (
        raw.SCHEDULE,
        raw.BDL_BOXSCORES,
        raw.TEAM_STATS,
        raw.ODDS_API_PROPS,
        raw.NBAC_PBP,
    ):
        first = bench.loader.load(table, DAY, loaded_at=NOW)
        again = bench.loader.load(table, DAY, loaded_at=NOW + timedelta(hours=1))
        mark = first.event["metadata"]["content_hash"]
        assert mark.startswith("sha256:")
        assert again.event["metadata"]["content_hash"] == mark
        assert again.replaced.deleted == again.replaced.inserted == first.replaced.inserted
        assert bench.warehouse.row_count(table, DAY) == first.replaced.inserted


def test_a_correction_changes_the_content_mark(bench: Bench, season: Season) -> None:
    before = bench.loader.load(raw.GAMEBOOK, DAY, loaded_at=NOW).event
    corrected = (season.lines[0]._replace(ast=season.lines[0].ast + 1), *season.lines[1:])
    other = Bench(Season(season.games, corrected), bench.warehouse)
    after = other.loader.load(raw.GAMEBOOK, DAY, loaded_at=NOW).event
    assert after["record_count"] == before["record_count"]
    assert after["metadata"]["content_hash"] != before["metadata"]["content_hash"]


def test_an_off_day_is_a_load_without_games(bench: Bench) -> None:
    event = bench.loader.load(raw.SCHEDULE, OFF_DAY, loaded_at=NOW).event
    assert (event["status"], event["game_ids"], event["record_count"]) == ("no_data", [], 0)


def test_synthetic_rows_say_so_and_agree_with_the_box_scores(bench: Bench) -> None:
    bench.load(DAY, *sorted(raw.SYNTHETIC_TABLES))
    for table in raw.SYNTHETIC_TABLES:
        assert bench.rows(f"SELECT DISTINCT synthetic FROM {table}") == [{"synthetic": True}]
    assert all(message["metadata"]["synthetic"] for message in bench.transport.messages)
    scored = bench.rows(
        f"SELECT game_id, team, player, SUM(points) AS points FROM {raw.NBAC_PBP}"
        " GROUP BY game_id, team, player HAVING SUM(points) > 0"
    )
    assert {(r["game_id"], r["team"], r["player"]): r["points"] for r in scored} == {
        (line.game_id, line.team, line.player): line.pts
        for line in bench.season.lines
        if line.game_date == DAY and line.pts
    }


def test_an_unknown_game_or_table_is_refused(bench: Bench) -> None:
    with pytest.raises(ProcessorError, match="0099999999"):
        bench.loader.load(raw.GAMEBOOK, DAY, loaded_at=NOW, game_ids=["0099999999"])
    with pytest.raises(ProcessorError, match="not a raw table"):
        bench.loader.load("nba_raw.nope", DAY, loaded_at=NOW)
    assert bench.transport.messages == []
