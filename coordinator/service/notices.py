"""Notices that belong to no partition, from whoever finds a cause to whoever delivers them."""

from __future__ import annotations

from collections.abc import Callable

from coordinator.ports import Notice


class Notices:
    """Hands each notice to every subscriber. Their causes are durable elsewhere."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[Notice], None]] = []

    def subscribe(self, subscriber: Callable[[Notice], None]) -> None:
        """Call ``subscriber`` with every notice from now on."""
        self._subscribers.append(subscriber)

    def send(self, notice: Notice) -> None:
        """Send a notice."""
        for subscriber in self._subscribers:
            subscriber(notice)
