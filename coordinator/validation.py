"""What pydantic refuses, as this project's mistakes: the one place that words its errors.

Owns the sentence for each kind of error. The models own the rules, and the callers know where a
value came from: a message, a request, a registry file, the settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic_core import ErrorDetails

from coordinator.errors import Mistake

MAX_MISTAKES = 50
"""How many mistakes of one input are reported; more help nobody."""
_SHOWN_CHARACTERS = 80

_KINDS = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def shown(value: object) -> str | None:
    """A value as a mistake shows it: one line of at most 80 characters; None for nothing."""
    if value is None:
        return None
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def rule(error: ErrorDetails) -> str:
    """The rule that a value breaks, and the fix, as a sentence that follows the field's name."""
    kind, ctx = error["type"], error.get("ctx", {})
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}"
    match kind:
        case "missing":
            return "is missing"
        case "value_error":
            return str(ctx["error"])
        case "literal_error" | "enum":
            return f"must be {ctx['expected']}"
        case "extra_forbidden":
            return "is not known here; check its spelling, or leave it out"
        case "greater_than_equal":
            return f"must be at least {ctx['ge']:,}"
        case "greater_than":
            return f"must be more than {ctx['gt']:,}"
        case "less_than_equal":
            return f"must be at most {ctx['le']:,}"
        case "string_too_short":
            least = ctx["min_length"]
            return f"must have at least {least:,} characters" if least > 1 else "must not be empty"
        case "string_too_long":
            return f"must have at most {ctx['max_length']:,} characters"
        case "too_long":
            return f"must have at most {ctx['max_length']:,} entries"
    message = error["msg"]
    return message[:1].lower() + message[1:]


def mistakes_of(
    errors: Sequence[ErrorDetails],
    *,
    parts: Sequence[str] = (),
    examples: Mapping[str, str] | None = None,
) -> list[Mistake]:
    """Errors as mistakes, at most ``MAX_MISTAKES``.

    ``parts`` are names of parts of a request, which precede the name of a field.
    ``examples`` (field → value) say how a field that is missing is written.
    """
    mistakes = []
    for error in errors[:MAX_MISTAKES]:
        place = [str(part) for part in error["loc"]]
        if len(place) > 1 and place[0] in parts:
            place = place[1:]
        name, value = ".".join(place)[:200], shown(error["input"])
        sentence = rule(error)
        if error["type"] == "missing":
            value = None
            if examples and name in examples:
                sentence += f"; give one such as {examples[name]}"
        mistakes.append(Mistake(name, sentence, value))
    return mistakes
