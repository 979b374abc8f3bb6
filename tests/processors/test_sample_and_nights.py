"""The sample season and the timeline of its nights."""

from datetime import UTC, date, timedelta

import pytest

from processors.errors import ProcessorError
from processors.nights import EASTERN, NightPlayer, pick_mishaps, plan_nights
from processors.raw import tables as raw
from processors.raw.season import Season
from processors.sample import GAMES_PER_DATE, sample_season
from tests.processors.support import Bench

FIRST, LAST = date(2024, 10, 22), date(2024, 11, 4)
OFF_DAY = date(2024, 10, 27)


def test_one_seed_gives_one_season_and_another_gives_another() -> None:
    assert sample_season(seed=1) == sample_season(seed=1)
    assert sample_season(seed=1) != sample_season(seed=2)


def test_the_sample_has_the_asked_games_and_an_off_day(season: Season) -> None:
    days = [FIRST + timedelta(days=offset) for offset in range(len(GAMES_PER_DATE))]
    assert tuple(len(season.games_on.get(day, ())) for day in days) == GAMES_PER_DATE
    assert OFF_DAY not in season.games_on
    with pytest.raises(ValueError, match="0 to 15"):
        sample_season(games_per_date=(16,))


@pytest.mark.parametrize("seed", [1, 7, 99])
def test_the_sample_is_consistent(seed: int) -> None:
    season = sample_season(seed=seed)
    for game in season.games:
        lines = season.lines_of[game.game_id]
        assert game.home_score != game.away_score
        for team, score in ((game.home_team, game.home_score), (game.away_team, game.away_score)):
            own = [line for line in lines if line.team == team]
            assert sum(line.pts for line in own) == score
            assert 70 <= (score or 0) <= 170
            minutes = 265 if game.status == "Final/OT" else 240
            assert sum(line.minutes for line in own) == pytest.approx(minutes, abs=0.01)
        for line in lines:
            assert line.pts == 2 * (line.fgm - line.fg3m) + 3 * line.fg3m + line.ftm
            assert line.fg3m <= line.fgm <= line.fga
            assert line.fg3m <= line.fg3a <= line.fga
            assert line.ftm <= line.fta
            assert line.reb == line.oreb + line.dreb
            assert 0 < line.minutes <= 53


def test_the_analytics_of_the_sample_are_sane(bench: Bench) -> None:
    for day in bench.season.dates[:4]:
        bench.load(day, raw.GAMEBOOK, raw.BDL_BOXSCORES, raw.SCOREBOARD, raw.TEAM_STATS)
        bench.run(day)
    for row in bench.rows("SELECT * FROM nba_analytics.team_offense_game_summary"):
        assert 70 <= row["offensive_rating"] <= 150


def test_one_seed_gives_one_timeline_in_order(season: Season) -> None:
    plan = plan_nights(season, FIRST, LAST, seed=4)
    assert plan == plan_nights(season, FIRST, LAST, seed=4)
    assert plan != plan_nights(season, FIRST, LAST, seed=5)
    assert [load.at for load in plan] == sorted(load.at for load in plan)
    assert all(load.at.tzinfo is UTC for load in plan)
    with pytest.raises(ValueError, match="is before"):
        plan_nights(season, LAST, FIRST)


def test_loads_come_when_their_sources_have_them(season: Season) -> None:
    late = pick_mishaps(season, list(season.dates), seed=4).late
    for load in plan_nights(season, FIRST, LAST, seed=4):
        local = load.at.astimezone(EASTERN)
        games = {game.game_id: game for game in season.games}
        tipoffs = [games[game_id].tipoff_utc for game_id in load.game_ids]
        if load.table == raw.SCHEDULE:
            assert (local.date(), local.hour) == (load.game_date, 8)
        elif load.table in (raw.ODDS_API_PROPS, raw.BETTINGPROS_PROPS):
            assert load.at < min(tipoffs)
        elif load.table == raw.BIGDATABALL_PBP:
            assert (local.date(), local.hour) == (load.game_date + timedelta(days=1), 4)
        elif load.table == raw.GAMEBOOK and load.kind == "load" and not load.note:
            after = load.at - tipoffs[0]
            assert timedelta(minutes=140) <= after <= timedelta(minutes=205)
        else:
            assert load.at > max(tipoffs) + timedelta(hours=2)
        if load.note == "three hours late":
            assert (load.table, load.game_date) == (raw.BDL_BOXSCORES, late)


def test_an_off_day_has_a_calendar_load_and_nothing_else(season: Season) -> None:
    plan = [load for load in plan_nights(season, FIRST, LAST) if load.game_date == OFF_DAY]
    assert [(load.table, load.kind, load.game_ids) for load in plan] == [
        (raw.SCHEDULE, "no_data", ())
    ]


def test_every_mishap_happens_once(season: Season) -> None:
    plan = plan_nights(season, FIRST, LAST)
    kinds = [load.kind for load in plan]
    assert (kinds.count("failed"), kinds.count("duplicate")) == (1, 1)
    assert [load.note for load in plan].count("three hours late") == 1
    failed = next(load for load in plan if load.kind == "failed")
    good = [load for load in plan if load.game_ids == failed.game_ids and load.kind == "load"]
    gamebook = [load for load in good if load.table == raw.GAMEBOOK]
    assert [load.at > failed.at for load in gamebook] == [True]


def test_performing_the_nights_fills_every_table(bench: Bench) -> None:
    plan = plan_nights(bench.season, FIRST, LAST)
    player = NightPlayer(bench.loader)
    for load in plan:
        report = player.perform(load)
        assert report.message_id is not None
        assert report.event["status"] == {"failed": "failed", "no_data": "no_data"}.get(
            load.kind, "success"
        )
        if load.kind != "duplicate":
            assert report.event["timestamp"] == load.at.isoformat().replace("+00:00", "Z")
    duplicate = next(at for at, load in enumerate(plan) if load.kind == "duplicate")
    sent = bench.transport.messages
    assert sent.count(sent[duplicate]) == 2
    for table in raw.RAW_TABLES:
        held = bench.rows(f"SELECT COUNT(DISTINCT game_id) AS games FROM {table.name}")
        assert held == [{"games": len(bench.season.games)}], table.name
    lines = bench.rows(f"SELECT COUNT(*) AS held FROM {raw.GAMEBOOK}")
    assert lines == [{"held": len(bench.season.lines)}]


def test_a_duplicate_of_what_was_not_sent_is_refused(bench: Bench) -> None:
    plan = plan_nights(bench.season, FIRST, LAST)
    duplicate = next(load for load in plan if load.kind == "duplicate")
    with pytest.raises(ProcessorError, match="nothing to repeat"):
        NightPlayer(bench.loader).perform(duplicate)


@pytest.mark.data
def test_real_games_without_player_lines_are_expected_but_not_loaded(real_season: Season) -> None:
    unplayed = next(day for day in real_season.dates if not real_season.played_on(day))
    plan = plan_nights(real_season, unplayed, unplayed)
    assert [load.table for load in plan] == [raw.SCHEDULE]
    assert len(plan[0].game_ids) == len(real_season.games_on[unplayed])
