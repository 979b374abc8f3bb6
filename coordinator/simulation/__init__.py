"""Seeded worlds: the real service on a virtual clock, with faults, checked against the laws.

``run`` plays one world; the same seed plays the same world, step by step. ``python -m
coordinator.simulation --seeds 1-200`` plays many.
"""

from coordinator.simulation.world import Report, World, run

__all__ = ["Report", "World", "run"]
