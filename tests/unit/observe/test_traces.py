"""Spans on their way to a collector that is well, down, busy or refusing."""

import pytest

from penstock.clock import LoopClock, SystemRng
from penstock.core.trace import Content, TraceContext, begin
from penstock.observe.courier import MOST_BACKOFF_S, Courier
from penstock.observe.otlp import resource
from penstock.observe.traces import BATCH, MOST_BYTES, MOST_WAITING, Traces
from penstock.ports.telemetry import CollectorAnswer
from tests.support.ledger_rows import AT, attempt_row, exchange_row
from tests.support.otlp import TRACES, KeptCollector

PARENT = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", 1)
WHO = resource({"service.name": "penstock"})
OK = CollectorAnswer(200, b"{}")


class Line:
    """Traces, and the collector that they go to."""

    def __init__(self) -> None:
        self.clock = LoopClock(AT)
        self.collector = KeptCollector()
        self.traces = Traces(Courier(TRACES, self.collector, self.clock, SystemRng(1)))
        self.traces.adopt(WHO, {}, on=True)

    def observe(self, number: int = 1, content: Content | None = None) -> None:
        """One exchange of one call has ended."""
        id_ = f"req_{number}"
        trace = begin(PARENT, id_, 0.0)
        trace.content = content
        self.traces.observe(trace, 5.0, exchange_row(id_), [attempt_row(f"att_{number}", id_)])

    @property
    def tally(self) -> tuple[int, int, int, int]:
        """Sent, dropped, refused, waiting."""
        tally = self.traces.tally
        return tally.sent, tally.dropped, tally.refused, len(self.traces)


@pytest.mark.looptime
async def test_what_is_recorded_is_told_in_its_order() -> None:
    """Both spans of each exchange."""
    line = Line()
    for number in range(3):
        line.observe(number)
    await line.traces.flush()
    assert len(line.collector.told.spans) == 6
    assert line.tally == (3, 0, 0, 0)


@pytest.mark.looptime
@pytest.mark.parametrize("answer", [None, CollectorAnswer(429), CollectorAnswer(503)])
async def test_a_collector_that_is_away_is_told_later(answer: CollectorAnswer | None) -> None:
    """One post finds out; nothing is lost while there is room."""
    line = Line()
    line.collector.answers = [answer]
    line.observe()
    for _ in range(3):
        await line.traces.flush()
    assert len(line.collector.posts) == 1
    await line.clock.sleep(MOST_BACKOFF_S)
    await line.traces.flush()
    assert line.tally == (1, 0, 0, 0)


@pytest.mark.looptime
async def test_what_a_collector_refuses_is_dropped_once_and_for_all() -> None:
    """A whole post, or some of one."""
    line = Line()
    line.collector.answers = [CollectorAnswer(400), CollectorAnswer(200, b'{"partialSuccess":{"rejectedSpans":"1"}}')]
    for number in range(2):
        line.observe(number)
        await line.traces.flush()
        await line.clock.sleep(MOST_BACKOFF_S)
    assert line.tally == (0, 0, 2, 0)


@pytest.mark.looptime
async def test_the_line_is_bounded_and_leaves_in_batches() -> None:
    """What finds no room is dropped and counted, for as long as the collector is away."""
    line = Line()
    line.collector.answers = [None]
    for number in range(MOST_WAITING):
        line.observe(number)
    await line.traces.flush()
    for number in range(3):
        line.observe(number)
    assert line.tally == (0, 3, 0, MOST_WAITING)
    await line.clock.sleep(MOST_BACKOFF_S)
    await line.traces.flush()
    assert len(line.collector.posts) == 1 + MOST_WAITING // BATCH
    assert line.tally == (MOST_WAITING, 3, 0, 0)


@pytest.mark.looptime
async def test_the_line_is_bounded_in_bytes() -> None:
    """Where what was said is told it is full much sooner, and its posts have fewer requests."""
    line = Line()
    content = Content(b"a" * 100_000, b"b" * 100_000)
    for number in range(200):
        line.observe(number, content)
    _, dropped, _, waiting = line.tally
    assert waiting + dropped == 200
    assert waiting * 64 * 1024 < MOST_BYTES + 128 * 1024
    await line.traces.flush()
    assert len(line.collector.posts) > waiting / 10


@pytest.mark.looptime
async def test_nothing_is_kept_where_traces_are_off() -> None:
    """What waits when a reload switches them off is dropped."""
    line = Line()
    line.observe()
    line.traces.adopt(WHO, {}, on=False)
    line.observe(2)
    await line.traces.flush()
    assert not line.collector.posts
    assert line.tally == (0, 2, 0, 0)
