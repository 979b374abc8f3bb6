"""Whatever the text, reading it ends in a registry or in a ``RegistryError``, soon."""

import json
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coordinator.registry import KEYS, RegistryError, RegistryMistake, parse
from tests.registry.examples import CONTRACT, SMALL

ROOT = Path(__file__).resolve().parents[2]
VALID = [SMALL, CONTRACT, (ROOT / "registry.yaml").read_text(encoding="utf-8")]
ODD = [
    *(
        ":",
        "-",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "&a ",
        "*a",
        "!!int ",
        "!x ",
        "|",
        ">",
        "'",
        '"',
        "#",
    ),
    *(
        "\n",
        "\t",
        "  ",
        "%YAML 1.1\n---\n",
        "---\n",
        "...\n",
        "? ",
        "<<: ",
        "null",
        "~",
        "true",
        "off",
    ),
    *(
        "0",
        "-1",
        "1e999",
        ".nan",
        "99999999999999999999",
        "0x1F",
        "0o9",
        "\x00",
        "\ufeff",
        "\ud800",
    ),
    *("é", "\u2028", "\x85", "__", "raw.box", "out.players", "30s", "09:00"),
    *sorted({key for keys in KEYS.values() for key in keys}),
]
words = st.sampled_from(ODD)


def outcome(text: str) -> None:
    """Parse; check the places of an error. Anything else that is raised fails the test."""
    mistakes: tuple[object, ...] = ()
    try:
        parse(text)
    except RegistryError as error:
        mistakes = error.mistakes or (None,)
    for mistake in mistakes:
        assert isinstance(mistake, RegistryMistake)
        assert 1 <= mistake.line <= text.count("\n") + text.count("\r") + 3
        assert mistake.column >= 1
        assert mistake.message


@given(st.text(max_size=300))
@example("")
@example("? ")
@example("a: |9\n")
@example("%YAML 9.9\n---\na")
@example("!<tag:yaml.org,2002:str> a: 1")
def test_any_text(text: str) -> None:
    outcome(text)


@given(st.lists(st.one_of(words, st.text(max_size=4)), max_size=60))
def test_any_pieces_of_yaml(pieces: list[str]) -> None:
    outcome("".join(pieces))


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_valid_file_with_pieces_replaced(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(VALID))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 40))
        text = text[:start] + data.draw(words) + text[start + length :]
    outcome(text)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_valid_file_with_lines_moved_and_dropped(data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from(VALID)).splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 3))):
        line = lines.pop(data.draw(st.integers(0, len(lines) - 1)))
        if data.draw(st.booleans()):
            lines.insert(data.draw(st.integers(0, len(lines))), line)
    outcome("".join(lines))


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words, st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(words, st.text(max_size=5)), inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.sampled_from(KEYS["registry"]), values),
    st.sampled_from(KEYS["processor"]),
    values,
)
def test_any_values_under_known_keys(top: dict[str, object], key: str, value: object) -> None:
    """JSON is YAML, so it carries the values."""
    top.setdefault("processors", {"P": {key: value, "requires": [value, {key: value}]}})
    outcome(json.dumps({"version": 1, **top}))


@given(st.sampled_from(VALID))
def test_the_same_text_gives_the_same_registry(text: str) -> None:
    assert parse(text) == parse(text)
    assert parse(text).as_dict() == parse(text).as_dict()
