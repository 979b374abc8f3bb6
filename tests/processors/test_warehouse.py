"""The warehouse: transactions, fencing, one dialect, many threads."""

import threading
from datetime import date

import pytest

from processors.analytics.tables import PLAYER_GAME_SUMMARY, TEAM_OFFENSE
from processors.catalog import CATALOG
from processors.errors import StaleGenerationError, WarehouseError
from processors.raw import tables as raw
from processors.raw.rows import rows_of
from processors.warehouse import DuckDBWarehouse, to_duckdb
from tests.processors.support import NOW, Bench

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
