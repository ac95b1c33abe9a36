"""Trace context of strangers: any header is a context that can be passed on, or none."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.trace import begin, span_of
from penstock.wire.tracecontext import MOST_STATE_CHARS, parse_state, parse_trace, trace_headers

HEXADECIMAL = "0123456789abcdef"
IDS = st.text(HEXADECIMAL, min_size=15, max_size=33) | st.just("0" * 32) | st.just("0" * 16)
NEARLY = st.builds(
    "{}-{}-{}-{}{}".format,
    st.sampled_from(["00", "01", "ff", "0", "FF"]),
    st.text(HEXADECIMAL, min_size=32, max_size=32) | IDS,
    st.text(HEXADECIMAL, min_size=16, max_size=16) | IDS,
    st.sampled_from(["00", "01", "02", "03", "ff", "1", "zz"]),
    st.sampled_from(["", "-", "-more", "x", "\n"]),
)
MEMBERS = st.lists(
    st.sampled_from(["a=1", "b@c=2", "A=1", "a", "=", "a=", " d=x y ", "e=1=2", "", "f=" + "v" * 200, "g=\x00"])
    | st.builds("{}=v".format, st.text("abc019_-*/@", max_size=20)),
    max_size=40,
).map(",".join)


@given(NEARLY | st.text(max_size=80), MEMBERS | st.text(max_size=80))
def test_any_context_is_passed_on_or_none(parent: str, state: str) -> None:
    """What is taken can be read again as it is passed on, and is of the same trace."""
    context = parse_trace(parent, state)
    if context is None:
        return
    trace = begin(context, "req_1", 0.0)
    headers = trace_headers(trace, span_of("att_1"))
    again = parse_trace(headers["traceparent"], headers.get("tracestate", ""))
    assert again == (context.trace_id, span_of("att_1"), context.flags, context.state)
    assert all(value.isascii() and value.isprintable() for value in headers.values())


@given(MEMBERS)
def test_any_state_that_is_taken_is_short_and_stays_as_it_is(state: str) -> None:
    """Read twice it is the same, and never longer than what may be passed on."""
    taken = parse_state(state)
    assert len(taken) <= MOST_STATE_CHARS
    assert parse_state(taken) == taken
