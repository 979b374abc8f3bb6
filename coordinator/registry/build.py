"""``registry.yaml`` → a registry (specification 2).

Owns the order of the steps: the text becomes a tree with places (``document``), the tree becomes
entries (``reading``, by ``models``), and the entries become specs (``names``, ``needs``,
``cycles``). Refuses to half-accept: either the whole file is good and a frozen ``Registry`` comes
out, or a ``RegistryError`` carries all mistakes that were found.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from coordinator.core.spec import LaunchKind, LaunchTarget, Policy, ProcessorSpec, TableSpec
from coordinator.registry.cycles import cycles, upstream_first
from coordinator.registry.document import MAX_BYTES, Loc, YamlMistakeError, node_at, read
from coordinator.registry.mistakes import (
    Mistakes,
    RegistryError,
    RegistryMistake,
    UnreadableRegistry,
)
from coordinator.registry.models import DefaultsEntry, ProcessorEntry, RegistryEntry
from coordinator.registry.names import Names
from coordinator.registry.needs import RequirementReader
from coordinator.registry.reading import read_entries
from coordinator.registry.value import Dependent, Registry


def load(path: str | Path) -> Registry:
    """Read and validate a registry file.

    Raises:
        UnreadableRegistry: the file cannot be read.
        RegistryError: it is not UTF-8, or has mistakes; all of them are named.
    """
    name = str(path)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        mistake = RegistryMistake("", f"cannot be read: {why}; name a registry file", None, name)
        raise UnreadableRegistry(name, [mistake]) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(raw) <= MAX_BYTES:
            before = raw[: error.start].decode("utf-8-sig", "replace")
            line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
            sentence = "the file is not UTF-8 from this place on; save it as UTF-8"
            bad = RegistryMistake("", sentence, None, name, line, column)
            raise RegistryError(name, [bad]) from error
        text = raw.decode("utf-8", "replace")  # over the limit in any case: parse says so
    return parse(text, name)


def parse(text: str, name: str = "registry.yaml") -> Registry:
    """Validate the text of a registry; ``name`` is how mistakes call the file.

    Raises:
        RegistryError: with every mistake that was found, each with line and column.
    """
    with _no_collection():
        return _parse(text, name)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the search for garbage: it would go through the growing tree again and again, and
    find none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _parse(text: str, name: str) -> Registry:
    try:
        root, repeated = read(text.removeprefix("\ufeff"))
    except YamlMistakeError as error:
        mistakes = Mistakes(name)
        for place, sentence in error.mistakes:
            mistakes.add(place, "", sentence)
        raise RegistryError(name, mistakes.sorted()) from error
    mistakes = Mistakes(name, root)
    for place, sentence in repeated:
        mistakes.add(place, "", sentence)
    file = read_entries(mistakes)
    registry = _build(file, text, mistakes)
    if mistakes:
        raise RegistryError(name, mistakes.sorted())
    return registry


def refuse_launches(registry: Registry, delivered: Collection[LaunchKind], name: str) -> None:
    """Refuse a registry that names a way of launching which this process does not have.

    ``delivered`` are the ways it has; ``name`` is how mistakes call the file.

    Raises:
        RegistryError: with the place of each such launch.
    """
    refused = [
        (spec.name, spec.launch.kind)
        for spec in registry.processors.values()
        if spec.launch is not None and spec.launch.kind not in delivered
    ]
    if not refused:
        return
    root, _ = read(registry.text.removeprefix("\ufeff"))
    mistakes = Mistakes(name, root)
    ways = " or ".join(kind.value for kind in delivered)
    for processor, kind in refused:
        own: Loc = ("processors", processor, "launch", kind.value)
        key, _ = node_at(root, own)
        here = own if key is not None and key.text == own[-1] else ("defaults", *own[2:])
        mistakes.at(
            here,
            f"this service launches by {ways} alone, so no run of it would ever start; name one of "
            "them, or leave launch out",
            key=True,
        )
    raise RegistryError(name, mistakes.sorted())


def _build(file: RegistryEntry, text: str, mistakes: Mistakes) -> Registry:
    """The registry that the entries mean. Notes mistakes; where there is one it is of no use."""
    warnings = Mistakes(mistakes.file, mistakes.root)
    names = Names(file, mistakes)
    known_from = file.calendar.known_from if file.calendar is not None else None
    needs = RequirementReader(names, known_from, mistakes, warnings)
    specs = {
        name: _spec(file, name, entry, names, needs, mistakes)
        for name, entry in file.processors.items()
    }
    _check_launch(file.defaults, ("defaults",), mistakes)
    for cycle in cycles(needs.edges):
        mistakes.at(cycle.loc, cycle.rule, field=cycle.field)
    _warn_of_unused(file, names, needs, warnings)
    bare = Registry(
        version=file.version,
        timezone=file.timezone,
        calendar_table=names.calendar_table,
        known_from=known_from,
        tables=names.tables,
        processors=specs,
        registry_hash="",
    )
    return bare if mistakes else _indexed(bare, names.by_name(), text, warnings)


def _spec(
    file: RegistryEntry,
    name: str,
    entry: ProcessorEntry,
    names: Names,
    needs: RequirementReader,
    mistakes: Mistakes,
) -> ProcessorSpec:
    defaults = file.defaults or DefaultsEntry()
    requirements, disabled = needs.read(name, entry)
    tables = names.tables
    _check_launch(entry, ("processors", name), mistakes)
    named = dict.fromkeys(t for r in requirements for t in r.sources)
    return ProcessorSpec(
        name=name,
        phase=entry.phase,
        output=entry.output,
        requirements=requirements,
        policy=Policy(**{**defaults.policy(), **entry.policy()}),
        timezone=file.timezone,
        grains={t: tables[t].grain for t in named},
        producers={t: w for t in named if (w := tables[t].producer) is not None},
        calendar_table=names.calendar_table,
        known_from=file.calendar.known_from if file.calendar is not None else None,
        aliases=tuple(dict.fromkeys(entry.aliases)),
        disabled=disabled,
        entrypoint=entry.entrypoint,
        launch=_launch(entry if "launch" in entry.model_fields_set else defaults),
    )


def _launch(entry: DefaultsEntry) -> LaunchTarget | None:
    """Where launches go; None leaves it to the deployment."""
    return entry.launch.target() if entry.launch is not None else None


def _check_launch(entry: DefaultsEntry | None, loc: Loc, mistakes: Mistakes) -> None:
    launch, here = entry.launch if entry is not None else None, (*loc, "launch")
    if launch is not None and len(launch.model_fields_set) != 1 and not mistakes.within(here):
        given = " and ".join(k for k in type(launch).model_fields if k in launch.model_fields_set)
        mistakes.at(here, f"must have exactly one of local, http and pubsub, not {given or 'none'}")


def _warn_of_unused(
    file: RegistryEntry, names: Names, needs: RequirementReader, warnings: Mistakes
) -> None:
    for name in file.tables:
        unused = name not in needs.used and name != names.calendar_table
        if unused and names.tables[name].producer is None:
            rule = "no processor needs this table, so its events are ignored and counted"
            warnings.at(("tables", name), rule, key=True)


def _indexed(bare: Registry, names: Mapping[str, str], text: str, warnings: Mistakes) -> Registry:
    """A registry with its hash, its names and the reverse index."""
    meaning = json.dumps(bare.meaning(), sort_keys=True, separators=(",", ":"))
    registry_hash = hashlib.sha256(meaning.encode()).hexdigest()
    specs = {n: replace(s, registry_hash=registry_hash) for n, s in bare.processors.items()}
    order = upstream_first(specs, bare.tables)
    dependents: dict[str, list[Dependent]] = {}
    for spec in (specs[name] for name in order):
        for r in spec.requirements:
            offset = r.offset if r.window is None else None
            dependent = Dependent(spec=spec, requirement=r, offset=offset, window=r.window)
            for source in r.sources:
                dependents.setdefault(source, []).append(dependent)
    return replace(
        bare,
        processors=specs,
        registry_hash=registry_hash,
        text=text,
        warnings=tuple(warnings.sorted()),
        _tables_by_name=names,
        _processors_by_name=_writers(names, bare.tables),
        _dependents={t: tuple(found) for t, found in dependents.items()},
        _order=order,
    )


def _writers(names: Mapping[str, str], tables: Mapping[str, TableSpec]) -> dict[str, Any]:
    return {n: p for n, t in names.items() if (p := tables[t].producer) is not None}
