"""Where the processes of a world keep their state: one store for all, or a client each of a server.

``Shared`` is a store inside the world's own loop, such as SQLite in memory; ``firestore`` has the
other kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from coordinator.ports import Document, Key, Store
from coordinator.simulation.clock import Turns, VirtualClock
from coordinator.simulation.faults import Faults

Told = Callable[[Mapping[Key, Document]], None]
"""Called with what each transaction of a commit puts, in the order of the commits."""


class Stores(Protocol):
    """The stores of one world."""

    @property
    def turns(self) -> Turns | None:
        """The turns that their calls take, where they are clients of a server."""
        ...

    @property
    def tells(self) -> bool:
        """Whether they tell of their commits themselves."""
        ...

    @property
    def processes(self) -> Sequence[int]:
        """How many processes share the state, to draw from."""
        ...

    @property
    def truth(self) -> Store:
        """What is committed, seen without faults."""
        ...

    async def open(self) -> None: ...

    async def of_process(self, clock: VirtualClock, faults: Faults, told: Told) -> Store:
        """An open store for a process that is being started."""
        ...

    async def close(self) -> None: ...

    def discard(self) -> None:
        """Throw the state away, once the world's loop has ended."""
        ...


class Shared:
    """``Stores`` that are one, inside the world's loop."""

    turns = None
    tells = False
    processes = (1, 1, 2)

    def __init__(self, store: Store) -> None:
        self.truth = store

    async def open(self) -> None:
        """Open it."""
        await self.truth.open()

    async def of_process(self, clock: VirtualClock, faults: Faults, told: Told) -> Store:
        """The one store, which tells nobody."""
        return self.truth

    async def close(self) -> None:
        """Close it."""
        await self.truth.close()

    def discard(self) -> None:
        """Nothing: whoever made the store owns it."""
