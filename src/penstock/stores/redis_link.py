"""What the nodes share, as one thing to call: the right server for a key, scripts by name, messages.

Fails as its parts do (``redis_node.py``): within the deadline, with SharedUnavailable. In a cluster a server that does
not answer takes only its own keys with it; who has them now is asked of the others, and of whoever says that a key has
moved.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Final

from penstock.errors import SharedUnavailable
from penstock.ports.clock import Clock, Rng
from penstock.stores.redis_connection import Reply, ReplyError, Word
from penstock.stores.redis_ears import Ears
from penstock.stores.redis_node import DEADLINE_S, RedisNode
from penstock.stores.redis_slots import read_redirection, read_slots, slot_of
from penstock.stores.redis_tls import security_of
from penstock.stores.redis_url import Address, RedisUrl
from penstock.stores.scripts import Script

OPEN_S: Final = 5.0
PORTION_S: Final = 1.0
"""A cluster that changes is asked at most so often for its slots."""


class RedisLink:
    """All servers of one URL."""

    def __init__(self, url: RedisUrl, clock: Clock, rng: Rng, *, deadline_s: float = DEADLINE_S) -> None:
        self._url = url
        self._clock = clock
        self._rng = rng
        self._deadline_s = deadline_s
        self._nodes: dict[Address, RedisNode] = {}
        self._slots: list[tuple[range, Address]] = []
        self._looking: asyncio.Task[None] | None = None
        self.ears = Ears(url, clock, rng, self._addresses)
        for address in url.addresses:
            self._node(address)
        self._only = None if url.cluster else self._nodes[url.addresses[0]]

    async def open(self, within_s: float = OPEN_S) -> None:
        """Connect. Raises SharedUnavailable, with what the server says where it says something."""
        if self._url.tls:
            security_of(self._url.files)  # before anything has a deadline
        if not self._url.cluster:
            await self._nodes[self._url.addresses[0]].open(within_s)
            return
        refusals = [await _refusal(node.open(within_s)) for node in list(self._nodes.values())]
        if all(refusals):
            raise refusals[0] or SharedUnavailable("no server of the cluster answers")
        await self._read_slots()
        if not self._slots:
            raise SharedUnavailable("what the nodes share is no cluster, or an empty one")

    async def close(self) -> None:
        """Disconnect from all."""
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        await self.ears.close()
        for node in self._nodes.values():
            await node.close()

    # --- calls

    async def run(
        self, script: Script, keys: Sequence[bytes], words: Sequence[Word], *, deadline_s: float | None = None
    ) -> Reply:
        """Run a script where its keys are; its last word is the id of the server that runs it.

        Its reply, also where it is an error that the script gives. Raises SharedUnavailable.
        """
        tail = (len(keys), *keys, *words)
        answer = await self._at(keys[0], "EVALSHA", script.sha, *tail, signed=True, deadline_s=deadline_s)
        if isinstance(answer, ReplyError) and str(answer).startswith("NOSCRIPT"):
            answer = await self._at(keys[0], "EVAL", script.text, *tail, signed=True, deadline_s=deadline_s)
        return answer

    async def call(self, key: bytes, *command: Word, deadline_s: float | None = None) -> Reply:
        """A command about one key; its reply. Raises SharedUnavailable, also where the reply is an error."""
        return checked(await self._at(key, *command, deadline_s=deadline_s))

    async def server(self, key: bytes) -> str:
        """The id of the process that has the key now. Raises SharedUnavailable."""
        node = self._of(key)
        await node.call("PING")
        return node.server

    async def _at(self, key: bytes, *command: Word, signed: bool = False, deadline_s: float | None = None) -> Reply:
        asked = self._of(key)
        answer = await asked.call(*command, signed=signed, deadline_s=deadline_s)
        moved = read_redirection(str(answer), asked.address) if isinstance(answer, ReplyError) else None
        if moved is None:
            return answer
        node = self._node(moved)
        if str(answer).startswith("ASK"):
            asking = asyncio.ensure_future(node.call("ASKING"))  # on the same connection, right before
            answer, _ = await asyncio.gather(node.call(*command, signed=signed, deadline_s=deadline_s), asking)
            return answer
        self._look()
        return await node.call(*command, signed=signed, deadline_s=deadline_s)

    # --- who has what

    def _of(self, key: bytes) -> RedisNode:
        if self._only is not None:
            return self._only
        slot = slot_of(key)
        for slots, address in self._slots:
            if slot in slots:
                return self._node(address)
        self._look()
        raise SharedUnavailable("what the nodes share has no server for this now", retry_after_s=1.0)

    def _node(self, address: Address) -> RedisNode:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = RedisNode(
                self._url, address, self._clock, self._rng, deadline_s=self._deadline_s, on_down=self._look
            )
        return node

    def _addresses(self) -> Sequence[Address]:
        return [address for address, node in self._nodes.items() if not node.is_open] or list(self._nodes)

    def _look(self) -> None:
        if self._url.cluster and self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._keep_looking())

    async def _keep_looking(self) -> None:
        """Until every slot's server answers again."""
        while True:
            await self._read_slots()
            if not any(self._node(address).is_open for _, address in self._slots):
                break
            await self._clock.sleep(PORTION_S * (0.5 + self._rng.random()))
        self._looking = None

    async def _read_slots(self) -> None:
        """Of the first that answers."""
        for address, node in list(self._nodes.items()):
            with suppress(SharedUnavailable):
                slots = checked(await node.call("CLUSTER", "SLOTS"))
                if slots:
                    self._slots = read_slots(slots, address)
                    return


def checked(answer: Reply) -> Reply:
    """The answer, unless it is an error. Raises SharedUnavailable."""
    if isinstance(answer, ReplyError):
        raise SharedUnavailable(
            "what the nodes share cannot do that now: try again", detail=str(answer), retry_after_s=1.0
        )
    return answer


async def _refusal(opening: Awaitable[None]) -> SharedUnavailable | None:
    try:
        await opening
    except SharedUnavailable as refusal:
        return refusal
    return None
