-- Two rows per game of @game_date: each team on defense, computed from its opponent's numbers.
-- BigQuery's dialect. Box totals are sums over bdl_player_boxscores; points come from the
-- scoreboard once it is final, else from the box. Formulas carry their names in the
-- Basketball-Reference glossary:
--   Poss = half of both teams' (FGA + 0.4 * FTA - 1.07 * ORB share * (FGA - FGM) + TOV),
--          where ORB share = ORB / (ORB + opponent DRB)
--   DRtg = 100 * points allowed / Poss; Pace = 48 * Poss / (team minutes / 5)
--   Opponent's four factors: eFG% = (FGM + 0.5 * 3PM) / FGA;
--   TOV% = 100 * TOV / (FGA + 0.44 * FTA + TOV); FT rate = FTM / FGA;
--   DRB% = 100 * DRB / (DRB + opponent ORB) replaces the opponent's ORB%
WITH box AS (
  SELECT
    game_id, game_date, team, opponent, is_home,
    SUM(minutes) AS minutes,
    SUM(fgm) AS fgm, SUM(fga) AS fga, SUM(fg3m) AS fg3m, SUM(fg3a) AS fg3a,
    SUM(ftm) AS ftm, SUM(fta) AS fta, SUM(oreb) AS oreb, SUM(dreb) AS dreb,
    SUM(ast) AS ast, SUM(stl) AS stl, SUM(blk) AS blk, SUM(tov) AS tov, SUM(pf) AS pf,
    SUM(pts) AS pts
  FROM nba_raw.bdl_player_boxscores
  WHERE game_date = @game_date
  GROUP BY game_id, game_date, team, opponent, is_home
),
final_scores AS (
  SELECT game_id, home_score, away_score
  FROM nba_raw.nbac_scoreboard_v2
  WHERE game_date = @game_date AND STARTS_WITH(status, 'Final')
  QUALIFY ROW_NUMBER() OVER (PARTITION BY game_id ORDER BY loaded_at DESC) = 1
),
paired AS (
  SELECT
    t.game_id, t.game_date, t.team, t.opponent, t.is_home, t.minutes,
    t.stl, t.blk, t.dreb, t.pf,
    o.fgm, o.fga, o.fg3m, o.fg3a, o.ftm, o.fta, o.oreb, o.ast, o.tov,
    COALESCE(IF(t.is_home, f.home_score, f.away_score), t.pts) AS points_scored,
    COALESCE(IF(t.is_home, f.away_score, f.home_score), o.pts) AS points_allowed,
    0.5 * (
      t.fga + 0.4 * t.fta + t.tov
      - 1.07 * COALESCE(SAFE_DIVIDE(t.oreb, t.oreb + o.dreb), 0) * (t.fga - t.fgm)
      + o.fga + 0.4 * o.fta + o.tov
      - 1.07 * COALESCE(SAFE_DIVIDE(o.oreb, o.oreb + t.dreb), 0) * (o.fga - o.fgm)
    ) AS poss,
    IF(
      f.game_id IS NULL, 'nba_raw.bdl_player_boxscores', 'nba_raw.nbac_scoreboard_v2'
    ) AS score_source
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
  points_allowed,
  points_scored,
  stl AS steals,
  blk AS blocks,
  dreb AS defensive_rebounds,
  pf AS personal_fouls,
  fgm AS opponent_fg_made,
  fga AS opponent_fg_attempts,
  fg3m AS opponent_three_pt_made,
  fg3a AS opponent_three_pt_attempts,
  ftm AS opponent_ft_made,
  fta AS opponent_ft_attempts,
  oreb AS opponent_offensive_rebounds,
  ast AS opponent_assists,
  tov AS opponent_turnovers,
  ROUND(poss, 2) AS opponent_possessions,
  ROUND(SAFE_DIVIDE(48 * poss, minutes / 5), 2) AS pace,
  ROUND(SAFE_DIVIDE(100 * points_allowed, poss), 2) AS defensive_rating,
  ROUND(SAFE_DIVIDE(fgm + 0.5 * fg3m, fga), 4) AS opponent_effective_fg_pct,
  ROUND(SAFE_DIVIDE(100 * tov, fga + 0.44 * fta + tov), 2) AS opponent_turnover_pct,
  ROUND(SAFE_DIVIDE(100 * dreb, dreb + oreb), 2) AS defensive_rebound_pct,
  ROUND(SAFE_DIVIDE(ftm, fga), 4) AS opponent_free_throw_rate,
  score_source
FROM paired
