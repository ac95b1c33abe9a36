"""Those asked over HTTP who serve no models: bots of chats, Prometheus, collectors. One answer, whole and bounded."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from penstock.config.settings import ProviderSettings
from penstock.errors import ProviderTimeout, Unreachable
from penstock.ports.clock import Clock
from penstock.ports.providers import Transport, UpstreamCall

CONNECT_TIMEOUT_S: Final = 5.0
_NO_MORE: Final[Mapping[str, str]] = MappingProxyType({})


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Outsider:
    """One of them, by a name that errors may tell; its URLs are told to nobody."""

    def __init__(self, name: str, transport: Transport, clock: Clock) -> None:
        """``name``: who is asked, in the words of an operator."""
        self.name = name
        self._transport = transport
        self._clock = clock
        self._row = _row(name)

    async def get(self, url: str, *, most_bytes: int, timeout_s: float) -> Answer:
        """GET. Raises UpstreamError."""
        return await self._ask(self._call("GET", url, b""), most_bytes, timeout_s)

    async def post(
        self, url: str, body: bytes, *, most_bytes: int, timeout_s: float, headers: Mapping[str, str] = _NO_MORE
    ) -> Answer:
        """POST of a JSON document; ``headers``: what is to be said besides. Raises UpstreamError."""
        return await self._ask(self._call("POST", url, body, headers), most_bytes, timeout_s)

    def _call(self, method: str, url: str, body: bytes, more: Mapping[str, str] = _NO_MORE) -> UpstreamCall:
        headers = {"accept": "application/json"} | ({"content-type": "application/json"} if body else {}) | dict(more)
        return UpstreamCall(
            provider=self._row,
            method=method,
            url=url,
            headers=headers,
            body=body,
            stream=False,
            connect_timeout_s=CONNECT_TIMEOUT_S,
        )

    async def _ask(self, call: UpstreamCall, most_bytes: int, timeout_s: float) -> Answer:
        deadline = self._clock.deadline()
        try:
            with deadline.until(self._clock.monotonic() + timeout_s):
                response = await self._transport.send(call)
                try:
                    return Answer(response.status, response.headers, await response.read(most_bytes))
                finally:
                    await response.close()
        except Unreachable as error:
            raise Unreachable(f"{self.name} cannot be reached", detail=error.detail, reach=error.reach) from None
        except TimeoutError:
            raise ProviderTimeout(f"{self.name} did not answer within {timeout_s:.0f} s") from None
        finally:
            deadline.close()


def _row(name: str) -> ProviderSettings:
    """What the sender wants to know of whom it calls."""
    return ProviderSettings(
        name=name,
        kind="",
        base_urls=MappingProxyType({}),
        api_key=None,
        prices=None,
        private=True,
        after_disconnect="completes",
        billed_at="completion",
        price_book="",
        currency="",
        proxy=None,
        ca_file=None,
        headers=MappingProxyType({}),
    )
