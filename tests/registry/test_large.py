"""A registry as large as the limits allow is read in one pass over its lines."""

import gc
from itertools import pairwise

import pytest

from coordinator.core.spec import LaunchKind
from coordinator.registry import Registry, RegistryError, build, cycles, parse, refuse_launches
from coordinator.registry.cycles import DependencyEdge
from coordinator.registry.models import MAX_PROCESSORS, MAX_TABLES


def text_of(processors: int, tables: int) -> str:
    """Each processor needs two loaded tables, the output of the one before, and its own of the day
    before."""
    loaded = tables - processors
    lines = ["version: 1", "tables:"]
    lines += [f"  raw.table_{n}: {{grain: game}}" for n in range(loaded)]
    lines += ["processors:"]
    for n in range(processors):
        lines += [
            f"  P{n}:",
            "    phase: 3",
            f"    output: out.table_{n}",
            "    requires:",
            f"      - {{table: raw.table_{n % loaded}}}",
            f"      - {{table: raw.table_{(n * 7 + 1) % loaded}, critical: false}}",
            f"      - {{table: out.table_{n}, critical: false, dates: {{offset: -1}}}}",
        ]
        if n:
            lines.append(f"      - {{table: out.table_{n - 1}}}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def large() -> Registry:
    return parse(text_of(MAX_PROCESSORS, MAX_TABLES))


def test_the_limits_are_those_of_the_reference(large: Registry) -> None:
    assert (len(large.processors), len(large.tables)) == (2000, 5000)
    assert [spec.name for spec in large.in_order()] == [f"P{n}" for n in range(2000)]


def test_processors_that_are_on_no_cycle_are_not_searched_for_one() -> None:
    """The search takes a round over all lines for each processor of a chain."""
    names = [f"P{n}" for n in range(2000)]
    chain = [
        DependencyEdge(after, before, offset, ("processors", after), number)
        for number, (before, after) in enumerate(pairwise(names))
        for offset in (0, -1)
    ]
    own = [DependencyEdge(name, name, -1, ("processors", name), 0) for name in names]
    assert cycles._within_cycles({(e.needs, e.needed): e for e in [*chain, *own]}) == {}
    back = DependencyEdge("P3", "P5", 1, ("processors", "P3"), 9)
    left = cycles._within_cycles({(e.needs, e.needed): e for e in [*chain[:20], *own, back]})
    assert {("P5", "P4"), ("P4", "P3"), ("P3", "P5")} <= set(left)
    assert not {("P2", "P1"), ("P1", "P0")} & set(left)


def test_the_text_is_read_once_where_every_launch_can_be_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = parse(text_of(2, 4))
    monkeypatch.setattr(build, "read", None)
    refuse_launches(registry, (LaunchKind.LOCAL,), "registry.yaml")


def test_the_search_for_garbage_goes_on_after_a_file_was_read() -> None:
    assert gc.isenabled()
    parse(text_of(1, 2))
    assert gc.isenabled()
    with pytest.raises(RegistryError):
        parse("version: 2\n")
    assert gc.isenabled()
