"""Active probes: what is out is asked whether it is back, so that no request has to find out. Off by default.

A probe asks for the list of models, which costs nothing. It takes the place of a real request at a breaker that is
half-open, and what becomes of it counts as one would. Deployments of one account are asked one after the other.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from penstock.config.settings import DeploymentSettings, ProviderSettings
from penstock.errors import UpstreamError
from penstock.ports.clock import Clock

log = logging.getLogger(__name__)

PATH = "/models"


class Place(Protocol):
    """A place at a deployment, for one call."""

    def release(self) -> None:
        """Give it back."""
        ...

    def end(self, error: UpstreamError | None) -> None:
        """Say what became of the call."""
        ...


class Ward(Protocol):
    """Who knows which deployments are out."""

    def take_to_probe(self, deployment: DeploymentSettings, plan: Sequence[DeploymentSettings]) -> Place | None:
        """A place for a probe; None unless it is half-open and nobody else probes it. ``plan``: it and its like."""
        ...


class Prober:
    """Asks those that are out."""

    def __init__(self, clock: Clock, ward: Ward, ask: Callable[[ProviderSettings, str], Awaitable[object]]) -> None:
        """``ask``: a GET below a provider's chat base; raises UpstreamError."""
        self._clock = clock
        self._ward = ward
        self._ask = ask
        self._asked_at: dict[str, float] = {}

    async def look(self, deployments: Sequence[DeploymentSettings]) -> None:
        """Ask each that is out, wants to be asked, and was not just now."""
        for deployment in deployments:
            provider = deployment.provider
            now = self._clock.monotonic()
            if (
                not provider.probe_s
                or now < self._asked_at.get(deployment.id, now - provider.probe_s) + provider.probe_s
            ):
                continue
            place = self._ward.take_to_probe(deployment, deployments)
            if place is not None:
                self._asked_at[deployment.id] = now
                await self._probe(provider, place)

    async def _probe(self, provider: ProviderSettings, place: Place) -> None:
        try:
            await self._ask(provider, PATH)
        except UpstreamError as error:
            place.end(error)
        else:
            place.end(None)
        finally:
            place.release()
