"""Windows that changed while nothing rested on them: read again when something does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from coordinator.app import Application
from coordinator.core.choices import RunStatus
from coordinator.core.explain import requirement_sentence
from coordinator.core.model import Partition, Trigger
from coordinator.core.schedule import shift
from coordinator.documents import partition_key
from tests.service.test_rolling_deployment import Shared, shared

DATE = "2024-10-23"
BEFORE = shift(DATE, -1)
HEAD = """
version: 1
timezone: UTC
calendar: {table: raw.games, known_from: "2024-10-20"}
defaults: {cooldown: 0s}
tables: {raw.games: {}, raw.a: {}, raw.t: {}}
processors:
"""


def registry(rules: str, needs: str = "") -> str:
    needs = needs or "{table: raw.a}, {table: raw.t, dates: {last_game_dates: 1}}"
    return HEAD + f"  P: {{phase: 3, output: out.p, {rules}, requires: [{needs}]}}\n"


OTHER = "  Q: {phase: 3, output: out.q, requires: [{table: raw.a}]}\n"
ALWAYS = 'schedule: [{at: "11:30", day: 0, when: always}]'


def load(s: Shared, table: str, date: str, **said: Any) -> dict[str, Any]:
    return {**s.load(table), "game_date": date, "execution_id": f"{table}-{date}", **said}


async def partition(app: Application, date: str = DATE) -> Partition:
    key = partition_key("P", date)
    found: Partition | None = (await app.store.get([key]))[key]
    assert found is not None
    return found


async def succeed(app: Application) -> None:
    run_id = (await partition(app)).run_id
    assert run_id is not None
    run = await app.runs.claim(run_id, "me", 1)
    assert run.lease_token is not None
    await app.runs.complete(run_id, run.lease_token, RunStatus.SUCCESS, 1)


async def games(s: Shared, app: Application, *dates: str) -> None:
    for date in dates:
        await app.ingest.take(load(s, "raw.games", date, game_ids=["g"], record_count=1))


async def test_a_schedule_that_always_fires_does_after_a_change_of_the_registry() -> None:
    async with shared() as s:
        app = await s.instance(registry(ALWAYS))
        await games(s, app, BEFORE, DATE)
        await app.ingest.take(load(s, "raw.t", BEFORE))
        await app.ingest.take(load(s, "raw.a", DATE))
        await succeed(app)
        app = await s.instance(registry(ALWAYS) + OTHER)
        s.clock.at = datetime(2024, 10, 23, 11, 30, tzinfo=UTC)
        await app.sweeper.sweep()
        found = await partition(app)
        assert found.live is not None
        assert found.live.trigger is Trigger.SCHEDULE


async def test_a_schedule_that_always_fires_does_when_its_window_filled_after_a_forced_run() -> (
    None
):
    async with shared() as s:
        rules = f'deadline: {{at: "07:00", then: fire}}, {ALWAYS}'
        app = await s.instance(registry(rules))
        await games(s, app, BEFORE, DATE)
        await app.ingest.take(load(s, "raw.a", DATE))
        s.clock.at = datetime(2024, 10, 23, 7, tzinfo=UTC)
        await app.sweeper.sweep()
        assert (await partition(app)).generation == 1
        await succeed(app)
        await app.ingest.take(load(s, "raw.t", BEFORE))
        await app.sweeper.sweep()
        assert (await partition(app)).generation == 1
        s.clock.at = datetime(2024, 10, 23, 11, 30, tzinfo=UTC)
        await app.sweeper.sweep()
        found = await partition(app)
        assert found.live is not None
        assert found.live.trigger is Trigger.SCHEDULE


async def test_a_deadline_that_acted_and_is_moved_reads_windows_again() -> None:
    async with shared() as s:
        app = await s.instance(registry('deadline: {at: "07:00", then: fire}'))
        await games(s, app, BEFORE, DATE)
        s.clock.at = datetime(2024, 10, 23, 7, tzinfo=UTC)
        await app.sweeper.sweep()
        assert (await partition(app)).timers.deadline_done
        await app.ingest.take(load(s, "raw.t", BEFORE))
        app = await s.instance(registry('deadline: {at: "12:00", then: fire}'))
        s.clock.at = datetime(2024, 10, 23, 12, tzinfo=UTC)
        await app.sweeper.sweep()
        found = await partition(app)
        assert found.live is not None
        assert found.live.trigger is Trigger.DEADLINE


async def test_a_waiver_of_a_window_that_is_met_no_more_stays_open() -> None:
    async with shared() as s:
        app = await s.instance(registry("debounce: 1h, max_settle: 2h"))
        await games(s, app, BEFORE, DATE)
        await app.ingest.take(load(s, "raw.t", BEFORE))
        await app.ingest.take(load(s, "raw.a", DATE))
        s.clock.at += timedelta(minutes=1)
        none = load(s, "raw.t", BEFORE, execution_id="none", status="no_data", record_count=0)
        await app.ingest.take(none)
        assert (await app.queries.partitions.partition("P", DATE)).status == "waiting"
        await app.operate.waive("P", DATE, table="raw.t", reason="known to be empty", actor="me")
        (waiver,) = (await partition(app)).waivers
        assert waiver.closed_at is None
        s.clock.at += timedelta(hours=2)
        await app.sweeper.sweep()
        assert (await partition(app)).generation == 1


async def test_the_answer_to_a_person_judges_windows_as_they_are() -> None:
    async with shared() as s:
        app = await s.instance(registry("debounce: 1h, max_settle: 2h"))
        await games(s, app, BEFORE, DATE)
        await app.ingest.take(load(s, "raw.t", BEFORE))
        act = await app.operate.skip("P", DATE, reason="not needed", actor="me", dry_run=True)
        assert act.decision is not None
        sentence = requirement_sentence(act.decision.verdict.requirements[1])
        assert sentence == "raw.t is ready on 1 of the last 1 game date"
