"""The table of bad input, at both endpoints: what is stored, what is answered, and that nothing is lost."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.support import Service, envelope, load_event

Make = Callable[[], bytes]


def event(**fields: Any) -> Make:
    return lambda: json.dumps(load_event(**fields)).encode()


def text(body: str) -> Make:
    return lambda: body.encode()


def with_field(name: str, raw: str) -> Make:
    """A good event whose field is given as raw JSON text."""
    return lambda: (
        json.dumps(load_event(**{name: None}))[:-1] + f", {json.dumps(name)}: {raw}}}"
    ).encode()


@dataclass(frozen=True)
class Bad:
    """``field`` is named by the mistakes; ``whole`` where REST cannot read the body at all."""

    name: str
    make: Make
    field: str
    whole: bool = False


TABLE = [
    Bad("not JSON", text("{not json"), "body", whole=True),
    Bad("nothing", text(""), "body", whole=True),
    Bad("a JSON string", text('"TODAY"'), "event"),
    Bad("unknown table", event(target_table="raw.unheard_of"), "target_table"),
    Bad("no table", event(target_table=None), "target_table"),
    Bad("missing date", event(game_date=None), "game_date"),
    Bad("the word TODAY", event(game_date="TODAY"), "game_date"),
    Bad("a date without dashes", event(game_date="20251115"), "game_date"),
    Bad("a datetime for a date", event(game_date="2025-11-15T00:00:00Z"), "game_date"),
    Bad("a nonexistent date", event(game_date="2025-02-30"), "game_date"),
    Bad("other digits", event(game_date="２０２５-11-15"), "game_date"),
    Bad("the first year", event(game_date="0001-01-01"), "game_date"),
    Bad("the last year", event(game_date="9999-12-31"), "game_date"),
    Bad("a date that is a number", event(game_date=20251115), "game_date"),
    Bad("a negative count", event(record_count=-1), "record_count"),
    Bad("a huge count", event(record_count=10**30), "record_count"),
    Bad("a count that is no number", event(record_count="450"), "record_count"),
    Bad("a fractional count", event(record_count=4.5), "record_count"),
    Bad("a count that is true", event(record_count=True), "record_count"),
    Bad("not a number", with_field("record_count", "NaN"), "body", whole=True),
    Bad("digits for ever", with_field("record_count", "1" * 5000), "body", whole=True),
    Bad(
        "a future timestamp",
        lambda: json.dumps(load_event(at=datetime.now(UTC) + timedelta(minutes=11))).encode(),
        "timestamp",
    ),
    Bad("no timestamp", event(timestamp=None), "timestamp"),
    Bad("a timestamp without a zone", event(timestamp="2025-11-15T02:30:00"), "timestamp"),
    Bad("a timestamp that is a number", event(timestamp=1763173800), "timestamp"),
    Bad("no status", event(status=None), "status"),
    Bad("an unknown status", event(status="ok"), "status"),
    Bad("unknown event_type", event(event_type="raw_data_lost"), "event_type"),
    Bad("no event_type", event(event_type=None), "event_type"),
    Bad("games that are no list", event(game_ids="0022500225"), "game_ids"),
    Bad("a game that is an object", event(game_ids=[{"id": 1}]), "game_ids"),
    Bad("too many games", event(game_ids=[str(n) for n in range(1001)]), "game_ids"),
    Bad("metadata that is a list", event(metadata=[1]), "metadata"),
    Bad("a table name without end", event(target_table="x" * 5000), "target_table"),
    Bad("a table name of no type", event(target_table=7), "target_table"),
    Bad("deep nesting", text('{"a":' * 50_000 + "1" + "}" * 50_000), "body", whole=True),
    Bad("deep lists", with_field("metadata", "[" * 60 + "]" * 60), "body", whole=True),
    Bad("a NUL", with_field("source_table", '"a\\u0000b"'), "source_table", whole=True),
    Bad("a lone surrogate", with_field("source_table", '"\\ud800"'), "source_table", whole=True),
    Bad("a lone surrogate in a key", with_field("\ud800", "1"), "body", whole=True),
    Bad("duplicate keys", text('{"status": "success", "status": "failed"}'), "status", whole=True),
    Bad("invalid UTF-8", lambda: b'{"event_type": "\xff\xfe"}', "body", whole=True),
    Bad("a report without a token", event(event_type="run_completed", run_id="x"), "lease_token"),
    Bad("a report without a status",
        event(event_type="run_completed", run_id="x", lease_token="y", status=None), "status"),
]  # fmt: skip
bad_input = pytest.mark.parametrize("bad", TABLE, ids=[b.name for b in TABLE])


def quarantined(service: Service) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = service.get("/v1/quarantine", limit=1000)["items"]
    return items


def kept(service: Service, body: bytes) -> dict[str, Any]:
    """The quarantined message of exactly these bytes."""
    for item in quarantined(service):
        if item["raw_bytes"] == len(body):
            whole = service.get(f"/v1/quarantine/{item['quarantine_id']}")
            if base64.b64decode(whole["raw"], validate=True) == body:
                return dict(whole)
    raise AssertionError("these bytes are not in quarantine")


@bad_input
def test_a_bad_message_is_acknowledged_and_kept_byte_for_byte(shared: Service, bad: Bad) -> None:
    body = envelope(bad.make(), message_id=f"bad {bad.name}")
    answer = shared.push(body)
    assert (answer.status_code, answer.content) == (204, b"")
    entry = kept(shared, body)
    assert entry["state"] == "open"
    assert entry["source"] == "push"
    assert entry["message_id"] == f"bad {bad.name}"
    field = "message.data" if bad.field == "body" else bad.field
    assert any(field in mistake for mistake in entry["mistakes"]) or bad.whole, entry["mistakes"]


@bad_input
def test_a_bad_event_over_rest_is_answered_with_its_mistakes_and_not_stored(
    shared: Service, bad: Bad
) -> None:
    before = len(quarantined(shared))
    answer = shared.client.post("/v1/events", content=bad.make())
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    errors = problem["errors"] if bad.whole else problem["results"][0]["errors"]
    assert errors
    assert all({"field", "message", "value"} == set(e) for e in errors)
    assert bad.whole or bad.field in {e["field"] for e in errors}
    assert bad.whole or problem["results"][0]["outcome"] == "rejected"
    assert len(quarantined(shared)) == before


ENVELOPES = {
    "truncated base64": b'{"message": {"data": "eyJldmVudF90eXBlIjogInJhd19kYXR", "messageId": "1"}}',
    "not base64": b'{"message": {"data": "!!!!", "messageId": "1"}}',
    "no data": b'{"message": {"messageId": "1"}}',
    "empty data": b'{"message": {"data": "", "messageId": "1"}}',
    "data that is an object": b'{"message": {"data": {"a": 1}}}',
    "no message": b'{"subscription": "s"}',
    "a message that is a list": b'{"message": []}',
    "an array": b'[{"message": {"data": "e30="}}]',
    "not JSON": b"hello",
    "nothing at all": b"",
    "not UTF-8": b"\xff\xfe\x00",
    "a bare event": json.dumps(load_event()).encode(),
    "attributes that are a list": b'{"message": {"data": "e30=", "attributes": [1]}}',
    "deep nesting": b"[" * 100_000,
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_a_bad_envelope_is_acknowledged_and_kept_byte_for_byte(shared: Service, name: str) -> None:
    body = ENVELOPES[name]
    assert shared.push(body).status_code == 204
    assert kept(shared, body)["reason"]


def test_the_same_bad_bytes_are_counted_and_not_kept_twice(shared: Service) -> None:
    body = envelope(b"the same again")
    for _ in range(3):
        assert shared.push(body).status_code == 204
    assert kept(shared, body)["times_seen"] == 3


@pytest.mark.parametrize("path", ["/pubsub/push", "/v1/events", "/v1/sweep"])
def test_a_body_of_five_megabytes_is_refused(shared: Service, path: str) -> None:
    before = len(quarantined(shared))
    answer = shared.client.post(path, content=b" " * 5_000_000)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "too_large"
    assert len(quarantined(shared)) == before


@pytest.mark.parametrize("path", ["/pubsub/push", "/v1/events", "/v1/sweep"])
def test_the_limit_holds_for_a_body_of_unknown_length(shared: Service, path: str) -> None:
    answer = shared.client.post(path, content=(b" " * 65536 for _ in range(80)))
    assert "content-length" not in answer.request.headers
    assert answer.status_code == 413
    assert answer.json()["code"] == "too_large"


def test_a_body_just_under_the_limit_is_read(shared: Service) -> None:
    event = json.dumps(load_event(game_date="2025-12-01", metadata={"note": "x" * 3_900_000}))
    answer = shared.client.post("/v1/events", content=event)
    assert answer.status_code == 200
    assert answer.json()["results"][0]["outcome"] == "applied"


def test_a_sender_that_goes_away_in_the_middle_leaves_nothing_behind(shared: Service) -> None:
    before = len(quarantined(shared))

    def cut_off() -> Any:
        yield b'{"message": '
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        shared.client.post("/pubsub/push", content=cut_off())
    assert len(quarantined(shared)) == before


def test_a_message_that_trips_over_a_bug_is_kept(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(body: bytes) -> None:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr(service.application.ingest, "push", broken)
    body = envelope(load_event())
    assert service.push(body).status_code == 204
    entry = kept(service, body)
    assert "internal error (ZeroDivisionError)" in entry["reason"]
    monkeypatch.undo()
    done = service.post(
        f"/v1/quarantine/{entry['quarantine_id']}/replay", {"reason": "the bug is fixed"}
    )
    assert done["result"]["outcome"] == "applied"


def test_success_with_no_rows_is_taken_and_does_not_satisfy(shared: Service) -> None:
    date = "2025-11-02"
    assert shared.send(game_date=date, record_count=0)["outcome"] == "applied"
    verdict = shared.partition(game_date=date)["verdict"]
    assert verdict["requirements"][0]["state"] == "empty"
    assert not verdict["ready"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/processors/Summary/dates/2025-11-15/trigger", '{"reason": "a\\ud800b"}'),
        ("/v1/processors/Summary/dates/2025-11-15/trigger", '{"reason": 7}'),
        ("/v1/processors/Summary/dates/2025-11-15/trigger", '{"reason": "x", "resaon": "y"}'),
        ("/v1/processors/Summary/dates/2025-11-15/trigger", '{"reason": "x", "dry_run": "yes"}'),
        ("/v1/processors/Summary/dates/2025-11-15/trigger", '{"reason": "x", "bypass": ["all"]}'),
        ("/v1/processors/Summary/dates/2025-11-15/trigger", "[]"),
        ("/v1/runs/Summary:2025-11-15:1/claim", '{"owner": "x", "attempt": "1"}'),
        ("/v1/runs/Summary:2025-11-15:1/claim", '{"owner": "", "attempt": 1}'),
        ("/v1/runs/Summary:2025-11-15:1/claim", '{"owner": "x", "attempt": 0}'),
        ("/v1/runs/Summary:2025-11-15:1/claim", '{"owner": "x", "attempt": true}'),
        ("/v1/runs/Summary:2025-11-15:1/complete", '{"lease_token": "x", "status": "done"}'),
    ],
)
def test_a_body_that_does_not_fit_is_refused_field_by_field(
    shared: Service, path: str, body: str
) -> None:
    answer = shared.client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"]


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"reason": "x",}', b"[" * 100_000])
def test_a_body_that_is_not_json_is_refused(shared: Service, body: bytes) -> None:
    answer: httpx.Response = shared.client.post(
        "/v1/processors/Summary/dates/2025-11-15/trigger",
        content=body,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 400
    assert answer.json()["code"] == "malformed_json"
