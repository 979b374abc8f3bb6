"""Whatever is sent, nothing answers with a server error, and push acknowledges everything."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.support import Service, envelope, load_event

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(
        ["2025-11-15", "TODAY", "raw.box", "success", "2025-11-15T02:30:00Z", "", "0"]
    )
)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=9), v, max_size=4)
)
FIELDS = [
    *load_event(),
    *("event_id", "game_ids", "game_id", "metadata", "success", "correlation_id", "source_table"),
    *("skip_downstream", "processor_name", "run_id", "lease_token", "error", "analysis_date"),
    *("output_table", "output_dataset", "source_scraper_execution_id"),
]
kinds = st.sampled_from(["raw_data_loaded", "run_started", "run_heartbeat", "run_completed", "x"])
events = st.builds(
    lambda changes, kind: {**load_event(event_type=kind), **changes},
    st.dictionaries(st.sampled_from(FIELDS), values, max_size=3),
    kinds,
)
many = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@many
@given(event=events | values)
def test_any_event_over_rest_is_taken_or_answered(shared: Service, event: Any) -> None:
    answer = shared.client.post("/v1/events", content=json.dumps(event).encode())
    assert answer.status_code in (200, 422), answer.text
    assert answer.json()


@many
@given(data=st.binary(max_size=200) | events.map(lambda e: json.dumps(e).encode()))
def test_any_message_is_acknowledged_and_known_afterwards(shared: Service, data: bytes) -> None:
    before = sum(shared.application.ingest.counts.values())
    assert shared.push(envelope(data)).status_code == 204
    assert sum(shared.application.ingest.counts.values()) == before + 1


@many
@given(body=st.binary(max_size=200))
def test_any_body_is_acknowledged(shared: Service, body: bytes) -> None:
    assert shared.push(body).status_code == 204


@many
@given(
    path=st.sampled_from(
        [
            "/v1/processors/Summary/dates/2025-10-30/{}",
            "/v1/processors/Nobody/dates/TODAY/{}",
            "/v1/runs/Summary:2025-10-30:1/{}",
        ]
    ),
    verb=st.sampled_from(["trigger", "skip", "reset", "waivers", "claim", "heartbeat", "complete"]),
    body=st.dictionaries(
        st.sampled_from(
            ["reason", "bypass", "table", "until", "owner", "attempt", "lease_token", "status"]
        ),
        values | st.just("reason") | st.just(["dependencies"]),
    ),
)
def test_any_act_is_done_or_refused(
    shared: Service, path: str, verb: str, body: dict[str, Any]
) -> None:
    answer = shared.client.post(
        path.format(verb),
        content=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code in (200, 400, 404, 409, 422), answer.text
    assert answer.json()


@many
@given(
    query=st.dictionaries(
        st.sampled_from(
            ["from", "to", "limit", "page_token", "processor", "game_date", "status", "state"]
        ),
        st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
        | st.sampled_from(["2025-11-15", "5", "Summary"]),
    ),
    path=st.sampled_from(["/v1/runs", "/v1/grid", "/v1/gaps", "/v1/audit", "/v1/quarantine"]),
)
def test_any_question_is_answered_or_refused(
    shared: Service, path: str, query: dict[str, str]
) -> None:
    answer = shared.client.get(path, params=query)
    assert answer.status_code in (200, 404, 422), answer.text


@many
@given(
    path=st.sampled_from(
        [
            "/v1/status/{}",
            "/v1/status/2025-11-15/{}",
            "/v1/status/{}/Summary",
            "/v1/runs/{}",
            "/v1/trace/{}",
            "/v1/quarantine/{}",
            "/v1/tables/{}/dates/2025-11-15",
            "/v1/tables/raw.box/dates/{}",
        ]
    ),
    name=st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
)
def test_any_path_is_answered_or_refused(shared: Service, path: str, name: str) -> None:
    from urllib.parse import quote

    answer = shared.client.get(path.format(quote(name, safe="")))
    assert answer.status_code in (200, 404, 422), answer.text
