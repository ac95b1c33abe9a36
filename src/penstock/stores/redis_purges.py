"""The purges of all nodes, in one log: an answer is as good as the purges that came after it was asked for.

Each answer carries the mark of the log as its leader knew it when it asked; whoever reads the answer knows what was
purged since. No clock is asked. A log that is lost, or has lost what came after a mark, may have said anything: what
was stored before is a miss.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from penstock.errors import SharedUnavailable
from penstock.ports.answers import StoredAnswer
from penstock.stores.redis_connection import Reply
from penstock.stores.redis_link import RedisLink, checked
from penstock.stores.scripts import load_script

KEPT: Final = 1000


class SharedPurge(msgspec.Struct, frozen=True, array_like=True):
    """What is to be forgotten: what matches all that is given; nothing given = everything."""

    model: str | None = None
    tenant: str | None = None
    tag: str | None = None
    deployments: tuple[str, ...] = ()

    def covers(self, answer: StoredAnswer) -> bool:
        """As ``stores/answers.py`` has it: an edge stands for its tenants, ``provider/`` for all that it serves."""
        within = tuple(each for each in self.deployments if each.endswith("/"))
        return (
            (self.model is None or answer.model == self.model)
            and (
                self.tenant is None
                or answer.tenant == self.tenant
                or answer.tenant.startswith(f"{self.tenant}/")
            )
            and (self.tag is None or self.tag in answer.tags)
            and (
                not self.deployments
                or answer.deployment in self.deployments
                or answer.deployment.startswith(within)
            )
        )  # fmt: skip


class Mark(NamedTuple):
    """A place in a log."""

    log: str
    number: int

    def __str__(self) -> str:
        return f"{self.log} {self.number}"


NOWHERE: Final = Mark("", 0)
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(SharedPurge).decode


class RedisPurges:
    """The log, and what this node knows of it."""

    def __init__(
        self, link: RedisLink, new_log: Callable[[], str], on_purge: Callable[[SharedPurge], None], prefix: str
    ) -> None:
        """``new_log``: a name that no log ever had; ``on_purge``: told of each purge, of any node."""
        self.mark = NOWHERE
        self.channel = f"{prefix}:purges".encode()
        self._link = link
        self._new_log = new_log
        self._on_purge = on_purge
        self._keys = (f"{prefix}:{{purges}}:head".encode(), f"{prefix}:{{purges}}:log".encode())
        self._script = load_script("purges")
        self._known: deque[tuple[int, SharedPurge]] = deque(maxlen=KEPT)

    async def add(self, purge: SharedPurge) -> None:
        """Forget it everywhere. Raises SharedUnavailable."""
        self._take(await self._run(_encode(purge)))

    async def read(self) -> None:
        """Hear of what is new. Raises SharedUnavailable."""
        self._take(await self._run(b""))

    def forgets(self, mark: bytes, answer: StoredAnswer) -> bool:
        """Whether an answer that was asked for at that mark is purged, or may be."""
        log, _, number = mark.decode("utf-8", "replace").partition(" ")
        if log != self.mark.log or not number.isdecimal():
            return True
        since = int(number)
        if self.mark.number > since and (not self._known or self._known[0][0] > since + 1):
            return True
        return any(each > since and purge.covers(answer) for each, purge in self._known)

    async def _run(self, added: bytes) -> Reply:
        words = (self._new_log(), self.mark.log, self.mark.number, KEPT, added, self.channel)
        return checked(await self._link.run(self._script, self._keys, words))

    def _take(self, reply: Reply) -> None:
        log, number, purges = reply[0].decode(), reply[1], reply[2]
        if log == self.mark.log and number <= self.mark.number:
            return  # a later reply came first
        if purges == 0:
            self._known.clear()
            self._on_purge(SharedPurge())
        else:
            for each, packed in enumerate(purges, number - len(purges) + 1):
                self._note(each, _decode(packed))
        self.mark = Mark(log, number)

    def _note(self, number: int, purge: SharedPurge) -> None:
        if not self.mark.log:
            self._known.append((number, purge))  # of before this node began: it holds nothing of then
        elif number > self.mark.number:
            self._known.append((number, purge))
            self._on_purge(purge)


async def read_quietly(purges: RedisPurges) -> None:
    """Hear of what is new, if anybody answers."""
    try:
        await purges.read()
    except SharedUnavailable:
        return
