"""Every query that the code can issue is served by a deployed index, or needs none; none is idle.

Queries are read from the source. One whose conditions are put together at run time is listed in
``OPTIONAL`` with all that it can have; a new one that is not listed fails the test.
"""

from __future__ import annotations

import ast
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.adapters.firestore import layout
from coordinator.adapters.firestore.queries import Index, Plan, ledger_plan, plan, rolled_plan
from coordinator.documents import INDEXES
from coordinator.ports import Kind, Op, Query, Where
from tests.contract.samples import SAMPLES

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOYED = CHECKOUT / "deploy" / "firestore" / "firestore.indexes.json"
ROOMS = ["app.py", "health.py", "outbox.py", "demo.py", "service", "web", "cli"]

Condition = tuple[str, Op]
OPTIONAL: dict[str, tuple[list[Condition], list[Condition]]] = {
    "service/sweep.py Sweeper._due": ([("wake_at", Op.LE)], [("processor", Op.IN)]),
    "outbox.py Relay.discover": ([("outbox_due", Op.LE)], [("processor", Op.IN)]),
    "service/sweep.py Sweeper.release": ([("paused", Op.EQ)], [("processor", Op.EQ)]),
    "service/queries/loads.py LoadQueries.trace": ([("correlation_id", Op.EQ)], []),
    "service/queries/runs.py RunQueries.runs": (
        [],
        [("game_date", Op.EQ), ("status", Op.EQ), ("processor", Op.EQ)],
    ),
    "service/queries/records.py RecordQueries.quarantine": ([], [("state", Op.EQ)]),
    "service/quarantine.py Quarantine.page": ([], [("state", Op.EQ)]),
    "service/queries/records.py RecordQueries.audit": (
        [],
        [("game_date", Op.EQ), ("actor", Op.EQ), ("processor", Op.EQ)],
    ),
    "demo.py _summary": ([("game_date", Op.GE), ("game_date", Op.LE)], []),
}
"""Where → the conditions it always has, and those that it may have."""
FORWARDED = {"cli/doctor.py _listings"}
"""Ask again what another asks."""
KINDS_OF: dict[str, list[Kind]] = {
    "service/copy.py _digest": list(Kind),
    "service/copy.py _batches": list(Kind),
}
"""Where the kind is an argument: what is given."""


