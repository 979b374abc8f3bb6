"""Dependencies that lead back to where they began: what could never run.

Owns the two kinds: a cycle on one date, and one whose offsets never end in an earlier date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Final, NamedTuple

from coordinator.core.spec import ProcessorSpec, TableSpec
from coordinator.registry.document import Loc

MAX_CYCLES: Final = 20
"""Cycles that are named at once."""


class DependencyEdge(NamedTuple):
    """``needs`` needs ``needed``, ``offset`` days from its own date (a window: the day before).

    ``loc`` is the line that says so, ``number`` its place in the order of the file.
    """

    needs: str
    needed: str
    offset: int
    loc: Loc
    number: int


class Cycle(NamedTuple):
    """A cycle: the line that most likely made it, the field to name, and the rule it breaks."""

    loc: Loc
    field: Loc
    rule: str


def cycles(edges: Sequence[DependencyEdge]) -> Iterator[Cycle]:
    """Each cycle on one date, else one that never moves back in time."""
    same_date = {(e.needs, e.needed): e for e in reversed(edges) if e.offset == 0}
    for number in range(MAX_CYCLES):
        cycle = _cycle(same_date)
        if cycle is None:
            if number == 0:
                yield from _forward_cycle(edges)
            return
        pairs = list(pairwise(reversed(cycle)))
        last = max(pairs, key=lambda p: same_date[p].number)  # it most likely was added last
        start = pairs.index(last)
        turned = [*(a for a, _ in pairs[start:]), *(a for a, _ in pairs[:start]), last[0]]
        loc = same_date.pop(last).loc
        yield Cycle(
            loc,
            loc,
            f"makes a cycle on the same date: {' needs '.join(turned)}; none of them could ever "
            "run, so remove one of these lines or let it name an earlier date "
            "(dates: {offset: -1})",
        )


def _cycle(edges: Iterable[tuple[str, str]]) -> list[str] | None:
    """A cycle as graphlib names it, first and last the same, or None."""
    try:
        _sorter(edges).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return None


def _sorter(edges: Iterable[tuple[str, str]]) -> TopologicalSorter[str]:
    graph: dict[str, set[str]] = {}
    for needs, needed in edges:
        graph.setdefault(needs, set()).add(needed)
    return TopologicalSorter(graph)


def _forward_cycle(edges: Sequence[DependencyEdge]) -> Iterator[Cycle]:
    """A cycle whose offsets add up to 0 or more: it waits for itself or for the future.

    Bellman-Ford over whole numbers: ``-(offset * n + 1)`` with n above the number of processors
    makes a cycle negative exactly where its offsets add up to 0 or more.
    """
    furthest: dict[tuple[str, str], DependencyEdge] = {}
    for e in sorted(edges, key=lambda e: e.offset):
        furthest[e.needs, e.needed] = e
    furthest = _within_cycles(furthest)
    cost = {name: 0 for pair in furthest for name in pair}
    scale = len(cost) + 1
    through: dict[str, DependencyEdge] = {}
    changed: str | None = None
    for _ in range(len(cost) + 1):
        changed = None
        for e in furthest.values():
            reached = cost[e.needs] - (e.offset * scale + 1)
            if reached < cost[e.needed]:
                cost[e.needed] = reached
                through[e.needed] = e
                changed = e.needed
        if changed is None:
            return
    assert changed is not None
    for _ in range(len(cost)):
        changed = through[changed].needs
    cycle = [through[changed]]
    while cycle[-1].needs != changed:
        cycle.append(through[cycle[-1].needs])
    forward = max(cycle, key=lambda e: (e.offset, e.number))
    i = cycle.index(forward)
    turned = [*reversed(cycle[: i + 1]), *reversed(cycle[i + 1 :])]
    path = ", ".join(f"{e.needs} needs {e.needed} at {e.offset:+d}d" for e in turned)
    yield Cycle(
        forward.loc,
        (*forward.loc, "dates"),
        f"makes a cycle that never ends in an earlier date: {path}; offsets around a cycle must "
        "add up to less than 0, so name an earlier date here or remove the line",
    )


def _within_cycles(
    edges: Mapping[tuple[str, str], DependencyEdge],
) -> dict[tuple[str, str], DependencyEdge]:
    """The edges among processors that are on a cycle, or need one that is.

    A processor that needs its own output of an earlier date is on none by that: every turn of that
    loop moves back in time.
    """
    left = {pair: e for pair, e in edges.items() if pair[0] != pair[1] or e.offset >= 0}
    sorter = _sorter(left)
    with suppress(CycleError):
        sorter.prepare()
    free: set[str] = set()
    while sorter.is_active():  # goes on up to the cycles
        ready = sorter.get_ready()
        free.update(ready)
        sorter.done(*ready)
    return {pair: e for pair, e in left.items() if not free.intersection(pair)}


def upstream_first(
    specs: Mapping[str, ProcessorSpec], tables: Mapping[str, TableSpec]
) -> tuple[str, ...]:
    """Names of processors after those they need on the same date; of equals by phase and name."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for spec in specs.values():
        producers = {
            tables[t].producer or ""
            for r in spec.requirements
            if r.window is None and r.offset == 0
            for t in r.sources
        }
        sorter.add(spec.name, *sorted(producers - {""}))
    sorter.prepare()
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=lambda n: (specs[n].phase, n))
        order += ready
        sorter.done(*ready)
    return tuple(order)
