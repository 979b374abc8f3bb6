"""The warehouse: transactions, fencing, one dialect, many threads."""

import threading
from datetime import date
from pathlib import Path

import duckdb
import pytest

from processors.analytics.tables import PLAYER_GAME_SUMMARY, TEAM_OFFENSE
from processors.base import Processor
from processors.catalog import CATALOG
from processors.errors import RowError, StaleGenerationError, WarehouseError
from processors.raw import tables as raw
from processors.raw.rows import rows_of
from processors.runner import execute
from processors.warehouse import DuckDBWarehouse, SharedDuckDBWarehouse, to_duckdb
from tests.processors.support import NOW, PROCESSORS, Bench

DAY = date(2024, 10, 22)
NO_ROWS = f"SELECT * FROM {TEAM_OFFENSE} WHERE FALSE"


def test_every_table_exists_from_the_start(warehouse: DuckDBWarehouse) -> None:
    for table in CATALOG:
        assert warehouse.row_count(table.name, DAY) == 0


def test_an_older_generation_never_overwrites_a_newer_one(bench: Bench) -> None:
    bench.load(DAY, raw.BDL_BOXSCORES)
    bench.run(DAY, generation=3)
    with pytest.raises(StaleGenerationError, match="generation 2 may not replace generation 3"):
        bench.run(DAY, generation=2)
    held = bench.rows(f"SELECT DISTINCT generation FROM {TEAM_OFFENSE}")
    assert held == [{"generation": 3}]


def test_the_fence_holds_where_the_newer_generation_wrote_no_rows(
    warehouse: DuckDBWarehouse,
) -> None:
    warehouse.replace_date(TEAM_OFFENSE, DAY, NO_ROWS, {}, generation=5, computed_at=NOW)
    with pytest.raises(StaleGenerationError):
        warehouse.replace_date(TEAM_OFFENSE, DAY, NO_ROWS, {}, generation=4, computed_at=NOW)


def test_the_fence_counts_rows_that_came_from_elsewhere(bench: Bench) -> None:
    columns = CATALOG.get(TEAM_OFFENSE).columns  # type: ignore[union-attr]
    row = [None] * len(columns)
    row[list(columns).index("game_date")] = DAY  # type: ignore[call-overload]
    row[list(columns).index("generation")] = 9  # type: ignore[call-overload]
    row[list(columns).index("game_id")] = "g1"  # type: ignore[call-overload]
    row[list(columns).index("team")] = "BOS"  # type: ignore[call-overload]
    bench.warehouse.replace_rows(TEAM_OFFENSE, DAY, [row])
    with pytest.raises(StaleGenerationError, match="generation 9"):
        bench.warehouse.replace_date(TEAM_OFFENSE, DAY, NO_ROWS, {}, generation=8, computed_at=NOW)


def test_what_raises_before_the_commit_undoes_the_replacement(bench: Bench) -> None:
    bench.load(DAY, raw.BDL_BOXSCORES)
    bench.run(DAY)
    before = bench.warehouse.row_count(TEAM_OFFENSE, DAY)

    def refuse() -> None:
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        bench.warehouse.replace_date(
            TEAM_OFFENSE, DAY, NO_ROWS, {}, generation=2, computed_at=NOW, before_commit=refuse
        )
    assert before > 0
    assert bench.warehouse.row_count(TEAM_OFFENSE, DAY) == before
    bench.run(DAY, generation=1)


def test_an_unknown_table_and_a_missing_parameter_are_named(warehouse: DuckDBWarehouse) -> None:
    with pytest.raises(WarehouseError, match=r"nba_raw\.nope"):
        warehouse.row_count("nba_raw.nope", DAY)
    with pytest.raises(WarehouseError, match="game_date"):
        warehouse.query("SELECT @game_date AS d")
    with pytest.raises(WarehouseError, match="cannot read"):
        warehouse.query("SELECT FROM WHERE (")


def test_division_by_zero_is_null_and_transpiling_is_cached(warehouse: DuckDBWarehouse) -> None:
    sql = "SELECT SAFE_DIVIDE(@a, 0) AS quotient"
    assert warehouse.query(sql, {"a": 5, "unused": 1}) == [{"quotient": None}]
    assert to_duckdb(sql) is to_duckdb(sql)


