"""Executing what an entrypoint names, in this process.

Owns: turning whatever a processor does into a result, and the port that a runner executes through.
Refuses: claims, leases and reports (see `runner`), and guarding this process from the processor
(see `worker_pool`).
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, get_args

import structlog

from processors.base import (
    MAX_RECORD_COUNT,
    RunContext,
    RunResult,
    RunStatus,
    error_text,
    failed,
)
from processors.errors import LeaseLostError
from processors.launch import Launch, load_entrypoint, parse_launch

if TYPE_CHECKING:
    from processors.warehouse import Warehouse

log = structlog.get_logger(__name__)


class Executor(Protocol):
    """Where and how processors are executed."""

    interrupts: bool
    """Whether cancelling `run` ends what it executes."""

    async def run(
        self,
        entrypoint: str,
        launch: Launch,
        now: datetime,
        ensure_live: Callable[[], None],
    ) -> RunResult | None:
        """Execute one launch; None where `ensure_live` raised LeaseLostError.

        `ensure_live` may be called from any thread.
        """
        ...

    def close(self) -> None:
        """Release the resources for executing."""
        ...


class ThreadExecution:
    """Executes in threads of this process, for trusted processors: they can end or stall it."""

    interrupts = False

    def __init__(self, warehouse: Warehouse, *, threads: int) -> None:
        self._warehouse = warehouse
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="run")

    async def run(
        self,
        entrypoint: str,
        launch: Launch,
        now: datetime,
        ensure_live: Callable[[], None],
    ) -> RunResult | None:
        """See Execution.run."""

        def work() -> RunResult | None:
            try:
                return execute(entrypoint, launch, self._warehouse, now, ensure_live=ensure_live)
            except LeaseLostError:
                return None
            except BaseException as error:  # noqa: BLE001 - in a task it would end the event loop
                return failed(error)

        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Wait for what is executing and release the threads."""
        self._threads.shutdown(wait=True)


def execute(
    entrypoint: str,
    launch: Launch | Mapping[str, Any],
    warehouse: Warehouse,
    now: datetime,
    *,
    ensure_live: Callable[[], None] | None = None,
) -> RunResult:
    """Run what `entrypoint` names for the launch's date and generation, in this thread.

    `now` becomes `computed_at`. `ensure_live` is asked just before the rows are committed. Every
    Exception, and an attempt to exit, becomes a `failed` result that says what it was;
    only LeaseLostError is raised, since a report would be refused.
    """
    try:
        read = launch if isinstance(launch, Launch) else parse_launch(launch)
        processor = load_entrypoint(entrypoint)
        context = RunContext(read.game_date, read.generation, now, ensure_live)
        return _known(processor.run(warehouse, context), entrypoint)
    except LeaseLostError:
        raise
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        log.warning("run_exited", entrypoint=entrypoint, code=code)
        words = f"exited with code {code}: a processor returns its result, it does not exit"
        return RunResult("failed", None, words)
    except Exception as error:  # the boundary: whatever a processor raises is a failed run
        log.exception("run_failed", entrypoint=entrypoint)
        return failed(error)


def _known(result: object, entrypoint: str) -> RunResult:
    if isinstance(result, RunResult) and result.status in get_args(RunStatus):
        count = result.record_count
        whole = None if count is None else operator.index(count)
        if whole is not None and not 0 <= whole <= MAX_RECORD_COUNT:
            words = f"record_count is {whole}; it must be from 0 to {MAX_RECORD_COUNT}"
            return RunResult("failed", None, error_text(f"{entrypoint}: {words}"))
        error = None if result.error is None else error_text(str(result.error))
        return RunResult(result.status, whole, error)
    words = f"{entrypoint} ended without a known outcome: {result!r:.200}"
    return RunResult("failed", None, error_text(words))
