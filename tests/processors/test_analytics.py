"""The processors over missing and alternate sources."""

from datetime import date

from processors.analytics import (
    ENTRYPOINTS,
    PlayerGameSummaryProcessor,
    TeamDefenseSummaryProcessor,
    TeamOffenseSummaryProcessor,
)
from processors.analytics.tables import PLAYER_GAME_SUMMARY, TEAM_OFFENSE
from processors.base import RunContext
from processors.launch import load_entrypoint
from processors.raw import tables as raw
from tests.processors.support import NOW, PROCESSORS, Bench

DAY = date(2024, 10, 22)


def test_a_date_without_inputs_is_no_data(bench: Bench) -> None:
    for processor in PROCESSORS:
        result = processor().run(bench.warehouse, RunContext(DAY, 1, NOW))
        assert (result.status, result.record_count) == ("no_data", 0)
        assert "nba_raw." in str(result.error)


def test_inputs_that_were_taken_back_take_the_output_with_them(bench: Bench) -> None:
    bench.load(DAY, raw.BDL_BOXSCORES)
    bench.run(DAY)
    bench.warehouse.replace_rows(raw.BDL_BOXSCORES, DAY, [])
    result = TeamOffenseSummaryProcessor().run(bench.warehouse, RunContext(DAY, 2, NOW))
    assert result.status == "no_data"
    assert bench.warehouse.row_count(TEAM_OFFENSE, DAY) == 0


def test_the_gamebook_is_preferred_game_by_game(bench: Bench) -> None:
    first, second = bench.season.played_on(DAY)
    bench.load(DAY, raw.BDL_BOXSCORES)
    bench.loader.load(raw.GAMEBOOK, DAY, loaded_at=NOW, game_ids=[first.game_id])
    bench.run(DAY)
    sources = bench.rows(f"SELECT DISTINCT game_id, stats_source FROM {PLAYER_GAME_SUMMARY}")
    assert {row["game_id"]: row["stats_source"] for row in sources} == {
        first.game_id: raw.GAMEBOOK,
        second.game_id: raw.BDL_BOXSCORES,
    }


def test_player_summary_needs_no_optional_source(bench: Bench) -> None:
    bench.load(DAY, raw.GAMEBOOK)
    result = PlayerGameSummaryProcessor().run(bench.warehouse, RunContext(DAY, 1, NOW))
    rows = bench.rows(f"SELECT * FROM {PLAYER_GAME_SUMMARY}")
    assert result.record_count == len(rows) > 0
    assert {row["team_totals_source"] for row in rows} == {"player lines"}
    assert {row["points_line"] for row in rows} == {None}
    assert {row["late_points"] for row in rows} == {None}
    assert all(0 <= row["usage_rate"] <= 60 for row in rows if row["minutes"] > 10)


def test_a_half_loaded_team_table_cannot_inflate_usage(bench: Bench) -> None:
    bench.load(DAY, raw.GAMEBOOK)
    season, game = bench.season, bench.season.played_on(DAY)[0]
    few = [(*line, NOW) for line in season.lines_of[game.game_id][:2]]
    bench.warehouse.replace_rows(raw.BDL_BOXSCORES, DAY, few)
    TeamOffenseSummaryProcessor().run(bench.warehouse, RunContext(DAY, 1, NOW))
    PlayerGameSummaryProcessor().run(bench.warehouse, RunContext(DAY, 1, NOW))
    worst = bench.rows(
        f"SELECT MAX(usage_rate) AS usage FROM {PLAYER_GAME_SUMMARY} WHERE minutes > 10"
    )
    assert worst[0]["usage"] <= 60


def test_lines_come_from_odds_api_then_bettingpros_and_say_synthetic(bench: Bench) -> None:
    bench.load(DAY, raw.GAMEBOOK, raw.ODDS_API_PROPS, raw.BETTINGPROS_PROPS, raw.NBAC_PBP)
    PlayerGameSummaryProcessor().run(bench.warehouse, RunContext(DAY, 1, NOW))
    rows = bench.rows(f"SELECT * FROM {PLAYER_GAME_SUMMARY}")
    quoted = bench.rows(f"SELECT DISTINCT player FROM {raw.ODDS_API_PROPS}")
    with_odds = {row["player"] for row in rows if row["points_line_source"] == raw.ODDS_API_PROPS}
    assert with_odds == {row["player"] for row in quoted}
    assert {row["points_line_source"] for row in rows} >= {raw.BETTINGPROS_PROPS}
    assert all(row["points_line_synthetic"] for row in rows if row["points_line"] is not None)
    assert all(row["points_line"] % 0.5 == 0 for row in rows if row["points_line"] is not None)
    assert all(0 <= row["late_points"] <= row["points"] for row in rows)
    assert {row["play_by_play_source"] for row in rows} == {raw.NBAC_PBP}


def test_team_rows_stand_without_scoreboard_and_team_stats(bench: Bench) -> None:
    bench.load(DAY, raw.BDL_BOXSCORES)
    TeamOffenseSummaryProcessor().run(bench.warehouse, RunContext(DAY, 1, NOW))
    TeamDefenseSummaryProcessor().run(bench.warehouse, RunContext(DAY, 1, NOW))
    alone = bench.rows(f"SELECT team, points, offensive_rating FROM {TEAM_OFFENSE} ORDER BY team")
    bench.load(DAY, raw.SCOREBOARD, raw.TEAM_STATS)
    bench.run(DAY, 2)
    full = bench.rows(f"SELECT team, points, offensive_rating FROM {TEAM_OFFENSE} ORDER BY team")
    assert alone == full
    sources = bench.rows(f"SELECT DISTINCT box_source, score_source FROM {TEAM_OFFENSE}")
    assert sources == [{"box_source": raw.TEAM_STATS, "score_source": raw.SCOREBOARD}]


def test_every_row_carries_date_generation_and_time(bench: Bench) -> None:
    bench.load(DAY, raw.GAMEBOOK, raw.BDL_BOXSCORES)
    bench.run(DAY, 4)
    for processor in PROCESSORS:
        stamps = bench.rows(
            f"SELECT DISTINCT game_date, generation, computed_at FROM {processor.output}"
        )
        assert stamps == [{"game_date": DAY, "generation": 4, "computed_at": NOW}]


def test_every_entrypoint_leads_to_the_processor_of_its_name() -> None:
    for name, entrypoint in ENTRYPOINTS.items():
        assert load_entrypoint(entrypoint).name == name
