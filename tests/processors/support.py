"""A season loaded into a warehouse, and a transport that keeps what it is given."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from itertools import count
from typing import Any

from processors.analytics import (
    PlayerGameSummaryProcessor,
    TeamDefenseSummaryProcessor,
    TeamOffenseSummaryProcessor,
)
from processors.base import RunContext
from processors.publisher import RawDataPubSubPublisher
from processors.raw.loader import RawLoader
from processors.raw.season import Season
from processors.warehouse import DuckDBWarehouse

NOW = datetime(2024, 12, 1, 12, tzinfo=UTC)
PROCESSORS = (
    TeamOffenseSummaryProcessor,
    TeamDefenseSummaryProcessor,
    PlayerGameSummaryProcessor,
)


class KeepingTransport:
    """Delivers into a list, as the smallest real transport."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def publish(self, message: Mapping[str, Any], *, seconds: float) -> str:
        self.messages.append(dict(message))
        return f"m{len(self.messages)}"


class Bench:
    """A season loaded into a warehouse, with everything that was published about it."""

    def __init__(self, season: Season, warehouse: DuckDBWarehouse) -> None:
        self.season = season
        self.warehouse = warehouse
        self.transport = KeepingTransport()
        ids = count(1)
        self.publisher = RawDataPubSubPublisher(
            self.transport, clock=lambda: NOW, new_id=lambda: f"id{next(ids)}"
        )
        self.loader = RawLoader(season, warehouse, self.publisher, seed=3)

    def load(self, game_date: date, *tables: str) -> None:
        for table in tables:
            self.loader.load(table, game_date, loaded_at=NOW)

    def run(self, game_date: date, generation: int = 1) -> None:
        for processor in PROCESSORS:
            result = processor().run(self.warehouse, RunContext(game_date, generation, NOW))
            assert result.status == "success", result

    def rows(self, sql: str, **params: Any) -> list[dict[str, Any]]:
        return self.warehouse.query(sql, params)
