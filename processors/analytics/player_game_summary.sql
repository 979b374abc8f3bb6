-- One row per player and game of @game_date. BigQuery's dialect; every division is SAFE_DIVIDE.
-- The gamebook is taken game by game; a game it lacks comes from bdl_player_boxscores.
-- Formulas carry their names in the Basketball-Reference glossary:
--   TS%  = points / (2 * (FGA + 0.44 * FTA))
--   eFG% = (FGM + 0.5 * 3PM) / FGA
--   USG% = 100 * (FGA + 0.44 * FTA + TOV) * (team minutes / 5)
--              / (minutes * (team FGA + 0.44 * team FTA + team TOV)), at most 100: the estimate
--          spreads a team's plays evenly over time, so it can pass 100 in a minute or two of play
-- The team's totals are those of team_offense_game_summary where its points agree with the lines,
-- and the sums over the lines otherwise, so that a half-loaded team table cannot inflate usage.
WITH candidates AS (
  SELECT *, 'nba_raw.nbac_gamebook_player_stats' AS stats_source, 1 AS preference
  FROM nba_raw.nbac_gamebook_player_stats
  WHERE game_date = @game_date
  UNION ALL
  SELECT *, 'nba_raw.bdl_player_boxscores' AS stats_source, 2 AS preference
  FROM nba_raw.bdl_player_boxscores
  WHERE game_date = @game_date
),
preferred AS (
  SELECT *, MIN(preference) OVER (PARTITION BY game_id) AS best
  FROM candidates
),
lines AS (
  SELECT *
  FROM preferred
  WHERE preference = best
  QUALIFY ROW_NUMBER() OVER (PARTITION BY game_id, team, player ORDER BY loaded_at DESC) = 1
),
summed AS (
  SELECT
    game_id, team, SUM(minutes) AS minutes, SUM(pts) AS points,
    SUM(fga) AS fga, SUM(fta) AS fta, SUM(tov) AS tov
  FROM lines
  GROUP BY game_id, team
),
totals AS (
  SELECT
    s.game_id, s.team,
    COALESCE(o.minutes, s.minutes) AS minutes,
    COALESCE(o.fg_attempts, s.fga) AS fga,
    COALESCE(o.ft_attempts, s.fta) AS fta,
    COALESCE(o.turnovers, s.tov) AS tov,
    IF(o.game_id IS NULL, 'player lines', 'nba_analytics.team_offense_game_summary') AS source
  FROM summed AS s
  LEFT JOIN nba_analytics.team_offense_game_summary AS o
    ON o.game_date = @game_date
    AND o.game_id = s.game_id
    AND o.team = s.team
    AND o.points = s.points
),
used AS (
  SELECT
    l.*,
    t.source AS team_totals_source,
    SAFE_DIVIDE(
      100 * (l.fga + 0.44 * l.fta + l.tov) * t.minutes / 5,
      l.minutes * (t.fga + 0.44 * t.fta + t.tov)
    ) AS raw_usage
  FROM lines AS l
  JOIN totals AS t ON t.game_id = l.game_id AND t.team = l.team
),
all_props AS (
  SELECT
    game_id, player, points_line, synthetic,
    'nba_raw.odds_api_player_points_props' AS source, 1 AS preference
  FROM nba_raw.odds_api_player_points_props
  WHERE game_date = @game_date
  UNION ALL
  SELECT
    game_id, player, points_line, synthetic,
    'nba_raw.bettingpros_player_points_props' AS source, 2 AS preference
  FROM nba_raw.bettingpros_player_points_props
  WHERE game_date = @game_date
),
-- The line is the bookmakers' mean, to the nearest half point.
props AS (
  SELECT
    game_id, player, source,
    ROUND(2 * AVG(points_line)) / 2 AS points_line,
    LOGICAL_OR(synthetic) AS synthetic
  FROM all_props
  GROUP BY game_id, player, source, preference
  QUALIFY ROW_NUMBER() OVER (PARTITION BY game_id, player ORDER BY preference) = 1
),
all_plays AS (
  SELECT
    game_id, team, player, period, points, synthetic,
    'nba_raw.bigdataball_play_by_play' AS source, 1 AS preference
  FROM nba_raw.bigdataball_play_by_play
  WHERE game_date = @game_date
  UNION ALL
  SELECT
    game_id, team, player, period, points, synthetic,
    'nba_raw.nbac_play_by_play' AS source, 2 AS preference
  FROM nba_raw.nbac_play_by_play
  WHERE game_date = @game_date
),
play_sources AS (
  SELECT game_id, source, LOGICAL_OR(synthetic) AS synthetic
  FROM all_plays
  GROUP BY game_id, source, preference
  QUALIFY ROW_NUMBER() OVER (PARTITION BY game_id ORDER BY preference) = 1
),
-- Late points: scored in the fourth period or overtime.
late AS (
  SELECT p.game_id, p.team, p.player, p.source, SUM(p.points) AS points
  FROM all_plays AS p
  WHERE p.period >= 4
  GROUP BY p.game_id, p.team, p.player, p.source
)
SELECT
  l.game_id,
  l.game_date,
  l.team,
  l.opponent,
  l.is_home,
  l.player,
  l.minutes,
  l.pts AS points,
  l.reb AS rebounds,
  l.oreb AS offensive_rebounds,
  l.dreb AS defensive_rebounds,
  l.ast AS assists,
  l.stl AS steals,
  l.blk AS blocks,
  l.tov AS turnovers,
  l.pf AS personal_fouls,
  l.fgm AS fg_made,
  l.fga AS fg_attempts,
  l.fg3m AS three_pt_made,
  l.fg3a AS three_pt_attempts,
  l.ftm AS ft_made,
  l.fta AS ft_attempts,
  ROUND(SAFE_DIVIDE(l.pts, 2 * (l.fga + 0.44 * l.fta)), 4) AS true_shooting_pct,
  ROUND(SAFE_DIVIDE(l.fgm + 0.5 * l.fg3m, l.fga), 4) AS effective_fg_pct,
  IF(l.raw_usage > 100, 100.0, ROUND(l.raw_usage, 2)) AS usage_rate,
  l.stats_source,
  l.team_totals_source,
  p.points_line,
  l.pts - p.points_line AS points_over_line,
  p.source AS points_line_source,
  p.synthetic AS points_line_synthetic,
  IF(s.game_id IS NULL, NULL, COALESCE(f.points, 0)) AS late_points,
  s.source AS play_by_play_source,
  s.synthetic AS play_by_play_synthetic
FROM used AS l
LEFT JOIN props AS p ON p.game_id = l.game_id AND p.player = l.player
LEFT JOIN play_sources AS s ON s.game_id = l.game_id
LEFT JOIN late AS f
  ON f.game_id = l.game_id
  AND f.team = l.team
  AND f.player = l.player
  AND f.source = s.source