class Finder(ast.NodeVisitor):
    """Every construction of a store's ``Query`` in a module, and the function that holds it."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.found: list[tuple[str, ast.Call]] = []
        self.restricted: set[ast.AST] = set()
        """What is given to ``Engine.first``, which also asks for processors by name."""

    def _enter(self, node: Any) -> None:
        self.inside.append(node.name)
        self.generic_visit(node)
        self.inside.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _enter

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr == "first":
            self.restricted.update(node.args)
        if isinstance(node.func, ast.Name) and node.func.id == "Query":
            self.found.append((".".join(self.inside), node))
        self.generic_visit(node)


def asks_the_store(tree: ast.Module) -> bool:
    return any(
        isinstance(n, ast.ImportFrom)
        and n.module == "coordinator.ports"
        and any(a.name == "Query" for a in n.names)
        for n in ast.walk(tree)
    )


def constructions() -> Iterator[tuple[str, ast.Call, bool]]:
    for room in ROOMS:
        root = CHECKOUT / "coordinator" / room
        for file in [root] if root.is_file() else sorted(root.rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            if asks_the_store(tree):
                finder = Finder()
                finder.visit(tree)
                name = file.relative_to(CHECKOUT / "coordinator").as_posix()
                for inside, call in finder.found:
                    yield f"{name} {inside}", call, call in finder.restricted


def argument(call: ast.Call, place: int, name: str) -> ast.expr | None:
    if len(call.args) > place:
        return call.args[place]
    return next((k.value for k in call.keywords if k.arg == name), None)


def literal_conditions(node: ast.expr | None) -> list[Condition] | None:
    """The conditions where they are written out; None where they are put together elsewhere."""
    if node is None:
        return []
    if not isinstance(node, ast.Tuple):
        return None
    found = []
    for element in node.elts:
        if not (isinstance(element, ast.Call) and isinstance(element.args[0], ast.Constant)):
            return None
        op = element.args[1]
        assert isinstance(op, ast.Attribute)
        found.append((str(element.args[0].value), Op[op.attr]))
    return found


def where(kind: Kind, condition: Condition) -> Where:
    field, op = condition
    value = INDEXES[kind][field](SAMPLES[kind])
    if op is Op.IN:
        # Two, so that a list is not read as one value; a live status among them.
        return Where(field, op, (value, "running") if field == "status" else (value, value))
    return Where(field, op, value)


def queries() -> Iterator[tuple[str, Query]]:
    """Every shape of query that the code can issue, and where."""
    for place, call, restricted in constructions():
        if place in FORWARDED:
            continue
        kind_node = argument(call, 0, "kind")
        kinds = KINDS_OF.get(place, [])
        if isinstance(kind_node, ast.Attribute):
            kinds = [Kind[kind_node.attr]]
        assert kinds, f"{place}: say in KINDS_OF what kinds it queries"
        order_node = argument(call, 2, "order")
        assert order_node is None or isinstance(order_node, ast.Constant), place
        order = "id" if order_node is None else str(order_node.value)
        down_node = argument(call, 3, "descending")
        down = isinstance(down_node, ast.Constant) and bool(down_node.value)
        written = literal_conditions(argument(call, 1, "where"))
        if written is None:
            assert place in OPTIONAL, f"{place}: list its conditions in OPTIONAL"
            always, maybe = OPTIONAL[place]
        else:
            always, maybe = written, [("processor", Op.IN)] if restricted else []
        for kind in kinds:
            for size in range(len(maybe) + 1):
                for some in itertools.combinations(maybe, size):
                    if any(field not in INDEXES[kind] for field, _ in (*always, *some)):
                        continue  # asked of another of the kinds
                    conditions = tuple(where(kind, c) for c in (*always, *some))
                    yield place, Query(kind, conditions, order, down)


def plans(query: Query) -> list[Plan]:
    if query.kind is not Kind.EVENT:
        return [plan(query)]
    rolled = rolled_plan(query)
    return [ledger_plan(query), *([rolled] if rolled else [])]


def needed() -> dict[Index, list[str]]:
    found: dict[Index, list[str]] = {}
    for place, query in queries():
        for asked in plans(query):
            if asked.index is not None:
                found.setdefault(asked.index, []).append(place)
    return found


def deployed() -> Any:
    return json.loads(DEPLOYED.read_text(encoding="utf-8"))


def listed() -> set[Index]:
    """The composite indexes in the file, and the single-field ones over collection groups."""
    found = set()
    for index in deployed()["indexes"]:
        assert index["queryScope"] == "COLLECTION"
        fields = tuple(
            (f["fieldPath"], f.get("order") or f["arrayConfig"]) for f in index["fields"]
        )
        found.add(Index(index["collectionGroup"], fields))
    for override in deployed()["fieldOverrides"]:
        for single in override["indexes"]:
            if single["queryScope"] == "COLLECTION_GROUP":
                field = (override["fieldPath"], single.get("order") or single["arrayConfig"])
                found.add(Index(override["collectionGroup"], (field,), group=True))
    return found


def test_every_query_is_served() -> None:
    missing = {i: places for i, places in needed().items() if i not in listed()}
    assert not missing, f"add to {DEPLOYED}: {missing}"


def test_no_index_is_kept_for_nothing() -> None:
    assert listed() <= set(needed())


def test_every_listed_place_exists() -> None:
    places = {place for place, *_ in constructions()}
    assert (OPTIONAL.keys() | FORWARDED | KINDS_OF.keys()) <= places


def test_the_code_asks_for_a_good_number_of_queries() -> None:
    """The search itself works: it finds the sweep's, the relay's and the trace's."""
    shapes = {(q.kind, q.order, tuple(w.field for w in q.where)) for _, q in queries()}
    assert (Kind.PARTITION, "wake_at", ("wake_at",)) in shapes
    assert (Kind.PARTITION, "outbox_due", ("outbox_due",)) in shapes
    assert (Kind.EVENT, "received_at", ("correlation_id",)) in shapes
    assert len(shapes) > 30


UNINDEXED = {layout.BODY, layout.PACKED, layout.OPS, layout.PARTS}


@pytest.mark.parametrize("kind", [k for k in Kind if k is not Kind.EVENT])
def test_bodies_are_not_indexed(kind: Kind) -> None:
    wanted = set(UNINDEXED)
    if kind is Kind.TABLE_DATE:
        wanted |= {layout.LEDGER, layout.ROLLED}
    exempt = {
        o["fieldPath"]
        for o in deployed()["fieldOverrides"]
        if o["collectionGroup"] == kind.value and not o["indexes"] and not o.get("ttl")
    }
    assert exempt == wanted


def test_ttl_policies_are_those_of_the_kinds_that_expire() -> None:
    policies = {
        (o["collectionGroup"], o["fieldPath"]) for o in deployed()["fieldOverrides"] if o.get("ttl")
    }
    collections = [*(kind.value for kind in layout.TTL_KINDS), layout.PARTS_COLLECTION]
    assert policies == {(name, layout.EXPIRE_AT) for name in collections}
