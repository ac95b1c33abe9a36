"""What an edge asks of its centre."""

from typing import Protocol

from penstock.core.offer import AnswersPage, Offer, PurgesPage


class Centre(Protocol):
    """The Penstock that an edge asks, as it tells of itself. Raises UpstreamError."""

    async def offer(self) -> Offer:
        """What it serves."""
        ...

    async def purges(self, mark: str, within_s: float) -> PurgesPage:
        """What was purged since, if it says so within that long."""
        ...

    async def answers(self, mark: str) -> AnswersPage:
        """Which answers changed since."""
        ...
