"""Typed errors of the processors; the class says whose fault it is and whether to retry.

Owns: the error names. Refuses: handling any of them.
"""

from __future__ import annotations

from datetime import date

SHOWN_CHARS = 200
"""Longest part of a value that the text of an error shows."""


class ProcessorError(Exception):
    """Root of every error raised on purpose by this package."""


class LayoutError(ProcessorError):
    """A file does not have the promised column layout; the text names place, value and the fix."""

    def __init__(self, file: str, line: int, column: str, value: str, fix: str) -> None:
        """Build the text. `line` is 1-based and counts the header line.

        `column` is empty where the mistake is not in a column; a long `value` is cut in the text.
        """
        place = f"{file}, line {line}" + (f", column {column!r}" if column else "")
        shown = f" {value[:SHOWN_CHARS]!r}:" if value or column else ""
        super().__init__(f"{place}:{shown} {fix}")
        self.file = file
        self.line = line
        self.column = column
        self.value = value
        self.fix = fix


class RowError(ProcessorError):
    """A row breaks a rule of its table; the text names table, row, column, value and the fix."""

    def __init__(self, table: str, row: str, column: str, value: object, fix: str) -> None:
        """Build the text. `row` says which one it is, such as its game and player."""
        super().__init__(f"{table}, {row}, column {column!r}: {value!r}: {fix}")
        self.table = table
        self.column = column
        self.value = value
        self.fix = fix


class WarehouseError(ProcessorError):
    """The warehouse cannot do what was requested, for example with an undeclared table."""


class StaleGenerationError(WarehouseError):
    """A newer generation already wrote this table and date, so this one must not (law 2)."""

    def __init__(self, table: str, game_date: date, generation: int, held: int) -> None:
        """`generation` is the one refused, `held` the newer one that the warehouse holds."""
        super().__init__(
            f"{table} {game_date.isoformat()}: generation {generation} may not replace "
            f"generation {held}; the newer run's rows stay"
        )
        self.table = table
        self.game_date = game_date
        self.generation = generation
        self.held = held


class WorkerLostError(ProcessorError):
    """A worker process ended, or had to be ended, before its run did.

    `kind` is `exited` or `killed`.
    """

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class EntrypointError(ProcessorError):
    """An entrypoint string does not lead to a processor."""


class BadLaunchError(ProcessorError):
    """A launch message lacks a field of the specification (section 6), or has a wrong value in it."""


class LeaseLostError(ProcessorError):
    """The coordinator no longer grants this runner the run; its result must be discarded."""


class CoordinatorUnavailableError(ProcessorError):
    """The coordinator is out of reach, or its answer is not usable; a retry may succeed."""


class CoordinatorRejectedError(ProcessorError):
    """The coordinator rejected the request itself; a retry changes nothing."""


class SpoolError(ProcessorError):
    """The spool of unsent events cannot store or return an event; the text says why."""
