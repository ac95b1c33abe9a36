"""The first exchange under an Idempotency-Key, as long as it runs."""

import asyncio
from typing import Protocol

from penstock.ports.results import StoredResult

MAX_KEPT_BYTES = 8 * 1024 * 1024
"""A larger answer is not kept: its repeat is a new request."""


FirstName = tuple[str, str]
"""The tenant and the Idempotency-Key."""


class Leader(Protocol):
    """The exchange that makes the call."""

    def join(self) -> None:
        """One more waits for the answer."""
        ...

    def part(self) -> None:
        """One less does: stop, if nobody waits any more."""
        ...


class First:
    """What its repeats wait for."""

    __slots__ = ("_size", "body_digest", "leader", "parts", "result")

    def __init__(self, body_digest: bytes, leader: Leader) -> None:
        """``leader``: the exchange that makes the call; ``parts``: what was sent so far."""
        self.body_digest = body_digest
        self.leader = leader
        self.parts: list[bytes] = []
        self.result: asyncio.Future[StoredResult | None] = asyncio.get_running_loop().create_future()
        self._size = 0

    def keep(self, raw: bytes) -> None:
        """One more piece of the answer; nothing at all of one that is too large."""
        self._size += len(raw)
        if self._size > MAX_KEPT_BYTES:
            self.parts.clear()
        else:
            self.parts.append(raw)


Firsts = dict[FirstName, First]
"""Those that run, by their names; outlives a reload."""


def end(firsts: Firsts, name: FirstName, first: First | None, result: StoredResult | None) -> None:
    """It has come to this, None = to nothing: its repeats go on, and the key is free."""
    if first is None:
        return
    if firsts.get(name) is first:
        del firsts[name]
    if not first.result.done():
        first.result.set_result(result)
