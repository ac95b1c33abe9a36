"""What a provider has to be: an adapter that knows its words, and a transport that carries them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from penstock.config.settings import DeploymentSettings, ProviderSettings
from penstock.core.usage import Usage
from penstock.errors import UpstreamError


@dataclass(slots=True)
class UpstreamCall:
    """One HTTP request to a provider, ready to send. ``headers`` holds the credentials: never log it."""

    provider: ProviderSettings
    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    stream: bool
    connect_timeout_s: float


class UpstreamResponse(Protocol):
    """What came back: status and headers (lower-case names) at once, the decoded body as it arrives."""

    status: int
    headers: Mapping[str, str]

    async def read(self, limit: int) -> bytes:
        """The whole (rest of the) body. Raises BadAnswer above ``limit`` bytes, or when cut short."""
        ...

    async def next(self) -> bytes:
        """The next non-empty read; b"" at the end. Raises BadAnswer when the body is cut short."""
        ...

    async def close(self) -> None:
        """Release the connection; an unfinished body closes it, so that the provider sees us leave."""
        ...


class Transport(Protocol):
    """The one-method seam to providers. Raises only UpstreamError; cancelling it closes the connection."""

    async def send(self, call: UpstreamCall) -> UpstreamResponse:
        """Send the call and wait for the response's head."""
        ...

    async def close(self) -> None:
        """Close idle connections."""
        ...


class Incoming(Protocol):
    """What providers sent, on its way to who reads it."""

    @property
    def late_s(self) -> float:
        """How long what is next has been waiting to be handed on."""
        ...

    def shorten(self, *, short: bool) -> None:
        """Whether to hand on little at a time."""
        ...


class Adapter(Protocol):
    """How one kind of provider speaks. Pure: the sender does the I/O."""

    def encode(
        self,
        dialect: str,
        fields: Mapping[str, Any],
        raw: bytes,
        deployment: DeploymentSettings,
        headers: Mapping[str, str],
    ) -> UpstreamCall:
        """The call that asks ``deployment`` for this request. ``fields`` is the decoded body, ``raw`` its bytes.

        ``headers`` are the client's pass-through headers (anthropic-version, anthropic-beta).
        """
        ...

    def usage(self, dialect: str, body: Mapping[str, Any], before: Usage | None) -> Usage | None:
        """The usage that a whole answer or one stream event carries, merged over ``before``; None = none in it."""
        ...

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """The error that an answer with an error status means."""
        ...

    def error_inside(self, dialect: str, body: Mapping[str, Any]) -> UpstreamError | None:
        """The error that the body of a 200, or a stream event, carries; None = it is fine."""
        ...
