"""Loading one raw table for one date (or some of its games), and publishing that.

Owns: replacing rows, and the event that each load publishes, failed ones included. Refuses:
failing because an event could not be published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from processors.errors import ProcessorError, RowError
from processors.publisher import Event, RawDataPubSubPublisher
from processors.raw import tables as raw
from processors.raw.rows import content_hash, rows_of
from processors.raw.season import Game, Season, broken_rule
from processors.warehouse import Replaced, Warehouse

PROCESSOR_NAMES = {
    raw.SCHEDULE: "NbacScheduleProcessor",
    raw.GAMEBOOK: "NbacGamebookProcessor",
    raw.BDL_BOXSCORES: "BdlPlayerBoxscoresProcessor",
    raw.SCOREBOARD: "NbacScoreboardV2Processor",
    raw.TEAM_STATS: "NbacTeamStatsProcessor",
    raw.ODDS_API_PROPS: "OddsApiPlayerPropsProcessor",
    raw.BETTINGPROS_PROPS: "BettingprosPlayerPropsProcessor",
    raw.BIGDATABALL_PBP: "BigdataballPlayByPlayProcessor",
    raw.NBAC_PBP: "NbacPlayByPlayProcessor",
}


@dataclass(frozen=True)
class LoadOrigin:
    """Where a load came from; ids that are None are drawn by the publisher."""

    execution_id: str | None = None
    correlation_id: str | None = None
    source_scraper_execution_id: str | None = None


@dataclass(frozen=True)
class LoadReport:
    """What a load did: the event, its message id (None if not delivered), the rows."""

    event: Event
    message_id: str | None
    replaced: Replaced


class RawLoader:
    """Loads raw tables of one season into a warehouse. Safe to use from several threads."""

    def __init__(
        self,
        season: Season,
        warehouse: Warehouse,
        publisher: RawDataPubSubPublisher,
        *,
        seed: int = 0,
    ) -> None:
        """`seed` settles the rows of the synthetic tables."""
        self._season = season
        self._warehouse = warehouse
        self._publisher = publisher
        self._seed = seed

    def load(
        self,
        table: str,
        game_date: date,
        *,
        loaded_at: datetime,
        game_ids: Sequence[str] | None = None,
        origin: LoadOrigin | None = None,
    ) -> LoadReport:
        """Replace the rows of `table` for the date, or only those of `game_ids`, and publish.

        The event's status is `success`, or `no_data` where the season has no such games; its
        timestamp is `loaded_at`. Raises ProcessorError for an unknown table or game, RowError where
        rows contradict the schedule, each other or the game's arithmetic: then the warehouse keeps
        what it had, and a `failed` event says so. Nothing is raised where publishing fails.
        """
        games = self._games(table, game_date, game_ids)
        try:
            self._check_lines(table, games)
            rows = rows_of(self._season, table, games, loaded_at, self._seed)
            replaced = self._warehouse.replace_rows(table, game_date, rows, game_ids=game_ids)
        except RowError as error:
            self.report_failed(
                table,
                game_date,
                error=str(error),
                failed_at=loaded_at,
                game_ids=[game.game_id for game in games],
                origin=origin,
            )
            raise
        metadata: dict[str, Any] = {
            "content_hash": content_hash(table, rows),
            "rows_inserted": replaced.inserted,
            "rows_deleted": replaced.deleted,
            "rows_updated": 0,
        }
        if table in raw.SYNTHETIC_TABLES:
            metadata["synthetic"] = True
        ids = [game.game_id for game in games]
        status = "success" if rows else "no_data"
        event = self._event(table, game_date, ids, len(rows), status, loaded_at, origin, metadata)
        return LoadReport(event, self._publisher.publish(event), replaced)

    def report_failed(
        self,
        table: str,
        game_date: date,
        *,
        error: str,
        failed_at: datetime,
        game_ids: Sequence[str] = (),
        origin: LoadOrigin | None = None,
    ) -> LoadReport:
        """Publish that a load failed; the warehouse keeps its rows."""
        metadata = {"error": error}
        event = self._event(
            table, game_date, list(game_ids), 0, "failed", failed_at, origin, metadata
        )
        return LoadReport(event, self._publisher.publish(event), Replaced(0, 0))

    def report_again(self, event: Event) -> LoadReport:
        """Publish an event that was already published, unchanged; nothing is loaded."""
        return LoadReport(event, self._publisher.publish(event), Replaced(0, 0))

    def _games(self, table: str, game_date: date, game_ids: Sequence[str] | None) -> list[Game]:
        if table == raw.SCHEDULE:
            known: Sequence[Game] = self._season.games_on.get(game_date, ())
        else:
            known = self._season.played_on(game_date)
        if game_ids is None:
            return list(known)
        by_id = {game.game_id: game for game in known}
        unknown = [game_id for game_id in game_ids if game_id not in by_id]
        if unknown:
            raise ProcessorError(f"{table} {game_date}: no data for games {', '.join(unknown)}")
        return [by_id[game_id] for game_id in game_ids]

    def _check_lines(self, table: str, games: Sequence[Game]) -> None:
        if table in (raw.SCHEDULE, raw.SCOREBOARD):
            return
        for game in games:
            for line in self._season.lines_of[game.game_id]:
                if (broken := broken_rule(line, game)) is not None:
                    column, fix = broken
                    row = f"game {game.game_id}, player {line.player}"
                    raise RowError(table, row, column, getattr(line, column), fix)

    def _event(
        self,
        table: str,
        game_date: date,
        game_ids: list[str],
        record_count: int,
        status: str,
        at: datetime,
        origin: LoadOrigin | None,
        metadata: dict[str, Any],
    ) -> Event:
        origin = origin or LoadOrigin()
        return self._publisher.raw_data_loaded(
            table=table,
            processor_name=PROCESSOR_NAMES[table],
            game_date=game_date,
            game_ids=game_ids,
            record_count=record_count,
            status=status,
            timestamp=at,
            execution_id=origin.execution_id,
            correlation_id=origin.correlation_id,
            source_scraper_execution_id=origin.source_scraper_execution_id,
            metadata=metadata,
        )
