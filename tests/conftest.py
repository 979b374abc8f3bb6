"""What every test may ask for: the async backend and the folder of real schedules."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

CHECKOUT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}

# Wall-clock deadlines make properties flaky on shared machines. In CI the examples are the same
# in every run, so that a red run is about the change.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if IN_CI else "local")


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
