"""Nothing that is printed or logged can steer a terminal, and JSON stays alone on stdout."""

import base64
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.cli.output import cell, instant
from coordinator.terminal import safe, safe_json, safe_lines
from tests.cli.support import PLAYER, ROOT, environment, event, invoke, serving

HOSTILE = (
    "\x1b[31mred\x1b]0;title\x07\x9b2J\u202egro.live\u2066\r\nerror: forged\x7f [bold]b[/bold]"
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m(?!red)")
"""The colours that a console line has of itself."""


def harmless(text: str) -> None:
    """Fail where ``text`` could steer a terminal, or has a line that somebody else wrote."""
    for line in _COLOURS.sub("", text).split("\n"):
        assert line.isprintable(), repr(line)
        assert not line.startswith("error: forged")


@given(st.text())
def test_what_is_shown_is_printable_and_one_line(text: str) -> None:
    assert safe(text).isprintable()


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_printable_text_is_shown_as_it_is(text: str) -> None:
    assert safe(text) == text


def test_escapes_can_be_read() -> None:
    assert safe("a\x1b[2Jb\x00\n\u202e\u2028") == "a\\x1b[2Jb\\x00\\n\\u202e\\u2028"


def test_cells() -> None:
    assert [cell(v) for v in (None, True, 1.5, ["a", "b\n"], {"k": None, "n": 3})] == [
        *("", "yes", "1.5", "a, b\\n", "k=, n=3")
    ]


def test_instants_are_shown_to_the_second() -> None:
    at = datetime(2024, 10, 23, 4, 10, 22, 123456, UTC)
    assert instant(at) == "2024-10-23 04:10:22Z"
    assert instant(at.astimezone(timezone(timedelta(hours=-4)))) == "2024-10-23 04:10:22Z"
    assert instant(None) == ""


@given(st.text())
def test_lines_keep_their_ends_alone(text: str) -> None:
    assert all(line.isprintable() for line in safe_lines(text).split("\n"))


@given(st.text(st.characters()))
def test_json_means_the_same_and_shows_nothing_that_steers(text: str) -> None:
    written = safe_json(json.dumps({text: [text]}, ensure_ascii=False, indent=2))
    assert json.loads(written) == {text: [text]}
    assert all(line.isprintable() for line in written.split("\n"))


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_log_line_shows_nothing_that_steers(log_format: str) -> None:
    """Event, values, names, what libraries say, tracebacks and stacks: on a terminal, and as JSON."""
    program = f"""
import logging, structlog
from coordinator.app import configure_logging
from coordinator.settings import Settings
hostile = {HOSTILE!r}
configure_logging(Settings(log_format={log_format!r}))
try:
    raise ValueError(hostile)
except ValueError:
    structlog.get_logger().exception(hostile, stack_info=True, a=hostile, b=[hostile], **{{hostile: 1}})
logging.getLogger(hostile).warning("a library says %s", hostile)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        cwd=ROOT,
        env=environment(PYTHONIOENCODING="utf-8"),
        check=True,
    )
    text = ran.stderr.decode()
    assert "ValueError" in text
    harmless(text)


def test_a_served_process_logs_no_event_raw(tmp_path: Path) -> None:
    log = tmp_path / "serve.log"
    served = serving(tmp_path, COORDINATOR_LOG_FORMAT="console", COORDINATOR_LOG_LEVEL="debug")
    url = next(served)
    good = event("nbac_team_stats", "2024-11-20", event_id=HOSTILE, correlation_id=HOSTILE)
    failed = event("nbac_schedule", "2024-11-20", status="failed", error=HOSTILE)
    for sent in (good, failed, {**good, "target_table": HOSTILE}, {**good, HOSTILE: 1}):
        data = base64.b64encode(json.dumps(sent).encode()).decode()
        push = {"message": {"data": data, "messageId": HOSTILE}}
        httpx.post(f"{url}/pubsub/push", json=push).raise_for_status()
        httpx.post(f"{url}/v1/events", json=sent)
    httpx.get(f"{url}/v1/status/{quote(HOSTILE)}")
    httpx.get(f"{url}/v1/runs", headers={"Host": b"\x1b[31mevil".decode("latin-1")})
    assert next(served, None) is None
    text = log.read_text(encoding="utf-8")
    assert "\\x1b[31mred" in text
    harmless(text)


def test_an_answer_is_printed_as_json_that_shows_nothing_that_steers(tmp_path: Path) -> None:
    served = serving(tmp_path)
    url = next(served)
    night = HOSTILE.replace("\r\n", "")
    sent = event("nbac_team_stats", "2024-11-20", event_id=HOSTILE, correlation_id=night)
    httpx.post(f"{url}/v1/events", json=sent).raise_for_status()
    asked = [
        ["loads", "nbac_team_stats", "2024-11-20"],
        ["trace", night],
        ["status", "2024-11-20"],
        ["why", PLAYER, "2024-11-20"],
        ["audit"],
    ]
    for words in asked:
        for flags in ([], ["--json"]):
            ran = invoke(*words, *flags, COORDINATOR_URL=url)
            assert ran.code == 0, ran
            harmless(ran.out + ran.err)
            if flags and words[0] == "loads":
                assert ran.json["items"][0]["event_id"] == HOSTILE
    assert next(served, None) is None
