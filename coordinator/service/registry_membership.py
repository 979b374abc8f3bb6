"""Which registries the instances over one store serve, so that a replaced one loses no events.

Owns the records that say so. Over a shared store a deployment replaces one instance after the
other, and for a while two registries decide side by side. Each instance reads the records before it
commits anything, at the latest a minute after it last did, and records that its own registry is
served. So a registry that was marked as leaving, and that nobody claimed again for two minutes, is
served by nobody: what its instances ingested is in the ledger by then, where ``registry_rollout``
reads it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from coordinator.core.spec import ProcessorSpec
from coordinator.documents import RegistryRecord
from coordinator.errors import BadInput, Unavailable
from coordinator.ports import Changes, Clock, Document, Key, Kind, Op, Query, Store, Where
from coordinator.registry import Registry, parse
from coordinator.service.commits import Commits
from coordinator.service.set_since import SetSince, compare, dated

REFRESH_EVERY = timedelta(seconds=60)
"""What an instance knows of the others is never older than this when it hands in a commit."""
REFRESH_AHEAD = timedelta(seconds=40)
"""A sweep refreshes after this long already: the next one may come too late."""
GONE_AFTER = timedelta(seconds=120)
"""A registry that is leaving and was not claimed again for so long is served by nobody: the age of
what an instance knows, the longest wait for a commit and its deadline are less together
(``QUEUED_SECONDS_MAX`` and ``PATIENCE_SECONDS`` in ``commits``)."""


PARSED_MAX = 8
"""Other registries that are kept parsed."""


async def parse_in_thread(text: str) -> Registry:
    """Parse a registry without holding up the event loop. Raises ``RegistryError``."""
    return await asyncio.to_thread(parse, text)


Parse = Callable[[str], Awaitable[Registry]]
"""How a registry's text is parsed."""


