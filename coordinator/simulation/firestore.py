"""Worlds over Firestore: the real client on virtual time, against Google's emulator.

Every process has a client of its own, as instances have it in production: what one remembers,
combines and retries is its own, and its calls cross those of the others one by one. Owns what may
happen between a process and the server: a call is refused, is aborted, is slow, its answer is lost
though it was carried out, or the process dies before or after it was. Refuses to play on a real
database. Imported only if it is used, since Google's client is an extra.
"""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import httpx

from coordinator.adapters.firestore.layout import Row, field_bytes
from coordinator.adapters.firestore.store import Again, FirestoreStore, Outside
from coordinator.adapters.firestore.transaction import DocumentWrite, Puts, WriteMode
from coordinator.errors import BadInput, TooLarge
from coordinator.ports import Answer, CommitAttempt, Store
from coordinator.simulation.clock import ANSWER_SECONDS, Turns, VirtualClock
from coordinator.simulation.faults import Faults, never
from coordinator.simulation.limits import Limits
from coordinator.simulation.process import current_process
from coordinator.simulation.stores import OnCommit

T = TypeVar("T")

EMULATOR = "FIRESTORE_EMULATOR_HOST"
DISCARD_SECONDS = 60.0


class OverFirestore:
    """``stores.Stores`` over the emulator; each world is a project of its own there.

    Raises ``BadInput`` where no emulator is named.
    """

    reports_commits = True
    trouble = None
    processes = (1, 2, 2, 3)

    def __init__(self, seed: int) -> None:
        if not os.environ.get(EMULATOR):
            raise BadInput(
                f"Worlds over Firestore are played on Google's emulator: start one, and say where "
                f"it listens in {EMULATOR}."
            )
        self._rng = random.Random(f"{seed}:stores")
        self.turns = Turns(random.Random(f"{seed}:turns"))
        self._project = f"world-{seed}-{uuid.uuid4().hex[:8]}"
        self._truth = PlayedStore(self._project, self.turns)
        self._opened: list[PlayedStore] = []
        self._settings = {
            "remember_seconds": self._rng.choice((5.0, 600.0, 600.0)),
            "ledger_bytes_max": self._rng.choice((2_000, 256 * 1024)),
            "chunk_bytes_max": 1_000,
        }

    @property
    def truth(self) -> Store:
        """A client that no fault strikes."""
        return self._truth

    async def open(self) -> None:
        """Open the client that sees the truth."""
        await self._open(self._truth)

    async def of_process(self, clock: VirtualClock, faults: Faults, on_commit: OnCommit) -> Store:
        """A client of the process's own."""
        return await self._open(
            PlayedStore(
                self._project,
                self.turns,
                rng=self._rng,
                clock=clock,
                faults=faults,
                on_commit=on_commit,
                **self._settings,
            )
        )

    async def _open(self, store: PlayedStore) -> PlayedStore:
        await store.open()
        self._opened.append(store)
        return store

    async def close(self) -> None:
        """Close every client, those of dead processes too."""
        for store in self._opened:
            with self.turns.call():
                await store.close()

    def discard(self) -> None:
        """Give the emulator its room back."""
        place = f"emulator/v1/projects/{self._project}/databases/(default)/documents"
        host = os.environ[EMULATOR]
        httpx.delete(f"http://{host}/{place}", timeout=DISCARD_SECONDS).raise_for_status()


class PlayedStore(FirestoreStore):
    """One process's store; without ``faults`` one that shows the truth."""

    def __init__(
        self,
        project: str,
        turns: Turns,
        *,
        rng: random.Random | None = None,
        clock: VirtualClock | None = None,
        faults: Faults | None = None,
        on_commit: OnCommit | None = None,
        **settings: Any,
    ) -> None:
        outside = None
        if rng is not None and clock is not None:
            numbers = iter(range(10**9))
            name = f"{rng.getrandbits(64):016x}"
            outside = Outside(
                monotonic=lambda: clock.elapsed.total_seconds(),
                sleep=clock.sleep,
                uniform=rng.uniform,
                operation_id=lambda: f"{name}-{next(numbers)}",
            )
        super().__init__(
            project,
            outside=outside,
            # Real time decides nothing: what never answers is the loop's to notice.
            call_seconds=2 * ANSWER_SECONDS,
            patience_seconds=float("inf"),
            **settings,
        )
        self._turns = turns
        self._rng = rng
        self._clock = clock
        self._faults = faults
        self._on_commit = on_commit

    async def attempt(self, attempt: CommitAttempt) -> Sequence[Answer]:
        """As in production, but an attempt takes as long as it takes."""
        attempt.seconds = float("inf")
        return await super().attempt(attempt)

    # ── the three calls there are ────────────────────────────────────────────────────────────

    async def _read(self, paths: Iterable[str]) -> dict[str, Row]:
        wanted = sorted(set(paths))
        if not wanted:
            return {}
        return await self._carried_out(lambda: super(PlayedStore, self)._read(wanted))

    async def _ask(self, *what: Any, **how: Any) -> list[Row]:
        return await self._carried_out(lambda: super(PlayedStore, self)._ask(*what, **how))

    async def _commit(
        self, writes: Sequence[DocumentWrite], decided: Sequence[Puts]
    ) -> Sequence[Any]:
        async def work() -> Sequence[Any]:
            versions = await super(PlayedStore, self)._commit(writes, decided)
            if self._on_commit is not None:
                for puts in decided:
                    self._on_commit(puts)
            return versions

        self._check_limits(writes)
        if self._strikes("call_aborted"):
            raise Again("Aborted: too much contention (a fault)", conflict=True)
        await self._maybe_die()
        versions = await self._carried_out(work)
        await self._maybe_die()
        if self._strikes("commit_unheard"):
            raise Again("ServiceUnavailable: the answer was lost (a fault)", conflict=False)
        return versions

    def _check_limits(self, writes: Sequence[DocumentWrite]) -> None:
        """Raise ``TooLarge`` for what Firestore refuses and its emulator may take."""
        sizes = [field_bytes(w.fields) for w in writes if w.act is not WriteMode.HOLD]
        over = (
            max(sizes, default=0) > Limits.document_bytes
            or sum(sizes) > Limits.commit_bytes
            or len(writes) > Limits.writes
        )
        if over:
            if self._faults is not None:
                self._faults.counts["firestore_limit"] += 1
            raise TooLarge(
                f"{len(writes)} writes of {sum(sizes)} bytes, the largest {max(sizes)}: more than "
                "Firestore takes (a limit)"
            )

    async def _carried_out(self, work: Callable[[], Awaitable[T]]) -> T:
        """One call: it waits for its turn, and its answer for another."""
        await self._maybe_slow()
        await self._turns.turn()
        if self._strikes("call_refused"):
            raise Again("ServiceUnavailable: try again (a fault)", conflict=False)
        with self._turns.call():
            answer = await work()
        await self._turns.turn()
        return answer

    # ── what goes wrong ──────────────────────────────────────────────────────────────────────

    def _strikes(self, kind: str) -> bool:
        return self._faults is not None and self._faults.strikes(kind)

    async def _maybe_slow(self) -> None:
        if self._strikes("call_slow"):
            assert self._clock is not None
            assert self._rng is not None
            await self._clock.sleep(self._rng.choice((0.05, 0.5, 3.0)))

    async def _maybe_die(self) -> None:
        process = current_process()
        if process is not None and self._strikes("crash_in_commit"):
            process.kill("crash_in_commit")
            await never()
