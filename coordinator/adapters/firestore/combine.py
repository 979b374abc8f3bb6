"""Which transactions share a commit: those that wait for the same documents in one process.

Pure: who runs next, and together with whom. Two commits that are under way never contend for a
document that both mean to write, and what waits for a busy one is joined into its next commit. So a
burst on one date costs as many commits as round trips have passed, and cannot livelock. What a
transaction means to write is read from its keys; where it turns out to write more, and was refused,
that is known from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final

from coordinator.adapters.firestore.layout import path
from coordinator.ports import Key, Kind, Step

JOBS_MAX: Final = 256
"""Transactions in one commit."""
PATHS_MAX: Final = 300
"""Documents that the transactions of one commit may mean to write; each may add a run to its own.
Well below what one commit takes."""
HOT_SECONDS: Final = 5.0

SURROUNDINGS: Final = frozenset(
    {Kind.CALENDAR, Kind.CONTROL, Kind.DATES, Kind.PENDING, Kind.TABLE_DATE}
)
"""What a decision on a partition looks at and, as a rule, does not write."""
DECIDES: Final = frozenset({Kind.PARTITION, Kind.EVENT})


@dataclass(slots=True, eq=False)
class Job:
    """A transaction that a caller waits for."""

    keys: tuple[Key, ...]
    step: Step[Any]
    future: asyncio.Future[Any]
    deadline: float = float("inf")
    """Until when its caller waits."""
    contended: frozenset[str] = frozenset()
    """The documents that it is expected to write, and those that a refused try did."""
    surroundings: frozenset[str] = frozenset()
    """The documents that it looks at and may write after all."""

    def __post_init__(self) -> None:
        """Raise ``BadInput`` where an id cannot be one."""
        paths = {path(key): key.kind for key in self.keys}
        if self.decides:
            self.surroundings = frozenset(p for p, kind in paths.items() if kind in SURROUNDINGS)
        self.contended |= paths.keys() - self.surroundings

    def again(self, keys: Iterable[Key], written: Set[str]) -> None:
        """Note which documents a refused try looked at and wrote."""
        self.keys = tuple(keys)
        self.contended |= written
        self.__post_init__()

    @property
    def divisible(self) -> bool:
        """Whether it takes several events in, which its caller can divide."""
        return sum(key.kind is Kind.EVENT for key in self.keys) > 1

    @property
    def decides(self) -> bool:
        """Whether it is a decision on partitions or an event's."""
        return any(key.kind in DECIDES for key in self.keys)


@dataclass(slots=True, eq=False)
class Group:
    """Transactions that share a commit, in the order in which they came."""

    jobs: list[Job] = field(default_factory=list)
    contended: set[str] = field(default_factory=set)


class Waiting:
    """The transactions that have not begun, and the documents of those that have."""

    def __init__(self, jobs_max: int = JOBS_MAX, paths_max: int = PATHS_MAX) -> None:
        self._jobs_max = jobs_max
        self._paths_max = paths_max
        self._jobs: list[Job] = []
        self._busy: set[str] = set()
        self._hot: dict[str, float] = {}
        """Surroundings that refused groups did write, and until when that is taken into account."""

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        self._jobs.append(job)

    def put_back(self, group: Group, now: float) -> None:
        """Let the transactions of a refused group begin again, before those that came later.

        For a while all that look at the surroundings that it wrote count as writing them too, so
        they are joined.
        """
        for job in group.jobs:
            self._hot |= dict.fromkeys(job.surroundings & job.contended, now + HOT_SECONDS)
        self._jobs[:0] = group.jobs

    def finished(self, group: Group) -> None:
        """The documents of a group are free again."""
        self._busy -= group.contended

    def take(self, room: int, now: float) -> list[Group]:
        """The groups that can begin now, ``room`` at the most.

        First come, first served for each document. What has to wait can still be joined.
        """
        self._hot = {p: until for p, until in self._hot.items() if until > now}
        blocked = set(self._busy)
        owner: dict[str, Group] = {}
        groups: dict[Group, None] = {}
        rest: list[Job] = []
        for job in self._jobs:
            if job.future.done():
                continue
            if self._hot:
                job.contended |= job.surroundings & self._hot.keys()
            if not blocked.isdisjoint(job.contended):
                blocked |= job.contended
                rest.append(job)
                continue
            joined = {owner[p]: None for p in job.contended if p in owner}
            if (joined or len(groups) < room) and self._fits(job, list(joined)):
                group = self._join(list(joined))
                group.jobs.append(job)
                group.contended |= job.contended
                for other in joined:
                    groups.pop(other, None)
                groups[group] = None
                for p in group.contended if len(joined) > 1 else job.contended:
                    owner[p] = group
            else:
                blocked |= job.contended
                rest.append(job)
        order = {job: number for number, job in enumerate(self._jobs)}
        self._jobs = rest
        for group in groups:
            group.jobs.sort(key=order.__getitem__)  # joined ones are out of it
            self._busy |= group.contended
        return list(groups)

    def _fits(self, job: Job, groups: Sequence[Group]) -> bool:
        if not groups:
            return True
        jobs = sum(len(g.jobs) for g in groups) + 1
        paths = sum(len(g.contended) for g in groups) + len(job.contended)
        return jobs <= self._jobs_max and paths <= self._paths_max

    def _join(self, groups: Sequence[Group]) -> Group:
        if not groups:
            return Group()
        first = groups[0]
        for other in groups[1:]:
            first.jobs += other.jobs
            first.contended |= other.contended
        return first
