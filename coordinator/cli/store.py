"""``coordinator store``: moving state from one store to another, in this process.

Owns the words and the progress; ``service.copy`` does the work.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.cli.output import cell, emit, say, sentence, table
from coordinator.cli.verbs import AsJson, verb

if TYPE_CHECKING:
    from coordinator.service.copy import Copied


@verb
def copy(
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="STORE",
            help="sqlite:PATH, firestore:PROJECT or firestore:PROJECT/DATABASE.",
        ),
    ],
    target: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="STORE",
            help="sqlite:PATH, firestore:PROJECT or firestore:PROJECT/DATABASE.",
        ),
    ],
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace documents of the target that differ. Nothing is removed: a target with "
            "documents that the source does not have is refused.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy all state from one store to another, and verify the copy.

    Stop every service on both stores first. The target is compared before the first write, so a
    refused copy has changed nothing. Cut short, it can be run again: what is there already is left
    alone. At the end counts and hashes of both sides are compared.

    Examples:

        coordinator store copy --from sqlite:state.db --to firestore:my-project
        coordinator store copy --from firestore:my-project --to sqlite:state.db
    """
    import asyncio

    done = asyncio.run(_copy(source, target, overwrite))
    kinds = {k.value: {"documents": d.count, "hash": d.hash} for k, d in done.digests.items()}
    if as_json:
        answer = {"documents": done.total, "written": done.written, "skipped": done.skipped}
        emit({**answer, "kinds": kinds})
        return
    rows = [[cell(n), str(k["documents"]), str(k["hash"])[:16]] for n, k in kinds.items()]
    say(table(["collection", "documents", "hash"], rows, right=["documents"]))
    sentence(
        f"Both sides are the same: {done.total} documents, {done.written} written, "
        f"{done.skipped} were there already."
    )


async def _copy(source: str, target: str, overwrite: bool) -> "Copied":
    import asyncio

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from coordinator.app import make_store
    from coordinator.errors import Unusable
    from coordinator.service.copy import copy as copy_state
    from coordinator.settings import STORE_RULE, is_store

    for option, name in (("--from", source), ("--to", target)):
        if not is_store(name):
            raise Unusable(f"{option}: {name!r} {STORE_RULE}")
    if source == target:
        raise Unusable("--from and --to name the same store")
    kind, _, path = source.partition(":")
    if kind == "sqlite" and not await asyncio.to_thread(Path(path).exists):
        raise Unusable(f"--from: {path} does not exist")
    stores = [make_store(source), make_store(target)]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with ExitStack() as held, Progress(*columns, console=Console(stderr=True)) as bar:
        for store in stores:
            lock = getattr(store, "lock_for_serving", None)  # a state file has one server at most
            if lock is not None:
                held.enter_context(lock())
        task = bar.add_task("counting", total=None)

        def progress(done: "Copied") -> None:
            words = done.stage if done.stage == "done" else f"{done.stage} {done.kind.value}"
            bar.update(task, description=words, total=done.total or None, completed=done.seen)

        try:
            for store in stores:
                await store.open()
            return await copy_state(
                *stores, overwrite=overwrite, progress=progress, source_name=source
            )
        finally:
            for store in stores:
                await store.close()
