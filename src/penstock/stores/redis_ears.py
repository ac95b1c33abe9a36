"""Messages: one connection that listens, whoever sends. A message may be lost; who needs all of them asks besides.

After every gap, the first connection included, ``on_gap`` of each listener is called: what was said meanwhile is to be
asked for.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from penstock.errors import SharedUnavailable
from penstock.ports.clock import Clock, Rng
from penstock.stores.redis_connection import RedisConnection, Reply, connect
from penstock.stores.redis_node import CONNECT_S, FIRST_PAUSE_S, LONGEST_PAUSE_S
from penstock.stores.redis_url import Address, RedisUrl

ALIVE_S: Final = 1.0
"""Something must be heard at least so often: the server is asked to say something."""


class Listener(NamedTuple):
    """Who listens to one channel."""

    on_message: Callable[[bytes], None]
    on_gap: Callable[[], None]


class Ears:
    """Listens to channels. Connects when the first is listened to."""

    def __init__(self, url: RedisUrl, clock: Clock, rng: Rng, addresses: Callable[[], Sequence[Address]]) -> None:
        """``addresses``: of servers that may be up; in a cluster every one hears what is said at any."""
        self._url = url
        self._clock = clock
        self._rng = rng
        self._addresses = addresses
        self._listeners: dict[bytes, Listener] = {}
        self._connection: RedisConnection | None = None
        self._heard = False
        self._task: asyncio.Task[None] | None = None
        self._lost: asyncio.Event = asyncio.Event()

    def listen(self, channel: bytes, on_message: Callable[[bytes], None], on_gap: Callable[[], None]) -> None:
        """From now on, until ``leave``."""
        self._listeners[channel] = Listener(on_message, on_gap)
        if self._connection is not None:
            self._connection.tell("SUBSCRIBE", channel)
        elif self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep_listening())

    def leave(self, channel: bytes) -> None:
        """No more."""
        if self._listeners.pop(channel, None) is not None and self._connection is not None:
            self._connection.tell("UNSUBSCRIBE", channel)

    async def close(self) -> None:
        """Disconnect."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._connection is not None:
            self._connection.abort()

    async def _keep_listening(self) -> None:
        pause_s, tries = FIRST_PAUSE_S, 0
        while True:
            addresses = self._addresses()
            if await self._listened(addresses[tries % len(addresses)]):
                pause_s = FIRST_PAUSE_S
            tries += 1
            await self._clock.sleep(pause_s * (0.5 + self._rng.random()))
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)

    async def _listened(self, address: Address) -> bool:
        """Whether anything was heard, until nothing was any more."""
        deadline, connection = self._clock.deadline(), None
        try:
            with deadline.until(self._clock.monotonic() + CONNECT_S):
                connection = await connect(self._url, address, self._gone, self._hear)
            self._begin(connection)
            while connection.alive and self._heard:
                self._heard = False
                connection.tell("PING")
                with suppress(TimeoutError), deadline.until(self._clock.monotonic() + ALIVE_S):
                    await self._lost.wait()
        except (OSError, TimeoutError, SharedUnavailable):
            return False
        finally:
            deadline.close()
            self._connection = None
            if connection is not None:
                connection.abort()
        return True

    def _begin(self, connection: RedisConnection) -> None:
        self._connection, self._heard = connection, True
        self._lost.clear()
        if self._listeners:
            connection.tell("SUBSCRIBE", *self._listeners)

    def _gone(self, connection: RedisConnection) -> None:
        if connection is self._connection:
            self._lost.set()

    def _hear(self, said: Reply) -> None:
        self._heard = True
        if not isinstance(said, list) or len(said) != 3:  # noqa: PLR2004 - kind, channel, and what it is about
            return
        kind, channel, what = said
        listener = self._listeners.get(channel)
        if listener is None:
            return
        if kind == b"message":
            listener.on_message(what)
        elif kind == b"subscribe":
            listener.on_gap()
