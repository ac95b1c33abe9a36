"""Which nodes live, and what they say to each other: one word to Redis each half second, whatever is under way.

A node that was not heard for ``SILENT_S`` is dead to the others: what it led is led by another. Each life of its
process has a name of its own. Messages may be lost; who waits for one asks besides.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from penstock.errors import SharedUnavailable
from penstock.ports.clock import Clock
from penstock.stores.redis_link import RedisLink, checked
from penstock.stores.scripts import load_script

BEAT_S: Final = 0.5
SILENT_S: Final = 2.0

OnMessage = Callable[[str, str, Sequence[str]], None]
"""Told of each message to this node: what, of which flight, and the words after it."""


class RedisNodes:
    """This node among the others. For one loop."""

    def __init__(self, link: RedisLink, clock: Clock, node: str, prefix: str = "penstock") -> None:
        """``node``: a name without spaces that no other process ever has."""
        self.name = node
        self.channels = f"{prefix}:node:"
        self._link = link
        self._clock = clock
        self._key = f"{prefix}:{{nodes}}".encode()
        self._script = load_script("nodes")
        self._living: frozenset[str] = frozenset()
        self._on_message: OnMessage | None = None
        self._beats: list[Callable[[], object]] = []
        self._task: asyncio.Task[None] | None = None

    async def open(self, on_message: OnMessage) -> None:
        """Live from now on. Raises SharedUnavailable."""
        self._on_message = on_message
        self._link.ears.listen(f"{self.channels}{self.name}".encode(), self._hear, lambda: None)
        await self.look()
        self._task = asyncio.get_running_loop().create_task(self._beat())

    async def close(self) -> None:
        """Live no more; the others find out."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._link.ears.leave(f"{self.channels}{self.name}".encode())

    def each_beat(self, call: Callable[[], object]) -> None:
        """Call it with each beat."""
        self._beats.append(call)

    async def lives(self, node: str) -> bool:
        """Whether another does; one that is not known is asked for. When nobody can say, it does not."""
        if node not in self._living:
            with suppress(SharedUnavailable):
                await self.look()
        return node in self._living

    async def look(self) -> None:
        """Be heard, and hear who lives. Raises SharedUnavailable."""
        living = checked(await self._link.run(self._script, [self._key], (self.name, round(SILENT_S * 1000))))
        self._living = frozenset(name.decode() for name in living)

    async def say(self, node: str, what: str, flight: str, *words: str) -> None:
        """Send a message; it may be lost."""
        channel = f"{self.channels}{node}".encode()
        with suppress(SharedUnavailable):
            await self._link.call(self._key, "PUBLISH", channel, " ".join((what, flight, *words)))

    async def _beat(self) -> None:
        heard = self._clock.monotonic()
        while True:
            await self._clock.sleep(BEAT_S)
            try:
                await self.look()
            except SharedUnavailable:
                if self._clock.monotonic() - heard > SILENT_S:
                    self._living = frozenset()
            else:
                heard = self._clock.monotonic()
            for call in self._beats:
                call()

    def _hear(self, said: bytes) -> None:
        what, flight, *words = said.decode("utf-8", "replace").split(" ")
        if self._on_message is not None:
            self._on_message(what, flight, words)
