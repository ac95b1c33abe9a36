"""What telemetry sees of an exchange: stages before ``record``, which has left its row when they are left, and marks.

Whoever cannot say who asks leaves no span: anyone who reaches the port could fill the line with them. What others are
asked carries the trace on, recorded or not.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from penstock.core.records import AttemptRow, ExchangeRow
from penstock.core.trace import Content, Trace, begin
from penstock.errors import PenstockError
from penstock.pipeline.exchange import STRANGER, Exchange, Reply
from penstock.ports.clock import Clock
from penstock.wire.answers import model_of, reasons
from penstock.wire.tracecontext import parse_trace

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Tracer(Protocol):
    """Who keeps the spans."""

    def observe(self, trace: Trace, started: float, row: ExchangeRow, attempts: Sequence[AttemptRow]) -> None:
        """Take an exchange that has ended. ``started``: monotonic time of ``row.at``."""
        ...


class Counter(Protocol):
    """Who counts for the collector."""

    def observe(self, row: ExchangeRow, attempts: Sequence[AttemptRow]) -> None:
        """Take an exchange that has ended."""
        ...


class Traced:
    """Begins the trace, and hands the exchange to the tracer when it has ended."""

    def __init__(self, tracer: Tracer, *, sample: float, tells: Callable[[Exchange], bool]) -> None:
        """``sample``: the share of traces that begin here and are recorded; ``tells``: with what was said in it."""
        self._tracer = tracer
        self._sample = sample
        self._tells = tells

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Its caller's trace, or one of its own."""
        parent = exchange.asked.trace
        context = None if parent is None else parse_trace(*(header.decode("latin-1") for header in parent))
        exchange.trace = begin(context, exchange.id, self._sample)
        return None

    def leave(self, exchange: Exchange) -> None:
        """Hand over what is recorded."""
        trace, row = exchange.trace, exchange.row
        if trace is None or row is None or not trace.sampled or exchange.principal is STRANGER:
            return
        answer = _answer(exchange)
        said = exchange.said or _read(answer)
        trace.model, trace.reasons = model_of(said), reasons(exchange.asked.dialect, said)
        if self._tells(exchange):
            trace.content = Content(exchange.raw, answer)
        self._tracer.observe(trace, exchange.started, row, exchange.attempts)


class Measured:
    """Has each exchange counted when it has ended."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    async def enter(self, _exchange: Exchange) -> Reply | None:
        """Nothing yet."""
        return None

    def leave(self, exchange: Exchange) -> None:
        """Count it."""
        if exchange.row is not None:
            self._counter.observe(exchange.row, exchange.attempts)


class Mark:
    """Stands behind a stage and notes when an exchange has come past it."""

    def __init__(self, clock: Clock, name: str) -> None:
        """``name``: the stage's."""
        self._clock = clock
        self._name = name

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Note it, if it is recorded."""
        trace = exchange.trace
        if trace is not None and trace.sampled:
            trace.marks.append((self._name, self._clock.monotonic()))
        return None


def _answer(exchange: Exchange) -> bytes:
    """The whole answer; b"" where there is none, or it was told as a stream from a cache."""
    try:
        answer = exchange.answer()
    except PenstockError:  # it is nested too deep to be written down
        return b""
    if answer is None and exchange.error is None and exchange.reply is not None:
        return exchange.reply.body
    return answer or b""


def _read(answer: bytes) -> Mapping[str, Any]:
    """What it says; nothing when it cannot be read."""
    try:
        return _decode(answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
