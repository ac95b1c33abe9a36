"""identify: key -> principal. Fails closed: nothing is done for strangers, not even reading their body."""

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
        exchange.principal = self._keyring.identify(exchange.asked.credential, self._clock.now())
        return None

    def leave(self, exchange: Exchange) -> None:
        """Nothing to undo."""
