"""The reference is complete: every route, every error, every field, and nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.support import Service

CONTRACT = [
    "POST /pubsub/push",
    "POST /v1/events",
    "GET /v1/status/{game_date}",
    "GET /v1/status/{game_date}/{processor}",
    "GET /v1/grid",
    "GET /v1/gaps",
    "GET /v1/tables/{table}/dates/{game_date}",
    "GET /v1/runs",
    "GET /v1/runs/{run_id}",
    "GET /v1/registry",
    "GET /v1/graph",
    "GET /v1/trace/{correlation_id}",
    "GET /v1/stream",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "POST /v1/runs/{run_id}/claim",
    "POST /v1/runs/{run_id}/heartbeat",
    "POST /v1/runs/{run_id}/complete",
    "POST /v1/processors/{processor}/dates/{game_date}/trigger",
    "POST /v1/processors/{processor}/dates/{game_date}/skip",
    "POST /v1/processors/{processor}/dates/{game_date}/reset",
    "POST /v1/processors/{processor}/dates/{game_date}/waivers",
    "DELETE /v1/processors/{processor}/dates/{game_date}/waivers/{table}",
    "POST /v1/processors/{processor}/pause",
    "POST /v1/processors/{processor}/resume",
    "POST /v1/pause",
    "POST /v1/resume",
    "GET /v1/quarantine",
    "POST /v1/quarantine/{quarantine_id}/replay",
    "POST /v1/quarantine/{quarantine_id}/discard",
    "POST /v1/sweep",
    "GET /v1/audit",
]


@pytest.fixture(scope="module")
def document(shared: Service) -> dict[str, Any]:
    found: dict[str, Any] = shared.get("/openapi.json")
    return found


def calls(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, verbs in document["paths"].items():
        for verb, call in verbs.items():
            yield f"{verb.upper()} {path}", call


@pytest.mark.parametrize("call", CONTRACT)
def test_the_document_lists(document: dict[str, Any], call: str) -> None:
    assert call in dict(calls(document))


def test_the_document_lists_every_route_that_is_served(
    shared: Service, document: dict[str, Any]
) -> None:
    listed = dict(calls(document))
    for name in listed:
        verb, path = name.split()
        filled = re.sub(r"\{\w+\}", "x", path)
        if name != "GET /v1/stream":
            answer = shared.client.request(verb, filled)
            assert answer.status_code != 405, name
            assert "There is nothing at" not in answer.text, name


def test_every_call_says_what_it_does_and_every_error(document: dict[str, Any]) -> None:
    for name, call in calls(document):
        assert call["summary"], name
        assert call["description"], name
        assert call["tags"], name
        for status, answer in call["responses"].items():
            assert answer["description"], (name, status)
            if int(status) >= 400 and name != "GET /readyz":
                shape = answer["content"]["application/problem+json"]["schema"]
                assert shape == {"$ref": "#/components/schemas/Problem"}, (name, status)
        statuses = set(call["responses"])
        assert {"500", "503"} <= statuses, name
        if name.startswith("POST") and name != "POST /pubsub/push":
            assert {"403", "413", "422"} <= statuses, name
        for parameter in call.get("parameters", ()):
            assert parameter.get("description"), (name, parameter)
    ids = [call["operationId"] for _, call in calls(document)]
    assert len(ids) == len(set(ids))


def test_every_field_of_every_shape_is_described(document: dict[str, Any]) -> None:
    bare = []
    for name, schema in document["components"]["schemas"].items():
        if not schema.get("description"):
            bare.append(name)
        for field, shape in schema.get("properties", {}).items():
            if not shape.get("description"):
                bare.append(f"{name}.{field}")
    assert not bare


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    known = set(document["components"]["schemas"])
    used = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert used <= known
    assert not [n for n in known if "HTTPValidation" in n]


def test_the_page_shows_it_all_and_fetches_nothing(
    shared: Service, document: dict[str, Any]
) -> None:
    answer = shared.client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    page = answer.text
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    assert "src=" not in page
    for name, call in calls(document):
        assert f'id="{call["operationId"]}"' in page, name
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= anchors


def test_the_written_reference_lists_the_same_calls(document: dict[str, Any]) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference-api.md"
    written = set(re.findall(r"^\| `((?:GET|POST|DELETE) \S+)`", page.read_text(), re.MULTILINE))
    assert written == {name for name, _ in calls(document)}
