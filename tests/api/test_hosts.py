"""The open service answers to loopback names alone, so no web page can make itself its operator."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from coordinator.settings import Settings
from tests.api.support import Service, envelope, load_event, serving

EVIL = "rebound.evil.example"
CALLS = [
    ("GET", "/v1/runs"),
    ("GET", "/v1/registry"),
    ("GET", "/v1/stream"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/nothing"),
    ("HEAD", "/healthz"),
    ("OPTIONS", "/v1/events"),
    ("POST", "/v1/events"),
    ("POST", "/pubsub/push"),
    ("POST", "/v1/sweep"),
    ("POST", "/v1/processors/Summary/dates/2025-11-15/trigger"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_another_name_is_answered_on_no_route(shared: Service, method: str, path: str) -> None:
    answer = shared.client.request(method, path, headers={"Host": EVIL})
    assert answer.status_code == 421
    if method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["code"] == "wrong_host"
        assert EVIL in problem["detail"]
        assert "COORDINATOR_ALLOWED_HOSTS" in problem["detail"]


@pytest.mark.parametrize(
    "host",
    [
        EVIL,
        f"{EVIL}:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example#localhost",
        "localhost@evil.example",
        "0.0.0.0:8080",
        "192.168.1.4",
        "[::]:8080",
        "[fe80::1]",
        "localhost:80:80",
        "localhost:http",
        "127.0.0.1, evil.example",
        "",
        "x" * 5000,
    ],
)
def test_what_is_no_loopback_name(shared: Service, host: str) -> None:
    assert shared.client.get("/healthz", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1", "localhost.", "127.0.0.1", "127.8.9.10:65535", "[::1]", "[::1]:8"],
)
def test_every_loopback_name_with_any_port_is_answered(shared: Service, host: str) -> None:
    assert shared.client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("hosts", [[], ["localhost", EVIL], [EVIL, "localhost"]])
def test_a_request_names_one_host(shared: Service, hosts: list[str]) -> None:
    address = urlsplit(shared.url)
    lines = ["GET /v1/runs HTTP/1.0", *(f"Host: {host}" for host in hosts), "", ""]
    with socket.create_connection((address.hostname or "", address.port or 0), 10) as connection:
        connection.sendall("\r\n".join(lines).encode())
        status = connection.makefile("rb").readline().split()[1]
    assert status in (b"400", b"421")


@pytest.mark.parametrize(
    "origin", [f"http://{EVIL}", "null", "http://localhost:1", "x", "http://["]
)
@pytest.mark.parametrize("path", ["/v1/events", "/pubsub/push", "/v1/sweep"])
def test_a_page_of_another_origin_changes_nothing(shared: Service, origin: str, path: str) -> None:
    """Not even as a form or a script would send it without asking first."""
    event = load_event(game_date="2025-12-31")
    body = envelope(event) if path == "/pubsub/push" else json.dumps(event).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = shared.client.post(
            path, content=body, headers={"Origin": origin, "Content-Type": kind}
        )
        assert answer.status_code == 403
        assert answer.json()["code"] == "cross_origin"
    assert shared.get("/v1/tables/raw.box/dates/2025-12-31")["items"] == []


def test_a_second_origin_excuses_no_first(shared: Service) -> None:
    origins = [("Origin", f"http://{EVIL}"), ("Origin", shared.url)]
    for given in (origins, origins[::-1]):
        assert shared.client.post("/v1/sweep", json={}, headers=given).status_code == 403
    assert shared.client.post("/v1/sweep", json={}, headers=origins[1:]).status_code == 200


# ── behind a reverse proxy ───────────────────────────────────────────────────────────────────

PROXY = "coordinator.example.com"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("proxied"), allowed_hosts=[PROXY]) as running:
        yield running


@pytest.mark.parametrize("host", [PROXY, PROXY.upper(), f"{PROXY}:443", "localhost"])
def test_the_name_of_a_reverse_proxy_can_be_allowed(proxied: Service, host: str) -> None:
    assert proxied.client.get("/v1/runs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", [EVIL, f"www.{PROXY}", f"{PROXY}.evil.example"])
def test_no_further_name_is_allowed_with_it(proxied: Service, host: str) -> None:
    assert proxied.client.get("/v1/runs", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", [PROXY, "127.0.0.1:8080"])
def test_pages_of_the_proxy_may_act_whichever_name_it_forwards(proxied: Service, host: str) -> None:
    def sweep(origin: str) -> httpx.Response:
        headers = {"Host": host, "Origin": origin}
        return proxied.client.post("/v1/sweep", json={}, headers=headers)

    assert sweep(f"https://{PROXY}").status_code == 200
    assert sweep(f"https://{EVIL}").status_code == 403


def test_allowed_hosts_come_as_a_list_or_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COORDINATOR_ALLOWED_HOSTS", f" {PROXY}, other ")
    assert Settings().allowed_hosts == (PROXY, "other")


@pytest.mark.parametrize("name", ["https://x.example", "x:80", "x/y", "*", "x y", "é.example"])
def test_an_allowed_host_is_a_name_and_nothing_more(name: str) -> None:
    with pytest.raises(ValueError, match="no host name"):
        Settings(allowed_hosts=[name])
