"""What is purged anywhere is purged everywhere: in the memory of each node, and in what nodes share.

The store says what was purged; it is told of at once and looked at each second. The node that purged says so to the
others' shared answers, and so does the one that leads, for those that are gone since. While nobody answers there,
nothing is served from there either; what is to be said waits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from penstock.errors import SharedUnavailable
from penstock.ports.answers import Purge
from penstock.ports.crossing import SharedAnswers
from penstock.ports.leases import Leader

MOST: Final = 1000
"""More than these that wait are said as one: everything."""


class Purging:
    """Looks when it is told to."""

    def __init__(
        self, refresh: Callable[[], Awaitable[Sequence[Purge]]], leader: Leader, answers: SharedAnswers
    ) -> None:
        """``refresh``: forgets here what others purged, and says what was purged since the last time."""
        self._refresh = refresh
        self._leader = leader
        self._answers = answers
        self._waiting: list[Purge] = []
        self._looking = asyncio.Lock()

    async def look(self) -> None:
        """When it returns, what was purged before is forgotten here, and said to the others. Raises StoreError."""
        async with self._looking:
            for purge in await self._refresh():
                if purge.ours or await self._leader.lead():
                    self._waiting.append(purge)
            if len(self._waiting) > MOST:
                self._waiting = [Purge()]
            while self._waiting:
                model, tenant, tag, deployments, _ = self._waiting[0]
                try:
                    await self._answers.purge(model=model, tenant=tenant, tag=tag, deployments=deployments)
                except SharedUnavailable:
                    return
                self._waiting.pop(0)
