"""What the command line reads of an answer is what the service's views say that it is."""

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any, get_type_hints

import msgspec
import pytest

from coordinator.cli import answers
from coordinator.service import views
from coordinator.service.views.base import View


def shown() -> list[type[msgspec.Struct]]:
    return [
        each
        for _, each in inspect.getmembers(answers, inspect.isclass)
        if issubclass(each, msgspec.Struct) and each.__module__ == answers.__name__
    ]


def declared() -> Iterator[tuple[str, type[View]]]:
    for found in pkgutil.iter_modules(views.__path__):
        module = import_module(f"{views.__name__}.{found.name}")
        for name, each in inspect.getmembers(module, inspect.isclass):
            if issubclass(each, View):
                yield name, each


VIEWS = dict(declared())


def schema_of(answer: dict[str, Any], whole: dict[str, Any]) -> Any:
    """A JSON schema without what only describes it; an enumeration is text."""
    if "$ref" in answer:
        name = str(answer["$ref"]).rpartition("/")[2]
        found = whole["$defs"][name]
        return "string" if "enum" in found else name.removeprefix("Shown")
    if "const" in answer or "enum" in answer:
        return "string"
    if "anyOf" in answer:
        return sorted(str(schema_of(each, whole)) for each in answer["anyOf"])
    kind = answer.get("type")
    if kind == "array":
        return ["array of", schema_of(answer["items"], whole)]
    if kind == "object":
        more = answer.get("additionalProperties")
        return ["object of", schema_of(more, whole) if isinstance(more, dict) else "any"]
    return "instant" if answer.get("format") == "date-time" else kind


@pytest.mark.parametrize("shape", shown(), ids=lambda shape: shape.__name__)
def test_every_field_is_one_of_the_view_of_that_name(shape: type[msgspec.Struct]) -> None:
    view = VIEWS[shape.__name__.removeprefix("Shown")].model_json_schema(mode="serialization")
    ours = msgspec.json.schema(shape)
    fields = ours["$defs"][shape.__name__]["properties"]
    assert fields
    for name, field in fields.items():
        theirs = schema_of(view["properties"][name], view)
        # A list of runs inside another answer is read by the fields of a line.
        assert schema_of(field, ours) in (theirs, _narrower(theirs)), name
    assert set(get_type_hints(shape)) == set(shape.__struct_fields__)


def _narrower(theirs: Any) -> Any:
    return ["array of", "RunRow"] if theirs == ["array of", "RunView"] else theirs
