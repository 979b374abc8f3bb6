"""Which host names a request may name: those of an open loopback service are loopback names.

Owns the judgement alone. Without it, any web page could have its own name resolve to 127.0.0.1
(DNS rebinding) and use a service that takes everyone who reaches it for its operator.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from coordinator.settings import is_loopback

REMEMBERED_MAX = 256
"""Names judged before that are remembered; a client sends one and the same."""
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^:\[\]@/?#\s]+)(?::[0-9]{0,5})?")


class Hosts:
    """Judges the ``Host`` and ``Origin`` of requests.

    ``also`` are host names that count beside the loopback ones, such as that of a reverse proxy.
    """

    def __init__(self, also: Collection[str] = ()) -> None:
        self._also = frozenset(name.lower() for name in also)
        self._known: dict[bytes, bool] = {}

    def answers_to(self, host: bytes) -> bool:
        """Whether a ``Host`` header, with any port, names this service."""
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= REMEMBERED_MAX:
                self._known.clear()
            known = self._known[host] = self._judge(host.decode("latin-1"))
        return known

    def _judge(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found["name"].lower().removesuffix(".")
        return name in self._also or is_loopback(name.strip("[]"))

    def same_origin(self, origin: bytes, host: bytes) -> bool:
        """Whether a page of ``origin`` may change something at ``host``."""
        try:
            parts = urlsplit(origin.decode("latin-1"))
            name = (parts.hostname or "").removesuffix(".")
        except ValueError:
            return False
        return parts.netloc.encode("latin-1") == host or name in self._also
