"""Verbs for the registry: check, show, diff.

Owns their layout; ``coordinator.registry`` validates.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from coordinator.cli import verbs
from coordinator.cli.client import DEFAULT_URL
from coordinator.cli.output import cell, emit, say, sentence
from coordinator.cli.verbs import AsJson, Url, verb
from coordinator.terminal import safe

FileArgument = Annotated[
    Path,
    typer.Argument(metavar="FILE", envvar="COORDINATOR_REGISTRY", help="The registry file."),
]
DEFAULT_FILE = Path("registry.yaml")


@verb
def check(
    file: FileArgument = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Validate a registry; report file, line and column of each mistake.

    The exit code is 1 if there are mistakes. Warnings are lines that have no effect.

    Examples:

        coordinator registry check
        coordinator registry check other.yaml --json
    """
    from coordinator.registry import load

    registry = load(file)
    found = {
        "file": str(file),
        "registry_hash": registry.registry_hash,
        "processors": len(registry.processors),
        "tables": len(registry.tables),
        "warnings": [str(w) for w in registry.warnings],
    }
    if as_json:
        emit(found)
        return
    for warning in registry.warnings:
        sentence(f"warning: {warning}", "yellow")
    sentence(
        f"{file} is valid: {found['processors']} processors, {found['tables']} tables, "
        f"hash {registry.registry_hash[:12]}."
    )


@verb
def show(
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="A registry file instead of the one that the service uses.",
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show processors, what they need and what they write.

    Without --file it shows the registry that the running service uses.

    Examples:

        coordinator registry show
        coordinator registry show --file registry.yaml --json
    """
    answer = _meaning(file, url)
    if as_json:
        emit(answer)
        return
    from rich.text import Text
    from rich.tree import Tree

    for name, p in answer["processors"].items():
        tree = Tree(Text.assemble((safe(name), "bold"), f"  phase {cell(p['phase'])}"))
        for requirement in p["requires"]:
            how = "needs" if requirement["critical"] else "uses "
            tree.add(Text(f"{how} {cell(requirement['key'])}"))
        tree.add(Text(f"writes {cell(p['output'])}"))
        say(tree)
    calendar = (answer.get("calendar") or {}).get("table") or "none"
    sentence(
        f"Calendar: {calendar}. Time zone: {answer['timezone']}. "
        f"Hash: {answer['registry_hash'][:12]}."
    )


def _meaning(file: Path | None, url: str) -> dict[str, Any]:
    if file is None:
        with verbs.service(url) as running:
            found: dict[str, Any] = running.get("v1", "registry")
        return found
    from coordinator.registry import load

    return load(file).as_dict()


@verb
def diff(
    new: Annotated[
        Path,
        typer.Argument(metavar="NEW", help="The registry file to compare.", show_default=False),
    ],
    old: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="OLD",
            help="An older file; default: the registry that the service uses.",
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Compare the meaning of two registries.

    Comments, white space and the order of lines make no difference. The exit code is 0 also where
    they differ.

    Examples:

        coordinator registry diff registry.yaml
        coordinator registry diff new.yaml --against registry.yaml
    """
    from coordinator.registry import diff_meanings, load

    fresh = load(new)
    before = _meaning(old, url)
    lines = diff_meanings(before, fresh.as_dict())
    against = str(old) if old else url
    if as_json:
        emit(
            {
                "new": str(new),
                "against": against,
                "new_hash": fresh.registry_hash,
                "old_hash": before.get("registry_hash"),
                "differences": lines,
            }
        )
        return
    if not lines:
        sentence(f"{new} means the same as {against}.")
    for line in lines:
        sentence(line)
