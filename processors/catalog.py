"""Every table of the warehouse in one catalog.

Owns: the union of raw and analytics tables. Refuses: describing any of them.
"""

from __future__ import annotations

from processors.analytics.tables import ANALYTICS_TABLES
from processors.raw.tables import RAW_TABLES
from processors.schema import Catalog

CATALOG = Catalog(*RAW_TABLES, *ANALYTICS_TABLES)