def test_threads_may_write_and_read_one_file_at_once(bench: Bench) -> None:
    dates = bench.season.dates[:6]
    problems: list[BaseException] = []

    def work(day: date) -> None:
        try:
            for generation in (1, 2):
                bench.load(day, raw.BDL_BOXSCORES, raw.SCOREBOARD)
                bench.run(day, generation)
        except BaseException as problem:
            problems.append(problem)
            raise

    threads = [threading.Thread(target=work, args=(day,)) for day in dates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    for day in dates:
        lines = sum(len(bench.season.lines_of[g.game_id]) for g in bench.season.played_on(day))
        assert bench.warehouse.row_count(PLAYER_GAME_SUMMARY, day) == lines


def test_a_load_of_some_games_leaves_the_others(bench: Bench) -> None:
    first, second = bench.season.played_on(DAY)
    bench.load(DAY, raw.GAMEBOOK)
    rows = rows_of(bench.season, raw.GAMEBOOK, [first], NOW, 0)
    replaced = bench.warehouse.replace_rows(raw.GAMEBOOK, DAY, rows, game_ids=[first.game_id])
    assert replaced.deleted == replaced.inserted == len(rows)
    expected = len(rows) + len(bench.season.lines_of[second.game_id])
    assert bench.warehouse.row_count(raw.GAMEBOOK, DAY) == expected


def scoreboard(game_id: str | None, day: date = DAY) -> tuple[object, ...]:
    return (game_id, day, "NYK", "BOS", 109, 132, "Final", NOW)


@pytest.mark.parametrize(
    ("rows", "column", "said"),
    [
        ([scoreboard("g1"), scoreboard("g1")], "game_id", "2 rows have this key; it must be uniq"),
        ([scoreboard(None)], "game_id", "no column of a row's key may be empty"),
        ([scoreboard("g1", date(2024, 10, 23))], "game_date", "load each date by itself"),
        ([scoreboard("g9")], "game_id", "name this game too"),
    ],
)
def test_rows_that_break_a_rule_of_the_table_replace_nothing(
    warehouse: DuckDBWarehouse, rows: list[tuple[object, ...]], column: str, said: str
) -> None:
    warehouse.replace_rows(raw.SCOREBOARD, DAY, [scoreboard("g1"), scoreboard("g2")])
    game_ids = None if rows[0][0] is None else ["g1", "g3"]
    with pytest.raises(RowError, match=said) as caught:
        warehouse.replace_rows(raw.SCOREBOARD, DAY, rows, game_ids=game_ids)
    assert (caught.value.table, caught.value.column) == (raw.SCOREBOARD, column)
    held = warehouse.query(f"SELECT game_id FROM {raw.SCOREBOARD} ORDER BY game_id")
    assert [row["game_id"] for row in held] == ["g1", "g2"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("is_home = NOT is_home", "2 rows have this key"),
        ("opponent = 'XXX'", "2 rows have this key"),
        ("team = 'XXX'", "a game has at most 2 rows here, this one 3"),
    ],
)
@pytest.mark.parametrize("processor", PROCESSORS[:2])
def test_a_run_over_rows_that_give_a_game_more_than_two_teams_fails_and_replaces_nothing(
    bench: Bench, processor: type[Processor], change: str, said: str
) -> None:
    """However the rows came in: somebody else may have written them."""
    bench.load(DAY, raw.BDL_BOXSCORES)
    bench.run(DAY)
    before = bench.rows(f"SELECT * FROM {processor.output} ORDER BY game_id, team")
    connection = bench.warehouse._root.cursor()
    connection.execute(
        f"UPDATE {raw.BDL_BOXSCORES} SET {change} WHERE game_date = ? AND player = "
        f"(SELECT min(player) FROM {raw.BDL_BOXSCORES})",
        [DAY],
    )
    connection.close()
    entrypoint = f"processors.analytics:{processor.__name__}"
    launch = {
        "run_id": f"{processor.name}:{DAY}:2",
        "processor": processor.name,
        "game_date": DAY.isoformat(),
        "generation": 2,
        "attempt": 1,
    }
    result = execute(entrypoint, launch, bench.warehouse, NOW)
    assert result.status == "failed"
    assert said in str(result.error)
    assert bench.rows(f"SELECT * FROM {processor.output} ORDER BY game_id, team") == before


def test_a_run_writes_no_rows_of_another_date(warehouse: DuckDBWarehouse) -> None:
    columns = [
        c for c in CATALOG.get(TEAM_OFFENSE).columns if c not in ("generation", "computed_at")
    ]  # type: ignore[union-attr]
    values = {"game_id": "'g1'", "team": "'BOS'", "game_date": "DATE '2024-10-23'"}
    select = "SELECT " + ", ".join(f"{values.get(c, 'NULL')} AS {c}" for c in columns)
    with pytest.raises(RowError, match="must be of that date"):
        warehouse.replace_date(TEAM_OFFENSE, DAY, select, {}, generation=1, computed_at=NOW)
    assert warehouse.row_count(TEAM_OFFENSE, date(2024, 10, 23)) == 0


def test_a_shared_file_that_cannot_be_opened_fails_at_once(tmp_path: Path) -> None:
    """Only another process that has it open is waited for, whatever the path is called."""
    shared = SharedDuckDBWarehouse(
        tmp_path / "clock" / "missing" / "w.duckdb", catalog=CATALOG, wait_seconds=60.0
    )
    with pytest.raises(duckdb.IOException, match="No such file"):
        shared.query("SELECT 1 AS one")
