"""Instants that a change of the registry puts into the past do nothing (specification 2.8)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from coordinator.core.model import EffectKind, Flag, Trigger
from coordinator.registry import parse
from coordinator.service.registry_membership import GONE_AFTER, REFRESH_EVERY
from coordinator.service.set_since import compare, dated
from tests.service.test_registry_rollout import DATE, HEAD, partition
from tests.service.test_rolling_deployment import Shared, shared

NOW = datetime(2024, 10, 23, 6, tzinfo=UTC)
EARLIER = NOW - timedelta(days=1)
NEEDS = "requires: [{table: raw.a}, {table: raw.b}]"
PAST = 'deadline: {at: "01:00", day: 1, then: fire}'
"""An hour before the clock of these tests begins."""


def registry(rules: str = "", head: str = HEAD) -> str:
    return head + f"  P: {{phase: 3, output: out.p, {rules}{', ' if rules else ''}{NEEDS}}}\n"


def schedule(when: str, at: str = "11:30") -> str:
    return f'schedule: [{{at: "{at}", when: {when}}}]'


@pytest.mark.parametrize(
    ("rules", "before", "kept"),
    [
        ('deadline: {at: "01:00"}', 'deadline: {at: "01:00"}', True),
        ('deadline: {at: "01:00", then: fire}', 'deadline: {at: "01:00", then: skip}', True),
        ('deadline: {at: "01:00"}', 'deadline: {at: "01:00", day: 1}', False),
        ('deadline: {at: "01:00"}', 'deadline: {at: "01:00:01"}', False),
        ('deadline: {at: "01:00"}', "", False),
        (schedule("always"), schedule("always"), True),
        (schedule("ready"), schedule("always"), True),
        (schedule("always"), schedule("ready"), False),
        (schedule("ready", "11:45"), schedule("ready"), False),
        ("off_day: run", "off_day: run", True),
        ("off_day: run", "", False),
    ],
)
def test_a_rule_is_set_since_the_registry_that_brought_it(
    rules: str, before: str, kept: bool
) -> None:
    new, old = parse(registry(rules)), parse(registry(before))
    found = compare(new, [(old, {})], NOW)
    assert found == ({} if kept else {"P": dict.fromkeys(found["P"], NOW)})
    assert len(found.get("P", ())) == (not kept)


def test_a_rule_that_an_earlier_change_brought_is_set_since_that_change() -> None:
    new, old = parse(registry(PAST)), parse(registry(PAST) + "# the same\n")
    first = compare(old, [(parse(registry()), {})], EARLIER)
    assert compare(new, [(old, first)], NOW) == first


def test_one_of_several_registries_side_by_side_is_enough_to_set_a_rule() -> None:
    new, with_it, without = parse(registry(PAST)), parse(registry(PAST)), parse(registry())
    assert compare(new, [(without, {}), (with_it, {})], NOW) == {}
    since = compare(with_it, [(without, {})], EARLIER)
    assert compare(new, [(with_it, since), (without, {})], NOW) == since


def test_a_processor_that_is_new_or_came_back_has_no_instants_in_the_past() -> None:
    new = parse(registry(PAST))
    other = parse(HEAD + f"  Q: {{phase: 3, output: out.q, {PAST}, {NEEDS}}}\n")
    assert list(compare(new, [(other, {})], NOW)) == ["P"]


def test_a_registry_that_cannot_be_read_any_more_set_nothing() -> None:
    assert list(compare(parse(registry(PAST)), [(None, {})], NOW)) == ["P"]


def test_another_time_zone_sets_other_instants() -> None:
    new = parse(registry(PAST).replace("New_York", "Chicago"))
    assert list(compare(new, [(parse(registry(PAST)), {})], NOW)) == ["P"]


def test_a_processor_says_since_when_each_of_its_rules_is_set() -> None:
    rules = f"{PAST}, {schedule('always')}, off_day: run"
    new = parse(registry(rules))
    since = compare(new, [(parse(registry()), {})], NOW)
    policy = dated(new.processors["P"], since["P"]).policy
    assert policy.deadline is not None
    assert policy.deadline.set_since == policy.schedule[0].set_since == policy.off_day_since == NOW
    policy = dated(new.processors["P"], {}).policy
    assert policy.deadline is not None
    assert policy.deadline.set_since is policy.schedule[0].set_since is policy.off_day_since is None


# ── over a real store ────────────────────────────────────────────────────────────────────────


async def waiting(s: Shared, rules: str = "") -> None:
    """A partition that waits, under a registry with these rules."""
    old = await s.instance(registry(rules))
    await old.ingest.take(s.load("raw.a"))


async def state(s: Shared, text: str) -> tuple[int, set[Flag], int]:
    """Under this registry: the generation, the flags and how many notices are under way."""
    found = await partition(await s.instance(text), "P")
    assert found is not None
    notices = [e for e in found.outbox if e.kind is EffectKind.NOTIFY]
    return found.generation, set(found.flags), len(notices)


async def test_a_deadline_added_after_its_instant_does_nothing() -> None:
    async with shared() as s:
        await waiting(s)
        assert await state(s, registry(PAST)) == (0, set(), 0)


async def test_a_deadline_that_was_set_acts_at_the_next_start_though_its_registry_is_another() -> (
    None
):
    async with shared() as s:
        coming = PAST.replace("01:00", "03:00")
        await waiting(s, coming)
        s.clock.at += timedelta(hours=3)  # nobody was there at three
        new = await s.instance(registry(coming) + LATER)
        await new.sweeper.sweep()
        found = await partition(new, "P")
        assert found is not None
        assert found.live is not None
        assert found.live.trigger is Trigger.DEADLINE


LATER = "  Late: {phase: 3, output: out.late, requires: [{table: raw.c}]}\n"


async def test_two_changes_in_quick_succession_replay_nothing() -> None:
    async with shared() as s:
        await waiting(s)
        await s.instance(registry(PAST))
        s.clock.at += timedelta(seconds=1)
        assert await state(s, registry(PAST) + LATER) == (0, set(), 0)
        s.clock.at += timedelta(days=1)
        assert await state(s, registry(PAST) + LATER) == (0, set(), 0)


async def test_a_registry_that_is_taken_back_replays_nothing() -> None:
    async with shared() as s:
        with_it, without = registry(PAST.replace("01:00", "03:00")), registry()
        await waiting(s)  # under the one without
        first = await s.instance(with_it)
        await s.pass_by(GONE_AFTER + 2 * REFRESH_EVERY, first)
        second = await s.instance(without)
        await s.pass_by(GONE_AFTER + 2 * REFRESH_EVERY, second)
        await s.pass_by(timedelta(hours=2), second)  # past three, and the deadline was not set
        assert await state(s, with_it) == (0, set(), 0)


async def test_in_a_rolling_deployment_each_instance_knows_it() -> None:
    async with shared() as s:
        await waiting(s)
        old = await s.instance(registry())
        new = await s.instance(registry(PAST))
        another = await s.instance(registry(PAST))
        await s.pass_by(2 * GONE_AFTER, old, new, another)
        assert s.launches.run_ids == []
        found = await partition(another, "P")
        assert found is not None
        assert (found.generation, set(found.flags)) == (0, set())


async def test_a_date_first_known_after_the_change_is_not_overdue_by_an_instant_before_it() -> None:
    async with shared() as s:
        await s.instance(registry())
        new = await s.instance(registry(PAST))
        await new.ingest.take(s.load("raw.a"))
        assert await state(s, registry(PAST)) == (0, set(), 0)
        grid = await new.queries.dates.grid(DATE, DATE)
        assert [cell.flags for cell in grid.legend] == [()]


async def test_the_first_registry_of_a_store_flags_dates_that_are_loaded_late() -> None:
    async with shared() as s:
        first = await s.instance(registry(PAST))
        await first.ingest.take(s.load("raw.a"))
        assert await state(s, registry(PAST)) == (0, {Flag.OVERDUE}, 0)
