"""What Firestore refuses to commit, for worlds whose store has no such limits of its own."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from coordinator.documents import encode
from coordinator.errors import TooLarge
from coordinator.ports import Document, Key, Kind


class Limits:
    """What Firestore refuses to commit, held against the documents of a commit.

    Real limits: 1 MiB a document, 10 MiB and 500 writes a commit. Documents are weighed as the
    Firestore store lays them out: long bodies compressed and split, the events of a table's date in
    that date's document, a live run inside its partition.
    """

    document_bytes = 1024 * 1024
    commit_bytes = 10 * 1024 * 1024
    writes = 500

    def check(self, puts: Mapping[Key, Document]) -> None:
        """Raise ``TooLarge`` for a commit that Firestore would refuse."""
        total = 0
        places: set[str] = set()
        for key, document in puts.items():
            if key.kind is Kind.RUN and document.live:
                continue
            size = len(body := encode(document))
            if key.kind is Kind.EVENT:
                places.add(f"{document.table}__{document.game_date}")
                if size > self.document_bytes:
                    raise TooLarge(f"{key.id} has {size} bytes; Firestore takes 1 MiB (a limit)")
            else:
                places.add(key.id)
                if size > PACK_FROM_BYTES:
                    size = len(zlib.compress(body, 1))
            total += size
        if total > self.commit_bytes:
            raise TooLarge(f"a commit has {total} bytes; Firestore takes 10 MiB (a limit)")
        if len(places) > self.writes:
            raise TooLarge(f"a commit has {len(places)} writes; Firestore takes 500 (a limit)")


PACK_FROM_BYTES = 64 * 1024
"""From here on the Firestore store compresses a body."""
