"""What a processor's requirements name and read."""

from __future__ import annotations

from coordinator.core.spec import Policy
from tests.core.world import A, B, C, D, any_of, processor, table, window


def test_a_processor_knows_the_days_and_tables_it_looks_at() -> None:
    spec = processor(
        table(A), any_of(B, C), table(A, offset=-1), window(D, game_dates=10, min_ready=0.8)
    )
    assert spec.offsets == (-1, 0)
    assert spec.named_tables() == {A, B, C, D}
    assert [r.key for r in spec.windows] == [f"window {D}"]


def test_what_the_registry_leaves_out_waits_for_nothing() -> None:
    policy = Policy()
    assert not policy.grace
    assert not policy.debounce
    assert policy.deadline is None
    assert policy.not_before is None
    assert policy.schedule == ()
