"""Traces: spans that wait until the collector has taken them.

A request encodes its spans, if it is recorded at all, and lays them in a line that is bounded in number and in bytes:
what finds no room is dropped and counted. ``flush`` is called in the background; a batch stays in line until it is
taken or refused for good. No request ever waits for it.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.core.records import AttemptRow, ExchangeRow
from penstock.core.trace import Trace
from penstock.observe.counts import Labels
from penstock.observe.courier import Courier, Delivery, Fate
from penstock.observe.otlp import encode_spans, spans_body
from penstock.observe.spans import spans_of

MOST_WAITING: Final = 2048
"""Exchanges."""
MOST_BYTES: Final = 8 * 1024 * 1024
BATCH: Final = 256
"""Exchanges of one post, and its bytes unless a single exchange has more."""
BATCH_BYTES: Final = 512 * 1024


@dataclass(slots=True)
class Tally:
    """Exchanges whose spans the collector has taken, that found no room, that it refused."""

    sent: int = 0
    dropped: int = 0
    refused: int = 0

    def by_outcome(self) -> Mapping[Labels, float]:
        """As a metric."""
        return {("sent",): self.sent, ("dropped",): self.dropped, ("refused",): self.refused}


class Traces:
    """The spans that wait."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._on = False
        self._kinds: Mapping[str, str] = {}
        self._who = b""
        self.tally = Tally()

    def adopt(self, who: bytes, kinds: Mapping[str, str], *, on: bool) -> None:
        """Go by these from now on. ``who``: the resource, encoded; ``kinds``: of providers, by name."""
        self._who, self._kinds, self._on = who, kinds, on
        if not on:
            self.drop()

    def __len__(self) -> int:
        return len(self._waiting)

    def observe(self, trace: Trace, started: float, row: ExchangeRow, attempts: Sequence[AttemptRow]) -> None:
        """Take an exchange that is recorded and has ended. ``started``: monotonic time of ``row.at``."""
        if not self._on or len(self._waiting) >= MOST_WAITING or self._bytes >= MOST_BYTES:
            self.tally.dropped += 1
            return
        encoded = encode_spans(spans_of(trace, started, row, attempts, self._kinds))
        self._waiting.append(encoded)
        self._bytes += len(encoded)

    async def flush(self) -> None:
        """Send what waits, a batch at a time, until the collector fails or nothing is left."""
        while self._waiting and self._courier.may_go:
            batch = self._batch()
            delivery = await self._courier.send(spans_body(self._who, batch))
            if delivery.fate is not Fate.LATER:
                self._end(batch, delivery)

    def drop(self) -> None:
        """Nothing waits any more."""
        self.tally.dropped += len(self._waiting)
        self._waiting.clear()
        self._bytes = 0

    def _batch(self) -> list[bytes]:
        """The first in line."""
        batch: list[bytes] = []
        size = 0
        for part in self._waiting:
            size += len(part)
            if batch and (len(batch) == BATCH or size > BATCH_BYTES):
                break
            batch.append(part)
        return batch

    def _end(self, batch: list[bytes], delivery: Delivery) -> None:
        lost = len(batch) if delivery.fate is Fate.REFUSED else min(len(batch), delivery.rejected)
        for part in batch:
            if not self._waiting or self._waiting[0] is not part:  # all was dropped meanwhile, and counted
                return
            self._waiting.popleft()
            self._bytes -= len(part)
        self.tally.refused += lost
        self.tally.sent += len(batch) - lost
