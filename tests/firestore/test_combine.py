"""Which transactions share a commit, and in which order they run in it."""

from __future__ import annotations

import asyncio
import string

from coordinator.adapters.firestore.combine import HOT_SECONDS, Group, Job, Waiting
from coordinator.adapters.firestore.layout import path
from coordinator.ports import Changes, Key, Kind

LIST = Key(Kind.DATES, "games")


def job(*ids: str) -> Job:
    keys = tuple(Key(Kind.PARTITION, id_) for id_ in ids)
    return Job(keys, lambda _: Changes(None), asyncio.get_running_loop().create_future())


async def test_joined_transactions_run_in_the_order_in_which_they_came() -> None:
    waiting = Waiting()
    jobs = [job(letter) for letter in reversed(string.ascii_letters)]
    jobs.append(job(*string.ascii_letters))
    for one in jobs:
        waiting.add(one)
    (group,) = waiting.take(64, 0.0)
    assert group.jobs == jobs


async def test_what_waits_for_a_busy_document_is_joined_into_its_next_commit() -> None:
    waiting = Waiting()
    first, second, third, apart = job("a"), job("a"), job("a", "b"), job("c")
    waiting.add(first)
    (busy,) = waiting.take(32, 0.0)
    for one in (second, third, apart):
        waiting.add(one)
    (free,) = waiting.take(32, 0.0)
    assert free.jobs == [apart]
    assert not waiting.take(32, 0.0)
    waiting.finished(busy)
    (following,) = waiting.take(32, 0.0)
    assert following.jobs == [second, third]


async def test_a_commit_takes_no_more_than_it_can_hold() -> None:
    waiting = Waiting(jobs_max=2, paths_max=3)
    jobs = [job("a"), job("a"), job("a"), job("x", "y"), job("y", "z", "w")]
    for one in jobs:
        waiting.add(one)
    assert [g.jobs for g in waiting.take(32, 0.0)] == [jobs[:2], jobs[3:4]]


def decision(id_: str) -> Job:
    """A decision on one partition that looks at a list of dates."""
    keys = (Key(Kind.PARTITION, id_), LIST)
    return Job(keys, lambda _: Changes(None), asyncio.get_running_loop().create_future())


def refused(waiting: Waiting, group: Group, now: float) -> None:
    """A group wrote the list too, and another came between."""
    for one in group.jobs:
        one.again(one.keys, {path(key) for key in one.keys})
    waiting.put_back(group, now)
    waiting.finished(group)


async def test_what_is_only_looked_at_keeps_nobody_apart() -> None:
    waiting = Waiting()
    for one in (decision("a"), decision("b")):
        waiting.add(one)
    assert [len(g.jobs) for g in waiting.take(32, 0.0)] == [1, 1]


async def test_what_was_refused_is_joined_with_all_that_look_at_what_it_wrote() -> None:
    waiting = Waiting()
    first, second, third = decision("a"), decision("b"), decision("c")
    waiting.add(first)
    waiting.add(second)
    groups = waiting.take(32, 0.0)
    waiting.add(third)
    for group in reversed(groups):
        refused(waiting, group, 1.0)
    (joined,) = waiting.take(32, 1.0)
    assert joined.jobs == [first, second, third]


async def test_after_a_while_only_those_that_did_write_it_are_kept_together() -> None:
    waiting = Waiting()
    first, second = decision("a"), decision("b")
    waiting.add(first)
    (group,) = waiting.take(32, 0.0)
    refused(waiting, group, 0.0)
    waiting.add(second)
    later = HOT_SECONDS + 0.1
    assert [g.jobs for g in waiting.take(32, later)] == [[first], [second]]


async def test_more_than_there_is_room_for_waits_and_can_still_be_joined() -> None:
    waiting = Waiting()
    first, second, third = job("a"), job("b"), job("c")
    for one in (first, second, third):
        waiting.add(one)
    (busy,) = waiting.take(1, 0.0)
    assert busy.jobs == [first]
    bridge = job("b", "c")
    waiting.add(bridge)
    waiting.finished(busy)
    (following,) = waiting.take(2, 0.0)
    assert following.jobs == [second, third, bridge]
