"""More unexpected games than are kept are notified once (specification 6)."""

from __future__ import annotations

import pytest

from coordinator.core.arrivals import UNEXPECTED_GAMES_KEPT
from coordinator.errors import Unavailable
from coordinator.ports import Notice
from coordinator.service.sweep import Sweeper
from tests.service.test_windows import FIRST, games, load, quiet, take

REGISTRY = """
version: 1
timezone: America/New_York
calendar: {table: raw.games}
tables: {raw.games: {}, raw.a: {grain: game}}
processors:
  P: {phase: 3, output: out.p, requires: [{table: raw.a}]}
"""

pytestmark = pytest.mark.anyio


def named(number: int, first: int = 0) -> list[str]:
    return [f"wrong-{n:03}" for n in range(first, first + number)]


async def test_they_are_notified_once_also_before_the_first_whole_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with quiet(REGISTRY) as app:
        notices: list[Notice] = []
        app.notices.subscribe(notices.append)
        await take(app, games(FIRST))
        kept = named(UNEXPECTED_GAMES_KEPT)
        await take(app, load("raw.a", FIRST, game_ids=kept))
        await app.sweeper._finish_soon()
        assert notices == []

        async def fails(_: Sweeper) -> None:
            raise Unavailable("the store stalls")

        with monkeypatch.context() as patch:
            patch.setattr(Sweeper, "_tend_registries", fails)
            with pytest.raises(Unavailable):
                await app.sweeper.sweep()
            await take(app, load("raw.a", FIRST, 2, game_ids=named(1, UNEXPECTED_GAMES_KEPT)))
            await app.sweeper._finish_soon()
        assert [(n.kind, n.severity, n.game_date) for n in notices] == [
            ("unexpected_games", "warning", FIRST)
        ]
        await take(app, load("raw.a", FIRST, 3, game_ids=named(5, 100)))
        await app.sweeper.sweep()
        assert len(notices) == 1
