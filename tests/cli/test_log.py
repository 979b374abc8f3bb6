"""What a service writes while it serves: one JSON object a line, with the ids to search by."""

import base64
import json
import socket
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.support import OFFENSE, REGISTRY, event, invoke, run, serving

DATE = "2024-11-20"
TEAM = "nba_raw.nbac_team_stats"

Lines = list[dict[str, Any]]


def read(text: str) -> Lines:
    """Every line until the service has stopped; one that is not JSON fails.

    Beyond that DuckDB's binding may complain of the interpreter's own end.
    """
    found: Lines = []
    for line in text.splitlines():
        found.append(json.loads(line))
        if found[-1]["event"] == "stopped":
            break
    return found


def of(lines: Lines, name: str, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(line[f] for f in fields) for line in lines if line["event"] == name]


def push(url: str, data: bytes) -> None:
    body = {"message": {"data": base64.b64encode(data).decode(), "messageId": "m1"}}
    httpx.post(f"{url}/pubsub/push", json=body).raise_for_status()


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    """The log of a short life: a load by push, one again by REST, a bad message, a forced run."""
    folder = tmp_path_factory.mktemp("logged")
    running = serving(folder, COORDINATOR_LOG_LEVEL="info")
    url = next(running)
    load = event("nbac_team_stats", DATE, correlation_id="night-1", event_id="e1")
    push(url, json.dumps(load).encode())
    httpx.post(f"{url}/v1/events", json=load).raise_for_status()
    push(url, b"not json")
    asked = ["trigger", OFFENSE, DATE, "--bypass", "dependencies", "--reason", "try"]
    assert invoke(*asked, COORDINATOR_URL=url).code == 0
    assert next(running, None) is None
    return read((folder / "serve.log").read_text())


def test_each_load_is_one_line_whichever_endpoint_received_it(lines: Lines) -> None:
    printed = of(lines, "load", "table", "game_date", "outcome", "event_id", "correlation_id")
    assert printed == [
        (TEAM, DATE, "applied", "e1", "night-1"),
        (TEAM, DATE, "duplicate", "e1", "night-1"),
    ]


def test_a_message_in_quarantine_is_a_line_too(lines: Lines) -> None:
    (entry,) = of(lines, "message", "outcome", "quarantine_id")
    assert entry[0] == "quarantined"
    assert entry[1]


def test_each_change_of_status_is_one_line_with_its_run_and_why(lines: Lines) -> None:
    mine = [line for line in lines if line.get("processor") == OFFENSE]
    moves = of(mine, "partition", "game_date", "from", "to")
    assert moves[0][:2] == (DATE, None)
    for before, after in pairwise(moves):
        assert before[2] == after[1], "no change is left out"
    fired = next(line for line in mine if line["event"] == "partition" and line["to"] == "firing")
    assert (fired["run_id"], fired["trigger"]) == (f"{OFFENSE}:{DATE}:1", "manual")
    assert fired["correlation_id"]
    assert fired["why"]
    assert all(len(line["why"]) <= 200 for line in mine if line["event"] == "partition")


def test_it_says_that_it_serves_once_it_listens_and_that_it_stopped(lines: Lines) -> None:
    names = [line["event"] for line in lines]
    assert names.count("serving") == 1
    assert names[-1] == "stopped"


def test_no_line_says_serving_if_the_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = run("serve", "--registry", str(REGISTRY), "--port", port, cwd=tmp_path)
    *log, last = ran.err.splitlines()
    assert last.startswith("error: cannot listen on")
    names = [line["event"] for line in read("\n".join(log))]
    assert any("address already in use" in name for name in names), "uvicorn's own word, as JSON"
    assert "serving" not in names
