"""identify: key -> principal. Fails closed: nothing is done for strangers, not even reading their body."""

from penstock.errors import UnknownKey
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.keyring import KeyRing
from penstock.ports import Clock


class Identify:
    """Names who asks."""

    def __init__(self, clock: Clock, keyring: KeyRing) -> None:
        self._clock = clock
        self._keyring = keyring

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Raises UnknownKey."""
        principal = self._keyring.find(exchange.asked.credential, self._clock.now())
        if principal is None:
            raise UnknownKey(
                "this API key is unknown, revoked or expired: ask whoever runs this gateway for one"
                if exchange.asked.credential
                else "an API key is needed: send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'"
            )
        exchange.principal = principal
        return None

    def leave(self, exchange: Exchange) -> None:
        """Nothing to undo."""
