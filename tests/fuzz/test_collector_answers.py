"""What a collector answers: any bytes are a number of spans that it did not take, or none."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.observe.otlp import rejected
from tests.support.json_values import VALUES

NEARLY = st.builds(
    lambda value, rest: json.dumps({"partialSuccess": {"rejectedSpans": value, **rest}}).encode(),
    VALUES | st.integers() | st.integers().map(str),
    st.dictionaries(st.text(max_size=5), VALUES, max_size=2),
)


@given(st.binary(max_size=60) | NEARLY | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_answer_is_a_number(body: bytes) -> None:
    """Never below nothing."""
    assert rejected(body) >= 0


@given(st.integers(0, 10**9), st.sampled_from([int, str]))
def test_what_it_says_is_read(number: int, spelled: Any) -> None:
    """As a number, or as protobuf's JSON has 64 bits."""
    assert rejected(json.dumps({"partialSuccess": {"rejectedSpans": spelled(number)}}).encode()) == number
