"""Page tokens: what was put in comes out, and nothing else is accepted."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import BadInput
from coordinator.paging import page_token, read_page_token

VALUES = st.one_of(
    st.none(),
    st.text(),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.datetimes(timezones=st.just(UTC)),
)


@given(st.lists(VALUES, max_size=5))
def test_a_token_gives_its_position(position: list[str | int | datetime | None]) -> None:
    assert read_page_token(page_token(position)) == position


@given(st.text())
def test_a_text_is_a_position_or_bad_input(text: str) -> None:
    with suppress(BadInput):
        read_page_token(text)


@pytest.mark.parametrize(
    "content",
    [
        '{"t": 1}',
        "[true]",
        "[1.5]",
        '["\\ud800"]',
        "[[1]]",
        '[{"t": 1e400}]',
        '[{"x": 1}]',
        "[1e30]",
        f"[{2**63}]",
        '[{"t": "x"}]',
        "[" * 100_000,
        "[NaN]",
        "7",
        '"x"',
        "null",
    ],
)
def test_a_token_that_no_listing_gave_out_is_refused(content: str) -> None:
    token = base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")
    with pytest.raises(BadInput) as refused:
        read_page_token(token)
    assert refused.value.code == "bad_page_token"


def test_a_token_is_json_in_base64() -> None:
    token = page_token(["received_at", 1])
    assert json.loads(base64.urlsafe_b64decode(token + "==")) == ["received_at", 1]
