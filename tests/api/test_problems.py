"""Errors and headers: one shape for everything that goes wrong, and nothing shown that is not meant."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.support import Service, load_event

TRIGGER = "/v1/processors/Summary/dates/2025-11-15/trigger"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/status/2025-11-15/", 404, "not_found"),
        ("GET", "/v1/runs/", 404, "not_found"),
        ("GET", "/v1/status/2025-11-15/Nobody", 404, "not_found"),
        ("GET", "/pubsub/push", 405, "method_not_allowed"),
        ("PUT", "/v1/events", 405, "method_not_allowed"),
        ("DELETE", "/v1/runs", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
        ("GET", "/v1/status/TODAY", 422, "bad_input"),
        ("POST", TRIGGER, 422, "bad_input"),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404, "not_found"),
        ("GET", "/v1/runs/%00", 404, "not_found"),
        ("GET", "/v1/runs/%ff", 404, "not_found"),
        ("GET", "/v1/quarantine/" + "x" * 5000, 404, "not_found"),
    ],
)
def test_every_error_is_a_problem(
    shared: Service, method: str, path: str, status: int, code: str
) -> None:
    answer = shared.client.request(method, path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {"type", "title", "status", "detail", "code", "instance"} <= set(problem)
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["type"] == f"/docs#problem-{code}"
    assert len(problem["detail"]) > 10
    assert len(problem["detail"]) < 2000


def test_a_wrong_method_says_which_are_right(shared: Service) -> None:
    answer = shared.client.put("/v1/events")
    assert "POST" in answer.headers["allow"]
    assert "POST" in answer.json()["detail"]


def test_a_problem_type_leads_to_its_words(shared: Service) -> None:
    problem = shared.get("/nothing", 404)
    page, _, anchor = problem["type"].partition("#")
    assert f'id="{anchor}"' in shared.client.get(page).text


@pytest.mark.parametrize("path", ["/v1/status/2025-11-15", "/v1/runs", "/readyz"])
def test_an_unexpected_error_shows_nothing_of_the_inside(
    service: Service, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret inside")

    monkeypatch.setattr(service.application.store, "find", broken)
    monkeypatch.setattr(service.application.store, "get", broken)
    answer = service.client.get(path)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret" not in answer.text
    assert "Zero" not in answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/v1/status/2025-11-15"),
        ("GET", "/v1/registry"),
        ("GET", "/nothing"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("POST", "/pubsub/push"),
        ("POST", "/v1/events"),
        ("POST", TRIGGER),
    ],
)
def test_every_answer_carries_the_security_headers(shared: Service, method: str, path: str) -> None:
    headers = shared.client.request(method, path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert "server" not in headers or headers["server"] == "uvicorn"


def test_another_origin_may_not_change_anything(shared: Service) -> None:
    body = json.dumps(load_event(game_date="2025-12-24"))
    headers = {"Origin": "https://elsewhere.example", "Content-Type": "text/plain"}
    for path in ("/v1/events", "/pubsub/push", "/v1/sweep"):
        answer = shared.client.post(path, content=body, headers=headers)
        assert answer.status_code == 403
        assert answer.json()["code"] == "cross_origin"
    own = {"Origin": shared.url, "Content-Type": "application/json"}
    assert shared.client.post("/v1/events", content=body, headers=own).status_code == 200
    assert shared.client.get("/v1/runs", headers=headers).status_code == 200
    assert "access-control-allow-origin" not in shared.answers[-1].headers


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        ("GET", "/v1/runs", "game_date, limit, page_token, processor, status"),
        ("GET", "/v1/grid?from=2025-11-15&to=2025-11-15", "from, to"),
        ("GET", "/v1/registry", None),
        ("POST", "/v1/sweep", None),
        ("DELETE", "/v1/processors/Summary/dates/2025-11-15/waivers/box", "dry_run, reason"),
    ],
)
def test_a_misspelt_query_parameter_is_refused_with_the_known_ones(
    shared: Service, method: str, path: str, known: str | None
) -> None:
    url = f"{path}{'&' if '?' in path else '?'}procesor=V"
    answer = shared.client.request(method, url)
    assert answer.status_code == 422, answer.text
    (mistake,) = answer.json()["errors"]
    assert (mistake["field"], mistake["value"]) == ("procesor", "'V'")
    takes = f"known are {known}" if known else "this call takes no query parameters"
    assert answer.json()["detail"] == f"procesor: is not known here; {takes}"


def test_a_probe_may_ask_as_it_likes(shared: Service) -> None:
    assert shared.client.get("/healthz", params={"from": "a-load-balancer"}).status_code == 200


def test_a_rule_of_a_body_is_said_in_our_words(shared: Service) -> None:
    detail = shared.post(TRIGGER, {"reason": "x", "bypass": ["deps"]}, status=422)["detail"]
    assert detail == (
        "bypass.0: must be 'dependencies', 'freshness', 'cooldown', 'pause' or 'limits'"
    )


def test_a_body_of_another_type_is_not_taken_for_json(shared: Service) -> None:
    answer = shared.client.post(
        TRIGGER, content='{"reason": "x"}', headers={"Content-Type": "text/plain"}
    )
    assert answer.status_code == 422


@pytest.mark.parametrize("value", [{"reason": "a\x00b"}, {"reason": "\u202e" * 10}])
def test_odd_words_are_kept_as_they_are(service: Service, value: dict[str, Any]) -> None:
    service.post("/v1/processors/Summary/dates/2025-11-15/skip", value)
    assert service.get("/v1/audit")["items"][0]["reason"] == value["reason"]
