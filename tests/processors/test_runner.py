"""The runner end to end: claims at a real coordinator and the launch app, both over HTTP."""

import asyncio
import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from processors.analytics import ENTRYPOINTS
from processors.analytics.tables import TEAM_OFFENSE
from processors.base import ERROR_LIMIT_CHARS
from processors.errors import (
    BadLaunchError,
    CoordinatorUnavailableError,
    EntrypointError,
    LeaseLostError,
)
from processors.launch import load_entrypoint, parse_launch, unwrap
from processors.raw import tables as raw
from processors.runner import HttpRunClient, Runner, create_runner_app, execute
from tests.processors import broken
from tests.processors.support import NOW, Bench

DAY = date(2024, 10, 22)
OFFENSE = "TeamOffenseSummaryProcessor"
HERE = "tests.processors.broken"


def launch(processor: str = OFFENSE, generation: int = 1, attempt: int = 1) -> dict[str, Any]:
    return {
        "event_type": "run_requested",
        "run_id": f"{processor}:{DAY}:{generation}",
        "processor": processor,
        "phase": 3,
        "game_date": DAY.isoformat(),
        "generation": generation,
        "attempt": attempt,
        "trigger": "dependencies",
        "correlation_id": "c-1",
    }


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class RunsApi:
    """The service's side of claims (specification 5.3) over HTTP; leases last `lease_seconds`.

    `clock_ahead` is how far its clock is ahead of the runner's; `granted` is said beside the lease.
    """

    lease_seconds: float = 30.0
    clock_ahead: timedelta = timedelta(0)
    says_seconds: bool = True
    granted: dict[str, Any] = field(default_factory=dict)
    claims: int = 0
    lose_after_beats: int | None = None
    broken_answers: int = 0
    silent_beats: bool = False
    deaf_to_completions: bool = False
    claimed: dict[str, tuple[str, int]] = field(default_factory=dict)
    beats: list[str] = field(default_factory=list)
    completed: dict[str, dict[str, Any]] = field(default_factory=dict)
    url: str = ""

    def lease(self, run_id: str) -> dict[str, Any]:
        expires = now() + self.clock_ahead + timedelta(seconds=self.lease_seconds)
        answer = {
            "lease_token": f"token-{run_id}",
            "lease_seconds": self.lease_seconds,
            "heartbeat_timeout_seconds": self.lease_seconds,
            "lease_expires_at": expires.isoformat().replace("+00:00", "Z"),
            "inputs": [],
            **self.granted,
        }
        if not self.says_seconds:
            del answer["lease_seconds"]
        return answer

    async def claim(self, request: Request) -> Response:
        self.claims += 1
        if self.broken_answers:
            self.broken_answers -= 1
            return Response(status_code=503)
        body, run_id = await request.json(), request.path_params["run_id"]
        wanted = (body["owner"], body["attempt"])
        if self.claimed.setdefault(run_id, wanted) != wanted or run_id in self.completed:
            return self.refuse("another runner has this attempt")
        return JSONResponse(self.lease(run_id))

    async def heartbeat(self, request: Request) -> Response:
        self.beats.append(request.path_params["run_id"])
        if self.silent_beats:
            return Response(status_code=204)
        if self.lose_after_beats is not None and len(self.beats) > self.lose_after_beats:
            return self.refuse("the lease is over")
        return JSONResponse(self.lease(request.path_params["run_id"]))

    async def complete(self, request: Request) -> Response:
        if self.deaf_to_completions:
            return Response(status_code=503)
        body, run_id = await request.json(), request.path_params["run_id"]
        if body["lease_token"] != f"token-{run_id}":
            return self.refuse("stale token")
        self.completed[run_id] = body
        return JSONResponse({"status": body["status"]})

    def refuse(self, detail: str) -> Response:
        problem = {"type": "about:blank", "title": "Refused", "status": 409, "detail": detail}
        return JSONResponse(problem, status_code=409, media_type="application/problem+json")

    def app(self) -> Starlette:
        calls = {"claim": self.claim, "heartbeat": self.heartbeat, "complete": self.complete}
        return Starlette(
            routes=[
                Route(f"/v1/runs/{{run_id}}/{verb}", call, methods=["POST"])
                for verb, call in calls.items()
            ]
        )


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """Serve `app` on a free port by uvicorn in a thread; yields its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        # uvloop may wait without end when it closes a loop whose peer was killed.
        config = uvicorn.Config(app, log_level="error", ws="none", loop="asyncio")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive(), "the server has not stopped within a minute"


@pytest.fixture
def runs_api() -> Iterator[RunsApi]:
    served = RunsApi()
    with serving(served.app()) as url:
        served.url = url
        yield served


def runner_of(
    bench: Bench,
    client: httpx.AsyncClient,
    claim_seconds: float = 10,
    monotonic: Callable[[], float] = time.monotonic,
    **more: str,
) -> Runner:
    return Runner(
        HttpRunClient(client, call_seconds=2),
        bench.warehouse,
        {**ENTRYPOINTS, **more},
        owner="runner-1",
        clock=now,
        monotonic=monotonic,
        claim_seconds=claim_seconds,
        first_wait_seconds=0.01,
        max_wait_seconds=0.05,
    )


async def handle(
    bench: Bench, runs_api: RunsApi, body: dict[str, Any], claim_seconds: float = 10, **more: str
) -> Any:
    async with httpx.AsyncClient(base_url=runs_api.url) as client:
        runner = runner_of(bench, client, claim_seconds, **more)
        try:
            return await runner.handle(runner.accept(body))
        finally:
            runner.close()


async def test_a_launch_is_claimed_executed_and_reported(bench: Bench, runs_api: RunsApi) -> None:
    bench.load(DAY, raw.BDL_BOXSCORES)
    report = await handle(bench, runs_api, launch())
    assert report.outcome == "reported"
    assert runs_api.completed[report.run_id] == {
        "lease_token": f"token-{report.run_id}",
        "status": "success",
        "record_count": 4,
        "error": None,
    }
    assert runs_api.claimed[report.run_id] == ("runner-1", 1)
    assert bench.warehouse.row_count(TEAM_OFFENSE, DAY) == 4


async def test_no_inputs_are_reported_as_no_data(bench: Bench, runs_api: RunsApi) -> None:
    report = await handle(bench, runs_api, launch())
    assert runs_api.completed[report.run_id]["status"] == "no_data"


async def test_a_refused_claim_executes_nothing(bench: Bench, runs_api: RunsApi) -> None:
    bench.load(DAY, raw.BDL_BOXSCORES)
    body = launch()
    runs_api.claimed[body["run_id"]] = ("runner-2", 1)
    report = await handle(bench, runs_api, body)
    assert (report.outcome, report.result) == ("not_claimed", None)
    assert runs_api.completed == {}
    assert bench.warehouse.row_count(TEAM_OFFENSE, DAY) == 0


async def test_an_exception_is_reported_as_failed_in_bounded_words(
    bench: Bench, runs_api: RunsApi
) -> None:
    report = await handle(bench, runs_api, launch(), **{OFFENSE: f"{HERE}:Failing"})
    report_body = runs_api.completed[report.run_id]
    assert report_body["status"] == "failed"
    assert report_body["error"].startswith("RuntimeError: no such luck")
    assert len(report_body["error"]) == ERROR_LIMIT_CHARS


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("NotText", "FileNotFoundError: no file night-\\udcff.json"),
        ("Interrupts", "KeyboardInterrupt:"),
        ("Cancels", "CancelledError:"),
    ],
)
async def test_whatever_a_processor_raises_is_reported(
    bench: Bench, runs_api: RunsApi, name: str, error: str
) -> None:
    report = await handle(bench, runs_api, launch(), **{OFFENSE: f"{HERE}:{name}"})
    assert report.outcome == "reported"
    report_body = runs_api.completed[report.run_id]
    assert (report_body["status"], report_body["error"]) == ("failed", error)


async def test_an_unknown_outcome_is_never_a_success(bench: Bench, runs_api: RunsApi) -> None:
    report = await handle(bench, runs_api, launch(), **{OFFENSE: f"{HERE}:Mute"})
    assert runs_api.completed[report.run_id]["status"] == "failed"
    assert "without a known outcome" in runs_api.completed[report.run_id]["error"]


async def test_a_wrong_entrypoint_is_reported_as_failed(bench: Bench, runs_api: RunsApi) -> None:
    report = await handle(bench, runs_api, launch(), **{OFFENSE: "processors.analytics:Nobody"})
    assert "has no processor 'Nobody'" in runs_api.completed[report.run_id]["error"]


async def test_an_older_generation_fails_and_changes_nothing(
    bench: Bench, runs_api: RunsApi
) -> None:
    bench.load(DAY, raw.BDL_BOXSCORES)
    bench.run(DAY, generation=2)
    report = await handle(bench, runs_api, launch(generation=1))
    assert runs_api.completed[report.run_id]["status"] == "failed"
    assert "StaleGenerationError" in runs_api.completed[report.run_id]["error"]


@pytest.mark.parametrize("silent", [False, True])
async def test_heartbeats_outlast_a_short_lease(
    bench: Bench, runs_api: RunsApi, silent: bool
) -> None:
    bench.load(DAY, raw.BDL_BOXSCORES)
    runs_api.silent_beats = silent
    runs_api.lease_seconds = 0.3
    report = await handle(bench, runs_api, launch(), **{OFFENSE: f"{HERE}:Slow"})
    assert report.outcome == "reported"
    assert len(runs_api.beats) >= 2
    assert runs_api.completed[report.run_id]["status"] == "success"


async def test_a_lost_lease_discards_result_and_rows(bench: Bench, runs_api: RunsApi) -> None:
    bench.load(DAY, raw.BDL_BOXSCORES)
    runs_api.lease_seconds, runs_api.lose_after_beats = 0.3, 1
    report = await handle(bench, runs_api, launch(), **{OFFENSE: f"{HERE}:Slow"})
    assert (report.outcome, report.result) == ("lease_lost", None)
    assert runs_api.completed == {}
    assert bench.warehouse.row_count(TEAM_OFFENSE, DAY) == 0


@pytest.mark.parametrize("ahead", [timedelta(minutes=5), timedelta(minutes=-10)])
@pytest.mark.parametrize("says_seconds", [True, False])
async def test_clocks_need_not_agree_about_a_lease(
    bench: Bench, runs_api: RunsApi, ahead: timedelta, says_seconds: bool
) -> None:
    bench.load(DAY, raw.BDL_BOXSCORES)
    runs_api.clock_ahead, runs_api.lease_seconds, runs_api.says_seconds = ahead, 0.4, says_seconds
    report = await handle(bench, runs_api, launch(), **{OFFENSE: f"{HERE}:Slow"})
    assert report.outcome == "reported"
    assert len(runs_api.beats) >= 2


async def test_a_lease_is_counted_from_before_the_request(bench: Bench, runs_api: RunsApi) -> None:
    """What the answer took on its way has gone by of the lease."""
    bench.load(DAY, raw.BDL_BOXSCORES)
    seconds = iter([100.0, 100.0])  # until when to claim, and the claim; all later is an hour on
    async with httpx.AsyncClient(base_url=runs_api.url) as client:
        runner = runner_of(bench, client, monotonic=lambda: next(seconds, 100.0 + 3600))
        report = await runner.handle(runner.accept(launch()))
        runner.close()
    assert (report.outcome, runs_api.completed) == ("lease_lost", {})
    assert bench.warehouse.row_count(TEAM_OFFENSE, DAY) == 0


async def test_a_refused_completion_is_no_success(bench: Bench, runs_api: RunsApi) -> None:
    async with httpx.AsyncClient(base_url=runs_api.url) as client:
        assert not await HttpRunClient(client).complete(
            "a:2024-10-22:1", "stale", status="success", record_count=1, error=None
        )


async def test_an_unanswered_completion_is_repeated_until_the_lease_ends(
    bench: Bench, runs_api: RunsApi
) -> None:
    runs_api.deaf_to_completions, runs_api.lease_seconds, runs_api.lose_after_beats = True, 0.5, 2
    report = await handle(bench, runs_api, launch())
    assert (report.outcome, runs_api.completed) == ("unreported", {})
    assert len(runs_api.beats) >= 2, "it did not go on beating"


async def test_a_completion_outlasts_a_coordinator_that_is_out_of_order(
    bench: Bench, runs_api: RunsApi
) -> None:
    bench.load(DAY, raw.BDL_BOXSCORES)
    runs_api.deaf_to_completions, runs_api.lease_seconds = True, 0.6
    running = asyncio.create_task(handle(bench, runs_api, launch()))
    await until(lambda: len(runs_api.beats) >= 4)
    runs_api.deaf_to_completions = False
    assert (await running).outcome == "reported"
    assert runs_api.completed[launch()["run_id"]]["status"] == "success"


async def test_a_claim_is_tried_again_for_its_time_and_then_given_up(
    bench: Bench, runs_api: RunsApi
) -> None:
    runs_api.broken_answers = 12
    assert (await handle(bench, runs_api, launch())).outcome == "reported"
    runs_api.broken_answers = 10**6
    report = await handle(bench, runs_api, launch(generation=2), claim_seconds=0.3)
    assert report.outcome == "unreachable"


@pytest.mark.parametrize(
    "granted",
    [
        {"game_date": "2024-10-23"},
        {"generation": 2},
        {"generation": 2**62},
        {"generation": "1"},
        {"processor": "TeamDefenseSummaryProcessor"},
        {"attempt": 2},
        {"run_id": f"{OFFENSE}:2024-10-23:1"},
    ],
)
async def test_what_the_claim_answers_is_the_truth(
    bench: Bench, runs_api: RunsApi, granted: dict[str, Any]
) -> None:
    bench.load(DAY, raw.BDL_BOXSCORES)
    runs_api.granted = granted
    report = await handle(bench, runs_api, launch())
    report_body = runs_api.completed[report.run_id]
    assert report_body["status"] == "failed"
    assert f"{next(iter(granted))} is " in report_body["error"]
    assert "in the run that was claimed" in report_body["error"]
    assert bench.warehouse.row_count(TEAM_OFFENSE, DAY) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("game_date", "2024-10-23"),
        ("generation", 2),
        ("generation", 2**62),
        ("generation", 2**58),
        ("processor", "TeamDefenseSummaryProcessor"),
        ("run_id", f"{OFFENSE}:2024-10-22:01"),
        ("run_id", f"{OFFENSE}:2024-10-22"),
        ("run_id", "nonsense"),
    ],
)
async def test_a_launch_that_differs_from_its_run_is_never_claimed(
    bench: Bench, runs_api: RunsApi, name: str, value: object
) -> None:
    bench.load(DAY, raw.BDL_BOXSCORES)
    body = {**launch(), name: value}
    with pytest.raises(BadLaunchError, match=name):
        await handle(bench, runs_api, body)
    async with httpx.AsyncClient(base_url=runs_api.url) as client:
        app = create_runner_app(runner_of(bench, client))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://runner") as posting:
            bare = await posting.post("/", json=body)
            pushed = await posting.post("/", json=push(body))
    assert (bare.status_code, pushed.status_code) == (422, 204)
    assert name in bare.json()["detail"]
    assert execute(ENTRYPOINTS[OFFENSE], body, bench.warehouse, NOW).status == "failed"
    assert runs_api.claims == 0
    assert bench.warehouse.row_count(TEAM_OFFENSE, DAY) == 0


async def test_a_refused_heartbeat_and_an_unanswered_one_differ(runs_api: RunsApi) -> None:
    runs_api.lose_after_beats = 0
    async with httpx.AsyncClient(base_url=runs_api.url) as client:
        with pytest.raises(LeaseLostError):
            await HttpRunClient(client).heartbeat("a:2024-10-22:1", "t")
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9") as client:
        with pytest.raises(CoordinatorUnavailableError):
            await HttpRunClient(client).heartbeat("a:2024-10-22:1", "t")


async def test_launches_run_in_a_bounded_pool(bench: Bench, runs_api: RunsApi) -> None:
    broken.PEAK["most"] = 0
    async with httpx.AsyncClient(base_url=runs_api.url) as client:
        bench.load(DAY, raw.BDL_BOXSCORES)
        runner = runner_of(bench, client, **{OFFENSE: f"{HERE}:Slow"})
        asked = [runner.accept(launch(generation=generation)) for generation in range(1, 5)]
        reports = await asyncio.gather(*map(runner.handle, asked))
        runner.close()
    assert {report.outcome for report in reports} == {"reported"}
    assert "success" in {each["status"] for each in runs_api.completed.values()}
    assert broken.PEAK["most"] <= 2


def push(body: dict[str, Any]) -> dict[str, Any]:
    data = base64.b64encode(json.dumps(body).encode()).decode()
    return {"message": {"data": data, "messageId": "1"}, "subscription": "s"}


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - the other side is a server in another thread
            await asyncio.sleep(0.02)


async def test_the_app_accepts_launches_bare_and_pushed(bench: Bench, runs_api: RunsApi) -> None:
    bench.load(DAY, raw.BDL_BOXSCORES)
    async with httpx.AsyncClient(base_url=runs_api.url) as client:
        app = create_runner_app(runner_of(bench, client))
        transport = httpx.ASGITransport(app)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://runner") as posting,
            app.router.lifespan_context(app),
        ):
            bare = await posting.post("/", json=launch())
            pushed = await posting.post("/launch", json=push(launch("PlayerGameSummaryProcessor")))
            assert (bare.status_code, pushed.status_code) == (202, 202)
            await until(lambda: len(runs_api.completed) == 2)
            health = await posting.get("/healthz")
            assert health.json()["status"] == "ok"
    assert {each["status"] for each in runs_api.completed.values()} == {"success"}


async def test_the_app_starts_an_attempt_once_and_says_when_it_is_full(
    bench: Bench, runs_api: RunsApi
) -> None:
    async with httpx.AsyncClient(base_url=runs_api.url) as client:
        runner = runner_of(bench, client, **{OFFENSE: f"{HERE}:Slow"})
        app = create_runner_app(runner, max_pending=1)
        transport = httpx.ASGITransport(app)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://runner") as posting,
            app.router.lifespan_context(app),
        ):
            answers = [await posting.post("/", json=launch()) for _ in range(2)]
            full = await posting.post("/", json=launch(generation=2))
    assert [answer.status_code for answer in answers] == [202, 202]
    assert full.status_code == 503
    assert list(runs_api.completed) == [launch()["run_id"]]
    assert not broken.PEAK["now"]


async def test_the_app_refuses_bare_nonsense_and_acknowledges_pushed_nonsense(
    bench: Bench, runs_api: RunsApi
) -> None:
    async with httpx.AsyncClient(base_url=runs_api.url) as client:
        app = create_runner_app(runner_of(bench, client))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://runner") as posting:
            unknown = await posting.post("/", json=launch("NobodyProcessor"))
            bad = await posting.post("/", content=b"{")
            pushed = await posting.post("/", json={"message": {"data": "!"}})
    assert (unknown.status_code, bad.status_code, pushed.status_code) == (422, 400, 204)
    assert unknown.headers["content-type"] == "application/problem+json"
    assert "no entrypoint for 'NobodyProcessor'" in unknown.json()["detail"]


@contextmanager
def runner_serving(bench: Bench, **more: Any) -> Iterator[str]:
    """The runner's app in a real server, before a coordinator that nobody reaches."""
    client = httpx.AsyncClient(base_url="http://127.0.0.1:9")
    with serving(create_runner_app(runner_of(bench, client, 0), **more)) as url:
        yield url


