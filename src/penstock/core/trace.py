"""Traces: whose child an exchange is, whether it is recorded, and by which ids it and its attempts are known.

Our own ids are made of the ids of exchanges and attempts, which are unique: a hash of them is as good as chance, and
whoever has a row of the ledger finds its span.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

SAMPLED: Final = 0x01
RANDOM: Final = 0x02
"""The last 7 bytes of the trace id are random."""
_OF_ALL: Final = 1 << 56


class TraceContext(NamedTuple):
    """Whose child a span is. Ids are lower-case hexadecimal; ``flags``: ``SAMPLED`` and ``RANDOM``."""

    trace_id: str
    span_id: str
    flags: int = 0
    state: str = ""


class Content(NamedTuple):
    """What was asked and answered."""

    asked: bytes
    answered: bytes


class Trace(msgspec.Struct):
    """An exchange as its trace sees it. ``marks``: stages it has come past, and when (monotonic seconds)."""

    trace_id: str
    span_id: str
    flags: int
    parent_id: str = ""
    """The caller's span; "" = the trace begins here."""
    state: str = ""
    marks: list[tuple[str, float]] = []
    model: str = ""
    """As the answer names it."""
    reasons: Sequence[str] = ()
    """Why the answer ended: of each choice."""
    content: Content | None = None
    """None = its spans do not hold it."""

    @property
    def sampled(self) -> bool:
        """It is recorded."""
        return bool(self.flags & SAMPLED)


def begin(parent: TraceContext | None, exchange_id: str, sample: float) -> Trace:
    """The trace of an exchange: its caller's, with the caller's choice; or its own, recorded by chance ``sample``."""
    digest = blake2b(exchange_id.encode(), digest_size=24).hexdigest()
    if parent is not None:
        return Trace(parent.trace_id, digest[32:], parent.flags, parent.span_id, parent.state)
    trace_id = digest[:32]
    return Trace(trace_id, digest[32:], RANDOM | (SAMPLED if is_sampled(trace_id, sample) else 0))


def is_sampled(trace_id: str, sample: float) -> bool:
    """Whether a trace is among that share of all: everyone who asks comes to the same."""
    return int(trace_id[-14:], 16) < sample * _OF_ALL


def span_of(attempt_id: str) -> str:
    """The id of an attempt's span."""
    return blake2b(attempt_id.encode(), digest_size=8).hexdigest()
