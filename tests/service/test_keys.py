"""The id of a document names one thing only."""

from __future__ import annotations

import pytest

from coordinator.adapters.firestore.layout import event_id_of, path, split_event
from coordinator.documents import event_key, partition_key, table_date_key
from coordinator.errors import BadInput
from coordinator.registry import parse

DATE = "2025-11-15"
REGISTRY = """
version: 1
timezone: America/New_York
tables: {{raw.t: {{}}, {second}: {{}}}}
processors:
  P: {{phase: 3, output: out.p, requires: [{{table: raw.t}}]}}
"""
ODD_IDS = ["e", "__", f"{DATE}__e", f"__{DATE}__e", "a/b", "%2F", ".", "..", "__e__", "é" * 256]


def test_a_table_whose_events_would_share_keys_with_another_is_refused() -> None:
    second = f"raw.t__{DATE}"
    assert event_key("raw.t", DATE, f"{DATE}__e") == event_key(second, DATE, "e")
    with pytest.raises(BadInput, match="without __"):
        parse(REGISTRY.format(second=second))


@pytest.mark.parametrize("table", ["raw.t", "raw.t_", "raw.t-2025-11-15", "r.a_b"])
@pytest.mark.parametrize("event_id", ODD_IDS)
def test_an_event_is_kept_in_the_ledger_of_its_own_table_and_date(
    table: str, event_id: str
) -> None:
    key = event_key(table, DATE, event_id)
    home, name = split_event(key.id)
    assert (home, name) == (table_date_key(table, DATE).id, event_id)
    assert event_id_of(home, name) == key.id
    assert path(key) == path(table_date_key(table, DATE))


def test_ids_of_all_events_differ() -> None:
    tables = ["raw.t", "raw.t_", "raw.t-2025-11-15"]
    dates = [DATE, "2025-11-16"]
    keys = [event_key(t, d, e) for t in tables for d in dates for e in ODD_IDS]
    assert len(set(keys)) == len(keys)
    partitions = [partition_key(p, d) for p in ("P", "P_", "P.Q", "P-Q") for d in dates]
    assert len(set(partitions)) == len(partitions)
