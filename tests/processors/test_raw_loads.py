"""Reading folders, loading raw tables, and what is told about it."""

import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

from processors.errors import LayoutError, ProcessorError
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
def test_a_bad_value_is_named_with_its_place_and_mend(
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
    with pytest.raises(LayoutError, match="stands in the schedule twice"):
        read_folder(folder)


def test_a_folder_without_a_kind_of_file_says_which(folder: Path) -> None:
    (folder / "schedule.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"schedule\*\.csv"):
        read_folder(folder)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        read_folder(folder)


def test_a_load_tells_what_the_contract_asks(bench: Bench) -> None:
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
