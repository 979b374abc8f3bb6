"""What ``coordinator doctor`` finds of a store in Firestore, and that it never takes long."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from coordinator.cli import doctor
from tests.cli.support import NOBODY, REGISTRY, ROOT, Ran, environment, free_port, invoke, serving
from tests.firestore import proxy as wire
from tests.firestore.emulator import emulator_host, new_project
from tests.firestore.proxy import Proxy
from tests.firestore.test_indexes import listed, plans

HOST = "FIRESTORE_EMULATOR_HOST"
needs_emulator = pytest.mark.emulator


@pytest.fixture(scope="module")
def project() -> str:
    """An empty database."""
    return new_project()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, project: str) -> Iterator[str]:
    """A service whose state is in that database."""
    folder = tmp_path_factory.mktemp("service")
    yield from serving(folder, store=f"firestore:{project}", **{HOST: emulator_host()})


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections, and never answers."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen(100)
        yield f"127.0.0.1:{made.getsockname()[1]}"


def examine(store: str, url: str = NOBODY, **env: str) -> Ran:
    place = ["--registry", str(REGISTRY), "--url", url]
    return invoke("doctor", *place, "--json", COORDINATOR_STORE=store, **env)


def found(ran: Ran) -> dict[str, Any]:
    return {check["check"]: check for check in ran.json["checks"]}


@needs_emulator
def test_a_database_that_can_be_read_is_well(url: str, project: str) -> None:
    ran = examine(f"firestore:{project}", url, **{HOST: emulator_host()})
    assert ran.code == 0
    assert ran.json["well"] is True
    checks = found(ran)
    assert "state file" not in checks
    assert "google-cloud-firestore 2" in checks["versions"]["words"]
    assert checks["indexes"]["state"] == "ok"
    assert checks["store"]["state"] == "ok"  # the service's own word


@needs_emulator
def test_an_operator_sees_that_it_is_not_google_that_answers(project: str) -> None:
    host = emulator_host()
    ran = examine(f"firestore:{project}", **{HOST: host})
    assert ran.code == 3  # only the service is away
    database = found(ran)["database"]
    assert database["state"] == "warning"
    for words in (f"firestore:{project}", host, HOST, "not at Google"):
        assert words in database["words"]
    assert "not checked" in found(ran)["indexes"]["words"]


@needs_emulator
def test_a_port_at_which_nothing_listens_is_said_at_once(url: str) -> None:
    host = f"127.0.0.1:{free_port()}"
    begun = time.monotonic()
    ran = examine("firestore:demo", url, **{HOST: host})
    assert time.monotonic() - begun < doctor.DATABASE_SECONDS
    assert ran.code == 1  # a store that is away is no service that is away
    database = found(ran)["database"]
    assert database["state"] == "bad"
    for words in ("firestore:demo is out of reach", host, f"{HOST} is set", "unset it"):
        assert words in database["words"]
    assert "indexes" not in found(ran)


def test_a_database_that_is_silent_is_waited_for_no_longer_than_said(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "DATABASE_SECONDS", 1.0)
    begun = time.monotonic()
    ran = examine("firestore:demo", **{HOST: silent})
    assert time.monotonic() - begun < 5
    assert ran.code == 1
    assert "firestore:demo did not answer within 1 s. " in found(ran)["database"]["words"]


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(HOST, raising=False)
    absent = str(tmp_path / "absent.json")
    ran = examine("firestore:demo", GOOGLE_APPLICATION_CREDENTIALS=absent)
    assert ran.code == 1
    words = found(ran)["database"]["words"]
    assert absent in words
    assert "set GOOGLE_APPLICATION_CREDENTIALS" in words
    assert f"{HOST} is set" not in words


def test_credentials_of_a_strange_shape_are_a_finding(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(HOST, raising=False)
    strange = tmp_path / "strange.json"
    strange.write_text("[]", encoding="utf-8")
    ran = examine("firestore:demo", GOOGLE_APPLICATION_CREDENTIALS=str(strange))
    assert ran.code == 1
    assert found(ran)["database"]["state"] == "bad"


def test_a_search_for_credentials_that_cannot_be_interrupted_is_left_behind(
    silent: str, tmp_path: Path
) -> None:
    """Google's library blocks for 12 seconds where the metadata server swallows what it gets."""
    program = (
        "from coordinator.cli import doctor, main; doctor.DATABASE_SECONDS = 1.0; "
        "import sys; sys.argv[1:] = ['doctor', '--store', 'firestore:demo']; main()"
    )
    env = environment(
        PYTHONPATH=str(ROOT),
        GCE_METADATA_HOST=silent,
        GCE_METADATA_IP=silent,
        CLOUDSDK_CONFIG=str(tmp_path),
        COORDINATOR_URL=NOBODY,
    )
    for name in (HOST, "GOOGLE_APPLICATION_CREDENTIALS", "NO_GCE_CHECK"):
        env.pop(name, None)
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert time.monotonic() - begun < 11
    assert done.returncode == 1, done.stderr
    assert "firestore:demo did not answer within 1 s; see that" in done.stdout


@needs_emulator
def test_a_listing_that_is_not_served_is_named(
    proxy: Proxy, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Google answers where an index is missing; the emulator itself never does."""
    monkeypatch.setitem(wire.CODES, "no index", grpc.StatusCode.FAILED_PRECONDITION)
    left = [None, "no index", None, "no index"]
    proxy.fault = lambda method: left.pop(0) if method == "RunQuery" and left else None
    ran = examine(f"firestore:{project}", **{HOST: proxy.host})
    assert ran.code == 1
    assert found(ran)["database"]["state"] == "warning"
    indexes = found(ran)["indexes"]
    assert indexes["state"] == "bad"
    assert indexes["words"].startswith("2 of ")
    assert "audit by " in indexes["words"]
    assert "Deploy the indexes of deploy/firestore" in indexes["words"]


@needs_emulator
def test_a_look_is_cheap_and_writes_nothing(proxy: Proxy, project: str) -> None:
    examine(f"firestore:{project}", **{HOST: proxy.host})
    counts = proxy.take()
    assert counts.writes == 0
    assert counts.calls["BatchGetDocuments"] == 1
    assert counts.reads == 1 + counts.calls["RunQuery"] <= 1 + len(listed()) + 1


def test_every_index_is_tried_and_no_other() -> None:
    tried = {asked.index for query in doctor._listings() for asked in plans(query)}
    assert tried - {None} == listed()
