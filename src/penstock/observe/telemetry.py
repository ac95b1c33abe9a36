"""What an OpenTelemetry collector is told: traces each second, metrics each minute. Off, nothing is counted or kept."""

from contextlib import suppress
from typing import Final

from penstock import __version__
from penstock.config.settings import Settings
from penstock.observe import genai
from penstock.observe.courier import Courier
from penstock.observe.instruments import Instruments
from penstock.observe.otlp import resource
from penstock.observe.traces import Traces
from penstock.ports.clock import Clock, Rng
from penstock.ports.telemetry import Collector

TRACES_S: Final = 1.0
METRICS_S: Final = 60.0
"""How often each is told."""
CLOSE_S: Final = 2.0
"""The most that the end of the process waits for the collector."""


class Telemetry:
    """Both, by the settings that hold now."""

    def __init__(self, settings: Settings, collector: Collector, clock: Clock, rng: Rng, instance: str) -> None:
        """``instance``: the name of this process."""
        self._clock = clock
        self._instance = instance
        self.traces = Traces(Courier("/v1/traces", collector, clock, rng))
        self.instruments = Instruments(Courier("/v1/metrics", collector, clock, rng), clock)
        self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """Go by these from now on."""
        telemetry = settings.telemetry
        self._metrics_on = telemetry.metrics_on
        who = resource(
            {
                genai.SERVICE_NAME: telemetry.service_name,
                genai.SERVICE_VERSION: __version__,
                genai.SERVICE_INSTANCE: self._instance,
            }
        )
        kinds = {name: provider.kind for name, provider in settings.providers.items()}
        self.traces.adopt(who, kinds, on=telemetry.traces_on)
        self.instruments.adopt(who, settings)

    async def tell_metrics(self) -> None:
        """Say how they stand."""
        if self._metrics_on:
            await self.instruments.tell()

    async def close(self) -> None:
        """Tell what can be told within ``CLOSE_S``; the rest is dropped."""
        deadline = self._clock.deadline()
        try:
            with suppress(TimeoutError), deadline.until(self._clock.monotonic() + CLOSE_S):
                await self.traces.flush()
                await self.tell_metrics()
        finally:
            deadline.close()
        self.traces.drop()
