"""The centre as an edge reads it: three documents over the provider's own base, with the key that calls go out with."""

from typing import Final, TypeVar
from urllib.parse import quote

import msgspec

from penstock.config.settings import ProviderSettings
from penstock.core.offer import MOST_BYTES, AnswersPage, Offer, PurgesPage
from penstock.errors import BadAnswer
from penstock.ports.clock import Clock
from penstock.ports.providers import Transport
from penstock.providers.ask import ask

TIMEOUT_S: Final = 60.0

_Document = TypeVar("_Document", Offer, PurgesPage, AnswersPage)


class CentreReader:
    """The port Centre, over HTTP. Raises UpstreamError; what is no document of ours is a BadAnswer."""

    def __init__(self, transport: Transport, provider: ProviderSettings, clock: Clock) -> None:
        """``provider``: an entry of ``kind: penstock``."""
        self._transport = transport
        self._provider = provider
        self._clock = clock

    async def offer(self) -> Offer:
        """What it serves."""
        return await self._ask("offer", "", Offer, TIMEOUT_S)

    async def purges(self, mark: str, within_s: float) -> PurgesPage:
        """What was purged since."""
        return await self._ask("purges", mark, PurgesPage, within_s)

    async def answers(self, mark: str) -> AnswersPage:
        """Which answers changed since."""
        return await self._ask("answers", mark, AnswersPage, TIMEOUT_S)

    async def _ask(self, name: str, mark: str, form: type[_Document], timeout_s: float) -> _Document:
        path = f"/edge/{name}" + (f"?since={quote(mark, safe='')}" if mark else "")
        body = await ask(self._transport, self._provider, path, self._clock, most_bytes=MOST_BYTES, timeout_s=timeout_s)
        try:
            return msgspec.json.decode(body, type=form)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ArithmeticError) as error:
            raise BadAnswer(f"{self._provider.name} told no {name} of ours", detail=str(error)) from None
