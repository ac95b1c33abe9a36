"""W3C trace context."""

import pytest

from penstock.core.trace import begin, span_of
from penstock.wire.tracecontext import parse_state, parse_trace, trace_headers

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def test_a_context_is_read() -> None:
    """Both ids, the flags and the state."""
    assert parse_trace(PARENT, "congo=t61, rojo@x=00") == (TRACE, SPAN, 1, "congo=t61,rojo@x=00")


@pytest.mark.parametrize(
    "parent",
    [
        "",
        PARENT.upper(),
        f"{PARENT}-",
        f"{PARENT}\n",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"{PARENT}, {PARENT}",
    ],
)
def test_what_is_not_exact_is_none(parent: str) -> None:
    """A trace begins anew then."""
    assert parse_trace(parent) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    """And no flag that is not known is passed on."""
    assert parse_trace(f"01-{TRACE}-{SPAN}-ff-more") == (TRACE, SPAN, 3, "")


@pytest.mark.parametrize("state", ["a=1,a=2", "A=1", "a=1,b", ",".join(f"k{number}=v" for number in range(33))])
def test_a_malformed_state_is_dropped(state: str) -> None:
    """The whole of it; the parent holds."""
    assert parse_trace(PARENT, state) == (TRACE, SPAN, 1, "")


def test_long_members_of_a_state_go_first() -> None:
    """Where there is no room for all."""
    state = ",".join([f"a={'x' * 250}", "b=1", f"c={'y' * 250}", "d=2", "e=" + "z" * 9])
    assert parse_state(state) == "b=1,d=2,e=zzzzzzzzz"


def test_a_provider_is_told_the_span_of_its_call() -> None:
    """In the caller's trace, with the caller's state."""
    told = trace_headers(begin(parse_trace(PARENT, "a=1"), "req_1", 0.0), span_of("att_1"))
    assert told == {"traceparent": f"00-{TRACE}-{span_of('att_1')}-01", "tracestate": "a=1"}
