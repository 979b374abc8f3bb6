"""Nothing that is printed can steer a terminal, and JSON stays alone on stdout."""

from hypothesis import given
from hypothesis import strategies as st

from coordinator.cli.output import cell, instant, safe


@given(st.text())
def test_what_is_shown_is_printable_and_one_line(text: str) -> None:
    assert safe(text).isprintable()


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_printable_text_is_shown_as_it_is(text: str) -> None:
    assert safe(text) == text


def test_escapes_can_be_read() -> None:
    assert safe("a\x1b[2Jb\x00\n\u202e\u2028") == "a\\x1b[2Jb\\x00\\n\\u202e\\u2028"


def test_cells() -> None:
    assert [cell(v) for v in (None, True, 1.5, ["a", "b\n"], {"k": None, "n": 3})] == [
        *("", "yes", "1.5", "a, b\\n", "k=, n=3")
    ]


def test_instants_are_shown_to_the_second() -> None:
    assert instant("2024-10-23T04:10:22.123456Z") == "2024-10-23 04:10:22Z"
    assert instant("2024-10-23T04:10:22+00:00") == "2024-10-23 04:10:22Z"
    assert instant(None) == ""
