"""Texts that the tests of the registry share."""

CONTRACT = """\
version: 1
timezone: America/New_York
calendar: {table: nba_raw.nbac_schedule, known_from: "2024-10-22"}   # expected games
defaults:
  cooldown: 1h
  run_timeout: 30m
tables:
  nba_raw.nbac_gamebook_player_stats:
    aliases: [nbac_gamebook_player_stats, NbacGamebookProcessor, p2_nbacom_gamebook_pdf]
    grain: game
    enabled: true
  nba_raw.bigdataball_play_by_play:
  nba_raw.nbac_play_by_play:
  nba_raw.a:
  nba_raw.b:
  nba_raw.c:
processors:
  TeamOffenseSummaryProcessor:
    phase: 3
    output: nba_analytics.team_offense_game_summary
    requires: [{table: nba_raw.a}]
  PlayerGameSummaryProcessor:
    aliases: [player_game_summary]
    phase: 3
    output: nba_analytics.player_game_summary
    requires:
      - {table: nba_raw.nbac_gamebook_player_stats, critical: true, expected_count_per_game: 16,
         max_age_hours_warn: 12, max_age_hours_fail: 24}
      - {any_of: [nba_raw.bigdataball_play_by_play, nba_raw.nbac_play_by_play], prefer_for: 30m, critical: false}
      - {at_least: 2, of: [nba_raw.a, nba_raw.b, nba_raw.c], critical: true}
      - {table: nba_analytics.team_offense_game_summary, critical: true}
      - {table: nba_raw.nbac_schedule, dates: {offset: -1}, critical: false}
      - {table: nba_analytics.player_game_summary, dates: {last_game_dates: 10, min_ready: 0.8}, critical: true}
    grace: 15m
    debounce: 2m
    max_settle: 1h
    not_before: {at: "09:00", day: 0}
    cooldown: 1h
    max_refires: 5
    deadline: {at: "10:00", day: 1, then: alert}
    schedule: [{at: "11:30", day: 0, when: ready}]
    run_timeout: 30m
    heartbeat_timeout: 5m
    claim_timeout: 10m
    attempts: 3
    retry_backoff: 1m
    off_day: skip
    entrypoint: "processors.analytics:PlayerGameSummaryProcessor"
    launch: {pubsub: nba-phase3-trigger}
"""
"""An example with every key, and every table declared."""

SMALL = """\
version: 1
timezone: America/New_York
calendar: {table: raw.games, known_from: 2024-10-22}
defaults:
  cooldown: 2h
tables:
  raw.box:
    aliases: [BoxLoader]
    grain: game
  raw.odds:
  raw.plays:
    enabled: false
processors:
  Players:
    aliases: [player_rows]
    phase: 3
    output: out.players
    requires:
      - table: raw.box
      - {any_of: [raw.odds, raw.plays], critical: false}
    grace: 15m
  Teams:
    phase: 3
    output: out.teams
    requires:
      - {table: out.players, dates: {offset: -1}}
      - {table: raw.odds}
"""
"""A small valid registry that tests change one thing of."""


def changed(old: str, new: str, text: str = SMALL) -> str:
    """``text`` with the one occurrence of ``old`` replaced."""
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
    return text.replace(old, new)
