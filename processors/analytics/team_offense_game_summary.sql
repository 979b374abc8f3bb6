-- Two rows per game of @game_date: each team with the ball. BigQuery's dialect.
-- Box totals come from nbac_team_stats where it has both teams of the game, else from the sums over
-- bdl_player_boxscores; points come from the scoreboard once it is final, else from the box.
-- Formulas carry their names in the Basketball-Reference glossary:
--   Poss = half of both teams' (FGA + 0.4 * FTA - 1.07 * ORB share * (FGA - FGM) + TOV),
--          where ORB share = ORB / (ORB + opponent DRB)
--   ORtg, DRtg = 100 * points scored, allowed / Poss
--   Pace = 48 * Poss / (team minutes / 5)
--   Four factors: eFG% = (FGM + 0.5 * 3PM) / FGA; TOV% = 100 * TOV / (FGA + 0.44 * FTA + TOV);
--                 ORB% = 100 * ORB share; FT rate = FTM / FGA
-- Turnovers and rebounds credited to no player are not in these sources, so possessions run a
-- little below official ones.
WITH bdl AS (
  SELECT
    game_id, game_date, team, opponent, is_home,
    SUM(minutes) AS minutes,
    SUM(fgm) AS fgm, SUM(fga) AS fga, SUM(fg3m) AS fg3m, SUM(fg3a) AS fg3a,
    SUM(ftm) AS ftm, SUM(fta) AS fta, SUM(oreb) AS oreb, SUM(dreb) AS dreb, SUM(reb) AS reb,
    SUM(ast) AS ast, SUM(tov) AS tov, SUM(pf) AS pf, SUM(pts) AS pts,
    'nba_raw.bdl_player_boxscores' AS box_source, 2 AS preference
  FROM nba_raw.bdl_player_boxscores
  WHERE game_date = @game_date
  GROUP BY game_id, game_date, team, opponent, is_home
),
candidates AS (
  SELECT
    game_id, game_date, team, opponent, is_home, minutes,
    fgm, fga, fg3m, fg3a, ftm, fta, oreb, dreb, reb, ast, tov, pf, pts,
    'nba_raw.nbac_team_stats' AS box_source, 1 AS preference
  FROM nba_raw.nbac_team_stats
  WHERE game_date = @game_date
  QUALIFY COUNT(*) OVER (PARTITION BY game_id) = 2
  UNION ALL
  SELECT * FROM bdl
),
preferred AS (
  SELECT *, MIN(preference) OVER (PARTITION BY game_id) AS best
  FROM candidates
),
box AS (
  SELECT * FROM preferred WHERE preference = best
),
final_scores AS (
  SELECT game_id, home_score, away_score
  FROM nba_raw.nbac_scoreboard_v2
  WHERE game_date = @game_date AND STARTS_WITH(status, 'Final')
  QUALIFY ROW_NUMBER() OVER (PARTITION BY game_id ORDER BY loaded_at DESC) = 1
),
paired AS (
  SELECT
    t.*,
    COALESCE(IF(t.is_home, f.home_score, f.away_score), t.pts) AS points,
    COALESCE(IF(t.is_home, f.away_score, f.home_score), o.pts) AS opponent_points,
    SAFE_DIVIDE(t.oreb, t.oreb + o.dreb) AS orb_share,
    0.5 * (
      t.fga + 0.4 * t.fta + t.tov
      - 1.07 * COALESCE(SAFE_DIVIDE(t.oreb, t.oreb + o.dreb), 0) * (t.fga - t.fgm)
      + o.fga + 0.4 * o.fta + o.tov
      - 1.07 * COALESCE(SAFE_DIVIDE(o.oreb, o.oreb + t.dreb), 0) * (o.fga - o.fgm)
    ) AS poss,
    IF(f.game_id IS NULL, t.box_source, 'nba_raw.nbac_scoreboard_v2') AS score_source
  FROM box AS t
  LEFT JOIN box AS o ON o.game_id = t.game_id AND o.team = t.opponent
  LEFT JOIN final_scores AS f ON f.game_id = t.game_id
)
SELECT
  game_id,
  game_date,
  team,
  opponent,
  is_home,
  ROUND(minutes, 2) AS minutes,
  points,
  opponent_points,
  points > opponent_points AS won,
  fgm AS fg_made,
  fga AS fg_attempts,
  fg3m AS three_pt_made,
  fg3a AS three_pt_attempts,
  ftm AS ft_made,
  fta AS ft_attempts,
  oreb AS offensive_rebounds,
  dreb AS defensive_rebounds,
  reb AS rebounds,
  ast AS assists,
  tov AS turnovers,
  pf AS personal_fouls,
  ROUND(poss, 2) AS possessions,
  ROUND(SAFE_DIVIDE(48 * poss, minutes / 5), 2) AS pace,
  ROUND(SAFE_DIVIDE(100 * points, poss), 2) AS offensive_rating,
  ROUND(SAFE_DIVIDE(100 * opponent_points, poss), 2) AS defensive_rating,
  ROUND(SAFE_DIVIDE(100 * (points - opponent_points), poss), 2) AS net_rating,
  ROUND(SAFE_DIVIDE(fgm + 0.5 * fg3m, fga), 4) AS effective_fg_pct,
  ROUND(SAFE_DIVIDE(100 * tov, fga + 0.44 * fta + tov), 2) AS turnover_pct,
  ROUND(100 * orb_share, 2) AS offensive_rebound_pct,
  ROUND(SAFE_DIVIDE(ftm, fga), 4) AS free_throw_rate,
  ROUND(SAFE_DIVIDE(points, 2 * (fga + 0.44 * fta)), 4) AS true_shooting_pct,
  box_source,
  score_source
FROM paired
