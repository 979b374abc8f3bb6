"""``registry.yaml``: what a file may say (``models``), and what it means (``Registry``)."""

from coordinator.registry.build import load, parse, refuse_launches
from coordinator.registry.document import MAX_BYTES
from coordinator.registry.meaning import diff_meanings, duration_text
from coordinator.registry.mistakes import (
    MAX_MISTAKES,
    RegistryError,
    RegistryMistake,
    UnreadableRegistry,
    did_you_mean,
)
from coordinator.registry.models import KEYS, MAX_GROUP, POLICY_KEYS
from coordinator.registry.value import Dependent, Registry, diff

__all__ = [
    "KEYS",
    "MAX_BYTES",
    "MAX_GROUP",
    "MAX_MISTAKES",
    "POLICY_KEYS",
    "Dependent",
    "Registry",
    "RegistryError",
    "RegistryMistake",
    "UnreadableRegistry",
    "did_you_mean",
    "diff",
    "diff_meanings",
    "duration_text",
    "load",
    "parse",
    "refuse_launches",
]
