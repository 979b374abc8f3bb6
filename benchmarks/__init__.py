"""What the coordinator costs: scripts that measure it, each beside a baseline in the same run.

``python -m benchmarks`` runs all of them and writes ``docs/benchmarks.md``.
"""
