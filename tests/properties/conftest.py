"""Bounds: the whole folder runs in under a minute."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

bounded = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
