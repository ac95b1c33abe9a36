"""Sessions that are kept: the one that leads, and the one that listens. Each is a connection of its own.

What a session holds ends with it, on the server's side too: a node that is gone, or cut off, leads no more. A node that
listens holds the lock ``SERVING`` with others, by which a command that needs the store for itself knows of it. Signals
only hurry: whoever listens asks for the truth each second anyway, and is told ``*`` when it may have missed some.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from penstock.errors import StoreError
from penstock.stores.postgres import CHANNEL, LEADING, RETRY_S, SERVING, SPACE, Connection, Postgres
from penstock.stores.queries import load_queries
from penstock.stores.turns import pause

log = logging.getLogger(__name__)

EVERYTHING: Final = "*"
"""The topic of what was perhaps missed."""


class PostgresLeader:
    """The port Leader: an advisory lock of a session."""

    def __init__(self, pool: Postgres) -> None:
        """``pool``: says where and how to connect."""
        self._pool = pool
        self._session: Connection | None = None
        self._leads = False
        self._turn = asyncio.Lock()
        self._queries = load_queries("postgres/session")

    async def lead(self) -> bool:
        """Whether this node leads now; it tries to, and finds out within the deadline. Never raises."""
        async with self._turn:
            try:
                return await self._lead()
            except StoreError:
                return False

    async def close(self) -> None:
        """Lead no more."""
        self._leads = False
        if self._session is not None:
            self._session.terminate()
            self._session = None

    async def _lead(self) -> bool:
        if self._session is None or self._session.is_closed():
            self._leads = False
            self._session = await self._pool.connect()
        try:
            query = "still" if self._leads else "lead"
            self._leads = bool(await self._session.fetchval(self._queries[query], SPACE, LEADING))
        except Exception:  # noqa: BLE001 - whatever it is, it does not lead
            await self.close()
        return self._leads


class PostgresSignals:
    """The port Signals: LISTEN on a session of its own, opened again whenever it is lost."""

    def __init__(self, pool: Postgres) -> None:
        """``pool``: says where and how to connect."""
        self._pool = pool
        self._callbacks: list[Callable[[str], object]] = []
        self._session: Connection | None = None
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._queries = load_queries("postgres/session")

    def listen(self, callback: Callable[[str], object]) -> None:
        """Call it with the topic of each signal, ``*`` = any may have been missed."""
        self._callbacks.append(callback)

    async def tell(self, topic: str) -> int:
        """Signal it to all nodes, this one too; how often it was. Raises StoreError."""
        return int(await self._pool.write(lambda connection: connection.fetchval(self._queries["tell"], topic)))

    async def told(self, topic: str) -> int:
        """How often it was told, by any node. Raises StoreError."""
        return int(await self._pool.fetchval(self._queries["told"], topic) or 0)

    async def start(self) -> None:
        """Listen from now on. Raises StoreError."""
        await self._open()
        self._task = asyncio.get_running_loop().create_task(self._live(), name="signals")

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._session is not None:
            self._session.terminate()

    async def _live(self) -> None:
        while True:
            await self._lost.wait()
            try:
                await self._open()
            except StoreError:
                await pause(RETRY_S)
            else:
                self._tell(EVERYTHING)

    async def _open(self) -> None:
        session = await self._pool.connect()
        try:
            session.add_termination_listener(lambda *_: self._lost.set())
            await session.execute(self._queries["share"], SPACE, SERVING)
            await session.add_listener(CHANNEL, self._heard)
        except Exception as error:
            session.terminate()
            raise StoreError(f"the store {self._pool.name} cannot be listened to: {error}") from error
        self._lost.clear()
        self._session = session

    def _heard(self, _connection: Any, _pid: int, _channel: str, topic: str) -> None:
        self._tell(topic)

    def _tell(self, topic: str) -> None:
        for callback in self._callbacks:
            callback(topic)


@asynccontextmanager
async def alone(pool: Postgres) -> AsyncIterator[None]:
    """While no node serves from the store, nor begins to. Raises StoreError when one does."""
    session = await pool.connect()
    try:
        if not await session.fetchval(load_queries("postgres/session")["alone"], SPACE, SERVING):
            raise StoreError(f"the store {pool.name} is in use by a server: stop all of them first")
        yield
    finally:
        session.terminate()
