"""Publishing over a real HTTP server: envelopes, retries, and failures that never fail a load."""

import base64
import json
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import httpx
import pytest

from processors.publisher import HttpTransport, PubSubTransport, RawDataPubSubPublisher, rfc3339
from processors.raw import tables as raw
from processors.raw.loader import LoadOrigin, RawLoader
from tests.processors.support import NOW, Bench

DAY = date(2024, 10, 22)


class Service:
    """A real HTTP server that answers `answers` in turn, then 204, and keeps what it got."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.pause_seconds = 0.0
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.got.append((self.path, json.loads(body)))
                time.sleep(service.pause_seconds)
                self.send_response(service.answers.pop(0) if service.answers else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Keep quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def events(self) -> list[dict[str, Any]]:
        """What was in the envelopes."""
        datas = [envelope["message"]["data"] for _, envelope in self.got]
        return [json.loads(base64.b64decode(data)) for data in datas]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.close()


def transport(url: str) -> HttpTransport:
    ids = count(1)
    return HttpTransport(
        url,
        clock=lambda: NOW,
        new_id=lambda: f"msg{next(ids)}",
        first_wait_seconds=0.01,
        max_wait_seconds=0.02,
    )


BUDGET = 0.5


def loader(bench: Bench, carried: HttpTransport) -> tuple[RawLoader, RawDataPubSubPublisher]:
    publisher = RawDataPubSubPublisher(
        carried, clock=lambda: NOW, new_id=lambda: "drawn", budget_seconds=BUDGET
    )
    return RawLoader(bench.season, bench.warehouse, publisher), publisher


def test_an_event_travels_in_a_push_envelope(service: Service, bench: Bench) -> None:
    with transport(service.url) as carried:
        loads, publisher = loader(bench, carried)
        origin = LoadOrigin(correlation_id="c-1")
        report = loads.load(raw.SCHEDULE, DAY, loaded_at=NOW, origin=origin)
    (path, envelope) = service.got[0]
    assert path == "/pubsub/push"
    assert json.loads(base64.b64decode(envelope["message"]["data"])) == report.event
    assert envelope["message"]["messageId"] == report.message_id == "msg1"
    assert envelope["message"]["publishTime"] == "2024-12-01T12:00:00Z"
    assert envelope["message"]["attributes"]["correlation_id"] == "c-1"
    assert envelope["subscription"]
    assert report.event["correlation_id"] == "c-1"
    assert report.event["execution_id"] == "drawn"
    assert (publisher.published_count, publisher.failed_count) == (1, 0)


def test_an_overloaded_service_is_tried_again_with_the_same_message_id(
    service: Service, bench: Bench
) -> None:
    service.answers = [503, 429]
    with transport(service.url) as carried:
        loads, _ = loader(bench, carried)
        assert loads.load(raw.SCHEDULE, DAY, loaded_at=NOW).message_id == "msg1"
    assert [body["message"]["messageId"] for _, body in service.got] == ["msg1"] * 3


@pytest.mark.parametrize("answer", [503, 403, 400])
def test_a_load_is_kept_if_the_service_refuses(service: Service, bench: Bench, answer: int) -> None:
    service.answers = [answer] * 1000
    with transport(service.url) as carried:
        loads, publisher = loader(bench, carried)
        report = loads.load(raw.BDL_BOXSCORES, DAY, loaded_at=NOW)
    assert report.message_id is None
    assert len(service.got) == 1 if answer < 500 else len(service.got) > 3
    assert bench.warehouse.row_count(raw.BDL_BOXSCORES, DAY) == report.replaced.inserted > 0
    assert (publisher.published_count, publisher.failed_count) == (0, 1)


def test_a_load_is_kept_if_nobody_listens(service: Service, bench: Bench) -> None:
    service.close()
    with transport(service.url) as carried:
        loads, publisher = loader(bench, carried)
        report = loads.load(raw.BDL_BOXSCORES, DAY, loaded_at=NOW)
        failed = loads.report_failed(raw.GAMEBOOK, DAY, error="no answer", failed_at=NOW)
    assert report.message_id is None
    assert failed.event["status"] == "failed"
    assert bench.warehouse.row_count(raw.BDL_BOXSCORES, DAY) > 0
    assert publisher.failed_count == 2


def test_the_transport_itself_says_what_went_wrong(service: Service) -> None:
    service.answers = [400]
    with transport(service.url) as carried, pytest.raises(httpx.HTTPStatusError):
        carried.publish({"event_type": "raw_data_loaded"})


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        rfc3339(NOW.replace(tzinfo=None))


def test_pubsub_says_what_to_install_where_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.pubsub_v1", None)
    with pytest.raises(RuntimeError, match="install google-cloud-pubsub"):
        PubSubTransport("project", "topic")