def nested(depth: int) -> bytes:
    return b'{"run_id": ' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize("depth", [500, 900, 990, 100_000, 1_000_000])
def test_deep_json_is_refused_in_words(bench: Bench, depth: int) -> None:
    data = base64.b64encode(nested(depth)).decode()
    with runner_serving(bench) as url, httpx.Client(base_url=url) as posting:
        bare = posting.post("/", content=nested(depth))
        wrapped = posting.post("/", json={"message": {"data": data}})
        assert posting.get("/healthz").json() == {"status": "ok", "pending": 0}
    assert bare.status_code in (400, 422)
    assert bare.headers["content-type"] == "application/problem+json"
    assert "nested too deeply" in bare.json()["detail"] or "run_id" in bare.json()["detail"]
    assert wrapped.status_code == 204


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"nonsense", b"[]", b"3", b'{"generation": 1' + b"0" * 5000 + b"}"]
    + [
        json.dumps({**launch(), "run_id": text}).encode()
        for text in ("\ud800:a:1", "\x00", "x" * 9999)
    ],
)
def test_malformed_launches_are_refused_in_words(bench: Bench, body: bytes) -> None:
    with runner_serving(bench) as url:
        answer = httpx.post(f"{url}/", content=body)
    assert answer.status_code in (400, 422)
    assert answer.json()["status"] == answer.status_code
    assert 10 < len(answer.json()["detail"]) < 500


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused_and_not_read_on(bench: Bench, chunked: bool) -> None:
    sent = 0

    def megabytes() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(50):
            sent += 1
            yield b" " * 1024 * 1024

    with runner_serving(bench) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            length = f"Content-Length: {50 * 1024 * 1024}"
            kind = "Transfer-Encoding: chunked" if chunked else length
            head = f"POST / HTTP/1.1\r\nHost: runner\r\n{kind}\r\n\r\n"
            connection.sendall(head.encode())
            with suppress(ConnectionError):
                for block in megabytes():
                    framed = b"100000\r\n" + block + b"\r\n" if chunked else block
                    connection.sendall(framed)
            answer = connection.makefile("rb").read(4000)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"4,194,304 bytes" in answer
    assert sent < 50, "the whole body was read"


