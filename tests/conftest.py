"""What every test may ask for: the async backend and the folder of real schedules."""

import os
import secrets
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings
from structlog.dev import plain_traceback

CHECKOUT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}

# Wall-clock deadlines make properties flaky on shared machines. In CI the examples are the same
# in every run, so that a red run is about the change.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if IN_CI else "local")

# Tracebacks as plain as the service's: structlog's own default draws each with the values of its
# variables, which takes minutes where a test makes hundreds of them.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=plain_traceback),
    ]
)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio alone: it is the only loop that the service runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real schedules and box scores: COORDINATOR_TEST_DATA.

    The default is ``shared/data`` beside the checkout. Without the folder a test that asks for
    it is skipped with the reason; it fails where ``CI`` is set or the folder was named.
    """
    named = os.environ.get("COORDINATOR_TEST_DATA")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "data"
    if folder.is_dir():
        return folder.resolve()
    reason = f"no real schedules at {folder}: set COORDINATOR_TEST_DATA to their folder"
    if IN_CI or named:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


SEED_BASE = "COORDINATOR_SEED_BASE"
"""The first seed of the simulation's fresh worlds. Drawn again for every run, unless it is named."""


def pytest_configure(config: pytest.Config) -> None:
    """Draw the seeds of this run once: the workers of a parallel run take them from the controller."""
    given = getattr(config, "workerinput", {}).get(SEED_BASE)
    os.environ[SEED_BASE] = (
        given or os.environ.get(SEED_BASE) or str(secrets.randbelow(10**9) + 10**6)
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the drawn seeds to a worker (a hook of pytest-xdist)."""
    node.workerinput[SEED_BASE] = os.environ[SEED_BASE]


def pytest_report_header() -> str:
    return f"simulation: fresh worlds from {SEED_BASE}={os.environ[SEED_BASE]}"


@pytest.fixture(scope="session")
def seed_base() -> int:
    """The first seed of the fresh worlds of this run."""
    return int(os.environ[SEED_BASE])
