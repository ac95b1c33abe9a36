"""Traces: whose they are, and which are recorded."""

from penstock.core.trace import RANDOM, SAMPLED, TraceContext, begin, is_sampled, span_of

PARENT = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", SAMPLED, "a=1")


def test_an_exchange_is_a_child_of_its_caller() -> None:
    """Of the same trace, with a span of its own."""
    trace = begin(PARENT, "req_1", 0.0)
    assert (trace.trace_id, trace.parent_id, trace.state) == (PARENT.trace_id, PARENT.span_id, "a=1")
    assert len({trace.span_id, PARENT.span_id, span_of("att_1"), span_of("att_2")}) == 4


def test_a_caller_decides_whether_its_trace_is_recorded() -> None:
    """Whatever the share is."""
    assert begin(PARENT, "req_1", 0.0).sampled
    assert not begin(PARENT._replace(flags=RANDOM), "req_1", 1.0).sampled


def test_the_share_of_recorded_traces_is_the_one_asked_for() -> None:
    """All of them at 1, none at 0, and what is recorded at less is so at more."""
    traces = [begin(None, f"req_{number}", 0.1) for number in range(2000)]
    assert 140 < sum(trace.sampled for trace in traces) < 260
    assert all(begin(None, f"req_{number}", 1.0).sampled for number in range(50))
    assert not any(begin(None, f"req_{number}", 0.0).sampled for number in range(50))
    assert all(is_sampled(trace.trace_id, 0.2) for trace in traces if trace.sampled)
