"""The nights of a season as a timeline of raw loads, mishaps included.

Owns: when each source usually loads (US Eastern), the seeded mishaps, and performing one planned
load. Refuses: waiting; whoever plays the timeline owns the clock, and a load's timestamp is its
planned, virtual instant. One season, range and seed give one timeline.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from processors.errors import ProcessorError
from processors.publisher import Event
from processors.raw import tables as raw
from processors.raw.loader import LoadOrigin, LoadReport, RawLoader
from processors.raw.season import Game, Season

EASTERN = ZoneInfo("America/New_York")
Kind = Literal["load", "no_data", "failed", "duplicate"]
LATE_BY = timedelta(hours=3)
"""How much later than usual the box scores of the late date come."""


@dataclass(frozen=True)
class PlannedLoad:
    """One thing that a source does at `at` (UTC).

    `load` and `no_data` replace rows and publish; `failed` only publishes; `duplicate` sends the
    event of the load with the same `execution_id` once more, unchanged. `note` names a mishap, else
    empty.
    """

    at: datetime
    table: str
    game_date: date
    game_ids: tuple[str, ...]
    kind: Kind
    execution_id: str
    correlation_id: str
    note: str = ""


@dataclass(frozen=True)
class Mishaps:
    """The dates on which something goes wrong; None: it does not happen in the range."""

    late: date | None
    repeated: date | None
    failed: date | None


def plan_nights(
    season: Season, first: date, last: date, *, seed: int = 7
) -> tuple[PlannedLoad, ...]:
    """Every load of the dates from `first` to `last`, both included, in order of time.

    Only games whose player lines are held get loads of their own; the schedule's load names all
    that are expected. Raises ValueError where `last` is before `first`.
    """
    if last < first:
        raise ValueError(f"{last} is before {first}")
    dates = [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
    mishaps = pick_mishaps(season, dates, seed=seed)
    planned = [load for day in dates for load in _night(season, day, mishaps, seed)]
    return tuple(sorted(planned, key=lambda load: (load.at, load.table, load.game_ids)))


def pick_mishaps(season: Season, dates: list[date], *, seed: int = 7) -> Mishaps:
    """Which of `dates` see a late source, a repeated event and a failed load.

    Each falls on a date of its own while there are enough dates with games.
    """
    played = [day for day in dates if season.played_on(day)]
    if not played:
        return Mishaps(None, None, None)
    random.Random(f"{seed}:mishaps").shuffle(played)
    return Mishaps(*(played[at % len(played)] for at in range(3)))


class NightPlayer:
    """Performs planned loads. Safe to use from several threads."""

    def __init__(self, loader: RawLoader) -> None:
        """`loader` holds the season that the plan was made from."""
        self._loader = loader
        self._sent: dict[str, Event] = {}
        self._writing = threading.Lock()

    def perform(self, planned: PlannedLoad) -> LoadReport:
        """Do one planned load: rows into the warehouse, then its event to the coordinator.

        Raises ProcessorError for a duplicate of a load that was not performed yet.
        """
        if planned.kind == "duplicate":
            return self._repeat(planned)
        origin = LoadOrigin(
            execution_id=planned.execution_id,
            correlation_id=planned.correlation_id,
            source_scraper_execution_id=f"scrape-{planned.execution_id}",
        )
        if planned.kind == "failed":
            return self._loader.report_failed(
                planned.table,
                planned.game_date,
                error=planned.note or "the source did not answer",
                failed_at=planned.at,
                game_ids=planned.game_ids,
                origin=origin,
            )
        per_game = planned.table == raw.GAMEBOOK
        report = self._loader.load(
            planned.table,
            planned.game_date,
            loaded_at=planned.at,
            game_ids=planned.game_ids if per_game else None,
            origin=origin,
        )
        with self._writing:
            self._sent[planned.execution_id] = report.event
        return report

    def _repeat(self, planned: PlannedLoad) -> LoadReport:
        with self._writing:
            event = self._sent.get(planned.execution_id)
        if event is None:
            raise ProcessorError(
                f"{planned.execution_id} has not been performed: nothing to repeat"
            )
        return self._loader.report_again(event)


def _night(season: Season, day: date, mishaps: Mishaps, seed: int) -> Iterator[PlannedLoad]:
    expected = season.games_on.get(day, ())
    ids = tuple(game.game_id for game in expected)
    kind: Kind = "load" if expected else "no_data"
    yield _planned(seed, raw.SCHEDULE, day, ids, _eastern(day, 8), kind)
    played = season.played_on(day)
    if not played:
        return
    draw = random.Random(f"{seed}:night:{day.isoformat()}")
    ids = tuple(game.game_id for game in played)
    ends = {
        game.game_id: game.tipoff_utc + timedelta(seconds=draw.randrange(140 * 60, 165 * 60))
        for game in played
    }
    last = max(ends.values())
    yield from _gamebooks(seed, day, played, ends, mishaps)
    late = LATE_BY if day == mishaps.late else timedelta()
    note = "three hours late" if late else ""
    for table, at in (
        (raw.ODDS_API_PROPS, _eastern(day, 12) + _up_to(draw, 20)),
        (raw.BETTINGPROS_PROPS, _eastern(day, 15) + _up_to(draw, 20)),
        (raw.SCOREBOARD, last + timedelta(minutes=4) + _up_to(draw, 6)),
        (raw.TEAM_STATS, last + timedelta(minutes=20) + _up_to(draw, 20)),
        (raw.NBAC_PBP, last + timedelta(minutes=30) + _up_to(draw, 15)),
        (raw.BIGDATABALL_PBP, _eastern(day + timedelta(days=1), 4) + _up_to(draw, 15)),
    ):
        yield _planned(seed, table, day, ids, at, "load")
    box_at = last + timedelta(minutes=10) + _up_to(draw, 15) + late
    yield replace(_planned(seed, raw.BDL_BOXSCORES, day, ids, box_at, "load"), note=note)


def _gamebooks(
    seed: int,
    day: date,
    played: tuple[Game, ...],
    ends: dict[str, datetime],
    mishaps: Mishaps,
) -> Iterator[PlannedLoad]:
    for number, game in enumerate(played):
        ids, at = (game.game_id,), ends[game.game_id]
        if number == 0 and day == mishaps.failed:
            failed = _planned(seed, raw.GAMEBOOK, day, ids, at, "failed")
            yield replace(failed, note="the gamebook could not be read")
            at += timedelta(minutes=40)
        load = _planned(seed, raw.GAMEBOOK, day, ids, at, "load")
        yield load
        if number == 0 and day == mishaps.repeated:
            again = at + timedelta(minutes=2)
            yield replace(load, at=again, kind="duplicate", note="the same event once more")


def _planned(
    seed: int, table: str, day: date, game_ids: tuple[str, ...], at: datetime, kind: Kind
) -> PlannedLoad:
    name = f"{seed}:{table}:{day.isoformat()}:{','.join(game_ids)}:{kind}"
    execution_id = hashlib.sha256(name.encode()).hexdigest()[:16]
    return PlannedLoad(
        at=at.astimezone(UTC),
        table=table,
        game_date=day,
        game_ids=game_ids,
        kind=kind,
        execution_id=execution_id,
        correlation_id=f"night-{day.isoformat()}",
    )


def _eastern(day: date, hour: int) -> datetime:
    return datetime.combine(day, time(hour), tzinfo=EASTERN)


def _up_to(draw: random.Random, minutes: int) -> timedelta:
    return timedelta(seconds=draw.randrange(minutes * 60))
