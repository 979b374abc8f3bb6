"""Every kind of fact is one that ``decide`` answers, and says what it means."""

from __future__ import annotations

from dataclasses import is_dataclass

import pytest

from coordinator.core.facts import Fact
from coordinator.core.transitions import FACTS
from tests.core.test_transitions import WAYS
from tests.core.world import World


@pytest.mark.parametrize("fact", FACTS, ids=lambda f: f.__name__)
def test_a_fact_is_frozen_data_with_a_meaning(fact: type[Fact]) -> None:
    assert is_dataclass(fact)
    assert fact.__doc__
    assert not fact.__doc__.startswith(f"{fact.__name__}(")


@pytest.mark.parametrize("fact", FACTS, ids=lambda f: f.__name__)
def test_every_fact_gets_one_reply(fact: type[Fact]) -> None:
    world = World()
    world.load()
    for way in WAYS[fact](world):
        assert len(World().step(way).replies) == 1
