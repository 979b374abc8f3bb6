"""Seasons and warehouses for the processors' tests; real data comes from `test_data`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from processors.catalog import CATALOG
from processors.raw import tables as raw
from processors.raw.season import Season, read_folder
from processors.sample import sample_season
from processors.warehouse import DuckDBWarehouse
from tests.processors.support import Bench


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[DuckDBWarehouse]:
    opened = DuckDBWarehouse(tmp_path / "warehouse.duckdb", catalog=CATALOG)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def season() -> Season:
    return sample_season()


@pytest.fixture
def bench(season: Season, warehouse: DuckDBWarehouse) -> Bench:
    return Bench(season, warehouse)


@pytest.fixture(scope="session")
def real_season(test_data: Path) -> Season:
    return read_folder(test_data)


@pytest.fixture(scope="session")
def real_bench(real_season: Season, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Every held date of the real season, loaded and run once."""
    path = tmp_path_factory.mktemp("real") / "warehouse.duckdb"
    bench = Bench(real_season, DuckDBWarehouse(path, catalog=CATALOG))
    for game_date in real_season.dates:
        if real_season.played_on(game_date):
            bench.load(game_date, *(raw.SCHEDULE, raw.GAMEBOOK, raw.BDL_BOXSCORES))
            bench.load(game_date, *(raw.SCOREBOARD, raw.TEAM_STATS, raw.BETTINGPROS_PROPS))
            bench.run(game_date)
    yield bench
    bench.warehouse.close()
