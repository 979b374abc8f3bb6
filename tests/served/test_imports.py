"""What a served process keeps out of its memory."""

import subprocess
import sys


def test_the_service_imports_neither_a_warehouse_nor_googles_clients() -> None:
    """Worker processes run SQL, and the clients are for who keeps state there: 20 MB each."""
    unused = ["duckdb", "sqlglot", "google.cloud", "grpc", "coordinator.simulation", "pandas"]
    code = (
        "import sys, coordinator.cli, coordinator.app\n"
        f"print([name for name in {unused!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
