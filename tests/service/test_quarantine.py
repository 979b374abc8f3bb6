"""What is kept of a message in quarantine beside its bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest

from coordinator.adapters.sqlite import SqliteStore
from coordinator.app import build
from coordinator.documents import Quarantined, decode, encode
from coordinator.ports import Kind
from coordinator.registry import parse
from coordinator.settings import Settings
from coordinator.wire import MAX_TEXT, marks_of, same_message
from tests.api.support import envelope
from tests.service.test_registry_rollout import ONE


@pytest.mark.parametrize(
    ("body", "marks"),
    [
        (b'{"correlation_id": "c", "game_date": "2025-11-15"}', ("c", "2025-11-15")),
        (b'{"game_date": "TODAY", "analysis_date": "2025-11-15"}', (None, "2025-11-15")),
        (b'{"data_date": "2025-11-15", "correlation_id": 7}', (None, "2025-11-15")),
        (b'{"game_date": ["2025-11-15"], "correlation_id": ""}', (None, None)),
        (b'{"correlation_id": "%s"}' % (b"x" * (MAX_TEXT + 1)), (None, None)),
        (b'{"correlation_id": "c"', (None, None)),
        (b"\xff", (None, None)),
        (b"[" * 10_000, (None, None)),
        (b'["correlation_id"]', (None, None)),
    ],
)
def test_marks_are_read_where_they_can_be(
    body: bytes, marks: tuple[str | None, str | None]
) -> None:
    assert marks_of(body, wrapped=False) == marks
    assert marks_of(envelope(body), wrapped=True) == marks


def test_an_envelope_that_is_none_has_no_marks() -> None:
    assert marks_of(b'{"correlation_id": "c"}', wrapped=True) == (None, None)


def test_an_entry_kept_before_there_were_marks_can_be_read() -> None:
    entry = Quarantined(
        quarantine_id="q",
        received_at=datetime(2025, 11, 15, tzinfo=UTC),
        source="push",
        reason="bad",
        mistakes=(),
        raw=b"x",
        correlation_id="c",
        game_date="2025-11-15",
    )
    assert decode(Kind.QUARANTINE, encode(entry)) == entry
    stored = msgspec.json.decode(encode(entry))
    del stored["correlation_id"], stored["game_date"]
    old = decode(Kind.QUARANTINE, msgspec.json.encode(stored))
    assert (old.correlation_id, old.game_date, old.raw) == (None, None, b"x")


def test_a_redelivery_is_the_same_message() -> None:
    once = envelope(b"{}")
    again = json.dumps({**json.loads(once), "deliveryAttempt": 3}).encode()
    third = json.dumps({"deliveryAttempt": 4, **json.loads(once)}).encode()
    assert same_message(again) == same_message(third)
    for body in (once, b"[]", b"no json", b"\xff"):
        assert same_message(body) == body


@pytest.mark.parametrize("depth", [900, 1000, 20_000])
async def test_a_body_nested_too_deeply_is_kept_whole(depth: int) -> None:
    body = b'{"x":' + b"[" * depth + b"]" * depth + b"}"
    store = SqliteStore(":memory:", inline=True)
    await store.open()
    application = build(Settings(), registry=parse(ONE), store=store, launchers={}, notifiers=[])
    for one in (body, envelope(body)):
        outcome = await application.ingest.push(one)
        assert outcome.outcome == "quarantined"
        assert (await application.quarantine.get(outcome.quarantine_id or "")).raw == one
    await store.close()
