"""Whether a node has the database for itself, or shares it with others: a lock of a session that is kept.

A server without ``shared`` counts its budgets alone, so it holds the lock alone; nodes hold it with each other. Who
finds it held in the other way is refused at its start. A successor of a server that is alone waits for it, while it
serves, until the one before it has ended. When the session is lost the lock is taken again; fails open then, and says
so.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from penstock.errors import StoreError
from penstock.stores.postgres import RETRY_S, SOLE, SPACE, Connection, Postgres
from penstock.stores.queries import load_queries
from penstock.stores.turns import pause

log = logging.getLogger(__name__)

_ALONE: Final = (
    "another server uses the store {name}: several need `shared: redis://...`, on each of them, by which they hold"
    " budgets and rates together"
)
_TOGETHER: Final = (
    "a server without `shared` uses the store {name}, and counts its budgets alone: stop it, or give it the same"
    " `shared`"
)


class PostgresSole:
    """For the life of a process."""

    def __init__(self, pool: Postgres, *, sole: bool, succeeds: bool) -> None:
        """``pool``: says where and how to connect; ``succeeds``: the process before this one still has it."""
        self._pool = pool
        self._refusal = (_ALONE if sole else _TOGETHER).format(name=pool.name)
        self._succeeds = succeeds
        self._queries = load_queries("postgres/session")
        self._query = self._queries["alone" if sole else "together"]
        self._session: Connection | None = None
        self._held = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take it. Raises StoreError when others have it in the other way."""
        await self._take()
        if not (self._held or self._succeeds):
            await self.close()
            raise StoreError(self._refusal)
        self._task = asyncio.get_running_loop().create_task(self._keep(), name="sole use")

    async def close(self) -> None:
        """Let others have it."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._session is not None:
            self._session.terminate()

    async def _keep(self) -> None:
        while True:
            await pause(RETRY_S)
            if self._held and self._session is not None and not self._session.is_closed():
                continue
            lost, self._held = self._held, False
            with suppress(StoreError):
                await self._take()
                if lost and not self._held:
                    log.error(
                        "the store was lost for a moment, and another server took it", extra={"why": self._refusal}
                    )

    async def _take(self) -> None:
        if self._session is None or self._session.is_closed():
            self._session = await self._pool.connect()
        try:
            self._held = bool(await self._session.fetchval(self._query, SPACE, SOLE))
        except Exception as error:
            self._session.terminate()
            raise StoreError(f"the store {self._pool.name} does not say who uses it: {error}") from error
