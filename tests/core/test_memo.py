"""What is remembered of a value is never given for another one."""

from __future__ import annotations

from coordinator.core.memo import KEPT, by_identity


class Value:
    """Compared by identity."""


def test_it_is_worked_out_once_for_a_value_and_the_rest() -> None:
    asked: list[tuple[object, int]] = []

    @by_identity
    def function(value: Value, number: int) -> int:
        asked.append((value, number))
        return number + 1

    first, second = Value(), Value()
    for value in (first, second, first):
        assert [function(value, 1), function(value, 2), function(value, 1)] == [2, 3, 2]
    assert asked == [(first, 1), (first, 2), (second, 1), (second, 2)]


def test_a_value_that_takes_the_place_of_another_in_memory_is_another_one() -> None:
    names: dict[int, str] = {}

    @by_identity
    def name_of(value: Value) -> str:
        return names[id(value)]

    for number in range(3 * KEPT):
        value = Value()
        names[id(value)] = f"value {number}"
        assert name_of(value) == f"value {number}"
        del value  # where nobody keeps it, the next one gets its identity
