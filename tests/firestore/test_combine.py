"""Which transactions share a commit, and in which order they run in it."""

from __future__ import annotations

import asyncio
import string

from coordinator.adapters.firestore.combine import Job, Waiting
from coordinator.ports import Changes, Key, Kind


def job(*ids: str) -> Job:
    keys = tuple(Key(Kind.PARTITION, id_) for id_ in ids)
    return Job(keys, lambda _: Changes(None), asyncio.get_running_loop().create_future())


async def test_joined_transactions_run_in_the_order_in_which_they_came() -> None:
    waiting = Waiting()
    jobs = [job(letter) for letter in reversed(string.ascii_letters)]
    jobs.append(job(*string.ascii_letters))
    for one in jobs:
        waiting.add(one)
    (group,) = waiting.take()
    assert group.jobs == jobs


async def test_what_waits_for_a_busy_document_is_joined_into_its_next_commit() -> None:
    waiting = Waiting()
    first, second, third, apart = job("a"), job("a"), job("a", "b"), job("c")
    waiting.add(first)
    (busy,) = waiting.take()
    for one in (second, third, apart):
        waiting.add(one)
    (free,) = waiting.take()
    assert free.jobs == [apart]
    assert not waiting.take()
    waiting.finished(busy)
    (following,) = waiting.take()
    assert following.jobs == [second, third]


async def test_a_commit_takes_no_more_than_it_can_hold() -> None:
    waiting = Waiting(jobs_max=2, paths_max=3)
    jobs = [job("a"), job("a"), job("a"), job("x", "y"), job("y", "z", "w")]
    for one in jobs:
        waiting.add(one)
    assert [g.jobs for g in waiting.take()] == [jobs[:2], jobs[3:4]]
