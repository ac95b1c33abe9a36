"""The OpenTelemetry collector."""

from typing import NamedTuple, Protocol


class CollectorAnswer(NamedTuple):
    """What it says to a post. ``retry_after_s``: for how long it wants to be left alone; None = it does not say."""

    status: int
    body: bytes = b""
    retry_after_s: float | None = None


class Collector(Protocol):
    """An OpenTelemetry collector."""

    async def post(self, path: str, body: bytes) -> CollectorAnswer:
        """A JSON document, within a deadline. Raises UpstreamError."""
        ...
