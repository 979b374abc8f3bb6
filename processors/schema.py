"""What a table is: its name, typed columns and key, in BigQuery's type names.

Owns: table declarations and the DDL made from them. Refuses: talking to any database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

BigQueryType = Literal["STRING", "INT64", "FLOAT64", "BOOL", "DATE", "TIMESTAMP"]
Grain = Literal["date", "game"]


@dataclass(frozen=True)
class Table:
    """One table, partitioned by `game_date`.

    `columns` keeps the order of the stored columns. `key` names the columns that are unique within
    a date. `grain` says whether one load covers a date or some of its games (specification 3.1).
    `max_rows_per_game` is the most rows that one game can have; None: as many as the key allows.
    """

    name: str
    columns: Mapping[str, BigQueryType]
    key: tuple[str, ...]
    grain: Grain = "date"
    max_rows_per_game: int | None = None

    @property
    def dataset(self) -> str:
        """The part of `name` before the dot."""
        return self.name.split(".", 1)[0]

    def ddl(self) -> str:
        """The statement, in BigQuery's dialect, that creates the table where it is missing."""
        columns = ", ".join(f"{name} {kind}" for name, kind in self.columns.items())
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({columns})"


class Catalog:
    """The tables a warehouse holds, by full name."""

    def __init__(self, *tables: Table) -> None:
        """Take the tables; two with one name are a ValueError."""
        self._tables = {table.name: table for table in tables}
        if len(self._tables) != len(tables):
            raise ValueError("two tables of the catalog carry one name")

    def __iter__(self) -> Iterator[Table]:
        """Iterate over the tables in the order they were given."""
        return iter(self._tables.values())

    def get(self, name: str) -> Table | None:
        """The table called `name`, or None."""
        return self._tables.get(name)
