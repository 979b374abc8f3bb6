"""A violated rule, with the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Broken:
    """One violation of the specification."""

    rule: str
    """The rule's short name, as in ``hold.grace``."""
    section: str
    """The section of the specification that has the rule."""
    where: str
    """The partition, run or table and date."""
    at: datetime
    sentence: str

    def __str__(self) -> str:
        return f"[{self.rule}, specification {self.section}] {self.where} at {self.at:%m-%d %H:%M:%S}: {self.sentence}"