class RegistryMembership:
    """The registries that count as served, as seen by one instance."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        clock: Clock,
        commits: Commits,
        parse: Parse = parse_in_thread,
    ) -> None:
        self._store = store
        self._commits = commits
        self._registry = registry
        self._clock = clock
        self._key = Key(Kind.REGISTRY, registry.registry_hash)
        self._refreshed: float | None = None
        self._refreshing = asyncio.Lock()
        self._begun = 0
        """Refreshes begun so far."""
        self._done = 0
        """The number of the last refresh that got an answer."""
        self._parsing = asyncio.Lock()
        self._parsed: OrderedDict[str, Registry | None] = OrderedDict()
        self._parse = parse
        self.since: datetime | None = None
        """Since when this registry counts as served, as far as it is known."""
        self.others: Mapping[str, RegistryRecord] = {}
        """Other registries that count as served, by their hashes."""
        self.unevaluated = False
        """What a change of the registry means was not evaluated everywhere yet, so the inputs of each
        partition that is decided on are read from the ledger first."""
        self._set_since: SetSince = {}
        self._dated: dict[str, ProcessorSpec] = {}

    def spec(self, processor: str) -> ProcessorSpec:
        """A processor of this registry, with since when its deadline and schedule are set."""
        return self._dated.get(processor) or self._registry.processors[processor]

    async def ensure_current(self, within: timedelta = REFRESH_EVERY) -> None:
        """Refresh, unless the last refresh is recent. Before the registry is in use, do nothing.

        A sweep demands a more recent one, so that no event has to wait for a refresh. Raises
        ``Unavailable``.
        """
        if self._refreshed is None or self._age() < within:
            return
        async with self._refreshing:
            if self._age() >= within:
                await self.refresh()

    async def refresh(self) -> None:
        """Read which registries are served, and record that this one is. Raises ``Unavailable``."""
        began = self._clock.monotonic()
        self._begun += 1
        number = self._begun
        records = {r.registry_hash: r for r in await self._records()}
        own = records.pop(self._key.id, None)
        if own is None or own.leaving_at is not None:
            own = await self.claim(records.values() if own is None else ())
        if own.set_since != self._set_since:
            specs = self._registry.processors
            self._dated = {n: dated(specs[n], s) for n, s in own.set_since.items() if n in specs}
            self._set_since = own.set_since
        self.since = own.since or own.first_used_at
        self.others = records
        self._refreshed = began
        self._done = max(self._done, number)

    async def unknown_here(self, what: str, knows: Callable[[Registry | None], bool]) -> None:
        """Raise ``Unavailable`` for what this registry lacks and another one that is served knows.

        ``knows`` is called with each other registry, None where its text can be read no more. A
        retry reaches an instance of that one.
        """
        if self._refreshed is None:
            return
        asked = self._begun
        async with self._refreshing:
            if self._done <= asked:  # else one that began later than this call will do
                await self.refresh()
        if any(knows(other) for other in await self.other_registries()):
            raise Unavailable(
                f"{what} is not in the registry of this instance, and another registry is served "
                "beside it: send it again, for an instance that knows it"
            )

    async def other_registries(self) -> list[Registry | None]:
        """The other registries that count as served; None for one that can no longer be read.

        Each is parsed once, however often it is used.
        """
        return [await self._registry_of(record) for record in self.others.values()]

    async def _registry_of(self, record: RegistryRecord) -> Registry | None:
        name = record.registry_hash
        async with self._parsing:
            if name not in self._parsed:
                try:
                    self._parsed[name] = await self._parse(record.text)
                except BadInput:
                    self._parsed[name] = None
                if len(self._parsed) > PARSED_MAX:
                    self._parsed.popitem(last=False)
            self._parsed.move_to_end(name)
            return self._parsed[name]

    async def claim(self, others: Collection[RegistryRecord]) -> RegistryRecord:
        """Record that this registry is served, beside others; gives its record.

        Raises ``Unavailable``.
        """
        now = self._clock.now()
        before = [(await self._registry_of(record), record.set_since) for record in others]
        set_since = compare(self._registry, before, now) if before else None

        def step(docs: Mapping[Key, Document | None]) -> Changes[RegistryRecord]:
            record: RegistryRecord | None = docs[self._key]
            if record is None:
                record = RegistryRecord(
                    registry_hash=self._key.id,
                    first_used_at=now,
                    text=self._registry.text,
                    since=now,
                    set_since=set_since or {},
                )
            elif record.current:
                record = replace(record, leaving_at=None)
            else:
                record = replace(record, current=True, leaving_at=None, since=now)
                if set_since is not None:
                    record = replace(record, set_since=set_since)
            return Changes(record, {self._key: record})

        return await self._commits.transact([self._key], step)

    async def mark_leaving(self, registry_hash: str) -> None:
        """Mark another registry as leaving; an instance that serves it claims it again."""
        now = self._clock.now()

        def leaving(record: RegistryRecord | None) -> RegistryRecord | None:
            if record is None or record.leaving_at is not None:
                return record
            return replace(record, leaving_at=now)

        await self._change(registry_hash, leaving)

    async def mark_gone(self, registry_hash: str, leaving_at: datetime | None = None) -> None:
        """Record that another registry is not served any more; with ``leaving_at`` if it leaves
        since."""

        def gone(record: RegistryRecord | None) -> RegistryRecord | None:
            if record is None or (leaving_at is not None and record.leaving_at != leaving_at):
                return record
            return replace(record, current=False, leaving_at=None)

        await self._change(registry_hash, gone)

    def _age(self) -> timedelta:
        return timedelta(seconds=self._clock.monotonic() - (self._refreshed or 0.0))

    async def _records(self) -> list[RegistryRecord]:
        page = await self._store.find(Query(Kind.REGISTRY, (Where("current", Op.EQ, 1),)))
        return [record for _, record in page.items]

    async def _change(
        self,
        registry_hash: str,
        change: Callable[[RegistryRecord | None], RegistryRecord | None],
    ) -> None:
        key = Key(Kind.REGISTRY, registry_hash)

        def step(docs: Mapping[Key, Document | None]) -> Changes[None]:
            before: RegistryRecord | None = docs[key]
            after = change(before)
            return Changes(None, {} if after is None or after == before else {key: after})

        await self._commits.transact([key], step)
