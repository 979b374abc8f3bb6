"""A broken rule, with what a person needs to believe it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Broken:
    """One rule of the contract that does not hold."""

    rule: str
    """The rule's short name, as in ``hold.grace``."""
    section: str
    """The section of the contract that says so."""
    where: str
    """The partition, run or table and date."""
    at: datetime
    sentence: str

    def __str__(self) -> str:
        return f"[{self.rule}, contract {self.section}] {self.where} at {self.at:%m-%d %H:%M:%S}: {self.sentence}"
