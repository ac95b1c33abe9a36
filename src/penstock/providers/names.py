"""Names of providers to addresses: one look-up of a name at a time, whoever waits for it.

The system's resolver runs in a few threads and cannot be called off: it may take ten seconds to give a name up. Were
every call to look its name up by itself, the calls to one sick name would fill the threads and then the queue before
them, and no other provider could be dialled, even after the name is well again. Nothing is remembered: who comes after
a look-up has ended begins another.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

Found = Sequence[tuple[Any, ...]]
"""As ``getaddrinfo`` has it: family, kind, protocol, canonical name, address."""


class Names:
    """The look-ups under way."""

    def __init__(self, look_up: Callable[[str, int], Awaitable[Found]] | None = None) -> None:
        """``look_up``: who resolves, by default the system."""
        self._look_up = look_up or _resolve
        self._under_way: dict[tuple[str, int], asyncio.Task[Found]] = {}

    async def find(self, host: str, port: int) -> Found:
        """The addresses of a host. Raises OSError, UnicodeError; cancelled, the look-up goes on for the others."""
        key = host, port
        task = self._under_way.get(key)
        if task is None:
            self._under_way[key] = task = asyncio.ensure_future(self._run(key))
            task.add_done_callback(_seen)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for none of them."""
        for task in list(self._under_way.values()):
            task.cancel()
        self._under_way.clear()

    async def _run(self, key: tuple[str, int]) -> Found:
        try:
            return await self._look_up(*key)
        finally:
            self._under_way.pop(key, None)


async def _resolve(host: str, port: int) -> Found:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _seen(task: asyncio.Task[Found]) -> None:
    """A failure that nobody waits for any more is none."""
    if not task.cancelled():
        task.exception()
