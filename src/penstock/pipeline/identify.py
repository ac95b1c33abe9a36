"""identify: key -> principal. Fails closed: nothing is done for strangers, not even reading their body.

An edge that the config names is believed when it says for which tenant it asks. Any other key that says so is not; but
what it asks may be asked for many, whom we cannot tell apart, so their answers are neither stored nor shared.
"""

import logging
from collections.abc import Collection
from dataclasses import replace

from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.keyring import KeyRing
from penstock.pipeline.passing import as_tenant

log = logging.getLogger(__name__)


class Identify:
    """Names who asks."""

    def __init__(self, keyring: KeyRing, edges: Collection[str] = ()) -> None:
        """``edges``: the names of the keys of edges."""
        self._keyring = keyring
        self._edges = edges
        self._warned = False

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Raises UnknownKey."""
        asked = exchange.asked
        exchange.principal = principal = self._keyring.identify(asked.credential, exchange.at, exchange.started)
        if asked.passed is None or asked.passed.tenant is None:
            return None
        if principal.name in self._edges and not self._keyring.open:
            exchange.principal = as_tenant(principal, asked.passed.tenant)
        else:
            asked.directive = replace(asked.directive, no_store=True)
            self._warn(principal.name)
        return None

    def _warn(self, name: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("an edge is not believed: name its key in server.edges", extra={"key": name})
