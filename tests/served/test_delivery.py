"""A served process some of whose receivers hang, drip, flood or refuse."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.adapters.misbehaving import misbehaving
from tests.adapters.receiver import receiving
from tests.served.support import day, registry, serving, until

pytestmark = pytest.mark.slow

DATES = 30
"""So that every slot of a receiver that hangs is taken."""


def test_receivers_that_hang_or_refuse_delay_no_other(tmp_path: Path) -> None:
    with (
        misbehaving("silent") as hanging,
        misbehaving("not_found") as gone,
        misbehaving("silent") as webhook,
        receiving() as slack,
        receiving() as good,
    ):
        alert = 'deadline: {at: "00:01", day: 1, then: alert}'
        text = registry(
            {
                "Hanging": f'launch: {{http: "{hanging}"}}',
                "Gone": f'launch: {{http: "{gone}"}}',
                "Failing": 'entrypoint: "tests.processors.hostile:Exits"',
                "Good": f'launch: {{http: "{good.url}"}}, {alert}',
            }
        )
        with serving(
            tmp_path,
            text,
            COORDINATOR_WEBHOOK_URL=webhook,
            COORDINATOR_SLACK_URL=slack.url,
            COORDINATOR_LAUNCH_TIMEOUT_SECONDS="5",
        ) as served:
            # Thirty notices of failed runs wait for the webhook, thirty launches for a target.
            served.load(*range(DATES))
            until(lambda: len(good.received) >= DATES)
            until(
                lambda: (
                    served.metric('coordinator_deliveries_total{kind="launch",result="failed"}')
                    > DATES
                )
            )
            until(lambda: slack.received)
            # All of that going on, one more date is not held up.
            began = time.monotonic()
            served.load(100)
            until(lambda: any(b.get("game_date") == day(100) for b in good.bodies()))
            assert time.monotonic() - began < 3
            status, parts = served.ready()
            assert status == 200, parts
            assert "404" in parts["receivers"]["detail"]
            until(lambda: len(slack.received) >= DATES)
            waiting = 'coordinator_deliveries_waiting{kind="notify",receiver="webhook"}'
            assert served.metric(waiting) > 0
            began = time.monotonic()
            assert served.client.post("/v1/sweep").status_code == 200
            assert time.monotonic() - began < 25
            began = time.monotonic()
            served.service.stop()
            assert time.monotonic() - began < 15


def test_a_2xx_is_a_delivery_whatever_its_body_does(tmp_path: Path) -> None:
    with misbehaving("endless_body") as endless, misbehaving("endless_chunks") as dripping:
        text = registry(
            {
                "Endless": f'launch: {{http: "{endless}"}}',
                "Dripping": f'launch: {{http: "{dripping}"}}',
            }
        )
        with serving(tmp_path, text) as served:
            served.load(0)
            for name in ("Endless", "Dripping"):
                served.until("fired", processor=name)
                (attempt,) = served.run(name)["attempts"]
                assert attempt["delivery_seconds"] < 8
