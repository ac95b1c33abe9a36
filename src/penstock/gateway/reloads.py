"""Reloads of all nodes: told on one of them, each reads its own config anew within a second."""

from collections.abc import Awaitable, Callable
from typing import Final

from penstock.ports.leases import Signals

CONFIG: Final = "config"
"""The topic."""


class Reloads:
    """Those of the others, and ours."""

    def __init__(self, signals: Signals | None) -> None:
        """None = there are no others."""
        self._signals = signals
        self._reread: Callable[[], Awaitable[object]] | None = None
        self._told = 0

    async def start(self) -> None:
        """What was told before is in force. Raises StoreError."""
        if self._signals is not None:
            self._told = await self._signals.told(CONFIG)

    def follow(self, reread: Callable[[], Awaitable[object]]) -> None:
        """``reread``: to be called when another node was told to read its config anew."""
        self._reread = reread

    async def tell(self) -> None:
        """Let all other nodes read their config anew. Raises StoreError."""
        if self._signals is not None:
            told = await self._signals.tell(CONFIG)
            if told == self._told + 1:  # else another one was told meanwhile
                self._told = told

    async def look(self) -> None:
        """Read ours anew if another one was told to. Raises StoreError."""
        told = self._told if self._signals is None else await self._signals.told(CONFIG)
        if told != self._told:
            self._told = told
            if self._reread is not None:
                await self._reread()