def test_a_body_that_drips_is_given_up(bench: Bench) -> None:
    with runner_serving(bench, body_seconds=0.3) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: runner\r\nContent-Length: 99\r\n\r\n{")
            assert connection.makefile("rb").readline().startswith(b"HTTP/1.1 408 ")


def test_execute_runs_a_launch_in_this_thread(bench: Bench) -> None:
    bench.load(DAY, raw.BDL_BOXSCORES)
    done = execute(ENTRYPOINTS[OFFENSE], launch(), bench.warehouse, NOW)
    assert (done.status, done.record_count) == ("success", 4)
    bad = execute(ENTRYPOINTS[OFFENSE], {**launch(), "generation": 0}, bench.warehouse, NOW)
    assert bad.status == "failed"
    assert "generation is 0" in str(bad.error)


@pytest.mark.parametrize(
    ("entrypoint", "said"),
    [
        ("", "gives it no `entrypoint`"),
        ("processors.analytics", "not of the form"),
        ("processors.nowhere:Thing", "cannot import"),
        ("processors.analytics:Thing", "has no processor"),
        (f"{HERE}:NOT_A_PROCESSOR", "has no processor"),
    ],
)
def test_an_entrypoint_that_leads_nowhere_says_where_it_ends(entrypoint: str, said: str) -> None:
    with pytest.raises(EntrypointError, match=said):
        load_entrypoint(entrypoint)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("event_type", "run_completed"),
        ("run_id", ""),
        ("processor", None),
        ("game_date", "20241022"),
        ("game_date", "TODAY"),
        ("generation", "1"),
        ("attempt", True),
    ],
)
def test_a_bad_launch_names_its_field(name: str, value: object) -> None:
    with pytest.raises(BadLaunchError, match=name):
        parse_launch({**launch(), name: value})


@pytest.mark.parametrize("body", [3, {"message": {"data": "e30"}}, {"message": {"data": "Mw=="}}])
def test_a_body_without_a_launch_is_refused(body: object) -> None:
    with pytest.raises(BadLaunchError):
        unwrap(body)
