"""identify: key -> principal. Fails closed: nothing is done for strangers, not even reading their body."""

from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.keyring import KeyRing


class Identify:
    """Names who asks."""

    def __init__(self, keyring: KeyRing) -> None:
        self._keyring = keyring

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Raises UnknownKey."""
        exchange.principal = self._keyring.identify(exchange.asked.credential, exchange.at)
        return None
