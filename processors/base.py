"""What every processor does around its one SQL file.

Owns: declaring a processor's output and needs, deciding whether a date has data to process, and
replacing the date's output under the fence. Refuses: deciding when to run, reporting
to the coordinator, reading a clock.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from processors.warehouse import Warehouse


RunStatus = Literal["success", "no_data", "skipped", "failed"]
ERROR_LIMIT_CHARS = 1000
MAX_RECORD_COUNT = 10**12
"""The highest row count that the coordinator accepts in a report."""


@dataclass(frozen=True)
class Need:
    """One input: a table, or several in order of preference of which one with rows is enough."""

    tables: tuple[str, ...]
    critical: bool = True


@dataclass(frozen=True)
class RunContext:
    """What a run gets from outside: date, fencing number, time, and whether it may continue.

    `ensure_live` raises if the lease is lost; it is called just before the commit.
    """

    game_date: date
    generation: int
    computed_at: datetime
    ensure_live: Callable[[], None] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunResult:
    """How a run ended, as it is reported (specification 3.2).

    `record_count` is the number of rows the output holds for the date; `error` is set for `failed`
    and says in the other cases only what was missing.
    """

    status: RunStatus
    record_count: int | None = None
    error: str | None = None


class Processor:
    """Base of the processors: subclasses name their output, needs and SQL file.

    The SQL lies beside the module of the class that names it. The output is a pure function of the inputs, so a
    rerun writes the same rows; a date without inputs ends with no rows and says `no_data`.
    """

    name: ClassVar[str]
    output: ClassVar[str]
    requires: ClassVar[tuple[Need, ...]]
    sql_file: ClassVar[str]

    def run(self, warehouse: Warehouse, context: RunContext) -> RunResult:
        """Compute and replace the output of one date.

        Raises StaleGenerationError (a newer generation wrote the date), whatever
        `context.ensure_live` raises, and the warehouse's own errors.
        """
        missing = self.missing_needs(warehouse, context.game_date)
        rows = warehouse.replace_date(
            self.output,
            context.game_date,
            self.select_sql() if not missing else self._no_rows_sql(),
            context.params,
            generation=context.generation,
            computed_at=context.computed_at,
            before_commit=context.ensure_live,
        )
        if missing:
            return RunResult("no_data", 0, f"no rows for {context.game_date} in {missing[0]}")
        return RunResult("success" if rows else "no_data", rows)

    def missing_needs(self, warehouse: Warehouse, game_date: date) -> list[str]:
        """The critical needs of which no table has a row for `game_date`, as text for people."""
        return [
            " or ".join(need.tables)
            for need in self.requires
            if need.critical
            and not any(warehouse.row_count(table, game_date) for table in need.tables)
        ]

    def select_sql(self) -> str:
        """The text of the SQL file, in BigQuery's dialect."""
        owner = next(each for each in type(self).__mro__ if "sql_file" in vars(each))
        package = sys.modules[owner.__module__].__package__ or ""
        return resources.files(package).joinpath(self.sql_file).read_text(encoding="utf-8")

    def _no_rows_sql(self) -> str:
        return f"SELECT * FROM {self.output} WHERE FALSE"


def failed(error: BaseException) -> RunResult:
    """The result of a run that raised: its type and message, bounded in length."""
    return RunResult("failed", None, error_text(f"{type(error).__name__}: {error}".strip()))


def error_text(text: str) -> str:
    """An error as it can be reported: limited in length, and valid UTF-8.

    Names of files may contain bytes that are not text, which Python shows as unpaired surrogates.
    """
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= ERROR_LIMIT_CHARS else text[: ERROR_LIMIT_CHARS - 1] + "…"
