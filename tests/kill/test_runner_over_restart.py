"""The service is killed while a runner is at work and loads are published: nothing finished is lost."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from processors.analytics import ENTRYPOINTS, TeamOffenseSummaryProcessor
from processors.base import Need, RunContext, RunResult
from processors.catalog import CATALOG
from processors.publisher import HttpTransport, RawDataPubSubPublisher
from processors.raw import tables as raw
from processors.raw.loader import RawLoader
from processors.runner import HttpRunClient, Runner, create_runner_app
from processors.sample import sample_season
from processors.spool import Spool
from processors.warehouse import DuckDBWarehouse, Warehouse
from tests.kill.serving import Service
from tests.processors.test_runner import serving

DAY = date(2024, 10, 22)
OFFENSE, DEFENSE = "TeamOffenseSummaryProcessor", "TeamDefenseSummaryProcessor"
REGISTRY = """\
version: 1
timezone: America/New_York
calendar: {table: nba_raw.nbac_schedule}
defaults:
  launch: {http: "RUNNER"}
  heartbeat_timeout: 3m
  claim_timeout: 1m
tables:
  nba_raw.nbac_schedule:
  nba_raw.bdl_player_boxscores:
  nba_raw.nbac_scoreboard_v2:
processors:
  TeamOffenseSummaryProcessor:
    phase: 3
    output: nba_analytics.team_offense_game_summary
    requires: [{table: nba_raw.bdl_player_boxscores, expected_count_per_game: 16}]
  TeamDefenseSummaryProcessor:
    phase: 3
    output: nba_analytics.team_defense_game_summary
    requires: [{table: nba_raw.nbac_scoreboard_v2}]
"""


class Gated(TeamOffenseSummaryProcessor):
    """Begins, waits until it may end, and then writes as usual."""

    requires: ClassVar[tuple[Need, ...]] = ()
    began: ClassVar[threading.Event] = threading.Event()
    may_end: ClassVar[threading.Event] = threading.Event()

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        type(self).began.set()
        assert type(self).may_end.wait(60)
        return super().run(warehouse, context)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[DuckDBWarehouse]:
    opened = DuckDBWarehouse(tmp_path / "runner.duckdb", catalog=CATALOG)
    yield opened
    opened.close()


@pytest.fixture
def service(tmp_path: Path, warehouse: DuckDBWarehouse) -> Iterator[Service]:
    """A served registry whose launches go to one runner here, with room for one run."""
    Gated.began.clear()
    Gated.may_end.clear()
    served = Service(tmp_path, f"sqlite:{tmp_path / 'state.db'}")
    # It keeps no connection, so it can be closed outside of the loop that used it.
    limits = httpx.Limits(max_keepalive_connections=0)
    client = httpx.AsyncClient(base_url=served.url, limits=limits)
    runner = Runner(
        HttpRunClient(client, call_seconds=2),
        warehouse,
        {**ENTRYPOINTS, OFFENSE: f"{__name__}:Gated"},
        owner="runner-1",
        clock=now,
        max_parallel=1,
        max_wait_seconds=0.5,
    )
    with serving(create_runner_app(runner)) as url:
        served.registry.write_text(REGISTRY.replace("RUNNER", url))
        served.start()
        served.answers()
        yield served
        Gated.may_end.set()
        served.stop()
    asyncio.run(client.aclose())


def until(promise: Callable[[], Any], seconds: float = 120) -> Any:
    give_up_at = time.monotonic() + seconds
    while not (found := promise()):
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    return found


@pytest.mark.slow
def test_a_killed_service_loses_no_finished_run_and_no_load(
    service: Service, warehouse: DuckDBWarehouse, tmp_path: Path
) -> None:
    def run_of(processor: str) -> dict[str, Any]:
        answer = httpx.get(f"{service.url}/v1/runs/{processor}:{DAY}:1", timeout=10)
        return dict(answer.json()) if answer.status_code == 200 else {}

    ids = (f"id-{n}" for n in count())
    spool = Spool(tmp_path / "spool")
    at = now() - timedelta(minutes=5)
    with HttpTransport(service.url, clock=now, new_id=lambda: next(ids)) as transport:
        publisher = RawDataPubSubPublisher(
            transport,
            clock=now,
            new_id=lambda: next(ids),
            spool=spool,
            budget_seconds=5,
            outage_seconds=0.5,
        )
        loader = RawLoader(sample_season(), warehouse, publisher)
        loader.load(raw.SCHEDULE, DAY, loaded_at=at)
        loader.load(raw.BDL_BOXSCORES, DAY, loaded_at=at)
        until(Gated.began.is_set)
        service.kill()

        Gated.may_end.set()  # the run ends, and nobody is there to hear of it
        began = time.monotonic()
        kept = loader.load(raw.SCOREBOARD, DAY, loaded_at=at)
        assert time.monotonic() - began < 8
        assert (kept.message_id, spool.state().events) == (None, 1)
        until(lambda: warehouse.row_count("nba_analytics.team_offense_game_summary", DAY))
        time.sleep(2)

        service.start()
        service.answers()
        ended = until(lambda: (run := run_of(OFFENSE)).get("status") == "success" and run)
        assert (ended["attempt"], ended["owner"], ended["record_count"]) == (1, "runner-1", 4)
        flushed = publisher.flush(30)
        assert (flushed.sent, flushed.kept) == (1, 0)
        ended = until(lambda: (run := run_of(DEFENSE)).get("status") == "success" and run)
        assert (ended["attempt"], ended["record_count"]) == (1, 4)
