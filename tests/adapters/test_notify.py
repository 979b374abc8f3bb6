"""Notices to people, over real HTTP."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import structlog

from coordinator.adapters.notify import LogNotifier, SlackNotifier, WebhookNotifier
from coordinator.errors import Unavailable
from coordinator.ports import Notice
from tests.adapters.receiver import receiving

NOW = datetime(2024, 10, 23, 10, 0, tzinfo=UTC)
NOTICE = Notice(
    severity="error",
    kind="run_failed",
    processor="P",
    game_date="2024-10-22",
    summary="Run P:2024-10-22:1 failed <!channel> & more.",
    detail="the <table> is gone",
    link="http://127.0.0.1:8080/v1/status/2024-10-22/P",
    notice_id="P__2024-10-22:notify:run_failed:1",
    at=NOW,
)


async def test_a_webhook_body_is_the_contracts_notice_and_its_signature_can_be_checked() -> None:
    with receiving() as receiver:
        notifier = WebhookNotifier(receiver.url, "s3cret", lambda: NOW)
        await notifier.notify(NOTICE)
        await notifier.close()
    headers, body = receiver.received[0]
    stamp = headers["x-coordinator-timestamp"]
    expected = hmac.new(b"s3cret", stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["x-coordinator-signature"] == f"sha256={expected}"
    assert stamp == str(int(NOW.timestamp()))
    notice = receiver.bodies()[0]
    assert {k: notice[k] for k in ("severity", "kind", "processor", "game_date")} == {
        "severity": "error",
        "kind": "run_failed",
        "processor": "P",
        "game_date": "2024-10-22",
    }
    assert notice["link"] == NOTICE.link


async def test_a_webhook_without_a_secret_is_not_signed() -> None:
    with receiving() as receiver:
        notifier = WebhookNotifier(receiver.url, None, lambda: NOW)
        await notifier.notify(NOTICE)
        await notifier.close()
    assert "x-coordinator-signature" not in receiver.received[0][0]


async def test_a_webhook_that_fails_is_tried_again() -> None:
    with receiving() as receiver:
        receiver.answers = [500, 503]
        notifier = WebhookNotifier(receiver.url, "s", lambda: NOW)
        await notifier.notify(NOTICE)
        await notifier.close()
    assert len(receiver.received) == 3


async def test_a_webhook_that_never_answers_well_is_out_of_reach_and_its_path_stays_secret() -> (
    None
):
    with receiving() as receiver:
        receiver.answers = [302, 500, 404]
        notifier = WebhookNotifier(receiver.url, "s", lambda: NOW)
        with pytest.raises(Unavailable) as raised:
            await notifier.notify(NOTICE)
        await notifier.close()
    assert "secret-path" not in raised.value.detail
    assert len(receiver.received) == 3, "redirects are not followed"


async def test_a_closed_port_is_out_of_reach() -> None:
    with receiving() as receiver:
        url = receiver.url
    notifier = SlackNotifier(url)
    with pytest.raises(Unavailable):
        await notifier.notify(NOTICE)
    await notifier.close()


async def test_slack_text_cannot_be_made_to_mention_or_link() -> None:
    with receiving() as receiver:
        notifier = SlackNotifier(receiver.url)
        await notifier.notify(NOTICE)
        await notifier.close()
    text = str(receiver.bodies()[0]["text"])
    assert "<!channel>" not in text
    assert "&lt;!channel&gt; &amp; more" in text
    assert f"<{NOTICE.link}|why>" in text


async def test_the_log_gets_one_line_with_the_kind(capsys: pytest.CaptureFixture[str]) -> None:
    await LogNotifier().notify(NOTICE)
    captured = capsys.readouterr()
    assert "run_failed" in captured.out + captured.err


@pytest.mark.parametrize("severity", ["info", "warning", "error"])
async def test_a_line_in_the_log_has_the_notices_level_and_link(severity: str) -> None:
    with structlog.testing.capture_logs() as lines:
        await LogNotifier().notify(replace(NOTICE, severity=severity))
    assert [(line["log_level"], line["link"]) for line in lines] == [(severity, NOTICE.link)]
