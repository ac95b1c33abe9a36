"""The metrics of the conventions for generative AI, counted since the process began and told as they stand.

Nothing is queued: what a collector did not take is in what it is told next. ``metrics.py`` counts by other labels
(these are by operation and provider), so that nothing of it can be read here. Labels come from the config; of failures
there are at most ``MOST`` series, beyond which a new one counts as ``other``.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Final

from penstock.config.settings import Settings
from penstock.core.records import AttemptRow, ExchangeRow
from penstock.observe import genai
from penstock.observe.counts import OK, OTHER, Histogram, Labels, Outcomes
from penstock.observe.courier import Courier
from penstock.observe.genai import CALL_DURATION, CALL_TOKENS, FIRST_TOKEN, REQUEST_DURATION, Instrument
from penstock.observe.otlp import Point, attributes, encode_metric, encode_point, metrics_body, unix_nano
from penstock.ports.clock import Clock

MOST: Final = 2_500
AT_ONCE: Final = 50
"""Points between two turns of the loop: about a millisecond."""


class Instruments:
    """Counts exchanges, and tells the collector."""

    def __init__(self, courier: Courier, clock: Clock) -> None:
        self._courier = courier
        self._clock = clock
        self._since = clock.now()
        self._calls = _outcomes(CALL_DURATION)
        self._requests = _outcomes(REQUEST_DURATION)
        self._tokens = defaultdict[Labels, Histogram](partial(Histogram, CALL_TOKENS.bounds))
        self._first = defaultdict[Labels, Histogram](partial(Histogram, FIRST_TOKEN.bounds))
        self._who = b""
        self._models: frozenset[str] = frozenset()
        self._served: Mapping[str, tuple[str, str]] = {}

    def adopt(self, who: bytes, settings: Settings) -> None:
        """Take the labels of new settings; what was counted stays. ``who``: the resource, encoded."""
        self._who = who
        self._models = frozenset(settings.models)
        self._served = {
            each.id: (genai.provider_name(each.provider.kind), each.model)
            for model in settings.models.values()
            for each in model.deployments
        }

    def observe(self, row: ExchangeRow, attempts: Sequence[AttemptRow]) -> None:
        """Count an exchange that has ended, and its calls."""
        operation = genai.operation_name(row.endpoint)
        model = row.model if row.model in self._models else OTHER
        provider = self._served[row.deployment][0] if row.deployment in self._served else ""
        self._requests[operation, provider, model, row.cache, row.outcome].observe(row.duration_s)
        if row.streamed and row.first_byte_s is not None and row.outcome == OK:
            self._first[operation, provider, model].observe(row.first_byte_s)
        for attempt in attempts:
            self._observe_call(operation, attempt)

    async def tell(self) -> None:
        """Say how all of it stands, if there is anything to say and the collector need not be left alone."""
        if self._requests.shown and self._courier.may_go:
            parts = [part async for part in self._parts()]
            await self._courier.send(metrics_body(self._who, parts))

    def _observe_call(self, operation: str, row: AttemptRow) -> None:
        provider, model = self._served.get(row.deployment, (OTHER, OTHER))
        self._calls[operation, provider, model, row.outcome].observe(row.ended_at - row.started_at)
        if row.usage.total:
            self._tokens[operation, provider, model, "input"].observe(row.usage.prompt)
            self._tokens[operation, provider, model, "output"].observe(row.usage.output)

    async def _parts(self) -> AsyncIterator[bytes]:
        """A metric each; the loop turns between their points."""
        at = self._clock.now()
        for instrument, histograms in (
            (CALL_DURATION, self._calls.shown),
            (CALL_TOKENS, self._tokens),
            (REQUEST_DURATION, self._requests.shown),
            (FIRST_TOKEN, self._first),
        ):
            points: list[bytes] = []
            for labels, histogram in tuple(histograms.items()):
                points.append(self._point(instrument, labels, histogram, at))
                if len(points) % AT_ONCE == 0:
                    await asyncio.sleep(0)
            if points:
                yield encode_metric(instrument, points)

    def _point(self, instrument: Instrument, labels: Labels, histogram: Histogram, at: float) -> bytes:
        values = dict(zip(instrument.attributes, labels, strict=True))
        if values.get(genai.ERROR_TYPE) == OK:
            del values[genai.ERROR_TYPE]
        return encode_point(
            Point(
                attributes=attributes(values),
                start_time_unix_nano=unix_nano(self._since),
                time_unix_nano=unix_nano(at),
                count=str(sum(histogram.counts)),
                sum=histogram.total,
                bucket_counts=[str(count) for count in histogram.counts],
                explicit_bounds=histogram.bounds,
            )
        )


def _outcomes(instrument: Instrument) -> Outcomes[Histogram]:
    place = instrument.attributes.index(genai.ERROR_TYPE)
    return Outcomes(place, MOST, partial(Histogram, instrument.bounds))
