"""The embedded store: one SQLite file, durable, with grouped commits.

Owns the schema and its migrations, the writer's queue and the cache of decoded documents. Refuses
to know what documents mean (see ``documents``) or when to retry (the caller's word).

How it works:

- One writer. All transactions that wait while it is busy run, one after the other, inside the next
  ``BEGIN IMMEDIATE … COMMIT``, and share its one fsync; nothing lingers for company. Each sees what
  those before it wrote, so the order is serial. Callers hear of their result after the commit.
- Documents are immutable, so the writer keeps those it decoded and hands out the same objects.
  ``PRAGMA data_version`` tells when another process wrote; then they are dropped.
- Reads outside transactions go over connections of their own and wait for nobody (WAL).
- ``inline`` runs everything on the event loop's thread, one commit per transaction: the same order
  of calls gives the same order of commits, which simulations need.
"""

from coordinator.adapters.sqlite.queries import PAGE_MAX
from coordinator.adapters.sqlite.schema import APPLICATION_ID, MEMORY
from coordinator.adapters.sqlite.store import SqliteStore
from coordinator.adapters.sqlite.writer import ROUNDS_MAX

__all__ = ["APPLICATION_ID", "MEMORY", "PAGE_MAX", "ROUNDS_MAX", "SqliteStore"]
